"""How the CPU kernels are cached."""

from collections.abc import Callable
from typing import Any

from numba import njit


def cached(**options: Any) -> Callable[[Any], Any]:
    """Compile with `options` to a kernel cached on disk, or in memory where no folder can be written."""

    def compile_(function: Any) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba finds no folder that it may write
            return njit(**options)(function)

    return compile_

"""What is said of a model that fails."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._types import Array

NOT_FINITE = "the model returned NaN or infinity"


def reason_of(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def random_codes(n: int, length: int) -> Array:
    """Return random sequences, always the same, uint8 (n, length)."""
    return np.random.default_rng(0).integers(0, 4, (n, length)).astype(np.uint8)


def check_model(run: Callable[[Array], Any], n: int, length: int) -> None:
    """Raise an error if a model fails on `n` random sequences as well."""
    try:
        run(random_codes(n, length))
    except Exception as error:
        raise RuntimeError(f"the model fails on every sequence, also on random ones ({reason_of(error)})") from error

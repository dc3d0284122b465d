"""NumPy arrays: the Numba kernels on their memory; they are imported when the first of them is called."""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .._check import Call
from .._types import AnyArray, Array
from ..kernels import reference
from . import _arrays
from ._contract import Namespace, Place

XP = Namespace(**vars(reference.NUMPY), reshape=np.reshape, exp=np.exp, cumsum=np.cumsum, argmax=np.argmax)
IS_LAZY = False
DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {}


def shape(array: Array) -> tuple[int, ...]:
    """Shape of an array."""
    return np.shape(array)


def dtype_name(array: Array) -> str:
    """Name of the dtype."""
    return _arrays.dtype_name(array.dtype)


def place(arrays: Sequence[Array]) -> Place:
    """The host."""
    return "host"


def is_on_host(array: Array) -> bool:
    """Yes."""
    return True


def is_differentiated(arrays: Sequence[Array]) -> bool:
    """No: NumPy has no derivatives."""
    return False


def run(call: Call, grad: Array, x: Array | None, out: Sequence[Array | None]) -> tuple[Array, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None."""
    results: tuple[Array, ...] = _kernels().run(call, grad, x, out)
    return results


def embed(part: Array, index: tuple[slice, ...], grad: Array, out: Array | None) -> Array:
    """Return `part` at `index` of an array that is `grad` elsewhere; `part` lies in `out` already if it is given."""
    if out is None:
        whole: Array = np.array(grad, part.dtype, order="K", subok=False)
        whole[index] = part
        return whole
    rest = np.ones(grad.shape[len(index) - 1], bool)
    rest[index[-1]] = False
    others: tuple[Any, ...] = (*index[:-1], rest)
    out[others] = grad[others]
    return _arrays.plain(out, "out")


def angle_summary(
    grad: Array, axis: int, thresholds: tuple[float, ...], bins: int, mask: Array | None
) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    summary: tuple[Array, ...] = _kernels().angle_summary(grad, axis, thresholds, bins, mask)
    return summary


def flip(array: Array, axes: Sequence[int]) -> Array:
    """A copy with some axes reversed."""
    flipped: Array = np.flip(_arrays.plain(array, "array"), tuple(axes)).copy()
    return flipped


def to_numpy(array: Array, argument: str) -> Array:
    """The array as a plain ndarray on the same memory."""
    return _arrays.plain(array, argument)


def to_host(array: Array) -> Array:
    """The array as a plain ndarray; bfloat16 as float32."""
    return _arrays.widened(_arrays.plain(array, "array"))


def from_numpy(array: Array) -> Array:
    """The array."""
    return array


@cache
def _kernels() -> ModuleType:
    from . import _numba  # which takes a compiler along

    return _numba

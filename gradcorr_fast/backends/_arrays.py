"""NumPy arrays as backends hand them to each other: plain, with bfloat16, and aligned where others take them over."""

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import Array

ALIGNMENT = 64  # bytes; memory that starts on a multiple becomes a TensorFlow or JAX array without a copy

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""How other backends hand over bfloat16, which NumPy lacks; arrays with the dtype of ml_dtypes are read as well."""


def plain(array: npt.ArrayLike, argument: str) -> Array:
    """The array as a plain ndarray on the same memory."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{argument} is a masked array, whose mask would be lost; pass {argument}.filled(0)")
    return np.asarray(array)


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Name of a dtype, that of `BFLOAT16` too."""
    return "bfloat16" if dtype == BFLOAT16 else dtype.name


def widened(array: Array) -> Array:
    """The array, bfloat16 as float32, of which it is the upper half."""
    if dtype_name(array.dtype) != "bfloat16":
        return array
    bits = array.view(np.uint16).astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def empty_aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an array such as `np.empty` makes, which starts on a multiple of `ALIGNMENT`; NumPy's start wherever."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    array: Array = memory[start : start + size].view(dtype).reshape(shape)
    return array

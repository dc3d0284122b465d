"""The array libraries: how each type of array gets to the kernels or to the reference formula.

`Backend` says what a library's module must have; elsewhere nobody asks for the name of a library.
"""

import numpy as np

from .._types import AnyArray, Array
from ._contract import Backend, Namespace, Place
from ._registry import BACKENDS, find_backend, library

__all__ = ["BACKENDS", "Backend", "Namespace", "Place", "find_backend", "library", "to_host"]


def _dask() -> Backend:
    from . import dask

    return dask


BACKENDS["dask"] = _dask


def to_host(array: AnyArray) -> Array:
    """Return an array of any library, or what NumPy makes an array of, as NumPy's; bfloat16 as float32."""
    return np.asarray(array) if library(array) is None else find_backend(array=array).to_host(array)

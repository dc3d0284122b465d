"""From the type of an array to the backend of its library; nothing is imported that the caller has not.

Plain functions with plain imports, because torch.compile traces through them. Dask, whose blocks are arrays of these
libraries, is added where the package is put together.
"""

from collections.abc import Callable

from .._types import AnyArray
from ._contract import Backend


def _numpy() -> Backend:
    from . import numpy

    return numpy


def _cupy() -> Backend:
    from . import cupy

    return cupy


def _torch() -> Backend:
    from . import torch

    return torch


def _tensorflow() -> Backend:
    from . import tensorflow

    return tensorflow


def _jax() -> Backend:
    from . import jax

    return jax


BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "torch": _torch,
    "tensorflow": _tensorflow,
    "jax": _jax,
}
"""The supported libraries by name, and how to get the backend of each."""


def library(array: object) -> str | None:
    """Name of the array library that an object's class, or one it inherits from, comes from."""
    for cls in type(array).__mro__:
        root = cls.__module__.partition(".")[0]
        if root == "jaxlib":  # where JAX keeps the class of its concrete arrays
            root = "jax"
        if root in BACKENDS:
            return root
    return None


def find_backend(**arrays: AnyArray) -> Backend:
    """Return the backend of the library of all `arrays`; after the first, those that are None do not count."""
    name = ""
    first = ""
    for argument, array in arrays.items():
        if array is None and first:
            continue
        other = library(array)
        if other is None:
            raise TypeError(f"{argument} is a {_describe(array)}; pass an array of one of: {', '.join(BACKENDS)}")
        if first and other != name:
            raise TypeError(
                f"{first} is a {name} array and {argument} a {other} array; convert one to the other's library"
            )
        if not first:
            name, first = other, argument
    return BACKENDS[name]()


def _describe(array: object) -> str:
    return f"{type(array).__module__}.{type(array).__qualname__}"

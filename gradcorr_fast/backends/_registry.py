"""From the type of an array to the backend of its library; nothing is imported that the caller has not.

Plain functions with plain imports, because torch.compile traces through them. Dask is not among these libraries: the
blocks of its arrays are theirs.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from .._types import AnyArray
from ._contract import Backend

Registry: TypeAlias = Mapping[str, Callable[[], Backend]]


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


IN_MEMORY = {"numpy": _numpy, "cupy": _cupy, "torch": _torch, "tensorflow": _tensorflow, "jax": _jax}
"""Libraries whose arrays hold their elements."""


def library_among(backends: Registry, array: object) -> str | None:
    """Name of the library out of `backends` that an object's class, or one it inherits from, comes from."""
    for cls in type(array).__mro__:
        root = cls.__module__.partition(".")[0]
        if root == "jaxlib":  # where JAX keeps the class of its concrete arrays
            root = "jax"
        if root in backends:
            return root
    return None


def backend_among(backends: Registry, arrays: dict[str, AnyArray]) -> Backend:
    """The backend of the library of all `arrays`; after the first, those that are None do not count."""
    name = ""
    first = ""
    for argument, array in arrays.items():
        if array is None and first:
            continue
        other = library_among(backends, array)
        if other is None:
            raise TypeError(f"{argument} is a {_describe(array)}; pass an array of one of: {', '.join(backends)}")
        if first and other != name:
            raise TypeError(
                f"{first} is a {name} array and {argument} a {other} array; convert one to the other's library"
            )
        if not first:
            name, first = other, argument
    return backends[name]()


def _describe(array: object) -> str:
    return f"{type(array).__module__}.{type(array).__qualname__}"

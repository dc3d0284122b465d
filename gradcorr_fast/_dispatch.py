"""From the type of an array to the backend that knows its library; nothing is imported that the caller has not."""

from types import ModuleType
from typing import Any

# Plain functions with plain imports, because torch.compile traces through them.


def _numpy() -> ModuleType:
    from .backends import numpy

    return numpy


def _cupy() -> ModuleType:
    from .backends import cupy

    return cupy


def _torch() -> ModuleType:
    from .backends import torch

    return torch


def _tensorflow() -> ModuleType:
    from .backends import tensorflow

    return tensorflow


def _jax() -> ModuleType:
    from .backends import jax

    return jax


def _dask() -> ModuleType:
    from .backends import dask

    return dask


BACKENDS = {"numpy": _numpy, "cupy": _cupy, "torch": _torch, "tensorflow": _tensorflow, "jax": _jax, "dask": _dask}


def library(array: Any) -> str | None:
    """Name of the array library that an object's class, or one it inherits from, comes from."""
    for cls in type(array).__mro__:
        root = cls.__module__.partition(".")[0]
        if root == "jaxlib":  # where JAX keeps the class of its concrete arrays
            root = "jax"
        if root in BACKENDS:
            return root
    return None


def find_backend(**arrays: Any) -> Any:
    """Return the backend of the array library that all `arrays` belong to; those that are None do not count."""
    name = ""
    first = ""
    for argument, array in arrays.items():
        if array is None and argument not in ("grad", "output"):
            continue
        found = library(array)
        if found is None:
            raise TypeError(f"{argument} is a {_describe(array)}; pass an array of one of: {', '.join(BACKENDS)}")
        if name and found != name:
            raise TypeError(
                f"{first} is a {name} array and {argument} a {found} array; convert one to the other's library"
            )
        if not name:
            name, first = found, argument
    return BACKENDS[name]()


def _describe(array: Any) -> str:
    return f"{type(array).__module__}.{type(array).__qualname__}"

"""Modules of Flax NNX, which say themselves whether they are in training: put into evaluation mode, and put back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FunctionType
from typing import Any

from .._types import Model
from ._holding import held_modules

EVALUATION = ("deterministic", "use_running_average")
"""What is true of dropout and of batch normalisation in evaluation mode."""


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put all modules that a model consists of, or can be seen to call, into evaluation mode, and put them back.

    Raises
    ------
    ValueError
        If one in training mode is called by a function that was compiled, which does not look at modes any more.
    """
    roots = held_modules(model, is_module) if "flax.nnx" in sys.modules else ()
    modes = [
        (module, name, getattr(module, name))
        for root in roots
        for module in _modules(root)
        for name in EVALUATION
        if hasattr(module, name)
    ]
    training = [module for module, _, mode in modes if mode is False]
    if training and not isinstance(model, FunctionType) and hasattr(model, "__wrapped__"):
        raise ValueError(
            f"the compiled function calls a module in training mode, with a {type(training[0]).__name__} that is at "
            f"work; call the module's eval() and compile the function anew, or pass the module itself"
        )
    try:
        for module, name, _ in modes:
            setattr(module, name, True)
        yield
    finally:
        for module, name, mode in modes:
            with suppress(AttributeError):  # of a module that an error in nnx.jit left in pieces
                setattr(module, name, mode)


def is_module(model: object) -> bool:
    """Whether something is a module of NNX, found out without importing Flax."""
    return any(cls.__module__.startswith("flax.nnx") and cls.__name__ == "Module" for cls in type(model).__mro__)


def _modules(root: Any) -> Iterator[Any]:
    """Yield a module and all in it."""
    from flax import nnx

    return (node for _, node in nnx.iter_graph(root) if isinstance(node, nnx.Module))

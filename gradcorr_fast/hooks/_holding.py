"""What a model holds, or as a function refers to: modules behind functions, closures, partial calls and attributes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any

DEPTH, MANY = 4, 1000
"""How far a module may be from the function that calls it, in a closure, an attribute, a list, and how long a list."""


def held_modules(holder: Any, is_module: Callable[[Any], bool], depth: int = DEPTH) -> Iterator[Any]:
    """Yield the modules of a kind that something is, holds, or as a function refers to; some perhaps more than once."""
    if is_module(holder):
        yield holder
    elif depth:
        for part in _held(holder):
            yield from held_modules(part, is_module, depth - 1)


def _held(holder: Any) -> Iterator[Any]:
    """Yield what something holds, or as a function refers to."""
    if isinstance(holder, list | tuple | Mapping):
        yield from (holder.values() if isinstance(holder, Mapping) else holder) if len(holder) < MANY else ()
    elif isinstance(holder, partial):
        yield from (holder.func, *holder.args, *holder.keywords.values())
    elif isinstance(holder, MethodType):
        yield from (holder.__self__, holder.__func__)
    elif isinstance(holder, FunctionType):
        names = [name for name in holder.__code__.co_names if name in holder.__globals__]
        yield from (*(holder.__globals__[name] for name in names), *(holder.__defaults__ or ()))
        for cell in holder.__closure__ or ():
            with suppress(ValueError):  # of a name that has no value yet
                yield cell.cell_contents
    elif hasattr(holder, "__wrapped__"):  # compiled
        yield holder.__wrapped__
    elif callable(holder) and not isinstance(holder, type):
        yield from getattr(holder, "__dict__", {}).values()

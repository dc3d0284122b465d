"""Where sequences stand among the inputs of a model: which place or name they have, and what is the same for all."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .._types import AnyArray, Model, Unchecked
from ..backends import library
from ._outputs import kind_of

Key = int | str
"""The place of an input among those without a name, or its name."""
CONSTANTS = (type(None), bool, int, float, str, bytes)


@dataclass(frozen=True)
class Inputs:
    """How a model is called with sequences and arrays that have a row for each of them."""

    place: Key
    """Of the sequences."""
    keys: tuple[Key, ...]
    """Of the arrays."""
    constants: tuple[tuple[Key, Any], ...]
    """What is the same for all sequences."""

    def arrange(self, x: AnyArray, arrays: tuple[AnyArray, ...]) -> tuple[list[Any], dict[str, Any]]:
        """Return the inputs without and with names."""
        given = {self.place: x, **dict(zip(self.keys, arrays, strict=True)), **dict(self.constants)}
        places = sorted(key for key in given if isinstance(key, int))
        return [given[key] for key in places], {key: value for key, value in given.items() if isinstance(key, str)}

    def call(self, model: Model, x: AnyArray, arrays: tuple[AnyArray, ...], takes_dict: bool) -> Any:
        """Call a model, with one dict if that is what it takes."""
        inputs, named = self.arrange(x, arrays)
        return model(named) if takes_dict else model(*inputs, **named)


def make_inputs(args: Unchecked, place: Key, n_sequences: int) -> tuple[Inputs | None, tuple[Any, ...]]:
    """Return how a model is called, None if with sequences first and arrays behind them, and the arrays."""
    if not isinstance(args, tuple | list | Mapping | None):
        raise TypeError(
            f"args must be a tuple of inputs in their order, or a dict of them by name; got {kind_of(args)}"
        )
    if isinstance(args, Mapping):
        given: dict[Key, Any] = {str(name): value for name, value in args.items()}
    else:
        before = range(place) if isinstance(place, int) else range(0)
        keys = [*before, *range(len(before) + isinstance(place, int), len(args or ()) + 1)]
        given = dict(zip(keys, args or (), strict=False))
    if place in given:
        raise ValueError(f"input={place!r} is where X goes, and args has it too; leave it away there")
    if isinstance(place, int) and place and place not in range(len(given) + 1):
        raise ValueError(f"input={place} needs {place} inputs before X; args has {len(given)}")
    arrays = {key: value for key, value in given.items() if not is_constant(value)}
    for array in arrays.values():
        if library(array) is None or tuple(array.shape)[:1] != (n_sequences,):
            raise ValueError(
                f"every array in args must have one row for each of the {n_sequences} sequences; got "
                f"{tuple(array.shape) if library(array) else kind_of(array)} (None, texts and numbers are the same for "
                f"all; bind what else is by functools.partial)"
            )
    is_plain = place == 0 and len(arrays) == len(given) and not isinstance(args, Mapping)
    constants = tuple((key, value) for key, value in given.items() if key not in arrays)
    return None if is_plain else Inputs(place, tuple(arrays), constants), tuple(arrays.values())


def is_constant(value: Any) -> bool:
    """Whether an input is the same for all sequences."""
    return isinstance(value, CONSTANTS) or (library(value) is not None and not len(value.shape))


def takes_dict(function: Callable[..., Any], inputs: Inputs) -> bool:
    """Whether the names of inputs are those in a dict that a function takes, instead of those of its arguments."""
    if not isinstance(inputs.place, str):
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # it tells nothing of itself
        return False
    names = {p.name for p in parameters}
    return inputs.place not in names and not any(p.kind is p.VAR_KEYWORD for p in parameters)


def arranged(model: Model, inputs: Inputs | None) -> Model:
    """Return a function of sequences and arrays that calls a model, or the model itself if it is one."""
    if inputs is None:
        return model
    is_dict = takes_dict(model, inputs)
    return lambda x, *arrays: inputs.call(model, x, arrays, is_dict)

"""What comes out of models: errors with a note of what went in, and the one array that is meant of several."""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from .._types import AnyArray, Model, Unchecked
from .._wording import words
from ..backends import library

Head: TypeAlias = int | str | tuple[int | str, ...] | None
"""Which of a model's outputs: its name or number, or those on the way to it, the outermost first."""


def read_head(text: str) -> Head:
    """Read the name or number of an output, or those on the way to it."""
    path = tuple(int(part) if part.isdigit() else part for part in text.split(","))
    return path if len(path) > 1 else path[0]


def check_head(name: str, value: Unchecked) -> Head:
    """Refuse what is neither a name or number nor several."""
    parts = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not parts or any(isinstance(part, bool) or not isinstance(part, int | str) for part in parts):
        raise TypeError(f"{name} must be a name, a number, or a tuple of those on the way to it; got {value!r}")
    return parts if isinstance(value, list | tuple) else parts[0]


def call_model(model: Model, *inputs: AnyArray, **options: Any) -> Any:
    """Call a model; what it raises gets a note of the shape of X, since frameworks tell that of an inner layer's."""
    try:
        return model(*inputs, **options)
    except Exception as error:
        shapes = [shape for shape in _shapes(inputs, options) if len(shape) > 2]
        if shapes:
            error.add_note(f"This came out of the model, which was given X of shape {shapes[0]}.")
        raise


def _shapes(*inputs: Any) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of arrays, also of those in lists and dicts."""
    for value in inputs:
        if isinstance(value, list | tuple | dict):
            yield from _shapes(*(value.values() if isinstance(value, dict) else value))
        elif hasattr(value, "shape"):
            yield tuple(value.shape)


def pick(outputs: Any, output: Head) -> Any:
    """Return the head of a model's outputs that `output` names; one that is alone needs no name."""
    head, before = outputs, list[Any]()
    for key in _path(outputs, output):
        parts = parts_of(head)
        if parts is None and not before:
            raise ValueError(
                f"{words(f'output={output!r}', '--output')} is given, but the model returns one array; leave "
                f"{words('output=', 'it')} away"
            )
        if parts is None or key not in parts:
            raise ValueError(f"there is no output {key!r}{_where(before)}; {_offer(head, before)}, not {output!r}")
        head = parts[key]
        before.append(key)
    while (parts := parts_of(head)) is not None:
        alone = {id(part): part for part in parts.values()}  # of a named tuple, each part has a name and a number
        if len(alone) != 1:
            raise ValueError(f"the model returns several outputs{_where(before)}; {_offer(head, before)}")
        (head,) = alone.values()
    if library(head) is None:
        raise TypeError(f"the model returned {kind_of(head)}, not an array; wrap it in a function that returns one")
    if isinstance(head, np.ndarray):
        raise TypeError(
            "the model returned a NumPy array, through which no gradient goes; let it return what its framework "
            "computes (of a Keras model, pass the model itself and not its predict)"
        )
    return head


def parts_of(outputs: Any) -> dict[Hashable, Any] | None:
    """Return what an output is made of by names, or numbers, or None if it is an array or nothing that is known."""
    if outputs is None or library(outputs) is not None:
        return None
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, list | tuple):
        names = getattr(outputs, "_fields", ())  # of a named tuple
        return {**dict(enumerate(outputs)), **dict(zip(names, outputs, strict=bool(names)))}
    if dataclasses.is_dataclass(outputs):
        names = tuple(field.name for field in dataclasses.fields(outputs))
    else:
        attributes = getattr(outputs, "__attrs_attrs__", ())  # of the package attrs, whose classes may have slots
        names = tuple(a.name for a in attributes) or tuple(getattr(outputs, "__dict__", ()))
    fields = {name: getattr(outputs, name, None) for name in names if not name.startswith("_")}
    arrays = {name: value for name, value in fields.items() if _is_output(value)}
    return arrays or None


def _is_output(value: Any) -> bool:
    """Whether an attribute holds what a model may return, rather than a number, a name or a layer."""
    return library(value) is not None or isinstance(value, Mapping | list | tuple) or dataclasses.is_dataclass(value)


def _path(outputs: Any, output: Head) -> tuple[Any, ...]:
    if output is None:
        return ()
    is_key = isinstance(outputs, Mapping) and output in outputs
    return output if isinstance(output, tuple) and not is_key else (output,)


def _where(before: list[Any]) -> str:
    return f" in {before}" if before else ""


def _offer(head: Any, before: list[Any]) -> str:
    """What may be asked for in the place of what was."""
    parts = parts_of(head)
    if parts is None:
        return "that is one array"
    return f"pass {words('output=', '--output')} with one of {[(*before, key) if before else key for key in parts]}"


def kind_of(array: object) -> str:
    """Return what kind of object something is, in words."""
    return f"a {type(array).__module__}.{type(array).__qualname__}"

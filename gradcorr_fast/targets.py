"""From a model's output to the one number for each sequence that is differentiated.

Targets are small objects that can be pickled, compared and written as text: ``parse(str(target)) == target``.
An output has the sequences first: (N,), (N, tracks) or, for profiles, (N, bins, tracks).
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, SupportsIndex

import numpy as np

from ._types import AnyArray, Array, TargetLike
from .backends import Namespace, find_backend

__all__ = ["before_activation", "contrast", "index", "log1p_sum", "logit", "mean", "parse", "sum_over"]

Chosen = int | slice | Sequence[int] | None


class Textual:
    """What is told from others by its class and its fields, whose text says all of it."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(str(self))


class _Target(Textual):
    """What all targets share: a text form, and fields in one form."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            object.__setattr__(self, f.name, self._check(getattr(self, f.name)))

    def _check(self, value: Any) -> Any:
        """Return a field in the form that is kept."""
        return as_position(value)

    def __str__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        with_names = isinstance(self, _Reduction)
        return f"{type(self).__name__}({', '.join(f'{k}={show(v)}' if with_names else show(v) for k, v in given)})"


@dataclass(frozen=True, eq=False)
class _Reduction(_Target):
    """A target that reduces bins and tracks to one number."""

    bins: Chosen = None
    tracks: Chosen = None
    track_axis: int = -1

    def _check(self, value: Any) -> Any:
        return as_chosen(value)

    def __call__(self, output: AnyArray) -> AnyArray:
        """Return one number for each sequence."""
        part, axes, xp = _select(output, self.bins, self.tracks, self.track_axis)
        return self._reduce(part, axes, xp)

    def _reduce(self, part: AnyArray, axes: tuple[int, ...], xp: Namespace) -> AnyArray:
        raise TypeError(f"{type(self).__name__} is no target")


@dataclass(frozen=True, eq=False)
class index(_Target):
    """Take one entry of the output.

    Parameters
    ----------
    where : int or tuple of int
        Position on the last axis of an output (N, tracks), or one position for each axis after the first. Negative
        ones count from the end.

    Raises
    ------
    ValueError
        When called, if the output has no such entry, or has more axes than `where` names.

    Examples
    --------
    >>> index(1)(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([2., 4.])
    """

    where: int | tuple[int, ...]

    def __call__(self, output: AnyArray) -> AnyArray:
        """Return one number for each sequence."""
        shape = find_backend(output=output).shape(output)
        where = self.where if isinstance(self.where, tuple) else (self.where,)
        if len(shape) == 1 and where in ((0,), (-1,)):
            return output
        if len(where) != len(shape) - 1:
            raise ValueError(
                f"the output has shape {shape}, so {self.where} does not name one number for each sequence; pass "
                f"{max(len(shape) - 1, 0)} positions, target=(i, ...), or a target such as gf.targets.mean()"
            )
        for position, length in zip(where, shape[1:], strict=True):
            if length is not None and not -length <= position < length:
                raise ValueError(f"target {self.where} does not exist in an output of shape {shape}")
        return output[(slice(None), *where)]


class sum_over(_Reduction):
    """Sum the output over bins and tracks.

    Parameters
    ----------
    bins, tracks : int, slice or sequence of int, optional
        What to sum over; None is everything. Bins are axis 1 and tracks axis 2 of an output (N, bins, tracks); an
        output (N, tracks) has no bins.
    track_axis : int
        1 for outputs (N, tracks, bins).

    Raises
    ------
    ValueError
        When called, if the output has no such bins or tracks.

    Examples
    --------
    >>> sum_over(bins=slice(0, 2), tracks=1)(np.arange(12.0).reshape(1, 4, 3))
    array([5.])
    >>> str(sum_over(slice(0, 2), 1))
    'sum_over(bins=0:2, tracks=1)'
    """

    def _reduce(self, part: AnyArray, axes: tuple[int, ...], xp: Namespace) -> AnyArray:
        return xp.sum(part, axis=axes) if axes else part


class mean(_Reduction):
    """Average the output over bins and tracks; see `sum_over` for the parameters.

    Examples
    --------
    >>> mean(tracks=[0, 2])(np.array([[1.0, 5.0, 3.0]]))
    array([2.])
    """

    def _reduce(self, part: AnyArray, axes: tuple[int, ...], xp: Namespace) -> AnyArray:
        return xp.mean(part, axis=axes) if axes else part


class log1p_sum(_Reduction):
    """Take log(1 + sum) of a non-negative output such as counts; see `sum_over` for the parameters.

    Examples
    --------
    >>> log1p_sum()(np.array([[1.0, 5.0, 3.0]])).round(4)
    array([2.3026])
    """

    def _reduce(self, part: AnyArray, axes: tuple[int, ...], xp: Namespace) -> AnyArray:
        return xp.log1p(xp.sum(part, axis=axes) if axes else part)


@dataclass(frozen=True, eq=False)
class logit(_Target):
    """Take log(p / (1 - p)) of a probability.

    Where rounding made p exactly 0 or 1 the logit is infinite; `before_activation` takes it from inside the model.

    Parameters
    ----------
    where : int or tuple of int
        See `index`.

    Examples
    --------
    >>> logit(0)(np.array([[0.5], [0.75]])).round(4)
    array([0.    , 1.0986])
    """

    where: int | tuple[int, ...] = 0

    def __call__(self, output: AnyArray) -> AnyArray:
        """Return one number for each sequence."""
        xp = find_backend(output=output).XP
        p = index(self.where)(output)
        return xp.log(p) - xp.log1p(-p)


@dataclass(frozen=True, eq=False)
class contrast(_Target):
    """Subtract one target from another, such as one cell type from the next.

    Parameters
    ----------
    a, b : target or int
        The result is ``a(output) - b(output)``; an int is the `index`.

    Examples
    --------
    >>> contrast(0, mean())(np.array([[1.0, 2.0, 6.0]]))
    array([-2.])
    """

    a: TargetLike
    b: TargetLike

    def _check(self, value: Any) -> Any:
        if isinstance(value, before_activation):
            raise TypeError("before_activation goes outside: before_activation(contrast(a, b))")
        return as_target(value)

    def __call__(self, output: AnyArray) -> AnyArray:
        """Return one number for each sequence."""
        return self.a(output) - self.b(output)


@dataclass(frozen=True, eq=False)
class before_activation(_Target):
    """Apply a target to what goes into the model's last activation: the logit in front of a sigmoid.

    A hook finds the activation: the last operation of a PyTorch model (`torch.sigmoid`, `nn.Softmax`, ...), or the
    activation of the layer that makes a Keras model's output. A saturated sigmoid has no gradient; what lies before it
    has.

    Parameters
    ----------
    target : target or int
        Applied to the values before the activation.

    Examples
    --------
    >>> str(before_activation(1))
    'before_activation(index(1))'
    """

    target: TargetLike = 0

    def _check(self, value: Any) -> Any:
        if isinstance(value, before_activation):
            raise TypeError("before_activation is already there; pass it once")
        return as_target(value)

    def __call__(self, output: AnyArray) -> AnyArray:
        """Refuse: an output does not show what was before it."""
        raise TypeError("before_activation is for hooks, which look inside the model; pass it as target=")


TARGETS: dict[str, Callable[..., Any]] = {
    t.__name__: t for t in (index, sum_over, mean, log1p_sum, logit, contrast, before_activation)
}


def as_target(target: TargetLike) -> Callable[[AnyArray], AnyArray]:
    """Return what makes one number for each sequence: an int or tuple becomes the `index`, a callable stays."""
    if callable(target):
        return target  # type: ignore[no-any-return]
    try:
        return index(target)
    except TypeError:
        raise TypeError(f"target must be an int, a tuple, a callable or one of gf.targets; got {target!r}") from None


def is_plain(target: object) -> bool:
    """Whether a target is one of these through and through, whose fields say all that it does."""
    inner = [value for value in vars(target).values() if callable(value)] if isinstance(target, _Target) else []
    return isinstance(target, _Target) and all(map(is_plain, inner))


def parse(text: str) -> Callable[[AnyArray], AnyArray]:
    """Read a target from its text form.

    Parameters
    ----------
    text : str
        Such as ``3``, ``index((5, 3))``, ``sum_over(bins=10:20, tracks=3)``, ``contrast(0, mean())``; slices are
        written start:stop. Nothing in it is executed.

    Returns
    -------
    target

    Raises
    ------
    ValueError
        If the text is not a target; the message names those there are.

    Examples
    --------
    >>> parse("contrast(0, sum_over(tracks=1:3))")(np.array([[1.0, 2.0, 6.0]]))
    array([-7.])
    """
    try:
        return as_target(read_calls(text, TARGETS))
    except UNREADABLE as error:
        raise ValueError(f"{text!r} is not a target ({error}); write a number or one of {', '.join(TARGETS)}") from None


def describe() -> list[tuple[str, str]]:
    """Return an example of each kind of target, as text, and what it is in a few words.

    Examples
    --------
    >>> describe()[0]
    ('3, index(3)', 'one track of (N, tracks)')
    """
    return [
        ("3, index(3)", "one track of (N, tracks)"),
        ("mean(tracks=3)", "mean over the bins of a track"),
        ("sum_over(bins=4:9)", "sum over some bins, all tracks"),
        ("log1p_sum(tracks=3)", "log(1 + sum), of counts"),
        ("logit(3)", "log(p / (1 - p)) of a probability"),
        ("contrast(3, 0)", "one target less another"),
        ("before_activation(3)", "what goes into the last sigmoid"),
    ]


def _int(value: SupportsIndex) -> int:
    if isinstance(value, bool):
        raise TypeError(f"positions are ints; got {value!r}")
    return operator.index(value)


def as_position(where: SupportsIndex | tuple[SupportsIndex, ...]) -> int | tuple[int, ...]:
    return tuple(map(_int, where)) if isinstance(where, tuple) else _int(where)


def as_chosen(value: Any) -> Any:
    """Chosen bins or tracks as an int, a slice of ints, or a tuple of ints."""
    try:
        if value is None:
            return None
        if isinstance(value, slice):
            return slice(*[None if k is None else _int(k) for k in (value.start, value.stop, value.step)])
        if hasattr(value, "__len__") and not isinstance(value, str):
            return tuple(map(_int, value))
        return _int(value)
    except TypeError:
        raise TypeError(f"bins and tracks are ints, slices or sequences of ints; got {value!r}") from None


UNREADABLE = SyntaxError, TypeError, ValueError, RecursionError, MemoryError
"""What `read_calls` raises."""


def read_calls(text: str, names: Mapping[str, Callable[..., Any]]) -> Any:
    """Read numbers, slices start:stop, and calls of what has a name; nothing else is called."""
    number = r"(-?\d+)?"
    readable = re.sub(rf"{number}:{number}(?::{number})?", lambda m: f"slice({', '.join(map(str, m.groups()))})", text)
    return _read(ast.parse(readable.strip(), mode="eval").body, names)


def _read(node: ast.expr, names: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]()
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_read(element, names) for element in node.elts)
    if isinstance(node, ast.Name):
        raise ValueError(f"there is no {node.id}")
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in names and name != "slice":
        raise ValueError(f"there is no {name or 'such call'}")
    make: Callable[..., Any] = slice if name == "slice" else names[name]
    given = [_read(argument, names) for argument in node.args]
    return make(*given, **{str(k.arg): _read(k.value, names) for k in node.keywords})


def show(value: object) -> str:
    if isinstance(value, slice):
        return ":".join(
            "" if k is None else str(k) for k in (value.start, value.stop, value.step)[: 2 + (value.step is not None)]
        )
    if isinstance(value, tuple):
        return f"({', '.join(map(show, value))}{',' * (len(value) == 1)})"
    return str(value)


def _select(
    output: AnyArray, bins: Chosen, tracks: Chosen, track_axis: int
) -> tuple[AnyArray, tuple[int, ...], Namespace]:
    """Return the chosen part of the output, its axes after the first, and the namespace of its library."""
    backend = find_backend(output=output)
    shape = backend.shape(output)
    if len(shape) not in (1, 2, 3) or (len(shape) == 3 and track_axis not in (-2, -1, 1, 2)):
        raise ValueError(f"the output has shape {shape}; bins and tracks are for (N, tracks) and (N, bins, tracks)")
    places: dict[int, tuple[int | None, int | None]] = {1: (None, None), 2: (None, 1)}
    bin_axis, axis = places.get(len(shape), (3 - track_axis % 3, track_axis % 3))
    for chosen, along, name in ((bins, bin_axis, "bins"), (tracks, axis, "tracks")):
        if chosen is None:
            continue
        if along is None:
            raise ValueError(f"the output has shape {shape} and no axis of {name}; leave {name}= away")
        length = shape[along]
        if isinstance(chosen, slice):
            if length is not None and not len(range(*chosen.indices(length))):
                raise ValueError(f"{name} {show(chosen)} select nothing in an output of shape {shape}")
            output = output[(slice(None),) * along + (chosen,)]
        else:
            output = backend.XP.take(output, _positions(chosen, shape, along, name), along)
    return output, tuple(range(1, len(shape))), backend.XP


def _positions(chosen: int | Sequence[int], shape: tuple[int | None, ...], axis: int, name: str) -> Array:
    """Positions on an axis, counted from the front."""
    chosen = (chosen,) if isinstance(chosen, int) else chosen
    if not chosen:
        raise ValueError(f"{name} are an empty list; name some, or leave {name}= away")
    length = shape[axis]
    if length is None:
        raise ValueError(
            f"{name} {show(chosen)} are positions on an axis of unknown length; let the model say its length"
        )
    try:
        return np.array([range(length)[k] for k in chosen], np.int64)
    except IndexError:
        raise ValueError(f"{name} {show(chosen)} do not all exist in an output of shape {shape}") from None

"""What all comparisons of outputs share: fields and their checks, what is taken of an output, and on which scale."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from . import targets
from ._types import AnyArray, Unchecked
from .backends import Namespace, find_backend

SCALES = ("linear", "log", "log1p", "logits")
"""What the numbers of an output are: themselves, or log(x), log(1 + x), or, along the bins, logits of a softmax."""


class Pair(NamedTuple):
    """The outputs that are compared, as float64 on one device."""

    ref: AnyArray
    """(n,) of a target, or (n, bins, tracks)."""
    alt: AnyArray
    inside: AnyArray | None
    """Bins that are compared, (n, bins, 1) of 0 and 1; None for all. Both profiles are 0 at the others."""
    xp: Namespace

    @property
    def difference(self) -> AnyArray:
        """Of the alternative less the reference, in a row."""
        return self.xp.reshape(self.alt - self.ref, (len(self.alt), -1))


Numbers = tuple[AnyArray, AnyArray | None]
"""A number for each pair, and where it lies in the flat profile, (n,)."""


@dataclass(frozen=True)
class around:
    """Bins from some before that of the variant to as many after it; as text, centre±50.

    Parameters
    ----------
    bins : int

    Examples
    --------
    >>> str(around(50))
    'centre±50'
    """

    bins: int

    def __post_init__(self) -> None:
        if isinstance(self.bins, bool) or not hasattr(self.bins, "__index__") or int(self.bins) < 0:
            raise ValueError(f"bins about the variant are a number of bins on each side; got {self.bins!r}")

    def __str__(self) -> str:
        return f"centre±{self.bins}"


@dataclass(frozen=True)
class Profile:
    """Takes the tracks of an output that are compared, (N, bins, tracks)."""

    tracks: targets.Chosen = None
    track_axis: int = -1
    bins: None = None

    def __call__(self, output: AnyArray) -> AnyArray:
        """Return the bins of some tracks."""
        backend = find_backend(output=output)
        shape = backend.shape(output)
        if len(shape) == 2 and self.tracks is None:
            return output[:, :, None]
        if len(shape) != 3 or self.track_axis not in (-2, -1, 1, 2):
            raise ValueError(
                f"the output has shape {shape}; comparisons of profiles are for (N, bins), without tracks=, and "
                f"(N, bins, tracks)"
            )
        axis = self.track_axis % 3
        n_tracks = shape[axis]
        if n_tracks is None:
            raise ValueError("the number of the output's tracks is unknown; let the model say it")
        chosen = self._chosen(n_tracks)
        if axis == 2:
            return output if chosen == list(range(n_tracks)) else backend.XP.take(output, np.array(chosen), 2)
        return backend.XP.stack([output[:, k] for k in chosen], 2)

    def _chosen(self, n_tracks: int) -> list[int]:
        every = range(n_tracks)
        try:
            if isinstance(self.tracks, slice) or self.tracks is None:
                found = list(every[self.tracks or slice(None)])
            else:
                found = [every[k] for k in ((self.tracks,) if isinstance(self.tracks, int) else self.tracks)]
        except IndexError:
            found = []
        if not found:
            raise ValueError(f"tracks {targets.show(self.tracks)} do not all exist in an output of {n_tracks}")
        return found


def _check_target(value: Unchecked) -> Callable[[AnyArray], AnyArray]:
    target = targets.as_target(value)
    if not targets.is_plain(target) or isinstance(target, targets.before_activation):
        raise ValueError(f"what is compared is a number or one of gf.targets but before_activation; got {value!r}")
    return target


def _check_pseudocount(value: Unchecked) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
        raise ValueError(f"a pseudocount is a number that is not negative; got {value!r}")
    return float(value)


def _check_scale(value: Unchecked) -> str:
    if value not in SCALES:
        raise ValueError(f"scale is one of {', '.join(SCALES)}; got {value!r}")
    return str(value)


def _check_bins(value: Unchecked) -> Any:
    return value if isinstance(value, around) else targets.as_chosen(value)


def _check_bin_bp(value: Unchecked) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"bin_bp is the length of a bin, a positive number; got {value!r}")
    return int(value)


def _check_output(value: Unchecked) -> Any:
    parts = value if isinstance(value, tuple | list) else (value,)
    if value is not None and not all(isinstance(part, int | str) and not isinstance(part, bool) for part in parts):
        raise ValueError(f"output is a name, a number, or a tuple of those on the way to it; got {value!r}")
    return tuple(value) if isinstance(value, list) else value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "target": _check_target,
    "pseudocount": _check_pseudocount,
    "scale": _check_scale,
    "bins": _check_bins,
    "tracks": targets.as_chosen,
    "track_axis": targets.as_position,
    "bin_bp": _check_bin_bp,
    "output": _check_output,
}


class Taken(NamedTuple):
    """What is taken of all that a model returns."""

    take: Callable[[AnyArray], AnyArray]
    """Of the head."""
    output: Any = None
    """Which head, where it is another than that of the targets."""


class Comparison(targets.Textual):
    """What all comparisons share: a text form, equality by fields, what they take and how they compare."""

    scale: str
    output: Any
    has_position = False
    """Whether it tells where in the profile its number lies."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            object.__setattr__(self, f.name, CHECKS[f.name](getattr(self, f.name)))

    def __str__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(self._spell(k, v) for k, v in given)})"

    def _spell(self, name: str, value: object) -> str:
        text = repr(value) if name == "output" else targets.show(value)
        return text if name == "target" else f"{name}={text}"

    @property
    def takes(self) -> Taken:
        """What it takes of the model's outputs."""
        raise NotImplementedError

    def compare(self, pair: Pair) -> Numbers:
        """Return a number for each pair, NaN where there is none."""
        raise NotImplementedError


def linear(numbers: AnyArray, scale: str, xp: Namespace) -> Any:
    """Turn numbers of an output into what is compared; logits along axis 1."""
    if scale == "linear":
        return numbers
    if scale == "logits":
        powers = xp.exp(numbers - xp.max(numbers, axis=1, keepdims=True))
        return powers / xp.sum(powers, axis=1, keepdims=True)
    return xp.exp(numbers) - float(scale == "log1p")

"""What users ask of an attribution method: checked once, before the model is touched."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np

from .. import ops
from .._check import FLOAT_NAMES
from .._comparisons import Taken
from .._types import AnyArray, Array, Model, TargetLike, Unchecked
from .._warn import warn
from ..backends import find_backend, library, to_host
from ..targets import as_target, before_activation, is_plain
from ._inputs import Inputs, make_inputs
from ._layout import Layout, Strand, View, make_layout, make_mask, make_strand, make_views, make_window
from ._options import COMMON, Options, check_names, complete
from ._outputs import Head, kind_of, pick

MAPS, PLAIN, SUMMARY = ops.AttributionMaps._fields[:3], "uncorrected", "angle_summary"
"""Fields that are made of the gradient, and two that only sessions ask for: the gradient itself, and its angles'."""
ROWS, POSITIONS = 128, 1 << 18
"""Of a batch whose size was not given: sequences that it has at least, unless they have more positions than these."""
CASTS = {
    "numpy": "X.astype('float32')", "torch": "X.float()", "tensorflow": "tf.cast(X, tf.float32)",
    "jax": "X.astype('float32')",
}  # fmt: skip
"""How one-hot integers become floating point."""
MOST_ROWS, FEW_POSITIONS = 1 << 10, 1 << 15
"""Most sequences of such a batch, if they have no more positions than these."""


@dataclass(frozen=True)
class OwnPosition:
    """A target that takes for every sequence a position of its own on the last axis of an output (N, T).

    A position that does not exist gives NaN, which `Checks` reports: a graph that was traced cannot.
    """

    def __call__(self, output: AnyArray, positions: AnyArray) -> AnyArray:
        """Return one number for each sequence of a batch with these `positions`."""
        backend = find_backend(output=output)
        shape, xp = backend.shape(output), backend.XP
        if len(shape) != 2:
            raise ValueError(f"a position for each sequence needs an output (N, T); the output has shape {shape}")
        tracks = xp.asarray(range(shape[1]), positions)[None]
        chosen = (tracks == positions[:, None]) | (tracks - shape[1] == positions[:, None])
        exists = (positions < shape[1]) & (positions >= -shape[1])
        return xp.where(exists, xp.sum(xp.where(chosen, output, 0.0), axis=1), math.nan)


class Request(NamedTuple):
    """One checked call of an attribution method."""

    targets: tuple[Any, ...]
    positions: tuple[Any, ...]
    """For each target, the positions of the sequences (N,) if it is an `OwnPosition`, or None."""
    several: bool
    """Whether results have an axis of targets after that of sequences."""
    output: Head
    fields: tuple[str, ...] | None
    """Fields of AttributionMaps to return, or None for the map alone."""
    corrected: bool
    before_activation: bool
    """Whether the targets are of what goes into the last activation."""
    layout: Layout
    letters: dict[str, Any]
    """Arguments that name the letter axis, as the operations take them."""
    args: tuple[Any, ...]
    """Arrays with a row for each sequence."""
    batch_size: int
    verbose: bool
    seed: int
    views: tuple[View, ...]
    """Strands and shifts in which the model sees each sequence; results are means over them."""
    strand: Strand | Callable[[Any], Any] | None
    """Turns an output for the other strand into one for this strand."""
    window: slice
    """Positions of the results."""
    mask: Array | None
    """Positions whose map is wanted, bool (N, ...) or (1, ...), or None for all."""
    is_reverse: bool = False
    """Whether the model is shown the other strand."""
    forward_only: bool = False
    """Whether gradients are not needed."""
    optimize: int | tuple[str, ...] = 0
    """Level, or steps, to a faster copy of the model."""
    columns: list[int] | None = None
    """Where nothing was said of what is differentiated, and the first column of the output is: how many were seen."""
    inputs: Inputs | None = None
    """Where sequences and `args` stand among the model's inputs; None if the sequences are first and `args` follow."""
    thresholds: tuple[float, ...] = ()
    """Angles in degrees, for `SUMMARY`."""
    profiles: tuple[Taken, ...] = ()
    """What else is taken of the output, with any number of axes and without a gradient; it follows the values."""

    def warn_of_columns(self) -> None:
        """Say which column was taken, if nothing was said of several."""
        if self.columns and self.columns[0] > 1:
            warn(
                f"the output has {self.columns[0]} columns, and the first is taken; target= says which is meant, "
                f"target=0 that it is this one"
            )

    @property
    def key(self) -> tuple[Any, ...] | None:
        """What tells programs made for this request from others, or None with targets that are the user's functions."""
        if not all(isinstance(t, OwnPosition) or is_plain(t) for t in self.targets):
            return None
        strand = self.strand if self.is_reverse else None
        if strand is not None and not isinstance(strand, Strand):
            return None
        return (
            *self.targets,
            self.output,
            self.several,
            self.before_activation,
            strand,
            self.forward_only,
            self.inputs,
            self.profiles,
        )

    @property
    def program(self) -> "Request":
        """The request without what belongs to its sequences, for programs that outlive it."""
        return self._replace(args=(), positions=(), mask=None)

    def values(self, outputs: Any, positions: Sequence[Any]) -> list[Any]:
        """Return for each target one number for each sequence, from what the model returned, and then the profiles."""
        head = pick(outputs, self.output)
        n = find_backend(output=head).shape(head)[:1]
        if not n:
            raise ValueError("the model returned one number for all sequences; let it return a row for each")
        if find_backend(output=head).dtype_name(head).startswith("complex"):
            raise TypeError("the model returned complex numbers, which have no order; take their real part or size")
        if self.is_reverse and self.strand is not None:
            head = self.strand(head)
        if self.columns is not None and len(head.shape) > 1:
            self.columns[:] = [int(head.shape[-1] or 1)]
        found = []
        for target, own in zip(self.targets, positions, strict=True):
            value = target(head, own) if own is not None else target(head)
            shape = find_backend(output=value).shape(value)
            if len(shape) != 1 or shape != n:
                raise ValueError(
                    f"target {target} made shape {shape} of an output of shape {tuple(head.shape)}; it must make one "
                    f"number for each sequence"
                )
            found.append(value)
        return found + [taken.take(self._other_head(outputs, head, taken.output)) for taken in self.profiles]

    def _other_head(self, outputs: Any, head: Any, output: Head) -> Any:
        """Return the head that a profile is of, as this strand has it."""
        if output is None:
            return head
        other = pick(outputs, output)
        return self.strand(other) if self.is_reverse and self.strand is not None else other


def make_request(
    X: AnyArray,
    args: Sequence[AnyArray] | None,
    framework: str,
    *,
    extra: tuple[str, ...] = (),
    **options: Unpack[Options],
) -> Request:
    """Check what users pass; `extra` are fields of AttributionMaps that the method has beside those of every method."""
    check_names(options, COMMON)
    given = complete(options, COMMON)
    if given["optimize"] and framework != "torch":
        raise ValueError(f"optimize={given['optimize']!r} is for models of PyTorch alone; leave it away, XLA compiles")
    kind, axis = library(X), given["axis"]
    if kind not in ("numpy", framework):
        raise TypeError(
            f"X is {kind_of(X)}, and the model takes {framework} arrays; pass one of these or a NumPy array"
            f"{_hint(X, axis)}"
        )
    shape = find_backend(X=X).shape(X)
    dtype = find_backend(X=X).dtype_name(X)
    if dtype not in FLOAT_NAMES:
        is_one_hot = len(shape) > 2 or dtype == "bool"
        mend = CASTS[kind] if is_one_hot else f"codes: gf.sequences.one_hot(X, axis={axis})"
        raise TypeError(f"X is {dtype}, and only floating-point input has a gradient; pass one-hot as float32 ({mend})")
    layout = make_layout(shape, given["axis"], given["letters"], given["n_letters"])
    inputs, arrays = make_inputs(args, given["input"], shape[0])
    checked, positions = _targets(given["target"], given["targets"], shape[0])
    is_before = {isinstance(t, before_activation) for t in checked}
    if len(is_before) > 1:
        raise ValueError("either all targets are before_activation or none is; call once for each kind")
    inner = tuple(t.target if isinstance(t, before_activation) else t for t in checked)
    return Request(
        targets=inner,
        positions=positions,
        before_activation=is_before == {True},
        several=given["targets"] is not None,
        output=given["output"],
        fields=_fields(given["outputs"], given["corrected"], extra),
        corrected=given["corrected"],
        layout=layout,
        letters={name: given[name] for name in ("axis", "letters", "n_letters")},
        args=arrays,
        inputs=inputs,
        columns=None if "target" in options or given["targets"] is not None else [],
        batch_size=_batch_size(given["batch_size"], layout),
        verbose=given["verbose"],
        seed=given["random_state"] or 0,  # None, as libraries pass it on that were given none
        views=make_views(layout, given["rc"], given["shifts"]),
        strand=make_strand(given["rc"], given["rc_output"], given["bin_axis"], given["strand_pairs"], inner),
        window=make_window(layout, given["start"], given["end"]),
        mask=make_mask(layout, given["mask"]),
        optimize=given["optimize"],
    )


def _hint(X: Unchecked, axis: int) -> str:
    """Say how to make sequences of texts, or find them in a dict."""
    if isinstance(X, dict):
        return f": X={next(iter(X), 'x')!r} of it, input= its name, args= the others"
    first = next(iter(X), None) if isinstance(X, list | tuple) else X
    return f": gf.sequences.one_hot(gf.sequences.encode(X), axis={axis})" if isinstance(first, str) else ""


def _targets(target: TargetLike, targets: Unchecked, n_sequences: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    if targets is not None:
        if not isinstance(targets, list | tuple) or not targets:
            raise TypeError(f"targets must be a list of targets; got {targets!r}")
        if not (isinstance(target, int) and target == 0):
            raise TypeError("target and targets are both given; pass one of them")
        checked = tuple(as_target(t) for t in targets)
    elif isinstance(target, list) or (library(target) is not None and len(target.shape) > 0):
        return _own_positions(target, n_sequences)
    else:
        checked = (as_target(target),)
    return checked, (None,) * len(checked)


def _own_positions(target: AnyArray, n_sequences: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    positions = to_host(target)
    if positions.shape != (n_sequences,) or positions.dtype.kind not in "iu":
        raise ValueError(
            f"a list or array as target gives each of the {n_sequences} sequences a position; got shape "
            f"{positions.shape}, {positions.dtype} (several targets for all: targets=[...])"
        )
    return (OwnPosition(),), (positions.astype(np.int32),)


def _fields(outputs: Sequence[str] | str | None, corrected: bool, extra: tuple[str, ...]) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    possible = (*MAPS, "prediction", *extra)
    if not wanted or any(field not in possible for field in wanted):
        raise ValueError(f"outputs must be some of {', '.join(possible)}; got {outputs!r}")
    if not corrected:
        raise ValueError("corrected=False returns the plain gradient; leave outputs= away, or apply gf.analyze to it")
    return tuple(field for field in possible if field in wanted)


def _batch_size(batch_size: int | str, layout: Layout) -> int:
    if isinstance(batch_size, str):  # "auto"
        length = max(layout.n_positions, 1)
        return max(1, min(ROWS, POSITIONS // length), rows_of_few_positions(length))
    return batch_size


def rows_of_few_positions(length: int) -> int:
    """Return how many sequences make a batch whose layers fit in a processor's cache, and in what _heap keeps."""
    return max(1, min(MOST_ROWS, FEW_POSITIONS // max(length, 1)))


def check_model(model: Model) -> None:
    """Refuse what is no model, but stands for one."""
    if isinstance(model, str | os.PathLike):
        raise TypeError(
            f"the model is the path {os.fspath(model)!r}; load it first: gf.model_files.load_model(path).model"
        )
    if isinstance(model, type):
        raise TypeError(f"the model is the class {model.__qualname__}; pass an instance of it")
    if not callable(model):
        raise TypeError(f"the model is {kind_of(model)}, which cannot be called; pass a model or a function")


def is_keras(model: Model) -> bool:
    """Whether a model is a Keras model or layer, found out without importing Keras."""
    return any(cls.__module__.partition(".")[0] == "keras" for cls in type(model).__mro__)

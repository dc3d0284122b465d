"""What attribution has in common in every framework: the request, the batches, the checks, the results.

A framework brings `Framework`: how rows of the input reach the model, their gradients, and how results come back.
"""

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import click
import numpy as np

from .. import ops
from .._check import FLOAT_NAMES, check_axis, select_letters
from .._dispatch import find_backend, library
from ..targets import as_target, before_activation, is_plain

MAPS = ops.AttributionMaps._fields[:3]
ROWS, POSITIONS = 128, 1 << 18
"""Most sequences and most input positions of a batch whose size was not given."""


NO_PATH = (
    "the model's output does not depend on its input by a differentiable path; look for detach, stop_gradient, "
    "argmax, or a conversion to NumPy or integers on the way"
)


@dataclass(frozen=True)
class OwnPosition:
    """A target that takes for every sequence a position of its own on the last axis of an output (N, T).

    A position that does not exist gives NaN, which `Checks` reports: a graph that was traced cannot.
    """

    def __call__(self, output: Any, positions: Any) -> Any:
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
    output: Any
    fields: tuple[str, ...] | None
    """Fields of AttributionMaps to return, or None for the map alone."""
    corrected: bool
    before_activation: bool
    """Whether the targets are of what goes into the last activation."""
    letters: dict[str, Any]
    """Arguments that name the letter axis, as the operations take them."""
    args: tuple[Any, ...]
    batch_size: int
    verbose: bool

    @property
    def key(self) -> tuple[Any, ...] | None:
        """What tells programs made for this request from others, or None with targets that are the user's functions."""
        if not all(isinstance(t, OwnPosition) or is_plain(t) for t in self.targets):
            return None
        return (*self.targets, self.output, self.several, self.before_activation)

    @property
    def program(self) -> "Request":
        """The request without what belongs to its sequences, for programs that outlive it."""
        return self._replace(args=(), positions=())

    def values(self, outputs: Any, positions: Sequence[Any]) -> list[Any]:
        """Return for each target one number for each sequence, from what the model returned."""
        head = pick(outputs, self.output)
        n = find_backend(output=head).shape(head)[:1]
        if not n:
            raise ValueError("the model returned one number for all sequences; let it return a row for each")
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
        return found


class Framework(NamedTuple):
    """What a framework does; arrays are its own, but for rows and results, which are of the user's kind."""

    enter: Callable[[Any], Any]
    """Rows of the input or of an argument, as an array where the model is."""
    gradients: Callable[[Any, tuple[Any, ...], list[Any]], tuple[list[Any], list[Any]]]
    """From input, arguments and positions (None for targets that are the same for all): values and gradients."""
    leave: Callable[[Any], Any]
    """An array as a result."""
    read: Callable[[Any], Any]
    """An array as a NumPy array."""
    has_path: Callable[..., bool] | None = None
    """Whether a gradient that is zero, of inputs, arguments, positions and number of the target, is computed at all;
    None if `gradients` raises where it is not."""


def make_request(
    X: Any,
    args: Any,
    framework: str,
    *,
    target: Any,
    targets: Any,
    output: Any,
    axis: int,
    batch_size: Any,
    corrected: bool,
    verbose: bool,
    outputs: Any,
    letters: Any,
    n_letters: Any,
) -> Request:
    """Check what users pass, before the model is touched."""
    kind = library(X)
    if kind not in ("numpy", framework):
        raise TypeError(f"X is {_kind(X)}, and the model takes {framework} arrays; pass one of these or a NumPy array")
    shape = find_backend(X=X).shape(X)
    dtype = getattr(X.dtype, "name", str(X.dtype).removeprefix("torch."))
    if dtype not in FLOAT_NAMES:
        raise TypeError(
            f"X is {dtype}, and only floating-point input has a gradient; pass one-hot as float32 (codes: "
            f"gf.sequences.one_hot(codes))"
        )
    if letters is None:
        check_axis(shape, axis, n_letters)
    else:
        select_letters(shape, axis, letters, n_letters)
    if len(shape) < 2 or axis in (0, -len(shape)):
        raise ValueError(f"X has shape {shape}; pass one-hot sequences with the sequences first, such as (N, L, 4)")
    checked, positions = _targets(target, targets, shape[0])
    is_before = {isinstance(t, before_activation) for t in checked}
    if len(is_before) > 1:
        raise ValueError("either all targets are before_activation or none is; call once for each kind")
    return Request(
        targets=tuple(t.target if isinstance(t, before_activation) else t for t in checked),
        positions=positions,
        before_activation=is_before == {True},
        several=targets is not None,
        output=output,
        fields=_fields(outputs, corrected),
        corrected=corrected,
        letters={"axis": axis, "letters": letters, "n_letters": n_letters},
        args=_args(args, shape[0]),
        batch_size=_batch_size(batch_size, shape, axis),
        verbose=verbose,
    )


def _targets(target: Any, targets: Any, n_sequences: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
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


def _own_positions(target: Any, n_sequences: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    positions = np.asarray(target.cpu() if library(target) == "torch" else target)
    if positions.shape != (n_sequences,) or positions.dtype.kind not in "iu":
        raise ValueError(
            f"a list or array as target gives each of the {n_sequences} sequences a position; got shape "
            f"{positions.shape}, {positions.dtype} (several targets for all: targets=[...])"
        )
    return (OwnPosition(),), (positions.astype(np.int32),)


def _fields(outputs: Any, corrected: bool) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    possible = (*MAPS, "prediction")
    if not wanted or any(field not in possible for field in wanted):
        raise ValueError(f"outputs must be some of {', '.join(possible)}; got {outputs!r}")
    if not corrected:
        raise ValueError("corrected=False returns the plain gradient; leave outputs= away, or apply gf.analyze to it")
    return tuple(field for field in possible if field in wanted)


def _args(args: Any, n_sequences: int) -> tuple[Any, ...]:
    if args is None:
        return ()
    if not isinstance(args, tuple | list):
        raise TypeError(f"args must be a tuple of arrays, one row for each sequence; got {_kind(args)}")
    for array in args:
        if library(array) is None or tuple(array.shape)[:1] != (n_sequences,):
            raise ValueError(
                f"every array in args must have one row for each of the {n_sequences} sequences; got "
                f"{tuple(array.shape) if library(array) else _kind(array)}"
            )
    return tuple(args)


def _batch_size(batch_size: Any, shape: Sequence[int], axis: int) -> int:
    if batch_size == "auto":
        positions = int(np.prod([n for k, n in enumerate(shape) if k not in (0, axis % len(shape))]))
        return max(1, min(ROWS, POSITIONS // max(positions, 1)))
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
        raise ValueError(f'batch_size must be "auto" or a positive int; got {batch_size!r}')
    return int(batch_size)


def pick(outputs: Any, output: Any) -> Any:
    """Return the head of a model's outputs that `output` names."""
    if isinstance(outputs, dict | list | tuple):
        keys = list(outputs) if isinstance(outputs, dict) else list(range(len(outputs)))
        if output is None and len(keys) == 1:
            output = keys[0]
        if output not in keys:
            raise ValueError(f"the model returns several outputs; pass output= with one of {keys}, not {output!r}")
        return outputs[output]
    if output is not None:
        raise ValueError(f"output={output!r} is given, but the model returns one array; leave output= away")
    if library(outputs) is None:
        raise TypeError(f"the model returned {_kind(outputs)}, not an array; wrap it in a function that returns one")
    return outputs


def run(request: Request, X: Any, framework: Framework) -> Any:
    """Attribute batch by batch, and return the map or the AttributionMaps asked for."""
    xp = find_backend(X=X).XP
    fields = ("map",) if request.fields is None else request.fields
    parts: dict[str, list[Any]] = {field: [] for field in fields}
    checks = Checks(framework, request)
    for rows in batches(X.shape[0], request):
        x = framework.enter(X[rows])
        if rows.stop > rows.start:
            arguments = tuple(framework.enter(array[rows]) for array in request.args)
            own = [None if positions is None else positions[rows] for positions in request.positions]
            values, grads = framework.gradients(x, arguments, own)
            checks.add(rows.start, values, grads, (x, arguments, own))
        else:  # nothing to attribute: results without rows, of the right shapes
            values, grads = [x[(slice(None), *[0] * (x.ndim - 1))]] * len(request.targets), [x] * len(request.targets)
        maps = [analyze(request, x, value, grad) for value, grad in zip(values, grads, strict=True)]
        for field in fields:
            found = [framework.leave(one[field]) for one in maps]
            parts[field].append(xp.stack(found, 1) if request.several else found[0])
    checks.finish()
    results = {field: arrays[0] if len(arrays) == 1 else xp.concat(arrays, 0) for field, arrays in parts.items()}
    if library(X) == "numpy":  # a single batch may be a view of an immutable array
        results = {field: np.require(result, requirements="W") for field, result in results.items()}
    return results["map"] if request.fields is None else ops.AttributionMaps(**results)


def batches(n_sequences: int, request: Request) -> Iterator[slice]:
    """Yield the rows of each batch, with a progress bar if asked for."""
    starts = range(0, max(n_sequences, 1), request.batch_size)
    with click.progressbar(
        length=n_sequences, label="attributing", file=sys.stderr, hidden=not request.verbose, show_pos=True
    ) as bar:
        for start in starts:
            yield slice(start, min(start + request.batch_size, n_sequences))
            bar.update(min(request.batch_size, n_sequences - start))


def analyze(request: Request, x: Any, value: Any, grad: Any) -> dict[str, Any]:
    """Compute the fields asked for from the gradient of one target."""
    if request.fields is None:
        return {"map": ops.correct(grad, **request.letters) if request.corrected else grad}
    wanted = tuple(field for field in request.fields if field in MAPS)
    maps = ops.analyze(grad, x, outputs=wanted, **request.letters)._asdict() if wanted else {}
    return maps | {"prediction": value}


class Checks:
    """Looks at the gradients of each batch when the next one is under way, so that a device need not wait."""

    def __init__(self, framework: Framework, request: Request) -> None:
        self._framework, self._request = framework, request
        self._pending: list[tuple[int, Any, Any, Any]] = []
        self._inputs: Any = None
        self._n_saturated = 0

    def add(self, start: int, values: list[Any], grads: list[Any], inputs: tuple[Any, ...]) -> None:
        """Take in a batch, and check the one before."""
        sizes = [_size(grad) for grad in grads]
        self._check_pending()
        self._pending = [(start, *each) for each in zip(values, sizes, grads, strict=True)]
        self._inputs = inputs

    def finish(self) -> None:
        """Check what is left, and warn if sigmoids were saturated."""
        self._check_pending()
        if self._n_saturated:
            warnings.warn(
                f"{self._n_saturated} predictions are exactly 0 or 1 and have no gradient, as from a saturated "
                f"sigmoid; target=gf.targets.before_activation() differentiates what lies before it",
                stacklevel=4,
            )

    def _check_pending(self) -> None:
        has_path = self._framework.has_path
        for k, (start, value, size, grad) in enumerate(self._pending):
            sizes = size if isinstance(size, np.ndarray) else self._framework.read(size)
            values, target = self._framework.read(value), self._request.targets[k]
            if start == 0 and has_path is not None and not sizes.any() and not has_path(*self._inputs, k):
                raise ValueError(NO_PATH)
            if isinstance(target, OwnPosition) and np.isnan(values).any() and np.isfinite(sizes).all():
                names = _some(start + int(n) for n in np.flatnonzero(np.isnan(values)))
                raise ValueError(f"the positions given as target for the sequences {names} do not exist in the output")
            suspicious = np.flatnonzero(~np.isfinite(sizes))  # or a sum of finite numbers that overflowed
            bad = [n for n in suspicious if not np.all(np.isfinite(self._framework.read(grad[int(n)])))]
            if bad:
                names = _some(start + int(n) for n in bad)
                raise ValueError(
                    f"the gradient of {len(bad)} sequences is not finite ({names}; target {target}); look at what the "
                    f"model returns for them, or leave them out"
                )
            self._n_saturated += int(np.sum((sizes == 0) & ((values == 0) | (values == 1))))


def _size(grad: Any) -> Any:
    """Sum of magnitudes for each sequence; on the CPU by NumPy, since waking a framework's threads takes longer."""
    backend, axes = find_backend(grad=grad), tuple(range(1, len(grad.shape)))
    if backend.is_native(grad) and "bfloat16" not in str(grad.dtype):
        return np.sum(np.abs(backend.to_numpy(grad, "grad")), axis=axes, dtype=np.float64)
    return backend.XP.sum(backend.XP.abs(grad), axis=axes)


def _some(numbers: Iterable[int]) -> str:
    """Ten of the numbers, for a message."""
    names = [str(number) for number in numbers]
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def is_keras(model: Any) -> bool:
    """Whether a model is a Keras model or layer, found out without importing Keras."""
    return any(cls.__module__.partition(".")[0] == "keras" for cls in type(model).__mro__)


def _kind(array: Any) -> str:
    return f"a {type(array).__module__}.{type(array).__qualname__}"

"""What is checked of inputs and results: letters that are not one-hot, numbers that are not finite, flat outputs."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .._types import AnyArray, Array, TargetLike
from .._warn import warn
from .._wording import words
from ..backends import find_backend
from ..io.misuse import Evidence
from ._ready import Arrays, Found, Framework
from ._request import PLAIN, SUMMARY, OwnPosition, Request

N_SAMPLED = 16
"""Sequences by which a gradient is judged to be centred."""
ROUNDING = 16
"""Units in the last place of the largest letter up to which the letters of a centred gradient sum to zero."""

NO_PATH = (
    "the model's output does not depend on its input by a differentiable path; look for detach, stop_gradient, "
    "argmax, or a conversion to NumPy or integers on the way"
)
FLAT = (
    "the gradient of all sequences is zero although the predictions differ, so the output is made of steps; look for "
    "sign, round, argmax, a comparison or a conversion to integers on the way, and differentiate what lies before it"
)


def check_one_hot(request: Request, X: AnyArray, read: Callable[[AnyArray], Array], mend: str = "") -> None:
    """Refuse sequences that are not one-hot, and count the positions; unknown letters may be all 0 or all equal."""
    n_bad, sequences = 0, []
    for start in range(0, len(X), request.batch_size):
        rows = X[start : start + request.batch_size]
        _, is_bad = request.layout.codes(rows if isinstance(rows, np.ndarray) else np.asarray(read(rows)))
        n_bad += int(is_bad.sum())
        sequences += [start + int(n) for n in np.flatnonzero(is_bad.any(axis=1))]
    if n_bad:
        raise ValueError(
            f"{n_bad} positions of X are not one-hot (sequences {some(sequences)}); each must hold one 1 and otherwise "
            f"0, or the same number for every letter where the letter is unknown{mend and f' ({mend})'}"
        )


class Seen(NamedTuple):
    """What was seen of a target so far."""

    n_sequences: int = 0
    has_gradient: bool = False
    """Whether any was not zero."""
    least: float = math.inf
    most: float = -math.inf
    """Of the predictions."""
    n_zero: int = 0
    n_one: int = 0
    """Predictions that are exactly 0 or 1 and have no gradient."""

    def and_more(self, values: Array, sizes: Array) -> "Seen":
        """Return it with more sequences, values (n,) and the largest of each gradient (n,); NaN tells nothing."""
        is_finite = np.isfinite(values)
        if not is_finite.all():
            values, sizes = values[is_finite], sizes[is_finite]
        if not len(values):
            return self
        is_flat = sizes == 0
        return Seen(
            self.n_sequences + len(values),
            self.has_gradient or not is_flat.all(),
            min(self.least, float(values.min())),
            max(self.most, float(values.max())),
            self.n_zero + int(np.sum(is_flat & (values == 0))),
            self.n_one + int(np.sum(is_flat & (values == 1))),
        )

    def warnings(self) -> list[str]:
        """Say what is wrong with an output that has no gradient, or raise an error if it has none by its making."""
        n_flat = self.n_zero + self.n_one
        if self.n_sequences and not self.has_gradient and n_flat < self.n_sequences and self.least != self.most:
            raise ValueError(FLAT)
        is_probability = self.least >= 0 and self.most <= 1
        if self.n_one and is_probability:
            before = words("target=gf.targets.before_activation()", '--target "before_activation()"')
            return [
                f"{n_flat} predictions are exactly 0 or 1 and have no gradient, as from a saturated sigmoid; "
                f"{before} differentiates what lies before it"
            ]
        if self.n_zero:
            why = ", or a sigmoid that is saturated" if is_probability else ""
            return [
                f"{self.n_zero} predictions are exactly 0 and have no gradient, as of a ReLU at the end that is off "
                f"there{why}; target=gf.targets.before_activation() differentiates what lies before it"
            ]
        return []


class Checks:
    """Looks at the results of each group when the next one is under way, so that a device need not wait."""

    def __init__(self, framework: Framework, request: Request, has_gradients: bool) -> None:
        self._framework, self._request, self._has_gradients = framework, request, has_gradients
        self._pending: list[tuple[int, AnyArray, AnyArray]] = []
        self._inputs: tuple[Any, ...] = ()
        self._seen = [Seen()] * len(request.targets)
        self._evidence: Evidence | None = None

    def look(self, start: int, found: Found) -> Arrays:
        """Return what `add` takes of a group: values and sizes of the gradients by target, and some gradients."""
        sizes = [_size(grad) for grad in found.maps]
        is_wanted = self._has_gradients and {"angle", PLAIN, SUMMARY}.intersection(self._request.fields or ())
        is_sampled = start < N_SAMPLED and is_wanted
        return [*found.values, *sizes, *([found.maps[0][: N_SAMPLED - start]] if is_sampled else [])]

    def add(self, start: int, seen: Arrays, inputs: tuple[Any, ...]) -> None:
        """Take in what was looked at of a group and the inputs of its last batch, and check the group before."""
        n_targets = len(self._seen)
        for grad in seen[2 * n_targets :]:
            self._look_at(grad)
        self._check_pending()
        self._pending = [(start, *seen[k : 2 * n_targets : n_targets]) for k in range(n_targets)]
        self._inputs = inputs

    def finish(self) -> None:
        """Check what is left, and warn of results that say nothing: flat outputs, angles behind a projection."""
        self._check_pending()
        if self._evidence is not None and self._evidence.is_centred:
            warn(
                "the gradient comes out of the model centred already, as behind SimplexProjection, attach or fold, so "
                "its angles are 0 within rounding and say nothing of the model; take them from the model without it"
            )
        for text in dict.fromkeys(text for seen in self._seen for text in seen.warnings()):
            warn(text)

    def _look_at(self, grad: AnyArray) -> None:
        rows = np.asarray(self._framework.read(grad))
        if rows.size:
            self._evidence = self._evidence or Evidence(ROUNDING * float(np.finfo(rows.dtype).eps))
            self._evidence.add(self._request.layout.flat(rows), -1)

    def _check_pending(self) -> None:
        has_path = self._framework.has_path if self._has_gradients else None
        for k, (start, value, size) in enumerate(self._pending):
            sizes = size if isinstance(size, np.ndarray) else self._framework.read(size)
            values, target = self._framework.read(value), self._request.targets[k]
            is_first = start == 0 and len(sizes) > 0
            if is_first and has_path is not None and not sizes.any() and not has_path(*self._inputs, k):
                raise ValueError(NO_PATH)
            if isinstance(target, OwnPosition) and np.isnan(values).any() and np.isfinite(sizes).all():
                names = some(start + int(n) for n in np.flatnonzero(np.isnan(values)))
                raise ValueError(f"the positions given as target for the sequences {names} do not exist in the output")
            self._check_finite(start, values, sizes, target)
            if self._has_gradients:
                self._seen[k] = self._seen[k].and_more(np.asarray(values), np.asarray(sizes))

    def _check_finite(self, start: int, values: Array, sizes: Array, target: TargetLike) -> None:
        is_of_session = not {PLAIN, SUMMARY}.isdisjoint(self._request.fields or ())  # which looks at values itself
        is_nan = np.isnan(values) & (not is_of_session)
        is_infinite = ~np.isfinite(sizes)
        if not is_nan.any() and not is_infinite.any():
            return
        of_gradient = "the gradient of" if self._has_gradients else "what the model returns for mutants of"
        for is_bad, what in ((is_infinite, of_gradient), (is_nan, "what the model returns for")):
            bad = [start + int(n) for n in np.flatnonzero(is_bad)]
            if bad:
                raise ValueError(
                    f"{what} {len(bad)} sequences is not finite ({some(bad)}; target {target}); look at what the "
                    f"model returns for them, or leave them out"
                )


def _size(grad: AnyArray) -> AnyArray:
    """Largest magnitude of each sequence; on the CPU by NumPy, since waking a framework's threads takes longer."""
    backend, axes = find_backend(grad=grad), tuple(range(1, len(grad.shape)))
    if 0 in grad.shape[1:]:
        return np.zeros(grad.shape[0])
    if backend.is_on_host(grad) and "bfloat16" not in str(grad.dtype):
        array = backend.to_numpy(grad, "grad")
        return np.maximum(array.max(axes), -array.min(axes))
    return backend.XP.max(backend.XP.abs(grad), axis=axes)


def some(numbers: Iterable[int]) -> str:
    """Ten of the numbers, for a message."""
    names = [str(number) for number in numbers]
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")

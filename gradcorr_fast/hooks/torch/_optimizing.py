"""A faster copy of a PyTorch model, made in steps that are each compared with the model, and timed, before use."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from ..._types import AnyArray, Model
from ..._warn import warn
from .._attempts import Memory
from .._options import OPTIMIZATIONS
from .._ready import Framework
from .._request import Request
from ._channels_last import put_channels_last
from ._copying import share_model
from ._graphs import shorten
from ._normalisation import find_and_fold

ROUNDED = {"bfloat16": torch.bfloat16, "float16": torch.float16, "tf32": torch.float16}
"""Precisions of products, and numbers that have as many digits."""
BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 2e-1}
"""Largest difference that is rounding, as part of the largest number, in the precision of the model's products."""
EXACT_BOUND = 1e-9
"""The same in float64, for gradients: where a ReLU or a pooling is within rounding of a tie, they jump."""
N_EXACT = 8
"""Rows that are compared in float64."""
MOST_ROUNDS, LEAST_ROUNDS, SECONDS = 7, 3, 2.0
"""How often, and about how long, steps are timed."""
LEAST_SPEED_UP = {"fold": 0.9}
"""How many times as fast a step must be, if not more than once: folding leaves work away, and clocks are noisy."""

Results: TypeAlias = tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]
"""Values and gradients, for each target."""
Run: TypeAlias = Callable[[Model, bool], Results]
"""Runs a model on the rows of a probe, forwards alone if so."""


class Probe(NamedTuple):
    """Rows on which copies are compared with the model, and timed."""

    run: Run
    run_exactly: Run
    """On a few of the rows in float64."""
    n_rows: int
    n_inputs: int
    needs_gradients: bool
    dtype: torch.dtype
    """Precision of the products."""
    wait: Callable[[], None]
    """Waits for the device."""
    memory: Memory


MakeFramework: TypeAlias = Callable[[Model, Request, str], Framework]
"""Makes the functions that run a model, for a request and in a precision."""


def make_probe(X: AnyArray, request: Request, precision: str, gradients: bool, make: MakeFramework) -> Probe:
    """Return a batch of the sequences, or of a sequence and its rotations where all are one."""
    n, along = min(len(X), request.batch_size), request.layout.length_axis
    framework = make(None, request, precision)
    x, *args = (framework.enter(array[:n]) for array in (X, *request.args))
    if isinstance(X, np.ndarray) and X.strides[0] == 0 and along is not None:
        x = torch.stack([x[k].roll(k, along - 1) for k in range(n)])
    is_on_gpu = x.device.type == "cuda"

    def runner(convert: Callable[[torch.Tensor], torch.Tensor], rows: slice, precision: str) -> Run:
        inputs = tuple(convert(tensor[rows]) for tensor in (x, *args))
        positions = [None if p is None else p[:n][rows] for p in request.positions]

        def run(model: Model, forward_only: bool) -> Results:
            wanted = request._replace(forward_only=forward_only)
            return make(model, wanted, precision).gradients(inputs[0], inputs[1:], positions)

        return run

    return Probe(
        run=runner(lambda tensor: tensor, slice(n), precision),
        run_exactly=runner(_double, slice(N_EXACT), "float32"),
        n_rows=n,
        n_inputs=1 + len(args),
        needs_gradients=gradients,
        dtype=x.dtype if precision == "tf32" and not is_on_gpu else ROUNDED.get(precision, x.dtype),
        wait=lambda: torch.cuda.synchronize(x.device) if is_on_gpu else None,
        memory=framework.memory,
    )


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


class Optimization(NamedTuple):
    """What was done with a model, as scans record it."""

    steps: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    """Normalisations that are gone."""
    left: tuple[str, ...] = ()
    """Steps that were not taken, and why."""


class _Copy(NamedTuple):
    model: Model
    folded: tuple[str, ...]


def optimise(model: Model, wanted: int | Sequence[str], probe: Probe) -> tuple[Model, Optimization]:
    """Return what to run in place of a model, and what was done.

    Parameters
    ----------
    model : torch.nn.Module or callable
        In evaluation mode; it is not changed.
    wanted : int or sequence of str
        A level, or the names of steps, of `OPTIMIZATIONS`: these are taken also where they are not faster, so that what
        was found out once holds.
    probe : Probe

    Returns
    -------
    model, Optimization
    """
    steps = OPTIMIZATIONS[: (0, 2, 3)[wanted]] if isinstance(wanted, int) else tuple(wanted)
    best = _Copy(model, ())
    done: list[str] = []
    left = _check_memory(model, probe)
    for step in () if left else steps:
        copy = _try(step, model, best, done, probe, is_timed=isinstance(wanted, int))
        if isinstance(copy, str):
            left.append(f"{step}: {copy}")
        else:
            best = copy
            done.append(step)
    if steps and (not done or (steps[-1] == "compile" and done[-1] != "compile")):
        how = "without torch.compile" if done else "as it is"
        warn(f"optimize={wanted!r} runs the model {how}: {'; '.join(left)}")
    return best.model, Optimization(tuple(done), best.folded, tuple(left))


def _check_memory(model: Model, probe: Probe) -> list[str]:
    """Run the model, so that what is wrong with it shows as it always does; say so if there is no memory for that."""
    try:
        probe.run(model, not probe.needs_gradients)
    except probe.memory.errors as error:
        if not probe.memory.is_exhausted(error):
            raise
        probe.memory.release()
        return [f"a batch of {probe.n_rows} rows exhausts the memory; give a smaller batch_size"]
    return []


def _try(
    step: str, model: Model, before: _Copy, done: Sequence[str], probe: Probe, *, is_timed: bool
) -> _Copy | str:  # fmt: skip
    """Return a copy that has gone one step further, or why there is none to use."""
    try:
        with _compiling(step == "compile"):
            copy = _take(step, before, probe)
            _compare(model, copy.model, [*done, step], probe)
            ratio = _speed_up(before.model, copy.model, probe) if is_timed else math.inf
    except Exception as error:  # noqa: BLE001  (of torch.fx, compilers, and models that meet what they did not expect)
        return shorten(error)
    return copy if ratio > LEAST_SPEED_UP.get(step, 1.0) else f"it is no faster here ({ratio:.2f} times as fast)"


def _unwrapped(model: Model) -> Model:
    """Return the module that torch.compile made something of."""
    return getattr(model, "_orig_mod", model)


def _take(step: str, before: _Copy, probe: Probe) -> _Copy:
    """Make a copy that has gone one step further."""
    if step == "compile":
        return _Copy(_Compiled(_unwrapped(before.model), probe.n_rows), before.folded)
    model = _unwrapped(before.model)
    if not isinstance(model, torch.nn.Module):
        raise TypeError("the model is a function, which cannot be taken apart")
    if step == "channels_last":
        return _Copy(put_channels_last(model), before.folded)
    folded = find_and_fold(model, probe.n_inputs)
    if not folded.norms:
        reasons = f" ({'; '.join(folded.reasons)})" if folded.reasons else ""
        raise ValueError(f"no batch normalisation was found that a layer beside it can do{reasons}")
    return _Copy(folded.model, folded.norms)


class _Compiled:
    """A compiled model for batches of the size for which it was, and the same model for all others."""

    def __init__(self, model: Model, n_rows: int) -> None:
        self.model, self._n_rows = model, n_rows
        self._compiled = torch.compile(model, dynamic=False)

    def __call__(self, x: torch.Tensor, *args: Any) -> Any:
        return (self._compiled if len(x) == self._n_rows else self.model)(x, *args)


@contextmanager
def _compiling(is_wanted: bool) -> Iterator[None]:
    """Let compiled backward passes keep what they need, since several targets share one forward pass."""
    if not is_wanted:
        yield
        return
    import torch._functorch.config as config

    with config.patch(donated_buffer=False), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the compiler's own code
        yield


# --- whether it is the same ---


def _compare(model: Model, copy: Model, steps: Sequence[str], probe: Probe) -> None:
    """Raise an error if a copy does something else than the model."""
    bound = BOUNDS[probe.dtype]
    for forward_only in (False, True) if probe.needs_gradients else (True,):
        expected, found = (probe.run(each, forward_only) for each in (model, copy))
        difference = _difference(expected[0], found[0])
        if not difference <= bound:
            raise ValueError(f"values differ by {difference:.1e} of the largest, more than {bound:.0e}")
        if not forward_only and not _difference(expected[1], found[1]) <= bound:
            _compare_exactly(model, steps, probe)


def _compare_exactly(model: Model, steps: Sequence[str], probe: Probe) -> None:
    """Do the same steps with a copy in float64, and compare gradients there."""
    inner = _unwrapped(model)
    if not isinstance(inner, torch.nn.Module):
        raise TypeError("gradients differ, and a function has no parameters that could be made float64")
    exact = share_model(inner, _double)
    copy = _Copy(exact, ())
    for step in steps:
        copy = _take(step, copy, probe._replace(n_rows=min(probe.n_rows, N_EXACT)))
    difference = _difference(*(probe.run_exactly(each, False)[1] for each in (exact, copy.model)))
    if not difference <= EXACT_BOUND:
        raise ValueError(f"gradients in float64 differ by {difference:.1e} of the largest, more than {EXACT_BOUND:.0e}")


def _difference(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    """Return the largest difference as part of the largest number, infinity where only one is finite."""
    worst = 0.0
    for one, other in zip(expected, found, strict=True):
        pair = one.double(), other.double()
        is_same = (pair[0] == pair[1]) | (pair[0].isnan() & pair[1].isnan())
        gap = torch.where(is_same, 0.0, (pair[0] - pair[1]).abs().nan_to_num(nan=math.inf))
        largest = float(pair[0].abs().nan_to_num(posinf=0.0).max()) if len(one) else 0.0
        gap_size = float(gap.max()) if len(one) else 0.0
        worst = max(worst, gap_size / largest if largest else (math.inf if gap_size else 0.0))
    return worst


def _speed_up(before: Model, after: Model, probe: Probe) -> float:
    """Return how many times as fast the second of two models is, each at its best; both have run before."""
    seconds: dict[str, list[float]] = {"before": [], "after": []}
    start = time.perf_counter()
    while len(seconds["after"]) < MOST_ROUNDS:
        for name, model in (("before", before), ("after", after)):
            seconds[name].append(_time(model, probe))
        if len(seconds["after"]) >= LEAST_ROUNDS and time.perf_counter() - start > SECONDS:
            break
    return min(seconds["before"]) / min(seconds["after"])


def _time(model: Model, probe: Probe) -> float:
    probe.wait()
    start = time.perf_counter()
    for forward_only in (False, True) if probe.needs_gradients else (True,):
        probe.run(model, forward_only)
    probe.wait()
    return time.perf_counter() - start

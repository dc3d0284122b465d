"""The engine behind every attribution method: groups of sequences that a method runs on, and results made of its maps.

No more rows than the batch size are in the model at a time, and nothing that is kept beside the results is larger than
a batch.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar, cast

import click
import numpy as np

from .. import ops
from .._types import AnyArray, Model
from ..backends import find_backend
from ._angles import summarize
from ._attempts import attempt
from ._checks import Checks, check_one_hot
from ._methods import take
from ._options import Options
from ._ready import Arrays, Found, Framework, Group, Method, ReadyModel, Work, stay
from ._request import MAPS, PLAIN, SUMMARY, Request, check_model

Item = TypeVar("Item")
Prepare = Callable[[Model, AnyArray, Sequence[AnyArray] | None, Method, Options], AbstractContextManager[ReadyModel]]
"""Checks a call, makes the model ready, and puts it back: of a model, sequences like those to come, further inputs, the
method that will be run, and options."""


def attribute(
    prepare: Prepare, name: str, model: Model, X: AnyArray, args: Sequence[AnyArray] | None, options: Any
) -> Any:
    """Run the method with a name, and return the map or the AttributionMaps asked for."""
    check_model(model)
    method, rest = take(name, X, options)
    with prepare(model, X, args, method, rest) as ready:
        whole = find_fields(ready, ready.request, X, method)
        ready.request.warn_of_columns()
        return whole["map"] if ready.request.fields is None else ops.AttributionMaps(**whole)


def find_fields(
    model: ReadyModel,
    request: Request,
    X: AnyArray,
    method: Method,
    enter: Callable[[AnyArray], AnyArray] | None = None,
) -> dict[str, AnyArray]:
    """Attribute group by group, and return the fields asked for; `request` is that of the model but for its rows.

    `enter` makes sequences of rows of X, if they are no sequences yet; by default it is the framework's.
    """
    framework = model.framework
    see, leave = framework.see, framework.leave
    if method.needs_one_hot and enter is None:
        check_one_hot(request, X, framework.read, method.mend)
    rows = X if see is None else see(X)
    results = _Results(request, rows, framework)
    checks = Checks(framework, request, method.needs_gradients)

    def begin(group: Group, found: Found) -> Callable[[], None]:
        """Analyse a group, and begin to fetch what is wanted on the host; what is returned waits for it."""
        fields = _analyze(group, found)
        seen = checks.look(group.rows.start, found)  # after what brings the gradient into the processor's caches
        n_seen, rows, inputs = len(seen), group.rows, found.inputs if group.rows.start == 0 else ()
        names, arrays = list(fields), [array for arrays in fields.values() for array in arrays]
        wait = framework.fetch([*seen, *arrays] if results.is_on_host else seen)
        kept = [] if results.is_on_host else arrays

        def finish() -> None:
            fetched = wait()
            results.put(rows, names, fetched[n_seen:] or kept)
            checks.add(rows.start, fetched[:n_seen], inputs)

        return finish

    groups = _groups(model, request, rows, method, enter)
    # NumPy would wait for a gradient that it sees, and is asked when the next group is under way
    begun = (begin(*each) if see is None else partial(_at_once, begin, *each) for each in groups)
    for finish in _one_behind(begun) if framework.runs_ahead else begun:
        finish()
    checks.finish()
    whole = results.finish()
    return whole if see is None else {field: leave(array) for field, array in whole.items()}


def _at_once(begin: Callable[[Group, Found], Callable[[], None]], group: Group, found: Found) -> None:
    begin(group, found)()


def _one_behind(groups: Iterator[Item]) -> Iterator[Item]:
    """Yield each when the next one is under way."""
    kept: list[Item] = []
    for group in groups:
        yield from kept
        kept = [group]
    yield from kept


class _Results:
    """What is returned: arrays that are made once and filled group by group, where arrays can be written to."""

    def __init__(self, request: Request, X: AnyArray, framework: Framework) -> None:
        backend = find_backend(X=X)
        self.is_on_host = backend.is_on_host(X)
        self._n_sequences, self._several = request.layout.shape[0], request.several
        self._xp, self._leave = backend.XP, framework.see or framework.leave
        self._is_numpy = isinstance(X, np.ndarray)
        self._may_keep = framework.fetch is stay or not self.is_on_host  # else they are in memory for copies
        self._empty = (lambda shape, like: np.empty(shape, like.dtype)) if self._is_numpy else framework.empty
        self._whole: dict[str, AnyArray] = {}
        self._parts: dict[str, Arrays] = {}

    def put(self, rows: slice, fields: Sequence[str], arrays: Arrays) -> None:
        """Take in fields of some sequences: those of the first for each target, of the second, and so on."""
        n_targets = len(arrays) // len(fields)
        for k, field in enumerate(fields):
            self._put(rows, field, [self._leave(array) for array in arrays[k * n_targets : (k + 1) * n_targets]])

    def _put(self, rows: slice, field: str, arrays: Arrays) -> None:
        if self._empty is None or (self._may_keep and rows == slice(0, self._n_sequences)):
            part = self._xp.stack(arrays, 1) if self._several else arrays[0]
            self._parts.setdefault(field, []).append(part)
            return
        if field not in self._whole:
            shape = (self._n_sequences, *([len(arrays)] if self._several else []), *arrays[0].shape[1:])
            self._whole[field] = self._empty(shape, arrays[0])
        for k, array in enumerate(arrays):
            self._whole[field][(rows, k) if self._several else rows] = array

    def finish(self) -> dict[str, AnyArray]:
        """Return the arrays of all sequences."""
        for field, parts in self._parts.items():
            whole = parts[0] if len(parts) == 1 else self._xp.concat(parts, 0)
            # a single group may be a view of an immutable array
            self._whole[field] = np.require(whole, requirements="W") if self._is_numpy else whole
        return self._whole


def _groups(
    model: ReadyModel, request: Request, X: AnyArray, method: Method, enter: Callable[[AnyArray], AnyArray] | None
) -> Iterator[tuple[Group, Found]]:
    """Attribute groups of sequences, smaller ones after memory was exhausted."""
    n_points, batches = method.n_points, model.batches

    def cut(rows: slice) -> Iterator[slice]:
        start = rows.start
        while start < rows.stop or start == rows.stop == 0:
            size = group_size(rows.stop - start, n_points, batches.size)
            yield slice(start, start + size)
            start += max(size, 1)

    with _progress(request, count_rows(request, method)) as bar:
        done = bar.pos

        def run(rows: slice) -> tuple[Group, Found]:
            bar.update(done - bar.pos)  # by as much as an attempt that failed had moved it on
            source = X[rows]
            x = (enter or model.framework.enter)(source)
            group = Group(request, rows, x, model.framework, source if enter is None else x)
            return group, _run_group(model, group, method, bar.update)

        for _, result in attempt(
            slice(0, len(X)), run, batches, cut=cut, count=lambda rows: (rows.stop - rows.start) * n_points
        ):
            done = bar.pos
            yield cast(tuple[Group, Found], result)  # without `check`, failures are raised


def group_size(n_left: int, n_points: int, batch_size: int) -> int:
    """Return how many of the sequences left to take together, so that batches of whole points are nearly full."""
    size = batch_size
    while size > n_left and n_left * n_points > batch_size:
        size //= 2
    return min(size, n_left)


def count_rows(request: Request, method: Method) -> int:
    """Return how many rows the model will see."""
    return request.layout.shape[0] * method.count_rows(request) * len(request.views)


def _progress(request: Request, n_rows: int) -> Any:
    return click.progressbar(
        length=n_rows, label="attributing", file=sys.stderr, hidden=not request.verbose, show_pos=True
    )


def _run_group(model: ReadyModel, group: Group, method: Method, advance: Callable[[int], None]) -> Found:
    """Attribute sequences where the model is, with their part of what else it takes."""
    request, rows, x, enter = group.request, group.rows, group.x, model.framework.enter
    if not group.size:  # nothing to attribute: results without rows, of the right shapes
        n_targets = len(request.targets)
        empty = x[(slice(None), *[0] * (len(x.shape) - 1))]
        return Found([x] * n_targets, [empty] * n_targets, [empty] * n_targets, [empty] * n_targets)
    arguments = tuple(enter(array[rows]) for array in request.args)
    positions = [None if array is None else array[rows] for array in request.positions]
    return method.run(Work(group, model, model.batches.size, arguments, positions, advance))


def _analyze(group: Group, found: Found) -> dict[str, Arrays]:
    """Compute the fields asked for, for each target."""
    fields = group.request.fields
    maps = [_analyze_map(group, grad) for grad in found.maps]
    ends = {"prediction": found.predictions, "convergence_delta": found.deltas}
    return {
        field: ends[field] if field in ends else [one[field] for one in maps]
        for field in (("map",) if fields is None else fields)
    }


def _analyze_map(group: Group, grad: AnyArray) -> dict[str, AnyArray]:
    request, layout = group.request, group.request.layout
    grad = group.near(grad)
    if grad.dtype != group.x.dtype:  # half precision is summed in float32
        grad = find_backend(grad=grad).XP.asarray(grad, group.x)
    if request.mask is not None:
        mask = request.mask[group.rows] if len(request.mask) > 1 else request.mask
        grad = grad * group.array(np.expand_dims(mask, layout.axis).astype(np.float32))
    grad = layout.cut(grad, request.window)
    if request.fields is None:
        return {"map": ops.correct(grad, **request.letters) if request.corrected else grad}
    wanted = tuple(field for field in request.fields if field in MAPS)
    x, has_summary = layout.cut(group.x, request.window), SUMMARY in request.fields
    outputs = tuple(dict.fromkeys((*wanted, "angle"))) if has_summary else wanted
    maps = ops.analyze(grad, x, outputs=outputs, **request.letters)._asdict() if outputs else {}
    if has_summary:
        maps[SUMMARY] = summarize(maps["angle"], grad, x, layout.axis, request.thresholds)
    return maps | {PLAIN: grad}

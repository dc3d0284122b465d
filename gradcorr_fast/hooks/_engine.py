"""The engine behind every attribution method: groups of sequences that a method runs on, and results made of its maps.

No more rows than the batch size are in the model at a time, and nothing that is kept beside the results is larger than
a batch.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import click
import numpy as np

from .. import ops
from .._types import AnyArray, Model
from ..backends import find_backend
from ._attempts import attempt
from ._checks import Checks, check_one_hot
from ._methods import take
from ._options import Options
from ._ready import Arrays, Found, Group, Method, ReadyModel, Work
from ._request import MAPS, PLAIN, Request, check_model

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


def find_fields(model: ReadyModel, request: Request, X: AnyArray, method: Method) -> dict[str, AnyArray]:
    """Attribute group by group, and return the fields asked for; `request` is that of the model but for its rows."""
    if method.needs_one_hot:
        check_one_hot(request, X, model.framework.read, method.mend)
    see, leave = model.framework.see, model.framework.leave
    rows = X if see is None else see(X)
    results = _Results(request, rows, see or leave, model.framework.empty)
    checks = Checks(model.framework, request, method.needs_gradients)
    groups = _groups(model, request, rows, method)
    for group, found in _one_behind(groups) if model.framework.runs_ahead else groups:
        for field, arrays in _analyze(group, found).items():
            results.put(field, group.rows, arrays)
        checks.add(group.rows.start, found)  # after what brings the gradient into the processor's caches
    checks.finish()
    whole = results.finish()
    return whole if see is None else {field: leave(array) for field, array in whole.items()}


def _one_behind(groups: Iterator[Item]) -> Iterator[Item]:
    """Yield each when the next one is under way."""
    kept: list[Item] = []
    for group in groups:
        yield from kept
        kept = [group]
    yield from kept


class _Results:
    """What is returned: arrays that are made once and filled group by group, where arrays can be written to."""

    def __init__(
        self,
        request: Request,
        X: AnyArray,
        leave: Callable[[AnyArray], AnyArray],
        empty: Callable[..., AnyArray] | None,
    ) -> None:
        self._n_sequences, self._several = request.layout.shape[0], request.several
        self._xp, self._leave, self._is_numpy = find_backend(X=X).XP, leave, isinstance(X, np.ndarray)
        self._empty = (lambda shape, like: np.empty(shape, like.dtype)) if self._is_numpy else empty
        self._whole: dict[str, AnyArray] = {}
        self._parts: dict[str, Arrays] = {}

    def put(self, field: str, rows: slice, arrays: Arrays) -> None:
        """Take in a field of some sequences, an array for each target."""
        arrays = [self._leave(array) for array in arrays]
        if self._empty is None or rows == slice(0, self._n_sequences):
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


def _groups(model: ReadyModel, request: Request, X: AnyArray, method: Method) -> Iterator[tuple[Group, Found]]:
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
            return _run_group(model, request, X, rows, method, bar.update)

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


def _run_group(
    model: ReadyModel, request: Request, X: AnyArray, rows: slice, method: Method, advance: Callable[[int], None]
) -> tuple[Group, Found]:
    """Bring sequences to the model and attribute them."""
    enter = model.framework.enter
    group = Group(request, rows, enter(X[rows]), model.framework)
    if not group.size:  # nothing to attribute: results without rows, of the right shapes
        x, n_targets = group.x, len(request.targets)
        empty = x[(slice(None), *[0] * (len(x.shape) - 1))]
        return group, Found([x] * n_targets, [empty] * n_targets, [empty] * n_targets, [empty] * n_targets)
    arguments = tuple(enter(array[rows]) for array in request.args)
    positions = [None if array is None else array[rows] for array in request.positions]
    return group, method.run(Work(group, model, model.batches.size, arguments, positions, advance))


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
    x = layout.cut(group.x, request.window)
    maps = ops.analyze(grad, x, outputs=wanted, **request.letters)._asdict() if wanted else {}
    return maps | {PLAIN: grad}

"""The engine behind every attribution method: groups of sequences, batches of rows, means in place, results.

A framework brings `Framework`: how rows of the input reach the model, their gradients, and how results come back. A row
is one sequence at one point of a method, or one mutant; no more rows than the batch size are in the model at a time,
and nothing that is kept beside the results is larger than a batch.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import click
import numpy as np

from .. import ops
from .._warn import warn
from ..backends import find_backend
from ._checks import Checks, check_one_hot
from ._methods import Group, Method, Point
from ._request import MAPS, PLAIN, Request


class Memory(NamedTuple):
    """How a framework says that memory is exhausted."""

    errors: tuple[type[Exception], ...] = (MemoryError,)
    is_exhausted: Callable[[Exception], bool] = lambda error: True
    """Whether such an error does say that."""
    describe: Callable[[Exception], str] = str
    """How much was needed."""
    release: Callable[[], None] = lambda: None
    """Gives back what is kept for later."""


class Framework(NamedTuple):
    """What a framework does; arrays are its own, but for rows and results, which are of the user's kind."""

    enter: Callable[[Any], Any]
    """Rows of the input or of an argument, as an array where the model is."""
    gradients: Callable[[Any, tuple[Any, ...], list[Any]], tuple[list[Any], list[Any]]]
    """From input, arguments and positions (None for targets that are the same for all): values, and their gradients,
    none of them if the request is `forward_only`."""
    leave: Callable[[Any], Any]
    """An array as a result."""
    read: Callable[[Any], Any]
    """An array as a NumPy array."""
    add: Callable[[Any, Any, float], Any] = lambda total, grad, weight: (
        grad * weight if total is None else total + grad * weight
    )
    """From a sum (None at first), a gradient and a weight to the sum with the gradient, in place if possible."""
    memory: Memory = Memory()
    substitute: Callable[[Any, Any, Any, Any], Any] | None = None
    """Writes letters into new rows: rows, the place of each as indices of the axes of positions, letters, layout. None
    where arrays cannot be written to."""
    empty: Callable[[tuple[int, ...], Any], Any] | None = None
    """Makes an array of a shape, without values and otherwise like another; None where arrays cannot be written to."""
    has_path: Callable[..., bool] | None = None
    """Whether a gradient that is zero, of inputs, arguments, positions and number of the target, is computed at all;
    None if `gradients` raises where it is not."""


Make = Callable[[Request], Framework]


class Found(NamedTuple):
    """What a method found for a group of sequences, for each target."""

    maps: list[Any]
    predictions: list[Any]
    deltas: list[Any]
    values: list[Any]
    """Of each sequence in the last batch, for `Checks`."""
    inputs: tuple[Any, ...]
    """Of the last batch."""


class Work(NamedTuple):
    """A group of sequences, with what it takes to run the model on rows made of it."""

    group: Group
    make: Make
    batch_size: int
    arguments: tuple[Any, ...]
    positions: list[Any]
    advance: Callable[[int], None]
    """Tells the progress bar of so many rows."""

    @property
    def request(self) -> Request:
        return self.group.request

    def run(self, rows: Any, index: Any, forward_only: bool = False) -> Iterator[tuple[list[Any], list[Any], Any]]:
        """Yield for every view values, gradients and inputs of the model; row k has the arguments of index[k]."""
        request = self.request
        arguments = tuple(_take(array, index) for array in self.arguments)
        own = [None if p is None else p[index] for p in self.positions]
        for view in request.views:
            is_other = view.is_reverse and request.strand is not None
            framework = self.make(request._replace(is_reverse=is_other, forward_only=forward_only))
            inputs = view.show(rows, request.layout), arguments, own
            values, grads = framework.gradients(*inputs)
            n_values, n_rows = values[0].shape[0], rows.shape[0]
            if n_values != n_rows:
                raise ValueError(
                    f"the model returned {n_values} rows for {n_rows} sequences; let it return one for each"
                )
            self.advance(rows.shape[0])
            yield values, [view.map_back(grad, request.layout) for grad in grads], inputs

    def predict(self, x: Any, index: Any = slice(None)) -> list[Any]:
        """Return the values of some rows, the means over the views."""
        weight = 1 / len(self.request.views)
        totals: list[Any] = [0.0] * len(self.positions)
        for values, _, _ in self.run(x, index, forward_only=True):
            totals = [total + value * weight for total, value in zip(totals, values, strict=True)]
        return totals


def _take(array: Any, index: Any) -> Any:
    return array if isinstance(index, slice) else find_backend(array=array).XP.take(array, index, 0)


def average(work: Work, method: Method) -> Found:
    """Take the weighted mean of the gradients at a method's points, each sequence's in the order of the points."""
    sums = _Sums(work, method)
    n_points = max(1, work.batch_size // work.group.size)
    for first in range(0, len(method.points), n_points):
        sums.take(method.points[first : first + n_points])
    return sums.finish()


class _Sums:
    """Sums over the points of a method, for one group; each in place."""

    def __init__(self, work: Work, method: Method) -> None:
        fields, n_targets = work.request.fields or (), len(work.positions)
        self._work, self._method = work, method
        self._wants_delta = "convergence_delta" in fields
        self._wants_ends = self._wants_delta or "prediction" in fields
        self._maps: list[Any] = [None] * n_targets
        self._dots: list[Any] = [0.0] * n_targets
        self._values: dict[float, list[Any]] = {0.0: [0.0] * n_targets, 1.0: [0.0] * n_targets}
        self._last: tuple[list[Any], tuple[Any, ...]] = [], ()

    def take(self, points: Sequence[Point]) -> None:
        """Run the model at some points of all sequences, and add what comes out."""
        group, n = self._work.group, self._work.group.size
        inputs = [self._method.make(group, point) for point in points]
        rows, index = inputs[0], cast(Any, slice(None))
        if len(points) > 1:
            rows, index = find_backend(X=rows).XP.concat(inputs, 0), np.tile(np.arange(n), len(points))
        for values, grads, seen in self._work.run(rows, index):
            for k, point in enumerate(points):
                part = slice(k * n, (k + 1) * n)
                self._add(point, [value[part] for value in values], [grad[part] for grad in grads])
            self._last = [value[-n:] for value in values], seen

    def _add(self, point: Point, values: list[Any], grads: list[Any]) -> None:
        group, method = self._work.group, self._method
        n_views = len(self._work.request.views)
        weight = point.weight / n_views
        framework = self._work.make(self._work.request)
        if method.is_path and (method.multiply_by_inputs or self._wants_delta):
            _, difference = group.reference(method, point.number)
            products = [grad * difference for grad in grads]
            if self._wants_delta:
                sums = [_sum_rows(product) * weight for product in products]
                self._dots = [dot + more for dot, more in zip(self._dots, sums, strict=True)]
            grads = products if method.multiply_by_inputs else grads
        self._maps = [framework.add(total, grad, weight) for total, grad in zip(self._maps, grads, strict=True)]
        if self._wants_ends and point.step in self._values:
            share = 1 / (self._count(point.step) * n_views)
            ends = zip(self._values[point.step], values, strict=True)
            self._values[point.step] = [total + value * share for total, value in ends]

    def _count(self, step: float) -> int:
        return sum(point.step == step for point in self._method.points)

    def finish(self) -> Found:
        """Return what was found; the values at either end of a path are computed here if no point lay there."""
        work, method, group = self._work, self._method, self._work.group
        predictions, deltas = self._values[1.0], self._dots
        if self._wants_ends and not self._count(1.0):
            predictions = work.predict(group.x)
        if self._wants_delta:
            starts = self._values[0.0]
            if not self._count(0.0):
                n_references = 1 + max(point.number for point in method.points)
                for number in range(n_references):
                    found = work.predict(group.x * 0.0 + group.reference(method, number)[0])
                    starts = [start + value / n_references for start, value in zip(starts, found, strict=True)]
            parts = zip(deltas, predictions, starts, strict=True)
            deltas = [dot - (end - start) for dot, end, start in parts]
        return Found(self._maps, predictions, deltas, *self._last)


def _sum_rows(array: Any) -> Any:
    return find_backend(array=array).XP.sum(array, axis=tuple(range(1, len(array.shape))))


Attribute = Callable[[Work, Method], Found]


def run(request: Request, X: Any, make: Make, method: Method, attribute: Attribute = average) -> Any:
    """Attribute group by group, and return the map or the AttributionMaps asked for."""
    whole = find_fields(request, X, make, method, attribute)
    return whole["map"] if request.fields is None else ops.AttributionMaps(**whole)


def find_fields(
    request: Request, X: Any, make: Make, method: Method, attribute: Attribute,
    shrink: Callable[[int], None] = lambda batch_size: None,
) -> dict[str, Any]:  # fmt: skip
    """Attribute group by group, and return the fields asked for; `shrink` is told of smaller batches."""
    made: dict[tuple[bool, bool], Framework] = {}

    def make_once(wanted: Request) -> Framework:
        key = wanted.is_reverse, wanted.forward_only
        if key not in made:
            made[key] = make(wanted)
        return made[key]

    framework = make_once(request)
    if method.needs_one_hot:
        check_one_hot(request, X, framework.read, method.mend)
    results = _Results(request, X, framework)
    checks = Checks(framework, request, has_gradients=attribute is average)
    for group, found in _groups(request, X, make_once, method, attribute, shrink):
        checks.add(group.rows.start, found)
        for field, arrays in _analyze(group, found).items():
            results.put(field, group.rows, arrays)
    checks.finish()
    return results.finish()


class _Results:
    """What is returned: arrays that are made once and filled group by group, where arrays can be written to."""

    def __init__(self, request: Request, X: Any, framework: Framework) -> None:
        self._n_sequences, self._several = request.layout.shape[0], request.several
        self._xp, self._leave, self._is_numpy = find_backend(X=X).XP, framework.leave, isinstance(X, np.ndarray)
        self._empty = (lambda shape, like: np.empty(shape, like.dtype)) if self._is_numpy else framework.empty
        self._whole: dict[str, Any] = {}
        self._parts: dict[str, list[Any]] = {}

    def put(self, field: str, rows: slice, arrays: list[Any]) -> None:
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

    def finish(self) -> dict[str, Any]:
        """Return the arrays of all sequences."""
        for field, parts in self._parts.items():
            whole = parts[0] if len(parts) == 1 else self._xp.concat(parts, 0)
            # a single group may be a view of an immutable array
            self._whole[field] = np.require(whole, requirements="W") if self._is_numpy else whole
        return self._whole


def _groups(
    request: Request, X: Any, make: Make, method: Method, attribute: Attribute, shrink: Callable[[int], None]
) -> Iterator[tuple[Group, Found]]:
    """Attribute groups of sequences; batches are halved for good when memory is exhausted, which is told once."""
    n_sequences, batch_size, start, is_told = X.shape[0], request.batch_size, 0, False
    memory, n_points = make(request).memory, len(method.points)
    with _progress(request, count_rows(request, method)) as bar:
        while start < n_sequences or start == 0:
            size, position = group_size(n_sequences - start, n_points, batch_size), bar.pos
            rows, result = slice(start, start + size), None
            try:
                result = _attribute(request, X, make, rows, batch_size, bar.update, method, attribute)
            except memory.errors as error:
                batch_size = _halve(min(batch_size, size * n_points), memory, error, X)
            if result is None:  # outside of the handler, which keeps the error's frames with all their arrays
                shrink(batch_size)
                bar.update(position - bar.pos)
                memory.release()
                continue
            if batch_size < request.batch_size and not is_told:
                is_told = True
                warn(
                    f"memory was exhausted with batches of {request.batch_size} rows, and {batch_size} fit; pass "
                    f"batch_size={batch_size} to save the attempts",
                )
            yield result
            start += max(size, 1)


def _halve(batch_size: int, memory: Memory, error: Exception, X: Any) -> int:
    if not memory.is_exhausted(error):
        raise error
    if batch_size < 2:
        raise MemoryError(
            f"one row of shape {tuple(X.shape[1:])} does not fit in memory: {memory.describe(error)}; shorten the "
            f"sequences, or use a device with more memory"
        ) from error
    return batch_size // 2


def group_size(n_left: int, n_points: int, batch_size: int) -> int:
    """Return how many of the sequences left to take together, so that batches of whole points are nearly full."""
    size = batch_size
    while size > n_left and n_left * n_points > batch_size:
        size //= 2
    return min(size, n_left)


def count_rows(request: Request, method: Method) -> int:
    """Return how many rows the model will see."""
    return request.layout.shape[0] * (method.n_rows or len(method.points)) * len(request.views)


def _progress(request: Request, n_rows: int) -> Any:
    return click.progressbar(
        length=n_rows, label="attributing", file=sys.stderr, hidden=not request.verbose, show_pos=True
    )


def _attribute(
    request: Request, X: Any, make: Make, rows: slice, batch_size: int, advance: Any, method: Method,
    attribute: Attribute,
) -> tuple[Group, Found]:  # fmt: skip
    """Bring sequences to the model and attribute them."""
    framework = make(request)
    x = framework.enter(X[rows])
    xp = find_backend(X=x).XP
    group = Group(request, rows, x, lambda array: xp.asarray(framework.enter(array), x), framework.read)
    if rows.start == rows.stop:  # nothing to attribute: results without rows, of the right shapes
        empty, n_targets = x[(slice(None), *[0] * (len(x.shape) - 1))], len(request.targets)
        return group, Found([x] * n_targets, [empty] * n_targets, [empty] * n_targets, [empty] * n_targets, ())
    arguments = tuple(framework.enter(array[rows]) for array in request.args)
    own = [None if positions is None else positions[rows] for positions in request.positions]
    return group, attribute(Work(group, make, batch_size, arguments, own, advance), method)


def _analyze(group: Group, found: Found) -> dict[str, list[Any]]:
    """Compute the fields asked for, for each target."""
    fields = group.request.fields
    maps = [_analyze_map(group, grad) for grad in found.maps]
    ends = {"prediction": found.predictions, "convergence_delta": found.deltas}
    return {
        field: ends[field] if field in ends else [one[field] for one in maps]
        for field in (("map",) if fields is None else fields)
    }


def _analyze_map(group: Group, grad: Any) -> dict[str, Any]:
    request, layout = group.request, group.request.layout
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
    found = ops.analyze(grad, x, outputs=wanted, **request.letters)._asdict() if wanted else {}
    return found | {PLAIN: grad}

"""Methods that are weighted means of gradients: a list of points, each of which makes an input of a group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._types import AnyArray
from ..backends import find_backend
from ._ready import Arrays, FindReference, Found, Group, Rows, Work
from ._request import Request


class Point(NamedTuple):
    """One gradient of each sequence."""

    weight: float
    step: float | None = None
    """Where it lies on a path from the reference, 0, to the sequence, 1; None for a sample around the sequence."""
    number: int = 0
    """Of the reference, or of the sample."""


@dataclass(frozen=True)
class Average:
    """A weighted mean of the gradients at some points, each sequence's in the order of the points."""

    points: tuple[Point, ...]
    make: Callable[[Group, Point], AnyArray]
    """The input of the model at a point."""
    needs_one_hot: bool = False
    mend: str = ""
    reference: FindReference | None = None
    """Of a path."""
    multiply_by_inputs: bool = False
    """Whether each gradient is multiplied by the difference of sequence and reference."""

    needs_gradients: ClassVar[bool] = True

    @property
    def extra(self) -> tuple[str, ...]:
        """Fields of AttributionMaps that there are beside those of every method."""
        return () if self.reference is None else ("convergence_delta",)

    @property
    def n_points(self) -> int:
        """Rows of each sequence."""
        return len(self.points)

    def count_rows(self, request: Request) -> int:
        """Return how many rows the model sees for each sequence."""
        return len(self.points)

    def run(self, work: Work) -> Found:
        """Add up the gradients at all points, as many points at a time as fit into a batch."""
        sums = _Sums(work, self)
        n_points = max(1, work.batch_size // work.group.size)
        for first in range(0, len(self.points), n_points):
            sums.take(self.points[first : first + n_points])
        return sums.finish()


class _Sums:
    """Sums over the points of a method, for one group; each in place."""

    def __init__(self, work: Work, method: Average) -> None:
        fields, n_targets = work.group.request.fields or (), len(work.positions)
        self._work, self._method = work, method
        self._wants_delta = "convergence_delta" in fields
        self._wants_ends = self._wants_delta or "prediction" in fields
        self._maps: Arrays = [None] * n_targets
        self._dots: Arrays = [0.0] * n_targets
        self._values: dict[float | None, Arrays] = {0.0: [0.0] * n_targets, 1.0: [0.0] * n_targets}
        self._last: tuple[Arrays, tuple[Any, ...]] = [], ()

    def take(self, points: Sequence[Point]) -> None:
        """Run the model at some points of all sequences, and add what comes out."""
        group, n = self._work.group, self._work.group.size
        inputs = [self._method.make(group, point) for point in points]
        rows: AnyArray = inputs[0]
        index: Rows = slice(None)
        if len(points) > 1:
            rows, index = find_backend(X=rows).XP.concat(inputs, 0), np.tile(np.arange(n), len(points))
        for seen in self._work.run(rows, index):
            values, grads = seen.values, seen.grads
            if len(self._method.points) > 1 or len(group.request.views) > 1:
                values, grads = ([group.near(array) for array in arrays] for arrays in (values, grads))
            for k, point in enumerate(points):
                is_all, part = len(points) == 1, slice(k * n, (k + 1) * n)
                self._add(point, grads if is_all else [grad[part] for grad in grads])
                self._add_end(point, values if is_all else [value[part] for value in values])
                self._last = values if is_all else [value[part] for value in values], seen.inputs

    def _add(self, point: Point, grads: Arrays) -> None:
        group, method = self._work.group, self._method
        weight = point.weight / len(group.request.views)
        add = self._work.model.framework.add
        if method.reference is not None and (method.multiply_by_inputs or self._wants_delta):
            _, difference = group.reference(method.reference, point.number)
            products = [grad * difference for grad in grads]
            if self._wants_delta:
                sums = [_sum_rows(product) * weight for product in products]
                self._dots = [dot + more for dot, more in zip(self._dots, sums, strict=True)]
            grads = products if method.multiply_by_inputs else grads
        self._maps = [add(total, grad, weight) for total, grad in zip(self._maps, grads, strict=True)]

    def _add_end(self, point: Point, values: Arrays) -> None:
        """Add the values at either end of a path."""
        if not self._wants_ends or point.step not in self._values:
            return
        share = 1 / (self._count(point.step) * len(self._work.group.request.views))
        ends = zip(self._values[point.step], values, strict=True)
        self._values[point.step] = [total + value * share for total, value in ends]

    def _count(self, step: float | None) -> int:
        return sum(point.step == step for point in self._method.points)

    def finish(self) -> Found:
        """Return what was found; the values at either end of a path are computed here if no point lay there."""
        work, method, group = self._work, self._method, self._work.group
        predictions, deltas = self._values[1.0], self._dots
        if self._wants_ends and not self._count(1.0):
            predictions = work.predict(group.x)
        if self._wants_delta and method.reference is not None:
            starts = self._values[0.0]
            if not self._count(0.0):
                n_references = 1 + max(point.number for point in method.points)
                for number in range(n_references):
                    values = work.predict(group.x * 0.0 + group.reference(method.reference, number)[0])
                    starts = [start + value / n_references for start, value in zip(starts, values, strict=True)]
            parts = zip(deltas, predictions, starts, strict=True)
            deltas = [dot - (end - start) for dot, end, start in parts]
        return Found(self._maps, predictions, deltas, *self._last)


def _sum_rows(array: AnyArray) -> AnyArray:
    return find_backend(array=array).XP.sum(array, axis=tuple(range(1, len(array.shape))))

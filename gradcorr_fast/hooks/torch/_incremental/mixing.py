"""The first operations that mix all positions, where a change of some of them changes the result by little work."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.fx import Node

from .._transfer import bring
from .graph import Unfollowed, given, name_of
from .steps import Facts, shape_of, windows_in
from .windows import Rows, Window


class Place(Protocol):
    """Gives a mix what it works on."""

    rows: Rows

    def change(self, node: Node) -> Window:
        """Return the changes of a node."""

    def new(self, node: Node) -> Window:
        """Return the new numbers of a node where they may have changed."""

    def reference(self, node: Node) -> torch.Tensor:
        """Return the numbers of a node in the sequences themselves."""

    def prepared(self, node: Node) -> Any:
        """Return what the mix of a node has prepared of the sequences."""

    def constant(self, value: Any) -> Any:
        """Return an argument that does not depend on the sequences."""


class Mix(NamedTuple):
    """How a node that mixes positions is computed for rows."""

    x: Node
    run: Callable[[Place], torch.Tensor]
    """Returns all of its numbers for the rows at work."""
    prepare: Callable[[torch.Tensor], Any] | None = None
    """Makes what `Place.prepared` returns of the numbers of `x` in the sequences; then new numbers are read."""


def mix_of(node: Node, facts: Facts) -> Mix:
    """Return how a change passes through an operation that mixes positions, or raise `Unfollowed`."""
    name, called = name_of(node), node
    if name == "getitem" and node.args[1] == 0:
        called = node.args[0]
        name = name_of(called)
    inputs, x = windows_in(called, facts), called.args[0]
    if inputs != [x]:
        raise Unfollowed("several of its inputs depend on the sequence")
    if name == "linear" and facts.is_flat(x):
        return _dense(node, x, facts)
    if facts.is_flat(x):
        raise Unfollowed("positions and channels are one axis in it")
    axis = facts.axis(x)
    is_one = name.startswith("adaptive") and axis == len(shape_of(x)) - 1 and list(called.args[1]) == [1]
    if name in ("sum", "mean") or (is_one and name == "adaptive_avg_pool1d"):
        return _total(node, x, axis, [axis] if is_one else given(node)["dim"])
    if name in ("amax", "max") or (is_one and name == "adaptive_max_pool1d"):
        dim = axis if is_one else given(called).get("dim", ())
        return _largest(node, x, axis, [dim] if isinstance(dim, int) else dim)
    raise Unfollowed("there is no rule for it")


def _dense(node: Node, x: Node, facts: Facts) -> Mix:
    """A dense layer on positions and channels as one axis: rows that change at the same place go together."""
    _, outer, length, inner = facts.shape(x)
    weight = facts.constant(node.args[1])
    by_position = weight.reshape(len(weight), outer, length, inner).permute(2, 1, 3, 0).reshape(length, -1, len(weight))

    def run(place: Place) -> torch.Tensor:
        window, rows = place.change(x), place.rows
        (start, width), change = window.span, window.tensor.transpose(1, 2).reshape(rows.n, -1)
        result = place.reference(node).index_select(0, rows.index)
        for first, begin, end in _runs(start):
            result[begin:end].addmm_(change[begin:end], by_position[first : first + width].flatten(0, 1))
        return result

    return Mix(x, run)


def _runs(start: Any) -> list[tuple[int, int, int]]:
    """Return where equal numbers stand next to each other: the number, where it begins, and where it ends."""
    begins = np.flatnonzero(np.diff(start, prepend=start[0] - 1)).tolist()
    return [(int(start[begin]), begin, end) for begin, end in zip(begins, [*begins[1:], len(start)], strict=True)]


def _total(node: Node, x: Node, axis: int, dims: list[int] | None) -> Mix:
    """A sum or mean over all positions, perhaps with other axes."""
    shape = shape_of(x)
    over = [dim % len(shape) for dim in (dims or range(len(shape)))]
    if 0 in over or axis not in over:
        raise Unfollowed("it mixes sequences")
    keeps = len(shape_of(node)) == len(shape)
    share = 1.0 if name_of(node) == "sum" else 1.0 / math.prod(int(shape[dim]) for dim in over)

    def run(place: Place) -> torch.Tensor:
        change = place.change(x).tensor.sum(over, keepdim=keeps)
        return place.reference(node).index_select(0, place.rows.index).add_(change, alpha=share)

    return Mix(x, run)


def _largest(node: Node, x: Node, axis: int, dims: list[int]) -> Mix:
    """The largest number of all positions: of those before the window, in it, and after it."""
    keeps = len(shape_of(node)) == len(shape_of(x))
    if [dim % len(shape_of(x)) for dim in dims] != [axis]:
        raise Unfollowed("it mixes other axes too")

    def prepare(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        edge = torch.full_like(numbers.narrow(axis, 0, 1), -torch.inf)
        before = torch.cat([edge, numbers.cummax(axis).values], axis)
        after = torch.cat([numbers.flip(axis).cummax(axis).values.flip(axis), edge], axis)
        return before.movedim(axis, 1), after.movedim(axis, 1)

    def run(place: Place) -> torch.Tensor:
        window, rows = place.new(x), place.rows
        before, after = place.prepared(node)
        start = bring(torch.as_tensor(window.span.start), window.tensor.device)
        outside = torch.maximum(before[rows.index, start], after[rows.index, start + window.span.width])
        largest = torch.maximum(window.tensor.amax(axis), outside)
        return largest.unsqueeze(axis) if keeps else largest

    return Mix(x, run, prepare)

"""How kernels walk through the arrays of a call, decided on numbers alone: in which order and pieces, and which copied.

The launchers for the host and for GPUs do what a plan says.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from types import EllipsisType
from typing import NamedTuple, TypeAlias

Field: TypeAlias = tuple[tuple[int, ...] | None, int, bool, bool]
"""An array of a call: its strides in bytes (None if it is still to be allocated), the bytes of an item, whether it has
the letter axis, and whether kernels can read its items as they are, aligned and of a dtype of theirs."""


class Plan(NamedTuple):
    """How to pass the arrays of a call to a kernel, which walks through C-contiguous memory."""

    order: tuple[int, ...]
    """Axes of the arrays with letters, in the order in which the gradient lies in memory."""
    order_without: tuple[int, ...]
    """Axes of the arrays without letters, in the same order."""
    is_reordered: bool
    lengths: tuple[int, ...]
    """Shape of the gradient in that order."""
    axis: int
    """Letter axis in that order."""
    copied: tuple[bool, ...]
    """Of each field, whether kernels cannot work on its memory, or on its part in a slab."""
    along: int | None
    """Axis, in that order, to cut into slabs; None if there is none but that of the letters."""
    step: int
    """Length of a slab."""
    n_slabs: int

    def order_of(self, has_letters: bool) -> tuple[int, ...]:
        """Axes of an array with or without letters, in the order of memory."""
        return self.order if has_letters else self.order_without

    def block_of(self, lengths: tuple[int, ...]) -> tuple[int, int, int]:
        """Positions before the letters, letters, positions behind them, of arrays or slabs of this shape."""
        return math.prod(lengths[: self.axis]), lengths[self.axis], math.prod(lengths[self.axis + 1 :])

    def slab(self, number: int, has_letters: bool) -> tuple[slice | EllipsisType, ...]:
        """Index of a slab in an array with its axes in the order of memory."""
        if self.along is None:
            return (...,)
        cut = self.along - (not has_letters and self.along > self.axis)
        return (*(slice(None),) * cut, slice(number * self.step, (number + 1) * self.step))


@lru_cache(maxsize=4096)
def plan(shape: tuple[int, ...], axis: int, fields: tuple[Field, ...], slab: int | None = None) -> Plan:
    """Plan a call on a gradient of this shape, the first of the fields.

    If anything must be copied, so that the whole goes through in slabs, each has about `slab` positions; None is one
    for all.
    """
    strides, item_bytes, _, _ = fields[0]
    assert strides is not None
    order = tuple(range(len(shape)))
    is_reordered = not is_dense(shape, strides, item_bytes)
    if is_reordered:
        order = memory_order(strides)
    orders = {True: order, False: tuple(k - (k > axis) for k in order if k != axis)}
    letters, lengths = order.index(axis), tuple(shape[k] for k in order)
    lengths_of = {True: lengths, False: (*lengths[:letters], *lengths[letters + 1 :])}

    def is_direct(field: Field) -> bool:
        strides, item_bytes, has_letters, is_readable = field
        if strides is None:
            return True
        seen = tuple(strides[k] for k in orders[has_letters])
        return is_readable and is_dense(lengths_of[has_letters], seen, item_bytes)

    copied = [not is_direct(field) for field in fields]
    others = [k for k in range(len(shape)) if k != letters]
    along, step = None, 1
    if others:
        along = max(others, key=lambda k: lengths[k])
        step = max(1, lengths[along])
        if any(copied) and slab is not None:
            step = max(1, slab * lengths[along] * lengths[letters] // max(1, math.prod(shape)))
    n_slabs = 1 if along is None else -(-lengths[along] // step)
    if along is not None and n_slabs > 1:  # a slab lies in one piece if nothing but it is cut off before
        cut = {True: along, False: along - (along > letters)}
        copied = [
            is_copied or math.prod(lengths_of[has_letters][: cut[has_letters]]) != 1
            for is_copied, (_, _, has_letters, _) in zip(copied, fields, strict=True)
        ]
    return Plan(order, orders[False], is_reordered, lengths, letters, tuple(copied), along, step, n_slabs)


def memory_order(strides: Sequence[int]) -> tuple[int, ...]:
    """The axes in the order in which they lie in memory."""
    return tuple(sorted(range(len(strides)), key=lambda k: -abs(strides[k])))


def is_dense(shape: Sequence[int], strides: Sequence[int], item_bytes: int) -> bool:
    """Whether elements lie one after the other, in the order of the axes: NumPy's C-contiguous."""
    if 0 in shape:
        return True
    span = item_bytes
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != span:
            return False
        span *= length
    return True

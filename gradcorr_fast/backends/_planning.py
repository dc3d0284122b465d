"""How kernels walk through the arrays of a call, decided on numbers alone: in which order and pieces, and which copied.

The launchers for the host and for GPUs do what a plan says.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from types import EllipsisType
from typing import NamedTuple, TypeAlias

Field: TypeAlias = tuple[tuple[int, ...], int, bool, bool]
"""An array of a call: its strides in bytes, the bytes of an item, whether it has the letter axis, and whether kernels
can read its items as they are, aligned and of a dtype of theirs."""


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
    block: tuple[int, int, int]
    """Positions before the letters, letters, positions behind them."""
    has_copies: bool
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
        """Block of a slab of this shape."""
        return _block(lengths, self.axis)

    def slab(self, number: int, has_letters: bool) -> tuple[slice | EllipsisType, ...]:
        """Index of a slab in an array with its axes in the order of memory."""
        if self.along is None:
            return (...,)
        cut = self.along - (not has_letters and self.along > self.axis)
        return (*(slice(None),) * cut, slice(number * self.step, (number + 1) * self.step))


@lru_cache(maxsize=4096)
def plan(shape: tuple[int, ...], axis: int, fields: tuple[Field, ...], slab: int | None = None) -> Plan:
    """Plan a call on a gradient of this shape, the first of the fields.

    If anything must be copied, the whole goes through in slabs of about `slab` positions; None is one for all.
    """
    strides, item_bytes, _, _ = fields[0]
    is_reordered = not is_dense(shape, strides, item_bytes)
    order = memory_order(strides) if is_reordered else tuple(range(len(shape)))
    orders = {True: order, False: tuple(k - (k > axis) for k in order if k != axis)}
    letters, lengths = order.index(axis), tuple(shape[k] for k in order)
    seen = {True: lengths, False: (*lengths[:letters], *lengths[letters + 1 :])}

    def is_copied(field: Field) -> bool:
        strides, item_bytes, has_letters, is_readable = field
        return not (is_readable and is_dense(seen[has_letters], [strides[k] for k in orders[has_letters]], item_bytes))

    copied = [is_copied(field) for field in fields]
    along = max((k for k in range(len(shape)) if k != letters), key=lambda k: lengths[k], default=None)
    step = n_slabs = 1
    if along is not None:
        step = max(1, lengths[along])
        if slab is not None and any(copied):
            step = max(1, slab * lengths[along] * lengths[letters] // max(1, math.prod(shape)))
        n_slabs = -(-lengths[along] // step)
        if (
            n_slabs > 1
        ):  # a slab of what is dense lies in one piece if there is one position before the axis that is cut
            cut = {True: along, False: along - (along > letters)}
            in_pieces = {has_letters: math.prod(seen[has_letters][: cut[has_letters]]) > 1 for has_letters in seen}
            copied = [is_apart or in_pieces[field[2]] for is_apart, field in zip(copied, fields, strict=True)]
    return Plan(
        order=order,
        order_without=orders[False],
        is_reordered=is_reordered,
        lengths=lengths,
        axis=letters,
        block=_block(lengths, letters),
        has_copies=any(copied),
        copied=tuple(copied),
        along=along,
        step=step,
        n_slabs=n_slabs,
    )


def _block(lengths: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    return math.prod(lengths[:axis]), lengths[axis], math.prod(lengths[axis + 1 :])


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

"""The angle penalty of a gradient, in the operations that every framework has: a term of a loss."""

from typing import Any

import numpy as np

from .. import ops
from .._types import AnyArray
from ..backends import find_backend
from ._layout import Layout


def penalty_of(grad: AnyArray, layout: Layout, letters: dict[str, Any]) -> AnyArray:
    """Return ``mean_n sqrt(sum_l angle[n, l]^2)`` in degrees, of gradients (N, ..., n_letters, ...).

    See `hooks.torch.angle_penalty`: the derivative is finite at 90 degrees, and 0 at zero gradients and in sequences
    whose angles are all 0.
    """
    xp = find_backend(grad=grad).XP
    angle = ops.simplex_angle(_in_range(grad, layout), **letters)
    squares = xp.sum(angle * angle, axis=tuple(range(1, len(grad.shape) - 1)))
    is_zero = squares == 0
    lengths = xp.where(is_zero, squares * 0, xp.sqrt(xp.where(is_zero, squares * 0 + 1, squares)))
    n = layout.shape[0]
    return xp.mean(lengths, axis=0) if n is None else xp.sum(lengths, axis=0) / max(n, 1)  # None: it is symbolic


def _in_range(grad: AnyArray, layout: Layout) -> AnyArray:
    """Divide each position by its largest magnitude, which changes no angle; the derivative is bounded."""
    xp = find_backend(grad=grad).XP
    fixed = xp.stop_gradient(grad)
    front: tuple[Any, ...] = (slice(None),) * (layout.axis % len(grad.shape))
    largest = xp.max(xp.abs(fixed[(*front, layout.letters)]), axis=len(front))[(*front, None)]
    smallest = float(np.finfo(find_backend(grad=grad).dtype_name(grad)).tiny) ** 0.5
    scale = xp.where(largest > 0, largest, largest * 0 + 1)
    return fixed / scale + (grad - fixed) / xp.where(largest > smallest, largest, largest * 0 + smallest)

"""Definitions of the operations in plain array code: what every other realisation is measured against.

In NumPy float64 these functions are the oracle of the tests. With another namespace `xp` the same lines run, are
differentiated and are compiled in PyTorch, JAX and TensorFlow. They are written to be read; nobody optimises them.
"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

NUMPY = SimpleNamespace(
    sum=np.sum,
    mean=np.mean,
    max=np.max,
    abs=np.abs,
    sqrt=np.sqrt,
    where=np.where,
    atan2=np.arctan2,
    log=np.log,
    log1p=np.log1p,
    take=np.take,
    stack=np.stack,
    concat=np.concatenate,
    asarray=lambda values, like: np.asarray(values, dtype=like.dtype),
    stop_gradient=lambda array: array,
)
"""What a namespace `xp` has to offer, as NumPy offers it."""

FIELDS = ("corrected", "angle", "grad_times_input", "substitution_effects")
"""The per-position maps that `analyze` can produce."""

WITH_LETTERS = ("corrected", "substitution_effects")
"""Those that keep the letter axis."""

OF_INPUT = ("grad_times_input", "substitution_effects")
"""Those that need the input."""


def _weighted_sum(grad: Any, x: Any, axis: int, xp: Any) -> Any:
    """Sum the letters weighted by `x`: one-hot of any real dtype, or codes, where the other letters never count."""
    if x.ndim == grad.ndim:
        return xp.sum(grad * xp.asarray(x, grad), axis=axis)
    axis = axis % grad.ndim
    letters = xp.asarray(range(grad.shape[axis]), x)
    letters = letters[tuple(slice(None) if k == axis else None for k in range(grad.ndim))]
    codes = x[tuple(None if k == axis else slice(None) for k in range(grad.ndim))]
    return xp.sum(xp.where(codes == letters, grad, 0.0), axis=axis)


def _mean(grad: Any, axis: int, background: Any, xp: Any) -> Any:
    """Mean over the letters, weighted by `background` where it is given; the letter axis is kept."""
    if background is None:
        return xp.mean(grad, axis=axis, keepdims=True)
    weights = xp.asarray(background, grad)
    weights = weights[tuple(slice(None) if k == axis % grad.ndim else None for k in range(grad.ndim))]
    return xp.sum(weights * grad, axis=axis, keepdims=True)


def correct(grad: Any, *, axis: int = -1, background: Any = None, xp: Any = NUMPY) -> Any:
    """Remove the part of the gradient that points off the simplex.

    Notes
    -----
    ``c[b] = g[b] - sum_a w[a] g[a]`` with ``w = 1/A``: Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023),
    doi:10.1186/s13059-023-02956-3, Eq. 3. A `background` other than uniform is this library's generalisation.
    """
    return grad - _mean(grad, axis, background, xp)


def simplex_angle(grad: Any, *, axis: int = -1, degrees: bool = True, xp: Any = NUMPY) -> Any:
    """Measure the signed angle of the gradient to the plane of the simplex.

    Notes
    -----
    ``atan2(sum_a g[a] / sqrt(A), |g - mean g|)``. The same paper writes ``arcsin(sum_a g[a] / (sqrt(A) |g|))``, equal
    in exact arithmetic and ill-conditioned near 90 degrees. Dividing by the largest magnitude first keeps the squares
    in range; the angle does not depend on scale, so no gradient flows through it. The double `where` keeps the
    derivative finite where an expression has none: it is 0 at a zero gradient.
    """
    largest = xp.stop_gradient(xp.max(xp.abs(grad), axis=axis, keepdims=True))
    scaled = grad / xp.where(largest > 0, largest, 1.0)
    total = xp.sum(scaled, axis=axis)
    squares = xp.sum(correct(scaled, axis=axis, xp=xp) ** 2, axis=axis)
    flat = squares == 0
    norm = xp.where(flat, 0.0, xp.sqrt(xp.where(flat, 1.0, squares)))
    zero = flat & (total == 0)
    angle = xp.where(zero, 0.0, xp.atan2(total / math.sqrt(grad.shape[axis]), xp.where(zero, 1.0, norm)))
    return angle * (180 / math.pi) if degrees else angle


def grad_times_input(
    grad: Any, x: Any, *, axis: int = -1, corrected: bool = True, background: Any = None, xp: Any = NUMPY
) -> Any:
    """Take the gradient at the observed letter: ``sum_a c[a] x[a]``, of the raw gradient if not `corrected`."""
    return _weighted_sum(correct(grad, axis=axis, background=background, xp=xp) if corrected else grad, x, axis, xp)


def substitution_effects(grad: Any, x: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """First-order effect of every substitution, ``g[b] - sum_a x[a] g[a]``.

    Notes
    -----
    The Taylor expansion of Sasse, Chikina, Mostafavi, iScience 27:110807 (2024), doi:10.1016/j.isci.2024.110807.
    """
    observed = _weighted_sum(grad, x, axis, xp)
    return grad - observed[tuple(None if k == axis % grad.ndim else slice(None) for k in range(grad.ndim))]


def analyze(
    grad: Any,
    x: Any = None,
    *,
    axis: int = -1,
    fields: tuple[str, ...] = FIELDS[:3],
    degrees: bool = True,
    corrected: bool = True,
    background: Any = None,
    xp: Any = NUMPY,
) -> tuple[Any, ...]:
    """Compute several of the maps above, in the order of `fields`."""
    compute = {
        "corrected": lambda: correct(grad, axis=axis, background=background, xp=xp),
        "angle": lambda: simplex_angle(grad, axis=axis, degrees=degrees, xp=xp),
        "grad_times_input": lambda: grad_times_input(
            grad, x, axis=axis, corrected=corrected, background=background, xp=xp
        ),
        "substitution_effects": lambda: substitution_effects(grad, x, axis=axis, xp=xp),
    }
    return tuple(compute[field]() for field in fields)


def edge_tolerance(dtype: Any) -> float:
    """Distance in degrees within which an angle counts as lying on an edge: 4 ulp of 90 degrees in `dtype`."""
    return float(4 * np.spacing(np.asarray(90, dtype)))


def summarize_angles(angle: Any, mask: Any, thresholds: Any, bins: int) -> tuple[Any, ...]:
    """Summarise angles in degrees, shape (..., length), NaN where undefined; `mask` True = counted, or None.

    Returns counts (..., T), n_positions, n_undefined, sums, sums_of_squares (...), histogram (bins,).
    An angle within `edge_tolerance` of an edge goes to the side of the edge that is nearer to zero.
    """
    angle = np.atleast_1d(angle)
    counted = np.ones(angle.shape, bool) if mask is None else np.asarray(mask, bool)
    defined = counted & np.isfinite(angle)
    angle = np.where(defined, angle, 0)
    tolerance = edge_tolerance(angle.dtype)
    above = np.abs(angle)[..., None] > np.asarray(thresholds, np.float64) + tolerance
    inward = np.sign(angle) * np.maximum(np.abs(angle) - tolerance, 0)
    slot = np.clip(np.floor((inward + 90) * (bins / 180)).astype(np.int64), 0, bins - 1)
    wide = angle.astype(np.float64)
    return (
        (above & defined[..., None]).sum(axis=-2),
        counted.sum(axis=-1),
        (counted & ~defined).sum(axis=-1),
        wide.sum(axis=-1),
        (wide**2).sum(axis=-1),
        np.bincount(slot[defined], minlength=bins),
    )


def defined_angle(grad: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """Angle in degrees, NaN where it is undefined: at zero gradients and those that are not finite."""
    nonzero = xp.max(xp.abs(grad), axis=axis) != 0
    return xp.where(nonzero, simplex_angle(grad, axis=axis, xp=xp), math.nan)


def angle_summary(
    grad: Any, *, axis: int = -1, thresholds: Any = (30, 45, 60), bins: int = 180, mask: Any = None
) -> tuple[Any, ...]:
    """Summarise the angles of sequences (..., length, letters); see `summarize_angles`.

    Notes
    -----
    Shares of positions beyond 30, 45 and 60 degrees: Fig. 1c, d of the paper cited in `correct`; all positions are in
    the denominator, undefined ones included.
    """
    return summarize_angles(defined_angle(grad, axis=axis), mask, thresholds, bins)

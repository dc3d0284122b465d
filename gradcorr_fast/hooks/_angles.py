"""Angles of a sequence in a few numbers, made where the gradient is."""

from collections.abc import Sequence

from .._types import AnyArray
from ..backends import find_backend
from ..kernels.reference import edge_tolerance


def summarize(angle: AnyArray, grad: AnyArray, x: AnyArray, axis: int, thresholds: Sequence[float]) -> AnyArray:
    """Return shares of angles above thresholds, their mean and standard deviation, (n, thresholds + 2); see `ops`.

    Positions without a letter in `x` do not count, nor do those without a gradient in mean and deviation.
    """
    backend = find_backend(angle=angle)
    xp, n = backend.XP, angle.shape[0]

    def flat(array: AnyArray) -> AnyArray:
        return xp.reshape(xp.asarray(array, angle), (n, -1))

    angles, is_known = flat(angle), flat(xp.max(x, axis=axis))
    is_defined = xp.where(flat(xp.max(xp.abs(grad), axis=axis)) > 0, is_known, 0.0)
    n_known, n_defined = xp.sum(is_known, axis=1), xp.sum(is_defined, axis=1)
    tolerance = edge_tolerance("float64" if backend.dtype_name(angle) == "float64" else "float32")
    is_above = [xp.where(xp.abs(angles) > threshold + tolerance, is_known, 0.0) for threshold in thresholds]
    mean = xp.sum(angles * is_defined, axis=1) / n_defined
    off = (angles - mean[:, None]) * is_defined
    deviation = xp.sqrt(xp.sum(off * off, axis=1) / n_defined)
    return xp.stack([*(xp.sum(one, axis=1) / n_known for one in is_above), mean, deviation], 1)

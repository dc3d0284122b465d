"""`gradient_correction.geomath`: the correction, angles and comparisons of maps, by the authors' names.

Maps are (N, L, A), of NumPy or any library that `gf.correct` takes. Angles are exact: the authors take pi as 3.1416.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from ... import metrics, ops
from ..._types import AnyArray, Array
from ...backends import find_backend
from ...kernels.reference import edge_tolerance

__all__ = [
    "L2",
    "attribution_correction",
    "calculate_angles",
    "cosine_similarity",
    "cosine_similarity_individual_nucleotides",
    "count_large_angles",
    "dispersion",
    "dispersion_bins_func",
    "saliency_correction",
    "scalar_product_set",
]

N_BINS = 37
"""Bins of angles, which are drawn at -90, -85, ..., 90 degrees."""


def attribution_correction(attr_score: AnyArray) -> AnyArray:
    """Return maps (N, L, A) without the part that is off the simplex; see `ops.correct`.

    Examples
    --------
    >>> attribution_correction(np.array([[[1.0, 2.0, 3.0, 6.0]]]))
    array([[[-2., -1.,  0.,  3.]]])
    """
    return ops.correct(attr_score, axis=2)


def saliency_correction(saliency_score: AnyArray, axis: int = -1) -> AnyArray:
    """Return maps without the part that is off the simplex, with the letters on any axis; see `ops.correct`."""
    return ops.correct(saliency_score, axis=axis)


def calculate_angles(saliency_score: AnyArray) -> AnyArray:
    """Return the signed angle to the simplex at each position in degrees; see `ops.simplex_angle`.

    It is not a number where the gradient is zero, as with the authors, whose `dispersion_bins_func` leaves these out.
    """
    xp = find_backend(saliency_score=saliency_score).XP
    is_zero = xp.max(xp.abs(saliency_score), axis=-1) == 0
    return xp.where(is_zero, np.nan, ops.simplex_angle(saliency_score))


def count_large_angles(sine: Array, threshold: float = 30) -> Array:
    """Return what percentage of the positions of each sequence have larger angles.

    Parameters
    ----------
    sine : array, shape (runs, N, L)
        Angles in degrees, such as `calculate_angles` returns of several runs.
    threshold : float
        Degrees.

    Returns
    -------
    array, shape (runs * N,), float64
        An angle within 4 ulp of 90 degrees of the threshold is not above it. See `gf.angle_summary(...).fractions` for
        shares in one pass over the gradients.

    Examples
    --------
    >>> count_large_angles(np.array([[[10.0, -40.0, 50.0, 0.0]]]))
    array([50.])
    """
    angles = np.asarray(sine)
    percentage: Array = 100 * (np.abs(angles) > threshold + edge_tolerance(angles.dtype)).mean(-1).reshape(-1)
    return percentage


def cosine_similarity(x1: AnyArray, x2: AnyArray) -> float:
    """Return the mean over sequences of the cosine of two maps (N, L, A); see `metrics.cosine_similarity`."""
    return float(np.average(np.asarray(metrics.cosine_similarity(x1, x2))))


def scalar_product_set(x1: AnyArray, x2: AnyArray) -> AnyArray:
    """Return the cosine of two maps of each sequence, (N,); see `metrics.cosine_similarity`."""
    return metrics.cosine_similarity(x1, x2)


def cosine_similarity_individual_nucleotides(x1: AnyArray, x2: AnyArray) -> AnyArray:
    """Return the cosine of two maps at each position; see `metrics.positionwise_cosine_similarity`."""
    return metrics.positionwise_cosine_similarity(x1, x2)


def L2(saliency_score: Array) -> Array:
    """Return the length of the gradient at each position."""
    length: Array = np.linalg.norm(saliency_score, axis=-1)
    return length


def dispersion(saliency_score: AnyArray, saliency_score_ensemble: AnyArray) -> AnyArray:
    """Return how far maps are from those of an ensemble at each position.

    Parameters
    ----------
    saliency_score : array, shape (N, L, A) or (runs, N, L, A)
    saliency_score_ensemble : array, shape (N, L, A)

    Returns
    -------
    array, without the axis of letters
        See `metrics.ensemble_difference`.
    """
    if len(saliency_score.shape) == len(saliency_score_ensemble.shape):
        return metrics.ensemble_difference(saliency_score[None], saliency_score_ensemble)[0]
    return metrics.ensemble_difference(saliency_score, saliency_score_ensemble)


def dispersion_bins_func(
    experiments: Iterable[str], dispersion: Mapping[str, Array], sine_flattened: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the mean dispersion in each of 37 bins of the angle, for each experiment.

    Parameters
    ----------
    experiments : iterable of str
        Keys of the others.
    dispersion : mapping to arrays
        Of any shape, flattened here.
    sine_flattened : mapping to arrays, shape (n,)
        Angles in degrees in the same order; those that are not numbers are left out.

    Returns
    -------
    dict of arrays, shape (37,), float64
        Not a number in empty bins. 90 degrees belong to the last bin; the authors' function fails there.
    """
    found = {}
    for name in experiments:
        angle = np.asarray(sine_flattened[name], np.float64)
        is_known = ~np.isnan(angle)
        bins = np.clip((angle[is_known] + 90) / 180 * N_BINS, 0, N_BINS - 1).astype(np.int64)
        sums = np.bincount(bins, np.asarray(dispersion[name]).reshape(-1)[is_known], N_BINS)
        counts = np.bincount(bins, minlength=N_BINS)
        found[name] = np.divide(sums, counts, out=np.full(N_BINS, np.nan), where=counts > 0)
    return found

"""Metrics of attribution maps, for whole batches: agreement with a ground truth, and distance from an ensemble.

What the papers compute with scikit-learn in a Python loop, equal to it in float64. NumPy, PyTorch, TensorFlow and JAX
arrays on the CPU go through the kernels. Where arrays are traced, differentiated or elsewhere, the plain formula runs;
what needs a sort (`auroc`, `aupr`, `average_precision`, `interpretability`) says that it cannot. Dask arrays are taken
block by block with `dask.array.map_blocks`.
"""

import math
from typing import NamedTuple

import numpy as np

from . import _metrics
from ._types import AnyArray, Array

__all__ = [
    "DifferenceByAngle",
    "Interpretability",
    "aupr",
    "auroc",
    "average_precision",
    "cosine_similarity",
    "ensemble_difference",
    "ensemble_difference_by_angle",
    "ensemble_difference_reduction",
    "information_content",
    "interpretability",
    "positionwise_cosine_similarity",
]


class Interpretability(NamedTuple):
    """How well a map finds the motifs of each sequence."""

    auroc: AnyArray
    """Area below the receiver operating characteristic, shape (N,), float64."""
    aupr: AnyArray
    """Area below the precision-recall curve by trapezoids, shape (N,), float64."""
    information: AnyArray
    """Information of the ground truth in bits, shape (N, L), float64."""


class DifferenceByAngle(NamedTuple):
    """Distance from the ensemble in bins of the angle of the single map, NumPy arrays of shape (bins,)."""

    reduction: Array
    """Share of the distance that goes with the correction, (sum before - sum after) / sum before; NaN if empty."""
    counts: Array
    """Positions of all members, int64; those without an angle are left out."""
    before: Array
    """Sum of the distances of the maps as they are, float64."""
    after: Array
    """Sum of the distances of the corrected maps, float64."""

    @property
    def edges(self) -> Array:
        """Edges of the bins in degrees, shape (bins + 1,)."""
        return np.linspace(-90, 90, len(self.counts) + 1)


def cosine_similarity(a: AnyArray, b: AnyArray, *, axis: int = -1, n_letters: int | None = None) -> AnyArray:
    """Take the cosine of the angle between two maps of each sequence, over all its positions and letters.

    Parameters
    ----------
    a, b : array, shape (..., L, n_letters), or (..., n_letters, L) with axis=-2
        Maps, of any float dtype, of one library and one shape. The last axis that is not the letter axis is the
        position axis; all before it are sequences.
    axis, n_letters : int
        Letter axis, and its length for arrays where a wrong axis would otherwise be suspected.

    Returns
    -------
    array, shape (...), float64
        NaN where one of the maps is zero or not finite.

    Notes
    -----
    ``<a, b> / (|a| |b|)``. The paper compares a gradient G with ``ppm - 1/n_letters``, and takes the mean over the
    sequences. Each position of such a truth sums to 0, so that for the corrected gradient Gc::

        cosine after = cosine before * |G| / |Gc|

    exactly: it grows where it was positive and falls where it was negative, whatever the gradient. **A better cosine
    after the correction is an identity and no evidence**; `interpretability` can tell. Maps of any scale have a cosine.

    Examples
    --------
    >>> cosine_similarity(np.array([[[3.0, 1.0, 1.0, 1.0]]]), np.array([[[0.75, -0.25, -0.25, -0.25]]]))
    array([0.5])
    """
    front = _metrics.check_pair(a, b, axis, n_letters)
    return _metrics.run("cosine_similarity", {"a": a, "b": b}, axis=front)


def positionwise_cosine_similarity(
    a: AnyArray, b: AnyArray, *, axis: int = -1, n_letters: int | None = None
) -> AnyArray:
    """Take the cosine of the angle between two maps at each position.

    Parameters
    ----------
    a, b : array, shape (..., n_letters, ...)
        See `cosine_similarity`, also for `axis` and `n_letters`.

    Returns
    -------
    array, shape of `a` without the letter axis
        float32 (float64 for float64). NaN where one of the maps is zero, such as a truth where nothing is planted.

    Notes
    -----
    Against a truth that sums to 0 at each position, the corrected map has

        cosine after - cosine before = cosine after * (1 - cos(angle to the simplex))

    exactly: an identity, as in `cosine_similarity`, and no evidence.

    Examples
    --------
    >>> positionwise_cosine_similarity(np.array([[3.0, 1.0, 1.0, 1.0]]), np.array([[0.75, -0.25, -0.25, -0.25]]))
    array([0.5])
    """
    front = _metrics.check_pair(a, b, axis, n_letters)
    return _metrics.run("positionwise_cosine_similarity", {"a": a, "b": b}, axis=front)


def information_content(ppm: AnyArray, *, axis: int = -1, n_letters: int | None = None) -> AnyArray:
    """Compute the information of each position in bits.

    Parameters
    ----------
    ppm : array, shape (..., n_letters, ...)
        Probability of each letter at each position.
    axis, n_letters
        See `cosine_similarity`.

    Returns
    -------
    array, shape of `ppm` without the letter axis
        0 for letters that are equally probable, log2(n_letters) for a letter that is certain. float32 (float64 for
        float64).

    Raises
    ------
    ValueError
        If the letters of a position do not hold probabilities that sum to 1, to within 0.01.

    Notes
    -----
    ``log2 n_letters + sum_a p[a] log2 p[a]``, never below 0, and 0 log 0 = 0. The scripts of the paper add 1e-10 inside
    the logarithm, which moves the result by at most 6e-10 bits.

    Examples
    --------
    >>> information_content(np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))
    array([0., 1., 2.])
    """
    front = _metrics.check_map("ppm", ppm, axis, n_letters)
    return _metrics.run("information_content", {"ppm": ppm}, axis=front)


def auroc(scores: AnyArray, labels: AnyArray, mask: AnyArray = None, *, nan_policy: str = "raise") -> AnyArray:
    """Compute the area below the receiver operating characteristic of each sequence.

    Parameters
    ----------
    scores : array, shape (..., L)
        The higher, the more likely a positive. float16, bfloat16, float32 or float64; two scores tie exactly when they
        are equal in this dtype (0 and -0 are). Infinity is a score like others, unlike in scikit-learn.
    labels : array, shape of `scores`
        Boolean, or 0 and 1.
    mask : boolean array, shape of `scores`, optional
        True = counted.
    nan_policy : {"raise", "omit"}
        What to do where a score that counts is NaN. It has no rank; by default that is an error, as in scikit-learn,
        since a NaN in a gradient rather tells of a fault than of a missing value, and leaving it out makes sequences
        look better than they are. "omit" leaves it out as a mask would.

    Returns
    -------
    array, shape (...), float64
        NaN, with one warning for the whole call, where the positions that count have one class only or there are none.
        JAX returns float32 unless it is told to use 64 bits.

    Raises
    ------
    TypeError
        If the arrays are traced, or of a wrong dtype or of different libraries.
    ValueError
        If shapes differ, labels are not 0 and 1, or a score is NaN.

    Notes
    -----
    The share of pairs in which the positive has the higher score, ties counting half; scikit-learn's `roc_auc_score`.

    Examples
    --------
    >>> auroc(np.array([[0.1, 0.4, 0.35, 0.8]]), np.array([[0, 0, 1, 1]]))
    array([0.75])
    """
    return _metrics.rank("auroc", scores, labels, mask, nan_policy)


def aupr(scores: AnyArray, labels: AnyArray, mask: AnyArray = None, *, nan_policy: str = "raise") -> AnyArray:
    """Compute the area below the precision-recall curve of each sequence by trapezoids, as the papers do.

    Parameters
    ----------
    scores, labels, mask, nan_policy
        See `auroc`.

    Returns
    -------
    array, shape (...), float64
        As `auroc`.

    Notes
    -----
    scikit-learn's ``auc(recall, precision)``. It differs from `average_precision`, which takes steps instead of
    straight lines: the lines are too high (Davis, Goadrich, ICML 2006), above all with ties. Scores that are all equal
    have ``(1 + share of positives) / 2`` here, and the share of positives there. Use it to compare with the papers.

    Examples
    --------
    >>> aupr(np.array([[0.1, 0.4, 0.35, 0.8]]), np.array([[0, 0, 1, 1]])).round(4)
    array([0.7917])
    """
    return _metrics.rank("aupr", scores, labels, mask, nan_policy)


def average_precision(
    scores: AnyArray, labels: AnyArray, mask: AnyArray = None, *, nan_policy: str = "raise"
) -> AnyArray:
    """Compute the average precision of each sequence: the area below the precision-recall curve by steps.

    Parameters
    ----------
    scores, labels, mask, nan_policy
        See `auroc`.

    Returns
    -------
    array, shape (...), float64
        As `auroc`; where all positions are of one class, scikit-learn gives 1 or 0 instead of NaN.

    Notes
    -----
    scikit-learn's `average_precision_score`. Not what the papers call AUPR, which is `aupr`.

    Examples
    --------
    >>> average_precision(np.array([[0.1, 0.4, 0.35, 0.8]]), np.array([[0, 0, 1, 1]])).round(4)
    array([0.8333])
    """
    return _metrics.rank("average_precision", scores, labels, mask, nan_policy)


def interpretability(
    grad_times_input: AnyArray,
    ground_truth: AnyArray,
    *,
    axis: int = -1,
    threshold: float = 0.1,
    nan_policy: str = "raise",
    n_letters: int | None = None,
) -> Interpretability:
    """Measure how well the map of each sequence finds what was planted in it, as the paper does.

    Parameters
    ----------
    grad_times_input : array, shape (..., L)
        Scores of the positions, such as `ops.grad_times_input` gives.
    ground_truth : array, shape (..., L, n_letters), or (..., n_letters, L) with axis=-2
        Probability of each letter at each position; not minus 1/n_letters.
    axis, n_letters
        Letter axis of `ground_truth`, see `cosine_similarity`.
    threshold : float
        Bits above which a position is a positive; 0.1 in the paper, 5 % of what four letters can hold.
    nan_policy : {"raise", "omit"}
        See `auroc`.

    Returns
    -------
    Interpretability
        `auroc`, `aupr` and `information`. The paper takes the mean over sequences.

    Notes
    -----
    Positives have more than `threshold` bits. Negatives are the positions with the least information of the sequence,
    0 where nothing is planted; what lies between is left out. Unlike the cosine, neither score is bound to improve.

    Examples
    --------
    >>> truth = np.array([[[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.3, 0.25, 0.25, 0.2]]])
    >>> interpretability(np.array([[2.0, -1.0, 3.0]]), truth).auroc
    array([1.])
    """
    front = _metrics.check_truth(grad_times_input, ground_truth, axis, n_letters)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number) or math.isnan(threshold):
        raise TypeError(f"threshold must be a number of bits, such as 0.1; got {threshold!r}")
    omit = _metrics.omits_nan(nan_policy)
    arrays = {"grad_times_input": grad_times_input, "ground_truth": ground_truth}
    results = _metrics.run("interpretability", arrays, axis=front, threshold=float(threshold), omit_nan=omit)
    _metrics.warn_of_one_class(results[0], "interpretability")
    return Interpretability(*results)


def ensemble_difference(
    maps: AnyArray, ensemble: AnyArray, *, axis: int = -1, n_letters: int | None = None
) -> AnyArray:
    """Measure how far the map of each member of an ensemble is from that of the ensemble, at each position.

    Parameters
    ----------
    maps : array, shape (M, ..., n_letters, ...), such as (M, N, L, 4)
        Maps of M members.
    ensemble : array, shape of ``maps[0]``
        The paper takes ``maps.mean(0)`` of 50 maps before the correction, also to measure corrected ones.
    axis : int
        Letter axis of `maps`: -1 for (M, N, L, 4), -2 for (M, N, 4, L).
    n_letters : int, optional
        See `cosine_similarity`.

    Returns
    -------
    array, shape of `maps` without the letter axis, (M, N, L)
        float32 (float64 for float64). Members are streamed: no array as large as `maps` is written on the way.

    Notes
    -----
    ``|s[l] - e[l]|``, the length over the letters.

    Examples
    --------
    >>> ensemble_difference(np.array([[[[3.0, 0.0, 0.0, 4.0]]]]), np.zeros((1, 1, 4)))
    array([[[5.]]])
    """
    front = _metrics.check_ensemble(maps, ensemble, axis, n_letters)
    return _metrics.run("ensemble_difference", {"maps": maps, "ensemble": ensemble}, axis=front)


def ensemble_difference_reduction(
    maps: AnyArray, ensemble: AnyArray, *, axis: int = -1, n_letters: int | None = None
) -> AnyArray:
    """Measure what share of the distance from the ensemble goes when the maps of its members are corrected.

    Parameters
    ----------
    maps, ensemble, axis, n_letters
        See `ensemble_difference`; `maps` as they are before the correction, which is made here.

    Returns
    -------
    array, shape of `maps` without the letter axis
        1 where the distance goes altogether, 0 where it stays, negative where it grows, NaN where there was none.

    Notes
    -----
    ``1 - |s'[l] - e[l]| / |s[l] - e[l]|`` with the corrected map s' and the uncorrected ensemble e. For the paper's
    curve against the angle see `ensemble_difference_by_angle`: a mean of these ratios is another number.

    Examples
    --------
    >>> ensemble_difference_reduction(np.array([[[[3.0, 1.0, 1.0, 3.0]]]]), np.array([[[1.0, -1.0, -1.0, 1.0]]]))
    array([[[1.]]])
    """
    front = _metrics.check_ensemble(maps, ensemble, axis, n_letters)
    return _metrics.run("ensemble_difference_reduction", {"maps": maps, "ensemble": ensemble}, axis=front)


def ensemble_difference_by_angle(
    maps: AnyArray, ensemble: AnyArray, *, axis: int = -1, bins: int = 37, n_letters: int | None = None
) -> DifferenceByAngle:
    """Measure the reduction of the distance from the ensemble against the angle to the simplex.

    Parameters
    ----------
    maps, ensemble, axis, n_letters
        See `ensemble_difference_reduction`.
    bins : int
        Number of bins over [-90, 90] degrees; 37 in the paper, which draws them at -90, -85, ..., 90.

    Returns
    -------
    DifferenceByAngle
        NumPy arrays, whatever the library of `maps`. Summaries of parts can be added, all but `reduction`.

    Notes
    -----
    ``bin = floor((angle + 90) / 180 * bins)`` of the angle of the single map; in each bin a ratio of means, not a mean
    of ratios. Positions with a zero or non-finite gradient have no angle and are left out.

    Examples
    --------
    >>> by_angle = ensemble_difference_by_angle(np.ones((2, 3, 5, 4)), np.zeros((3, 5, 4)), bins=3)
    >>> by_angle.reduction, by_angle.counts
    (array([nan, nan,  1.]), array([ 0,  0, 30]))
    """
    front = _metrics.check_ensemble(maps, ensemble, axis, n_letters)
    if isinstance(bins, bool) or not hasattr(bins, "__index__") or not 1 <= bins <= 1_000_000:
        raise ValueError(f"bins must be an int from 1 to 1000000; got {bins!r}")
    arrays = {"maps": maps, "ensemble": ensemble}
    counts, before, after = _metrics.run(
        "ensemble_difference_by_angle", arrays, on_host=True, axis=front, bins=int(bins)
    )
    reduction = np.divide(before - after, before, out=np.full(len(before), math.nan), where=before > 0)
    return DifferenceByAngle(reduction, counts, before, after)

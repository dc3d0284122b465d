"""Definitions of the metrics in plain array code: what every other realisation is measured against.

As `reference.py`: in NumPy float64 the oracle of the tests, guarded by scikit-learn; with another namespace `xp` those
that rank nothing run, are differentiated and are compiled in PyTorch, JAX and TensorFlow. Nobody optimises this file.
"""

import math
from typing import Any

import numpy as np

from .reference import NUMPY, correct

RANKINGS = ("auroc", "aupr", "average_precision")
"""The metrics that come from one ranking of the scores of a sequence."""


def _scaled(array: Any, axis: Any, xp: Any) -> Any:
    """Divide by the largest magnitude along `axis`, so that squares stay in range; a cosine does not depend on it."""
    largest = xp.stop_gradient(xp.max(xp.abs(array), axis=axis, keepdims=True))
    return array / xp.where(largest > 0, largest, 1.0)


def _cosine(a: Any, b: Any, axis: Any, xp: Any) -> Any:
    a, b = _scaled(a, axis, xp), _scaled(b, axis, xp)
    squares = xp.sum(a * a, axis=axis) * xp.sum(b * b, axis=axis)
    undefined = squares == 0
    return xp.where(undefined, math.nan, xp.sum(a * b, axis=axis) / xp.sqrt(xp.where(undefined, 1.0, squares)))


def map_axes(ndim: int, axis: int) -> tuple[int, ...]:
    """Axes of the map of one sequence, counted from the front: that of the letters and that of the positions."""
    letters = axis % ndim
    return (*[k for k in range(ndim) if k != letters][-1:], letters)


def cosine_similarity(a: Any, b: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """Cosine of the angle between two maps of a sequence, over all its positions and letters; NaN if one is zero.

    Notes
    -----
    ``<a, b> / (|a| |b|)``: Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), doi:10.1186/s13059-023-02956-3,
    Methods, with b the ground truth minus 1/A.
    """
    return _cosine(a, b, map_axes(len(a.shape), axis), xp)


def positionwise_cosine_similarity(a: Any, b: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """Cosine of the angle between two maps at each position; NaN where one of them is zero.

    Notes
    -----
    ``<a[l], b[l]> / (|a[l]| |b[l]|)``: Fig. 3b of Majdandzic, Koo, ICML Workshop on Computational Biology (2021).
    """
    return _cosine(a, b, axis, xp)


def information_content(ppm: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """Information of each position in bits, ``log2 A + sum_a p[a] log2 p[a]`` with 0 log 0 = 0, and never below 0.

    Notes
    -----
    Schneider, Stormo, Gold, Ehrenfeucht, J. Mol. Biol. 188:415 (1986), doi:10.1016/0022-2836(86)90165-8, without the
    correction for small samples. The scripts of the paper on the correction add 1e-10 inside the logarithm, which
    moves the result by at most 6e-10 bits for four letters; the paper prints the sign before the sum wrong.
    """
    logarithms = xp.log(xp.where(ppm > 0, ppm, 1.0)) / math.log(2)
    bits = math.log2(ppm.shape[axis]) + xp.sum(ppm * logarithms, axis=axis)
    return xp.where(bits > 0, bits, bits * 0)  # times 0, which keeps NaN


def ensemble_difference(maps: Any, ensemble: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """Distance of the map of each member (M, ...) from that of the ensemble (...) at each position.

    Notes
    -----
    ``|s[l] - e[l]|``: Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), Methods, with e the mean of the maps.
    The double `where` keeps the derivative finite; it is 0 where there is no difference.
    """
    difference = maps - ensemble[None]
    largest = xp.stop_gradient(xp.max(xp.abs(difference), axis=axis, keepdims=True))
    scale = xp.where(largest > 0, largest, 1.0)
    squares = xp.sum((difference / scale) ** 2, axis=axis)
    length = xp.where(squares == 0, 0.0, xp.sqrt(xp.where(squares == 0, 1.0, squares)))
    return length * xp.max(scale, axis=axis)


def ensemble_difference_reduction(maps: Any, ensemble: Any, *, axis: int = -1, xp: Any = NUMPY) -> Any:
    """Share of the distance from the ensemble that goes when the maps are corrected and the ensemble is not.

    Notes
    -----
    ``1 - |s'[l] - e[l]| / |s[l] - e[l]|`` with s' the corrected map: as above; NaN where the distance is 0.
    """
    before = ensemble_difference(maps, ensemble, axis=axis, xp=xp)
    after = ensemble_difference(correct(maps, axis=axis, xp=xp), ensemble, axis=axis, xp=xp)
    return xp.where(before == 0, math.nan, 1 - after / xp.where(before == 0, 1.0, before))


def ensemble_difference_by_angle(
    maps: Any, ensemble: Any, angle: Any, *, axis: int = -1, bins: int = 37
) -> tuple[Any, ...]:
    """Counts, and sums of the distance before and after the correction, in bins of the angle in degrees (M, ...).

    Notes
    -----
    ``bin = floor((angle + 90) / 180 * bins)``; NaN angles are left out: the scripts of the paper, Additional file 1
    Fig. S5, which draw the reduction ``(sum before - sum after) / sum before`` of each bin.
    """
    before = ensemble_difference(maps, ensemble, axis=axis)
    after = ensemble_difference(correct(maps, axis=axis), ensemble, axis=axis)
    defined = ~np.isnan(angle)
    slot = np.clip(np.floor((angle[defined] + 90) / 180 * bins).astype(np.int64), 0, bins - 1)
    return tuple(np.bincount(slot, weights, bins) for weights in (None, before[defined], after[defined]))


# --- from a ranking: the scores (L,) and the truth (L,) of the positions of one sequence that count ---


def _ranked(scores: Any, labels: Any) -> tuple[Any, Any]:
    """Positives and negatives at or above each distinct score, the highest score first, after a first point 0, 0."""
    labels = np.asarray(labels, bool)
    distinct = np.unique(scores)[::-1]
    true = [0, *[int(np.sum(labels & (scores >= score))) for score in distinct]]
    false = [0, *[int(np.sum(~labels & (scores >= score))) for score in distinct]]
    return np.array(true), np.array(false)


def auroc(scores: Any, labels: Any) -> float:
    """Area below the receiver operating characteristic, by trapezoids; NaN with one class.

    Notes
    -----
    The probability that a positive outranks a negative, ties counting half: Mann, Whitney, Ann. Math. Stat. 18:50
    (1947); Fawcett, Pattern Recognition Letters 27:861 (2006), doi:10.1016/j.patrec.2005.10.010.
    """
    true, false = _ranked(scores, labels)
    if not true[-1] or not false[-1]:
        return math.nan
    return float(np.sum((true[1:] + true[:-1]) * np.diff(false)) / (2 * true[-1] * false[-1]))


def _precision(true: Any, false: Any) -> Any:
    return np.concatenate([[1.0], true[1:] / (true[1:] + false[1:])])


def aupr(scores: Any, labels: Any) -> float:
    """Area below the precision-recall curve by trapezoids, from recall 0 and precision 1; NaN with one class.

    Notes
    -----
    scikit-learn's ``auc(recall, precision)`` of its `precision_recall_curve`, which the paper on the correction calls
    AUPR. A straight line between two points of this curve is too high: Davis, Goadrich, ICML (2006),
    doi:10.1145/1143844.1143874; with all scores equal it gives more than one half.
    """
    true, false = _ranked(scores, labels)
    if not true[-1] or not false[-1]:
        return math.nan
    precision = _precision(true, false)
    return float(np.sum(np.diff(true) * (precision[1:] + precision[:-1])) / (2 * true[-1]))


def average_precision(scores: Any, labels: Any) -> float:
    """Mean of the precision over the positives: the same curve by steps; NaN with one class.

    Notes
    -----
    ``sum_k (recall[k] - recall[k-1]) precision[k]``: scikit-learn's `average_precision_score`.
    """
    true, false = _ranked(scores, labels)
    if not true[-1] or not false[-1]:
        return math.nan
    return float(np.sum(np.diff(true) * _precision(true, false)[1:]) / true[-1])


def interpretability(
    grad_times_input: Any, ground_truth: Any, *, axis: int = -1, threshold: float = 0.1
) -> tuple[Any, Any, Any]:
    """AUROC and AUPR of each sequence (N,), and the information of its positions (N, L).

    Notes
    -----
    Positives have more than `threshold` bits, negatives the least information of the sequence, the rest is left out:
    Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), Methods.
    """
    information = information_content(ground_truth, axis=axis)
    results = []
    for scores, bits in zip(grad_times_input, information, strict=True):
        positive = bits > threshold
        counted = positive | (bits == bits.min())
        results.append((auroc(scores[counted], positive[counted]), aupr(scores[counted], positive[counted])))
    found = np.array(results).reshape(-1, 2)
    return found[:, 0], found[:, 1], information

"""Angle summaries: what share of positions points far off the simplex, without writing an angle for each."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ._check import check_axis, check_thresholds, select_letters
from ._show import html_table
from ._types import AnyArray, Array
from .backends import find_backend

__all__ = ["AngleSummary", "angle_summary", "merge"]


@dataclass(frozen=True, eq=False, repr=False)
class AngleSummary:
    """Angles of sequences to the simplex: counts for each sequence, a histogram over all. NumPy arrays.

    Positions with a zero or non-finite gradient are undefined: not in histogram, mean and std, but in the denominator
    of `fractions`, as in the paper.
    """

    counts: Array
    """Positions above each threshold, shape (N, T), int64."""
    n_positions: Array
    """Positions that count, shape (N,), int64."""
    n_undefined: Array
    """Those of them without an angle, shape (N,), int64."""
    sums: Array
    """Sum of the angles in degrees, shape (N,), float64."""
    sums_of_squares: Array
    """Sum of the squared angles, shape (N,), float64."""
    histogram: Array
    """Positions in each bin over [-90, 90] degrees, shape (bins,), int64."""
    thresholds: tuple[float, ...]
    """Thresholds in degrees, on the size of the angle."""

    @property
    def edges(self) -> Array:
        """Edges of the histogram in degrees, shape (bins + 1,)."""
        return np.linspace(-90, 90, len(self.histogram) + 1)

    @property
    def fractions(self) -> Array:
        """Share of positions above each threshold, shape (N, T); NaN where no position counts."""
        positions = self.n_positions[..., None].astype(np.float64)
        shares: Array = np.divide(self.counts, positions, out=np.full(self.counts.shape, math.nan), where=positions > 0)
        return shares

    @property
    def n_defined(self) -> int:
        """Positions with an angle, over all sequences."""
        return int(self.n_positions.sum() - self.n_undefined.sum())

    @property
    def mean(self) -> float:
        """Mean angle in degrees over all sequences; NaN without defined positions."""
        return math.fsum(self.sums.flat) / self.n_defined if self.n_defined else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the angle in degrees (ddof 0) over all sequences; NaN without defined positions."""
        if not self.n_defined:
            return math.nan
        mean = Fraction(math.fsum(self.sums.flat)) / self.n_defined
        variance = Fraction(math.fsum(self.sums_of_squares.flat)) / self.n_defined - mean**2
        return math.sqrt(max(variance, Fraction(0)))

    def __repr__(self) -> str:
        """Summarise in a line; the arrays are fields."""
        return f"AngleSummary({self})"

    def _repr_html_(self) -> str:
        total = int(self.n_positions.sum())
        above = self.counts.reshape(-1, len(self.thresholds)).sum(axis=0).tolist()
        rows = [
            (f"above {threshold:g}\N{DEGREE SIGN}", f"{count:,}", f"{count / total:.1%}" if total else "")
            for threshold, count in zip(self.thresholds, above, strict=True)
        ]
        undefined = int(self.n_undefined.sum())
        rows.append(("without an angle", f"{undefined:,}", f"{undefined / total:.1%}" if total else ""))
        title = f"{total:,} positions of {self.n_positions.size:,} sequences; mean {self.mean:.2f}, std {self.std:.2f}"
        return html_table(f"{title} degrees", ("angle", "positions", "share"), rows)

    def __str__(self) -> str:
        """Summarise in a line."""
        total = int(self.n_positions.sum())
        above = self.counts.reshape(-1, len(self.thresholds)).sum(axis=0) / max(total, 1)
        shares = ", ".join(f"{share:.1%} above {t:g}" for share, t in zip(above, self.thresholds, strict=True))
        return (
            f"{total} positions of {self.n_positions.size} sequences: {shares} degrees; mean {self.mean:.2f}, "
            f"std {self.std:.2f}, {int(self.n_undefined.sum())} undefined"
        )


def angle_summary(
    grad: AnyArray,
    *,
    axis: int = -1,
    thresholds: Sequence[float] = (30, 45, 60),
    bins: int = 180,
    mask: AnyArray = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> AngleSummary:
    """Summarise the angles to the simplex in one pass; no array of angles is written.

    Parameters
    ----------
    grad : array, shape (..., length, n_letters) or (..., n_letters, length)
        See `ops.correct`, also for `axis`, `letters` and `n_letters`. The last axis that is not the letter axis is the
        position axis; all before it are sequences.
    thresholds : sequence of float
        Degrees in [0, 90]; counted is what lies above them in size. An angle within 4 ulp of 90 degrees of a threshold
        is not above it, since gradients with one, two or three equal letters lie exactly at 30, 45 and 60.
    bins : int
        Number of bins of the histogram over [-90, 90] degrees. On an edge (same tolerance), the bin nearer zero counts.
    mask : boolean array, shape of `grad` without the letter axis, optional
        True where a position counts.

    Returns
    -------
    AngleSummary
        NumPy arrays on the host, whatever the library of `grad`.

    Raises
    ------
    TypeError, ValueError
        As `ops.correct`, and for thresholds, bins or a mask that do not fit.

    Examples
    --------
    >>> summary = angle_summary(np.array([[[1.0, 2.0, 3.0, 6.0], [1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]))
    >>> summary.counts, summary.n_undefined, round(summary.mean, 2)
    (array([[1, 1, 0]]), array([1]), 29.03)
    """
    backend = find_backend(grad=grad, mask=mask)
    levels = check_thresholds(thresholds, bins)
    if letters is None:
        front = check_axis(backend.shape(grad), axis, n_letters)
    else:
        front, index = select_letters(backend.shape(grad), axis, letters, n_letters)
        grad = grad[index]
    counts, n_positions, n_undefined, sums, squares, histogram = backend.angle_summary(
        grad, front, levels, int(bins), mask
    )
    return AngleSummary(counts, n_positions, n_undefined, sums, squares, histogram, levels)


def merge(summaries: Iterable[AngleSummary]) -> AngleSummary:
    """Join summaries of different sequences into that of all of them, in the order given.

    Mean, std and histogram are the same in any order, to the last bit.

    Parameters
    ----------
    summaries : iterable of AngleSummary
        With the same thresholds and bins.

    Returns
    -------
    AngleSummary

    Raises
    ------
    ValueError
        If there are none, or their thresholds or bins differ.

    Examples
    --------
    >>> one = angle_summary(np.ones((2, 5, 4)))
    >>> merge([one, one]).counts.shape
    (4, 3)
    """
    parts = list(summaries)
    if not parts:
        raise ValueError("there is no summary to merge; pass at least one")
    thresholds, bins = parts[0].thresholds, len(parts[0].histogram)
    for part in parts:
        if part.thresholds != thresholds or len(part.histogram) != bins:
            raise ValueError(
                f"summaries with thresholds {thresholds} and {bins} bins cannot be merged with one with "
                f"{part.thresholds} and {len(part.histogram)}; make them with the same ones"
            )

    def join(field: str, per_threshold: bool = False) -> Array:
        tail = (len(thresholds),) if per_threshold else ()
        return np.concatenate([getattr(part, field).reshape(-1, *tail) for part in parts])

    return AngleSummary(
        join("counts", per_threshold=True),
        join("n_positions"),
        join("n_undefined"),
        join("sums"),
        join("sums_of_squares"),
        np.sum([part.histogram for part in parts], axis=0),
        thresholds,
    )

"""Pictures of many sequences: how the angles are distributed, and how many of them are large."""

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator, MultipleLocator, StrMethodFormatter

from .._check import check_thresholds
from .._types import AnyArray, Array
from ..kernels.reference import summarize_angles
from ..summary import AngleSummary
from ._figures import BAND_COLORS, THRESHOLDS, add_legend, axes_or_new, check_angles, hide_frame

BINS = 180
SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
SERIES_LINES = ("-", "--", ":", "-.")


def angle_histogram(angles: AnyArray, ax: Axes | None = None) -> Axes:
    """Draw the distribution of angles to the simplex, and name the shares of large ones.

    Parameters
    ----------
    angles : AngleSummary, or array of any shape
        Summary of `gf.angle_summary`, whose histogram and thresholds are shown; or angles in degrees, NaN where they
        are undefined, which are counted in 180 bins and against 30, 45 and 60 degrees.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        `ax`, with one StepPatch that holds the counts.

    Raises
    ------
    TypeError, ValueError
        If the angles are not in degrees, or no position counts.

    Notes
    -----
    Shares are of all positions, undefined ones included, as in `gf.AngleSummary`.

    Examples
    --------
    >>> ax = angle_histogram(np.array([[10.0, -40.0], [70.0, np.nan]]))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['above 30°: 50.0 %', 'above 45°: 25.0 %', 'above 60°: 25.0 %']
    """
    summary = angles if isinstance(angles, AngleSummary) else _summary(check_angles(angles, "angles"))
    n_positions = int(summary.n_positions.sum())
    if n_positions == 0:
        raise ValueError("no position counts, so that there is nothing to draw; pass angles of at least one position")
    above = summary.counts.reshape(-1, len(summary.thresholds)).sum(axis=0)
    highest = int(summary.histogram.max())
    ax = axes_or_new(ax, 4.8, 3.2)
    ax.stairs(summary.histogram, summary.edges, fill=True, color="#8C8C8C")
    for threshold, count, color in zip(summary.thresholds, above, cycle(BAND_COLORS[1:]), strict=False):
        label = f"above {threshold:g}°: {100 * count / n_positions:.1f} %"
        ax.vlines([-threshold, threshold], 0, highest, color=color, linewidth=1.2, linestyle="--", label=label)
    ax.set_xlim(-90, 90)
    ax.xaxis.set_major_locator(MultipleLocator(30))
    _count_on_axis(ax)
    ax.set_xlabel("angle to the simplex (degrees)")
    ax.set_ylabel("positions")
    add_legend(ax, highest)
    hide_frame(ax)
    return ax


def large_angle_histogram(
    summaries: AngleSummary | Mapping[str, AngleSummary],
    ax: Axes | None = None,
    *,
    threshold: float | Iterable[float] = 30,
    bins: int = 50,
    density: bool = False,
) -> Axes:
    """Draw how the share of positions with a large angle is distributed over sequences.

    Parameters
    ----------
    summaries : AngleSummary, or mapping of label to AngleSummary
        Of `gf.angle_summary`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    threshold : float or several
        Degrees, each one of the summaries' thresholds; several are drawn over each other.
    bins : int
        Number of bins over 0 to 100 percent.
    density : bool
        Whether each histogram has area 1, for summaries of different numbers of sequences, or counts sequences.

    Returns
    -------
    matplotlib Axes
        `ax`, with one StepPatch for each summary and threshold, in that order.

    Raises
    ------
    TypeError, ValueError
        If there is no summary, or one was made without the threshold.

    Notes
    -----
    Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), Fig. 1c, is ``threshold=(30, 45, 60), density=True``. The
    legend gives the mean over sequences. Sequences without a position that counts are left out.

    Examples
    --------
    >>> from gradcorr_fast import angle_summary
    >>> summary = angle_summary(np.eye(4)[np.zeros((3, 10), int)] + 0.5)
    >>> large_angle_histogram({"a model": summary}).get_legend().get_texts()[0].get_text()
    'a model (mean 100.0 %)'
    """
    labelled = {"": summaries} if isinstance(summaries, AngleSummary) else summaries
    if not isinstance(labelled, Mapping):
        raise TypeError(f"summaries is a {type(summaries).__name__}; pass an AngleSummary or a dict of label to them")
    levels = check_thresholds(threshold if isinstance(threshold, Iterable) else (threshold,), bins)
    series = {_label(label, level, levels): _percent(s, level) for label, s in labelled.items() for level in levels}
    if not series:
        raise ValueError("there is no summary to draw; pass at least one")
    ax = axes_or_new(ax, 4.8, 3.2)
    edges = np.linspace(0, 100, bins + 1)
    heights = [np.histogram(percent, edges, density=density)[0] for percent in series.values()]
    highest = max(height.max() for height in heights)
    for k, (label, percent) in enumerate(series.items()):
        color, line = SERIES_COLORS[k % len(SERIES_COLORS)], SERIES_LINES[k % len(SERIES_LINES)]
        style: dict[str, Any] = {
            "facecolor": to_rgba(color, 0.25),
            "edgecolor": color,
            "linewidth": 1.2,
            "linestyle": line,
        }
        ax.stairs(heights[k], edges, fill=True, label=f"{label} (mean {percent.mean():.1f} %)", **style)
        ax.vlines(percent.mean(), 0, highest, color=color, linewidth=1, linestyle=line)
    last = max(edges[1:][height > 0].max(initial=0) for height in heights)
    ax.set_xlim(0, 100 if last > 2 / 3 * 100 else max(10 * np.ceil(last / 10), 10))
    if not density:
        _count_on_axis(ax)
    ax.set_xlabel(f"positions with an angle above {f'{levels[0]:g}°' if len(levels) == 1 else 'the threshold'} (%)")
    ax.set_ylabel("density of sequences" if density else "sequences")
    add_legend(ax, highest)
    hide_frame(ax)
    return ax


def _count_on_axis(ax: Axes) -> None:
    """Whole numbers with thousands separators."""
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _summary(angles: Array) -> AngleSummary:
    """Summary of angles, all of them as one sequence."""
    counts, n_positions, n_undefined, sums, squares, histogram = summarize_angles(
        angles.reshape(1, -1), None, THRESHOLDS, BINS
    )
    return AngleSummary(counts, n_positions, n_undefined, sums, squares, histogram, THRESHOLDS)


def _percent(summary: AngleSummary, threshold: float) -> Array:
    """Percentage of positions above the threshold, for each sequence that has positions."""
    if not isinstance(summary, AngleSummary):
        raise TypeError(f"summaries holds a {type(summary).__name__}; pass what gf.angle_summary returns")
    if threshold not in summary.thresholds:
        raise ValueError(f"the summary has thresholds {summary.thresholds}; make it with thresholds=({threshold:g},)")
    counts = summary.counts[..., summary.thresholds.index(threshold)].ravel()
    n_positions = summary.n_positions.ravel()
    if not n_positions.any():
        raise ValueError("no position of a summary counts, so that there is nothing to draw")
    # Multiplied first, so that whole percents are exact and fall into the bin that begins with them.
    percent: Array = 100 * counts[n_positions > 0] / n_positions[n_positions > 0]
    return percent


def _label(label: str, level: float, levels: tuple[float, ...]) -> str:
    return ", ".join([*([label] if label else []), *([f"above {level:g}°"] if len(levels) > 1 or not label else [])])

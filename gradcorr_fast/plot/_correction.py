"""What the correction does to the map of one sequence, panel by panel."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import ops
from .._types import AnyArray, Array
from ..metrics import information_content
from ._figures import busiest, check_start, coordinates, hide_frame, style_positions, width_for
from ._letters import limits, stack
from ._tracks import angle_track, draw_bars, logo, observed, one_hot, sequence_map

REMOVED_COLOR = "#6B7A8C"


def correction_figure(
    grad: AnyArray,
    x: AnyArray = None,
    *,
    axis: int = -1,
    truth: AnyArray = None,
    start: int | None = None,
    chrom: str | None = None,
    title: str | None = None,
    zoom: int | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Show what the correction does to the map of one sequence: before, what is removed, angle, after, ground truth.

    Parameters
    ----------
    grad : array, shape (L, 4), or (4, L) with ``axis=0``
        Uncorrected gradient of one sequence, of any supported array library.
    x : array, optional
        Sequence, see `logo`: grad-times-input is drawn. Without it, all four letters of the gradient.
    axis : int
        Letter axis of `grad`, `truth` and a one-hot `x`.
    truth : array, shape of `grad`, optional
        Position probability matrix, drawn as letters whose heights at a position add up to its information in bits.
    start, chrom
        See `logo`.
    title : str, optional
        Such as the names of model and sequence.
    zoom : int, optional
        Show only so many positions, those about which most is left after the correction.
    figsize : pair of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With the panels as `axes`, from above; it does not belong to pyplot.

    Raises
    ------
    TypeError, ValueError
        As `logo`, if `truth` does not hold probabilities, or `zoom` is no number of positions.

    Notes
    -----
    Fig. 2 of Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), and what is removed: the mean over the letters,
    which is the same at each of them. The panels before, of what is removed, and after have one range. Positions with
    a zero or non-finite gradient have no angle and are blank.

    Examples
    --------
    >>> figure = correction_figure(np.array([[1.0, 2.0, 3.0, 6.0], [1.0, 1.0, 0.0, 0.0]]), np.array([3, 0]))
    >>> print(*(ax.get_title(loc="left") for ax in figure.axes), sep="; ")
    before: grad-times-input; removed: mean over the letters; angle to the simplex; after: corrected grad-times-input
    """
    check_start(start, chrom)
    raw = sequence_map(grad, axis, "grad")
    maps = ops.analyze(raw, outputs=("corrected", "angle"))
    letters = np.ones_like(raw) if x is None else one_hot(x, axis, len(raw))
    before, after = observed(raw, letters), observed(maps.corrected, letters)
    removed, shown = raw.mean(axis=-1, keepdims=True), _shown(after, zoom)
    n_panels = 4 if truth is None else 5
    size = figsize or (width_for(shown.stop - shown.start), 0.6 + 1.2 * n_panels)
    figure = Figure(figsize=size, layout="constrained")
    axes = _panels(figure, n_panels)
    place: dict[str, Any] = {"start": start, "chrom": chrom}
    logo(before, axes[0], **place)
    _draw_removed(removed[:, 0], axes[1], **place)
    angle_track(maps.angle, axes[2], mask=raw.any(axis=-1), legend=True, **place)
    logo(after, axes[3], **place)
    ranges = [limits(stack(heights)[1][shown]) for heights in (before, removed, after)]
    axes[0].set_ylim(min(low for low, _ in ranges), max(high for _, high in ranges))
    if truth is not None:
        logo(_information(sequence_map(truth, axis, "truth"), len(raw)), axes[4], **place)
        axes[4].set_ylim(0, 2)
    _name_panels(figure, axes, "gradient" if x is None else "grad-times-input", title)
    for ax in axes:
        style_positions(ax, coordinates(len(raw), start)[shown], start, chrom)
        ax.label_outer()
    return figure


def _shown(after: Array, zoom: int | None) -> slice:
    """Return the positions that are shown."""
    if zoom is None:
        return slice(0, len(after))
    if isinstance(zoom, bool) or not hasattr(zoom, "__index__") or zoom < 1:
        raise ValueError(f"zoom must be a number of positions, from 1; got {zoom!r}")
    return busiest(np.abs(after).sum(axis=-1), int(zoom))


def _draw_removed(removed: Array, ax: Axes, start: int | None, chrom: str | None) -> None:
    """Draw the mean over the letters as bars, as it is of no letter."""
    positions, drawn = coordinates(len(removed), start), np.isfinite(removed)
    draw_bars(ax, positions[drawn], removed[drawn], REMOVED_COLOR)
    ax.axhline(0, color="black", linewidth=0.5)
    style_positions(ax, positions, start, chrom)
    hide_frame(ax)


def _name_panels(figure: Figure, axes: list[Axes], shown: str, title: str | None) -> None:
    titles = (
        f"before: {shown}",
        "removed: mean over the letters",
        "angle to the simplex",
        f"after: corrected {shown}",
        "ground truth: information content",
    )
    units = ("attribution", "attribution", "degrees", "attribution", "bits")
    for ax, name, unit in zip(axes, titles, units, strict=False):
        ax.set_title(name, loc="left", fontsize="medium")
        ax.set_ylabel(unit)
    figure.align_ylabels(axes)
    if title is not None:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium", fontweight="bold")


def _panels(figure: Figure, n: int) -> list[Axes]:
    """Axes below each other with one horizontal range; all maps have one vertical range too."""
    grid = figure.add_gridspec(n, 1)
    axes = [figure.add_subplot(grid[0])]
    for k in range(1, n):
        axes.append(figure.add_subplot(grid[k], sharex=axes[0], sharey=axes[0] if k in (1, 3) else None))
    return axes


def _information(ppm: Array, length: int) -> Array:
    """Heights in bits: each probability times the information of its position."""
    if len(ppm) != length:
        raise ValueError(f"truth has {len(ppm)} positions and grad {length}; pass that of this sequence")
    # Not logomaker.transform_matrix, which refuses nearly uniform positions where rounding gives -1e-17 bits.
    heights: Array = ppm * information_content(ppm)[:, None]
    return heights

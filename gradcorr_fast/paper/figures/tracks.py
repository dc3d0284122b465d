"""Windows of maps as in the papers' Fig. 2: the map, its angles, the corrected map, and what it should look like."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from ... import plot, sequences
from ..._types import Array
from ...metrics import cosine_similarity, information_content
from ...ops import analyze
from .genome_maps import Window

TITLES = ("saliency", "angle", "corrected saliency")
UNITS = ("attribution", "degrees", "attribution")


def draw_window(figure: SubFigure, window: Window, title: str, ensemble: Array | None = None) -> None:
    """Draw a window of a map, with all four letters.

    Parameters
    ----------
    figure : SubFigure
    window : Window
        If it has a truth, the information of each position is drawn below.
    title : str
    ensemble : array, shape (L, 4), optional
        Mean map of an ensemble, drawn below.
    """
    maps = analyze(window.grad, outputs=("corrected", "angle"))
    below = _below(window, ensemble)
    axes = figure.subplots(3 + len(below), 1, sharex=True)
    start = window.start
    plot.logo(window.grad, axes[0], start=start)
    plot.angle_track(maps.angle, axes[1], mask=window.grad.any(-1), start=start)
    plot.logo(maps.corrected, axes[2], start=start)
    for ax, heights in zip(axes[3:], below.values(), strict=True):
        plot.logo(heights, ax, start=start)
    _share_range(axes[0], axes[2])
    units = (*UNITS, "bits" if window.truth is not None else UNITS[0])
    for ax, name, unit in zip(axes, (*TITLES, *below), units, strict=False):
        ax.set_title(name, loc="left", fontsize="small")
        ax.set_ylabel(unit, fontsize="small")
        ax.tick_params(labelsize="small")
        ax.label_outer()
    axes[1].set_yticks([-60, 0, 60])
    if window.truth is not None:
        axes[3].set_ylim(0, 2)
    axes[-1].set_xlabel("position in the sequence (1-based)", fontsize="small")
    figure.align_ylabels(axes)
    figure.suptitle(title, fontsize="medium", x=0.01, ha="left")


def _below(window: Window, ensemble: Array | None) -> Mapping[str, Array]:
    if window.truth is not None:
        return {"planted motifs": window.truth * information_content(window.truth)[:, None]}
    return {} if ensemble is None else {"mean of the ensemble": ensemble}


def _share_range(*axes: Axes) -> None:
    lows, highs = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(lows), max(highs))


def agreement(window: Window, ensemble: Array | None = None) -> str:
    """Say how much closer the correction brings a window to what it should look like.

    Examples
    --------
    >>> truth = np.array([[1.0, 0.0, 0.0, 0.0]])
    >>> agreement(Window(np.zeros(1, np.uint8), truth + 1, truth, 0, 0))
    'cosine with the planted motifs 0.33, after the correction 1.00'
    """
    if window.truth is not None:
        wanted, name = window.truth - 0.25, "the planted motifs"
    elif ensemble is not None:
        wanted, name = ensemble, "the mean of the ensemble"
    else:
        return "nothing to compare it with"
    maps = np.stack([window.grad, analyze(window.grad, outputs=("corrected",)).corrected]).astype(np.float64)
    before, after = cosine_similarity(maps, np.broadcast_to(wanted, maps.shape).astype(np.float64))
    return f"cosine with {name} {before:.2f}, after the correction {after:.2f}"


def table(window: Window, ensemble: Array | None = None, **labels: Any) -> dict[str, list[Any]]:
    """Return the numbers behind a picture of a window, one row for each position, counted from 1."""
    maps = analyze(window.grad, outputs=("corrected", "angle"))
    n_positions = len(window.codes)
    columns: dict[str, list[Any]] = {name: [value] * n_positions for name, value in labels.items()}
    columns["sequence"] = [window.sequence] * n_positions
    columns["position"] = [window.start + k + 1 for k in range(n_positions)]
    columns["letter"] = list(sequences.decode(window.codes))
    columns["angle"] = [float(a) if g.any() else float("nan") for a, g in zip(maps.angle, window.grad, strict=True)]
    below = window.truth if window.truth is not None else ensemble
    below = np.full_like(window.grad, np.nan) if below is None else below
    for name, values in (("gradient", window.grad), ("corrected", maps.corrected), ("below", below)):
        for k, letter in enumerate("ACGT"):
            columns[f"{name}_{letter}"] = [float(value) for value in values[:, k]]
    return columns

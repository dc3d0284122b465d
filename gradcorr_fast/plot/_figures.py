"""What all pictures share: arrays on the host, axes to draw on, the axis of the genome, and files with text as text."""

import os
from typing import IO, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from .._types import AnyArray, Array
from ..backends import BACKENDS, library, to_host

THRESHOLDS = (30, 45, 60)
BAND_COLORS = ("#BDBDBD", "#E69F00", "#D55E00", "#661100")
"""Colours of angles up to 30, 45, 60 and 90 degrees: ever darker, so that they differ in grey and to every eye."""
POINTS_PER_INCH = 72
LABEL_POINTS = 9  # height of a tick label, near enough
TEXT_AS_TEXT: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}


def save(figure: Figure, path: str | os.PathLike[str] | IO[bytes], *, dpi: float = 300, **options: Any) -> None:
    """Write a figure to a file in which text stays text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Of any function here (``ax.figure`` of those that return axes), or any other.
    path : str, path or binary file
        The ending names the format: PDF, SVG, PNG, EPS.
    dpi : float
        Resolution of pixel formats.
    **options
        Of ``matplotlib.figure.Figure.savefig``, such as ``format`` or ``transparent``.

    Returns
    -------
    None

    Notes
    -----
    PDF and EPS embed their fonts as TrueType (type 42), which editors and publishers take. SVG holds ``<text>`` with
    the name of the font, and is drawn with the fonts of the machine that shows it. Letters of logos are outlines.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> save(Figure(), file, format="svg")
    >>> file.getvalue()[:5]
    b'<?xml'
    """
    with mpl.rc_context(TEXT_AS_TEXT):
        figure.savefig(path, dpi=dpi, **options)


def host_array(array: AnyArray, argument: str) -> Array:
    """Return the array of any library as NumPy's, cut from its graph."""
    if library(array) is None:
        raise TypeError(f"{argument} is a {type(array).__name__}; pass an array of one of: {', '.join(BACKENDS)}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{argument} is a masked array, whose mask would be lost; pass {argument}.filled(np.nan)")
    plain = to_host(array)
    if plain.dtype.kind not in "biuf":
        raise TypeError(f"{argument} must be real numbers; got {plain.dtype}")
    return plain


def check_angles(angles: AnyArray, argument: str) -> Array:
    """Return angles as NumPy's, and refuse what lies outside [-90, 90] degrees; NaN is undefined."""
    plain = host_array(angles, argument)
    largest = float(np.max(np.abs(plain), initial=0, where=np.isfinite(plain)))
    if largest > 90.001:  # rounding in float16
        raise ValueError(f"{argument} reaches {largest:g}; pass degrees in [-90, 90], as gf.simplex_angle gives them")
    return plain


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes given, or those of a new figure of this size in inches."""
    if ax is None:
        return Figure(figsize=(width, height), layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax is a {type(ax).__name__}; pass one matplotlib Axes, such as axes[0] of plt.subplots(2)")
    return ax


def width_for(length: int) -> float:
    """Width in inches at which the letters of a sequence can be told apart, as far as a page allows."""
    return min(max(0.05 * length, 7.2), 14.0)


def busiest(signal: Array, width: int) -> slice:
    """Return the part of a sequence, `width` positions at most, about whose middle a signal is largest.

    Examples
    --------
    >>> busiest(np.array([0.0, 0.0, 0.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0]), 5)
    slice(2, 7, None)
    """
    if len(signal) <= width:
        return slice(0, len(signal))
    weights = np.hanning(width + 2)[1:-1]
    first = int(np.argmax(np.convolve(np.nan_to_num(signal, posinf=0, neginf=0), weights, mode="valid")))
    return slice(first, first + width)


def check_start(start: int | None, chrom: str | None) -> None:
    """Refuse coordinates that say half of what they must."""
    if start is None and chrom is not None:
        raise ValueError(f"chrom is {chrom} and start is missing; pass start, the 0-based position of the first letter")
    if start is not None and (isinstance(start, bool) or not hasattr(start, "__index__")):
        raise TypeError(f"start must be an int, the 0-based position of the first letter; got {start!r}")


def coordinates(length: int, start: int | None) -> Array:
    """Where each position stands on the axis: its index, or its 1-based genome coordinate."""
    return np.arange(length) + (0 if start is None else int(start) + 1)


def style_positions(ax: Axes, positions: Array, start: int | None, chrom: str | None) -> None:
    """Give the horizontal axis its range, whole numbers with thousands separators, and its name."""
    ax.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
    longest = LABEL_POINTS * (0.6 * len(f"{positions[-1]:,}") + 1)
    n_steps = max(1, min(9, int(size_in_points(ax)[0] / longest)))
    ax.xaxis.set_major_locator(MaxNLocator(n_steps, steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if start is None:
        ax.set_xlabel("position (0-based)")
    else:
        ax.set_xlabel(f"position {f'on {chrom}' if chrom else 'in the genome'} (1-based)")


def size_in_points(ax: Axes) -> tuple[float, float]:
    """Width and height of axes as they are now, in points."""
    extent = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return float(extent.width * POINTS_PER_INCH), float(extent.height * POINTS_PER_INCH)


def add_legend(ax: Axes, highest: float) -> None:
    """Put a legend above the axes, which are filled by what reaches up to `highest`."""
    ax.set_ylim(0, 1.05 * max(highest, 1e-9))
    _, labels = ax.get_legend_handles_labels()
    widest = LABEL_POINTS * (0.6 * max(map(len, labels)) + 4)
    n_columns = min(max(1, int(size_in_points(ax)[0] / widest)), len(labels))
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=n_columns, fontsize="small", frameon=False, borderpad=0,
        handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip


def hide_frame(ax: Axes) -> None:
    """Leave the left and lower edge of the axes, which carry the ticks."""
    ax.spines[["top", "right"]].set_visible(False)

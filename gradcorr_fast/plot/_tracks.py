"""Pictures along a sequence: logos, angles, and both before and after the correction."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from .. import sequences
from .._check import check_mask
from .._types import AnyArray, Array
from ..kernels.reference import edge_tolerance
from ._figures import (
    BAND_COLORS,
    THRESHOLDS,
    axes_or_new,
    check_angles,
    check_start,
    coordinates,
    hide_frame,
    host_array,
    size_in_points,
    style_positions,
    width_for,
)
from ._letters import LETTER_COLORS, limits, place_letters, stack

BAR_WIDTH = 0.9
NARROW_POINTS = 2  # a letter narrower than this is seen as a bar


def logo(
    values: AnyArray,
    ax: Axes | None = None,
    *,
    x: AnyArray = None,
    axis: int = -1,
    start: int | None = None,
    chrom: str | None = None,
    colors: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw an attribution map of one sequence as a logo, each letter as high as its value.

    Parameters
    ----------
    values : array, shape (L, 4), (4, L) with ``axis=0``, or (L,)
        Attribution map, drawn as it is: pass ``gf.correct(grad)`` for a corrected one. (L,) are values of the observed
        letters, such as `gf.grad_times_input` returns, and needs `x`. Of any supported array library.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    x : array, optional
        One-hot (or soft) sequence shaped like the map, or integer codes (L,), A C G T = 0..3. With it only the observed
        letters are drawn: the logo of grad-times-input.
    axis : int
        Letter axis of `values` and of a one-hot `x`.
    start : int, optional
        0-based genome position of the first letter, as in BED. The axis then shows 1-based coordinates, as genome
        browsers do; without it, the index of the position.
    chrom : str, optional
        Name of the chromosome, for the label of the axis.
    colors : mapping, optional
        Colours of letters that are to differ from `LETTER_COLORS`.

    Returns
    -------
    matplotlib Axes
        `ax`, with one PathCollection for each letter, labelled "_A", "_C", "_G" and "_T".

    Raises
    ------
    TypeError, ValueError
        If the arrays do not hold one sequence of four letters, or do not fit each other.

    Notes
    -----
    Positive letters stand upright above zero, negative ones upside down below; the larger, the farther from zero.
    Nothing is drawn where a value is 0, NaN or infinite, or the letter is unknown. The picture is that of
    logomaker (Tareen, Kinney 2020, doi:10.1093/bioinformatics/btz921), whose glyphs are placed all at once, because
    logomaker itself takes seconds for some hundreds of positions.

    Examples
    --------
    >>> ax = logo(np.array([[0.5, -1.0, 0.0, 0.25], [0.0, 0.0, 2.0, 0.0]]), start=999, chrom="chr2")
    >>> [len(letter.get_paths()) for letter in ax.collections], ax.get_xlabel()
    ([1, 1, 1, 1], 'position on chr2 (1-based)')
    """
    check_start(start, chrom)
    palette = _palette(colors)
    heights = _letter_heights(values, x, axis, "values")
    ax = axes_or_new(ax, width_for(len(heights)), 2)
    positions = coordinates(len(heights), start)
    bases, heights = stack(heights)
    narrow = size_in_points(ax)[0] / len(heights) < NARROW_POINTS
    for k, letter in enumerate("ACGT"):
        drawn = heights[:, k] != 0
        letters = place_letters(letter, positions[drawn], bases[drawn, k], heights[drawn, k])
        # A stroke keeps narrow letters from fading.
        letters.set(color=palette[letter], linewidth=0.3 if narrow else 0, label=f"_{letter}")
        ax.add_collection(letters, autolim=False)
    ax.axhline(0, color="black", linewidth=0.5)
    ax.set_ylim(limits(heights))
    style_positions(ax, positions, start, chrom)
    hide_frame(ax)
    return ax


def angle_track(
    angle: AnyArray,
    ax: Axes | None = None,
    *,
    mask: AnyArray = None,
    start: int | None = None,
    chrom: str | None = None,
    legend: bool = False,
) -> Axes:
    """Draw the signed angle to the simplex at each position of one sequence.

    Parameters
    ----------
    angle : array, shape (L,)
        Degrees, as `gf.simplex_angle` returns them. NaN is undefined.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    mask : boolean array, shape (L,), optional
        True where there is an angle: ``(grad != 0).any(-1)`` leaves out zero gradients, whose angle is given as 0.
    start, chrom
        See `logo`.
    legend : bool
        Say above the upper right corner what the colours mean.

    Returns
    -------
    matplotlib Axes
        `ax`, with one bar for each defined position in a PolyCollection; undefined positions are blank.

    Raises
    ------
    TypeError, ValueError
        If `angle` is not that of one sequence in degrees, or `mask` does not fit it.

    Notes
    -----
    The range is always -90 to 90 degrees, with lines at 30, 45 and 60, the thresholds of Majdandzic, Rajesh, Koo,
    Genome Biology 24:109 (2023), Fig. 1c. Bars beyond them are darker.

    Examples
    --------
    >>> ax = angle_track(np.array([10.0, np.nan, -75.0]))
    >>> len(ax.collections[0].get_paths())
    2
    """
    check_start(start, chrom)
    degrees = check_angles(angle, "angle")
    if degrees.ndim != 1 or degrees.size == 0:
        raise ValueError(f"angle has shape {degrees.shape}; pass that of one sequence, (L,), such as angle[0]")
    drawn = np.isfinite(degrees) & _mask(mask, degrees.shape)
    ax = axes_or_new(ax, width_for(len(degrees)), 2)
    positions = coordinates(len(degrees), start)
    band = np.searchsorted(np.array(THRESHOLDS) + edge_tolerance(degrees.dtype), np.abs(degrees[drawn].astype(float)))
    draw_bars(ax, positions[drawn], degrees[drawn], np.array(BAND_COLORS)[band])
    # The zero line breaks where there is no angle, so that undefined and zero look different.
    ax.stairs(
        np.where(drawn, 0, np.nan),
        np.append(positions - 0.5, positions[-1] + 0.5),
        baseline=None,
        color="black",
        linewidth=0.5,
    )
    for line in THRESHOLDS:
        for side in (-line, line):
            ax.axhline(side, color="black", linewidth=0.4, linestyle=(0, (4, 4)), alpha=0.6, zorder=0.5)
    ax.set_ylabel("angle (degrees)")
    ax.set_ylim(-90, 90)
    ax.set_yticks([-90, -60, -30, 0, 30, 60, 90])
    ax.set_yticks([-45, 45], minor=True)
    style_positions(ax, positions, start, chrom)
    hide_frame(ax)
    if legend:
        _name_bands(ax)
    return ax


def draw_bars(ax: Axes, positions: Array, values: Array, colors: Any) -> None:
    """Draw a bar from zero at each position."""
    left, right = positions - BAR_WIDTH / 2, positions + BAR_WIDTH / 2
    zero, tip = np.zeros(len(left)), values.astype(np.float64)
    corners = np.stack([left, zero, left, tip, right, tip, right, zero], axis=-1).reshape(-1, 4, 2)
    ax.add_collection(PolyCollection(list(corners), facecolors=colors, linewidths=0, snap=False), autolim=False)


def _name_bands(ax: Axes) -> None:
    """Put what the colours of angles mean above the upper right corner."""
    edges = (0, *THRESHOLDS, 90)
    patches = [
        Patch(color=color, label=f"{low}\N{EN DASH}{high}°")
        for (low, high), color in zip(pairwise(edges), BAND_COLORS, strict=True)
    ]
    ax.legend(
        handles=patches, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(patches), fontsize="small", frameon=False,
        borderpad=0, borderaxespad=0.2, handlelength=0.8, handleheight=0.8, columnspacing=1,
    )  # fmt: skip


def _palette(colors: Mapping[str, Any] | None) -> dict[str, Any]:
    unknown = sorted(set(colors or {}) - set(LETTER_COLORS))
    if unknown:
        raise ValueError(f"colors has {', '.join(map(str, unknown))}; its keys must be some of A, C, G, T")
    return LETTER_COLORS | dict(colors or {})


def sequence_map(array: AnyArray, axis: int, argument: str) -> Array:
    """One sequence as (L, 4) in float64."""
    plain = host_array(array, argument)
    if plain.ndim != 2 or plain.size == 0:
        raise ValueError(
            f"{argument} has shape {plain.shape}; a picture shows one sequence, (L, 4) or (4, L), such as {argument}[0]"
        )
    if isinstance(axis, bool) or axis not in (-2, -1, 0, 1):
        raise ValueError(f"axis must be the letter axis, -1 for (L, 4) and 0 for (4, L); got {axis!r}")
    if plain.shape[axis] != 4:
        other = 0 if axis in (-1, 1) else -1
        mend = f"pass axis={other}" if plain.shape[other] == 4 else "pass the four letters A, C, G, T"
        raise ValueError(f"axis {axis} of {argument} has length {plain.shape[axis]}, not 4; {mend}")
    return np.moveaxis(plain, axis, -1).astype(np.float64)


def one_hot(x: AnyArray, axis: int, length: int) -> Array:
    """The sequence as one-hot (L, 4), whether it came so or as codes."""
    plain = host_array(x, "x")
    if plain.ndim == 1 and plain.dtype.kind not in "iu":
        raise TypeError(f"codes must be integers (A C G T = 0..3); got {plain.dtype}, convert them with astype")
    letters = sequences.one_hot(plain, np.float64) if plain.ndim == 1 else sequence_map(plain, axis, "x")
    if len(letters) != length:
        raise ValueError(f"x has {len(letters)} positions and the map {length}; pass the sequence of this map")
    return letters


def _letter_heights(values: AnyArray, x: AnyArray, axis: int, argument: str) -> Array:
    """Signed height of each letter, shape (L, 4)."""
    plain = host_array(values, argument)
    if plain.ndim == 1 and plain.size:
        if x is None:
            raise ValueError(f"{argument} has shape {plain.shape} and x is missing; pass x, which names the letters")
        return observed(plain.astype(np.float64)[:, None], one_hot(x, axis, len(plain)))
    heights = sequence_map(plain, axis, argument)
    return heights if x is None else observed(heights, one_hot(x, axis, len(heights)))


def observed(values: Array, letters: Array) -> Array:
    with np.errstate(invalid="ignore"):  # an infinite value at a letter that is not there
        heights: Array = values * letters
    return heights


def _mask(mask: AnyArray, shape: tuple[int, ...]) -> Array:
    if mask is None:
        return np.ones(shape, bool)
    plain = host_array(mask, "mask")
    check_mask(plain.shape, str(plain.dtype), shape)
    return plain

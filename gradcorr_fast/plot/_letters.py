"""The letters of logos: their colours and outlines, and where they stand above each other."""

from functools import lru_cache

import logomaker
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path

from .._types import Array

LETTER_COLORS = {"A": "#009980", "C": "#59B3E6", "G": "#E69B04", "T": "#1A1A1A"}
"""Green, sky blue, orange and black of Okabe and Ito, logomaker's scheme "colorblind_safe"."""
FONT = "DejaVu Sans"  # comes with matplotlib, so that letters look the same everywhere
LETTER_WIDTH = 0.95


def stack(heights: Array) -> tuple[Array, Array]:
    """Where each letter starts, and its signed height: away from zero, the larger the farther; 0 if not finite."""
    heights = np.where(np.isfinite(heights), heights, 0)
    order = np.argsort(heights, axis=-1, kind="stable")
    ordered = np.take_along_axis(heights, order, axis=-1)
    up, down = np.maximum(ordered, 0), np.minimum(ordered, 0)[:, ::-1]
    starts = (np.cumsum(up, axis=-1) - up) + (np.cumsum(down, axis=-1) - down)[:, ::-1] * (ordered < 0)
    bases = np.empty_like(heights)
    np.put_along_axis(bases, order, starts, axis=-1)
    return bases, heights


def limits(heights: Array) -> tuple[float, float]:
    """Range that holds the stacks and zero, with a margin of a twentieth."""
    low = float(np.minimum(heights, 0).sum(axis=-1).min())
    high = float(np.maximum(heights, 0).sum(axis=-1).max())
    margin = 0.05 * (high - low) or 1.0
    return low - margin * (low < 0 or high == 0), high + margin * (high > 0 or low == 0)


@lru_cache
def glyph(letter: str) -> Path:
    """Outline of a letter in the unit square, as logomaker draws it."""
    scratch = Figure().add_subplot()
    drawn = logomaker.Glyph(0.5, letter, 0, 1, ax=scratch, width=1.0, font_name=FONT)
    outline: Path = drawn.patch.get_path()
    return outline


def place_letters(letter: str, positions: Array, bases: Array, heights: Array) -> PathCollection:
    """One letter at many positions; a negative height turns it upside down."""
    outline = glyph(letter)
    scale = np.stack([np.full(len(heights), LETTER_WIDTH), heights], axis=-1)[:, None]
    corner = np.stack([positions - LETTER_WIDTH / 2, bases], axis=-1)[:, None]
    placed = PathCollection([Path(vertices, outline.codes) for vertices in outline.vertices * scale + corner])
    placed.set_snap(False)  # else the rectangles of a T move to whole pixels, and its stem vanishes
    return placed

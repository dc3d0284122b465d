"""Pictures as SVG, a few kilobytes each: what is drawn has a class, to which the page's style gives its colours."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from .._types import Array
from ..plot._figures import THRESHOLDS
from ..plot._letters import LETTER_WIDTH, glyph, limits, stack

WIDTH, HEIGHT = 360, 220
"""Of a small picture, in units that are pixels where there is room."""
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 10, 42
LETTER_STEP = 11
"""Width of a letter of a logo."""
PANEL_HEIGHT, PANEL_TITLE = 78, 20
NARROWEST = 470
"""Of tracks, so that titles and the legend of the angles fit."""
LEGEND_STEP = 58
LEVELS = 5
"""Shades of a density."""
CELLS = (52, 36)
MOST_POINTS = 400
"""Of a line."""


class Panel(NamedTuple):
    """One of several tracks along a sequence."""

    title: str
    values: Array
    """(L, 4) are drawn as letters, (L,) as bars; NaN is left blank."""
    is_angle: bool = False
    """Whether bars are degrees, and are coloured by their size."""
    limits: tuple[float, float] | None = None
    """By default the range of the values."""


class _Frame(NamedTuple):
    """Where numbers are in a picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    left: float = LEFT
    top: float = TOP
    width: float = WIDTH - LEFT - RIGHT
    height: float = HEIGHT - TOP - BOTTOM

    def across(self, values: Array | float) -> Array:
        return self.left + (np.asarray(values, float) - self.x[0]) / (self.x[1] - self.x[0]) * self.width

    def down(self, values: Array | float) -> Array:
        return self.top + (self.y[1] - np.asarray(values, float)) / (self.y[1] - self.y[0]) * self.height


def histogram(counts: Array, edges: Array, *, x_label: str, y_label: str, alt: str, is_angle: bool = False) -> Markup:
    """Draw counts as bars; those of angles are coloured as in the tracks of angles."""
    frame = _Frame((float(edges[0]), float(edges[-1])), (0.0, 1.05 * float(max(counts.max(initial=0), 1))))
    left, right = frame.across(edges[:-1]), frame.across(edges[1:])
    top, floor = frame.down(counts), float(frame.down(0))
    middles = np.abs(edges[:-1] + edges[1:]) / 2
    band = np.searchsorted(THRESHOLDS, middles) if is_angle else np.zeros(len(counts), int)
    body = []
    for number in np.unique(band):
        drawn = np.flatnonzero((band == number) & (counts > 0))
        bars = [f"M{_n(left[k])} {_n(floor)}V{_n(top[k])}H{_n(right[k])}V{_n(floor)}z" for k in drawn]
        body.append(_path("".join(bars), f"band{number}" if is_angle else "bar"))
    ticks = (-90, -60, -30, 0, 30, 60, 90) if is_angle else None
    return _picture([*body, *_axes(frame, x_label, y_label, ticks, whole=True)], alt)


def density(x: Array, y: Array, *, x_label: str, y_label: str, alt: str) -> Markup:
    """Draw how many points lie where, darker for more, and the line on which both numbers are the same."""
    low, high = _spread(np.concatenate([x, y]))
    frame = _Frame((low, high), (low, high))
    counts, across, down = np.histogram2d(x, y, CELLS, [(low, high), (low, high)])
    level = np.ceil(LEVELS * np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)).astype(int)
    width, height = frame.width / CELLS[0], frame.height / CELLS[1]
    body = []
    for shade in range(1, LEVELS + 1):
        column, row = np.nonzero(level == shade)
        left, top = frame.across(across[column]), frame.down(down[row + 1])
        cells = [f"M{_n(a)} {_n(b)}h{_n(width)}v{_n(height)}h-{_n(width)}z" for a, b in zip(left, top, strict=True)]
        body.append(_path("".join(cells), f"shade{shade}"))
    ends = [(_n(frame.across(v)), _n(frame.down(v))) for v in (low, high)]
    body.append(_path(f"M{ends[0][0]} {ends[0][1]}L{ends[1][0]} {ends[1][1]}", "guide"))
    return _picture([*body, *_axes(frame, x_label, y_label)], alt)


def line(values: Array, first: float, *, x_label: str, y_label: str, alt: str) -> Markup:
    """Draw a number for each position as a line from zero; of long windows the mean of a few positions."""
    step = max(1, math.ceil(len(values) / MOST_POINTS))
    starts = np.arange(0, len(values), step)
    means = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
    positions = first + starts + (step - 1) / 2
    frame = _Frame(
        (first - 0.5, first + len(values) - 0.5),
        (min(0.0, float(means.min())), float(means.max()) or 1.0),
        width=2 * WIDTH - LEFT - RIGHT,
    )
    points = [f"{_n(a)} {_n(b)}" for a, b in zip(frame.across(positions), frame.down(means), strict=True)]
    body = [_path("M" + "L".join(points), "line"), *_axes(frame, x_label, y_label)]
    return _picture(body, alt, width=2 * WIDTH)


def tracks(
    panels: Sequence[Panel], *, first: int, x_label: str, alt: str, mark: tuple[int, int] | None = None
) -> Markup:
    """Draw tracks along one sequence below each other, letters in the order of the alphabet A C G T.

    Parameters
    ----------
    panels : sequence of Panel
        With one length.
    first : int
        Number of the first position, as it is written.
    x_label, alt : str
    mark : pair of int, optional
        Index of the first and after the last position that is marked in all tracks.
    """
    length = len(panels[0].values)
    width = max(LEFT + LETTER_STEP * length + RIGHT, NARROWEST)
    body: list[str] = []
    for k, panel in enumerate(panels):
        top = TOP + k * (PANEL_HEIGHT + PANEL_TITLE) + PANEL_TITLE
        frame = _Frame(
            (-0.5, length - 0.5), _range(panel), top=top, width=LETTER_STEP * length, height=PANEL_HEIGHT - 8
        )  # fmt: skip
        body += _track(panel, frame, mark)
        body += _legend(width - RIGHT, top - 6) if panel.is_angle else []
    places = [k for k in range(length) if (first + k) % (10 if length <= 60 else 20) == 0]
    height = TOP + len(panels) * (PANEL_HEIGHT + PANEL_TITLE) + BOTTOM - 10
    for k in places:
        body.append(_text(f"{first + k:,}", float(frame.across(k)), height - BOTTOM + 24, "middle"))
    body.append(_text(x_label, LEFT, height - 2, "start"))
    return _picture(body, alt, width=width, height=height)


def letter_shapes() -> Markup:
    """Return the outlines of the letters, which every logo of a page refers to."""
    paths = [f'<path id="letter-{letter}" d="{_outline(letter)}"/>' for letter in "ACGT"]
    return Markup(f'<svg width="0" height="0" aria-hidden="true" class="shapes"><defs>{"".join(paths)}</defs></svg>')


def _outline(letter: str) -> str:
    """Outline in a square of 100 units, in the words of SVG."""
    path, words, rest = glyph(letter), [], 0
    commands = {path.MOVETO: ("M", 0), path.LINETO: ("L", 0), path.CURVE3: ("Q", 1), path.CURVE4: ("C", 2)}
    corners: Array = np.asarray(path.vertices, float)
    for (x, y), code in zip(100 * corners, np.asarray(path.codes), strict=True):
        word = ""
        if rest:
            word, rest = " ", rest - 1
        elif code != path.CLOSEPOLY:
            word, rest = commands[code]
        words.append(f"{word}{_n(x)} {_n(y)}" if word else "z")
    return "".join(words)


def _track(panel: Panel, frame: _Frame, mark: tuple[int, int] | None) -> list[str]:
    zero = _n(frame.down(0))
    right = frame.left + frame.width
    body = []
    if mark is not None:
        left, end = (_n(frame.across(k - 0.5)) for k in mark)
        body.append(
            f'<rect class="mark" x="{left}" y="{_n(frame.top)}" width="{_n(float(end) - float(left))}" '
            f'height="{_n(frame.height)}"/>'
        )  # fmt: skip
    body.append(_text(panel.title, frame.left, frame.top - 6, "start", "title"))
    if panel.is_angle:
        guides = "".join(f"M{LEFT} {_n(frame.down(s * t))}H{_n(right)}" for t in THRESHOLDS for s in (-1, 1))
        body.append(_path(guides, "grid"))
    body += _logo(panel.values, frame) if panel.values.ndim == 2 else _bars(panel, frame)
    body.append(_path(f"M{LEFT} {zero}H{_n(right)}M{LEFT} {_n(frame.top)}v{_n(frame.height)}", "axis"))
    for value in (-90, 0, 90) if panel.is_angle else _ends(*frame.y):
        body.append(_text(_number(value), frame.left - 6, float(frame.down(value)) + 4, "end"))
    return body


def _legend(right: float, y: float) -> list[str]:
    """What the colours of angles mean, up to the right edge."""
    names = [f"to {THRESHOLDS[0]}°", *(f"to {t}°" for t in THRESHOLDS[1:]), "to 90°"]
    body = []
    for k, name in enumerate(names):
        x = right - LEGEND_STEP * (len(names) - k)
        body += [_path(f"M{_n(x)} {_n(y)}v-8h8v8z", f"band{k}"), _text(name, x + 12, y, "start")]
    return body


def _logo(values: Array, frame: _Frame) -> list[str]:
    bases, heights = stack(values)
    scale = frame.height / (frame.y[1] - frame.y[0]) / 100
    groups = []
    for k, letter in enumerate("ACGT"):
        uses = []
        for position in np.flatnonzero(heights[:, k]):
            x = float(frame.across(position - LETTER_WIDTH / 2))
            y = float(frame.down(bases[position, k]))
            across, up = LETTER_STEP * LETTER_WIDTH / 100, -heights[position, k] * scale
            if abs(up) * 100 >= 0.05:  # less than that is not seen
                uses.append(
                    f'<use href="#letter-{letter}" transform="matrix({across:.4f} 0 0 {up:.4f} {_n(x)} {_n(y)})"/>'
                )
        groups.append(f'<g class="{letter}">{"".join(uses)}</g>')
    return groups


def _bars(panel: Panel, frame: _Frame) -> list[str]:
    values = panel.values
    band = np.searchsorted(THRESHOLDS, np.abs(values)) if panel.is_angle else np.zeros(len(values), int)
    zero, body = _n(frame.down(0)), []
    for number in np.unique(band):
        bars = [
            f"M{_n(frame.across(k - 0.45))} {zero}V{_n(frame.down(values[k]))}H{_n(frame.across(k + 0.45))}V{zero}z"
            for k in np.flatnonzero((band == number) & np.isfinite(values) & (values != 0))
        ]
        body.append(_path("".join(bars), f"band{number}" if panel.is_angle else "bar"))
    return body


def _range(panel: Panel) -> tuple[float, float]:
    if panel.is_angle:
        return -90.0, 90.0
    if panel.limits is not None:
        return panel.limits
    values = np.nan_to_num(panel.values, posinf=0, neginf=0)
    return limits(values if values.ndim == 2 else values[:, None])


def _spread(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin


def _axes(
    frame: _Frame, x_label: str, y_label: str, x_ticks: Iterable[float] | None = None, *, whole: bool = False
) -> list[str]:
    """Lines, numbers and names of both axes; `whole` says that the upward one counts."""
    bottom, right = frame.top + frame.height, frame.left + frame.width
    body = [_path(f"M{LEFT} {_n(frame.top)}V{_n(bottom)}H{_n(right)}", "axis")]
    for value in ticks(*frame.x, 5) if x_ticks is None else x_ticks:
        x = float(frame.across(value))
        body += [_path(f"M{_n(x)} {_n(bottom)}v4", "axis"), _text(_number(value), x, bottom + 16, "middle")]
    for value in ticks(*frame.y, 4, whole=whole):
        y = float(frame.down(value))
        body += [_path(f"M{LEFT} {_n(y)}h-4", "axis"), _text(_number(value), frame.left - 7, y + 4, "end")]
    body.append(_text(x_label, frame.left + frame.width / 2, bottom + 34, "middle", "label"))
    x, y = 12.0, frame.top + frame.height / 2
    body.append(
        f'<text class="label" text-anchor="middle" transform="translate({_n(x)} {_n(y)}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return body


def ticks(low: float, high: float, at_most: int, *, whole: bool = False) -> list[float]:
    """Return round numbers inside of a range.

    Examples
    --------
    >>> ticks(0, 97, 5), ticks(-0.3, 1.1, 4), ticks(0, 1, 4, whole=True)
    ([0.0, 20.0, 40.0, 60.0, 80.0], [0.0, 0.5, 1.0], [0.0, 1.0])
    """
    span = high - low
    size = 10.0 ** math.floor(math.log10(span / at_most))
    step = next(k * size for k in (1, 2, 2.5, 5, 10, 20) if span / (k * size) <= at_most)
    step = max(1.0, float(round(step))) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [k * step + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _ends(low: float, high: float) -> list[float]:
    """Zero and one round number on each side that is reached."""
    found = [0.0]
    for end in (low, high):
        size = abs(end)
        if size > 0.3 * (high - low):
            power = 10.0 ** math.floor(math.log10(size))
            found.append(math.copysign(max(k * power for k in (1, 2, 5) if k * power <= size), end))
    return found


def _picture(
    body: Iterable[str], alt: str, *, width: float = WIDTH, height: float = HEIGHT
) -> Markup:  # fmt: skip
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return Markup(f'<svg {size} role="img" aria-label="{escape(alt)}">{"".join(body)}</svg>')


def _path(words: str, name: str) -> str:
    return f'<path class="{name}" d="{words}"/>' if words else ""


def _text(text: str, x: float, y: float, anchor: str, name: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text{kind} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _n(value: Array | float) -> str:
    """A number of the drawing, with at most one digit after the point."""
    text = f"{float(value):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _number(value: float) -> str:
    """A number on an axis."""
    text = f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) and abs(value) < 1e7 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")

"""One picture of a run: bandwidth over length, speed-up over others' formulas, and what a single sequence costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ._tables import Row, describe_run, fixed_seconds, gigabytes, takeover_length

COLORS = {"numpy": "#0072B2", "torch": "#D55E00", "cupy": "#009E73", "jax": "#CC79A7", "tensorflow": "#B07D00"}
"""Okabe and Ito's, told apart by most eyes; the yellow is darker, to be read as text."""
MARKERS = {"numpy": "o", "torch": "s", "cupy": "D", "jax": "^", "tensorflow": "v"}
TITLES = {"numpy": "NumPy", "torch": "PyTorch", "cupy": "CuPy", "jax": "JAX", "tensorflow": "TensorFlow"}
LIMIT, TEXT = "#777777", "#222222"
GAP = 0.062  # between labels, of the height of an axis

Series = tuple[str, str]  # library and device


def draw(all_rows: Sequence[Row], machine: Mapping[str, Any]) -> Figure:
    """Draw the standard work of float32 gradients, in the layout that most rows have."""
    rows = [
        row
        for row in all_rows
        if row["operation"] == "standard work" and row.get("dtype") == "float32" and "ours" in row["measured"]
    ]
    figure = Figure(figsize=(8.4, 7.0), layout="constrained")
    axes: dict[str, Axes] = figure.subplot_mosaic(
        [["bandwidth", "bandwidth"], ["speed-up", "one"]], height_ratios=[1.0, 0.95]
    )
    many = [row for row in rows if row["kind"] == "many"]
    layouts = [row["layout"] for row in many]
    layout = max(dict.fromkeys(layouts), key=layouts.count, default="(N, L, 4)")
    many = [row for row in many if row["layout"] == layout]
    _bandwidth(axes["bandwidth"], many, layout)
    _speed_up(axes["speed-up"], many)
    _one(axes["one"], [row for row in rows if row["kind"] == "one"])
    figure.suptitle(describe_run(machine), fontsize=8.5, color=LIMIT, x=0.01, ha="left")
    return figure


def _series(rows: Sequence[Row]) -> dict[Series, list[Row]]:
    found: dict[Series, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["length"])):
        found.setdefault((row["library"], row["device"]), []).append(row)
    return found


def _name(series: Series, all_series: Sequence[Series]) -> str:
    several = len({device for _, device in all_series}) > 1
    return TITLES[series[0]] + (f", {series[1]}" if several else "")


def _style(series: Series) -> dict[str, Any]:
    library, device = series
    return {
        "color": COLORS[library], "marker": MARKERS[library], "markersize": 4.5, "linewidth": 1.8,
        "linestyle": "-" if device == "cpu" or device.endswith(":0") else "--",
    }  # fmt: skip


def _bandwidth(ax: Axes, rows: Sequence[Row], layout: str) -> None:
    series = _series(rows)
    labels = []
    for key, line in series.items():
        values = [gigabytes(row, "ours, out=" if "ours, out=" in row["measured"] else "ours") for row in line]
        lengths = [row["length"] for row in line]
        ax.plot(lengths, values, **_style(key), zorder=3)
        note = "" if "ours, out=" in line[0]["measured"] else " (new outputs)"
        labels.append((values[-1], _name(key, list(series)) + note, COLORS[key[0]]))
    for device in dict.fromkeys(device for _, device in series):
        of_device = [row for row in rows if row["device"] == device]
        lengths = sorted({row["length"] for row in of_device})
        limit = [float(np.median([gigabytes(r, "copy") for r in of_device if r["length"] == at])) for at in lengths]
        ax.plot(lengths, limit, color=LIMIT, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=2)
        labels.append((limit[-1], "the limit: a copy" + (f", {device}" if device != "cpu" else ""), LIMIT))
    positions = max((row["n_sequences"] * row["length"] for row in rows), default=0)
    of = f", {positions / 1e6:.0f} million positions" if positions else ""
    _finish(ax, f"Standard work {layout}{of}: GB read and written a second", rows)
    ax.set_ylim(bottom=0)
    _label_ends(ax, labels)


def _speed_up(ax: Axes, rows: Sequence[Row]) -> None:
    """Lines over length, or bars where there is one length."""
    lines: dict[tuple[Series, str], list[tuple[int, list[float]]]] = {}
    for row in sorted(rows, key=lambda row: int(row["length"])):
        for name, ratio in row["ratios"].items():
            if name != "copy":
                lines.setdefault(((row["library"], row["device"]), name), []).append((row["length"], ratio))
    if lines and all(len(points) == 1 for points in lines.values()):
        _speed_up_bars(ax, {key: points[0] for key, points in lines.items()})
        return
    labels = []
    for (key, name), points in lines.items():
        lengths, ratios = [at for at, _ in points], np.array([ratio for _, ratio in points])
        style = _style(key) | ({"linestyle": ":"} if "compile" in name or "jit" in name or "XLA" in name else {})
        ax.plot(lengths, ratios[:, 0], **style)
        ax.vlines(lengths, ratios[:, 1], ratios[:, 2], color=COLORS[key[0]], linewidth=1, alpha=0.6)
        labels.append((float(ratios[-1, 0]), _formula_name(key, name), COLORS[key[0]]))
    ax.set_yscale("log")
    _finish(ax, "Times as fast as others", rows)
    ax.axhline(1, color=LIMIT, linewidth=0.8, zorder=1)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    ax.yaxis.set_minor_locator(NullLocator())
    _label_ends(ax, labels)


def _speed_up_bars(ax: Axes, lines: Mapping[tuple[Series, str], tuple[int, list[float]]]) -> None:
    ordered = sorted(lines.items(), key=lambda item: item[1][1][0])
    for k, ((key, _), (_, (ratio, low, high))) in enumerate(ordered):
        ax.barh(k, ratio, 0.62, color=COLORS[key[0]], alpha=0.85)
        ax.hlines(k, low, high, color=TEXT, linewidth=1)
        ax.text(max(ratio, high), k, f"  {ratio:.3g}x", va="center", fontsize=8.5, color=TEXT)
    lengths = dict.fromkeys(f"{length:,} bp" for _, (length, _) in ordered)
    ax.set_title(f"Times as fast as others, {', '.join(lengths)}", loc="left", fontsize=10, color=TEXT)
    ax.set_yticks(range(len(ordered)), [_formula_name(*key) for key, _ in ordered])
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8.5, colors=TEXT)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.18 * max(max(ratio, high) for _, (_, (ratio, _, high)) in ordered))


def _formula_name(key: Series, name: str) -> str:
    return name + ("" if key[1] == "cpu" else f", {key[1]}")


def _one(ax: Axes, rows: Sequence[Row]) -> None:
    series = _series(rows)
    labels = []
    for key, line in series.items():
        lengths, values = [row["length"] for row in line], [row["measured"]["ours"]["seconds"] * 1e6 for row in line]
        style = _style(key)
        ax.plot(lengths, values, **style)
        until = takeover_length(rows, line[0])
        if until is not None and until > lengths[0]:
            within = [k for k, at in enumerate(lengths) if at <= until]
            ax.plot(
                [lengths[k] for k in within], [values[k] for k in within], color=style["color"], linewidth=7, alpha=0.22
            )
        labels.append((values[-1], _name(key, list(series)), COLORS[key[0]]))
    ax.set_yscale("log")
    _finish(ax, "One sequence: microseconds a call", rows)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    if rows:
        least = min(fixed_seconds(rows, row) for row in rows) * 1e6
        ax.set_ylim(bottom=min(ax.get_ylim()[0], least * 0.7))
    _label_ends(ax, labels)
    ax.text(
        0.02, 0.98, "broad: half or more is the host's,\nwhatever the length", transform=ax.transAxes, va="top",
        fontsize=8.5, color=LIMIT,
    )  # fmt: skip


def _finish(ax: Axes, title: str, rows: Sequence[Row]) -> None:
    """Title, frame, and lengths as people say them; room to the right for the names of lines."""
    ax.set_title(title, loc="left", fontsize=10, color=TEXT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8.5, colors=TEXT)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    ax.set_axisbelow(True)
    if not rows:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color=LIMIT)
        return
    lengths = sorted({int(row["length"]) for row in rows})
    ax.set_xscale("log")
    ax.set_xlim(lengths[0] / 1.3, lengths[-1] * 1.3)
    ticks = [at for at in (200, 2_000, 20_000, 200_000) if lengths[0] <= at <= lengths[-1]] or lengths[:1]
    ticks += [lengths[-1]] if lengths[-1] > 2 * ticks[-1] else []
    ax.set_xticks(ticks, [f"{at} bp" if at < 1_000 else f"{at / 1_000:.0f} kb" for at in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def _label_ends(ax: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name beside its end, none over another."""
    ax.get_ylim()  # settles the limits, which the transform reads
    to_axes = ax.transData + ax.transAxes.inverted()
    at = [(float(to_axes.transform((1, value))[1]), text, color) for value, text, color in labels]
    for (_, text, color), height in zip(sorted(at), spread([y for y, *_ in at]), strict=True):
        ax.annotate(
            text,
            (1.01, height),
            xycoords="axes fraction",
            fontsize=8.5,
            color=color,
            va="center",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float = GAP) -> list[float]:
    """Return heights in order, moved apart as little as makes them `gap` apart or more, around where they were."""
    groups: list[list[float]] = []
    for height in sorted(heights):
        groups.append([height])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _top(groups[-2], gap) + gap:
            last = groups.pop()
            groups[-1] += last
    return [_bottom(group, gap) + k * gap for group in groups for k in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return float(np.mean(group)) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return float(np.mean(group)) + gap * (len(group) - 1) / 2

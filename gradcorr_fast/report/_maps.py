"""The report of attributions in a file, before `correct` or after it, and of the summary that `correct` writes."""

import json
import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .._types import Array
from ..io.correction import open_attributions
from ..io.reading import Rows, choose, load
from ..summary import AngleSummary, angle_summary, merge
from . import _svg
from ._common import LITTLE, correction_picture, share_histogram
from ._page import (
    Beside,
    Block,
    Cell,
    Commands,
    Facts,
    Page,
    Part,
    Picture,
    Section,
    Table,
    Words,
    command,
    percent,
    short,
)

BLOCK_BYTES = 1 << 25
N_TYPICAL, N_EXTREME = 2, 2
NOTHING_DEGREES = 0.01
"""Largest angle that a corrected map has for its rounding."""
SUMMARY_KEYS = {"shares", "thresholds_degrees", "histogram", "positions"}


def map_page(path: Path, *, dataset: str | None, axis: int | None, x: Path | None) -> Page:
    """Make the report of attributions in a file; parameters as in `write_report`."""
    with ExitStack() as stack:
        rows, front = open_attributions(path, dataset, axis, stack)
        if len(rows.entry.shape) != 3:
            raise ValueError(f"{rows.entry} has {len(rows.entry.shape)} axes; a report is of (N, 4, L) or (N, L, 4)")
        summary = _summarize(rows, front)
        chosen = _choose(summary)
        maps = {k: np.moveaxis(_read(rows, k, k + 1)[0], front - 1, -1) for _, k in chosen}
    codes = None if x is None else _codes(x, maps, len(summary.n_positions))
    positions = int(summary.n_positions.sum())
    shares = summary.counts.sum(0) / max(positions, 1)
    blocks = _glance(positions, shares, summary.mean, summary.std, int(summary.n_undefined.sum()))
    largest = np.abs(summary.edges[np.flatnonzero(summary.histogram)[[0, -1]] + [0, 1]]).max() if positions else 0
    is_corrected = summary.std < NOTHING_DEGREES and largest <= 180 / len(summary.histogram)
    if is_corrected:
        blocks.append(Words("These attributions are corrected already: nothing points off the simplex. To see what the "
                            "correction removed, give the file from before it.", is_advice=True))  # fmt: skip
    sections = [
        Section("At a glance", blocks),
        Section(
            "Angles",
            [
                Beside(
                    [
                        _histogram(summary.histogram, summary.edges),
                        share_histogram(summary.fractions[:, 0], 30, "sequences"),
                    ]
                )
            ],
        ),
        Section("Typical and extreme sequences", _cards(chosen, maps, codes, summary)),
    ]
    if not is_corrected:
        sections.append(Section("What to do next", [_next(path, x)]))
    entry = rows.entry
    made = {"File": str(path), "Array": str(entry), "Letter axis": str(front), "Sequences": str(x or "not given")}
    sections.append(Section("How it was made", [Facts(made)]))
    return Page(f"Attributions: {path.name}", f"{entry.shape[0]:,} sequences, {entry}", sections)


def summary_page(path: Path) -> Page:
    """Make the report of the summary of angles that `correct` wrote."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); give the file of correct --summary") from error
    if not isinstance(found, dict) or SUMMARY_KEYS - found.keys():
        raise ValueError(f"{path} is no summary of angles; give the file of correct --summary")
    shares = np.array([math.nan if share is None else share for share in found["shares"]])
    mean, std = (math.nan if found[name] is None else found[name] for name in ("mean_degrees", "std_degrees"))
    rows = [
        [Cell(f"{threshold:g}°"), Cell(f"{n:,}", n), Cell(percent(share), float(share))]
        for threshold, n, share in zip(found["thresholds_degrees"], found["above"], shares, strict=True)
    ]
    histogram = _histogram(np.array(found["histogram"]["counts"]), np.array(found["histogram"]["edges_degrees"]))
    made = {"Attributions": str(found["source"]), "Shape": str(tuple(found["shape"])), "Type": str(found["dtype"])}
    return Page(
        f"Angles of {found['source']}",
        "What correct found before it corrected",
        [
            Section("At a glance", _glance(found["positions"], shares, mean, std, found["undefined"])),
            Section(
                "Angles",
                [histogram, Table("Positions above", {"angle": "", "positions": "", "share": ""}, rows)],
            ),
            Section("How it was made", [Facts(made)]),
        ],
    )


def is_summary(path: Path) -> bool:
    """Whether a file is named as the summaries of `correct` are."""
    return path.suffix.lower() == ".json"


def _read(rows: Rows, start: int, stop: int) -> Array:
    block = np.empty((stop - start, *rows.entry.shape[1:]), rows.entry.dtype)
    rows.read(start, stop, block)
    return block


def _summarize(rows: Rows, front: int) -> AngleSummary:
    """Summarise all angles, a block of rows at a time."""
    shape = rows.entry.shape
    row_bytes = max(1, int(np.prod(shape[1:])) * rows.entry.dtype.itemsize)
    step = max(1, BLOCK_BYTES // row_bytes)
    parts = [
        angle_summary(_read(rows, start, min(start + step, shape[0])), axis=front, n_letters=shape[front])
        for start in range(0, shape[0], step)
    ]
    if not parts:
        raise ValueError(f"{rows.entry} holds no sequence; give attributions of at least one")
    return merge(parts)


def _choose(summary: AngleSummary) -> list[tuple[str, int]]:
    """Return some sequences about the middle of the shares of large angles, and those with the largest."""
    order = np.argsort(np.nan_to_num(summary.fractions[:, 0]), kind="stable")
    middle = max(0, len(order) // 2 - N_TYPICAL // 2)
    chosen = [("Typical: ", int(k)) for k in order[middle : middle + N_TYPICAL]]
    taken = {k for _, k in chosen}
    return chosen + [("Largest angles: ", int(k)) for k in order[::-1][:N_EXTREME] if int(k) not in taken]


def _codes(x: Path, maps: dict[int, Array], n_rows: int) -> dict[int, Array]:
    """Return the codes of the sequences that are shown."""
    length = len(next(iter(maps.values())))
    shapes = [(n_rows, length, 4), (n_rows, 4, length), (n_rows, length)]
    entry = choose(x, None, lambda entry: entry.dtype.kind in "biuf" and entry.shape in shapes)
    array, found = load(x, entry.name or None), {}
    for k in maps:
        one = np.asarray(array[k])
        if one.ndim == 2:
            one = one if one.shape == (length, 4) else one.T
            one = np.where(one.max(-1) > one.min(-1), one.argmax(-1), 255)
        found[k] = one
    return found


def _glance(positions: int, shares: Array, mean: float, std: float, undefined: int) -> list[Block]:
    items = {"Positions": f"{positions:,}"}
    items |= {f"Above {t}°": percent(float(s)) for t, s in zip((30, 45, 60), shares, strict=False)}
    items["Mean and standard deviation"] = f"{short(mean)}° \N{PLUS-MINUS SIGN} {short(std)}°"
    if undefined:
        items["Without an angle"] = f"{undefined:,}"
    blocks: list[Block] = [Facts(items, is_large=True)]
    if shares[0] < LITTLE:
        blocks.append(Words("Few positions lie more than 30 degrees off the simplex: the correction changes little.",
                            is_advice=True))  # fmt: skip
    return blocks


def _histogram(counts: Array, edges: Array) -> Picture:
    total = max(int(counts.sum()), 1)
    middles = np.abs(edges[:-1] + edges[1:]) / 2
    alt = f"Histogram of the angle of {total:,} positions; {percent(float(counts[middles > 30].sum() / total))} " \
          "lie more than 30 degrees off the simplex."  # fmt: skip
    svg = _svg.histogram(
        counts, edges, x_label="angle to the simplex (degrees)", y_label="positions", alt=alt, is_angle=True
    )
    return Picture(svg, "Angle of each position to the simplex; the colour changes at 30, 45 and 60 degrees.")


def _cards(
    chosen: list[tuple[str, int]], maps: dict[int, Array], codes: dict[int, Array] | None, summary: AngleSummary
) -> list[Block]:
    what = "at the letters of the sequences" if codes is not None else "for all four letters (--x gives the sequences)"
    blocks: list[Block] = [Words(f"The gradient before, what the correction removes, the angle, and after, {what}.")]
    for rank, (kind, k) in enumerate(chosen, 1):
        grad = maps[k]
        if grad.shape[-1] != 4:
            return [Words(f"Logos are of four letters, and these have {grad.shape[-1]}.")]
        caption = f"Sequence {k} (counted from 0)."
        one = codes[k] if codes is not None else None
        picture = correction_picture(grad, one, first=0, x_label="position (0-based)", caption=caption)
        facts = Facts({"Positions above 30°": percent(float(summary.fractions[k, 0]))})
        blocks.append(Part(f"{kind}sequence {k}", f"sequence-{rank}", [facts, picture]))
    return blocks


def _next(path: Path, x: Path | None) -> Commands:
    items = [
        (
            "Correct them, in one pass, whatever their size:",
            command("gradcorr-fast", "correct", path, "-o", f"{path.stem}.corrected{path.suffix}"),
        )
    ]
    if x is not None:
        prefix = f"{path.stem}.modisco"
        line = command("gradcorr-fast", "correct", path, "-o", prefix, "--x", x, "--format", "modisco")
        items.append(("Correct them for TF-MoDISco:", line))
    return Commands(items)

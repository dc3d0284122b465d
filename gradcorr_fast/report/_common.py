"""What reports of every kind say: what became of the rows, how they were made, and pictures of one sequence."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from .. import ops
from .._types import Array
from ..plot._figures import THRESHOLDS, busiest
from ..plot._letters import limits
from ..scan.results.metadata import Metadata
from ..scan.results.paragraph import describe
from ._page import Block, Cell, Details, Facts, Picture, Section, Table, Words, number_cell, percent
from ._svg import Panel, histogram, tracks

ZOOM_BP = 100
"""Letters of a logo at most; of longer sequences the part with most signal is shown."""
LITTLE = 0.05
"""Share of positions above 30 degrees below which the correction changes little."""
BINS = 60


def count_section(title: str, metadata: Metadata, what: str, meanings: Mapping[str, str]) -> Section:
    """Say what became of all rows, and why not all were used."""
    counts: Mapping[str, int] = metadata["counts"]
    total = sum(counts.values())
    rows = [
        [Cell(status), Cell(f"{n:,}", n), Cell(percent(n / total), n / total), Cell(meanings.get(status, ""))]
        for status, n in sorted(counts.items(), key=lambda item: -item[1])
    ]
    columns = {"status": "", what: "", "share": "", "meaning": ""}
    blocks: list[Block] = [Table(f"{total:,} {what} by status", columns, rows)]
    if metadata.get("reasons"):
        reasons = [[Cell(reason), Cell(f"{n:,}", n)] for reason, n in metadata["reasons"].items()]
        blocks.append(Table("Why the model failed", {"reason": "", "sequences": ""}, reasons))
    if metadata.get("unreadable"):
        blocks.append(Details("The first lines that are no records", "\n".join(metadata["unreadable"])))
    return Section(title, blocks)


def making_section(metadata: Metadata) -> Section:
    """Say how a scan was made."""
    parts = {
        "Model": metadata.get("model", {}).get("source"),
        "Digest of the model": metadata.get("model", {}).get("digest"),
        "Genome": metadata.get("genome", {}).get("path"),
        "Digest of the genome": metadata.get("genome", {}).get("digest"),
        "Input": metadata.get("input", {}).get("path"),
        "Device": metadata.get("device"),
        "Scan": metadata.get("id"),
    }
    record = json.dumps({name: metadata[name] for name in metadata if name != "probe"}, indent=1, default=str)
    return Section(
        "How it was made",
        [
            Words(describe(metadata)),
            Facts({name: str(text) for name, text in parts.items() if text}),
            Details("All that the scan recorded", record),
        ],
    )


def band_table(bands: Sequence[tuple[str, Array, Array]]) -> Table:
    """Compare two numbers in parts of the rows: how many, their correlation and their difference."""
    rows = []
    for name, one, other in bands:
        varies = len(one) > 2 and one.std() > 0 and other.std() > 0
        correlation = float(np.corrcoef(one, other)[0, 1]) if varies else math.nan
        difference = float(np.sqrt(np.mean((one - other) ** 2))) if len(one) else math.nan
        rows.append([Cell(name), Cell(f"{len(one):,}", len(one)), number_cell(correlation), number_cell(difference)])
    columns = {"angle": "", "alleles": "", "correlation": "", "rms difference": "root mean square"}
    return Table("Agreement of exact and first-order effects, by the size of the angle", columns, rows)


def angle_bands(angle: Array) -> dict[str, Array]:
    """Return which angles lie between the thresholds."""
    edges = (0, *THRESHOLDS, 90)
    size = np.abs(angle)
    names = [f"{low}\N{EN DASH}{high}°" for low, high in pairwise(edges)]
    inside = [(size > low) & (size <= high) for low, high in pairwise(edges)]
    inside[0] |= size == 0
    return dict(zip(names, inside, strict=True))


def correction_picture(raw: Array, codes: Array | None, *, first: int, x_label: str, caption: str) -> Picture:
    """Draw the gradient of one sequence before, what is removed, its angle, and the gradient after, where most is.

    Parameters
    ----------
    raw : array, shape (L, 4)
        Uncorrected.
    codes : array, shape (L,), optional
        Of the letters; with them only those of the sequence are drawn.
    first : int
        Number of the first position, as it is written.
    x_label, caption : str
    """
    maps = ops.analyze(raw, outputs=("corrected", "angle"))
    after, removed = maps.corrected, raw.mean(-1)
    angle = np.where(np.isfinite(raw).all(-1) & raw.any(-1), maps.angle, np.nan)
    signal = np.abs(observed(after, codes)).sum(-1) if codes is not None else np.abs(after).sum(-1)
    part = busiest(signal, ZOOM_BP)
    before, after = observed(raw, codes)[part], observed(after, codes)[part]
    both = [limits(np.nan_to_num(values, posinf=0, neginf=0)) for values in (before, after, removed[part, None])]
    shared = min(low for low, _ in both), max(high for _, high in both)
    panels = [
        Panel("before the correction", before, limits=shared),
        Panel("removed: the mean over the letters", removed[part], limits=shared),
        Panel("angle to the simplex (degrees)", angle[part], is_angle=True),
        Panel("after the correction", after, limits=shared),
    ]
    shown = f" Shown are {part.stop - part.start} of {len(raw):,} positions, those with most signal."
    caption += shown if part.stop - part.start < len(raw) else ""
    share = float(np.mean(np.abs(angle) > THRESHOLDS[0]))
    alt = f"{caption} Of all its positions {percent(share)} lie more than {THRESHOLDS[0]} degrees off the simplex."
    return Picture(tracks(panels, first=first + part.start, x_label=x_label, alt=alt), caption, is_wide=True)


def observed(values: Array, codes: Array | None) -> Array:
    """Return a map (L, 4) at the letters of the sequence, zero at the others; all of it without a sequence."""
    if codes is None:
        return values
    return np.where(np.arange(4) == codes[:, None], values, 0)


def spread_histogram(values: Array) -> tuple[Array, Array, str]:
    """Count values in bins over nearly all of their range, and say what lies beyond it."""
    low, high = np.quantile(values, [0.001, 0.999]) if len(values) > 1000 else (values.min(), values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(values, BINS, (float(low), float(high)))
    n_beyond = len(values) - int(counts.sum())
    return counts, edges, f" {n_beyond:,} lie beyond what is shown." if n_beyond else ""


def share_histogram(shares: Array, threshold: float | str, what: str) -> Picture:
    """Draw how the share of positions above a threshold is distributed over sequences or regions."""
    known = 100 * shares[np.isfinite(shares)]
    highest = min(100.0, 5.0 * math.ceil(1.1 * float(known.max(initial=4)) / 5))
    counts, edges = np.histogram(known, 50, (0, highest))
    median = percent(float(np.median(known)) / 100) if len(known) else "none"
    label = f"positions above {threshold}° (%)"
    alt = f"Histogram of the share of positions above {threshold} degrees in {len(known):,} {what}, median {median}."
    caption = f"Share of positions above {threshold}° in each of {len(known):,} {what}; median {median}."
    return Picture(histogram(counts, edges, x_label=label, y_label=what, alt=alt), caption)

"""The report of a scan of variants: what was scored, how scores are distributed, and the largest effects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._types import Array
from ..model_files import LoadedModel
from ..plot._figures import THRESHOLDS
from ..plot._letters import limits
from ..scan.placing.alleles import STATUSES
from ..scan.results.tables import MAX_TARGETS, SCORES
from . import _svg
from ._alleles import Surroundings, surround
from ._common import angle_bands, band_table, count_section, making_section, observed, spread_histogram
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
    number_cell,
    percent,
    short,
)
from ._scores import Scores, read_scores

N_SHOWN = 12
"""Largest effects that get a picture."""
RANKED_BY = ("delta", "taylor", "grad_times_input")
"""Scores by which variants are ranked: the first that there is."""


def variant_page(
    path: Path, *, target: str | None, top: int, model: LoadedModel | None, fasta: Path | None
) -> Page:  # fmt: skip
    """Make the report of a scan of variants; parameters as in `write_report`."""
    scores = read_scores(path, target)
    metadata, values = scores.metadata, scores.values
    if model is not None and model.digest != metadata["model"]["digest"]:
        raise ValueError(
            f"{model.source} is not the model of the scan in {path} ({metadata['model']['source']}); give that one, "
            f"with its weights"
        )
    ranked = next((name for name in RANKED_BY if name in values), next(iter(values), None))
    chosen = _largest(values[ranked], scores.is_ok, top) if ranked else np.empty(0, int)
    sections = [
        Section("At a glance", _glance(scores, ranked, chosen)),
        count_section("What became of the alleles", metadata, "alleles", STATUSES),
        Section("Scores", [Beside([_distribution(scores, name) for name in values])]),
    ]
    if {"delta", "taylor"} <= values.keys():
        sections.append(Section("Exact against first-order effects", _agreement(values)))
    if "angle" in values:
        sections.append(Section("Large angles", _angles(values["angle"])))
    if ranked is not None and len(chosen):
        cards = _cards(scores, chosen[:N_SHOWN], ranked, model, fasta)
        sections += [
            Section("Top variants", [_top_table(scores, chosen, ranked, n_linked=len(cards))]),
            Section("The largest effects, one by one", [*_about_cards(scores, cards, model), *cards]),
        ]
    if 1 < len(scores.targets) <= MAX_TARGETS:
        sections.append(Section("Targets", [_targets(path, scores, ranked)]))
    sections += [Section("What to do next", [_next(path, scores)]), making_section(metadata)]
    of = f"; target: {scores.target}" if len(scores.targets) > 1 else ""
    subtitle = f"Variants: {metadata['input']['path']}; model: {metadata['model']['source']}{of}"
    return Page(f"Variant effects: {path.name}", subtitle, sections)


def _largest(values: Array, is_ok: Array, n: int) -> Array:
    """Return the rows with the largest values in size, the largest first."""
    size = np.where(is_ok & np.isfinite(values), np.abs(values), -1)
    first = np.argpartition(-size, min(n, len(size) - 1))[:n] if len(size) else np.empty(0, int)
    ordered: Array = first[np.argsort(-size[first], kind="stable")]
    return ordered[size[ordered] >= 0]


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def _glance(scores: Scores, ranked: str | None, chosen: Array) -> list[Block]:
    counts = scores.metadata["counts"]
    n_ok, total = counts.get("ok", 0), sum(counts.values())
    items = {"Alleles scored": f"{n_ok:,} of {total:,}"}
    if ranked is not None and len(chosen):
        items[f"Largest {ranked}"] = short(float(scores.values[ranked][chosen[0]]))
        items[f"Median size of {ranked}"] = short(float(np.median(np.abs(_finite(scores.values[ranked])))))
    one, other = _pair(scores.values)
    if len(one) > 2 and one.std() and other.std():
        items["Exact and first order correlate"] = f"r = {np.corrcoef(one, other)[0, 1]:.3f}"
    angle = _finite(scores.values.get("angle", np.empty(0)))
    if len(angle):
        items[f"Angles above {THRESHOLDS[0]}°"] = percent(float(np.mean(np.abs(angle) > THRESHOLDS[0])))
    blocks: list[Block] = [Facts(items, is_large=True)]
    if not n_ok:
        blocks.append(Words("No allele was scored; the table below tells why.", is_advice=True))
    elif n_ok < 0.9 * total:
        blocks.append(
            Words(f"{percent(1 - n_ok / total)} of the alleles were not scored; see why below.", is_advice=True)
        )
    return blocks


def _distribution(scores: Scores, name: str) -> Picture:
    values = _finite(scores.values[name])
    meaning = f"{name}: {SCORES[name]}." if name in SCORES else f"{name}."
    if not len(values):
        return Picture(_svg.histogram(np.zeros(1), np.array([0.0, 1.0]), x_label=name, y_label="alleles",
                                      alt=f"No allele has {name}."), f"{meaning} No allele has it.")  # fmt: skip
    counts, edges, beyond = spread_histogram(values)
    if name == "angle":
        counts, edges = np.histogram(values, 60, (-90, 90))
        beyond = ""
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    alt = (
        f"Histogram of {name} of {len(values):,} alleles: from {short(values.min())} to {short(values.max())}, median "
        f"{short(quartiles[1])}, half of them between {short(quartiles[0])} and {short(quartiles[2])}."
    )
    picture = _svg.histogram(counts, edges, x_label=name, y_label="alleles", alt=alt, is_angle=name == "angle")
    return Picture(picture, f"{meaning} Median {short(quartiles[1])}.{beyond}")


def _pair(values: dict[str, Array]) -> tuple[Array, Array]:
    """Exact and first-order effects, where there are both."""
    if not {"delta", "taylor"} <= values.keys():
        return np.empty(0), np.empty(0)
    is_both = np.isfinite(values["delta"]) & np.isfinite(values["taylor"])
    return values["delta"][is_both].astype(float), values["taylor"][is_both].astype(float)


def _agreement(values: dict[str, Array]) -> list[Block]:
    exact, first_order = _pair(values)
    words = Words(
        "delta is exact: two predictions. taylor is read off one gradient, and is what a scan is left with that cannot "
        "afford more. Indels have no taylor score."
    )
    if not len(exact):
        return [words, Words("No allele has both.")]
    alt = f"Density of taylor against delta of {len(exact):,} alleles, with the line where both are the same."
    picture = Picture(
        _svg.density(exact, first_order, x_label="delta (exact)", y_label="taylor (first order)", alt=alt),
        "The stronger the colour, the more alleles there are; on the dashed line both effects are the same.",
    )
    shown: list[Picture | Table] = [picture]
    if "angle" in values:
        is_both = np.isfinite(values["delta"]) & np.isfinite(values["taylor"])
        bands = angle_bands(values["angle"][is_both])
        shown.append(band_table([(name, exact[band], first_order[band]) for name, band in bands.items()]))
    return [words, Beside(shown)]


def _angles(angle: Array) -> list[Block]:
    finite = _finite(angle)
    if not len(finite):
        return [Words("No allele has an angle.")]
    rows = [
        [Cell(name), Cell(f"{n:,}", n), Cell(percent(n / len(finite)), n / len(finite))]
        for name, n in ((name, int(band.sum())) for name, band in angle_bands(finite).items())
    ]
    advice = (
        "The angle is quality control, not evidence: the correction does not change the first-order effect of a "
        "single-base change. Where the angle is large, much of the gradient says nothing about DNA; look at the exact "
        "effect there."
    )
    columns = {"angle": "", "alleles": "", "share": ""}
    return [Words(advice, is_advice=True), Table("Size of the angle at the variants", columns, rows)]


def _name(row: dict[str, Any]) -> str:
    return f"{row['chrom']}:{row['pos']:,} {_few(row['ref'])}\N{RIGHTWARDS ARROW}{_few(row['alt'])}"


def _few(letters: str) -> str:
    return letters if len(letters) <= 12 else f"{letters[:6]}\N{HORIZONTAL ELLIPSIS}({len(letters)} bp)"


def _top_table(scores: Scores, chosen: Array, ranked: str, n_linked: int) -> Table:
    rows = []
    for rank, (number, row) in enumerate(zip(chosen, scores.take(chosen).to_pylist(), strict=True), 1):
        link = f"variant-{rank}" if rank <= n_linked else None
        identity = row["id"] if row["id"] not in (None, ".") else ""
        rows.append([
            Cell(str(rank), rank, link), Cell(row["chrom"]), Cell(f"{row['pos']:,}", row["pos"]), Cell(identity),
            Cell(_few(row["ref"])), Cell(_few(row["alt"])),
            *(number_cell(float(values[number])) for values in scores.values.values()),
        ])  # fmt: skip
    columns = {"rank": "", "chrom": "", "pos": "1-based", "id": "", "ref": "", "alt": ""}
    columns |= {name: SCORES.get(name, "") for name in scores.values}
    return Table(f"The {len(rows):,} alleles with the largest {ranked} in size", columns, rows, name="top")


def _cards(
    scores: Scores, chosen: Array, ranked: str, model: LoadedModel | None, fasta: Path | None
) -> list[Part]:  # fmt: skip
    """Return a part for each of the largest effects, as much of it as model and genome tell."""
    rows = scores.take(chosen)
    place = fasta or Path(scores.metadata["genome"]["path"])
    is_there = fasta is not None or model is not None or place.is_file()
    about = surround(rows, scores, place, model) if is_there else [None] * len(rows)
    cards = []
    for rank, (number, row, found) in enumerate(zip(chosen, rows.to_pylist(), about, strict=True), 1):
        numbers = {name: short(float(values[number])) for name, values in scores.values.items()}
        blocks: list[Block] = [Facts(numbers)]
        if found is not None:
            ref, alt = _few(found.ref), _few(found.alt)
            blocks.append(Words(f"{found.before}[{ref}\N{RIGHTWARDS ARROW}{alt}]{found.after}"))
            if found.maps:
                blocks.append(_allele_picture(row, found))
        cards.append(Part(f"{rank}. {_name(row)}", f"variant-{rank}", blocks))
    return cards


def _about_cards(scores: Scores, cards: Sequence[Part], model: LoadedModel | None) -> list[Block]:
    if model is not None:
        return [Words(
            "The corrected gradient at the letters of either allele about each variant, which is shaded. Both have one "
            "scale."
        )]  # fmt: skip
    hint = (
        "For the logos of both alleles give the model again: --model, and --weights or --fasta where they are needed."
    )
    return [Words(f"The {len(cards)} largest effects. {hint}")]


def _allele_picture(row: dict[str, Any], found: Surroundings) -> Picture:
    heights = [observed(part.corrected, part.codes) for part in found.maps]
    both = [limits(np.nan_to_num(height)) for height in heights]
    shared = min(low for low, _ in both), max(high for _, high in both)
    panels = [
        _svg.Panel("reference", heights[0], limits=shared),
        _svg.Panel("alternative", heights[1], limits=shared),
        _svg.Panel("angle at the reference (degrees)", found.maps[0].angle, is_angle=True),
    ]
    start = len(found.before)
    caption = f"Corrected gradient at the letters about {_name(row)}, reference and alternative."
    label = f"position on {row['chrom']} (1-based, of the reference)"
    mark = start, start + max(len(found.ref), 1)
    svg = _svg.tracks(panels, first=found.first + 1, x_label=label, alt=caption, mark=mark)
    return Picture(svg, caption, is_wide=True)


def _targets(path: Path, scores: Scores, ranked: str | None) -> Table:
    rows = []
    for target in scores.targets:
        values = _finite(read_scores(path, target).values[ranked]) if ranked else np.empty(0)
        size = np.abs(values) if len(values) else np.array([np.nan])
        rows.append(
            [Cell(target), Cell(f"{len(values):,}", len(values)), *map(number_cell, (np.median(size), size.max()))]
        )
    columns = {"target": "", "alleles": "", f"median size of {ranked}": "", f"largest size of {ranked}": ""}
    return Table("All targets; report --target shows another one in full", columns, rows)


def _next(path: Path, scores: Scores) -> Commands:
    items = [
        ("Describe the scan in words for a paper, and list its columns:", command("gradcorr-fast", "info", path)),
        ("Check that nothing of it is damaged:", command("gradcorr-fast", "verify", path)),
    ]
    if scores.path.suffix == ".parquet":
        read = f"import pandas; print(pandas.read_parquet({str(scores.path)!r}).describe())"
        items.append(("Read the table in Python:", command("python", "-c", read)))
    return Commands(items)

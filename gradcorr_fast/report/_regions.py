"""The report of attributed regions: what was attributed, how large the angles are, where the model looks, and logos."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from .._types import Array
from ..plot._figures import busiest
from ..scan.placing.region_windows import REGION_STATUSES
from ..scan.results.attributions import Attributions
from ..scan.results.store import ANGLES
from . import _svg
from ._common import LITTLE, ZOOM_BP, correction_picture, count_section, making_section, observed, share_histogram
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

N_TYPICAL, N_EXTREME = 3, 3
N_AVERAGED = 4096
"""Regions at most of which the average is made."""
BLOCK_ROWS = 256


def region_page(path: Path, *, target: str | None, top: int) -> Page:
    """Make the report of a store of attributions; parameters as in `write_report`."""
    store = Attributions(path)
    metadata, number = store.metadata, store.number_of(store.targets[0] if target is None else target)
    is_ok = pc.equal(store.regions["status"], "ok").to_numpy()
    rows = np.flatnonzero(is_ok)
    angles = store.read("angle_summary", rows, number) if "angle_summary" in store.group else None
    sections = [
        Section("At a glance", _glance(store, rows, angles)),
        count_section("What became of the regions", metadata, "regions", REGION_STATUSES),
    ]
    if len(rows):
        if angles is not None:
            sections.append(Section("Angles as quality control", _angles(angles)))
        sections += [
            Section("Where the model looks", [_average(store, rows, number)]),
            Section("Typical and extreme regions", _cards(store, rows, angles, number)),
            Section("Regions", [_table(store, rows, angles, number, top)]),
            Section("What to do next", [_next(path, store)]),
        ]
    sections.append(making_section(metadata))
    of = f"; target: {store.targets[number]}" if len(store.targets) > 1 else ""
    subtitle = f"Regions: {metadata['input']['path']}; model: {metadata['model']['source']}{of}"
    return Page(f"Attributions of regions: {path.name}", subtitle, sections)


def _glance(store: Attributions, rows: Array, angles: Array | None) -> list[Block]:
    options = store.metadata["options"]
    items = {
        "Regions attributed": f"{len(rows):,} of {len(store.regions):,}",
        "Window": f"{options['length']:,} bp",
        "Method": options["method"].replace("_", " "),
    }
    if angles is not None and len(rows):
        items |= {
            f"Positions above {name.removeprefix('share_above_')}°": percent(float(np.nanmean(angles[:, k])))
            for k, name in enumerate(ANGLES[:3])
        }
    blocks: list[Block] = [Facts(items, is_large=True)]
    if not len(rows):
        blocks.append(Words("No region was attributed; the table below tells why.", is_advice=True))
    return blocks


def _angles(angles: Array) -> list[Block]:
    shares = [
        share_histogram(angles[:, k], name.removeprefix("share_above_"), "regions") for k, name in enumerate(ANGLES[:3])
    ]
    mean = float(np.nanmean(angles[:, 0]))
    verdict = (
        f"Only {percent(mean)} of the positions point more than 30 degrees off the simplex: the correction changes "
        "little here, and uncorrected maps of this model would have served as well."
        if mean < LITTLE
        else f"{percent(mean)} of the positions point more than 30 degrees off the simplex: these maps would have been "
        "noisy without the correction. Look at the regions with the largest shares before you trust them."
    )
    return [Words(verdict, is_advice=True), Beside(shares)]


def _average(store: Attributions, rows: Array, number: int) -> Picture:
    """Mean size of the corrected attribution at the letters of the windows, by position."""
    taken = rows[np.linspace(0, len(rows) - 1, min(len(rows), N_AVERAGED)).astype(int)]
    total, n_known = np.zeros(store.group["codes"].shape[1]), 0
    for start in range(0, len(taken), BLOCK_ROWS):
        block = taken[start : start + BLOCK_ROWS]
        maps, codes = store.maps(block, number), store.codes(block)
        for one, letters in zip(maps.transpose(0, 2, 1), codes, strict=True):
            total += np.nan_to_num(np.abs(observed(one, letters).sum(-1)))
            n_known += 1
    mean, middle = total / max(n_known, 1), len(total) // 2
    peak = int(np.argmax(mean)) - middle
    where = f"The highest point is {abs(peak):,} bp {'before' if peak < 0 else 'after'} the centre of the windows."
    caption = f"Mean size of the corrected attribution at the letters of {n_known:,} regions, by position. {where}"
    svg = _svg.line(mean, -middle, x_label="position from the centre (bp)", y_label="mean size", alt=caption)
    return Picture(svg, caption)


def _cards(store: Attributions, rows: Array, angles: Array | None, number: int) -> list[Block]:
    shares = np.nan_to_num(angles[:, 0]) if angles is not None else None
    chosen: list[tuple[str, int]] = []
    if shares is None:
        chosen = [("", int(k)) for k in range(min(N_TYPICAL, len(rows)))]
    else:
        order = np.argsort(shares, kind="stable")
        middle = max(0, len(order) // 2 - N_TYPICAL // 2)
        chosen = [("Typical: ", int(k)) for k in order[middle : middle + N_TYPICAL]]
        taken = {k for _, k in chosen}
        chosen += [("Largest angles: ", int(k)) for k in order[::-1][:N_EXTREME] if int(k) not in taken]
    has_raw = "uncorrected" in store.group
    words = (
        "Before the correction, what it removes, the angle, and what is left, at the letters of the sequence."
        if has_raw
        else "The maps before the correction were not kept; attribute with --keep-uncorrected to see what it removes."
    )
    blocks: list[Block] = [Words(words)]
    for rank, (kind, k) in enumerate(chosen, 1):
        region = store.regions.slice(int(rows[k]), 1).to_pylist()[0]
        facts = {"Prediction": short(float(store.read("prediction", [rows[k]], number)[0]))}
        if shares is not None:
            facts["Positions above 30°"] = percent(float(shares[k]))
        picture = _picture(store, region, int(rows[k]), number, has_raw)
        blocks.append(Part(f"{kind}{_name(region)}", f"region-{rank}", [Facts(facts), picture]))
    return blocks


def _picture(store: Attributions, region: dict[str, object], row: int, number: int, has_raw: bool) -> Picture:
    codes, name = store.codes([row])[0], _name(region)
    first, label = _positions(region)
    if has_raw:
        raw = store.maps([row], number, corrected=False)[0].T
        return correction_picture(raw, codes, first=first, x_label=label, caption=f"{name}.")
    after = observed(store.maps([row], number)[0].T, codes)
    part = busiest(np.abs(after).sum(-1), ZOOM_BP)
    caption = f"{name}: corrected attributions of {part.stop - part.start} of {len(after):,} positions."
    panel = _svg.Panel("corrected", after[part])
    return Picture(_svg.tracks([panel], first=first + part.start, x_label=label, alt=caption), caption, is_wide=True)


def _positions(region: dict[str, object]) -> tuple[int, str]:
    """Return the number of the first position, and the name of the axis; windows of the other strand run backwards."""
    start = region["window_start"]
    assert isinstance(start, int)
    if region["strand"] == "-":
        return 0, f"position in the window, on the other strand, which begins at {region['chrom']}:{start + 1:,}"
    return start + 1, f"position on {region['chrom']} (1-based)"


def _name(region: dict[str, object]) -> str:
    place = f"{region['chrom']}:{_number(region['start'], 1)}-{_number(region['stop'], 0)}"
    return f"{region['name']} ({place})" if region["name"] not in (None, "", ".") else place


def _number(value: object, more: int) -> str:
    return f"{value + more:,}" if isinstance(value, int) else "?"


def _table(store: Attributions, rows: Array, angles: Array | None, number: int, top: int) -> Table:
    by = angles[:, 0] if angles is not None else store.read("prediction", rows, number)
    chosen = np.argsort(-np.nan_to_num(by), kind="stable")[:top]
    regions = store.regions.take(rows[chosen]).to_pylist()
    predictions = store.read("prediction", rows[chosen], number)
    cells = []
    for k, region, prediction in zip(chosen, regions, predictions, strict=True):
        row = [
            Cell(str(region["region"] + 1), region["region"]), Cell(str(region["chrom"])),
            Cell(_number(region["start"], 1), region["start"]), Cell(_number(region["stop"], 0), region["stop"]),
            Cell(region["name"] or ""), number_cell(float(prediction)),
        ]  # fmt: skip
        if angles is not None:
            row += [Cell(percent(float(share)), float(share)) for share in angles[k, :3]]
        cells.append(row)
    columns = {"number": "in the input, from 1", "chrom": "", "start": "1-based", "stop": "", "name": ""}
    columns["prediction"] = ""
    if angles is not None:
        columns |= {f"above {name.removeprefix('share_above_')}°": "share of positions" for name in ANGLES[:3]}
    what = "largest share of positions above 30°" if angles is not None else "largest prediction"
    return Table(f"The {len(cells):,} regions with the {what}", columns, cells, name="regions-table")


def _next(path: Path, store: Attributions) -> Commands:
    target = ["--target", store.targets[0]] if len(store.targets) > 1 else []
    stem = path.name
    return Commands([
        (
            "Find motifs with TF-MoDISco (writes its two files, and prints the command that reads them):",
            command("gradcorr-fast", "export", path, "-o", f"{stem}.modisco", "--format", "modisco", *target),
        ),
        (
            "Look at them in a genome browser:",
            command("gradcorr-fast", "export", path, "-o", f"{stem}.bw", "--format", "bigwig", *target),
        ),
        (
            "Find instances of motifs with Fi-NeMo:",
            command("gradcorr-fast", "export", path, "-o", f"{stem}.h5", "--format", "hdf5", *target),
        ),
    ])  # fmt: skip

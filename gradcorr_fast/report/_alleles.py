"""What is about a variant: the letters of the genome, and the attributions of both alleles where a model is given."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import ops, sequences
from .._types import Array
from ..model_files import LoadedModel
from ..scan.inputs.genome import Genome
from ..scan.inputs.variants import read_variants
from ..scan.placing.alleles import place_all
from ..scan.placing.windows import WindowOptions, cut_windows
from ..scan.region_scan import attribute_regions
from ..scan.running.options import grid_step
from ._scores import SHOWN, Scores

FLANK_BP = 25
"""Letters of the window on either side of a variant that are shown."""
AS_SCORED = ("length", "axis", "output", "rc", "rc_output", "bin_axis", "strand_pairs", "shifts", "precision")
"""Options of the scan that are those of its pictures."""


class Surroundings(NamedTuple):
    """The part of a window about a variant."""

    first: int
    """0-based position of its first letter in the genome."""
    before: str
    ref: str
    alt: str
    after: str
    """Letters of the genome about the variant, which is trimmed and aligned to the left."""
    maps: "list[Part]"
    """Of the reference and of the alternative allele, or none."""


class Part(NamedTuple):
    """Attributions of a part of a window."""

    codes: Array
    corrected: Array
    """(L, 4)."""
    angle: Array
    """Degrees, NaN where there is none."""


def surround(rows: pa.Table, scores: Scores, fasta: Path, model: LoadedModel | None) -> list[Surroundings | None]:
    """Look up what is about some variants; None where the genome is another than it was.

    Parameters
    ----------
    rows : pyarrow.Table
        With the columns `SHOWN`.
    scores : Scores
        Of the scan.
    fasta : Path
        The genome.
    model : LoadedModel, optional
        That of the scan.
    """
    options = scores.metadata["options"]
    windows = WindowOptions(
        length=options["length"], edges=options["edges"], max_n=1.0, step=grid_step(options["windows"])
    )
    with Genome(fasta, contigs=scores.metadata["genome"].get("aliases")) as genome:
        names = [tuple(row[name] for name in SHOWN) for row in rows.to_pylist()]
        placed = pa.concat_tables(pa.table(batch) for batch in place_all(read_variants(names), genome, windows))
        is_ok = pc.equal(placed["status"].cast(pa.string()), "ok").to_numpy()
        placed = placed.filter(pa.array(is_ok))
        codes = [cut_windows(placed, genome, windows, allele=allele) for allele in ("ref", "alt")]
    maps = None if model is None or not len(placed) else _attribute(np.concatenate(codes), scores, model)
    found: list[Surroundings | None] = [None] * len(rows)
    for k, (place, row) in enumerate(zip(np.flatnonzero(is_ok), placed.to_pylist(), strict=True)):
        grads = [] if maps is None else [maps[k], maps[len(placed) + k]]
        found[place] = _cut(row, [codes[0][k], codes[1][k]], grads)
    return found


def _cut(row: Mapping[str, Any], codes: list[Array], grads: list[Array]) -> Surroundings:
    """Cut what is shown of a window with either allele, and of its gradients, if there are any."""
    offset, ref = row["norm_pos"] - 1 - row["window_start"], row["norm_ref"]
    first, stop = max(0, offset - FLANK_BP), min(len(codes[0]), offset + len(ref) + FLANK_BP)
    letters = str(sequences.decode(codes[0]))
    parts = [_part(code[first:stop], grad[first:stop]) for code, grad in zip(codes, grads, strict=bool(grads))]
    return Surroundings(
        row["window_start"] + first,
        letters[first:offset],
        ref,
        row["norm_alt"],
        letters[offset + len(ref) : stop],
        parts,
    )


def _part(codes: Array, grad: Array) -> Part:
    maps = ops.analyze(grad, outputs=("corrected", "angle"))
    return Part(codes, maps.corrected, np.where(grad.any(-1), maps.angle, np.nan))


def _attribute(codes: Array, scores: Scores, model: LoadedModel) -> Array:
    """Return the uncorrected gradients of windows, (N, L, 4), computed as the scan computed its own."""
    options = scores.metadata["options"]
    given = {name: options[name] for name in AS_SCORED if options.get(name) is not None}
    windows = {str(k): row for k, row in enumerate(codes)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "maps"
        attributions = attribute_regions(
            model, windows, [(name, 0, codes.shape[1]) for name in windows], out, targets=[scores.target],
            max_n=1.0, dtype="float32", keep_uncorrected=True, **given,
        )  # fmt: skip
        assert attributions is not None  # as it is but for shares
        maps = attributions.maps(np.arange(len(codes)), corrected=False)
    return maps.transpose(0, 2, 1)

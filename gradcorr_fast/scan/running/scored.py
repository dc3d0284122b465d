"""Shards of a scan of variants: scored, and written."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._types import Array
from ..results.matrix import shard_files, write_matrix_shard
from ..results.tables import MAX_TARGETS, add_comparisons, add_scores, comparison_columns, write_shard
from .folder import MATRIX, Record, this_worker
from .options import comparison_names, target_names
from .parting import score_with
from .planning import Ready, Scan
from .scoring import Scored
from .working import Advance


class Shard(NamedTuple):
    """The alleles of a shard, scored."""

    rows: pa.Table
    values: dict[str, Array]
    compared: Array
    manifest: Record


@dataclass(frozen=True)
class VariantWork:
    """What is done with each shard, see `working.Work`."""

    scan: Scan
    ready: Ready

    def compute(self, rows: pa.Table, advance: Advance) -> Shard:
        """Score the alleles of a shard."""
        start, index = time.monotonic(), _placed(rows)
        is_all = len(index) == len(rows)
        advance(len(rows) - len(index))
        scored = score_rows(self.ready, rows if is_all else rows.take(pa.array(index)), advance)
        self.ready.genome.check_unchanged()
        values = {
            name: numbers if is_all else _spread(numbers, index, len(rows)) for name, numbers in scored.scores.items()
        }
        compared = scored.compared if is_all else _spread(scored.compared, index, len(rows))
        more = {"agreement": scored.agreement.tolist()}
        return _as_shard(rows, index[scored.has_failed], values, compared, scored.reasons, start, **more)

    def give_up(self, rows: pa.Table, reason: str) -> Shard:
        """Return a shard none of whose alleles can be scored."""
        start, index, options = time.monotonic(), _placed(rows), self.ready.options
        nothing = np.full((len(rows), len(options["targets"])), np.nan, np.float32)
        columns = comparison_columns(comparison_names(options))
        compared = np.full((len(rows), len(columns)), np.nan, np.float32)
        values = dict.fromkeys(options["scores"], nothing)
        return _as_shard(rows, index, values, compared, {reason: len(index)}, start)

    def write(self, number: int, shard: Shard) -> None:
        """Put a shard on disk: its matrix, its table, and last what says that it is done."""
        folder, names = self.scan.folder, target_names(self.ready.options)
        matrix, others = folder.path / MATRIX, list[Path]()
        if len(names) > MAX_TARGETS:
            write_matrix_shard(matrix, number, shard.values)
            others = shard_files(matrix, number)

        def write(path: Path) -> None:
            scored = add_scores(shard.rows, shard.values, names)
            write_shard(path, add_comparisons(scored, shard.compared, comparison_names(self.ready.options)))

        folder.commit(number, self.scan.record["id"], write, shard.manifest, others)


def score_rows(ready: Ready, rows: pa.Table, advance: Advance = lambda n: None) -> Scored:
    """Score placed alleles as a scan asks for."""
    return score_with(ready.session, rows, ready.genome, ready.options, advance)


def _placed(rows: pa.Table) -> Array:
    return np.flatnonzero(pc.equal(rows["status"].cast(pa.string()), "ok"))


def _spread(numbers: Array, index: Array, n: int) -> Array:
    """Return an array of n rows that has some numbers in the rows of an index, and NaN elsewhere."""
    whole = np.full((n, numbers.shape[1]), np.nan, np.float32)
    whole[index] = numbers
    return whole


def _as_shard(
    rows: pa.Table, failed: Array, values: dict[str, Array], compared: Array, reasons: Mapping[str, int],
    start: float, **more: object,
) -> Shard:  # fmt: skip
    """Return a shard with its manifest; `failed` are the rows on which the model failed."""
    has_failed = np.zeros(len(rows), bool)
    has_failed[failed] = True
    status = pc.if_else(pa.array(has_failed), "model_failed", rows["status"].cast(pa.string()))
    manifest = {
        "rows": len(rows),
        "counts": {entry["values"]: entry["counts"] for entry in pc.value_counts(status).to_pylist()},
        "reasons": dict(reasons),
        **more,
        "seconds": round(time.monotonic() - start, 3),
        "worker": this_worker(),
    }
    return Shard(rows.set_column(rows.column_names.index("status"), "status", status), values, compared, manifest)

"""Shards of a scan of regions: attributed, and written."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...io.replacing import replacing
from ..placing.region_windows import ROW, cut_regions
from ..results.matrix import shard_files
from ..results.metadata import STORE
from ..results.parquet import write_whole
from ..results.store import write_store_shard
from .attribution import Attributed, Run, attribute, count_angles, finish_values
from .folder import this_worker
from .planning import Ready, Scan
from .working import Advance


class Shard(NamedTuple):
    """The regions of a shard, attributed."""

    rows: pa.Table
    attributed: Attributed
    seconds: float
    worker: str
    advance: Advance
    """Tells of its regions, which are done when they are written."""


@dataclass(frozen=True)
class RegionWork:
    """What is done with each shard, see `working.Work`."""

    scan: Scan
    ready: Ready
    run: Run

    def compute(self, rows: pa.Table, advance: Advance) -> Shard:
        """Attribute the regions of a shard."""
        start, ready = time.monotonic(), self.ready
        codes = cut_regions(rows.filter(pc.equal(rows["status"], "ok")), ready.genome, ready.session.length)
        ready.genome.check_unchanged()
        attributed = attribute(codes, self.run, ready.session)
        return Shard(rows, attributed, time.monotonic() - start, this_worker(), advance)

    def give_up(self, rows: pa.Table, reason: str) -> Shard:
        """Return a shard none of whose regions can be attributed."""
        n_ok = int(pc.sum(pc.equal(rows["status"], "ok")).as_py() or 0)
        nothing = Attributed({}, np.ones(n_ok, bool), Counter({reason: n_ok}))
        return Shard(rows, nothing, 0.0, this_worker(), lambda n: None)

    def write(self, number: int, shard: Shard) -> None:
        """Put a shard on disk: its arrays, its rows, and last what says that it is done."""
        rows, attributed, seconds, worker, advance = shard
        folder, options = self.scan.folder, self.ready.options
        store, status = folder.path / STORE, np.array(rows["status"].to_pylist(), object)
        index = np.flatnonzero(status == "ok")
        status[index[attributed.has_failed]] = "model_failed"
        values = finish_values(attributed.values, options) if attributed.values else {}
        write_store_shard(store, number, index[~attributed.has_failed], len(rows), values)
        table = rows.set_column(ROW.get_field_index("status"), "status", pa.array(status, pa.string()))
        manifest: dict[str, Any] = {
            "rows": len(rows),
            "counts": Counter(status.tolist()),
            "reasons": attributed.reasons,
            "seconds": round(seconds, 3),
            "worker": worker,
        }
        if "angle_summary" in values:
            manifest["angles"] = count_angles(values)
        folder.commit(
            number, self.scan.record["id"], lambda path: _write(path, table), manifest, shard_files(store, number)
        )
        advance(len(rows))


def _write(path: Path, rows: pa.Table) -> None:
    with replacing([path], force=True) as (temporary,):
        write_whole(rows, temporary)

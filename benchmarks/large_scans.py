"""What a large scan costs beside the model: plan, shards on disk, status, merge; a program.

    python -m benchmarks.large_scans ALLELES [...]

Every substitution of a random genome is placed as a scan does it, and its shards are written and merged; only the
model is left out, whose scores are random numbers. Each step runs in a process of its own. Prints a row of a table for
each number of alleles: seconds and peak memory of a step, files, the most in one folder, bytes, and how long it takes
to open the plan and to read a shard of it.
"""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from gradcorr_fast.scan.inputs.genome import Genome
from gradcorr_fast.scan.inputs.substitutions import every_substitution
from gradcorr_fast.scan.placing.alleles import place_all
from gradcorr_fast.scan.placing.windows import WindowOptions
from gradcorr_fast.scan.results.parquet import open_checked
from gradcorr_fast.scan.results.tables import ROW
from gradcorr_fast.scan.running import planning, scored
from gradcorr_fast.scan.running.folder import PLAN_DIGEST, Folder, file_digest, identify, write_json
from gradcorr_fast.scan.running.joining import merge, status
from gradcorr_fast.scan.variant_scan import most_alleles

LENGTH = 200
OPTIONS = MappingProxyType({"scores": ("delta", "taylor"), "targets": (0,)})
N_READ = 50
STEPS = "plan", "write", "status", "merge"


def _genome(folder: Path, n_alleles: int) -> int:
    """Write a genome that has so many substitutions, and return its length."""
    n = n_alleles // 3
    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, -(-n // 60) * 60)]
    lines = np.full((len(letters) // 60, 61), ord("\n"), np.uint8)
    lines[:, :60] = letters.reshape(-1, 60)
    (folder / "g.fa").write_bytes(b">chr1\n" + lines.tobytes())
    return n


def plan(folder: Path, n_alleles: int) -> None:
    n = _genome(folder, n_alleles)
    scan = Folder(folder / "scan")
    scan.path.mkdir()
    planned, region = folder / "planned.parquet", f"chr1:1-{n}"
    with Genome(folder / "g.fa") as genome:
        rows = place_all(every_substitution(region, genome), genome, WindowOptions(length=LENGTH))
        shards = planning.in_shards(rows, ROW, most_alleles(n_alleles))
        found = planning._plan(genome, None, shards, planned, Counter())
    record = {"gradcorr_fast": "benchmark", "kind": "variants", "options": {}} | found
    record |= {PLAN_DIGEST: file_digest(planned)}
    scan.begin(record | {"id": identify(record)}, planned)


def write(folder: Path, n_alleles: int) -> None:
    scan = Folder(folder / "scan")
    record = scan.record
    assert record is not None
    work: Any = scored.VariantWork(planning.Scan(scan, record), SimpleNamespace(options=OPTIONS))  # type: ignore[arg-type]
    draw = np.random.default_rng(1)
    with open_checked(scan.plan) as planned:
        for number in range(planned.num_row_groups):
            rows = planned.read_row_group(number)
            values = {score: draw.random((len(rows), 1), np.float32) for score in OPTIONS["scores"]}
            more = {"agreement": np.zeros((1, 6)).tolist()}
            work.write(number, scored._as_shard(rows, np.zeros(0, int), values, {}, time.monotonic(), **more))


def tell(folder: Path, n_alleles: int) -> None:
    assert status(folder / "scan").n_rows == n_alleles // 3 * 3


def join(folder: Path, n_alleles: int) -> None:
    merge(folder / "scan")


def _timed(step: Callable[[Path, int], None], folder: Path, n_alleles: int) -> tuple[float, float]:
    """Return seconds and MiB at the peak of a step, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (step, folder, n_alleles))


def _measured(step: Callable[[Path, int], None], folder: Path, n_alleles: int) -> tuple[float, float]:
    start = time.perf_counter()
    step(folder, n_alleles)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _reading(folder: Path, n_alleles: int) -> None:
    """Open the plan, and read shards of it in a random order; their times are left in a file."""
    start = time.perf_counter()
    with open_checked(Folder(folder / "scan").plan) as planned:
        opened = time.perf_counter()
        for number in np.random.default_rng(2).integers(0, planned.num_row_groups, N_READ):
            planned.read_row_group(int(number))
        ended = time.perf_counter()
    write_json(folder / "reading.json", {"open": opened - start, "shard": (ended - opened) / N_READ})


def measure(n_alleles: int) -> str:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cells = []
        for step in (plan, write, tell, join):
            seconds, memory = _timed(step, folder, n_alleles)
            cells.append(f"{seconds:.1f} s, {memory:,.0f} MiB")
            if step is write:
                _timed(_reading, folder, n_alleles)
                files = [path for path in (folder / "scan" / "shards").rglob("*") if path.is_file()]
                fullest = max(Counter(path.parent for path in files).values())
                n_bytes = sum(path.stat().st_size for path in files)
        reading = json.loads((folder / "reading.json").read_text())
        n_shards = len([path for path in files if path.suffix == ".json"])
    cells += [f"{len(files):,}", f"{fullest:,}", f"{n_bytes / n_alleles:.1f}"]
    cells += [f"{1000 * reading['open']:.0f} ms", f"{1000 * reading['shard']:.1f} ms"]
    return f"| {n_alleles:,} | {n_shards:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    names = ("alleles", "shards", *STEPS, "files", "most in a folder", "bytes an allele", "open plan", "read shard")
    print(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}", flush=True)
    for each in sys.argv[1:]:
        print(measure(int(each)), flush=True)

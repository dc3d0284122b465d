"""Turns bits over in what scans and trainings wrote, removes files of it, and counts what is found; a program.

    python -m tests.bit_faults [FLIPS [SEED]]

Each fault is made in a copy of its own. It is found by `verify`, or by reading the results as a user does; or else
what is read is what was written, so that the bit means nothing; or it is silent, which must not be. Prints a row of a
table for each kind of file. `test_bit_faults` makes some of them.
"""

import gzip
import random
import shutil
import sys
import tempfile
import textwrap
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch

import gradcorr_fast as gf
from gradcorr_fast.paper import models, synthetic, training
from gradcorr_fast.scan.inputs.variant_files import quiet_htslib
from tests.test_verify import GENOME, MAKE

FOUND = ("by verify", "by reading", "means nothing", "silent")
SMALL = {"length": 100, "first_filters": 4, "first_width": 5}
DATA = synthetic.generate(100, length=100, seed=1)


class Kind(NamedTuple):
    """A kind of file in which a fault is made."""

    out: str
    """What holds it: a scan of `test_verify`, or a training."""
    pattern: str
    """Of its files in there, by glob; what is in no folder is the result itself."""
    removes: bool = False


KINDS = {
    "record of a scan (run.json)": Kind("scan", "scan/run.json"),
    "record of a scan that is not done": Kind("begun", "begun/run.json"),
    "plan": Kind("scan", "scan/plan.parquet"),
    "shard of a scan (Parquet)": Kind("scan", "scan/shards/*.parquet"),
    "manifest of a shard": Kind("scan", "scan/shards/*.json"),
    "table of scores (Parquet)": Kind("table.parquet", "table.parquet"),
    "table of regions (Parquet)": Kind("peaks", "peaks/regions.parquet"),
    "TSV, packed": Kind("packed.tsv.gz", "packed.tsv.gz*"),
    "VCF, packed": Kind("calls.vcf.gz", "calls.vcf.gz"),
    "BCF": Kind("binary.bcf", "binary.bcf"),
    "store of maps, chunks": Kind("peaks", "peaks/attributions.zarr/*/c/**/*"),
    "store of maps, metadata": Kind("peaks", "peaks/attributions.zarr/**/zarr.json"),
    "matrix of scores, chunks": Kind("many.parquet", "many.zarr/*/c/**/*"),
    "matrix of scores, metadata": Kind("many.parquet", "many.zarr/**/zarr.json"),
    "checkpoint of a training": Kind("run.pt", "run.pt"),
    "shard of a scan removed": Kind("scan", "scan/shards/*.parquet", True),
    "shard of a store removed": Kind("peaks", "peaks/attributions.zarr/*/c/**/*", True),
    "metadata of a store removed": Kind("peaks", "peaks/attributions.zarr/**/zarr.json", True),
}


def fit(path: Path) -> Any:
    """Train a model for an epoch, or read it from its checkpoint."""
    model = models.build("cnn-shallow-relu", **SMALL)
    return training.fit(model, DATA, epochs=1, checkpoint=path, quiet=True)


def make(out: str, folder: Path) -> Path:
    """Return what a scan or training writes, made once, in a folder of its own."""
    place = folder / out.partition(".")[0]
    if not place.exists():
        place.mkdir(parents=True)
        (place / "genome.fa").write_text(f">chr1\n{textwrap.fill(GENOME, 60)}\n")
        if out == "run.pt":
            fit(place / out)
        else:
            MAKE[out](place)
    return place


def files_of(kind: Kind, place: Path) -> list[Path]:
    return [file for file in sorted(place.glob(kind.pattern)) if file.is_file() and file.stat().st_size]


def read(out: Path) -> Any:
    """Everything that a user reads of a result, as it can be compared."""
    if out.suffix == ".pt":
        found = fit(out)
        weights = {name: tensor.numpy().tobytes() for name, tensor in found.model.state_dict().items()}
        return weights, [epoch[:3] for epoch in found.history]
    said = gf.scan.read_metadata(out)
    if (out / "attributions.zarr").exists():
        maps = gf.scan.Attributions(out)
        every = np.arange(len(maps.regions))
        arrays = {name: maps.read(name, every).tobytes() for name, _ in sorted(maps.group.arrays())}
        return said, maps.targets, maps.regions.to_pydict(), arrays
    if out.is_dir():
        tables = {path.name: pq.read_table(path).to_pydict() for path in sorted(out.rglob("*.parquet"))}
        return said, tables, gf.scan.status(out)[:5]
    if (matrix := out.with_name(f"{out.stem}.zarr")).exists():
        import zarr

        group = zarr.open_group(matrix, mode="r")
        return said, dict(group.attrs), {name: np.asarray(array).tobytes() for name, array in sorted(group.arrays())}
    return said, pq.read_table(out).to_pydict() if out.suffix == ".parquet" else unpacked(out)


def unpacked(out: Path) -> Any:
    """What is in a compressed table: text, or of BCF the header and the records as text."""
    if out.suffix == ".gz":
        return gzip.decompress(out.read_bytes())
    with quiet_htslib() as pysam, pysam.VariantFile(str(out)) as file:
        return str(file.header), [str(record) for record in file]


def turn(file: Path, draw: random.Random) -> None:
    """Turn one bit of a file over."""
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def judge(out: Path, wanted: Any) -> str:
    """Return how a fault is found, of `FOUND`."""
    if out.suffix != ".pt" and gf.scan.verify(out).problems:
        return FOUND[0]
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            found = read(out)
    except (ValueError, OSError, EOFError, UserWarning, RuntimeError, zlib.error):
        return FOUND[1]
    return FOUND[2] if str(found) == str(wanted) else FOUND[3]  # as texts, since NaN is not itself


def fault(kind: Kind, seed: int, folder: Path) -> str:
    """Make one fault in a copy, and return how it is found."""
    place, copy, draw = make(kind.out, folder), folder / "copy", random.Random(seed)
    shutil.copytree(place, copy)
    try:
        file = draw.choice(files_of(kind, copy))
        if kind.removes:
            file.unlink()
        else:
            turn(file, draw)
        return judge(copy / kind.out, whole(kind.out, place))
    finally:
        shutil.rmtree(copy)


_whole: dict[Path, Any] = {}


def whole(out: str, place: Path) -> Any:
    """What is read of a result before anything befalls it."""
    if place not in _whole:
        _whole[place] = read(place / out)
        assert out == "run.pt" or not gf.scan.verify(place / out).problems
    return _whole[place]


def count(name: str, seeds: range, folder: Path) -> Counter[str]:
    """Make faults of a kind, and count how they are found."""
    return Counter(fault(KINDS[name], seed, folder) for seed in seeds)


def row(name: str, counts: Counter[str]) -> str:
    """A row of the table."""
    return f"| {name} | {counts.total()} | " + " | ".join(str(counts[how]) for how in FOUND) + " |"


def main(n: int, first: int) -> None:
    torch.set_num_threads(1)
    total: Counter[str] = Counter()
    print(f"| file | faults | {' | '.join(FOUND)} |\n|{' --- |' * (len(FOUND) + 2)}")
    with tempfile.TemporaryDirectory() as place:
        for name in KINDS:
            counts = count(name, range(first, first + n), Path(place))
            total += counts
            print(row(name, counts), flush=True)
    print(row("all", total))


if __name__ == "__main__":
    n_flips, first_seed = map(int, (sys.argv[1:] + ["100", "0"][len(sys.argv) - 1 :])[:2])
    main(n_flips, first_seed)

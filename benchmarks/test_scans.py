"""Scans: against the same forwards and backwards of the bare model, and what planning, memory and stores take."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gradcorr_fast as gf
from benchmarks import memory
from benchmarks.harness import compare, interleave, seconds
from benchmarks.test_hooks import BATCH, Case
from tests import models

ROOT = Path(__file__).parent.parent
AIM = 0.90
SHARD = 4096
CONTIG = "chr1"
EVERY_BP = 100  # between variants


def genome(n_bp: int) -> str:
    rng = np.random.default_rng(0)
    return np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, n_bp)].tobytes().decode()


def write_genome(path: Path, letters: str) -> Path:
    width = 60
    with open(path, "w") as file:
        file.write(f">{CONTIG}\n")
        file.writelines(f"{letters[k : k + width]}\n" for k in range(0, len(letters), width))
    return path


def variants(letters: str, n: int) -> list[tuple[str, int, str, str]]:
    """Substitutions, one every so many bp; in a genome that is too small, several at a place."""
    after = str.maketrans("ACGT", "CGTA")
    places = (1 + k * EVERY_BP % len(letters) for k in range(n))
    return [(CONTIG, pos, letters[pos - 1], letters[pos - 1].translate(after)) for pos in places]


def cnn_deep(n: int) -> Any:
    return models.torch_model(*Case(200, n).model()).eval()


def gopher(n: int) -> Any:
    """The shape of GOPHER's CNN-32: three convolutions, two dense layers, a profile (N, 15, 64) by a convolution."""
    import torch
    from torch import nn

    def block(n_in: int, n_out: int, width: int, pool: int) -> list[Any]:
        layers = nn.Conv1d(n_in, n_out, width, padding="same"), nn.BatchNorm1d(n_out), nn.ReLU(), nn.MaxPool1d(pool)
        return list(layers)

    torch.manual_seed(0)
    dense = nn.Flatten(), nn.Linear(8192, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 512)
    profile = nn.BatchNorm1d(512), nn.ReLU(), nn.Unflatten(1, (8, 64)), *block(8, 256, 7, 1)[:3]
    layers = *block(4, 192, 19, 8), *block(192, 256, 7, 4), *block(256, 512, 7, 4), *dense, *profile
    return nn.Sequential(*layers, nn.Conv1d(256, 15, 1), nn.Softplus()).eval()


def dilated(n: int) -> Any:
    """The shape of ChromBPNet with 64 channels: a convolution, eight dilated residual ones, the mean, log counts."""
    import torch
    from torch import nn

    from tests.architectures import Residual

    torch.manual_seed(0)
    layers = (nn.Conv1d(64, 64, 3, padding="same", dilation=2**k) for k in range(1, 9))
    blocks = [Residual(layer, nn.ReLU()) for layer in layers]
    pool = nn.AdaptiveAvgPool1d(1), nn.Flatten()
    return nn.Sequential(nn.Conv1d(4, 64, 21, padding="same"), nn.ReLU(), *blocks, *pool, nn.Linear(64, 1)).eval()


CASES = {
    "CNN-deep": (cnn_deep, 200, 8192, 10, gf.targets.index(0)),
    "GOPHER CNN-32": (gopher, 2048, 1024, 3, gf.targets.mean(tracks=13, track_axis=1)),
}


@pytest.mark.parametrize("scores", [tuple(gf.scan.results.tables.SCORES), ("delta",)], ids=["all scores", "delta"])
@pytest.mark.parametrize("name", CASES)
def test_bare_model(
    benchmark: Any, sizes: Any, record: Any, tmp_path: Path, name: str, scores: tuple[str, ...]
) -> None:
    """Ours begins with the plan and ends with the shards on disk; the bare model gets its batches made one-hot."""
    torch = pytest.importorskip("torch")
    make, length, n, pairs, target = CASES[name]
    is_quick = sizes.pairs < 30
    n = 8 if is_quick else n
    model, letters = make(n), genome(200_000)
    fasta = write_genome(tmp_path / "genome.fa", letters)
    rows = [row for row in variants(letters, n + 40) if 2 * length < row[1] < len(letters) - 2 * length][:n]
    starts = np.array([row[1] - 1 - length // 2 for row in rows])
    codes = gf.sequences.encode(letters)[starts[:, None] + np.arange(length)]
    changed = codes.copy()
    changed[:, length // 2] = (codes[:, length // 2] + 1) % 4
    references, alternatives = (torch.from_numpy(gf.sequences.one_hot(c, axis=1)) for c in (codes, changed))
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def bare() -> None:
        for batch in references.split(BATCH):
            if scores == ("delta",):
                with torch.no_grad():
                    model(batch)
            else:
                batch = batch.detach().requires_grad_()
                torch.autograd.grad(target(model(batch)).sum(), batch)
        for batch in alternatives.split(BATCH):
            with torch.no_grad():
                model(batch)

    def ours() -> Any:
        options: Any = {"targets": [target], "scores": scores, "batch_size": min(BATCH, n), "shard_size": SHARD}
        options["engine"] = "full"  # see test_engines
        return gf.scan.score_variants(model, fasta, rows, length=length, **options)

    assert ours()["status"].to_pylist() == ["ok"] * len(rows)
    found = interleave(benchmark, ours, bare, 2 if is_quick else pairs)
    record(
        found,
        operation=f"score_variants, {'delta' if scores == ('delta',) else 'all scores'}",
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x=name,
        provider=f"the bare model, {name}",
        n_sequences=len(rows),
        length=length,
        target=AIM,
    )


ENGINES = {
    "centred": (512, 100, {}),
    "grid of 1,000 bp": (2048, 2, {"windows": "grid:1000"}),
    "every substitution of a region": (0, 0, {"windows": "grid:1000"}),
}
"""Variants, how many bp they lie apart, and options of a scan."""


@pytest.mark.parametrize("scores", [tuple(gf.scan.results.tables.SCORES), ("delta",)], ids=["all scores", "delta"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ENGINES)
def test_engines(
    benchmark: Any, sizes: Any, record: Any, tmp_path: Path, kind: str, name: str, scores: tuple[str, ...]
) -> None:
    """What substitutions change, against whole passes, in the same scan."""
    pytest.importorskip("torch")
    make, length, _, _, target = CASES[name]
    n, apart, own = ENGINES[kind]
    is_quick = sizes.pairs < 30
    n = min(n, 16) if is_quick else n
    model, letters = make(64), genome(200_000)
    fasta, after = write_genome(tmp_path / "genome.fa", letters), str.maketrans("ACGT", "CGTA")
    places = [10_000 + k * apart for k in range(n)]
    rows = [(CONTIG, pos, letters[pos - 1], letters[pos - 1].translate(after)) for pos in places] or None
    options: Any = {"targets": [target], "scores": scores, "length": length, "shard_size": SHARD, **own}
    if rows is None:
        options["regions"] = [f"{CONTIG}:20001-{20_004 if is_quick else 20_700}"]
    if kind != "centred":
        options["windows"] = f"grid:{min(1000, length // 2)}"

    def scan(engine: str) -> Any:
        return gf.scan.score_variants(model, fasta, rows, engine=engine, **options)

    ours, other = scan("incremental"), scan("full")
    np.testing.assert_allclose(ours["delta"], other["delta"], rtol=1e-3, atol=1e-5)
    found = interleave(benchmark, lambda: scan("incremental"), lambda: scan("full"), 1 if is_quick else 3)
    record(
        found,
        operation=f"score_variants, {'delta' if scores == ('delta',) else 'all scores'}, {kind}",
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x=name,
        provider=f"whole passes of {name}",
        n_sequences=len(ours),
        length=length,
    )


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("scores", [tuple(gf.scan.results.tables.SCORES), ("delta",)], ids=["all scores", "delta"])
def test_commands(sizes: Any, record: Any, tmp_path: Path, scores: tuple[str, ...], n_threads: int) -> None:
    """As people run it, a process for each scan: what more variants take than few, against the same of the bare model.

    The bare model runs in a new process too, which keeps the memory that it frees, as ours does.
    """
    pytest.importorskip("torch")
    few, many, pairs = (8, 16, 1) if sizes.pairs < 30 else (1024, 17_408, 3)
    fasta, _ = write_inputs(tmp_path, many)
    files = {n: write_variants(tmp_path / f"{n}.vcf", genome(many * EVERY_BP), n) for n in (few, many)}
    environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)}

    def take(*words: object) -> float:
        command = [sys.executable, *map(str, words)]
        return seconds(lambda: subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True))

    def ours(n: int) -> float:
        inputs = "-m", "benchmarks.test_scans:command_model", "-f", fasta, "-v", files[n], "-o", tmp_path / "scan"
        options = "--length", 200, "--scores", ",".join(scores), "--quiet", "--force", "--engine", "full"
        return take("-c", "from gradcorr_fast.cli import main; main()", "score", *inputs, *options)

    def bare(n: int) -> float:
        return take("-m", "benchmarks.test_scans", n, len(scores) > 1)

    times = [[call(n) for call in (ours, bare) for n in (few, many)] for _ in range(pairs)]
    marginal = [(b - a, d - c) for a, b, c, d in times]
    record(
        compare(*map(list, zip(*marginal, strict=True))),
        operation=f"score as a command, {'delta' if scores == ('delta',) else 'all scores'}, {n_threads} threads",
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x="CNN-deep",
        provider="the bare model, CNN-deep, in a process of its own",
        n_sequences=many - few,
        length=200,
        target=AIM,
    )


def command_model() -> Any:
    """CNN-deep; of the module:callable that a command is given."""
    return cnn_deep(8)


def run_bare(n: int, needs_gradients: bool) -> None:
    """Run the bare model on windows of `n` variants with either allele, as `test_commands` has it."""
    import torch

    from gradcorr_fast.hooks._heap import keep_freed_memory

    keep_freed_memory()
    model, target = command_model(), CASES["CNN-deep"][-1]
    codes = np.random.default_rng(0).integers(0, 4, (n, 200)).astype(np.uint8)
    windows = torch.from_numpy(gf.sequences.one_hot(codes, axis=1))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for batch in windows.split(BATCH):
        if needs_gradients:
            batch = batch.detach().requires_grad_()
            torch.autograd.grad(target(model(batch)).sum(), batch)
        with torch.no_grad():
            for _ in range(1 if needs_gradients else 2):
                model(batch.detach())


REGION_CASES = {
    "GOPHER CNN-32": (gopher, 2048, CASES["GOPHER CNN-32"][-1]),
    "dilated CNN": (dilated, 2114, gf.targets.index(0)),
}
N_REGIONS, REGION_PAIRS = 512, 3


@pytest.mark.parametrize("name", REGION_CASES)
def test_regions_against_the_bare_gradient(benchmark: Any, sizes: Any, record: Any, tmp_path: Path, name: str) -> None:
    """Saliency; ours begins with the plan and ends with the store on disk; the bare model gets one-hot batches."""
    torch = pytest.importorskip("torch")
    make, length, target = REGION_CASES[name]
    n, pairs = (8, 2) if sizes.pairs < 30 else (N_REGIONS, REGION_PAIRS)
    model, letters = make(n), genome(200_000)
    fasta = write_genome(tmp_path / "genome.fa", letters)
    middles = length + np.arange(n) * 173 % (len(letters) - 2 * length)
    regions = [(CONTIG, int(middle) - 100, int(middle) + 100) for middle in middles]
    codes = gf.sequences.encode(letters)[middles[:, None] - length // 2 + np.arange(length)]
    batches = torch.from_numpy(gf.sequences.one_hot(codes, axis=1)).split(min(BATCH, n))
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def bare() -> None:
        for batch in batches:
            batch = batch.detach().requires_grad_()
            torch.autograd.grad(target(model(batch)).sum(), batch)

    def ours() -> Any:
        options: Any = {"length": length, "targets": [target], "batch_size": min(BATCH, n), "force": True}
        return gf.scan.attribute_regions(model, fasta, regions, tmp_path / "scan", **options)

    record(
        interleave(benchmark, ours, bare, pairs),
        operation="attribute_regions, saliency",
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x=name,
        provider=f"the bare gradient, {name}",
        n_sequences=n,
        length=length,
        target=AIM,
    )
    store = gf.scan.Attributions(tmp_path / "scan")
    np.testing.assert_array_equal(store.codes(np.arange(n)), codes)
    n_bytes = sum(file.stat().st_size for file in (tmp_path / "scan/attributions.zarr").rglob("*") if file.is_file())
    n_zstd = sum(len(pa.compress(array[:], "zstd", asbytes=True)) for _, array in store.group.arrays())
    keep(record, f"store of {name}", f"{n:,} of {length:,} bp, zstd of its arrays", n_bytes / n_zstd, "times", "1.05")


@pytest.mark.parametrize("n", [4096, 65_536])
def test_memory_of_regions(sizes: Any, record: Any, tmp_path: Path, n: int) -> None:
    """Of a whole scan with a small model, in a process of its own."""
    pytest.importorskip("torch")
    if sizes.pairs < 30:
        if n > 4096:
            pytest.skip("times nothing, and the other has shown that it runs")
        n = 100
    fasta, bed = write_genome(tmp_path / "genome.fa", genome(1_000_000)), tmp_path / "regions.bed"
    bed.write_text("".join(f"{CONTIG}\t{k * 13 % 999_000}\t{k * 13 % 999_000 + 500}\n" for k in range(n)))
    peak = memory.peak("benchmarks.test_scans", "small_attribution", fasta, bed, tmp_path / "scan")
    aim = "as with 4,096" if n > 4096 else ""
    keep(record, "memory beyond that of a first small scan", f"{n:,} regions, 512 bp", peak / 2**20, "MiB", aim)


def test_planning(sizes: Any, record: Any, tmp_path: Path) -> None:
    """Reading a VCF and placing its variants against the genome."""
    n = 1000 if sizes.pairs < 30 else 1_000_000
    fasta, vcf = write_inputs(tmp_path, n)
    options = gf.scan.WindowOptions(length=2048)

    def plan() -> int:
        with gf.scan.Genome(fasta) as opened:
            return sum(batch.num_rows for batch in gf.scan.place_all(gf.scan.read_variants(vcf), opened, options))

    assert plan() == n
    taken = float(np.median([seconds(plan) for _ in range(3)]))
    keep(record, "planning, 2,048 bp windows", f"{n:,} variants, {n * EVERY_BP / 1e6:g} Mb", taken, "s", "10 s")


@pytest.mark.parametrize("allele", ["ref", "alt"])
def test_cutting_windows(sizes: Any, record: Any, tmp_path: Path, allele: str) -> None:
    """From a FASTA file to codes and from codes to one-hot, in one thread."""
    n = 100 if sizes.pairs < 30 else 50_000
    fasta, vcf = write_inputs(tmp_path, n)
    options = gf.scan.WindowOptions(length=2048)

    def cut() -> None:
        for rows in placed:
            for start in range(0, len(rows), BATCH):
                codes = gf.scan.cut_windows(rows[start : start + BATCH], opened, options, allele=allele)
                gf.sequences.one_hot(codes, axis=1)

    with gf.scan.Genome(fasta) as opened:
        batches = gf.scan.place_all(gf.scan.read_variants(vcf), opened, options)
        placed = [batch.filter(batch["window_start"].is_valid()) for batch in batches]
        taken = float(np.median([seconds(cut) for _ in range(3)]))
    speed = n * options.length / taken / 1e6
    keep(record, f"windows with {allele}, cut and one-hot", f"{n:,} of 2,048 bp", speed, "MB/s", "200 MB/s")


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_memory(sizes: Any, record: Any, tmp_path: Path, n: int) -> None:
    """Of a whole scan with a small model, in a process of its own."""
    pytest.importorskip("torch")
    n = min(n, 100) if sizes.pairs < 30 else n
    fasta, vcf = write_inputs(tmp_path, n, n_bp=1_000_000)
    peak = memory.peak("benchmarks.test_scans", "small_scan", fasta, vcf, tmp_path / "scan")
    keep(record, "memory beyond that of a first small scan", f"{n:,} variants, 64 bp", peak / 2**20, "MiB", "")


def write_inputs(folder: Path, n: int, n_bp: int | None = None) -> tuple[Path, Path]:
    letters = genome(n_bp or n * EVERY_BP)
    return write_genome(folder / "genome.fa", letters), write_variants(folder / "variants.vcf", letters, n)


def write_variants(path: Path, letters: str, n: int) -> Path:
    with open(path, "w") as file:
        file.write("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        file.writelines(f"{c}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\n" for c, pos, ref, alt in variants(letters, n))
    return path


def small_scan(fasta: str, vcf: str, out: str) -> Any:
    """Return the scan; what is loaded once is loaded before."""
    import torch

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    options: Any = {"length": 64, "axis": 1, "batch_size": 1024}
    gf.scan.score_variants(model, fasta, [(CONTIG, 100, "A", "C"), (CONTIG, 100, "C", "A")], **options)
    return lambda: gf.scan.score_variants(model, fasta, vcf, out, **options)


def small_attribution(fasta: str, bed: str, out: str) -> Any:
    """Return the scan; what is loaded once is loaded before."""
    import torch

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2048, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    options: Any = {"length": 512, "axis": 1, "batch_size": 128, "force": True}
    gf.scan.attribute_regions(model, fasta, [(CONTIG, 0, 500)], out, **options)
    return lambda: gf.scan.attribute_regions(model, fasta, bed, out, **options)


def keep(record: Any, scan: str, size: str, value: float, unit: str, aim: str) -> None:
    row = {"operation": "scan", "layout": None, "outputs": None, "x": scan, "provider": size, "unit": unit, "aim": aim}
    record({"value": value}, scan=scan, **row)


if __name__ == "__main__":
    run_bare(int(sys.argv[1]), sys.argv[2] == "True")

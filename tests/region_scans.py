"""A genome, regions on it, and a network, for the tests of scans of regions."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf

torch = pytest.importorskip("torch")
pytest.importorskip("zarr")

LENGTH = 20
RNG = np.random.default_rng(6)
GENOME = {name: "".join(RNG.choice(list("ACGT"), 700)) for name in ("chr1", "chr2")}
GENOME["chr2"] = GENOME["chr2"][:300] + "N" * 40 + GENOME["chr2"][340:]
REGIONS = [("chr1", 13 * k, 13 * k + 31) for k in range(2, 20)] + [("2", 200, 201), ("chr2", 290, 291)]
"""All on the genome; the last has an N in its window."""
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 3, "references": "dinucleotide"},
    "smoothgrad": {"n_samples": 2, "kind": "mutation"},
    "expected_gradients": {"n_steps": 2, "n_references": 2, "rule": "midpoint", "random_state": 4},
    "saturation_mutagenesis": {},
}


class Network(torch.nn.Module):
    """Two outputs; does as it is told when it has seen so many batches."""

    def __init__(self, fail: Any = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.convolution = torch.nn.Conv1d(4, 6, 5, padding=2)
        self.dense = torch.nn.Linear(6 * LENGTH, 2)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)
        self.fail, self.n_batches = fail, 0

    def forward(self, x: Any) -> Any:
        self.n_batches += 1
        output = self.dense(torch.nn.functional.softplus(self.convolution(x)).flatten(1))
        return output if self.fail is None else self.fail(self.n_batches, x, output)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Several threads take longer for models that are so small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", name="fasta")
def genome_fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{textwrap.fill(letters, 61)}\n" for name, letters in GENOME.items()))
    return path


def scan(fasta: Any, out: Path, regions: Any = REGIONS, model: Any = None, **options: Any) -> Any:
    given = {"length": LENGTH, "batch_size": 4, "shard_size": 6, "max_n": 0.5} | options
    gf.scan.attribute_regions(model or Network(), fasta, regions, out, **given)
    return out if "shard" in options else gf.scan.Attributions(out)


def cut(regions: Any = REGIONS, length: int = LENGTH) -> np.ndarray:
    """One-hot windows (N, 4, L) about the middles of regions."""
    windows = []
    for name, start, stop in regions:
        letters = GENOME[name if name.startswith("chr") else f"chr{name}"]
        first = (start + stop) // 2 - length // 2
        windows.append(["N" if not 0 <= k < len(letters) else letters[k] for k in range(first, first + length)])
    return (np.array(windows)[:, None] == np.array(list("ACGT"))[:, None]).astype(np.float32)


EVERY = np.arange(len(REGIONS))


def contents(out: Path) -> dict[str, bytes]:
    """Every file that a scan leaves as its result."""
    files = [out / "regions.parquet", *(p for p in (out / "attributions.zarr").rglob("*") if p.is_file())]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


def scan_whole(fasta: Path, tmp_path: Path, **options: Any) -> Path:
    scan(fasta, tmp_path / "whole", **options)
    return tmp_path / "whole"

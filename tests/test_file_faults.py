"""File operations of commands fail in turn, or the process is killed there: the next run has the right bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require

if sys.platform == "win32":
    pytest.skip("forks and signals are those of POSIX", allow_module_level=True)

MODEL = ["--model", "nets:make", "--fasta", "genome.fa", "--length", "32", "--batch-size", "8", "--quiet"]
SCORE = ["score", *MODEL, "--vcf", "variants.txt", "--shard-size", "16", "-o", "scores.parquet"]
IN_A_FOLDER = [*SCORE[:-1], "scan"]
ATTRIBUTE = ["attribute", *MODEL, "--regions", "regions.bed", "--shard-size", "4", "-o", "peaks"]
SHARDS = [[*IN_A_FOLDER, "--shard", f"{k}/3"] for k in (1, 2, 3)]
CASES: dict[str, dict[str, Any]] = {
    "score": {"prepare": [], "command": SCORE, "again": [*SCORE, "--resume"], "results": ["scores.parquet"]},
    "score, resumed": {
        "prepare": SHARDS[:1],
        "command": [*IN_A_FOLDER, "--resume"],
        "again": [*IN_A_FOLDER, "--resume"],
        "results": ["scan/scores.parquet", "scan/shards"],
    },
    "attribute": {
        "prepare": [],
        "command": ATTRIBUTE,
        "again": [*ATTRIBUTE, "--resume"],
        "results": ["peaks/attributions.zarr", "peaks/regions.parquet"],
    },
    "merge": {
        "prepare": SHARDS,
        "command": ["merge", "scan", "--format", "tsv"],
        "again": ["merge", "scan", "--format", "tsv", "--force"],
        "results": ["scan/scores.tsv", "scan/scores.tsv.json"],
    },
    "verify": {
        "prepare": [SCORE, *SHARDS],
        "command": ["verify", "scan"],
        "again": ["verify", "scan"],
        "results": ["scores.parquet", "scan/shards"],
    },
    "export": {
        "prepare": [ATTRIBUTE],
        "command": ["export", "peaks", "-o", "peaks.h5", "--format", "hdf5", "--quiet"],
        "again": ["export", "peaks", "-o", "peaks.h5", "--format", "hdf5", "--quiet", "--force"],
        "results": ["peaks.h5", "peaks.regions.narrowPeak"],
    },
    "correct": {
        "prepare": [["correct", "grad.npy", "-o", "out.zarr", "--quiet"]],
        "command": ["correct", "grad.npy", "-o", "out.zarr", "--force", "--quiet", "--summary", "angles.json"],
        "again": ["correct", "grad.npy", "-o", "out.zarr", "--force", "--quiet", "--summary", "angles.json"],
        "results": ["out.zarr", "angles.json"],
    },
}
N_SHARES = 12
"""Of the points, of which the quick tests take one share."""


def run(tmp_path: Path, name: str, mode: str, share: tuple[int, int]) -> None:
    for package in ("torch", "pyarrow", "zarr", "h5py"):
        require(package)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(CASES[name] | {"mode": mode, "share": share}))
    done = subprocess.run(
        [sys.executable, "-m", "tests.file_faults", str(spec)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["points"] > 0
    assert found["problems"] == []


@pytest.mark.parametrize("mode", ["error", "kill"])
@pytest.mark.parametrize("name", list(CASES))
def test_a_file_operation_that_fails_costs_nothing(tmp_path: Path, name: str, mode: str) -> None:
    run(tmp_path, name, mode, (len(name) % N_SHARES, N_SHARES))

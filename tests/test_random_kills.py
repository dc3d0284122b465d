"""Commands that are killed at random moments, and go on: some of `random_kills`, and many when thorough."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require
from tests.test_file_faults import CASES


def kill(name: str, n_kills: int) -> None:
    for package in ("torch", "pyarrow", "zarr", "h5py"):
        require(package)
    done = subprocess.run(
        [sys.executable, "-m", "tests.random_kills", str(n_kills), str(len(name)), name],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"| {name} |")]
    assert row.endswith("| 0 |"), done.stdout


@pytest.mark.parametrize("name", ["score", "attribute", "correct"])
def test_what_is_killed_goes_on_to_the_right_bytes(name: str) -> None:
    kill(name, 3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_what_is_killed_often_goes_on_to_the_right_bytes(name: str) -> None:
    kill(name, 40)

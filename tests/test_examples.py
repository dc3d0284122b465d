"""The examples of the README run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_of_the_readme_run(code: str) -> None:
    for package in re.findall(r"^import (torch|keras|jax|dask)", code, re.MULTILINE):
        pytest.importorskip(package)
    exec(compile(code, "README.md", "exec"), {})


def run_example(*arguments: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / "examples/correct_file.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_example_corrects_a_file(tmp_path: Path) -> None:
    grad = np.random.default_rng(0).standard_normal((3, 4, 50)).astype(np.float32)
    np.save(tmp_path / "grad.npy", grad)
    assert "above 30" in run_example("grad.npy", "corrected.npy", "1", folder=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "corrected.npy"), grad - grad.mean(1, keepdims=True))


@pytest.mark.parametrize("arguments", [("grad.npy",), ("grad.npy", "grad.npy")])
def test_the_example_overwrites_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    np.save(tmp_path / "grad.npy", np.ones((2, 3, 4)))
    with pytest.raises(subprocess.CalledProcessError):
        run_example(*arguments, folder=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "grad.npy"), np.ones((2, 3, 4)))


def test_the_example_needs_no_input(tmp_path: Path) -> None:
    assert "2000000 positions of 1000 sequences" in run_example(folder=tmp_path)

"""The examples of the README run as they stand."""

import json
import re
import shlex
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gradcorr_fast.cli import main

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_of_the_readme_run(code: str) -> None:
    for package in re.findall(r"^import (torch|keras|jax|dask)", code, re.MULTILINE):
        pytest.importorskip(package)
    exec(compile(textwrap.dedent(code), "README.md", "exec"), {})


def test_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    grad = np.random.default_rng(0).standard_normal((30, 4, 50)).astype(np.float32)
    one_hot = np.eye(4, dtype=np.int8)[np.random.default_rng(1).integers(0, 4, (30, 50))]
    monkeypatch.chdir(tmp_path)
    np.save("gradients.npy", grad)
    np.save("onehot.npy", one_hot.transpose(0, 2, 1))
    with h5py.File("gradients.h5", "w") as file:
        file["attributions"] = grad
    commands = re.findall(r"^gradcorr-fast (correct .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        done = CliRunner().invoke(main, shlex.split(command))
        assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.load("corrected.npy"), grad - grad.mean(1, keepdims=True))
    assert json.loads(Path("angles.json").read_text())
    assert Path("prefix.attr.npz").exists()

"""The examples of the README run as they stand."""

import importlib.util
import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
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


@pytest.fixture(scope="module")
def ctcf() -> Any:
    """examples/ctcf.py."""
    for package in ("torch", "pysam", "pyarrow", "zarr", "h5py", "pandas", "pyjaspar", "matplotlib", "logomaker"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("ctcf", ROOT / "examples" / "ctcf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONSENSUS = gf.sequences.one_hot(gf.sequences.encode(["TGGCCACCAGGGGGCGCTA"]))[0]  # of JASPAR MA0139.1


def plant(motif: np.ndarray, starts: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """Put a motif (W, 4) into each of (N, L, 4), in every second one on the other strand."""
    for row, start in enumerate(starts):
        sequences[row, start : start + len(motif)] = motif[::-1, ::-1] if row % 2 else motif
    return sequences


def random_peaks(starts: np.ndarray) -> np.ndarray:
    """Codes (N, 100) with the consensus at `starts`."""
    one_hot = np.eye(4)[np.random.default_rng(0).integers(0, 4, (len(starts), 100))]
    return plant(CONSENSUS, starts, one_hot).argmax(-1).astype(np.uint8)


def test_ctcf_example_finds_planted_matches_on_both_strands(ctcf: Any) -> None:
    known, starts = ctcf.known_motif(), np.arange(12) * 7
    bits, truth = ctcf.match(random_peaks(starts), known)
    np.testing.assert_array_equal(truth, plant(known, starts, np.full((12, 100, 4), 0.25)))
    np.testing.assert_allclose(bits, np.log2(known.max(1) * 4).sum())


@pytest.mark.parametrize("step", [1, -1], ids=["same strand", "other strand"])
def test_ctcf_example_aligns_a_motif_over_shifts_and_strands(ctcf: Any, step: int) -> None:
    known = ctcf.known_motif()
    heights = known * (2 + (known * np.log2(known)).sum(1, keepdims=True))
    motif = np.random.default_rng(0).normal(0, 0.1, (40, 4))
    motif[8:27] = 3 * heights
    correlation, part = ctcf.align(motif[::step, ::step], known)
    assert correlation == pytest.approx(1)
    np.testing.assert_array_equal(part, 3 * heights)


def write_motifs(prefix: Path, length: int) -> None:
    """Write what `find_motifs` would, without TF-MoDISco, which takes half a minute to compile."""
    import h5py

    with h5py.File(f"{prefix}.modisco.h5", "w") as file:
        for k, n in enumerate((30, 70)):
            file[f"pos_patterns/pattern_{k}/seqlets/n_seqlets"] = [n]
            file[f"pos_patterns/pattern_{k}/contrib_scores"] = np.pad(CONSENSUS, ((6, 5), (0, 0)))


def test_ctcf_example_goes_from_peaks_to_motifs_and_does_nothing_twice(
    ctcf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctcf, "find_motifs", write_motifs)
    monkeypatch.setattr(ctcf, "NETWORK", "cnn-shallow-exp")
    peaks = gf.sequences.decode(random_peaks(np.arange(60)))
    fasta, run = tmp_path / "peaks.fa", tmp_path / "run"
    fasta.write_text("".join(f">chr1:{k}-{k + 100}\n{peak}\n" for k, peak in enumerate(peaks)))
    table = ctcf.main(fasta, run, epochs=1)
    assert table.iloc[:3].to_numpy().tolist() == [[2, 2], [100, 100], [70, 70]]
    tested = (run / "peaks.fa").read_text().split()[1::2]
    assert set(tested) < set(peaks)
    assert gf.sequences.decode(np.load(run / "after.ohe.npz")["arr_0"].argmax(1).astype(np.uint8)) == tested
    before, after = (np.load(run / f"{name}.attr.npz")["arr_0"] for name in ("before", "after"))
    # the store rounds maps to float16
    np.testing.assert_allclose(after, before - before.mean(1, keepdims=True), atol=2e-3 * np.abs(before).max())
    assert np.abs(before.sum(1)).max() > 100 * np.abs(after.sum(1)).max()
    assert (run / "ctcf.png").stat().st_size > 10_000
    stored = run / "maps" / "attributions.zarr" / "corrected" / "c" / "0" / "0" / "0"
    done = stored.stat().st_mtime_ns
    assert ctcf.main(fasta, run, epochs=1).equals(table)
    assert stored.stat().st_mtime_ns == done

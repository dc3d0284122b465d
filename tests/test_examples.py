"""The examples of the README and of the pages run as they stand."""

import importlib.util
import json
import re
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from tests.only import Installed, run_only

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{k}")
    for page in PAGES
    for k, code in enumerate(re.findall(r"^ *```python\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE))
]
TASKS = re.findall(r"^\| \[[^\]]*\]\(#([\w-]+)\)[^|]*\| `pip install ([^`]*)`", README, re.MULTILINE)
"""Of the README's tasks the heading and what they say that is to be installed."""
ELSEWHERE = ("benchmark-my-gpu",)
"""What needs a machine of its own; tests/test_gpu_benchmarks.py rehearses it."""


@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_of_the_pages_run(code: str) -> None:
    for package in re.findall(r"^import (torch|keras|jax|dask)", code, re.MULTILINE):
        pytest.importorskip(package)
    exec(compile(textwrap.dedent(code), "page", "exec"), {})


def blocks_of(heading: str) -> list[tuple[str, str]]:
    """Language and text of each block under a heading of the README, by its anchor."""
    sections = re.split(r"^###? ", README, flags=re.MULTILINE)
    named = {section.partition("\n")[0].lower().replace(" ", "-"): section for section in sections}
    return re.findall(r"^```(python|bash)\n(.*?)```", named[heading], re.DOTALL | re.MULTILINE)


def read_install(arguments: str) -> Installed:
    """Read what `pip install` is given."""
    words = [word for word in shlex.split(arguments) if not word.startswith("-")]
    extras = [extra for word in words if word.startswith(".") for extra in word.strip(".[]").split(",") if extra]
    return Installed(frozenset(extras), tuple(word for word in words if not word.startswith(".")))


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo wrote, which the README begins with."""
    for package in ("torch", "matplotlib", "logomaker", "pysam"):
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("readme") / "gradcorr-demo"
    done = CliRunner().invoke(main, ["demo", "-o", str(out), "--sequences", "10"])
    assert done.exit_code == 0, done.output
    return out


def test_the_readme_is_a_page() -> None:
    assert README.count("\n") <= 200
    assert len(TASKS) == 6


@pytest.mark.parametrize(("heading", "install"), [task for task in TASKS if task[0] not in ELSEWHERE])
def test_each_task_of_the_readme_runs_with_what_it_says_alone(
    heading: str, install: str, demo_folder: Path, tmp_path: Path
) -> None:
    """The first scan of the README failed for every ordinary model, and nothing said which extra a block needs."""
    shutil.copytree(demo_folder, tmp_path / demo_folder.name)
    blocks = blocks_of(heading)
    assert blocks
    for language, code in blocks:
        command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
        if language == "bash" and "modisco " in code and shutil.which("modisco") is None:
            pytest.skip("modisco is not on the path")
        done = run_only(read_install(install), command, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_else_can_be_imported_in_an_environment_of_an_extra(tmp_path: Path) -> None:
    for package in ("torch", "h5py"):
        pytest.importorskip(package)
    only = Installed(frozenset({"torch"}))
    found = (
        "import importlib.util as u; print([u.find_spec(m) is not None for m in ('numpy', 'torch', 'h5py', 'pytest')])"
    )
    assert run_only(only, [sys.executable, "-c", found], tmp_path).stdout == "[True, True, False, False]\n"


def test_commands_on_files_of_the_pages_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    grad = np.random.default_rng(0).standard_normal((30, 4, 50)).astype(np.float32)
    one_hot = np.eye(4, dtype=np.int8)[np.random.default_rng(1).integers(0, 4, (30, 50))]
    monkeypatch.chdir(tmp_path)
    np.save("gradients.npy", grad)
    np.save("onehot.npy", one_hot.transpose(0, 2, 1))
    with h5py.File("gradients.h5", "w") as file:
        file["attributions"] = grad
    commands = re.findall(r"^gradcorr-fast (correct .*)$", (ROOT / "docs/files.md").read_text(), re.MULTILINE)
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

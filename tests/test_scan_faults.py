"""What scans survive: killed processes, full disks, models that fail, memory that ends, two runs in one folder."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import gradcorr_fast as gf

torch = pytest.importorskip("torch")

LENGTH, N = 24, 120
GENOME = "".join(np.random.default_rng(2).choice(list("ACGT"), 2000))
VARIANTS = [
    ("chr1", 50 + 15 * k, GENOME[49 + 15 * k], "ACGT"[("ACGT".index(GENOME[49 + 15 * k]) + 1) % 4]) for k in range(N)
]


class Network(torch.nn.Module):
    """One output; does as it is told when it has seen so many batches."""

    def __init__(self, fail: Any = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.sin(torch.arange(4.0 * LENGTH)).reshape(1, 4, LENGTH))
        self.fail, self.n_batches = fail, 0

    def forward(self, x: Any) -> Any:
        self.n_batches += 1
        output = torch.tanh((x * self.weight).sum((1, 2)))[:, None]
        return output if self.fail is None else self.fail(self.n_batches, x, output)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_text(f">chr1\n{textwrap.fill(GENOME, 60)}\n")
    return path


def scan(fasta: Path, out: Any = None, fail: Any = None, variants: Any = VARIANTS, **options: Any) -> Any:
    given = {"length": LENGTH, "batch_size": 8, "shard_size": 16} | options
    return gf.scan.score_variants(Network(fail), fasta, variants, out, **given)


def window_of(number: int) -> Any:
    """The one-hot window of a variant's reference, (4, L)."""
    start = VARIANTS[number][1] - 1 - LENGTH // 2
    return torch.tensor([[float(letter == a) for letter in GENOME[start : start + LENGTH]] for a in "ACGT"])


def is_window(x: Any, number: int) -> Any:
    return (x == window_of(number)).all((1, 2))


def raise_at(number: int) -> Any:
    def fail(n: int, x: Any, output: Any) -> Any:
        if is_window(x, number).any():
            raise RuntimeError("a layer cannot digest this")
        return output

    return fail


def nan_at(number: int) -> Any:
    return lambda n, x, output: torch.where(is_window(x, number)[:, None], torch.nan, output)


@pytest.mark.parametrize(("fail", "reason"), [(raise_at(77), "cannot digest"), (nan_at(77), "NaN")])
def test_a_sequence_on_which_the_model_fails_costs_no_other(
    fasta: Path, tmp_path: Path, fail: Any, reason: str
) -> None:
    path = scan(fasta, tmp_path / "scan", fail)
    table, whole = pq.read_table(path), scan(fasta)
    statuses = table["status"].to_pylist()
    assert statuses == ["model_failed" if k == 77 else "ok" for k in range(N)]
    assert table["delta"].null_count == 1
    assert table.slice(0, 77)["delta"].equals(whole.slice(0, 77)["delta"])
    (found,) = gf.scan.read_metadata(path)["reasons"]
    assert reason in found


def test_a_model_that_fails_once_loses_nothing(fasta: Path) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        if n == 9:
            raise RuntimeError("the device is gone for a moment")
        return output

    np.testing.assert_allclose(
        *(np.array(t["delta"].to_pylist()) for t in (scan(fasta, fail=fail), scan(fasta))), atol=1e-6
    )


def test_a_model_that_fails_on_everything_is_an_error_and_what_was_scored_is_kept(fasta: Path, tmp_path: Path) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        if n > 30:
            raise RuntimeError("the device is lost")
        return output

    with pytest.raises(RuntimeError, match=r"fails on every sequence, also on random ones .*the device is lost"):
        scan(fasta, tmp_path / "scan", fail)
    found = gf.scan.status(tmp_path / "scan")
    assert 0 < found.n_done < found.n_shards == 8
    done = scan(fasta, tmp_path / "scan", resume=True)
    assert done.read_bytes() == scan(fasta, tmp_path / "whole").read_bytes()


def test_a_batch_that_exhausts_memory_is_halved(fasta: Path) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        if len(x) > 4 and n > 3:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return output

    with pytest.warns(UserWarning, match="batches have 4 rows from now on"):
        table = scan(fasta, fail=fail)
    np.testing.assert_allclose(*(np.array(t["taylor"].to_pylist()) for t in (table, scan(fasta))), atol=1e-6)


RUN = """
import multiprocessing, os, random, sys, time
from pathlib import Path
import torch
from gradcorr_fast import scan
sys.path.insert(0, {root!r})
from tests import test_scan_faults as faults

out, log = Path({out!r}), Path({log!r})

def slow(n, x, output):
    time.sleep(0.004)
    return output

def run(resume):
    torch.set_num_threads(1)
    commit = scan.Folder.commit
    def logged(self, number, *rest):
        commit(self, number, *rest)
        with open(log, "a") as file:
            file.write(f"{{number}}\\n")
    scan.Folder.commit = logged
    faults.scan(Path({fasta!r}), out, slow, resume=resume)

context = multiprocessing.get_context("fork")
"""


def run_python(code: str, **names: Any) -> None:
    source = RUN.format(root=str(Path(__file__).parents[1]), **{k: str(v) for k, v in names.items()}) + code
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_killed_at_random_moments_it_ends_with_the_same_bytes(fasta: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_python(
        """
random.seed(4)
for attempt in range(6):
    process = context.Process(target=run, args=(True,))
    process.start()
    process.join(random.uniform(0.05, 0.3))
    process.kill()
    process.join()
    print("killed", process.exitcode)
run(True)
""",
        fasta=fasta, out=tmp_path / "scan", log=log,
    )  # fmt: skip
    whole = scan(fasta, tmp_path / "whole")
    assert (tmp_path / "scan" / "scores.parquet").read_bytes() == whole.read_bytes()
    assert sorted(map(int, log.read_text().split())) == list(range(8))  # nothing is scored twice


def test_two_runs_share_a_folder(fasta: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_python(
        """
processes = [context.Process(target=run, args=(True,)) for _ in range(2)]
for process in processes:
    process.start()
for process in processes:
    process.join()
assert [process.exitcode for process in processes] == [0, 0]
""",
        fasta=fasta, out=tmp_path / "scan", log=log,
    )  # fmt: skip
    assert (tmp_path / "scan" / "scores.parquet").read_bytes() == scan(fasta, tmp_path / "whole").read_bytes()
    assert sorted(map(int, log.read_text().split())) == list(range(8))


def test_a_full_disk_ends_the_scan_and_it_goes_on_when_there_is_room(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    run_python(
        """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as on a full disk, writing fails
def limited():
    commit = scan.Folder.commit
    def full(self, number, *rest):
        if number == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
        commit(self, number, *rest)
    scan.Folder.commit = full
    try:
        run(False)
    except OSError as error:
        assert "File too large" in str(error), error
        os._exit(3)

process = context.Process(target=limited)
process.start()
process.join()
assert process.exitcode == 3, process.exitcode
""",
        fasta=fasta, out=out, log=tmp_path / "log",
    )  # fmt: skip
    assert gf.scan.status(out).n_done == 3
    assert not [p.name for p in (out / "shards").iterdir() if "partial" in p.name]
    assert scan(fasta, out, resume=True).read_bytes() == scan(fasta, tmp_path / "whole").read_bytes()


def test_a_damaged_shard_is_done_again(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    before = scan(fasta, out).read_bytes()
    shard = gf.scan.Folder(out).shard(2)
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(RuntimeError, match=r"1 of 8 shards of .* are not done"):
        gf.scan.merge(out)
    assert scan(fasta, out, resume=True).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_n": 0.5}, "options max_n was 0.05 and is 0.5"),
        ({"scores": ["delta"]}, "options scores was"),
        ({"variants": VARIANTS[:-1]}, "input digest was"),
        ({"rc": True}, "options rc was false and is true"),
        ({"batch_size": 4}, "options batch_size was 8 and is 4"),
    ],
)
def test_another_call_cannot_go_on_with_a_scan_and_hears_what_differs(
    fasta: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    scan(fasta, tmp_path / "scan")
    with pytest.raises(ValueError, match=f"cannot go on, since .*{message}"):
        scan(fasta, tmp_path / "scan", resume=True, **change)


def test_a_length_that_the_model_does_not_take_is_an_error_before_anything_is_written(
    fasta: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"fails on random sequences of length 22 .* \(--length, --axis\)"):
        scan(fasta, tmp_path / "scan", length=22)
    assert not (tmp_path / "scan").exists()


def test_another_model_cannot_go_on_with_a_scan(fasta: Path, tmp_path: Path) -> None:
    scan(fasta, tmp_path / "scan")
    model = Network()
    with torch.no_grad():
        model.weight[0, 0, 0] += 1e-3
    with pytest.raises(ValueError, match="model digest was"):
        gf.scan.score_variants(
            model, fasta, VARIANTS, tmp_path / "scan", length=LENGTH, batch_size=8, shard_size=16, resume=True
        )


def test_a_scan_is_not_overwritten_unasked(fasta: Path, tmp_path: Path) -> None:
    scan(fasta, tmp_path / "scan")
    with pytest.raises(FileExistsError, match=r"resume \(--resume\) goes on with it, force \(--force\) begins anew"):
        scan(fasta, tmp_path / "scan")
    assert scan(fasta, tmp_path / "scan", force=True, scores=["delta"]).exists()


def test_a_folder_with_other_files_is_refused(fasta: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds other files \(genome.fa.*thesis.tex\)"):
        scan(fasta, tmp_path, force=True)
    assert (tmp_path / "thesis.tex").exists()


def test_shares_done_apart_are_merged(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    assert scan(fasta, out, shard=(2, 3)) is None
    with pytest.raises(RuntimeError, match="5 of 8 shards"):
        gf.scan.merge(out)
    scan(fasta, out, shard=(1, 3))
    scan(fasta, out, shard=(3, 3))
    assert gf.scan.status(out).n_done == 8
    assert gf.scan.merge(out).read_bytes() == scan(fasta, tmp_path / "whole").read_bytes()

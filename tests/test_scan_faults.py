"""What scans survive: killed processes, full disks, models that fail, memory that ends, two runs in one folder."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks._session import Session
from gradcorr_fast.scan.running import folder

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings(
    "ignore:.* records lie on contigs", "ignore:.* are not (scored|attributed)", "ignore:waiting for"
)

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
    refused: list[int] = []

    def fail(n: int, x: Any, output: Any) -> Any:
        if len(x) > 4 and n > 3:
            refused.append(n)
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return output

    with pytest.warns(UserWarning, match="batches have 4 rows from now on") as caught:
        table = scan(fasta, fail=fail)
    assert len(caught) == 1
    assert len(refused) == 1  # not in every batch, and not in every shard
    np.testing.assert_allclose(*(np.array(t["taylor"].to_pylist()) for t in (table, scan(fasta))), atol=1e-6)


def test_memory_that_is_exhausted_when_results_are_read_halves_batches(
    fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As told by JAX; two rows that had been begun before batches were halved were taken for one that does not fit."""
    start = Session.start_values_and_profiles

    def exhaust() -> Any:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    given: dict[str, Any] = {"scores": ["alt_score"], "variants": VARIANTS[:10], "batch_size": 2}
    wanted = scan(fasta, **given)
    monkeypatch.setattr(Session, "start_values_and_profiles", lambda self, x: exhaust if len(x) > 1 else start(self, x))
    with pytest.warns(UserWarning, match="batches have 1 rows from now on"):
        table = scan(fasta, **given)
    np.testing.assert_allclose(*(np.array(t["alt_score"].to_pylist()) for t in (table, wanted)), atol=1e-6)


def test_a_scan_whose_first_batch_exhausted_memory_goes_on_with_the_size_that_it_told(
    fasta: Path, tmp_path: Path
) -> None:
    """It compared the NaN of what had not fitted with what the model returned, and refused."""

    def exhaust(n: int, x: Any, output: Any) -> Any:
        if len(x) > 8:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return output

    with pytest.warns(UserWarning, match="batches have 8 rows from now on, pass that as the batch size"):
        scan(fasta, tmp_path / "scan", exhaust, batch_size=16)
    with pytest.warns(UserWarning, match="begun with a batch size of 16, and goes on with 8"):
        assert scan(fasta, tmp_path / "scan", exhaust, batch_size=8, resume=True).exists()


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
    with pytest.raises(ValueError, match=r"fails on random sequences of length 22 .* length=\.\.\. and axis="):
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
    with pytest.raises(FileExistsError, match=r"resume=True goes on with it, force=True begins anew"):
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


def test_a_smaller_batch_may_go_on_with_a_scan(fasta: Path, tmp_path: Path) -> None:
    """A batch that exhausted the memory is halved, and the warning says to pass the smaller size next time."""
    scan(fasta, tmp_path / "scan")
    with pytest.warns(UserWarning, match="begun with a batch size of 8, and goes on with 4"):
        assert scan(fasta, tmp_path / "scan", resume=True, batch_size=4).exists()


def test_what_only_sounds_like_a_scan_is_not_removed(fasta: Path, tmp_path: Path) -> None:
    """A folder with scores_2023.tsv lost it, since names were compared by their beginnings."""
    out = tmp_path / "scan"
    scan(fasta, out)
    (out / "scores_2023.tsv").write_text("last year's")
    with pytest.raises(FileExistsError, match=r"holds other files \(scores_2023.tsv\)"):
        scan(fasta, out, force=True)
    assert {path.name for path in out.iterdir()} >= {"scores_2023.tsv", "run.json", "scores.parquet"}


def test_a_call_that_fails_before_it_begins_removes_nothing(fasta: Path, tmp_path: Path) -> None:
    before = scan(fasta, tmp_path / "scan").read_bytes()
    with pytest.raises(ValueError, match="chr1:one:A:C"):
        scan(fasta, tmp_path / "scan", variants=["chr1:one:A:C"], force=True)
    assert (tmp_path / "scan" / "scores.parquet").read_bytes() == before
    assert gf.scan.merge(tmp_path / "scan").read_bytes() == before


def test_a_scan_that_another_call_began_anew_ends(fasta: Path, tmp_path: Path) -> None:
    """Shards of one model went into the scan of another."""
    out, is_first = tmp_path / "scan", True

    def begin_another(n: int, x: Any, output: Any) -> Any:
        nonlocal is_first
        if n > 25 and is_first:
            is_first = False
            while not (out / "shards/000005.json").exists():  # a thread may still be writing it
                time.sleep(0.01)
            for path in (out / "shards").glob("*.lock"):
                path.unlink()  # as if the other came between two shards
            scan(fasta, out, force=True, scores=["taylor"])
        return output

    with pytest.raises(RuntimeError, match="was begun anew by another call"):
        scan(fasta, out, begin_another)
    assert gf.scan.status(out).n_done == 8
    assert pq.read_table(out / "scores.parquet").column_names[-1] == "taylor"


def test_a_scan_at_work_is_not_replaced(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"

    def replace(n: int, x: Any, output: Any) -> Any:
        if n == 25:
            with pytest.raises(RuntimeError, match="some process is at the scan"):
                scan(fasta, out, force=True, scores=["taylor"])
        return output

    assert scan(fasta, out, replace).exists()


def test_a_finished_file_is_the_same_scan_or_an_error(fasta: Path, tmp_path: Path) -> None:
    """A nightly job with --resume and new variants got yesterday's table."""
    out = tmp_path / "scores.parquet"
    before = scan(fasta, out).read_bytes()
    assert scan(fasta, out, resume=True).read_bytes() == before
    with pytest.raises(ValueError, match="cannot go on, since input digest was"):
        scan(fasta, out, resume=True, variants=VARIANTS[:-1])
    assert gf.scan.status(out).n_done == 8


def test_an_interrupted_replacement_goes_on(fasta: Path, tmp_path: Path) -> None:
    """It scored all that was missing, and then refused to replace the table that it had been asked to replace."""

    def end(n: int, x: Any, output: Any) -> Any:
        if n > 25:
            raise KeyboardInterrupt
        return output

    out = tmp_path / "scores.parquet"
    scan(fasta, out, scores=["taylor"])
    with pytest.raises(KeyboardInterrupt):
        scan(fasta, out, end, force=True)
    assert pq.read_table(out).column_names[-1] == "taylor"
    assert scan(fasta, out, resume=True) == out
    assert pq.read_table(out).column_names[-1] == "angle"


@pytest.mark.parametrize("n_targets", [1, 17])
def test_ended_between_the_table_and_the_rest_it_goes_on(
    fasta: Path, tmp_path: Path, n_targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradcorr_fast.scan.running import joining

    out, targets = tmp_path / "scores.parquet", [f"contrast(0, sum_over(tracks=({'0, ' * k})))" for k in range(2, 19)]
    options = {"targets": targets[:n_targets], "scores": ["delta"]}

    def end(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(joining, "_clear_away", end)
        with pytest.raises(KeyboardInterrupt):
            scan(fasta, out, **options)
    assert scan(fasta, out, resume=True, **options) == out
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith("genome")}
    assert names == {"scores.parquet"} | ({"scores.zarr"} if n_targets > 1 else set())


def test_the_matrix_of_another_scan_is_not_mixed_in(fasta: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    targets = [f"contrast(0, sum_over(tracks=({'0, ' * k})))" for k in range(2, 19)]
    out, options = tmp_path / "scores.parquet", {"targets": targets, "scores": ["delta"]}
    scan(fasta, out, **options)
    out.unlink()
    with pytest.raises(FileExistsError, match=r"scores.zarr exists already"):
        scan(fasta, out, variants=VARIANTS[:9], **options)
    scan(fasta, out, variants=VARIANTS[:9], force=True, **options)
    group = zarr.open(tmp_path / "scores.zarr", mode="r")
    assert {name: array.shape for name, array in group.arrays()} == {"delta": (9, 17)}


def test_a_model_that_returns_nan_for_random_letters_can_be_resumed(fasta: Path, tmp_path: Path) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        return torch.where(x[:, :1, 0] == 1, torch.nan, output)

    before = scan(fasta, tmp_path / "scan", fail).read_bytes()
    assert scan(fasta, tmp_path / "scan", fail, resume=True).read_bytes() == before


def test_a_model_that_shows_no_parameters_is_told_by_what_it_returns(fasta: Path, tmp_path: Path) -> None:
    options = {"length": LENGTH, "axis": 1, "batch_size": 8, "scores": ["delta"]}
    weight = Network().weight.detach() * 1e-4

    def score(scale: float, **more: Any) -> None:
        def model(x: Any) -> Any:
            return (x * weight * scale).sum((1, 2))[:, None]

        gf.scan.score_variants(model, fasta, VARIANTS, tmp_path / "scan", **options, **more)

    score(1)
    with pytest.raises(ValueError, match=r"the model returned .* for random letters and returns"):
        score(1.01, resume=True)


def test_variants_of_another_genome_are_told(fasta: Path) -> None:
    with pytest.warns(UserWarning, match="most of the first 120 variants do not fit .* contigs 7 and the genome chr1"):
        table = scan(fasta, variants=[("7", *rest) for _, *rest in VARIANTS])
    assert set(table["status"].to_pylist()) == {"contig_missing"}


def test_a_plan_is_opened_once(fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened for every shard, which took 58 ms where there were 6,104 of them."""
    from gradcorr_fast.scan import variant_scan

    opened: list[Any] = []
    open_checked = variant_scan.open_checked

    def count(path: Any) -> Any:
        opened.append(open_checked(path))
        return opened[-1]

    monkeypatch.setattr(variant_scan, "open_checked", count)
    scan(fasta, tmp_path / "scores.parquet")
    assert [file.closed for file in opened] == [True]


def test_a_genome_that_changes_under_a_scan_ends_it(fasta: Path, tmp_path: Path) -> None:
    """Windows of two genomes went into one table."""

    def change(n: int, x: Any, output: Any) -> Any:
        if n == 25:
            fasta.write_text(fasta.read_text().replace("A", "C"))
        return output

    with pytest.raises(ValueError, match=r"genome\.fa"):
        scan(fasta, tmp_path / "scan", change)
    assert gf.scan.status(tmp_path / "scan").n_done < 8


def test_what_another_process_ended_first_is_the_result(fasta: Path, tmp_path: Path) -> None:
    """It merged the shards of both and removed their folder, which this one goes on to use."""
    out, whole = tmp_path / "scores.parquet", scan(fasta, tmp_path / "whole.parquet")

    def end_first(n: int, x: Any, output: Any) -> Any:
        if n == 25:
            time.sleep(0.3)  # until the shard before is on disk
            shutil.copy(whole, out)
            shutil.rmtree(tmp_path / "scores.parquet.run")
        return output

    assert scan(fasta, out, end_first) == out
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "scores.parquet.run").exists()


@pytest.mark.parametrize(("seconds", "size"), [(0.0, 16384), (6.0, 30), (600.0, 8)])
def test_a_shard_is_about_a_minute_of_work(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, size: int
) -> None:
    """At an allele a second a shard took 4.5 hours, of which Ctrl-C kept nothing."""
    from gradcorr_fast.scan.running import planning

    def probe(ready: Any, run: Any) -> Any:
        return planning.probe(ready, run)._replace(seconds=seconds)

    monkeypatch.setattr("gradcorr_fast.scan.variant_scan.probe", probe)
    scan(fasta, tmp_path / "scan", shard_size="auto", shard=(1, 10**6))
    record = gf.scan.Folder(tmp_path / "scan").record
    assert record is not None
    assert record["options"]["shard_size"] == size
    monkeypatch.undo()
    scan(fasta, tmp_path / "scan", shard_size="auto", resume=True)  # cut alike, whatever the speed is now
    assert gf.scan.status(tmp_path / "scan").n_shards == -(-N // size)


NETS = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(96, 1), torch.nn.Tanh())
"""


def test_processes_that_resume_one_file_all_end_well(fasta: Path, tmp_path: Path) -> None:
    """7 of 12 ended with status 1 although the table was right: the folder was removed while others entered it."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "variants.txt").write_text("".join(f"{c}:{p}:{r}:{a}\n" for c, p, r, a in VARIANTS))
    options = ["--length", "24", "--batch-size", "8", "--shard-size", "8", "--quiet", "--resume", "-o", "out.tsv"]
    command = ["score", "-m", "nets:make", "-f", str(fasta), "-v", "variants.txt", *options]
    code = f"from gradcorr_fast.cli import main; main({command})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=300)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len((tmp_path / "out.tsv").read_text().splitlines()) == N + 1
    assert not [path.name for path in tmp_path.iterdir() if "run" in path.name or "partial" in path.name]


HOLDER = """
import filelock, sys, time
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ("run.lock", "waiting for {}, which plans or merges the scan in "),
        ("shards/000002.lock", "for 1 shards that {} is"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_one_is_told_for_whom_one_waits(
    fasta: Path, tmp_path: Path, lock: str, message: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scan"
    wanted = pq.read_table(scan(fasta, out))
    for done in (out / "shards").glob("*2.json"):
        done.unlink()
    locks = tmp_path / "locks"
    monkeypatch.setattr(folder, "LOCKS", locks)
    monkeypatch.setattr(folder, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(folder, "WAIT_SECONDS", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out / lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        if is_known:  # as Linux writes it, see proc_locks(5)
            entry = "{}: FLOCK  ADVISORY  WRITE {} 08:01:{} 0 EOF\n"
            inode = (out / lock).stat().st_ino
            locks.write_text(entry.format(1, 77, f"{inode}9") + entry.format(2, holder.pid, inode))
        told = []
        monkeypatch.setattr(folder, "warn", lambda text: (told.append(text), holder.stdin.close()))
        path = scan(fasta, out, resume=True)
        assert len(told) == 1
        assert message.format(f"process {holder.pid}" if is_known else "another process") in told[0]
    assert pq.read_table(path).equals(wanted)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(
    fasta: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match=r"cannot be locked .* without locks; put the scan on another disk"):
        scan(fasta, tmp_path / "scan")

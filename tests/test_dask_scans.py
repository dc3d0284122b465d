"""Scans on the workers of Dask: the same bytes as one process, whoever is killed, and whatever the workers see."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from gradcorr_fast.scan.running import claiming
from tests.region_scans import one_thread  # noqa: F401 - as the workers have, since last digits depend on it

torch = pytest.importorskip("torch")
dask = pytest.importorskip("dask")
pytest.importorskip("distributed", reason="pip install 'dask[distributed]'")
pytest.importorskip("zarr")
from gradcorr_fast.scan.running import dask as driver  # noqa: E402
from gradcorr_fast.scan.running.dask import _job  # noqa: E402
from gradcorr_fast.scan.running.dask.cluster import DEATHS, local_workers  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* are not (scored|attributed)", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)
LENGTH, N = 24, 90
GENOME = "".join(np.random.default_rng(8).choice(list("ACGT"), 1200))
NETS = """
import os, signal
from pathlib import Path
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv1d(4, 5, 5), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(100, 2)
        )

    def forward(self, x):
        return self.layers(x)

class Deadly(Net):
    '''Kills its process, if that is no driver, on sequences that begin with eight T.'''

    def forward(self, x):
        if (x[:, 3, :8] == 1).all(1).any() and not Path(f"driver.{os.getpid()}").exists():
            with open("deaths", "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

class Slow(Net):
    def forward(self, x):
        import time
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0.02")))
        return super().forward(x)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models, a genome, variants and regions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "dask_nets", raising=False)
    Path("dask_nets.py").write_text(NETS)
    Path(f"driver.{os.getpid()}").touch()
    deadly = GENOME[:603] + "TTTTTTTT" + GENOME[611:]
    for name, letters in (("g.fa", GENOME), ("deadly.fa", deadly)):
        Path(name).write_text(f">chr1\n{textwrap.fill(letters, 60)}\n")
    after = str.maketrans("ACGT", "CGTA")
    lines = [f"chr1:{40 + 12 * k}:{deadly[39 + 12 * k]}:{deadly[39 + 12 * k].translate(after)}" for k in range(N)]
    Path("variants.txt").write_text("\n".join(lines) + "\n")
    Path("regions.bed").write_text("".join(f"chr1\t{30 + 20 * k}\t{50 + 20 * k}\n" for k in range(50)))
    return tmp_path


@pytest.fixture(scope="module")
def two() -> Iterator[Any]:
    """Two workers, for all tests that kill none."""
    with local_workers(2) as client:
        yield client


GIVEN: dict[str, Any] = {"length": LENGTH, "axis": 1, "batch_size": 8}


def score(out: str, model: Any = "dask_nets:Net", fasta: Any = "g.fa", **options: Any) -> Any:
    given = GIVEN | {"shard_size": 10} | options
    return gf.scan.score_variants(model, fasta, "variants.txt", out, **given)


def attribute(out: str, model: Any = "dask_nets:Net", **options: Any) -> Any:
    given = GIVEN | {"shard_size": 8, "dtype": "float32"} | options
    return gf.scan.attribute_regions(model, "g.fa", "regions.bed", out, **given)


def contents(path: str) -> dict[str, bytes]:
    """Of a scan's results, without what says when and by whom shards were done."""
    files = [p for p in Path(path).rglob("*") if p.is_file() and "shards" not in p.parts and p.suffix != ".lock"]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.mark.parametrize("kind", [score, attribute])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "not shared"])
def test_bytes_are_those_of_one_process(folder: Path, two: Any, kind: Any, shared: bool, capfd: Any) -> None:
    kind("here")
    two.run(_see if shared else _blindfold)
    try:
        kind("there", client=two, verbose=True)
    finally:
        two.run(_see)
    assert contents("there") == contents("here")
    how = "write into" if shared else "do not see"
    assert f"2 workers of {two.scheduler.address} {how} the folder of the scan" in capfd.readouterr().err
    workers = gf.scan.status("there").workers
    assert workers
    assert not any(name.endswith(f":{os.getpid()}") for name in workers)


def _blindfold() -> None:
    """Let a worker be on a machine that does not see the folder."""
    _job.os = mock.Mock(wraps=os, access=lambda *_: False, path=os.path)


def _see() -> None:
    _job.os = os


def test_options_of_a_scan_reach_the_workers(folder: Path, two: Any) -> None:
    options: Any = {
        "targets": list(range(2)), "rc": True, "shifts": (-1, 0, 1), "engine": "incremental", "windows": "grid:8",
        "scores": ("delta", "taylor"),
    }  # fmt: skip
    score("here", **options)
    score("there", client=two, **options)
    assert contents("there") == contents("here")


def test_more_targets_than_columns(folder: Path, two: Any) -> None:
    options: Any = {"targets": [gf.targets.contrast(0, 1), *[0, 1] * 10]}
    with pytest.raises(ValueError, match="twice"):
        score("here", **options)
    named = [f"sum_over(tracks={k % 2})" if k < 2 else f"contrast({k % 2}, {(k + 1) % 2})" for k in range(4)]
    compare = ("max_abs", "jsd(scale=logits)", "log2_ratio(1, scale=log)")
    score("here", targets=named, compare=compare)
    score("there", client=two, targets=named, compare=compare)
    assert contents("there") == contents("here")


@pytest.mark.parametrize("source", ["live", "loaded", "weights"])
def test_models_travel(folder: Path, two: Any, source: str) -> None:
    model = gf.model_files.load_model("dask_nets:Net").model
    model.layers[0].bias.data += 0.5
    torch.save(model.state_dict(), "weights.pt")
    loaded = gf.model_files.load_model("dask_nets:Net", weights="weights.pt")
    given = {"live": model, "loaded": gf.model_files.describe_model(model), "weights": loaded}[source]
    found = pq.read_table(score("there", given, client=two))["delta"].to_numpy()
    wanted = pq.read_table(score("here", given))["delta"].to_numpy()
    np.testing.assert_array_equal(found, wanted)
    assert np.nanmax(np.abs(found - pq.read_table(score("other"))["delta"].to_numpy())) > 1e-4


def test_a_model_that_cannot_travel_is_named(folder: Path, two: Any) -> None:
    model = torch.jit.trace(gf.model_files.load_model("dask_nets:Net").model, torch.zeros(2, 4, LENGTH))
    with pytest.raises(TypeError, match=r"cannot be sent to workers \(.*\); pass the model's file, or module:callable"):
        score("there", model, client=two)


def test_other_files_on_a_worker_are_named_before_any_work(folder: Path, two: Any) -> None:
    torch.save(gf.model_files.load_model("dask_nets:Net").model.state_dict(), "weights.pt")
    loaded = gf.model_files.load_model("dask_nets:Net", weights="weights.pt")
    other = gf.model_files.load_model("dask_nets:Net").model
    other.layers[0].bias.data += 1
    torch.save(other.state_dict(), "weights.pt")
    with pytest.raises(
        RuntimeError, match=r"2 of 2 workers cannot do this scan; of tcp.*: the model .* is another file"
    ):
        score("there", loaded, client=two)
    assert not list(Path("there/shards").glob("*.parquet"))
    with (
        mock.patch.object(driver, "versions", return_value=_job.versions() | {"numpy": "1.0"}),
        pytest.raises(RuntimeError, match=r"it has numpy \d.*, and the driver numpy 1.0; install the same"),
    ):
        score("elsewhere", client=two)
    with (
        mock.patch.object(driver, "fingerprint", return_value="other"),
        pytest.raises(RuntimeError, match=r"the genome .* is another there"),
    ):
        score("elsewhere", client=two, force=True)


def test_a_shard_that_kills_workers_is_given_up(folder: Path) -> None:
    """The window of one allele begins with eight T."""
    with local_workers(2) as client:
        table = pq.read_table(score("there", "dask_nets:Deadly", "deadly.fa", client=client))
    status = np.array(table["status"].to_pylist())
    assert len(Path("deaths").read_text()) == DEATHS
    failed = np.flatnonzero(status == "model_failed")
    assert 0 < len(failed) <= 10
    assert set(failed // 10) == {failed[0] // 10}
    (reason,) = gf.scan.read_metadata("there")["reasons"]
    assert reason.startswith(f"{DEATHS} workers died at its shard")
    others = status == "ok"
    wanted = pq.read_table(score("here", "dask_nets:Net", "deadly.fa"))
    np.testing.assert_array_equal(table["delta"].to_numpy()[others], wanted["delta"].to_numpy()[others])


def test_a_worker_that_is_killed_costs_its_shard_once_more(folder: Path) -> None:
    score("here", "dask_nets:Slow")
    with local_workers(2) as client:
        ended = threading.Event()

        def kill() -> None:
            for _ in range(2):
                ended.wait(0.7)
                found = [worker["pid"] for worker in client.run(_pid).values()] if not ended.is_set() else []
                if found:
                    os.kill(found[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        score("there", "dask_nets:Slow", client=client)
        ended.set()
        killer.join()
    assert contents("there")["scores.parquet"] == contents("here")["scores.parquet"]


def _pid() -> dict[str, int]:
    return {"pid": os.getpid()}


ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(sys.path), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
    "SLOW_SECONDS": "0.2",
}  # fmt: skip


@contextmanager
def drive(out: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process of its own."""
    call = ["score", "-m", "dask_nets:Slow", "-f", "g.fa", "-v", "variants.txt", "-o", out, "--length", str(LENGTH)]
    code = "from gradcorr_fast.cli import main\nif __name__ == '__main__': main(prog_name='gradcorr-fast')"
    Path("command.py").write_text(code)
    command = [sys.executable, "command.py", *call, "--axis", "1", "-b", "8", "--shard-size", "10", *more]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_driver_that_is_killed_is_resumed_with_dask_and_without(folder: Path, two: Any) -> None:
    score("here", "dask_nets:Slow")
    with drive("there", "--workers", "2") as process:
        until(lambda: len(list(Path("there/shards").glob("*.json"))) > 1)
        with pytest.raises(RuntimeError, match=r"process \d+ on .* works on the scan in there with Dask"):
            score("there", "dask_nets:Slow", client=two, resume=True)
        with pytest.raises(RuntimeError, match="works on the scan in there with Dask, and was heard of"):
            score("there", "dask_nets:Slow", resume=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    state = gf.scan.status("there")
    assert 1 < state.n_done < 9
    assert state.n_held == 0
    score("there", "dask_nets:Slow", client=two, resume=True, shard=(1, 2))
    score("there", "dask_nets:Slow", resume=True)
    assert contents("there")["scores.parquet"] == contents("here")["scores.parquet"]


def test_a_scheduler_that_goes_away_is_told(folder: Path) -> None:
    Path("scheduler.json").unlink(missing_ok=True)
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", "scheduler.json", "--port", "0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", "scheduler.json", "--nthreads=1"]
    quiet: Any = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
    scheduler = subprocess.Popen([*dask, "--no-dashboard"], env=ENVIRONMENT, **quiet)
    try:
        until(lambda: Path("scheduler.json").exists() and Path("scheduler.json").stat().st_size)
        with (
            subprocess.Popen([*worker, "--no-dashboard"], env=ENVIRONMENT, **quiet) as other,
            drive("there", "--dask", "scheduler.json") as process,
        ):
            until(lambda: list(Path("there/shards").glob("*.json")))
            scheduler.kill()
            message = process.communicate(timeout=60)[1]
            os.killpg(other.pid, signal.SIGKILL)
        assert process.returncode == 1
        assert "went away" in message
        assert "--resume goes on, with Dask or without" in message
    finally:
        scheduler.kill()
        scheduler.wait()
    score("here", "dask_nets:Slow")
    score("there", "dask_nets:Slow", resume=True)
    assert contents("there")["scores.parquet"] == contents("here")["scores.parquet"]


def test_on_the_command_line(folder: Path, two: Any) -> None:
    call = ["attribute", "-m", "dask_nets:Net", "-f", "g.fa", "-r", "regions.bed", "-o", "there"]
    given = ["--length", str(LENGTH), "--axis", "1", "-b", "8", "--shard-size", "8", "--dtype", "float32", "--quiet"]
    result = CliRunner().invoke(main, [*call, *given, "--dask", two.scheduler.address])
    assert result.exit_code == 0, result.output
    attribute("here")
    assert contents("there") == contents("here")
    shown = CliRunner().invoke(main, ["status", "there"]).output
    assert shown.startswith("7 of 7 shards done, 0 at work")
    assert sum(" shards  " in line for line in shown.splitlines()) == 2
    for more, message in (
        (["--dask", "a", "--workers", "2"], "give one of them"),
        (["--report", "r.html"], "give --workers or --dask too"),
        (["--workers", "2", "--device", "cuda:1"], "each worker sees one GPU, which is cuda and not cuda:1"),
        (["--dask", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1"),
    ):
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            result = CliRunner().invoke(main, [*call[:-1], "other", *given, *more])
        assert result.exit_code != 0
        assert message in result.output


def test_what_is_no_client_is_refused(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"client must be a dask.distributed.Client; got a str"):
        score("there", client="tcp://127.0.0.1:8786")
    assert not Path("there").exists()


def test_the_array_of_jobs_in_the_docs(folder: Path, tmp_path: Path) -> None:
    """Its script, played as SLURM would: three jobs, one of which fails at first."""
    page = (Path(__file__).parents[1] / "docs" / "beyond-one-process.md").read_text()
    (script,) = [block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "#SBATCH" in block]
    Path("nets.py").write_text(NETS.replace("class Net(", "class make(").replace("(Net)", "(make)"))
    Path("genome.fa").write_text(Path("g.fa").read_text())
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    records = [line.split(":") for line in Path("variants.txt").read_text().splitlines()]
    lines = [f"{chrom}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\n" for chrom, pos, ref, alt in records]
    Path("variants.vcf").write_text(header + "".join(lines))
    command = f'#!/bin/bash\nexec {sys.executable} {tmp_path}/command.py "$@"\n'
    Path("command.py").write_text("from gradcorr_fast.cli import main\nmain(prog_name='gradcorr-fast')\n")
    Path("bin").mkdir()
    Path("bin/gradcorr-fast").write_text(command)
    Path("bin/gradcorr-fast").chmod(0o755)
    Path("job.sh").write_text(script.replace("--length 30", f"--length {LENGTH} --shard-size 10"))
    environment = ENVIRONMENT | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_ARRAY_TASK_COUNT": "3"}
    jobs = [
        subprocess.Popen(["bash", "job.sh"], env=environment | {"SLURM_ARRAY_TASK_ID": str(k)}, stderr=subprocess.PIPE)
        for k in (1, 2, 3)
    ]
    assert [job.communicate()[1] and job.returncode for job in jobs] == [0, 0, 0]
    subprocess.run(["gradcorr-fast", "merge", "scan"], env=environment, check=True, capture_output=True)
    found, wanted = (pq.read_table(path)["delta"] for path in ("scan/scores.parquet", score("here")))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["score", "attribute"])
def test_whoever_is_killed_the_bytes_are_right(name: str) -> None:
    from tests import cluster_kills

    *_, n_ends, problems = cluster_kills.kill_often(name, 12, seed=len(name))
    assert n_ends
    assert problems == []


# --- claims ---


def test_a_claim_is_believed_while_it_is_young(tmp_path: Path) -> None:
    with claiming.claiming(tmp_path / "scan") as claim:
        assert claiming.is_ours(tmp_path / "scan")
        claiming.refuse_others(tmp_path / "scan")
    assert not (tmp_path / "scan").exists()
    (tmp_path / "scan").mkdir()
    other = claiming.Claim(tmp_path / "scan" / claiming.CLAIM)
    other.write()
    with pytest.raises(RuntimeError, match="and was heard of less than 60 s ago; end it first"):
        claiming.refuse_others(tmp_path / "scan")
    old = time.time() - claiming.STALE_SECONDS - 5
    os.utime(tmp_path / "scan" / claiming.CLAIM, (old, old))
    claiming.refuse_others(tmp_path / "scan")
    with claiming.claiming(tmp_path / "scan"), pytest.raises(RuntimeError, match="has taken over the scan"):
        other.check()
    assert claim.state == {}


def test_a_claim_of_a_process_that_ended_is_not_believed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with mock.patch.object(os, "getpid", return_value=process.pid):
        claiming.Claim(tmp_path / claiming.CLAIM).write()
    claiming.refuse_others(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_workers_keep_freed_memory() -> None:
    """Dask has its workers give memory back early, and each page that a model writes to was fetched anew."""
    code = textwrap.dedent("""
        import resource, sys
        import numpy as np
        from gradcorr_fast.hooks import _heap
        if sys.argv[1] == "kept":
            _heap.forget_thresholds()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(50):
            np.empty(1 << 20).fill(1)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    environment = ENVIRONMENT | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", code, how], env=environment, capture_output=True, check=True).stdout)
        for how in ("given back", "kept")
    )
    assert kept < given_back / 5

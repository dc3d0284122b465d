"""Scans of regions in which something breaks: what survives, and how they go on to the same bytes."""

import errno
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.scan import region_scan
from gradcorr_fast.scan.running import attributed, folder, progress
from tests.region_scans import (  # noqa: F401 - fixtures
    EVERY,
    LENGTH,
    REGIONS,
    Network,
    contents,
    cut,
    genome_fasta,
    one_thread,
    scan,
    scan_whole,
)

torch = pytest.importorskip("torch")
pytest.importorskip("zarr")


def is_region(x: Any, number: int) -> Any:
    return (x == torch.from_numpy(cut()[number])).all((1, 2))


def raise_at_7(n: int, x: Any, output: Any) -> Any:
    if is_region(x, 7).any():
        raise RuntimeError("a layer cannot digest this")
    return output


def nan_at_7(n: int, x: Any, output: Any) -> Any:
    return torch.where(is_region(x, 7)[:, None], torch.nan, output)


def explode_at_7(n: int, x: Any, output: Any) -> Any:
    return output * torch.where(is_region(x, 7)[:, None], torch.inf, 1.0)


@pytest.mark.parametrize(
    ("fail", "reason"), [(raise_at_7, "cannot digest"), (nan_at_7, "NaN or infinity"), (explode_at_7, "not finite")]
)
def test_a_region_on_which_the_model_fails_costs_no_other(fasta: Path, tmp_path: Path, fail: Any, reason: str) -> None:
    found, whole = scan(fasta, tmp_path / "out", model=Network(fail)), scan(fasta, tmp_path / "whole")
    statuses = found.regions["status"].to_pylist()
    assert statuses == ["model_failed" if k == 7 else "ok" for k in EVERY]
    others = np.delete(EVERY, 7)
    np.testing.assert_allclose(found.maps(others), whole.maps(others), rtol=1e-3, atol=1e-6)
    assert np.isnan(found.maps([7])).all()
    (told,) = found.metadata["reasons"]
    assert reason in told


def test_a_model_that_fails_on_everything_is_an_error_and_what_was_done_is_kept(fasta: Path, tmp_path: Path) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        if n > 6:
            raise RuntimeError("the device is lost")
        return output

    with pytest.raises(RuntimeError, match=r"fails on every sequence, also on random ones .*the device is lost"):
        scan(fasta, tmp_path / "out", model=Network(fail))
    status = gf.scan.status(tmp_path / "out")
    assert 0 < status.n_done < status.n_shards == 4
    scan(fasta, tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == contents(scan_whole(fasta, tmp_path))


def test_batches_that_were_halved_once_stay_so_in_all_shards(fasta: Path, tmp_path: Path) -> None:
    """Every shard tried the batches that had exhausted the memory again."""
    refused: list[int] = []

    def exhaust(n: int, x: Any, output: Any) -> Any:
        if len(x) > 2:
            refused.append(len(x))
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return output

    with pytest.warns(UserWarning, match="memory was exhausted with batches of 4 rows, and 2 fit") as caught:
        found = scan(fasta, tmp_path / "out", model=Network(exhaust))
    assert refused == [4, 4]  # by the probe, and by the first shard of four
    assert len(caught) == 1
    np.testing.assert_allclose(found.maps(EVERY), scan(fasta, tmp_path / "whole").maps(EVERY), rtol=1e-3, atol=1e-6)


def test_what_cannot_be_written_ends_the_scan_and_counts_as_not_done(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shards are written in a thread of their own."""
    write, out = attributed.write_store_shard, tmp_path / "out"

    def fill(store: Path, number: int, *rest: Any) -> None:
        write(store, number, *rest)
        if number == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(attributed, "write_store_shard", fill)
        patch.setattr(progress, "LOG_SECONDS", 0)
        with pytest.raises(OSError, match="No space left on device"):
            scan(fasta, out, verbose=True)
    assert capsys.readouterr().err.splitlines()[-1].startswith("6 of 20 regions")
    assert gf.scan.status(out)[1:3] == (1, 0)
    scan(fasta, out, resume=True)
    assert contents(out) == contents(scan_whole(fasta, tmp_path))


def test_an_interruption_waits_for_the_shard_that_is_being_written(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, out, is_interrupted = attributed.write_store_shard, tmp_path / "out", threading.Event()

    def write_late(*arguments: Any) -> None:
        assert is_interrupted.wait(60)
        write(*arguments)

    def interrupt(n: int, x: Any, output: Any) -> Any:
        if n == 6:  # two of the probe, two of each shard
            is_interrupted.set()
            raise KeyboardInterrupt
        return output

    with monkeypatch.context() as patch:
        patch.setattr(attributed, "write_store_shard", write_late)
        with pytest.raises(KeyboardInterrupt):
            scan(fasta, out, model=Network(interrupt))
    assert gf.scan.status(out)[1:3] == (1, 0)
    scan(fasta, out, resume=True)
    assert contents(out) == contents(scan_whole(fasta, tmp_path))


@pytest.mark.parametrize("n_interruptions", [1, 2])
def test_a_shard_is_held_until_it_is_written_though_the_wait_for_it_is_interrupted(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_interruptions: int
) -> None:
    """Another process could do it again meanwhile, and write the same files."""
    write, out, has_left, held = attributed.write_store_shard, tmp_path / "out", threading.Event(), []
    writers: list[ThreadPoolExecutor] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *work: Any) -> Future[Any]:
            writers.append(self)
            future = super().submit(*work)
            monkeypatch.setattr(future, "result", interrupt)
            return future

        def shutdown(self, *options: Any, **more: Any) -> None:
            if n_interruptions == 2:
                raise KeyboardInterrupt
            has_left.set()
            super().shutdown(*options, **more)

    def write_late(*arguments: Any) -> None:
        assert has_left.wait(60)
        held.append(folder.Folder(out).is_held(0))
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "ThreadPoolExecutor", Interrupted)
        patch.setattr(attributed, "write_store_shard", write_late)
        with pytest.raises(KeyboardInterrupt):
            scan(fasta, out)
        has_left.set()
        ThreadPoolExecutor.shutdown(writers[0])
    assert held == [True]
    assert gf.scan.status(out)[1:3] == (1, 0)
    scan(fasta, out, resume=True)
    assert contents(out) == contents(scan_whole(fasta, tmp_path))


def test_what_the_thread_that_writes_computes_was_computed_once_before(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compiled: Numba then sets filters of warnings, as the scan does beside it, and warnings were lost for good."""
    finish, threads = attributed.finish_values, []

    def record(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return finish(*arguments)

    for place in (region_scan, attributed):
        monkeypatch.setattr(place, "finish_values", record)
    scan(fasta, tmp_path / "out")
    assert [thread == threading.get_ident() for thread in threads] == [True, False, False, False, False]


def test_no_more_than_one_shard_waits_to_be_written(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, cut, order, is_second = attributed.write_store_shard, attributed.cut_regions, [], threading.Event()

    def begin(*arguments: Any) -> Any:
        order.append("begun")
        if len(order) == 2:
            is_second.set()
        return cut(*arguments)

    def written(*arguments: Any) -> None:
        assert is_second.wait(60)  # the first is not on disk before the second is begun
        write(*arguments)
        order.append("written")

    monkeypatch.setattr(attributed, "cut_regions", begin)
    monkeypatch.setattr(attributed, "write_store_shard", written)
    scan(fasta, tmp_path / "out")
    n_waiting = np.cumsum([1 if each == "begun" else -1 for each in order])
    assert n_waiting[1] == n_waiting.max() == 2


RUN = """
import multiprocessing, random, sys, time
from pathlib import Path
import numba, torch  # before forks, so that they are killed at work
from gradcorr_fast import scan
sys.path.insert(0, {root!r})
from tests import region_scans as tests

def slow(n, x, output):
    time.sleep(0.02)
    return output

def run():
    torch.set_num_threads(1)
    commit = scan.Folder.commit
    def logged(self, number, *rest):
        commit(self, number, *rest)
        with open({log!r}, "a") as file:
            file.write(f"{{number}}\\n")
    scan.Folder.commit = logged
    tests.scan(Path({fasta!r}), Path({out!r}), model=tests.Network(slow), resume=True, shard_size=4)

context = multiprocessing.get_context("fork")
random.seed(5)
for _ in range(4):
    process = context.Process(target=run)
    process.start()
    process.join(random.uniform(0.2, 0.7))
    process.kill()
    process.join()
processes = [context.Process(target=run) for _ in range(2)]
for process in processes:
    process.start()
for process in processes:
    process.join()
assert [process.exitcode for process in processes] == [0, 0]
"""


def test_killed_at_random_moments_and_finished_by_two_it_has_the_same_bytes(fasta: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    code = RUN.format(root=str(Path(__file__).parents[1]), fasta=str(fasta), out=str(out), log=str(log))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, log.read_text().split())) == list(range(5))  # nothing is done twice
    assert contents(out) == contents(scan_whole(fasta, tmp_path, shard_size=4))


def test_shares_done_apart_are_joined(fasta: Path, tmp_path: Path) -> None:
    out = scan(fasta, tmp_path / "out", shard=(2, 2))
    with pytest.raises(FileNotFoundError, match="whose shards are all done"):
        gf.scan.Attributions(out)
    with pytest.raises(RuntimeError, match="2 of 4 shards"):
        gf.scan.merge(out)
    scan(fasta, out, shard=(1, 2))
    assert gf.scan.merge(out) == out / "regions.parquet"
    assert contents(out) == contents(scan_whole(fasta, tmp_path))


@pytest.mark.parametrize("name", ["attributions.zarr/corrected/c/2/0/0", "shards/000002.parquet"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_shard_is_done_again(fasta: Path, tmp_path: Path, name: str, damage: Any) -> None:
    out = tmp_path / "out"
    scan(fasta, out)
    before = contents(out)
    damage(out / name)
    with pytest.raises(RuntimeError, match=r"1 of 4 shards of .* are not done"):
        gf.scan.merge(out)
    scan(fasta, out, resume=True)
    assert contents(out) == before


def test_what_a_killed_process_left_half_written_is_written_again(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scan(fasta, out)
    before = contents(out)
    place = out / "attributions.zarr/corrected/c/2/0/0"
    (out / "shards/000002.json").unlink()
    place.write_bytes(place.read_bytes()[:50])
    place.with_name("0.1f2e.partial").write_bytes(b"what Zarr renames")
    scan(fasta, out, resume=True)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "smoothgrad"}, 'options method was "saliency" and is "smoothgrad"'),
        ({"dtype": "float32"}, "options dtype was"),
        ({"keep_uncorrected": True}, "options keep_uncorrected was"),
        ({"random_state": 1}, "options random_state was 0 and is 1"),
        ({"regions": REGIONS[:-1]}, "input digest was"),
        ({"shard_size": 7}, "options shard_size was 6 and is 7"),
    ],
)
def test_another_call_cannot_go_on_with_a_scan(
    fasta: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    scan(fasta, tmp_path / "out")
    with pytest.raises(ValueError, match=f"cannot go on, since .*{message}"):
        scan(fasta, tmp_path / "out", resume=True, **change)


def test_sizes_that_were_found_out_are_kept_when_a_scan_goes_on(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"batch_size": "auto", "shard_size": "auto"}
    options = scan(fasta, tmp_path / "out", **sizes).metadata["options"]
    assert (options["batch_size"], options["shard_size"]) == (1024, 1024)
    again = scan(fasta, tmp_path / "out", **sizes, resume=True, method="saliency").metadata["options"]
    assert again == options
    monkeypatch.setattr(region_scan, "MOST_ROWS", 1000)
    few = scan(fasta, tmp_path / "few", REGIONS[:1], shard_size="auto", method="integrated_gradients", rc=True)
    assert few.metadata["options"]["shard_size"] == 24  # 1000 // 40, in batches of 4


def test_a_scan_of_variants_is_another_scan(fasta: Path, tmp_path: Path) -> None:
    scan(fasta, tmp_path / "out")
    with pytest.raises(ValueError, match="holds a scan of regions; give that of variants another folder"):
        gf.scan.score_variants(Network(), fasta, [], tmp_path / "out", length=LENGTH, batch_size=4, resume=True)
    with pytest.raises(FileExistsError, match="holds a scan already"):
        scan(fasta, tmp_path / "out")
    scan(fasta, tmp_path / "out", REGIONS[:3], force=True)
    assert len(gf.scan.Attributions(tmp_path / "out").regions) == 3
    (tmp_path / "out/regions.bed").write_text("chr1\t1\t2\n")
    with pytest.raises(FileExistsError, match=r"holds other files \(regions.bed\)"):
        scan(fasta, tmp_path / "out", REGIONS[:3], resume=True)

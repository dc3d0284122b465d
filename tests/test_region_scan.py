"""Attributions of regions: maps against the hooks on windows cut by hand, and what survives when something breaks."""

import errno
import gzip
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gradcorr_fast as gf
from gradcorr_fast.scan import folder, progress, region_scan
from tests import models

torch = pytest.importorskip("torch")
zarr = pytest.importorskip("zarr")

LENGTH = 20
RNG = np.random.default_rng(6)
GENOME = {name: "".join(RNG.choice(list("ACGT"), 700)) for name in ("chr1", "chr2")}
GENOME["chr2"] = GENOME["chr2"][:300] + "N" * 40 + GENOME["chr2"][340:]
REGIONS = [("chr1", 13 * k, 13 * k + 31) for k in range(2, 20)] + [("2", 200, 201), ("chr2", 290, 291)]
"""All on the genome; the last has an N in its window."""
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 3, "references": "dinucleotide"},
    "smoothgrad": {"n_samples": 2, "kind": "mutation"},
    "expected_gradients": {"n_steps": 2, "n_references": 2, "rule": "midpoint", "random_state": 4},
    "saturation_mutagenesis": {},
}


class Network(torch.nn.Module):
    """Two outputs; does as it is told when it has seen so many batches."""

    def __init__(self, fail: Any = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.convolution = torch.nn.Conv1d(4, 6, 5, padding=2)
        self.dense = torch.nn.Linear(6 * LENGTH, 2)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)
        self.fail, self.n_batches = fail, 0

    def forward(self, x: Any) -> Any:
        self.n_batches += 1
        output = self.dense(torch.nn.functional.softplus(self.convolution(x)).flatten(1))
        return output if self.fail is None else self.fail(self.n_batches, x, output)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Several threads take longer for models that are so small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{textwrap.fill(letters, 61)}\n" for name, letters in GENOME.items()))
    return path


def scan(fasta: Any, out: Path, regions: Any = REGIONS, model: Any = None, **options: Any) -> Any:
    given = {"length": LENGTH, "batch_size": 4, "shard_size": 6, "max_n": 0.5} | options
    gf.scan.attribute_regions(model or Network(), fasta, regions, out, **given)
    return out if "shard" in options else gf.scan.Attributions(out)


def cut(regions: Any = REGIONS, length: int = LENGTH) -> np.ndarray:
    """One-hot windows (N, 4, L) about the middles of regions."""
    windows = []
    for name, start, stop in regions:
        letters = GENOME[name if name.startswith("chr") else f"chr{name}"]
        first = (start + stop) // 2 - length // 2
        windows.append(["N" if not 0 <= k < len(letters) else letters[k] for k in range(first, first + length)])
    return (np.array(windows)[:, None] == np.array(list("ACGT"))[:, None]).astype(np.float32)


EVERY = np.arange(len(REGIONS))


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_hooks_on_windows_cut_by_hand(fasta: Path, tmp_path: Path, method: str) -> None:
    options = METHODS[method]
    found = scan(fasta, tmp_path / "out", method=method, dtype="float32", **options)
    attribute = getattr(gf.hooks.torch, method)
    wanted = attribute(Network(), cut(), outputs=("corrected", "prediction"), **options)
    np.testing.assert_array_equal(gf.sequences.one_hot(found.codes(EVERY), np.float32, 1), cut())
    np.testing.assert_allclose(found.maps(EVERY), wanted.corrected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.read("prediction", EVERY), wanted.prediction, rtol=1e-5)
    if method == "saturation_mutagenesis":
        assert "angle_summary" not in found.group
        return
    plain = attribute(Network(), cut(), corrected=False, **options)
    angles = gf.angle_summary(plain, axis=1, mask=cut().any(1))
    np.testing.assert_allclose(found.read("angle_summary", EVERY)[:, :3], angles.fractions, atol=1e-7)
    total = angles.counts.sum(0) / angles.n_positions.sum()
    assert list(found.metadata["angles"].values()) == [angles.n_positions.sum(), *total]
    each = [gf.angle_summary(grad, axis=0, mask=x.any(0)) for grad, x in zip(plain, cut(), strict=True)]
    statistics = found.read("angle_summary", EVERY)[:, 3:]
    np.testing.assert_allclose(statistics, [(one.mean, one.std) for one in each], rtol=1e-3, atol=1e-3)


def test_zero_gradients_are_counted_as_the_summary_of_angles_does(fasta: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Conv1d(4, 3, 7), torch.nn.Softplus(), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten()
    model = torch.nn.Sequential(*layers)
    found = scan(fasta, tmp_path / "out", model=model)
    plain = gf.hooks.torch.saliency(model, cut(), corrected=False)
    angles = gf.angle_summary(plain, axis=1, mask=cut().any(1))
    assert angles.n_undefined.min() > 5
    np.testing.assert_allclose(found.read("angle_summary", EVERY)[:, :3], angles.fractions, atol=1e-7)
    mean = angles.sums / (angles.n_positions - angles.n_undefined)
    np.testing.assert_allclose(found.read("angle_summary", EVERY)[:, 3], mean, rtol=1e-5)


def test_float16_is_as_near_as_it_says(fasta: Path, tmp_path: Path) -> None:
    wide, narrow = (scan(fasta, tmp_path / dtype, dtype=dtype) for dtype in ("float32", "float16"))
    exact = wide.maps(EVERY)
    assert narrow.group["corrected"].dtype == np.float16
    bound = np.maximum(np.abs(exact) * 2.0**-11, np.abs(exact).max((1, 2), keepdims=True) * 2.0**-39)
    assert (np.abs(narrow.maps(EVERY) - exact) <= bound).all()
    assert narrow.group.attrs["float16"].startswith("a map is its numbers times its scale")


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-20, 1.0, 3e38])
def test_float16_keeps_maps_of_every_size(size: float) -> None:
    from gradcorr_fast.scan.store import to_float16

    maps = np.float32(size) * np.float32([[[1, -1, 2.0**-20]], [[0, 0, 0]], [[0.999, 0.1, -0.3]]])
    numbers, scale = to_float16(maps)
    assert (scale >= np.finfo(np.float32).smallest_normal).all()
    with np.errstate(under="ignore"):
        found = numbers.astype(np.float64) * scale[:, None, None]
    np.testing.assert_allclose(found, maps, rtol=2.0**-11, atol=2.0**-39 * size)


def test_uncorrected_maps_are_kept_if_asked_for(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", keep_uncorrected=True, targets=[0, 1])
    wanted = gf.hooks.torch.saliency(Network(), cut(), targets=[0, 1], corrected=False)
    np.testing.assert_allclose(found.maps(EVERY, corrected=False), wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.maps(EVERY), gf.correct(wanted, axis=2), rtol=1e-3, atol=1e-5)
    plain = scan(fasta, tmp_path / "plain", targets=[0, 1])
    for name in ("prediction", "angle_summary"):
        np.testing.assert_allclose(found.read(name, EVERY), plain.read(name, EVERY), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no uncorrected maps"):
        plain.maps([0], corrected=False)


def test_both_maps_come_from_one_gradient(fasta: Path, tmp_path: Path) -> None:
    """Keeping the uncorrected maps took a forward pass more."""
    plain, both = Network(), Network()
    wanted = scan(fasta, tmp_path / "plain", model=plain)
    found = scan(fasta, tmp_path / "both", model=both, keep_uncorrected=True)
    assert plain.n_batches == both.n_batches
    np.testing.assert_array_equal(found.maps(EVERY), wanted.maps(EVERY))


def test_the_model_sees_every_region_once_and_few_random_sequences(fasta: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def count(n: int, x: Any, output: Any) -> Any:
        sizes.append(len(x))
        return output

    scan(fasta, tmp_path / "out", model=Network(count), batch_size=16, shard_size=16)
    assert sizes == [1, 8, 16, 4]


def test_every_target_has_its_maps(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", targets=["index(1)", 0, "mean()"])
    assert found.targets == ["index(1)", "index(0)", "mean()"]
    shapes = {name: array.shape[1:] for name, array in found.group.arrays()}
    assert shapes == {
        "codes": (LENGTH,), "corrected": (3, 4, LENGTH), "corrected_scale": (3,), "angle_summary": (3, 5),
        "prediction": (3,),
    }  # fmt: skip
    wanted = gf.hooks.torch.saliency(Network(), cut(), target=1)
    np.testing.assert_allclose(found.maps(EVERY, 0), wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.maps(EVERY)[:, 0], found.maps(EVERY, 0))


def test_strands_and_shifts_are_averaged(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", rc=True, shifts=(-1, 0, 2))
    wanted = gf.hooks.torch.saliency(Network(), cut(), rc=True, shifts=(-1, 0, 2))
    np.testing.assert_allclose(found.maps(EVERY), wanted, rtol=1e-3, atol=1e-6)


def test_references_of_ones_own_serve_all_regions(fasta: Path, tmp_path: Path) -> None:
    references = cut()[:2]
    options = {"references": references, "n_steps": 3}
    found = scan(fasta, tmp_path / "out", method="integrated_gradients", **options)
    wanted = gf.hooks.torch.integrated_gradients(Network(), cut(), **options)
    np.testing.assert_allclose(found.maps(EVERY), wanted, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="options references was"):
        scan(fasta, tmp_path / "out", method="integrated_gradients", **options | {"references": cut()[:3]}, resume=True)


def test_a_keras_model_has_maps_with_the_letters_first(fasta: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    inputs = keras.Input((LENGTH, 4))
    hidden = keras.layers.Conv1D(6, 5, activation="softplus")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(hidden)))
    found = scan(fasta, tmp_path / "out", model=model, length=None)
    wanted = gf.hooks.tensorflow.saliency(model, np.ascontiguousarray(cut().transpose(0, 2, 1)))
    np.testing.assert_allclose(found.maps(EVERY), wanted.transpose(0, 2, 1), rtol=1e-3, atol=1e-6)


def test_a_program_that_takes_one_batch_size_gets_full_batches(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        assert len(x) == 4
        return output

    shape = gf.model_files.ModelShape(axis=1, length=LENGTH, batch_size=4)  # as of torch.export without dynamic shapes
    monkeypatch.setattr(gf.model_files, "inspect_model", lambda loaded: shape)
    found = scan(fasta, tmp_path / "out", model=Network(fail), batch_size="auto", shard_size=7)
    np.testing.assert_allclose(found.maps(EVERY), gf.hooks.torch.saliency(Network(), cut()), rtol=1e-3, atol=1e-6)


PLACED = [
    ("chr1:101-140", "ok"),
    ("chr9:5-9", "contig_missing"),
    ("chr1:1-4", "ok"),
    ("chr1:2000-2001", "out_of_bounds"),
    ("chr2:321-322", "n_in_window"),
    ("MT", "contig_missing"),
    ("chr1:690-705", "ok"),
]


def test_every_region_has_a_row_and_a_status(fasta: Path, tmp_path: Path) -> None:
    regions = [text for text, _ in PLACED]
    found = scan(fasta, tmp_path / "out", regions, shard_size=3, max_n=0.05)
    rows = found.regions.to_pylist()
    assert [(row["region"], row["status"]) for row in rows] == [(k, status) for k, (_, status) in enumerate(PLACED)]
    assert [row["pad_bp"] for row in rows] == [0, None, 8, 20, 0, None, 7]
    assert rows[0]["window_start"] == (100 + 140) // 2 - LENGTH // 2
    is_ok = np.array([status == "ok" for _, status in PLACED])
    every = np.arange(len(PLACED))
    np.testing.assert_array_equal(np.isfinite(found.maps(every)).all((1, 2)), is_ok)
    np.testing.assert_array_equal((found.codes(every) < 4).any(1), is_ok)
    assert np.isnan(found.read("prediction", every)[~is_ok]).all()
    assert found.metadata["counts"] == Counter(status for _, status in PLACED)


def test_windows_that_leave_the_contig_can_be_rejected(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", ["chr1:1-4", "chr1:50-60", "chr1:690-705"], edges="reject")
    assert found.regions["status"].to_pylist() == ["out_of_bounds", "ok", "out_of_bounds"]


PEAK = "chr1\t100\t{}\tpeak{}\t0\t.\t1.5\t-1\t-1\t{}\n"
FILES = {
    "a.narrowPeak": PEAK.format(180, 0, 11) + PEAK.format(150, 1, -1),
    "a.bed": "track name=x\nchr1\t80\t142\tpeak0\nchr1 100 150 peak1\n",
    "a.bedgraph": "chr1\t80\t142\t0.5\nchr1\t100\t150\t-2\n",
}


@pytest.mark.parametrize("name", [*FILES, "a.bed.gz", "table", "frame", "tuples"])
def test_windows_are_centred_on_summits_and_else_on_middles(fasta: Path, tmp_path: Path, name: str) -> None:
    path: Any = tmp_path / name
    if name == "table":
        path = pa.table({"chrom": ["1", "chr1"], "start": [80, 100], "stop": [142, 150]})
    elif name == "frame":
        columns = {"name": ["peak0", "peak1"], "chrom": ["1", "chr1"], "start": [80, 100], "end": [142, 150]}
        path = pytest.importorskip("pandas").DataFrame(columns)
    elif name == "tuples":
        path = [("chr1", 80, 142, "peak0"), ("1", 100, 150, "peak1")]
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(FILES["a.bed"].encode()))
    else:
        path.write_text(FILES[name])
    rows = scan(fasta, tmp_path / "out", path).regions
    assert rows["centre"].to_pylist() == [111, 125]
    assert rows["window_start"].to_pylist() == [101, 115]
    names = {"a.bedgraph": ["0.5", "-2"], "table": [None, None]}
    assert rows["name"].to_pylist() == names.get(name, ["peak0", "peak1"])


def test_summits_outside_of_their_peaks_are_told(fasta: Path, tmp_path: Path) -> None:
    """As after peaks were cut, or in tables of ten columns that are no narrowPeak."""
    (tmp_path / "a.narrowPeak").write_text(PEAK.format(150, 0, 51) + PEAK.format(150, 1, 50))
    with pytest.warns(UserWarning, match="^1 summits of 2 regions lie outside of them"):
        found = scan(fasta, tmp_path / "out", tmp_path / "a.narrowPeak")
    assert found.regions["centre"].to_pylist() == [151, 150]
    (tmp_path / "b.narrowPeak").write_text(PEAK.format(150, 0, "+"))
    with pytest.raises(ValueError, match=r"line 1 of .*b.narrowPeak .* a tenth column of ten must be a summit"):
        scan(fasta, tmp_path / "other", tmp_path / "b.narrowPeak")


def test_regions_in_any_order_and_twice_have_their_own_rows(fasta: Path, tmp_path: Path) -> None:
    order = [18, 3, 7, 3, 0, 3]
    found = scan(fasta, tmp_path / "out", [REGIONS[k] for k in order], shard_size=4)
    np.testing.assert_array_equal(gf.sequences.one_hot(found.codes(np.arange(6)), np.float32, 1), cut()[order])
    maps = scan(fasta, tmp_path / "sorted").maps(EVERY)[order]
    np.testing.assert_allclose(found.maps(np.arange(6)), maps, rtol=1e-3, atol=1e-6)


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
    write, out = region_scan.write_store_shard, tmp_path / "out"

    def fill(store: Path, number: int, *rest: Any) -> None:
        write(store, number, *rest)
        if number == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(region_scan, "write_store_shard", fill)
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
    write, out, is_interrupted = region_scan.write_store_shard, tmp_path / "out", threading.Event()

    def write_late(*arguments: Any) -> None:
        assert is_interrupted.wait(60)
        write(*arguments)

    def interrupt(n: int, x: Any, output: Any) -> Any:
        if n == 6:  # two of the probe, two of each shard
            is_interrupted.set()
            raise KeyboardInterrupt
        return output

    with monkeypatch.context() as patch:
        patch.setattr(region_scan, "write_store_shard", write_late)
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
    write, out, has_left, held = region_scan.write_store_shard, tmp_path / "out", threading.Event(), []
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
        patch.setattr(region_scan, "write_store_shard", write_late)
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
    finish, threads = region_scan.finish_values, []

    def record(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return finish(*arguments)

    monkeypatch.setattr(region_scan, "finish_values", record)
    scan(fasta, tmp_path / "out")
    assert [thread == threading.get_ident() for thread in threads] == [True, False, False, False, False]


def test_no_more_than_one_shard_waits_to_be_written(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, cut, order, is_second = region_scan.write_store_shard, region_scan.cut_regions, [], threading.Event()

    def begin(*arguments: Any) -> Any:
        order.append("begun")
        if len(order) == 2:
            is_second.set()
        return cut(*arguments)

    def written(*arguments: Any) -> None:
        assert is_second.wait(60)  # the first is not on disk before the second is begun
        write(*arguments)
        order.append("written")

    monkeypatch.setattr(region_scan, "cut_regions", begin)
    monkeypatch.setattr(region_scan, "write_store_shard", written)
    scan(fasta, tmp_path / "out")
    n_waiting = np.cumsum([1 if each == "begun" else -1 for each in order])
    assert n_waiting[1] == n_waiting.max() == 2


def contents(out: Path) -> dict[str, bytes]:
    """Every file that a scan leaves as its result."""
    files = [out / "regions.parquet", *(p for p in (out / "attributions.zarr").rglob("*") if p.is_file())]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


def scan_whole(fasta: Path, tmp_path: Path, **options: Any) -> Path:
    scan(fasta, tmp_path / "whole", **options)
    return tmp_path / "whole"


RUN = """
import multiprocessing, random, sys, time
from pathlib import Path
import numba, torch  # before forks, so that they are killed at work
from gradcorr_fast import scan
sys.path.insert(0, {root!r})
from tests import test_region_scan as tests

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


def test_a_shard_of_the_scan_is_one_of_zarr(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", keep_uncorrected=True)
    assert {array.shards[0] for _, array in found.group.arrays()} == {6}
    for name, array in found.group.arrays():
        files = [p for p in (tmp_path / "out/attributions.zarr" / name / "c").rglob("*") if p.is_file()]
        assert len(files) == 4
        assert array.metadata.zarr_format == 3
        assert [type(codec).__name__ for codec in array.metadata.codecs] == ["ShardingCodec"]
    assert found.group.attrs["gradcorr_fast"]["options"]["method"] == "saliency"
    assert pq.read_metadata(tmp_path / "out/regions.parquet").num_rows == len(REGIONS)


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
    assert (options["batch_size"], options["shard_size"]) == (128, 1024)
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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "deepshap"}, ValueError, "method must be one of saliency, integrated_gradients"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of float16, float32"),
        ({"n_steps": 3}, TypeError, "there is no option 'n_steps'"),
        ({"method": "integrated_gradients", "n_steps": 0}, ValueError, "n_steps must be a positive int"),
        ({"references": np.zeros((2, 2, 4, LENGTH))}, ValueError, "give an array that serves all regions"),
        ({"targets": [7]}, ValueError, "target 7 does not exist"),
        ({"targets": []}, ValueError, "nothing to compute"),
        ({"shard_size": "many"}, ValueError, "shard_size must be a positive int"),
        ({"scores": ["delta"]}, TypeError, "there is no option 'scores'"),
        ({"length": 22}, ValueError, r"fails on random sequences of length 22 .* \(--length, --axis\)"),
        ({"regions": ["chr8:1-2"]}, ValueError, r"has no contig of the regions \(chr8\)"),
        ({"regions": pa.table({"chrom": ["chr1"]})}, ValueError, "has no column start, stop"),
        ({"regions": [*REGIONS, ("chr1", 9, 5)]}, ValueError, r"region 20 is \('chr1', 9, 5\); it must have a start"),
        ({"regions": pa.table({"chrom": ["1"], "start": [-2], "end": [5]})}, ValueError, "region 0 is"),
    ],
)
def test_wrong_calls_are_refused_before_anything_is_done(
    fasta: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scan(fasta, tmp_path / "out", **options)
    assert not (tmp_path / "out/run.json").exists()


@pytest.mark.parametrize("text", ["", "# nothing was called\n"])
def test_no_regions_make_an_empty_store(fasta: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "peaks.bed").write_text(text)
    found = scan(fasta, tmp_path / "out", tmp_path / "peaks.bed")
    assert found.group["corrected"].shape == (0, 4, LENGTH)
    assert found.maps([]).shape == (0, 4, LENGTH)


def test_a_warning_is_told_once_and_not_for_every_shard(fasta: Path, tmp_path: Path) -> None:
    def saturate(n: int, x: Any, output: Any) -> Any:
        return torch.sigmoid(output * 0 + 1000 + x[:, :1, 0] * 1e-9)

    with pytest.warns(UserWarning, match="saturated sigmoid") as caught:
        scan(fasta, tmp_path / "out", model=Network(saturate))
    assert len(caught) <= 2  # of the probe, and of the scan


PEAKS = {
    "hg19.ChIPseq.K562.CTCF.conservative.train.narrowPeak.gz": (47_804, 17),
    "hg19.ChIPseq.HepG2.JUND.relaxed.narrowPeak.gz": (97_556, 141),
}


@pytest.mark.parametrize("name", PEAKS)
def test_every_real_peak_is_accounted_for(shared_data: Path, tmp_path: Path, name: str) -> None:
    n_peaks, n_inside = PEAKS[name]
    model = models.torch_model(*models.load(shared_data, "cnn_deep_relu")).eval()
    genome, path = "hg19.chr20.9995000-11095000.N-padded.fa.gz", shared_data / "real/peaks" / name
    options = {"length": 200, "targets": [gf.targets.before_activation()], "shard_size": 16384}
    gf.scan.attribute_regions(model, shared_data / "real/genome" / genome, path, tmp_path / "out", **options)
    found = gf.scan.Attributions(tmp_path / "out")
    with gzip.open(path, "rt") as lines:
        peaks = [line.split("\t") for line in lines]
    wanted = []
    for chrom, start, _, *rest in peaks:
        first = int(start) + int(rest[6]) - 100
        n_known = min(first + 200, 11_095_000) - max(first, 9_995_000)
        wanted.append("contig_missing" if chrom != "chr20" else "ok" if n_known >= 190 else "n_in_window")
    assert found.regions["status"].to_pylist() == wanted
    assert len(wanted) == n_peaks
    assert wanted.count("ok") == n_inside
    rows = np.flatnonzero(np.array(wanted) == "ok")
    x = gf.sequences.one_hot(found.codes(rows), np.float32, axis=1)
    expected = gf.hooks.torch.saliency(model, x, target=gf.targets.before_activation())
    np.testing.assert_allclose(found.maps(rows), expected, rtol=2e-3, atol=1e-5 * np.abs(expected).max())


def test_real_peaks_lie_on_the_letters_that_they_should(shared_data: Path, tmp_path: Path) -> None:
    """The piece of hg38 is named chr22 and begins at 32,000,000, so that peaks are moved."""
    first = 32_000_000
    lines = (shared_data / "real/peaks/hg38.ATAC.pbmc_granulocyte_sorted_3k_peaks.bed").read_text().splitlines()
    peaks = [line.split("\t") for line in lines if line.startswith("chr22\t")]
    moved = [("chr22", int(start) - first, int(stop) - first) for _, start, stop, *_ in peaks]
    inside = [(name, start, stop) for name, start, stop in moved if start >= 0 and stop <= 300_000]
    assert len(inside) == 21
    path = shared_data / "real/genome/hg38_chr22_32000000_32300000.fa"
    model = models.torch_model(*models.load(shared_data, "deepstarr")).eval()
    gf.scan.attribute_regions(model, path, inside, tmp_path / "out", length=249, targets=[0, 1])
    found = gf.scan.Attributions(tmp_path / "out")
    assert found.regions["status"].to_pylist() == ["ok"] * 21
    letters = path.read_text().split("\n", 1)[1].replace("\n", "").upper()
    starts = [(start + stop) // 2 - 124 for _, start, stop in inside]
    assert gf.sequences.decode(found.codes(np.arange(21))) == [letters[start : start + 249] for start in starts]
    assert found.maps(np.arange(21)).shape == (21, 2, 4, 249)

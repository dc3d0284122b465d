"""Attributions of regions in other formats: what other programs read is what was attributed."""

import errno
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from gradcorr_fast.io import maps
from tests.conftest import require

torch = pytest.importorskip("torch")
pytest.importorskip("zarr")
pytestmark = pytest.mark.filterwarnings("ignore:.* records lie on contigs", "ignore:.* are not (scored|attributed)")

LENGTH = 30
GENOME = {name: "".join(np.random.default_rng(k).choice(list("ACGT"), 600)) for k, name in enumerate(("chr1", "chr2"))}
GENOME["chr1"] = GENOME["chr1"][:100] + "NN" + GENOME["chr1"][102:]
PLACES = ["2 300", "chr1 95", "chr7 5", "chr1 104", "chr1 110", "chr2 2", "chr1 4000", "chr1 400"]
REGIONS = "".join(
    f"{chrom}\t{start}\t{int(start) + 9}\tpeak{k}\n" for k, (chrom, start) in enumerate(map(str.split, PLACES))
)
IS_OK = np.array([True, True, False, True, True, True, False, True])


class Network(torch.nn.Module):
    """Two outputs, not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.sin(torch.arange(8.0 * LENGTH)).reshape(2, 4, LENGTH))

    def forward(self, x: Any) -> Any:
        return torch.tanh(torch.einsum("nal,tal->nt", x, self.weight) / 9)


@pytest.fixture(scope="module", params=[1, 2])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one target, and one with two."""
    folder = tmp_path_factory.mktemp("scan")
    (folder / "regions.bed").write_text(REGIONS)
    options: Any = {"targets": list(range(request.param)), "length": LENGTH, "shard_size": 3, "max_n": 0.1}
    gf.scan.attribute_regions(Network(), GENOME, folder / "regions.bed", folder / "out", **options)
    found = gf.scan.Attributions(folder / "out")
    assert (np.array(found.regions["status"].to_pylist()) == "ok").tolist() == IS_OK.tolist()
    return folder / "out"


def chosen(store: Path) -> tuple[int | None, Any, Any, Any]:
    """The last target, and sequences, maps and windows of the regions that were attributed."""
    found = gf.scan.Attributions(store)
    rows, target = np.flatnonzero(IS_OK), len(found.targets) - 1
    placed = found.regions.take(rows).to_pylist()
    windows = [(row["contig"], row["window_start"], row["window_start"] + LENGTH) for row in placed]
    return (target or None), found.codes(rows), found.maps(rows, target), windows


def check_peaks(path: Path) -> None:
    """The narrowPeak names the regions of the rows, and its summits the centres of the windows."""
    fields = [line.split("\t") for line in path.read_text().splitlines()]
    assert [f[3] for f in fields] == [f"peak{k}" for k in np.flatnonzero(IS_OK)]
    assert [f[0] for f in fields] == ["chr2", "chr1", "chr1", "chr1", "chr2", "chr1"]
    assert {len(f) for f in fields} == {10}
    assert {f[9] for f in fields} == {"4"}


def test_hdf5_has_the_layout_of_chrombpnet(store: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    target, codes, values, _ = chosen(store)
    files = gf.scan.export(store, tmp_path / "run.h5", format="hdf5", target=target)
    assert files == [tmp_path / "run.h5", tmp_path / "run.regions.narrowPeak"]
    with h5py.File(files[0]) as file:
        found = {name: file[name][:] for name in ("raw/seq", "shap/seq", "projected_shap/seq")}
    one_hot = gf.sequences.one_hot(codes, np.int8, axis=1)
    np.testing.assert_array_equal(found["raw/seq"], one_hot)
    np.testing.assert_array_equal(found["shap/seq"], values)
    np.testing.assert_array_equal(found["projected_shap/seq"], values * one_hot)
    check_peaks(files[1])


def test_finemo_reads_the_hdf5_with_its_peaks(store: Path, tmp_path: Path) -> None:
    data_io = pytest.importorskip("finemo.data_io", reason="Fi-NeMo is not installed")
    target, codes, values, _ = chosen(store)
    contributions, peaks = gf.scan.export(store, tmp_path / "run.h5", format="hdf5", target=target)
    found = data_io.load_regions_from_chrombpnet_h5([str(contributions)], LENGTH // 2)
    np.testing.assert_array_equal(found[0], gf.sequences.one_hot(codes, np.int8, axis=1))
    np.testing.assert_allclose(found[1], values, rtol=1e-3)
    table = data_io.load_peaks(str(peaks), None, LENGTH // 2)
    first = table["peak_region_start"].to_numpy()
    order = np.argsort(table["peak_id"].to_numpy())
    assert first[order].tolist() == [start for _, start, _ in chosen(store)[3]]


def test_the_modisco_pair_has_its_layout(store: Path, tmp_path: Path) -> None:
    target, codes, values, _ = chosen(store)
    files = gf.scan.export(store, tmp_path / "my.run", format="modisco", target=target)
    assert [path.name for path in files] == ["my.run.ohe.npz", "my.run.attr.npz", "my.run.regions.narrowPeak"]
    np.testing.assert_array_equal(np.load(files[0])["arr_0"], gf.sequences.one_hot(codes, np.int8, axis=1))
    np.testing.assert_array_equal(np.load(files[1])["arr_0"], values)
    check_peaks(files[2])


def test_maps_before_the_correction_are_exported_where_they_are_kept(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_uncorrected=True"):
        gf.scan.export(store, tmp_path / "out", format="modisco", target=0, corrected=False)
    regions, options = [("chr2", 300, 309)], {"length": LENGTH, "keep_uncorrected": True}
    gf.scan.attribute_regions(Network(), GENOME, regions, tmp_path / "kept", targets=[0], **options)
    gf.scan.export(tmp_path / "kept", tmp_path / "out", format="modisco", corrected=False)
    with np.load(tmp_path / "out.attr.npz") as file:
        found = file["arr_0"]
    np.testing.assert_array_equal(found, gf.scan.Attributions(tmp_path / "kept").maps([0], corrected=False))
    assert np.abs(found.sum(1)).max() > 1e-3


def test_modisco_finds_a_planted_motif_in_an_exported_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("modiscolite")
    require("h5py")
    import h5py

    motif, rng, length = "TGACTCATGC", np.random.default_rng(1), 120
    letters = rng.choice(list("ACGT"), 110 * length)
    for start in range(0, len(letters), length):
        place = start + rng.integers(35, 55)
        letters[place : place + len(motif)] = list(motif)
    kernel = gf.sequences.one_hot(gf.sequences.encode([motif]), np.float32, axis=1)
    weights = torch.from_numpy(kernel + rng.normal(0, 0.1, kernel.shape).astype(np.float32))

    noise = torch.from_numpy(rng.normal(0, 0.02, (4, length)) + rng.normal(0, 1, length)).float()

    def model(x: Any) -> Any:
        """Sees the motif; noise in the gradient differs little between letters, and much between positions."""
        return (torch.relu(torch.nn.functional.conv1d(x, weights) - 6).sum((1, 2)) + (x * noise).sum((1, 2)))[:, None]

    regions = [("chr1", start, start + length) for start in range(0, len(letters), length)]
    gf.scan.attribute_regions(model, {"chr1": "".join(letters)}, regions, tmp_path / "out", length=length)
    gf.scan.export(tmp_path / "out", tmp_path / "run", format="modisco")
    words = shlex.split(capsys.readouterr().out)
    subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], check=True, capture_output=True, timeout=300)
    with h5py.File(tmp_path / "run.modisco.h5") as file:
        found = file["pos_patterns/pattern_0/contrib_scores"][:]  # of the most seqlets
    where = found.sum(1) > 0.3
    assert gf.sequences.decode(found[where].argmax(1)) in (motif, "GCATGAGTCA")


def tracks(store: Path, overlap: str) -> dict[tuple[str, int], float]:
    """Corrected gradient of the observed letter at every position, position by position."""
    _, codes, values, windows = chosen(store)
    found = defaultdict(list)
    for (contig, start, _), sequence, one in zip(windows, codes, values, strict=True):
        for k, code in enumerate(sequence):
            if code < 4:
                found[contig, start + k].append(one[code, k])
    merge: Any = {"mean": np.mean, "max": np.max, "first": lambda each: each[0]}[overlap]
    return {place: float(merge(each)) for place, each in found.items()}


def read_pybigtools(path: Path) -> Iterator[tuple[tuple[str, int], float]]:
    file = pytest.importorskip("pybigtools").open(str(path))
    for contig in file.chroms():
        for start, stop, value in file.records(contig):
            yield from (((contig, k), value) for k in range(start, stop))


def read_pybigwig(path: Path) -> Iterator[tuple[tuple[str, int], float]]:
    file = pytest.importorskip("pyBigWig").open(str(path))
    for contig in file.chroms():
        for start, stop, value in file.intervals(contig) or ():
            yield from (((contig, k), value) for k in range(start, stop))


@pytest.mark.parametrize("overlap", ["mean", "max", "first"])
@pytest.mark.parametrize("read", [read_pybigtools, read_pybigwig])
def test_a_bigwig_has_the_observed_letters_attribution(store: Path, tmp_path: Path, overlap: str, read: Any) -> None:
    require("pyBigWig")
    target = chosen(store)[0]
    gf.scan.export(store, tmp_path / "run.bw", format="bigwig", target=target, overlap=overlap)
    found, wanted = dict(read(tmp_path / "run.bw")), tracks(store, overlap)
    assert found.keys() == wanted.keys()  # without N, and within the contig
    np.testing.assert_allclose([found[place] for place in wanted], list(wanted.values()), rtol=1e-6, atol=1e-9)


def test_maps_of_the_minus_strand_lie_in_the_order_of_the_genome(tmp_path: Path) -> None:
    """In a bigWig, whose positions are the genome's; the store and the other formats have the reverse complement."""
    require("pybigtools")
    (tmp_path / "peaks.bed").write_text("chr1\t200\t209\tpeak\t0\t-\n")
    gf.scan.attribute_regions(Network(), GENOME, tmp_path / "peaks.bed", tmp_path / "out", length=LENGTH, targets=[0])
    gf.scan.export(tmp_path / "out", tmp_path / "run.bw", format="bigwig")
    gf.scan.export(tmp_path / "out", tmp_path / "run", format="modisco")
    found = gf.scan.Attributions(tmp_path / "out")
    (start,) = found.regions["window_start"].to_pylist()
    codes = gf.sequences.reverse_complement(gf.sequences.encode(GENOME["chr1"][start : start + LENGTH]))
    np.testing.assert_array_equal(found.codes([0])[0], codes)
    observed = found.maps([0])[0][codes, np.arange(LENGTH)][::-1]
    track = dict(read_pybigtools(tmp_path / "run.bw"))
    np.testing.assert_allclose([track["chr1", start + k] for k in range(LENGTH)], observed, rtol=1e-6)
    assert (tmp_path / "run.regions.narrowPeak").read_text().split("\t")[5] == "-"


def test_the_table_has_every_region_with_predictions_and_angles(store: Path, tmp_path: Path) -> None:
    gf.scan.export(store, tmp_path / "run.parquet", format="parquet")
    table, found = pq.read_table(tmp_path / "run.parquet"), gf.scan.Attributions(store)
    suffixes = [f":{name}" for name in found.targets] if len(found.targets) > 1 else [""]
    names = ["prediction", "angle_share_above_30", "angle_share_above_45", "angle_share_above_60", "angle_mean"]
    assert table.column_names[12:] == [f"{name}{s}" for s in suffixes for name in [*names, "angle_std"]]
    assert table.select(table.column_names[:12]).equals(found.regions)
    every = np.arange(len(IS_OK))
    for k, suffix in enumerate(suffixes):
        columns = [found.read("prediction", every, k), *found.read("angle_summary", every, k).T]
        for name, wanted in zip([*names, "angle_std"], columns, strict=True):
            column = table[f"{name}{suffix}"]
            assert [value is not None for value in column.to_pylist()] == IS_OK.tolist()
            np.testing.assert_array_equal(np.array(column.to_pylist(), np.float32), wanted)


def test_no_more_than_a_block_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is at least a chunk of the store, which here is a shard."""
    monkeypatch.setattr(maps, "BLOCK", 1 << 16)
    regions = [("chr1", 200 + k % 90, 201 + k % 90) for k in range(3000)]
    gf.scan.attribute_regions(Network(), GENOME, regions, tmp_path / "out", length=LENGTH)
    read, sizes = gf.scan.Attributions.read, []

    def counted(self: Any, name: str, rows: Any, *rest: Any) -> Any:
        sizes.append(len(rows))
        return read(self, name, rows, *rest)

    monkeypatch.setattr(gf.scan.Attributions, "read", counted)
    gf.scan.export(tmp_path / "out", tmp_path / "run", format="modisco")
    gf.scan.export(tmp_path / "out", tmp_path / "run.bw", format="bigwig")
    assert sum(sizes) > 4 * 3000
    assert max(sizes) == 1024


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "csv"}, ValueError, "format must be one of modisco, hdf5, bigwig, parquet"),
        ({"format": "hdf5", "target": "7"}, ValueError, r"the store has the targets index\(0\).*; got '7'"),
        ({"format": "hdf5", "target": 2}, ValueError, r"choose one, target=\.\.\.; got 2"),
        ({"format": "bigwig", "overlap": "median", "target": 0}, ValueError, "end it with .bw or .bigwig"),
    ],
)
def test_wrong_calls_are_explained(
    store: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gf.scan.export(store, tmp_path / "run.h5", **options)
    assert not list(tmp_path.iterdir())


def test_files_that_exist_are_not_replaced_unasked(store: Path, tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"run.h5 exists already; force=True"):
        gf.scan.export(store, tmp_path / "run.h5", format="hdf5", target=0)
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]
    assert (tmp_path / "run.h5").read_text() == "years of work"


NETS = """
import torch
from tests.test_export import Network

class Picky(Network):
    def forward(self, x):
        found = super().forward(x)
        return torch.where(found > found.median(), torch.nan, found)
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call the command in a folder with nets.py, genome.fa and regions.bed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    Path("nets.py").write_text(NETS)
    Path("genome.fa").write_text("".join(f">{name}\n{letters}\n" for name, letters in GENOME.items()))
    Path("regions.bed").write_text(REGIONS)

    def run(command: str, *arguments: str, model: str = "nets:Network") -> Any:
        inputs = ["-m", model, "-f", "genome.fa", "-r", "regions.bed", "-o", "out", "--length", "30", "--max-n", "0.1"]
        given = inputs if command == "attribute" else []
        return CliRunner().invoke(main, [command, *given, *arguments], catch_exceptions=False)

    return run


def test_regions_are_attributed_in_shares_told_of_and_exported(call: Any) -> None:
    first = call("attribute", "--shard-size", "3", "--shard", "1/2", "-t", "0", "-t", "mean()")
    assert (first.exit_code, first.stdout) == (0, "2 of 3 shards are done; merge out joins them when all are\n")
    assert "5 of 5 regions (100.0%)" in first.stderr
    assert call("status", "out").stdout.startswith("2 of 3 shards done, 0 at work")
    assert call("export", "out", "-o", "x", "--format", "modisco").exit_code == 2
    done = call("attribute", "--shard-size", "3", "--resume", "-t", "0", "-t", "mean()", "--quiet")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["out/regions.parquet"], ["ok", "6"], ["contig_missing", "1"], ["out_of_bounds", "1"]
    ]  # fmt: skip
    assert call("merge", "out").stdout.startswith("out/regions.parquet\n")
    told = call("info", "out").stdout
    assert "Regions of regions.bed (digest " in told
    assert "Of 8 regions, 6 were attributed; not attributed were 1 on a contig that the genome lacks and 1 at" in told
    assert "Attributions are gradients of index(0) and mean(). Gradients were corrected" in told
    assert "; they lay more than 30 degrees off the simplex at" in told
    written = call("export", "out", "-o", "run.bw", "--format", "bigwig", "--target", "mean()", "--overlap", "max")
    assert (written.exit_code, written.stdout) == (0, "run.bw\n"), written.stderr


def test_methods_have_their_options(call: Any) -> None:
    options = ["--method", "smoothgrad", "--n-samples", "3", "--kind", "mutation", "--rate", "0.2", "--seed", "5"]
    assert call("attribute", *options, "--dtype", "float32", "--quiet").exit_code == 0
    found = gf.scan.Attributions("out")
    rows = np.flatnonzero(IS_OK)
    x = gf.sequences.one_hot(found.codes(rows), np.float32, axis=1)
    given: dict[str, Any] = {"n_samples": 3, "kind": "mutation", "rate": 0.2, "random_state": 5}
    np.testing.assert_allclose(found.maps(rows), gf.hooks.torch.smoothgrad(Network(), x, **given), rtol=1e-4, atol=1e-7)
    assert "SmoothGrad of index(0) with n_samples 3, kind mutation and rate 0.2" in call("info", "out").stdout


def test_regions_on_which_the_model_fails_end_in_the_exit_status(call: Any) -> None:
    done = call("attribute", "--quiet", model="nets:Picky")
    assert done.exit_code == 1
    assert "model_failed" in done.stdout
    assert "NaN or infinity" in done.stderr


def test_a_full_disk_ends_with_status_1_and_says_how_to_go_on(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gradcorr_fast.scan.running.attributed.write_store_shard", fill)
    done = call("attribute", "--quiet")
    assert done.exit_code == 1
    assert "the same call with --resume goes on" in done.stderr
    assert done.stderr.splitlines()[-1] == "Error: [Errno 28] No space left on device"
    assert call("status", "out").stdout.startswith("0 of 1 shards done, 0 at work")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard-size", "0"], "positive number"),
        (["--n-steps", "3"], "n_steps"),
        (["--method", "deepshap"], "deepshap"),
        (["--target", "best"], "is not a target"),
        (["--resume", "-o", "out.parquet"], "attributions are a folder"),
    ],
)
def test_wrong_calls_end_with_status_2(call: Any, arguments: list[str], message: str) -> None:
    done = call("attribute", "--quiet", *arguments)
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert not Path("out/run.json").exists()


@pytest.mark.parametrize(("name", "format"), [("x.tsv", "parquet"), ("x", "hdf5"), ("x.h5", "bigwig")])
def test_a_suffix_that_says_another_format_is_refused(store: Path, tmp_path: Path, name: str, format: str) -> None:  # noqa: A002
    with pytest.raises(ValueError, match=f"{name} does not say that it is {format}; end it with"):
        gf.scan.export(store, tmp_path / name, format=format, target=0)
    assert not list(tmp_path.iterdir())

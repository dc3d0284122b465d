"""Regions in every form: where their windows lie, what becomes of each, and what is refused."""

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gradcorr_fast as gf
from tests import models
from tests.region_scans import EVERY, LENGTH, REGIONS, cut, genome_fasta, one_thread, scan  # noqa: F401 - fixtures

torch = pytest.importorskip("torch")
pytest.importorskip("zarr")
pytestmark = pytest.mark.filterwarnings("ignore:.* records lie on contigs", "ignore:.* are not (scored|attributed)")

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
    with pytest.raises(ValueError, match=r"line 1 of .*b.narrowPeak: .* a tenth column of ten is a summit"):
        scan(fasta, tmp_path / "other", tmp_path / "b.narrowPeak")


def test_a_line_that_is_no_region_is_a_row_of_the_scan(fasta: Path, tmp_path: Path) -> None:
    """One such line ended a scan of thousands; the row tells which it is."""
    lines = [f"{chrom}\t{start}\t{stop}\n" for chrom, start, stop in REGIONS[:4]]
    (tmp_path / "peaks.bed").write_text("".join([*lines[:2], "chr1\tNA\t70\n", *lines[2:]]))
    scan(fasta, tmp_path / "out", tmp_path / "peaks.bed")
    regions = gf.scan.Attributions(tmp_path / "out").regions
    assert regions["status"].to_pylist() == ["ok", "ok", "unreadable", "ok", "ok"]
    assert regions["name"][2].as_py().startswith(f"line 3 of {tmp_path / 'peaks.bed'}: chr1 NA 70")


def test_regions_in_any_order_and_twice_have_their_own_rows(fasta: Path, tmp_path: Path) -> None:
    order = [18, 3, 7, 3, 0, 3]
    found = scan(fasta, tmp_path / "out", [REGIONS[k] for k in order], shard_size=4)
    np.testing.assert_array_equal(gf.sequences.one_hot(found.codes(np.arange(6)), np.float32, 1), cut()[order])
    maps = scan(fasta, tmp_path / "sorted").maps(EVERY)[order]
    np.testing.assert_allclose(found.maps(np.arange(6)), maps, rtol=1e-3, atol=1e-6)


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
        ({"length": 22}, ValueError, r"fails on random sequences of length 22 .* length=\.\.\. and axis="),
        ({"regions": ["chr8:1-2"]}, ValueError, r"has no contig of the regions \(chr8\)"),
        ({"regions": pa.table({"chrom": ["chr1"]})}, ValueError, "has no column start, stop"),
        ({"regions": [*REGIONS[:1], ("chr1", 9, 5), None]}, ValueError, r"such as region 1: \('chr1', 9, 5\)"),
        ({"regions": pa.table({"chrom": ["1"], "start": [-2], "end": [5]})}, ValueError, "row 0: 1 -2 5"),
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

"""Genomes in FASTA files: what is read is what is there, through any index, in any order and from any thread."""

import gzip
import hashlib
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcorr_fast.scan.inputs import genome as genome_module
from gradcorr_fast.scan.inputs.genome import Genome
from gradcorr_fast.sequences import encode
from tests.fasta import compress, write_fasta

pysam = pytest.importorskip("pysam")

_random = np.random.default_rng(0).choice(list("ACGTacgtNnRy"), 5000, p=[0.11] * 8 + [0.03] * 4)
CONTIGS = {"chr1": "".join(_random[:3001]), "chr2": "ACGTN", "chrM": "".join(_random[3001:])}


def expected(letters: str, start: int, stop: int) -> np.ndarray:
    padded = "N" * max(0, -start) + letters[max(0, start) : max(0, stop)]
    return encode(padded[: max(0, stop - start)].ljust(max(0, stop - start), "N"))


@pytest.fixture(name="fasta", params=["plain", "windows newlines", "one line", "bgzip"], scope="module")
def _fasta(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    width = 10_000 if request.param == "one line" else 60
    write_fasta(path, CONTIGS, width, "\r\n" if request.param == "windows newlines" else "\n")
    return compress(path) if request.param == "bgzip" else path


@given(contig=st.sampled_from(sorted(CONTIGS)), start=st.integers(-80, 3100), length=st.integers(-5, 3100))
def test_any_part_equals_the_text_and_is_unknown_beyond_its_ends(
    fasta: Path, contig: str, start: int, length: int
) -> None:
    codes = Genome(fasta).codes(contig, start, start + length)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, expected(CONTIGS[contig], start, start + length))


_starts = st.lists(st.integers(-120, 3100), max_size=20)


@given(
    contigs=st.tuples(st.sampled_from(sorted(CONTIGS)), st.sampled_from(sorted(CONTIGS))),
    before=_starts,
    starts=_starts,
    length=st.integers(0, 200),
    slice_bp=st.sampled_from([1, 50, 1000, 1 << 24]),
    gap_bp=st.sampled_from([1, 300, 1 << 16]),
)
def test_windows_in_any_order_equal_the_text_whatever_is_kept_from_before(
    fasta: Path, contigs: tuple[str, str], before: list[int], starts: list[int], length: int, slice_bp: int, gap_bp: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, Genome(fasta, slice_bp=slice_bp) as genome:
        patch.setattr(genome_module, "GAP_BP", gap_bp)
        genome.windows(contigs[0], before, length)
        windows, counts = (f(contigs[1], starts, length) for f in (genome.windows, genome.count_unknown))
    letters = CONTIGS[contigs[1]]
    wanted = [expected(letters, start, start + length) for start in starts]
    np.testing.assert_array_equal(windows, np.array(wanted, np.uint8).reshape(len(starts), length))
    inside = [expected(letters, max(0, start), min(start + length, len(letters))) for start in starts]
    assert counts.tolist() == [np.count_nonzero(codes == 255) for codes in inside]


def test_contigs_keep_the_order_of_the_file(fasta: Path) -> None:
    assert list(Genome(fasta).lengths.items()) == [(name, len(letters)) for name, letters in CONTIGS.items()]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("chr1", "chr1"), ("1", "chr1"), ("CHR2", "chr2"), ("MT", "chrM"), ("M", "chrM"), ("chrMT", "chrM"),
        ("3", None), ("", None), ("NC_000001.11", None),
    ],
)  # fmt: skip
def test_contigs_are_found_by_their_other_names(fasta: Path, name: str, found: str | None) -> None:
    assert Genome(fasta).resolve(name) == found


def test_the_exact_name_comes_first(tmp_path: Path) -> None:
    genome = Genome(write_fasta(tmp_path / "both.fa", {"chr1": "A", "1": "C", "MT": "G"}))
    assert [genome.resolve(name) for name in ("1", "chr1", "chrM")] == ["1", "chr1", "MT"]


def test_similar_names_are_suggested(fasta: Path) -> None:
    assert Genome(fasta).suggest("chr11").startswith("chr1")
    assert Genome(fasta).suggest("NC_000020.10") == "chr1, chr2, chrM"


@pytest.mark.parametrize("kind", ["plain", "bgzip"])
def test_a_missing_index_is_written_beside_the_genome_and_nothing_else(tmp_path: Path, kind: str) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    path = compress(path) if kind == "bgzip" else path
    Genome(path)
    indices = [".fai", ".gzi"] if kind == "bgzip" else [".fai"]
    assert {p.name for p in tmp_path.iterdir()} == {path.name, *(path.name + suffix for suffix in indices)}
    assert not (tmp_path / f"{path.name}.fai").read_text().startswith(">")


@pytest.mark.parametrize("kind", ["plain", "bgzip"])
def test_a_folder_that_cannot_be_written_stays_as_it_is(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    path = compress(path) if kind == "bgzip" else path
    monkeypatch.setattr(os, "access", lambda folder, mode: False)  # what a folder says that is read-only
    np.testing.assert_array_equal(Genome(path).codes("chr1", 0, 100), encode(CONTIGS["chr1"][:100]))
    assert list(tmp_path.iterdir()) == [path]


def test_gzip_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(gzip.compress(b">chr1\nACGT\n"))
    with pytest.raises(ValueError, match=r"gunzip genome.fa.gz && bgzip genome.fa$"):
        Genome(path)


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("cut", [28, 900])
def test_a_genome_of_bgzip_that_is_cut_short_is_refused(tmp_path: Path, cut: int, with_index: bool) -> None:
    path = compress(write_fasta(tmp_path / "genome.fa", CONTIGS))
    if with_index:
        Genome(path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"cut short.*; fetch it again"):
        Genome(path)


def test_a_damaged_block_of_bgzip_is_an_error(tmp_path: Path) -> None:
    path = compress(write_fasta(tmp_path / "genome.fa", CONTIGS))
    content = bytearray(path.read_bytes())
    content[500:600] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged: .* fetch it again"):
        Genome(path)


@pytest.mark.parametrize("content", ["", "no fasta\n", ">chr1\nACGT\nACGTA\nAC\n"])
def test_what_is_no_fasta_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "genome.fa"
    path.write_text(content)
    with pytest.raises(ValueError, match="FASTA"):
        Genome(path)


def test_a_genome_that_is_missing_or_sliced_into_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Genome(tmp_path / "no.fa")
    with pytest.raises(ValueError, match="slice_bp is 0"):
        Genome(write_fasta(tmp_path / "genome.fa", CONTIGS), slice_bp=0)


def test_threads_share_a_genome(fasta: Path) -> None:
    """A handle of htslib has a position: shared by threads it gives wrong letters, not an error."""
    genome = Genome(fasta, slice_bp=64)
    starts = np.arange(0, 2900, 7)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: genome.windows("chr1", [start], 90)[0], starts))
    np.testing.assert_array_equal(found, [expected(CONTIGS["chr1"], start, start + 90) for start in starts])


def test_a_closed_genome_is_opened_again_when_it_is_read(fasta: Path) -> None:
    genome = Genome(fasta)
    genome.close()
    np.testing.assert_array_equal(genome.codes("chr1", 5, 50), expected(CONTIGS["chr1"], 5, 50))


def test_a_pickled_genome_reads_on(fasta: Path) -> None:
    with Genome(fasta, slice_bp=123) as genome:
        genome.codes("chr1", 0, 9)
        again = pickle.loads(pickle.dumps(genome))
    assert (again.slice_bp, again.lengths) == (123, genome.lengths)
    np.testing.assert_array_equal(again.codes("chr1", 5, 50), genome.codes("chr1", 5, 50))


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    genome = Genome(path)
    assert genome.digest() == genome.digest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_chromosome_20_of_hg19_lies_where_its_notes_say(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "hg19.fa.gz"
    path.symlink_to(shared_data / "real/genome/hg19.chr20.9995000-11095000.N-padded.fa.gz")
    genome = Genome(path)
    assert genome.lengths == {"chr20": 63_025_520}
    chunk = genome.codes("chr20", 9_994_000, 11_096_000)
    np.testing.assert_array_equal(np.flatnonzero(np.diff(chunk == 255)) + 1, [1000, 1_101_000])
    assert genome.count_unknown("chr20", [9_994_990, 9_995_000], 20).tolist() == [10, 0]


def test_ctcf_peaks_equal_the_genome(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "hg19.fa.gz"
    path.symlink_to(shared_data / "real/genome/hg19.chr20.9995000-11095000.N-padded.fa.gz")
    peaks = pysam.FastxFile(str(shared_data / "real/peaks/ctcf.fa.gz"))
    places = [(*map(int, p.name.split(":")[1].split("-")), p.sequence) for p in peaks if p.name.startswith("chr20:")]
    here = [(start, letters) for start, stop, letters in places if start >= 9_995_000 and stop <= 11_095_000]
    windows = Genome(path).windows("chr20", [start for start, _ in here], 100)
    assert len(here) > 10
    np.testing.assert_array_equal(windows, encode([letters for _, letters in here]))

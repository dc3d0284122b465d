"""Genomes that are not what their index says, or no longer what they were: right letters or an error, never others."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradcorr_fast.scan.inputs import bgzip, faidx
from gradcorr_fast.scan.inputs.genome import Genome
from gradcorr_fast.sequences import encode
from tests.fasta import compress, write_fasta

pysam = pytest.importorskip("pysam")

_rng = np.random.default_rng(0)
CONTIGS = {
    name: "".join(_rng.choice(list("ACGTacgtN"), n)) for name, n in [("chr1", 3001), ("chr2", 5), ("chrM", 1999)]
}
LARGE = {name: "".join(_rng.choice(list("ACGT"), n)) for name, n in [("chr1", 150_000), ("chr2", 90_000), ("chr3", 61)]}
STALE = pytest.mark.filterwarnings("ignore:.*did not fit")


def letters_of(genome: Genome) -> dict[str, bytes]:
    return {name: genome.codes(name, 0, length).tobytes() for name, length in genome.lengths.items()}


def right(contigs: dict[str, str]) -> dict[str, bytes]:
    return {name: encode(letters).tobytes() for name, letters in contigs.items()}


def begin_later(path: Path, n_bytes: int) -> None:
    """Make the first header longer, as the source of a stale index did."""
    path.write_bytes(path.read_bytes().replace(b"some words", b"some words" + b"x" * n_bytes, 1))


def swap(path: Path) -> None:
    write_fasta(path, dict(reversed(CONTIGS.items())))


def swap_names(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b">chr1 ", b">chr9 ").replace(b">chrM ", b">chr1 "))


def wrap_otherwise(path: Path) -> None:
    write_fasta(path, CONTIGS, 61)


def drop_a_letter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2] + b"\n")


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b">chr4\nACGT\n")


CHANGES: list[Callable[[Path], None]] = [
    *(lambda path, n=n: begin_later(path, n) for n in (1, 7, 60)),  # type: ignore[misc]
    swap, swap_names, wrap_otherwise, drop_a_letter, append,
]  # fmt: skip


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "bgzip"])
@pytest.mark.parametrize("is_older", [False, True], ids=["newer index", "older index"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_stale_index_is_made_anew_and_said_to_be(
    tmp_path: Path, change: Callable[[Path], None], is_older: bool, is_packed: bool
) -> None:
    """A header longer by 1 to 60 bytes gave other letters in 55 % of windows, with status ok, as the .fai stayed."""
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    pysam.faidx(str(compress(path) if is_packed else path))
    write_fasta(path, CONTIGS)
    change(path)
    fresh = {record.name: record.sequence for record in pysam.FastxFile(str(path))}
    path = compress(path) if is_packed else path
    index = path.with_name(f"{path.name}.fai")
    os.utime(index, ns=(0, 0) if is_older else (path.stat().st_mtime_ns + 10**9,) * 2)
    with pytest.warns(UserWarning, match=r"genome.fa(.gz)?.fai.* did not fit .*genome.fa(.gz)?: made anew$"):
        genome = Genome(path)
    assert letters_of(genome) == right(fresh)
    with warnings.catch_warnings(action="error"):
        assert letters_of(Genome(path)) == right(fresh)
    pysam.faidx(str(path), "--fai-idx", str(tmp_path / "other.fai"))
    assert index.read_bytes() == (tmp_path / "other.fai").read_bytes()


def test_a_stale_index_in_a_folder_that_cannot_be_written_is_made_anew_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    index = tmp_path / "genome.fa.fai"
    index.write_text("chr1\t10\n")
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.warns(UserWarning, match="made anew, in memory, since the folder cannot be written"):
        assert letters_of(Genome(path)) == right(CONTIGS)
    assert index.read_text() == "chr1\t10\n"


def test_an_index_that_is_older_but_right_is_kept_without_a_word(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    Genome(path)
    index = tmp_path / "genome.fa.fai"
    content = index.read_bytes()
    os.utime(index, ns=(0, 0))
    assert letters_of(Genome(path)) == right(CONTIGS)
    assert index.read_bytes() == content
    assert index.stat().st_mtime_ns > 0


def test_lines_that_make_up_for_each_other_are_seen_where_the_index_is_older(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    Genome(path)
    lines = path.read_bytes().split(b"\n")
    lines[5], lines[9] = lines[5] + b"A", lines[9][1:]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=r"contig 'chr1' has lines of different lengths"):
        Genome(path)


def mutate(content: bytes, seed: int) -> bytes:
    """Change, insert, remove or repeat a few bytes."""
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(len(changed)))
        kind = rng.integers(5)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.choice(list(b"0123456789")))
        elif kind == 2:
            changed.insert(at, int(rng.choice(list(b"0123456789\t\n-"))))
        elif kind == 3:
            del changed[at : at + int(rng.integers(1, 9))]
        else:
            changed[at:at] = changed[at : at + int(rng.integers(1, 40))]
        changed = changed or bytearray(b"0")
    return bytes(changed)


@pytest.fixture(name="genomes", scope="module")
def _genomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mutated")
    genomes = {"plain": write_fasta(folder / "plain.fa", CONTIGS)}
    genomes["bgzip"] = compress(write_fasta(folder / "packed.fa", LARGE))
    for path in genomes.values():
        pysam.faidx(str(path))
    return genomes


@STALE
@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize(("kind", "suffix"), [("plain", ".fai"), ("bgzip", ".fai"), ("bgzip", ".gzi")])
def test_a_mutated_index_never_gives_other_letters(genomes: dict[str, Path], kind: str, suffix: str, seed: int) -> None:
    """675 of 10,000 mutated .fai gave other letters."""
    index = genomes[kind].with_name(genomes[kind].name + suffix)
    content = index.read_bytes()
    index.write_bytes(mutate(content, seed))
    assert letters_of(Genome(genomes[kind])) == right(LARGE if kind == "bgzip" else CONTIGS)
    if suffix == ".fai":
        assert index.read_bytes() == content
    index.write_bytes(content)


FASTAS = {
    "lower case and IUPAC": b">a x\nacgtRYKM\nACGTN\n>b\nswbdhv-*\n",
    "windows": b">a x\r\nACGT\r\nAC\r\n>b\r\nA\r\n",
    "no last newline": b">a\nACGT\nAC",
    "no last newline in one line": b">a\nACGT",
    "windows, no last newline": b">a\r\nACGT\r\nAC",
    "blank lines": b"\n\n>a\nACGT\nA\n\n\n>b\nACGT\n\n",
    "an empty contig": b">a\n>b\nACGT\n>c\nAC\n",
    "a name after a space": b"> a of man\nACGT\n",
    "tabs": b">a\tlength=4\nACGT\nAC\n",
    "another alphabet": ">µ é\nACGT\n".encode(),
    "one letter": b">a\nA\n>b\nC\n>c\nGT\n",
    "lines of one letter": b">a\nA\nC\nG\nT\n>b\nT\nT\n",
    "mixed newlines at the end": b">a\nACGT\nACG\r\n>b\nAC\n",
}


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "bgzip"])
@pytest.mark.parametrize("part", [1, 3, 1 << 20])
@pytest.mark.parametrize("content", FASTAS.values(), ids=FASTAS)
def test_indices_are_those_of_samtools_and_fit(tmp_path: Path, content: bytes, part: int, is_packed: bool) -> None:
    path = tmp_path / "genome.fa"
    path.write_bytes(content)
    path = compress(path) if is_packed else path
    contigs = faidx.build((content[k : k + part] for k in range(0, len(content), part)), path)
    pysam.faidx(str(path))
    assert faidx.render(contigs) == path.with_name(f"{path.name}.fai").read_bytes()
    with pysam.FastaFile(str(path)) as file:
        assert letters_of(Genome(path)) == right({name: file.fetch(name) for name in file.references})


BROKEN = {
    "nothing": (b"", "names no contig"),
    "no name at the beginning": (b"ACGT\n>a\nAC\n", "does not begin with >"),
    "a mark of the order of bytes": (b"\xef\xbb\xbf>a\nACGT\n", "does not begin with >"),
    "names only": (b">a\n>b\n", "names no contig with letters"),
    "the end of a name": (b">a\nACGT\n>b", "ends in the name"),
    "no name": (b">a\nAC\n>\nGT\n", "has no name"),
    "two of a name": (b">a\nACGT\n>a x\nGGGG\n", "two contigs 'a'"),
    "a longer last line": (b">a\nACG\nACGT\n", "'a' has lines of different lengths"),
    "a shorter line": (b">a\nACGT\nAC\nACGT\n", "lines of different lengths"),
    "a blank line": (b">a\nACGT\n\nACGT\n", "lines of different lengths"),
    "a space": (b">a\nAC GT\nACGTA\n", "' ' among letters"),
    "a zero byte": (b">a\nACGT\nA\0GT\n", "among letters"),
    "UTF-16": (">a\nACGT\n".encode("utf-16"), "FASTA"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("part", [1, 2, 1 << 20])
def test_what_has_no_index_is_refused_with_a_reason(content: bytes, message: str, part: int) -> None:
    with pytest.raises(ValueError, match=f"genome.fa .*{message}"):
        faidx.build((content[k : k + part] for k in range(0, len(content), part)), Path("genome.fa"))


def test_a_contig_may_be_longer_than_32_bits_count(tmp_path: Path) -> None:
    path, length = tmp_path / "genome.fa", 2**31 + 5
    with open(path, "wb") as file:
        file.write(b">long\n")
        file.seek(6 + length - 4)
        file.write(b"ACGT\n>next\nTTTT\n")
    (tmp_path / "genome.fa.fai").write_text(
        f"long\t{length}\t6\t{length}\t{length + 1}\nnext\t4\t{length + 13}\t4\t5\n"
    )
    genome = Genome(path)
    assert genome.codes("long", length - 4, length + 1).tolist() == [0, 1, 2, 3, 255]
    assert genome.codes("next", 0, 4).tolist() == [3] * 4


def test_the_index_of_blocks_is_that_of_bgzip(tmp_path: Path) -> None:
    path = compress(write_fasta(tmp_path / "genome.fa", LARGE))
    Genome(path)
    index = tmp_path / "genome.fa.gz.gzi"
    content = index.read_bytes()
    pysam.faidx(str(path))
    assert content == index.read_bytes()


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\0" * 7, b"\1" + b"\0" * 23, b"\0" * 24])
def test_an_index_of_blocks_is_judged(content: bytes) -> None:
    blocks = bgzip.Blocks(np.array([0, 50, 78]), np.array([0, 9, 9]))
    assert bgzip.fits_gzi(content, blocks) == (content in (b"\0" * 8, b"\1" + b"\0" * 23))


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40] + b"G" * 39 + b"\n")


def truncate(path: Path) -> None:
    os.truncate(path, 50)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[:-40] + b"G" * 39 + b"\n")
    os.replace(other, path)


@pytest.mark.parametrize("has_digest", [False, True])
@pytest.mark.parametrize("change", [rewrite, truncate, replace, Path.unlink])
def test_a_genome_that_changes_is_an_error(tmp_path: Path, change: Callable[[Path], None], has_digest: bool) -> None:
    """A FASTA file rewritten during a scan gave other letters; one that was cut short ended it by SIGBUS."""
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    genome = Genome(path)
    if has_digest:
        genome.digest()
    genome.check_unchanged()
    change(path)
    with pytest.raises(ValueError, match=r"(changed|removed) since it was opened; put .*begin anew"):
        genome.check_unchanged()
    with pytest.raises(ValueError, match="since it was opened"):
        genome.digest()


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "bgzip"])
@pytest.mark.parametrize("change", [rewrite, truncate])
def test_letters_that_changed_are_not_read(tmp_path: Path, change: Callable[[Path], None], is_packed: bool) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    genome = Genome(compress(path) if is_packed else path)
    genome.codes("chr1", 0, 100)
    change(genome.path)
    with pytest.raises(ValueError, match="changed since it was opened"):
        genome.codes("chr1", 50, 2900)


def test_a_genome_that_was_replaced_is_not_opened_again(tmp_path: Path) -> None:
    genome = Genome(write_fasta(tmp_path / "genome.fa", CONTIGS))
    genome.close()
    replace(genome.path)
    with pytest.raises(ValueError, match="changed since it was opened"):
        genome.codes("chr1", 0, 9)


def touch(path: Path) -> None:
    os.utime(path)


def copy(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("change", [touch, copy, lambda path: os.chmod(path, 0o600)], ids=["touch", "copy", "chmod"])
def test_a_genome_of_the_same_digest_is_the_same(tmp_path: Path, change: Callable[[Path], None]) -> None:
    genome = Genome(write_fasta(tmp_path / "genome.fa", CONTIGS))
    digest = genome.digest()
    change(genome.path)
    genome.check_unchanged()
    assert letters_of(genome) == right(CONTIGS)
    assert genome.digest() == digest


def test_a_change_that_keeps_size_and_time_is_seen_by_the_digest(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "genome.fa", CONTIGS)
    genome = Genome(path)
    genome.digest()
    status = path.stat()
    rewrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ValueError, match="changed since it was opened"):
        genome.check_unchanged()

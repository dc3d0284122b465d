"""Lists of variants: every kind of input gives the same rows, and what is damaged is told."""

import bz2
import gzip
import io
import lzma
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pysam")

from gradcorr_fast.scan.inputs import variant_files  # noqa: E402
from gradcorr_fast.scan.inputs.variants import SCHEMA, read_variants  # noqa: E402

RECORDS = [  # chrom, pos, id, ref, alt
    ("chr2", 500, "rs1", "A", "G"),
    ("chr1", 7, None, "ac", "a,ACC,*"),
    ("chr1", 7, "rs2;rs3", "T", None),
    ("X", 1, None, "N", "<DEL>"),
    ("chr1", 9, None, "C", "C[chr2:321["),
    ("chr2", 400, "rs1", "G", "A"),
]
ALLELES = [
    (0, 0, "chr2", 500, "rs1", "A", "G"),
    (1, 0, "chr1", 7, None, "ac", "a"),
    (1, 1, "chr1", 7, None, "ac", "ACC"),
    (1, 2, "chr1", 7, None, "ac", "*"),
    (2, 0, "chr1", 7, "rs2;rs3", "T", None),
    (3, 0, "X", 1, None, "N", "<DEL>"),
    (4, 0, "chr1", 9, None, "C", "C[chr2:321["),
    (5, 0, "chr2", 400, "rs1", "G", "A"),
]
HEADER = (
    '##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description="">\n##INFO=<ID=END,Number=1,Type=Integer,Description="">\n'
    + "".join(f"##contig=<ID={name},length=1000>\n" for name in ("chr1", "chr2", "X"))
)
FORMAT = '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'


def rows_of(source: Any, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for batch in read_variants(source, **options) for row in batch.to_pylist()]


def dots(fields: tuple[Any, ...]) -> list[str]:
    return ["." if field is None else str(field) for field in fields]


def vcf(records: list[tuple[Any, ...]] = RECORDS, samples: tuple[str, ...] = ("one", "two")) -> str:
    names = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines = ["\t".join([*dots(record), ".", ".", ".", "GT", *["0/1"] * len(samples)]) for record in records]
    return "".join(line + "\n" for line in [HEADER + FORMAT + "#" + "\t".join([*names, *samples]), *lines])


def table(delimiter: str, names: str) -> str:
    rows = [names.split(), *([alt, chrom, ref, id_, str(pos), "9"] for chrom, pos, id_, ref, alt in map(dots, RECORDS))]
    quote = '"{}"'.format if delimiter == "," else str
    return "".join(delimiter.join(map(quote, row)) + "\n" for row in rows)


def bgzip(path: Path, text: str) -> Path:
    import pysam

    with pysam.BGZFile(str(path), "wb") as file:
        file.write(text.encode())
    return path


def bcf(path: Path, text: str) -> Path:
    import pysam

    path.with_suffix(".vcf").write_text(text)
    with (
        pysam.VariantFile(str(path.with_suffix(".vcf"))) as given,
        pysam.VariantFile(str(path), "wb", header=given.header) as file,
    ):
        for record in given:
            file.write(record)
    return path


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def columns() -> dict[str, list[Any]]:
    return dict(
        zip(
            ("Chromosome", "POSITION", "rsID", "Reference", "alt_allele"),
            map(list, zip(*RECORDS, strict=True)),
            strict=True,
        )
    )


def frame(package: str) -> Any:
    return pytest.importorskip(package).DataFrame(columns())


SOURCES: dict[str, Callable[[Path], Any]] = {
    "VCF": lambda p: write(p / "v.vcf", vcf()),
    "VCF as text of a path": lambda p: str(write(p / "v.vcf", vcf())),
    "VCF without samples": lambda p: write(p / "v.vcf", vcf(samples=())),
    "VCF with windows newlines": lambda p: write(p / "v.vcf", vcf().replace("\n", "\r\n")),
    "VCF without the last newline": lambda p: write(p / "v.vcf", vcf().rstrip("\n")),
    "VCF of gzip": lambda p: write(p / "v.vcf.gz", gzip.compress(vcf().encode())),
    "VCF of bgzip": lambda p: bgzip(p / "v.vcf.gz", vcf()),
    "VCF whatever its name": lambda p: bgzip(p / "variants", vcf()),
    "BCF": lambda p: bcf(p / "v.bcf", vcf()),
    "tabs": lambda p: write(p / "v.tsv", "# made by hand\n\n" + table("\t", "ALT #CHROM REF ID POS beta")),
    "spaces": lambda p: write(p / "v.txt", table("  ", "alternate chr reference rsid position beta")),
    "commas and quotes": lambda p: write(p / "v.csv", table(",", "Alt_Allele seqnames Ref_Allele SNP bp beta")),
    "a mark of byte order": lambda p: write(p / "v.csv", table(",", "alt chr ref rsid pos beta").encode("utf-8-sig")),
    "a compressed table": lambda p: write(p / "v.csv.gz", gzip.compress(table(",", "alt chr ref id pos b").encode())),
    "PLINK 2": lambda p: write(
        p / "v.pvar",
        "##source=PLINK\n#CHROM\tPOS\tID\tREF\tALT\n" + "".join("\t".join(dots(r)) + "\n" for r in RECORDS),
    ),
    "PLINK 2 without header": lambda p: write(
        p / "v.pvar", "".join("\t".join((c, i, "0", p_, a, r)) + "\n" for c, p_, i, r, a in map(dots, RECORDS))
    ),
    "tuples": lambda p: RECORDS,
    "a generator of tuples": lambda p: (record for record in RECORDS),
    "NumPy's integers": lambda p: [(c, np.int32(pos), *rest) for c, pos, *rest in RECORDS],
    "dicts": lambda p: [dict(zip(columns(), record, strict=True)) for record in RECORDS],
    "pandas": lambda p: frame("pandas"),
    "Polars": lambda p: frame("polars"),
    "pyarrow": lambda p: pa.table(columns()),
    "a record batch": lambda p: pa.RecordBatch.from_pydict(columns()),
    "large strings": lambda p: pa.table(columns()).cast(
        pa.schema([(name, pa.int32() if name == "POSITION" else pa.large_string()) for name in columns()])
    ),
    "the protocol of data frames": lambda p: SimpleNamespace(__dataframe__=pa.table(columns()).__dataframe__),
    "something that becomes a table": lambda p: SimpleNamespace(to_arrow=lambda: pa.table(columns())),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_input_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    assert rows_of(SOURCES[kind](tmp_path)) == ALLELES


@pytest.mark.parametrize("mark", [":", "-", "_", ">"])
@pytest.mark.parametrize("kind", ["file", "list"])
def test_variants_may_be_spelled_out(mark: str, kind: str, tmp_path: Path) -> None:
    records = [record for record in RECORDS if record[4] and "chr2:" not in record[4]]
    marks = (":", ":", ">") if mark == ">" else (mark,) * 3
    texts = ["".join([c, marks[0], str(pos), marks[1], ref, marks[2], alt]) for c, pos, _, ref, alt in records]
    source = write(tmp_path / "v.txt", "# mine\n" + "\n".join(texts)) if kind == "file" else texts
    wanted = [(*row[:4], None, *row[5:]) for row in rows_of(records)]
    assert rows_of(source) == wanted


@pytest.mark.parametrize("text", ["chrUn_KI270302v1:5:A:G", "chrUn_KI270302v1-5-A-G", "chrUn_KI270302v1_5_A_G"])
def test_marks_may_stand_in_the_name_of_a_contig(text: str) -> None:
    assert rows_of([text]) == [(0, 0, "chrUn_KI270302v1", 5, None, "A", "G")]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_standard_input_is_read(compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(compress(vcf().encode()))))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert rows_of("-") == ALLELES
    assert not stdin.buffer.closed


def test_bcf_on_standard_input_is_refused_with_a_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bcf(tmp_path / "v.bcf", vcf()).read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content))))
    with pytest.raises(ValueError, match="bcftools view"):
        rows_of("-")


@pytest.mark.parametrize(("given", "ref", "alt"), [({}, "A", "G"), ({"bim_reference": "A1"}, "G", "A")])
@pytest.mark.parametrize("delimiter", ["\t", " "])
def test_of_a_bim_file_the_second_allele_is_ref_unless_told_otherwise(
    given: dict[str, str], ref: str, alt: str, delimiter: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "v.bim", delimiter.join(["1", "rs1", "0", "100", "G", "A"]) + "\n")
    assert rows_of(path, **given) == [(0, 0, "1", 100, "rs1", ref, alt)]


def test_an_allele_that_plink_did_not_see_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "v.bim", "1\trs1\t0\t100\t0\tA\n")
    assert rows_of(path) == [(0, 0, "1", 100, "rs1", "A", None)]


@pytest.mark.parametrize("n_rows", [1, 3, 4, 8, 100])
@pytest.mark.parametrize("block_bytes", [1, 64, 1 << 22])
def test_rows_do_not_depend_on_batches(
    n_rows: int, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variant_files, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(variant_files, "N_RECORDS", 2)
    path = write(tmp_path / "v.vcf", vcf())
    batches = list(read_variants(path, n_rows=n_rows))
    assert [len(batch) for batch in batches] == [n_rows] * (8 // n_rows) + [8 % n_rows] * (8 % n_rows > 0)
    assert all(batch.schema == SCHEMA for batch in batches)
    assert rows_of(path, n_rows=n_rows) == ALLELES


@pytest.mark.parametrize("source", [[], pa.table({"chr": [], "pos": [], "ref": [], "alt": []}), "header"])
def test_no_variants_give_no_rows(source: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "v.vcf", vcf([])) if isinstance(source, str) else source
    assert rows_of(source) == []


@pytest.mark.parametrize(
    "kind", ["in ALT", "in a sample", "in gzip", "in bgzip", "between blocks", "BCF", "BCF between blocks"]
)
def test_a_file_that_is_cut_short_is_told_after_what_is_whole(kind: str, tmp_path: Path) -> None:
    text = vcf([("chr1", k + 1, f"rs{k}", "A", "G") for k in range(5000)])
    path = tmp_path / "v"
    if kind in ("in ALT", "in a sample"):
        write(path, text[: -18 if kind == "in ALT" else -6])
    elif kind == "in gzip":
        write(path, gzip.compress(text.encode())[:-3000])
    else:
        (bcf if "BCF" in kind else bgzip)(path.with_suffix(".bcf"), text).rename(path)
        write(path, path.read_bytes()[: -28 if "between" in kind else -1000])
    rows: list[dict[str, Any]] = []
    with pytest.raises(EOFError, match=r"cut short after [0-9,]+ whole records; fetch it again") as caught:
        rows.extend(row for batch in read_variants(path, n_rows=500) for row in batch.to_pylist())
    assert f"after {len(rows):,} whole" in str(caught.value)
    assert [row["pos"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= {"in ALT": 4999, "in a sample": 4999, "between blocks": 5000}.get(kind, 3000)


@pytest.mark.parametrize(("place", "value"), [(10, 0xFF), (-6, 0)])
def test_a_damaged_file_is_told_as_damaged(place: int, value: int, tmp_path: Path) -> None:
    content = bytearray(gzip.compress(vcf().encode()))
    content[place] ^= 0xFF
    with pytest.raises(OSError, match=r"damaged after [06] whole records; fetch it again"):
        rows_of(write(tmp_path / "v.vcf.gz", bytes(content)))


GOOD = "chr1\t7\t.\tA\tC\n"


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("v.vcf", vcf().replace("\t400\t", "\tfour\t"), "line 14: chr2 four rs1 G A . . . GT"),
        ("v.vcf", vcf() + "chr1\t8\n" + vcf().splitlines()[-1] + "\n", "line 15: chr1 8 (2 of 11 columns)"),
        ("v.csv", "chrom,pos,ref,alt\n\n# no\n1,5,A,G\n1,5.0,A,G\n", "line 5: 1,5.0,A,G (no position in column 2"),
        ("v.txt", "chr1:1:A:G\nchr1:2:A\n", "line 2: chr1:2:A (not like chr1:12345:A:G)"),
        ("v.txt", "chr1:NA:A:G\nchr1:2:A:G\nchr1:3:A:G\n", "line 1: chr1:NA:A:G (not like"),
        ("v.txt", "1:1:A:G\nNC_000001.11:g.5A>G\n", "line 2: NC_000001.11:g.5A>G (HGVS is not read; write"),
        ("v.txt", "1:1:A:G\n1:2:A:G:T\n", "line 2: 1:2:A:G:T (more than one ALT or variant"),
        ("v.bim", "1\trs1\t0\tNA\tA\tG\n" + "1\trs1\t0\t5\tA\tG\n", "line 1: 1 rs1 0 NA A G (no position in column 4"),
        ("v.tsv", f"chrom pos id ref alt\n{GOOD}chr1 NA . A C\n", "line 3: chr1 NA . A C (no position"),
        ("v.tsv", f"chrom pos id ref alt\n{GOOD}chr1 99999999999999999999 . A C\n", "line 3: chr1 9999999"),
        ("v.tsv", f"chrom pos id ref alt\n{GOOD}chr1 -7 . A C\n", "line 3: chr1 -7"),
        ("v.tsv", f"chrom pos id ref alt\n{GOOD}chr1 1_000 . A C\n", "line 3: chr1 1_000"),
        ("v.tsv", f"chrom pos id ref alt\n{GOOD}chr1 \u0661 . A C\n", "line 3: chr1 \u0661"),
        ("v.vcf", f"#CHROM\tPOS\tID\tREF\tALT\n{GOOD}\t7\t.\tA\tC\n", "line 3: 7 . A C (no position in column 2"),
        ("v.tsv", b"chrom pos id ref alt\n1 7 . A C\nchr1 7 \xff A C\n", "line 3: chr1 7 \ufffd A C (bytes that"),
        ("v.csv", 'chrom,pos,ref,alt\n1,5,A,G\n1,6,A,"G\n1,7,A,C\n', 'line 3: 1,6,A,"G (a quote without its partner'),
        ("v.csv", 'chrom,pos,ref,alt\n1,5,A,G\n1,6,"A"x,G\n1,7,A,C\n', 'line 3: 1,6,"A"x,G (a quote without'),
    ],
)  # fmt: skip
def test_a_line_that_is_no_variant_has_a_row_that_names_it(
    name: str, text: str | bytes, wanted: str, tmp_path: Path
) -> None:
    """One such line ended the scan of thousands, and one quote made four records one."""
    rows = rows_of(write(tmp_path / name, text))
    (told,) = (row for row in rows if row[3] is None)
    assert str(told[4]).startswith(wanted)
    assert told[5:] == ("", None)
    records = [row[0] for row in rows]
    assert sorted(set(records)) == list(range(max(records) + 1))


def test_bytes_that_are_not_utf_8_do_no_harm_where_nothing_is_read(tmp_path: Path) -> None:
    text = f"#CHROM\tPOS\tID\tREF\tALT\tINFO\n{GOOD.strip()}".encode() + b"\tNAME=\xe9\n"
    assert rows_of(write(tmp_path / "v.vcf", text)) == [(0, 0, "chr1", 7, None, "A", "C")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("v.tsv", "chrom\tpos\tref\n1\t5\tA\n", "header of .* has no alt among chrom, pos, ref; name the columns"),
        ("v.tsv", "1\t5\tA\tG\n", r"begins with '1\\t5\\tA\\tG', which is neither a header nor a variant"),
        ("v.bim", "1\trs1\t0\t5\tA\n", r"1 of the first 1 records .*, such as line 1: 1 rs1 0 5 A \(5 of 6 columns\)"),
        ("v.txt", "chr1:g.5A>G\nchr1:g.6A>G\n", "2 of the first 2 records .*such as line 1: .*HGVS is not read"),
        ("v.tsv", f"chrom pos id ref alt\n{GOOD}a b\nc d\n", "2 of the first 3 records .*such as line 3: a b"),
        ("v.vcf", "", "holds neither variants nor a header"),
        ("v.vcf", "##fileformat=VCFv4.2\n# chrom pos\n", "holds neither variants nor a header"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lzma.compress(b"chr1:1:A:G"), "compressed by xz, which is not read; decompress it: xz -d"),
        (bz2.compress(b"chr1:1:A:G"), "compressed by bzip2"),
        (b"PK\x03\x04" + bytes(50), "a zip archive, which is not read; unpack it: unzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "compressed by zstd, which is not read; decompress it: zstd -d"),
        ("chr1:1:A:G".encode("utf-16"), "text in UTF-16, which is not read; convert it: iconv -f UTF-16 -t UTF-8"),
        ("chr1:1:A:G".encode("utf-16-le"), "text in UTF-16; convert it"),
        (gzip.compress("chr1:1:A:G".encode("utf-16"), mtime=0), "text in UTF-16"),
        (b"PAR1" + bytes(50), "Parquet, which is not read"),
    ],
    ids=["xz", "bzip2", "zip", "zstd", "UTF-16", "UTF-16 without a mark", "UTF-16 in gzip", "Parquet"],
)
@pytest.mark.parametrize("read", [rows_of, gf.scan.read_regions])
def test_files_of_other_kinds_say_what_they_are(
    content: bytes, message: str, read: Callable[[Any], Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "v.bed", content))


@pytest.mark.parametrize("read", [rows_of, gf.scan.read_regions])
def test_one_endless_line_is_refused_in_bounded_memory(read: Callable[[Any], Any], tmp_path: Path) -> None:
    """A file of 2.7 MB took gigabytes, as its one line of 600 MB was looked for its end again and again."""
    path = tmp_path / "v.bed.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(160):
            file.write(b"A" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a line of more than 134,217,728 bytes|has more than 16,777,216 letters"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6


def test_lines_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant_files, "BLOCK_BYTES", 1)
    rows = rows_of(write(tmp_path / "v.vcf", vcf().replace("\t400\t", "\tfour\t")))
    assert str(rows[-1][4]).startswith("line 14: chr2 four")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *((f"chr1_101_C_G_{build}", ("chr1", 101, build, "C", "G")) for build in ("b37", "b38", "hg19", "hg38")),
        ("chr1:100:T:A:rs123", ("chr1", 100, "rs123", "T", "A")),
        ("chr1:100:T:A:b38", ("chr1", 100, "b38", "T", "A")),
        ("chr1:100:T:A,<DEL>:x:y", ("chr1", 100, "x:y", "T", "A,<DEL>")),
        ("chr1-12345-A-G", ("chr1", 12345, None, "A", "G")),
        ("chr1:12345A>G", ("chr1", 12345, None, "A", "G")),
        ("1:100_A/G", ("1", 100, None, "A", "G")),
        ("1:100_A_G", ("1", 100, None, "A", "G")),
        ("1_100_A/G", ("1", 100, None, "A", "G")),
        ("NC_000001.11:12344:A:G", ("NC_000001.11", 12345, None, "A", "G")),
        ("NC_000001.11_12345_A_G", ("NC_000001.11", 12345, None, "A", "G")),
        ("chr1_KI270706v1_random_100_A_G", ("chr1_KI270706v1_random", 100, None, "A", "G")),
        ("HLA-A*01:01:01:01:100:A:G", ("HLA-A*01:01:01:01", 100, None, "A", "G")),
        ("HLA-DRB1*15:01:01:01-77-A-G", ("HLA-DRB1*15:01:01:01", 77, None, "A", "G")),
        ("chr1:5:A:C[chr2:321[", ("chr1", 5, None, "A", "C[chr2:321[")),
    ],
)
def test_what_follows_the_alleles_is_an_id(text: str, wanted: tuple[Any, ...]) -> None:
    """The suffix of ids as those of GTEx was taken for a part of ALT, and nothing was scored."""
    (*rows,) = rows_of([text])
    assert [row[2:6] for row in rows] == [wanted[:4]] * len(rows)
    assert ",".join(row[6] for row in rows) == wanted[4]


@pytest.mark.parametrize(
    "text", ["chr1:1_000:A:G", "chr1:\u0661:A:G", "chr1:100:A:G:T", "1:1:A:G:1:2:C:T", "1:1:A:G[b37]"]
)
def test_what_may_mean_something_else_is_unreadable(text: str) -> None:
    assert [row[3] for row in rows_of(["chr1:1:A:G", text])] == [1, None]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (7, TypeError, "int; pass a path, a data frame"),
        ({"chrom": "1"}, TypeError, "dict; pass a path"),
        ([("1", 5, "A")], ValueError, "1 of the first 1 records .*variant 0: .*pass 'chr1:12345:A:G'"),
        ([{"chrom": "1", "pos": 5, "ref": "A"}], ValueError, "variant 0: .*it has no alt among chrom, pos, ref"),
        (pa.table({"chrom": ["1"], "pos": [1], "allele1": ["A"], "allele2": ["C"]}), ValueError, "no ref and no alt"),
        (pa.table({"chrom": ["1"], "pos": [1.5], "ref": ["A"], "alt": ["C"]}), ValueError, "row 0: 1 1.5 A C"),
        (pa.table({"chrom": ["1"], "pos": [[1]], "ref": ["A"], "alt": ["C"]}), TypeError, "texts and whole numbers"),
        (pa.table({"chrom": [[1]], "pos": [1], "ref": ["A"], "alt": ["C"]}), TypeError, "texts and whole numbers"),
    ],
)
def test_what_holds_no_variants_is_refused(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rows_of(source)


@pytest.mark.parametrize(
    "row",
    [
        ("1", 5, "A"), ("1", None, "A", "C"), (None, 5, "A", "C"), ("1", 5, None, "C"), ("1", 5.5, "A", "C"), None, 7,
        ("1", float("nan"), "A", "C"), ("1", 10**20, "A", "C"), ("1", -1, "A", "C"), ("1", "1_0", "A", "C"),
        "1:5", b"1:5:A:C", ("1", np.arange(2), "A", "C"),
        ("1", 5, "A", ["C", None]), ("1", 5, "\udcff", "C"), {"chrom": "1", "pos": 5, "ref": "A"},
    ],
)  # fmt: skip
def test_an_item_that_is_no_variant_has_a_row(row: Any) -> None:
    rows = rows_of([("1", 5, "A", "C"), row, ("1", np.int8(6), "A", ["C", "T"])])
    assert [r[3] for r in rows] == [5, None, 6, 6]
    assert rows[1][4].startswith("variant 1: ")


@pytest.mark.parametrize(
    "pos",
    [
        [5, None, 6], [5.0, float("nan"), 6.0], [5.0, 5.5, 6.0], [5.0, 1e20, 6.0], ["5", "NA", "6"], ["5", "1_0", "6"],
        [5, -1, 6],
    ],
)  # fmt: skip
@pytest.mark.parametrize("package", ["pandas", "polars", "pyarrow"])
def test_a_row_of_a_data_frame_without_a_position_is_kept(pos: list[Any], package: str) -> None:
    """NaN in one row of thousands ended the scan."""
    columns = {"chrom": ["1", "1", "2"], "pos": pos, "ref": ["A", "A", "T"], "alt": ["C", "C", "G"]}
    source = pa.table(columns) if package == "pyarrow" else pytest.importorskip(package).DataFrame(columns)
    rows = rows_of(source)
    assert [row[3] for row in rows] == [5, None, 6]
    assert rows[1][4].startswith("row 1: 1 ")
    assert rows[1][2] == "1"


def test_a_column_of_several_kinds_is_told_with_a_mend() -> None:
    frame_ = pytest.importorskip("pandas").DataFrame({"chrom": ["1"] * 2, "pos": [5, "NA"], "ref": "A", "alt": "C"})
    with pytest.raises(ValueError, match=r"values of several kinds; make it one of texts, astype\(str\)"):
        rows_of(frame_)


def test_what_htslib_says_of_a_damaged_bcf_does_not_leak(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = bcf(tmp_path / "v.bcf", vcf())
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[60:70] = bytes(10)
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        rows_of(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("option", "value"), [("n_rows", 0), ("bim_reference", "A3")])
def test_options_are_checked_before_anything_is_read(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        read_variants("no such file", **{option: value})


def test_a_file_that_is_missing_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        rows_of("no such file")


def test_only_bcf_needs_pysam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = SOURCES["VCF of bgzip"](tmp_path), SOURCES["BCF"](tmp_path)
    monkeypatch.setitem(sys.modules, "pysam", None)
    assert rows_of(paths[0]) == ALLELES
    with pytest.raises(gf.MissingBackendError, match=r"gradcorr-fast\[genome\]"):
        rows_of(paths[1])


@pytest.mark.parametrize("locus", ["SORT1", "TERT-GBM"])
def test_tables_of_saturation_mutagenesis_are_read(locus: str, shared_data: Path) -> None:
    path = shared_data / f"real/cagi5/combined_{locus}.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    rows = rows_of(path)
    assert [(row[2], str(row[3]), row[5], row[6]) for row in rows] == [tuple(line[:4]) for line in lines]
    assert len(rows) == {"SORT1": 1764, "TERT-GBM": 771}[locus]


@pytest.mark.parametrize(
    ("name", "n_records", "n_rows"),
    [
        ("NA12877-NA12878-NA12882.GATK-trio.vcf.gz", 558, 582),
        ("NA12878.GIAB-NIST.10.0-10.1Mb.vcf.gz", 221, 222),
        ("1000G-exomes.hail-sample.vcf.bgz", 346, 346),
        ("60k-252k.GATK-cnn-subset.vcf", 473, 478),
    ],
)
def test_real_vcf_files_equal_what_pysam_reads(name: str, n_records: int, n_rows: int, shared_data: Path) -> None:
    import pysam

    path = shared_data / f"real/variants/b37.chr20.{name}"
    with pysam.VariantFile(str(path)) as file:
        wanted = [
            (number, k, v.chrom, v.pos, v.id, v.ref, alt)
            for number, v in enumerate(file)
            for k, alt in enumerate(v.alts)
        ]
    assert rows_of(path) == wanted
    assert (wanted[-1][0] + 1, len(wanted)) == (n_records, n_rows)

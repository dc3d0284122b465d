"""Variants and regions with mistakes in them, and what reading them gives: records, refusals, lines that say why."""

import gzip
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pysam

from gradcorr_fast.scan.inputs.regions import read_regions
from gradcorr_fast.scan.inputs.variants import read_variants

REFUSALS = (ValueError, TypeError, OSError, EOFError)
"""What a reader may raise; UnicodeError and the like, which are of these kinds too, count as others."""
ODD = [
    *b'" \t \n \r \r\n , \x00 \xff \xef\xbb\xbf NA nan -1 0 . 1e5 1_000 1,2 <DEL> * # : _'.split(b" "),
    *(b"", b" ", b"9" * 20, b"9223372036854775807", "\u0661".encode(), "\u2028".encode(), b"A" * 200_000),
]
"""What is put into files in the place of something."""
VCF = (
    b"##fileformat=VCFv4.2\n##contig=<ID=chr1>\n##contig=<ID=2>\n"
    b'##INFO=<ID=END,Number=1,Type=Integer,Description="">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n'
    b"chr1\t7\trs1\tA\tC,ACC,*\t.\t.\t.\n2\t9\t.\tC\tC[chr1:321[\t.\tPASS\t.\n2\t10\t.\tT\t.\t1\t.\t.\nchr1\t11\trs4;rs5\tac\t<DEL>\t.\t.\t.\n"
)
FILES = {
    "v.vcf": VCF,
    "v.tsv": b"rsid\tchr\tposition\tref\talt\tbeta\n"
    b"rs1\t1\t7\tA\tC\t0.1\nrs2\t2\t9\tC\tG,T\t0.2\nrs3\tX\t10\tCA\tC\t0\n",
    "v.csv": b"chrom,pos,id,ref,alt,note\n"
    b'1,7,rs1,A,C,"a, b"\n2,9,"rs2",C,"G,T",""\nX,10,.,CA,C,x\n"3","11","r""4","T","G",y\n',
    "v.txt": b"chr1_101_C_G_b38\nchr1:100:T:A:rs123\n1:100_A/G\nNC_000001.11:12344:A:G\n"
    b"HLA-A*01:01:01:01:5:A:G\nchr1-5-A-G,T\n",
    "v.bim": b"1\trs1\t0\t100\tG\tA\n23\trs2\t0\t7\t0\tC\n2\trs3\t0.5\t9\tT\tTA\n",
    "p.bed": b"track name=x\nchr1\t5\t9\tone\t0\t+\nchr1 5 9\nchr2\t0\t100\t.\t0\t-\t1\t1\t1\t30\n"
    b"chr2\t7\t8\tlow\t0\t.\t1\t1\t1\t-1\n",
}
TARGETS = [
    "3", "index((5, 3))", "sum_over(bins=10:20, tracks=3)", "contrast(0, mean())", "before_activation(1)",
    "log1p_sum(bins=::2, tracks=[1, 2])", "logit(0)",
]  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Change a file in a few places: bytes, odd texts, fields, lines that are lost, doubled or cut."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        kind, at = rng.randrange(7), rng.randrange(len(content) + 1)
        if kind == 0:
            content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
        elif kind == 1:
            content = content[:at] + rng.choice(ODD[:-1] if rng.random() < 0.98 else ODD) + content[at:]
        elif kind == 2:
            content = content[:at] + content[at + rng.choice([1, 1, 2, 5, 40]) :]
        elif kind == 3:
            content = content[:at] if rng.random() < 0.2 else content
        else:
            lines = content.split(b"\n")
            k = rng.randrange(len(lines))
            if kind == 4:
                fields = re.split(rb"([\t, :_-])", lines[k])
                fields[rng.randrange(len(fields))] = rng.choice(ODD[:-1])
                lines[k] = b"".join(fields)
            elif kind == 5:
                lines.insert(rng.randrange(len(lines)), lines[k])
            else:
                del lines[k]
            content = b"\n".join(lines)
    return content


def outcome(read: Callable[[], Any]) -> tuple[str, Any]:
    """Return what a reader does: "result" or "refusal", with what it gives or says."""
    refusal: Exception
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return "result", read()
    except REFUSALS as error:
        refusal = error
    assert type(refusal) in REFUSALS, f"a {type(refusal).__name__} says nothing of the file: {refusal}"
    assert str(refusal).strip()
    return "refusal", str(refusal)


def variants_of(path: Path) -> list[dict[str, Any]]:
    return [row for batch in read_variants(path) for row in batch.to_pylist()]


def check_variants(rows: list[dict[str, Any]]) -> None:
    """Records are numbered without a gap; each is whole, or says why it is not."""
    assert sorted({row["record"] for row in rows}) == list(range(rows[-1]["record"] + 1 if rows else 0))
    for row in rows:
        if row["pos"] is None:
            assert re.match(r"(line|record) \d+: ", row["id"]), row
            assert (row["ref"], row["alt"]) == ("", None)
        else:
            assert row["pos"] >= 0, row
            assert row["chrom"], row
            assert row["ref"], row


def plainly(content: bytes) -> Iterator[tuple[Any, ...]]:
    """The records of a VCF by its definition: fields of lines."""
    for line in content.replace(b"\r\n", b"\n").split(b"\n"):
        fields = line.split(b"\t")
        if (
            line.strip()
            and not line.startswith(b"#")
            and len(fields) >= 5
            and re.fullmatch(rb"[0-9]{1,18}", fields[1].strip())
        ):
            with suppress(UnicodeDecodeError):
                chrom, id_, ref, alt = (fields[k].decode() for k in (0, 2, 3, 4))
                yield chrom, int(fields[1]), None if id_ in ("", ".", "0") else id_, ref, alt


def by_pysam(path: Path) -> list[tuple[Any, ...]] | None:
    """The records of a VCF as htslib has them; None if it refuses the file."""
    verbosity = pysam.set_verbosity(0)
    try:
        with warnings.catch_warnings(action="ignore"), pysam.VariantFile(str(path)) as file:
            return [(v.chrom, v.pos, v.id, v.ref, ",".join(v.alts or ())) for v in file]
    except (OSError, ValueError):
        return None
    finally:
        pysam.set_verbosity(verbosity)


def records_of(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Whole records, with their alleles joined again."""
    records: dict[int, list[Any]] = {}
    for row in rows:
        if row["pos"] is not None:
            record = records.setdefault(row["record"], [row["chrom"], row["pos"], row["id"], row["ref"], []])
            record[4].append(row["alt"] or "")
    return [(*values[:4], ",".join(values[4])) for values in records.values()]


def without_missing(alt: str) -> str:
    return re.sub(r"(^|(?<=,))[.0](?=,|$)", "", alt)


def check_vcf(path: Path, content: bytes, rows: list[dict[str, Any]]) -> None:
    """Where the header is whole: every record is a line of the file, and one of those that pysam reads."""
    if b"\n#CHROM\tPOS\tID\tREF\tALT" not in content or content.count(b"#CHROM") != 1:
        return
    records = records_of(rows)
    lines = [(*values[:4], without_missing(values[4])) for values in plainly(content)]
    assert [record for record in records if record not in lines] == []
    theirs = by_pysam(path)
    if theirs is not None and len(theirs) == rows[-1]["record"] + 1 if rows else False:
        normal = [
            (c, p, None if i in (None, "0") else i, r, re.sub(r"(^|(?<=,))[.0](?=,|$)", "", a))
            for c, p, i, r, a in theirs
        ]
        assert [record for record in records if record not in normal] == []


def check_file(name: str, content: bytes, folder: Path) -> str:
    """Read a mutated file, and return what became of it."""
    path = folder / name
    path.write_bytes(content)
    if name.endswith("bed"):
        kind, found = outcome(lambda: read_regions(path, keep_unreadable=True).to_pylist())
        if kind == "result":
            assert all(0 <= row["start"] <= row["stop"] for row in found if row["start"] is not None)
            kind = "unreadable" if any(row["start"] is None for row in found) else kind
        return kind
    kind, found = outcome(lambda: variants_of(path))
    if kind == "result":
        check_variants(found)
        if ".vcf" in name:
            check_vcf(path, content, found)
        kind = "unreadable" if any(row["pos"] is None for row in found) else kind
    return kind


@cache
def bcf_of(folder: Path) -> bytes:
    """BCF, decompressed."""
    (folder / "whole.vcf").write_bytes(VCF)
    with (
        pysam.VariantFile(str(folder / "whole.vcf")) as source,
        pysam.VariantFile(str(folder / "whole.bcf"), "wb", header=source.header) as file,
    ):
        for record in source:
            file.write(record)
    return gzip.decompress((folder / "whole.bcf").read_bytes())


def mutate_bcf(content: bytes, rng: random.Random, folder: Path) -> bytes:
    """Change bytes of BCF in its records or its header, and compress it so that the sums are right."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(9, len(changed))
        changed[at] = rng.choice([0, 1, 7, 0x17, 0x7F, 0xFF, rng.randrange(256)])
    with pysam.BGZFile(str(folder / "mutated.bcf"), "wb") as file:
        file.write(bytes(changed[: rng.choice([len(changed)] * 9 + [rng.randrange(len(changed))])]))
    return (folder / "mutated.bcf").read_bytes()


@cache
def real_files(shared_data: Path) -> dict[str, bytes]:
    """Beginnings of real files, by a name of their kind."""
    found = {}
    for path in [
        *shared_data.glob("real/variants/*"),
        *shared_data.glob("real/cagi5/*.tsv"),
        *shared_data.glob("real/peaks/*[kd]*"),
    ]:
        if path.suffix not in (".h5", ".tbi"):
            raw = path.read_bytes()
            text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            header = text.split(b"\n#CHROM")[0] if b"\n#CHROM" in text else b""
            body = text[len(header) :][:6000].rpartition(b"\n")[0]
            kind = ".bed" if "peaks" in str(path) else path.suffix if path.suffix == ".tsv" else ".vcf"
            short = b"".join(re.findall(rb"##fileformat.*\n|##contig=<ID=(?:chr)?20\b.*\n", header))
            found[path.name.replace(".", "_") + kind] = short.rstrip(b"\n") + body
    return found

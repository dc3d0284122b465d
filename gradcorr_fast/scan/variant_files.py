"""Variants in files: VCF, BCF, tables with a header, PLINK's tables, and variants spelled out, one a line."""

import csv
import gzip
import re
import sys
import warnings
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._check import optional
from . import bgzip

Columns = Sequence[Any]
"""chrom, pos, id, ref and alt of some records, as arrays of pyarrow."""

SYNONYMS = {  # without case and punctuation, the best first
    "chrom": ("chrom", "chr", "chromosome", "contig", "seqname", "seqnames"),
    "pos": ("pos", "positionvcf", "position", "bp", "basepairlocation"),
    "id": ("id", "rsid", "rs", "snp", "snpid", "variantid", "variant", "name"),
    "ref": ("ref", "referenceallelevcf", "reference", "refallele", "referenceallele"),
    "alt": ("alt", "alternateallelevcf", "alternate", "alternative", "altallele", "alternateallele"),
}
BLOCK_BYTES = 1 << 22
N_RECORDS = 1 << 16
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
"""What Python raises for a compressed file that is cut short or damaged."""
_SPELLED = re.compile(
    r"(?P<chrom>[^\t,]+?)(?P<mark>[:_-])(?P<pos>\d+)(?P=mark)(?P<ref>[A-Za-z.*]+)(?:(?P=mark)|>)(?P<alt>\S+)"
)


class Layout(NamedTuple):
    """How lines hold variants."""

    places: tuple[int | None, ...] = ()
    """Which column holds chrom, pos, id, ref, alt; empty where lines spell variants out."""
    delimiter: str | None = None
    """None for white space."""
    n_columns: int = 0
    is_header: bool = False
    """Whether the line that tells the layout is a header, not a variant."""


def find_columns(names: Sequence[str], where: str) -> tuple[int | None, ...]:
    """Return which columns hold chrom, pos, id, ref and alt, going by their names; None for an id that there is not."""
    plain = [re.sub("[^a-z0-9]", "", str(name).lower()) for name in names]
    places = {
        role: next((plain.index(synonym) for synonym in synonyms if synonym in plain), None)
        for role, synonyms in SYNONYMS.items()
    }
    lacking = [role for role, place in places.items() if place is None and role != "id"]
    if lacking:
        raise ValueError(
            f"{where} has no {' and no '.join(lacking)} among {', '.join(map(str, names))[:200]}; name the columns "
            f"chrom, pos, ref and alt"
        )
    return tuple(places.values())


def spelled(text: str, where: str) -> tuple[str, int, None, str, str]:
    """Return the columns of a variant such as chr1:12345:A:G, chr1-12345-A-G, chr1_12345_A_G or chr1:12345:A>G."""
    found = _SPELLED.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{where} is {text.strip()[:80]!r}; it must be like chr1:12345:A:G")
    return found["chrom"], int(found["pos"]), None, found["ref"], found["alt"]


def read(source: str | Path, bim_reference: str) -> Iterator[Columns]:
    """Yield the columns of some records at a time; what is whole comes before the error of a damaged file."""
    with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as file:
        head = file.peek(bgzip.N_HEAD)  # type: ignore[union-attr]  # both are io.BufferedReader
        data: Any = gzip.GzipFile(fileobj=file) if head.startswith(bgzip.GZIP) else file
        if data.peek(3)[:3] == b"BCF":
            yield from _read_bcf(source)
        else:
            yield from _read_text(data, str(source), bim_reference)
    if bgzip.is_bgzip(head) and source != "-" and not bgzip.has_end(source):
        raise EOFError("bgzip's mark of the end is missing")


def _read_bcf(source: str | Path) -> Iterator[Columns]:
    if source == "-":
        raise ValueError("BCF cannot be read from standard input; pipe it through `bcftools view`")
    pysam = optional("pysam", "genome")
    verbosity = pysam.set_verbosity(0)  # of an index that is not needed, and of the end that is told after all records
    try:
        with warnings.catch_warnings(action="ignore"):
            file = pysam.VariantFile(str(source), ignore_truncation=True)
        failure = yield from _records(file)
    finally:
        pysam.set_verbosity(verbosity)
    if failure is not None:
        raise gzip.BadGzipFile(str(failure)) if bgzip.has_end(source) else EOFError(str(failure))


def _records(file: Any) -> Generator[Columns, None, OSError | None]:
    """Yield columns of records of BCF, thousands at a time, and return the error that came after them."""
    rows: list[tuple[Any, ...]] = []
    failure = None
    try:
        for v in file:
            rows.append((v.chrom, v.pos, v.id, v.ref, ",".join(v.alts or ())))
            if len(rows) == N_RECORDS:
                yield [pa.array(column) for column in zip(*rows, strict=True)]
                rows = []
    except OSError as error:
        failure = error
    if rows:
        yield [pa.array(column) for column in zip(*rows, strict=True)]
    with suppress(OSError):  # the same once more
        file.close()
    return failure


def _read_text(data: Any, name: str, bim_reference: str) -> Iterator[Columns]:
    layout, n_before = None, 0
    for text in _blocks(data):
        begin = 0
        while layout is None and begin < len(text):
            end = text.find("\n", begin) + 1 or len(text)
            line = text[begin:end]
            if line.strip() and not line.startswith("##"):
                layout = _layout(line, name, bim_reference)
            if layout is None or layout.is_header:
                begin, n_before = end, n_before + 1
        if layout is not None:
            yield from _parse(text[begin:], layout, n_before, name)
            n_before += text.count("\n", begin)
    if layout is None:
        raise ValueError(f"{name} holds neither variants nor a header that names chrom, pos, ref and alt")


def _blocks(data: Any) -> Iterator[str]:
    """Yield whole lines, megabytes at a time; the last may lack its newline."""
    parts, size = [], 0
    failure: Exception | None = None
    while True:
        try:
            part = data.read1(BLOCK_BYTES)
        except DAMAGE as error:
            part, failure = b"", error
        parts.append(part)
        size += len(part)
        if part and size < BLOCK_BYTES:
            continue
        block = b"".join(parts)
        n_whole = len(block) if not part and failure is None else block.rfind(b"\n") + 1
        if n_whole:
            yield block[:n_whole].decode("utf-8", "replace").replace("\r\n", "\n").removeprefix("\ufeff")
        parts, size = [block[n_whole:]], len(block) - n_whole
        if failure is not None:
            raise failure
        if not part:
            return


def _layout(line: str, name: str, bim_reference: str) -> Layout | None:
    """Return what the first line that may hold something tells; None for one more comment."""
    if _SPELLED.fullmatch(line.strip()):
        return Layout()
    delimiter = next((mark for mark in "\t," if mark in line), None)
    fields = line.lstrip("#").strip().split(delimiter)
    if line.startswith("#") or not any(field.isdigit() for field in fields):
        try:
            return Layout(find_columns(fields, f"the header of {name}"), delimiter, len(fields), True)
        except ValueError:
            if line.startswith("#"):
                return None
            raise
    kind = Path(name.lower().removesuffix(".gz")).suffix
    if kind == ".bim" and len(fields) == 6:
        return Layout((0, 3, 1, 5, 4) if bim_reference == "A2" else (0, 3, 1, 4, 5), delimiter, 6)
    if kind == ".pvar" and len(fields) in (5, 6):
        return Layout((0, len(fields) - 3, 1, len(fields) - 1, len(fields) - 2), delimiter, len(fields))
    raise ValueError(
        f"{name} begins with {line.strip()[:80]!r}, which is neither a header nor a variant like chr1:12345:A:G; add a "
        f"header that names chrom, pos, ref and alt"
    )


def _parse(text: str, layout: Layout, n_before: int, name: str) -> Iterator[Columns]:
    """Yield the columns of some lines, before which there are n_before."""
    lines = pc.list_flatten(pc.split_pattern(pa.array([text]), "\n"))
    is_kept = pc.invert(pc.match_substring_regex(lines, r"^(#|\s*$)"))
    numbers = n_before + 1 + np.flatnonzero(is_kept.to_numpy(zero_copy_only=False))
    lines = lines.filter(is_kept)
    if not len(lines):
        return
    if not layout.places:
        found = (spelled(line.as_py(), f"line {number} of {name}") for line, number in zip(lines, numbers, strict=True))
        yield [pa.array(column) for column in zip(*found, strict=True)]
        return
    last = lines[-1].as_py()
    is_cut = not text.endswith("\n") and len(last.split(layout.delimiter)) < layout.n_columns
    yield _columns(lines[:-1] if is_cut else lines, layout, numbers, name)
    if is_cut:
        raise EOFError(f"its last line is {last[:80]!r}")


def _columns(lines: Any, layout: Layout, numbers: Any, name: str) -> Columns:
    """Split lines, whose numbers are told if they are no variants."""
    n_needed = 1 + max(place for place in layout.places if place is not None)
    if layout.delimiter == ",":  # where texts may be quoted
        fields = pa.array(csv.reader(lines.to_pylist()), pa.list_(pa.string()))
    elif layout.delimiter == "\t":
        fields = pc.split_pattern(lines, "\t", max_splits=n_needed)
    else:
        fields = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(lines), max_splits=n_needed)
    is_whole = pc.greater_equal(pc.list_value_length(fields), n_needed)
    if pc.all(is_whole).as_py():
        columns = [None if place is None else pc.list_element(fields, place) for place in layout.places]
        columns[1] = pc.ascii_trim_whitespace(columns[1])
        is_whole = pc.match_substring_regex(columns[1], r"^-?\d{1,18}$")
    if not pc.all(is_whole).as_py():
        bad = pc.index(is_whole, False).as_py()
        raise ValueError(
            f"line {numbers[bad]} of {name} is {lines[bad].as_py()[:80]!r}; it must have {layout.n_columns} columns, "
            f"with a position in column {(layout.places[1] or 0) + 1}"
        )
    nothing = pa.nulls(len(lines), pa.string())
    return [nothing if column is None else column for column in columns]

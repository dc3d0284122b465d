"""Variants in files: VCF, BCF, tables with a header, PLINK's tables, and variants spelled out, one a line."""

import codecs
import csv
import gzip
import re
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._check import optional
from ..._types import Array
from . import bgzip
from .bgzip import DAMAGE
from .foreign import refuse_foreign
from .numbers import parse_column
from .spelling import is_spelled, parse_spelled
from .unreadable import describe

Columns = Sequence[pa.Array]
"""chrom, pos, id, ref and alt of some records; where one is unreadable, pos is null, and id says which line it is."""
Row = tuple[str, int | None, str | None, str, str | None]
"""The same of one record."""

SYNONYMS = {  # without case and punctuation, the best first
    "chrom": ("chrom", "chr", "chromosome", "contig", "seqname", "seqnames"),
    "pos": ("pos", "positionvcf", "position", "bp", "basepairlocation"),
    "id": ("id", "rsid", "rs", "snp", "snpid", "variantid", "variant", "name"),
    "ref": ("ref", "referenceallelevcf", "reference", "refallele", "referenceallele"),
    "alt": ("alt", "alternateallelevcf", "alternate", "alternative", "altallele", "alternateallele"),
}
BLOCK_BYTES = 1 << 22
LONGEST_LINE = 1 << 27
"""Bytes of a line, beyond which the file is refused: a million samples fit, and memory stays bounded."""
N_RECORDS = 1 << 16
N_GUESSED = 20
"""Lines after the first that tell what kind of file it is where that line does not."""
REPLACED = "\ufffd"
"""What stands for bytes that are not UTF-8."""


class LineLayout(NamedTuple):
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


def spelled(text: str, where: str) -> Row:
    """Return the columns of a variant such as chr1:12345:A:G; see `spelling.parse_spelled`."""
    row = parse_spelled(text)
    return unreadable(where, text, row) if isinstance(row, str) else row


def unreadable(where: str, text: str, reason: str) -> Row:
    """Return the columns of a record that cannot be read."""
    return "", None, describe(where, text, reason), "", None


def as_columns(rows: Sequence[Row]) -> Columns:
    """Return the columns of some rows."""
    types = (pa.string(), pa.int64(), pa.string(), pa.string(), pa.string())
    return [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)]


def settle(columns: Sequence[pa.Array], tell: Callable[[int], str]) -> Columns:
    """Make columns of texts and positions of what a table has, with the records marked that are unreadable.

    Parameters
    ----------
    columns : sequence of pyarrow.Array
        chrom, pos, id, ref, alt.
    tell : callable
        From the number of a row to what stands in its id if it is unreadable.
    """
    chrom, id_, ref, alt = (columns[k].cast(pa.string()) for k in (0, 2, 3, 4))
    pos = parse_column(columns[1])
    is_bad = pc.fill_null(pc.less(pos, 0), True)
    for text in (chrom, ref):
        is_bad = pc.or_(is_bad, pc.equal(pc.binary_length(pc.fill_null(text, "")), 0))
    for text in (chrom, id_, ref, alt):
        is_bad = pc.or_(is_bad, pc.fill_null(pc.match_substring(text, REPLACED), False))
    if not pc.any(is_bad).as_py():
        return chrom, pos, id_, ref, alt
    told = pa.array([tell(row) for row in np.flatnonzero(is_bad.to_numpy(zero_copy_only=False)).tolist()], pa.string())
    nothing = pa.scalar(None, pa.string())
    return (
        pc.fill_null(chrom, ""),
        pc.if_else(is_bad, pa.scalar(None, pa.int64()), pos),
        pc.replace_with_mask(id_, is_bad, told),
        pc.if_else(is_bad, "", ref),
        pc.if_else(is_bad, nothing, alt),
    )


def read(source: str | Path, bim_reference: str) -> Iterator[Columns]:
    """Yield the columns of some records at a time; what is whole comes before the error of a damaged file."""
    with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as file:
        head = file.peek(bgzip.N_HEAD)  # type: ignore[union-attr]  # both are io.BufferedReader
        refuse_foreign(head, str(source))
        data: Any = gzip.GzipFile(fileobj=file) if head.startswith(bgzip.GZIP) else file
        if data.peek(3)[:3] == b"BCF":
            if head.startswith(bgzip.GZIP) and not bgzip.is_bgzip(head):
                raise ValueError(f"{source} is BCF compressed by gzip, which is not read; gunzip it")
            yield from _read_bcf(source)
        else:
            refuse_foreign(data.peek(bgzip.N_HEAD), str(source))
            yield from _read_text(data, str(source), bim_reference)
    if bgzip.is_bgzip(head) and source != "-" and not bgzip.has_end(source):
        raise EOFError("bgzip's mark of the end is missing")


@contextmanager
def quiet_htslib() -> Iterator[Any]:
    """Yield pysam, whose library says nothing of its own: of an index that is not needed, of damage that is told."""
    pysam = optional("pysam", "genome")
    verbosity = pysam.set_verbosity(0)
    try:
        yield pysam
    finally:
        pysam.set_verbosity(verbosity)


def _read_bcf(source: str | Path) -> Iterator[Columns]:
    if source == "-":
        raise ValueError("BCF cannot be read from standard input; pipe it through `bcftools view`")
    with quiet_htslib() as pysam:
        try:
            with warnings.catch_warnings(action="ignore"):
                file = pysam.VariantFile(str(source), ignore_truncation=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"{source} has no header of BCF that can be read; fetch it again ({error})") from None
        failure = yield from _records(file)
    if failure is not None:
        raise gzip.BadGzipFile(str(failure)) if bgzip.has_end(source) else EOFError(str(failure))


def _records(file: Any) -> Generator[Columns, None, OSError | None]:
    """Yield columns of records of BCF, thousands at a time, and return the error that came after them."""
    rows: list[Row] = []
    n_before = 0
    failure = None
    try:
        for record in file:
            rows.append(_bcf_row(record, n_before + len(rows) + 1))
            if len(rows) == N_RECORDS:
                yield as_columns(rows)
                rows, n_before = [], n_before + len(rows)
    except OSError as error:
        failure = error
    if rows:
        yield as_columns(rows)
    with suppress(OSError):  # the same once more
        file.close()
    return failure


def _bcf_row(record: Any, number: int) -> Row:
    try:
        chrom, pos, ref = record.chrom, record.pos, record.ref
        row = chrom, pos, record.id, ref, ",".join(record.alts or ())
    except (KeyError, TypeError, ValueError) as error:  # a contig, an id or an allele that is no text
        return unreadable(f"record {number}", str(error), "damaged")
    if not chrom or not ref or pos < 0:
        return unreadable(f"record {number}", " ".join(map(str, row)), "no contig, no position or no REF")
    return row


def _read_text(data: Any, name: str, bim_reference: str) -> Iterator[Columns]:
    layout, n_before = None, 0
    for text in _blocks(data, name):
        begin = 0
        while layout is None and begin < len(text):
            end = text.find("\n", begin) + 1 or len(text)
            line = text[begin:end]
            if line.strip() and not line.startswith("##"):
                layout = _layout_of(line, text[end : end + BLOCK_BYTES], name, bim_reference)
            if layout is None or layout.is_header:
                begin, n_before = end, n_before + 1
        if layout is not None:
            yield from _parse(text[begin:], layout, n_before)
            n_before += text.count("\n", begin)
    if layout is None:
        raise ValueError(f"{name} holds neither variants nor a header that names chrom, pos, ref and alt")


def _blocks(data: BinaryIO, name: str) -> Iterator[str]:
    """Yield whole lines, megabytes at a time; the last may lack its newline."""
    rest, is_first = b"", True
    failure: Exception | None = None
    is_end = False
    while not is_end:
        parts, size = [rest], 0
        while size < BLOCK_BYTES and not is_end:
            try:
                part = data.read1(BLOCK_BYTES)  # type: ignore[attr-defined]  # io.BufferedReader or gzip.GzipFile
            except DAMAGE as error:
                part, failure = b"", error
            parts.append(part)
            size, is_end = size + len(part), not part
        block = b"".join(parts)
        n_whole = len(block) if is_end and failure is None else block.rfind(b"\n") + 1
        if n_whole:
            text = block[:n_whole].removeprefix(codecs.BOM_UTF8 if is_first else b"").decode("utf-8", "replace")
            yield text.replace("\r\n", "\n")
            is_first = False
        rest = block[n_whole:]
        if len(rest) > LONGEST_LINE:
            raise ValueError(
                f"{name} has a line of more than {LONGEST_LINE:,} bytes; is it a list of variants? of a VCF with very "
                f"many samples, leave these away: bcftools view -G"
            )
    if failure is not None:
        raise failure


def _layout_of(line: str, rest: str, name: str, bim_reference: str) -> LineLayout | None:
    """Return what the first line that may hold something tells; where it does not, look at those after it."""
    try:
        return _layout(line, name, bim_reference)
    except ValueError:
        others = list(islice(filter(str.strip, rest.split("\n", 2 * N_GUESSED)), N_GUESSED))
        if 2 * sum(map(is_spelled, others)) > len(others):
            return LineLayout()
        raise


def _layout(line: str, name: str, bim_reference: str) -> LineLayout | None:
    """Return what the first line that may hold something tells; None for one more comment."""
    if is_spelled(line):
        return LineLayout()
    kind = Path(name.lower().removesuffix(".gz")).suffix
    delimiter = next((mark for mark in "\t," if mark in line), None)
    if kind == ".bim":
        return LineLayout((0, 3, 1, 5, 4) if bim_reference == "A2" else (0, 3, 1, 4, 5), delimiter, 6)
    fields = line.lstrip("#").strip().split(delimiter)
    if line.startswith("#") or not any(field.isascii() and field.isdigit() for field in fields):
        try:
            return LineLayout(find_columns(fields, f"the header of {name}"), delimiter, len(fields), True)
        except ValueError:
            if line.startswith("#"):
                return None
            raise
    if kind == ".pvar" and len(fields) in (5, 6):
        return LineLayout((0, len(fields) - 3, 1, len(fields) - 1, len(fields) - 2), delimiter, len(fields))
    raise ValueError(
        f"{name} begins with {line.strip()[:80]!r}, which is neither a header nor a variant like chr1:12345:A:G; add a "
        f"header that names chrom, pos, ref and alt"
    )


def _parse(text: str, layout: LineLayout, n_before: int) -> Iterator[Columns]:
    """Yield the columns of some lines, before which there are n_before."""
    lines = pc.list_flatten(pc.split_pattern(pa.array([text]), "\n"))
    is_kept = pc.invert(pc.match_substring_regex(lines, r"^(#|\s*$)"))
    numbers = n_before + 1 + np.flatnonzero(is_kept.to_numpy(zero_copy_only=False))
    lines = lines.filter(is_kept)
    if not len(lines):
        return
    if not layout.places:
        pairs = zip(lines.to_pylist(), numbers, strict=True)
        yield as_columns([spelled(line, f"line {number}") for line, number in pairs])
        return
    last = lines[-1].as_py()
    is_cut = not text.endswith("\n") and len(last.split(layout.delimiter)) < layout.n_columns
    yield _columns(lines[:-1] if is_cut else lines, layout, numbers)
    if is_cut:
        raise EOFError(f"its last line is {last[:80]!r}")


def _columns(lines: pa.Array, layout: LineLayout, numbers: Array) -> Columns:
    """Split lines, whose numbers are told if they are no variants."""
    n_needed = 1 + max(place for place in layout.places if place is not None)
    if layout.delimiter == ",":  # where texts may be quoted
        fields = pa.array(map(_csv_fields, lines.to_pylist()), pa.list_(pa.string()))
    elif layout.delimiter == "\t":
        fields = pc.split_pattern(lines, "\t", max_splits=n_needed)
    else:
        fields = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(lines), max_splits=n_needed)
    is_whole = pc.greater_equal(pc.list_value_length(fields), n_needed)
    fields = pc.if_else(is_whole, fields, pa.scalar([""] * n_needed, fields.type))
    nothing = pa.nulls(len(lines), pa.string())
    columns = [nothing if place is None else pc.list_element(fields, place) for place in layout.places]
    columns[1] = pc.ascii_trim_whitespace(columns[1])

    def tell(row: int) -> str:
        line = lines[row].as_py()
        return describe(f"line {numbers[row]}", line, _reason(line, layout, n_needed))

    return settle(columns, tell)


def _csv_fields(line: str) -> list[str]:
    """Split a line at commas outside of quotes; none if it is not whole, as a record ends with its line."""
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        return []


def _reason(line: str, layout: LineLayout, n_needed: int) -> str:
    """Say why a line is no record."""
    if layout.delimiter == "," and '"' in line and not _csv_fields(line):
        return "a quote without its partner; a text may not go on in the next line"
    n_fields = len(_csv_fields(line) if layout.delimiter == "," else line.split(layout.delimiter))
    if n_fields < n_needed:
        return f"{n_fields} of {layout.n_columns} columns"
    if REPLACED in line:
        return "bytes that are not UTF-8"
    return f"no position in column {(layout.places[1] or 0) + 1}, no contig or no REF"

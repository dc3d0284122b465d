"""Lists of variants of every usual kind, as batches of columns with one row for each ALT allele."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import interchange

from ..._types import VariantsLike
from . import variant_files
from .bgzip import DAMAGE
from .numbers import parse_whole
from .unreadable import N_FIRST, check_most, describe
from .variant_files import N_RECORDS, Columns, Row, as_columns, find_columns, settle, spelled, unreadable

SCHEMA = pa.schema(
    [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("allele_index", pa.int32(), nullable=False),
        pa.field("chrom", pa.string(), nullable=False),
        pa.field("pos", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("alt", pa.string()),
    ]
)
SHORTEST, COMPRESSED = 8, 16
"""Bytes of a record that is written out, at least; and by how much compression makes them fewer, at most."""
MISSING = ("", ".", "0")  # the last in PLINK's files


def count_at_most(source: VariantsLike) -> float:
    """Return more than the number of records that a source can have, without reading it."""
    if isinstance(source, str | Path):
        path = Path(source)
        size = path.stat().st_size if path.is_file() else math.inf
        return size / SHORTEST * (COMPRESSED if path.suffix in (".gz", ".bgz", ".bcf") else 1)
    return float(len(source)) if hasattr(source, "__len__") else math.inf


def read_variants(
    source: VariantsLike, *, n_rows: int = 1 << 16, bim_reference: str = "A2"
) -> Iterator[pa.RecordBatch]:
    """Read variants, batch by batch, in the order of the input.

    Parameters
    ----------
    source : path, "-", iterable or data frame
        A file, also compressed by gzip or bgzip, or "-" for standard input (no BCF there):

        * VCF, BCF;
        * a table with a header that names chrom, pos, ref, alt, and perhaps id, in any case and by their usual
          synonyms (#CHROM, chr, position, reference, alternate, rsid, ...), with tabs, commas or spaces;
        * PLINK's .pvar and .bim;
        * a variant in each line, as chr1:12345:A:G, chr1-12345-A-G, chr1_12345_A_G, chr1:12345:A>G, 1:12345_A/G. What
          follows the alleles is its id: chr1_12345_A_G_b38, chr1:12345:A:G:rs123. SPDI, which is known by an accession
          and three colons, NC_000001.11:12344:A:G, counts from 0.

        An iterable of such texts, of tuples (chrom, pos, ref, alt) or (chrom, pos, id, ref, alt), or of dicts. Or a
        data frame of pandas, Polars, pyarrow, DuckDB, ...: anything that speaks Arrow's protocol or the data frames'.
    n_rows : int
        Rows of a batch; the last has fewer.
    bim_reference : {"A2", "A1"}
        Which allele of a .bim file is REF. Neither need be: PLINK 1 puts the more common one into A2. Where the other
        one is the genome's, the status of the variant will be "swapped".

    Yields
    ------
    pyarrow.RecordBatch
        record : int64, number of the record in the input, from 0; allele_index : int32, number of the ALT allele in its
        record, from 0; chrom : string; pos : int64, 1-based; id : string, null if missing; ref : string; alt : string,
        null if missing, and then the only row of its record. Alleles are as they were given, symbolic ones too.

        A line, a row or an item that is no record has a row too: pos and alt are null, ref is empty, chrom is what is
        known of it, and id tells which it is and why, such as "line 17: chr1 NA A C (no position ...)".

    Raises
    ------
    TypeError, ValueError
        If the input is of no such kind, or most of its first 10,000 records cannot be read; it names the first.
    EOFError, OSError
        After the last whole record, if a file is cut short or damaged; it tells how many there were.
    MissingBackendError
        If pysam is not installed, which reads BCF.

    Notes
    -----
    Positions are 1-based in every kind of input but SPDI, and may come in any order; 0, where VCF has telomeres and
    PLINK variants without a place, is a position. A record ends with its line: a quoted text that goes on in the next
    line makes both unreadable. A text file that ends without a newline is whole if its last line has all columns of its
    header. Nothing tells that a plain text was cut between two lines.

    Examples
    --------
    >>> for batch in read_variants(["chr1:100:A:G,AT", "chr2:7:C:."]):
    ...     print(*batch.select(["record", "allele_index", "chrom", "pos", "alt"]).to_pylist(), sep="\\n")
    {'record': 0, 'allele_index': 0, 'chrom': 'chr1', 'pos': 100, 'alt': 'G'}
    {'record': 0, 'allele_index': 1, 'chrom': 'chr1', 'pos': 100, 'alt': 'AT'}
    {'record': 1, 'allele_index': 0, 'chrom': 'chr2', 'pos': 7, 'alt': None}
    """
    if n_rows < 1:
        raise ValueError(f"n_rows is {n_rows}; it must be at least 1")
    if bim_reference not in ("A1", "A2"):
        raise ValueError(f"bim_reference must be A1 or A2; got {bim_reference!r}")
    if isinstance(source, str | Path):
        return _batches(variant_files.read(source, bim_reference), n_rows, str(source))
    table = _as_arrow(source)
    records = _from_rows(source) if table is None else _from_table(table)
    return _batches(records, n_rows, "the input")


def _batches(records: Iterator[Columns], n_rows: int, name: str) -> Iterator[pa.RecordBatch]:
    """Cut batches of n_rows; what is whole comes before the error that ends it."""
    waiting, n_records = SCHEMA.empty_table(), 0
    failure: Exception | None = None
    while True:
        try:
            columns = next(records)
        except StopIteration:
            break
        except DAMAGE as error:
            kind, what = (EOFError, "cut short") if isinstance(error, EOFError) else (OSError, "damaged")
            failure = kind(f"{name} is {what} after {n_records:,} whole records; fetch it again ({error})")
            break
        waiting = pa.concat_tables([waiting, pa.table(_split(columns, n_records))])
        is_checked, n_records = n_records >= N_FIRST, n_records + len(columns[0])
        if n_records < N_FIRST:
            continue
        if not is_checked:
            _check_first(waiting, name)
        while len(waiting) >= n_rows:
            yield waiting[:n_rows].combine_chunks().to_batches()[0]
            waiting = waiting[n_rows:]
    if n_records < N_FIRST:
        _check_first(waiting, name)
    for start in range(0, len(waiting), n_rows):
        yield from waiting[start : start + n_rows].combine_chunks().to_batches()
    if failure is not None:
        raise failure


def _check_first(rows: pa.Table, name: str) -> None:
    """Refuse an input most of whose first records are unreadable."""
    lost = rows.filter(rows["pos"].is_null())
    if len(lost):
        n_records = rows["record"][-1].as_py() + 1
        check_most(
            len(lost), n_records, lost["id"][0].as_py(), name,
            "is it a list of variants? give chrom, pos, ref and alt, or chr1:12345:A:G",
        )  # fmt: skip


def _split(columns: Columns, first: int) -> pa.RecordBatch:
    """Give each ALT allele a row."""
    chrom, pos, id_, ref, alt = columns
    alleles = pc.split_pattern(pc.fill_null(alt, ""), ",")
    parents = pc.list_parent_indices(alleles)
    records = parents.to_numpy()
    rows = [
        first + records,
        (np.arange(len(records)) - alleles.offsets.to_numpy()[records]).astype(np.int32),
        chrom.take(parents),
        pos.take(parents),
        _without_missing(id_).take(parents),
        ref.take(parents),
        _without_missing(pc.list_flatten(alleles)),
    ]
    return pa.record_batch(rows, schema=SCHEMA)


def _without_missing(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_in(column, pa.array(MISSING)), pa.scalar(None, pa.string()), column)


def _as_arrow(source: VariantsLike) -> pa.Table | None:
    """Return a data frame as a table of pyarrow, None for another iterable."""
    try:
        if hasattr(source, "__arrow_c_stream__"):
            return pa.table(source)
        if hasattr(source, "__dataframe__"):
            return interchange.from_dataframe(source)
        if hasattr(source, "to_arrow"):
            return source.to_arrow()
    except pa.ArrowException as error:
        raise ValueError(
            f"the data frame has a column of values of several kinds; make it one of texts, astype(str) ({error})"
        ) from None
    if not isinstance(source, Iterable) or isinstance(source, bytes | Mapping):
        raise TypeError(
            f"variants cannot be read from a {type(source).__name__}; pass a path, a data frame, or an iterable of "
            f"texts like 'chr1:12345:A:G', of tuples or of dicts"
        )
    return None


def _from_table(table: pa.Table) -> Iterator[Columns]:
    places = find_columns(table.column_names, "the data frame")
    n_before = 0
    for batch in table.to_batches():
        columns = [pa.nulls(len(batch)) if place is None else batch.column(place) for place in places]

        def tell(row: int, columns: list[pa.Array] = columns, n_before: int = n_before) -> str:
            values = (columns[k][row].as_py() for k in (0, 1, 3, 4))
            return describe(f"row {n_before + row}", " ".join(map(str, values)), "no contig, position or REF")

        try:
            yield settle(columns, tell)
        except (pa.ArrowException, TypeError) as error:
            kinds = ", ".join(str(column.type) for column in columns)
            raise TypeError(
                f"chrom, pos, id, ref and alt of the data frame are {kinds}; give texts and whole numbers ({error})"
            ) from None
        n_before += len(batch)


def _from_rows(source: Iterable[Any]) -> Iterator[Columns]:
    rows = enumerate(source)
    while chunk := [_row(row, f"variant {number}") for number, row in itertools.islice(rows, N_RECORDS)]:
        yield as_columns(chunk)


def _row(row: object, where: str) -> Row:
    """Return the columns of a text, a tuple or a dict."""
    if isinstance(row, str):
        return spelled(row, where) if _is_text(row) else unreadable(where, ascii(row), "no text in UTF-8")
    if isinstance(row, Mapping):
        names = list(row)
        try:
            values = [None if k is None else row[names[k]] for k in find_columns(names, "it")]
        except ValueError as error:
            return unreadable(where, ascii(row), str(error))
    elif isinstance(row, Sequence) and len(row) in (4, 5):
        values = [*row[:2], *([None] if len(row) == 4 else []), *row[2:]]
    else:
        return unreadable(where, ascii(row), "pass 'chr1:12345:A:G', (chrom, pos, ref, alt) or a dict")
    chrom, id_ = (str(value) if isinstance(value, int | np.integer) else value for value in (values[0], values[2]))
    pos, ref, alt = parse_whole(values[1]), values[3], values[4]
    if pos is None or pos < 0 or not (_is_text(chrom) and _is_text(ref) and chrom and ref):
        return unreadable(where, ascii(row), "no contig, no position or no REF")
    alts = [alt] if isinstance(alt, str) else alt if isinstance(alt, Iterable) else []  # None, NaN and others' marks
    if not all(map(_is_text, alts)):
        return unreadable(where, ascii(row), "ALT must be a text or several")
    return chrom, pos, id_ if _is_text(id_) else None, ref, ",".join(alts)


def _is_text(value: object) -> bool:
    """Whether a value is text that can be written: not so what Python makes of bytes that are not UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

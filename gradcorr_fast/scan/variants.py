"""Lists of variants of every usual kind, as batches of columns with one row for each ALT allele."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import interchange

from . import variant_files
from .variant_files import DAMAGE, N_RECORDS, Columns, find_columns, spelled

SCHEMA = pa.schema(
    [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("allele_index", pa.int32(), nullable=False),
        pa.field("chrom", pa.string(), nullable=False),
        pa.field("pos", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("ref", pa.string(), nullable=False),
        pa.field("alt", pa.string()),
    ]
)
MISSING = ("", ".", "0")  # the last in PLINK's files


def read_variants(source: Any, *, n_rows: int = 1 << 16, bim_reference: str = "A2") -> Iterator[Any]:
    """Read variants, batch by batch, in the order of the input.

    Parameters
    ----------
    source : path, "-", iterable or data frame
        A file, also compressed by gzip or bgzip, or "-" for standard input (no BCF there):

        * VCF, BCF;
        * a table with a header that names chrom, pos, ref, alt, and perhaps id, in any case and by their usual
          synonyms (#CHROM, chr, position, reference, alternate, rsid, ...), with tabs, commas or spaces;
        * PLINK's .pvar and .bim;
        * a variant in each line, as chr1:12345:A:G, chr1-12345-A-G, chr1_12345_A_G or chr1:12345:A>G.

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

    Raises
    ------
    TypeError, ValueError
        If the input is of no such kind, or a line is no variant; it names the line.
    EOFError, OSError
        After the last whole record, if a file is cut short or damaged; it tells how many there were.
    MissingBackendError
        If pysam is not installed, which reads BCF.

    Notes
    -----
    Positions are 1-based in every kind of input, and may come in any order. A text file that ends without a newline is
    whole if its last line has all columns of its header. Nothing tells that a plain text was cut between two lines.

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


def _batches(records: Iterator[Columns], n_rows: int, name: str) -> Iterator[Any]:
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
        n_records += len(columns[0])
        while len(waiting) >= n_rows:
            yield waiting[:n_rows].combine_chunks().to_batches()[0]
            waiting = waiting[n_rows:]
    yield from waiting.combine_chunks().to_batches()
    if failure is not None:
        raise failure


def _split(columns: Columns, first: int) -> Any:
    """Give each ALT allele a row."""
    chrom, pos, id_, ref, alt = columns
    alleles = pc.split_pattern(pc.fill_null(alt.cast(pa.string()), ""), ",")
    parents = pc.list_parent_indices(alleles)
    records = parents.to_numpy()
    rows = [
        first + records,
        (np.arange(len(records)) - alleles.offsets.to_numpy()[records]).astype(np.int32),
        pc.fill_null(chrom.cast(pa.string()), "").take(parents),
        pos.cast(pa.int64()).take(parents),
        _without_missing(id_.cast(pa.string())).take(parents),
        pc.fill_null(ref.cast(pa.string()), "").take(parents),
        _without_missing(pc.list_flatten(alleles)),
    ]
    return pa.record_batch(rows, schema=SCHEMA)


def _without_missing(column: Any) -> Any:
    return pc.if_else(pc.is_in(column, pa.array(MISSING)), pa.scalar(None, pa.string()), column)


def _as_arrow(source: Any) -> Any:
    """Return a data frame as a table of pyarrow, None for another iterable."""
    if hasattr(source, "__arrow_c_stream__"):
        return pa.table(source)
    if hasattr(source, "__dataframe__"):
        return interchange.from_dataframe(source)
    if hasattr(source, "to_arrow"):
        return source.to_arrow()
    if not isinstance(source, Iterable) or isinstance(source, bytes | Mapping):
        raise TypeError(
            f"variants cannot be read from a {type(source).__name__}; pass a path, a data frame, or an iterable of "
            f"texts like 'chr1:12345:A:G', of tuples or of dicts"
        )
    return None


def _from_table(table: Any) -> Iterator[Columns]:
    places = find_columns(table.column_names, "the data frame")
    for batch in table.to_batches():
        columns = [pa.nulls(len(batch)) if place is None else batch.column(place) for place in places]
        try:
            columns[1] = columns[1].cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"positions of the data frame must be whole numbers; {error}") from None
        if columns[1].null_count:
            raise ValueError("a record of the data frame has no position; leave it out, or give it one")
        yield columns


def _from_rows(source: Iterable[Any]) -> Iterator[Columns]:
    rows = enumerate(source)
    while chunk := [_row(row, number) for number, row in itertools.islice(rows, N_RECORDS)]:
        yield [pa.array(column) for column in zip(*chunk, strict=True)]


def _row(row: Any, number: int) -> tuple[Any, ...]:
    if isinstance(row, str):
        return spelled(row, f"variant {number}")
    values: list[Any]
    if isinstance(row, Mapping):
        names = list(row)
        values = [None if k is None else row[names[k]] for k in find_columns(names, f"variant {number}")]
    elif isinstance(row, Sequence) and len(row) in (4, 5):
        values = [*row[:2], *([None] if len(row) == 4 else []), *row[2:]]
    else:
        raise TypeError(f"variant {number} is {row!r}; pass 'chr1:12345:A:G', (chrom, pos, ref, alt) or a dict")
    chrom, pos, id_, ref, alt = values
    if not hasattr(pos, "__index__"):
        raise TypeError(f"variant {number} is {row!r}; its position must be a whole number")
    return str(chrom), int(pos), id_, ref, alt if alt is None or isinstance(alt, str) else ",".join(alt)

"""Regions of a genome, from BED files, peak files and text, and which variants lie in them."""

import gzip
import re
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._types import Array, RegionsLike
from ..._warn import warn
from . import bgzip
from .bgzip import DAMAGE
from .foreign import refuse_foreign
from .genome import Genome
from .numbers import N_DIGITS, parse_column, parse_whole
from .unreadable import check_most, describe

SCHEMA = pa.schema(
    [
        pa.field("chrom", pa.string(), nullable=False),
        pa.field("start", pa.int64()),
        pa.field("stop", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("centre", pa.int64()),
        pa.field("strand", pa.string(), nullable=False),
    ]
)
SUFFIXES = (".bed", "peak", ".bedgraph", ".bg", ".gz", ".bgz", ".txt", ".tsv")
STRANDS = ("+", "-")
LONGEST_LINE = 1 << 24
"""Letters of a line of a file, beyond which it is refused, so that memory stays bounded."""
_DIGITS = rf"[0-9][0-9,]{{0,{N_DIGITS}}}"
_TEXT = re.compile(rf"(?P<chrom>[^\t]+?)(?::(?P<first>{_DIGITS})(?:-(?P<last>{_DIGITS})?)?)?")
BATCH_ROWS = 1 << 16
_EVERYTHING = np.iinfo(np.int64).max
_WANTED = (
    "a region begins with a contig, a start and an end that is not smaller, and a tenth column of ten is a summit, "
    "counted from the start"
)
_Row = tuple[str, int | None, int | None, str | None, int | None, str]
"""chrom, start, stop, name, summit and strand; of what is no region start and stop are None, and name tells of it."""


def read_regions(source: RegionsLike, *, keep_unreadable: bool = False) -> pa.Table:
    """Read regions, in the order of the input.

    Parameters
    ----------
    source : path, str, iterable or table
        A BED, bedGraph or narrowPeak file, also compressed by gzip: 0-based, the end excluded. Or texts, one or
        several, as samtools has them: chr1:1,001-2,000, 1-based, the end included; chr1:5 and chr1:5- go on to the end
        of the contig, and chr1 is all of it, with 2**63 - 1 for its end. Or tuples (chrom, start, stop) as in BED,
        perhaps with a name and a strand. Or a table of pyarrow, pandas or polars with these columns (end is stop), and
        perhaps name, centre and strand, such as this function returns.
    keep_unreadable : bool
        Whether a line or an item that is no region gets a row all the same, without start, stop and centre, and with
        what it is for its name; otherwise it is an error.

    Returns
    -------
    pyarrow.Table
        chrom; start and stop, 0-based, the end excluded; name, the fourth column of a file, or null; centre, 0-based:
        the summit of a narrowPeak that has one (tenth column), and (start + stop) // 2 of every other region; strand,
        "+" or "-" if the sixth column is one of these, else ".".

    Raises
    ------
    FileNotFoundError
        If a path names no file.
    TypeError
        If it is of no such kind.
    ValueError
        If a line or a region is none, or with `keep_unreadable` most of them; it names the first.
    EOFError, OSError
        If a compressed file is cut short or damaged.

    Examples
    --------
    >>> read_regions(["chr1:1,001-2,000", ("chr2", 5, 8)]).to_pylist()[0]
    {'chrom': 'chr1', 'start': 1000, 'stop': 2000, 'name': None, 'centre': 1500, 'strand': '.'}
    """
    name = str(source) if isinstance(source, str | Path) else "the regions"
    regions = _read(source)
    lost = regions.filter(regions["start"].is_null())
    if len(lost) and not keep_unreadable:
        raise ValueError(f"{lost['name'][0].as_py()}: {_WANTED}")
    if len(lost):
        check_most(len(lost), len(regions), lost["name"][0].as_py(), name, _WANTED)
    if n_outside := pc.sum(pc.greater(regions["centre"], regions["stop"])).as_py():
        warn(
            f"{n_outside} summits of {len(regions)} regions lie outside of them, and windows are centred there all the "
            f"same; if the tenth column is no summit, or the peaks were cut, leave it away: cut -f 1-9",
        )
    return regions


def _read(source: RegionsLike) -> pa.Table:
    if hasattr(source, "__arrow_c_stream__"):
        return _read_table(pa.table(source))
    rows: Iterator[_Row]
    if isinstance(source, Path) or (isinstance(source, str) and _is_path(source)):
        rows = _read_bed(Path(source))
    elif isinstance(source, str):
        rows = iter([_parse_text(source, "the text")])
    elif isinstance(source, Iterable) and not isinstance(source, bytes):
        rows = (
            _parse_text(region, f"region {number}") if isinstance(region, str) else _parse_tuple(region, number)
            for number, region in enumerate(source)
        )
    else:
        raise TypeError(
            f"regions cannot be read from a {type(source).__name__}; pass a path, a table, or texts like chr1:1-2,000"
        )
    parts = iter(lambda: list(islice(rows, BATCH_ROWS)), [])  # Python's objects for millions take gigabytes
    return pa.concat_tables([SCHEMA.empty_table(), *map(_make_table, parts)])


def _make_table(rows: Sequence[_Row]) -> pa.Table:
    chrom, start, stop, name, summit, strand = zip(*rows, strict=True)
    first, last, peak = (pa.array(numbers, pa.int64()) for numbers in (start, stop, summit))
    is_summit = pc.fill_null(pc.greater_equal(peak, 0), False)
    centre = pc.add(first, pc.if_else(is_summit, peak, pc.divide(pc.subtract(last, first), 2)))
    return pa.table(
        [pa.array(chrom), first, last, pa.array(name, pa.string()), centre, pa.array(strand)], schema=SCHEMA
    )


def _read_table(table: pa.Table) -> pa.Table:
    """Take the columns of a table, and find those that it lacks."""
    if "stop" not in table.column_names:
        table = table.rename_columns(["stop" if name == "end" else name for name in table.column_names])
    if missing := {"chrom", "start", "stop"} - set(table.column_names):
        raise ValueError(f"the table of regions has no column {', '.join(sorted(missing))}; give chrom, start and stop")
    table = table.combine_chunks()
    numbers = {name: _numbers(_array(table, name)) for name in ("start", "stop")}
    is_region = pc.and_(pc.greater_equal(numbers["start"], 0), pc.less_equal(numbers["start"], numbers["stop"]))
    is_lost = pc.invert(pc.fill_null(is_region, False))
    start, stop = (pc.if_else(is_lost, None, column) for column in numbers.values())
    middle = pc.add(start, pc.divide(pc.subtract(stop, start), 2))
    given = {name: _array(table, name) for name in table.column_names if name in SCHEMA.names}
    names = given.get("name", pa.nulls(len(table))).cast(pa.string())
    told = [
        describe(f"row {row}", " ".join(str(table[name][row]) for name in ("chrom", "start", "stop")), "no region")
        for row in np.flatnonzero(is_lost.to_numpy(zero_copy_only=False))
    ]
    columns = {
        "chrom": pc.fill_null(given["chrom"].cast(pa.string()), ""),
        "start": start,
        "stop": stop,
        "name": pc.replace_with_mask(names, is_lost, pa.array(told, pa.string())),
        "centre": pc.coalesce(pc.if_else(is_lost, None, _numbers(given["centre"])), middle)
        if "centre" in given
        else middle,
        "strand": _strands(given.get("strand", pa.nulls(len(table)))),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _numbers(column: pa.Array) -> pa.Array:
    """Whole numbers, and what stands for the end of a contig."""
    numbers = parse_column(column)
    if not pa.types.is_int64(column.type):
        return numbers
    return pc.if_else(pc.equal(column, _EVERYTHING), pa.scalar(_EVERYTHING, pa.int64()), numbers)


def _strands(column: pa.Array) -> pa.Array:
    text = column.cast(pa.string())
    return pc.if_else(pc.is_in(text, pa.array(STRANDS)), text, ".")


def is_inside(regions: pa.Table, genome: Genome, contig: str, starts: Array, stops: Array) -> Array:
    """Return which intervals of a contig share a position with a region; names of regions may be aliases."""
    names = pc.unique(regions["chrom"]).to_pylist()
    own = pa.array([name for name in names if genome.resolve(name) == contig], pa.string())
    here = regions.filter(pc.and_(pc.is_in(regions["chrom"], own), pc.less(regions["start"], regions["stop"])))
    begins, ends = (np.sort(here[name].to_numpy()) for name in ("start", "stop"))
    # regions that begin before an interval ends, less those that end before it begins
    return np.searchsorted(begins, stops, "left") > np.searchsorted(ends, starts, "right")


def _is_path(text: str) -> bool:
    """Whether a text is meant as a path; contigs may have dots in their names too, and paths may have none."""
    return Path(text).is_file() or text.lower().endswith(SUFFIXES) or "/" in text


def _parse_tuple(region: object, number: int) -> _Row:
    if isinstance(region, Sequence) and len(region) >= 3:
        start, stop = parse_whole(region[1]), parse_whole(region[2])
        if start is not None and stop is not None and 0 <= start <= stop:
            name, strand = (*region[3:5], None, None)[:2]
            return str(region[0]), start, stop, None if name is None else str(name), None, _strand(strand)
    return _unreadable(f"region {number}", ascii(region), "no (chrom, start, stop)")


def _parse_text(text: str, where: str) -> _Row:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        return _unreadable(where, text, "neither a file nor a region; write regions like chr1:1,001-2,000")
    first, last = (int(match[end].replace(",", "")) if match[end] else None for end in ("first", "last"))
    start, stop = 0 if first is None else first - 1, _EVERYTHING if last is None else last
    if not 0 <= start < stop:
        return _unreadable(where, text, "it ends before it or the contig begins; write it like chr1:1,001-2,000")
    return match["chrom"], start, stop, None, None, "."


def _strand(value: object) -> str:
    return value if isinstance(value, str) and value in STRANDS else "."


def _unreadable(where: str, text: str, reason: str) -> _Row:
    return "", None, None, describe(where, text, reason), None, "."


def _read_bed(path: Path) -> Iterator[_Row]:
    with open(path, "rb") as file:
        head = file.peek(bgzip.N_HEAD)
        refuse_foreign(head, str(path))
        try:
            data: Any = gzip.GzipFile(fileobj=file) if head.startswith(bgzip.GZIP) else file
            refuse_foreign(data.peek(bgzip.N_HEAD), str(path))
            with TextIOWrapper(data, "utf-8-sig", errors="replace") as text:
                yield from _bed_rows(text, path)
        except DAMAGE as error:
            what = "cut short" if isinstance(error, EOFError) else "damaged"
            raise OSError(f"{path} is {what}; fetch it again ({error})") from None
    if bgzip.is_bgzip(head) and not bgzip.has_end(path):
        raise OSError(f"{path} is cut short; fetch it again (bgzip's mark of the end is missing)")


def _bed_rows(text: TextIOWrapper, path: Path) -> Iterator[_Row]:
    for number, line in enumerate(iter(lambda: text.readline(LONGEST_LINE), ""), 1):
        if len(line) == LONGEST_LINE:
            raise ValueError(
                f"line {number} of {path} has more than {LONGEST_LINE:,} letters; is it a list of regions?"
            )
        if line.strip() and not line.startswith(("#", "track", "browser")):
            yield _bed_row(line.rstrip("\r\n"), f"line {number} of {path}")


def _bed_row(line: str, where: str) -> _Row:
    fields = line.split("\t") if "\t" in line else line.split()
    start, stop = (parse_whole(field.strip()) for field in (*fields[1:3], "", "")[:2])
    summit = parse_whole(fields[9].strip()) if len(fields) in (10, 20) else -1  # narrowPeak, and IDR of two of them
    if "\ufffd" in line:
        return _unreadable(where, line, "bytes that are not UTF-8")
    if start is None or stop is None or summit is None or not 0 <= start <= stop or not fields[0].strip():
        return _unreadable(where, line, "no region")
    name = fields[3] if len(fields) > 3 and fields[3] != "." else None
    return fields[0], start, stop, name, summit, _strand(fields[5].strip() if len(fields) > 5 else None)

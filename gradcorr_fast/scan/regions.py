"""Regions of a genome, from BED files, peak files and text, and which variants lie in them."""

import gzip
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._warn import warn
from .genome import Genome

Array = np.ndarray[Any, Any]

SCHEMA = pa.schema(
    [
        pa.field("chrom", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("centre", pa.int64(), nullable=False),
    ]
)
SUFFIXES = (".bed", "peak", ".bedgraph", ".bg", ".gz", ".bgz", ".txt", ".tsv")
_TEXT = re.compile(r"(?P<chrom>[^\t]+?)(?::(?P<first>[\d,]+)(?:-(?P<last>[\d,]+)?)?)?")
BATCH_ROWS = 1 << 16
_EVERYTHING = np.iinfo(np.int64).max


def read_regions(source: Any) -> pa.Table:
    """Read regions, in the order of the input.

    Parameters
    ----------
    source : path, str, iterable or table
        A BED, bedGraph or narrowPeak file, also compressed by gzip: 0-based, the end excluded. Or texts, one or
        several, as samtools has them: chr1:1,001-2,000, 1-based, the end included; chr1:5 and chr1:5- go on to the end
        of the contig, and chr1 is all of it, with 2**63 - 1 for its end. Or tuples (chrom, start, stop) as in BED,
        perhaps with a name. Or a table of pyarrow, pandas or polars with these columns (end is stop), and perhaps name
        and centre, such as this function returns.

    Returns
    -------
    pyarrow.Table
        chrom; start and stop, 0-based, the end excluded; name, the fourth column of a file, or null; centre, 0-based:
        the summit of a narrowPeak that has one (tenth column), and (start + stop) // 2 of every other region.

    Raises
    ------
    FileNotFoundError
        If a path names no file.
    ValueError
        If a line or a region is none; it names it.

    Examples
    --------
    >>> read_regions(["chr1:1,001-2,000", ("chr2", 5, 8)]).to_pylist()[0]
    {'chrom': 'chr1', 'start': 1000, 'stop': 2000, 'name': None, 'centre': 1500}
    """
    regions = _read(source)
    start, stop, centre = (regions[name].to_numpy() for name in ("start", "stop", "centre"))
    is_wrong = (start < 0) | (stop < start)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise ValueError(
            f"region {row} is ({regions['chrom'][row].as_py()!r}, {start[row]}, {stop[row]}); it must have a start "
            f"that is not negative and an end that is not smaller"
        )
    if n_outside := int((centre > stop).sum()):
        warn(
            f"{n_outside} summits of {len(regions)} regions lie outside of them, and windows are centred there all the "
            f"same; if the tenth column is no summit, or the peaks were cut, leave it away: cut -f 1-9",
        )
    return regions


def _read(source: Any) -> pa.Table:
    if hasattr(source, "__arrow_c_stream__"):
        return _read_table(pa.table(source))
    rows: Iterator[Any]
    if isinstance(source, Path) or (isinstance(source, str) and _is_path(source)):
        rows = _read_bed(Path(source))
    elif isinstance(source, str):
        rows = iter([_parse_text(source)])
    else:
        rows = (_parse_text(region) if isinstance(region, str) else _parse_tuple(region) for region in source)
    parts = iter(lambda: list(islice(rows, BATCH_ROWS)), [])  # Python's objects for millions take gigabytes
    return pa.concat_tables([SCHEMA.empty_table(), *map(_make_table, parts)])


def _make_table(rows: Sequence[Any]) -> pa.Table:
    chrom, start, stop, name, summit = zip(*rows, strict=True)
    first, last = np.array(start, np.int64), np.array(stop, np.int64)
    is_summit = np.array([s is not None and s >= 0 for s in summit], bool)
    peak = np.array([s if is_peak else 0 for s, is_peak in zip(summit, is_summit, strict=True)], np.int64)
    centre = first + np.where(is_summit, peak, (last - first) // 2)
    return pa.table([list(map(str, chrom)), first, last, pa.array(name, pa.string()), centre], schema=SCHEMA)


def _read_table(table: pa.Table) -> pa.Table:
    """Take the columns of a table, and find those that it lacks."""
    if "stop" not in table.column_names:
        table = table.rename_columns(["stop" if name == "end" else name for name in table.column_names])
    if missing := {"chrom", "start", "stop"} - set(table.column_names):
        raise ValueError(f"the table of regions has no column {', '.join(sorted(missing))}; give chrom, start and stop")
    start, stop = (table[name].cast(pa.int64()) for name in ("start", "stop"))
    columns = {
        "name": pa.nulls(len(table), pa.string()),
        "centre": pc.add(start, pc.divide(pc.subtract(stop, start), 2)),
        **{name: table[name] for name in table.column_names},
    }
    return pa.table([columns[name] for name in SCHEMA.names], SCHEMA.names).cast(SCHEMA)


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


def _parse_tuple(region: Any) -> tuple[Any, Any, Any, str | None, None]:
    name = region[3] if len(region) > 3 else None
    return *region[:3], None if name is None else str(name), None


def _parse_text(text: str) -> tuple[str, int, int, None, None]:
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is neither a file nor a region; write regions like chr1:1,001-2,000")
    first, last = (int(found[end].replace(",", "")) if found[end] else None for end in ("first", "last"))
    start, stop = 0 if first is None else first - 1, _EVERYTHING if last is None else last
    if not 0 <= start < stop <= _EVERYTHING:
        raise ValueError(f"region {text!r} ends before it or the contig begins; write it like chr1:1,001-2,000")
    return found["chrom"], start, stop, None, None


def _read_bed(path: Path) -> Iterator[tuple[str, int, int, str | None, int | None]]:
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rt") if is_gzip else open(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
            try:
                start, stop = int(fields[1]), int(fields[2])
                summit = int(fields[9]) if len(fields) in (10, 20) else None  # narrowPeak, and IDR of two of them
            except (IndexError, ValueError):
                start, stop, summit = 0, -1, None
            if not 0 <= start <= stop <= _EVERYTHING:
                raise ValueError(
                    f"line {number} of {path} is {line.strip()[:80]!r}; it must begin with a contig, a start and an "
                    f"end that is not smaller, and a tenth column of ten must be a summit, counted from the start"
                )
            yield fields[0], start, stop, fields[3] if len(fields) > 3 and fields[3] != "." else None, summit

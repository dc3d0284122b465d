"""Scores of regions as a bigWig track, which genome browsers show."""

import operator
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._check import optional
from .._types import AnyArray, Array
from .reading import as_numpy, file_behind
from .replacing import replacing

OVERLAPS = ("mean", "max", "first", "nearest-summit")
BATCH = 1 << 16  # intervals that are Python's numbers at a time


class Regions(NamedTuple):
    """Windows of one chromosome, in the order of their starts."""

    chromosome: str
    starts: Array
    rows: Array
    """Which rows of the values belong to them."""


def save_bigwig(
    path: str | Path,
    values: AnyArray,
    regions: str | Path | Iterable[tuple[str, int, int]],
    chrom_sizes: str | Path | Mapping[str, int],
    *,
    overlap: str = "mean",
    force: bool = False,
) -> None:
    """Write scores of regions, such as grad-times-input, to a bigWig file.

    Parameters
    ----------
    path : str or Path
        With the suffix .bw or .bigWig.
    values : array, shape (N, L)
        One number for each position, of any supported library or as `load` returns it; written as float32. NaN and
        infinity are left out, as are positions beyond the ends of a chromosome.
    regions : path of a BED file, or iterable of (chromosome, start, end)
        N regions of L bp, 0-based, end excluded, in any order.
    chrom_sizes : path of a table, or mapping
        Length of each chromosome; the table has a name and a length in each line.
    overlap : {"mean", "max", "first", "nearest-summit"}
        What a position gets that several regions cover: the mean of their finite values, the largest (not the largest
        in size), that of the region that comes first in `regions` and has one, or that of the region whose middle is
        nearest, as ChromBPNet has it: of neighbours, the right one's from halfway on.
    force : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    TypeError, ValueError
        If values and regions do not fit together, a chromosome is unknown, or a region lies outside of it.
    FileExistsError
        If the file exists and `force` is not given.
    MissingBackendError
        If pyBigWig is not installed.

    Notes
    -----
    Neighbours with equal values become one interval, zeros among them. The header has all chromosomes, in alphabetical
    order, also those without values. The file is read back before it takes its place, since a full disk is not told.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bigwig(f"{folder}/run.bw", np.array([[0.5, 1.5]]), [("chr1", 10, 12)], {"chr1": 100})
    """
    path, sizes = Path(path), _sizes(chrom_sizes)
    if path.suffix.lower() not in (".bw", ".bigwig"):
        raise ValueError(f"{path} must have the suffix .bw or .bigWig; rename it")
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap must be one of {', '.join(OVERLAPS)}; got {overlap!r}")
    if len(getattr(values, "shape", ())) != 2 or 0 in values.shape:
        raise ValueError("values must be an array (N, L) that is not empty; gf.grad_times_input makes one of a map")
    if (kind := as_numpy(values[:1]).dtype).kind not in "biuf":
        raise TypeError(f"values must be real numbers; got {kind}")
    windows = _windows(regions, values.shape, sizes)
    inputs = [Path(source) for source in (regions, chrom_sizes) if isinstance(source, str | Path)]
    inputs += file_behind(values)
    with replacing([path], inputs, force=force) as (temporary,):
        counts = np.zeros(1, np.int64)
        _write(temporary, sizes, _intervals(windows, values, sizes, overlap, counts))
        if not counts[0]:
            raise ValueError("no value is finite and inside its chromosome, and a bigWig file cannot be empty")
        _verify(temporary, int(counts[0]))


def _sizes(chrom_sizes: str | Path | Mapping[str, int]) -> dict[str, int]:
    if isinstance(chrom_sizes, Mapping):
        return {str(name): int(size) for name, size in chrom_sizes.items()}
    return {name: size for name, size in _table(Path(chrom_sizes), 2)}  # noqa: C416  (a row has unknown length)


def _table(path: Path, n_columns: int) -> Iterator[tuple[Any, ...]]:
    """Yield the first columns of a table: a name, then whole numbers. Lines of comment and of browsers are skipped."""
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0] in ("track", "browser") or words[0].startswith("#"):
                continue
            try:
                name, *numbers = words[:n_columns]
                yield name, *map(int, numbers + [""] * (n_columns - len(words)))
            except ValueError:
                raise ValueError(
                    f"line {number} of {path} is {line.strip()!r}; it must begin with a name and {n_columns - 1} whole "
                    f"numbers"
                ) from None


def _windows(
    regions: str | Path | Iterable[tuple[Any, ...]], shape: tuple[int, ...], sizes: dict[str, int]
) -> list[Regions]:
    """Check the regions, and sort them by chromosome and start."""
    table = _table(Path(regions), 3) if isinstance(regions, str | Path) else regions
    triples = [(name, operator.index(start), operator.index(end)) for name, start, end in table]
    if len(triples) != shape[0]:
        raise ValueError(f"there are {len(triples)} regions and {shape[0]} rows of values; give one region a row")
    by_chromosome: dict[str, tuple[list[int], list[int]]] = {}
    for row, (name, start, end) in enumerate(triples):
        if name not in sizes:
            raise ValueError(f"region {row} lies on {name!r}, which chrom_sizes lacks; use the names of one assembly")
        if end - start != shape[1]:
            raise ValueError(
                f"region {row}, {name}:{start}-{end}, has {end - start} bp and {shape[1]} values; give the windows "
                f"that were scored"
            )
        if start >= sizes[name] or end <= 0:
            raise ValueError(
                f"region {row}, {name}:{start}-{end}, lies outside of {name}, which has {sizes[name]} bp; use the "
                f"sizes of the assembly of the regions"
            )
        starts, rows = by_chromosome.setdefault(name, ([], []))
        starts.append(start)
        rows.append(row)
    windows = []
    for name in sorted(by_chromosome):
        order = np.argsort(by_chromosome[name][0], kind="stable")
        windows.append(Regions(name, np.array(by_chromosome[name][0])[order], np.array(by_chromosome[name][1])[order]))
    return windows


def _intervals(
    windows: list[Regions], values: AnyArray, sizes: dict[str, int], overlap: str, counts: Array
) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield chromosome, starts, ends and values, cluster by cluster of overlapping windows; count the positions."""
    length = values.shape[1]
    for chromosome, starts, rows in windows:
        edges = np.flatnonzero(np.diff(starts) >= length) + 1
        for some, of_values in zip(np.split(starts, edges), np.split(rows, edges), strict=True):
            track = _merge(some - some[0], of_values, values, overlap)
            first = int(some[0])
            track = track[max(0, -first) : sizes[chromosome] - first]
            begins, ends = _runs(track)
            counts += np.sum(ends - begins)
            yield chromosome, begins + max(first, 0), ends + max(first, 0), track[begins]


def _merge(offsets: Array, rows: Array, values: AnyArray, overlap: str) -> Array:
    """Lay overlapping windows, in the order of their starts, on one track; NaN where none has a finite value."""
    length = values.shape[1]
    track = np.full(int(offsets[-1]) + length, np.nan, np.float32)
    total, count = (np.zeros(len(track)), np.zeros(len(track))) if overlap == "mean" else (track, track)
    middles = offsets + length // 2
    halfway = np.concatenate([[0], (middles[1:] + middles[:-1]) // 2, [len(track)]])
    for k in np.argsort(rows):  # in the order they were given in
        place = slice(int(offsets[k]), int(offsets[k]) + length)
        score = _as_float32(as_numpy(values[int(rows[k])]), rows[k])
        is_finite = np.isfinite(score)
        if overlap == "mean":
            total[place] += np.where(is_finite, score, 0)
            count[place] += is_finite
        elif overlap == "max":
            track[place] = np.fmax(track[place], np.where(is_finite, score, np.nan))
        elif overlap == "first":
            track[place] = np.where(np.isnan(track[place]) & is_finite, score, track[place])
        else:
            own = slice(max(place.start, int(halfway[k])), min(place.stop, int(halfway[k + 1])))
            track[own] = np.where(is_finite, score, np.nan)[own.start - place.start : own.stop - place.start]
    if overlap == "mean":
        np.divide(total, count, out=track, where=count > 0, casting="unsafe")
    return track


def _as_float32(values: Array, row: int) -> Array:
    with np.errstate(over="ignore"):  # which is refused below
        narrow: Array = values.astype(np.float32)
    if (np.isfinite(narrow) != np.isfinite(values)).any():
        raise ValueError(f"row {row} of values is too large for float32; scale the values down")
    return narrow


def _runs(track: Array) -> tuple[Array, Array]:
    """Return where runs of equal numbers begin and end; NaN belongs to none."""
    changes = np.flatnonzero(track[1:] != track[:-1]) + 1
    begins, ends = np.concatenate([[0], changes]), np.concatenate([changes, [len(track)]])
    has_value = ~np.isnan(track[begins])
    return begins[has_value], ends[has_value]


def _write(path: Path, sizes: dict[str, int], runs: Iterator[tuple[str, Array, Array, Array]]) -> None:
    try:
        file = optional("pyBigWig", "genome").open(str(path), "w")
        try:
            file.addHeader(sorted(sizes.items()))
            for chromosome, begins, ends, values in runs:
                for start in range(0, len(begins), BATCH):
                    batch = [part[start : start + BATCH].tolist() for part in (begins, ends, values)]
                    file.addEntries([chromosome] * len(batch[0]), batch[0], ends=batch[1], values=batch[2])
        finally:
            file.close()
    except RuntimeError as error:  # whatever befalls pyBigWig
        raise OSError(f"{path} cannot be written ({error}); is the disk full?") from error


def _verify(path: Path, n_positions: int) -> None:
    """Read the number of positions back."""
    try:
        n_written = optional("pyBigWig", "genome").open(str(path)).header()["nBasesCovered"]
    except RuntimeError:
        n_written = 0
    if n_written != n_positions:
        raise OSError(f"{path} holds {n_written} positions and should hold {n_positions}; is the disk full?")

"""What is done with the shards of a scan, in this process or in others: computed from what was placed, and written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ..results.parquet import group_sizes
from .folder import Shards, working
from .planning import Scan
from .progress import Progress

Advance = Callable[[float], None]
"""Tells of so many more alleles or regions."""


class Work(Protocol):
    """What a kind of scan does with a shard."""

    def compute(self, rows: pa.Table, advance: Advance) -> Any:
        """Run the model on what was placed of a shard."""

    def give_up(self, rows: pa.Table, reason: str) -> Any:
        """Return what stands for a shard that cannot be computed."""

    def write(self, number: int, shard: Any) -> None:
        """Put a shard on disk, and last what says that it is done."""


def numbers_of(n_shards: int, share: tuple[int, int] | None) -> Sequence[int]:
    """Return the shards of a share (i, n), of all without."""
    numbers = range(n_shards)
    return numbers if share is None else numbers[share[0] - 1 :: share[1]]


@contextmanager
def showing(
    scan: Scan, planned: pq.ParquetFile, share: tuple[int, int] | None, what: str, *, verbose: bool
) -> Iterator[Progress]:
    """Show how far the shards of a share are."""
    sizes = group_sizes(planned)
    numbers = numbers_of(len(sizes), share)
    done = sum(sizes[number] for number in numbers if scan.folder.manifest(number))
    progress = Progress(sum(sizes[number] for number in numbers), done, what, hidden=not verbose)
    yield progress
    progress.finish()


def work_here(
    scan: Scan, work: Work, planned: pq.ParquetFile, share: tuple[int, int] | None, what: str, *, verbose: bool
) -> None:
    """Work on the shards that are not done, beside other processes that do; a thread puts them on disk meanwhile."""
    numbers = numbers_of(planned.num_row_groups, share)
    with (
        showing(scan, planned, share, what, verbose=verbose) as progress,
        working(scan.folder, scan.record["id"], numbers) as shards,
    ):
        _work(shards, work, planned, progress)


def _work(shards: Shards, work: Work, planned: pq.ParquetFile, progress: Progress) -> None:
    for number in shards:  # what is computed has no name here, which would keep it in memory
        shards.write(partial(work.write, number, work.compute(planned.read_row_group(number), progress.advance)))

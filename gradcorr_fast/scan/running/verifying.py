"""Everything that a scan wrote, read again and compared with the digests that were written with it."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..._check import optional
from ..._damage import DAMAGE, MALFORMED, told
from ..._types import PathLike
from ..._wording import option
from ..inputs.variant_files import quiet_htslib
from ..results.digests import CHECK, LINES, ROWS, TextDigest, problem_of
from ..results.matrix import group_problems
from ..results.merging import tsv_lines
from ..results.metadata import REGIONS, STORE, TABLE, TABLE_FORMATS, format_of, read_sealed
from ..results.parquet import open_checked
from ..results.tables import plain_status
from .folder import MATRIX, PLAN_DIGEST, Folder, file_digest
from .joining import folder_of, matrix_beside

BLOCK_BYTES = 1 << 20
UNREADABLE = (*DAMAGE, *MALFORMED)
"""What libraries raise for files that are not what was written."""


class Verification(NamedTuple):
    """What was read of a scan, and what of it is not what was written."""

    n_files: int
    """Files and folders that were read."""
    problems: list[str]
    """A sentence for each that is damaged or missing."""
    shards: list[int]
    """Those to do again: the same call with resume does them."""
    n_left: int
    """Shards that are not done yet."""


def verify(out: PathLike) -> Verification:
    """Read everything that a scan wrote, and say what is damaged.

    Parameters
    ----------
    out : path
        As in `score_variants` or `attribute_regions`, finished or not; or a table or Zarr matrix of scores by itself.

    Returns
    -------
    Verification
        Nothing is changed. Shards that are named are done again by the same call with ``resume=True`` (--resume), where
        the folder of the scan is still there; a table alone has to be scored again, or fetched from where it is whole.

    Raises
    ------
    FileNotFoundError
        If there is nothing of a scan.

    Notes
    -----
    Compared are: the record of the scan with its identity; every shard's files with the SHA-256 in its manifest; the
    rows of a table, as text, with the SHA-256 in its metadata (of BCF the number of records, and the checksums of its
    blocks); chunks of Zarr with their CRC32C; and all metadata with the digest that they carry of themselves.

    Examples
    --------
    >>> verify("scores.parquet").problems  # doctest: +SKIP
    []
    """
    path, check = Path(out), _Check()
    folder = Folder(folder_of(path))
    if folder.is_there:
        check.scan(folder)
    elif path.is_dir():
        check.group(path)
    elif path.is_file():
        check.table(path)
        if matrix_beside(path).exists():
            check.group(matrix_beside(path))
    else:
        raise FileNotFoundError(f"there is nothing of a scan at {path}; name what score or attribute was given as OUT")
    return Verification(check.n_files, check.problems, sorted(check.shards), check.n_left)


class _Check:
    """Reads, counts, and takes down what is wrong."""

    def __init__(self) -> None:
        self.n_files, self.n_left = 0, 0
        self.problems: list[str] = []
        self.shards: set[int] = set()

    def scan(self, folder: Folder) -> None:
        """Read the folder of a scan, and the table that it may have written."""
        self.n_files += 1
        try:
            record = folder.record
        except UNREADABLE as error:
            self.problems.append(f"{error}; nothing tells what the scan was: begin it anew with {option('force')}")
            return
        assert record is not None
        if PLAN_DIGEST not in record:
            self.problems.append(problem_of({}, folder.path) or "")
            return
        self._plan(folder, record)
        for number in range(record["shards"]):
            self._shard(folder, number)
        if self.n_left + len(self.shards) == record["shards"]:
            return
        names = (REGIONS, *(f"{TABLE}{suffix}" for suffix in TABLE_FORMATS))
        tables = [folder.path / name for name in names if (folder.path / name).exists()]
        for table in tables:
            self.table(table)
        for group in (folder.path / STORE, folder.path / MATRIX):
            if tables and group.exists():  # finished before the tables
                self.group(group, with_chunks=False)  # their files are those of the shards

    def _plan(self, folder: Folder, record: dict[str, Any]) -> None:
        self.n_files += 1
        try:
            with open_checked(folder.plan) as file:
                n_rows = sum(len(batch) for batch in file.iter_batches())
        except UNREADABLE as error:
            anew = f"begin the scan anew with {option('force')}"
            self.problems.append(f"{folder.plan} is damaged ({told(error)}); {anew}")
            return
        if n_rows != sum(record["counts"].values()) or file_digest(folder.plan) != record[PLAN_DIGEST]:
            self.problems.append(f"{folder.plan} is not what was planned; begin the scan anew with {option('force')}")

    def _shard(self, folder: Folder, number: int) -> None:
        manifest = folder.shard(number).with_suffix(".json")
        if not manifest.exists():
            self.n_left += 1
            return
        self.n_files += 1
        if folder.manifest(number) is None:
            self.problems.append(f"{manifest} is not what was written")
            self.shards.add(number)
            return
        for file in folder.damaged_files(number):
            self.problems.append(f"{file} is {'not what was written' if file.exists() else 'missing'}")
            self.shards.add(number)
        self.n_files += len(folder.files(number))

    def table(self, path: Path) -> None:
        """Read a table, and compare its rows and metadata with their digests."""
        self.n_files += 1
        try:
            contents = read_sealed(path)
            if problem := problem_of(contents.metadata, path):
                self.problems.append(problem)
            elif _rows_of(path, contents.metadata) != contents.metadata[CHECK][ROWS]:
                self.problems.append(f"the rows of {path} are not those that were written")
        except UNREADABLE as error:
            self.problems.append(f"{path} cannot be read to its end ({told(error)})")

    def group(self, path: Path, *, with_chunks: bool = True) -> None:
        """Read a Zarr group."""
        self.n_files += 1
        try:
            group = optional("zarr", "io").open_group(path, mode="r")
            self.problems += group_problems(path, group)
            for _, array in sorted(group.arrays()) if with_chunks else ():
                for start in range(0, array.shape[0], array.shards[0]):
                    np.asarray(array[start : start + array.shards[0]])
        except UNREADABLE as error:
            self.problems.append(f"{path} cannot be read to its end ({told(error)})")


def _rows_of(path: Path, metadata: dict[str, Any]) -> str:
    """Return the digest of the rows of a table, as text."""
    kind, digest = format_of(path), TextDigest()
    if kind == "parquet":
        with open_checked(path) as file:
            tables = (plain_status(pa.table(batch)) for batch in file.iter_batches())
            return digest.take(tsv_lines(tables, file.schema_arrow.names))
    if kind == "bcf":  # what its numbers were as text, its binary form does not tell
        is_whole = _count_bcf(path) == metadata[CHECK][LINES]
        return str(metadata[CHECK][ROWS]) if is_whole else ""
    opener: Any = gzip.open if kind.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="") as text:
        lines: Iterable[str] = text if kind.startswith("vcf") else iter(lambda: text.read(BLOCK_BYTES), "")
        return digest.take(_after_header(lines) if kind.startswith("vcf") else lines)


def _after_header(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith("#"))


def _count_bcf(path: Path) -> int:
    with quiet_htslib() as pysam, pysam.VariantFile(str(path)) as file:
        return sum(1 for _ in file)

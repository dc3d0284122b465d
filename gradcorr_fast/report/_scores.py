"""Scores of variants, read back from any of the files that a scan writes: all numbers of one target, rows as asked."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from .._check import optional
from .._damage import telling_damage
from .._types import Array
from ..scan.results.annotation import STATUS, info_names
from ..scan.results.metadata import RUN_FILE, TABLE, TABLE_FORMATS, Metadata, format_of, read_contents
from ..scan.results.parquet import group_sizes, open_checked
from ..scan.results.tables import MAX_TARGETS, ROW, column_names
from ..scan.running.folder import MATRIX
from ..scan.running.joining import matrix_beside

SHOWN = ("chrom", "pos", "id", "ref", "alt")
"""Columns that tell a variant from others."""


Opened: TypeAlias = tuple[Any, dict[str, Callable[[], Array]], Callable[[Array], pa.Table]]
"""Status of each row, what reads each column of scores, and what reads some rows."""


class Scores(NamedTuple):
    """Scores of all alleles for one target."""

    metadata: Metadata
    path: Path
    """Of the table."""
    targets: list[str]
    target: str
    is_ok: Array
    """Whether each row was scored."""
    values: dict[str, Array]
    """By the name of the score, float32, NaN where there is none."""
    take: Callable[[Array], pa.Table]
    """Return the columns `SHOWN` of some rows."""


def read_scores(path: Path, target: str | None = None) -> Scores:
    """Read the scores of a scan.

    Parameters
    ----------
    path : Path
        Folder of a scan, or its table in any format.
    target : str, optional
        Text of one of several targets, by default the first.
    """
    contents = read_contents(path)
    metadata = contents.metadata
    if "counts" not in metadata:
        raise ValueError(f"the scan in {path} is not done; gradcorr-fast status {path} tells how far it is")
    targets = list(metadata["options"]["targets"])
    chosen = targets[0] if target is None else target
    if chosen not in targets:
        raise ValueError(f"{target!r} is no target of {path}; it has {', '.join(targets[:20])}")
    table = _table_of(path)
    status, columns, take = _open(table, metadata)
    suffix = f":{chosen}" if len(targets) > 1 else ""
    values = {
        name.removesuffix(suffix): numbers()
        for name, numbers in columns.items()
        if (name.endswith(suffix) if suffix else True)
    }
    if len(targets) > MAX_TARGETS:
        values = _read_matrix(path / MATRIX if path.is_dir() else matrix_beside(path), targets.index(chosen))
    return Scores(metadata, table, targets, chosen, pc.equal(status, "ok").to_numpy(), values, take)


def _table_of(path: Path) -> Path:
    if not (path / RUN_FILE).exists():
        return path
    return next(place for suffix in TABLE_FORMATS if (place := path / f"{TABLE}{suffix}").exists())


def _open(path: Path, metadata: Metadata) -> Opened:
    """Return the status of each row, what reads each column of scores, and what reads some rows."""
    with telling_damage(path):
        if format_of(path) == "parquet":
            return _open_parquet(path)
        read = _read_tsv if format_of(path).startswith("tsv") else _read_vcf
        table = read(path, _columns(metadata["options"]))
    names = [name for name in table.column_names if name not in ROW.names]
    return table["status"], {name: _column(table, name) for name in names}, lambda rows: table.take(rows).select(SHOWN)


def _columns(options: Metadata) -> list[str]:
    return column_names(options["scores"], options["targets"], options.get("compare") or ())


def _column(table: pa.Table, name: str) -> Callable[[], Array]:
    return lambda: table[name].to_numpy()


def _open_parquet(path: Path) -> Opened:
    with open_checked(path) as file:
        status = file.read(["status"])["status"].cast(pa.string())
        names = [name for name in file.schema_arrow.names if name not in ROW.names]

    def column(name: str) -> Callable[[], Array]:
        def read() -> Array:
            with telling_damage(path), open_checked(path) as file:
                numbers: Array = file.read([name])[name].to_numpy()
                return numbers

        return read

    def take(rows: Array) -> pa.Table:
        order = np.argsort(rows)
        with telling_damage(path), open_checked(path) as file:
            first, parts = 0, []
            for number, size in enumerate(group_sizes(file)):
                here = rows[order][(rows[order] >= first) & (rows[order] < first + size)] - first
                if here.size:
                    parts.append(file.read_row_group(number, list(SHOWN)).take(here))
                first += size
            found = pa.concat_tables(parts) if parts else file.schema_arrow.empty_table().select(SHOWN)
        return found.take(np.argsort(order))

    return status, {name: column(name) for name in names}, take


def _read_tsv(path: Path, columns: list[str]) -> pa.Table:
    types = {field.name: field.type for field in ROW} | {"status": pa.string()}
    types |= {name: pa.float32() for name in columns if name not in ROW.names}
    csv = pyarrow.csv
    with gzip.open(path) if format_of(path) == "tsv.gz" else open(path, "rb") as file:
        return csv.read_csv(
            file,
            parse_options=csv.ParseOptions(delimiter="\t", newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )


def _read_vcf(path: Path, columns: list[str]) -> pa.Table:
    fields = {name: field for name, field in info_names(columns).items() if name not in ROW.names}
    found: dict[str, list[Any]] = {name: [] for name in (*SHOWN, "status", *fields)}
    with _vcf_lines(path) as lines:
        for line in lines:
            chrom, pos, identity, ref, alts, _, _, info = line.rstrip("\n").split("\t")[:8]
            entries = dict(entry.partition("=")[::2] for entry in info.split(";"))
            parts = {name: entries[field].split(",") for name, field in fields.items() if field in entries}
            status = entries[STATUS].split(",") if STATUS in entries else ["no_alt"]
            for k, alt in enumerate(alts.split(",")):
                for name, text in zip(SHOWN, (chrom, int(pos), identity, ref, alt), strict=True):
                    found[name].append(text)
                found["status"].append(status[k])
                for name in fields:
                    text = parts[name][k] if name in parts else "."
                    found[name].append(None if text == "." else float(text))
    types = {"pos": pa.int64()} | {name: pa.float32() for name in fields}
    return pa.table({name: pa.array(entry, types.get(name, pa.string())) for name, entry in found.items()})


@contextmanager
def _vcf_lines(path: Path) -> Iterator[Iterator[str]]:
    """Open a VCF or BCF, and yield its records as lines."""
    if format_of(path) == "bcf":
        pysam = optional("pysam", "genome")
        verbosity = pysam.set_verbosity(0)  # of an index that is not needed
        try:
            with pysam.VariantFile(str(path)) as records:
                yield map(str, records)
        finally:
            pysam.set_verbosity(verbosity)
        return
    file: IO[str] = gzip.open(path, "rt") if format_of(path) == "vcf.gz" else open(path)  # noqa: SIM115  (below)
    with file:
        yield (line for line in file if not line.startswith("#"))


def _read_matrix(path: Path, number: int) -> dict[str, Array]:
    """Read the scores of one of many targets."""
    with telling_damage(path, ValueError):
        group = optional("zarr", "io").open_group(path, mode="r")
        return {name: np.asarray(array[:, number]) for name, array in group.arrays()}

"""What a scan says about itself, read back from every file that it writes."""

import csv
import gzip
import json
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from ..._check import optional
from ..._damage import MALFORMED, telling_damage
from .digests import unsealed
from .parquet import open_checked

KEY = "gradcorr_fast"
"""Where the metadata lie: key of Parquet and Zarr, line of a VCF header; and in them, the version of this package."""
RUN_FILE, TABLE = "run.json", "scores"
"""In the folder of a run: its metadata, and the name of the table of variants but for the suffix."""
REGIONS, STORE = "regions.parquet", "attributions.zarr"
"""In the folder of a run: the table of regions, and their attributions."""
REPORT = "report.html"
"""In the folder of a run: what `report.write_report` makes of it, which goes when the run is begun anew."""

TABLE_FORMATS = {
    ".parquet": "parquet",
    ".tsv": "tsv",
    ".tsv.gz": "tsv.gz",
    ".vcf": "vcf",
    ".vcf.gz": "vcf.gz",
    ".bcf": "bcf",
}
"""Formats of tables, by their suffixes."""
BCF_START = 9
"""Bytes before the text of the header: "BCF", version, and the length of the text."""

Metadata = dict[str, Any]


class Contents(NamedTuple):
    """What a file of scores holds."""

    metadata: Metadata
    columns: list[str]
    n_rows: int | None
    """Number of (record, alternative allele) pairs; None if nothing tells it without reading the whole file."""


def sidecar(path: Path) -> Path:
    """Return the path of the file beside a TSV that holds its metadata."""
    return path.with_name(f"{path.name}.json")


def read_metadata(path: str | Path) -> Metadata:
    """Read what a scan said about itself, without reading its scores.

    Parameters
    ----------
    path : str or Path
        Parquet, TSV (with its .json beside it), VCF or BCF, a Zarr matrix or store, or the folder of a scan.

    Returns
    -------
    dict
        As the scan wrote it: the version under "gradcorr_fast", "kind", "model", "genome", "input", "options",
        "counts", "versions", "device", "id", and more, such as "reasons" why the model failed. While a scan is not
        done, its folder has no "counts".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another kind, or has no metadata of this package.
    OSError
        If the file is damaged.
    MissingBackendError
        If zarr, which reads a matrix, is not installed.

    Examples
    --------
    >>> read_metadata("scores.parquet")["options"]["length"]  # doctest: +SKIP
    2114
    """
    return read_contents(path).metadata


def read_contents(path: str | Path) -> Contents:
    """Read metadata, columns and number of rows of a file of scores, without reading the scores.

    Parameters
    ----------
    path : str or Path
        Parquet, TSV (with its .json beside it), VCF or BCF, a Zarr matrix, or the folder of a run.

    Returns
    -------
    Contents
        In a VCF the columns are the INFO fields, in a matrix its arrays. Of a run those of its table; while there is
        none, there are no columns, and the metadata have no "counts".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another kind, or has no metadata of this package.
    MissingBackendError
        If zarr, which reads a matrix, is not installed.
    OSError
        If the file is damaged.
    """
    contents = read_sealed(path)
    return contents._replace(metadata=unsealed(contents.metadata, path))


def read_sealed(path: str | Path) -> Contents:
    """Do what `read_contents` does, and leave the digests by which results are checked in the metadata, unchecked."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    reader = READERS[format_of(path)] if not path.is_dir() else _read_run if (path / RUN_FILE).exists() else _read_zarr
    with telling_damage(path, *MALFORMED):
        contents = reader(path)
    if contents is None:
        raise ValueError(f"{path} has no metadata of gradcorr_fast; name a file or folder that a scan wrote")
    return contents


def format_of(path: Path) -> str:
    """Return the format that the suffix of a table names."""
    for suffix, kind in TABLE_FORMATS.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise ValueError(f"{path} has no suffix that names a format of tables; use one of {', '.join(TABLE_FORMATS)}")


def _n_rows(metadata: Metadata) -> int | None:
    return sum(metadata["counts"].values()) if "counts" in metadata else None


def _read_parquet(path: Path) -> Contents | None:
    with open_checked(path) as file:
        schema = file.schema_arrow
        text = (schema.metadata or {}).get(KEY.encode())
        return None if text is None else Contents(json.loads(text), schema.names, file.metadata.num_rows)


def _read_tsv(path: Path) -> Contents | None:
    if not sidecar(path).exists():
        return None
    metadata = json.loads(sidecar(path).read_text())
    opener = gzip.open if format_of(path) == "tsv.gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        columns = next(csv.reader(file, delimiter="\t"), None)
    if columns is None:
        raise OSError(f"{path} is empty, without even the names of its columns; merge or score it again")
    return Contents(metadata, columns, _n_rows(metadata))


def _read_vcf(path: Path) -> Contents | None:
    with open(path, "rb") if format_of(path) == "vcf" else gzip.open(path) as file:
        if format_of(path) == "bcf":
            file.read(BCF_START)
        header = [line.decode().rstrip() for line in takewhile(lambda line: line.startswith(b"##"), file)]
    texts = [line.removeprefix(f"##{KEY}=") for line in header if line.startswith(f"##{KEY}=")]
    if not texts:
        return None
    fields = [line.removeprefix("##INFO=<ID=").partition(",")[0] for line in header if line.startswith("##INFO=<ID=")]
    metadata = json.loads(texts[-1])
    return Contents(metadata, fields, _n_rows(metadata))


def _read_zarr(path: Path) -> Contents | None:
    if not (path / "zarr.json").exists():
        return None
    group = optional("zarr", "io").open(path, mode="r")
    if KEY not in group.attrs:
        return None
    arrays = dict(group.arrays())
    return Contents(dict(group.attrs[KEY]), list(arrays), max((a.shape[0] for a in arrays.values()), default=None))


def _read_run(path: Path) -> Contents | None:
    for table in (path / REGIONS, *(path / f"{TABLE}{suffix}" for suffix in TABLE_FORMATS)):
        if table.exists():
            return READERS[format_of(table)](table)
    metadata = json.loads((path / RUN_FILE).read_text())
    planned = metadata.pop("counts", {})  # of what was to be scored, and may not have been
    return Contents(metadata, [], sum(planned.values())) if KEY in metadata else None


READERS = {
    "parquet": _read_parquet,
    "tsv": _read_tsv,
    "tsv.gz": _read_tsv,
    "vcf": _read_vcf,
    "vcf.gz": _read_vcf,
    "bcf": _read_vcf,
}

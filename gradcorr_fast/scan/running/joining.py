"""What is left to do when shards are done: telling how far a scan is, and joining its shards."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..._types import PathLike
from ..._wording import option
from ...io.replacing import hidden, replacing
from ..results.matrix import finish_matrix
from ..results.merging import merge_shards
from ..results.metadata import REGIONS, STORE, TABLE, TABLE_FORMATS, read_metadata
from ..results.store import THRESHOLDS, finish_store
from .claiming import is_believed, read_claim
from .folder import MATRIX, Folder, Record, check_current

OTHER_SUFFIXES = (".csv", ".txt", ".xlsx", ".json", ".h5", ".npz", ".zarr", ".gz", ".bgz", ".zst", ".zip")

__all__ = ["Status", "folder_of", "merge", "status"]


class WorkerStatus(NamedTuple):
    """What a process did of a scan."""

    n_shards: int
    rate: float
    """Alleles or regions a second, while it computed."""
    seconds_since: float
    """Since its last shard was done."""


class Status(NamedTuple):
    """How far a scan is."""

    n_shards: int
    n_done: int
    """Shards that are done."""
    n_held: int
    """Shards that some process is at."""
    n_rows: int
    """Alleles or regions."""
    counts: dict[str, int]
    """Those of the shards that are done, by status."""
    seconds_left: float | None
    """At the rate of the last shards; None if that is not known."""
    workers: Mapping[str, WorkerStatus] = MappingProxyType({})
    """Of each process that did shards, by machine and number."""

    @property
    def slow_workers(self) -> list[str]:
        """Those at less than half the rate of the one in the middle, as on a machine that throttles."""
        rates = sorted(worker.rate for worker in self.workers.values())
        return [name for name, worker in self.workers.items() if worker.rate < rates[len(rates) // 2] / 2]


def merge(out: PathLike, *, format: str | None = None, force: bool = False) -> Path:  # noqa: A002
    """Join the shards of a scan into one table.

    Parameters
    ----------
    out : path
        As in `score_variants` or `attribute_regions`.
    format : str, optional
        Of the table of variants in a folder: "parquet" (by default), "tsv", "tsv.gz", "vcf", "vcf.gz" or "bcf".
    force : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Of the table. Beside it are, in a Zarr store, the scores of more than 16 targets, or the attributions.

    Raises
    ------
    FileNotFoundError
        If there is no scan.
    RuntimeError
        If shards are missing or damaged; it says how many.

    Examples
    --------
    >>> merge("scan", format="vcf.gz")  # doctest: +SKIP
    """
    folder, out = _existing(out), Path(out)
    record = folder.record
    assert record is not None
    check_current(folder.path, record)
    if record["kind"] != "variants" and format is not None:
        raise ValueError("attributions have one format; leave it away, and call export for others")
    place = check_place(out, format, force=force or folder.path == out or is_of(out, record))
    with folder.changing():
        if is_of(out, record):  # ended after the table was written and before all the rest was done
            _clear_away(folder, out)
            return out
        numbers = range(record["shards"])
        missing = [number for number in numbers if not folder.is_whole(number)]
        if missing:
            raise RuntimeError(
                f"{len(missing)} of {len(numbers)} shards of {folder.path} are not done (the first is {missing[0]}); "
                f"go on with it first ({option('resume')})"
            )
        metadata = record | _sum_up([folder.manifest(number) for number in numbers])
        lengths = metadata.pop("contigs")
        shards = [folder.shard(number) for number in numbers]
        if record["kind"] == "variants":
            if (folder.path / MATRIX).exists():
                finish_matrix(folder.path / MATRIX, metadata)
            merge_shards(shards, place, metadata=metadata, contig_lengths=lengths, force=True)
            if folder.path != out:
                _clear_away(folder, out)
            return place
        metadata["contig_lengths"] = lengths
        finish_store(folder.path / STORE, metadata)
        merge_shards(shards, folder.path / REGIONS, metadata=metadata, force=True)
        return folder.path / REGIONS


def check_place(out: Path, format: str | None, *, force: bool) -> Path:  # noqa: A002
    """Return where the table of variants goes, if it can go there."""
    suffix = _suffix(out)
    if format is not None and format not in TABLE_FORMATS.values():
        raise ValueError(f"format must be one of {', '.join(TABLE_FORMATS.values())}; got {format!r}")
    if not suffix:
        if out.suffix.lower() in OTHER_SUFFIXES and not out.is_dir():
            raise ValueError(f"there is no format {out.suffix}; end {out} with one of {', '.join(TABLE_FORMATS)}")
        return out / f"{TABLE}.{format or 'parquet'}"
    if format is not None and TABLE_FORMATS[suffix] != format:
        raise ValueError(f"{out} says another format than {format}; leave the format away")
    for place in (out, matrix_beside(out)):
        if place.exists() and not force:
            raise FileExistsError(f"{place} exists already; {option('force')} replaces it")
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder; give the table another name")
    return out


def matrix_beside(out: Path) -> Path:
    """Where the scores of many targets are, beside a table."""
    return out.with_name(f"{out.name.removesuffix(_suffix(out))}.zarr")


def is_of(out: Path, record: Record) -> bool:
    """Whether a file is the table of a scan."""
    if not out.is_file():
        return False
    try:
        return bool(read_metadata(out).get("id") == record["id"])
    except (ValueError, OSError):
        return False


def _clear_away(folder: Folder, out: Path) -> None:
    """Put the matrix of a scan beside its table, and remove the folder that it worked in, its record first."""
    matrix, place = folder.path / MATRIX, matrix_beside(out)
    if matrix.exists():
        with replacing([place], force=True) as (temporary,):
            os.replace(matrix, temporary)
    away = hidden(folder.path, "partial")  # in one step, since other processes may look into it
    os.replace(folder.path, away)
    shutil.rmtree(away, ignore_errors=True)  # the rest goes with the next run


def status(out: PathLike, shard: tuple[int, int] | None = None) -> Status:
    """Tell how far a scan is, whoever works on it.

    Parameters
    ----------
    out : path
        As in `score_variants`.
    shard : pair of int, optional
        ``(i, n)``: count what became of this share alone.

    Returns
    -------
    Status

    Raises
    ------
    FileNotFoundError
        If there is no scan.

    Examples
    --------
    >>> status("scan").n_done  # doctest: +SKIP
    """
    if Path(out).is_file() and Folder(folder_of(out)).record is None:
        metadata = read_metadata(Path(out))
        n, n_rows = metadata["shards"], sum(metadata["counts"].values())
        return Status(n, n, 0, n_rows, metadata["counts"], 0.0)
    folder = _existing(out)
    record = folder.record
    assert record is not None
    done, held, share = [], 0, slice(None) if shard is None else slice(shard[0] - 1, None, shard[1])
    for number in range(record["shards"])[share]:
        manifest = folder.manifest(number)
        if manifest is not None:
            done.append(manifest)
        else:
            held += folder.is_held(number)
    claim = read_claim(folder.path)
    if claim is not None and is_believed(folder.path, claim):
        held = claim.get("at_work", 0)
    n_left = sum(record["counts"].values()) - sum(manifest["rows"] for manifest in done)
    recent = done[-10:]
    rate = sum(m["seconds"] for m in recent) / max(sum(m["rows"] for m in recent), 1)
    return Status(
        n_shards=record["shards"],
        n_done=len(done),
        n_held=held,
        n_rows=sum(record["counts"].values()),
        counts=_sum_up(done)["counts"],
        seconds_left=n_left * rate / max(held, 1) if done else None,
        workers=_by_worker(done),
    )


def _by_worker(manifests: Sequence[Record]) -> dict[str, WorkerStatus]:
    """Tell of each process what it did."""
    shards: dict[str, list[Record]] = {}
    for manifest in manifests:
        shards.setdefault(manifest.get("worker", "unknown"), []).append(manifest)
    now = time.time()
    return {
        name: WorkerStatus(
            len(some),
            sum(m["rows"] for m in some) / max(sum(m["seconds"] for m in some), 1e-3),
            max(0.0, now - max(m.get("ended", 0) for m in some)),
        )
        for name, some in sorted(shards.items())
    }


def _sum_up(manifests: Sequence[Any]) -> dict[str, Any]:
    """Add up what the manifests of shards tell."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for manifest in manifests:
        counts.update(manifest["counts"])
        reasons.update(manifest["reasons"])
    agreements = [manifest["agreement"] for manifest in manifests if "agreement" in manifest]
    n, x, y, xx, yy, xy = np.sum(agreements, 0).T if agreements else np.zeros((6, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))
        error = np.sqrt((xx - 2 * xy + yy) / n)
    found: dict[str, Any] = {"counts": dict(counts)}
    if reasons:
        found["reasons"] = dict(reasons)
    if angles := [manifest["angles"] for manifest in manifests if "angles" in manifest]:
        positions, *above = np.sum(angles, 0).tolist()
        shares = {f"above_{t}": count / max(positions, 1) for t, count in zip(THRESHOLDS, above, strict=True)}
        found["angles"] = {"positions": positions, **shares}
    if np.any(n > 1):
        found["agreement"] = {
            "n": n.astype(int).tolist(),
            "pearson": [_plain(value) for value in correlation],
            "root_mean_square_difference": [_plain(value) for value in error],
        }
    return found


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _existing(out: PathLike) -> Folder:
    folder = Folder(folder_of(out))
    if folder.record is None:
        raise FileNotFoundError(f"there is no scan in {folder.path}; begin one with score, plan or attribute")
    return folder


def _suffix(out: PathLike) -> str:
    name = Path(out).name.lower()
    return next((suffix for suffix in sorted(TABLE_FORMATS, key=len, reverse=True) if name.endswith(suffix)), "")


def folder_of(out: PathLike) -> Path:
    """Return where a scan works: in a folder, or beside a file.

    Parameters
    ----------
    out : path
        As in `score_variants`.

    Returns
    -------
    Path
        `out` itself, or where its suffix names a format of tables, the folder FILE.run beside it.

    Examples
    --------
    >>> folder_of("scan").name, folder_of("scores.vcf.gz").name
    ('scan', 'scores.vcf.gz.run')
    """
    path = Path(out)
    return path.with_name(f"{path.name}.run") if _suffix(path) else path

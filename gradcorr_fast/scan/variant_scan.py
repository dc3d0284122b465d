"""Variant scoring from a model, a genome and variants to a table: planned once, scored by shards, merged."""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .folder import MATRIX, Folder, work
from .matrix import create_matrix, finish_matrix, write_matrix_shard
from .merging import merge_shards
from .metadata import FORMATS, TABLE
from .opening import Scan, opened
from .options import ScanOptions, target_names
from .progress import Progress
from .scoring import Scored, score
from .tables import MAX_TARGETS, add_scores, write_shard

PROBE_SECONDS = 30.0

__all__ = ["Plan", "Status", "merge", "plan", "score_variants", "status"]


class Plan(NamedTuple):
    """What a scan will take."""

    counts: dict[str, int]
    """Alleles by status."""
    n_windows: int
    """Reference windows."""
    n_shards: int
    seconds: float
    """Estimated by scoring for a while."""
    n_bytes: int
    """Estimated size of the table."""


class Status(NamedTuple):
    """How far a scan is."""

    n_shards: int
    n_done: int
    """Shards that are done."""
    n_held: int
    """Shards that some process is at."""
    n_alleles: int
    counts: dict[str, int]
    """Alleles of the shards that are done, by status."""
    seconds_left: float | None
    """At the rate of the last shards; None if that is not known."""


def score_variants(
    model: Any, fasta: Any, variants: Any, out: str | os.PathLike[str] | None = None, *,
    shard: tuple[int, int] | None = None, resume: bool = False, force: bool = False, format: str | None = None,  # noqa: A002
    verbose: bool = False, **options: Unpack[ScanOptions],
) -> Any:  # fmt: skip
    """Score variants with a model: what a change of alleles does to its output, and what its gradient says.

    Parameters
    ----------
    model : model, `model_files.LoadedModel` or str
        Of PyTorch or Keras, or what `model_files.load_model` takes.
    fasta : path or mapping
        The genome, plain or compressed by bgzip; or sequences by name, as text or codes (L,).
    variants : path, iterable or table
        See `variants.read_variants`.
    out : path, optional
        A folder, or a file whose suffix names its format (.parquet, .tsv, .tsv.gz, .vcf, .vcf.gz, .bcf); for a file
        the scan works in the folder FILE.run, and removes it at the end. By default a table is returned.
    shard : pair of int, optional
        (i, n), i from 1 to n: do every n-th shard, beginning with the i-th, and do not merge.
    resume : bool
        Go on with the scan in `out`; where there is none, begin it.
    force : bool
        Replace what is in `out`.
    format : str, optional
        Of the table in a folder, by default "parquet".
    verbose : bool
        Whether guesses and progress are shown on stderr.
    length : int, optional
        Window, bp; by default the length of the model's input, where it is known.
    axis : int, optional
        Letter axis of the model's input; by default what the model tells, else 1 for PyTorch and -1 otherwise.
    targets : sequence of targets or their text
        See `gf.targets`; each gets columns of its own.
    output : int or str, optional
        Head of a model that returns several.
    scores : sequence of str
        Some of "ref_score", "alt_score", "delta", "taylor", "grad_times_input", "angle", by default all; what only the
        others need is not computed.
    batch_size, device, precision, rc, rc_output, strand_pairs, shifts
        See `hooks.torch.saliency`. Scores are means over strands and shifts.
    windows : str
        "centred" on each variant, or "grid:STEP", cut by position alone, so that variants share reference windows.
    top : int, optional
        Score exactly only so many alternatives of each reference window, those with the largest first-order effect;
        indels always.
    flank : "right" or "both"
        Side on which an indel's window follows the reference; "both" averages.
    edges : "pad" or "reject"
        Windows that leave the contig get unknown letters, or are not scored.
    max_n : float
        Largest share of unknown letters in a window that is scored.
    chroms, regions
        Score only variants there; see `windows.WindowOptions`.
    shard_size : int
        Alleles of a shard, which is done whole or not at all.

    Returns
    -------
    pyarrow.Table, Path or None
        The table if `out` is not given, else where it is; None if `shard` is given.

    Raises
    ------
    FileExistsError
        If there is something in `out`, and neither `resume` nor `force` is given.
    ValueError
        If an option is wrong, or the scan in `out` has another model, genome, input or option; it says which.
    RuntimeError
        If the model fails on every sequence.

    Notes
    -----
    One row for each record and alternative allele, in the order of the input, whatever its status. delta is f(alt) -
    f(ref); taylor the sum of g[alt] - g[ref] over the changed positions, which the correction does not change: for
    single-base changes the angle is quality control, not evidence. Where the model fails, the status is "model_failed".

    Examples
    --------
    >>> score_variants(model, "genome.fa", "variants.vcf.gz", length=200).to_pandas()  # doctest: +SKIP
    """
    if out is None:
        with tempfile.TemporaryDirectory() as temporary:
            path = score_variants(model, fasta, variants, temporary, verbose=verbose, **options)
            return pq.read_table(path)
    if format is not None and format not in FORMATS.values():
        raise ValueError(f"format must be one of {', '.join(FORMATS.values())}; got {format!r}")
    folder = Folder(folder_of(out))
    if folder.path != Path(out) and Path(out).exists() and not force:
        if resume and folder.record is None:
            return Path(out)
        raise FileExistsError(f"{out} exists already; force (--force) replaces it")
    joins = resume or shard is not None
    with opened(model, fasta, variants, folder.path, options, resume=joins, force=force, tell=verbose) as scan:
        numbers = range(scan.record["shards"])
        _score_shards(scan, numbers if shard is None else numbers[shard[0] - 1 :: shard[1]], verbose)
    return merge(out, format=format, force=force) if shard is None else None


def merge(out: str | os.PathLike[str], *, format: str | None = None, force: bool = False) -> Path:  # noqa: A002
    """Join the shards of a scan into one table.

    Parameters
    ----------
    out : path
        As in `score_variants`.
    format : str, optional
        Of the table in a folder: "parquet" (by default), "tsv", "tsv.gz", "vcf", "vcf.gz" or "bcf".
    force : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Of the table. With more than 16 targets the scores are beside it, in a Zarr store.

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
    numbers = range(record["shards"])
    missing = [number for number in numbers if not folder.is_whole(number)]
    if missing:
        raise RuntimeError(
            f"{len(missing)} of {len(numbers)} shards of {folder.path} are not done (the first is {missing[0]}); "
            f"go on with it first (--resume)"
        )
    is_file = folder.path != out
    if is_file and format is not None and FORMATS[_suffix(out)] != format:
        raise ValueError(f"{out} says another format than {format}; leave the format away")
    table = out if is_file else out / f"{TABLE}.{format or 'parquet'}"
    metadata = record | _sum_up([folder.manifest(number) for number in numbers])
    lengths = metadata.pop("contigs")
    shards, matrix = [folder.shard(number) for number in numbers], folder.path / MATRIX
    if matrix.exists():
        finish_matrix(matrix, metadata)
    merge_shards(shards, table, metadata=metadata, contig_lengths=lengths, force=force or not is_file)
    if is_file:
        if matrix.exists():
            shutil.move(matrix, out.with_name(f"{out.name.removesuffix(_suffix(out))}.zarr"))
        shutil.rmtree(folder.path)
    return table


def status(out: str | os.PathLike[str]) -> Status:
    """Tell how far a scan is, whoever works on it.

    Parameters
    ----------
    out : path
        As in `score_variants`.

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
    folder = _existing(out)
    record = folder.record
    assert record is not None
    done, held = [], 0
    for number in range(record["shards"]):
        manifest = folder.manifest(number)
        if manifest is not None:
            done.append(manifest)
        else:
            held += folder.is_held(number)
    n_left = sum(record["counts"].values()) - sum(manifest["rows"] for manifest in done)
    recent = done[-10:]
    rate = sum(m["seconds"] for m in recent) / max(sum(m["rows"] for m in recent), 1)
    return Status(
        n_shards=record["shards"],
        n_done=len(done),
        n_held=held,
        n_alleles=sum(record["counts"].values()),
        counts=_sum_up(done)["counts"],
        seconds_left=n_left * rate / max(held, 1) if done else None,
    )


def plan(
    model: Any, fasta: Any, variants: Any, out: str | os.PathLike[str], *, resume: bool = False,
    force: bool = False, verbose: bool = False, seconds: float = PROBE_SECONDS, **options: Unpack[ScanOptions],
) -> Plan:  # fmt: skip
    """Place all variants, cut the work into shards, and estimate what scoring will take.

    Parameters
    ----------
    model, fasta, variants, out, resume, force, verbose, options
        See `score_variants`, which goes on from here with ``resume=True`` or a `shard`.
    seconds : float
        How long to score for the estimate.

    Returns
    -------
    Plan

    Examples
    --------
    >>> plan(model, "genome.fa", "variants.vcf.gz", "scan", length=200).counts  # doctest: +SKIP
    """
    path = folder_of(out)
    with opened(model, fasta, variants, path, options, resume=resume, force=force, tell=verbose) as scan:
        counts, names = scan.record["counts"], target_names(scan.options)
        n_ok, n_windows = counts.get("ok", 0), 0
        with pq.ParquetFile(scan.folder.plan) as file:
            for batch in file.iter_batches(columns=["chrom", "window_start", "status"]):
                placed = pa.table(batch).filter(pc.equal(batch["status"].cast(pa.string()), "ok"))
                n_windows += len(placed.group_by(["chrom", "window_start"]).aggregate([]))
        n_probed, taken = 0, 0.0
        sample = _placed(scan.rows(0)) if scan.record["shards"] else pa.table({})
        size = min(8 * scan.session.batch_size, len(sample))
        while size and n_probed < n_ok and taken < seconds:
            start = time.monotonic()
            _score(scan, sample.slice(0, size))
            taken += time.monotonic() - start
            n_probed += size
        n_scores = len(scan.options["scores"]) * len(names)
        return Plan(
            counts=dict(counts),
            n_windows=n_windows,
            n_shards=scan.record["shards"],
            seconds=n_ok * taken / n_probed if n_probed else 0.0,
            n_bytes=scan.folder.plan.stat().st_size + 4 * n_scores * n_ok,
        )


def _score_shards(scan: Scan, numbers: Sequence[int], verbose: bool) -> None:
    with pq.ParquetFile(scan.folder.plan) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    done = sum(sizes[number] for number in numbers if scan.folder.manifest(number))
    progress = Progress(sum(sizes[number] for number in numbers), done, hidden=not verbose)
    names = target_names(scan.options)
    if len(names) > MAX_TARGETS:
        with scan.folder.changing():
            place = scan.folder.path / MATRIX
            if not place.exists():
                create_matrix(place, sum(sizes), sizes[0], names, scan.options["scores"])
    work(scan.folder, numbers, lambda number: _score_shard(scan, number, names, progress))
    progress.finish()


def _score_shard(scan: Scan, number: int, names: Sequence[str], progress: Progress) -> None:
    """Score the alleles of a shard, and put them on disk."""
    start, rows = time.monotonic(), scan.rows(number)
    status = np.array(rows["status"].to_pylist(), object)
    index = np.flatnonzero(status == "ok")
    progress.advance(len(rows) - len(index))
    scored = _score(scan, rows.take(pa.array(index)), progress.advance)
    status[index[scored.has_failed]] = "model_failed"
    rows = rows.set_column(rows.column_names.index("status"), "status", pa.array(status, pa.string()))
    values = {}
    for name, found in scored.scores.items():
        values[name] = np.full((len(rows), found.shape[1]), np.nan, np.float32)
        values[name][index] = found
    if len(names) > MAX_TARGETS:
        write_matrix_shard(scan.folder.path / MATRIX, number, values)
    manifest = {
        "rows": len(rows),
        "counts": Counter(status.tolist()),
        "reasons": scored.reasons,
        "agreement": scored.agreement.tolist(),
        "seconds": round(time.monotonic() - start, 3),
    }
    scan.folder.commit(number, lambda path: write_shard(path, add_scores(rows, values, names)), manifest)


def _placed(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["status"].cast(pa.string()), "ok"))


def _score(scan: Scan, rows: pa.Table, advance: Callable[[float], None] = lambda n: None) -> Scored:
    options = scan.options
    return score(
        scan.session, rows, scan.cut_from(rows), options["scores"], top=options["top"], flank=options["flank"],
        advance=advance,
    )  # fmt: skip


def _sum_up(manifests: Sequence[Any]) -> dict[str, Any]:
    """Add up what the manifests of shards tell."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for manifest in manifests:
        counts.update(manifest["counts"])
        reasons.update(manifest["reasons"])
    n, x, y, xx, yy, xy = np.sum([m["agreement"] for m in manifests], 0).T if manifests else np.zeros((6, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))
        error = np.sqrt((xx - 2 * xy + yy) / n)
    found: dict[str, Any] = {"counts": dict(counts)}
    if reasons:
        found["reasons"] = dict(reasons)
    if np.any(n > 1):
        found["agreement"] = {
            "n": n.astype(int).tolist(),
            "pearson": [_plain(value) for value in correlation],
            "root_mean_square_difference": [_plain(value) for value in error],
        }
    return found


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _existing(out: str | os.PathLike[str]) -> Folder:
    folder = Folder(folder_of(out))
    if folder.record is None:
        raise FileNotFoundError(f"there is no scan in {folder.path}; begin one with score or plan")
    return folder


def _suffix(out: str | os.PathLike[str]) -> str:
    name = Path(out).name.lower()
    return next((suffix for suffix in sorted(FORMATS, key=len, reverse=True) if name.endswith(suffix)), "")


def folder_of(out: str | os.PathLike[str]) -> Path:
    """Where a scan works: in a folder, or beside a file."""
    path = Path(out)
    return path.with_name(f"{path.name}.run") if _suffix(path) else path

"""Variant scoring from a model, a genome and variants to a table: planned once, scored by shards, merged."""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._show import html_facts, html_table, show_bytes
from .._types import Array, FastaLike, Model, PathLike, VariantsLike
from .._wording import option
from ..io.replacing import replacing, sweep
from .inputs.substitutions import count_substitutions, every_substitution
from .inputs.variants import count_at_most, read_variants
from .placing.alleles import place_all
from .placing.windows import WindowOptions
from .results.matrix import create_matrix
from .results.metadata import read_metadata
from .results.parquet import group_sizes, open_checked
from .results.tables import MAX_TARGETS, ROW
from .running.crews import crew_of
from .running.folder import MATRIX, Folder, Record
from .running.joining import check_place, folder_of, is_of, merge
from .running.options import ScanOptions, check_variant_options, grid_step, target_names
from .running.planning import (
    Ready,
    Scan,
    begin_or_join,
    begun,
    check_same,
    describe,
    in_shards,
    prepare,
    probe,
)
from .running.progress import show_seconds
from .running.scored import VariantWork, score_rows
from .running.scoring import FROM_ALTERNATIVE, FROM_GRADIENT
from .running.working import work_here

PROBE_SECONDS = 30.0
MOST_ALLELES, MOST_SCORES = 1 << 14, 1 << 22
"""Of a shard whose size was not given: alleles, and numbers of each score."""
MANY_SHARDS, MANY_ALLELES = 10_000, 1 << 18
"""Shards from which on they are larger, where it is known how many alleles there are; and alleles of these at most."""

__all__ = ["Plan", "plan", "score_variants"]


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
    engine: str = ""
    """How substitutions are computed, and why."""

    def __repr__(self) -> str:
        """Say in a line what the scan will take."""
        facts = ", ".join(f"{name} {text}" for name, text in self._facts().items())
        return f"Plan({facts})"

    def _repr_html_(self) -> str:
        return html_facts("Plan", self._facts()) + html_table("Alleles", ("status", "alleles"), self.counts.items())

    def _facts(self) -> dict[str, str]:
        return {
            "alleles to score:": f"{self.counts.get('ok', 0):,} of {sum(self.counts.values()):,}",
            "reference windows:": f"{self.n_windows:,}",
            "shards:": f"{self.n_shards:,}",
            "time, about": show_seconds(self.seconds),
            "size, about": show_bytes(self.n_bytes),
            **({"engine:": self.engine} if self.engine else {}),
        }


def score_variants(
    model: Model, fasta: FastaLike, variants: VariantsLike, out: PathLike | None = None, *,
    shard: tuple[int, int] | None = None, resume: bool = False, force: bool = False, format: str | None = None,  # noqa: A002
    verbose: bool = False, client: Any = None, **options: Unpack[ScanOptions],
) -> Any:  # fmt: skip
    """Score variants with a model: what a change of alleles does to its output, and what its gradient says.

    Parameters
    ----------
    model : model, `model_files.LoadedModel` or str
        Of PyTorch or Keras, or what `model_files.load_model` takes.
    fasta : path or mapping
        The genome, plain or compressed by bgzip; or sequences by name, as text or codes (L,).
    variants : path, iterable, table or None
        See `variants.read_variants`; None is every substitution in `regions`.
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
    client : dask.distributed.Client, optional
        Whose workers score the shards, each with a copy of the model; without, this process does.
    length : int, optional
        Window, bp; by default the length of the model's input, where it is known.
    axis : int, optional
        Letter axis of the model's input; by default what the model tells, else 1 for PyTorch and -1 otherwise.
    targets : sequence of targets or their text
        See `gf.targets`; each gets columns of its own.
    output : int, str or tuple, optional
        Head of a model that returns several, in a tuple, a mapping or an object with fields, such as a dataclass: its
        number or name, or those on the way to it, such as ("human", 1).
    input : int or str
        The place of the windows among the model's inputs, or their name.
    args : dict or tuple
        The model's other inputs, by name or in their order, which are the same for all windows: None, texts, numbers.
    scores : sequence of str
        Some of "ref_score", "alt_score", "delta", "taylor", "grad_times_input", "angle", by default all; what only the
        others need is not computed.
    compare : sequence of comparisons or their text
        What of the model's whole outputs with both alleles is compared, see `gf.comparisons`: columns "compare:TEXT",
        and "position:TEXT" where it has one.
    align_indels : str, optional
        Compare bins of the same letters where an allele is an indel: "max,zero" takes of inserted bins and the one
        before them the largest, "sum,..." the sum, and a deleted bin as 0 in the alternative; "...,mask" leaves it out,
        "...,sum" adds it to the one before it.
    contigs : path or mapping, optional
        Other names of contigs; see `Genome`.
    batch_size, device, precision, optimize, rc, rc_output, bin_axis, strand_pairs, shifts
        See `hooks.torch.saliency`. Scores are means over strands and shifts.
    windows : str
        "centred" on each variant, or "grid:STEP", cut by position alone, so that variants share reference windows.
    top : int, optional
        Score exactly only so many alternatives of each reference window (in each shard), those with the largest
        first-order effect; indels always.
    flank : "right" or "both"
        Side on which an indel's window follows the reference; "both" averages.
    edges : "pad" or "reject"
        Windows that leave the contig get unknown letters, or are not scored.
    max_n : float
        Largest share of unknown letters in a window that is scored.
    chroms, regions
        Score only variants there; see `windows.WindowOptions`.
    shard_size : int or "auto"
        Alleles of a shard, which is done whole or not at all; it bounds the memory. "auto" is about a minute of work as
        measured at first, at least a batch and at most 16,384, fewer for more than 256 targets; up to 262,144
        where there are known to be so many that there would be more than 10,000 shards.

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
    checked = check_variant_options(options)
    if variants is None and checked["regions"] is None:
        raise ValueError(
            f"there are no variants; give them, or {option('regions', '...')} whose every substitution is scored"
        )
    if out is not None:
        return _scan(
            model, fasta, variants, Path(out), checked, shard=shard, resume=resume, force=force, format=format,
            verbose=verbose, client=client,
        )  # fmt: skip
    if shard or resume or force or format or len(checked["targets"]) > MAX_TARGETS:
        raise ValueError(f"shard, resume, force, format and more than {MAX_TARGETS} targets need a place; give out=")
    with tempfile.TemporaryDirectory() as temporary:
        table = _scan(model, fasta, variants, Path(temporary), checked, verbose=verbose, client=client)
        assert table is not None
        with open_checked(table) as file:
            return file.read()


def _scan(
    model: Model, fasta: FastaLike, variants: VariantsLike, out: Path, options: Mapping[str, Any], *,
    shard: tuple[int, int] | None = None, resume: bool = False, force: bool = False, format: str | None = None,  # noqa: A002
    verbose: bool = False, client: Any = None,
) -> Path | None:  # fmt: skip
    """Do what `score_variants` does, whose options are checked, with a place for the table."""
    folder, joins = Folder(folder_of(out)), resume or shard is not None
    before = begun(folder, resume=joins, force=force)
    finished = read_metadata(out) if joins and before is None and out.is_file() else None
    goes_on = before is not None or finished is not None
    check_place(out, format, force=force or goes_on)
    with (
        crew_of(client, fasta, folder) as crew,
        prepare(model, fasta, options, before or finished, tell=verbose) as ready,
    ):
        ready, record = _described(ready, variants)
        placed = _place(ready, variants)
        if finished is not None:
            check_same(folder.path, finished, ready, record, variants, placed)
            sweep(out.parent)  # the folder of the scan, if the process was killed that cleared it away
            return out
        try:
            scan = begin_or_join(folder, ready, record, variants, placed, resume=joins, force=force)
            if joins and is_of(out, scan.record):  # another process ended it before this one began
                return merge(out, format=format, force=True)
            with open_checked(folder.plan) as planned:
                _score_shards(scan, ready, planned, shard, verbose, crew)
            ready.genome.check_unchanged()
            return merge(out, format=format, force=force or joins) if shard is None else None
        except FileNotFoundError:
            if not out.is_file():
                raise
            check_same(folder.path, read_metadata(out), ready, record, variants, _place(ready, variants))
            return out  # another process was faster


def _described(ready: Ready, variants: VariantsLike) -> tuple[Ready, Record]:
    """Run the model as the scan will, choose engine and size of shards if left open, and say what the scan is."""
    session, needs_gradient = ready.session, set(ready.options["scores"]) & FROM_GRADIENT or ready.options["top"]

    def run(codes: Array) -> Array:
        if not needs_gradient:
            return session.values(codes)
        rows = np.arange(len(codes))
        return session.columns(codes, rows, np.full_like(rows, session.length // 2))[0]

    probed, most = probe(ready, run), min(most_alleles(_count(ready, variants)), MOST_SCORES // session.n_targets)
    if ready.options["compare"] or set(ready.options["scores"]) & FROM_ALTERNATIVE:
        n_alleles = math.inf if variants is None else count_at_most(variants)
        ready = ready.with_engine(
            2 * n_alleles, is_alone=ready.options["windows"] == "centred" and variants is not None
        )
    share = 3 / 4 if needs_gradient else 1 / 2  # of an allele's work, which has an output with either allele
    n_rows = probed.rows_of_a_shard(share * probed.n_rows, most)
    ready = ready.sized(max(n_rows, min(session.batch_size, most)))
    return ready, describe(ready, "variants", probed)


def most_alleles(n: float) -> int:
    """Return how many alleles a shard has at most, of so many: more where there would be too many files."""
    return min(max(MOST_ALLELES, -(-int(n) // MANY_SHARDS)), MANY_ALLELES)


def _count(ready: Ready, variants: VariantsLike) -> int:
    """Return the number of alleles, or of records, where that is known without reading them; else 0."""
    if variants is not None:
        return len(variants) if hasattr(variants, "__len__") and not isinstance(variants, str) else 0
    return count_substitutions(ready.options["regions"], ready.genome)


def _windows(options: Mapping[str, Any]) -> WindowOptions:
    return WindowOptions(
        length=options["length"], edges=options["edges"], max_n=options["max_n"], step=grid_step(options["windows"]),
        chroms=options["chroms"], regions=options["regions"],
    )  # fmt: skip


def _place(ready: Ready, variants: VariantsLike) -> Iterator[pa.Table]:
    """Read variants and find their windows, when that is iterated over; a table for each shard."""
    windows, genome = _windows(ready.options), ready.genome
    batches = every_substitution(windows.regions, genome) if variants is None else read_variants(variants)
    return in_shards(place_all(batches, genome, windows), ROW, ready.options["shard_size"])


def plan(
    model: Model, fasta: FastaLike, variants: VariantsLike, out: PathLike, *, resume: bool = False,
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
    folder, checked = Folder(folder_of(out)), check_variant_options(options)
    before = begun(folder, resume=resume, force=force)
    with prepare(model, fasta, checked, before, tell=verbose) as ready:
        ready, record = _described(ready, variants)
        placed = _place(ready, variants)
        scan = begin_or_join(folder, ready, record, variants, placed, resume=resume, force=force)
        with open_checked(folder.plan) as planned:
            return _estimate(scan, ready, planned, seconds)


def _estimate(scan: Scan, ready: Ready, planned: pq.ParquetFile, seconds: float) -> Plan:
    """Score for a while, and say what all will take."""
    counts = scan.record["counts"]
    n_ok, n_windows = counts.get("ok", 0), 0
    for batch in planned.iter_batches(columns=["chrom", "window_start", "status"]):
        placed = _placed(pa.table(batch))
        n_windows += len(placed.group_by(["chrom", "window_start"]).aggregate([]))
    n_probed, taken = 0, 0.0
    size = 8 * ready.session.batch_size
    sample = ROW.empty_table()
    for number in range(scan.record["shards"]):  # the first may hold none
        sample = pa.concat_tables([sample, _placed(planned.read_row_group(number))])
        if len(sample) >= size:
            break
    size = min(size, len(sample))
    while size and n_probed < n_ok and taken < seconds:
        start = time.monotonic()
        score_rows(ready, sample.slice(0, size))
        taken += time.monotonic() - start
        n_probed += size
    n_scores = len(ready.options["scores"]) * len(ready.options["targets"]) + len(ready.options["compare"])
    return Plan(
        counts=dict(counts),
        n_windows=n_windows,
        n_shards=scan.record["shards"],
        seconds=n_ok * taken / n_probed if n_probed else 0.0,
        n_bytes=scan.folder.plan.stat().st_size + 4 * n_scores * n_ok,
        engine=ready.session.engine_note,
    )


def _score_shards(
    scan: Scan, ready: Ready, planned: pq.ParquetFile, share: tuple[int, int] | None, verbose: bool, crew: Any
) -> None:
    """Score the alleles of each shard that is not done."""
    names, sizes = target_names(ready.options), group_sizes(planned)
    if len(names) > MAX_TARGETS:
        with scan.folder.changing():
            place = scan.folder.path / MATRIX
            if not place.exists():
                with replacing([place]) as (temporary,):
                    create_matrix(temporary, sum(sizes), sizes[0], names, ready.options["scores"])
    work = VariantWork(scan, ready)
    if crew is None:
        work_here(scan, work, planned, share, "alleles", verbose=verbose)
    else:
        crew.work(scan, work, open_work, planned, share, "alleles", ready=ready, verbose=verbose)


def open_work(scan: Scan, ready: Ready) -> VariantWork:
    """Return what a worker does with shards, with the engine that was chosen for the scan."""
    if ready.options["engine"] in ("full", "incremental"):
        ready = ready.with_engine(math.inf, is_alone=False)
    return VariantWork(scan, ready)


def _placed(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["status"].cast(pa.string()), "ok"))

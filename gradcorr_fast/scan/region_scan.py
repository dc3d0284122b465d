"""Attributions of regions from a model, a genome and regions to a Zarr store: planned once, done by shards, joined."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.parquet as pq

from .. import model_files
from .._types import Array, FastaLike, Model, PathLike, RegionsLike
from ..hooks._ready import Method
from .placing.region_windows import ROW, place_regions
from .placing.windows import WindowOptions
from .results.attributions import Attributions
from .results.metadata import STORE
from .results.parquet import group_sizes, open_checked
from .results.store import create_store, fields
from .running.attributed import RegionWork
from .running.attribution import Run, finish_values, make_run
from .running.crews import crew_of
from .running.folder import Folder, Record
from .running.joining import folder_of, merge
from .running.options import FOR_METHODS, RegionOptions, check_region_options, target_names
from .running.planning import (
    N_PROBED,
    Probe,
    Ready,
    Scan,
    begin_or_join,
    begun,
    describe,
    in_shards,
    prepare,
    probe,
)
from .running.working import work_here

MOST_REGIONS, MOST_VALUES, MOST_ROWS = 1024, 1 << 24, 1 << 17
"""Of a shard whose size was not given: regions, values of their maps, and sequences that the model sees for them."""

__all__ = ["attribute_regions"]


def attribute_regions(
    model: Model, fasta: FastaLike, regions: RegionsLike, out: PathLike, *, shard: tuple[int, int] | None = None,
    resume: bool = False, force: bool = False, verbose: bool = False, client: Any = None,
    **options: Unpack[RegionOptions],
) -> Attributions | None:  # fmt: skip
    """Attribute regions of a genome: which letters in a window about each of them a model's output depends on.

    Parameters
    ----------
    model, fasta
        See `score_variants`.
    regions : path, str, iterable or table
        See `regions.read_regions`: BED, narrowPeak, bedGraph, texts, tuples.
    out : path
        A folder. It gets the Zarr group "attributions.zarr" and the table "regions.parquet", with a row for each
        region in the order of the input, whatever became of it; `Attributions` reads both, `export` turns them
        into what motif discovery and genome browsers read.
    shard, resume, force, verbose, client
        See `score_variants`.
    method : str
        "saliency", "integrated_gradients", "smoothgrad", "expected_gradients" or "saturation_mutagenesis"; see
        `hooks.torch`, also for their options `references` (a name, or an array (R, ...) that serves all regions),
        `n_references`, `n_steps`, `rule`, `n_samples`, `kind`, `sd`, `rate` and `preset`.
    random_state : int
        Seed of the methods that draw at random; what is drawn depends on it and on each sequence alone.
    length, axis, targets, output, input, args, edges, max_n, contigs
        See `score_variants`. A window begins at centre - length // 2. The centre is the summit of a narrowPeak that
        tells one, and (start + stop) // 2 of every other region.
    batch_size, device, precision, optimize, rc, rc_output, bin_axis, strand_pairs, shifts
        See `hooks.torch.saliency`. Maps are means over strands and shifts.
    dtype : "float16" or "float32"
        Of maps. In float16 each has a scale of its own, a power of two, and an error of at most 2**-11 (0.049 %) of a
        value, or 2**-39 of the region's largest if that is more.
    keep_uncorrected : bool
        Store the maps before the correction too.
    shard_size : int or "auto"
        Regions of a shard, which is done whole or not at all; it bounds the memory. "auto" is about a
        minute of work as measured at first, and at most 1024, fewer for long windows, many targets and methods of many
        steps.

    Returns
    -------
    Attributions or None
        What the folder holds, which is read when asked for; None if `shard` is given.

    Raises
    ------
    FileExistsError
        If there is something in `out`, and neither `resume` nor `force` is given.
    ValueError
        If an option is wrong, or the scan in `out` has another model, genome, input or option; it says which.
    RuntimeError
        If the model fails on every sequence.
    MemoryError
        If one sequence alone does not fit.

    Notes
    -----
    Arrays, one row for each region: "codes" (N, L), 255 for unknown letters; "corrected" (N, 4, L), A C G T;
    "prediction" (N,); "angle_summary" (N, 5), shares of the known letters whose gradient lies more than 30, 45 and 60
    degrees off the simplex, mean and standard deviation of the angle, in degrees (mutagenesis has none). With several
    targets all but "codes" are (N, T, ...). Where the status is not "ok" there are 255 and NaN. The metadata tell the
    shares of large angles over all regions: below a few percent the correction changes little.

    Examples
    --------
    >>> attribute_regions(model, "genome.fa", "peaks.narrowPeak", "peaks", length=2114)  # doctest: +SKIP
    """
    path = Path(out)
    if folder_of(path) != path:
        raise ValueError(f"{path} is named like a table, and attributions are a folder; leave the suffix away")
    folder, checked, joins = Folder(path), check_region_options(options), resume or shard is not None
    before = begun(folder, resume=joins, force=force)
    with crew_of(client, fasta, folder) as crew, prepare(model, fasta, checked, before, tell=verbose) as ready:
        ready, run, record = _described(ready)
        placed = _place(ready, regions)
        scan = begin_or_join(folder, ready, record, regions, placed, resume=joins, force=force)
        with open_checked(folder.plan) as planned:
            _attribute_shards(scan, ready, run, planned, shard, verbose, crew)
        ready.genome.check_unchanged()
    if shard is not None:
        return None
    merge(path)
    return Attributions(path)


def _shard_size(ready: Ready, probed: Probe) -> int:
    """Return how many regions make a shard: memory, and what is lost when a process is killed, are bounded."""
    options, length = ready.options, ready.session.length
    n_rows = ready.session.count_rows(_method(ready))
    n_values = 4 * length * len(options["targets"])
    size = probed.rows_of_a_shard(1, min(MOST_REGIONS, MOST_VALUES // n_values, MOST_ROWS // n_rows))
    batch_size = ready.session.batch_size
    return max(1, size - size % batch_size if size > batch_size else size)


def _method(ready: Ready) -> Method:
    given = {name: ready.options[name] for name in FOR_METHODS if ready.options[name] is not None}
    return ready.session.method(ready.options["method"], given)


def _run_of(ready: Ready) -> Run:
    only = model_files.inspect_model(ready.loaded).batch_size
    options = ready.options
    return make_run(ready.session, _method(ready), options["axis"], only, options["keep_uncorrected"])


def _described(ready: Ready) -> tuple[Ready, Run, Record]:
    """Run the model as the scan will, choose the size of shards if none was given, and say what the scan is."""
    run = _run_of(ready)
    n_probed = model_files.inspect_model(ready.loaded).batch_size or N_PROBED

    def run_once(codes: Array) -> Array:
        # what is compiled for this, the thread that writes would compile while warnings are caught, which no two may do
        finish_values(run(codes[:1]), ready.options)
        return ready.session.values(codes[:n_probed])

    probed = probe(ready, run_once)
    ready = ready.sized(_shard_size(ready, probed))
    if ready.options["method"] == "saturation_mutagenesis":
        ready = ready.with_engine(math.inf, is_alone=False)
    return ready, _run_of(ready), describe(ready, "regions", probed)


def _place(ready: Ready, regions: RegionsLike) -> Iterator[pa.Table]:
    """Read regions and find their windows, when that is iterated over; a table for each shard."""
    options = ready.options
    windows = WindowOptions(length=options["length"], edges=options["edges"], max_n=options["max_n"])
    return in_shards(place_regions(regions, ready.genome, windows), ROW, options["shard_size"])


def _attribute_shards(
    scan: Scan, ready: Ready, run: Run, planned: pq.ParquetFile, share: tuple[int, int] | None, verbose: bool, crew: Any
) -> None:
    """Attribute the regions of each shard that is not done."""
    options, store, sizes = ready.options, scan.folder.path / STORE, group_sizes(planned)
    names = ["corrected", "prediction"]
    names += ["angle_summary"] if options["method"] != "saturation_mutagenesis" else []
    names += ["uncorrected"] if options["keep_uncorrected"] else []
    targets = target_names(options)
    arrays = fields(ready.session.length, len(targets), names, options["dtype"])
    with scan.folder.changing():
        scan.folder.check_id(scan.record["id"])
        if not store.exists():
            create_store(store, sum(sizes), options["shard_size"], arrays, targets)
    work = RegionWork(scan, ready, run)
    if crew is None:
        work_here(scan, work, planned, share, "regions", verbose=verbose)
    else:
        crew.work(scan, work, open_work, planned, share, "regions", ready=ready, verbose=verbose)


def open_work(scan: Scan, ready: Ready) -> RegionWork:
    """Return what a worker does with shards, with the engine that was chosen for the scan."""
    if ready.options["method"] == "saturation_mutagenesis":
        ready = ready.with_engine(math.inf, is_alone=False)
    return RegionWork(scan, ready, _run_of(ready))

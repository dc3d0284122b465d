"""A scan begun or joined: the model made ready, variants or regions placed and cut into shards, all on record."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ... import model_files, runtime, sequences
from ..._types import Array, Device, FastaLike, Model, PathLike, SourceLike
from ..._warn import warn
from ..._wording import option
from ...hooks._attempts import reason_of
from ...hooks._options import as_json
from ...hooks._ready import Shapes
from ...hooks._session import Session, open_session
from ...io.replacing import hidden
from ..comparing.comparing import profiles_of
from ..inputs.contigs import missing_contigs
from ..inputs.genome import Genome
from ..placing.alleles import STATUSES, tell_unscored
from ..placing.region_windows import REGION_STATUSES
from ..results.metadata import KEY
from ..results.parquet import writing
from .failures import random_codes
from .folder import (
    PLAN,
    PLAN_DIGEST,
    Folder,
    Record,
    check_current,
    file_digest,
    find_changes,
    identify,
)
from .guessing import guess
from .options import FOR_MODEL, MAY_CHANGE, recorded

N_PROBED = 4
"""Random sequences whose outputs tell one model from another."""
TOLERANCE, ELSEWHERE = 1e-5, 1e-2
"""By how much they may differ, as a part of their spread: on the same device and versions, and on others."""


TOLD = {"variants": ("alleles", STATUSES), "regions": ("regions", REGION_STATUSES)}
"""Of each kind of scan, what is counted, and what its statuses mean."""
SHARD_SECONDS, BRIEF_SECONDS = 60.0, 0.5
"""Of work that a shard makes whose size was not given, for as much is lost when a process is killed; and of a probe
that is timed again."""
N_TIMED = 2
"""How often."""
N_SHOWN = 5
"""Records that cannot be read that a scan tells of."""
STDIN = "-"
"""What cannot be read again: a scan goes on with what it was begun with."""


FOUND_OUT = "batch_size", "shard_size", "engine"
"""Options that a scan finds out if they are left open."""


class Ready(NamedTuple):
    """A model made ready for a scan, in this process."""

    loaded: model_files.LoadedModel
    session: Session
    genome: Genome
    options: Mapping[str, Any]
    """Complete but for the size of shards."""

    def sized(self, shard_size: int) -> "Ready":
        """Return the same with a size of shards, if none was given."""
        is_given = self.options["shard_size"] != "auto"
        return self if is_given else self._replace(options=_completed(self.options, {"shard_size": shard_size}))

    def with_engine(self, n_rows: float, *, is_alone: bool) -> "Ready":
        """Return the same with the engine that computes substitutions, for so many rows to come; see `Wish`."""
        wanted = "full" if self.options.get("compare") else self.options["engine"] or "auto"
        engine = self.session.choose_engine(wanted, n_rows, is_alone=is_alone)
        return self._replace(options=_completed(self.options, {"engine": engine}))


class Scan(NamedTuple):
    """A scan on disk, which processes may pass on."""

    folder: Folder
    record: Record


def begun(folder: Folder, *, resume: bool, force: bool) -> Record | None:
    """Return the record of the scan to go on with, if there is one."""
    if resume and force:
        raise ValueError(f"{option('force')} begins anew, which resume and shard do not; leave one of them away")
    return folder.record if resume else None


@contextmanager
def prepare(
    model: Model, fasta: FastaLike, options: Mapping[str, Any], before: Record | None, *, tell: bool = False
) -> Iterator[Ready]:
    """Load a model, guess what was left open, and open the genome; `before` is the record of a scan that goes on."""
    if before is not None:  # what was found out then
        known = {name: before["options"].get(name) for name in FOUND_OUT if options[name] in ("auto", None)}
        options = _completed(options, known)
    loaded = as_loaded(model, options["device"])
    options = _completed(options, guess(loaded, options, tell))
    optimize = _optimize_as_before(options["optimize"], before)
    with _genome(fasta, options["contigs"]) as genome, _session(loaded, options, optimize) as session:
        yield Ready(loaded, session, genome, _completed(options, {"batch_size": session.batch_size}))


def begin_or_join(
    folder: Folder, ready: Ready, record: Record, source: SourceLike, shards: Iterator[pa.Table], *, resume: bool,
    force: bool,
) -> Scan:  # fmt: skip
    """Plan a scan in a folder, or join the one that is there if it is the same.

    Parameters
    ----------
    folder : Folder
    ready : Ready
    record : dict
        Of `describe`.
    source
        What is scanned.
    shards : iterator of pyarrow.Table
        What is placed, of `in_shards`; read only if it must be.
    resume, force : bool
        See `score_variants`.
    """
    with folder.changing():
        folder.check_vacant(force)
        before = folder.record
        if before is not None and not force:
            if not resume:
                raise FileExistsError(
                    f"{folder.path} holds a scan already; {option('resume')} goes on with it, "
                    f"{option('force')} begins anew"
                )
            check_same(folder.path, before, ready, record, source, shards)
            return Scan(folder, before)
        planned, n_records = hidden(folder.plan, "partial"), Counter[str]()
        try:
            record = record | _plan(ready.genome, source, shards, planned, n_records)
            record |= {PLAN_DIGEST: file_digest(planned)}
            record["id"] = identify(record)
            folder.clear(keep=planned)  # not before all is there that takes its place
            folder.begin(record, planned)
        finally:
            planned.unlink(missing_ok=True)
    for message in (missing_contigs(n_records, ready.genome), tell_unused(record["kind"], record["counts"])):
        if message is not None:
            warn(message)
    return Scan(folder, record)


def tell_unused(kind: str, counts: Mapping[str, int]) -> str | None:
    """Say why most of what is scanned gives no result; None if half of it or more does."""
    return tell_unscored(counts, *TOLD[kind])


def _completed(options: Mapping[str, Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType({**options, **more})


@contextmanager
def _genome(source: FastaLike, contigs: PathLike | Mapping[str, str] | None) -> Iterator[Genome]:
    """Open a FASTA file, or sequences by name."""
    if not isinstance(source, Mapping):
        with Genome(source, contigs=contigs) as genome:
            yield genome
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequences.fa"
        with open(path, "w") as file:
            for name, letters in source.items():
                file.write(f">{name}\n{letters if isinstance(letters, str) else sequences.decode(letters)}\n")
        with Genome(path, contigs=contigs) as genome:
            yield genome


def as_loaded(model: Model, device: Device) -> model_files.LoadedModel:
    """Return a model with what tells it from others; text is what `load_model` takes."""
    if isinstance(model, model_files.LoadedModel):
        return model
    if isinstance(model, str | os.PathLike):
        return model_files.load_model(model, device=device)
    return model_files.describe_model(model)


def _optimize_as_before(optimize: Any, before: Record | None) -> Any:
    """Return the steps that a scan was begun with, so that what was faster then holds; otherwise what is asked for."""
    if before is None or "optimization" not in before or before["options"]["optimize"] != as_json(optimize):
        return optimize
    return tuple(before["optimization"]["steps"])


def _session(loaded: model_files.LoadedModel, options: Mapping[str, Any], optimize: Any) -> Any:
    given: Any = {name: options[name] for name in FOR_MODEL if name in options} | {"optimize": optimize}
    profiles = profiles_of(options.get("compare", ()))
    takes_one_size = model_files.inspect_model(loaded).batch_size is not None
    return open_session(
        loaded.model, loaded.framework, args=options["args"], takes_one_size=takes_one_size, profiles=profiles, **given
    )


def describe(ready: Ready, kind: str, probed: "Probe") -> Record:
    """Return what a scan says about itself."""
    loaded, genome = ready.loaded, ready.genome
    found = runtime.info()["versions"]
    packages = ("gradcorr_fast", "python", "numpy", loaded.framework.replace("keras", "tensorflow"))
    optimization = ready.session.optimization
    record = {
        KEY: found["gradcorr_fast"],
        "kind": kind,
        "model": {
            "source": loaded.source,
            "framework": loaded.framework,
            "digest": loaded.digest,
            "code_digest": loaded.code_digest,
        },
        "probe": probed.values[:N_PROBED].tolist(),
        "genome": {"path": str(genome.path), "digest": genome.digest(), "aliases": genome.aliases or None},
        "options": recorded(ready.options),
        "versions": {name: found.get(name) for name in packages},
        "device": ready.session.device,
    }
    return (
        record
        if optimization is None
        else record | {"optimization": {key: as_json(value) for key, value in optimization.items()}}
    )


class Probe(NamedTuple):
    """What came of the model on random sequences."""

    values: Array
    """Its outputs, by which it is told from others."""
    seconds: float
    """What that took."""

    @property
    def n_rows(self) -> int:
        """How many there were."""
        return max(len(self.values), 1)

    def rows_of_a_shard(self, n_rows: float, at_most: int) -> int:
        """Return how many rows make a shard, if `n_rows` took as long as this."""
        return max(1, min(at_most, int(SHARD_SECONDS / max(self.seconds, 1e-9) * n_rows)))


def probe(ready: Ready, run: Callable[[Array], Array]) -> Probe:
    """Run the model on random sequences, so that what it cannot do shows first, and see how long it takes.

    A few do; where a size of batches is compiled, a whole batch. `run` returns the model's outputs on codes, as the
    scan will have them.
    """
    start = time.monotonic()
    values = _probe(ready, run)
    seconds = time.monotonic() - start
    for _ in range(N_TIMED if ready.options["shard_size"] == "auto" else 0):
        if seconds > BRIEF_SECONDS:  # else much of it may have been for what is done once, or for another process
            break
        start = time.monotonic()
        _probe(ready, run)
        seconds = min(seconds, time.monotonic() - start)
    return Probe(values, seconds)


def _probe(ready: Ready, run: Callable[[Array], Array]) -> Array:
    """Run the model on random sequences, as the scan will run it; raise an error if it fails on all of them."""
    session = ready.session
    length, size, memory = session.length, session.batch_size, session.batches.memory
    size = min(size, N_PROBED) if session.shapes is Shapes.ANY else size
    codes = random_codes(max(size, N_PROBED), length)
    try:
        return run(codes[:size])
    except Exception as error:
        if isinstance(error, memory.errors) and memory.is_exhausted(error):
            return np.empty((0, session.n_targets))  # nothing to compare; the scan finds out what fits
        if isinstance(error, TypeError | ValueError):
            raise
        failure = error
    for row in codes[:N_PROBED]:  # perhaps it was one of them
        try:
            return run(np.repeat(row[None], size, 0))
        except Exception as error:  # noqa: BLE001  (as above, it is raised below)
            failure = error
    raise ValueError(
        f"the model fails on random sequences of length {length} with the letters on axis {ready.options['axis']} "
        f"({reason_of(failure)}); give {option('length', '...')} and {option('axis', '...')} that it takes"
    ) from failure


def _plan(
    genome: Genome, source: SourceLike, shards: Iterator[pa.Table], path: Path, n_records: Counter[str]
) -> Record:
    """Write what is placed with one row group for each shard, and return what is to be recorded of it.

    In `n_records` the records of each name of a contig are counted.
    """
    counts: Counter[str] = Counter()
    contigs: dict[str, int] = {}
    unreadable: list[str] = []
    n_shards, first = 0, next(shards)
    with pq.ParquetWriter(path, first.schema, **writing(first.schema)) as writer:
        for rows in chain([first], shards):
            for entry in pc.value_counts(rows["status"]).to_pylist():
                counts[entry["values"]] += entry["counts"]
            is_unreadable = pc.equal(rows["status"].cast(pa.string()), "unreadable")
            lines = rows.filter(is_unreadable)["id" if "id" in rows.column_names else "name"]
            unreadable += lines[: N_SHOWN - len(unreadable)].to_pylist()
            readable = rows.filter(pc.invert(is_unreadable))
            for entry in pc.value_counts(readable["chrom"]).to_pylist():
                name, contig = entry["values"], genome.resolve(entry["values"])
                n_records[name] += entry["counts"]
                if contig is not None:
                    contigs[name] = genome.lengths[contig]
            writer.write_table(rows, row_group_size=max(1, len(rows)))
            n_shards += 1
    digest = _input_digest(source) or file_digest(path)
    is_named = isinstance(source, str | os.PathLike)
    name = "every substitution" if source is None else str(source) if is_named else type(source).__qualname__
    found = {"input": {"path": name, "digest": digest}, "contigs": contigs, "counts": dict(counts), "shards": n_shards}
    return found | ({"unreadable": unreadable} if unreadable else {})


def _input_digest(source: Any) -> str | None:
    is_file = isinstance(source, str | os.PathLike) and Path(source).is_file()
    return file_digest(Path(source)) if is_file else None


def in_shards(batches: Iterable[Any], row: pa.Schema, size: int) -> Iterator[pa.Table]:
    """Cut a stream of rows into tables of `size` rows, at least one; the last may have fewer."""
    waiting = row.empty_table()
    is_first = True
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.table(batch).cast(row)])
        while len(waiting) >= size:
            yield waiting.slice(0, size)
            waiting, is_first = waiting.slice(size), False
    if len(waiting) or is_first:
        yield waiting


def check_same(
    place: Path, before: Record, ready: Ready, now: Record, source: SourceLike, shards: Iterator[pa.Table]
) -> None:
    """Raise an error if a scan that was begun is another than this one; it says what differs."""
    if before["kind"] != now["kind"]:
        raise ValueError(f"{place} holds a scan of {before['kind']}; give that of {now['kind']} another folder")
    check_current(place, before)
    digest = before["input"]["digest"] if isinstance(source, str) and source == STDIN else _input_digest(source)
    if digest is None:  # no file: read it again, to see whether it is the same
        with tempfile.TemporaryDirectory() as other:
            digest = _plan(ready.genome, source, shards, Path(other) / PLAN, Counter())["input"]["digest"]
    changes = find_changes(before, now | {"input": before["input"] | {"digest": digest}}, MAY_CHANGE)
    is_here = all(before[part] == now[part] for part in ("versions", "device"))
    old, new = (np.array(record["probe"], float) for record in (before, now))
    spread = float(np.nanmax(old, initial=-np.inf) - np.nanmin(old, initial=np.inf))
    allowed = (TOLERANCE if is_here else ELSEWHERE) * max(spread, 0.0)
    shared = min(len(old), len(new))  # of random sequences that are the same
    if old.shape[1:] == new.shape[1:] and not np.allclose(
        old[:shared], new[:shared], rtol=0, atol=allowed, equal_nan=True
    ):
        changes.append(f"the model returned {old[0].tolist()} for random letters and returns {new[0].tolist()}")
    if changes:
        raise ValueError(
            f"the scan in {place} cannot go on, since {'; '.join(changes)}; give what it was begun with, or begin anew "
            f"with {option('force')}"
        )
    old_size, size = (record["options"]["batch_size"] for record in (before, now))
    old_steps, steps = (record.get("optimization", {}).get("steps", []) for record in (before, now))
    for part, was, is_now in (
        *((part, before[part], now[part]) for part in ("versions", "device")),
        ("steps to a faster model", old_steps, steps),
        ("a batch size of", old_size, size),
        ("an engine that is", *(record["options"].get("engine") for record in (before, now))),
    ):
        if was != is_now:
            warn(
                f"the scan in {place} was begun with {part} {was}, and goes on with {is_now}: its last digits may "
                f"differ",
            )

"""A scan begun or joined: the model made ready, variants or regions placed and cut into shards, all on record."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ... import model_files, runtime, sequences
from ..._types import Array
from ..._warn import warn
from ...hooks._attempts import reason_of
from ...hooks._session import Session, open_session
from ..inputs.genome import Genome
from ..placing.windows import WindowOptions
from ..results.metadata import KEY
from .failures import random_codes
from .folder import PLAN, Folder, file_digest, find_changes, identify, work
from .options import FOR_MODEL, MAY_CHANGE, recorded
from .progress import Progress

Record = dict[str, Any]

N_PROBED = 8
"""Random sequences whose outputs tell one model from another."""
TOLERANCE, ELSEWHERE = 1e-5, 1e-2
"""By how much they may differ, as a part of their spread: on the same device and versions, and on others."""


STDIN = "-"
"""What cannot be read again: a scan goes on with what it was begun with."""


class Kind(NamedTuple):
    """What tells scans of one kind from those of another."""

    name: str
    """What is scanned."""
    row: pa.Schema
    """Of what is placed."""
    windows: Callable[[Any], WindowOptions]
    """From the options."""
    place: Callable[[Any, Genome, WindowOptions], Iterable[Any]]
    """Reads what is scanned, and finds windows for it."""
    probe: Callable[["Scan", Array], Array]
    """Runs the model on some sequences as the scan will, and returns its outputs."""
    shard_size: Callable[["Scan"], int] | None = None
    """How many rows make a shard where that was not given."""


class Scan(NamedTuple):
    """A scan with its model made ready."""

    folder: Folder
    record: Record
    loaded: model_files.LoadedModel
    session: Session
    genome: Genome
    options: Any
    windows: WindowOptions

    def rows(self, shard: int) -> pa.Table:
        """Return what was placed, of a shard."""
        with pq.ParquetFile(self.folder.plan) as file:
            return file.read_row_group(shard)

    def sizes(self) -> list[int]:
        """Return the number of rows of each shard."""
        with pq.ParquetFile(self.folder.plan) as file:
            return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]


@contextmanager
def opened(
    kind: Kind, model: Any, fasta: Any, source: Any, path: Path, checked: Mapping[str, Any], *, resume: bool,
    force: bool, tell: bool = False, finished: Record | None = None,
) -> Iterator[Scan]:  # fmt: skip
    """Begin the scan in a folder, or join it; see `score_variants`. The options have been checked.

    With `finished`, what a table says about itself, see only whether it is the same scan.
    """
    if resume and force:
        raise ValueError("force (--force) begins anew, which resume and shard do not; leave one of them away")
    folder, options = Folder(path), dict(checked)
    before = finished or (folder.record if resume else None)
    for name in ("batch_size", "shard_size"):
        if before is not None and options[name] == "auto":  # what was found out then
            options[name] = before["options"][name]
    loaded = as_loaded(model, options["device"])
    _guess(loaded, options, tell)
    windows = kind.windows(options)
    with _genome(fasta) as genome, _session(loaded, options) as session:
        options["batch_size"] = session.batch_size
        scan = Scan(folder, {}, loaded, session, genome, options, windows)
        if options["shard_size"] == "auto" and kind.shard_size is not None:
            options["shard_size"] = kind.shard_size(scan)
        record = _describe(kind, scan)
        if finished is not None:
            _compare(kind, scan, source, finished, record)
            yield scan._replace(record=finished)
            return
        with folder.changing():
            folder.check_vacant(force)
            before = folder.record
            if before is not None and not force:
                if not resume:
                    raise FileExistsError(
                        f"{path} holds a scan already; resume (--resume) goes on with it, force (--force) begins anew"
                    )
                _compare(kind, scan, source, before, record)
                record = before
            else:
                with tempfile.TemporaryDirectory(dir=path, prefix=".plan.", suffix=".partial") as place:
                    record |= _plan(kind, scan, source, Path(place) / PLAN)
                    record["id"] = identify(record)
                    folder.clear(keep=Path(place))  # not before all is there that takes its place
                    folder.begin(record, Path(place) / PLAN)
        yield scan._replace(record=record)


def do_shards(
    scan: Scan, do: Callable[[int, Progress], Callable[[], None]], share: tuple[int, int] | None, *, what: str,
    verbose: bool,
) -> None:  # fmt: skip
    """Do the shards of a scan that are not done, or a share (i, n) of them, and show the progress; see `work`."""
    sizes = scan.sizes()
    numbers: Sequence[int] = range(len(sizes))
    if share is not None:
        numbers = numbers[share[0] - 1 :: share[1]]
    done = sum(sizes[number] for number in numbers if scan.folder.manifest(number))
    progress = Progress(sum(sizes[number] for number in numbers), done, what, hidden=not verbose)
    work(scan.folder, scan.record["id"], numbers, lambda number: do(number, progress))
    progress.finish()


@contextmanager
def _genome(source: Any) -> Iterator[Genome]:
    """Open a FASTA file, or sequences by name."""
    if not isinstance(source, Mapping):
        with Genome(source) as genome:
            yield genome
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequences.fa"
        with open(path, "w") as file:
            for name, letters in source.items():
                file.write(f">{name}\n{letters if isinstance(letters, str) else sequences.decode(letters)}\n")
        with Genome(path) as genome:
            yield genome


def as_loaded(model: Any, device: Any) -> model_files.LoadedModel:
    """Return a model with what tells it from others; text is what `load_model` takes."""
    if isinstance(model, model_files.LoadedModel):
        return model
    if isinstance(model, str | os.PathLike):
        return model_files.load_model(model, device=device)
    return model_files.describe_model(model)


def _guess(loaded: model_files.LoadedModel, options: dict[str, Any], tell: bool) -> None:
    """Fill in axis and length from what the model says of itself."""
    shape = model_files.inspect_model(loaded)
    guesses = {"length": shape.length, "axis": shape.axis, "batch_size": shape.batch_size}
    if options["axis"] is None and shape.axis is None:
        guesses["axis"] = 1 if loaded.framework == "torch" else -1
    if shape.batch_size is not None and options["batch_size"] not in ("auto", shape.batch_size):
        raise ValueError(f"{loaded.source} takes batches of {shape.batch_size} only; leave the batch size away")
    for name, guess in guesses.items():
        if guess is not None and options[name] in (None, "auto"):
            options[name] = guess
            if tell:
                print(f"{name.replace('_', ' ')} {guess}, as the model seems to take", file=sys.stderr)
    if options["length"] is None:
        raise ValueError(f"{loaded.source} does not tell the length of its input; give it, length=... (--length)")


def _session(loaded: model_files.LoadedModel, options: Mapping[str, Any]) -> Any:
    given: Any = {name: options[name] for name in FOR_MODEL if name in options}
    return open_session(loaded.model, loaded.framework, **given)


def _describe(kind: Kind, scan: Scan) -> Record:
    """Return what a scan says about itself; the model is run for it, so that what it cannot do shows first."""
    loaded, genome = scan.loaded, scan.genome
    values = _probe(kind, scan)
    found = runtime.info()["versions"]
    packages = ("gradcorr_fast", "python", "numpy", loaded.framework.replace("keras", "tensorflow"))
    return {
        KEY: found["gradcorr_fast"],
        "kind": kind.name,
        "model": {
            "source": loaded.source,
            "framework": loaded.framework,
            "digest": loaded.digest,
            "code_digest": loaded.code_digest,
        },
        "probe": values[:N_PROBED].tolist(),
        "genome": {"path": str(genome.path), "digest": genome.digest()},
        "options": recorded(scan.options),
        "versions": {name: found.get(name) for name in packages},
        "device": scan.session.device,
    }


def _probe(kind: Kind, scan: Scan) -> Array:
    """Run the model on random sequences, as the scan will run it; raise an error if it fails on all of them."""
    length, size = scan.session.length, scan.session.batch_size
    codes = random_codes(max(size, N_PROBED), length)
    try:
        return kind.probe(scan, codes[:size])
    except Exception as error:
        memory = scan.session.batches.memory
        if isinstance(error, memory.errors) and memory.is_exhausted(error):
            return np.empty((0, scan.session.n_targets))  # nothing to compare; the scan finds out what fits
        if isinstance(error, TypeError | ValueError):
            raise
        failure = error
    for row in codes[:N_PROBED]:  # perhaps it was one of them
        try:
            return kind.probe(scan, np.repeat(row[None], size, 0))
        except Exception as error:  # noqa: BLE001  (as above, it is raised below)
            failure = error
    raise ValueError(
        f"the model fails on random sequences of length {length} with the letters on axis {scan.options['axis']} "
        f"({reason_of(failure)}); give the length and the axis that it takes (--length, --axis)"
    ) from failure


def _plan(kind: Kind, scan: Scan, source: Any, path: Path) -> Record:
    """Read and place all that is to be scanned, and write it with one row group for each shard."""
    genome = scan.genome
    counts: Counter[str] = Counter()
    contigs: dict[str, int] = {}
    n_shards = 0
    with pq.ParquetWriter(path, kind.row, compression="zstd") as writer:
        for rows in _in_shards(kind.place(source, genome, scan.windows), kind.row, scan.options["shard_size"]):
            for entry in pc.value_counts(rows["status"]).to_pylist():
                counts[entry["values"]] += entry["counts"]
            for name in pc.unique(rows["chrom"]).to_pylist():
                contig = genome.resolve(name)
                if contig is not None:
                    contigs[name] = genome.lengths[contig]
            writer.write_table(rows, row_group_size=max(1, len(rows)))
            n_shards += 1
    digest = _input_digest(source) or file_digest(path)
    is_named = isinstance(source, str | os.PathLike)
    name = "every substitution" if source is None else str(source) if is_named else type(source).__qualname__
    return {"input": {"path": name, "digest": digest}, "contigs": contigs, "counts": dict(counts), "shards": n_shards}


def _input_digest(source: Any) -> str | None:
    is_file = isinstance(source, str | os.PathLike) and Path(source).is_file()
    return file_digest(Path(source)) if is_file else None


def _in_shards(batches: Iterable[Any], row: pa.Schema, size: int) -> Iterator[pa.Table]:
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


def _compare(kind: Kind, scan: Scan, source: Any, before: Record, now: Record) -> None:
    """Raise an error if a scan that was begun is another than this one; it says what differs."""
    place = scan.folder.path
    if before["kind"] != kind.name:
        raise ValueError(f"{place} holds a scan of {before['kind']}; give that of {kind.name} another folder")
    digest = before["input"]["digest"] if isinstance(source, str) and source == STDIN else _input_digest(source)
    if digest is None:  # no file: read it again, to see whether it is the same
        with tempfile.TemporaryDirectory() as other:
            digest = _plan(kind, scan, source, Path(other) / PLAN)["input"]["digest"]
    changes = find_changes(before, now | {"input": before["input"] | {"digest": digest}}, MAY_CHANGE)
    is_here = all(before[part] == now[part] for part in ("versions", "device"))
    old, new = (np.array(record["probe"], float) for record in (before, now))
    spread = float(np.nanmax(old, initial=-np.inf) - np.nanmin(old, initial=np.inf))
    allowed = (TOLERANCE if is_here else ELSEWHERE) * max(spread, 0.0)
    if old.shape == new.shape and not np.allclose(old, new, rtol=0, atol=allowed, equal_nan=True):
        changes.append(f"the model returned {old[0].tolist()} for random letters and returns {new[0].tolist()}")
    if changes:
        raise ValueError(
            f"the scan in {place} cannot go on, since {'; '.join(changes)}; give what it was begun with, or begin anew "
            f"with force (--force)"
        )
    old_size, size = (record["options"]["batch_size"] for record in (before, now))
    for part, was, is_now in (
        *((part, before[part], now[part]) for part in ("versions", "device")),
        ("a batch size of", old_size, size),
    ):
        if was != is_now:
            warn(
                f"the scan in {place} was begun with {part} {was}, and goes on with {is_now}: its last digits may "
                f"differ",
            )

"""A scan begun or joined: the model made ready, the variants placed and cut into shards, all of it on record."""

import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import model_files, runtime, sequences
from ..hooks._session import Session, open_session
from ..io.writing import replacing
from .alleles import place_all
from .folder import Folder, file_digest, find_changes
from .genome import Genome
from .metadata import KEY
from .options import FOR_MODEL, ScanOptions, check_options, grid_step, recorded
from .scoring import FROM_GRADIENT, Cut
from .tables import ROW
from .variants import read_variants
from .windows import WindowOptions, cut_windows

Array = np.ndarray[Any, Any]
Record = dict[str, Any]

N_PROBED, TOLERANCE = 2, 1e-2
"""Random sequences whose outputs tell one model from another, and by how much devices and precisions may differ."""


class Scan(NamedTuple):
    """A scan with its model made ready."""

    folder: Folder
    record: Record
    session: Session
    genome: Genome
    options: ScanOptions
    windows: WindowOptions

    def rows(self, shard: int) -> pa.Table:
        """Return the placed alleles of a shard."""
        with pq.ParquetFile(self.folder.plan) as file:
            return file.read_row_group(shard)

    def cut_from(self, rows: pa.Table) -> Cut:
        """Return what cuts windows of some rows."""

        def cut(index: Array, allele: str, side: str) -> Array:
            return cut_windows(rows.take(pa.array(index)), self.genome, self.windows, allele=allele, side=side)

        return cut


@contextmanager
def opened(
    model: Any, fasta: Any, variants: Any, path: Path, given: ScanOptions, *, resume: bool, force: bool,
    tell: bool = False,
) -> Iterator[Scan]:  # fmt: skip
    """Begin the scan in a folder, or join it; see `score_variants`."""
    folder, options = Folder(path), check_options(given)
    before = folder.record if resume and not force else None
    if before is not None and options["batch_size"] == "auto":  # what was found out then
        options["batch_size"] = before["options"]["batch_size"]
    loaded = as_loaded(model, options["device"])
    length = _guess(loaded, options, tell)
    windows = WindowOptions(
        length=length, edges=options["edges"], max_n=options["max_n"], step=grid_step(options["windows"]),
        chroms=options["chroms"], regions=options["regions"],
    )  # fmt: skip
    with _genome(fasta) as genome, _session(loaded, options) as session:
        options["batch_size"] = session.batch_size
        record = _describe(loaded, session, genome, options)
        with folder.changing():
            folder.refuse_strangers()
            work = variants, genome, windows, options["shard_size"]
            if folder.record is not None and not force:
                record = _join(folder, record, work, resume)
            else:
                folder.clear()
                record |= _plan(folder, *work)
                folder.begin(record)
        yield Scan(folder, record, session, genome, options, windows)


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


def _guess(loaded: model_files.LoadedModel, options: ScanOptions, tell: bool) -> int:
    """Fill in axis and length from what the model says of itself; return the length."""
    shape = model_files.inspect_model(loaded)
    guesses = {"length": shape.length, "axis": shape.axis, "batch_size": shape.batch_size}
    if options["axis"] is None and shape.axis is None:
        guesses["axis"] = 1 if loaded.framework == "torch" else -1
    for name, guess in guesses.items():
        if guess is not None and options[name] in (None, "auto"):  # type: ignore[literal-required]
            options[name] = guess  # type: ignore[literal-required]
            if tell:
                print(f"{name.replace('_', ' ')} {guess}, as the model seems to take", file=sys.stderr)
    if options["length"] is None:
        raise ValueError(f"{loaded.source} does not tell the length of its input; give it, length=... (--length)")
    return options["length"]


def _session(loaded: model_files.LoadedModel, options: ScanOptions) -> Any:
    given: Any = {name: options[name] for name in FOR_MODEL}  # type: ignore[literal-required]
    return open_session(loaded.model, loaded.framework, **given)


def _describe(loaded: model_files.LoadedModel, session: Session, genome: Genome, options: ScanOptions) -> Record:
    """Return what a scan says about itself; the model is run for it, so that what it cannot do shows first."""
    values = _probe(session, options)
    found = runtime.info()["versions"]
    packages = ("gradcorr_fast", "python", "numpy", loaded.framework.replace("keras", "tensorflow"))
    return {
        KEY: found["gradcorr_fast"],
        "model": {
            "source": loaded.source,
            "framework": loaded.framework,
            "digest": loaded.digest,
            "code_digest": loaded.code_digest,
        },
        "probe": values[:N_PROBED].tolist(),
        "genome": {"path": str(genome.path), "digest": genome.digest()},
        "options": recorded(options),
        "versions": {name: found.get(name) for name in packages},
        "device": session.device,
    }


def _probe(session: Session, options: ScanOptions) -> Array:
    """Run the model on random sequences, as the scan will run it."""
    codes = np.random.default_rng(0).integers(0, 4, (session.batch_size, session.length)).astype(np.uint8)
    rows = np.arange(len(codes))
    try:
        if set(options["scores"]) & FROM_GRADIENT or options["top"]:
            return session.columns(codes, rows, np.full_like(rows, session.length // 2))[0]
        return session.values(codes)
    except RuntimeError as error:
        raise ValueError(
            f"the model fails on random sequences of length {session.length} with the letters on axis "
            f"{options['axis']} ({error}); give the length and the axis that it takes (--length, --axis)"
        ) from error


def _plan(folder: Folder, variants: Any, genome: Genome, windows: WindowOptions, shard_size: int) -> Record:
    """Read and place all variants, and write them with one row group for each shard."""
    counts: Counter[str] = Counter()
    contigs: dict[str, int] = {}
    n_shards = 0
    with (
        replacing([folder.plan], force=True) as (temporary,),
        pq.ParquetWriter(temporary, ROW, compression="zstd") as writer,
    ):
        for rows in _in_shards(place_all(read_variants(variants), genome, windows), shard_size):
            for entry in pc.value_counts(rows["status"]).to_pylist():
                counts[entry["values"]] += entry["counts"]
            for name in pc.unique(rows["chrom"]).to_pylist():
                contig = genome.resolve(name)
                if contig is not None:
                    contigs[name] = genome.lengths[contig]
            writer.write_table(rows.cast(ROW), row_group_size=max(1, len(rows)))
            n_shards += 1
    digest = _input_digest(variants) or file_digest(folder.plan)
    name = str(variants) if isinstance(variants, str | os.PathLike) else type(variants).__qualname__
    return {"input": {"path": name, "digest": digest}, "contigs": contigs, "counts": dict(counts), "shards": n_shards}


def _input_digest(variants: Any) -> str | None:
    is_file = isinstance(variants, str | os.PathLike) and Path(variants).is_file()
    return file_digest(Path(variants)) if is_file else None


def _in_shards(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Cut a stream of rows into tables of `size` rows, at least one; the last may have fewer."""
    waiting = ROW.empty_table()
    is_first = True
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.table(batch).cast(ROW)])
        while len(waiting) >= size:
            yield waiting.slice(0, size)
            waiting, is_first = waiting.slice(size), False
    if len(waiting) or is_first:
        yield waiting


def _join(folder: Folder, now: Record, scan: tuple[Any, Genome, WindowOptions, int], resume: bool) -> Record:
    """Return the record of the scan in a folder, if this call is one of it."""
    before = folder.record
    assert before is not None
    if not resume:
        raise FileExistsError(
            f"{folder.path} holds a scan already; resume (--resume) goes on with it, force (--force) begins anew"
        )
    digest = _input_digest(scan[0])
    if digest is None:  # no file: read it again, to see whether it is the same
        with tempfile.TemporaryDirectory() as other:
            digest = _plan(Folder(other), *scan)["input"]["digest"]
    changes = find_changes(before, now | {"input": before["input"] | {"digest": digest}})
    if not np.allclose(before["probe"], now["probe"], rtol=TOLERANCE, atol=TOLERANCE):
        changes.append(f"the model returned {before['probe'][0]} for random letters and returns {now['probe'][0]}")
    if changes:
        raise ValueError(
            f"the scan in {folder.path} cannot go on, since {'; '.join(changes)}; give what it was begun with, or "
            f"begin anew with force (--force)"
        )
    for part in ("versions", "device"):
        if before[part] != now[part]:
            warnings.warn(
                f"the scan in {folder.path} was begun with {part} {before[part]}, and goes on with {now[part]}: its "
                f"last digits may differ",
                stacklevel=5,
            )
    return before

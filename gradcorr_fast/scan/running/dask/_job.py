"""What a worker of Dask does: it opens the scan once, and computes and writes shards."""

import asyncio
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import cloudpickle
import pyarrow.parquet as pq
from distributed import WorkerPlugin, get_worker

from .... import model_files, runtime
from ....hooks._attempts import reason_of
from ....hooks._heap import forget_thresholds
from ....model_files._common import current_folder_importable
from ...results.metadata import KEY
from ...results.parquet import open_checked
from ..planning import Ready, Scan, prepare
from ..working import Work

PACKAGES = (KEY, "python", "numpy", "torch", "tensorflow", "keras", "jax")
"""Whose versions workers must share."""
N_SAMPLED, SAMPLE_BP = 64, 1000
"""Parts of a genome by which it is known on another machine, where hashing all of it would take a minute."""

OpenWork = Callable[[Scan, Ready], Work]


class Outcome(NamedTuple):
    """What came of a task."""

    worker: str
    shard: bytes | None = None
    """If the driver is to write it."""
    wants_rows: bool = False
    """Whether the worker sees no plan, and the driver must send what was placed."""
    warnings: tuple[str, ...] = ()


@dataclass
class Job:
    """What a worker must know to work on the shards of a scan."""

    model: Any
    """What `load_model` is called with, or a pickled model."""
    fasta: Any
    options: dict[str, Any]
    scan: Scan
    open_work: OpenWork
    mark: str
    """Name of the file by which a worker sees that it shares the folder."""
    versions: dict[str, Any]
    """Of the driver."""
    digest: str
    """Of the model."""
    genome: str
    """Of parts of the genome."""
    here: str
    """The driver's current folder, which paths are relative to."""


class _Opened(NamedTuple):
    """A job in a worker: model and genome are ready."""

    work: Work
    planned: pq.ParquetFile | None
    """None if the worker does not share the folder."""


class Holder(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed here
    """Keeps a job in each worker, also in those that come later; it is opened when the first shard is there."""

    def __init__(self, job: bytes) -> None:
        self._job = job

    def setup(self, worker: Any) -> None:
        """Begin."""
        self._stack, self._opened, self._lock = ExitStack(), list[_Opened](), Lock()

    def teardown(self, worker: Any) -> None:
        """Let model and genome go."""
        self._stack.close()

    @contextmanager
    def opened(self) -> Iterator[_Opened]:
        """Hold the job, one thread at a time, since a model is one."""
        with self._lock:
            if not self._opened:
                self._opened.append(self._stack.enter_context(_open(cloudpickle.loads(self._job))))
            yield self._opened[0]


@contextmanager
def _open(job: Job) -> Iterator[_Opened]:
    """Load model and genome as the driver did, and refuse others."""
    differ = [f"{name} {mine}" for name, mine in versions().items() if mine != job.versions[name]]
    if differ:
        wanted = ", ".join(f"{name} {job.versions[name]}" for name in (text.split()[0] for text in differ))
        raise RuntimeError(f"it has {', '.join(differ)}, and the driver {wanted}; install the same")
    forget_thresholds()
    with ExitStack() as stack:
        with chdir(job.here) if os.path.isdir(job.here) else ExitStack():
            loaded = _load(job.model)
            if loaded.digest != job.digest:
                raise RuntimeError(f"the model {loaded.source} is another file there; give all workers the same")
            ready = stack.enter_context(prepare(loaded, job.fasta, job.options, job.scan.record))
        if fingerprint(ready) != job.genome:
            raise RuntimeError(f"the genome {job.fasta} is another there; give all workers the same")
        planned = None
        if _sees(job):
            planned = stack.enter_context(open_checked(job.scan.folder.plan))
        yield _Opened(job.open_work(job.scan, ready), planned)


def _load(model: Any) -> model_files.LoadedModel:
    if isinstance(model, Mapping):
        return model_files.load_model(**model)
    with current_folder_importable():
        found = pickle.loads(model)
    return found if isinstance(found, model_files.LoadedModel) else model_files.describe_model(found)


def versions() -> dict[str, Any]:
    found = runtime.info()["versions"]
    return {name: found.get(name) for name in PACKAGES if name in found}


def fingerprint(ready: Ready) -> str:
    """Return what tells a genome from others, of parts of it."""
    return ready.genome.sample_digest(N_SAMPLED, SAMPLE_BP)


def _sees(job: Job) -> bool:
    """Whether this process shares the folder of the scan."""
    try:
        return (job.scan.folder.path / job.mark).exists() and os.access(job.scan.folder.path, os.W_OK)
    except OSError:
        return False


async def survey(name: str, dask_worker: Any) -> dict[str, Any]:
    """Open a job in a worker, and say what came of it; in a thread, so that the worker stays responsive."""
    return await asyncio.to_thread(_look, dask_worker.plugins[name])


def _look(holder: Holder) -> dict[str, Any]:
    try:
        with holder.opened() as opened:
            return {"sees": opened.planned is not None}
    except Exception as error:  # noqa: BLE001  (a model may raise anything)
        return {"error": str(error) if isinstance(error, RuntimeError | ValueError | OSError) else reason_of(error)}


def run(name: str, number: int, rows: Any) -> Outcome:
    """Compute a shard in a worker, and write it if that can be."""
    worker = get_worker()
    with worker.plugins[name].opened() as opened, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if rows is None and opened.planned is None:
            return Outcome(worker.address, wants_rows=True)
        if rows is None:
            rows = opened.planned.read_row_group(number)
        shard = opened.work.compute(rows, _nobody)
        told = tuple(str(each.message) for each in caught if issubclass(each.category, UserWarning))
        if opened.planned is None:
            return Outcome(worker.address, pickle.dumps(shard), warnings=told)
        opened.work.write(number, shard)
        return Outcome(worker.address, warnings=told)


def _nobody(n: float) -> None:
    """The driver tells of shards that are done."""

"""Workers on this machine, one for each GPU or so many as were asked for, with their share of its threads."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, performance_report

from .... import runtime
from ...._check import missing_backend

DEATHS = 3
"""Workers that may die at a shard before it is given up."""
START_SECONDS = 120.0
THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
"""What frameworks ask for the number of their threads; our kernels work alone in a worker, since its thread is no main
one."""


@contextmanager
def local_workers(n: int, n_gpus: int = 0) -> Iterator[Client]:
    """Start so many worker processes and yield their client; each sees one of `n_gpus` GPUs, if there are any."""
    n_threads = max(1, runtime.info()["threads"] // n)
    workers = {k: {"cls": Nanny, "options": _options(k, n_threads, n_gpus)} for k in range(n)}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "dashboard": False, "host": "127.0.0.1"}}
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        "distributed.comm.timeouts.connect": f"{START_SECONDS:.0f}s",
    }
    with (
        dask.config.set(settings),
        _started(workers, scheduler) as cluster,
        Client(cluster, timeout=START_SECONDS) as client,
    ):
        client.wait_for_workers(n, timeout=START_SECONDS)
        yield client


def _started(workers: dict[int, Any], scheduler: dict[str, Any], tries: int = DEATHS) -> SpecCluster:
    """Start a scheduler and workers, once more where one of them dies at that."""
    try:
        return SpecCluster(workers, scheduler, silence_logs="CRITICAL", name="gradcorr-fast")
    except RuntimeError as error:
        if tries > 1:
            return _started(workers, scheduler, tries - 1)
        raise RuntimeError(f"Dask cannot start {len(workers)} workers on this machine ({error})") from error


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield a client of the scheduler at an address, or of the one that a file names."""
    place = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = Client(**place)
    except (OSError, ValueError) as error:  # of which TimeoutError is one
        raise OSError(f"no Dask scheduler answers at {address} ({error}); start one with dask scheduler") from error
    with client:
        yield client


@contextmanager
def reporting(path: str | None) -> Iterator[None]:
    """Have Dask write a page on how its workers spend their time."""
    if path is None:
        yield
        return
    if importlib.util.find_spec("bokeh") is None:
        raise missing_backend("bokeh, with which Dask draws its report,", "cluster")
    with performance_report(filename=path):
        yield


def _options(k: int, n_threads: int, n_gpus: int) -> dict[str, Any]:
    env = dict.fromkeys(THREADS, str(n_threads))
    if n_gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(n_gpus)))).split(",")
        env["CUDA_VISIBLE_DEVICES"] = seen[k % len(seen)]
    return {"nthreads": 1, "env": env, "silence_logs": "CRITICAL", "memory_limit": 0, "host": "127.0.0.1"}

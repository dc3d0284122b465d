"""The shards of a scan on the workers of Dask: one task for each, which Dask places, moves and repeats.

A worker loads model and genome once and keeps them. It writes a shard into the folder of the scan if it sees that, and
otherwise sends it to the driver, which does. What is done is on disk, and goes on without Dask as well.
"""

import os
import pickle
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ...._check import missing_backend
from ...._types import FastaLike
from ...._warn import warn
from ...._wording import option
from ....hooks._attempts import reason_of
from ....io.replacing import hidden
from ..claiming import Claim, claiming
from ..folder import Folder
from ..planning import Ready, Scan
from ..working import Advance, Work, numbers_of, showing

try:
    import cloudpickle
    from distributed import Client, KilledWorker, as_completed
    from distributed.comm import CommClosedError
except ModuleNotFoundError as error:
    raise missing_backend("dask.distributed", "cluster") from error

from ._job import Holder, Job, OpenWork, Outcome, fingerprint, run, survey, versions

__all__ = ["Crew", "driving"]

WAIT_SECONDS = 10.0
"""After which one is told that there is no worker yet."""
TRIES = 5
"""Of telling all workers, some of which may die meanwhile."""
COUNT_SECONDS = 1.0
"""After which workers are counted again."""


@dataclass
class Crew:
    """The workers of a Dask client, and the scan that they are to do."""

    client: Client
    fasta: FastaLike
    claim: Claim
    _told: set[str] = field(default_factory=set)
    _counted: tuple[float, int] = (-COUNT_SECONDS, 1)

    def work(
        self, scan: Scan, work: Work, open_work: OpenWork, planned: pq.ParquetFile, share: tuple[int, int] | None,
        what: str, *, ready: Ready, verbose: bool,
    ) -> None:  # fmt: skip
        """Have the shards done that are not; the driver writes those of workers that do not see the folder."""
        folder = scan.folder
        todo = [n for n in numbers_of(planned.num_row_groups, share) if not folder.is_whole(n)]
        if not todo:
            return
        mark = hidden(folder.path / "seen", "partial")
        name = f"gradcorr-fast-{scan.record['id']}-{secrets.token_hex(4)}"
        job = self._job(scan, open_work, mark.name, ready)
        with showing(scan, planned, share, what, verbose=verbose) as progress, _file(mark), self._kept(name, job):
            sees = self._survey(name, verbose=verbose)
            try:
                self._hand_out(name, todo, scan, work, planned, progress.advance, sees)
            except (OSError, TimeoutError) as error:
                if self._answers():
                    raise
                raise self._gone(scan) from error

    def _job(self, scan: Scan, open_work: OpenWork, mark: str, ready: Ready) -> bytes:
        """Return what workers must know, pickled."""
        fasta = os.path.abspath(self.fasta) if isinstance(self.fasta, str | os.PathLike) else self.fasta
        there = scan._replace(folder=Folder(scan.folder.path.resolve()))
        genome, digest = fingerprint(ready), scan.record["model"]["digest"]
        try:
            job = Job(
                model=_transportable(ready), fasta=fasta, options=dict(ready.options), scan=there,
                open_work=open_work, mark=mark, versions=versions(), digest=digest, genome=genome, here=os.getcwd(),
            )  # fmt: skip
            content: bytes = cloudpickle.dumps(job)
        except Exception as error:
            raise TypeError(
                f"the model or an option cannot be sent to workers ({reason_of(error)}); pass the model's file, or "
                f"module:callable"
            ) from error
        return content

    @contextmanager
    def _kept(self, name: str, job: bytes) -> Iterator[None]:
        """Have all workers keep a job, those too that come later."""
        for left in reversed(range(TRIES)):
            try:
                self.client.register_plugin(Holder(job), name=name)
                break
            except OSError:  # a worker died at it
                if not left:
                    raise
                time.sleep(COUNT_SECONDS)
        try:
            yield
        finally:
            with suppress(Exception):  # of a scheduler that is gone
                self.client.unregister_worker_plugin(name)

    def _survey(self, name: str, *, verbose: bool) -> bool:
        """Have the workers that there are load the model, and name those that cannot; whether all see the folder."""
        try:
            self.client.wait_for_workers(1, timeout=WAIT_SECONDS)
        except TimeoutError:
            warn(f"waiting for workers of {self._scheduler()}, which has none yet")
            self.client.wait_for_workers(1)
        for _ in range(TRIES):  # those that die at it say nothing, and others come
            answers = self.client.run(survey, name, on_error="return")
            found = {worker: answer for worker, answer in answers.items() if isinstance(answer, dict)}
            if found:
                break
            time.sleep(COUNT_SECONDS)
        else:
            raise RuntimeError("workers die when they load the model; give them more memory, or look at what they log")
        wrong = {worker: answer["error"] for worker, answer in found.items() if "error" in answer}
        if wrong:
            worker, text = next(iter(wrong.items()))
            raise RuntimeError(f"{len(wrong)} of {len(found)} workers cannot do this scan; of {worker}: {text}")
        n = int(sum(answer["sees"] for answer in found.values()))
        if verbose:
            how = "write into" if n == len(found) else "do not see" if not n else f"in part ({n}) write into"
            print(f"{len(found)} workers of {self._scheduler()} {how} the folder of the scan", file=sys.stderr)
        return n == len(found)

    def _hand_out(
        self, name: str, todo: list[int], scan: Scan, work: Work, planned: pq.ParquetFile, advance: Advance, sees: bool
    ) -> None:
        """Submit shards, as many at a time as there are workers, and take in what comes of them."""
        waiting, at_work = iter(todo), dict[Any, int]()
        results = as_completed(raise_errors=False, loop=self.client.loop)

        def submit(number: int, with_rows: bool) -> None:
            rows = planned.read_row_group(number) if with_rows else None
            future = self.client.submit(
                run, name, number, rows, key=f"{name}-{number}-{secrets.token_hex(4)}", pure=False
            )
            at_work[future] = number
            results.add(future)

        def fill() -> None:
            for _ in range(self._count() - len(at_work)):
                number = next(waiting, None)
                if number is not None:
                    submit(number, not sees)

        try:
            fill()
            for future in results:
                number = at_work.pop(future)
                self.claim.check()
                self.claim.state = {"workers": self._count(), "at_work": len(at_work)}
                outcome = self._outcome(future, scan)
                if isinstance(outcome, Outcome) and outcome.wants_rows:
                    submit(number, True)
                    continue
                if isinstance(outcome, str):
                    work.write(number, work.give_up(planned.read_row_group(number), outcome))
                elif outcome.shard is not None:
                    work.write(number, pickle.loads(outcome.shard))
                advance(planned.metadata.row_group(number).num_rows)
                fill()
        finally:
            with suppress(Exception):
                self.client.cancel([*at_work])

    def _outcome(self, future: Any, scan: Scan) -> Outcome | str:
        """Return what came of a task, or why its shard is given up; raise what ends the scan."""
        if future.status == "finished":
            outcome: Outcome = future.result()
            for text in outcome.warnings:
                if text not in self._told:
                    self._told.add(text)
                    warn(text)
            return outcome
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            return f"{error.allowed_failures + 1} workers died at its shard, the last {error.last_worker.address}"
        if error is None or isinstance(error, CommClosedError):
            raise self._gone(scan) from error
        raise error

    def _answers(self) -> bool:
        """Whether the scheduler is there."""
        try:
            self.client.nthreads()
        except (OSError, TimeoutError, RuntimeError):
            return False
        return True

    def _gone(self, scan: Scan) -> RuntimeError:
        n_shards = scan.record["shards"]
        n_done = sum(scan.folder.manifest(number) is not None for number in range(n_shards))
        return RuntimeError(
            f"the scheduler {self._scheduler()} went away; {n_done:,} of {n_shards:,} shards are done, and "
            f"{option('resume')} goes on, with Dask or without"
        )

    def _count(self) -> int:
        """Return how many workers there are, at least one, as it was a moment ago."""
        now = time.monotonic()
        if now - self._counted[0] >= COUNT_SECONDS:
            self._counted = now, max(1, len(self.client.nthreads()))
        return self._counted[1]

    def _scheduler(self) -> str:
        return str(getattr(self.client.scheduler, "address", "of Dask"))


@contextmanager
def driving(client: Client, fasta: FastaLike, folder: Path) -> Iterator[Crew]:
    """Claim the folder of a scan, and yield the workers that are to do it."""
    if not isinstance(client, Client):
        raise TypeError(f"client must be a dask.distributed.Client; got a {type(client).__name__}")
    with claiming(folder) as claim:
        yield Crew(client, fasta, claim)


@contextmanager
def _file(path: Path) -> Iterator[None]:
    """Have a file that says nothing but that it is there."""
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _transportable(ready: Ready) -> Any:
    """Return what a worker makes the model of: what it was loaded from, or the model itself, pickled."""
    loaded = ready.loaded
    if loaded.arguments is not None:
        return {**loaded.arguments, "device": ready.options["device"]}
    return cloudpickle.dumps(loaded)

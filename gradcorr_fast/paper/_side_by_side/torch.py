"""Training many PyTorch models: on a CPU several processes side by side, on another device one after the other."""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from ..._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise missing_backend("PyTorch", "paper") from error

from ...io.writing import replacing
from .. import models, training
from ..datasets import Dataset

SECONDS_OF_SILENCE = 60


class Task(NamedTuple):
    """A model to build and train, and where its checkpoint goes."""

    name: str
    build: Mapping[str, Any]
    """Options of `models.build`."""
    fit: Mapping[str, Any]
    """Options of `training.fit`."""
    checkpoint: Path

    @property
    def record(self) -> Path:
        """File that is written when the training has ended."""
        return self.checkpoint.with_suffix(".json")

    @property
    def is_done(self) -> bool:
        """Whether the model is trained."""
        return self.record.exists() and self.checkpoint.exists()


def check_device(device: str) -> None:
    """Refuse a device that there is not."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without CUDA
        raise ValueError(f"PyTorch cannot use the device {device!r} here, pass another one ({error})") from error


def train_all(tasks: Sequence[tuple[Task, Dataset]], workers: int, device: str | None) -> Iterator[list[int]]:
    """Train models, and yield the numbers of those that are done; none where a minute has gone by without any."""
    for task, _ in tasks:
        task.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if workers == 1:
        for k, (task, data) in enumerate(tasks):
            train(task, data, device)
            yield [k]
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, begin) as pool:
        try:
            numbers = {pool.submit(train, task, data, device): k for k, (task, data) in enumerate(tasks)}
            while numbers:
                done, _ = wait(numbers, SECONDS_OF_SILENCE, FIRST_COMPLETED)
                for future in done:
                    future.result()
                yield [numbers.pop(future) for future in done]
        except BrokenProcessPool as error:
            raise OSError(
                "a process that trained models ended before its time, as when memory runs out; call again with fewer "
                "workers, finished models and epochs are kept"
            ) from error
        except BaseException:  # an interruption, say: what is under way has its checkpoints
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def begin() -> None:
    """Set up a process that trains: it uses one thread, and ends when the one that started it is killed."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def train(task: Task, data: Dataset, device: str | None) -> None:
    """Train a model, or go on with it, and record what came out."""
    is_whole = not task.checkpoint.exists()
    start = time.process_time()
    done = _fit(task, data, device)
    seconds = [epoch.seconds for epoch in done.history]
    loss = training.RECIPES[task.fit["recipe"]].loss
    record = {
        "test_score": training.score(done.model, data, loss=loss),
        "valid_score": done.history[done.best_epoch].score,
        "epochs": len(done.history),
        "best_epoch": done.best_epoch + 1,
        "minutes": sum(seconds) / 60,
        "cpu_minutes": (time.process_time() - start) / 60 if is_whole else None,  # those of earlier calls are not known
    }
    with replacing([task.record], force=True) as (temporary,):
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def load(task: Task, data: Dataset, device: str | None) -> torch.nn.Module:
    """Return a trained model."""
    return _fit(task, data, device).model


def _fit(task: Task, data: Dataset, device: str | None) -> training.Training:
    model = models.build(task.name, **task.build)
    return training.fit(model, data, checkpoint=task.checkpoint, device=device, quiet=True, **task.fit)

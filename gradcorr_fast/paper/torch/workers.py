"""Training many PyTorch models: on a CPU in processes side by side, on another device those of a kind at once."""

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

from ...io.replacing import replacing
from ...scan.results.digests import seal
from .. import models, training
from ..datasets import Dataset
from ..recipes import RECIPES, Training
from .ensembles import split

SECONDS_OF_SILENCE = 60
AT_ONCE = 50
"""Models, at most, that a device other than a CPU trains at once."""


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


def is_cpu(device: str | None) -> bool:
    """Whether models are trained in processes side by side, not those that differ in their seeds at once."""
    return device is None or device.startswith("cpu")


def train_all(
    tasks: Sequence[tuple[Task, Dataset]], workers: int, device: str | None, quiet: bool = True
) -> Iterator[list[int]]:
    """Train models, and yield the numbers of those that are done; none where a minute has gone by without any."""
    for task, _ in tasks:
        task.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if not is_cpu(device):
        for alike in group([task for task, _ in tasks]):
            own, data = [tasks[k][0] for k in alike], tasks[alike[0]][1]
            if len(own) == 1:
                train(own[0], data, device)
            else:
                train_at_once(own, data, device, quiet)
            yield alike
        return
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
    _record(task, done, data, (time.process_time() - start) / 60 if is_whole else None)  # unknown of earlier calls


def group(tasks: Sequence[Task]) -> list[list[int]]:
    """Return the numbers of tasks that differ in their seeds alone, together."""
    groups: dict[str, list[int]] = {}
    for k, task in enumerate(tasks):
        options = [{name: value for name, value in each.items() if name != "seed"} for each in (task.build, task.fit)]
        groups.setdefault(json.dumps([task.name, str(task.checkpoint.parent), *options]), []).append(k)
    return [numbers[k : k + AT_ONCE] for numbers in groups.values() for k in range(0, len(numbers), AT_ONCE)]


def train_at_once(tasks: Sequence[Task], data: Dataset, device: str | None, quiet: bool) -> None:
    """Train models that differ in their seeds alone, or go on with them, and record what came out."""
    first = tasks[0].checkpoint
    common = first.with_name(f"{first.stem}-and-{len(tasks) - 1}-more.pt")
    seeds = [task.fit["seed"] for task in tasks]
    options = {name: value for name, value in tasks[0].fit.items() if name != "seed"}
    members = [models.build(task.name, **task.build) for task in tasks]
    trained = training.fit_ensemble(
        members, data, seeds=seeds, checkpoint=common, device=device, quiet=quiet, **options
    )
    split(common, [task.checkpoint for task in tasks])
    for task, done in zip(tasks, trained, strict=True):
        _record(task, done, data, None)
    common.unlink()


def _record(task: Task, done: Training, data: Dataset, cpu_minutes: float | None) -> None:
    """Write down what a training came to."""
    record = {
        "test_score": training.score(done.model, data, loss=RECIPES[task.fit["recipe"]].loss),
        "valid_score": done.history[done.best_epoch].score,
        "epochs": len(done.history),
        "best_epoch": done.best_epoch + 1,
        "minutes": sum(epoch.seconds for epoch in done.history) / 60,
        "cpu_minutes": cpu_minutes,
    }
    with replacing([task.record], force=True) as (temporary,):
        temporary.write_text(json.dumps(seal(record), indent=1) + "\n")


def load(task: Task, data: Dataset, device: str | None) -> torch.nn.Module:
    """Return a trained model."""
    return _fit(task, data, device).model


def _fit(task: Task, data: Dataset, device: str | None) -> Training:
    model = models.build(task.name, **task.build)
    return training.fit(model, data, checkpoint=task.checkpoint, device=device, quiet=True, **task.fit)

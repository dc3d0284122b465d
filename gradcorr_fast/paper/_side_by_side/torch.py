"""Training many PyTorch models: on a CPU several processes side by side, on another device one after the other."""

import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...io.writing import replacing
from .. import models, training
from ..datasets import Dataset


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


def train_all(tasks: Sequence[tuple[Task, Dataset]], workers: int, device: str | None) -> Iterator[int]:
    """Train models, and yield the number of each when it is done."""
    for task, _ in tasks:
        task.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    is_alone = workers == 1 or (device or "cpu").partition(":")[0] != "cpu"
    if is_alone:
        for k, (task, data) in enumerate(tasks):
            train(task, data, device)
            yield k
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, torch.set_num_threads, (1,)) as pool:
        try:
            futures = {pool.submit(train, task, data, device): k for k, (task, data) in enumerate(tasks)}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:  # an interruption, say: what is under way has its checkpoints
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def train(task: Task, data: Dataset, device: str | None) -> None:
    """Train a model, or go on with it, and record what came out."""
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
        "cpu_minutes": (time.process_time() - start) / 60,
    }
    with replacing([task.record], force=True) as (temporary,):
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def load(task: Task, data: Dataset, device: str | None) -> torch.nn.Module:
    """Return a trained model."""
    return _fit(task, data, device).model


def _fit(task: Task, data: Dataset, device: str | None) -> training.Training:
    model = models.build(task.name, **task.build)
    return training.fit(model, data, checkpoint=task.checkpoint, device=device, quiet=True, **task.fit)

"""Training in PyTorch: epochs, checkpoints, and the score of sequences for validation."""

import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise missing_backend("PyTorch", "torch") from error

from ... import metrics
from ...hooks.torch import angle_penalty
from ...io.writing import replacing
from .._channels_last.torch import faster
from ..datasets import Dataset
from ..training import Epoch, Recipe, Training

Array = np.ndarray[Any, Any]

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "logits": torch.nn.functional.binary_cross_entropy_with_logits,
    "bce": torch.nn.functional.binary_cross_entropy,
    "mse": torch.nn.functional.mse_loss,
}
EVALUATED = 1000  # sequences that are predicted at a time


@dataclass
class _State:
    """Everything that a run needs to go on, beside its arguments."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.ReduceLROnPlateau
    best: dict[str, torch.Tensor]
    best_epoch: int = -1
    history: list[Epoch] = field(default_factory=list)

    def save(self, path: Path, settings: dict[str, Any]) -> None:
        parts = {name: part.state_dict() for name, part in self._parts()}
        progress = {"best": self.best, "best_epoch": self.best_epoch, "history": [tuple(e) for e in self.history]}
        with replacing([path], force=True) as (temporary,):
            torch.save({**parts, **progress, "settings": settings}, temporary)

    def load(self, path: Path, settings: dict[str, Any]) -> None:
        device = next(self.model.parameters()).device
        saved = torch.load(path, map_location=device, weights_only=True)
        if "settings" not in saved:
            raise ValueError(f"{path} is no checkpoint of a training; give the run a file of its own")
        for name, value in settings.items():
            if saved["settings"][name] != value:
                raise ValueError(
                    f"the checkpoint {path} is of {name} {saved['settings'][name]}, not {value}; give each run its own"
                )
        try:
            for name, part in self._parts():
                part.load_state_dict(saved[name])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the checkpoint {path} is of another model; give each run its own") from error
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        self.history = [Epoch(*each) for each in saved["history"]]

    def _parts(self) -> list[tuple[str, Any]]:
        return [("model", self.model), ("optimizer", self.optimizer), ("schedule", self.schedule)]


def train(
    model: torch.nn.Module,
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Path | None,
    device: Any,
    quiet: bool,
) -> Training:
    """See `training.fit`."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"fit trains PyTorch models; got a {type(model).__name__}, build one with framework='torch'")
    if device is not None:
        model.to(device)
    state = _begin(model, recipe)
    settings = _settings(data, recipe, seed)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, settings)
    place = next(model.parameters()).device
    codes = torch.tensor(data.codes, device=place)
    y = torch.tensor(data.y, device=place, dtype=torch.float32)
    while len(state.history) < recipe.epochs and len(state.history) - 1 - state.best_epoch < recipe.patience:
        start = time.perf_counter()
        rate = state.optimizer.param_groups[0]["lr"]
        loss = _run_epoch(state, codes, y, data.split.train, recipe, seed)
        reached = evaluate(model, data, data.split.valid, recipe.loss)
        if state.best_epoch < 0 or reached > state.history[state.best_epoch].score:
            state.best, state.best_epoch = deepcopy(model.state_dict()), len(state.history)
        state.schedule.step(reached)
        state.history.append(Epoch(loss, reached, rate, time.perf_counter() - start))
        if checkpoint is not None:
            state.save(checkpoint, settings)
        if not quiet:
            _report(state, recipe)
    if recipe.restore_best:
        model.load_state_dict(state.best)
    return Training(model.eval(), state.history, state.best_epoch)


def _settings(data: Dataset, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What must be the same for a run to go on; more epochs may be asked for."""
    checksum = 0
    for array in (data.codes, data.y, *data.split):
        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return {"seed": seed, **asdict(replace(recipe, epochs=1)), "data with checksum": checksum}


def _begin(model: torch.nn.Module, recipe: Recipe) -> _State:
    """Make what changes the model; Adam's weight decay is the gradient of L2."""
    kernels = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Linear)][:-1]
    others = [p for p in model.parameters() if all(p is not kernel for kernel in kernels)]
    groups = [{"params": others}, {"params": kernels, "weight_decay": 2 * recipe.l2}]
    optimizer = torch.optim.Adam(groups, recipe.learning_rate, eps=1e-7, fused=True)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        "max",
        recipe.decay,
        recipe.decay_patience - 1,  # PyTorch counts the epochs that it still waits, Keras also that of the change
        threshold=1e-4,
        threshold_mode="abs",
        min_lr=recipe.min_learning_rate,
        eps=0,
    )
    return _State(model, optimizer, schedule, model.state_dict())


def _run_epoch(state: _State, codes: torch.Tensor, y: torch.Tensor, rows: Array, recipe: Recipe, seed: int) -> float:
    """Go through the sequences for training once; all that is random depends on the seed and the epoch alone."""
    epoch = len(state.history)
    model = state.model.train()
    body, loss_of = _without_sigmoid(model, recipe.loss)
    if codes.device.type == "cpu":
        body = faster(body)
    order = np.random.default_rng((seed, epoch)).permutation(rows) if recipe.shuffle else rows
    batches = list(torch.from_numpy(order).to(codes.device).split(recipe.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # which batch normalisation cannot take alone
        batches[-2:] = [torch.cat(batches[-2:])]
    total = torch.zeros((), device=codes.device)
    with _seeded(seed, epoch, codes.device):
        for batch in batches:
            x = _one_hot(codes[batch])
            state.optimizer.zero_grad()
            loss = loss_of(body(x), y[batch])
            total += loss.detach() * len(batch)
            if recipe.angle_weight:
                loss = loss + recipe.angle_weight * angle_penalty(model, x)
            loss.backward()
            state.optimizer.step()
    mean = float(total) / len(rows)
    if not np.isfinite(mean):
        raise ValueError(f"the loss is {mean} in epoch {epoch + 1}; pass a smaller learning_rate")
    return mean


def _without_sigmoid(model: torch.nn.Module, loss: str) -> tuple[Any, Callable[..., torch.Tensor]]:
    """Split off a sigmoid that the loss computes itself."""
    if loss == "bce" and isinstance(model, torch.nn.Sequential) and isinstance(model[-1], torch.nn.Sigmoid):
        return model[:-1], LOSSES["logits"]
    return model, LOSSES[loss]


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's own generators, and put them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
        yield


def _one_hot(codes: torch.Tensor) -> torch.Tensor:
    """Return codes (N, L) as (N, 4, L)."""
    return (codes[:, None] == torch.arange(4, device=codes.device, dtype=codes.dtype)[:, None]).float()


def evaluate(model: torch.nn.Module, data: Dataset, rows: Array, loss: str) -> float:
    """See `training.score`."""
    body, _ = _without_sigmoid(model.eval(), loss)
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = np.array_split(data.codes[rows], max(len(rows) // EVALUATED, 1))
        found = torch.cat([body(_one_hot(torch.from_numpy(part).to(device))).cpu() for part in parts]).numpy()
    y = data.y[rows]
    if loss == "mse":
        return -float(np.mean((found - y) ** 2))
    return float(np.nanmean(metrics.auroc(found.T, y.T.astype(bool))))


def _report(state: _State, recipe: Recipe) -> None:
    epoch = state.history[-1]
    name = "AUROC" if recipe.loss == "bce" else "squared error"
    sys.stderr.write(
        f"epoch {len(state.history)} of {recipe.epochs}: loss {epoch.loss:.4f}, {name} {abs(epoch.score):.4f} (best "
        f"{abs(state.history[state.best_epoch].score):.4f}), learning rate {epoch.learning_rate:g}, "
        f"{epoch.seconds:.1f} s\n"
    )

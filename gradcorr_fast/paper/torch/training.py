"""Training in PyTorch: epochs, going on with them, and the score of sequences for validation."""

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
from ..._types import Array, Device
from ...hooks.torch import angle_penalty
from ..datasets import Dataset
from ..recipes import Epoch, Recipe, Training
from .channels_last import faster
from .checkpoints import read, write

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "logits": torch.nn.functional.binary_cross_entropy_with_logits,
    "bce": torch.nn.functional.binary_cross_entropy,
    "mse": torch.nn.functional.mse_loss,
}
EVALUATED = 1000  # sequences that are predicted at a time


@dataclass
class State:
    """Everything that the training of a model needs to go on, beside the arguments of the run."""

    model: torch.nn.Module
    seed: int
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.ReduceLROnPlateau
    best: dict[str, torch.Tensor]
    best_epoch: int = -1
    history: list[Epoch] = field(default_factory=list)

    @property
    def learning_rate(self) -> float:
        """That of the coming epoch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def is_finished(self, recipe: Recipe) -> bool:
        """Whether there were all epochs, or too many without a gain."""
        n_epochs = len(self.history)
        return n_epochs >= recipe.epochs or n_epochs - 1 - self.best_epoch >= recipe.patience

    def record(self, loss: float, score: float, seconds: float) -> None:
        """Note an epoch, and choose the learning rate of the next."""
        epoch = Epoch(loss, score, self.learning_rate, seconds)
        if self.best_epoch < 0 or score > self.history[self.best_epoch].score:
            self.best, self.best_epoch = deepcopy(self.model.state_dict()), len(self.history)
        self.schedule.step(score)
        self.history.append(epoch)

    def dump(self) -> dict[str, Any]:
        """Return what `restore` takes, in types that torch.load trusts."""
        parts = {name: part.state_dict() for name, part in self._parts()}
        return {
            **parts,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "history": [tuple(epoch) for epoch in self.history],
        }

    def restore(self, saved: dict[str, Any], path: Path | None) -> None:
        """Take what `dump` returned, which was read from `path`."""
        try:
            for name, part in self._parts():
                part.load_state_dict(saved[name])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the checkpoint {path} is of another model; give each run its own") from error
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        self.history = [Epoch(*epoch) for epoch in saved["history"]]

    def _parts(self) -> list[tuple[str, Any]]:
        return [("model", self.model), ("optimizer", self.optimizer), ("schedule", self.schedule)]


RunEpoch = Callable[[list[State], torch.Tensor, torch.Tensor, Array, Recipe], list[float]]
"""Goes once through the sequences for training with each model: codes, what is to be predicted, rows; to the losses."""


def train(
    model: torch.nn.Module,
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Path | None,
    device: Device,
    quiet: bool,
) -> Training:
    """See `training.fit`."""
    state = begin(model, recipe, seed, device)
    settings = {"seed": seed, **describe(data, recipe)}
    if saved := read(checkpoint, settings, place_of(model)):
        state.restore(saved, checkpoint)

    def save() -> None:
        write(checkpoint, state.dump(), settings)

    (training,) = go_on([state], _run_one_by_one, data, recipe, save=save, quiet=quiet)
    return training


def begin(model: torch.nn.Module, recipe: Recipe, seed: int, device: Device) -> State:
    """Make what changes the model; Adam's weight decay is the gradient of L2."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"fit trains PyTorch models; got a {type(model).__name__}, build one with framework='torch'")
    if device is not None:
        model.to(device)
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
    return State(model, seed, optimizer, schedule, model.state_dict())


def place_of(model: torch.nn.Module) -> torch.device:
    """Return the device of a model."""
    return next(model.parameters()).device


def describe(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Return what must be the same for a run to go on; more epochs may be asked for."""
    checksum = 0
    for array in (data.codes, data.y, *data.split):
        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return {**asdict(replace(recipe, epochs=1)), "data with checksum": checksum}


def go_on(
    states: list[State],
    run_epoch: RunEpoch,
    data: Dataset,
    recipe: Recipe,
    *,
    save: Callable[[], None],
    quiet: bool,
) -> list[Training]:
    """Train models, all of which have come equally far, until each is finished."""
    place = place_of(states[0].model)
    codes = torch.tensor(data.codes, device=place)
    y = torch.tensor(data.y, device=place, dtype=torch.float32)
    while running := [state for state in states if not state.is_finished(recipe)]:
        start = time.perf_counter()
        losses = run_epoch(running, codes, y, data.split.train, recipe)
        for state, loss in zip(running, losses, strict=True):
            if not np.isfinite(loss):
                epoch = len(state.history) + 1
                raise ValueError(
                    f"the loss of seed {state.seed} is {loss} in epoch {epoch}; pass a smaller learning_rate"
                )
        scores = [evaluate(state.model, data, data.split.valid, recipe.loss) for state in running]
        seconds = time.perf_counter() - start
        for state, loss, score in zip(running, losses, scores, strict=True):
            state.record(loss, score, seconds)
        save()
        if not quiet:
            _report(running, recipe)
    if recipe.restore_best:
        for state in states:
            state.model.load_state_dict(state.best)
    return [Training(state.model.eval(), state.history, state.best_epoch) for state in states]


def _run_one_by_one(
    states: list[State], codes: torch.Tensor, y: torch.Tensor, rows: Array, recipe: Recipe
) -> list[float]:
    return [_run_epoch(state, codes, y, rows, recipe) for state in states]


def _run_epoch(state: State, codes: torch.Tensor, y: torch.Tensor, rows: Array, recipe: Recipe) -> float:
    model = state.model.train()
    body, loss_of = without_sigmoid(model, recipe.loss)
    if codes.device.type == "cpu":
        body = faster(body)
    total = torch.zeros((), device=codes.device)
    with seeded([state.seed], len(state.history), codes.device):
        for batch in batches(state, rows, recipe):
            x = one_hot(codes[batch])
            state.optimizer.zero_grad()
            loss = loss_of(body(x), y[batch])
            total += loss.detach() * len(batch)
            if recipe.angle_weight:
                loss = loss + recipe.angle_weight * angle_penalty(model, x)
            loss.backward()
            state.optimizer.step()
    return float(total) / len(rows)


def batches(state: State, rows: Array, recipe: Recipe) -> list[torch.Tensor]:
    """Return the rows of each batch of the coming epoch; their order depends on the seed and the epoch alone."""
    order = np.random.default_rng((state.seed, len(state.history))).permutation(rows) if recipe.shuffle else rows
    batches = list(torch.from_numpy(order).to(place_of(state.model)).split(recipe.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # which batch normalisation cannot take alone
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def without_sigmoid(model: torch.nn.Module, loss: str) -> tuple[Any, Callable[..., torch.Tensor]]:
    """Split off a sigmoid that the loss computes itself."""
    if loss == "bce" and isinstance(model, torch.nn.Sequential) and isinstance(model[-1], torch.nn.Sigmoid):
        return model[:-1], LOSSES["logits"]
    return model, LOSSES[loss]


@contextmanager
def seeded(seeds: list[int], epoch: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's own generators, and put them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence((*seeds, epoch)).generate_state(1, np.uint64)[0] >> 1))
        yield


def one_hot(codes: torch.Tensor) -> torch.Tensor:
    """Return codes (..., L) as (..., 4, L)."""
    return (codes[..., None, :] == torch.arange(4, device=codes.device, dtype=codes.dtype)[:, None]).float()


def evaluate(model: torch.nn.Module, data: Dataset, rows: Array, loss: str) -> float:
    """See `training.score`."""
    body, _ = without_sigmoid(model.eval(), loss)
    device = place_of(model)
    with torch.no_grad():
        parts = np.array_split(data.codes[rows], max(len(rows) // EVALUATED, 1))
        outputs = torch.cat([body(one_hot(torch.from_numpy(part).to(device))).cpu() for part in parts]).numpy()
    y = data.y[rows]
    if loss == "mse":
        return -float(np.mean((outputs - y) ** 2))
    return float(np.nanmean(metrics.auroc(outputs.T, y.T.astype(bool))))


def _report(states: list[State], recipe: Recipe) -> None:
    """Tell of an epoch of models that are trained at once by their means."""
    loss, score, learning_rate, seconds = np.mean([state.history[-1] for state in states], axis=0)
    best = np.mean([state.history[state.best_epoch].score for state in states])
    name = "AUROC" if recipe.loss == "bce" else "squared error"
    models = f", {len(states)} models" if len(states) > 1 else ""
    sys.stderr.write(
        f"epoch {len(states[0].history)} of {recipe.epochs}{models}: loss {loss:.4f}, {name} {abs(score):.4f} (best "
        f"{abs(best):.4f}), learning rate {learning_rate:g}, {seconds:.1f} s\n"
    )

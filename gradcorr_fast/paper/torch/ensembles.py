"""Training several PyTorch models of one architecture at once: stacked, with the members on the first axis."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise missing_backend("PyTorch", "torch") from error

from torch.func import functional_call, stack_module_state, vmap

from ..._types import Array, Device
from ...hooks.torch import angle_penalty
from ..datasets import Dataset
from ..recipes import Recipe, Training
from .checkpoints import load, read, write
from .training import State, batches, begin, describe, go_on, one_hot, place_of, seeded, without_sigmoid


def train(
    models: Sequence[torch.nn.Module],
    data: Dataset,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    checkpoint: Path | None,
    device: Device,
    quiet: bool,
) -> list[Training]:
    """See `training.fit_ensemble`."""
    states = [begin(model, recipe, seed, device) for model, seed in zip(models, seeds, strict=True)]
    _check(models)
    settings = {"seeds": list(seeds), **describe(data, recipe)}
    if saved := read(checkpoint, settings, place_of(models[0])):
        for state, each in zip(states, saved["members"], strict=True):
            state.restore(each, checkpoint)

    def save() -> None:
        write(checkpoint, {"members": [state.dump() for state in states]}, settings)

    return go_on(states, _run_at_once, data, recipe, save=save, quiet=quiet)


def split(checkpoint: Path, paths: Sequence[Path]) -> None:
    """Write the checkpoint of each member, as `training.fit` writes it, from that of all."""
    saved = load(checkpoint)
    settings = dict(saved["settings"])
    for seed, member, path in zip(settings.pop("seeds"), saved["members"], paths, strict=True):
        write(path, member, {"seed": seed, **settings})


def _check(models: Sequence[torch.nn.Module]) -> None:
    """One module computes with the tensors of all, so the others must be like it in all else."""
    if len({id(model) for model in models}) < len(models):
        raise ValueError("a model is given more than once; build one for each seed")
    first, *others = ((str(m), place_of(m), {k: t.shape for k, t in m.state_dict().items()}) for m in models)
    for k, other in enumerate(others, 1):
        if other != first:
            raise ValueError(
                f"model {k} has another architecture or device than model 0; train them apart, or pass device="
            )


def _run_at_once(states: list[State], codes: torch.Tensor, y: torch.Tensor, rows: Array, recipe: Recipe) -> list[float]:
    """Go through the sequences for training once, each member in its own order."""
    models = [state.model.train() for state in states]
    parameters, buffers = stack = stack_module_state(models)
    adam = _Adam(states, list(parameters.values()))
    body, loss_of = without_sigmoid(models[0], recipe.loss)
    run_body, run_model = on_stack(body, stack), on_stack(models[0], stack)
    totals = torch.zeros(len(states), device=codes.device)
    orders = [batches(state, rows, recipe) for state in states]
    with seeded([state.seed for state in states], len(states[0].history), codes.device):
        for each in zip(*orders, strict=True):
            batch = torch.stack(each)
            x = one_hot(codes[batch])
            losses = vmap(loss_of)(run_body(x), y[batch])
            totals += losses.detach() * batch.shape[1]
            loss = losses.sum()  # no member's loss depends on another's parameters
            if recipe.angle_weight:
                loss = loss + recipe.angle_weight * sum_penalties(run_model, x)
            loss.backward()
            with torch.no_grad():
                adam.step()
    with torch.no_grad():
        adam.scatter()
        for name, stacked in buffers.items():
            for model, buffer in zip(models, stacked, strict=True):
                model.get_buffer(name).copy_(buffer)
    return [total / len(rows) for total in totals.tolist()]


def on_stack(module: torch.nn.Module, stack: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of (members, N, 4, L) that runs a module with the tensors of each member."""

    def run(tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return functional_call(module, tensors, (x,))

    mapped = vmap(run, randomness="different")
    return lambda x: mapped(stack, x)


def sum_penalties(run_model: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Sum the angle penalties of the members; `angle_penalty` takes a mean, here over the sequences of all."""

    def run(rows: torch.Tensor) -> torch.Tensor:
        return run_model(rows.unflatten(0, x.shape[:2])).flatten(0, 1)

    return len(x) * angle_penalty(run, x.flatten(0, 1))


class _Adam:
    """The optimizers of the members as one; torch.optim.Adam itself has one learning rate for a stacked parameter."""

    def __init__(self, states: list[State], stacked: list[torch.Tensor]) -> None:
        self.optimizers = [state.optimizer for state in states]
        self.stacked = stacked
        self.members = list(zip(*(state.model.parameters() for state in states), strict=True))
        self.means, self.squares = self._gather("exp_avg"), self._gather("exp_avg_sq")
        self.learning_rates = torch.tensor([state.learning_rate for state in states], device=stacked[0].device)
        self.n_steps = int(self.optimizers[0].state[self.members[0][0]].get("step", 0))

    def _gather(self, name: str) -> list[torch.Tensor]:
        """Stack what the optimizers keep of each parameter, which before the first step is 0."""
        return [
            torch.stack([o.state[p].get(name, torch.zeros_like(p)) for o, p in zip(self.optimizers, each, strict=True)])
            for each in self.members
        ]

    def step(self) -> None:
        """Change the parameters by their gradients, which are forgotten."""
        self.n_steps += 1
        groups = self.optimizers[0].param_groups
        decays = {own: group["weight_decay"] for group in groups for own in group["params"]}
        (beta, beta_of_squares), eps = groups[0]["betas"], groups[0]["eps"]
        scales = self.learning_rates / (1 - beta**self.n_steps)
        root = (1 - beta_of_squares**self.n_steps) ** 0.5
        for parameter, mean, square, each in zip(self.stacked, self.means, self.squares, self.members, strict=True):
            if parameter.grad is None:  # frozen, or not part of the loss
                continue
            grad = parameter.grad.add(parameter, alpha=decays[each[0]])
            mean.lerp_(grad, 1 - beta)
            square.mul_(beta_of_squares).addcmul_(grad, grad, value=1 - beta_of_squares)
            scale = scales.view(-1, *[1] * (parameter.ndim - 1))
            parameter -= scale * mean / (square.sqrt().div_(root).add_(eps))
            parameter.grad = None

    def scatter(self) -> None:
        """Give the members' models and optimizers what is theirs."""
        for parameter, mean, square, each in zip(self.stacked, self.means, self.squares, self.members, strict=True):
            for k, (optimizer, own) in enumerate(zip(self.optimizers, each, strict=True)):
                own.copy_(parameter[k])
                step = torch.tensor(float(self.n_steps), device=own.device)
                optimizer.state[own] = {"step": step, "exp_avg": mean[k].clone(), "exp_avg_sq": square[k].clone()}

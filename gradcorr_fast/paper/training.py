"""Training the papers' models in PyTorch, as the papers train them; interrupted runs go on to the same result."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._types import Device, Model
from .datasets import Dataset
from .recipes import RECIPES, Epoch, Recipe, Training

__all__ = ["ANGLE_WEIGHTS", "RECIPES", "Epoch", "Recipe", "Training", "fit", "fit_ensemble", "score"]

ANGLE_WEIGHTS = (1e-7, 1e-6, 1e-5, 2e-5, 1e-4, 1e-3, 3e-3, 1e-2, 2e-2)
"""Note S2: weights of the angle penalty, `angle_weight` of `fit`."""


def fit(
    model: Model,
    data: Dataset,
    *,
    seed: int = 0,
    recipe: str | Recipe = "paper",
    checkpoint: str | Path | None = None,
    device: Device = None,
    quiet: bool = False,
    **changes: Any,
) -> Training:
    """Train a PyTorch model.

    Parameters
    ----------
    model : torch.nn.Module
        Of (N, 4, L), such as `models.build` makes. Changed in place, and in evaluation mode afterwards.
    data : Dataset
    seed : int
        Of the order of sequences and of dropout. The weights that the model has before are its own: `models.build` has
        a seed of its own.
    recipe : str or Recipe
        One of `RECIPES`.
    checkpoint : str or Path, optional
        File that is written after each epoch, whole or not at all; if it exists, training goes on from there, also to
        more epochs than before.
    device : torch.device or str, optional
        By default where the model is.
    quiet : bool
        Whether nothing is written to stderr.
    **changes
        Fields of `Recipe` that are to be others, such as ``epochs=5`` or ``angle_weight=1e-4``.

    Returns
    -------
    Training

    Raises
    ------
    TypeError
        If there is no such field, or the model is none of PyTorch.
    ValueError
        If there is no such recipe, the checkpoint is of another model, recipe, seed or data, or the loss is not finite.
    OSError
        If the checkpoint is damaged.
    MissingBackendError
        If PyTorch is not installed.

    Notes
    -----
    The same seed gives the same training, interrupted or not, on the same machine with the same number of threads. A
    sigmoid at the end of a torch.nn.Sequential is taken into the loss, which then does not saturate.

    Models of `models.build` are trained with the channels last in memory where they are on a CPU. Several seeds are
    trained fastest side by side there, each in a process with one thread (``torch.set_num_threads(1)``); on a GPU, see
    `fit_ensemble`.

    Examples
    --------
    >>> from gradcorr_fast.paper import models, synthetic
    >>> data = synthetic.generate(200)
    >>> training = fit(models.build("cnn-shallow-relu"), data, epochs=2, quiet=True)
    >>> len(training.history)
    2
    """
    from .torch.training import train

    path = None if checkpoint is None else Path(checkpoint)
    return train(model, data, _choose(recipe, changes), seed=seed, checkpoint=path, device=device, quiet=quiet)


def fit_ensemble(
    models: Iterable[Any],
    data: Dataset,
    *,
    seeds: Iterable[int],
    recipe: str | Recipe = "paper",
    checkpoint: str | Path | None = None,
    device: Device = None,
    quiet: bool = False,
    **changes: Any,
) -> list[Training]:
    """Train several PyTorch models of one architecture at once.

    Parameters
    ----------
    models : iterable of torch.nn.Module
        Such as `models.build` makes with several seeds. Changed in place, and in evaluation mode afterwards.
    data : Dataset
    seeds : iterable of int
        One for each model: of its order of sequences. Those of all models together are the seed of dropout.
    recipe, checkpoint, device, quiet, **changes
        See `fit`; there is one checkpoint for all.

    Returns
    -------
    list of Training
        In the order of the models, each of which ends by its own validation, and is then left out.

    Raises
    ------
    TypeError, OSError, MissingBackendError
        See `fit`.
    ValueError
        See `fit`; or if the models differ in more than their weights, or their number from that of the seeds.

    Notes
    -----
    Each model is trained as `fit` trains it with the same seed, but for rounding and for the numbers that dropout
    draws. torch.func.vmap runs the models as one, and refuses those that it cannot run, such as models whose course
    depends on the values. This is for GPUs, most of which a small network alone leaves idle; on a CPU it is slower than
    a process for each model.

    Examples
    --------
    >>> from gradcorr_fast.paper import models, synthetic
    >>> members = [models.build("cnn-shallow-relu", seed=seed) for seed in (1, 2)]
    >>> trainings = fit_ensemble(members, synthetic.generate(200), seeds=(1, 2), epochs=1, quiet=True)
    >>> [len(training.history) for training in trainings]
    [1, 1]
    """
    from .torch.ensembles import train

    members, numbers = list(models), [int(seed) for seed in seeds]
    if not members or len(members) != len(numbers):
        raise ValueError(f"there are {len(members)} models and {len(numbers)} seeds; pass a seed for each model")
    path = None if checkpoint is None else Path(checkpoint)
    recipe = _choose(recipe, changes)
    return train(members, data, recipe, seeds=numbers, checkpoint=path, device=device, quiet=quiet)


def _choose(recipe: str | Recipe, changes: dict[str, Any]) -> Recipe:
    """Return a recipe by its name, with other fields."""
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)} or a Recipe; got {recipe!r}")
        recipe = RECIPES[recipe]
    return replace(recipe, **changes)


def score(model: Model, data: Dataset, part: str = "test", *, loss: str = "bce") -> float:
    """Score a PyTorch model on a part of the data.

    Parameters
    ----------
    model : torch.nn.Module
        Of (N, 4, L); put into evaluation mode.
    data : Dataset
    part : {"train", "valid", "test"}
    loss : {"bce", "mse"}

    Returns
    -------
    float
        AUROC, mean over the outputs, or minus the squared error.

    Examples
    --------
    >>> from gradcorr_fast.paper import models, synthetic
    >>> 0 <= score(models.build("cnn-shallow-relu"), synthetic.generate(200)) <= 1
    True
    """
    from .torch.training import evaluate

    return evaluate(model, data, getattr(data.split, part), loss)

"""Recipes of training: loss, steps and stopping rules of the papers, and what a training returns."""

from dataclasses import dataclass
from typing import NamedTuple

from .._types import Model

__all__ = ["LOSSES", "RECIPES", "Epoch", "Recipe", "Training"]

LOSSES = ("bce", "mse")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: Adam, with a learning rate that falls where validation sees no gain.

    Parameters
    ----------
    loss : {"bce", "mse"}
        Binary cross-entropy, with the AUROC as the score of an epoch, or the squared error, which is its own score.
    epochs : int
        At most.
    batch_size : int
        The last batch of an epoch may be smaller; a single sequence that is left over joins the batch before it.
    learning_rate : float
        At first.
    decay : float
        Factor of the learning rate after `decay_patience` epochs without a gain of more than 1e-4 in the score; it
        does not fall below `min_learning_rate`.
    patience : int
        Epochs without any gain after which training ends.
    l2 : float
        Weight of the sum of squares of all kernels but that of the output.
    angle_weight : float
        Weight of the angle penalty of Note S2, see `hooks.torch.angle_penalty`, of the first output.
    shuffle : bool
        Whether each epoch has an order of its own.
    restore_best : bool
        Whether the model ends with the weights of its best epoch, or with the last ones.
    """

    loss: str = "bce"
    epochs: int = 100
    batch_size: int = 100
    learning_rate: float = 1e-3
    decay: float = 0.2
    decay_patience: int = 3
    min_learning_rate: float = 1e-7
    patience: int = 10
    l2: float = 1e-6
    angle_weight: float = 0.0
    shuffle: bool = True
    restore_best: bool = True

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {self.loss!r}")
        for name in ("epochs", "batch_size", "decay_patience", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")


RECIPES = {
    "paper": Recipe(),
    "icml2021": Recipe(decay_patience=5, patience=20, restore_best=False),
    "angle": Recipe(l2=0, angle_weight=1e-4, shuffle=False, restore_best=False),
    "deepstarr": Recipe("mse", batch_size=128, learning_rate=2e-3, l2=0),
    "deepstarr-exp": Recipe("mse", batch_size=64, learning_rate=3e-4, l2=0),
}
"""Synthetic and ChIP-seq data in Genome Biology 2023, in ICML 2021, and with the angle penalty as the authors' script
has it; DeepSTARR as the authors replicate it, and with exponential activation."""


class Epoch(NamedTuple):
    """What an epoch of training came to."""

    loss: float
    """Mean over the batches, without L2."""
    score: float
    """Of the sequences for validation: AUROC, mean over the outputs, or minus the squared error."""
    learning_rate: float
    seconds: float
    """Of all models together that were trained at once."""


class Training(NamedTuple):
    """A trained model, and how it got there."""

    model: Model
    history: list[Epoch]
    best_epoch: int
    """Counted from 0."""

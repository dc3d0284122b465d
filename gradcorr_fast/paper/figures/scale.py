"""How much of the papers' work is done: numbers of models, sequences and settings; and where data comes from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..datasets import Dataset
from ..models import SIGMAS
from ..training import ANGLE_WEIGHTS

__all__ = ["CPU", "PAPER", "QUICK", "Scale", "Sources"]


@dataclass(frozen=True)
class Scale:
    """Numbers that decide how long a reproduction takes; the papers' own are `PAPER`."""

    models: int = 50
    """Seeds of each model."""
    members: int = 50
    """Models of an ensemble, over 12 to 30 first filters."""
    sigma_trials: int = 10
    """Models of each standard deviation of initial weights (Note S1)."""
    angle_trials: int = 20
    """Models of each weight of the angle penalty (Note S2)."""
    sigmas: tuple[float, ...] = SIGMAS
    angle_weights: tuple[float, ...] = ANGLE_WEIGHTS
    n_sequences: int = 20_000
    """Synthetic sequences, for training, validation and test; and the most of a ChIP-seq set."""
    n_evaluated: int = 500
    """Sequences that are attributed."""
    epochs: int = 100
    """At most."""

    @property
    def fixed(self) -> dict[str, int]:
        """What trained models and kept results depend on."""
        return {name: getattr(self, name) for name in ("n_sequences", "n_evaluated", "epochs")}

    def reductions(self) -> list[str]:
        """Say what is less than in the papers."""
        pairs = {name: (_size(getattr(self, name)), _size(getattr(PAPER, name))) for name in MEANING}
        return [f"{own:,} of {whole:,} {MEANING[name]}" for name, (own, whole) in pairs.items() if own != whole]


def _size(value: int | tuple[float, ...]) -> int:
    return value if isinstance(value, int) else len(value)


MEANING = {
    "models": "seeds of each model",
    "members": "models of an ensemble",
    "sigma_trials": "models of each initial spread",
    "angle_trials": "models of each weight of the penalty",
    "sigmas": "initial spreads",
    "angle_weights": "weights of the penalty",
    "n_sequences": "sequences",
    "n_evaluated": "sequences attributed",
    "epochs": "epochs at most",
}
PAPER = Scale()
CPU = Scale(
    models=5,
    members=5,
    sigma_trials=1,
    angle_trials=1,
    sigmas=(0.005, 0.05, 0.2, 0.5),
    angle_weights=(2e-5, 1e-4, 1e-3),
)
"""Some hours on two cores."""
QUICK = Scale(
    models=2,
    members=3,
    sigma_trials=1,
    angle_trials=1,
    sigmas=(0.005, 0.1, 0.5),
    angle_weights=(1e-7, 1e-4),
    n_sequences=10_000,
    n_evaluated=100,
    epochs=12,
)
"""Minutes on two cores."""


class Sources(Protocol):
    """What the data sets of a study need of it."""

    data: Path
    """Folder with the published files."""
    scale: Scale
    stand_in: bool
    """Whether generated data takes the place of published files that are not there."""

    def dataset(self, name: str) -> Dataset:
        """Return a data set by its name."""
        ...

"""Models of DeepSTARR, Basset and ATAC-seq: with weights from the folder of data, or trained by the study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import models, published
from .genome_sets import FAMILIES, first_file
from .study import Job, Study


def trained(study: Study, job: Job) -> tuple[Any, str]:
    """Return a model with weights from the folder of data, or trained by the study, and say which.

    Parameters
    ----------
    study : Study
    job : Job
        With `data` of `genome_sets.NAMES`.

    Returns
    -------
    torch.nn.Module, str

    Raises
    ------
    FileNotFoundError
        If there are neither weights nor sequences for training; and see `genome_sets.find`.
    ValueError
        If the weights are of another model.
    """
    data = study.dataset(job.data)
    family = FAMILIES[job.data.partition("/")[0]]
    path = _weights(study, job)
    if path is not None:
        return models.load_weights(models.build(job.name), path).eval(), f"weights of {path.name}"
    if not len(data.split.train):
        raise FileNotFoundError(
            f"{study.data} has no weights of {job.name} and its data of {family.title} is for tests alone; put the "
            f"weights into {family.weights[job.name][0]} there, see {published.SOURCES[family.source].where}"
        )
    model, epochs = study.model(job), study.record(job)["epochs"]
    return (
        model,
        f"trained here on {len(data.split.train):,} sequences for {epochs:g} of at most {study.scale.epochs} epochs",
    )


def train(study: Study, jobs: Sequence[Job]) -> None:
    """Train, side by side, those models whose weights are not in the folder of data."""
    study.train([job for job in jobs if not has_weights(study, job) and len(study.dataset(job.data).split.train)])


def has_weights(study: Study, job: Job) -> bool:
    """Whether the folder of data has weights of a model."""
    return _weights(study, job) is not None


def _weights(study: Study, job: Job) -> Path | None:
    return first_file(study, FAMILIES[job.data.partition("/")[0]].weights[job.name])

"""Notes S1 and S2: how the spread of the angles depends on initial weights, and on a penalty in the loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .. import training
from ..models import SIGMAS
from . import claims
from .drawing import LABELS, Columns, Reproduction, draw_curves, mean_and_sd
from .study import Job, Study

SIGMA, WEIGHT = "sigma", "weight of the penalty"
PUBLISHED: dict[str, tuple[Sequence[float], Mapping[str, Mapping[str, Sequence[float]]]]] = {
    SIGMA: (SIGMAS, claims.SIGMA_CURVES),
    WEIGHT: (training.ANGLE_WEIGHTS, claims.WEIGHT_CURVES),
}
"""Settings of each note and the curves over them."""
QUANTITIES = {
    "auc": "test AUROC",
    "cosine": "cosine similarity before the correction",
    "std": "standard deviation of angles (degrees)",
}


def note_s1(study: Study) -> Reproduction:
    """Test AUROC and spread of the angles against the standard deviation of initial weights."""
    jobs = {
        (name, sigma): [Job(name, seed, sigma=sigma) for seed in range(study.scale.sigma_trials)]
        for sigma in study.scale.sigmas
        for name in claims.MODELS
    }
    return _sweep(study, jobs, SIGMA)


def note_s2(study: Study) -> Reproduction:
    """Test AUROC, agreement and spread of the angles against the weight of the angle penalty."""
    jobs = {
        (name, weight): [
            Job(name, seed, recipe="angle", angle_weight=weight) for seed in range(study.scale.angle_trials)
        ]
        for weight in study.scale.angle_weights
        for name in claims.MODELS
    }
    return _sweep(study, jobs, WEIGHT)


def _sweep(study: Study, jobs: Mapping[tuple[str, float], list[Job]], label: str) -> Reproduction:
    """Train models with each setting, and draw what came out over what was published."""
    study.train([job for each in jobs.values() for job in each])
    settings, published = PUBLISHED[label]
    quantities = [name for name in QUANTITIES if name in published[claims.MODELS[0]]]
    columns: dict[str, list[Any]] = {name: [] for name in ("model", label, "seed", *quantities)}
    columns |= {f"{name}_published": [] for name in quantities}
    for (name, setting), each in jobs.items():
        for job in each:
            measured = _measure(study, job)
            columns["model"].append(name)
            columns[label].append(setting)
            columns["seed"].append(job.seed)
            for quantity in quantities:
                columns[quantity].append(measured[quantity])
                columns[f"{quantity}_published"].append(published[name][quantity][settings.index(setting)])
    return present(columns)


def present(columns: Columns) -> Reproduction:
    """Draw the numbers of a note over the published ones, and compare them.

    Parameters
    ----------
    columns : mapping of str to sequence
        "model", the setting, "seed", and of each quantity what was measured and published.
    """
    return Reproduction(_draw(columns), columns, _compare(columns))


def _draw(columns: Columns) -> Figure:
    label = list(columns)[1]
    published_settings, published = PUBLISHED[label]
    models, values = np.array(columns["model"]), np.array(columns[label])
    settings = sorted(set(columns[label]))
    quantities = [name for name in QUANTITIES if name in columns]
    curves = {
        QUANTITIES[quantity]: {
            name: [np.array(columns[quantity])[(models == name) & (values == setting)] for setting in settings]
            for name in claims.MODELS
        }
        for quantity in quantities
    }
    dotted = {
        QUANTITIES[quantity]: {name: (published_settings, published[name][quantity]) for name in claims.MODELS}
        for quantity in quantities
    }
    return draw_curves(label, settings, curves, dotted)


def _compare(columns: Columns) -> str:
    """Say how far the angles spread at each setting, and what was published."""
    label = list(columns)[1]
    models, values = np.array(columns["model"]), np.array(columns[label])
    sentences = []
    for name in claims.MODELS:
        parts = []
        for setting in dict.fromkeys(columns[label]):
            is_shown = (models == name) & (values == setting)
            spread, auc = (np.array(columns[quantity])[is_shown] for quantity in ("std", "auc"))
            published = {
                quantity: np.array(columns[f"{quantity}_published"])[is_shown][0] for quantity in ("std", "auc")
            }
            parts.append(
                f"{setting:g}: {mean_and_sd(spread, 1)} degrees ({show(published['std'], 1)}), AUROC "
                f"{mean_and_sd(auc)} ({show(published['auc'], 3)})"
            )
        sentences.append(f"{LABELS[name]}: {'; '.join(parts)}.")
    return f"Spread of the angles and test AUROC by {label} (published). {' '.join(sentences)}"


def _measure(study: Study, job: Job) -> dict[str, float]:
    evaluation = study.evaluation(job)
    return {
        "auc": study.record(job)["test_score"],
        "cosine": float(np.nanmean(evaluation.before.cosine)),
        "std": evaluation.angles.std,
    }


def show(value: float, digits: int) -> str:
    """Write a published number."""
    if np.isnan(value):
        return "not shown"
    return "below 1" if value == claims.BELOW_1 else f"{value:.{digits}f}"

"""Notes S1 and S2: how the spread of the angles depends on initial weights, and on a penalty in the loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .. import training
from ..models import SIGMAS
from . import claims
from .drawing import COLORS, LABELS, Reproduction, mean_and_sd
from .study import Job, Study

Array = np.ndarray[Any, Any]

QUANTITIES = {
    "auc": "test AUROC",
    "cosine": "cosine similarity before the correction",
    "std": "standard deviation of angles (degrees)",
}


def note_s1(study: Study) -> Reproduction:
    """Test AUROC and spread of the angles against the standard deviation of initial weights."""
    settings = study.scale.sigmas
    jobs = {
        (name, sigma): [Job(name, seed, sigma=sigma) for seed in range(study.scale.sigma_trials)]
        for sigma in settings
        for name in claims.MODELS
    }
    return _sweep(study, jobs, settings, SIGMAS, claims.SIGMA_CURVES, "sigma")


def note_s2(study: Study) -> Reproduction:
    """Test AUROC, agreement and spread of the angles against the weight of the angle penalty."""
    settings = study.scale.angle_weights
    jobs = {
        (name, weight): [
            Job(name, seed, recipe="angle", angle_weight=weight) for seed in range(study.scale.angle_trials)
        ]
        for weight in settings
        for name in claims.MODELS
    }
    return _sweep(study, jobs, settings, training.ANGLE_WEIGHTS, claims.WEIGHT_CURVES, "weight of the penalty")


def _sweep(
    study: Study,
    jobs: Mapping[tuple[str, float], list[Job]],
    settings: Sequence[float],
    published_settings: Sequence[float],
    published: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
) -> Reproduction:
    """Train a model for each setting, and draw what came out over what was published."""
    study.train([job for each in jobs.values() for job in each])
    measured = {key: [_measure(study, job) for job in each] for key, each in jobs.items()}
    quantities = [name for name in QUANTITIES if name in published[claims.MODELS[0]]]
    columns: dict[str, list[Any]] = {name: [] for name in ("model", label, "seed", *quantities)}
    columns |= {f"{name}_published": [] for name in quantities}
    for (name, setting), rows in measured.items():
        k = published_settings.index(setting)
        for seed, row in enumerate(rows):
            columns["model"].append(name)
            columns[label].append(setting)
            columns["seed"].append(seed)
            for quantity in quantities:
                columns[quantity].append(row[quantity])
                columns[f"{quantity}_published"].append(published[name][quantity][k])
    figure = Figure(figsize=(4.6 * len(quantities), 3.6), layout="constrained")
    for ax, quantity in zip(figure.subplots(1, len(quantities)), quantities, strict=True):
        for name in claims.MODELS:
            values = np.array([[row[quantity] for row in measured[name, setting]] for setting in settings])
            mean, sd = values.mean(1), values.std(1)
            ax.plot(settings, mean, color=COLORS[name], marker="o", markersize=4, label=LABELS[name])
            ax.fill_between(settings, mean - sd, mean + sd, color=COLORS[name], alpha=0.15, linewidth=0)
            ax.plot(published_settings, published[name][quantity], color=COLORS[name], linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.set_ylabel(QUANTITIES[quantity])
    ax.legend(fontsize="small", frameon=False, title="dotted: published", title_fontsize="small")
    sentences = []
    for name in claims.MODELS:
        parts = []
        for setting in settings:
            k = published_settings.index(setting)
            spread = mean_and_sd([row["std"] for row in measured[name, setting]], 1)
            auc = mean_and_sd([row["auc"] for row in measured[name, setting]])
            parts.append(
                f"{setting:g}: {spread} degrees ({show(published[name]['std'][k], 1)}), AUROC {auc} "
                f"({show(published[name]['auc'][k], 3)})"
            )
        sentences.append(f"{LABELS[name]}: {'; '.join(parts)}.")
    return Reproduction(
        figure, columns, f"Spread of the angles and test AUROC by {label} (published). {' '.join(sentences)}"
    )


def _measure(study: Study, job: Job) -> dict[str, float]:
    found = study.evaluation(job)
    return {
        "auc": study.record(job)["test_score"],
        "cosine": float(np.nanmean(found.before.cosine)),
        "std": found.angles.std,
    }


def show(value: float, digits: int) -> str:
    """Write a published number."""
    if np.isnan(value):
        return "not shown"
    return "below 1" if value == claims.BELOW_1 else f"{value:.{digits}f}"

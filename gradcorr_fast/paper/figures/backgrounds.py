"""Not in the papers: what the choice of background motifs changes in the figures of synthetic data."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..._types import Array
from . import claims
from .drawing import COLORS, LABELS, Columns, Reproduction, mean_and_sd
from .study import SYNTHETIC, Job, Study

QUANTITIES = {
    "test_auroc": "test AUROC",
    "cosine": "cosine similarity before the correction",
    "auroc": "AUROC before the correction",
    "above_30": "positions above 30 degrees (%)",
    "above_45": "positions above 45 degrees (%)",
    "above_60": "positions above 60 degrees (%)",
}
MARKERS = ("o", "D")


def backgrounds(study: Study) -> Reproduction:
    """Test AUROC, agreement and large angles with background motifs that look like core motifs, and without."""
    jobs = [Job(name, seed, data) for data in SYNTHETIC for name in claims.MODELS for seed in range(study.scale.models)]
    study.train(jobs)
    rows = [_measure(study, job) for job in jobs]
    return present({name: [row[name] for row in rows] for name in rows[0]})


def present(columns: Columns) -> Reproduction:
    """Draw the numbers beside the published ones, and compare them.

    Parameters
    ----------
    columns : mapping of str to sequence
        "background", "model", "seed", and `QUANTITIES`.
    """
    return Reproduction(_draw(columns), columns, _compare(columns))


def _measure(study: Study, job: Job) -> dict[str, Any]:
    evaluation = study.evaluation(job)
    percent = 100 * evaluation.angles.fractions.mean(0)
    return {
        "background": SYNTHETIC[job.data],
        "model": job.name,
        "seed": job.seed,
        "test_auroc": study.record(job)["test_score"],
        "cosine": float(np.nanmean(evaluation.before.cosine)),
        "auroc": float(np.nanmean(evaluation.before.auroc)),
        **{f"above_{threshold}": float(share) for threshold, share in zip((30, 45, 60), percent, strict=True)},
    }


def _published(name: str) -> dict[str, float]:
    agreement = claims.AGREEMENT["saliency"][name]
    shares = claims.LARGE_ANGLES[name]
    values = (claims.TEST_AUC[name], agreement["cosine"].before, agreement["auroc"].before, *shares)
    return dict(zip(QUANTITIES, values, strict=True))


def _values(columns: Columns, background: str, name: str, quantity: str) -> Array:
    is_shown = (np.array(columns["background"]) == background) & (np.array(columns["model"]) == name)
    values: Array = np.array(columns[quantity], float)[is_shown]
    return values


def _draw(columns: Columns) -> Figure:
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    for ax, (quantity, label) in zip(figure.subplots(2, 3).flat, QUANTITIES.items(), strict=True):
        _draw_panel(ax, columns, quantity)
        ax.set_ylabel(label)
        ax.set_xticks(
            range(len(claims.MODELS)), [name.removeprefix("cnn-").replace("-", "\n") for name in claims.MODELS]
        )
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw_panel(ax: Axes, columns: Columns, quantity: str) -> None:
    """Draw each seed, backgrounds side by side, and the published mean as a line."""
    names = dict.fromkeys(columns["background"])
    for x, name in enumerate(claims.MODELS):
        for k, background in enumerate(names):
            values = _values(columns, background, name, quantity)
            place = np.full(len(values), x + 0.3 * (k - 0.5))
            label = f"background motifs: {background}" if x == 0 else "_"
            face = COLORS[name] if k else "none"
            ax.scatter(place, values, s=22, marker=MARKERS[k], facecolor=face, edgecolor=COLORS[name], label=label)
        label = "published mean" if x == 0 else "_"
        ax.hlines(_published(name)[quantity], x - 0.35, x + 0.35, color="0.3", linestyle="--", label=label)


def _compare(columns: Columns) -> str:
    sentences = []
    for name in claims.MODELS:
        parts = []
        for quantity, label in QUANTITIES.items():
            digits = 1 if quantity.startswith("above") else 3
            numbers = [
                f"{mean_and_sd(_values(columns, background, name, quantity), digits)} {background}"
                for background in dict.fromkeys(columns["background"])
            ]
            parts.append(f"{label} {', '.join(numbers)} ({_published(name)[quantity]:.{digits}f})")
        sentences.append(f"{LABELS[name]}: {'; '.join(parts)}.")
    return (
        "Background motifs as the authors' list filters them, which leaves relatives of MAX and Gabpa in negative "
        "sequences, and distinct ones, of which none looks like a core motif; mean and standard deviation over seeds "
        f"(published). {' '.join(sentences)} Weights that the authors published take relatives of MAX and Gabpa for "
        "evidence, so that the negative sequences they were trained on will not have had them."
    )

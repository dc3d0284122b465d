"""Figures of synthetic sequences, whose motifs are known: agreement with them, and large angles."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ... import plot
from ..._types import Array
from ...summary import merge
from ..evaluation import Agreement, Evaluation
from . import claims
from .drawing import COLORS, LABELS, METHOD_TITLES, METRICS, Reproduction, low_to_high, mean_and_sd, scatter_gains
from .study import Job, Study

PATH_METHODS = ("integrated_gradients", "smoothgrad", "expected_gradients")
IDENTITY = (
    "A positive cosine always grows, by |G| / |Gc|, and a negative one falls, whatever was removed: an identity. "
    "AUROC and AUPR are not bound to improve, and carry the evidence."
)


def fig1b(study: Study, methods: Sequence[str] = ("saliency",), preset: str = "paper") -> Reproduction:
    """Agreement of maps with the planted motifs, and its improvement, against the test AUROC of models."""
    jobs = models_of(study, claims.MODELS)
    return gains(study, jobs, methods, preset)


def s1(study: Study) -> Reproduction:
    """As Fig. 1b for integrated gradients, SmoothGrad and expected gradients, as the authors' scripts compute them."""
    return fig1b(study, PATH_METHODS, "repo")


def icml_fig2(study: Study) -> Reproduction:
    """The same for the models of 2021, by saliency, and by integrated gradients from shuffled sequences."""
    names = ("cnn-local-relu", "cnn-local-exp", "cnn-dist-relu", "cnn-dist-exp")
    reproduction = gains(study, models_of(study, names, recipe="icml2021"), ("saliency", "expected_gradients"), "paper")
    return reproduction._replace(text=f"{reproduction.text} Published: {claims.ICML_GAINS}.")


def models_of(study: Study, names: Sequence[str], **options: Any) -> list[Job]:
    """Return the jobs of all seeds of models, seed by seed."""
    return [Job(name, seed, **options) for seed in range(study.scale.models) for name in names]


def gains(study: Study, jobs: list[Job], methods: Sequence[str], preset: str) -> Reproduction:
    """Draw and write down how much the agreement of maps improves."""
    study.train(jobs)
    aucs = np.array([study.record(job)["test_score"] for job in jobs])
    described = ("method", "model", "seed", "cpu_minutes", "test_auroc", "n_undefined")
    columns: dict[str, list[Any]] = {name: [] for name in described}
    columns |= {f"{metric}_{when}": [] for metric in Agreement._fields for when in ("before", "after")}
    panels, sentences = {}, []
    for method in methods:
        evaluations = study.evaluations(jobs, method, preset)
        rows = [_scores(evaluation) for evaluation in evaluations]
        for job, auc, evaluation, row in zip(jobs, aucs, evaluations, rows, strict=True):
            columns["method"].append(method)
            columns["model"].append(job.name)
            columns["seed"].append(job.seed)
            columns["cpu_minutes"].append(study.record(job)["cpu_minutes"] or np.nan)  # unknown if interrupted
            columns["test_auroc"].append(float(auc))
            columns["n_undefined"].append(int(np.isnan(evaluation.before.cosine).sum()))
            for name, value in row.items():
                columns[name].append(value)
        panels[method] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        sentences += _compare(jobs, panels[method], method)
    figure = scatter_gains([job.name for job in jobs], aucs, panels)
    auc_sentences = [
        f"{LABELS[name]} {mean_and_sd([a for a, job in zip(aucs, jobs, strict=True) if job.name == name])}"
        + (f" ({claims.TEST_AUC[name]:.3f})" if name in claims.TEST_AUC else "")
        for name in dict.fromkeys(job.name for job in jobs)
    ]
    n_seeds = count_seeds(job.name for job in jobs)
    beside = " (published)" if any(job.name in claims.TEST_AUC for job in jobs) else ""
    text = " ".join(
        [
            f"Test AUROC, mean and standard deviation over {n_seeds}{beside}: {'; '.join(auc_sentences)}.",
            *sentences,
            IDENTITY,
        ]
    )
    return Reproduction(figure, columns, text)


def count_seeds(names: Iterable[str]) -> str:
    """Write how many seeds each model has, given the model of each."""
    number = low_to_high(Counter(names).values())
    return "one seed" if number == "1" else f"{number} seeds"


def _scores(evaluation: Evaluation) -> dict[str, float]:
    """Mean over sequences; those whose map is 0 have no cosine."""
    return {
        f"{metric}_{when}": float(np.nanmean(getattr(getattr(evaluation, when), metric)))
        for metric in Agreement._fields
        for when in ("before", "after")
    }


def _compare(jobs: list[Job], scores: dict[str, Array], method: str) -> list[str]:
    """Say for each model what the agreement was, how much it improved, and what was published."""
    sentences = []
    for name in dict.fromkeys(job.name for job in jobs):
        of_model = np.array([job.name == name for job in jobs])
        parts = []
        for metric in Agreement._fields:
            before, after = scores[f"{metric}_before"][of_model], scores[f"{metric}_after"][of_model]
            published = claims.AGREEMENT.get(method, {}).get(name, {}).get(metric)
            parts.append(
                f"{METRICS[metric]} {before.mean():.3f}, improved by {mean_and_sd(after - before)}"
                + (f" ({published.before:.3g}, {published.improvement:.3f})" if published else "")
            )
        sentences.append(f"{METHOD_TITLES[method]}, {LABELS[name]}: {'; '.join(parts)}.")
    return sentences


def fig1c(study: Study, names: Sequence[str] = ("cnn-deep-relu",)) -> Reproduction:
    """Share of the positions of a sequence with a large angle, over sequences and models."""
    columns: dict[str, list[Any]] = {name: [] for name in ("model", "seed", "above_30", "above_45", "above_60", "std")}
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    sentences = []
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        jobs = models_of(study, [name])
        summaries = [evaluation.angles for evaluation in study.evaluations(jobs)]
        percent = np.array([100 * summary.fractions.mean(0) for summary in summaries])
        for job, summary, row in zip(jobs, summaries, percent, strict=True):
            for column, value in zip(columns, (job.name, job.seed, *map(float, row), summary.std), strict=True):
                columns[column].append(value)
        plot.large_angle_histogram(merge(summaries), ax, threshold=(30, 45, 60), density=True, bins=15)
        ax.set_title(LABELS[name], color=COLORS[name])
        published = claims.LARGE_ANGLES[name]
        sentences.append(
            f"{LABELS[name]}: "
            + ", ".join(
                f"{mean_and_sd(percent[:, k], 1)} % above {threshold} degrees ({published[k]:.1f})"
                for k, threshold in enumerate((30, 45, 60))
            )
        )
    n_seeds = count_seeds(columns["model"])
    text = f"Mean and standard deviation over {n_seeds} (published). {'; '.join(sentences)}."
    return Reproduction(figure, columns, text)


def s3(study: Study) -> Reproduction:
    """As Fig. 1c for the other models."""
    return fig1c(study, ("cnn-deep-exp", "cnn-shallow-relu", "cnn-shallow-exp"))

"""Figures of published genome-wide models: DeepSTARR (S8), Basset (S9) and GOPHER's ATAC-seq (S10)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ... import plot
from ..._types import Array, Model
from ...summary import AngleSummary
from .. import training
from . import claims, genome_models, genome_sets
from .drawing import Reproduction
from .genome_maps import ATAC, BASSET, DEEPSTARR, Case, Found, describe_set, measure_all, predict
from .study import Study
from .tracks import draw_window

RANDOM = np.degrees(np.sqrt(np.pi**2 / 12 - 0.5))
"""Standard deviation of the angle where the density is that of isotropic gradients of four letters, cos(angle)^2."""


def s8(study: Study) -> Reproduction:
    """Angles of DeepSTARR, for developmental and housekeeping activity."""
    measured = measure_all(study, DEEPSTARR)
    drawn = _draw(study, DEEPSTARR, measured)
    scores = [
        _score_activity(study, case, measurement.model) for case, measurement in zip(DEEPSTARR, measured, strict=True)
    ]
    listed = [
        f"{case.label} "
        + ", ".join(
            f"{value:.2f} ({claims.DEEPSTARR_TEST[case.job.name][name][case.target.where]:.2f})"
            for name, value in score.items()
        )
        for case, score in zip(DEEPSTARR, scores, strict=True)
        if _has_score(study, case)
    ]
    what = "Pearson and Spearman correlation and squared error (published)"
    text = f"{drawn.text} {_list_scores(study, DEEPSTARR, what, listed)}"
    columns = {**drawn.numbers, **{f"test_{name}": [score[name] for score in scores] for name in scores[0]}}
    return Reproduction(drawn.figure, columns, text)


def s9(study: Study) -> Reproduction:
    """Angles of Basset, for the highest predicted class of each sequence."""
    measured = measure_all(study, BASSET)
    drawn = _draw(study, BASSET, measured)
    data = study.dataset(BASSET[0].job.data)
    scores = [
        training.score(measurement.model, data) if _has_score(study, case) else np.nan
        for case, measurement in zip(BASSET, measured, strict=True)
    ]
    listed = _list_scores(study, BASSET, "AUROC, mean over 164 labels", _show(BASSET, scores))
    text = (
        f"{drawn.text} {listed} What is differentiated is the highest predicted class of each sequence, as the paper "
        f"says. The authors' script took the maximum over a batch of 128 sequences x 164 outputs, so that only one "
        f"sequence in 128 had a gradient, and the published histograms are of those alone; the published logos of "
        f"Basset-relu stand above angles of Basset-exp."
    )
    return Reproduction(drawn.figure, {**drawn.numbers, "test_auroc": scores}, text)


def s10(study: Study) -> Reproduction:
    """Angles of GOPHER's models of ATAC-seq profiles, for the mean coverage in PC-3."""
    measured = measure_all(study, ATAC)
    drawn = _draw(study, ATAC, measured)
    scores = [
        _correlation(*_test_values(study, case, measurement.model)) if _has_score(study, case) else np.nan
        for case, measurement in zip(ATAC, measured, strict=True)
    ]
    what = "correlation of predicted and true mean coverage in PC-3"
    text = (
        f"{drawn.text} {_list_scores(study, ATAC, what, _show(ATAC, scores))} What is differentiated is the mean over "
        f"output positions of the track of PC-3. Models that are trained here minimise the squared error as "
        f"DeepSTARR-exp does (batches of 64, learning rate 3e-4), where GOPHER has a Poisson likelihood. In the "
        f"authors' notebook both logos of CNN-32-relu show maps of CNN-32-exp."
    )
    return Reproduction(drawn.figure, {**drawn.numbers, "test_pearson": scores}, text)


def _draw(study: Study, cases: Sequence[Case], measured: Sequence[Found]) -> Reproduction:
    """Draw a histogram of angles and a window of a map for each case, and say what was published of it."""
    figure = Figure(figsize=(14, 4.2 * len(cases)), layout="constrained")
    parts = figure.subfigures(len(cases), 2, width_ratios=(1, 2.4), squeeze=False)
    for (left, right), case, measurement in zip(parts, cases, measured, strict=True):
        ax = left.subplots()
        plot.angle_histogram(measurement.angles, ax)
        is_stand_in = genome_sets.is_stand_in(study, case.job.data)
        ax.set_title(f"{case.label}{', stand-in sequences' if is_stand_in else ''}", loc="left", fontsize="medium")
        draw_window(right, measurement.window, f"test sequence {measurement.window.sequence}")
    origins = dict.fromkeys(
        f"{case.label.partition(',')[0]} ({f.origin})" for case, f in zip(cases, measured, strict=True)
    )
    sentences = [describe_set(study, cases[0].job.data), f"Models: {'; '.join(origins)}."]
    sentences += [_describe(case, measurement.angles) for case, measurement in zip(cases, measured, strict=True)]
    sentences.append(f"Gradients of no preferred direction would have a standard deviation of {RANDOM:.1f} degrees.")
    return Reproduction(figure, _tabulate(study, cases, measured), " ".join(sentences))


def _tabulate(study: Study, cases: Sequence[Case], measured: Sequence[Found]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "model": [case.job.name for case in cases],
        "case": [case.label for case in cases],
        "stand_in": [genome_sets.is_stand_in(study, case.job.data) for case in cases],
        "n_sequences": [len(measurement.predictions) for measurement in measured],
        "n_undefined": [int(measurement.angles.n_undefined.sum()) for measurement in measured],
    }
    rows = [_shape(measurement.angles) for measurement in measured]
    return columns | {name: [row[name] for row in rows] for name in rows[0]}


def _shape(angles: AngleSummary) -> dict[str, float]:
    """Numbers of a histogram of angles: moments, percent of large ones, and its peaks on either side of 0."""
    counts, centres = angles.histogram, (angles.edges[1:] + angles.edges[:-1]) / 2
    density = counts / max(counts.sum(), 1) / np.diff(angles.edges)
    half = len(counts) // 2
    below, above = int(counts[:half].argmax()), half + int(counts[half:].argmax())
    percent = 100 * angles.counts.sum(0) / angles.n_positions.sum()
    return {
        "mean": angles.mean,
        "std": angles.std,
        **{f"above_{threshold:g}": float(p) for threshold, p in zip(angles.thresholds, percent, strict=True)},
        "peak_below_0": float(centres[below]),
        "density_below_0": float(density[below]),
        "density_at_0": float(density[half - 1 : half + 1].mean()),
        "peak_above_0": float(centres[above]),
        "density_above_0": float(density[above]),
    }


def _describe(case: Case, angles: AngleSummary) -> str:
    shape = _shape(angles)
    return (
        f"{case.label}: angles of mean {shape['mean']:+.1f} and standard deviation {shape['std']:.1f} degrees, density "
        f"{shape['density_below_0']:.3f} at {shape['peak_below_0']:+.0f}, {shape['density_at_0']:.3f} at 0, "
        f"{shape['density_above_0']:.3f} at {shape['peak_above_0']:+.0f}, {shape['above_45']:.1f} % above 45 "
        f"(published: {claims.GENOME_ANGLES[case.job.name]})."
    )


def _has_score(study: Study, case: Case) -> bool:
    """Whether a model can be scored: not where published weights meet stand-ins."""
    return not (genome_sets.is_stand_in(study, case.job.data) and genome_models.has_weights(study, case.job))


def _list_scores(study: Study, cases: Sequence[Case], what: str, scores: Sequence[str]) -> str:
    part = "stand-in's test part" if genome_sets.is_stand_in(study, cases[0].job.data) else "test part"
    return f"On the {part}, {what}: {'; '.join(scores) or 'none, since weights and sequences do not belong together'}."


def _show(cases: Sequence[Case], scores: Sequence[float]) -> list[str]:
    return [f"{case.label} {score:.3f}" for case, score in zip(cases, scores, strict=True) if not np.isnan(score)]


def _score_activity(study: Study, case: Case, model: Model) -> dict[str, float]:
    if not _has_score(study, case):
        return dict.fromkeys(("pearson", "spearman", "mse"), np.nan)
    predicted, measured = _test_values(study, case, model)
    return {
        "pearson": _correlation(predicted, measured),
        "spearman": _correlation(_ranks(predicted), _ranks(measured)),
        "mse": float(np.mean((predicted - measured) ** 2)),
    }


def _test_values(study: Study, case: Case, model: Model) -> tuple[Array, Array]:
    """Return what is predicted of the sequences of the test part, and the truth, (N,) each."""
    data = study.dataset(case.job.data)
    predicted = predict(study, model, case, data.codes[data.split.test])
    return predicted, case.target(data.y[data.split.test].astype(np.float32))


def _correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Array) -> Array:
    """Ranks from 1, equal values having the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks

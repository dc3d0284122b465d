"""Figures of ChIP-seq data, where the mean map of an ensemble of models takes the place of a ground truth."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..._types import AnyArray, Array
from ...metrics import DifferenceByAngle, ensemble_difference_by_angle
from ...ops import analyze
from ...summary import angle_summary
from ..models import FIRST_FILTERS
from . import chipseq_sets, claims, sweeps
from .drawing import BEFORE_SIGMOID, COLORS, LABELS, Reproduction, draw_curves, mean_and_sd
from .genome_maps import Window
from .study import Job, Study
from .synthetic import models_of
from .tracks import agreement, draw_window, table

THRESHOLDS = (30, 45, 60)
MARKERS = "osD^vP*Xph"
BINS = 37
COMPARED = {0: (18,), 45: (9, 27), 90: (0, 36)}
"""Angles at which the papers' curves were read, and the bins that are drawn there."""
EVEN_UP_TO = 60
FEWEST = 20
"""Positions of a bin that is shown."""
LOGO_MODEL = "cnn-deep-exp"
LOGO_LENGTH, MOTIF_LENGTH = 50, 12


def ensemble(study: Study, name: str, factor: str) -> list[Job]:
    """Return the jobs of an ensemble: 50 models, five with each number of first filters; fewer are spread evenly."""
    n = study.scale.members
    return [
        Job(name, k, f"chipseq/{factor}", first_filters=FIRST_FILTERS[k * len(FIRST_FILTERS) // n]) for k in range(n)
    ]


def _train(study: Study, models: Sequence[str]) -> list[str]:
    """Train the ensembles of models on all sets, and return the names of the sets."""
    factors = chipseq_sets.names(study)
    study.train([job for factor in factors for name in models for job in ensemble(study, name, factor)])
    return factors


def _maps(study: Study, jobs: Sequence[Job]) -> Array:
    """Return the maps of an ensemble (members, N, L, 4)."""
    if len(jobs) == 1:
        raise ValueError("members is 1; an ensemble has at least 2 models, pass a scale with more members")
    return np.stack([study.maps(job) for job in jobs])


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def fig1d(study: Study, models: Sequence[str] = ("cnn-deep-relu",)) -> Reproduction:
    """Share of positions with a large angle, mean over sequences and members, for each transcription factor."""
    factors = _train(study, models)
    study.train([job for name in models for job in models_of(study, [name])])
    figure = Figure(figsize=(4.2 * len(models) + 1.4, 3.6), layout="constrained")
    rows, sentences = [], []
    for ax, name in zip(figure.subplots(1, len(models), squeeze=False, sharey=True)[0], models, strict=True):
        shares = [_measure_shares(study, job) for factor in factors for job in ensemble(study, name, factor)]
        percent = np.array([[row[f"above_{threshold}"] for threshold in THRESHOLDS] for row in shares])
        percent = percent.reshape(len(factors), -1, len(THRESHOLDS)).mean(1)
        found = study.evaluations(models_of(study, [name]))
        synthetic = 100 * np.mean([each.angles.fractions.mean(0) for each in found], axis=0)
        _draw_shares(ax, factors, percent, synthetic)
        ax.set_title(LABELS[name], color=COLORS[name])
        aucs = _show_range([row["test_auroc"] for row in shares], ".3f")
        sentences.append(f"{LABELS[name]} (test AUROC {aucs}): {_compare_shares(name, percent, synthetic)}.")
        rows += shares
    figure.axes[0].set_ylim(bottom=0)
    figure.axes[0].set_ylabel("positions (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    text = (
        f"{chipseq_sets.describe(study, factors)} Share of positions with a large angle: the smallest and the largest "
        f"mean of a set, over sequences and models (in the papers, of their ten sets), and the mean of synthetic data "
        f"(in the papers). Members of an ensemble: {study.scale.members}. {' '.join(sentences)}"
    )
    return Reproduction(figure, _columns(rows), text)


def s4(study: Study) -> Reproduction:
    """As Fig. 1d for the other models."""
    return fig1d(study, ("cnn-deep-exp", "cnn-shallow-relu", "cnn-shallow-exp"))


def _measure_shares(study: Study, job: Job) -> dict[str, Any]:
    """Return the percent of positions with large angles of a model, and their spread."""
    summary = angle_summary(study.maps(job), thresholds=THRESHOLDS)
    percent = (100 * summary.fractions.mean(0)).tolist()
    return {
        "factor": job.data.partition("/")[2],
        "model": job.name,
        "first_filters": job.first_filters,
        "seed": job.seed,
        "test_auroc": study.record(job)["test_score"],
        **{f"above_{threshold}": value for threshold, value in zip(THRESHOLDS, percent, strict=True)},
        "std": summary.std,
    }


def _draw_shares(ax: Axes, factors: Sequence[str], percent: Array, synthetic: Array) -> None:
    """Draw a point for each set and threshold, and the mean of synthetic data as a line."""
    x = np.arange(len(THRESHOLDS))
    offsets = 0.3 * (np.arange(len(factors)) + 0.5) / len(factors) - 0.15
    for k, factor in enumerate(factors):
        marker = MARKERS[k % len(MARKERS)]
        ax.plot(x + offsets[k], percent[k], linestyle="", marker=marker, color=f"C{k % 10}", label=factor)
    ax.hlines(synthetic, x - 0.35, x + 0.35, color="0.3", linestyle="--", label="synthetic data")
    ax.set_xticks(x, [f"above {threshold}°" for threshold in THRESHOLDS])


def _compare_shares(name: str, percent: Array, synthetic: Array) -> str:
    """Say between which shares the sets lie, and what was published."""
    published = claims.CHIPSEQ_LARGE_ANGLES.get(name)
    parts = []
    for k, threshold in enumerate(THRESHOLDS):
        beside = f" ({_show_range(published[k], '.1f')})" if published else ""
        parts.append(
            f"{_show_range(percent[:, k], '.1f')} %{beside} above {threshold} degrees, {synthetic[k]:.1f} % "
            f"({claims.LARGE_ANGLES[name][k]:.1f}) in synthetic data"
        )
    return "; ".join(parts)


def _show_range(values: AnyArray, form: str) -> str:
    """Write the smallest and the largest number, "unknown" where all are NaN."""
    known = np.asarray(values)[np.isfinite(values)]
    if not len(known):
        return "unknown"
    low, high = f"{known.min():z{form}}", f"{known.max():z{form}}"
    return low if low == high else f"{low} to {high}"


class Angles(NamedTuple):
    """What the maps of an ensemble came to, in bins of the angle."""

    difference: DifferenceByAngle
    of_mean: Array
    """Positions of the mean map."""

    @property
    def percent(self) -> Array:
        """Percent of the distance that goes with the correction, NaN where there are few positions."""
        return np.where(self.difference.counts < FEWEST, np.nan, 100 * self.difference.reduction)


def s5(study: Study) -> Reproduction:
    """Angles of single models and of their mean map, and how much nearer to that the correction brings a map."""
    factors = _train(study, claims.MODELS)
    found: dict[tuple[str, str], Angles] = {}
    for factor in factors:
        study.say(f"maps of the ensembles of {factor}")
        found |= {(factor, name): _measure_ensemble(study, name, factor) for name in claims.MODELS}
    sentences = [_compare_ensembles(name, [found[factor, name] for factor in factors]) for name in claims.MODELS]
    text = (
        f"{chipseq_sets.describe(study, factors)} The distance of a single map from the mean map of the "
        f"{study.scale.members} models of its ensemble, before and after the correction of the single map alone, so "
        f"that it may grow as well as shrink; smallest and largest of the sets (in the papers, of their ten). "
        f"{' '.join(sentences)} If the maps of an ensemble had nothing in common and it were large, its mean map would "
        f"be 0 and the distance would shrink by 1 - cos(angle), 29 % at 45 degrees; with few models, of whose mean a "
        f"map is itself a large part, it shrinks less. {BEFORE_SIGMOID}"
    )
    return Reproduction(_draw_ensembles(factors, found), _list_bins(found), text)


def _measure_ensemble(study: Study, name: str, factor: str) -> Angles:
    maps = _maps(study, ensemble(study, name, factor))
    mean = maps.mean(0)
    return Angles(ensemble_difference_by_angle(maps, mean, bins=BINS), angle_summary(mean, bins=BINS).histogram)


def _list_bins(found: Mapping[tuple[str, str], Angles]) -> dict[str, list[Any]]:
    """Return what is drawn, bin by bin."""
    columns: dict[str, list[Any]] = {"factor": [], "model": []}
    for (factor, name), (difference, of_mean) in found.items():
        columns["factor"] += [factor] * BINS
        columns["model"] += [name] * BINS
        for column, values in {
            "angle_from": difference.edges[:-1],
            "angle_to": difference.edges[1:],
            "positions": difference.counts,
            "distance_before": difference.before,
            "distance_after": difference.after,
            "reduction_percent": 100 * difference.reduction,
            "density_single": _density(difference.counts),
            "density_mean": _density(of_mean),
        }.items():
            columns[column] = [*columns.get(column, []), *values.tolist()]
    return columns


def _density(counts: Array) -> Array:
    """Return densities a degree."""
    density: Array = counts / counts.sum() * len(counts) / 180
    return density


def _draw_ensembles(factors: Sequence[str], found: Mapping[tuple[str, str], Angles]) -> Figure:
    """Draw a row for each set: the angles of each model, and the reductions of all."""
    figure = Figure(figsize=(15, 0.8 + 2.2 * len(factors)), layout="constrained")
    axes = figure.subplots(len(factors), len(claims.MODELS) + 1, squeeze=False, sharex=True)
    angles = np.linspace(-90, 90, 181)
    for row, factor in zip(axes, factors, strict=True):
        for ax, name in zip(row, claims.MODELS, strict=False):
            difference, of_mean = found[factor, name]
            edges, color = difference.edges, COLORS[name]
            ax.stairs(_density(difference.counts), edges, fill=True, color="0.75", label="single maps")
            ax.stairs(_density(of_mean), edges, color=color, linewidth=1.5, label="mean map")
            ax.sharey(row[0])
            ax.label_outer()
            row[-1].plot((edges[1:] + edges[:-1]) / 2, found[factor, name].percent, color=color, label=LABELS[name])
        row[0].set_ylabel(f"{factor}\ndensity (1/degree)")
        row[-1].plot(angles, 100 - 100 * np.cos(np.radians(angles)), color="0.4", linestyle=":", label="1 - cos(angle)")
        row[-1].axhline(0, color="0.4", linewidth=0.8)
        row[-1].set_ylabel("reduction (%)")
    for ax, title in zip(axes[0], (*map(LABELS.get, claims.MODELS), "distance from the mean map"), strict=True):
        ax.set_title(title, fontsize="medium")
        ax.legend(fontsize="x-small", frameon=False)
    axes[0, 0].set_xlim(-90, 90)
    axes[0, 0].set_xticks(range(-90, 91, 45))
    for ax in axes[-1]:
        ax.set_xlabel("angle to the simplex (degrees)")
    return figure


def _compare_ensembles(name: str, found: Sequence[Angles]) -> str:
    """Say how large the reductions and how high the densities are, and what was published."""
    percent = np.array([each.percent for each in found])
    parts = []
    for (angle, bins), published in zip(COMPARED.items(), claims.ENSEMBLE_REDUCTION[name], strict=True):
        place = f"{'±' if angle else ''}{angle} degrees"
        parts.append(f"{_show_range(percent[:, bins], '.0f')} ({_show_range(published, '.0f')}) at {place}")
    edges = found[0].difference.edges
    inside = percent[:, (edges[:-1] > -EVEN_UP_TO) & (edges[1:] < EVEN_UP_TO)]
    uneven = np.nanmax(np.abs(inside - inside[:, ::-1]), initial=0)
    highest = [
        [_density(counts).max() for counts in of_kind]
        for of_kind in ([each.difference.counts for each in found], [each.of_mean for each in found])
    ]
    published_peaks = claims.CHIPSEQ_ANGLE_PEAKS.get(name, ((), ()))
    peaks = [
        _show_range(peaks, ".3f") + (f" ({_show_range(published, '.3f')})" if published else "")
        for peaks, published in zip(highest, published_peaks, strict=True)
    ]
    return (
        f"{LABELS[name]}: percent by which the distance shrinks {', '.join(parts)}; up to {EVEN_UP_TO} degrees, the "
        f"two signs of an angle differ by at most {uneven:.0f}. Highest density of the angles: single maps {peaks[0]}, "
        f"mean maps {peaks[1]}."
    )


def s7(study: Study) -> Reproduction:
    """Logos of a stretch of a sequence of each set: before, angle, after, and the mean map of the other models."""
    factors = _train(study, [LOGO_MODEL])
    n_columns = min(2, len(factors))
    n_rows = -(-len(factors) // n_columns)
    figure = Figure(figsize=(7.5 * n_columns, 5 * n_rows), layout="constrained")
    parts = figure.subfigures(n_rows, n_columns, squeeze=False).ravel()
    columns: dict[str, list[Any]] = {}
    sentences = []
    for part, factor in zip(parts, factors, strict=False):
        window, others = _show_stretch(part, study, factor)
        for name, values in table(window, others, factor=factor).items():
            columns.setdefault(name, []).extend(values)
        sentences.append(f"{factor}: {agreement(window, others)}")
    text = (
        f"{chipseq_sets.describe(study, factors)} Shown are {LOGO_LENGTH} positions round the {MOTIF_LENGTH} with the "
        f"largest corrected grad-times-input in the mean map of {study.scale.members} models, of all sequences "
        f"that are attributed: the map of the model that is best in validation, and the mean map of the others, which "
        f"it is compared with. {'; '.join(sentences)}. {BEFORE_SIGMOID}"
    )
    return Reproduction(figure, columns, text)


def _show_stretch(part: Any, study: Study, factor: str) -> tuple[Window, Array]:
    """Draw the logos of a set; return what the best model has there, and the mean map of the other models."""
    jobs = ensemble(study, LOGO_MODEL, factor)
    maps = _maps(study, jobs)
    best = int(np.argmax([study.record(job)["valid_score"] for job in jobs]))
    codes = study.dataset(jobs[0].data).codes[study.rows(jobs[0].data)]
    n, stretch = _choose(maps.mean(0), codes)
    window = Window(codes[n, stretch], maps[best, n, stretch], None, stretch.start, n)
    others = np.delete(maps, best, axis=0)[:, n, stretch].mean(0)
    model = f"{LABELS[LOGO_MODEL]} with {jobs[best].first_filters} first filters"
    draw_window(part, window, f"{factor}: {model}, positive test sequence {n}", others)
    return window, others


def _choose(mean: Array, codes: Array) -> tuple[int, slice]:
    """Return the sequence and the stretch round what is strongest in the corrected mean maps (N, L, 4)."""
    scores = analyze(mean, codes, outputs=("grad_times_input",)).grad_times_input
    sums = np.lib.stride_tricks.sliding_window_view(np.nan_to_num(scores), MOTIF_LENGTH, axis=1).sum(-1)
    n, first = np.unravel_index(sums.argmax(), sums.shape)
    last_start = max(0, codes.shape[1] - LOGO_LENGTH)
    start = min(max(0, int(first) + MOTIF_LENGTH // 2 - LOGO_LENGTH // 2), last_start)
    return int(n), slice(start, min(start + LOGO_LENGTH, codes.shape[1]))


def s12(study: Study) -> Reproduction:
    """Test AUROC and spread of the angles against the standard deviation of initial weights, Note S1, of one set."""
    factor, *_ = chipseq_sets.names(study)
    trials = range(study.scale.sigma_trials)
    jobs = [
        Job(name, seed, f"chipseq/{factor}", sigma=sigma)
        for name in claims.MODELS
        for sigma in study.scale.sigmas
        for seed in trials
    ]
    study.train(jobs)
    columns: dict[str, list[Any]] = {
        "model": [job.name for job in jobs],
        "sigma": [job.sigma for job in jobs],
        "seed": [job.seed for job in jobs],
        "test_auroc": [study.record(job)["test_score"] for job in jobs],
        "std": [angle_summary(study.maps(job)).std for job in jobs],
    }
    shape = len(claims.MODELS), len(study.scale.sigmas), len(trials)
    aucs, spreads = (np.reshape(columns[name], shape) for name in ("test_auroc", "std"))
    sentences = []
    for name, auc, spread in zip(claims.MODELS, aucs, spreads, strict=True):
        parts = [
            f"{sigma:g}: {mean_and_sd(spread[k], 1)} degrees, AUROC {mean_and_sd(auc[k])}"
            for k, sigma in enumerate(study.scale.sigmas)
        ]
        sentences.append(f"{LABELS[name]}: {'; '.join(parts)}.")
    text = (
        f"{chipseq_sets.describe(study, [factor])} Spread of the angles and test AUROC by sigma. {' '.join(sentences)} "
        f"No numbers of this figure could be read in the papers; in synthetic data the spread grows with sigma, see "
        f"Note S1."
    )
    curves = {
        label: dict(zip(claims.MODELS, values, strict=True))
        for label, values in ((sweeps.QUANTITIES["auc"], aucs), (sweeps.QUANTITIES["std"], spreads))
    }
    return Reproduction(draw_curves("sigma", study.scale.sigmas, curves, {}), columns, text)

"""Figures of single positions: angles at motifs and elsewhere, and what the correction does at each angle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..._types import Array
from ...metrics import positionwise_cosine_similarity
from ...ops import analyze, grad_times_input
from . import claims
from .drawing import BEFORE_SIGMOID, COLORS, LABELS, Reproduction
from .study import Job, Study
from .synthetic import models_of

BINS = np.linspace(-90, 90, 101)
SHOWN = 3000
"""Positions that are drawn, of those of all models."""
TITLES = ("angles at motifs", "gain at motifs", "angles at background", "scores at background")


def s2(study: Study) -> Reproduction:
    """Angles at motifs and elsewhere, and what the correction gains at each angle."""
    return _positions(study, claims.MODELS)


def icml_fig3(study: Study) -> Reproduction:
    """The same for the deep exponential model of 2021."""
    return _positions(study, ("cnn-dist-exp",), recipe="icml2021")


def _positions(study: Study, names: Sequence[str], **options: Any) -> Reproduction:
    figure = Figure(figsize=(14, 3.2 * len(names)), layout="constrained")
    columns: dict[str, list[Any]] = {"model": [], "panel": [], "x": [], "y": []}
    jobs = {name: models_of(study, [name], **options) for name in names}
    study.train([job for each in jobs.values() for job in each])
    sentences = []
    for axes, name in zip(figure.subplots(len(names), 4, squeeze=False), names, strict=True):
        found = _measure(study, jobs[name])
        panels = _draw(axes, name, found)
        for panel, (x, y) in panels.items():
            columns["model"] += [name] * len(x)
            columns["panel"] += [panel] * len(x)
            columns["x"] += x.tolist()
            columns["y"] += y.tolist()
        sentences.append(_describe(name, found))
    text = (
        f"{' '.join(sentences)} The gain of a position is cos_after * (1 - cos(angle)), an identity: it cannot leave "
        f"the band between the curves, and it is negative where the gradient points away from the motif. "
        f"{BEFORE_SIGMOID}"
    )
    return Reproduction(figure, columns, text)


def _measure(study: Study, jobs: list[Job]) -> dict[str, Array]:
    """Return angles, gains and scores of the positions of all models, at motifs and elsewhere."""
    data, rows = study.dataset("synthetic"), study.rows()
    assert data.ppm is not None
    codes, truth = data.codes[rows], data.ppm[rows] - 0.25
    is_motif = (np.abs(truth) > 1e-6).any(-1)
    found: dict[str, list[Array]] = {name: [] for name in ("motif", "gain", "background", "before", "after")}
    for job in jobs:
        grad = study.maps(job)
        maps = analyze(grad, codes)
        has_angle = grad.any(-1)
        at_motif, elsewhere = is_motif & has_angle, ~is_motif & has_angle
        gain = positionwise_cosine_similarity(maps.corrected, truth) - positionwise_cosine_similarity(grad, truth)
        found["motif"].append(maps.angle[at_motif])
        found["gain"].append(gain[at_motif])
        found["background"].append(maps.angle[elsewhere])
        found["before"].append(grad_times_input(grad, codes, corrected=False)[elsewhere])
        found["after"].append(maps.grad_times_input[elsewhere])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _draw(axes: Any, name: str, found: dict[str, Array]) -> dict[str, tuple[Array, Array]]:
    """Draw the four panels of a model, and return the points in them."""
    rng = np.random.default_rng(0)
    at_motif, elsewhere = (
        rng.choice(len(found[part]), min(SHOWN, len(found[part])), replace=False) for part in ("motif", "background")
    )
    panels = {}
    for ax, part in ((axes[0], "motif"), (axes[2], "background")):
        density = np.histogram(found[part], BINS, density=True)[0]
        ax.stairs(density, BINS, fill=True, color=COLORS[name], alpha=0.5)
        ax.set_ylabel("density (1/degree)")
        panels[f"density of angles, {part}"] = ((BINS[1:] + BINS[:-1]) / 2, density)
    panels["gain"] = (found["motif"][at_motif], found["gain"][at_motif])
    axes[1].scatter(*panels["gain"], s=2, alpha=0.3, color=COLORS[name], rasterized=True)
    bound = 1 - np.cos(np.radians(BINS))
    for sign in (1, -1):
        axes[1].plot(BINS, sign * bound, color="0.3", linewidth=1)
    axes[1].set_ylabel("gain of cosine similarity")
    for part, color in (("before", "#0072B2"), ("after", "#D55E00")):
        panels[f"score, {part}"] = (found["background"][elsewhere], found[part][elsewhere])
        axes[3].scatter(*panels[f"score, {part}"], s=2, alpha=0.3, color=color, label=part, rasterized=True)
    axes[3].set_ylabel("grad-times-input")
    axes[3].legend(markerscale=4, fontsize="small", frameon=False)
    axes[0].set_ylabel(f"{LABELS[name]}\n{axes[0].get_ylabel()}")
    for ax, title in zip(axes, TITLES, strict=True):
        ax.set_title(title, loc="left", fontsize="medium")
        ax.set_xlim(-90, 90)
        ax.set_xticks(range(-90, 91, 30))
        ax.set_xlabel("angle to the simplex (degrees)")
    return panels


def _describe(name: str, found: dict[str, Array]) -> str:
    """Say how wide the angles spread, at motifs and elsewhere, and how much is gained."""
    peaks = {part: np.histogram(found[part], BINS, density=True)[0].max() for part in ("motif", "background")}
    published = claims.ANGLE_PEAKS.get(name)
    beside = f" ({published[0]:g} and {published[1]:g} published)" if published else ""
    spread = claims.ICML_SPREAD_AT_MOTIFS.get(name)
    at_motifs = f"at motifs ({spread:.1f} published)" if spread else "at motifs"
    sizes = [np.abs(found[part]).mean() for part in ("before", "after")]
    return (
        f"{LABELS[name]}: standard deviation of the angles {found['motif'].std():.1f} degrees {at_motifs}, "
        f"{found['background'].std():.1f} elsewhere; highest density {peaks['motif']:.4f} and "
        f"{peaks['background']:.4f}{beside}; mean gain at motifs {np.nanmean(found['gain']):+.3f}; the mean size of "
        f"scores elsewhere goes from {sizes[0]:.2g} to {sizes[1]:.2g}."
    )

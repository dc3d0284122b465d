"""Logos of single sequences: before the correction, their angles, after it, and what they should look like."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..._types import Array
from . import chipseq, chipseq_sets
from .drawing import BEFORE_SIGMOID, LABELS, Reproduction
from .genome_maps import ATAC, BASSET, DEEPSTARR, Case, Window, cut, describe_set, find_start, measure
from .genome_sets import is_stand_in
from .study import Job, Study
from .tracks import agreement, draw_window, table

SYNTHETIC_LENGTH, CHIPSEQ_LENGTH = 40, 50
FACTOR = "ATF2"
"""That of the papers' Fig. 2b."""
S6 = (("cnn-deep-exp", 1, 0), ("cnn-shallow-exp", 0, 0), ("cnn-deep-relu", 20, 1), ("cnn-shallow-relu", 1, 1))
"""Model, number of the run, and of the positive test sequence."""


class Panel(NamedTuple):
    """A window of a map, with what is said of it."""

    title: str
    window: Window
    text: str = ""
    ensemble: Array | None = None


def fig2(study: Study) -> Reproduction:
    """Logos of a model of each kind of data; panels whose data is missing are left out."""
    panels: dict[str, Panel] = {}
    missing = []
    for letter, make in zip("abcde", PANELS, strict=True):
        try:
            panels[letter] = make(study)
        except FileNotFoundError as error:
            missing.append(f"Panel {letter} is left out: {error}.")
    return _draw(panels, missing)


def s6(study: Study) -> Reproduction:
    """More logos of synthetic sequences: the runs and sequences of the papers, with new sequences and windows."""
    return _draw({letter: _synthetic(study, *which) for letter, which in zip("abcd", S6, strict=True)}, [])


def _synthetic(study: Study, name: str, run: int, sequence: int) -> Panel:
    """Take the last run there is where that of the papers is not."""
    job = Job(name, min(run, study.scale.models - 1))
    data, row = study.dataset("synthetic"), study.rows()[sequence]
    assert data.ppm is not None
    whole = Window(data.codes[row], study.maps(job)[sequence], data.ppm[row], 0, sequence)
    start = find_start(whole.grad, whole.truth, SYNTHETIC_LENGTH)
    title = f"{LABELS[name]}, run {job.seed}, synthetic sequence {sequence}"
    return Panel(title, cut(whole, start, start + SYNTHETIC_LENGTH))


def _a(study: Study) -> Panel:
    return _synthetic(study, "cnn-deep-relu", 20, 1)


def _b(study: Study) -> Panel:
    """Take the sequence whose ensemble mean is strongest, and the first model of the ensemble."""
    factors = chipseq_sets.names(study)
    factor = FACTOR if FACTOR in factors else factors[0]
    jobs = chipseq.ensemble(study, "cnn-deep-exp", factor)
    study.train(jobs)
    maps = np.stack([study.maps(job) for job in jobs])
    mean = maps.mean(0)
    sequence = int(np.abs(mean).sum((1, 2)).argmax())
    data, row = study.dataset(jobs[0].data), study.rows(jobs[0].data)[sequence]
    start = find_start(mean[sequence], None, CHIPSEQ_LENGTH)
    window = cut(Window(data.codes[row], maps[0, sequence], None, 0, sequence), start, start + CHIPSEQ_LENGTH)
    return Panel(
        f"{factor}, CNN-deep-exp, positive test sequence {sequence}",
        window,
        f"{chipseq_sets.describe(study, [factor])} The ensemble has {len(jobs)} models, this one among them. "
        f"{BEFORE_SIGMOID}",
        mean[sequence, start : start + CHIPSEQ_LENGTH],
    )


def _genome(case: Case) -> Callable[[Study], Panel]:
    def make(study: Study) -> Panel:
        found = measure(study, case)
        kind = "stand-in" if is_stand_in(study, case.job.data) else "test"
        title = f"{case.label}, {kind} sequence {found.window.sequence}"
        return Panel(title, found.window, f"{describe_set(study, case.job.data)} Model: {found.origin}.")

    return make


PANELS: Sequence[Callable[[Study], Panel]] = (_a, _b, *map(_genome, (DEEPSTARR[0], BASSET[1], ATAC[1])))


def _draw(panels: dict[str, Panel], missing: Sequence[str]) -> Reproduction:
    n_columns = min(2, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(7.5 * n_columns, 4.6 * n_rows), layout="constrained")
    parts = figure.subfigures(n_rows, n_columns, squeeze=False, wspace=0.03, hspace=0.04).flat
    columns: dict[str, list[Any]] = {}
    sentences = []
    for part, (letter, panel) in zip(parts, panels.items(), strict=False):
        draw_window(part, panel.window, f"{letter}  {panel.title}", panel.ensemble)
        for name, values in table(panel.window, panel.ensemble, panel=letter, title=panel.title).items():
            columns.setdefault(name, []).extend(values)
        start, end = panel.window.start, panel.window.start + len(panel.window.codes)
        sentences.append(
            f"{letter}: {panel.title}, positions {start + 1} to {end}, {agreement(panel.window, panel.ensemble)}."
        )
        sentences += [panel.text] if panel.text else []
    text = (
        "Windows of generated sequences are those with most of the planted motifs, since the papers' own sequences are "
        "others; the maps are drawn with all four letters, before and after in one range."
    )
    return Reproduction(figure, columns, " ".join([*sentences, *missing, text]))

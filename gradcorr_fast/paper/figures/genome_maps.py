"""Maps of models of DeepSTARR, Basset and GOPHER: which models, what is differentiated, and the angles of all of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import hooks, sequences, targets
from ..._types import AnyArray, Array, Model
from ...metrics import information_content
from ...ops import analyze
from ...summary import AngleSummary, angle_summary, merge
from ..evaluation import attribute
from . import claims
from .genome_models import train, trained
from .genome_sets import FAMILIES, is_stand_in
from .scale import PAPER
from .study import Job, Study

BINS = 100
CHUNK = 1024
"""Sequences whose maps are in memory at once."""
SHOWN = 50
"""Positions of a logo whose place the papers do not give."""
PC3 = 13
"""Track of the cell line PC-3."""


class Case(NamedTuple):
    """A model, and the number of its output that is differentiated."""

    job: Job
    label: str
    target: Any


def highest_class(output: AnyArray) -> Any:
    """Return the highest output of each sequence of a batch, (N, T) to (N,)."""
    return output.amax(1)


DEEPSTARR = tuple(
    Case(Job(name, data="deepstarr/S2", recipe=name), f"{title}, {activity}", targets.index(k))
    for name, title in (("deepstarr", "DeepSTARR"), ("deepstarr-exp", "DeepSTARR-exp"))
    for k, activity in enumerate(("Dev", "Hk"))
)
# Taken before the sigmoid, where the highest class is the same and nothing saturates.
BASSET = tuple(
    Case(Job(f"basset-{short}", data="basset/cell-types"), title, targets.before_activation(highest_class))
    for short, title in (("relu", "Basset"), ("exp", "Basset-exp"))
)
ATAC = tuple(
    Case(Job(f"cnn-{bins}-{short}", data=data, recipe="deepstarr-exp"), title, targets.mean(tracks=PC3))
    for bins, data in (("base", "atac/1bp"), ("32", "atac/32bp"))
    for short, title in (("relu", f"CNN-{bins}-relu, PC-3"), ("exp", f"CNN-{bins}-exp, PC-3"))
)


class Window(NamedTuple):
    """What is shown of a sequence."""

    codes: Array
    """(L,), as the others."""
    grad: Array
    """(L, 4), uncorrected."""
    truth: Array | None
    """(L, 4), the probabilities that letters were drawn from."""
    start: int
    """Position of the first letter in the sequence."""
    sequence: int
    """Its number in the test part."""


class Found(NamedTuple):
    """Of a case."""

    angles: AngleSummary
    predictions: Array
    """(N,), of the sequences that were attributed."""
    window: Window
    model: Any
    origin: str
    """Where the weights of the model are from."""


def measure_all(study: Study, cases: Sequence[Case]) -> list[Found]:
    """As `measure` for each case, with models that are trained side by side."""
    train(study, [case.job for case in cases])
    return [measure(study, case) for case in cases]


def measure(study: Study, case: Case) -> Found:
    """Attribute test sequences, summarise the angles, and choose what to show.

    Parameters
    ----------
    study : Study
    case : Case

    Returns
    -------
    Found

    Raises
    ------
    FileNotFoundError, ValueError
        See `genome_sets.find` and `genome_models.trained`.
    """
    data = study.dataset(case.job.data)
    model, origin = trained(study, case.job)
    codes = data.codes[rows(study, case.job.data)]
    angles = merge([angle_summary(saliency(study, model, case, part), bins=BINS) for part in _chunks(codes)])
    predictions = predict(study, model, case, codes)
    return Found(angles, predictions, _choose(study, model, case, predictions), model, origin)


def rows(study: Study, name: str) -> Array:
    """Return the rows of a set that are attributed: all of its test part where the whole of the papers is done."""
    is_whole = study.scale.models >= PAPER.models
    windows: Array = study.dataset(name).split.test[: None if is_whole else study.scale.n_evaluated]
    return windows


def describe_set(study: Study, name: str) -> str:
    """Say what the sequences are, and how many of them are attributed."""
    data, n = study.dataset(name), len(rows(study, name))
    title = FAMILIES[name.partition("/")[0]].title
    shares = f"{n:,} of {len(data.split.test):,} test sequences of {data.codes.shape[1]} bp are attributed."
    if not is_stand_in(study, name):
        return f"{title}: {shares}"
    return (
        f"STAND-IN: the published sequences of {title} are not there, and random ones with planted motifs of JASPAR "
        f"take their place; what is trained on them says nothing of {title}. {shares}"
    )


def saliency(study: Study, model: Model, case: Case, codes: Array) -> Array:
    """Return uncorrected gradients (N, L, 4)."""
    return attribute(model, codes, target=case.target, device=study.device)


def predict(study: Study, model: Model, case: Case, codes: Array) -> Array:
    """Return what is differentiated, (N,)."""
    options = {"target": case.target, "outputs": ("prediction",), "device": study.device}
    parts = (sequences.one_hot(part, axis=1) for part in _chunks(codes))
    return np.concatenate([hooks.torch.saliency(model, x, **options).prediction for x in parts])


def _chunks(codes: Array) -> list[Array]:
    return np.array_split(codes, -(-len(codes) // CHUNK))


def _choose(study: Study, model: Model, case: Case, predictions: Array) -> Window:
    """Take the window of the papers in published data, and else one of the sequence of the highest prediction."""
    data = study.dataset(case.job.data)
    sequence, start, end = claims.WINDOWS[case.job.name]
    is_published = not is_stand_in(study, case.job.data) and sequence < len(data.split.test)
    if not is_published:
        sequence = int(np.argmax(predictions))
    row = data.split.test[sequence]
    (grad,) = saliency(study, model, case, data.codes[row][None])
    truth = None if data.ppm is None else data.ppm[row]
    if not is_published:
        start = find_start(grad, truth, SHOWN)
        end = start + SHOWN
    return cut(Window(data.codes[row], grad, truth, 0, sequence), start, end)


def find_start(grad: Array, truth: Array | None, length: int) -> int:
    """Return where the window of so many positions starts that has most of the planted motifs, or of the map.

    Examples
    --------
    >>> find_start(np.array([[0.0, 0.0], [1.0, -1.0], [0.0, 0.0], [2.0, 0.0], [3.0, 1.0]]), None, 2)
    3
    """
    if truth is not None:
        strength = information_content(truth)
    else:
        strength = np.abs(analyze(grad, outputs=("corrected",)).corrected).sum(-1)
    weights = 1 + 1e-3 * np.bartlett(length)  # of windows that hold the same, the one that has it in the middle
    return int(np.convolve(strength, weights, "valid").argmax())


def cut(whole: Window, start: int, end: int) -> Window:
    """Cut a window out of a whole sequence."""
    truth = None if whole.truth is None else whole.truth[start:end]
    return Window(whole.codes[start:end], whole.grad[start:end], truth, start, whole.sequence)

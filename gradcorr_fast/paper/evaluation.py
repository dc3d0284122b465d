"""How well the attribution maps of a model agree with what was planted in its sequences, before and after."""

from typing import Any, NamedTuple

import numpy as np

from .. import hooks, sequences
from .._types import Array, Model, TargetLike
from ..hooks._request import is_keras
from ..metrics import cosine_similarity, interpretability
from ..ops import analyze, grad_times_input
from ..summary import AngleSummary, angle_summary
from .datasets import Dataset

__all__ = ["METHODS", "Agreement", "Evaluation", "attribute", "evaluate", "measure", "positives"]


METHODS = ("saliency", "integrated_gradients", "smoothgrad", "expected_gradients")


class Agreement(NamedTuple):
    """How well maps agree with the ground truth: one number for each sequence, shape (N,)."""

    cosine: Array
    """Of the map and the planted probabilities less 1/4; NaN where the map is 0."""
    auroc: Array
    """Of grad-times-input, motif against background."""
    aupr: Array
    """The same as the trapezoid under the precision-recall curve."""


class Evaluation(NamedTuple):
    """Maps against the ground truth, before and after the correction, and their angles."""

    before: Agreement
    after: Agreement
    angles: AngleSummary
    """Of the uncorrected maps."""


def evaluate(
    model: Model,
    data: Dataset,
    *,
    method: str = "saliency",
    part: str = "test",
    n_sequences: int | None = 500,
    target: TargetLike = 0,
    **options: Any,
) -> Evaluation:
    """Attribute the positive sequences of a data set, and compare with what was planted.

    Parameters
    ----------
    model : torch.nn.Module or Keras model
        Of (N, 4, L), or (N, L, 4) in Keras, as `models.build` makes them.
    data : Dataset
        With a ground truth.
    method : {"saliency", "integrated_gradients", "smoothgrad", "expected_gradients"}
    part : {"test", "valid", "train"}
    n_sequences : int, optional
        The first so many positive sequences of the part, 500 in the papers; None: all.
    target, **options
        See `hooks.torch.saliency` and the other methods, among them ``preset="repo"``: as in the authors' scripts.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If there is no ground truth, no such method, or no positive sequence.

    Notes
    -----
    Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023). The correction is applied once, to the averaged map. With one
    sigmoid output, the gradients of the probability and of what lies before it differ by a factor that no number here
    depends on, but the former is 0 where the sigmoid saturates.

    Examples
    --------
    >>> from gradcorr_fast.paper import models, synthetic
    >>> found = evaluate(models.build("cnn-shallow-relu").eval(), synthetic.generate(200))
    >>> found.before.auroc.shape == found.after.auroc.shape
    True
    """
    if data.ppm is None:
        raise ValueError("the data set has no ground truth (ppm) to compare with; only synthetic data has one")
    rows = positives(data, part, n_sequences)
    grad = attribute(model, data.codes[rows], method=method, target=target, **options)
    return measure(grad, data.codes[rows], data.ppm[rows])


def positives(data: Dataset, part: str = "test", n_sequences: int | None = 500) -> Array:
    """Number the first positive sequences of a part of the data, those whose first label is 1.

    Parameters
    ----------
    data : Dataset
    part : {"test", "valid", "train"}
    n_sequences : int, optional
        How many at most; None: all.

    Returns
    -------
    array, shape (n,)
        Rows of the data set.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from gradcorr_fast.paper import synthetic
    >>> len(positives(synthetic.generate(1000), n_sequences=50))
    50
    """
    rows: Array = getattr(data.split, part)
    rows = rows[data.y[rows, 0] == 1][:n_sequences]
    if not len(rows):
        raise ValueError(f"no sequence of the {part} part has the label 1; take more sequences")
    return rows


def attribute(model: Model, codes: Array, *, method: str = "saliency", **options: Any) -> Array:
    """Compute the uncorrected attribution maps of a model by one of the papers' methods.

    Parameters
    ----------
    model
        See `evaluate`.
    codes : array, uint8, shape (N, L)
    method : str
        One of `METHODS`.
    **options
        See `hooks.torch.saliency` and the other methods.

    Returns
    -------
    array, float32, shape (N, L, 4)

    Examples
    --------
    >>> from gradcorr_fast.paper import models
    >>> attribute(models.build("cnn-shallow-relu").eval(), np.zeros((2, 200), np.uint8)).shape
    (2, 200, 4)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if is_keras(model):
        maps: Array = getattr(hooks.tensorflow, method)(model, sequences.one_hot(codes), corrected=False, **options)
        return maps
    x = sequences.one_hot(codes, axis=1)
    return np.moveaxis(getattr(hooks.torch, method)(model, x, corrected=False, **options), 1, -1)


def measure(grad: Array, codes: Array, ppm: Array) -> Evaluation:
    """Compare maps with what was planted, before and after the correction.

    Parameters
    ----------
    grad : array, shape (N, L, 4)
        Uncorrected.
    codes : array, uint8, shape (N, L)
    ppm : array, shape (N, L, 4)
        Probability of each letter.

    Returns
    -------
    Evaluation

    Notes
    -----
    See `metrics.interpretability` and `metrics.cosine_similarity`, which also tells why its gain is no evidence.

    Examples
    --------
    >>> ppm = np.array([[[0.97, 0.01, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]]])
    >>> grad = np.array([[[3.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.5]]])
    >>> found = measure(grad, np.array([[0, 0]], np.uint8), ppm)
    >>> found.before.cosine.round(2), found.after.cosine.round(2)
    (array([0.31]), array([0.97]))
    """
    maps = analyze(grad, codes, outputs=("corrected", "grad_times_input"))
    observed = grad_times_input(grad, codes, corrected=False)
    return Evaluation(
        _agreement(grad, observed, ppm), _agreement(maps.corrected, maps.grad_times_input, ppm), angle_summary(grad)
    )


def _agreement(grad: Array, observed: Array, ppm: Array) -> Agreement:
    found = interpretability(observed, ppm)
    return Agreement(cosine_similarity(grad, ppm - 0.25), found.auroc, found.aupr)

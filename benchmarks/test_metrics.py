"""The metrics: rankings against a loop over scikit-learn, cosines and distances against reading the same memory."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.harness import AXES, Work, ends, interleave
from gradcorr_fast.demo import planted
from gradcorr_fast.kernels import reference_metrics
from tests import peers

N_MEMBERS = 10
N_RANKED = 500  # sequences, as in the papers
TARGETS = {200: 150, 2_000: 20}  # times as fast as scikit-learn, by length

COSINE = Work("cosine_similarity", "one-hot", 0, 0)
DIFFERENCE = Work("ensemble_difference", None, 0, 1)


@pytest.mark.parametrize("length", TARGETS)
def test_rankings_against_scikit_learn(benchmark: Any, sizes: Any, record: Any, length: int) -> None:
    pytest.importorskip("sklearn")
    n = min(N_RANKED, sizes.n_peer_sequences)
    rng = np.random.default_rng(22)
    scores, labels = rng.standard_normal((n, length), np.float32), rng.random((n, length)) < 0.2
    expected = peers.sklearn_auroc_aupr(scores, labels)
    np.testing.assert_allclose(rank(scores, labels), expected, rtol=0, atol=1e-12)
    found = interleave(
        benchmark,
        lambda: rank(scores, labels),
        lambda: peers.sklearn_auroc_aupr(scores, labels),
        sizes.peer_pairs,
    )
    record_ranking(record, found, "auroc + aupr", n, length, target=TARGETS[length])


def test_interpretability_against_scikit_learn(benchmark: Any, sizes: Any, record: Any) -> None:
    pytest.importorskip("sklearn")
    n = min(N_RANKED, sizes.n_peer_sequences)
    truth = planted.generate(n, seed=22).ppm
    scores = np.random.default_rng(22).standard_normal(truth.shape[:2], np.float32)
    expected = peers.sklearn_interpretability(scores, truth.astype(np.float64))
    np.testing.assert_allclose(gf.metrics.interpretability(scores, truth)[:2], expected, rtol=0, atol=1e-12)
    found = interleave(
        benchmark,
        lambda: gf.metrics.interpretability(scores, truth),
        lambda: peers.sklearn_interpretability(scores, truth),
        sizes.peer_pairs,
    )
    record_ranking(record, found, "interpretability", n, truth.shape[1])


@pytest.mark.parametrize("layout", AXES)
def test_cosine_against_yardstick(benchmark: Any, data: Any, sizes: Any, record: Any, layout: str) -> None:
    axis = AXES[layout]
    a, b = data.grad(axis), data.x("one-hot", axis)
    expected = reference_metrics.cosine_similarity(ends(a).astype(float), ends(b).astype(float), axis=axis)
    np.testing.assert_allclose(ends(gf.metrics.cosine_similarity(a, b, axis=axis)), expected, atol=1e-12)
    found = interleave(
        benchmark,
        lambda: gf.metrics.cosine_similarity(a, b, axis=axis),
        lambda: COSINE.yardstick(a, b, axis),
        sizes.pairs,
    )
    record_map(record, found, COSINE, layout, a)


@pytest.mark.parametrize("layout", AXES)
def test_difference_against_yardstick(benchmark: Any, data: Any, sizes: Any, record: Any, layout: str) -> None:
    """The yardstick does not read the ensemble, which is a tenth of what is read."""
    axis = AXES[layout]
    grad = data.grad(axis)
    maps = grad.reshape(N_MEMBERS, -1, *grad.shape[1:])
    ensemble = maps.mean(axis=0)
    letters = axis % 3 + 1
    result = gf.metrics.ensemble_difference(maps, ensemble, axis=letters)
    expected = reference_metrics.ensemble_difference(maps[:, :1], ensemble[:1], axis=letters)
    np.testing.assert_allclose(result[:, :1], expected, rtol=1e-5)
    del result
    found = interleave(
        benchmark,
        lambda: gf.metrics.ensemble_difference(maps, ensemble, axis=letters),
        lambda: DIFFERENCE.yardstick(grad, None, axis),
        sizes.pairs,
    )
    record_map(record, found, DIFFERENCE, layout, grad)


def rank(scores: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """Two calls, as one writes it; each sorts the scores."""
    return gf.metrics.auroc(scores, labels), gf.metrics.aupr(scores, labels)


def record_ranking(record: Any, found: Any, metric: str, n: int, length: int, **row: Any) -> None:
    record(
        found,
        operation=metric,
        metric=metric,
        layout="(N, L)",
        outputs="fresh",
        x=None,
        provider="scikit-learn, loop",
        n_sequences=n,
        length=length,
        **row,
    )


def record_map(record: Any, found: Any, work: Work, layout: str, grad: np.ndarray) -> None:
    record(
        found,
        operation=work.operation,
        layout=layout,
        outputs="fresh",
        x=work.x,
        provider="yardstick",
        n_sequences=len(grad),
        length=grad.size // len(grad) // 4,
        bytes=work.bytes_per_position * (grad.size // 4),
        target=0.8,
    )

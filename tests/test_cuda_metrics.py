"""Rankings by the CUDA kernels, on the emulator, against those of the CPU; of every length round the limits."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.kernels import cuda
from tests.conftest import require_compiler
from tests.criterion import DTYPES
from tests.emulator.patches import arrays_of_cupy, emulator, fake_cupy_array, tensors_on_cuda
from tests.libraries import _read_tensor, _tensor

pytest.importorskip("torch")

METRICS = [gf.metrics.auroc, gf.metrics.aupr, gf.metrics.average_precision]
LENGTHS = [1, 2, 200, 256, 257, cuda.SORTED, cuda.SORTED + 1, 2 * cuda.SORTED + 300]

pytestmark = pytest.mark.filterwarnings("ignore:.*is NaN for:RuntimeWarning")


@pytest.fixture(autouse=True)
def compiler() -> None:
    require_compiler()


def make(length: int, dtype: str = "float32", scale: float = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, both zeros and infinity; labels; a mask."""
    rng = np.random.default_rng(length)
    scores = (rng.standard_normal((3, length)).round(1 if length < 300 else 2) * scale).astype(DTYPES[dtype])
    scores[0, 0], scores[-1, -1], scores[1, 0] = -0.0, np.inf, -np.inf
    return scores, rng.random((3, length)) < 0.3, rng.random((3, length)) < 0.8


def on_cuda(function: Any, *arrays: Any, **options: Any) -> np.ndarray:
    with tensors_on_cuda():
        return _read_tensor(function(*(None if a is None else _tensor(a) for a in arrays), **options))


@pytest.mark.pairwise
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("metric", METRICS)
def test_rankings_equal_those_of_the_cpu(metric: Any, masked: bool, length: int) -> None:
    scores, labels, mask = make(length)
    arguments = scores, labels, mask if masked else None
    np.testing.assert_allclose(on_cuda(metric, *arguments), metric(*arguments), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_scores_tie_in_their_own_dtype(metric: Any, dtype: str) -> None:
    scores, labels, mask = make(300, dtype)
    np.testing.assert_allclose(on_cuda(metric, scores, labels, mask), metric(scores, labels, mask), rtol=1e-13)


def test_denormal_scores_are_told_apart() -> None:
    """The compiler flushes denormals to zero in arithmetic, which would tie them."""
    scores, labels, _ = make(300, scale=1e-44)
    assert len(np.unique(scores)) > 5
    np.testing.assert_allclose(on_cuda(gf.metrics.auroc, scores, labels), gf.metrics.auroc(scores, labels), rtol=1e-13)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_threads_in_any_order_find_no_race(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking along one tile and loading the next once overlapped."""
    scores, labels, mask = make(2 * cuda.SORTED + 300)
    expected = on_cuda(gf.metrics.aupr, scores, labels, mask)
    monkeypatch.setattr(emulator(), "seed", seed)
    monkeypatch.setattr(emulator(), "grid", 1)
    np.testing.assert_array_equal(on_cuda(gf.metrics.aupr, scores, labels, mask), expected)


def test_arrays_of_cupy_are_ranked() -> None:
    scores, labels, mask = make(300)
    with arrays_of_cupy():
        result = gf.metrics.aupr(*(fake_cupy_array(array) for array in (scores, labels.astype(np.int32), mask)))
    np.testing.assert_allclose(np.asarray(result), gf.metrics.aupr(scores, labels, mask), rtol=1e-13)


def test_interpretability_follows_the_papers_rule() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([0.3] * 4, (2, 3, 50))
    truth[..., ::2, :] = 0.25
    scores = rng.standard_normal((2, 3, 50)).astype(np.float32)
    with tensors_on_cuda():
        found = gf.metrics.interpretability(_tensor(scores), _tensor(truth))
    for result, expected in zip(found, gf.metrics.interpretability(scores, truth), strict=True):
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-15)


def test_nan_and_labels_are_checked() -> None:
    scores, labels, mask = make(50)
    scores[1, 3] = np.nan
    mask[1, 3] = True
    with pytest.raises(ValueError, match="scores of sequence 1 hold NaN"):
        on_cuda(gf.metrics.auroc, scores, labels, mask)
    found = on_cuda(gf.metrics.auroc, scores, labels, mask, nan_policy="omit")
    np.testing.assert_allclose(found, gf.metrics.auroc(scores, labels, mask, nan_policy="omit"))
    with pytest.raises(ValueError, match="labels must be boolean or 0 and 1; got 2"):
        on_cuda(gf.metrics.auroc, scores, np.full(scores.shape, 2), nan_policy="omit")


@pytest.mark.parametrize("shape", [(0, 7), (3, 0), (7,)])
def test_odd_shapes_are_ranked(shape: tuple[int, ...]) -> None:
    scores = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(on_cuda(gf.metrics.auroc, scores, scores > 0), gf.metrics.auroc(scores, scores > 0))

"""AUROC, AUPR and average precision against scikit-learn and the definition: ties, masks, one class, NaN."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gradcorr_fast as gf
from gradcorr_fast.kernels import reference_metrics, threads
from tests import peers
from tests.conftest import require
from tests.criterion import DTYPES
from tests.libraries import Library

METRICS = reference_metrics.RANKINGS


def can_rank(library: Library) -> bool:
    """Whether kernels see the arrays of a library."""
    return not (library.traced or library.name.startswith("dask"))


def sklearn_score(metric: str, scores: np.ndarray, labels: np.ndarray) -> float:
    """What scikit-learn gives for one sequence."""
    from sklearn.metrics import average_precision_score

    if metric == "average_precision":
        return float(average_precision_score(labels, scores))
    auroc, aupr = peers.sklearn_auroc_aupr(scores[None], labels[None])
    return float(auroc[0] if metric == "auroc" else aupr[0])


def make_scores(shape: tuple[int, ...], dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and labels of both classes."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal(shape), 1).astype(DTYPES[dtype])
    labels = rng.random(shape) < 0.3
    labels[..., 0], labels[..., 1] = True, False
    return scores, labels


def floats(width: int) -> st.SearchStrategy[float]:
    """Numbers of every size, among them denormals, and few distinct ones for ties."""
    least = float(np.finfo(f"float{width}").smallest_subnormal)
    anything = st.floats(width=width, allow_nan=False, allow_infinity=False)
    return st.one_of(anything, st.sampled_from([0.0, -0.0, 1.0, 2.0, least, -least, 3 * least]))


def rankings() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    def pair(width: int, length: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
        dtype = np.dtype(f"float{width}")
        rows = st.one_of(arrays(dtype, length, elements=floats(width)), floats(width).map(lambda v: np.full(length, v)))
        return st.tuples(rows.map(lambda row: row.astype(dtype)), arrays(np.bool_, length))

    return st.tuples(st.sampled_from([32, 64]), st.integers(1, 40)).flatmap(lambda both: pair(*both))


@pytest.mark.parametrize("metric", METRICS)
@given(ranking=rankings())
def test_whatever_the_scores_the_result_is_that_of_scikit_learn(metric: str, ranking: tuple) -> None:
    require("sklearn")
    scores, labels = ranking
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = getattr(gf.metrics, metric)(scores, labels)
        if labels.all() or not labels.any():
            assert np.isnan(result)
            return
        expected = sklearn_score(metric, scores, labels)
    assert float(result) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert getattr(reference_metrics, metric)(scores, labels) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("length", [2, 3, 200, 2000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_give_what_a_loop_over_scikit_learn_gives(dtype: str, length: int) -> None:
    require("sklearn")
    scores, labels = make_scores((20, length), dtype)
    auroc, aupr = peers.sklearn_auroc_aupr(scores.astype(np.float64), labels)
    np.testing.assert_allclose(gf.metrics.auroc(scores, labels), auroc, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gf.metrics.aupr(scores, labels), aupr, rtol=0, atol=1e-12)
    expected = [sklearn_score("average_precision", *row) for row in zip(scores.astype(float), labels, strict=True)]
    np.testing.assert_allclose(gf.metrics.average_precision(scores, labels), expected, rtol=0, atol=1e-12)


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_rankings_work_in_every_library(library: Library, metric: str, dtype: str) -> None:
    scores, labels = make_scores((6, 50), dtype)
    mask = np.random.default_rng(1).random((6, 50)) < 0.8
    mask[:, :2] = True
    given_arrays = [library.make(array) for array in (scores, labels, mask)]
    if not can_rank(library):
        with pytest.raises((TypeError, ValueError, RuntimeError), match=r"traced|CPU|NumPy|Dask|Unsupported"):
            library.call(lambda *a: getattr(gf.metrics, metric)(*a), *given_arrays)
        return
    result = library.read(library.call(lambda *a: getattr(gf.metrics, metric)(*a), *given_arrays))
    definition = getattr(reference_metrics, metric)
    expected = [definition(s[m], t[m]) for s, t, m in zip(scores, labels, mask, strict=True)]
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_what_to_do_with_dask_arrays_is_told_and_works() -> None:
    da = pytest.importorskip("dask.array")
    scores, labels = make_scores((6, 50), "float64")
    blocks = [da.from_array(array, chunks=(2, 50)) for array in (scores, labels)]
    with pytest.raises(TypeError, match=r"map_blocks\(gf.metrics.auroc, scores, labels, drop_axis=1, dtype=float\)"):
        gf.metrics.auroc(*blocks)
    result = da.map_blocks(gf.metrics.auroc, *blocks, drop_axis=1, dtype=float)
    np.testing.assert_array_equal(result.compute(), gf.metrics.auroc(scores, labels))


def test_hand_worked_cases() -> None:
    scores, labels = np.array([[4.0, 3.0, 3.0, 1.0]]), np.array([[1, 1, 0, 0]])
    assert gf.metrics.auroc(scores, labels) == 3.5 / 4  # of four pairs one is a tie
    # Points (recall, precision): (0, 1), (1/2, 1), (1, 2/3), (1, 1/2).
    assert gf.metrics.aupr(scores, labels) == pytest.approx(1 / 2 + (1 + 2 / 3) / 4)
    assert gf.metrics.average_precision(scores, labels) == pytest.approx(1 / 2 + 1 / 3)


def test_with_equal_scores_the_trapezoid_flatters_and_the_steps_do_not() -> None:
    scores, labels = np.zeros((1, 10)), np.arange(10)[None] < 2
    assert gf.metrics.auroc(scores, labels) == 0.5
    assert gf.metrics.aupr(scores, labels) == pytest.approx((1 + 0.2) / 2)
    assert gf.metrics.average_precision(scores, labels) == pytest.approx(0.2)


def test_the_two_zeros_are_one_score_and_neighbouring_numbers_are_two() -> None:
    labels = np.array([[True, False]])
    assert gf.metrics.auroc(np.array([[-0.0, 0.0]]), labels) == 0.5
    assert gf.metrics.auroc(np.array([[np.nextafter(1.0, 2.0), 1.0]]), labels) == 1
    assert gf.metrics.auroc(np.array([[1e-45, 0.0]], np.float32), labels) == 1
    assert gf.metrics.auroc(np.array([[np.inf, 1e308]]), labels) == 1


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "bfloat16"])
def test_labels_may_be_zeros_and_ones_of_any_dtype(dtype: str) -> None:
    scores, labels = make_scores((4, 30), "float32")
    expected = gf.metrics.auroc(scores, labels)
    np.testing.assert_array_equal(gf.metrics.auroc(scores, labels.astype(DTYPES.get(dtype, dtype))), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_masked_positions_do_not_count_whatever_they_hold(metric: str) -> None:
    scores, labels = make_scores((4, 30), "float64")
    mask = np.arange(30) % 3 != 2
    expected = getattr(gf.metrics, metric)(scores[:, mask], labels[:, mask])
    wrong_scores, wrong_labels = np.where(mask, scores, np.nan), np.where(mask, labels, 7)
    result = getattr(gf.metrics, metric)(wrong_scores, wrong_labels, np.broadcast_to(mask, scores.shape))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_one_class_gives_nan_and_one_warning(metric: str) -> None:
    scores, labels = make_scores((5, 30), "float64")
    labels[1], labels[3] = True, False
    with pytest.warns(
        RuntimeWarning, match=rf"{metric} is NaN for 2 of 5 sequences, the first of them number 1"
    ) as all_:
        result = getattr(gf.metrics, metric)(scores, labels)
    assert len(all_) == 1
    assert all_[0].filename == __file__
    np.testing.assert_array_equal(np.isnan(result), [False, True, False, True, False])


def test_without_a_position_there_is_no_result() -> None:
    with pytest.warns(RuntimeWarning, match="3 of 3"):
        assert np.isnan(gf.metrics.auroc(np.zeros((3, 0)), np.zeros((3, 0), bool))).all()
    with pytest.warns(RuntimeWarning, match="1 of 1"):
        assert np.isnan(gf.metrics.auroc(np.ones((1, 2)), np.array([[0, 1]]), np.zeros((1, 2), bool))).all()


@pytest.mark.parametrize(("shape", "sequences"), [((0, 7), (0,)), ((7,), ()), ((2, 3, 7), (2, 3))])
def test_axes_before_the_positions_are_sequences(shape: tuple[int, ...], sequences: tuple[int, ...]) -> None:
    scores, labels = make_scores(shape, "float32")
    result = gf.metrics.auroc(scores, labels)
    assert result.shape == sequences
    if result.size:
        assert result.flat[-1] == reference_metrics.auroc(scores.reshape(-1, 7)[-1], labels.reshape(-1, 7)[-1])


def test_nan_scores_are_refused_or_left_out() -> None:
    scores, labels = make_scores((600, 30), "float32")
    scores[411, 5] = scores[599, 7] = np.nan
    with pytest.raises(ValueError, match=r'sequence 411 hold NaN.*nan_policy="omit"'):
        gf.metrics.aupr(scores, labels)
    omitted = gf.metrics.aupr(scores, labels, nan_policy="omit")
    np.testing.assert_array_equal(omitted, gf.metrics.aupr(np.nan_to_num(scores), labels, ~np.isnan(scores)))
    with pytest.raises(ValueError, match="nan_policy must be one of raise, omit"):
        gf.metrics.aupr(scores, labels, nan_policy="propagate")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_threads_batches_and_order_do_not_matter(n: int) -> None:
    scores, labels = make_scores((900, 211), "float32")
    before = threads.get_num_threads()
    whole = gf.metrics.aupr(scores, labels)
    try:
        gf.set_num_threads(n)
        np.testing.assert_array_equal(gf.metrics.aupr(scores, labels), whole)
    finally:
        gf.set_num_threads(before)
    np.testing.assert_array_equal(gf.metrics.aupr(scores[::-1], labels[::-1]), whole[::-1])
    np.testing.assert_array_equal(gf.metrics.aupr(scores[400:402], labels[400:402]), whole[400:402])
    shuffled = np.random.default_rng(0).permutation(211)
    np.testing.assert_array_equal(gf.metrics.aupr(scores[:, shuffled], labels[:, shuffled]), whole)


def test_float64_scores_that_float32_cannot_tell_apart_are_no_tie() -> None:
    labels = np.array([[False, True, False, True]])
    scores = 1 + np.array([[1.0, 2.0, 3.0, 4.0]]) * 1e-12
    assert gf.metrics.auroc(scores, labels) == 0.75
    assert gf.metrics.auroc(scores.astype(np.float32), labels) == 0.5


LABELS = np.array([[0, 1, 1]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((1, 3), int), LABELS), TypeError, "scores must be one of float16"),
        ((np.ones((1, 3)), LABELS[0]), ValueError, r"labels has shape \(3,\); for these scores it must have shape"),
        ((np.ones((1, 3)), 2 * LABELS), ValueError, "labels must be boolean or 0 and 1; got 2"),
        ((np.ones((1, 3)), np.where(LABELS, 1.0, np.nan)), ValueError, "got nan"),
        ((np.ones((1, 3)), LABELS, LABELS), TypeError, "mask must be boolean"),
        ((np.ones((1, 3)), LABELS, np.ones((1, 2), bool)), ValueError, "mask has shape"),
        ((np.array(1.0), np.array(1)), ValueError, "scores has no axis"),
        (([0.5], [1]), TypeError, "scores is a builtins.list"),
        ((None, LABELS), TypeError, "scores is None"),
        ((np.ones((1, 3)), None), TypeError, "labels is None"),
        ((np.ma.masked_array(np.ones((1, 3))), LABELS), TypeError, "masked array"),
    ],
)
def test_what_does_not_fit_is_named(arguments: tuple[Any, ...], error: type, message: str) -> None:
    for metric in METRICS:
        with pytest.raises(error, match=message):
            getattr(gf.metrics, metric)(*arguments)


def test_mixed_libraries_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="scores is a numpy array and labels a torch array"):
        gf.metrics.auroc(np.ones((1, 3)), torch.ones((1, 3)))

"""Cosines, information, interpretability, distances from an ensemble: the definition, the paper's lines, identities."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gradcorr_fast as gf
from gradcorr_fast.demo import planted
from gradcorr_fast.kernels import reference_metrics, threads
from tests import peers
from tests.conftest import require
from tests.criterion import DTYPES, MAGNITUDES, make_grad
from tests.libraries import Library
from tests.test_metrics import can_rank

LAYOUTS = {
    "NLA": ((3, 29, 4), -1),
    "NAL": ((3, 4, 29), 1),
    "NL20": ((2, 13, 20), -1),
    "ANL": ((4, 3, 29), 0),
    "MNAL": ((2, 3, 4, 29), -2),
    "LA": ((29, 4), -1),
}
COSINES = ("cosine_similarity", "positionwise_cosine_similarity")
DISTANCES = ("ensemble_difference", "ensemble_difference_reduction")
ROUNDING = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-6, "bfloat16": 2e-6}


def make_pair(shape: tuple[int, ...], axis: int, dtype: str, magnitude: str = "normal") -> tuple[np.ndarray, ...]:
    return tuple(make_grad(magnitude, shape, DTYPES[dtype], axis, seed) for seed in (0, 1))


def make_ensemble(shape: tuple[int, ...], axis: int, dtype: str, magnitude: str = "normal") -> tuple[np.ndarray, ...]:
    """Three maps and one of the ensemble; one member has the ensemble's own map."""
    maps = [make_grad(magnitude, shape, DTYPES[dtype], axis, seed) for seed in range(3)]
    return np.stack(maps), maps[1]


def make_ppm(shape: tuple[int, ...], axis: int, dtype: str = "float64") -> np.ndarray:
    """Probabilities, of which some positions are uniform, some certain."""
    rng = np.random.default_rng(0)
    n_letters = shape[axis]
    ppm = rng.dirichlet(np.full(n_letters, 0.5), np.delete(shape, axis))
    ppm[..., ::3, :] = 1 / n_letters
    ppm[..., 1::6, :] = np.eye(n_letters)[0]
    return np.moveaxis(ppm, -1, axis).astype(DTYPES[dtype])


def wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64)


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("metric", COSINES)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_cosines_are_those_of_the_definition(metric: str, layout: str, magnitude: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    a, b = make_pair(shape, axis, dtype, magnitude)
    result = getattr(gf.metrics, metric)(a, b, axis=axis)
    expected = getattr(reference_metrics, metric)(wide(a), wide(b), axis=axis)
    is_map = metric == "positionwise_cosine_similarity"
    assert result.dtype == (np.float32 if is_map and dtype != "float64" else np.float64)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 if not is_map else ROUNDING[dtype])


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("magnitude", MAGNITUDES[:3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("metric", DISTANCES)
def test_distances_are_those_of_the_definition(metric: str, layout: str, magnitude: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    axis = axis if axis < 0 else axis + 1
    maps, ensemble = make_ensemble(shape, LAYOUTS[layout][1], dtype, magnitude)
    result = getattr(gf.metrics, metric)(maps, ensemble, axis=axis)
    expected = getattr(reference_metrics, metric)(wide(maps), wide(ensemble), axis=axis)
    assert result.dtype == (np.float64 if dtype == "float64" else np.float32)
    scale = 1 if metric == "ensemble_difference_reduction" else np.abs(expected).max()
    rounding = ROUNDING[dtype] * (20 if metric == "ensemble_difference_reduction" else 1)
    np.testing.assert_allclose(result, expected, rtol=rounding, atol=rounding * scale)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160, 1e200])
def test_float64_maps_of_any_scale_have_cosines_and_distances(scale: float) -> None:
    a, b = make_pair((3, 29, 4), -1, "float64")
    for metric in COSINES:
        expected = getattr(gf.metrics, metric)(a, b)
        np.testing.assert_allclose(getattr(gf.metrics, metric)(a * scale, b / scale), expected, rtol=1e-12)
    expected = gf.metrics.ensemble_difference(a[None], b) * scale
    np.testing.assert_allclose(gf.metrics.ensemble_difference(a[None] * scale, b * scale), expected, rtol=1e-12)


def test_denormal_maps_have_cosines_and_distances() -> None:
    least = np.float32(1e-45)
    a, b = np.array([[[3, 0, 0, 4]]], np.float32) * least, np.array([[[1, 0, 0, 0]]], np.float32) * least
    assert gf.metrics.cosine_similarity(a, b) == pytest.approx(0.6)
    assert gf.metrics.positionwise_cosine_similarity(a, b) == pytest.approx(0.6)
    assert gf.metrics.ensemble_difference(a[None], 0 * a) == 5 * least


@pytest.mark.pairwise
@pytest.mark.parametrize("layout", ["NLA", "NAL", "NL20"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", [*COSINES, *DISTANCES, "information_content"])
def test_maps_of_every_library_are_measured(library: Library, metric: str, dtype: str, layout: str) -> None:
    shape, axis = LAYOUTS[layout]
    given_arrays = make_pair(shape, axis, dtype)
    if metric in DISTANCES:
        given_arrays, axis = make_ensemble(shape, axis, dtype), axis if axis < 0 else axis + 1
    if metric == "information_content":
        given_arrays = (make_ppm(shape, axis, dtype),)
    expected = getattr(reference_metrics, metric)(*map(wide, given_arrays), axis=axis)

    def call(*arguments: Any) -> Any:
        return getattr(gf.metrics, metric)(*arguments, axis=axis)

    if library.name.startswith("dask"):
        with pytest.raises(TypeError, match="map_blocks"):
            call(*map(library.make, given_arrays))
        return
    result = library.read(library.call(call, *map(library.make, given_arrays)))
    np.testing.assert_allclose(result, expected, rtol=0, atol=20 * ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_that_is_differentiated_is_refused(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    a = torch.ones((2, 3, 4), dtype=getattr(torch, dtype), requires_grad=True)
    with pytest.raises(TypeError, match=f"a is {dtype}, .*widen it to float32"):
        gf.metrics.cosine_similarity(a, a)


@pytest.mark.parametrize("metric", [*COSINES, *DISTANCES, "information_content"])
def test_maps_are_differentiable_in_torch(metric: str) -> None:
    torch = pytest.importorskip("torch")
    drawn = np.random.default_rng(0).standard_normal((2, 2, 3, 4))  # two maps that are equal nowhere
    a, b = (torch.from_numpy(array).requires_grad_() for array in drawn)
    function: Callable[..., Any] = getattr(gf.metrics, metric)
    if metric in DISTANCES:
        assert torch.autograd.gradcheck(lambda s, e: function(s[None], e), (a, b))
    elif metric == "information_content":
        assert torch.autograd.gradcheck(lambda s: function(torch.softmax(s, -1)), (a,))
    else:
        assert torch.autograd.gradcheck(function, (a, b))


def test_maps_are_differentiable_in_tensorflow_and_jax() -> None:
    tf, jax = pytest.importorskip("tensorflow"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    a, b = (array + 0.1 for array in make_pair((1, 3, 4), -1, "float64"))
    expected = jax.grad(lambda s: gf.metrics.cosine_similarity(s, jax.numpy.asarray(b)).sum())(jax.numpy.asarray(a))
    with tf.GradientTape() as tape:
        variable = tf.Variable(a)
        result = gf.metrics.cosine_similarity(variable, tf.constant(b))
    np.testing.assert_allclose(tape.gradient(result, variable), expected, atol=1e-12)


# --- information and interpretability ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_information_is_that_of_the_definition(layout: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    ppm = make_ppm(shape, axis, dtype)
    result = gf.metrics.information_content(ppm, axis=axis)
    np.testing.assert_allclose(result, reference_metrics.information_content(wide(ppm), axis=axis), atol=1e-6)
    assert result.min() >= 0
    if shape[axis] == 4:
        assert (result == 0).any()
        np.testing.assert_allclose(result.max(), 2, atol=1e-6)


@pytest.mark.parametrize("wrong", [[3, 1, 2, 2], [0.5, 0.7, -0.2, 0], [0, 0, 0, 0], [np.nan, 0, 0, 1]])
def test_what_are_no_probabilities_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="divide counts by their sum"):
        gf.metrics.information_content(np.array([[0.25, 0.25, 0.25, 0.25], wrong]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_interpretability_is_that_of_the_papers_lines(axis: int, dtype: str) -> None:
    require("sklearn")
    truth = planted.generate(60, seed=1).ppm.astype(dtype)
    scores = np.random.default_rng(0).standard_normal(truth.shape[:2]).astype(dtype)
    expected = peers.sklearn_interpretability(scores, truth.astype(np.float64))
    result = gf.metrics.interpretability(scores, np.moveaxis(truth, -1, axis), axis=axis)
    np.testing.assert_allclose(result.auroc, expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.aupr, expected[1], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(result.information, gf.metrics.information_content(truth.astype(np.float64)))


@pytest.mark.parametrize(
    ("scores", "threshold", "auroc"), [([2, 1, 9, 0], 0.1, 1), ([2, 1, -9, 0], 0.1, 1), ([2, 1, -9, 0], 0.01, 0.5)]
)
def test_positions_between_background_and_motif_are_left_out(
    scores: list[float], threshold: float, auroc: float
) -> None:
    between = [0.3, 0.25, 0.25, 0.2]  # 0.015 bits
    truth = np.array([[[1.0, 0, 0, 0], [0.25] * 4, between, [0.25] * 4]])
    assert gf.metrics.interpretability(np.array([scores], float), truth, threshold=threshold).auroc == auroc


def test_without_motif_or_background_interpretability_warns_once() -> None:
    truth = np.full((3, 5, 4), 0.25)
    truth[2, 0] = [1, 0, 0, 0]
    with pytest.warns(RuntimeWarning, match="interpretability is NaN for 2 of 3 sequences") as warned:
        result = gf.metrics.interpretability(np.ones((3, 5)), truth)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    np.testing.assert_array_equal(np.isnan(result.auroc), [True, True, False])


def test_interpretability_works_in_every_library(library: Library) -> None:
    truth = planted.generate(6, seed=1).ppm
    scores = np.random.default_rng(0).standard_normal(truth.shape[:2]).astype(np.float32)
    expected = reference_metrics.interpretability(scores, wide(truth))
    arguments = library.make(scores), library.make(truth)
    if not can_rank(library):
        with pytest.raises((TypeError, ValueError, RuntimeError), match=r"traced|CPU|NumPy|Dask|Unsupported"):
            library.call(gf.metrics.interpretability, *arguments)
        return
    result = library.call(gf.metrics.interpretability, *arguments)
    for found, wanted in zip(result, expected, strict=True):
        np.testing.assert_allclose(library.read(found), wanted, rtol=0, atol=1e-12)


def test_jaspar_motifs_are_found_and_hold_the_information_of_the_formula(shared_data: Path) -> None:
    """The paper's own motifs, planted; the score of a position is its information, so that nothing is missed."""
    records = (shared_data / "synthetic_core_motifs.jaspar").read_text().split(">")[1:]
    rows = [re.sub(r"[^\d\s.]", "", record.partition("\n")[2]).split("\n") for record in records]
    tables = [np.array([row.split() for row in four if row.strip()], float) for four in rows]
    truth = np.full((10, 4, 60), 0.25)
    for sequence, table in zip(truth, tables, strict=True):
        sequence[:, 20 : 20 + table.shape[1]] = table / table.sum(0)
    information = 2 + np.sum(truth * np.log2(truth + 1e-10), axis=1)
    result = gf.metrics.interpretability(information, truth, axis=1)
    np.testing.assert_allclose(result.information, information, atol=1e-9)
    np.testing.assert_array_equal(result.auroc, 1)


# --- identities: why a better cosine is no evidence ---

MODERATE = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: value if abs(value) > 1e-6 else 0.0)
GRADIENTS = st.tuples(st.integers(1, 3), st.integers(5, 20)).flatmap(
    lambda shape: arrays(np.float64, (*shape, 4), elements=MODERATE)
)


def make_truth(shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(gf.correct(np.cos(np.arange(np.prod(shape), dtype=float)).reshape(shape)))


@given(GRADIENTS)
def test_the_cosine_after_is_the_cosine_before_times_the_ratio_of_lengths(grad: np.ndarray) -> None:
    truth, corrected = make_truth(grad.shape), gf.correct(grad)
    before, after = (np.linalg.norm(array.reshape(len(array), -1), axis=1) for array in (grad, corrected))
    clear = after > 1e-6 * before  # what remains of others is rounding
    expected = gf.metrics.cosine_similarity(grad, truth)[clear] * before[clear] / after[clear]
    np.testing.assert_allclose(gf.metrics.cosine_similarity(corrected, truth)[clear], expected, atol=1e-8)


@given(GRADIENTS)
def test_the_improvement_at_a_position_is_bound_by_the_angle(grad: np.ndarray) -> None:
    truth, corrected = make_truth(grad.shape), gf.correct(grad)
    clear = np.abs(corrected).max(-1) > 1e-6 * np.abs(grad).max(-1)
    before, after = (gf.metrics.positionwise_cosine_similarity(array, truth)[clear] for array in (grad, corrected))
    expected = after * (1 - np.cos(gf.simplex_angle(grad, degrees=False)[clear]))
    np.testing.assert_allclose(after - before, expected, atol=1e-8)


def test_the_cosine_is_that_of_the_papers_lines() -> None:
    truth = planted.generate(20, seed=1).ppm.astype(np.float64)
    grad = make_grad("normal", truth.shape, DTYPES["float64"])
    np.testing.assert_allclose(gf.metrics.cosine_similarity(grad, truth - 0.25), peers.paper_cosine(grad, truth))


def test_the_identities_hold_for_a_real_gradient(shared_data: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared_data / "real/reference/kipoi_tal1_grads.hdf5") as file:
        x, grad = file["inputs"][:].astype(np.float64), file["grads"][:].astype(np.float64)
    truth, corrected = x - 0.25, gf.correct(grad)
    ratio = np.linalg.norm(grad, axis=(1, 2)) / np.linalg.norm(corrected, axis=(1, 2))
    expected = gf.metrics.cosine_similarity(grad, truth) * ratio
    np.testing.assert_allclose(gf.metrics.cosine_similarity(corrected, truth), expected, rtol=1e-10)
    assert np.isnan(gf.metrics.positionwise_cosine_similarity(grad, truth)).sum() == 7600  # zero gradients


# --- ensembles ---


def test_the_reduction_is_the_cosine_law_at_a_position() -> None:
    """With the ensemble in the plane, what goes is the part of the distance that stands upright on it."""
    maps, ensemble = make_ensemble((3, 50, 4), -1, "float64")
    ensemble = gf.correct(ensemble)
    before = gf.metrics.ensemble_difference(maps, ensemble)
    upright = maps.sum(-1) / 2
    reduction = gf.metrics.ensemble_difference_reduction(maps, ensemble)
    expected = 1 - np.sqrt(np.maximum(before**2 - upright**2, 0)) / np.where(before > 0, before, np.nan)
    np.testing.assert_allclose(reduction, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_reduction_by_angle_is_that_of_the_definition(layout: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    maps, ensemble = make_ensemble(shape, axis, dtype)
    axis = axis if axis < 0 else axis + 1
    angle = np.where(np.abs(maps).max(axis) > 0, gf.simplex_angle(maps, axis=axis), np.nan)
    counts, before, after = reference_metrics.ensemble_difference_by_angle(
        wide(maps), wide(ensemble), wide(angle), axis=axis
    )
    result = gf.metrics.ensemble_difference_by_angle(maps, ensemble, axis=axis)
    np.testing.assert_array_equal(result.counts, counts)
    np.testing.assert_allclose(result.before, before, rtol=20 * ROUNDING[dtype])
    np.testing.assert_allclose(result.after, after, rtol=20 * ROUNDING[dtype], atol=1e-6)
    np.testing.assert_array_equal(np.isnan(result.reduction), before == 0)
    assert result.edges[[0, -1]].tolist() == [-90, 90]


def test_upright_maps_lie_in_the_last_bins() -> None:
    maps = np.ones((1, 2, 3, 4)) * np.array([1, -1])[None, :, None, None]
    result = gf.metrics.ensemble_difference_by_angle(maps, np.zeros((2, 3, 4)))
    assert result.counts[[0, 36]].tolist() == [3, 3]
    np.testing.assert_array_equal(result.reduction[[0, 36]], 1)


@pytest.mark.parametrize("metric", [*COSINES, *DISTANCES, "ensemble_difference_by_angle"])
def test_threads_and_batches_do_not_matter(metric: str) -> None:
    maps, ensemble = make_ensemble((700, 101, 4), -1, "float32")
    arguments = (maps[0], ensemble) if metric in COSINES else (maps, ensemble)
    measure = getattr(gf.metrics, metric)
    whole, before = measure(*arguments), threads.get_num_threads()
    try:
        gf.set_num_threads(1 if before > 1 else 2)
        for one, other in zip(measure(*arguments), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        gf.set_num_threads(before)
    if metric in COSINES:
        np.testing.assert_array_equal(measure(*[array[300:302] for array in arguments]), whole[300:302])
    elif metric in DISTANCES:
        np.testing.assert_array_equal(measure(maps[1:, 300:302], ensemble[300:302]), whole[1:, 300:302])


@pytest.mark.parametrize("metric", DISTANCES)
def test_no_array_as_large_as_the_maps_is_written_on_the_way(metric: str) -> None:
    maps = np.ones((10, 200, 500, 4), np.float32)
    getattr(gf.metrics, metric)(maps[:, :2], maps[0, :2])
    tracemalloc.start()
    try:
        result = getattr(gf.metrics, metric)(maps, maps[0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < result.nbytes + maps.nbytes / 8


@pytest.mark.parametrize("shape", [(0, 7, 4), (3, 0, 4)])
def test_empty_maps_give_empty_results(shape: tuple[int, ...]) -> None:
    empty = np.ones(shape)
    assert gf.metrics.cosine_similarity(empty, empty).shape == shape[:1]
    assert gf.metrics.positionwise_cosine_similarity(empty, empty).shape == shape[:2]
    assert gf.metrics.information_content(empty).shape == shape[:2]
    assert gf.metrics.ensemble_difference(empty[None], empty).shape == (1, *shape[:2])
    assert gf.metrics.ensemble_difference_by_angle(empty[None], empty).counts.sum() == 0
    assert gf.metrics.ensemble_difference(np.ones((0, *shape)), empty).shape == (0, *shape[:2])


ONES = np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.cosine_similarity(ONES, ONES[:1]), ValueError, r"b has shape \(1, 3, 4\)"),
        (lambda m: m.cosine_similarity(np.ones((2, 4, 30)), np.ones((2, 4, 30))), ValueError, "pass axis=1"),
        (lambda m: m.positionwise_cosine_similarity(ONES, ONES.astype(int)), TypeError, "b must be one of float16"),
        (lambda m: m.interpretability(ONES, ONES / 4), ValueError, "grad_times_input has shape"),
        (lambda m: m.interpretability(ONES[0, 0, 0], ONES[0, 0] / 4), ValueError, r"ground_truth has shape \(4,\)"),
        (lambda m: m.interpretability(ONES[..., 0], ONES / 4, threshold="0.1"), TypeError, "threshold must be"),
        (lambda m: m.interpretability(ONES[..., 0] * np.nan, ONES / 4), ValueError, "hold NaN"),
        (lambda m: m.ensemble_difference(ONES, ONES), ValueError, r"ensemble has shape .* must have shape \(3, 4\)"),
        (lambda m: m.ensemble_difference(ONES[..., :3].T, ONES[0].T, axis=0, n_letters=3), ValueError, "the members"),
        (lambda m: m.ensemble_difference_by_angle(ONES[None], ONES, bins=0), ValueError, "bins must be"),
    ],
)
def test_what_does_not_fit_is_named(call: Callable[..., Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(gf.metrics)

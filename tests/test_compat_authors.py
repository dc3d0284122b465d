"""`gf.compat.gradient_correction` beside the authors' formulas, written out, and what it refuses."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.compat.gradient_correction import geomath, helper
from tests import peers
from tests.conftest import require

RNG = np.random.default_rng(0)
GRAD, OTHER = (RNG.standard_normal((3, 5, 20, 4)) for _ in range(2))


# --- geomath ---


def test_corrections_are_the_formulas() -> None:
    np.testing.assert_array_equal(geomath.attribution_correction(GRAD[0]), gf.correct(GRAD[0]))
    np.testing.assert_allclose(
        geomath.attribution_correction(GRAD[0]), peers.geomath_attribution_correction(GRAD[0]), atol=1e-15
    )
    front = np.moveaxis(GRAD[0], 2, 1).copy()
    np.testing.assert_allclose(geomath.saliency_correction(front, 1), front - front.mean(1, keepdims=True), atol=1e-15)


def test_angles_differ_by_their_pi_alone() -> None:
    ours, theirs = geomath.calculate_angles(GRAD), peers.geomath_calculate_angles(GRAD)
    np.testing.assert_allclose(ours * np.pi / 3.1416, theirs, rtol=1e-7)
    assert np.isnan(geomath.calculate_angles(np.zeros((1, 2, 4)))).all()


@pytest.mark.parametrize("threshold", [30, 45.5])
def test_large_angles_are_counted_in_percent_of_each_run(threshold: float) -> None:
    angles = geomath.calculate_angles(GRAD)
    expected = [100 * sum(abs(a) > threshold for a in row) / 20 for run in angles for row in run]
    np.testing.assert_allclose(geomath.count_large_angles(angles, threshold), expected)


@pytest.mark.parametrize(("threshold", "share"), [(30, 200 / 3), (45, 100 / 3), (60, 0)])
def test_angles_at_a_threshold_are_not_above_it(threshold: float, share: float) -> None:
    """Gradients of one, two and three equal letters lie at 30, 45 and 60 degrees; rounding counted some of them."""
    grad = np.tri(4, dtype=np.float32)[None, None, :3] * np.float32(0.3)
    np.testing.assert_allclose(geomath.count_large_angles(geomath.calculate_angles(grad), threshold), [share])


def test_cosines_and_lengths_are_the_formulas() -> None:
    a, b = GRAD[0], OTHER[0]
    dots = (a * b).sum((1, 2)) / np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2)))
    np.testing.assert_allclose(geomath.scalar_product_set(a, b), dots)
    np.testing.assert_allclose(geomath.cosine_similarity(a, b), dots.mean())
    each = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    np.testing.assert_allclose(geomath.cosine_similarity_individual_nucleotides(a, b), each)
    np.testing.assert_allclose(geomath.L2(a), np.sqrt((a * a).sum(-1)))
    np.testing.assert_allclose(geomath.dispersion(a, b), geomath.L2(a - b))
    np.testing.assert_allclose(geomath.dispersion(GRAD, b), geomath.L2(GRAD - b))


def test_dispersion_by_angle_is_the_mean_in_each_bin() -> None:
    spread, angles = geomath.L2(GRAD - OTHER[0]), geomath.calculate_angles(GRAD).reshape(-1)
    angles[3] = np.nan
    sums, counts = np.zeros(37), np.zeros(37)
    for angle, size in zip(angles, spread.reshape(-1), strict=True):
        if not np.isnan(angle):
            sums[int((angle + 90) / 180 * 37)] += size
            counts[int((angle + 90) / 180 * 37)] += 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(
            geomath.dispersion_bins_func(["a"], {"a": spread}, {"a": angles})["a"], sums / counts
        )
    last = geomath.dispersion_bins_func(["a"], {"a": np.ones(1)}, {"a": np.array([90.0])})["a"]
    assert last[-1] == 1


# --- helper ---


def test_interpretability_is_that_of_scikit_learn() -> None:
    require("sklearn")
    ppm = np.full((4, 30, 4), 0.25)
    ppm[:, 5:15] = RNG.dirichlet(np.ones(4) * 0.1, (4, 10))
    scores = RNG.standard_normal((4, 30))
    auroc, aupr, bits = helper.interpretability_performance(scores, ppm, 0.3)
    expected = peers.sklearn_interpretability(scores, ppm, 0.3)
    np.testing.assert_allclose(auroc, expected[0], atol=1e-12)
    np.testing.assert_allclose(aupr, expected[1], atol=1e-12)
    np.testing.assert_allclose(bits, gf.metrics.information_content(ppm))


@pytest.mark.parametrize("reverse", [False, True])
def test_data_are_read_as_the_authors_do(tmp_path: Path, reverse: bool) -> None:
    h5py = pytest.importorskip("h5py")
    arrays = {}
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for part in ("train", "valid", "test"):
            arrays[f"X_{part}"] = RNG.integers(0, 2, (3, 4, 7)).astype(np.int8)
            arrays[f"Y_{part}"] = RNG.integers(0, 2, (3, 1))
            arrays[f"model_{part}"] = RNG.random((3, 4, 7))
        for name, array in arrays.items():
            file[name] = array
    x_train, y_train, *_, y_test = helper.load_data(tmp_path / "data.h5", reverse_compliment=reverse)
    x = np.moveaxis(arrays["X_train"], 1, 2)
    np.testing.assert_array_equal(x_train[:3], x)
    np.testing.assert_array_equal(x_train[3:], x[:, ::-1, ::-1] if reverse else x[:0])
    assert x_train.dtype == np.float32
    np.testing.assert_array_equal(y_train[:3], arrays["Y_train"])
    assert len(y_test) == (6 if reverse else 3)
    models = helper.load_synthetic_models(tmp_path / "data.h5", "valid")
    np.testing.assert_allclose(models, np.moveaxis(arrays["model_valid"], 1, 2), rtol=1e-6)
    with pytest.raises(ValueError, match="dataset must be one of train, valid, test"):
        helper.load_synthetic_models(tmp_path / "data.h5", "all")


def test_folders_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = helper.make_directory(tmp_path / "a", "b")
    assert made == str(tmp_path / "a" / "b")
    assert "making directory" in capsys.readouterr().out
    assert helper.make_directory(tmp_path / "a", "b") == made
    assert not capsys.readouterr().out


# --- explain ---


@pytest.fixture(name="explain")
def _explain() -> Any:
    require("tensorflow")
    from gradcorr_fast.compat.gradient_correction import explain

    return explain


@pytest.fixture(name="model", scope="module")
def _model() -> Any:
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the authors' code is TensorFlow's")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((20, 4)), layers.Conv1D(6, 5, activation="relu"), layers.Flatten(), layers.Dense(3, "sigmoid")]
    )


X = np.eye(4, dtype=np.float32)[np.random.default_rng(1).integers(0, 4, (5, 20))]


def gradient(model: Any, x: Any, column: int) -> Any:
    """The authors' `saliency_map` with a class."""
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = model(x)[:, column]
    return tape.gradient(outputs, x).numpy()


def path_mean(model: Any, x: Any, baseline: Any, n_steps: int, column: int) -> Any:
    """The authors' `integrated_grad` of one sequence."""
    steps = np.linspace(0, 1, n_steps + 1, dtype=np.float32)[:, None, None]
    grads = gradient(model, baseline + steps * (x - baseline), column)
    return ((grads[:-1] + grads[1:]) / 2).mean(0)


def test_maps_are_those_of_the_authors(explain: Any, model: Any) -> None:
    explainer = explain.Explainer(model, class_index=1)
    np.testing.assert_allclose(explainer.saliency_maps(X), gradient(model, X, 1), atol=1e-7)
    zeros = np.stack([path_mean(model, x, np.zeros_like(x), 25, 1) for x in X])
    np.testing.assert_allclose(explainer.integrated_grad(X, baseline_type="zeros"), zeros, atol=1e-7)
    baselines = explain.random_shuffle(X[:1], 3)
    expected = np.mean([path_mean(model, X[0], b, 7, 1) for b in baselines], 0)
    found = explain.expected_integrated_grad(X[:1], model, baselines, 7, class_index=1)
    np.testing.assert_allclose(found[0], expected, atol=1e-7)
    one = explain.integrated_grad(X[:1], model, baselines[:1], 7, class_index=1)
    np.testing.assert_allclose(one[0], path_mean(model, X[0], baselines[0], 7, 1), atol=1e-7)


def test_shuffled_baselines_are_those_of_the_hook(explain: Any, model: Any) -> None:
    explainer = explain.Explainer(model, class_index=1, random_state=3)
    options = {"target": 1, "corrected": False, "random_state": 3}
    one = gf.hooks.tensorflow.integrated_gradients(model, X, references="mono", n_references=1, n_steps=26, **options)
    np.testing.assert_allclose(explainer.integrated_grad(X), one, atol=1e-7)
    several = gf.hooks.tensorflow.expected_gradients(model, X, references="mono", n_references=4, n_steps=6, **options)
    np.testing.assert_allclose(explainer.expected_integrated_grad(X, 4, num_steps=5), several, atol=1e-7)
    assert np.abs(explain.Explainer(model, 1).integrated_grad(X) - one).max() > 1e-6
    noisy = gf.hooks.tensorflow.smoothgrad(model, X, n_samples=6, sd=0.2, **options)
    np.testing.assert_allclose(explainer.smoothgrad(X, 6, stddev=0.2), noisy, atol=1e-7)
    assert np.abs(explainer.smoothgrad(X, 6, mean=0.5, stddev=0.2) - noisy).max() > 1e-6


def test_mutagenesis_is_that_of_the_authors(explain: Any, model: Any) -> None:
    outputs = np.empty((20, 4, 3), np.float32)
    for k in range(20):
        for a in range(4):
            mutant = X[:1].copy()
            mutant[0, k] = np.eye(4)[a]
            outputs[k, a] = model(mutant).numpy()[0]
    wild = model(X[:1]).numpy()[0]
    explainer = explain.Explainer(model, class_index=0)
    np.testing.assert_allclose(explainer.mutagenesis(X[:1], class_index=2)[0], outputs[..., 2] - wild[2], atol=1e-6)
    length = np.linalg.norm(outputs, axis=-1) - np.linalg.norm(wild)
    np.testing.assert_allclose(explainer.mutagenesis(X[:1])[0], length, atol=1e-6)


def test_a_class_must_be_named(explain: Any, model: Any) -> None:
    with pytest.raises(ValueError, match=r"pass class_index=0 for the first output, gf\.targets\.mean"):
        explain.Explainer(model)
    with pytest.raises(ValueError, match=r"or a function of the output \(N, classes\) to \(N,\)"):
        explain.saliency_map(X, model, func=np.mean)
    first = explain.Explainer(model, class_index=0, func=np.mean).saliency_maps(X)  # as theirs: func is not used
    np.testing.assert_array_equal(first, explain.Explainer(model, class_index=0).saliency_maps(X))
    mean = explain.Explainer(model, class_index=gf.targets.mean()).saliency_maps(X)
    expected = np.mean([gradient(model, X, k) for k in range(3)], 0)
    np.testing.assert_allclose(mean, expected, atol=1e-7)
    with pytest.raises(NotImplementedError, match=r"tf\.GradientTape\.jacobian"):
        explain.hessian(X, model)


def test_tensors_give_tensors(explain: Any, model: Any) -> None:
    import tensorflow as tf

    for found in (
        explain.saliency_map(tf.constant(X), model, 1),
        explain.smoothgrad(tf.constant(X), model, 2, class_index=1),
    ):
        assert tf.is_tensor(found)
    assert isinstance(explain.Explainer(model, 1).saliency_maps(tf.constant(X)), np.ndarray)


def test_shuffles_permute_positions_and_follow_from_the_seed(explain: Any) -> None:
    shuffles = explain.random_shuffle(X[:1], 5)
    assert shuffles.shape == (5, 20, 4)
    np.testing.assert_array_equal(shuffles.sum(1), np.repeat(X[:1].sum(1), 5, 0))
    np.testing.assert_array_equal(explain.random_shuffle(X[:1], 5), shuffles)
    assert np.any(explain.random_shuffle(X[:1], 5, random_state=1) != shuffles)
    soft = RNG.random((1, 20, 4))
    rows = {tuple(row) for row in explain.random_shuffle(soft, 1)[0]}
    assert rows == {tuple(row) for row in soft[0]}


def test_functions_run_in_batches(explain: Any, model: Any) -> None:
    seen = []

    def count(x: Any, scale: float) -> Any:
        seen.append(len(x))
        return x * scale

    np.testing.assert_array_equal(explain.function_batch(X, count, 2, scale=2.0), X * 2)
    assert seen == [2, 2, 1]


def test_signatures_begin_as_the_authors_do(explain: Any) -> None:
    theirs = {
        explain.Explainer: "model class_index func",
        explain.Explainer.saliency_maps: "self X batch_size",
        explain.Explainer.smoothgrad: "self X num_samples mean stddev",
        explain.Explainer.integrated_grad: "self X baseline_type num_steps",
        explain.Explainer.expected_integrated_grad: "self X num_baseline baseline_type num_steps",
        explain.Explainer.mutagenesis: "self X class_index",
        explain.Explainer.set_baseline: "self x baseline num_samples",
        explain.saliency_map: "X model class_index func",
        explain.smoothgrad: "x model num_samples mean stddev class_index func",
        explain.integrated_grad: "x model baseline num_steps class_index func",
        explain.expected_integrated_grad: "x model baselines num_steps class_index func",
        explain.mutagenesis: "x model class_index",
        explain.function_batch: "X fun batch_size",
        explain.random_shuffle: "x num_samples",
        geomath.count_large_angles: "sine threshold",
        geomath.dispersion_bins_func: "experiments dispersion sine_flattened",
        helper.interpretability_performance: "score_times_input X_model threshold",
        helper.load_data: "file_path reverse_compliment",
    }
    for function, names in theirs.items():
        expected = names.split()
        assert [*inspect.signature(function).parameters][: len(expected)] == expected

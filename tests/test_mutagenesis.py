"""In-silico mutagenesis in every framework against every mutant by hand, and against tangermeme."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.frameworks import FRAMEWORKS, SCALE, Framework, X, outputs
from tests.test_saliency import centred, close


def call(framework: Framework, x: np.ndarray = X, model: Any = None, **options: Any) -> Any:
    model = framework.model() if model is None else model
    result = framework.hooks.saturation_mutagenesis(model, framework.lay(x), **options)
    return result if isinstance(result, gf.AttributionMaps) else framework.read(result)


def effects(target: int, x: np.ndarray = X) -> np.ndarray:
    """The model's output for every mutant, minus that for the sequence."""
    found = np.zeros(x.shape)
    for position in range(x.shape[1]):
        for letter in range(4):
            mutants = x.copy()
            mutants[:, position] = np.eye(4)[letter]
            is_other = x[:, position, letter] != 1
            found[:, position, letter] = np.where(is_other, (outputs(mutants) - outputs(x))[:, target], 0)
    return found


@pytest.mark.parametrize("batch_size", [1, 5, 7, 1000])
def test_effects_are_those_of_all_mutants(framework: Framework, batch_size: int) -> None:
    close(call(framework, target=1, batch_size=batch_size), centred(effects(1)))
    close(call(framework, target=1, batch_size=batch_size, corrected=False), effects(1))


def test_several_targets_with_further_inputs(framework: Framework) -> None:
    model = framework.model(lambda output, scale: output * scale)
    got = call(framework, model=model, targets=[2, 0], args=(framework.array(SCALE),), batch_size=10)
    for k, target in enumerate((2, 0)):
        close(got[:, k], centred(effects(target)) * SCALE[:, target, None, None])


def test_a_target_for_each_sequence(framework: Framework) -> None:
    own = [0, 1, 2, -1, 1, 0, -3]
    expected = np.stack([effects(k)[n] for n, k in enumerate(own)])
    close(call(framework, target=own, batch_size=16), centred(expected))


def test_maps_and_predictions(framework: Framework) -> None:
    maps = call(framework, batch_size=16, outputs=("corrected", "angle", "grad_times_input", "prediction"))
    expected = gf.analyze(effects(0), X)
    close(framework.read(maps.corrected), expected.corrected)
    close(maps.grad_times_input, expected.grad_times_input)
    np.testing.assert_allclose(maps.angle, expected.angle, atol=1e-3)
    close(maps.prediction, outputs()[:, 0])
    assert maps.convergence_delta is None
    with pytest.raises(ValueError, match="outputs must be some of"):
        call(framework, outputs=("convergence_delta",))


def test_results_are_of_the_kind_of_the_input(framework: Framework) -> None:
    x = framework.array(framework.lay(X))
    result = framework.hooks.saturation_mutagenesis(framework.model(), x, batch_size=9)
    assert type(result) is type(x)
    close(framework.read(result), centred(effects(0)))


@pytest.mark.parametrize("unknown", [0.0, 0.25])
def test_all_letters_are_tried_where_the_letter_is_unknown(framework: Framework, unknown: float) -> None:
    x = X.copy()
    x[2, 3] = unknown
    got = call(framework, x, corrected=False, batch_size=16)
    close(got, effects(0, x))
    assert np.all(got[2, 3] != 0)


def test_a_window_is_cut_out_and_a_mask_leaves_zeros(framework: Framework) -> None:
    expected = centred(effects(0))
    close(call(framework, start=1, end=4), expected[:, 1:4])
    close(call(framework, start=2), expected[:, 2:])
    close(call(framework, start=2, end=-2), expected[:, 2:5])
    mask = np.zeros((7, 6), bool)
    mask[3, 2:4] = mask[5, 0] = True
    close(call(framework, mask=mask), expected * mask[..., None])
    close(call(framework, mask=mask[3], start=1), (expected * mask[3, None, :, None])[:, 1:])


def test_only_the_mutants_that_are_wanted_are_run_and_no_more_at_a_time_than_asked_for() -> None:
    pytest.importorskip("torch")
    sizes: list[int] = []

    def model(x: Any) -> Any:
        sizes.append(len(x))
        return x.sum((1, 2))

    mask = np.zeros(6, bool)
    mask[[1, 2, 5]] = True
    gf.hooks.torch.saturation_mutagenesis(model, X, axis=-1, batch_size=4, mask=mask, end=4, engine="full")
    assert max(sizes) <= 4
    assert sum(sizes) == 7 + 7 * 2 * 3


def test_other_channels_and_axes_of_positions_are_left_alone(framework: Framework) -> None:
    """A track beside the letters keeps its values in every mutant; several axes of positions are all mutated."""
    track = np.random.default_rng(0).random((7, 1, 6, 1)).astype(np.float32)
    x = np.concatenate([X[:, None], track], -1)  # (N, 1, L, 5)
    x = np.concatenate([x, x[::-1]], 1)  # (N, 2, L, 5)
    weights = np.random.default_rng(1).standard_normal(x.shape[1:]).astype(np.float32)

    def model(x: Any) -> Any:
        total = x * framework.array(weights)
        backend = {"torch": lambda: total.sum((1, 2, 3))}
        return backend.get(framework.name, lambda: _sum(framework, total))() ** 2

    got = framework.hooks.saturation_mutagenesis(
        model, x, axis=-1, letters=slice(0, 4), n_letters=4, corrected=False, batch_size=11
    )
    base = (x.astype(np.float64) * weights).sum((1, 2, 3))
    letters = x[..., :4]
    change = weights[..., :4] - (letters * weights[..., :4]).sum(-1, keepdims=True)
    expected = (base[:, None, None, None] + change) ** 2 - base[:, None, None, None] ** 2
    np.testing.assert_allclose(got[..., :4], expected, atol=1e-4)
    np.testing.assert_array_equal(got[..., 4], 0)


def _sum(framework: Framework, total: Any) -> Any:
    if framework.name == "jax":
        return total.sum((1, 2, 3))
    if framework.name == "keras":
        import keras

        return keras.ops.sum(total, axis=(1, 2, 3))
    import tensorflow as tf

    return tf.reduce_sum(total, axis=(1, 2, 3))


def test_no_gradient_is_needed() -> None:
    pytest.importorskip("torch")
    network = next(f for f in FRAMEWORKS if f.name == "torch").model().eval()
    got = gf.hooks.torch.saturation_mutagenesis(lambda x: network(x).detach().round(decimals=6), X.transpose(0, 2, 1))
    np.testing.assert_allclose(got.transpose(0, 2, 1), centred(effects(0)), atol=3e-6)


def test_what_is_not_finite_is_named(framework: Framework) -> None:
    """A mutant of sequence 3 alone makes the logarithm of a negative number."""
    lowest = (outputs()[:, 0:1] + effects(0).reshape(7, -1)).min(1)
    middle = np.float32((np.sort(lowest)[0] + np.sort(lowest)[1]) / 2)

    def log(output: Any) -> Any:
        if framework.name == "torch":
            return (output - float(middle)).log()
        if framework.name == "jax":
            import jax.numpy as jnp

            return jnp.log(output - middle)
        import tensorflow as tf

        return tf.math.log(output - middle)

    if framework.name == "keras":
        pytest.skip("such a model is not made of Keras' layers")
    with pytest.raises(ValueError, match=rf"mutants of 1 sequences is not finite \({np.argmin(lowest)}; target"):
        call(framework, model=framework.model(log))


@pytest.mark.parametrize(("start", "end"), [(0, -1), (1, 5), (3, -3)])
def test_effects_are_those_of_tangermeme(start: int, end: int) -> None:
    tangermeme = pytest.importorskip("tangermeme.saturation_mutagenesis")
    model = next(f for f in FRAMEWORKS if f.name == "torch").model().eval()
    import torch

    x = torch.from_numpy(X.transpose(0, 2, 1).copy())
    options = {"target": 1, "device": "cpu", "fast": False}
    expected = tangermeme.saturation_mutagenesis(model, x, start=start, end=end, hypothetical=True, **options)
    got = gf.hooks.torch.saturation_mutagenesis(model, x, start=start, end=end, target=1)
    close(got, expected)
    maps = gf.hooks.torch.saturation_mutagenesis(model, x, target=1, outputs="grad_times_input", start=start, end=end)
    projected = tangermeme.saturation_mutagenesis(model, x, start=start, end=end, **options)
    close(maps.grad_times_input, projected.sum(1))

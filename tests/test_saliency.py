"""Saliency of models in every framework: against the gradient worked out by hand, in every form of target."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests import frameworks
from tests.conftest import require
from tests.frameworks import SCALE, Framework, X, gradient, outputs

ROOT = Path(__file__).parents[1]


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


def attribute(framework: Framework, model: Any, x: np.ndarray = X, **options: Any) -> Any:
    """Saliency of NumPy input, letters last."""
    result = framework.hooks.saliency(model, framework.lay(x), **options)
    return result if isinstance(result, gf.AttributionMaps) else framework.read(result)


def centred(grad: np.ndarray) -> np.ndarray:
    return grad - grad.mean(-1, keepdims=True)


@pytest.mark.parametrize("batch_size", [1, 3, 100, "auto"])
def test_saliency_is_the_corrected_gradient(framework: Framework, batch_size: Any) -> None:
    model = framework.model()
    close(attribute(framework, model, target=1, batch_size=batch_size), centred(gradient(1)))
    close(attribute(framework, model, target=1, batch_size=batch_size, corrected=False), gradient(1))


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        (2, [0, 0, 1]),
        (-1, [0, 0, 1]),
        (np.int64(1), [0, 1, 0]),
        ((1,), [0, 1, 0]),
        (gf.targets.index(1), [0, 1, 0]),
        (gf.targets.sum_over(tracks=np.array([0, -1])), [1, 0, 1]),
        (np.array(2), [0, 0, 1]),
        (gf.targets.mean(), [1 / 3] * 3),
        (gf.targets.contrast(2, gf.targets.sum_over(tracks=slice(0, 2))), [-1, -1, 1]),
        (lambda output: 2 * output[:, 1], [0, 2, 0]),
    ],
    ids=lambda value: "a function" if callable(value) and "lambda" in repr(value) else str(value),
)
def test_every_form_of_target(framework: Framework, target: Any, weights: list[float]) -> None:
    expected = sum(w * gradient(k) for k, w in enumerate(weights))
    maps = framework.hooks.saliency(
        framework.model(), framework.lay(X), target=target, outputs=("corrected", "prediction")
    )
    close(framework.read(maps.corrected), centred(expected))
    close(maps.prediction, outputs() @ weights)


@pytest.mark.parametrize("make", [list, np.array])
def test_a_target_for_each_sequence(framework: Framework, make: Any) -> None:
    own = make([0, 1, 2, -1, 1, 0, -3])
    expected = np.stack([gradient(k)[n] for n, k in enumerate(own)])
    close(attribute(framework, framework.model(), target=own, batch_size=3), centred(expected))


def test_a_kept_program_still_checks_the_positions_of_another_call(framework: Framework) -> None:
    """A graph traced for positions that exist once took later ones that do not, and gave zeros."""
    model = framework.model()
    attribute(framework, model, target=[0, 1, 2, 0, 1, 2, 0])
    with pytest.raises(ValueError, match="sequences 6 do not exist"):
        attribute(framework, model, target=[0, 1, 2, 0, 1, 2, 3])


def test_nonlinear_targets_have_the_gradient_of_the_chain_rule(framework: Framework) -> None:
    def squash(output: Any) -> Any:
        if framework.name == "torch":
            return output.sigmoid()
        if framework.name == "keras":
            import keras

            return keras.layers.Activation("sigmoid")(output)
        if framework.name == "jax":
            import jax

            return jax.nn.sigmoid(output)
        import tensorflow as tf

        return tf.sigmoid(output)

    model = framework.model(squash)
    close(attribute(framework, model, target=gf.targets.logit(1)), centred(gradient(1)))
    p = 1 / (1 + np.exp(-outputs()))
    close(attribute(framework, model, target=1), centred(gradient(1) * (p * (1 - p))[:, 1, None, None]))
    total = gf.targets.log1p_sum()
    weights = p * (1 - p) / (1 + p.sum(1, keepdims=True))
    expected = sum(weights[:, k, None, None] * gradient(k) for k in range(3))
    close(attribute(framework, model, target=total), centred(expected))


def test_several_targets_share_a_forward_pass_and_make_an_axis(framework: Framework) -> None:
    model = framework.model()
    maps = attribute(
        framework, model, targets=[2, gf.targets.mean(), lambda output: output[:, 0]], batch_size=3,
        outputs=("corrected", "angle", "grad_times_input", "prediction"),
    )  # fmt: skip
    assert framework.read(maps.corrected).shape == (7, 3, 6, 4)
    assert [m.shape for m in maps[1:4]] == [(7, 3, 6), (7, 3, 6), (7, 3)]
    for k, target in enumerate([2, gf.targets.mean(), lambda output: output[:, 0]]):
        one = attribute(framework, model, target=target, outputs=("corrected", "angle", "grad_times_input"))
        for several, single in zip(maps[:3], one[:3], strict=True):
            close(np.asarray(several)[:, k], single)
    calls: list[int] = []
    if framework.name == "torch":
        model.register_forward_hook(lambda *_: calls.append(1))
        framework.hooks.saliency(model, framework.lay(X), targets=[0, 1, 2])
        assert len(calls) == 1


def test_maps_are_those_of_analyze(framework: Framework) -> None:
    x = framework.lay(X)
    maps = framework.hooks.saliency(framework.model(), x, outputs=("prediction", "angle", "grad_times_input"))
    assert maps.corrected is None
    assert maps.convergence_delta is None
    expected = gf.analyze(gradient(0), X)
    close(maps.angle, expected.angle)
    close(maps.grad_times_input, expected.grad_times_input)
    close(maps.prediction, outputs()[:, 0])


def test_results_are_of_the_kind_of_the_input(framework: Framework) -> None:
    model = framework.model()
    x = framework.array(framework.lay(X))
    result = framework.hooks.saliency(model, x, batch_size=4)
    assert type(result) is type(x)
    close(framework.read(result), centred(gradient(0)))
    for batch_size in (4, 7):
        array = framework.hooks.saliency(model, framework.lay(X), batch_size=batch_size)
        assert type(array) is np.ndarray
        assert array.flags.writeable
        assert array.dtype == np.float32


def test_no_sequences_give_no_results(framework: Framework) -> None:
    maps = framework.hooks.saliency(
        framework.model(), framework.lay(X[:0]), targets=[0, 1], outputs=("corrected", "angle", "prediction")
    )
    assert [m.shape for m in (maps.corrected, maps.angle, maps.prediction)] == [
        (0, 2, *framework.lay(X).shape[1:]), (0, 2, 6), (0, 2),
    ]  # fmt: skip


def test_the_input_is_not_written_and_may_be_readonly_or_reversed(framework: Framework) -> None:
    x = framework.lay(X)
    x = x.copy()
    x.flags.writeable = False
    expected = framework.read(framework.hooks.saliency(framework.model(), x))
    np.testing.assert_array_equal(x, framework.lay(X))
    got = framework.read(framework.hooks.saliency(framework.model(), x[::-1]))
    close(got[::-1], expected)


@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_heads_are_picked_by_name_or_number(framework: Framework, kind: str) -> None:
    def heads(output: Any) -> Any:
        return {"a": output, "b": 2 * output} if kind == "dict" else (output, 2 * output)

    model = framework.model(heads)
    close(attribute(framework, model, target=1, output="b" if kind == "dict" else 1), centred(2 * gradient(1)))
    with pytest.raises(ValueError, match=r"several outputs; pass output= with one of \["):
        attribute(framework, model)


def test_further_inputs_are_cut_into_the_same_batches(framework: Framework) -> None:
    model = framework.model(lambda output, scale: output * scale)
    got = attribute(framework, model, target=2, args=(framework.array(SCALE),), batch_size=3)
    close(got, centred(gradient(2) * SCALE[:, 2, None, None]))
    with pytest.raises(ValueError, match=r"one row for each of the 7 sequences; got \(2, 3\)"):
        attribute(framework, model, args=(SCALE[:2],))


ERRORS = [
    ({"target": 5}, ValueError, r"target 5 does not exist in an output of shape \(7, 3\)"),
    ({"target": (0, 1)}, ValueError, r"the output has shape \(7, 3\).*pass 1 positions"),
    ({"target": "a"}, TypeError, "target must be an int"),
    ({"target": True}, TypeError, "target must be an int"),
    ({"target": [0, 1]}, ValueError, "each of the 7 sequences a position"),
    ({"target": [0, 9, 0, 0, -4, 0, 0]}, ValueError, "for the sequences 1, 4 do not exist in the output"),
    ({"target": gf.targets.sum_over(tracks=slice(5, 9))}, ValueError, "tracks 5:9 select nothing"),
    ({"target": gf.targets.sum_over(tracks=[])}, ValueError, "tracks are an empty list"),
    ({"target": np.array(1.7)}, TypeError, "target must be an int"),
    ({"target": lambda output: output}, ValueError, "must make one number for each sequence"),
    ({"targets": []}, TypeError, "targets must be a list"),
    ({"targets": 3}, TypeError, "targets must be a list"),
    ({"target": 1, "targets": [0]}, TypeError, "both given"),
    ({"targets": [0, gf.targets.before_activation()]}, ValueError, "either all targets are before_activation"),
    ({"output": "a"}, ValueError, "the model returns one array; leave output= away"),
    ({"outputs": ("angel",)}, ValueError, "outputs must be some of corrected, angle"),
    ({"outputs": ("angle",), "corrected": False}, ValueError, "leave outputs= away"),
    ({"batch_size": 0}, ValueError, "batch_size must be"),
    ({"precision": "float8"}, ValueError, "precision must be"),
    ({"args": 3}, TypeError, "args must be a tuple"),
]


@pytest.mark.parametrize(("options", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_wrong_calls_say_how_to_mend_them(
    framework: Framework, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        attribute(framework, framework.model(), **options)
    assert "\n" not in str(caught.value)


def test_a_wrong_axis_is_an_error(framework: Framework) -> None:
    with pytest.raises(ValueError, match="has length 6; for"):
        framework.hooks.saliency(framework.model(), framework.lay(X), axis=-framework.axis - (framework.axis == -1) * 3)


@pytest.mark.parametrize("x", [X.astype(np.int8), X.argmax(-1)], ids=["integers", "codes"])
def test_integer_input_has_no_gradient(framework: Framework, x: np.ndarray) -> None:
    with pytest.raises(TypeError, match="pass one-hot as float32"):
        framework.hooks.saliency(framework.model(), x)


@pytest.mark.parametrize("x", [[[0.0] * 4] * 6, "ACGT", None])
def test_input_that_is_no_array_is_named(framework: Framework, x: Any) -> None:
    with pytest.raises(TypeError, match=r"X is a builtins.*pass one of these or a NumPy array"):
        framework.hooks.saliency(framework.model(), x)


def test_input_of_another_library_is_named(framework: Framework) -> None:
    module = type(framework.array(X)).__module__
    require("jax" if "torch" in module else "torch")
    other = frameworks.jax_array if "torch" in module else frameworks.torch_array
    with pytest.raises(TypeError, match="pass one of these or a NumPy array"):
        framework.hooks.saliency(framework.model(), other(framework.lay(X)))


def test_sequences_whose_gradient_is_not_finite_are_named(framework: Framework) -> None:
    x = X.copy()
    x[2], x[5] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"the gradient of 2 sequences is not finite \(2, 5; target index\(0\)\)"):
        attribute(framework, framework.model(), x)


def test_gradients_so_large_that_their_sum_overflows_are_finite() -> None:
    """A sum that is infinite makes the check look at the gradient itself."""
    require("torch")
    got = gf.hooks.torch.saliency(lambda x: (x * 1e38).sum((1, 2)), X, axis=-1, corrected=False)
    np.testing.assert_array_equal(got, np.full(X.shape, 1e38, np.float32))


def stopped(framework: Framework) -> Any:
    """The network with its output cut off from its input."""
    if framework.name == "torch":
        return framework.model(lambda output: output.detach())
    if framework.name == "jax":
        import jax

        return framework.model(jax.lax.stop_gradient)
    if framework.name == "tensorflow":
        import tensorflow as tf

        return framework.model(tf.stop_gradient)
    import keras

    return framework.model(lambda output: keras.layers.Lambda(keras.ops.stop_gradient)(output))


@pytest.mark.parametrize("batch_size", [3, 7])
def test_a_model_without_a_differentiable_path_is_an_error(framework: Framework, batch_size: int) -> None:
    with pytest.raises(ValueError, match="does not depend on its input by a differentiable path"):
        attribute(framework, stopped(framework), batch_size=batch_size)


def test_a_gradient_that_is_zero_is_no_error(framework: Framework) -> None:
    close(attribute(framework, framework.model(lambda output: 0 * output + 3)), 0 * X)


def test_a_saturated_sigmoid_warns(framework: Framework) -> None:
    def saturate(output: Any) -> Any:
        if framework.name == "torch":
            return (output * 1e6).sigmoid()
        if framework.name == "jax":
            import jax

            return jax.nn.sigmoid(output * 1e6)
        if framework.name == "tensorflow":
            import tensorflow as tf

            return tf.sigmoid(output * 1e6)
        import keras

        return keras.layers.Activation("sigmoid")(output * 1e6)

    model = framework.model(saturate)
    with pytest.warns(UserWarning, match="7 predictions are exactly 0 or 1 .*before_activation") as caught:
        attribute(framework, model, batch_size=3)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(framework, framework.model())


def test_progress_is_shown_when_asked_for(framework: Framework, capsys: pytest.CaptureFixture[str]) -> None:
    attribute(framework, framework.model(), verbose=True, batch_size=2)
    captured = capsys.readouterr()
    assert "attributing" in captured.err
    assert captured.out == ""
    attribute(framework, framework.model(), batch_size=2)
    assert "attributing" not in capsys.readouterr().err


@pytest.mark.skipif("KERAS_BACKEND" in os.environ, reason="this is the process of another backend")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_on_other_backends_passes_these_tests(backend: str) -> None:
    """The backend of Keras is chosen when it is imported, so that each needs a process of its own."""
    require("keras")
    files = ["tests/test_saliency.py", "tests/test_keras.py", "tests/test_models.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "keras or layer or graph", *files]
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout

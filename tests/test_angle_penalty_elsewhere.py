"""The angle penalty in TensorFlow, Keras and JAX: equal to PyTorch's, finite where the formula is not, and trained."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import require

RNG = np.random.default_rng(0)
X = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (6, 12))]
WEIGHTS = RNG.standard_normal((12, 4, 3)).astype(np.float32)
MIX = RNG.standard_normal((3, 2)).astype(np.float32)


def of_torch(weights: Any, **options: Any) -> tuple[float, Any]:
    """The penalty of sigmoid(tanh(x W) M), and its derivative with respect to W."""
    torch = pytest.importorskip("torch")
    w = torch.tensor(weights, requires_grad=True)

    def model(x: Any) -> Any:
        return torch.sigmoid(torch.tanh(torch.einsum("nla,lac->nc", x, w)) @ torch.tensor(MIX))

    penalty = gf.hooks.torch.angle_penalty(model, torch.tensor(X), axis=-1, **options)
    (grad,) = torch.autograd.grad(penalty, w)
    return penalty.item(), grad.numpy()


def of_tensorflow(weights: Any, is_traced: bool = False, **options: Any) -> tuple[float, Any]:
    require("tensorflow")
    import tensorflow as tf

    w = tf.Variable(weights)

    def model(x: Any) -> Any:
        return tf.sigmoid(tf.tanh(tf.einsum("nla,lac->nc", x, w)) @ MIX)

    def run(x: Any) -> Any:
        with tf.GradientTape() as tape:
            penalty = gf.hooks.tensorflow.angle_penalty(model, x, **options)
        return penalty, tape.gradient(penalty, w)

    traced = tf.function(run, input_signature=[tf.TensorSpec((None, 12, 4))]) if is_traced else run
    penalty, grad = traced(tf.constant(X))
    return float(penalty), grad.numpy()


def of_jax(weights: Any, is_traced: bool = False, **options: Any) -> tuple[float, Any]:
    require("jax")
    import jax
    import jax.numpy as jnp

    def loss(w: Any, x: Any) -> Any:
        def model(x: Any) -> Any:
            return jax.nn.sigmoid(jnp.tanh(jnp.einsum("nla,lac->nc", x, w)) @ MIX)

        return gf.hooks.jax.angle_penalty(model, x, **options)

    run = jax.value_and_grad(loss)
    penalty, grad = (jax.jit(run) if is_traced else run)(jnp.asarray(weights), jnp.asarray(X))
    return float(penalty), np.asarray(grad)


OTHERS = {"tensorflow": of_tensorflow, "jax": of_jax}
TARGETS = {"first": 0, "second": 1, "mean": gf.targets.mean(), "own": [0, 1, 1, 0, 1, 0]}


@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", OTHERS)
def test_it_is_that_of_pytorch(name: str, target: str, is_traced: bool) -> None:
    if is_traced and target == "own":
        pytest.skip("how many sequences there are is not known then")
    expected, grad = of_torch(WEIGHTS, target=TARGETS[target])
    found, own = OTHERS[name](WEIGHTS, is_traced, target=TARGETS[target])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(own, grad, rtol=1e-2, atol=2e-3 * np.abs(grad).max())


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", ["zero", "in the plane", "upright", "tiny"])
def test_it_is_finite_where_the_formula_is_not(name: str, kind: str) -> None:
    weights = {
        "zero": WEIGHTS * 0,
        "in the plane": WEIGHTS - WEIGHTS.mean(1, keepdims=True),
        "upright": np.ones_like(WEIGHTS),
        "tiny": WEIGHTS * 1e-25,
    }[kind]
    expected, grad = of_torch(weights)
    found, own = OTHERS[name](weights)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert np.isfinite(own).all()
    assert np.isfinite(grad).all()


def test_a_keras_model_is_trained_to_smaller_angles() -> None:
    require("tensorflow")
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the model below is on TensorFlow")

    class Penalised(keras.Model):  # type: ignore[misc]
        weight = 0.01

        def train_step(self, data: Any) -> Any:
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
                loss += self.weight * gf.hooks.tensorflow.angle_penalty(self, x)
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    def trained(weight: float) -> float:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((12, 4))
        hidden = keras.layers.Conv1D(8, 5, activation="relu")(inputs)
        outputs = keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(hidden))
        model = Penalised(inputs, outputs)
        model.weight = weight
        model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
        model.fit(X, np.array([[0], [1], [0], [1], [1], [0]], np.float32), batch_size=3, epochs=40, verbose=0)
        return float(gf.hooks.tensorflow.angle_penalty(model, X, training=False))

    assert trained(0.01) < 0.5 * trained(0.0)


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_is_said(name: str) -> None:
    with pytest.raises(ValueError, match="before_activation is not for training"):
        OTHERS[name](WEIGHTS, target=gf.targets.before_activation())
    with pytest.raises(ValueError, match="letters"):
        OTHERS[name](WEIGHTS, axis=1)

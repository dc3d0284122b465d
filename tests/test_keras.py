"""Keras models on any backend: the projection as a layer, attaching it, and graphs that never go stale."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.frameworks import FRAMEWORKS, X, gradient
from tests.test_saliency import centred, close

keras = pytest.importorskip("keras")

NETWORK = next(framework for framework in FRAMEWORKS if framework.name == "keras").model


def saliency(model: Any, x: np.ndarray = X, **options: Any) -> np.ndarray:
    return gf.hooks.tensorflow.saliency(model, x, **options)


def plain_gradient(model: Any) -> np.ndarray:
    return saliency(model, corrected=False)


@pytest.mark.parametrize("options", [{}, {"letters": slice(0, 4), "n_letters": 4}])
def test_the_layer_changes_nothing_but_the_gradient(options: dict[str, Any]) -> None:
    network = NETWORK()
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, network(gf.hooks.keras.SimplexProjection(**options)(inputs)))
    np.testing.assert_array_equal(model.predict(X, verbose=0), network.predict(X, verbose=0))
    close(plain_gradient(model), centred(gradient(0)))


def test_the_layer_leaves_other_channels_alone() -> None:
    inputs = keras.Input((6, 5))
    projected = gf.hooks.keras.SimplexProjection(letters=slice(0, 4))(inputs)
    dense = keras.layers.Dense(1, use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(projected)))
    dense.set_weights([np.arange(30.0).reshape(30, 1)])
    x = np.zeros((1, 6, 5), np.float32)
    expected = np.arange(30.0).reshape(1, 6, 5)
    expected[..., :4] -= expected[..., :4].mean(-1, keepdims=True)
    close(saliency(model, x, corrected=False, n_letters=5), expected)


def test_the_layer_is_saved_and_loaded_with_the_model(tmp_path: Path) -> None:
    inputs = keras.Input((6, 4))
    layer = gf.hooks.keras.SimplexProjection(n_letters=4, letters=slice(0, 4), name="projection")
    model = keras.Model(inputs, NETWORK()(layer(inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("projection").get_config() == layer.get_config()
    close(plain_gradient(loaded), centred(gradient(0)))


def test_the_layer_takes_a_wrong_axis_for_an_error() -> None:
    with pytest.raises(ValueError, match="axis 1 has length 6; for"):
        gf.hooks.keras.SimplexProjection(axis=1)(keras.Input((6, 4)))


def test_attached_layer_corrects_every_gradient_until_removed() -> None:
    model = NETWORK()
    prediction = model.predict(X, verbose=0)
    before = set(vars(model))
    with gf.hooks.keras.attach(model) as same:
        assert same is model
        close(plain_gradient(model), centred(gradient(0)))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(X)), keras.ops.convert_to_numpy(NETWORK()(X)))
    assert set(vars(model)) == before
    close(plain_gradient(model), gradient(0))
    np.testing.assert_array_equal(model.predict(X, verbose=0), prediction)


def test_attached_layers_are_removed_once_and_in_order() -> None:
    model = NETWORK()
    first, second = gf.hooks.keras.attach(model), gf.hooks.keras.attach(model)
    first.remove()
    first.remove()
    close(plain_gradient(model), centred(gradient(0)))
    second.remove()
    close(plain_gradient(model), gradient(0))
    assert "call" not in vars(model)


def test_a_kept_graph_sees_replaced_activations_and_new_weights() -> None:
    """People replace the last sigmoid to differentiate the logit; a graph traced before would not notice."""
    network = NETWORK()
    model = keras.Sequential([network, keras.layers.Activation("sigmoid")])
    p = model.predict(X, verbose=0)[:, 0]
    close(plain_gradient(model), gradient(0) * (p * (1 - p))[:, None, None])
    model.layers[-1].activation = keras.activations.linear
    close(plain_gradient(model), gradient(0))
    network.set_weights([w * 2 if w.shape[1] == 3 else w for w in network.get_weights()])
    close(plain_gradient(model), 2 * gradient(0))


def test_a_kept_graph_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    call = keras.layers.Dense.call
    monkeypatch.setattr(keras.layers.Dense, "call", lambda self, x, **options: calls.append(x) or call(self, x))
    model = NETWORK()
    saliency(model, batch_size=4)
    n_calls = len(calls)
    for _ in range(3):
        saliency(model, batch_size=4)
    if keras.backend.backend() != "torch":  # where nothing is traced
        assert len(calls) == n_calls


def test_a_graph_sees_what_custom_layers_depend_on() -> None:
    """Nobody can tell from a layer's attributes what its Python code reads, so such graphs are not kept."""
    scale = {"value": 1.0}

    class Scaling(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * scale["value"]

    for layer in (Scaling(), keras.layers.Lambda(lambda x: x * scale["value"])):
        model = keras.Sequential([keras.Input((6, 4)), NETWORK(), layer])
        for value in (1.0, 3.0):
            scale["value"] = value
            close(plain_gradient(model), value * gradient(0))


def test_a_kept_graph_sees_changed_numbers() -> None:
    layer = keras.layers.LeakyReLU(negative_slope=1.0)
    model = keras.Sequential([keras.Input((6, 4)), NETWORK(), layer])
    close(plain_gradient(model), gradient(0))
    layer.negative_slope = 0.0
    y = NETWORK().predict(X, verbose=0)[:, 0]
    close(plain_gradient(model), gradient(0) * (y > 0)[:, None, None])


def test_a_kept_graph_takes_sequences_of_several_lengths() -> None:
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(inputs))
    for length in (3, 6, 5):
        x = np.ones((2, length, 4), np.float32)
        close(saliency(model, x, corrected=False)[0, :, 0], np.full(length, 1 / length))


def test_a_kept_graph_dies_with_its_model() -> None:
    model = NETWORK()
    saliency(model)
    reference = weakref.ref(model)
    del model
    keras.utils.clear_session()
    gc.collect()
    assert reference() is None


def test_before_activation_takes_the_logit_of_a_keras_model_and_puts_the_layer_back() -> None:
    network = NETWORK()
    model = keras.Sequential([network, keras.layers.Dense(2, activation="softmax", use_bias=False)])
    weights = np.array([[1.0, 2.0], [0.0, -1.0], [0.5, 0.0]], np.float32)
    model.build((None, 6, 4))
    model.layers[-1].set_weights([weights])
    maps = saliency(model, target=gf.targets.before_activation(1), outputs=("corrected", "prediction"))
    close(maps.corrected, centred(2 * gradient(0) - gradient(1)))
    close(maps.prediction, network.predict(X, verbose=0) @ weights[:, 1])
    if keras.backend.backend() != "torch":
        assert model.layers[-1].activation is keras.activations.softmax
    with pytest.raises(ValueError, match="ordinary target"):
        saliency(network, target=gf.targets.before_activation())


def test_before_activation_takes_the_head_that_was_asked_for() -> None:
    """Keras' names of outputs are those of layers, which need not be the keys of a dict."""
    network = NETWORK()
    inputs = keras.Input((6, 4))
    y = network(inputs)
    heads = {
        "profile": keras.layers.Activation("sigmoid", name="counts_out")(y),
        "counts": keras.layers.Activation("sigmoid", name="profile_out")(2 * y),
    }
    model = keras.Model(inputs, heads)
    for name, scale in (("profile", 1), ("counts", 2)):
        maps = saliency(model, output=name, target=gf.targets.before_activation(1), outputs=("corrected", "prediction"))
        close(maps.corrected, centred(scale * gradient(1)))
        close(maps.prediction, scale * network.predict(X, verbose=0)[:, 1])


def test_before_activation_takes_the_last_use_of_a_shared_layer_and_nothing_else() -> None:
    inputs = keras.Input((6, 4))
    activation = keras.layers.Activation("sigmoid")
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, activation(dense(activation(NETWORK()(inputs)))))
    dense.set_weights([np.eye(3)])
    p = 1 / (1 + np.exp(-NETWORK().predict(X, verbose=0)[:, 0]))
    got = saliency(model, target=gf.targets.before_activation(0), outputs=("prediction", "corrected"))
    close(got.prediction, p)
    close(got.corrected, centred(gradient(0) * (p * (1 - p))[:, None, None]))
    scaled = keras.Model(inputs, 2 * activation(NETWORK()(inputs)))
    with pytest.raises(ValueError, match="ordinary target"):
        saliency(scaled, target=gf.targets.before_activation(0))


def test_keras_model_without_a_training_argument_is_attributed() -> None:
    class Plain(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.network = NETWORK()

        def call(self, x: Any) -> Any:
            return self.network(x)

    model = Plain()
    model(X)
    close(plain_gradient(model), gradient(0))


def test_keras_model_and_hook_of_another_backend_do_not_mix() -> None:
    backend = keras.backend.backend()
    model = NETWORK()
    if backend == "torch":
        close(gf.hooks.torch.saliency(model, X, axis=-1), centred(gradient(0)))
        with gf.hooks.torch.attach(model, axis=-1):
            close(plain_gradient(model), centred(gradient(0)))
    elif backend == "jax":
        close(gf.hooks.jax.saliency(model, X), centred(gradient(0)))
        with gf.hooks.jax.attach(model):
            close(plain_gradient(model), centred(gradient(0)))
    else:
        with pytest.raises(ValueError, match=r"a Keras model on the tensorflow backend; use gf\.hooks\.tensorflow"):
            gf.hooks.jax.saliency(model, X)

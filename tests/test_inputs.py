"""Models as people have them: inputs that are the same for all, in any place or by name, outputs by a layer's name."""

import functools
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import require

RNG = np.random.default_rng(0)
X = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (5, 6))]
WEIGHTS = RNG.standard_normal((6, 4)).astype(np.float32)
SCALE = RNG.random((5, 1)).astype(np.float32) + 1
GRAD = gf.correct(np.broadcast_to(WEIGHTS, X.shape).copy())


def calls(framework: str) -> dict[str, tuple[Any, dict[str, Any], Any]]:
    """Functions of a framework, options, and the gradients that are right."""
    scaled = GRAD * SCALE[..., None]

    def total(x: Any) -> Any:
        if framework == "torch":
            import torch

            return (x * torch.from_numpy(WEIGHTS)).sum((1, 2))
        return (x * WEIGHTS).sum((1, 2)) if framework == "jax" else tensorflow_sum(x * WEIGHTS)

    def mode(x: Any, kind: Any, factor: Any) -> Any:
        assert kind is None or kind == "mean"
        return total(x) * factor

    def second(scale: Any, x: Any) -> Any:
        return total(x) * scale[:, 0]

    def third(scale: Any, kind: Any, x: Any) -> Any:
        assert kind is None
        return total(x) * scale[:, 0]

    def named(*, seq: Any, scale: Any, kind: str = "a") -> Any:
        assert kind == "b"
        return total(seq) * scale[:, 0]

    def of_dict(batch: Any) -> Any:
        return total(batch["seq"]) * batch["scale"][:, 0]

    def loose(x: Any, **options: Any) -> Any:
        return total(x) * options["factor"]

    return {
        "nothing and a number": (mode, {"args": (None, 2.0)}, GRAD * 2),
        "a text and a number": (mode, {"args": ["mean", 3]}, GRAD * 3),
        "sequences second": (second, {"args": (SCALE,), "input": 1}, scaled),
        "sequences third": (third, {"args": (SCALE, None), "input": 2}, scaled),
        "sequences between": (
            lambda a, x, b: total(x) * a[:, 0] * b, {"args": (SCALE, 2.0), "input": 1}, scaled * 2,
        ),
        "names alone": (named, {"args": {"scale": SCALE, "kind": "b"}, "input": "seq"}, scaled),
        "others by name": (loose, {"args": {"factor": 4.0}}, GRAD * 4),
        "a dict": (of_dict, {"args": {"scale": SCALE}, "input": "seq"}, scaled),
    }  # fmt: skip


def tensorflow_sum(x: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(x, (1, 2))


NAMES = [*calls("jax")]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "saturation_mutagenesis"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax"])
def test_inputs_have_any_place_and_may_be_the_same_for_all(framework: str, name: str, method: str) -> None:
    require(framework)
    hook = getattr(getattr(gf.hooks, framework), method)
    model, options, expected = calls(framework)[name]
    given = {**options, "axis": -1, "batch_size": 2}
    if framework == "torch":
        import torch

        class Module(torch.nn.Module):
            forward = staticmethod(model)

        np.testing.assert_allclose(hook(Module(), X, **given), expected, atol=1e-5)
    np.testing.assert_allclose(hook(model, X, **given), expected, atol=1e-5)


def test_what_is_no_input_is_said() -> None:
    pytest.importorskip("torch")
    saliency = gf.hooks.torch.saliency
    with pytest.raises(ValueError, match="one row for each of the 5 sequences; got \\(2, 1\\)"):
        saliency(lambda x, s: x.sum((1, 2)), X, args=(SCALE[:2],), axis=-1)
    with pytest.raises(ValueError, match=r"bind what else is by functools\.partial"):
        saliency(lambda x, s: x.sum((1, 2)), X, args=({"a": 1},), axis=-1)
    with pytest.raises(ValueError, match="input='x' is where X goes, and args has it too"):
        saliency(lambda x: x.sum((1, 2)), X, args={"x": SCALE}, input="x", axis=-1)
    with pytest.raises(ValueError, match="input=2 needs 2 inputs before X; args has 1"):
        saliency(lambda a, x: x.sum((1, 2)), X, args=(SCALE,), input=2, axis=-1)
    with pytest.raises(TypeError, match="input must be the place of X"):
        saliency(lambda x: x.sum((1, 2)), X, input=-1, axis=-1)
    with pytest.raises(TypeError, match="args must be a tuple of inputs in their order, or a dict"):
        saliency(lambda x: x.sum((1, 2)), X, args=SCALE, axis=-1)


# --- modes ---


def test_modules_behind_functions_are_in_evaluation_mode_and_back() -> None:
    torch = pytest.importorskip("torch")
    seen = []

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.dropout = torch.nn.Linear(24, 1), torch.nn.Dropout(0.5)

        def forward(self, x: Any, power: float = 1) -> Any:
            seen.append(self.training)
            return self.layer(self.dropout(x.flatten(1))) ** power

        def other(self, x: Any) -> Any:
            return self(x) * 2

    model = Model().train()
    model.dropout.eval()
    forms = [model.forward, model.other, functools.partial(model, power=1), lambda x: model(x).sigmoid()]
    x = torch.from_numpy(X)

    class Holder:
        def __init__(self) -> None:
            self.nets = [model]

        def __call__(self, x: Any) -> Any:
            return self.nets[0](x)

    inner = forms[-1]
    for form in [*forms, functools.partial(lambda net, x: net(x), model), Holder(), lambda x: inner(x) * 2]:
        seen.clear()
        gf.hooks.torch.saliency(form, x, axis=-1)
        assert seen == [False] * len(seen)
        assert seen
        assert model.training
        assert not model.dropout.training
        assert model.layer.weight.requires_grad


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_in_evaluation_mode_and_back() -> None:
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(24, 1)]
    model, x = torch.jit.script(torch.nn.Sequential(*layers)).train(), torch.from_numpy(X)
    found = [gf.hooks.torch.saliency(model, x, axis=-1) for _ in range(2)]
    assert torch.equal(*found)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_reentrant_checkpoints_are_named_with_their_mend() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.checkpoint import checkpoint

    layer = torch.nn.Linear(24, 1)

    def model(x: Any, kind: bool) -> Any:
        return checkpoint(layer, x.flatten(1), use_reentrant=kind)

    x = torch.from_numpy(X)
    with pytest.raises(ValueError, match="pass use_reentrant=False"):
        gf.hooks.torch.saliency(model, x, args=(True,), axis=-1)
    assert gf.hooks.torch.saliency(model, x, args=(False,), axis=-1).shape == X.shape


# --- what comes in and out ---


@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax"])
def test_the_column_that_was_taken_is_said_once(framework: str) -> None:
    require(framework)
    saliency = getattr(gf.hooks, framework).saliency

    def model(x: Any) -> Any:
        return x.reshape((len(x), -1))[:, :3] if framework != "tensorflow" else reshape(x)[:, :3]

    with pytest.warns(UserWarning, match="has 3 columns, and the first is taken") as caught:
        saliency(model, X, axis=-1, batch_size=2)
    assert len({str(one.message) for one in caught}) == 1
    saliency(model, X, axis=-1, target=0)
    saliency(model, X, axis=-1, targets=[0, 1])


def reshape(x: Any) -> Any:
    import tensorflow as tf

    return tf.reshape(x, (-1, 24))


CONVERSIONS = {
    "texts": (["ACGTAC", "ACGTAA"], r"gf\.sequences\.one_hot\(gf\.sequences\.encode\(X\), axis=-1\)"),
    "a text": ("ACGTAC", r"gf\.sequences\.one_hot\(gf\.sequences\.encode\(X\), axis=-1\)"),
    "codes": (np.zeros((2, 6), np.uint8), r"codes: gf\.sequences\.one_hot\(X, axis=-1\)"),
    "integers": (X.astype(np.int8), r"X\.astype\('float32'\)"),
    "a dict": ({"seq": X}, "X='seq' of it, input= its name"),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_what_is_no_one_hot_gets_a_sentence_of_conversion(name: str) -> None:
    pytest.importorskip("torch")
    given, words = CONVERSIONS[name]
    with pytest.raises(TypeError, match=words):
        gf.hooks.torch.saliency(lambda x: x.sum((1, 2)), given, axis=-1)


# --- Keras ---


@pytest.fixture(name="keras")
def _keras() -> Any:
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the models below are on TensorFlow")
    keras.utils.set_random_seed(0)
    return keras


def two_inputs(keras: Any, form: str) -> Any:
    seq, scale = keras.Input((6, 4), name="seq"), keras.Input((1,), name="scale")
    hidden = keras.layers.Concatenate()([keras.layers.Flatten(name="flat")(seq), scale])
    first = keras.layers.Dense(2, "tanh", name="first")(hidden)
    outputs = [first, keras.layers.Dense(1, name="second")(first)]
    inputs = {"dict": {"scale": scale, "seq": seq}, "list": [scale, seq]}[form]
    return keras.Model(inputs, outputs)


def test_keras_inputs_have_names_and_places(keras: Any) -> None:
    saliency = gf.hooks.tensorflow.saliency
    for form, options in {
        "dict": {"args": {"scale": SCALE}, "input": "seq"},
        "list": {"args": (SCALE,), "input": 1},
    }.items():
        model = two_inputs(keras, form)
        found = saliency(model, X, output="second", **options)
        x = [SCALE, X] if form == "list" else {"scale": SCALE, "seq": X}

        def by_hand(seq: Any, model: Any = model, x: Any = x) -> Any:
            scale = keras.ops.convert_to_tensor(SCALE)
            return model([scale, seq] if isinstance(x, list) else {"scale": scale, "seq": seq})[1][:, 0]

        np.testing.assert_allclose(found, saliency(by_hand, X), atol=1e-6)
    np.testing.assert_allclose(
        saliency(two_inputs(keras, "list"), X, args={"scale": SCALE}, input="seq", output=0, target=0).shape, X.shape
    )
    with pytest.raises(ValueError, match=r"name the sequences by input=, one of \['scale', 'seq'\]"):
        saliency(two_inputs(keras, "dict"), X, args=(SCALE,))
    with pytest.raises(ValueError, match=r"has the inputs \['scale', 'seq'\]; got \['seq', 'other'\]"):
        saliency(two_inputs(keras, "dict"), X, args={"other": SCALE}, input="seq")


def test_keras_classes_are_called_as_their_call_is_written(keras: Any) -> None:
    """They have no names of inputs, as graphs of layers have."""
    saliency = gf.hooks.tensorflow.saliency

    class Several(keras.Model):  # type: ignore[misc,name-defined]
        def call(self, sequence: Any, scale: Any, factor: float = 1.0, training: Any = None) -> Any:
            assert training is False
            return keras.ops.sum(sequence**2, (1, 2))[:, None] * scale * factor

    class Dict(keras.Model):  # type: ignore[misc,name-defined]
        def call(self, inputs: Any) -> Any:
            return keras.ops.sum(inputs["sequence"] ** 2, (1, 2))[:, None] * inputs["scale"]

    class List(keras.Model):  # type: ignore[misc,name-defined]
        def call(self, inputs: Any) -> Any:
            return keras.ops.sum(inputs[0] ** 2, (1, 2))[:, None] * inputs[1]

    wanted = gf.correct(2 * X * SCALE[:, :, None])
    for model, given in (
        (Several(), {"args": (SCALE,)}),
        (Several(), {"input": "sequence", "args": {"scale": SCALE}}),
        (Several(), {"input": "sequence", "args": {"scale": SCALE, "factor": 1}}),
        (Dict(), {"input": "sequence", "args": {"scale": SCALE}}),
        (List(), {"args": (SCALE,)}),
    ):
        np.testing.assert_allclose(saliency(model, X, target=0, **given), wanted, rtol=1e-5)
    with pytest.raises(Exception, match="scale") as caught:
        saliency(Dict(), X, input="sequence", args={"other": SCALE})
    assert "X of shape" in "".join(caught.value.__notes__)


def test_keras_outputs_and_layers_have_names(keras: Any) -> None:
    model = two_inputs(keras, "list")
    options = {"args": (SCALE,), "input": 1}
    by_number = gf.hooks.tensorflow.saliency(model, X, output=0, target=1, **options)
    by_name = gf.hooks.tensorflow.saliency(model, X, output="first", target=1, **options)
    np.testing.assert_array_equal(by_number, by_name)
    inner = gf.hooks.tensorflow.saliency(model, X, output="flat", target=3, corrected=False, **options)
    assert inner.sum() == len(X)
    assert (inner[:, 0, 3] == 1).all()
    with pytest.raises(ValueError, match=r"has no output 'third'; its outputs are \['first', 'second'\], its layers"):
        gf.hooks.tensorflow.saliency(model, X, output="third", **options)
    sequential = keras.Sequential([keras.Input((6, 4)), keras.layers.Flatten(name="flat"), keras.layers.Dense(1)])
    assert gf.hooks.tensorflow.saliency(sequential, X, output="flat", target=0).shape == X.shape


@pytest.mark.parametrize("kind", ["Softmax", "Activation", "ReLU", "Dense", "Sigmoid of a layer"])
def test_activations_of_any_kind_are_looked_before(keras: Any, kind: str) -> None:
    layers = keras.layers
    ends = {
        "Softmax": [layers.Dense(3), layers.Softmax()],
        "Activation": [layers.Dense(3), layers.Activation("softmax")],
        "ReLU": [layers.Dense(3), layers.ReLU()],
        "Dense": [layers.Dense(3, "softmax")],
        "Sigmoid of a layer": [layers.Dense(3, activation=layers.Activation("sigmoid"))],
    }[kind]
    model = keras.Sequential([keras.Input((6, 4)), layers.Flatten(), *ends])
    kernel = ends[0].kernel.numpy()[:, 1].reshape(6, 4)
    target = gf.targets.before_activation(1)
    for _ in range(2):  # also from the graph that was kept
        found = gf.hooks.tensorflow.saliency(model, X, target=target, corrected=False)
        np.testing.assert_allclose(found, np.broadcast_to(kernel, X.shape), atol=1e-6)
    assert "call" not in vars(ends[-1])
    np.testing.assert_allclose(model(X), model.predict(X, verbose=0), atol=1e-6)

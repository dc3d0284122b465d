"""The correction folded into Keras models: same predictions, every gradient corrected, saved and trained."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main

keras = pytest.importorskip("keras")
if keras.backend.backend() != "tensorflow":
    pytest.skip("the models below are on TensorFlow", allow_module_level=True)
layers = keras.layers
fold = gf.hooks.keras.fold
RNG = np.random.default_rng(0)
X = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (3, 30))]


def sequential(*inner: Any) -> Any:
    return keras.Sequential([keras.Input((30, 4)), *inner, layers.Flatten(), layers.Dense(2, "sigmoid")])


def two_branches() -> Any:
    x = keras.Input((30, 4))
    a, b = layers.Conv1D(5, 7, padding="same", activation="relu")(x), layers.Conv1D(3, 3, padding="same")(x)
    return keras.Model(x, [layers.Dense(1)(layers.Flatten()(layers.Concatenate()([a, b]))), layers.Dense(2)(a)])


def nested() -> Any:
    return sequential(keras.Sequential([keras.Input((30, 4)), layers.Conv1D(5, 7), layers.BatchNormalization()]))


def plane() -> Any:
    inner = [layers.Conv2D(6, (7, 1), activation="exponential"), layers.Flatten(), layers.Dense(1)]
    return keras.Sequential([keras.Input((30, 1, 4)), *inner])


MODELS: dict[str, Any] = {
    "convolution": lambda: sequential(layers.Conv1D(8, 7, activation="relu"), layers.MaxPool1D(3)),
    "padded, strided, without bias": lambda: sequential(layers.Conv1D(8, 7, padding="same", strides=2, use_bias=False)),
    "dilated, causal": lambda: sequential(layers.Conv1D(8, 3, padding="causal", dilation_rate=2)),
    "behind dropout": lambda: sequential(layers.Dropout(0.1), layers.GaussianNoise(0.1), layers.Conv1D(8, 7)),
    "dense on letters": lambda: sequential(layers.Dense(6, "gelu")),
    "dense behind flatten": lambda: keras.Sequential(
        [keras.Input((30, 4)), layers.Flatten(), layers.Dense(7, "gelu"), layers.Dense(1)]
    ),
    "branches and heads": two_branches,
    "nested": nested,
    "plane": plane,
}


def shown(model: Any) -> Any:
    return X[:, :, None] if len(model.inputs[0].shape) == 4 else X


def maps(model: Any, x: Any, corrected: bool) -> Any:
    output = 0 if len(model.outputs) > 1 else None
    return gf.hooks.tensorflow.saliency(model, x, target=0, output=output, corrected=corrected)


@pytest.fixture(autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("name", MODELS)
def test_predictions_stay_and_gradients_are_corrected(name: str) -> None:
    model = MODELS[name]()
    x = shown(model)
    before = [weight.copy() for weight in model.get_weights()]
    folded = fold(model)
    soft = RNG.random(x.shape).astype(np.float32)
    for each in (x, soft):
        for a, b in zip(keras.tree.flatten(model(each)), keras.tree.flatten(folded(each)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)
        found, plain = maps(folded, each, False), maps(model, each, False)
        np.testing.assert_allclose(found, gf.correct(plain), atol=1e-4 * np.abs(plain).max())
        assert np.abs(plain.sum(-1)).max() > 1e-3 * np.abs(plain).max()
    for a, b, kept in zip(model.get_weights(), folded.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, kept)


WITHOUT_OURS = ["convolution", "behind dropout", "dense on letters", "dense behind flatten", "nested", "plane"]


@pytest.mark.parametrize("name", WITHOUT_OURS)
def test_weights_alone_do_for_one_hot_sequences(name: str) -> None:
    model = MODELS[name]()
    x, folded = shown(model), fold(model, exact=False)
    assert not any("gradcorr_fast" in type(layer).__module__ for layer in folded._flatten_layers())
    np.testing.assert_allclose(model(x), folded(x), atol=1e-5)
    np.testing.assert_allclose(maps(folded, x, False), maps(model, x, True), atol=1e-5)
    soft = RNG.random(x.shape).astype(np.float32)
    assert np.abs(np.asarray(model(soft)) - np.asarray(folded(soft))).max() > 1e-4


@pytest.mark.parametrize("exact", [True, False])
def test_a_folded_model_is_saved_loaded_and_trained(tmp_path: Path, exact: bool) -> None:
    folded = fold(MODELS["convolution"](), exact=exact)
    folded.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), folded(X))
    loaded.compile("adam", "mse")
    loaded.fit(X, np.ones((3, 2), np.float32), verbose=0)
    if exact:
        grad = maps(loaded, X, False)
        assert np.abs(grad.sum(-1)).max() < 1e-5 * np.abs(grad).max()


def used_twice() -> Any:
    x, layer = keras.Input((30, 4)), layers.Dense(4)
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(layer(layer(x)))))


def inner_used_twice() -> Any:
    inner = keras.Sequential([keras.Input((30, 4)), layers.Conv1D(4, 3, padding="same")])
    x = keras.Input((30, 4))
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(layers.Add()([inner(x), inner(layers.ReLU()(x))]))))


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an activation first": (lambda: sequential(layers.ReLU()), {}, r"the input meets .*\(ReLU\) first"),
    "recurrence first": (lambda: sequential(layers.LSTM(3, return_sequences=True)), {}, r"\(LSTM\) first"),
    "groups": (lambda: sequential(layers.Conv1D(4, 3, groups=4)), {}, "does not take the letters of a position as its"),
    "twice": (used_twice, {}, "is used more than once"),
    "twice inside": (inner_used_twice, {}, "is used more than once"),
    "padding": (lambda: sequential(layers.Conv1D(4, 3, padding="same")), {"exact": False}, "needs a bias and no pad"),
    "another axis": (MODELS["convolution"], {"axis": 1}, "does not take the letters"),
    "letters apart": (MODELS["dense behind flatten"], {"axis": 1}, "takes the letters of a position apart"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_folded_is_named(name: str) -> None:
    make, options, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        fold(make(), **options)


def test_what_is_no_graph_is_refused() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    for model in (Own(), lambda x: x, keras.Model([a := keras.Input((3, 4)), b := keras.Input((3, 4))], a + b)):
        with pytest.raises(TypeError, match="must be a Sequential or functional Keras model of one input"):
            fold(model)


# --- the command ---

NETS = """
import keras

@keras.saving.register_keras_serializable(package="nets")
class Halve(keras.layers.Layer):
    def call(self, x):
        return x / 2

def make():
    keras.utils.set_random_seed(0)
    inner = [keras.layers.Conv1D(8, 7, activation="relu"), Halve(), keras.layers.GlobalMaxPooling1D()]
    return keras.Sequential([keras.Input((None, 4)), *inner, keras.layers.Dense(2, "sigmoid")])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("keras_nets.py").write_text(NETS)
    return tmp_path


def command(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["fold", *arguments])
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.parametrize("source", ["keras_nets:make", "net.keras"])
def test_a_file_is_written_whose_gradients_are_corrected(folder: Path, source: str) -> None:
    model = gf.model_files.load_model("keras_nets:make").model
    model.save("net.keras")
    said = command(source, "-o", "corrected.keras", "--length", "30")
    assert "Input: (any, any, 4)\n" in said
    assert "Read back and compared in float32: predictions differ by" in said
    folded = gf.model_files.load_model("corrected.keras").model
    np.testing.assert_allclose(folded(X), model(X), rtol=1e-5)
    np.testing.assert_allclose(maps(folded, X, False), maps(model, X, True), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["plain.keras", "plain.weights.h5"])
def test_files_without_layers_of_ours(folder: Path, name: str) -> None:
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    said = command("keras_nets:make", "-o", name, "--weights-only")
    assert "Predictions equal the original's for one-hot sequences alone" in said
    assert ("Input:" in said) == name.endswith(".keras")
    model = gf.model_files.load_model("keras_nets:make").model
    is_model = name.endswith(".keras")
    folded = gf.model_files.load_model(
        *([name] if is_model else ["keras_nets:make"]), weights=None if is_model else name
    )
    assert not any(type(layer).__module__.startswith("gradcorr_fast") for layer in folded.model.layers)
    np.testing.assert_allclose(folded.model(X), model(X), rtol=1e-4)
    np.testing.assert_allclose(maps(folded.model, X, False), maps(model, X, True), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["keras_nets:make", "-o", "out.pt2"],
            "must end in .keras, or with --weights-only in .keras or",
        ),
        (["keras_nets:make", "-o", "out.h5", "--weights-only"], "must end in .keras or .weights.h5, or without"),
        (["keras_nets:make", "-o", "there.keras"], "exists already; --force replaces it"),
        (
            ["keras_nets:make", "-o", "out.keras", "--axis", "1"],
            "does not take the letters of a position as its channels",
        ),
    ],
)
def test_a_wrong_call_is_told_and_leaves_nothing(folder: Path, arguments: list[str], message: str) -> None:
    Path("there.keras").write_text("old")
    before = {path.name for path in folder.iterdir()}
    assert message in " ".join(command(*arguments, status=2).split())
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before
    assert Path("there.keras").read_text() == "old"


def test_a_file_that_disagrees_gets_no_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is judged, not what was in memory."""
    load = keras.saving.load_model

    def changed(*arguments: Any, **options: Any) -> Any:
        model = load(*arguments, **options)
        model.set_weights([2 * weights for weights in model.get_weights()])
        return model

    monkeypatch.setattr(keras.saving, "load_model", changed)
    assert "predictions of the folded model differ" in command("keras_nets:make", "-o", "out.keras", status=1)
    assert not [path for path in folder.iterdir() if "out" in path.name]


def test_models_with_projections_are_loaded(tmp_path: Path) -> None:
    """In a new process, which has imported nothing that knows the layer."""
    path = tmp_path / "projected.keras"
    sequential(gf.hooks.keras.SimplexProjection(), layers.Conv1D(8, 7)).save(path)
    code = f"import gradcorr_fast as gf; print(gf.model_files.load_model({str(path)!r}).framework)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "keras\n", done.stderr

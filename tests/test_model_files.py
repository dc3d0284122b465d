"""What users name as a model: files of every kind, `module:callable`, and errors that help."""

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcorr_fast.model_files import LoadedModel, ModelShape, inspect_model, load_model
from tests.conftest import require

CODE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dense = torch.nn.Conv1d(4, 3, 3), torch.nn.Linear(24, 2)

    def forward(self, x):
        return self.dense(torch.relu(self.conv(x)).flatten(1))

torch.manual_seed(0)
net = Net()
number = 3

def make_net():
    return net

def with_options(n, *rest, width=3, **others):
    return net

def make_number():
    return number

def make_function():
    return lambda x: net(x)
"""


ACTING = """
import torch


class Writes(torch.nn.Module):
    def forward(self, x):
        torch.save(x, "written")
        return x


class SetsItself(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight

    @torch.jit.export
    def __getstate__(self):
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.weight, self.training = state
        torch.save(self.weight, "written")
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network in `user_model.py`, and files of every kind that hold it."""
    require("torch")
    import torch

    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("user_model.py").write_text(CODE)
        net, x = load_model("user_model:net").model, torch.rand(2, 4, 10)
        torch.jit.trace(net, x).save("script.pt")
        torch.save(net, "pickled.pt")
        torch.save(net, "protocol4.pth", pickle_protocol=4)
        torch.save(net, "old.pt", _use_new_zipfile_serialization=False)
        state = net.state_dict()
        torch.save(state, "state.pt")
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, "checkpoint.ckpt")
        torch.save(state, "old_state.pt", _use_new_zipfile_serialization=False)
        torch.export.save(torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), "net.pt2")
    return folder


@pytest.fixture(name="net")
def _net(files: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The network, whose files are in the current folder."""
    shutil.copytree(files, ".", dirs_exist_ok=True)
    monkeypatch.delitem(sys.modules, "user_model", raising=False)
    return load_model("user_model:net").model


def same_model(loaded: LoadedModel, net: Any) -> None:
    import torch

    x = torch.rand(2, 4, 10)
    torch.testing.assert_close(loaded.model(x), net(x))
    state = sorted(net.state_dict().items())
    content = b"".join(
        f"{name} {tuple(value.shape)} {value.dtype}\n".encode() + value.numpy().tobytes() for name, value in state
    )
    assert loaded.digest == hashlib.sha256(content).hexdigest()
    assert loaded.framework == "torch"


@pytest.mark.parametrize("source", ["script.pt", "user_model:net", "user_model:make_net"])
def test_a_model_is_loaded_without_trust(net: Any, source: str) -> None:
    loaded = load_model(source)
    same_model(loaded, net)
    code = hashlib.sha256(CODE.encode()).hexdigest() if ":" in source else None
    assert (loaded.source, loaded.code_digest) == (source, code)


@pytest.mark.parametrize("source", ["pickled.pt", "protocol4.pth", "old.pt"])
def test_a_pickled_module_needs_trust(net: Any, source: str) -> None:
    with pytest.raises(ValueError, match=r"is a pickle of user_model.Net, so that loading it runs code .* trust=True"):
        load_model(source)
    same_model(load_model(source, trust=True), net)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("source", ["state.pt", "checkpoint.ckpt", "old_state.pt"])
def test_a_state_dict_is_told_from_a_model(source: str, trust: bool) -> None:
    with pytest.raises(ValueError, match=f"pass module:callable, which makes the model, with weights={source}"):
        load_model(source, trust=trust)


@pytest.mark.parametrize("weights", ["state.pt", "checkpoint.ckpt", "old_state.pt", "state.safetensors"])
def test_weights_go_into_the_model_that_a_class_makes(net: Any, weights: str) -> None:
    if weights.endswith("safetensors"):
        pytest.importorskip("safetensors.torch").save_file(net.state_dict(), weights)
    loaded = load_model("user_model:Net", weights=weights)
    assert loaded.model is not net
    assert not loaded.model.training
    same_model(loaded, net)


def test_the_digest_tells_weights_apart(net: Any) -> None:
    before = load_model("user_model:net").digest
    net.dense.bias.data[0] += 1
    assert load_model("user_model:net").digest != before


def test_frozen_models_are_told_apart_by_their_files(net: Any) -> None:
    """Freezing makes code of the weights: there is no parameter to hash."""
    import torch

    for k in range(2):
        net.dense.bias.data[0] = k
        torch.jit.freeze(torch.jit.script(net)).save(f"frozen{k}.pt")
    digests = [load_model(f"frozen{k}.pt").digest for k in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("source", ["script.pt", "net.pt2", "user_model:net"])
def test_a_model_is_put_on_a_device(net: Any, source: str) -> None:
    same_model(load_model(source, device="cpu", trust=source.endswith(".pt2")), net)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nett.pt2", FileNotFoundError, r"nett.pt2 does not exist \(did you mean net.pt2"),
        ("user_model.py", ValueError, "is a Python file; pass module:callable"),
        ("net.txt", ValueError, "net.txt has no suffix of a model; use one of .pt, .*.keras"),
        ("net.onnx", ValueError, "is an ONNX file, which has no gradients"),
        (".", ValueError, "is a folder; save the model as one file"),
        ("text.pt", ValueError, "text.pt holds nothing that torch.save"),
        ("user_modl:net", ValueError, r"no module user_modl .*did you mean user_model\?"),
        ("user_model:make_ned", ValueError, r"user_model has no make_ned \(did you mean make_net"),
        ("user_model:xyzw", ValueError, r"user_model has no xyzw \(it has Net, "),
        ("user_model:with_options", TypeError, r"needs the arguments \(n\); name a function without"),
        ("user_model:number", TypeError, "is a int; name a model, or a function"),
        ("user_model:make_number", TypeError, "returns a int; it must return a model"),
    ],
)
def test_what_is_no_model_is_refused_with_the_mend(source: str, error: type[Exception], message: str) -> None:
    for name in ("net.txt", "net.onnx", "text.pt"):
        Path(name).write_text("something")
    with pytest.raises(error, match=message):
        load_model(source)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"conv.weight": s["conv.weight"][:2]}, r"shapes differ: conv.weight is \(2, 4, 3\), not \(3, 4"),
        (
            lambda s: {f"model.{k}": v for k, v in s.items()},
            r"the model needs conv.weight, .*alone has model.conv.weig",
        ),
        (lambda s: s | {"x": "text"}, "holds no state dict; save the weights"),
        (lambda s: s | {"x": Path("x")}, "holds more than tensors; save the weights alone"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: Any, message: str) -> None:
    import torch

    torch.save(change(torch.load("state.pt")), "changed.pt")
    with pytest.raises(ValueError, match=message):
        load_model("user_model:Net", weights="changed.pt")


@pytest.mark.usefixtures("net")
def test_weights_for_a_file_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights go with module:callable, and net.pt2 is a file"):
        load_model("net.pt2", weights="state.pt")


def test_an_exported_program_needs_trust(net: Any) -> None:
    """torch.export.load unpickles in several places; what was looked for beforehand could be hidden from the look."""
    with pytest.raises(ValueError, match=r"net.pt2 is an exported program, .*trust=True.*\.safetensors"):
        load_model("net.pt2")
    same_model(load_model("net.pt2", trust=True), net)


@pytest.mark.parametrize("when", ["loaded", "called"])
def test_a_scripted_model_that_writes_files_needs_trust(when: str) -> None:
    """TorchScript is a program: its __setstate__ runs in torch.jit.load, and torch.save is one of its operators."""
    require("torch")
    import torch

    Path("acting.py").write_text(ACTING)
    model = load_model("acting:SetsItself" if when == "loaded" else "acting:Writes").model
    torch.jit.script(model).save("acts.pt")
    with pytest.raises(ValueError, match=r"does more than compute \((__setstate__|torch.save)\).*trust=True"):
        load_model("acts.pt")
    assert not Path("written").exists()
    loaded = load_model("acts.pt", trust=True).model
    loaded(torch.rand(2, 4, 10))
    assert Path("written").exists()


def test_an_export_that_lost_its_gradient_is_named(net: Any) -> None:
    import torch

    class Detached(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return net(x.detach()).detach()

    torch.export.save(torch.export.export(Detached(), (torch.rand(2, 4, 10),)), "detached.pt2")
    with pytest.raises(ValueError, match=r"detached.pt2 lost its gradient when it was exported"):
        load_model("detached.pt2", trust=True)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("net.pt2", ModelShape(1, 10, 4, 2, None)),
        ("script.pt", ModelShape(1, None, 4, 2, None)),
        ("user_model:net", ModelShape(1, None, 4, 2, None)),
        ("user_model:make_function", ModelShape()),
    ],
)
def test_shapes_are_guessed(source: str, shape: ModelShape) -> None:
    assert inspect_model(load_model(source, trust=True)) == shape


def test_shapes_of_other_models_are_guessed() -> None:
    require("torch")
    import torch

    dense = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(80, 3))
    program = torch.export.export(torch.nn.Sequential(torch.nn.Linear(4, 5)), (torch.rand(2, 20, 4),)).module()
    found = [inspect_model(LoadedModel(model, "torch", "", "", None)) for model in (dense, program)]
    assert found == [ModelShape(None, 20, 4, 3), ModelShape(2, 20, 4, None, 2)]


def test_a_function_is_taken_for_torch_unless_told_otherwise(net: Any) -> None:
    loaded = load_model("user_model:make_function")
    assert loaded.framework == "torch"
    assert loaded.digest == hashlib.sha256().hexdigest()
    require("jax")
    assert load_model("user_model:make_function", framework="jax").framework == "jax"
    Path("jax_model.py").write_text("import jax\nf = jax.jit(lambda x: x.sum((1, 2)))")
    assert load_model("jax_model:f").framework == "jax"


@pytest.fixture(name="keras_model")
def _keras_model() -> Any:
    require("keras")
    import keras

    inputs = keras.Input((10, 4))
    hidden = keras.layers.Flatten()(keras.layers.Conv1D(3, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    model.compile("adam", "mse")
    return model


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_keras_model_is_loaded(keras_model: Any, name: str) -> None:
    keras_model.save(name)
    loaded = load_model(name)
    x = np.random.default_rng(0).random((2, 10, 4), np.float32)
    np.testing.assert_allclose(loaded.model(x), keras_model(x), rtol=1e-6)
    assert loaded.framework == "keras"
    assert loaded.digest == load_model(name).digest
    assert inspect_model(loaded) == ModelShape(-1, 10, 4, 2)


def test_keras_weights_go_into_the_model_that_a_function_makes(keras_model: Any) -> None:
    keras_model.save("model.keras")
    keras_model.save_weights("model.weights.h5")
    Path("keras_maker.py").write_text(
        "import keras\n\ndef make():\n    inputs = keras.Input((10, 4))\n"
        "    hidden = keras.layers.Flatten()(keras.layers.Conv1D(3, 3, activation='relu')(inputs))\n"
        "    return keras.Model(inputs, keras.layers.Dense(2)(hidden))\n\n"
        "def wrong():\n    return keras.Sequential([keras.Input((10, 4)), keras.layers.Dense(7)])\n"
    )
    loaded = load_model("keras_maker:make", weights="model.weights.h5")
    assert loaded.digest == load_model("model.keras").digest
    with pytest.raises(ValueError, match=r"the weights in model.weights.h5 do not fit the model"):
        load_model("keras_maker:wrong", weights="model.weights.h5")
    with pytest.raises(ValueError, match="holds weights without a model; pass module:callable"):
        load_model("model.weights.h5")


def test_a_lambda_layer_needs_trust() -> None:
    require("keras")
    import keras

    keras.Sequential([keras.Input((10, 4)), keras.layers.Lambda(lambda x: 2 * x)]).save("lambda.keras")
    with pytest.raises(ValueError, match=r"lambda.keras holds a lambda layer, .*trust=True"):
        load_model("lambda.keras")
    loaded = load_model("lambda.keras", trust=True)
    np.testing.assert_array_equal(loaded.model(np.ones((1, 10, 4), np.float32)), 2)


@pytest.mark.parametrize("as_mapping", [True, False])
def test_custom_objects_are_imported(as_mapping: bool) -> None:
    require("keras")
    import keras

    Path("user_layers.py").write_text(
        "import keras\n\nclass Twice(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
    )
    layer = load_model("user_layers:Twice").model
    keras.Sequential([keras.Input((10, 4)), layer]).save("custom.keras")
    objects: Any = {"Twice": type(layer)} if as_mapping else ["Twice=user_layers:Twice"]
    loaded = load_model("custom.keras", custom_objects=objects)
    np.testing.assert_array_equal(loaded.model(np.ones((1, 10, 4), np.float32)), 2)


def test_custom_objects_that_are_missing_are_named() -> None:
    require("keras")
    import keras

    class Odd(keras.layers.Layer):
        pass

    keras.Sequential([keras.Input((10, 4)), Odd()]).save("odd.keras")
    with pytest.raises(ValueError, match=r"name its own classes by custom_objects="):
        load_model("odd.keras")
    with pytest.raises(ValueError, match="custom objects are given as name=module:Class; got Odd"):
        load_model("odd.keras", custom_objects=["Odd"])


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"cannot use the device nonsense .* name another, such as cpu"):
        load_model("torch.nn:Identity", device="nonsense")


def test_a_factory_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken_nets.py").write_text("def make():\n    raise KeyError('weights')\n")
    with pytest.raises(RuntimeError, match="broken_nets:make made no model, it raised KeyError: 'weights'"):
        load_model("broken_nets:make")

"""The papers' models: as large as they say, the same in PyTorch and Keras, with new weights and the authors'."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.paper import datasets, synthetic, training
from gradcorr_fast.paper.models import NAMES, build, load_weights
from tests import models as published
from tests.conftest import require

PARAMETERS = {
    "cnn-shallow": 15_433,
    "cnn-deep": 53_161,
    "cnn-local": 15_433 - 24 - 48 - 96,  # without biases before batch normalisation
    "cnn-dist": 53_161 - 24 - 32 - 48 - 64 - 96 - 64 * 96,  # flattened to three positions
    "basset": 4_137_764,
    "cnn-base": 7_675_087,
    "cnn-32": 3_532_495,
    "deepstarr": 624_738,
}
SMALL = ("cnn-shallow-exp", "cnn-deep-relu", "cnn-dist-exp", "deepstarr-exp", "cnn-32-exp")
"""One or two models of every kind of layer."""
OUTPUTS = ("corrected", "angle", "prediction")


def family(name: str) -> str:
    return name.removesuffix("-relu").removesuffix("-exp")


def n_weights(model: Any) -> int:
    """What Keras counts: parameters, and means and variances of batch normalisation."""
    running = [b for name, b in model.named_buffers() if "running" in name]
    return sum(tensor.numel() for tensor in [*model.parameters(), *running])


def sequences(length: int, n: int = 8) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (n, length))]


def attribute(model: Any, x: np.ndarray, target: Any = gf.targets.mean()) -> gf.AttributionMaps:  # noqa: B008
    """Maps with the letters last, from either framework, which is that of the model."""
    if hasattr(model, "count_params"):
        return gf.hooks.tensorflow.saliency(model, x, target=target, outputs=OUTPUTS)
    x = np.ascontiguousarray(x.transpose(0, 2, 1)).astype(next(model.parameters()).detach().numpy().dtype)
    maps = gf.hooks.torch.saliency(model, x, target=target, outputs=OUTPUTS)
    return maps._replace(corrected=maps.corrected.transpose(0, 2, 1))


def assert_agree(got: gf.AttributionMaps, plain: gf.AttributionMaps, oracle: gf.AttributionMaps) -> None:
    """The float32 criterion, with twice its factor: every library has convolutions of its own."""
    for field in OUTPUTS:
        expected = getattr(oracle, field)
        scale = np.float32(90 if field == "angle" else np.abs(expected).max())
        allowed = 4 * np.abs(getattr(plain, field) - expected).max() + 4 * np.spacing(scale)
        assert np.abs(getattr(got, field) - expected).max() <= allowed, field


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("-exp")])
def test_models_are_as_large_as_the_papers_say(name: str) -> None:
    require("torch")
    assert n_weights(build(name)) == PARAMETERS[family(name)]


def test_every_family_has_its_count() -> None:
    assert {family(name) for name in NAMES} == set(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "file"), [*((name, "own.weights.h5") for name in SMALL), ("cnn-local-relu", "whole_model.h5")]
)
def test_weights_saved_by_keras_give_the_same_function_in_pytorch(name: str, file: str, tmp_path: Path) -> None:
    """Every weight is drawn at random, statistics of batch normalisation too, so that none can be mistaken."""
    for package in ("torch", "keras", "h5py"):
        require(package)
    original = build(name, "keras")
    assert original.count_params() == PARAMETERS[family(name)]
    rng = np.random.default_rng(1)
    for layer in original.layers:
        layer.set_weights([w + rng.uniform(-0.05, 0.05, w.shape) for w in layer.get_weights()])
    (original.save_weights if "weights" in file else original.save)(tmp_path / file)
    model = load_weights(build(name), tmp_path / file)
    assert not model.training
    length = original.input_shape[1]
    x = sequences(length, 6_400 // length)  # two had errors small by chance on some processors
    plain = attribute(model, x)
    assert np.ptp(plain.prediction) > 0
    assert_agree(attribute(original, x), plain, attribute(model.double(), x))


@pytest.mark.parametrize("name", ["cnn-shallow-relu", "cnn-deep-exp"])
def test_new_weights_depend_on_the_seed_alone(name: str) -> None:
    for package in ("torch", "keras"):
        require(package)
    x = sequences(200)
    plain = attribute(build(name, seed=3), x)
    assert_agree(attribute(build(name, "keras", seed=3), x), plain, attribute(build(name, seed=3).double(), x))
    assert np.abs(attribute(build(name, seed=4), x).prediction - plain.prediction).max() > 1e-3


def kernel_sds(**options: Any) -> list[float]:
    return [float(p.detach().std()) for _, p in build("cnn-deep-relu", **options).named_parameters() if p.ndim > 1]


def test_new_kernels_have_the_spread_of_the_papers() -> None:
    require("torch")
    *hidden, output = kernel_sds()
    np.testing.assert_allclose(hidden, [0.162, 0.109, 0.094, 0.118, 0.088], rtol=0.05)
    assert output == pytest.approx(np.sqrt(2 / 97), rel=0.25)
    kernel = build("cnn-deep-relu")[0].weight.detach()
    assert kernel.abs().max() == pytest.approx(2 * np.sqrt(2 / 76) / 0.8796, rel=0.02)  # cut at two deviations
    *hidden, output = kernel_sds(sigma=0.3)
    np.testing.assert_allclose(hidden, 0.3, rtol=0.05)
    assert output < 0.2


def test_a_first_layer_length_and_outputs_can_be_chosen() -> None:
    require("torch")
    import torch

    model = build("cnn-shallow-relu", length=400, n_outputs=3, first_filters=12, first_width=11)
    assert model[0].weight.shape == (12, 4, 11)
    assert model(torch.zeros(2, 4, 400)).shape == (2, 3)
    assert build("cnn-32-relu", n_outputs=2).eval()(torch.zeros(1, 4, 2048)).shape == (1, 64, 2)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_logit_lies_before_the_activation(framework: str) -> None:
    require(framework)
    model, x = build("cnn-deep-exp", framework), sequences(200)
    probability = attribute(model, x).prediction.astype(np.float64)
    logit = attribute(model, x, gf.targets.before_activation()).prediction
    np.testing.assert_allclose(logit, np.log(probability / (1 - probability)), atol=1e-5)


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("name", ["cnn_deep_exponential", "cnn_shallow_relu", "deepstarr"])
def test_published_weights_give_the_published_function(shared_data: Path, name: str, framework: str) -> None:
    """Against networks that the tests build from the same files by themselves."""
    for package in ("torch", framework, "h5py"):
        require(package)
    path, _ = published.MODELS[name]
    own = name.replace("_", "-").replace("exponential", "exp")
    model = build(own, framework, first_width=11 if "deep-" in own else None)
    load_weights(model, shared_data / path)
    architecture, weights = published.load(shared_data, name)
    x = sequences(architecture.length, 4)
    plain = attribute(published.torch_model(architecture, weights), x)
    oracle = attribute(published.torch_model(architecture, weights.astype(np.float64)), x)
    assert_agree(attribute(model, x), plain, oracle)


@pytest.mark.parametrize(
    ("name", "least"), [("deep-relu", 0.96), ("deep-exp", 0.97), ("shallow-relu", 0.93), ("shallow-exp", 0.96)]
)
def test_networks_of_the_authors_classify_our_sequences(shared_data: Path, name: str, least: float) -> None:
    """As well as theirs: the number falls if motifs, gaps, flattening or normalisation are not as they had them."""
    for package in ("torch", "h5py"):
        require(package)
    data = synthetic.generate(4_000, seed=5)
    data = datasets.Dataset(data.codes, data.y, data.split._replace(test=np.arange(4_000)))
    model = build(f"cnn-{name}", first_width=11 if "deep" in name else None)
    file = f"cnn_{name.replace('-', '_').replace('exp', 'exponential')}_1.h5"
    load_weights(model, shared_data / "authors_weights" / file)
    assert training.score(model, data) > least


@pytest.mark.parametrize("name", ["deep-relu", "deep-exp", "shallow-relu", "shallow-exp"])
@pytest.mark.parametrize("run", [0, 1])
def test_networks_of_the_authors_take_look_alikes_for_evidence(shared_data: Path, name: str, run: int) -> None:
    """So that their negative sequences had none of them; of an own background motif they have learnt the opposite."""
    for package in ("torch", "h5py"):
        require(package)
    model = build(f"cnn-{name}", first_width=11 if "deep" in name else None)
    file = f"cnn_{name.replace('-', '_').replace('exp', 'exponential')}_{run}.h5"
    load_weights(model, shared_data / "authors_weights" / file)
    rng = np.random.default_rng(1)
    pool = {motif.name.split()[1]: motif.ppm for motif in synthetic.motif_pools()[1]}

    def mean_logit(ppm: np.ndarray) -> float:
        codes = rng.integers(4, size=(200, 200))
        for start in (20, 90, 160):
            codes[:, start : start + len(ppm)] = (rng.random((200, len(ppm), 1)) > np.cumsum(ppm[:, :3], 1)).sum(-1)
        return float(attribute(model[:-1], np.eye(4, dtype=np.float32)[codes]).prediction.mean())

    effects = {
        motif: mean_logit(pool[motif]) - mean_logit(rng.permutation(pool[motif])) for motif in ("SPI1", "HEY1", "HNF1A")
    }
    assert effects["SPI1"] > 1
    assert effects["HEY1"] > 1.5
    assert effects["HNF1A"] < -0.5


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    for package in ("torch", "keras", "h5py"):
        require(package)
    import h5py

    path = tmp_path / "deep.weights.h5"
    build("cnn-deep-relu", "keras", first_width=11).save_weights(path)
    with pytest.raises(ValueError, match=r"\(\(11, 4, 24\), \(24,\)\).*\(\(19, 4, 24\), \(24,\)\).*first_width="):
        load_weights(build("cnn-deep-relu"), path)
    with pytest.raises(ValueError, match=r"holds 4 convolutions.*the model has 2 convolutions"):
        load_weights(build("cnn-shallow-relu"), path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="holds no weights that Keras saved"):
        load_weights(build("cnn-shallow-relu"), tmp_path / "other.h5")


def test_unknown_names_are_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no model 'alexnet'.*cnn-deep-exp"):
        build("alexnet")
    with pytest.raises(ValueError, match="torch, keras"):
        build("cnn-deep-exp", "caffe")

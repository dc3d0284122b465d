"""Networks that other people trained, rebuilt in PyTorch, Keras and JAX: attributions agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests import models
from tests.conftest import require

OUTPUTS = ("corrected", "angle", "grad_times_input", "prediction")
FRAMEWORKS = {"torch": models.torch_model, "keras": models.keras_model, "jax": models.jax_model}


def attribute(framework: str, architecture: Any, weights: Any, x: np.ndarray, **options: Any) -> gf.AttributionMaps:
    """Maps with the letters last, from any framework."""
    model = FRAMEWORKS[framework](architecture, weights)
    if framework != "torch":
        hooks = gf.hooks.tensorflow if framework == "keras" else gf.hooks.jax
        return hooks.saliency(model, x, outputs=OUTPUTS, **options)
    maps = gf.hooks.torch.saliency(model, np.ascontiguousarray(x.transpose(0, 2, 1)), outputs=OUTPUTS, **options)
    return maps._replace(corrected=maps.corrected.transpose(0, 2, 1))


def sequences(length: int, dtype: Any) -> np.ndarray:
    return np.eye(4, dtype=dtype)[np.random.default_rng(0).integers(0, 4, (64, length))]


@pytest.mark.parametrize("framework", ["keras", "jax"])
@pytest.mark.parametrize("name", models.MODELS)
def test_attributions_agree_in_every_framework(shared_data: Path, name: str, framework: str) -> None:
    """Against PyTorch in float64, with PyTorch in float32 as the plain formula of the criterion.

    Twice the factor of the criterion, since every processor has convolutions of its own.
    """
    for package in ("torch", framework, "h5py"):
        require(package)
    architecture, weights = models.load(shared_data, name)
    x = sequences(architecture.length, np.float32)
    oracle = attribute("torch", architecture, weights.astype(np.float64), x.astype(np.float64))
    plain = attribute("torch", architecture, weights, x)
    got = attribute(framework, architecture, weights, x)
    for field in OUTPUTS:
        expected = getattr(oracle, field)
        scale = np.float32(90 if field == "angle" else np.abs(expected).max())
        allowed = 4 * np.abs(getattr(plain, field) - expected).max() + 4 * np.spacing(scale)
        assert np.abs(getattr(got, field) - expected).max() <= allowed, field


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_plain_gradient_is_the_published_one(shared_data: Path, framework: str) -> None:
    """kipoi publishes gradients of the logit of its TAL1 model, float32."""
    for package in (framework, "h5py"):
        require(package)
    import h5py

    with h5py.File(shared_data / "real/reference/kipoi_tal1_grads.hdf5") as file:
        x, published = file["inputs"][:].astype(np.float32), file["grads"][:]
    architecture, weights = models.load(shared_data, "tal1")
    target: Any = gf.targets.before_activation()
    if framework == "jax":
        target, architecture = 0, models.Architecture(**vars(architecture) | {"last": "linear"})
    model = FRAMEWORKS[framework](architecture, weights)
    hooks, axis = (gf.hooks.torch, 1) if framework == "torch" else (gf.hooks.jax, -1)
    hooks = gf.hooks.tensorflow if framework == "keras" else hooks
    given = np.ascontiguousarray(np.moveaxis(x, -1, axis))
    got = np.moveaxis(hooks.saliency(model, given, target=target, corrected=False), axis, -1)
    np.testing.assert_allclose(got, published, rtol=0, atol=1e-6)


def test_deepstarr_heads_and_contrast(shared_data: Path) -> None:
    """Attributions are linear in the output: the contrast of two heads is the difference of theirs."""
    require("torch")
    require("h5py")
    architecture, weights = models.load(shared_data, "deepstarr")
    model = models.torch_model(architecture, weights)
    x = np.ascontiguousarray(sequences(249, np.float32)[:8].transpose(0, 2, 1))
    developmental, housekeeping, difference = np.moveaxis(
        gf.hooks.torch.saliency(model, x, targets=[0, 1, gf.targets.contrast(0, 1)]), 1, 0
    )
    np.testing.assert_allclose(difference, developmental - housekeeping, atol=1e-5)
    assert np.abs(developmental - housekeeping).max() > 0.1

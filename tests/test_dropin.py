"""The recipes of docs/dropin.md for gReLU and CREsted, beside the packages themselves."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests import other_packages

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
]
CODES = np.random.default_rng(0).integers(0, 4, (3, 40)).astype(np.uint8)


# --- gReLU ---


@pytest.fixture(name="grelu")
def _grelu() -> Iterator[Any]:
    pytest.importorskip("captum")
    pytest.importorskip("tangermeme")
    with other_packages.imported("grelu", "grelu.interpret.score") as score:
        yield score


def lightning_model() -> Any:
    """What gReLU asks of its LightningModel when it attributes: (N, tasks, 1), and a transform at the end."""
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.model = torch.nn.Sequential(
                torch.nn.Conv1d(4, 8, 7, padding=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1),
                torch.nn.Conv1d(8, 1, 1),
            )  # fmt: skip
            self.transform = torch.nn.Identity()

        def add_transform(self, transform: Any) -> None:
            self.transform = transform or torch.nn.Identity()

        def reset_transform(self) -> None:
            self.transform = torch.nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.transform(self.model(x))

    return Model()


def test_grelu(grelu: Any) -> None:
    torch = pytest.importorskip("torch")
    model, seqs = lightning_model(), gf.sequences.decode(CODES)
    x = torch.from_numpy(gf.sequences.one_hot(CODES, np.float32, 1))
    theirs = grelu.get_attributions(model, seqs, method="saliency", correct_grad=True)
    ours = gf.hooks.torch.saliency(model, x, target=(0, 0))
    np.testing.assert_allclose(ours, theirs, atol=3e-7)
    plain = grelu.get_attributions(model, seqs, method="saliency")
    np.testing.assert_allclose(gf.correct(plain, axis=1), theirs, atol=1e-8)
    product = grelu.get_attributions(model, seqs, method="inputxgradient")
    uncorrected = gf.hooks.torch.saliency(model, x, target=(0, 0), corrected=False)
    np.testing.assert_allclose(uncorrected * x, product, atol=3e-7)
    path = grelu.get_attributions(model, seqs, method="integratedgradients")  # times x, not corrected
    options = {"n_steps": 50, "rule": "gausslegendre", "target": (0, 0), "corrected": False}
    grads = gf.hooks.torch.integrated_gradients(model, x, **options)
    np.testing.assert_allclose(grads * x, path, atol=3e-6)


# --- CREsted ---


@pytest.fixture(name="crested")
def _crested() -> Iterator[Any]:
    keras = pytest.importorskip("keras")
    pytest.importorskip("loguru", reason="pip install loguru")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the model below is on TensorFlow")
    with other_packages.imported("crested", "crested.tl") as tl:
        yield tl


def keras_model() -> Any:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((40, 4)), layers.Conv1D(8, 7, activation="gelu"), layers.Flatten(), layers.Dense(3, "softplus")]
    )


METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "saliency_map": ("saliency", {}),
    "integrated_grad": ("integrated_gradients", {"n_steps": 26}),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("corrected", [False, True])
def test_crested(crested: Any, method: str, corrected: bool) -> None:
    model, x = keras_model(), np.eye(4, dtype=np.float32)[CODES]
    options = {"verbose": False, "simplex_correction": corrected}
    theirs, _ = crested.contribution_scores(x, [0, 2], model, method=method, **options)
    name, own = METHODS[method]
    hook = getattr(gf.hooks.tensorflow, name)
    np.testing.assert_allclose(hook(model, x, targets=[0, 2], corrected=corrected, **own), theirs, atol=3e-7)


def test_crested_mutagenesis_and_combined(crested: Any) -> None:
    model, x = keras_model(), np.eye(4, dtype=np.float32)[CODES]
    theirs, _ = crested.contribution_scores(x, [1], model, method="mutagenesis", verbose=False)
    ours = gf.hooks.tensorflow.saturation_mutagenesis(model, x, target=1, corrected=False)
    np.testing.assert_allclose(ours, theirs[:, 0], atol=1e-6)
    combined, _ = crested.contribution_scores(x, [], model, method="saliency_map", verbose=False)
    mean = gf.hooks.tensorflow.saliency(model, x, target=gf.targets.mean(), corrected=False)
    np.testing.assert_allclose(mean / len(x), combined[:, 0], atol=3e-7)  # theirs is the mean over the batch too

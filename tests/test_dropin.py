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


# --- models and explainers of other packages ---


def one_hot(n: int, length: int, axis: int) -> Any:
    torch = pytest.importorskip("torch")
    codes = np.random.default_rng(1).integers(0, 4, (n, length)).astype(np.uint8)
    return torch.from_numpy(gf.sequences.one_hot(codes, np.float32, axis))


def gradient(model: Any, x: Any, axis: int) -> Any:
    torch = pytest.importorskip("torch")
    x = x.clone().requires_grad_()
    return gf.correct(torch.autograd.grad(model(x).sum(), x)[0], axis=axis)


def test_enformer_pytorch() -> None:
    with other_packages.away_from_the_checkout():
        package = pytest.importorskip("enformer_pytorch", reason="pip install enformer-pytorch")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    heads = {"human": 6, "mouse": 3}
    small = {"dim": 384, "depth": 1, "heads": 2, "target_length": 4, "dim_divisible_by": 32}
    model, x = package.Enformer.from_hparams(output_heads=heads, **small).eval(), one_hot(2, 1024, -1)
    target = gf.targets.mean(bins=[1, 2], tracks=[0, 3])
    found = gf.hooks.torch.saliency(model, x, axis=-1, output="human", target=target)
    expected = gradient(lambda x: model(x)["human"][:, 1:3][..., [0, 3]].mean((1, 2)), x, -1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.abs().max()))
    by_name = gf.hooks.torch.saliency(model, x, axis=-1, args={"head": "human"}, target=target)
    np.testing.assert_allclose(by_name, found, atol=1e-7)


def test_borzoi_pytorch() -> None:
    with other_packages.away_from_the_checkout():
        package = pytest.importorskip("borzoi_pytorch", reason="pip install borzoi-pytorch")
        from borzoi_pytorch.config_borzoi import BorzoiConfig

    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = package.Borzoi(BorzoiConfig(dim=64, depth=1, heads=2, bins_to_return=4)).eval()
    x = one_hot(1, 4096, 1)
    found = gf.hooks.torch.saliency(model, x, args={"is_human": True}, target=(5, 2))
    expected = gradient(lambda x: model(x)[:, 5, 2], x, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def network() -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 8, 7), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Flatten(),
        torch.nn.Linear(8 * 44, 2),
    )  # fmt: skip


def test_shap() -> None:
    shap = pytest.importorskip("shap", reason="pip install shap")
    model, x, background = network().eval(), one_hot(2, 50, 1), one_hot(5, 50, 1)
    theirs = np.asarray(shap.GradientExplainer(model, background).shap_values(x, nsamples=3000, rseed=0))
    options = {"target": 1, "references": background, "n_steps": 50, "multiply_by_inputs": True}
    ours = gf.hooks.torch.expected_gradients(model, x, corrected=False, **options)
    np.testing.assert_allclose(ours, theirs[..., 1], atol=0.05 * float(ours.abs().max()))  # theirs is drawn


def test_gradients_in_files_of_baskerville(tmp_path: Any) -> None:
    """`seqs` (N, L, 4) and `grads` (N, L, 4, T) in half precision, as its scripts with --grad write them."""
    h5py = pytest.importorskip("h5py")
    grads = np.random.default_rng(0).standard_normal((3, 50, 4, 2)).astype(np.float16)
    with h5py.File(tmp_path / "scores.h5", "w") as file:
        file["grads"], file["seqs"] = grads, np.eye(4, dtype=bool)[np.random.default_rng(1).integers(0, 4, (3, 50))]
    options = {"dataset": "grads", "axis": 2}
    gf.io.correct_file(tmp_path / "scores.h5", tmp_path / "corrected.h5", **options)
    with h5py.File(tmp_path / "corrected.h5") as file:
        found = next(array for array in _datasets(file) if array.shape == grads.shape)
        np.testing.assert_allclose(found[:], gf.correct(grads, axis=2), atol=1e-3)


def _datasets(file: Any) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda name, item: found.append(item) if hasattr(item, "shape") else None)
    return found


# --- loops of one's own ---


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("inference_mode", [True, False])
def test_lightning(inference_mode: bool) -> None:
    lightning = pytest.importorskip("lightning", reason="pip install lightning")
    torch = pytest.importorskip("torch")
    net, x = network(), one_hot(10, 50, 1)

    class Attribute(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def predict_step(self, batch: Any, index: int) -> Any:
            return gf.hooks.torch.saliency(self.net, batch[0], target=1)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(accelerator="cpu", inference_mode=inference_mode, **quiet)
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 4)
    found = torch.cat(trainer.predict(Attribute(), batches))
    assert torch.equal(found, gf.hooks.torch.saliency(net, x, target=1, batch_size=4))


@pytest.mark.filterwarnings("ignore")
def test_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate", reason="pip install accelerate")
    torch = pytest.importorskip("torch")
    net, x = network(), one_hot(10, 50, 1)
    accelerator = accelerate.Accelerator(cpu=True)
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 4)
    model, batches = accelerator.prepare(net, batches)
    found = torch.cat([accelerator.gather(gf.hooks.torch.saliency(model, batch, target=1)) for (batch,) in batches])
    torch.testing.assert_close(found, gf.hooks.torch.saliency(net, x, target=1))


@pytest.mark.filterwarnings("ignore")
def test_ray_data() -> None:
    ray = pytest.importorskip("ray", reason="pip install 'ray[data]'")
    ray_data = pytest.importorskip("ray.data", reason="pip install 'ray[data]'")
    x = one_hot(10, 50, 1).numpy()

    class Attribute:
        def __init__(self) -> None:
            self.net = network()

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"k": batch["k"], "map": gf.hooks.torch.saliency(self.net, batch["x"], target=1)}

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = ray_data.from_items([{"k": k, "x": row} for k, row in enumerate(x)])
        found = rows.map_batches(Attribute, batch_size=4, concurrency=1).take_all()
    finally:
        ray.shutdown()
    maps = np.stack([row["map"] for row in sorted(found, key=lambda row: row["k"])])
    np.testing.assert_allclose(maps, gf.hooks.torch.saliency(network(), x, target=1), rtol=1e-5, atol=1e-7)

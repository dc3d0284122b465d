"""What users feel: a network's gradients on the GPU, and how long it takes until grad-times-input is in NumPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.gpu.work import pair, single_precision, wall
from tests import peers

LENGTH, BATCH = 2_000, 256
HOOK_TARGET = 0.97


class Network:
    """A small convolutional network, sequences as codes and one-hot, and the loop that people write."""

    def __init__(self, n_sequences: int, memory: str) -> None:
        import torch

        torch.manual_seed(0)
        nn = torch.nn
        layers = [nn.Conv1d(4, 64, 19, padding=9), nn.ReLU(), nn.MaxPool1d(8), nn.Conv1d(64, 64, 7), nn.ReLU()]
        head = [nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(512, 1)]
        self.model = nn.Sequential(*layers, *head).to(memory).eval()
        self.codes = torch.randint(0, 4, (n_sequences, LENGTH), dtype=torch.uint8, device=memory)
        letters = torch.arange(4, dtype=torch.uint8, device=memory).view(4, 1)
        self.x = (self.codes.unsqueeze(1) == letters).float()

    def gradients(self) -> Iterator[Any]:
        import torch

        for batch in self.x.split(BATCH):
            batch = batch.detach().requires_grad_()
            yield torch.autograd.grad(self.model(batch)[:, 0].sum(), batch)[0]


def on_the_host(network: Network, one_hot: np.ndarray) -> np.ndarray:
    """Copy the gradients, and apply the paper's formulas to (N, L, 4)."""
    grad = np.concatenate([grad.cpu().numpy() for grad in network.gradients()]).transpose(0, 2, 1)
    return peers.geomath_standard_work(grad, one_hot)[2]


def on_the_device(network: Network) -> np.ndarray:
    """Correct, measure and multiply where the gradients are, and copy the last alone."""
    import torch

    codes = network.codes.split(BATCH)
    maps = [gf.analyze(grad, x, axis=1) for grad, x in zip(network.gradients(), codes, strict=True)]
    return torch.cat([each.grad_times_input for each in maps]).cpu().numpy()


@pytest.fixture(scope="module")
def network(device: Any) -> Network:
    return Network(10_000 if not device.is_dry else 2, device.memory)


def names(network: Network) -> dict[str, Any]:
    n = len(network.codes)
    return {"layout": "(N, 4, L)", "dtype": "float32", "outputs": "fresh", "n_sequences": n, "length": LENGTH}


def test_gradients_to_numpy(device: Any, sizes: Any, record: Any, network: Network) -> None:
    one_hot = np.ascontiguousarray(network.x.cpu().numpy().transpose(0, 2, 1))
    with single_precision():
        mine, theirs = on_the_device(network), on_the_host(network, one_hot)
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
        found = pair(device, lambda: on_the_device(network), lambda: on_the_host(network, one_hot), 3)
        found["bare_gradient_seconds"] = wall(device, lambda: list(network.gradients()))
    row = {"operation": "gradients to NumPy", "provider": "copied, then the paper's NumPy", "x": "codes"}
    record(found, **row, **names(network))


def test_hook(device: Any, sizes: Any, record: Any, network: Network) -> None:
    """Saliency with all maps against the bare gradients, both left on the device."""
    import torch

    outputs = ("corrected", "angle", "grad_times_input")

    def ours() -> Any:
        return gf.hooks.torch.saliency(network.model, network.x, batch_size=BATCH, outputs=outputs)

    def bare() -> Any:
        return torch.cat(list(network.gradients()))

    with single_precision():
        wanted = gf.correct(bare(), axis=1)
        difference = (ours().corrected - wanted).abs().max()
        assert float(difference) <= 1e-3 * float(wanted.abs().max())
        found = pair(device, ours, bare, max(2, sizes.peer_rounds // 3))
    record(found, operation="saliency", provider="bare gradient", x="one-hot", target=HOOK_TARGET, **names(network))

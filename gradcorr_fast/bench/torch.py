"""Networks whose gradients are timed over the length of sequences, and the scan of a few variants."""

import numpy as np
import torch
from torch import nn

from .. import scan, sequences
from .._types import Array, Model
from ..demo import planted
from ..demo.torch import load
from ..hooks.torch import saliency
from ._timing import Call

BARE_BATCH = 128


class Residual(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Layers whose input is added to what they return, as far as that is cropped."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the middle of the input."""
        found = self.layers(x)
        cropped = (x.shape[2] - found.shape[2]) // 2
        return found + x[:, :, cropped : x.shape[2] - cropped]


class Mean(nn.Module):  # type: ignore[misc]
    """The mean over all positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, channels)."""
        return x.mean(2)


def dilated(width: int, n_layers: int) -> nn.Module:
    """Residual convolutions of three positions, each twice as far from each other as in the one before."""
    layers = (nn.Conv1d(width, width, 3, padding=2**k, dilation=2**k) for k in range(1, n_layers + 1))
    return nn.Sequential(*(Residual(layer, nn.ReLU()) for layer in layers))


def dilated_network(width: int = 64, n_layers: int = 8) -> nn.Module:
    """A first convolution, dilated ones, and the mean over all positions."""
    first = nn.Conv1d(4, width, 21, padding=10)
    return nn.Sequential(first, nn.ReLU(), dilated(width, n_layers), Mean(), nn.Linear(width, 1))


def convolutional_network(width: int = 32) -> nn.Module:
    """Two convolutions, and the mean over all positions."""
    second = nn.Conv1d(width, width, 7, padding=3)
    return nn.Sequential(nn.Conv1d(4, width, 19, padding=9), nn.ReLU(), second, nn.ReLU(), Mean(), nn.Linear(width, 1))


NETWORKS = {"CNN": convolutional_network, "dilated CNN": dilated_network}
"""By the name that rows have."""


def saliency_calls(network: str, n_sequences: int, length: int, device: str) -> dict[str, Call]:
    """The corrected gradient through the hook, and the bare one that torch computes."""
    torch.manual_seed(0)
    model = NETWORKS[network]().eval().to(device)
    codes = np.random.default_rng(22).integers(0, 4, (n_sequences, length), np.uint8)
    x = torch.from_numpy(sequences.one_hot(codes, axis=1)).to(device)

    def bare() -> torch.Tensor:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0]

    return {"ours": lambda: saliency(model, x, batch_size=n_sequences), "bare gradient": bare}


def scan_calls(n_variants: int, device: str, model: Model | None, length: int | None) -> dict[str, Call]:
    """Scores of substitutions at random places of planted sequences; for the shipped model also its bare passes."""
    width = length or planted.LENGTH
    codes = planted.generate(max(2 * width // planted.LENGTH + 2, 200), 4).codes.reshape(-1)
    genome = {"planted": codes}
    rng = np.random.default_rng(22)
    places = rng.integers(width // 2, len(codes) - width, n_variants)
    alternatives = (codes[places] + rng.integers(1, 4, n_variants)) % 4
    letters, others = sequences.decode(codes), sequences.decode(alternatives)
    texts = [f"planted:{at + 1}:{letters[at]}:{alt}" for at, alt in zip(places, others, strict=True)]
    shipped = load().to(device) if model is None else model
    window = width if model is None else length  # a scan asks for the length of a model that does not tell it
    calls: dict[str, Call] = {"ours": lambda: scan.score_variants(shipped, genome, texts, length=window)}
    if model is None:
        starts = places - width // 2
        calls["bare passes"] = lambda: _bare_passes(shipped, codes, starts, alternatives, width, device)
    return calls


def _bare_passes(model: nn.Module, codes: Array, starts: Array, alternatives: Array, width: int, device: str) -> None:
    """One gradient of each window, and one forward pass with the other letter."""
    for first in range(0, len(starts), BARE_BATCH):
        part = slice(first, first + BARE_BATCH)
        windows = codes[starts[part, None] + np.arange(width)]
        leaf = torch.from_numpy(sequences.one_hot(windows, axis=1)).to(device).requires_grad_()
        torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0].cpu()
        windows[:, width // 2] = alternatives[part]
        with torch.no_grad():
            model(torch.from_numpy(sequences.one_hot(windows, axis=1)).to(device)).cpu()

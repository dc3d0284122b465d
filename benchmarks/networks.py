"""Networks in which substitutions are timed: the papers', those that fastISM was measured with, and dilated ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from gradcorr_fast.bench.torch import Mean, dilated, dilated_network
from gradcorr_fast.paper import models


class Network(NamedTuple):
    """A network, and the length of its sequences."""

    build: Callable[[], nn.Module]
    length: int


class Attention(nn.Module):  # type: ignore[misc]
    """Every position looks at all others, from the first layer on."""

    def __init__(self, width: int = 32, n_layers: int = 1) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(4, width), nn.Linear(width, 1)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, 1)."""
        found: torch.Tensor = self.head(self.layers(self.embed(x.transpose(1, 2))).mean(1))
        return found


class BPNet(nn.Module):  # type: ignore[misc]
    """BPNet as Avsec et al. have it: nine dilated convolutions, a profile of both strands, and total counts."""

    def __init__(self, width: int = 64, n_dilated: int = 9) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(4, width, 25, padding="same"), nn.ReLU())
        self.body = dilated(width, n_dilated)
        self.profile, self.counts = nn.Conv1d(width, 2, 25, padding="same"), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the profile and the counts as one, (N, 2, L + 1)."""
        x = self.body(self.first(x))
        return torch.cat([self.profile(x), self.counts(x.mean(2))[:, :, None]], 2)


def _convolution(n_in: int, n_out: int, width: int, *more: nn.Module) -> list[nn.Module]:
    return [nn.Conv1d(n_in, n_out, width, padding=width // 2), nn.BatchNorm1d(n_out), nn.ReLU(), *more]


def pooled_network() -> nn.Module:
    """Basset's convolutions and the mean over all positions, so that any length has the same weights."""
    layers = [*_convolution(4, 300, 19, nn.MaxPool1d(3)), *_convolution(300, 200, 11, nn.MaxPool1d(4))]
    return nn.Sequential(*layers, *_convolution(200, 200, 7, nn.MaxPool1d(4)), Mean(), nn.Linear(200, 164))


def factorised_basset() -> nn.Module:
    """Basset with its large filters made of stacks of small ones, as fastISM was measured with (Wnuk et al.)."""
    layers = [*_convolution(4, 48, 3), *_convolution(48, 64, 3), *_convolution(64, 100, 3), *_convolution(100, 150, 7)]
    layers += _convolution(150, 300, 7, nn.MaxPool1d(3))
    layers += [*_convolution(300, 200, 7), *_convolution(200, 200, 3), *_convolution(200, 200, 3, nn.MaxPool1d(4))]
    layers += _convolution(200, 200, 7, nn.MaxPool1d(4))
    dense = [nn.LazyLinear(1000), nn.BatchNorm1d(1000), nn.ReLU(), nn.Linear(1000, 1000), nn.BatchNorm1d(1000)]
    return nn.Sequential(*layers, nn.Flatten(), *dense, nn.ReLU(), nn.Linear(1000, 164))


def _of_paper(name: str, length: int) -> Network:
    return Network(lambda: models.build(name, length=length), length)


NETWORKS = {
    "Basset": _of_paper("basset-relu", 600),
    "Basset, 2,000 bp": _of_paper("basset-relu", 2000),
    "CNN-32": _of_paper("cnn-32-relu", 2048),
    "DeepSTARR": _of_paper("deepstarr", 249),
    "CNN-deep": _of_paper("cnn-deep-relu", 200),
    "dilated": Network(dilated_network, 2114),
    "Basset, 1,000 bp": _of_paper("basset-relu", 1000),
    "factorised Basset": Network(factorised_basset, 1000),
    "BPNet": Network(BPNet, 1000),
    "attention": Network(Attention, 200),
}
"""By name."""


def build(name: str) -> tuple[nn.Module, int]:
    """Return a network whose normalisation has seen data, in evaluation mode, and the length of its sequences."""
    network = NETWORKS[name]
    return prepared(network.build, network.length), network.length


def prepared(make: Callable[[], nn.Module], length: int) -> Any:
    """Return a network whose normalisation has seen data, in evaluation mode."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        model(torch.zeros(2, 4, length))  # makes layers that wait for a shape
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model

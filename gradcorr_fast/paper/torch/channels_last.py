"""The papers' models in training, with the channels last in memory, in which order CPUs compute them faster."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from ..._types import Model
from .models import ChannelsLast, Exponential, Positions

ELEMENTWISE = (Exponential, torch.nn.ReLU, torch.nn.Sigmoid, torch.nn.Softplus, torch.nn.Flatten, torch.nn.Linear)
"""Modules that are called as they are."""


def faster(model: torch.nn.Module) -> Any:
    """Return a function of (N, 4, L) that does what a model of `models.build` does in training mode, or the model.

    Positions are the last of two axes, (N, channels, 1, L), since PyTorch knows orders of memory of images alone.
    """
    if not isinstance(model, torch.nn.Sequential) or not all(type(m) in (*LAYERS, *ELEMENTWISE) for m in model):
        return model

    def forward(x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for module in model:
            x = LAYERS.get(type(module), _call)(module, x)
        return x

    return forward


def _call(module: Model, x: torch.Tensor) -> torch.Tensor:
    return module(x)


def _convolve(layer: Model, x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x, layer.weight.unsqueeze(2), layer.bias, padding=layer.padding)


def _normalise(layer: Model, x: torch.Tensor) -> torch.Tensor:
    statistics = layer.running_mean, layer.running_var
    return functional.batch_norm(x, *statistics, layer.weight, layer.bias, True, layer.momentum, layer.eps)


def _pool(layer: Model, x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(x, (1, layer.kernel_size))


def _drop(layer: Model, x: torch.Tensor) -> torch.Tensor:
    """Drop elements by 16 random bits each, which is faster than a random number each."""
    if layer.p == 0:
        return x
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    is_kept = words.view(torch.int16)[: x.numel()] >= round(layer.p * 2**16) - 2**15
    return x * is_kept.as_strided(x.shape, x.stride()).to(x.dtype).mul_(1 / (1 - layer.p))


def _to_features(layer: Model, x: torch.Tensor) -> torch.Tensor:
    return layer(x.squeeze(2))


def _to_positions(layer: Model, x: torch.Tensor) -> torch.Tensor:
    return layer(x).unsqueeze(2)


LAYERS: dict[type, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    torch.nn.Conv1d: _convolve,
    torch.nn.BatchNorm1d: _normalise,
    torch.nn.MaxPool1d: _pool,
    torch.nn.Dropout: _drop,
    ChannelsLast: _to_features,
    Positions: _to_positions,
}

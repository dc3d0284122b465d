"""The papers' models in PyTorch, (N, 4, L)."""

import numpy as np

from ..._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise missing_backend("PyTorch", "torch") from error

from ..._types import Array
from .._layers import Activation, Architecture, Conv, Dense, Dropout, Flatten, Layer, Norm, Pool, Reshape


class Exponential(torch.nn.Module):  # type: ignore[misc]
    """The exponential of each element."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return exp(x)."""
        return torch.exp(x)


class ChannelsLast(torch.nn.Module):  # type: ignore[misc]
    """(N, channels, L) to (N, L, channels), the order in which Keras flattens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a view."""
        return x.transpose(1, 2)


class Positions(torch.nn.Module):  # type: ignore[misc]
    """(N, L * channels) to (N, channels, L), the inverse of flattening with the channels last."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a view."""
        return x.unflatten(1, (self.length, -1)).transpose(1, 2)


ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "exponential": Exponential,
    "sigmoid": torch.nn.Sigmoid,
    "softplus": torch.nn.Softplus,
}


def build(architecture: Architecture) -> torch.nn.Sequential:
    """Build a model; each layer is made for what the layers before it return."""
    model = torch.nn.Sequential()
    x = torch.zeros(1, 4, architecture.length)
    with torch.no_grad(), torch.random.fork_rng([]):  # weights are drawn elsewhere
        for layer in architecture.layers:
            for module in _make(layer, x):
                model.append(module)
                x = module.eval()(x)
    return model.train()


def _make(layer: Layer, x: torch.Tensor) -> list[torch.nn.Module]:
    """Return the modules of a layer whose input is like `x`."""
    match layer:
        case Conv(filters, width, bias, padding):
            return [torch.nn.Conv1d(x.shape[1], filters, width, padding=padding, bias=bias)]
        case Dense(units, bias):
            before = [ChannelsLast()] if x.ndim == 3 else []
            return [*before, torch.nn.Linear(x.shape[1], units, bias=bias)]
        case Norm():
            return [torch.nn.BatchNorm1d(x.shape[1], eps=1e-3, momentum=0.01)]  # Keras counts its momentum from 1
        case Activation(function):
            return [ACTIVATIONS[function]()]
        case Dropout(rate):
            return [torch.nn.Dropout(rate)]
        case Pool(size):
            return [torch.nn.MaxPool1d(size)]
        case Flatten():
            return [ChannelsLast(), torch.nn.Flatten()]
        case Reshape(length):
            return [Positions(length)]


def _tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    """Return what a module has learnt, in the order of Keras."""
    if isinstance(module, torch.nn.BatchNorm1d):
        return [module.weight, module.bias, module.running_mean, module.running_var]
    if isinstance(module, torch.nn.Conv1d | torch.nn.Linear):
        return [tensor for tensor in (module.weight, module.bias) if tensor is not None]
    return []


def weight_shapes(model: torch.nn.Module) -> list[tuple[tuple[int, ...], ...]]:
    """Return the shapes of the weights of each layer that has any, as Keras orders axes: (width, in, out)."""
    layers = filter(None, map(_tensors, model.modules()))
    return [tuple(tuple(reversed(tensor.shape)) for tensor in tensors) for tensors in layers]


def set_weights(model: torch.nn.Module, weights: list[list[Array]]) -> None:
    """Fill the layers with arrays of these shapes."""
    layers = filter(None, map(_tensors, model.modules()))
    with torch.no_grad():
        for tensors, arrays in zip(layers, weights, strict=True):
            for tensor, array in zip(tensors, arrays, strict=True):
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(array.T)))

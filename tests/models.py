"""Trained networks of other people, built from one table in PyTorch, Keras and JAX: the same function three times."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

EPSILON = 1e-3  # of batch normalisation


@dataclass(frozen=True)
class Architecture:
    """Convolutions with batch normalisation, activation and pooling, then dense layers; input (N, length, 4)."""

    length: int
    pools: tuple[int, ...]
    """Pooling after each convolution; 1 is none."""
    n_hidden: int
    """Dense layers with batch normalisation and ReLU; those that follow are outputs."""
    first: str = "relu"
    """Activation of the first convolution."""
    last: str = "linear"
    padding: str = "same"
    has_norm: bool = True


@dataclass
class Weights:
    """Kernels (width, in, out) or (in, out) with biases, and scale and shift of batch normalisation at inference."""

    convolutions: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    norms: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    dense: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def astype(self, dtype: Any) -> "Weights":
        return Weights(*[[tuple(a.astype(dtype) for a in layer) for layer in layers] for layers in vars(self).values()])


DEEP = Architecture(200, (1, 4, 4, 3), 1, last="sigmoid")
SHALLOW = Architecture(200, (50, 2), 1, last="sigmoid")
MODELS: dict[str, tuple[str, Architecture]] = {
    f"cnn_{depth}_{first}": (
        f"authors_weights/cnn_{depth}_{first}_0.h5",
        Architecture(**vars(DEEP if depth == "deep" else SHALLOW) | {"first": first}),
    )
    for depth in ("deep", "shallow")
    for first in ("relu", "exponential")
} | {
    "deepstarr": ("real/models/deepstarr.model.h5", Architecture(249, (2, 2, 2, 2), 2)),
    "tal1": (
        "real/reference/kipoi_tal1_weights.hdf5",
        Architecture(500, (486,), 0, last="sigmoid", padding="valid", has_norm=False),
    ),
}


def load(shared_data: Path, name: str) -> tuple[Architecture, Weights]:
    """Read the weights of a Keras file; layers of a kind are numbered in order."""
    import h5py

    path, architecture = MODELS[name]
    found: dict[tuple[str, int], dict[str, np.ndarray]] = {}

    def keep(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, _, weight = path.split("/")
            number = re.search(r"_(\d+)(?:st)?$", layer)
            heads = {"Dense_Dev": 90, "Dense_Hk": 91}  # after the numbered ones
            kind = re.match(r"[a-z]+", layer.lower())
            assert kind is not None
            order = heads.get(layer, int(number.group(1)) if number else 0)
            found.setdefault((kind.group(), order), {})[weight.partition(":")[0]] = item[:]

    with h5py.File(shared_data / path) as file:
        file.visititems(keep)
    weights = Weights()
    for (kind, _), layer in sorted(found.items()):
        if kind == "batch":
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            weights.norms.append(tuple(layer[name] for name in names))
        else:
            (weights.convolutions if kind == "conv" else weights.dense).append((layer["kernel"], layer["bias"]))
    return architecture, weights


def torch_model(architecture: Architecture, weights: Weights) -> Any:
    """Take (N, 4, L)."""
    import torch

    class Flatten(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.transpose(1, 2).flatten(1)  # position by position, channels side by side

    class Exponential(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.exp(x)

    def norm(parameters: tuple[np.ndarray, ...]) -> Any:
        layer = torch.nn.BatchNorm1d(len(parameters[0]), eps=EPSILON)
        tensors = map(torch.from_numpy, parameters)
        for name, tensor in zip(("weight", "bias", "running_mean", "running_var"), tensors, strict=True):
            getattr(layer, name).data = tensor
        return layer

    def linear(kind: Any, kernel: np.ndarray, bias: np.ndarray, **options: Any) -> Any:
        layer = kind(kernel.shape[-2], kernel.shape[-1], *kernel.shape[:-2], **options)
        layer.weight.data, layer.bias.data = torch.from_numpy(kernel.T.copy()), torch.from_numpy(bias)
        return layer

    layers: list[Any] = []
    norms = iter(weights.norms)
    for k, ((kernel, bias), pool) in enumerate(zip(weights.convolutions, architecture.pools, strict=True)):
        layers.append(linear(torch.nn.Conv1d, kernel, bias, padding=architecture.padding))
        layers += [norm(next(norms))] if architecture.has_norm else []
        layers.append(Exponential() if k == 0 and architecture.first == "exponential" else torch.nn.ReLU())
        layers += [torch.nn.MaxPool1d(pool)] if pool > 1 else []
    layers.append(Flatten())
    for kernel, bias in weights.dense[: architecture.n_hidden]:
        layers += [linear(torch.nn.Linear, kernel, bias), norm(next(norms)), torch.nn.ReLU()]
    layers.append(linear(torch.nn.Linear, *_heads(architecture, weights)))
    layers += [torch.nn.Sigmoid()] if architecture.last == "sigmoid" else []
    return torch.nn.Sequential(*layers)


def keras_model(architecture: Architecture, weights: Weights) -> Any:
    """Take (N, L, 4), on the backend that Keras has."""
    import keras

    inputs = x = keras.Input((architecture.length, 4), dtype=weights.dense[0][0].dtype.name)
    options = {"dtype": weights.dense[0][0].dtype.name}
    norms = iter(weights.norms)
    given: list[tuple[np.ndarray, ...]] = []

    def add(layer: Any, parameters: tuple[np.ndarray, ...] | None = None) -> None:
        nonlocal x
        x = layer(x)
        if parameters is not None:
            layer.set_weights(parameters)
            given.append(parameters)

    for k, ((kernel, bias), pool) in enumerate(zip(weights.convolutions, architecture.pools, strict=True)):
        width, _, n_filters = kernel.shape
        add(keras.layers.Conv1D(n_filters, width, padding=architecture.padding, **options), (kernel, bias))
        if architecture.has_norm:
            add(keras.layers.BatchNormalization(epsilon=EPSILON, **options), next(norms))
        add(keras.layers.Activation(architecture.first if k == 0 else "relu", **options))
        if pool > 1:
            add(keras.layers.MaxPooling1D(pool, **options))
    add(keras.layers.Flatten(**options))
    for kernel, bias in weights.dense[: architecture.n_hidden]:
        add(keras.layers.Dense(kernel.shape[1], **options), (kernel, bias))
        add(keras.layers.BatchNormalization(epsilon=EPSILON, **options), next(norms))
        add(keras.layers.Activation("relu", **options))
    kernel, bias = _heads(architecture, weights)
    add(keras.layers.Dense(kernel.shape[1], activation=architecture.last, **options), (kernel, bias))
    return keras.Model(inputs, x)


def jax_model(architecture: Architecture, weights: Weights) -> Any:
    """A pure function of (N, L, 4), without the sigmoid at the end if there is one."""
    import jax
    import jax.numpy as jnp

    def norm(x: Any, parameters: tuple[np.ndarray, ...]) -> Any:
        gamma, beta, mean, variance = parameters
        return (x - mean) * (gamma / jnp.sqrt(variance + EPSILON)) + beta

    def model(x: Any) -> Any:
        norms = iter(weights.norms)
        for k, ((kernel, bias), pool) in enumerate(zip(weights.convolutions, architecture.pools, strict=True)):
            dimensions = ("NWC", "WIO", "NWC")
            x = jax.lax.conv_general_dilated(
                x, kernel, (1,), architecture.padding.upper(), dimension_numbers=dimensions
            )
            x = x + bias
            x = norm(x, next(norms)) if architecture.has_norm else x
            x = jnp.exp(x) if k == 0 and architecture.first == "exponential" else jax.nn.relu(x)
            if pool > 1:
                lowest = np.array(-np.inf, x.dtype)
                x = jax.lax.reduce_window(x, lowest, jax.lax.max, (1, pool, 1), (1, pool, 1), "VALID")
        x = x.reshape(len(x), -1)
        for kernel, bias in weights.dense[: architecture.n_hidden]:
            x = jax.nn.relu(norm(x @ kernel + bias, next(norms)))
        kernel, bias = _heads(architecture, weights)
        x = x @ kernel + bias
        return jax.nn.sigmoid(x) if architecture.last == "sigmoid" else x

    return jax.jit(model)


def _heads(architecture: Architecture, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """The outputs as one dense layer."""
    kernels, biases = zip(*weights.dense[architecture.n_hidden :], strict=True)
    return np.concatenate(kernels, axis=1), np.concatenate(biases)

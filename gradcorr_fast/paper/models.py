"""The papers' models, written down once and built in PyTorch or Keras, with new weights or the authors'."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .._types import Array, Model
from ..hooks._request import is_keras
from ..io import hdf5
from ._layers import Activation, Architecture, Conv, Dense, Dropout, Flatten, Layer, Norm, Pool, Reshape

__all__ = ["FIRST_FILTERS", "NAMES", "SIGMAS", "build", "load_weights"]


FIRST_FILTERS = tuple(range(12, 31, 2))
"""Numbers of first filters in the ensembles for ChIP-seq data, five models of each; `first_filters` of `build`."""
SIGMAS = (0.005, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Note S1: standard deviations of the initial weights; `sigma` of `build`."""

FRAMEWORKS = ("torch", "keras")
SD_OF_CUT = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is cut at 2."""


def _convolution(
    filters: int, width: int, activation: str = "relu", *, dropout: float = 0, pool: int = 1, **options: Any
) -> tuple[Layer, ...]:
    """A convolution with all that follows it, in the papers' order: dropout before pooling."""
    layers: list[Layer] = [Conv(filters, width, **options), Norm(), Activation(activation)]
    layers += [Dropout(dropout)] if dropout else []
    layers += [Pool(pool)] if pool > 1 else []
    return tuple(layers)


def _dense(units: int, dropout: float, *, bias: bool = True) -> tuple[Layer, ...]:
    return Dense(units, bias), Norm(), Activation("relu"), Dropout(dropout)


def _output(units: int, activation: str) -> tuple[Layer, ...]:
    return Dense(units), Activation(activation)


def _shallow(activation: str, bias: bool = True, initializer: str = "he_normal") -> Architecture:
    layers = (
        *_convolution(24, 19, activation, dropout=0.1, pool=50, bias=bias),
        *_convolution(48, 3, dropout=0.2, pool=2, bias=bias),
        Flatten(),
        *_dense(96, 0.5, bias=bias),
        *_output(1, "sigmoid"),
    )
    return Architecture(200, layers, initializer)


def _deep(
    activation: str, bias: bool = True, initializer: str = "he_normal", last_padding: str = "same"
) -> Architecture:
    layers = (
        *_convolution(24, 19, activation, dropout=0.1, bias=bias),
        *_convolution(32, 7, dropout=0.2, pool=4, bias=bias),
        *_convolution(48, 7, dropout=0.3, pool=4, bias=bias, padding=last_padding),
        *_convolution(64, 3, dropout=0.4, pool=3, bias=bias, padding=last_padding),
        Flatten(),
        *_dense(96, 0.5, bias=bias),
        *_output(1, "sigmoid"),
    )
    return Architecture(200, layers, initializer)


def _deepstarr(activation: str, dropout: float) -> Architecture:
    layers: list[Layer] = []
    for filters, width, first in ((256, 7, activation), (60, 3, "relu"), (60, 5, "relu"), (120, 3, "relu")):
        layers += _convolution(filters, width, first, pool=2)
        layers += [Dropout(dropout)] if dropout else []
    return Architecture(249, (*layers, Flatten(), *_dense(256, 0.4), *_dense(256, 0.4), Dense(2)))


def _basset(activation: str) -> Architecture:
    layers = (
        *_convolution(300, 19, activation, dropout=0.2, pool=3, bias=False),
        *_convolution(200, 11, dropout=0.2, pool=4, bias=False, padding="valid"),
        *_convolution(200, 7, dropout=0.2, pool=4, bias=False, padding="valid"),
        Flatten(),
        *_dense(1000, 0.5, bias=False),
        *_dense(1000, 0.5, bias=False),
        *_output(164, "sigmoid"),
    )
    return Architecture(600, layers)


def _gopher(activation: str, n_bins: int) -> Architecture:
    layers = (
        *_convolution(192, 19, activation, pool=8),
        Dropout(0.1),
        *_convolution(256, 7, pool=4),
        Dropout(0.1),
        *_convolution(512, 7, pool=4),
        Dropout(0.2),
        Flatten(),
        *_dense(256, 0.3),
        *(Dense(n_bins * 8), Norm(), Activation("relu"), Reshape(n_bins), Dropout(0.1)),
        *_convolution(256, 7, dropout=0.2),
        *_output(15, "softplus"),
    )
    return Architecture(2048, layers)


FAMILIES: dict[str, Callable[[str], Architecture]] = {
    "cnn-shallow": _shallow,
    "cnn-deep": _deep,
    "cnn-local": partial(_shallow, bias=False, initializer="glorot_uniform"),
    # The last pool of the authors' cnn-dist pads, 9 positions by 3, where nothing is to be padded.
    "cnn-dist": partial(_deep, bias=False, initializer="glorot_uniform", last_padding="valid"),
    "basset": _basset,
    "cnn-base": partial(_gopher, n_bins=2048),
    "cnn-32": partial(_gopher, n_bins=64),
}
ARCHITECTURES = {
    f"{family}-{short}": make(activation)
    for family, make in FAMILIES.items()
    for short, activation in (("relu", "relu"), ("exp", "exponential"))
} | {"deepstarr": _deepstarr("relu", 0), "deepstarr-exp": _deepstarr("exponential", 0.1)}

NAMES = tuple(ARCHITECTURES)
"""Models that `build` knows: CNN-shallow and CNN-deep, their forms of ICML 2021 (cnn-local, cnn-dist), Basset, GOPHER's
CNN-base and CNN-32, and DeepSTARR; "exp" has an exponential after the first layer."""


def build(
    name: str,
    framework: str = "torch",
    *,
    length: int | None = None,
    n_outputs: int | None = None,
    first_filters: int | None = None,
    first_width: int | None = None,
    sigma: float | None = None,
    seed: int = 0,
) -> Any:
    """Build one of the papers' models with new weights, the same in both frameworks.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    framework : {"torch", "keras"}
        A models.nn.Sequential of (N, 4, L), or a models.Sequential of (N, L, 4), on the backend that Keras has.
    length : int, optional
        L, if it is another than the model was made for.
    n_outputs : int, optional
        Number of outputs, or of tracks of a profile.
    first_filters, first_width : int, optional
        Number and width of the filters of the first layer. The weights of CNN-deep in the authors' repository have a
        first width of 11.
    sigma : float, optional
        Draw the kernels of hidden layers from N(0, sigma), as in Note S1.
    seed : int
        Of the weights.

    Returns
    -------
    models.nn.Sequential or models.Sequential
        To probabilities (N, n_outputs), to numbers (N, 2) for DeepSTARR, to profiles (N, bins, tracks) for GOPHER. In
        PyTorch in training mode.

    Raises
    ------
    ValueError
        If there is no such model or framework.
    MissingBackendError
        If the framework is not installed.

    Notes
    -----
    Batch normalisation has epsilon 1e-3 and momentum 0.99 (0.01 in PyTorch's count). Kernels are drawn from a normal
    distribution cut at two standard deviations, variance 2 / fan-in (CNN-shallow, CNN-deep), or uniformly after Glorot
    (others, and all output layers); biases are 0.

    Examples
    --------
    >>> model = build("cnn-shallow-exp")
    >>> sum(p.numel() for p in model.parameters())
    15097
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no model {name!r}; the papers' models are {', '.join(NAMES)}")
    architecture = ARCHITECTURES[name].changed(length, n_outputs, first_filters, first_width)
    if framework not in FRAMEWORKS:
        raise ValueError(f"framework must be one of {', '.join(FRAMEWORKS)}; got {framework!r}")
    realisation = _realisation(framework)
    model = realisation.build(architecture)
    initializer = architecture.initializer if sigma is None else sigma
    realisation.set_weights(model, _draw(realisation.weight_shapes(model), initializer, seed))
    return model


def _draw(shapes: list[tuple[tuple[int, ...], ...]], initializer: str | float, seed: int) -> list[list[Array]]:
    """Draw the weights of layers, whose shapes are given as Keras orders them."""
    rng = np.random.default_rng(seed)
    kernels = [layer for layer, shape in enumerate(shapes) if len(shape[0]) > 1]
    weights = []
    for layer, each in enumerate(shapes):
        if layer not in kernels:  # scale, shift, mean and variance of a normalisation
            weights.append([np.full(shape, k in (0, 3), np.float32) for k, shape in enumerate(each)])
            continue
        kernel = _draw_kernel(rng, each[0], "glorot_uniform" if layer == kernels[-1] else initializer)
        weights.append([kernel, *(np.zeros(shape, np.float32) for shape in each[1:])])
    return weights


def _draw_kernel(rng: np.random.Generator, shape: tuple[int, ...], initializer: str | float) -> Array:
    """Draw a kernel (..., in, out)."""
    receptive = int(np.prod(shape[:-2]))
    fan_in, fan_out = receptive * shape[-2], receptive * shape[-1]
    kernel: Array
    if initializer == "glorot_uniform":
        limit = np.sqrt(6 / (fan_in + fan_out))
        kernel = rng.uniform(-limit, limit, shape)
    elif initializer == "he_normal":
        kernel = rng.standard_normal(shape)
        while (outside := np.abs(kernel) > 2).any():
            kernel[outside] = rng.standard_normal(outside.sum())
        kernel *= np.sqrt(2 / fan_in) / SD_OF_CUT
    else:
        kernel = rng.standard_normal(shape) * float(initializer)
    return kernel.astype(np.float32)


def load_weights(model: Model, path: str | Path) -> Any:
    """Load weights that Keras saved into a model of `build`.

    Parameters
    ----------
    model : models.nn.Sequential or models.Sequential
        Changed in place; in PyTorch it is put into evaluation mode.
    path : str or Path
        HDF5: weights or whole models of Keras 2, weights of Keras 3 (.weights.h5), of the authors' or of these models.

    Returns
    -------
    the model

    Raises
    ------
    ValueError
        If the weights have other shapes than the model.
    MissingBackendError
        If h5py is not installed.

    Notes
    -----
    Layers of a kind are taken in order, whatever their names. Several output layers in the file, such as the two of
    DeepSTARR, become one.

    Examples
    --------
    >>> load_weights(build("deepstarr"), "deepstarr.model.h5")  # doctest: +SKIP
    """
    realisation = _realisation("keras" if is_keras(model) else "torch")
    shapes = realisation.weight_shapes(model)
    found = _read_weights(Path(path))
    n_dense = sum(_kind(shape) == "dense" for shape in shapes)
    heads = found["dense"][n_dense - 1 :]
    if len(heads) > 1:
        found["dense"][n_dense - 1 :] = [[np.concatenate(parts, axis=-1) for parts in zip(*heads, strict=True)]]
    counts = {kind: sum(_kind(shape) == kind for shape in shapes) for kind in found}
    if counts != {kind: len(layers) for kind, layers in found.items()}:
        raise ValueError(
            f"{path} holds {_show({kind: len(layers) for kind, layers in found.items()})} and the model has "
            f"{_show(counts)}; build the model that was saved"
        )
    queues = {kind: iter(layers) for kind, layers in found.items()}
    weights = [next(queues[_kind(shape)]) for shape in shapes]
    for layer, (shape, arrays) in enumerate(zip(shapes, weights, strict=True)):
        given = tuple(array.shape for array in arrays)
        if given != shape:
            raise ValueError(
                f"the weights of layer {layer} in {path} have shapes {given} and the model has {shape}; build it with "
                f"the width and number of filters that were saved (first_width=, first_filters=)"
            )
    realisation.set_weights(model, weights)
    return model if is_keras(model) else model.eval()


def _kind(shapes: tuple[tuple[int, ...], ...]) -> str:
    return {1: "normalisations", 2: "dense", 3: "convolutions"}[len(shapes[0])]


def _show(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in counts.items())


def _read_weights(path: Path) -> dict[str, list[list[Array]]]:
    """Read the layers of a file by kind, each kind in the order of the model."""
    found: dict[str, list[list[Array]]] = {"convolutions": [], "normalisations": [], "dense": []}
    with hdf5.open_whole(path) as file:
        file = file.get("model_weights", file)
        if "layer_names" in file.attrs:  # Keras 2
            groups = [file[_text(name)] for name in file.attrs["layer_names"]]
            layers = [[group[_text(name)][()] for name in group.attrs["weight_names"]] for group in groups]
        elif "layers" in file:
            groups = [file["layers"][name] for name in sorted(file["layers"], key=_number)]
            layers = [[group["vars"][k][()] for k in sorted(group["vars"], key=int)] for group in groups]
        else:
            raise ValueError(f"{path} holds no weights that Keras saved; save them by model.save_weights")
    for layer in filter(None, layers):
        found[_kind(tuple(array.shape for array in layer))].append(layer)
    return found


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _number(name: str) -> int:
    """Number of a layer of its kind: conv1d, conv1d_1, ..."""
    found = re.search(r"_(\d+)$", name)
    return int(found.group(1)) if found else 0


def _realisation(framework: str) -> ModuleType:
    """Return what builds the models of a framework, and reads and sets their weights."""
    if framework == "keras":
        from .keras import models as keras_models

        return keras_models
    from .torch import models as torch_models

    return torch_models

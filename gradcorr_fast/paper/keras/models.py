"""The papers' models in Keras, (N, L, 4)."""

from typing import Any

from ..._check import missing_backend

try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise
    raise missing_backend("Keras", "tensorflow") from error

from ..._types import Array, Model
from .._layers import Activation, Architecture, Conv, Dense, Dropout, Flatten, Layer, Norm, Pool, Reshape


def build(architecture: Architecture) -> Any:
    """Build a model."""
    return keras.Sequential([keras.Input((architecture.length, 4)), *map(_make, architecture.layers)])


def _make(layer: Layer) -> Any:
    match layer:
        case Conv(filters, width, bias, padding):
            return keras.layers.Conv1D(filters, width, padding=padding, use_bias=bias)
        case Dense(units, bias):
            return keras.layers.Dense(units, use_bias=bias)
        case Norm():
            return keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99)
        case Activation(function):
            return keras.layers.Activation(function)
        case Dropout(rate):
            return keras.layers.Dropout(rate)
        case Pool(size):
            return keras.layers.MaxPooling1D(size)
        case Flatten():
            return keras.layers.Flatten()
        case Reshape(length):
            return keras.layers.Reshape((length, -1))


def _layers(model: Model) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def weight_shapes(model: Model) -> list[tuple[tuple[int, ...], ...]]:
    """Return the shapes of the weights of each layer that has any."""
    return [tuple(tuple(weight.shape) for weight in layer.weights) for layer in _layers(model)]


def set_weights(model: Model, weights: list[list[Array]]) -> None:
    """Fill the layers with arrays of these shapes."""
    for layer, arrays in zip(_layers(model), weights, strict=True):
        layer.set_weights(arrays)

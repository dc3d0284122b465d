"""The correction inside the first linear layers of a Keras model: same predictions, corrected gradients."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import keras
import numpy as np

from ..._types import Array

SAME = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.Identity,
)
"""Layers that return what they are given for inference."""
TOLERANCE = 1e-4
"""Largest difference of predictions and gradients, as part of the largest number, that is rounding."""
N_COMPARED, LENGTH = 3, 200
"""Sequences that are compared, and their positions where the model takes any."""


class First(NamedTuple):
    """A layer that takes the input."""

    layer: Any
    is_flat: bool
    """Whether positions and letters are one axis of what it takes."""
    n_calls: int
    """How often the model calls it."""


@keras.saving.register_keras_serializable(package="gradcorr_fast")
class FoldedConv1D(keras.layers.Conv1D):  # type: ignore[misc]  # Keras is not typed here
    """Convolution with a corrected gradient; its weights are the original's."""

    def call(self, inputs: Any) -> Any:
        """Apply the layer to what it is given, whose gradient will be corrected."""
        return super().call(_project(inputs, _letter_axis(self)))


@keras.saving.register_keras_serializable(package="gradcorr_fast")
class FoldedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Convolution with a corrected gradient; its weights are the original's."""

    def call(self, inputs: Any) -> Any:
        """See `FoldedConv1D.call`."""
        return super().call(_project(inputs, _letter_axis(self)))


@keras.saving.register_keras_serializable(package="gradcorr_fast")
class FoldedDense(keras.layers.Dense):  # type: ignore[misc]
    """Dense layer with a corrected gradient; its weights are the original's.

    Parameters
    ----------
    n_letters : int
        Neighbouring features that are the letters of a position.
    options
        Of `keras.layers.Dense`.
    """

    def __init__(self, *args: Any, n_letters: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.n_letters = n_letters

    def call(self, inputs: Any, training: Any = None) -> Any:
        """See `FoldedConv1D.call`."""
        shape = keras.ops.shape(inputs)
        letters = keras.ops.reshape(inputs, (*shape[:-1], -1, self.n_letters))
        return super().call(keras.ops.reshape(_project(letters, -1), shape), training=training)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {**super().get_config(), "n_letters": self.n_letters}


FOLDED = {keras.layers.Conv1D: FoldedConv1D, keras.layers.Conv2D: FoldedConv2D, keras.layers.Dense: FoldedDense}


def _letter_axis(layer: Any) -> int:
    return -1 if layer.data_format == "channels_last" else 1


def _project(x: Any, axis: int) -> Any:
    """Return numbers as they are, whose gradient will be centred over an axis."""
    stop = keras.ops.stop_gradient
    centred = x - keras.ops.mean(x, axis, keepdims=True)
    return stop(x) + (centred - stop(centred))


def fold(model: Any, axis: int = -1, *, exact: bool = True, length: int | None = None) -> Any:
    """Return a copy of a Keras model with the correction in its first layers: same predictions, corrected gradients.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, of one input whose first layers are Conv1D, Conv2D or Dense, the latter on the letters
        or behind Flatten; dropout and noise, which do nothing for inference, may lie before. It is not changed.
    axis : int
        Letter axis of the input: -1 for (N, L, A), 1 for (N, A, L) and layers with ``data_format="channels_first"``.
        All channels are letters.
    exact : bool
        True returns a model that predicts the same for every input, with layers of this package in the place of the
        first. False changes nothing but weights and biases, so that no layer is of ours; it needs biases and
        convolutions without padding, and off the simplex (SmoothGrad, paths between sequences, unknown letters)
        predictions are those at the projection of the input, whose letters sum to 1.
    length : int, optional
        Positions of the random sequences on which the copy is compared, where the model takes any.

    Returns
    -------
    keras.Model
        Can be trained, saved and loaded; exact ones where `gradcorr_fast.hooks.keras` is imported.

    Raises
    ------
    TypeError
        If the model is no Keras model of known layers, such as one that subclasses Model.
    ValueError
        If the input meets something else than a linear layer first, which is named.
    RuntimeError
        If the copy does not agree with the original on random sequences.

    Notes
    -----
    The first layers take their input through ``stop(x) + (c(x) - stop(c(x)))``, where c corrects, as
    `hooks.torch.project_gradient` does. Without `exact`, ``W x = (W - m) x + m s``, with the mean m of W over the
    letters and the sum s of x over them, which is 1 and goes into the bias.

    Examples
    --------
    >>> layers = [keras.Input((20, 4)), keras.layers.Conv1D(8, 5), keras.layers.Flatten(), keras.layers.Dense(1)]
    >>> model = keras.Sequential(layers)
    >>> type(fold(model).layers[0]).__name__
    'FoldedConv1D'
    """
    graph = getattr(model, "_functional", model)
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_nodes_by_depth") or len(graph.inputs) != 1:
        kind = type(model).__name__
        raise TypeError(f"model must be a Sequential or functional Keras model of one input; got a {kind}")
    firsts = {id(first.layer): first for first in _first_layers(graph)}
    for first in firsts.values():
        _check(first, graph.inputs[0].shape, axis, exact)
    n_letters = int(graph.inputs[0].shape[axis])

    def clone(layer: Any) -> Any:
        first, config = firsts.get(id(layer)), layer.get_config()
        if first is None or not exact:
            return type(layer).from_config(config)
        kind: Any = FOLDED[type(layer)]
        return kind.from_config(config | ({"n_letters": n_letters} if kind is FoldedDense else {}))

    folded = keras.models.clone_model(model, clone_function=clone, recursive=True)
    folded.set_weights(model.get_weights())
    if not exact:
        originals = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]
        copies = [layer for layer in folded._flatten_layers() if not isinstance(layer, keras.Model)]
        for layer, copy in zip(originals, copies, strict=True):
            if id(layer) in firsts:
                _change_weights(copy, n_letters)
    differences(model, folded, axis, length)
    return folded


def _first_layers(graph: Any, is_flat: bool = False, n_calls: int = 1) -> Iterator[First]:
    """Yield the layers that take the input of a graph, which is called so often."""
    waiting = [(graph.inputs[0], is_flat)]
    nodes = [node for several in graph._nodes_by_depth.values() for node in several]
    while waiting:
        tensor, flat = waiting.pop()
        for node in nodes:
            if not any(given is tensor for given in node.input_tensors):
                continue
            layer = node.operation
            n = n_calls * sum(other.operation is layer for other in nodes)
            inner = getattr(layer, "_functional", layer)
            if isinstance(layer, (keras.layers.InputLayer, *SAME)):
                waiting += [(output, flat) for output in node.output_tensors if output is not tensor]
            elif isinstance(layer, keras.layers.Flatten):
                waiting += [(output, True) for output in node.output_tensors]
            elif isinstance(inner, keras.Model) and hasattr(inner, "_nodes_by_depth") and len(inner.inputs) == 1:
                yield from _first_layers(inner, flat, n)
            else:
                yield First(layer, flat, n)


def _check(first: First, shape: tuple[Any, ...], axis: int, exact: bool) -> None:
    """Refuse a layer into which the correction cannot be folded."""
    layer, is_last = first.layer, axis in (-1, len(shape) - 1)
    name = f"{layer.name} ({type(layer).__name__})"
    if type(layer) not in FOLDED:
        raise ValueError(f"the input meets {name} first, which is no Conv1D, Conv2D or Dense; use SimplexProjection")
    if first.n_calls > 1:
        raise ValueError(f"{name} is used more than once; use SimplexProjection")
    if isinstance(layer, keras.layers.Dense):
        if not is_last or (first.is_flat and len(shape) != 3):
            raise ValueError(f"{name} takes the letters of a position apart; use SimplexProjection")
    elif first.is_flat or layer.groups != 1 or (layer.data_format == "channels_last") != is_last:
        raise ValueError(f"{name} does not take the letters of a position as its channels; use SimplexProjection")
    if not exact and (not layer.use_bias or getattr(layer, "padding", "valid") != "valid"):
        raise ValueError(f"{name} needs a bias and no padding for exact=False; leave exact away")


def _change_weights(layer: Any, n_letters: int) -> None:
    """Take the means over the letters out of the weights of a layer, and add them to its bias."""
    kernel, bias = layer.get_weights()
    grouped = kernel.reshape(-1, n_letters, kernel.shape[-1])
    mean = grouped.mean(1, keepdims=True)
    layer.set_weights([(grouped - mean).reshape(kernel.shape), bias + mean.sum((0, 1))])


class Differences(NamedTuple):
    """The largest differences between a model and its folded copy."""

    predictions: float
    """Of the outputs, as part of the largest."""
    gradients: float
    """Between the gradient of the copy and the corrected gradient of the model, as part of the largest."""
    dtype: str


def differences(model: Any, folded: Any, axis: int, length: int | None = None) -> Differences:
    """Compare predictions and corrected gradients of random sequences; raise an error if they differ."""
    shape = getattr(model, "_functional", model).inputs[0].shape
    n_letters, others = int(shape[axis]), [length or LENGTH if n is None else int(n) for n in shape[1:]]
    del others[axis - 1 if axis > 0 else axis]
    codes = np.random.default_rng(0).integers(0, n_letters, (N_COMPARED, *others))
    x = np.moveaxis(np.eye(n_letters, dtype=np.float32)[codes], -1, axis)
    predictions = _agree("predictions", *(_flat(each(x, training=False)) for each in (model, folded)))
    saliency = import_module(f"..{keras.backend.backend()}", __package__).saliency
    options = {"axis": axis, "target": _total, "output": _first_output(model, x)}
    grads = saliency(model, x, **options), saliency(folded, x, corrected=False, **options)
    return Differences(predictions, _agree("gradients", *(np.asarray(grad) for grad in grads)), "float32")


def _first_output(model: Any, x: Array) -> Any:
    outputs = model(x[:1], training=False)
    return next(iter(outputs)) if isinstance(outputs, dict) else 0 if isinstance(outputs, list | tuple) else None


def _total(output: Any) -> Any:
    return keras.ops.sum(keras.ops.reshape(output, (keras.ops.shape(output)[0], -1)), 1)


def _flat(outputs: Any) -> Array:
    leaves = keras.tree.flatten(outputs)
    return np.concatenate([np.asarray(keras.ops.convert_to_numpy(leaf)).reshape(-1) for leaf in leaves])


def _agree(what: str, expected: Array, found: Array) -> float:
    """Return the largest difference as part of the largest number."""
    gap, scale = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    if not gap <= TOLERANCE * scale:
        raise RuntimeError(f"{what} of the folded model differ from those of the original by {gap:.2g} of {scale:.2g}")
    return gap / scale if scale else 0.0

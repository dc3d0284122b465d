"""What Keras 3 models need on any backend: the projection as a layer, attaching it, and graphs that are kept."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._check import check_axis, missing_backend, select_letters

try:
    import keras
except ModuleNotFoundError as error:
    raise missing_backend("Keras", "tensorflow") from error

import numpy as np

__all__ = ["SimplexProjection", "attach"]


def backend(model: Any, expected: str | None = None) -> str:
    """Return the Keras backend that a model runs on; with `expected`, refuse another."""
    found: str = keras.backend.backend()
    if expected is not None and found != expected:
        raise ValueError(f"{model.name} is a Keras model on the {found} backend; use gf.hooks.{found}")
    return found


@keras.saving.register_keras_serializable(package="gradcorr_fast")
class SimplexProjection(keras.layers.Layer):  # type: ignore[misc]  # Keras is not typed here
    """Layer that returns its input, whose gradient will be corrected; put it in front of a model.

    It is saved and loaded with the model, and works on every backend of Keras.

    Parameters
    ----------
    axis : int
        Letter axis.
    letters : slice or list of int, optional
        The part of the letter axis that holds letters: a slice, or its start, stop and step.
    n_letters : int, optional
        See `ops.correct`.

    Examples
    --------
    >>> SimplexProjection(axis=1)(np.ones((2, 4, 7), "float32")).shape == (2, 4, 7)
    True
    """

    def __init__(self, axis: int = -1, *, letters: Any = None, n_letters: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.axis, self.n_letters = axis, n_letters
        self.letters = [letters.start, letters.stop, letters.step] if isinstance(letters, slice) else letters

    def call(self, x: Any) -> Any:
        """Return ``stop(x) + (c(x) - stop(c(x)))``, where c corrects; see `hooks.torch.project_gradient`."""
        shape = tuple(x.shape)
        if self.letters is None:
            axis, letters = check_axis(shape, self.axis, self.n_letters), slice(None)
        else:
            axis, index = select_letters(shape, self.axis, slice(*self.letters), self.n_letters)
            letters = index[-1]
        mask = np.zeros(shape[axis], "float32")
        mask[letters] = 1
        mask = mask.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        mask = keras.ops.cast(mask, x.dtype)
        mean = keras.ops.sum(x * mask, axis=axis, keepdims=True) / keras.ops.sum(mask)
        corrected = x - mask * mean
        return keras.ops.stop_gradient(x) + (corrected - keras.ops.stop_gradient(corrected))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        own = {"axis": self.axis, "letters": self.letters, "n_letters": self.n_letters}
        return {**super().get_config(), **own}


class attach:
    """Correct the input gradients of an existing Keras model, until removed; the model is not edited.

    The input of every call (of several, the first) goes through `SimplexProjection`. Graphs that were traced before,
    such as a tf.function of yours, are not touched, and those traced meanwhile keep the projection.

    Parameters
    ----------
    model : keras.Model
        Model of one-hot sequences.
    axis, letters, n_letters
        See `SimplexProjection`.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((2, 4)), keras.layers.Flatten(), keras.layers.Dense(1)])
    >>> with attach(model) as corrected:
    ...     corrected is model
    True
    """

    def __init__(self, model: Any, axis: int = -1, *, letters: Any = None, n_letters: int | None = None) -> None:
        if not isinstance(model, keras.layers.Layer):
            raise TypeError(
                f"model must be a Keras model; got a {type(model).__name__}, put project_gradient in front of it"
            )
        self._model = model
        self._before = vars(model).get("call")
        projection, call = SimplexProjection(axis, letters=letters, n_letters=n_letters), model.call

        def corrected(inputs: Any, *args: Any, **options: Any) -> Any:
            if isinstance(inputs, dict):
                raise ValueError(
                    "attach cannot tell which entry of a dict is the sequence; put SimplexProjection there"
                )
            if isinstance(inputs, list | tuple):
                inputs = type(inputs)([projection(inputs[0]), *inputs[1:]])
            else:
                inputs = projection(inputs)
            return call(inputs, *args, **options)

        model.call = corrected

    def remove(self) -> None:
        """Leave the model as it was; a second call does nothing."""
        model, self._model = self._model, None
        if model is None:
            return
        if self._before is None:
            del model.call
        else:
            model.call = self._before

    def __enter__(self) -> Any:
        return self._model

    def __exit__(self, *error: object) -> None:
        self.remove()


def call(model: Any, x: Any, args: tuple[Any, ...]) -> Any:
    """Call a model for inference; further inputs follow the sequences in a list."""
    return model([x, *args] if args else x, training=False)


@contextmanager
def without_activation(model: Any, output: Any) -> Iterator[None]:
    """Let the layer that makes an output return what goes into its activation."""
    heads = getattr(model, "outputs", None) or []
    names = list(getattr(model, "output_names", range(len(heads))))
    number = names.index(output) if output in names else output if isinstance(output, int) else 0
    layer = heads[number]._keras_history.operation if number < len(heads) else None
    activation = getattr(layer, "activation", None)
    if layer is None or activation in (None, keras.activations.linear):
        raise ValueError(
            f"{model.name} has no layer with an activation at that output; use an ordinary target, of a model that "
            f"returns the value before the activation"
        )
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


# --- graphs that are kept with a model, as long as nothing in it was exchanged ---

_kept: weakref.WeakKeyDictionary[Any, dict[Any, tuple[Any, Any]]] = weakref.WeakKeyDictionary()


def keep(model: Any, key: Any, build: Callable[[Callable[[], Any]], Any]) -> Any:
    """Return ``build(weak reference to the model)``, made anew if an attribute of any layer is another than then.

    Tracing takes as long as a hundred batches, but a graph does not see that a layer's activation was replaced.
    """
    graphs = _kept.setdefault(model, {})
    state = [_freeze(vars(layer) | {"_called": None}) for layer in model._flatten_layers()]  # tracing sets _called
    if key not in graphs or not _same(graphs[key][0], state):
        graphs[key] = state, build(weakref.ref(model))
    return graphs[key][1]


def _freeze(value: Any) -> Any:
    """What a value is now, without keeping it alive."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, dict):
        return [*map(_freeze, value), *map(_freeze, value.values())]
    if isinstance(value, list | tuple | set | frozenset):
        return [type(value), *map(_freeze, value)]
    try:
        return weakref.ref(value)
    except TypeError:
        return type(value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, weakref.ref) or isinstance(b, weakref.ref):  # whose == would ask the objects themselves
        return a is b
    return type(a) is type(b) and a == b

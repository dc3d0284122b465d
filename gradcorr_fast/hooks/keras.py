"""What Keras 3 models need on any backend: the projection as a layer, attaching it, and graphs that are kept."""

import weakref
from collections.abc import Callable
from inspect import signature
from types import FunctionType
from typing import Any

from .._check import check_axis, missing_backend, select_letters

try:
    import keras
except ModuleNotFoundError as error:
    raise missing_backend("Keras", "tensorflow") from error

import numpy as np

from ._inputs import Inputs, takes_dict
from ._keras.folding import fold
from ._outputs import Head, call_model, pick

__all__ = ["SimplexProjection", "attach", "fold"]

ACTIVATIONS = (keras.layers.Softmax, keras.layers.ReLU)
"""Layers that are activations themselves; that of others is an attribute."""


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
        self._projection = SimplexProjection(axis, letters=letters, n_letters=n_letters)
        call = vars(model).get("call")
        if not isinstance(call, _ProjectedCall):
            call = model.call = _ProjectedCall(model.call, before=call)
        call.projections.append(self._projection)

    def remove(self) -> None:
        """Leave the model as it was; a second call does nothing."""
        call = vars(self._model).get("call")
        if not isinstance(call, _ProjectedCall):
            return
        call.projections = [p for p in call.projections if p is not self._projection]
        if not call.projections and call.before is not None:
            self._model.call = call.before
        elif not call.projections:
            del self._model.call

    def __enter__(self) -> Any:
        return self._model

    def __exit__(self, *error: object) -> None:
        self.remove()


class _ProjectedCall:
    """A model's `call` behind the projections that are attached to it, in whatever order they come and go."""

    def __init__(self, call: Any, before: Any) -> None:
        self._call, self.before = call, before
        self.projections: list[Any] = []

    def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any:
        if isinstance(inputs, dict):
            raise ValueError("attach cannot tell which entry of a dict is the sequence; put SimplexProjection there")
        for projection in self.projections:
            if isinstance(inputs, list | tuple):
                inputs = type(inputs)([projection(inputs[0]), *inputs[1:]])
            else:
                inputs = projection(inputs)
        return self._call(inputs, *args, **options)


def call(model: Any, x: Any, args: tuple[Any, ...], inputs: Inputs | None = None) -> Any:
    """Call a model for inference."""
    given, named = arrange(model, x, args, inputs)
    return call_model(model, *given, **named, training=False)


def arrange(
    model: Any, x: Any, args: tuple[Any, ...], inputs: Inputs | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a model is called with: one array, a list or a dict, or what the `call` of a user's class takes."""
    structure = getattr(getattr(model, "_functional", model), "_inputs_struct", None)  # of a Sequential
    if structure is not None:
        return (_structured(model, structure, x, args, inputs),), {}
    several, named = ([x, *args], {}) if inputs is None else inputs.arrange(x, args)
    taken = {name: p for name, p in signature(model.call).parameters.items() if name not in ("training", "mask")}
    if inputs is not None and named and not takes_dict(model.call, inputs):
        return tuple(several), named
    if not named and sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in taken.values()) > 1:
        return tuple(several), {}
    if named and several:
        raise ValueError(f"{model.name} takes one input; give all that is in it a name, or none")
    return (named or (several if len(several) > 1 else several[0]),), {}


def _structured(model: Any, structure: Any, x: Any, args: tuple[Any, ...], inputs: Inputs | None) -> Any:
    """Return what a graph of layers takes: one array, a list of several, or a dict of them by name."""
    names = [*structure] if isinstance(structure, dict) else [tensor.name for tensor in model.inputs]
    if inputs is None:
        if isinstance(structure, dict) and len(names) > 1:
            raise ValueError(
                f"{model.name} takes a dict of inputs; name the sequences by input=, one of {names}, and give the "
                f"others as args={{name: array}}"
            )
        return [x, *args] if args else x
    several, named = inputs.arrange(x, args)
    if not named:
        return several if len(several) > 1 else several[0]
    if several or sorted(named) != sorted(names):
        raise ValueError(f"{model.name} has the inputs {names}; got {[*named]}, and {len(several)} without a name")
    return named if isinstance(structure, dict) else [named[name] for name in names]


def find_output(model: Any, output: Head) -> tuple[Any, Head]:
    """Return a model and its output by number, of which the user said the name, or that of a layer."""
    graph = getattr(model, "_functional", model)  # of a Sequential
    outputs = getattr(graph, "_outputs_struct", None)
    if not isinstance(output, str) or outputs is None or isinstance(outputs, dict):
        return model, output
    names = [*getattr(graph, "output_names", ())]
    if output in names:
        return model, names.index(output) if len(names) > 1 else None
    layers = {layer.name: layer for layer in model.layers}
    if output not in layers and len(names) == 1:
        return model, output  # which says that there is one array
    if output not in layers:
        raise ValueError(f"{model.name} has no output {output!r}; its outputs are {names}, its layers {[*layers]}")
    return keras.Model(graph._inputs_struct, layers[output].output), None


def stateless(model: Any, weights: list[Any]) -> Any:
    """Return a context in which a model's variables have other values; Keras on JAX needs it to be traced."""
    return keras.StatelessScope(state_mapping=list(zip(model.variables, weights, strict=True)))


def call_before_activation(model: Any, x: Any, args: tuple[Any, ...], output: Any, inputs: Inputs | None = None) -> Any:
    """Call a model, and return what went into the activation that made an output, in the model's structure."""
    seen: list[tuple[Any, Any]] = []

    def note(activation: Any) -> Any:
        def noted(given: Any, *others: Any, **options: Any) -> Any:
            result = activation(given, *others, **options)
            seen.append((result, given))
            return result

        return noted

    layers = model._flatten_layers()
    places = [(layer, "activation") for layer in layers if "activation" in vars(layer)]
    places += [(layer, "call") for layer in layers if isinstance(layer, ACTIVATIONS)]
    before = [(layer, name, vars(layer).get(name)) for layer, name in places]
    try:
        for layer, name in places:
            setattr(layer, name, note(getattr(layer, name)))
        outputs = call(model, x, args, inputs)
    finally:
        for layer, name, activation in before:
            if activation is None:
                delattr(layer, name)
            else:
                setattr(layer, name, activation)
    head = pick(outputs, output)
    for result, given in reversed(seen):
        if result is head and given is not head:
            return given if output is None else {output: given}
    raise ValueError(
        f"before_activation found no layer of {model.name} whose activation makes that output; use an ordinary target, "
        f"of a model that returns the value before it"
    )


# --- graphs that are kept with a model, as long as nothing in it was exchanged ---

_kept: weakref.WeakKeyDictionary[Any, dict[Any, tuple[Any, Any]]] = weakref.WeakKeyDictionary()
_PLAIN = (bool, int, float, str, bytes)
_SEVERAL = (list, tuple, set, frozenset)


def keep(model: Any, key: Any, build: Callable[[Callable[[], Any]], Any]) -> Any:
    """Return ``build(function that returns the model)``, made anew if any attribute of any layer is another than then.

    Tracing takes as long as tens of batches, but a graph does not see that a layer's activation was replaced. It is
    kept for models of Keras' own layers alone: of others nobody knows what their Python code depends on.
    """
    layers = model._flatten_layers()
    if key is None or not all(map(_is_known, layers)):
        return build(lambda: model)
    graphs = _kept.setdefault(model, {})
    if key not in graphs or not _is_still(graphs[key][0], [_state(layer) for layer in layers]):
        graphs[key] = _freeze([_state(layer) for layer in layers]), build(weakref.ref(model))
    return graphs[key][1]


def _state(layer: Any) -> dict[str, Any]:
    """Return the attributes of a layer but for what tracing sets."""
    return {name: value for name, value in vars(layer).items() if name != "_called"}


def _is_known(layer: Any) -> bool:
    """Whether a layer does nothing but what Keras' or our own code and its attributes say."""
    held = list(vars(layer).values())
    code = [type(layer), *(value for value in held if isinstance(value, FunctionType))]
    is_own = {thing.__module__.partition(".")[0] for thing in code} <= {"keras", "gradcorr_fast"}
    changes = isinstance(layer, keras.layers.Lambda) or any(isinstance(value, _ProjectedCall) for value in held)
    return is_own and not changes


def _freeze(value: Any) -> Any:
    """What a value is now, without keeping it alive."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return dict, [*map(_freeze, value)], [*map(_freeze, value.values())]
    if isinstance(value, _SEVERAL):
        return type(value), [*map(_freeze, value)]
    try:
        return weakref.ref(value)
    except TypeError:
        return type(value)


def _is_still(kept: Any, value: Any) -> bool:
    """Whether a value is what was kept of one by `_freeze`."""
    if isinstance(kept, weakref.ref):  # whose == would ask the objects themselves
        return kept() is value
    if value is None or isinstance(value, _PLAIN):
        return type(kept) is type(value) and bool(kept == value)
    if isinstance(kept, tuple):
        kind, *parts = kept
        if not isinstance(value, kind) or (kind is not dict and type(value) is not kind) or len(parts[0]) != len(value):
            return False
        if kind is dict:
            return all(map(_is_still, parts[0], value)) and all(map(_is_still, parts[1], value.values()))
        return all(map(_is_still, parts[0], value))
    return kept is type(value)

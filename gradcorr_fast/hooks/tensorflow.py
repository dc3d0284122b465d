"""TensorFlow functions and Keras models: corrected attributions, and the projection that corrects what passes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Unpack

from .._check import missing_backend

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise missing_backend("TensorFlow", "tensorflow") from error

import numpy as np

from .. import ops
from .._types import AnyArray, Array, Model
from ..backends import tensorflow as tensors
from . import _checks
from . import keras as keras_hooks
from ._attempts import Memory
from ._engine import attribute, count_rows
from ._inputs import arranged
from ._options import MutagenesisOptions, Options, PathOptions, SampleOptions, takes_options
from ._outputs import Head, call_model, pick
from ._penalty import penalty_of
from ._ready import Arrays, Framework, Method, Positions, ReadyModel, Step
from ._request import Request, is_keras, make_request
from .keras import SimplexProjection, attach

__all__ = [
    "SimplexProjection",
    "angle_penalty",
    "attach",
    "expected_gradients",
    "integrated_gradients",
    "project_gradient",
    "saliency",
    "saturation_mutagenesis",
    "smoothgrad",
]


def project_gradient(
    x: tf.Tensor, axis: int = -1, *, letters: slice | None = None, n_letters: int | None = None
) -> tf.Tensor:
    """Return `x` unchanged; the gradient that comes back through it is corrected.

    Works eagerly, in tf.function, under XLA, in saved models and to second order.

    Parameters
    ----------
    x : tf.Tensor, shape (N, L, n_letters) or any other
        Input of the model, floating point.
    axis : int
        Letter axis.
    letters, n_letters
        See `ops.correct`.

    Returns
    -------
    tf.Tensor
        The values of `x`. See `hooks.torch.project_gradient` for the formula.

    Examples
    --------
    >>> x = tf.zeros((1, 1, 4))
    >>> with tf.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = tf.reduce_sum(project_gradient(x) * [1.0, 2.0, 3.0, 6.0])
    >>> tape.gradient(y, x).numpy()
    array([[[-2., -1.,  0.,  3.]]], dtype=float32)
    """
    corrected = ops.correct(x, axis=axis, letters=letters, n_letters=n_letters)
    return tf.stop_gradient(x) + (corrected - tf.stop_gradient(corrected))


def prepare(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None, method: Method, options: Options
) -> AbstractContextManager[ReadyModel]:
    """Check a call and make the model ready for it, a Keras model on its own backend; see `_engine.Prepare`."""
    backend = keras_hooks.backend(model) if is_keras(model) else "tensorflow"
    if backend == "tensorflow":
        return _prepare(model, X, args, method, options)
    options = {"axis": -1, **options}
    if backend == "jax":
        from . import jax

        return jax.prepare(model, X, args, method, options)
    if backend == "torch":
        from .torch import _running

        return _running.prepare(model, X, args, method, options)
    raise ValueError(f"{model.name} is a Keras model on the {backend} backend, which has no gradients")


@contextmanager
def _prepare(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None, method: Method, options: Options
) -> Iterator[ReadyModel]:
    given: Options = {"axis": -1, "precision": "float32", "device": None}
    given.update(options)
    if given["precision"] != "float32":
        raise ValueError(f'precision must be "float32"; got {given["precision"]!r}')
    if is_keras(model):
        model, given["output"] = keras_hooks.find_output(model, given.get("output"))
    request = make_request(X, args, "tensorflow", extra=method.extra, **given)
    if not is_keras(model):
        model = arranged(model, request.inputs)
    several = count_rows(request, method) > request.batch_size

    def make(wanted: Request) -> Framework:
        return _framework(X, _step_of(model, X, wanted, several))

    with nullcontext() if given["device"] is None else tf.device(given["device"]):
        yield ReadyModel(request, make)


_attribute = partial(attribute, prepare)


@takes_options(axis=-1)
def saliency(model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[Options]) -> Any:
    """Compute the gradient of a model's output with respect to its input, corrected.

    Parameters
    ----------
    model : keras.Model or callable
        A Keras model, on any backend, is run for inference. A callable, such as a tf.function, takes and returns
        tensors.
    X : tf.Tensor or NumPy array, shape (N, L, n_letters)
        One-hot (or soft) sequences, floating point. For a Keras model on another backend: that backend's arrays.
    args : tuple of arrays, optional
        Further inputs, one row for each sequence. A Keras model gets the list ``[x, *args]``.
    axis : int
        Letter axis of `X`, by default the last.
    device : str, optional
        A TensorFlow device to run on, such as "GPU:0".
    precision : "float32"
        Gradients are computed in the precision of the model; on GPUs TensorFlow's own setting of TF32 holds.
    optimize : 0
        Faster copies are made of PyTorch models alone; XLA folds and orders memory by itself.
    options
        See `hooks.torch.saliency`, also for the results and errors.

    Notes
    -----
    The gradient of a Keras model is traced into one tf.function. If all layers are Keras' own, it is kept with the
    model, and made anew when an attribute of any layer has been replaced; otherwise it lives as long as the call. A
    callable is traced in every call that has several batches.

    Examples
    --------
    >>> saliency(lambda x: tf.reduce_sum(x * [1.0, 2.0, 3.0, 6.0], axis=(1, 2)), np.eye(4, dtype="float32")[None])[0, 0]
    array([-2., -1.,  0.,  3.], dtype=float32)
    """
    return _attribute("saliency", model, X, args, options)


@takes_options(axis=-1, options=PathOptions)
def integrated_gradients(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[PathOptions]
) -> Any:
    """Average the gradient along a path to each sequence, corrected. See `hooks.torch.integrated_gradients`."""
    return _attribute("integrated_gradients", model, X, args, options)


@takes_options(axis=-1, options=PathOptions)
def expected_gradients(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[PathOptions]
) -> Any:
    """Average integrated gradients over several references, corrected. See `hooks.torch.expected_gradients`."""
    return _attribute("expected_gradients", model, X, args, options)


@takes_options(axis=-1, options=SampleOptions)
def smoothgrad(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[SampleOptions]
) -> Any:
    """Average the gradient over samples around each sequence, corrected. See `hooks.torch.smoothgrad`."""
    return _attribute("smoothgrad", model, X, args, options)


@takes_options(axis=-1, options=MutagenesisOptions)
def saturation_mutagenesis(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[MutagenesisOptions]
) -> Any:
    """Compute the change of the output for every substitution. See `hooks.torch.saturation_mutagenesis`."""
    return _attribute("saturation_mutagenesis", model, X, args, options)


def angle_penalty(
    model: Model, X: tf.Tensor, target: Any = 0, *, args: Sequence[Any] | None = None, output: Head = None,
    axis: int = -1, letters: slice | None = None, n_letters: int | None = None, training: bool = True,
) -> tf.Tensor:  # fmt: skip
    """Measure how far a model's input gradients point off the simplex, as a term to add to its loss.

    Parameters
    ----------
    model : keras.Model or callable
        Is run once more. A Keras model must be on TensorFlow.
    X : tf.Tensor, shape (N, L, n_letters)
        One-hot sequences, also symbolic, as in a tf.function or a `train_step`.
    target, args, output, axis, letters, n_letters
        See `saliency`; without `before_activation`. The papers take the probability, after the sigmoid.
    training : bool
        Whether a Keras model is run as in training, as the papers do.

    Returns
    -------
    tf.Tensor, shape ()
        Degrees; see `hooks.torch.angle_penalty` for the formula.

    Raises
    ------
    TypeError, ValueError
        As `saliency` raises them, and for a Keras model on another backend.

    Examples
    --------
    >>> weights = tf.Variable([[1.0, 2.0, 3.0, 6.0]])
    >>> with tf.GradientTape() as tape:
    ...     penalty = angle_penalty(lambda x: tf.reduce_sum(x * weights, axis=(1, 2)), tf.zeros((2, 1, 4)))
    >>> round(float(penalty), 1), tape.gradient(penalty, weights).shape
    (58.1, TensorShape([1, 4]))
    """
    if is_keras(model):
        keras_hooks.backend(model, "tensorflow")
    options: Options = {"target": target, "output": output, "axis": axis, "letters": letters, "n_letters": n_letters}
    request = make_request(X, args, "tensorflow", **options)
    if request.before_activation:
        raise ValueError("before_activation is not for training; let the model return the value before it")
    x, positions = tf.convert_to_tensor(X), [None if p is None else tf.convert_to_tensor(p) for p in request.positions]
    arrays = tuple(map(tf.convert_to_tensor, request.args))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        if is_keras(model):
            given, named = keras_hooks.arrange(model, x, arrays)
            outputs = call_model(model, *given, **named, training=training)
        else:
            outputs = call_model(model, x, *arrays)
        (value,) = request.values(outputs, positions)
    grad = tape.gradient(value, x)
    if grad is None:
        raise ValueError(_checks.NO_PATH)
    return penalty_of(tf.convert_to_tensor(grad), request.layout, request.letters)


def _step_of(model: Model, X: AnyArray, request: Request, several: bool) -> Step:
    """The step of a model, as a graph where that pays and cannot go stale."""
    if is_keras(model):
        shapes = [tuple(array.shape)[1:] for array in (X, *request.args)]  # of each, TensorFlow relaxes the batch alone
        key = None if request.key is None else (request.key, *shapes)
        kept: Step = keras_hooks.keep(model, key, partial(_graph, request=request.program))
        return kept
    if request.before_activation:
        raise ValueError("before_activation needs a Keras model; let the function return the value before instead")
    if not several or any(taken.output is not None for taken in request.profiles):
        return _step(lambda: model, request)
    chosen = tf.autograph.experimental.do_not_convert(partial(pick, output=request.output))

    def one(x: tf.Tensor, *args: tf.Tensor) -> tf.Tensor:  # since a tf.function cannot return objects of any class
        return chosen(model(x, *args))

    traced = tf.function(one)  # where Python branches of the model become those of a graph
    return _graph(lambda: traced, request._replace(output=None))


def _graph(reference: Callable[[], Any], request: Request) -> Step:
    graph: Step = tf.function(_step(reference, request), autograph=False, reduce_retracing=True)
    return graph


def _step(reference: Callable[[], Any], request: Request) -> Step:
    """Values and gradients of a batch, for a model that `reference` returns."""

    def step(x: tf.Tensor, args: tuple[tf.Tensor, ...], positions: Positions) -> tuple[Arrays, Arrays]:
        model = reference()
        if request.forward_only:
            return request.values(_call(model, x, args, request), positions), []
        with tf.GradientTape(persistent=request.several, watch_accessed_variables=False) as tape:
            tape.watch(x)
            values = request.values(_call(model, x, args, request), positions)
        grads = [tape.gradient(value, x) for value in values[: len(request.targets)]]
        if any(grad is None for grad in grads):
            raise ValueError(_checks.NO_PATH)
        return values, [tf.convert_to_tensor(grad) for grad in grads]

    return step


def _call(model: Model, x: tf.Tensor, args: tuple[tf.Tensor, ...], request: Request) -> Any:
    if request.before_activation:
        return keras_hooks.call_before_activation(model, x, args, request.output, request.inputs)
    return keras_hooks.call(model, x, args, request.inputs) if is_keras(model) else call_model(model, x, *args)


def _framework(X: AnyArray, step: Step) -> Framework:
    tensor = tf.convert_to_tensor

    def gradients(x: AnyArray, args: tuple[AnyArray, ...], positions: Positions) -> tuple[Arrays, Arrays]:
        return step(tensor(x), tuple(map(tensor, args)), [None if p is None else tensor(p) for p in positions])

    see = _see if _is_on_host(X) else None
    return Framework(
        enter=see or tensor,
        gradients=gradients,
        leave=tensor if tf.is_tensor(X) else _read,
        read=_read,
        memory=Memory((tf.errors.ResourceExhaustedError,)),
        see=see,
    )


def _is_on_host(X: AnyArray) -> bool:
    """Whether models run on the CPU, in a precision that NumPy has."""
    return tf.as_dtype(X.dtype) in (tf.float32, tf.float64) and not tf.config.list_physical_devices("GPU")


def _see(array: AnyArray) -> Array:
    return tensors.to_numpy(array, "X") if tf.is_tensor(array) else np.asarray(array)


def _read(array: AnyArray) -> Array:
    return array.numpy() if tf.is_tensor(array) else np.asarray(array)

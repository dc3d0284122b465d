"""TensorFlow functions and Keras models: corrected attributions, and the projection that corrects what passes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Unpack

from .._check import missing_backend

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise missing_backend("TensorFlow", "tensorflow") from error

from .. import ops
from . import _checks, _engine, _methods, _mutagenesis
from . import keras as keras_hooks
from ._options import Options, PathOptions, SampleOptions, takes_options
from ._request import Request, is_keras, make_request
from .keras import SimplexProjection, attach

__all__ = [
    "SimplexProjection",
    "attach",
    "expected_gradients",
    "integrated_gradients",
    "project_gradient",
    "saliency",
    "saturation_mutagenesis",
    "smoothgrad",
]


def project_gradient(x: Any, axis: int = -1, *, letters: slice | None = None, n_letters: int | None = None) -> Any:
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


@takes_options(axis=-1)
def saliency(model: Any, X: Any, args: Sequence[Any] | None = None, **options: Unpack[Options]) -> Any:
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
    return _attribute(model, X, args, *_methods.take("saliency", X, options))


@takes_options(axis=-1, options=PathOptions)
def integrated_gradients(model: Any, X: Any, args: Sequence[Any] | None = None, **options: Unpack[PathOptions]) -> Any:
    """Average the gradient along a path to each sequence, corrected. See `hooks.torch.integrated_gradients`."""
    return _attribute(model, X, args, *_methods.take("integrated_gradients", X, options))


@takes_options(axis=-1, options=PathOptions)
def expected_gradients(model: Any, X: Any, args: Sequence[Any] | None = None, **options: Unpack[PathOptions]) -> Any:
    """Average integrated gradients over several references, corrected. See `hooks.torch.expected_gradients`."""
    return _attribute(model, X, args, *_methods.take("expected_gradients", X, options))


@takes_options(axis=-1, options=SampleOptions)
def smoothgrad(model: Any, X: Any, args: Sequence[Any] | None = None, **options: Unpack[SampleOptions]) -> Any:
    """Average the gradient over samples around each sequence, corrected. See `hooks.torch.smoothgrad`."""
    return _attribute(model, X, args, *_methods.take("smoothgrad", X, options))


@takes_options(axis=-1)
def saturation_mutagenesis(model: Any, X: Any, args: Sequence[Any] | None = None, **options: Unpack[Options]) -> Any:
    """Compute the change of the output for every substitution. See `hooks.torch.saturation_mutagenesis`."""
    return _attribute(model, X, args, *_methods.take("saturation_mutagenesis", X, options))


def _attribute(model: Any, X: Any, args: Sequence[Any] | None, method: _methods.Method | None, options: Options) -> Any:
    """Run a method, None being mutagenesis."""
    if is_keras(model) and keras_hooks.backend(model) != "tensorflow":
        return _other_backend(model)(model, X, args, method, {"axis": -1, **options})
    with opened(model, X, args, method, options) as (request, make):
        return _engine.run(request, X, make, *_mutagenesis.choose(request, method))


@contextmanager
def opened(
    model: Any, X: Any, args: Sequence[Any] | None, method: _methods.Method | None, options: Options
) -> Iterator[tuple[Request, _engine.Make]]:
    """Check a call and make the model ready: what is asked for, and how rows like those of `X` reach the model."""
    given: Options = {"axis": -1, "precision": "float32", "device": None}
    given.update(options)
    if given["precision"] != "float32":
        raise ValueError(f'precision must be "float32"; got {given["precision"]!r}')
    extra = ("convergence_delta",) if method is not None and method.is_path else ()
    request = make_request(X, args, "tensorflow", extra=extra, **given)
    several = _engine.count_rows(request, method or _mutagenesis.mutagenesis(request)) > request.batch_size

    def make(wanted: Request) -> _engine.Framework:
        return _framework(X, _step_of(model, X, wanted, several))

    with nullcontext() if given["device"] is None else tf.device(given["device"]):
        yield request, make


def _other_backend(model: Any) -> Any:
    """Return the same function for the framework that a Keras model runs on."""
    name = keras_hooks.backend(model)
    if name == "jax":
        from .jax import _attribute as other
    elif name == "torch":
        from .torch._running import attribute as other
    else:
        raise ValueError(f"{model.name} is a Keras model on the {name} backend, which has no gradients")
    return other


Step = Callable[[Any, tuple[Any, ...], list[Any]], tuple[list[Any], list[Any]]]
"""From input, arguments and positions to values and gradients."""


def _step_of(model: Any, X: Any, request: Request, several: bool) -> Step:
    """The step of a model, as a graph where that pays and cannot go stale."""
    if is_keras(model):
        shapes = [tuple(array.shape)[1:] for array in (X, *request.args)]  # of each, TensorFlow relaxes the batch alone
        key = None if request.key is None else (request.key, *shapes)
        kept: Step = keras_hooks.keep(model, key, partial(_graph, request=request.program))
        return kept
    if request.before_activation:
        raise ValueError("before_activation needs a Keras model; let the function return the value before instead")
    if not several:
        return _step(lambda: model, request)
    traced = tf.function(model)  # whose Python branches become those of a graph
    return _graph(lambda: traced, request)


def _graph(reference: Callable[[], Any], request: Request) -> Step:
    graph: Step = tf.function(_step(reference, request), autograph=False, reduce_retracing=True)
    return graph


def _step(reference: Callable[[], Any], request: Request) -> Step:
    """Values and gradients of a batch, for a model that `reference` returns."""

    def step(x: Any, args: tuple[Any, ...], positions: list[Any]) -> tuple[list[Any], list[Any]]:
        model = reference()
        if request.forward_only:
            return request.values(_call(model, x, args, request), positions), []
        with tf.GradientTape(persistent=request.several, watch_accessed_variables=False) as tape:
            tape.watch(x)
            values = request.values(_call(model, x, args, request), positions)
        grads = [tape.gradient(value, x) for value in values]
        if any(grad is None for grad in grads):
            raise ValueError(_checks.NO_PATH)
        return values, [tf.convert_to_tensor(grad) for grad in grads]

    return step


def _call(model: Any, x: Any, args: tuple[Any, ...], request: Request) -> Any:
    if request.before_activation:
        return keras_hooks.call_before_activation(model, x, args, request.output)
    return keras_hooks.call(model, x, args) if is_keras(model) else model(x, *args)


def _framework(X: Any, step: Step) -> _engine.Framework:
    return _engine.Framework(
        enter=tf.convert_to_tensor,
        gradients=lambda x, args, positions: step(
            x, args, [None if p is None else tf.convert_to_tensor(p) for p in positions]
        ),
        leave=lambda tensor: tensor if tf.is_tensor(X) else tensor.numpy(),
        read=lambda tensor: tensor.numpy(),
        memory=_engine.Memory((tf.errors.ResourceExhaustedError,)),
    )

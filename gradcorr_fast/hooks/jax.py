"""JAX functions, and Keras models on JAX: corrected attributions, and the projection that corrects what passes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from .._check import missing_backend

try:
    import jax
except ModuleNotFoundError as error:
    raise missing_backend("JAX", "jax") from error

import jax.numpy as jnp
import numpy as np

from .. import ops
from . import _batches

__all__ = ["SimplexProjection", "attach", "project_gradient", "saliency"]


def project_gradient(x: Any, axis: int = -1, *, letters: slice | None = None, n_letters: int | None = None) -> Any:
    """Return `x` unchanged; the gradient that comes back through it is corrected.

    Works under jit, vmap, and derivatives of any mode and order.

    Parameters
    ----------
    x : jax.Array, shape (N, L, n_letters) or any other
        Input of the model, floating point.
    axis : int
        Letter axis.
    letters, n_letters
        See `ops.correct`.

    Returns
    -------
    jax.Array
        The values of `x`. See `hooks.torch.project_gradient` for the formula.

    Examples
    --------
    >>> weights = jnp.array([[1.0, 2.0, 3.0, 6.0]], "float32")
    >>> jax.grad(lambda x: (project_gradient(x) * weights).sum())(jnp.zeros((1, 4), "float32"))
    Array([[-2., -1.,  0.,  3.]], dtype=float32)
    """
    corrected = ops.correct(x, axis=axis, letters=letters, n_letters=n_letters)
    return jax.lax.stop_gradient(x) + (corrected - jax.lax.stop_gradient(corrected))


@dataclass(frozen=True)
class SimplexProjection:
    """Function that does `project_gradient`; put it in front of a model.

    Examples
    --------
    >>> SimplexProjection()(jnp.ones((1, 4), "float32"))
    Array([[1., 1., 1., 1.]], dtype=float32)
    """

    axis: int = -1
    letters: slice | None = None
    n_letters: int | None = None

    def __call__(self, x: Any) -> Any:
        """Return `x`, whose gradient will be corrected."""
        return project_gradient(x, self.axis, letters=self.letters, n_letters=self.n_letters)


class _Attached:
    """A function whose first argument goes through the projection, until removed."""

    def __init__(self, model: Callable[..., Any], projection: SimplexProjection) -> None:
        self._model, self._projection = model, projection
        self._attached = True

    def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
        return self._model(self._projection(x) if self._attached else x, *args, **options)

    def remove(self) -> None:
        """Return to what the function was."""
        self._attached = False

    def __enter__(self) -> "_Attached":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def attach(model: Any, axis: int = -1, *, letters: slice | None = None, n_letters: int | None = None) -> Any:
    """Correct the gradients of a model's input, until removed.

    Parameters
    ----------
    model : callable or keras.Model
        A function cannot be changed from outside: call what this returns in its place. A Keras model on JAX is
        corrected itself, see `hooks.keras.attach`.
    axis, letters, n_letters
        See `project_gradient`.

    Returns
    -------
    context manager with a method `remove`
        Entered, it is the model to call. Functions that were compiled meanwhile keep the projection.

    Examples
    --------
    >>> with attach(lambda x: (x * jnp.array([1.0, 2.0, 3.0, 6.0])).sum()) as model:
    ...     jax.grad(model)(jnp.zeros((1, 4), "float32"))
    Array([[-2., -1.,  0.,  3.]], dtype=float32)
    """
    if _batches.is_keras(model):
        from . import keras

        return keras.attach(model, axis, letters=letters, n_letters=n_letters)
    return _Attached(model, SimplexProjection(axis, letters, n_letters))


def saliency(
    model: Any,
    X: Any,
    args: Sequence[Any] | None = None,
    *,
    target: Any = 0,
    targets: Sequence[Any] | None = None,
    output: Any = None,
    axis: int = -1,
    batch_size: int | str = "auto",
    device: Any = None,
    precision: str = "float32",
    corrected: bool = True,
    random_state: int = 0,
    verbose: bool = False,
    outputs: Sequence[str] | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> Any:
    """Compute the gradient of a model's output with respect to its input, corrected.

    Parameters
    ----------
    model : callable or keras.Model
        A pure function of a batch of sequences (and `args`), a callable pytree such as an Equinox module, or a Keras
        model on JAX. See Notes for what is compiled when.
    X : jax.Array or NumPy array, shape (N, L, n_letters)
        One-hot (or soft) sequences, floating point.
    axis : int
        Letter axis of `X`, by default the last.
    device : jax.Device, optional
        Where to put the batches.
    precision : "float32"
        On other devices than CPUs, matrix products are computed in full float32 whatever the default.
    args, target, targets, output, batch_size, corrected, random_state, verbose, outputs, letters, n_letters
        See `hooks.torch.saliency`, also for the results and errors.

    Notes
    -----
    A function made by jax.jit is used as it is, and compiles once for each shape, however often this is called. Any
    other function is compiled anew in every call that has several batches, since what it closes over may have changed.
    A pytree is compiled once for each structure, a Keras model once until an attribute of a layer is replaced.

    Examples
    --------
    >>> saliency(lambda x: (x * jnp.array([1.0, 2.0, 3.0, 6.0])).sum((1, 2)), np.eye(4, dtype="float32")[None])[0, 0]
    array([-2., -1.,  0.,  3.], dtype=float32)
    """
    request = _batches.make_request(
        X, args, "jax", target=target, targets=targets, output=output, axis=axis, batch_size=batch_size,
        corrected=corrected, verbose=verbose, outputs=outputs, letters=letters, n_letters=n_letters,
    )  # fmt: skip
    if precision != "float32":
        raise ValueError(f'precision must be "float32"; got {precision!r}')
    if str(X.dtype) == "float64" and not jax.config.jax_enable_x64:
        raise TypeError("X is float64, which JAX would cut to float32; convert it, or set jax_enable_x64")
    without_activation: AbstractContextManager[Any] = nullcontext()
    if _batches.is_keras(model):
        from . import keras

        keras.backend(model, "jax")
        call = _keras_call(model, request)
        if request.before_activation:
            without_activation = keras.without_activation(model, output)
    elif request.before_activation:
        raise ValueError("before_activation needs a Keras model; let the function return the value before instead")
    else:
        call = _compiled(model, several=len(X) > request.batch_size)
    on_cpu = jax.default_backend() == "cpu"
    with without_activation, nullcontext() if on_cpu else jax.default_matmul_precision("highest"):
        return _batches.run(request, X, _framework(call, X, request, device))


def _framework(call: Callable[..., Any], X: Any, request: _batches.Request, device: Any) -> _batches.Framework:
    def gradients(x: Any, args: tuple[Any, ...], positions: list[Any]) -> tuple[list[Any], list[Any]]:
        own = [None if p is None else jnp.asarray(p) for p in positions]

        def values_of(x: Any) -> list[Any]:
            return request.values(call(x, *args), own)

        values, pullback = jax.vjp(values_of, x)
        grads = []
        for k in range(len(values)):
            one = [jnp.full_like(value, j == k) for j, value in enumerate(values)]
            (grad,) = pullback(one)
            if not grad.any() and not _depends(lambda x: jax.vjp(values_of, x)[1](one)[0], x):  # noqa: B023
                raise ValueError(_batches.NO_PATH)
            grads.append(grad)
        return values, grads

    return _batches.Framework(
        enter=lambda rows: jax.device_put(rows, device),
        gradients=gradients,
        leave=lambda array: array if isinstance(X, jax.Array) else np.asarray(array),
        read=np.asarray,
    )


def _depends(function: Callable[[Any], Any], x: Any) -> bool:
    """Whether the result of a function is computed from anything, its argument or a constant array."""
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    needed = {id(variable) for variable in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            needed |= {id(variable) for variable in equation.invars}
    return any(id(variable) in needed for variable in (*jaxpr.invars, *jaxpr.constvars))


def _compiled(model: Any, several: bool) -> Callable[..., Any]:
    """The model as a function that is compiled where that pays and cannot go stale."""
    compiled: Callable[..., Any] = model
    leaves, structure = jax.tree.flatten(model)
    if isinstance(model, jax.stages.Wrapped):
        return compiled
    if structure != jax.tree.structure(0):  # a pytree: its arrays are arguments, the rest is part of the program
        arrays = [leaf if isinstance(leaf, jax.Array | np.ndarray) else None for leaf in leaves]
        rest = tuple(None if array is not None else leaf for leaf, array in zip(leaves, arrays, strict=True))
        return partial(_call_pytree, (structure, rest), arrays)
    if several:
        compiled = jax.jit(lambda *inputs: model(*inputs))
    return compiled


@partial(jax.jit, static_argnums=0)
def _call_pytree(program: Any, arrays: list[Any], *inputs: Any) -> Any:
    structure, rest = program
    leaves = [other if array is None else array for array, other in zip(arrays, rest, strict=True)]
    return jax.tree.unflatten(structure, leaves)(*inputs)


def _keras_call(model: Any, request: _batches.Request) -> Callable[..., Any]:
    """A Keras model as a function; compiled with its weights as arguments, and kept with the model."""
    from . import keras

    def build(reference: Callable[[], Any]) -> Any:
        def call(trainable: Any, other: Any, *inputs: Any) -> Any:
            x = list(inputs) if len(inputs) > 1 else inputs[0]
            return reference().stateless_call(trainable, other, x, training=False)[0]

        return jax.jit(call)

    output = request.output if request.before_activation else None
    compiled = keras.keep(model, ("jax", request.before_activation, output), build)
    weights = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
    return partial(compiled, *weights)

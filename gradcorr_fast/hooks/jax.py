"""JAX functions, and Keras models on JAX: corrected attributions, and the projection that corrects what passes."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Unpack

from .._check import missing_backend

try:
    import jax
except ModuleNotFoundError as error:
    raise missing_backend("JAX", "jax") from error

import jax.numpy as jnp
import numpy as np

from .. import ops
from .._types import AnyArray, Model
from . import _flax
from ._attempts import Memory
from ._engine import attribute, count_rows
from ._inputs import arranged
from ._options import MutagenesisOptions, Options, PathOptions, SampleOptions, takes_options
from ._outputs import Head, call_model
from ._penalty import penalty_of
from ._ready import Arrays, Framework, Method, Positions, ReadyModel, Step, stay
from ._request import Request, is_keras, make_request

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
    x: jax.Array, axis: int = -1, *, letters: slice | None = None, n_letters: int | None = None
) -> jax.Array:
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

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return `x`, whose gradient will be corrected."""
        return project_gradient(x, self.axis, letters=self.letters, n_letters=self.n_letters)


class _Attached:
    """A function whose first argument goes through the projection, until removed."""

    def __init__(self, model: Callable[..., Any], projection: SimplexProjection) -> None:
        self._model, self._projection = model, projection
        self._attached = True

    def __call__(self, x: jax.Array, *args: Any, **options: Any) -> Any:
        return self._model(self._projection(x) if self._attached else x, *args, **options)

    def remove(self) -> None:
        """Return to what the function was."""
        self._attached = False

    def __enter__(self) -> "_Attached":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def attach(model: Model, axis: int = -1, *, letters: slice | None = None, n_letters: int | None = None) -> Any:
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
    if is_keras(model):
        from . import keras

        return keras.attach(model, axis, letters=letters, n_letters=n_letters)
    return _Attached(model, SimplexProjection(axis, letters, n_letters))


@contextmanager
def prepare(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None, method: Method, options: Options
) -> Iterator[ReadyModel]:
    """Check a call and make the model ready for it; see `_engine.Prepare`."""
    given: Options = {"axis": -1, "precision": "float32", "device": None}
    given.update(options)
    if is_keras(model):
        from . import keras

        model, given["output"] = keras.find_output(model, given.get("output"))
    request = make_request(X, args, "jax", extra=method.extra, **given)
    if given["precision"] != "float32":
        raise ValueError(f'precision must be "float32"; got {given["precision"]!r}')
    if str(X.dtype) == "float64" and not jax.config.jax_enable_x64:
        raise TypeError("X is float64, which JAX would cut to float32; convert it, or set jax_enable_x64")
    several = count_rows(request, method) > request.batch_size
    called = model if is_keras(model) else arranged(model, request.inputs)

    def make(wanted: Request) -> Framework:
        return _framework(_step_of(called, wanted, several), X, given["device"])

    with (
        nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest"),
        _flax.evaluating(model),
    ):
        yield ReadyModel(request, make)


_attribute = partial(attribute, prepare)


@takes_options(axis=-1)
def saliency(model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[Options]) -> Any:
    """Compute the gradient of a model's output with respect to its input, corrected.

    Parameters
    ----------
    model : callable or keras.Model
        A pure function of a batch of sequences (and `args`), a callable pytree such as an Equinox or Flax NNX module,
        or a Keras model on JAX. See Notes for what is compiled when. NNX modules, also those that a function calls, are
        put into evaluation mode, and back; a compiled function that calls one in training mode is refused.
    X : jax.Array or NumPy array, shape (N, L, n_letters)
        One-hot (or soft) sequences, floating point.
    axis : int
        Letter axis of `X`, by default the last.
    device : jax.Device, optional
        Where to put the batches.
    precision : "float32"
        On other devices than CPUs, matrix products are computed in full float32 whatever the default.
    optimize : 0
        Faster copies are made of PyTorch models alone; XLA folds and orders memory by itself.
    args, options
        See `hooks.torch.saliency`, also for the results and errors.

    Notes
    -----
    The gradient of a function made by jax.jit is compiled once for each shape, however often this is called. Any other
    function is compiled anew in every call that has several batches, since what it closes over may have changed. A
    pytree is compiled once for each structure (what is no array in it is taken as fixed), a Keras model of Keras' own
    layers once until an attribute of a layer is replaced. A target that is your function has everything compiled anew.

    Examples
    --------
    >>> saliency(lambda x: (x * jnp.array([1.0, 2.0, 3.0, 6.0])).sum((1, 2)), np.eye(4, dtype="float32")[None])[0, 0]
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
    model: Model, X: jax.Array, target: Any = 0, *, args: Sequence[Any] | None = None, output: Head = None,
    axis: int = -1, letters: slice | None = None, n_letters: int | None = None,
) -> jax.Array:  # fmt: skip
    """Measure how far a model's input gradients point off the simplex, as a term to add to its loss.

    Parameters
    ----------
    model : callable
        A function of the sequences, such as ``lambda x: apply(parameters, x)`` inside of a loss, whose derivative with
        respect to the parameters is then taken; also in jit. A Keras model on JAX inside its StatelessScope.
    X : jax.Array, shape (N, L, n_letters)
    target, args, output, axis, letters, n_letters
        See `saliency`; without `before_activation`. The papers take the probability, after the sigmoid.

    Returns
    -------
    jax.Array, shape ()
        Degrees; see `hooks.torch.angle_penalty` for the formula.

    Examples
    --------
    >>> def penalty(weights): return angle_penalty(lambda x: (x * weights).sum((1, 2)), jnp.zeros((2, 1, 4)))
    >>> weights = jnp.array([[1.0, 2.0, 3.0, 6.0]])
    >>> round(float(penalty(weights)), 1), jax.grad(penalty)(weights).shape
    (58.1, (1, 4))
    """
    options: Options = {"target": target, "output": output, "axis": axis, "letters": letters, "n_letters": n_letters}
    request = make_request(X, args, "jax", **options)
    if request.before_activation:
        raise ValueError("before_activation is not for training; let the model return the value before it")

    def total(x: jax.Array) -> jax.Array:
        if is_keras(model):
            from . import keras

            (value,) = request.values(keras.call(model, x, request.args), request.positions)
        else:
            (value,) = request.values(call_model(model, x, *request.args), request.positions)
        return value.sum()

    return penalty_of(jax.grad(total)(jnp.asarray(X)), request.layout, request.letters)


def _framework(step: Step, X: AnyArray, device: jax.Device | None) -> Framework:
    def has_path(x: jax.Array, args: tuple[jax.Array, ...], positions: Positions, target: int) -> bool:
        return _depends(lambda x: step(x, args, positions)[1][target], x)

    see = np.asarray if _is_on_host(X, device) else None
    return Framework(
        enter=see or partial(jax.device_put, device=device),
        gradients=step,
        leave=jnp.asarray if isinstance(X, jax.Array) else np.asarray,
        read=np.asarray,
        memory=Memory((jax.errors.JaxRuntimeError,), lambda error: "RESOURCE_EXHAUSTED" in str(error)),
        has_path=has_path,
        see=see,
        runs_ahead=True,
        fetch=stay if see else _fetch,
    )


def _fetch(arrays: Arrays) -> Callable[[], Arrays]:
    """Let XLA copy arrays to the host when they are done; NumPy then finds the copies."""
    for array in arrays:
        if isinstance(array, jax.Array):
            array.copy_to_host_async()
    return stay(arrays)


def _is_on_host(X: AnyArray, device: jax.Device | None) -> bool:
    """Whether the model runs on one CPU, in a precision that NumPy has."""
    if isinstance(X, jax.Array):
        devices = X.devices() if device is None else {device}
    else:
        devices = {device or jax.devices()[0]}
    is_one = len(devices) == 1 and next(iter(devices)).platform == "cpu"
    return is_one and next(iter(devices)) == jax.devices()[0] and str(X.dtype) in ("float32", "float64")


def _depends(function: Callable[[Any], Any], x: jax.Array) -> bool:
    """Whether the result of a function is computed from anything, its argument or a constant array."""
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    needed = {id(jaxpr.outvars[0])}
    while len(jaxpr.eqns) == 1 and "jaxpr" in jaxpr.eqns[0].params:  # a compiled function: look inside
        number = jaxpr.eqns[0].outvars.index(jaxpr.outvars[0])
        jaxpr = jaxpr.eqns[0].params["jaxpr"].jaxpr
        needed = {id(jaxpr.outvars[number])}
    for equation in reversed(jaxpr.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            needed |= {id(variable) for variable in equation.invars}
    return any(id(variable) in needed for variable in (*jaxpr.invars, *jaxpr.constvars))


def _step(call: Callable[..., Any], request: Request) -> Step:
    """Values and gradients, from one run of the model `call`."""

    def step(x: jax.Array, args: tuple[jax.Array, ...], positions: Positions) -> tuple[Arrays, Arrays]:
        if request.forward_only:
            return request.values(call(x, *args), positions), []
        n = len(request.targets)

        def parted(x: jax.Array) -> tuple[Arrays, Arrays]:
            found = request.values(call(x, *args), positions)
            return found[:n], found[n:]

        values, pullback, profiles = jax.vjp(parted, x, has_aux=True)
        ones = [[jnp.full_like(value, j == k) for j, value in enumerate(values)] for k in range(n)]
        return values + profiles, [pullback(one)[0] for one in ones]

    return step


_kept: weakref.WeakKeyDictionary[Any, dict[Any, Step]] = weakref.WeakKeyDictionary()
"""Programs made for functions that users compiled themselves."""


def _step_of(model: Model, request: Request, several: bool) -> Step:
    """The step of a model, compiled where that pays and cannot go stale."""
    if is_keras(model):
        return _keras_step(model, request)
    if request.before_activation:
        raise ValueError("before_activation needs a Keras model; let the function return the value before instead")
    leaves, structure = jax.tree.flatten(model)
    if isinstance(model, jax.stages.Wrapped):
        if request.key is None:
            return jax.jit(_step(partial(call_model, model), request))  # type: ignore[no-any-return]
        reference = weakref.ref(model)
        steps = _kept.setdefault(model, {})
        if request.key not in steps:
            steps[request.key] = jax.jit(_step(lambda *inputs: call_model(reference(), *inputs), request.program))
        return steps[request.key]
    if structure != jax.tree.structure(0) and request.key is not None:  # a pytree: its arrays are arguments
        arrays = [leaf if isinstance(leaf, jax.Array | np.ndarray) else None for leaf in leaves]
        rest = tuple(None if array is not None else leaf for leaf, array in zip(leaves, arrays, strict=True))
        return partial(_pytree_step, _Program(structure, rest, request.key, request.program), arrays)
    step = _step(partial(call_model, model), request)
    return jax.jit(step) if several else step


class _Program(NamedTuple):
    """What a program for a pytree depends on, besides the arrays."""

    structure: Any
    rest: tuple[Any, ...]
    key: Any
    request: Request

    def __eq__(self, other: object) -> bool:
        try:
            return isinstance(other, _Program) and self[:3] == other[:3]
        except ValueError:  # arrays among what is not a leaf: compile again
            return False

    def __hash__(self) -> int:
        return hash(self[:3])


@partial(jax.jit, static_argnums=0)
def _pytree_step(
    program: _Program, arrays: list[Any], x: jax.Array, args: tuple[jax.Array, ...], positions: Positions
) -> Any:
    leaves = [other if array is None else array for array, other in zip(arrays, program.rest, strict=True)]
    model = jax.tree.unflatten(program.structure, leaves)
    return _step(partial(call_model, model), program.request)(x, args, positions)


def _keras_step(model: Model, request: Request) -> Step:
    """The step of a Keras model; compiled with its weights as arguments, and kept with the model."""
    from . import keras

    keras.backend(model, "jax")

    request = request.program

    def build(reference: Callable[[], Any]) -> Any:
        def step(weights: Arrays, x: jax.Array, args: tuple[jax.Array, ...], positions: Positions) -> Any:
            def call(x: jax.Array, *args: jax.Array) -> Any:
                model = reference()
                with keras.stateless(model, weights):
                    if request.before_activation:
                        return keras.call_before_activation(model, x, args, request.output, request.inputs)
                    return keras.call(model, x, args, request.inputs)

            return _step(call, request)(x, args, positions)

        return jax.jit(step)

    compiled = keras.keep(model, request.key, build)
    return partial(compiled, [variable.value for variable in model.variables])

"""JAX arrays: the Numba kernels on the memory of concrete CPU arrays, the reference formula under jit everywhere else.

Everything else is tracers (jit, grad, vmap, jacrev), other devices and arrays sharded over several devices.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np

from .._check import Call, check_float, check_x
from .._types import AnyArray, Array
from ..kernels import reference
from . import _arrays, _numba
from ._arrays import widened
from ._contract import Namespace, Operation, Place

XP = Namespace(
    sum=jnp.sum,
    mean=jnp.mean,
    max=jnp.max,
    abs=jnp.abs,
    sqrt=jnp.sqrt,
    where=jnp.where,
    atan2=jnp.arctan2,
    log=jnp.log,
    log1p=jnp.log1p,
    exp=jnp.exp,
    cumsum=jnp.cumsum,
    argmax=jnp.argmax,
    take=jnp.take,
    reshape=jnp.reshape,
    stack=jnp.stack,
    concat=jnp.concatenate,
    asarray=lambda values, like: jnp.asarray(np.asarray(values) if isinstance(values, range) else values, like.dtype),
    stop_gradient=jax.lax.stop_gradient,
)
IS_LAZY = False
DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {}


def _by_letter(combine: Operation, otherwise: Operation) -> Operation:
    """Reduce four letters one after the other: XLA fuses that into one loop, while its reductions are loops apart."""

    def reduction(array: AnyArray, axis: int, keepdims: bool = False) -> AnyArray:
        if array.shape[axis] != 4:
            return otherwise(array, axis=axis, keepdims=keepdims)
        return reduce(combine, [jax.lax.index_in_dim(array, a, axis, keepdims) for a in range(4)])

    return reduction


_sum = _by_letter(operator.add, jnp.sum)
_LETTERS = replace(
    XP,
    sum=_sum,
    mean=lambda array, axis, keepdims=False: _sum(array, axis, keepdims) / array.shape[axis],
    max=_by_letter(jnp.maximum, jnp.max),
)
"""As XP, for reductions over the letters of each position."""


def shape(array: AnyArray) -> tuple[int, ...]:
    """Shape of an array."""
    return tuple(array.shape)


def dtype_name(array: AnyArray) -> str:
    """Name of the dtype."""
    return str(array.dtype.name)


def place(arrays: Sequence[AnyArray]) -> Place:
    """The host, or the formula for all that is traced or elsewhere."""
    return "host" if all(is_on_host(array) for array in arrays) else "formula"


def is_differentiated(arrays: Sequence[AnyArray]) -> bool:
    """No: what JAX differentiates it traces."""
    return False


def run(call: Call, grad: AnyArray, x: AnyArray, out: Sequence[AnyArray]) -> tuple[AnyArray, ...]:
    """Produce ``call.fields``; JAX arrays are immutable, so nothing can be filled."""
    if any(array is not None for array in out):
        raise TypeError("JAX arrays cannot be written to; leave out= away")
    check_float(grad.dtype.name)
    if x is not None:
        check_x(x.shape, jnp.issubdtype(x.dtype, jnp.integer), x.dtype.name, grad.shape, call.axis)
    inputs = (grad,) if x is None else (grad, x)
    if not all(is_on_host(array) for array in inputs):
        return tuple(_traced(call, *inputs))
    if len({array.device for array in inputs}) > 1:
        raise ValueError(f"grad is on {grad.device} and x on {x.device}; move one with jax.device_put")
    arrays = np.asarray(grad), None if x is None else np.asarray(x)
    results = _numba.run(call, *arrays, out, empty=_arrays.empty_aligned)
    # JAX keeps the memory of aligned arrays; nobody else has them, so nobody writes to what it takes as immutable.
    return tuple(jax.device_put(results, grad.device, may_alias=True))


def embed(part: AnyArray, index: tuple[slice, ...], grad: AnyArray, out: AnyArray) -> AnyArray:
    """Return `grad` with `part` at `index`."""
    return grad.astype(part.dtype).at[index].set(part)


def angle_summary(
    grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray
) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    if isinstance(grad, jax.core.Tracer):
        raise TypeError(
            "angle_summary returns NumPy arrays and cannot be traced; use simplex_angle inside the function"
        )
    mask = None if mask is None else np.asarray(mask)
    return _numba.angle_summary(np.asarray(grad), axis, thresholds, bins, mask)


def flip(array: AnyArray, axes: Sequence[int]) -> AnyArray:
    """The array with some axes reversed."""
    return jnp.flip(array, tuple(axes))


def to_host(array: AnyArray) -> Array:
    """What the array holds; bfloat16 as float32."""
    return widened(np.asarray(array))


def to_numpy(array: AnyArray, argument: str) -> Array:
    """The array as NumPy sees it, on the same memory."""
    if not is_on_host(array):
        raise ValueError(f"{argument} is traced or not on one CPU device; pass a concrete CPU array")
    return np.asarray(array)


def from_numpy(array: Array) -> AnyArray:
    """A new array as one of this library."""
    return jnp.asarray(array)


def is_on_host(array: AnyArray) -> bool:
    """Whether the kernels may read the array's memory: concrete, on one CPU device."""
    if isinstance(array, jax.core.Tracer):
        return False
    devices = array.devices()
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


@partial(jax.jit, static_argnums=0)
def _traced(call: Call, grad: AnyArray, x: AnyArray = None) -> tuple[AnyArray, ...]:
    wide = grad.astype(jnp.float64 if grad.dtype == jnp.float64 else jnp.float32)
    results = reference.analyze(wide, x, xp=_LETTERS, **call._asdict())
    return tuple(
        result.astype(grad.dtype) if field == "corrected" else result
        for field, result in zip(call.fields, results, strict=True)
    )

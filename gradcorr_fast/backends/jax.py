"""JAX arrays: the Numba kernels on the memory of concrete CPU arrays, the reference formula under jit everywhere else.

Everything else is tracers (jit, grad, vmap, jacrev), other devices and arrays sharded over several devices.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._check import Call, check_float, check_x
from ..kernels import reference
from . import numpy as numpy_backend

XP = SimpleNamespace(
    sum=jnp.sum,
    mean=jnp.mean,
    max=jnp.max,
    abs=jnp.abs,
    sqrt=jnp.sqrt,
    where=jnp.where,
    atan2=jnp.arctan2,
    log=jnp.log,
    log1p=jnp.log1p,
    take=jnp.take,
    reshape=jnp.reshape,
    stack=jnp.stack,
    concat=jnp.concatenate,
    asarray=lambda values, like: jnp.asarray(np.asarray(values) if isinstance(values, range) else values, like.dtype),
    stop_gradient=jax.lax.stop_gradient,
)


def _by_letter(combine: Callable[[Any, Any], Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Reduce four letters one after the other: XLA fuses that into one loop, while its reductions are loops apart."""

    def reduction(array: Any, axis: int, keepdims: bool = False) -> Any:
        if array.shape[axis] != 4:
            return otherwise(array, axis=axis, keepdims=keepdims)
        return reduce(combine, [jax.lax.index_in_dim(array, a, axis, keepdims) for a in range(4)])

    return reduction


_sum = _by_letter(operator.add, jnp.sum)
_LETTERS = SimpleNamespace(
    **vars(XP)
    | {
        "sum": _sum,
        "mean": lambda array, axis, keepdims=False: _sum(array, axis, keepdims) / array.shape[axis],
        "max": _by_letter(jnp.maximum, jnp.max),
    }
)
"""As XP, for reductions over the letters of each position."""


def shape(array: Any) -> tuple[int, ...]:
    """Shape of an array."""
    return tuple(array.shape)


def run(call: Call, grad: Any, x: Any, out: Sequence[Any]) -> tuple[Any, ...]:
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
    results = numpy_backend.run(call, *arrays, out, empty=numpy_backend.empty_aligned)
    # JAX keeps the memory of aligned arrays; nobody else has them, so nobody writes to what it takes as immutable.
    return tuple(jax.device_put(results, grad.device, may_alias=True))


def embed(part: Any, index: tuple[slice, ...], grad: Any, out: Any) -> Any:
    """Return `grad` with `part` at `index`."""
    return grad.astype(part.dtype).at[index].set(part)


def angle_summary(grad: Any, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Any, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    if isinstance(grad, jax.core.Tracer):
        raise TypeError(
            "angle_summary returns NumPy arrays and cannot be traced; use simplex_angle inside the function"
        )
    mask = None if mask is None else np.asarray(mask)
    return numpy_backend.angle_summary(np.asarray(grad), axis, thresholds, bins, mask)


def to_numpy(array: Any, argument: str) -> Any:
    """The array as NumPy sees it, on the same memory."""
    if not is_on_host(array):
        raise ValueError(f"{argument} is traced or not on one CPU device; pass a concrete CPU array")
    return np.asarray(array)


def from_numpy(array: Any) -> Any:
    """A new array as one of this library."""
    return jnp.asarray(array)


def is_on_host(array: Any) -> bool:
    """Whether the kernels may read the array's memory: concrete, on one CPU device."""
    if isinstance(array, jax.core.Tracer):
        return False
    devices = array.devices()
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


@partial(jax.jit, static_argnums=0)
def _traced(call: Call, grad: Any, x: Any = None) -> tuple[Any, ...]:
    wide = grad.astype(jnp.float64 if grad.dtype == jnp.float64 else jnp.float32)
    results = reference.analyze(wide, x, xp=_LETTERS, **call._asdict())
    return tuple(
        result.astype(grad.dtype) if field == "corrected" else result
        for field, result in zip(call.fields, results, strict=True)
    )

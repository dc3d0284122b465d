"""JAX: the formula as `jax.jit` compiles it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..._types import AnyArray, Array
from .._cases import Case
from .._host import host_copy
from .._timing import Call, Clock
from . import Formula

DTYPES = ("float32", "bfloat16", "float16")  # float64 needs a switch that JAX has for the whole process
HAS_OUT = False
ERRORS: tuple[type[Exception], ...] = ()


def standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, as that of torch, with the same lack of scaling."""
    corrected = grad - grad.mean(axis=axis, keepdims=True)
    norm = jnp.linalg.norm(corrected, axis=axis)
    angle = jnp.rad2deg(jnp.arctan2(0.5 * grad.sum(axis=axis), norm))
    return corrected, angle, (corrected * one_hot).sum(axis=axis)


def _work(grad: Any, one_hot: Any, *, axis: int) -> tuple[Any, Any, Any]:
    wide = grad.astype(jnp.float32) if grad.dtype.itemsize < 4 else grad
    corrected, angle, product = standard_work(wide, one_hot, axis=axis)
    return corrected.astype(grad.dtype), angle, product


def _eager(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    return partial(_work, grad, one_hot, axis=case.axis)


def _compiled(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    return partial(jax.jit(partial(_work, axis=case.axis)), grad, one_hot)


FORMULAS = (
    Formula("JAX eager", _eager, ("standard work",)),
    Formula("jax.jit", _compiled, ("standard work",), is_compiled=True),
)


def devices() -> list[str]:
    """The CPU, and GPUs or TPUs: "cuda:0", "tpu:0", ..."""
    others = [each for each in jax.devices() if each.platform != "cpu"]
    return ["cpu", *(f"{_platform(each)}:{each.id}" for each in others)]


def _platform(device: Any) -> str:
    return "cuda" if device.platform in ("gpu", "cuda") else str(device.platform)


def _device(name: str) -> Any:
    if name == "cpu":
        return jax.devices("cpu")[0]
    return next(each for each in jax.devices() if f"{_platform(each)}:{each.id}" == name)


def clock(device: str) -> Clock:
    """XLA has no events that Python could record: results are waited for."""
    return Clock(wait=_wait)


def _wait(result: Any) -> Any:
    if isinstance(result, tuple):
        return jax.block_until_ready([part for part in result if part is not None])
    return jax.block_until_ready(result)


def array(array: Array, dtype: str | None, device: str) -> Any:
    """Copy to the device."""
    return jax.device_put(array if dtype is None else array.astype(jnp.dtype(dtype)), _device(device))


def empty(shape: tuple[int, ...], dtype: str, device: str) -> Any:
    """JAX writes into nothing that is given."""
    raise TypeError("JAX arrays cannot be written to")


def copy(n_bytes: int, device: str) -> Call:
    """A sum with one in XLA, which reads and writes the same bytes; on the CPU the copy of all libraries."""
    if device == "cpu":
        return host_copy(n_bytes)
    source = jax.device_put(jnp.ones(max(1, n_bytes // 8), jnp.float32), _device(device))
    return partial(jax.jit(lambda values: values + 1), source)


def bus_id(device: str) -> None:
    """JAX does not tell."""


def free_bytes(device: str) -> int | None:
    """What XLA may still take."""
    stats = None if device == "cpu" else _device(device).memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"] if stats and "bytes_limit" in stats else None


def tidy() -> None:
    """XLA gives it back by itself, as it does not take all at once; see `_running.load_libraries`."""

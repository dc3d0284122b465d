"""TensorFlow: the formula as `tf.function` and XLA compile it."""

from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from ..._types import AnyArray, Array
from .._cases import Case
from .._host import host_copy
from .._timing import Call, Clock
from . import Formula

DTYPES = ("float32", "bfloat16", "float16", "float64")
HAS_OUT = False
ERRORS: tuple[type[Exception], ...] = (tf.errors.OpError,)


def standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, as that of torch, with the same lack of scaling."""
    corrected = grad - tf.reduce_mean(grad, axis=axis, keepdims=True)
    norm = tf.norm(corrected, axis=axis)
    angle = tf.atan2(0.5 * tf.reduce_sum(grad, axis=axis), norm) * (180 / np.pi)
    return corrected, angle, tf.reduce_sum(corrected * one_hot, axis=axis)


def _work(grad: Any, one_hot: Any, *, axis: int) -> tuple[Any, Any, Any]:
    wide = tf.cast(grad, tf.float32) if grad.dtype.size < 4 else grad
    corrected, angle, product = standard_work(wide, tf.cast(one_hot, wide.dtype), axis=axis)
    return tf.cast(corrected, grad.dtype), angle, product


def _eager(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    return _placed(grad, partial(_work, grad, one_hot, axis=case.axis))


def _placed(array: AnyArray, call: Call) -> Call:
    """Run where an array is: TensorFlow would move it to the first GPU."""

    def on_its_device() -> Any:
        with tf.device(array.device):
            return call()

    return on_its_device


def _compiled(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    return _placed(grad, partial(tf.function(partial(_work, axis=case.axis), jit_compile=True), grad, one_hot))


FORMULAS = (
    Formula("TensorFlow eager", _eager, ("standard work",)),
    Formula("tf.function, XLA", _compiled, ("standard work",), is_compiled=True),
)


def devices() -> list[str]:
    """The CPU and every GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    with suppress(RuntimeError):  # in a process that has used them already
        for gpu in gpus:  # or TensorFlow takes all of their memory at once
            tf.config.experimental.set_memory_growth(gpu, True)
    return ["cpu", *(f"cuda:{k}" for k in range(len(gpus)))]


def _device(name: str) -> str:
    return "/CPU:0" if name == "cpu" else f"/GPU:{name.partition(':')[2] or 0}"


def clock(device: str) -> Clock:
    """Results on GPUs are waited for."""
    return Clock() if device == "cpu" else Clock(wait=lambda result: tf.test.experimental.sync_devices())


def array(array: Array, dtype: str | None, device: str) -> Any:
    """Copy to the device."""
    with tf.device(_device(device)):
        whole = tf.identity(tf.convert_to_tensor(array))
        return whole if dtype is None else tf.cast(whole, dtype)


def empty(shape: tuple[int, ...], dtype: str, device: str) -> Any:
    """TensorFlow writes into nothing that is given."""
    raise TypeError("TensorFlow's tensors cannot be written to")


def copy(n_bytes: int, device: str) -> Call:
    """A sum with one, which reads and writes the same bytes; on the CPU the copy of all libraries."""
    if device == "cpu":
        return host_copy(n_bytes)
    with tf.device(_device(device)):
        source = tf.ones(max(1, n_bytes // 8), tf.float32)
    return _placed(source, lambda: source + 1.0)


def bus_id(device: str) -> str | None:
    """As XLA names it."""
    if device == "cpu":
        return None
    gpu = tf.config.list_physical_devices("GPU")[int(device.partition(":")[2] or 0)]
    found = tf.config.experimental.get_device_details(gpu).get("pci_bus_id")
    return None if found is None else str(found)


def free_bytes(device: str) -> None:
    """TensorFlow does not tell."""


def tidy() -> None:
    """TensorFlow keeps it until the process ends."""

"""CuPy: the authors' formulas on its arrays, in either layout."""

from functools import partial
from typing import Any

import cupy

from ..._types import AnyArray, Array
from .._cases import Case
from .._timing import Call, Clock
from . import Formula

DTYPES = ("float32", "float16", "float64")
HAS_OUT = True
ERRORS: tuple[type[Exception], ...] = ()


def standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, centring once."""
    corrected = grad - grad.mean(axis, keepdims=True)
    norm = cupy.sqrt((corrected * corrected).sum(axis))
    angle = cupy.rad2deg(cupy.arctan2(0.5 * grad.sum(axis), norm))
    return corrected, angle, (corrected * one_hot).sum(axis)


def _work(grad: Any, one_hot: Any, *, axis: int) -> tuple[Any, Any, Any]:
    wide = grad.astype("float32") if grad.dtype.itemsize < 4 else grad
    corrected, angle, product = standard_work(wide, one_hot, axis=axis)
    return corrected.astype(grad.dtype, copy=False), angle, product


def _eager(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    return partial(_work, grad, one_hot, axis=case.axis)


FORMULAS = (Formula("CuPy", _eager, ("standard work",)),)


class Stamp:
    """An event, with the method that torch's have."""

    def __init__(self) -> None:
        self.event = cupy.cuda.Event()
        self.event.record()

    def elapsed_time(self, later: "Stamp") -> float:
        """Milliseconds until a later one."""
        return float(cupy.cuda.get_elapsed_time(self.event, later.event))


class Events:
    """The queue of a CUDA device: CuPy's current stream there."""

    def __init__(self, number: int) -> None:
        self.device = cupy.cuda.Device(number)

    def event(self) -> Stamp:
        """Record an event."""
        return Stamp()

    def synchronize(self) -> None:
        """Wait for the device."""
        self.device.synchronize()


def devices() -> list[str]:
    """Every CUDA device."""
    return [f"cuda:{k}" for k in range(cupy.cuda.runtime.getDeviceCount())]


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def clock(device: str) -> Clock:
    """Events, on the device that is the current one from now on."""
    cupy.cuda.Device(_number(device)).use()
    return Clock(Events(_number(device)))


def array(array: Array, dtype: str | None, device: str) -> Any:
    """Copy to the device."""
    with cupy.cuda.Device(_number(device)):
        return cupy.asarray(array, dtype)


def empty(shape: tuple[int, ...], dtype: str, device: str) -> Any:
    """Memory for a result."""
    with cupy.cuda.Device(_number(device)):
        return cupy.empty(shape, dtype)


def copy(n_bytes: int, device: str) -> Call:
    """The driver's copy on the device."""
    with cupy.cuda.Device(_number(device)):
        source, target = (cupy.ones(max(1, n_bytes // 2), "uint8") for _ in range(2))
    return lambda: cupy.copyto(target, source)


def bus_id(device: str) -> str:
    """As the driver names it."""
    return str(cupy.cuda.Device(_number(device)).pci_bus_id)


def free_bytes(device: str) -> int:
    """As the driver tells, with what CuPy's pool keeps."""
    free, _ = cupy.cuda.Device(_number(device)).mem_info
    return int(free + cupy.get_default_memory_pool().free_bytes())


def tidy() -> None:
    """Empty the pool."""
    cupy.get_default_memory_pool().free_all_blocks()

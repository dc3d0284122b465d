"""PyTorch: what one writes without a library, (N, L, 4) with axis=-1, (N, 4, L) with axis=1."""

from functools import partial
from typing import Any

import torch

from ..._types import AnyArray, Array
from ...kernels import threads
from .._cases import Case
from .._host import host_copy
from .._timing import Call, Clock
from . import Formula

DTYPES = ("float32", "bfloat16", "float16", "float64")
HAS_OUT = True
ERRORS: tuple[type[Exception], ...] = ()


def correct(grad: Any, *, axis: int = -1) -> Any:
    """Centre a tensor. The same definition as ours."""
    return grad - grad.mean(dim=axis, keepdim=True)


def simplex_angle(grad: Any, *, axis: int = -1) -> Any:
    """Signed angle in degrees. The same definition as ours, but without scaling: squares over- and underflow."""
    norm = torch.linalg.vector_norm(correct(grad, axis=axis), dim=axis)
    return torch.rad2deg(torch.atan2(0.5 * grad.sum(dim=axis), norm))


def grad_times_input(grad: Any, one_hot: Any, *, axis: int = -1) -> Any:
    """Corrected gradient times one-hot input. The same definition as ours, except that it takes no codes."""
    return (correct(grad, axis=axis) * one_hot).sum(dim=axis)


def standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, centring once; also what `torch.compile` is given."""
    corrected = correct(grad, axis=axis)
    norm = torch.linalg.vector_norm(corrected, dim=axis)
    angle = torch.rad2deg(torch.atan2(0.5 * grad.sum(dim=axis), norm))
    return corrected, angle, (corrected * one_hot).sum(dim=axis)


def _widened(function: Any, grad: Any, one_hot: Any, *, axis: int) -> Any:
    """Half precision is computed in float32, as ours is: without that its angles are off by degrees."""
    found = function(grad.float() if grad.dtype.itemsize < 4 else grad, one_hot, axis=axis)
    if isinstance(found, tuple):
        return found[0].to(grad.dtype), *found[1:]
    return found


BY_OPERATION = {
    "correct": lambda grad, one_hot, axis: correct(grad, axis=axis).to(grad.dtype),
    "simplex_angle": lambda grad, one_hot, axis: simplex_angle(grad, axis=axis),
    "grad_times_input": grad_times_input,
    "standard work": standard_work,
}


def _eager(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    return partial(_widened, BY_OPERATION[case.names["operation"]], grad, one_hot, axis=case.axis)


def _compiled(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    torch.compiler.reset()
    formula = partial(_widened, BY_OPERATION[case.names["operation"]], axis=case.axis)
    return partial(torch.compile(formula, fullgraph=True, dynamic=False), grad, one_hot)


FORMULAS = (
    Formula("torch eager", _eager, tuple(BY_OPERATION)),
    Formula("torch.compile", _compiled, ("standard work",), is_compiled=True),
)


class Events:
    """The queue of a CUDA device: torch's current stream there."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def event(self) -> Any:
        """Record an event."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self.device)


def devices() -> list[str]:
    """The CPU, then every CUDA device, and Apple's or Intel's GPU."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    found += ["xpu"] if torch.xpu.is_available() else []
    return found


def clock(device: str) -> Clock:
    """Events on CUDA devices, which torch on AMD's calls so too; other devices are waited for."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(torch.device(device))
        return Clock(Events(device))
    if kind == "cpu":
        torch.set_num_threads(threads.get_num_threads())
        return Clock()
    return Clock(wait=lambda result: getattr(torch, kind).synchronize())


def array(array: Array, dtype: str | None, device: str) -> torch.Tensor:
    """Copy to the device; on the CPU the same memory where nothing changes."""
    return torch.from_numpy(array).to(device, None if dtype is None else getattr(torch, dtype))


def empty(shape: tuple[int, ...], dtype: str, device: str) -> torch.Tensor:
    """Memory whose pages are there."""
    return torch.ones(shape, dtype=getattr(torch, dtype), device=device)


def copy(n_bytes: int, device: str) -> Call:
    """The framework's own copy on the device; on the CPU that of all libraries."""
    if device == "cpu":
        return host_copy(n_bytes)
    source, target = (torch.ones(max(1, n_bytes // 2), dtype=torch.uint8, device=device) for _ in range(2))
    return lambda: target.copy_(source)


def bus_id(device: str) -> str | None:
    """Domain, bus and slot."""
    if torch.device(device).type != "cuda" or torch.version.hip is not None:
        return None
    properties = torch.cuda.get_device_properties(torch.device(device))
    if not hasattr(properties, "pci_bus_id"):  # before torch 2.8
        return None
    return f"{properties.pci_domain_id:08X}:{properties.pci_bus_id:02X}:{properties.pci_device_id:02X}.0"


def free_bytes(device: str) -> int | None:
    """As the driver tells."""
    if torch.device(device).type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def tidy() -> None:
    """Empty the caches."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

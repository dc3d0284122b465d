"""A GPU for PyTorch that is none: tensors on the CPU that say otherwise, and a log of what crosses the bus.

Whatever reaches a tensor goes through `Gpu`, a mode of PyTorch: copies between it and the host are noted with their
bytes, and those that make the host wait for the device as waits. Streams and events are stubs that note the same.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cuda", 0)
READS = ("numpy", "cpu", "item", "tolist", "__bool__", "__float__", "__int__", "__array__", "nonzero", "__index__")
"""Methods of a tensor that return when the device has done all that it was given."""
MAKERS = ("empty", "zeros", "ones", "full", "arange", "zeros_like", "empty_like")


class Noted(NamedTuple):
    """An entry of the log."""

    what: str
    """"up", "down", "wait" or "run"."""
    number: int
    """Bytes of copies; of waits, the run of the model after which the device may rest; of runs, their number."""
    is_blocking: bool = False
    """Whether the host waits for all that the device was given."""


class OnGpu(torch.Tensor):
    """A tensor that says that it lies on a GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it claims to be."""
        return DEVICE

    def record_stream(self, stream: Any) -> None:
        """Memory is never given to others here while a copy is under way."""


class Gpu(TorchFunctionMode):
    """Notes copies, waits and runs while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Noted] = []
        self.n_runs = 0

    def run(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """Return the model with a note of each run."""

        def noted(*inputs: Any) -> Any:
            self.log.append(Noted("run", self.n_runs))
            self.n_runs += 1
            return model(*inputs)

        return noted

    def of(self, what: str) -> list[Noted]:
        """Return the entries of a kind."""
        return [entry for entry in self.log if entry.what == what]

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name in MAKERS and func is not getattr(torch.Tensor, name, None):
            return self._make(func, args, kwargs)
        if name in ("as_tensor", "tensor", "to") and _device_of(args, kwargs) is not None:
            return self._move(func, args, kwargs)
        if name == "copy_":
            return self._copy(*args, **kwargs)
        is_here = any(isinstance(array, OnGpu) for array in args)
        if is_here and name in READS:
            self.log.append(Noted("down", args[0].nbytes, True))
            args = (args[0].as_subclass(torch.Tensor), *args[1:])
        if is_here and name in ("__getitem__", "__setitem__"):
            self._index(args[1])
        return func(*args, **kwargs)

    def _make(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        device, is_pinned = kwargs.pop("device", None), kwargs.pop("pin_memory", False)
        made = func(*args, **kwargs)
        is_here = device is not None and torch.device(device).type == "cuda"
        if is_here or (device is None and isinstance(made, OnGpu)):
            return made.as_subclass(OnGpu)
        made = made.as_subclass(torch.Tensor)
        made.is_pinned_here = is_pinned  # type: ignore[attr-defined]
        return made

    def _move(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """A tensor on a device: the same, or a copy from the other side."""
        array, device = args[0], _device_of(args, kwargs)
        is_pinned, is_here = getattr(array, "is_pinned_here", False), isinstance(array, OnGpu)
        goes_there = torch.device(device).type == "cuda"
        does_not_wait = kwargs.pop("non_blocking", False) and is_pinned
        kwargs.pop("device", None)
        if is_here == goes_there and func is not torch.as_tensor:
            return array
        rest = tuple(other for other in args[1:] if isinstance(other, torch.dtype | torch.Tensor))
        moved = func(array.as_subclass(torch.Tensor) if is_here else array, *rest, **kwargs)
        if is_here != goes_there:
            self.log.append(Noted("up" if goes_there else "down", moved.nbytes, not does_not_wait))
        return moved.clone().as_subclass(OnGpu if goes_there else torch.Tensor)

    def _copy(self, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        is_pinned = getattr(target, "is_pinned_here", False) or getattr(source, "is_pinned_here", False)
        is_there, was_there = isinstance(target, OnGpu), isinstance(source, OnGpu)
        if is_there != was_there:
            self.log.append(Noted("up" if is_there else "down", source.nbytes, not (non_blocking and is_pinned)))
        with torch._C.DisableTorchFunction():
            target.copy_(source)
        return target

    def _index(self, index: Any) -> None:
        """Arrays of the host are copied before they are indices, and masks are counted on the device."""
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, np.ndarray | list) or (isinstance(part, torch.Tensor) and not isinstance(part, OnGpu)):
                self.log.append(Noted("up", np.asarray(part).nbytes, True))
            elif isinstance(part, OnGpu) and part.dtype == torch.bool:
                self.log.append(Noted("down", 8, True))


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    named = [other for other in args[1:] if isinstance(other, str | torch.device)]
    return kwargs.get("device", named[0] if named else None)


class _Event:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._after = gpu, gpu.n_runs - 1

    def synchronize(self) -> None:
        self._gpu.log.append(Noted("wait", self._after))


class _Stream:
    """Notes nothing itself: to wait for another stream is the device's affair."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.waits_for: list[_Stream] = []

    def wait_stream(self, other: "_Stream") -> None:
        self.waits_for.append(other)

    def record_event(self) -> _Event:
        return _Event(self._gpu)


@contextlib.contextmanager
def simulated_gpu() -> Iterator[Gpu]:
    """Put the GPU in the place of PyTorch's."""
    from gradcorr_fast.hooks.torch import _transfer

    gpu = Gpu()
    current = _Stream(gpu)
    stubs = {
        "is_available": lambda: True,
        "is_initialized": lambda: False,
        "current_device": lambda: 0,
        "current_stream": lambda device: current,
        "Stream": lambda device: _Stream(gpu),
        "stream": lambda stream: contextlib.nullcontext(),
    }
    _transfer._transfer.cache_clear()
    try:
        with mock.patch.multiple(torch.cuda, **stubs), gpu:
            yield gpu
    finally:
        _transfer._transfer.cache_clear()

"""The GPU that is timed, and what stands in for it in a rehearsal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from gradcorr_fast.bench._timing import turns as turns
from gradcorr_fast.kernels import cuda

BLOCK = 256  # threads, as in stream.cuh


class Gpu:
    """The first CUDA device; everything runs on torch's current stream, which is CuPy's too: the default one."""

    is_dry = False
    memory = "cuda"

    def __init__(self) -> None:
        import torch

        properties = torch.cuda.get_device_properties(0)
        self.processors = int(properties.multi_processor_count)
        self.cache_bytes = int(properties.L2_cache_size)
        torch.zeros(1, device="cuda")
        cuda.warm_up()

    def event(self) -> Any:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def tidy(self) -> None:
        """Give freed memory back, so that one framework's pool does not starve the next."""
        import cupy
        import torch

        torch.cuda.empty_cache()
        cupy.get_default_memory_pool().free_all_blocks()

    def queue(self) -> cuda.Queue:
        import torch

        return cuda.Queue(0, torch.cuda.current_stream().cuda_stream)

    def launch(self, kernel: cuda.Kernel, operands: Any, n_blocks: int) -> None:
        _compiled(kernel)((n_blocks,), (BLOCK,), (operands,))


@cache
def _compiled(kernel: cuda.Kernel) -> Any:
    import cupy

    return cupy.RawKernel(cuda.source(kernel), kernel.name, ("-std=c++17",))


class Dry:
    """CPU memory, the CUDA code on the emulator of the tests, and a clock that counts readings: a millisecond each."""

    is_dry = True
    memory = "cpu"
    processors = 2
    cache_bytes = 0

    def __init__(self, launch: Callable[..., None]) -> None:
        self._launch = launch
        self.milliseconds = 0.0

    def event(self) -> Any:
        self.milliseconds += 1
        now = self.milliseconds
        return SimpleNamespace(at=now, elapsed_time=lambda later: later.at - now)

    def synchronize(self) -> None:
        pass

    def tidy(self) -> None:
        pass

    def queue(self) -> cuda.Queue:
        return cuda.Queue(0, 0)

    def launch(self, kernel: cuda.Kernel, operands: Any, n_blocks: int) -> None:
        self._launch(kernel, operands, n_blocks, None)


@contextmanager
def rehearsal() -> Iterator[Dry]:
    """Send CPU tensors through the CUDA code, on the emulator."""
    from tests.emulator.patches import emulator, tensors_on_cuda

    with tensors_on_cuda():
        yield Dry(emulator().launch)


Device = Gpu | Dry

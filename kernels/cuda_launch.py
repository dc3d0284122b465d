"""Kernels of CUDA from their files to a device: compiled when they are first needed, launched where the caller works.

CuPy compiles each combination of macros once for a device's architecture and keeps it on disk.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

BLOCK = 256  # threads; as in values.cuh
BLOCKS_PER_PROCESSOR = 16

OPTIONS = ("-std=c++17", "--fmad=false")
IS_BLOCKING = os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"
"""Whether the call that made a fault is to report it; the driver asks once too."""


class Queue(NamedTuple):
    """Where to launch."""

    device: int
    stream: int
    """Address of the stream."""


class _Stream(NamedTuple):
    """What CuPy's kernels want of a stream."""

    ptr: int


class Kernel(NamedTuple):
    """A kernel in a file, and the macros that it is compiled with."""

    file: str
    name: str
    macros: tuple[str, ...] = ()
    batch: int = 1
    """Blocks whose work one block can do at once: groups of positions of a thread, or rows of a block."""


@cache
def source(kernel):
    """The kernel's macros and its file with what that includes, so that the compiler's cache sees all of it.

    With macros among its options CuPy would compile an empty file for each kernel in each process first.
    """
    folder = Path(__file__).parent
    macros = "".join(f"#define {name} {value}\n" for name, _, value in (m.partition("=") for m in kernel.macros))
    text = (folder / kernel.file).read_text()
    return macros + re.sub(r'#include "(.+)"', lambda match: (folder / match[1]).read_text(), text)


@cache
def _compiled(kernel):
    import cupy

    return cupy.RawKernel(source(kernel), kernel.name, OPTIONS)


class _Loaded(NamedTuple):
    """A kernel on a device."""

    function: Any
    resident: int
    """Blocks that run on a processor at a time."""
    processors: int


_loaded: dict[tuple[Kernel, int], _Loaded] = {}


def load(kernel, device, shared_bytes=0):
    """Compile the kernel for a device, or find it on disk."""
    import cupy
    from cupy.cuda import runtime

    with cupy.cuda.Device(device):
        function = _compiled(kernel)
        resident = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.kernel.ptr, BLOCK, shared_bytes)
    processors = runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, device)
    _loaded[kernel, device] = loaded = _Loaded(function, max(1, resident), processors)
    return loaded


def grid(n_blocks, batch, resident, processors):
    """Blocks to launch, where `n_blocks` would each do the least there is to do.

    Threads have whole batches to do if that leaves every processor busy; else there are more blocks, until one wave of
    them fills the device. Larger inputs get some whole waves.
    """
    wave = resident * processors
    most = wave * max(1, BLOCKS_PER_PROCESSOR // resident)
    return max(1, min(n_blocks, most, max(wave, -(-n_blocks // batch))))


def launch(kernel, operands, n_blocks, queue, shared_bytes=0):
    """Launch as many blocks as keep the device busy, see `grid`; kernels go round until all is done."""
    import cupy

    device, address = queue
    loaded = _loaded.get((kernel, device))
    if loaded is None:
        if cupy.cuda.runtime.streamIsCapturing(address):
            raise RuntimeError(
                "a kernel cannot be compiled while a CUDA graph is captured; make the same call once before the capture"
            )
        loaded = load(kernel, device, shared_bytes)
    blocks = grid(n_blocks, kernel.batch, loaded.resident, loaded.processors)
    with cupy.cuda.Device(device):
        loaded.function((blocks,), (BLOCK,), (operands,), shared_mem=shared_bytes, stream=_Stream(address))
        if IS_BLOCKING:
            cupy.cuda.runtime.streamSynchronize(address)

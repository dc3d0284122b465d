"""Reads, computes and writes at the same time: one thread reads a block ahead, another writes the one behind.

A third computes, so that the main thread only waits, and Ctrl-C finds it at once. Away from the main thread kernels use
a single thread, which is what is left beside the other two: starting more for every block cost half of the speed.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import click
import numpy as np

from .._types import Array
from .reading import Rows
from .writing import Writer

BLOCK = 1 << 22  # bytes of a block: small enough to stay in a cache between the threads
N_BLOCKS = 3  # one is read, one computed, one written


def stream(
    sources: Sequence[Rows],
    work: Callable[..., Sequence[Array]],
    writers: Sequence[Writer],
    step: int,
    *,
    one_thread: bool,
    verbose: bool,
) -> None:
    """Pass blocks of `step` rows through `work`, and the arrays it returns to `writers`, in order.

    `work` gets one array from each source and may write into them. `one_thread` keeps reading and writing in a single
    thread, for when both wait for the same lock.
    """
    shape = sources[0].entry.shape
    n_rows = 0 if 0 in shape else shape[0]
    parts = [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
    size = min(step, n_rows)
    blocks = [[np.empty((size, *s.entry.shape[1:]), s.entry.dtype) for s in sources] for _ in range(N_BLOCKS)]
    with ExitStack() as stack:
        reader, worker = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        writing = reader if one_thread else stack.enter_context(ThreadPoolExecutor(1))
        bar = stack.enter_context(
            click.progressbar(length=n_rows, label="writing", file=sys.stderr, hidden=not verbose, show_pos=True)
        )
        ahead = [reader.submit(_read, sources, part, blocks[k]) for k, part in enumerate(parts[:1])]
        behind: list[Future[None]] = []
        for k, part in enumerate(parts):
            filled = ahead.pop().result()
            if k + 1 < len(parts):
                ahead.append(reader.submit(_read, sources, parts[k + 1], blocks[(k + 1) % N_BLOCKS]))
            results = worker.submit(work, *filled).result()
            if behind:
                behind.pop().result()
            behind.append(writing.submit(_write, writers, results))
            bar.update(part.stop - part.start)
        if behind:
            behind.pop().result()


def _read(sources: Sequence[Rows], part: slice, block: Sequence[Array]) -> list[Array]:
    filled = [array[: part.stop - part.start] for array in block]
    for source, array in zip(sources, filled, strict=True):
        source.read(part.start, part.stop, array)
    return filled


def _write(writers: Sequence[Writer], results: Sequence[Array]) -> None:
    for writer, result in zip(writers, results, strict=True):
        writer(result)

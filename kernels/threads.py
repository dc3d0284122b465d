"""Runs a kernel over the chunks of an array on a few threads.

The kernels are serial and release the GIL; this small pool drives them. On two cores it is as fast as Numba's own
parallel loops (benchmarks/test_threads.py), needs one compilation instead of two, and has no threading layer that
could abort the process when called from two threads, or after a fork.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

_pool: ThreadPoolExecutor | None = None
_n_threads: int = numba.config.NUMBA_NUM_THREADS


def get_num_threads() -> int:
    """Return the number of threads a large array is spread over; at first what Numba would take."""
    return _n_threads


def set_num_threads(n: int) -> None:
    """Spread large arrays over `n` threads; 1 switches threading off."""
    global _n_threads
    _n_threads = n
    _drop_pool()


def run(task: Callable[[int], None], n_chunks: int) -> None:
    """Call ``task(0)`` to ``task(n_chunks - 1)``, each once, in any order, and return when all are done.

    Other threads than the main one are somebody else's workers, who already fill the machine: they work alone.
    """
    chunks = itertools.count()  # next() on it is atomic, so it deals out the chunks

    def drain() -> None:
        while (chunk := next(chunks)) < n_chunks:
            task(chunk)

    n_helpers = min(_n_threads, n_chunks) - 1
    if n_helpers < 1 or threading.current_thread() is not threading.main_thread():
        drain()
        return
    helpers = []
    try:
        for _ in range(n_helpers):
            helpers.append(_get_pool().submit(drain))
    except RuntimeError:  # the interpreter is shutting down and starts no more threads
        pass
    try:
        drain()
    finally:
        chunks = itertools.count(n_chunks)  # after an error or Ctrl-C: let the helpers stop at their next chunk
        failures = [helper.exception() for helper in helpers if not helper.cancel()]
    for failure in failures:
        if failure is not None:
            raise failure


def _get_pool() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(1, _n_threads - 1), thread_name_prefix="gradcorr_fast")
    return _pool


def _drop_pool() -> None:
    """Forget the pool; its idle threads end by themselves, and after a fork they are not there."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_pool)

"""Runs a kernel over the chunks of an array on a few threads.

The kernels are serial and release the GIL; threads made for the call drive them. That is as fast as Numba's own
parallel loops (benchmarks/test_threads.py), needs one compilation instead of two, and leaves nothing behind: no
threading layer that aborts the process when entered from two threads, no pool that hangs after a fork.
"""

import itertools
import threading
from collections.abc import Callable

import numba

_n_threads: int = numba.config.NUMBA_NUM_THREADS


def get_num_threads() -> int:
    """Return the number of threads a large array is spread over; at first what Numba would take."""
    return _n_threads


def set_num_threads(n: int) -> None:
    """Spread large arrays over `n` threads; 1 switches threading off."""
    global _n_threads
    _n_threads = n


def run(task: Callable[[int], None], n_chunks: int) -> None:
    """Call ``task(0)`` to ``task(n_chunks - 1)``, each once, in any order, and return when all are done.

    After an error or Ctrl-C no thread starts another chunk, and the error is raised when none is at work any more.
    Other threads than the main one are somebody else's workers, who already fill the machine: they work alone.
    """
    chunks = itertools.count()  # next() on it is atomic, so it deals out the chunks
    failures: list[BaseException] = []

    def drain() -> None:
        try:
            while not failures and (chunk := next(chunks)) < n_chunks:
                task(chunk)
        except BaseException as error:  # noqa: BLE001  (raised below, in the caller's thread)
            failures.append(error)

    helpers = []
    if threading.current_thread() is threading.main_thread():
        helpers = [threading.Thread(target=drain) for _ in range(min(_n_threads, n_chunks) - 1)]
    try:
        for helper in helpers:
            helper.start()
    except RuntimeError:  # no more threads, as at interpreter shutdown: those there are do the work
        pass
    except BaseException as error:  # noqa: BLE001  (raised below)
        failures.append(error)
    drain()
    for helper in helpers:
        if helper.is_alive():
            helper.join()
    if failures:
        raise failures[0]

"""Runs a kernel over the chunks of an array on a few threads.

The kernels are serial and release the GIL; threads made for the call drive them. That is as fast as Numba's own
parallel loops (benchmarks/test_threads.py), needs one compilation instead of two, and leaves nothing behind: no
threading layer that aborts the process when entered from two threads, no pool that hangs after a fork.
"""

import itertools
import threading
from _thread import LockType, allocate_lock, start_new_thread
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

    finished: list[LockType] = []

    def help_out(at_work: LockType) -> None:
        drain()
        finished.append(at_work)
        at_work.release()

    is_main = threading.get_ident() == threading.main_thread().ident
    locks = [allocate_lock() for _ in range(min(_n_threads, n_chunks) - 1 if is_main else 0)]
    started: list[int] = []
    try:
        for lock in locks:
            lock.acquire()
        # One call into C, which Ctrl-C cannot cut in two. It can cut Thread.start(), whose thread then waits for ever.
        started.extend(map(start_new_thread, [help_out] * len(locks), [(lock,) for lock in locks]))
    except RuntimeError:  # no more threads, as at interpreter shutdown: those there are do the work
        pass
    except BaseException as error:  # noqa: BLE001  (raised below)
        failures.append(error)
    drain()
    for lock in locks[: len(started)]:
        while lock not in finished:
            _wait(lock, failures)
    if failures:
        raise failures[0]


def _wait(lock: LockType, failures: list[BaseException]) -> None:
    """Wait a while for a helper, also after Ctrl-C: it may be writing to the caller's memory.

    Ctrl-C may come between taking the lock and returning, so that having it tells nothing and waiting has an end.
    """
    try:
        lock.acquire(timeout=0.1)
    except BaseException as error:  # noqa: BLE001  (raised by the caller)
        failures.append(error)

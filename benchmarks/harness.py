"""Times two ways of doing the same work in turn; the ratio of the two is what is reported, with its interval.

The machine's speed wanders from second to second, so a ratio is formed from neighbouring calls and the median taken.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from gradcorr_fast.bench import _cases as cases
from gradcorr_fast.bench._cases import AXES as AXES
from gradcorr_fast.bench._timing import compare as compare
from gradcorr_fast.bench._timing import median_interval as median_interval
from gradcorr_fast.kernels import reference, threads
from gradcorr_fast.kernels.cpu import CHUNK

X_BYTES = {None: 0, "codes": 1, "one-hot": 16}


class Work(cases.Work):
    """An operation of `gradcorr_fast.bench`, with the yardstick and the definition that it is held against here."""

    __slots__ = ()

    def allocate(self, grad: np.ndarray, axis: int) -> list[np.ndarray]:
        positions = grad.shape[:axis] + grad.shape[axis:][1:]
        whole = [np.empty(grad.shape, np.float32) for _ in range(self.n_whole)]
        return whole + [np.empty(positions, np.float32) for _ in range(self.n_single)]

    def yardstick(self, grad: np.ndarray, x: Any, axis: int, outputs: list[np.ndarray] | None = None) -> Any:
        """Stream through the same memory on the same threads."""
        if outputs is None:
            outputs = self.allocate(grad, axis)
        flat = [array.reshape(-1) for array in outputs]
        whole = flat[0] if self.n_whole else None
        single, other, *_ = [*flat[self.n_whole :], None, None]
        arrays = grad.reshape(-1), None if self.x is None else x.reshape(-1), whole, single, other
        n_positions = grad.size // 4

        def task(chunk: int) -> None:
            stream(*arrays, X_BYTES[self.x] > 1, chunk * CHUNK, min(n_positions, (chunk + 1) * CHUNK))

        threads.run(task, -(-n_positions // CHUNK))
        return outputs

    def expected(self, grad: Any, x: Any, axis: int) -> Any:
        """Compute the definition in float64."""
        args = [np.asarray(grad, np.float64)] + ([] if self.x is None else [np.asarray(x)])
        return getattr(reference, self.operation)(*args, axis=axis)


STANDARD = Work(*cases.STANDARD)
WORKS = tuple(Work(*work) for work in cases.WORKS)


@njit(nogil=True, fastmath=True)
def stream(grad, x, whole, single, other, x_is_one_hot, first, last):
    """Read and write positions first:last, computing next to nothing; arrays are flat, what is None is left out.

    Adding 1 keeps LLVM from turning the loop into a call of memcpy; fastmath lets it vectorise the sums.
    """
    total = np.float32(0)
    grad = grad[4 * first : 4 * last]
    if whole is None:
        for i in range(grad.size):
            total += grad[i]
    else:
        whole = whole[4 * first : 4 * last]
        for i in range(grad.size):
            whole[i] = grad[i] + np.float32(1)
    if x is not None:
        x = x[4 * first : 4 * last] if x_is_one_hot else x[first:last]
        for i in range(x.size):
            total += x[i]
    if single is not None:
        single = single[first:last]
        for i in range(single.size):
            single[i] = total
    if other is not None:
        other = other[first:last]
        for i in range(other.size):
            other[i] = total
    return total  # so that the reads are not optimised away


def ends(array: Any) -> np.ndarray:
    """First and last sequence, to be checked: a kernel that stops early or late is wrong in the last."""
    return np.asarray(array)[[0, -1]]


def seconds(call: Callable[[], Any]) -> float:
    """Time one call; its result is dropped after the clock has stopped."""
    start = time.perf_counter()
    result = call()
    stop = time.perf_counter()
    del result
    return stop - start


def interleave(benchmark: Any, ours: Callable[[], Any], other: Callable[[], Any], pairs: int) -> dict[str, float]:
    """Call both in turn, ours timed by pytest-benchmark, and compare."""
    others: list[float] = []
    benchmark.pedantic(ours, setup=lambda: others.append(seconds(other)), rounds=pairs, warmup_rounds=1)
    if benchmark.disabled:
        return {}
    found = compare(benchmark.stats.stats.data, others[-pairs:])
    benchmark.extra_info.update(found)
    return found

"""The thread pool of kernels/threads.py against Numba's own parallel loops, on the same plain loop.

The parallel loop runs in a process of its own: Numba's threading layers may refuse to start beside other libraries'
OpenMP, and the simplest of them ends the process when two threads enter it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, prange

from benchmarks.harness import compare, seconds
from gradcorr_fast.kernels import threads
from gradcorr_fast.kernels.cpu import CHUNK


@njit(nogil=True, inline="always")
def centre(grad, corrected, first, last):
    grad, corrected = grad[4 * first : 4 * last], corrected[4 * first : 4 * last]
    for i in range(grad.size // 4):
        mean = (grad[4 * i] + grad[4 * i + 1] + grad[4 * i + 2] + grad[4 * i + 3]) * np.float32(0.25)
        for a in range(4):
            corrected[4 * i + a] = grad[4 * i + a] - mean


@njit(nogil=True)
def serial(grad, corrected, first, last):
    centre(grad, corrected, first, last)


@njit(parallel=True)
def parallel(grad, corrected, chunk):
    n_positions = grad.size // 4
    for k in prange((n_positions + chunk - 1) // chunk):
        centre(grad, corrected, k * chunk, min(n_positions, (k + 1) * chunk))


def measure(n_positions: int, pairs: int) -> dict[str, float]:
    grad = np.random.default_rng(22).standard_normal(4 * n_positions, np.float32)
    corrected = np.empty_like(grad)

    def ours() -> None:
        threads.run(
            lambda k: serial(grad, corrected, k * CHUNK, min(n_positions, (k + 1) * CHUNK)), -(-n_positions // CHUNK)
        )

    def other() -> None:
        parallel(grad, corrected, CHUNK)

    expected = grad[:4000].reshape(-1, 4) - grad[:4000].reshape(-1, 4).mean(axis=1, keepdims=True)
    for call in (other, ours):
        corrected[:] = 0
        call()
        np.testing.assert_allclose(corrected[:4000].reshape(-1, 4), expected, rtol=1e-5, atol=1e-6)
    times = [(seconds(other), seconds(ours)) for _ in range(pairs)]
    return compare([mine for _, mine in times], [others for others, _ in times])


def test_pool_against_prange(sizes: Any, record: Any) -> None:
    n_positions = sizes.n_sequences * sizes.length
    command = [sys.executable, "-m", "benchmarks.test_threads", str(n_positions), str(sizes.pairs)]
    child = subprocess.run(command, cwd=Path(__file__).parent.parent, check=True, stdout=subprocess.PIPE)
    record(
        json.loads(child.stdout),
        operation="thread pool",
        layout="(N, L, 4)",
        outputs="reused",
        x=None,
        provider="numba prange",
        n_sequences=sizes.n_sequences,
        length=sizes.length,
        bytes=32 * n_positions,
    )


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))

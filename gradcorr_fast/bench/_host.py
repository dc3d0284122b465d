"""The limit of a CPU: a copy by as many threads as our kernels have."""

from functools import lru_cache

import numpy as np

from ..kernels import threads
from ._timing import Call

PIECE = 1 << 18  # bytes that a thread copies at a time: within its own cache


@lru_cache(1)  # most cases in a row have as many bytes
def host_copy(n_bytes: int) -> Call:
    """Return a call that reads and writes so many bytes together; the GIL is free meanwhile."""
    source, target = np.zeros(max(1, n_bytes // 2), np.uint8), np.zeros(max(1, n_bytes // 2), np.uint8)
    source += 1  # memory of its own for each page

    def piece(k: int) -> None:
        np.copyto(target[k * PIECE : (k + 1) * PIECE], source[k * PIECE : (k + 1) * PIECE])

    return lambda: threads.run(piece, -(-source.size // PIECE))

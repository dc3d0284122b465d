"""Memory that a model frees after each batch, kept for the next one."""

import ctypes
import sys
from functools import cache

import numpy as np

LARGEST = (1 << 25) - (1 << 16)
"""Of a piece that the C library of Linux learns from, bytes: 32 MiB with what it puts before it."""


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of settings in mallopt(3)."""


def forget_thresholds() -> None:
    """Keep what is freed also where the environment says otherwise, as Dask does for its workers.

    Dask sets MALLOC_TRIM_THRESHOLD_, so that memory goes back to the system early, and with that nothing is learned: a
    small network took 2.8 times as long there (30,000 variants of 200 bp, with 2.5 million page faults).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(MMAP_THRESHOLD, 1 << 25)
        set_option(TRIM_THRESHOLD, 1 << 26)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep pieces of up to 32 MiB that are freed, as it does once one of them was freed.

    glibc gives memory back to the system piece by piece, and each page that a model writes to after that is fetched
    anew and filled with zeros, which takes longer than the model does (CNN-deep, forward passes at 200 bp: 114 instead
    of 49 us a row). From the largest piece that was freed it learns to keep those, see M_MMAP_THRESHOLD in mallopt(3);
    a process that began with forward passes never frees a large one. The array is not written to and takes no memory.
    """
    np.empty(LARGEST, np.uint8)

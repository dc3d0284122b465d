"""How the CPU kernels are compiled: IEEE arithmetic, without the GIL, cached on disk."""

from numba import njit

IEEE = {"nogil": True, "error_model": "numpy"}


def cached(function):
    """Compile to a kernel cached on disk, or in memory where no folder can be written."""
    try:
        return njit(cache=True, **IEEE)(function)
    except RuntimeError:  # numba finds no folder that it may write
        return njit(**IEEE)(function)

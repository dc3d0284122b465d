"""What runs where: a report, compiling ahead of the first call, and the number of threads."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ._dispatch import BACKENDS

__all__ = ["info", "set_num_threads", "warmup"]

EXTRAS = {
    "torch": "torch", "tensorflow": "tensorflow", "jax": "jax", "dask": "dask", "h5py": "io", "zarr": "io",
    "matplotlib": "plot", "logomaker": "plot", "scikit-learn": "demo", "pybigtools": "genome",
}  # fmt: skip
"""Optional packages, and the extra of ours that brings each."""

PACKAGES = ("numpy", "numba", "llvmlite", *EXTRAS)


def info() -> dict[str, Any]:
    """Report versions, threads, cache and what each array library runs on, without importing any of them.

    Returns
    -------
    dict
        `versions` (None if not installed), `threads`, `cache` (folder of compiled kernels) and `backends`: for each
        library and device "native" (our kernels), "reference" (the formula in the library's own operations), with
        "untested" where no test has seen it, or "not installed".

    Examples
    --------
    >>> info()["backends"]["numpy"]
    {'cpu': 'native'}
    """
    from .kernels import cpu, threads

    versions = {package: _version(package) for package in PACKAGES}
    traced = {"gpu": "reference, untested", "traced": "reference"}
    devices = {
        "numpy": {"cpu": "native"},
        "torch": {"cpu": "native", "mps": "reference, untested", "xpu": "reference, untested", **traced},
        "tensorflow": {"cpu": "native", **traced},
        "jax": {"cpu": "native", **traced},
        "dask": {"blocks": "as the library of the blocks"},
    }
    return {
        "versions": {"gradcorr_fast": _version("gradcorr-fast"), "python": platform.python_version(), **versions},
        "machine": {"system": sys.platform, "processor": platform.machine(), "cores": os.cpu_count()},
        "threads": threads.get_num_threads(),
        "cache": cpu.cache_folder(),
        "backends": {
            name: devices[name] if versions[name] else dict.fromkeys(devices[name], "not installed")
            for name in BACKENDS
        },
    }


def warmup() -> None:
    """Compile the kernels for float32 gradients with four letters and for shuffles; the cache on disk keeps them.

    Call it once after installing, before many processes start. Other dtypes are compiled when they are first met.
    """
    from . import ops, sequences, summary

    codes = sequences.encode("ACCGTACGGATTAC")
    for kind in sequences.KINDS:
        sequences.shuffle(codes, 2, kind)
    for axis, size in ((-1, (2, 3, 4)), (1, (2, 4, 3))):
        grad = np.ones(size, np.float32)
        codes = np.zeros((2, 3), np.uint8)
        for x in (codes, grad):
            ops.analyze(grad, x, axis=axis)
            ops.grad_times_input(grad, x, axis=axis)
            ops.substitution_effects(grad, x, axis=axis)
        ops.analyze(grad, axis=axis)
        ops.correct(grad, axis=axis)
        ops.simplex_angle(grad, axis=axis)
        summary.angle_summary(grad, axis=axis)


def set_num_threads(n: int) -> None:
    """Spread large arrays over `n` threads.

    Parameters
    ----------
    n : int
        At least 1. The default is Numba's: the cores this process may use, or NUMBA_NUM_THREADS.

    Notes
    -----
    Results do not depend on it. Calls from other threads than the main one use one thread each, whatever `n`.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n must be an int; got {n!r}")
    if int(n) < 1:
        raise ValueError(f"n is {n}; at least one thread is needed")
    from .kernels import threads

    threads.set_num_threads(int(n))


def _version(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):  # TensorFlow's CPU build is a package of its own
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None

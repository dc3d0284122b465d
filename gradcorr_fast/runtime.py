"""What runs where: a report, compiling ahead of the first call, and the number of threads."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numpy as np

from .backends import BACKENDS

__all__ = ["info", "set_num_threads", "warmup"]

BUILDS = {"cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"), "tensorflow": ("tensorflow", "tensorflow-cpu")}
"""Where one package comes in several builds; the drivers of older GPUs take cuda12x."""

DEVELOPMENT = ("test", "dev", "docs")
"""Beginnings of the names of extras that nobody needs who uses the library."""


def extras() -> dict[str, str] | None:
    """Optional packages and the extra of ours that brings each, by the metadata of the installed distribution.

    Returns
    -------
    dict or None
        Of builds of one package the first of `BUILDS` tells the extra. None in a checkout that was never installed,
        which has no metadata.

    Examples
    --------
    >>> extras()["h5py"]
    'io'
    """
    try:
        return _read_extras(requires("gradcorr-fast") or ())
    except PackageNotFoundError:
        return None


def info() -> dict[str, Any]:
    """Report versions, threads, cache and what each array library runs on, without importing any of them.

    Returns
    -------
    dict
        `versions` (of optional packages too, None if not installed), `machine` (with whether there is an NVIDIA GPU),
        `threads`, `cache` (folder of compiled kernels), `cpu_builds` (libraries that were built without CUDA) and
        `backends`: for each library and device "native" (our kernels), "reference" (the formula in the library's own
        operations), with "untested" where no test has seen it, or "not installed".

    Examples
    --------
    >>> info()["backends"]["numpy"]
    {'cpu': 'native'}
    """
    from .kernels import cpu, threads

    packages = ("numpy", "numba", "llvmlite", *BACKENDS, *(extras() or ()))
    versions = {package: _version(package) for package in packages}
    traced = {"traced": "reference"}
    on_cuda = "native, untested" if versions["cupy"] else "needs cupy"
    cpu_builds = _cpu_builds(versions)
    cuda = dict.fromkeys(cpu_builds, "not in this build, which is for the CPU")
    others = dict.fromkeys(("rocm", "mps", "xpu"), "reference, untested")
    devices = {
        "numpy": {"cpu": "native"},
        "cupy": {"cuda": "native, untested"},
        "torch": {"cpu": "native", "cuda": cuda.get("torch", on_cuda), **others, **traced},
        "tensorflow": {"cpu": "native", "cuda": cuda.get("tensorflow", on_cuda), **traced},
        "jax": {"cpu": "native", "cuda": cuda.get("jax", "reference, untested"), **traced},
        "dask": {"blocks": "as the library of the blocks"},
    }
    return {
        "versions": {"gradcorr_fast": _version("gradcorr-fast"), "python": platform.python_version(), **versions},
        "machine": {
            "system": sys.platform,
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "gpu": _has_gpu(),
        },
        "threads": threads.get_num_threads(),
        "cache": cpu.cache_folder(),
        "cpu_builds": cpu_builds,
        "backends": {
            name: devices[name] if versions[name] else dict.fromkeys(devices[name], "not installed")
            for name in BACKENDS
        },
    }


def warmup() -> None:
    """Compile the kernels for float32 gradients with four letters, metrics and shuffles; the cache on disk keeps them.

    Call it once after installing, before many processes start. Other dtypes are compiled when they are first met. With
    CuPy and GPUs it also loads the CUDA kernels on each of them, those for half precision too; in a process that
    captures CUDA graphs, call it before.

    Returns
    -------
    None

    Examples
    --------
    >>> warmup()  # doctest: +SKIP
    """
    from . import metrics, ops, sequences, summary
    from .kernels import cuda

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
        metrics.cosine_similarity(grad, grad, axis=axis)
        metrics.positionwise_cosine_similarity(grad, grad, axis=axis)
        for measure in (metrics.ensemble_difference, metrics.ensemble_difference_reduction):
            measure(grad[None], grad, axis=axis % 3 + 1)
    metrics.ensemble_difference_by_angle(grad[None], grad, axis=2)
    truth = np.array([[[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]], np.float32)
    metrics.interpretability(np.ones((1, 2), np.float32), truth)
    metrics.auroc(np.ones((1, 2), np.float32), np.array([[True, False]]))
    cuda.warm_up()


def set_num_threads(n: int) -> None:
    """Spread large arrays over `n` threads.

    Parameters
    ----------
    n : int
        At least 1. The default is Numba's: the cores this process may use, or NUMBA_NUM_THREADS.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        If `n` is no int.
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> set_num_threads(info()["threads"])  # as it is

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


def _read_extras(requirements: Iterable[str]) -> dict[str, str]:
    """Read requirements such as ``zarr>=3.1; extra == "io"``; those on our own extras add no package."""
    brought: dict[str, str] = {}
    for requirement in requirements:
        name, extra = (re.search(pattern, requirement) for pattern in (r"^[\w.-]+", r"extra\s*==\s*[\"']([\w.-]+)"))
        if name and extra and not extra[1].startswith(DEVELOPMENT):
            brought.setdefault(re.sub(r"[-_.]+", "-", name[0]).lower(), extra[1])
    brought.pop("gradcorr-fast", None)
    for package, builds in BUILDS.items():
        if named := [brought.pop(build) for build in builds if build in brought]:
            brought[package] = named[0]
    return brought


def _cpu_builds(versions: Mapping[str, str | None]) -> list[str]:
    """Name the libraries of which a build is installed that cannot use NVIDIA GPUs, as far as names tell."""
    plugins = ("jax-cuda13-plugin", "jax-cuda12-plugin")
    is_cpu = {
        "torch": "+cpu" in (versions["torch"] or ""),
        "tensorflow": _version_of("tensorflow") is None and _version_of("tensorflow-cpu") is not None,
        "jax": versions["jax"] is not None and not any(_version_of(plugin) for plugin in plugins),
    }
    return [library for library, found in is_cpu.items() if found]


def count_gpus() -> int:
    """Return how many NVIDIA GPUs a process sees, found out without importing what runs on them."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is not None:
        return len([name for name in seen.split(",") if name.strip() not in ("", "-1")])
    cards = Path("/proc/driver/nvidia/gpus")
    if cards.is_dir():
        return len(list(cards.iterdir()))
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/gpus").is_dir() or shutil.which("nvidia-smi") is not None


def _version(package: str) -> str | None:
    found = (_version_of(name) for name in BUILDS.get(package, (package,)))
    return next((name for name in found if name is not None), None)


@cache
def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None

"""The machine, the versions and the commit: what every file of results begins with. No name of a host or a user."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..kernels import threads

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "gradcorr-fast", "numpy", "numba", "llvmlite", "torch", "triton", "tensorflow", "tensorflow-cpu", "jax", "jaxlib",
    "cupy-cuda13x", "cupy-cuda12x", "dask",
)  # fmt: skip


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads, memory, versions, commit and date."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": threads.get_num_threads(),
        "memory_gib": round(total_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | {name: find_version(name) for name in PACKAGES},
        "commit": find_commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor_name() -> str:
    """As /proc tells, or the kind of machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line for line in lines if line.startswith("model name")]
    return models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()


def total_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_bytes() -> int:
    """Memory that can be had without swapping: of the machine, or of the control group that this process is in."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), total_bytes() // 2)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, max(0, int(limit) - used)) if limit.isdigit() else free


def find_commit() -> str | None:
    """Return the commit of a checkout, "-dirty" where files were changed; None for what was installed."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def find_version(package: str) -> str | None:
    """Return the version that is installed, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

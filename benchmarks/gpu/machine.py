"""The card, its driver and the libraries, for the header of the results; nothing of the card is ever changed.

python -m benchmarks.gpu.machine name            the card's name, as it stands in file names
python -m benchmarks.gpu.machine FILE WHEN       write the header (once) and the card's state, called WHEN
"""

import hashlib
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu import results

ROOT = Path(__file__).parents[2]
PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch", "triton", "nvidia-cuda-nvrtc")
FIXED = {
    "card": "name", "driver": "driver_version", "memory_mib": "memory.total", "max_sm_mhz": "clocks.max.sm",
    "max_memory_mhz": "clocks.max.mem", "power_limit_w": "power.limit", "ecc": "ecc.mode.current",
}  # fmt: skip
STATE = {
    "sm_mhz": "clocks.sm", "memory_mhz": "clocks.mem", "power_w": "power.draw", "temperature_c": "temperature.gpu",
    "performance_state": "pstate", "throttle_reasons": "clocks_event_reasons.active",
    "throttle_reasons_old_name": "clocks_throttle_reasons.active",
}  # fmt: skip


def ask(fields: dict[str, str]) -> dict[str, str | None]:
    """Ask nvidia-smi; None for what it does not know. Drivers refuse a whole query for one unknown field."""
    together = _query(list(fields.values()))
    if together is not None:
        return dict(zip(fields, together, strict=True))
    return {name: (_query([field]) or [None])[0] for name, field in fields.items()}


def _query(fields: list[str]) -> list[str] | None:
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return values if done.returncode == 0 and len(values) == len(fields) else None


def read_card() -> dict[str, Any]:
    """Clocks, power, temperature and what holds the clocks back, now."""
    state = ask(STATE)
    old = state.pop("throttle_reasons_old_name")
    state["throttle_reasons"] = state["throttle_reasons"] or old
    return state


def describe() -> dict[str, Any]:
    return {
        **ask(FIXED),
        **_describe_device(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _describe_device() -> dict[str, Any]:
    import cupy
    import torch

    found: dict[str, Any] = {"cuda_of_torch": torch.version.cuda}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "card": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "l2_cache_mib": round(properties.L2_cache_size / 2**20, 1),
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda_of_cupy": cupy.cuda.runtime.runtimeGetVersion(),
            "cuda_of_driver": cupy.cuda.runtime.driverGetVersion(),
            "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        }
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit, or without git a hash of the sources that are timed."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    except OSError:
        pass
    sources = sorted([*ROOT.glob("kernels/*.cuh"), *ROOT.glob("kernels/cuda*.py")])
    return "sources " + hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def main() -> None:
    if sys.argv[1] == "name":
        card = ask({"card": "name"})["card"] or "unknown"
        print("-".join(card.lower().split()))
        return
    path, when = Path(sys.argv[1]), sys.argv[2]
    header = results.load(path)["header"] or describe()
    state = {"when": when, **read_card()}
    results.change(path, lambda whole: (whole.update(header=header), whole["states"].append(state)))


if __name__ == "__main__":
    main()

"""Peak of the resident memory of a call, in a process of its own.

python -m benchmarks.memory MODULE FUNCTION ARGUMENT...: the function returns the call; what it did before, such as
building a model, is not counted.
"""

import importlib
import subprocess
import sys
from pathlib import Path


def peak(module: str, function: str, *arguments: object) -> int:
    """Return by how many bytes the memory of a new process grew in the call, at most."""
    command = [sys.executable, "-m", "benchmarks.memory", module, function, *map(str, arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def kibibytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main(module: str, function: str, *arguments: str) -> None:
    call = getattr(importlib.import_module(module), function)(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = kibibytes("VmRSS")
    call()
    print((kibibytes("VmHWM") - before) * 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])

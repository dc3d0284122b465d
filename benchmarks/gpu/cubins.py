"""What it would take and spare to ship the machine code of the usual kernels; this needs no GPU.

`python -m benchmarks.gpu.cubins` compiles all of them for every architecture, writes `cubins.json` beside this file,
and prints the table of docs/gpu.md.
"""

import json
import lzma
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu.instructions import compiler, machine_code
from gradcorr_fast.kernels import cuda

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
TABLE = Path(__file__).parent / "cubins.json"
PROCESSES = 7

PROCESS = """
import io, json, time
from cupy.cuda import compiler, nvrtc
from gradcorr_fast.kernels import cuda

options = "-ftz=true", *cuda.OPTIONS
source = cuda.source(cuda.usual_kernels()[{number}])
times = [time.perf_counter()]
nvrtc.getSupportedArchs()
compiler._preprocess("", options, "90", "nvrtc")  # as CuPy does, to tell versions of the compiler apart
times.append(time.perf_counter())
compiler._NVRTCProgram(source, "kernel.cu", method="cubin").compile(("-arch=sm_90", *options), io.StringIO())
times.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""
"""What a process loads, with CuPy imported, and what it compiles if CuPy does not find that on disk."""


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compress(code: bytes) -> bytes:
    return lzma.compress(code, preset=9 | lzma.PRESET_EXTREME)


def measure(kernels: Sequence[cuda.Kernel], architecture: int) -> dict[str, float]:
    """Sizes in bytes and times in seconds of kernels for an architecture."""
    codes: list[bytes] = []
    times = [seconds(lambda kernel=kernel: codes.append(machine_code(kernel, architecture))) for kernel in kernels]
    packed = compress(b"".join(codes))
    return {
        "bytes": sum(map(len, codes)),
        "deflated": sum(len(zlib.compress(code, 9)) for code in codes),
        "packed": len(packed),
        "unpack_seconds": median(seconds(lambda: lzma.decompress(packed)) for _ in range(5)),
        "compile_seconds": sum(times),
    }


def start(kernel: cuda.Kernel) -> list[float]:
    """Seconds that a new process takes to load the compiler, and to compile a kernel."""
    script = PROCESS.format(number=cuda.usual_kernels().index(kernel))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def table(found: dict[str, Any]) -> str:
    """Sizes and times, in Markdown."""
    lines = [
        "| compute capability | as they are | in a wheel | as one .xz | compiling all |",
        "| --- |" + " ---: |" * 4,
    ]
    rows = {f"{int(name) / 10:.1f}": sizes for name, sizes in found["architectures"].items()}
    keys = "bytes", "deflated", "packed", "compile_seconds"
    rows["together"] = {key: sum(sizes[key] for sizes in rows.values()) for key in keys}
    for name, sizes in rows.items():
        megabytes = (f"{sizes[key] / 1e6:.2f} MB" for key in keys[:3])
        lines.append(f"| {name} | {' | '.join(megabytes)} | {sizes['compile_seconds']:.0f} s |")
    return "\n".join(lines)


def read() -> dict[str, Any]:
    """What is committed."""
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def main() -> None:
    kernels = cuda.usual_kernels()
    standard = cuda._analyze_kernel("float32", "uint8", True, 4, 1, True)
    sizes = {str(architecture): measure(kernels, architecture) for architecture in ARCHITECTURES}
    loads, compiles = zip(*[start(standard) for _ in range(PROCESSES)], strict=True)
    found = {
        "compiler": compiler(),
        "kernels": len(kernels),
        "load_compiler_seconds": median(loads),
        "compile_standard_work_seconds": median(compiles),
        "architectures": sizes,
    }
    text = json.dumps(found, indent=1, default=float)
    rounded = json.loads(text, parse_float=lambda number: float(f"{float(number):.3g}"))
    TABLE.write_text(json.dumps(rounded, indent=1) + "\n")
    print(table(rounded))


if __name__ == "__main__":
    main()

"""The CUDA kernels on the CPU: the same source, compiled with g++, with each thread of a block as a fiber.

`Emulator.launch` takes the place of `gradcorr_fast.kernels.cuda.launch`; addresses are those of ordinary memory.
"""

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np

from gradcorr_fast.kernels import cuda

HERE = Path(__file__).parent
FLAGS = [
    "-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-fsanitize=undefined", "-fno-strict-aliasing",
    "-Wall", "-Wextra", "-Wshadow", "-Werror", "-Wno-unknown-pragmas",
]  # fmt: skip


class Emulator:
    """Compiles kernels into a folder and runs them; `grid` and `block` override what the launcher chooses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.libraries: dict[cuda.Kernel, ctypes.CDLL] = {}
        self.grid: int | None = None
        self.block = cuda.BLOCK
        self.seed = 0
        self.rounding = 0

    def launch(
        self, kernel: cuda.Kernel, operands: np.ndarray, n_blocks: int, queue: object, shared_bytes: int = 0
    ) -> None:
        library = self._library(kernel)
        library.set_up(self.seed, shared_bytes, self.rounding)
        grid = min(n_blocks, 3) if self.grid is None else self.grid
        fits = library.emulate(operands.ctypes.data_as(ctypes.c_void_p), operands.nbytes, max(1, grid), self.block)
        assert fits, "the structure has another size in C++ than in Python"
        error = library.last_error().decode()
        assert not error, error

    def _library(self, kernel: cuda.Kernel) -> ctypes.CDLL:
        if kernel not in self.libraries:
            library = ctypes.CDLL(str(self._build(kernel)))
            library.last_error.restype = ctypes.c_char_p
            library.emulate.restype = ctypes.c_bool
            self.libraries[kernel] = library
        return self.libraries[kernel]

    def _build(self, kernel: cuda.Kernel) -> Path:
        runtime = self.folder / "emulator.o"
        if not runtime.exists():
            _compile([*FLAGS, "-Wno-clobbered", "-c", str(HERE / "emulator.cpp"), "-o", str(runtime)])
        target = self.folder / f"{hashlib.sha256(repr(kernel).encode()).hexdigest()[:16]}.so"
        main = f"""
#include "{HERE / "cuda.hpp"}"
#include "{Path(cuda.__file__).parent / kernel.file}"
extern "C" bool emulate(const void* bytes, unsigned size, unsigned grid, unsigned block) {{
    return emulate_kernel({kernel.name}, bytes, size, grid, block);
}}
"""
        source = target.with_suffix(".cpp")
        source.write_text(main)
        macros = [f"-D{macro}" for macro in kernel.macros]
        _compile([*FLAGS, *macros, "-shared", str(source), str(runtime), "-o", str(target)])
        return target


def _compile(arguments: list[str]) -> None:
    compiler = shutil.which("g++")
    assert compiler is not None
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

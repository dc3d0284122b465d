"""The CUDA kernels compile for every architecture, without a warning and without spilling; this needs no GPU."""

import io
import re

import pytest

from gradcorr_fast.kernels import cuda
from tests.conftest import require

OFTEN = (75, 90, 120)  # the oldest, that of the measured cards, the newest
ARCHITECTURES = tuple(
    pytest.param(number, marks=[] if number in OFTEN else [pytest.mark.thorough])
    for number in (75, 80, 86, 89, 90, 100, 120)
)
FLOATS = tuple(cuda.FLOATS)

RARE = [
    *(cuda._analyze_kernel("float64", x, codes, 4, *plan) for x, codes in (("uint8", True), ("float64", False))
      for plan in ((1, False), (2, False), (1, True))),
    *(cuda._analyze_kernel(grad, x, codes, letters, 1, False) for grad in FLOATS
      for x, codes in (("int64", True), ("float64", False)) for letters in (5, 20, 32)),
    *(cuda._analyze_kernel("float32", x, codes, 4, 4, False) for x in cuda.TYPES for codes in (True, False)
      if x in cuda.INTEGERS or not codes),
    *(cuda._summary_kernel("float64", 4, together) for together in (True, False)),
    *(cuda._summary_kernel(grad, 32, False) for grad in FLOATS),
]  # fmt: skip


def compile_log(kernel: cuda.Kernel, architecture: int) -> str:
    """Compile as CuPy does, which needs a device only to ask for its architecture."""
    from cupy.cuda.compiler import _NVRTCProgram

    log = io.StringIO()
    options = (
        f"-arch=sm_{architecture}",
        "-ftz=true",
        *cuda.OPTIONS,
        "--ptxas-options=-v",
        "--ptxas-options=-warn-spills",
    )
    code, _ = _NVRTCProgram(cuda.source(kernel), kernel.file, method="cubin").compile(options, log)
    assert len(code) > 1000
    return log.getvalue()


def check(kernel: cuda.Kernel, architecture: int) -> None:
    require("cupy")
    log = compile_log(kernel, architecture)
    assert "warning" not in log.lower(), log
    spilled = [int(n) for n in re.findall(r"(\d+) bytes (?:stack frame|spill)", log)]
    assert spilled, log
    assert not any(spilled), log


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", cuda.usual_kernels(), ids=lambda k: " ".join((k.name, *k.macros)))
def test_usual_kernels_compile_everywhere(kernel: cuda.Kernel, architecture: int) -> None:
    check(kernel, architecture)


@pytest.mark.parametrize("kernel", RARE, ids=lambda k: " ".join((k.name, *k.macros)))
def test_rare_kernels_compile(kernel: cuda.Kernel) -> None:
    check(kernel, 75)
    check(kernel, 90)


def test_sources_include_nothing_from_elsewhere() -> None:
    """No header of a toolkit: the compiler finds none on the machines of many users."""
    for kernel in cuda.usual_kernels():
        assert "#include" not in cuda.source(kernel)


def test_noise_is_rounded_operation_by_operation() -> None:
    """Fused products and approximate roots would have other bits than the CPU's."""
    require("cupy")
    from cupy.cuda.compiler import _NVRTCProgram

    options = ("-arch=compute_90", "-ftz=true", *cuda.OPTIONS)
    code, _ = _NVRTCProgram(cuda.source(cuda.DRAWS["noise"]), "draws.cuh", method="ptx").compile(options)
    assert b"fma." not in code
    assert b"sqrt.rn" in code
    assert b"approx" not in code

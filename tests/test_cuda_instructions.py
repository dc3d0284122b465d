"""Instructions that the kernels take for a position stay what the committed table says; this needs no GPU."""

import os
from pathlib import Path

import pytest

from benchmarks.gpu import instructions
from gradcorr_fast.kernels import cuda
from tests.conftest import require

ROOT = Path(__file__).parents[1]
KERNELS = instructions.counted_kernels()
STANDARD = [kernel for kernel in KERNELS if "OUTPUTS=7" in kernel.macros]
SUMMARIES = [kernel for kernel in KERNELS if kernel.name == "angle_summary"]


def is_single(kernel: cuda.Kernel) -> bool:
    return "GRAD_TYPE=float" in kernel.macros


@pytest.fixture
def counts() -> dict[str, float]:
    return instructions.read()


@pytest.mark.parametrize("kernel", KERNELS, ids=instructions.name_of)
def test_no_kernel_grows(kernel: cuda.Kernel, counts: dict[str, float]) -> None:
    """One that shrinks is counted anew: python -m benchmarks.gpu.instructions."""
    require("cupy")
    if instructions.disassembler() is None:
        message = "nvdisasm is not installed; pip install nvidia-cuda-nvdisasm brings it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    assert instructions.per_position(kernel) <= 1.1 * counts[instructions.name_of(kernel)]


def test_all_usual_kernels_are_counted(counts: dict[str, float]) -> None:
    assert set(counts) == {instructions.name_of(kernel) for kernel in KERNELS}


@pytest.mark.parametrize("kernel", STANDARD, ids=instructions.name_of)
def test_standard_work_leaves_time_for_memory(kernel: cuda.Kernel, counts: dict[str, float]) -> None:
    """While 32 positions come from memory, an H200 has 319 issue slots in single precision, 194 in half precision."""
    assert counts[instructions.name_of(kernel)] < (150 if is_single(kernel) else 110)


@pytest.mark.parametrize("kernel", SUMMARIES, ids=instructions.name_of)
def test_summaries_are_short(kernel: cuda.Kernel, counts: dict[str, float]) -> None:
    assert counts[instructions.name_of(kernel)] < 80


def test_the_page_shows_the_counts(counts: dict[str, float]) -> None:
    assert instructions.table(counts) in (ROOT / "docs" / "gpu.md").read_text()


CODE = """
        /*0000*/                   MOV R0, RZ ;
.L_x_1:
        /*0010*/                   LDG.E R1, desc[UR4][R2.64] ;
        /*0020*/               @P0 BRA `(.L_x_2) ;
        /*0030*/                   MUFU.RCP R1, R1 ;
        /*0040*/                   FMUL R1, R1, R1 ;
.L_x_2:
        /*0050*/                   STG.E desc[UR4][R2.64], R1 ;
        /*0060*/              @!P1 BRA `(.L_x_1) ;
        /*0070*/                   EXIT ;
.L_x_3:
        /*0080*/                   BRA `(.L_x_3);
"""


def test_the_rare_way_is_not_counted() -> None:
    assert instructions.Code.parse(CODE).longest_loop() == 4


def test_a_way_that_all_take_is_counted() -> None:
    assert instructions.Code.parse(CODE.replace("@P0 BRA `(.L_x_2)", "NOP")).longest_loop() == 6

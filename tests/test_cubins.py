"""What the decision about machine code in the wheel rests on; this needs no GPU."""

from pathlib import Path

from benchmarks.gpu import cubins
from gradcorr_fast.kernels import cuda
from tests.conftest import require

PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"


def test_the_page_shows_what_was_measured() -> None:
    found, page = cubins.read(), PAGE.read_text()
    assert cubins.table(found) in page
    assert found["compiler"] in page
    for key in ("load_compiler_seconds", "compile_standard_work_seconds"):
        assert f"{1e3 * found[key]:.0f} ms" in page


def test_sizes_are_those_of_machine_code() -> None:
    require("cupy")
    kernels = cuda.usual_kernels()[:2]
    one, two = (cubins.measure(kernels[:n], 90) for n in (1, 2))
    assert 0 < one["packed"] < one["deflated"] < one["bytes"] < two["bytes"]
    assert two["packed"] < two["deflated"]


def test_a_new_process_compiles_a_kernel() -> None:
    require("cupy")
    loading, compiling = cubins.start(cuda.usual_kernels()[0])
    assert loading > 0
    assert compiling > 0

"""Standard work and the correction alone against what others would run on the same GPU for the same results."""

from typing import Any

import pytest

from benchmarks.gpu.peers import COMPILE_MODES, PEERS
from benchmarks.gpu.work import Case, against, check, our_call
from benchmarks.harness import STANDARD, Work

LENGTH = 2_000
CORRECT = Work("correct", None, 1, 0)
TARGETS = {"torch eager": 8.0, **dict.fromkeys(COMPILE_MODES, 1.0)}

DEFAULT, AUTOTUNED = COMPILE_MODES
CASES = [
    *((provider, layout, "float32", x) for x in ("codes", "one-hot") for provider in ("torch eager", DEFAULT, "Triton")
      for layout in ("(N, 4, L)", "(N, L, 4)")),
    *((provider, layout, "bfloat16", "codes") for provider in ("torch eager", DEFAULT, "Triton")
      for layout in ("(N, 4, L)", "(N, L, 4)")),
    *(("cupy.fuse", layout, "float32", "one-hot") for layout in ("(N, 4, L)", "(N, L, 4)")),
    *((provider, layout, "float32", None) for provider in ("torch eager", DEFAULT, "cupy.fuse")
      for layout in ("(N, 4, L)", "(N, L, 4)")),
    *((AUTOTUNED, layout, "float32", "codes") for layout in ("(N, 4, L)", "(N, L, 4)")),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "layout", "dtype", "x"), CASES)
def test_peer(
    device: Any, arrays: Any, sizes: Any, record: Any, provider: str, layout: str, dtype: str, x: str | None
) -> None:
    if provider == "Triton":
        pytest.importorskip("triton")
        if device.is_dry and dtype == "bfloat16":
            pytest.skip("Triton's interpreter cuts bfloat16 off where the GPU rounds")
    work = CORRECT if x is None else STANDARD._replace(x=x)
    case = Case(work, dtype, layout, max(1, sizes.positions // LENGTH), LENGTH)
    grad, given = arrays.grad(case), arrays.x(case)
    ours, theirs = our_call(case, grad, given), PEERS[provider](case, device, grad, given)
    check(case, ours(), grad, given)
    check(case, theirs(), grad, given, angle_error=0.1)
    aims = {} if x == "one-hot" else TARGETS
    against(device, record, case, ours, {provider: theirs}, sizes.peer_rounds, outputs="fresh", aims=aims)

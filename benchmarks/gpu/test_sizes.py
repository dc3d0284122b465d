"""Standard work over lengths of sequences, at the same number of positions: where alignment and short rows cost."""

from typing import Any

import pytest

from benchmarks.gpu.test_standard_work import standard
from benchmarks.gpu.work import Stream, against, allocate, check, check_written, our_call
from benchmarks.harness import AXES

LENGTHS = (200, 500, 1_000, 2_000, 2_001, 2_114, 4_096, 20_000, 196_608)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", AXES)
@pytest.mark.parametrize("length", LENGTHS)
def test_length(device: Any, arrays: Any, sizes: Any, record: Any, length: int, layout: str, dtype: str) -> None:
    case = standard(dtype, layout, sizes.positions, length=length)
    grad, codes = arrays.grad(case), arrays.x(case)
    buffers = allocate(case, device, poisoned=True)
    ours = our_call(case, grad, codes, buffers)
    check(case, ours(), grad, codes)
    check_written(buffers)
    stream = Stream(case, device, grad, codes)
    others = {"streaming kernel": lambda: stream(buffers)}
    row = {"outputs": "reused", "stream_blocks": stream.n_blocks, "sweep": "lengths"}
    against(device, record, case, ours, others, sizes.peer_rounds, **row)

"""Standard work (corrected, angle, grad-times-input in one pass) against a streaming kernel and a copy of its bytes."""

from typing import Any

import pytest

from benchmarks.gpu.device import turns
from benchmarks.gpu.work import (
    Case,
    Stream,
    against,
    allocate,
    blocks_per_processor,
    check,
    check_written,
    copy_call,
    our_call,
    speeds,
)
from benchmarks.harness import AXES, STANDARD

DTYPES = ("float32", "bfloat16", "float16")
LENGTH = 2_000
TARGET = 0.92
BLOCKS = (4, 8, 16, 32, 64, 10**6)  # for each multiprocessor; the last: one for each tile


def standard(dtype: str, layout: str, positions: int, x: str = "codes", length: int = LENGTH) -> Case:
    return Case(STANDARD._replace(x=x), dtype, layout, max(1, positions // length), length)


@pytest.mark.parametrize("x", ["codes", "one-hot"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", AXES)
@pytest.mark.parametrize("outputs", ["reused", "fresh"])
def test_yardsticks(
    device: Any, arrays: Any, sizes: Any, record: Any, outputs: str, layout: str, dtype: str, x: str
) -> None:
    case = standard(dtype, layout, sizes.positions, x)
    grad, given = arrays.grad(case), arrays.x(case)
    buffers = allocate(case, device, poisoned=True)
    check(case, our_call(case, grad, given, buffers)(), grad, given)
    check_written(buffers)
    stream = Stream(case, device, grad, given)
    reused = buffers if outputs == "reused" else None
    del buffers
    others = {"streaming kernel": lambda: stream(reused)}
    if outputs == "reused":
        others["device copy"] = copy_call(case, device)
    aims = {"streaming kernel": TARGET} if x == "codes" else {}
    ours = our_call(case, grad, given, reused)
    against(device, record, case, ours, others, sizes.rounds, outputs=outputs, stream_blocks=stream.n_blocks, aims=aims)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", AXES)
def test_grids(device: Any, arrays: Any, sizes: Any, record: Any, layout: str, dtype: str) -> None:
    """A sweep over the blocks that are launched for each multiprocessor; the streaming kernel with its best grid."""
    case = standard(dtype, layout, sizes.positions)
    grad, codes, buffers = arrays.grad(case), arrays.x(case), allocate(case, device)
    stream, call = Stream(case, device, grad, codes), our_call(case, grad, codes, buffers)

    def with_blocks(n: int) -> Any:
        with blocks_per_processor(n):
            return call()

    variants = [lambda n=n: with_blocks(n) for n in BLOCKS]
    theirs, *ours = turns(device, [lambda: stream(buffers), *variants], sizes.peer_rounds)
    for n, times in zip(BLOCKS, ours, strict=True):
        found = speeds(case, times, theirs)
        row = {"outputs": "reused", "stream_blocks": stream.n_blocks, "blocks_per_processor": n, "sweep": "blocks"}
        record(found, **case.names, **row, provider="streaming kernel", rounds=sizes.peer_rounds)


def test_more_than_32_bits(device: Any, arrays: Any, sizes: Any, record: Any) -> None:
    """More elements than a signed 32-bit index counts; the last sequence is right."""
    case = standard("bfloat16", "(N, L, 4)", sizes.large_positions)
    grad, codes = arrays.grad(case), arrays.x(case)
    buffers = allocate(case, device, poisoned=True)
    ours = our_call(case, grad, codes, buffers)
    check(case, ours(), grad, codes)
    check_written(buffers)
    stream = Stream(case, device, grad, codes)
    against(
        device, record, case, ours, {"streaming kernel": lambda: stream(buffers)}, 10, outputs="reused", sweep="64-bit"
    )
    arrays.forget()

"""Each operation by itself against a streaming kernel of the same bytes, also in place, and the summary of angles."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.gpu.machine import read_card
from benchmarks.gpu.work import Case, Stream, against, allocate, check, check_written, our_call, speeds
from benchmarks.harness import AXES, Work
from gradcorr_fast.kernels import cuda, reference

LENGTH = 2_000
CORRECT, SUMMARY = Work("correct", None, 1, 0), Work("angle_summary", None, 0, 0)
WORKS = (
    CORRECT,
    Work("simplex_angle", None, 0, 1),
    Work("grad_times_input", "codes", 0, 1),
    Work("grad_times_input", "one-hot", 0, 1),
)
CASES = [(work, dtype) for work in WORKS for dtype in ("float32", "bfloat16")]
CASES.append((Work("substitution_effects", "codes", 1, 0), "float32"))  # of half precision it is float32 as well
TARGETS = {"correct": 0.95, "angle_summary": 0.90}
THRESHOLDS, BINS = (30.0, 45.0, 60.0), 180


def make(work: Work, dtype: str, layout: str, positions: int) -> Case:
    return Case(work, dtype, layout, max(1, positions // LENGTH), LENGTH)


@pytest.mark.parametrize("layout", AXES)
@pytest.mark.parametrize(("work", "dtype"), CASES, ids=[f"{work.operation}-{work.x}-{dtype}" for work, dtype in CASES])
@pytest.mark.parametrize("outputs", ["reused", "fresh"])
def test_yardstick(
    device: Any, arrays: Any, sizes: Any, record: Any, outputs: str, work: Work, layout: str, dtype: str
) -> None:
    case = make(work, dtype, layout, sizes.positions)
    grad, x = arrays.grad(case), arrays.x(case)
    buffers = allocate(case, device, poisoned=True)
    check(case, our_call(case, grad, x, buffers)(), grad, x)
    check_written(buffers)
    stream = Stream(case, device, grad, x)
    reused = buffers if outputs == "reused" else None
    del buffers
    aims = {"streaming kernel": TARGETS[work.operation]} if work.operation in TARGETS else {}
    others = {"streaming kernel": lambda: stream(reused)}
    row = {"outputs": outputs, "stream_blocks": stream.n_blocks, "aims": aims}
    against(device, record, case, our_call(case, grad, x, reused), others, sizes.rounds, **row)


@pytest.mark.parametrize("layout", AXES)
def test_in_place(device: Any, arrays: Any, sizes: Any, record: Any, layout: str) -> None:
    case = make(CORRECT, "float32", layout, sizes.positions)
    grad, other = arrays.grad(case).clone(), arrays.grad(case).clone()
    ours = our_call(case, grad, None, [grad])
    ours()
    check(case, grad, arrays.grad(case), None)
    stream = Stream(case, device, other, None)
    others = {"streaming kernel": lambda: stream([other])}
    row = {"outputs": "in place", "stream_blocks": stream.n_blocks}
    against(device, record, case, ours, others, sizes.rounds, aims={"streaming kernel": TARGETS["correct"]}, **row)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", AXES)
def test_angle_summary(device: Any, arrays: Any, sizes: Any, record: Any, layout: str, dtype: str) -> None:
    """The kernel alone against one that only reads, by events; then the whole call with the host's time."""
    case = make(SUMMARY, dtype, layout, sizes.positions)
    grad = arrays.grad(case)
    check_summary(case, gf.angle_summary(grad, axis=case.axis), grad)
    stream = Stream(case, device, grad, None)
    row = {"outputs": "none", "stream_blocks": stream.n_blocks}
    kernel = summary_kernel(case, device, grad)
    aims = {"reading kernel": TARGETS["angle_summary"]}
    against(device, record, case, kernel, {"reading kernel": lambda: stream([])}, sizes.rounds, aims=aims, **row)

    def wall(call: Any) -> float:
        start = time.perf_counter()
        call()
        device.synchronize()
        return time.perf_counter() - start

    calls = (lambda: gf.angle_summary(grad, axis=case.axis)), (lambda: stream([]))
    times = [[wall(call) for call in calls] for _ in range(sizes.peer_rounds)]
    mine, theirs = (list(column) for column in zip(*times, strict=True))
    record(speeds(case, mine, theirs), **case.names, **row, provider="reading kernel, with the host's time")


def summary_kernel(case: Case, device: Any, grad: Any) -> Any:
    """A call that launches the kernel and nothing else, into memory of its own."""
    import torch

    buffer = cuda.SummaryBuffer.plan(case.n_sequences, case.length, len(THRESHOLDS), BINS)
    memory = torch.zeros(buffer.offsets[-1], dtype=torch.uint8, device=device.memory)
    options = {
        "grad": cuda.DeviceMemory(grad.data_ptr(), case.dtype),
        "mask": None,
        "thresholds": THRESHOLDS,
        "tolerance": reference.edge_tolerance("float32"),
        "buffer": buffer,
    }
    shape = case.n_sequences, case.length, 4

    def call() -> Any:
        cuda.angle_summary(shape, case.axis == -1, device.queue(), address=memory.data_ptr(), **options)
        return memory

    return call


def check_summary(case: Case, summary: Any, grad: Any) -> None:
    some = np.array([0, -1])
    widened = grad[[0, -1]].cpu().double().numpy()
    counts, _, _, sums, _, _ = reference.angle_summary(widened, axis=case.axis)
    np.testing.assert_allclose(summary.counts[some], counts, atol=2)
    np.testing.assert_allclose(summary.sums[some], sums, rtol=1e-4, atol=1e-2)
    assert int(summary.histogram.sum()) == case.positions - int(summary.n_undefined.sum())


def test_clocks_under_load(device: Any, arrays: Any, sizes: Any, record: Any) -> None:
    """What the card says of itself while it works: idle clocks mean little."""
    case = make(CORRECT, "float32", "(N, L, 4)", sizes.positions)
    grad, buffers = arrays.grad(case), allocate(case, device)
    ours = our_call(case, grad, None, buffers)
    with ThreadPoolExecutor(1) as pool:
        state = None
        while state is None or not state.done():
            for _ in range(500 if state is None else 20):  # half a second before the first question
                ours()
            state = state or pool.submit(read_card)
    record(state.result(), operation="the card under load", provider="correct")
    device.synchronize()

"""One sequence of 200 bp: host time of a call, replay of a CUDA graph, and the first result of a new process."""

import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.gpu.work import Case, allocate, check, our_call
from benchmarks.harness import STANDARD, Work
from tests import peers

ROOT = Path(__file__).parents[2]
LENGTH = 200
WORKS = {"correct": Work("correct", None, 1, 0), "analyze": STANDARD}
TARGET_SECONDS = 20e-6

# The array is made and waited for before the clock starts: making the device's context is not ours to pay.
MAKE_TENSOR = """
import torch
array = torch.ones((1, 200, 4), device="{memory}")
synchronize = torch.cuda.synchronize if array.is_cuda else lambda: None
"""
MAKE_CUPY = """
import cupy, numpy
array = cupy.asarray(numpy.ones((1, 200, 4), numpy.float32))
synchronize = cupy.cuda.runtime.deviceSynchronize
"""
FIRST = """
import json, time
{make}
synchronize()
import gradcorr_fast as gf
start = time.perf_counter()
{call}
synchronize()
print(json.dumps(time.perf_counter() - start))
"""
STARTS = {
    "correct, torch": (MAKE_TENSOR, "gf.correct(array)"),
    "gf.warmup()": (MAKE_TENSOR, "gf.warmup()"),
    "correct, cupy": (MAKE_CUPY, "gf.correct(array)"),
}
TARGET_START = {"cold": {"gf.warmup()": 3.0}, "cached": {"correct, torch": 0.3, "correct, cupy": 0.3}}


def make(operation: str, arrays: Any, library: str) -> tuple[Case, Any, Any]:
    case = Case(WORKS[operation], "float32", "(N, L, 4)", 1, LENGTH)
    grad, x = arrays.grad(case), arrays.x(case)
    check(case, our_call(case, grad, x)(), grad, x)
    if library == "cupy":
        import cupy

        grad, x = (None if array is None else cupy.asarray(array.cpu().numpy()) for array in (grad, x))
    return case, grad, x


def host_seconds(device: Any, call: Callable[[], Any], calls: int, readings: int) -> dict[str, float]:
    """Host time of a call, from so many under one reading of the clock; the device is waited for outside."""
    for _ in range(calls):
        call()
    found = []
    for _ in range(readings):
        device.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        found.append((time.perf_counter() - start) / calls)
    device.synchronize()
    return {"seconds": float(np.median(found)), "least_seconds": min(found)}


@pytest.mark.parametrize("library", ["torch", "cupy"])
@pytest.mark.parametrize("operation", WORKS)
def test_one_call(device: Any, arrays: Any, sizes: Any, record: Any, operation: str, library: str) -> None:
    if device.is_dry and library == "cupy":
        pytest.skip("CuPy makes no arrays without a GPU")
    case, grad, x = make(operation, arrays, library)
    outputs = {"fresh": None}
    if library == "torch":
        outputs["reused"] = allocate(case, device)
    for name, buffers in outputs.items():
        call = our_call(case, grad, x, buffers)
        found = host_seconds(device, call, sizes.calls, 2 * sizes.rounds)
        row = {"outputs": name, "provider": f"one call, {library}", "target_seconds": TARGET_SECONDS}
        record(found, **case.names, **row)


def test_eager_formulas(device: Any, arrays: Any, sizes: Any, record: Any) -> None:
    """The same maps by torch's own operations, to compare the time of one call with."""
    case, grad, codes = make("analyze", arrays, "torch")
    one_hot = (codes.unsqueeze(-1) == 0).float()
    found = host_seconds(device, lambda: peers.torch_standard_work(grad, one_hot), sizes.calls, sizes.rounds)
    record(found, **case.names, outputs="fresh", provider="one call, torch eager formulas")


@pytest.mark.parametrize("operation", WORKS)
def test_where_the_time_goes(device: Any, arrays: Any, sizes: Any, record: Any, operation: str) -> None:
    """The functions that a call spends its host time in, as Python's profiler sees it: slower than without it."""
    case, grad, x = make(operation, arrays, "torch")
    call, n = our_call(case, grad, x), 10 * sizes.calls
    call()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(n):
        call()
    profile.disable()
    device.synchronize()
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    ordered = sorted(stats.items(), key=lambda item: -item[1][2])[:20]
    functions = {
        f"{Path(file).name}:{line} {name}": round(own / n * 1e6, 2) for (file, line, name), (_, _, own, *_) in ordered
    }
    record({"microseconds": functions}, **case.names, provider="profile of one call, torch")


@pytest.mark.parametrize("n_sequences", [1, 2_000])
def test_graph(device: Any, arrays: Any, sizes: Any, record: Any, n_sequences: int) -> None:
    """A call recorded in a CUDA graph and replayed."""
    if device.is_dry:
        pytest.skip("a graph needs a GPU")
    import torch

    case = Case(STANDARD, "float32", "(N, L, 4)", n_sequences, LENGTH)
    grad, codes, buffers = arrays.grad(case).clone(), arrays.x(case), allocate(case, device, poisoned=True)
    call = our_call(case, grad, codes, buffers)
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    grad.normal_()
    for buffer in buffers:
        buffer.fill_(float("nan"))
    graph.replay()
    check(case, buffers, grad, codes)
    found = host_seconds(device, graph.replay, sizes.calls, sizes.rounds)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(sizes.calls):
        graph.replay()
    stop.record()
    torch.cuda.synchronize()
    found["device_seconds"] = start.elapsed_time(stop) / sizes.calls / 1e3
    record(found, **case.names, outputs="reused", provider="replay of a CUDA graph")


@pytest.mark.parametrize("start", STARTS)
def test_first_result(device: Any, sizes: Any, record: Any, start: str) -> None:
    """New processes: with nothing compiled for the GPU, and with it on disk; Numba's kernels are cached in both."""
    make_array, call = STARTS[start]
    if device.is_dry and start != "correct, torch":
        pytest.skip("needs a GPU")
    script = FIRST.format(make=make_array.format(memory=device.memory), call=call)
    if not device.is_dry:
        gf.warmup()
    found: dict[str, list[float]] = {"cold": [], "cached": []}
    for _ in range(1 if device.is_dry else 2):
        with tempfile.TemporaryDirectory() as folder:
            for times in found.values():
                environment = os.environ | {"CUPY_CACHE_DIR": folder}
                command = [sys.executable, "-c", script]
                done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
                times.append(json.loads(done.stdout))
    for cache, times in found.items():
        aim = TARGET_START[cache].get(start)
        row = (
            {"provider": f"new process, {cache}", "target_seconds": aim}
            if aim
            else {"provider": f"new process, {cache}"}
        )
        record({"seconds": float(np.median(times)), "least_seconds": min(times)}, operation=start, **row)

"""Each operation by itself against the yardstick with the same bytes, and against what people call instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.harness import AXES, WORKS, Work, ends, interleave
from tests import peers

CORRECT, SUMMARY = WORKS[0], WORKS[-1]
TARGETS = {"correct": 0.95, "angle_summary": 0.85}
CASES = [(work, outputs) for work in WORKS for outputs in ("fresh", "reused") if work is not SUMMARY] + [
    (SUMMARY, "none")
]


@pytest.mark.parametrize(("work", "outputs"), CASES, ids=[f"{w.operation}-{w.x}-{outputs}" for w, outputs in CASES])
@pytest.mark.parametrize("layout", AXES)
def test_yardstick(benchmark: Any, data: Any, sizes: Any, record: Any, layout: str, work: Work, outputs: str) -> None:
    axis = AXES[layout]
    grad, x = data.grad(axis), data.x(work.x, axis)
    buffers = work.allocate(grad, axis) if outputs == "reused" else None
    check(work, work.ours(grad, x, axis, buffers), grad, x, axis)
    found = interleave(
        benchmark,
        lambda: work.ours(grad, x, axis, buffers),
        lambda: work.yardstick(grad, x, axis, buffers),
        sizes.pairs,
    )
    record(
        found,
        operation=work.operation,
        layout=layout,
        outputs=outputs,
        x=work.x,
        provider="yardstick",
        n_sequences=sizes.n_sequences,
        length=sizes.length,
        bytes=work.bytes_per_position * data.codes.size,
        **({"target": TARGETS[work.operation]} if work.operation in TARGETS else {}),
    )


def copyto(data: Any, n: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """One thread that copies what `correct` reads and writes."""
    grad = data.grad(-1)
    buffer = np.empty_like(grad)
    check(CORRECT, gf.correct(grad, out=buffer), grad, None, -1)
    return lambda: gf.correct(grad, out=buffer), lambda: np.copyto(buffer, grad)


def grelu(data: Any, n: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    grad, buffer = data.grad(1, n), data.grad(1, n).copy()
    np.testing.assert_allclose(ends(peers.grelu_correct_grad(buffer)), ends(gf.correct(grad, axis=1)), atol=1e-6)
    return lambda: gf.correct(buffer, axis=1, out=buffer), lambda: peers.grelu_correct_grad(buffer)


def crested(data: Any, n: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    grad = data.grad(-1, n)
    np.testing.assert_allclose(ends(peers.crested_simplex_correction(grad)), ends(gf.correct(grad)), atol=1e-6)
    return lambda: gf.correct(grad), lambda: peers.crested_simplex_correction(grad)


def paper_counts(data: Any, n: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    grad = data.grad(-1, n)
    counts = peers.geomath_count_large_angles(grad)
    np.testing.assert_allclose(ends(counts), ends(gf.angle_summary(grad).counts), atol=1)
    return lambda: gf.angle_summary(grad), lambda: peers.geomath_count_large_angles(grad)


@pytest.mark.parametrize(
    ("pair", "provider", "work", "layout", "outputs"),
    [
        (copyto, "np.copyto, one thread", CORRECT, "(N, L, 4)", "reused"),
        (grelu, "gReLU, NumPy", CORRECT, "(N, 4, L)", "in place"),
        (crested, "CREsted, NumPy", CORRECT, "(N, L, 4)", "fresh"),
        (paper_counts, "paper, NumPy", SUMMARY, "(N, L, 4)", "none"),
    ],
    ids=["copyto", "grelu", "crested", "paper_counts"],
)
def test_peer(
    benchmark: Any, data: Any, sizes: Any, record: Any, pair: Any, provider: str, work: Work, layout: str, outputs: str
) -> None:
    n = sizes.n_sequences if pair is copyto else sizes.n_peer_sequences
    ours, other = pair(data, n)
    found = interleave(benchmark, ours, other, sizes.peer_pairs)
    record(
        found,
        operation=work.operation,
        layout=layout,
        outputs=outputs,
        x=work.x,
        provider=provider,
        n_sequences=n,
        length=sizes.length,
        bytes=work.bytes_per_position * n * sizes.length,
    )


def check(work: Work, result: Any, grad: Any, x: Any, axis: int) -> None:
    """Compare the first and last sequence with the definition."""
    expected = work.expected(ends(grad), None if x is None else ends(x), axis)
    if work is SUMMARY:
        np.testing.assert_allclose(ends(result.counts), expected[0], atol=1)
        np.testing.assert_allclose(ends(result.sums), expected[3], rtol=1e-4, atol=1e-2)
    else:
        tolerance = 1e-4 if work.operation == "simplex_angle" else 1e-5
        np.testing.assert_allclose(ends(result), expected, rtol=1e-5, atol=tolerance)

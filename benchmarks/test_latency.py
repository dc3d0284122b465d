"""One sequence of 200 bp: what a call costs when there is next to nothing to compute, and what the first one costs."""

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from benchmarks.harness import Work, compare, seconds
from gradcorr_fast.kernels import cuda

LENGTH = 200
CALLS = 100  # in a row under one reading of the clock
WORKS = {"correct": Work("correct", None, 1, 0), "analyze": Work("analyze", "codes", 1, 2)}
TARGET_SECONDS = {"numpy": 15e-6, "torch": 25e-6}

TRIVIAL = """
import numpy as np
from numba import njit

@njit(cache=True)
def add_one(a):
    for i in range(a.size):
        a[i] += np.float32(1)

add_one(np.zeros(8, np.float32))
"""
OURS = """
import numpy as np
import gradcorr_fast as gf

gf.correct(np.zeros((1, 200, 4), np.float32))
"""


@pytest.mark.parametrize("operation", WORKS)
@pytest.mark.parametrize("library", TARGET_SECONDS)
def test_one_call(benchmark: Any, sizes: Any, record: Any, library: str, operation: str) -> None:
    work = WORKS[operation]
    rng = np.random.default_rng(22)
    grad = rng.standard_normal((1, LENGTH, 4), np.float32)
    x = rng.integers(0, 4, (1, LENGTH), np.uint8)
    expected = work.expected(grad, x, -1)
    if library == "torch":
        torch = pytest.importorskip("torch")
        grad, x = torch.from_numpy(grad), torch.from_numpy(x)
    result = work.ours(grad, x, -1)
    first = result[0] if operation == "analyze" else result
    wanted = expected[0] if operation == "analyze" else expected
    np.testing.assert_allclose(np.asarray(first).reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)
    call = partial(work.ours, grad, x, -1)
    benchmark.pedantic(call, iterations=CALLS, rounds=10 * sizes.pairs, warmup_rounds=1)
    found = {} if benchmark.disabled else {"seconds": benchmark.stats.stats.median}
    record(
        found,
        operation=operation,
        layout="(N, L, 4)",
        outputs="fresh",
        x=work.x,
        provider=f"one call, {library}",
        n_sequences=1,
        length=LENGTH,
        target_seconds=TARGET_SECONDS[library],
    )


@pytest.mark.parametrize("operation", WORKS)
def test_call_before_a_launch(benchmark: Any, sizes: Any, record: Any, operation: str) -> None:
    """What the host does for a CUDA tensor until the driver is asked, beside PyTorch's line for a CPU tensor."""
    torch = pytest.importorskip("torch")
    from gradcorr_fast.backends import _cuda
    from gradcorr_fast.backends.torch import _native as backend

    grad, x = torch.randn(1, LENGTH, 4), torch.zeros(1, LENGTH, dtype=torch.uint8)
    ours = partial(WORKS[operation].ours, grad, x, -1)
    plain = partial(correct_by_hand, grad)
    launches = [0]

    def launched(*_: Any) -> None:
        launches[0] += 1

    library = dataclasses.replace(backend.LIBRARY, queue=lambda _: cuda.Queue(0, 0))
    with (
        mock.patch.object(backend, "uses_cuda", return_value=True),
        mock.patch.object(backend, "LIBRARY", library),
        mock.patch.object(_cuda, "check_device"),
        mock.patch.object(cuda, "launch", launched),
    ):
        ours()
        assert launches == [1]
        times = benchmark.pedantic(lambda: [(each(plain), each(ours)) for _ in range(10 * sizes.pairs)], rounds=1)
    by_hand, mine = np.median(times, axis=0).tolist()
    record(
        {} if benchmark.disabled else {"seconds": mine, "seconds_by_hand": by_hand},
        operation=operation,
        layout="(N, L, 4)",
        outputs="fresh",
        x=WORKS[operation].x,
        provider="before a launch, torch on CUDA",
        n_sequences=1,
        length=LENGTH,
        target_seconds=15e-6,
    )


def correct_by_hand(grad: Any) -> Any:
    return grad - grad.mean(-1, keepdim=True)


def each(call: Any) -> float:
    """Seconds of one of many calls in a row."""
    return seconds(lambda: [call() for _ in range(CALLS)]) / CALLS


def test_first_result(tmp_path: Path, sizes: Any, record: Any) -> None:
    """New processes in turn: one that loads a cached Numba kernel of one line, and one that corrects a sequence."""
    trivial = tmp_path / "trivial.py"  # a file of its own, because Numba keeps no cache for code without one
    trivial.write_text(TRIVIAL)
    root = Path(__file__).parent.parent
    ours = partial(subprocess.run, [sys.executable, "-c", OURS], cwd=root, check=True)
    other = partial(subprocess.run, [sys.executable, "-c", "import trivial"], cwd=tmp_path, check=True)
    for call in (other, ours):  # fills the caches on disk
        call()
    times = [(seconds(other), seconds(ours)) for _ in range(max(2, sizes.peer_pairs // 3))]
    others, mine = (list(column) for column in zip(*times, strict=True))
    record(
        compare(mine, others),
        operation="first result",
        layout="(N, L, 4)",
        outputs="fresh",
        x=None,
        provider="import numba, one cached kernel",
        n_sequences=1,
        length=LENGTH,
        extra_seconds=float(np.median(np.subtract(mine, others))),
        target_extra_seconds=0.2,
    )

"""Standard work (corrected, angle, grad-times-input in one pass) against the yardstick and against peers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.harness import AXES, STANDARD, ends, interleave
from gradcorr_fast.kernels import threads
from tests import peers

TARGETS = {"(N, 4, L)": 0.90, "(N, L, 4)": 0.80}
PEER_TARGETS = {("paper, NumPy", "codes"): 50, ("torch.compile", "codes"): 10}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compilers of others import old parts


@pytest.mark.parametrize("x", ["codes", "one-hot"])
@pytest.mark.parametrize("outputs", ["fresh", "reused"])
@pytest.mark.parametrize("layout", AXES)
def test_yardstick(benchmark: Any, data: Any, sizes: Any, record: Any, layout: str, outputs: str, x: str) -> None:
    axis, work = AXES[layout], STANDARD._replace(x=x)
    grad, given = data.grad(axis), data.x(x, axis)
    buffers = work.allocate(grad, axis) if outputs == "reused" else None
    check(work.ours(grad, given, axis, buffers), grad, given, axis)
    found = interleave(
        benchmark,
        lambda: work.ours(grad, given, axis, buffers),
        lambda: work.yardstick(grad, given, axis, buffers),
        sizes.pairs,
    )
    record(
        found,
        operation="standard work",
        layout=layout,
        outputs=outputs,
        x=x,
        provider="yardstick",
        n_sequences=sizes.n_sequences,
        length=sizes.length,
        bytes=work.bytes_per_position * data.codes.size,
        **({"target": TARGETS[layout]} if x == "codes" else {}),
    )


@pytest.mark.parametrize("x", ["codes", "one-hot"])
@pytest.mark.parametrize(
    ("provider", "layout"),
    [("paper, NumPy", "(N, L, 4)")]
    + [(provider, layout) for provider in ("torch eager", "torch.compile", "jax.jit") for layout in AXES],
)
def test_peer(benchmark: Any, data: Any, sizes: Any, record: Any, provider: str, layout: str, x: str) -> None:
    axis, work, n = AXES[layout], STANDARD._replace(x=x), sizes.n_peer_sequences
    grad, given, one_hot = data.grad(axis, n), data.x(x, axis, n), data.x("one-hot", axis, n)
    ours, other = PEERS[provider](partial(work.ours, axis=axis), grad, given, one_hot, axis)
    check(ours(), grad, given, axis)
    check(other(), grad, one_hot, axis, atol=0.1)
    found = interleave(benchmark, ours, other, sizes.peer_pairs)
    target = PEER_TARGETS.get((provider, x)) if axis == -1 else None
    record(
        found,
        operation="standard work",
        layout=layout,
        outputs="fresh",
        x=x,
        provider=provider,
        n_sequences=n,
        length=sizes.length,
        bytes=work.bytes_per_position * n * sizes.length,
        **({} if target is None else {"target": target}),
    )


Pair = tuple[Callable[[], Any], Callable[[], Any]]


def against_paper(work: Callable[..., Any], grad: Any, x: Any, one_hot: Any, axis: int) -> Pair:
    return lambda: work(grad, x), lambda: peers.geomath_standard_work(grad, one_hot)


def against_torch(work: Callable[..., Any], grad: Any, x: Any, one_hot: Any, axis: int, *, compiled: bool) -> Pair:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(threads.get_num_threads())
    grad, x, one_hot = (torch.from_numpy(array) for array in (grad, x, one_hot))
    formula = partial(peers.torch_standard_work, axis=axis)
    if compiled:
        torch.compiler.reset()
        formula = torch.compile(formula, fullgraph=True)
    return lambda: work(grad, x), lambda: formula(grad, one_hot)


def against_jax(work: Callable[..., Any], grad: Any, x: Any, one_hot: Any, axis: int) -> Pair:
    jax = pytest.importorskip("jax")
    formula = jax.jit(partial(peers.jax_standard_work, axis=axis))
    theirs = jax.numpy.array(grad), jax.numpy.array(one_hot)
    return lambda: work(grad, x), lambda: jax.block_until_ready(formula(*theirs))


PEERS = {
    "paper, NumPy": against_paper,
    "torch eager": partial(against_torch, compiled=False),
    "torch.compile": partial(against_torch, compiled=True),
    "jax.jit": against_jax,
}


def check(maps: Any, grad: Any, x: Any, axis: int, atol: float = 1e-4) -> None:
    """Compare the first and last sequence with the definition; `atol` in degrees, the peers lose digits near 90."""
    expected = STANDARD.expected(ends(grad), ends(x), axis)
    for result, wanted, tolerance in zip(maps[:3], expected, (1e-5, atol, 1e-5), strict=True):
        np.testing.assert_allclose(ends(result), wanted, rtol=1e-5, atol=tolerance)

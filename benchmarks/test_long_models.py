"""Corrected saliency of a model shaped like Enformer, with fewer channels, and its bare gradient: time and memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks import memory
from benchmarks.harness import interleave
from benchmarks.test_hooks import OUTPUTS

LENGTH, BIN, CROPPED = 196_608, 128, 320
N_PAIRS = 5  # each call takes seconds


def network(length: int) -> tuple[Any, Any]:
    import torch

    from tests.architectures import enformer

    torch.manual_seed(0)
    n_cropped = CROPPED if length == LENGTH else 0
    model = enformer(n_pools=7, n_channels=192, n_layers=2, n_heads=4, n_tracks=16, n_cropped=n_cropped)
    codes = np.random.default_rng(0).integers(0, 4, (1, length))
    return model.eval(), torch.from_numpy(np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1).copy())


def target(length: int) -> Any:
    """Some bins in the middle."""
    middle = (length // BIN - 2 * CROPPED * (length == LENGTH)) // 2
    return gf.targets.sum_over(bins=slice(max(middle - 8, 0), middle + 8), tracks=0)


def ours(length: str) -> Callable[[], Any]:
    model, x = network(int(length))
    return lambda: gf.hooks.torch.saliency(model, x, target=target(int(length)), outputs=OUTPUTS)


def bare(length: str) -> Callable[[], Any]:
    import torch

    model, x = network(int(length))

    def call() -> Any:
        batch = x.detach().requires_grad_()
        return torch.autograd.grad(target(int(length))(model(batch)).sum(), batch)[0]

    return call


def test_long_model(benchmark: Any, sizes: Any, record: Any) -> None:
    pytest.importorskip("torch")
    length, pairs = (512, 1) if sizes.pairs < 30 else (LENGTH, N_PAIRS)
    row = {"library": "torch", "layout": "(N, 4, L)", "outputs": "fresh", "x": "one-hot", "provider": "bare gradient"}
    row |= {"n_sequences": 1, "length": length}
    own, other = ours(str(length)), bare(str(length))
    np.testing.assert_allclose(own().corrected, gf.correct(other(), axis=1), rtol=1e-3, atol=1e-6)
    found = interleave(benchmark, own, other, pairs)
    record(found, operation="saliency, Enformer's shape", target=0.97, **row)
    if length == LENGTH:
        peaks = [memory.peak(__name__, name, length) for name in ("ours", "bare")]
        found = {"peak_bytes": peaks[0], "provider_peak_bytes": peaks[1]}
        record(found, operation="saliency, Enformer's shape", **row)

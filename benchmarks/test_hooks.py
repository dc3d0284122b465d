"""Corrected saliency with all maps against the bare gradient loop that people write by hand, in each framework."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.harness import interleave
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OUTPUTS = ("corrected", "angle", "grad_times_input")
BATCH = 128
AIM = 0.97

Attribute = Callable[[], Any]


class Case(NamedTuple):
    """The network CNN-deep of the papers on sequences of some length."""

    length: int
    n_sequences: int

    def model(self) -> tuple[models.Architecture, models.Weights]:
        rng = np.random.default_rng(0)
        filters, widths, pools = (24, 32, 48, 64), (19, 7, 7, 3), (1, 4, 4, 3)

        def layer(*shape: int) -> tuple[np.ndarray, np.ndarray]:
            scale = np.sqrt(2 / np.prod(shape[:-1]))
            return (rng.standard_normal(shape) * scale).astype(np.float32), np.zeros(shape[-1], np.float32)

        def norm(n: int) -> tuple[np.ndarray, ...]:
            one, zero = np.ones(n, np.float32), np.zeros(n, np.float32)
            return one, zero, zero, one

        length = self.length
        for pool in pools:
            length //= pool
        channels = zip(widths, (4, *filters), filters, strict=False)
        weights = models.Weights(
            [layer(width, n_in, n_out) for width, n_in, n_out in channels],
            [norm(n) for n in (*filters, 96)],
            [layer(length * filters[-1], 96), layer(96, 1)],
        )
        return models.Architecture(self.length, pools, n_hidden=1, last="sigmoid"), weights

    def one_hot(self) -> np.ndarray:
        codes = np.random.default_rng(1).integers(0, 4, (self.n_sequences, self.length))
        return np.eye(4, dtype=np.float32)[codes]


def torch_pair(case: Case) -> tuple[Attribute, Attribute]:
    import torch

    model = models.torch_model(*case.model()).eval()
    x = torch.from_numpy(np.ascontiguousarray(case.one_hot().transpose(0, 2, 1)))

    def bare() -> Any:
        grads = []
        for batch in x.split(BATCH):
            batch = batch.detach().requires_grad_()
            grads.append(torch.autograd.grad(model(batch)[:, 0].sum(), batch)[0])
        return torch.cat(grads)

    return lambda: gf.hooks.torch.saliency(model, x, batch_size=BATCH, outputs=OUTPUTS), bare


def keras_pair(case: Case) -> tuple[Attribute, Attribute]:
    import tensorflow as tf

    model = models.keras_model(*case.model())
    x = tf.constant(case.one_hot())

    @tf.function
    def gradient(batch: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)
            total = tf.reduce_sum(model(batch, training=False)[:, 0])
        return tape.gradient(total, batch)

    def bare() -> Any:
        return tf.concat([gradient(x[k : k + BATCH]) for k in range(0, len(x), BATCH)], 0)

    return lambda: gf.hooks.tensorflow.saliency(model, x, batch_size=BATCH, outputs=OUTPUTS), bare


def jax_pair(case: Case) -> tuple[Attribute, Attribute]:
    import jax
    import jax.numpy as jnp

    model = models.jax_model(*case.model())
    gradient = jax.jit(jax.grad(lambda batch: model(batch)[:, 0].sum()))
    x = jnp.asarray(case.one_hot())

    def bare() -> Any:
        return jnp.concatenate([gradient(x[k : k + BATCH]) for k in range(0, len(x), BATCH)]).block_until_ready()

    return lambda: gf.hooks.jax.saliency(model, x, batch_size=BATCH, outputs=OUTPUTS), bare


PAIRS = {"torch": torch_pair, "keras": keras_pair, "jax": jax_pair}


@pytest.mark.parametrize("length", [200, 2_000])
@pytest.mark.parametrize("framework", PAIRS)
def test_bare_gradient(benchmark: Any, sizes: Any, record: Any, framework: str, length: int) -> None:
    pytest.importorskip(framework)
    is_quick = sizes.pairs < 30
    case = Case(length, BATCH * 2 if is_quick else BATCH * (8 if length == 200 else 2))
    ours, bare = PAIRS[framework](case)
    axis = 1 if framework == "torch" else -1
    expected = np.asarray(bare())
    np.testing.assert_allclose(np.asarray(ours().corrected), gf.correct(expected, axis=axis), rtol=1e-4, atol=1e-6)
    found = interleave(benchmark, ours, bare, sizes.peer_pairs)
    record(
        found,
        operation="saliency",
        library=framework,
        layout="(N, 4, L)" if axis == 1 else "(N, L, 4)",
        outputs="fresh",
        x="one-hot",
        provider="bare gradient",
        n_sequences=case.n_sequences,
        length=length,
        target=AIM,
    )

"""Methods of many gradients in PyTorch: against as many bare gradients in the same batches, and against Captum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks import memory
from benchmarks.harness import interleave, seconds
from benchmarks.test_hooks import OUTPUTS, Case
from tests import models

AIM = 1 / 1.05
LENGTH = 200
STEPS = 50  # Captum's default


class Method(NamedTuple):
    """How often each sequence is differentiated, and the number of sequences that are."""

    n_gradients: int
    n_sequences: int


METHODS = {
    "integrated_gradients": Method(20, 128),
    "smoothgrad": Method(25, 128),
    "expected_gradients": Method(200, 16),
}


def network(n_sequences: int) -> tuple[Any, Any]:
    import torch

    case = Case(LENGTH, n_sequences)
    x = torch.from_numpy(np.ascontiguousarray(case.one_hot().transpose(0, 2, 1)))
    return models.torch_model(*case.model()).eval(), x


def bare(model: Any, batches: list[Any]) -> Callable[[], Any]:
    """The gradients alone: nothing is made, kept or added."""
    import torch

    def call() -> Any:
        for batch in batches:
            batch = batch.detach().requires_grad_()
            torch.autograd.grad(model(batch)[:, 0].sum(), batch)

    return call


def batches_of(call: Callable[[Any], Any], model: Any) -> list[Any]:
    """What a method gives the model; some layers are faster with zeros."""
    seen: list[Any] = []

    def note(x: Any) -> Any:
        seen.append(x.detach().clone())
        return model(x)

    call(note)
    return seen


@pytest.mark.parametrize("batch_size", [128, 512, 1024])
@pytest.mark.parametrize("name", METHODS)
def test_bare_gradients(benchmark: Any, sizes: Any, record: Any, name: str, batch_size: int) -> None:
    pytest.importorskip("torch")
    n_gradients, n_sequences = METHODS[name]
    if sizes.pairs < 30:
        n_sequences = 1
        if batch_size > 128:
            pytest.skip("one size shows that it runs")
    model, x = network(n_sequences)

    def ours(model: Any) -> Any:
        return getattr(gf.hooks.torch, name)(model, x, batch_size=batch_size, outputs=OUTPUTS)

    batches = batches_of(ours, model)
    assert sum(map(len, batches)) == n_gradients * n_sequences
    found = interleave(benchmark, lambda: ours(model), bare(model, batches), sizes.peer_pairs // 2)
    record(
        found,
        operation=name,
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x="one-hot",
        provider=f"{n_gradients} bare gradients, batches of {batch_size:,}",
        n_sequences=n_sequences,
        length=LENGTH,
        target=round(AIM, 3),
    )


def captum_call(name: str, model: Any, x: Any, batch_size: int | None) -> Callable[[], Any]:
    """The same mean gradient by Captum; None is its default, all rows at once."""
    attr = pytest.importorskip("captum.attr")
    if name == "integrated_gradients":
        method = attr.IntegratedGradients(model, multiply_by_inputs=False)
        return lambda: method.attribute(x, target=0, n_steps=STEPS, internal_batch_size=batch_size)
    tunnel = attr.NoiseTunnel(attr.Saliency(model))
    options = {"nt_type": "smoothgrad", "nt_samples": STEPS, "stdevs": 0.1, "abs": False, "target": 0}
    n_samples = None if batch_size is None else max(1, batch_size // len(x))
    return lambda: tunnel.attribute(x, nt_samples_batch_size=n_samples, **options)


def our_call(name: str, model: Any, x: Any) -> Callable[[], Any]:
    options: dict[str, Any] = {"n_samples": STEPS} if name == "smoothgrad" else {"n_steps": STEPS}
    return lambda: getattr(gf.hooks.torch, name)(model, x, **options)


@pytest.mark.parametrize("is_default", [True, False], ids=["default", "best batches"])
@pytest.mark.parametrize("name", ["integrated_gradients", "smoothgrad"])
def test_captum(benchmark: Any, sizes: Any, record: Any, name: str, is_default: bool) -> None:
    pytest.importorskip("torch")
    is_quick = sizes.pairs < 30
    if is_quick and not is_default:
        pytest.skip("the best batches are those of full sizes")
    n_sequences = 2 if is_quick else 128
    model, x = network(n_sequences)
    batch_size = None
    if not is_default:
        batch_size = min((128, 256, 512, 1024), key=lambda size: seconds(captum_call(name, model, x, size)))
    theirs = captum_call(name, model, x, batch_size)
    found = interleave(benchmark, our_call(name, model, x), theirs, sizes.peer_pairs // 2)
    record(
        found,
        operation=name,
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x="one-hot",
        provider="Captum's default" if is_default else "Captum, its best batches",
        provider_batch_size=batch_size,
        n_sequences=n_sequences,
        length=LENGTH,
        target=1,
    )


def ours_alone(name: str, n_sequences: str) -> Callable[[], Any]:
    """For a process of its own."""
    model, x = network(int(n_sequences))
    our_call(name, model, x[:1])()
    return our_call(name, model, x)


def captum_alone(name: str, n_sequences: str) -> Callable[[], Any]:
    """For a process of its own."""
    model, x = network(int(n_sequences))
    captum_call(name, model, x[:1], None)()
    return captum_call(name, model, x, None)


@pytest.mark.parametrize("name", ["integrated_gradients", "smoothgrad"])
def test_peak_memory(sizes: Any, record: Any, name: str) -> None:
    pytest.importorskip("captum")
    if sizes.pairs < 30:
        pytest.skip("a process of its own takes seconds to start, and its memory says nothing of small sizes")
    n_sequences = 128
    ours, captum = (memory.peak(__name__, call, name, n_sequences) for call in ("ours_alone", "captum_alone"))
    record(
        {"peak_bytes": ours, "provider_peak_bytes": captum},
        operation=f"{name}, {STEPS} gradients",
        library="torch",
        layout="(N, 4, L)",
        outputs="fresh",
        x="one-hot",
        provider="Captum's default",
        n_sequences=n_sequences,
        length=LENGTH,
        target_memory=4,
    )

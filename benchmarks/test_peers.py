"""Attributions of a few sequences and of many, beside the packages and scripts that people have, on the same model.

gReLU and CREsted are imported as they are, with stand-ins for what they do not need here; without them their rows are
left out: pip install --no-deps grelu crested loguru.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks import memory
from benchmarks.harness import interleave
from benchmarks.test_hooks import Case
from tests import models, other_packages, peers

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
]
COUNTS = (1, 4, 16, 128, 1024)
LENGTH = 200
SLOW = {"expected_gradients": 4, "smoothgrad": 128, "integrated_gradients": 128}
"""Most sequences of methods that take many gradients of each."""

Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]
"""Ours and theirs, of one-hot sequences."""


def torch_model() -> Any:
    return models.torch_model(*Case(LENGTH, 1).model()).eval()


def captum_saliency(stack: ExitStack) -> Pair:
    attr, model = pytest.importorskip("captum.attr"), torch_model()
    return (
        lambda x: gf.hooks.torch.saliency(model, x),
        lambda x: attr.Saliency(model).attribute(x, target=0, abs=False),
    )


def captum_integrated_gradients(stack: ExitStack) -> Pair:
    attr, model = pytest.importorskip("captum.attr"), torch_model()
    options = {"n_steps": 50, "method": "riemann_trapezoid", "internal_batch_size": 128}
    return (
        lambda x: gf.hooks.torch.integrated_gradients(model, x, n_steps=50),
        lambda x: attr.IntegratedGradients(model, multiply_by_inputs=False).attribute(x, target=0, **options),
    )


def captum_smoothgrad(stack: ExitStack) -> Pair:
    attr, model = pytest.importorskip("captum.attr"), torch_model()
    options = {"nt_samples": 25, "stdevs": 0.1, "nt_samples_batch_size": 5, "abs": False}
    return (
        lambda x: gf.hooks.torch.smoothgrad(model, x, n_samples=25, sd=0.1),
        lambda x: attr.NoiseTunnel(attr.Saliency(model)).attribute(x, target=0, **options),
    )


def tangermeme_saliency(stack: ExitStack) -> Pair:
    theirs, model = pytest.importorskip("tangermeme.saliency"), torch_model()
    return (
        lambda x: gf.compat.tangermeme.saliency(model, x, device="cpu", hypothetical=True, batch_size="auto"),
        lambda x: theirs.saliency(model, x, device="cpu", hypothetical=True),
    )


def grelu_saliency(stack: ExitStack) -> Pair:
    torch = pytest.importorskip("torch")
    score = stack.enter_context(other_packages.imported("grelu", "grelu.interpret.score"))

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = torch_model()

        def add_transform(self, transform: Any) -> None:
            pass

        def reset_transform(self) -> None:
            pass

        def forward(self, x: Any) -> Any:
            return self.model(x)

    model = Model()
    return (
        lambda x: gf.hooks.torch.saliency(model, x),
        lambda x: score.get_attributions(model, x, method="saliency", correct_grad=True),
    )


def crested(method: str, name: str, **own: Any) -> Callable[[ExitStack], Pair]:
    def pair(stack: ExitStack) -> Pair:
        pytest.importorskip("keras")
        pytest.importorskip("loguru", reason="pip install loguru")
        tl = stack.enter_context(other_packages.imported("crested", "crested.tl"))
        model = models.keras_model(*Case(LENGTH, 1).model())
        options = {"method": method, "verbose": False, "simplex_correction": True}
        hook = getattr(gf.hooks.tensorflow, name)
        return lambda x: hook(model, x, **own), lambda x: tl.contribution_scores(x, 0, model, **options)[0][:, 0]

    return pair


def authors(name: str, theirs: Callable[..., Any], **own: Any) -> Callable[[ExitStack], Pair]:
    def pair(stack: ExitStack) -> Pair:
        pytest.importorskip("tensorflow")
        model = models.keras_model(*Case(LENGTH, 1).model())
        gradient, hook = peers.authors_gradient(model), getattr(gf.hooks.tensorflow, name)
        return lambda x: hook(model, x, **own), lambda x: gf.correct(theirs(gradient, x))

    return pair


REPO = {"preset": "repo"}
PAIRS: dict[tuple[str, str], Callable[[ExitStack], Pair]] = {
    ("Captum", "saliency"): captum_saliency,
    ("Captum", "integrated_gradients"): captum_integrated_gradients,
    ("Captum", "smoothgrad"): captum_smoothgrad,
    ("tangermeme", "saliency"): tangermeme_saliency,
    ("gReLU", "saliency"): grelu_saliency,
    ("CREsted", "saliency"): crested("saliency_map", "saliency"),
    ("CREsted", "integrated_gradients"): crested("integrated_grad", "integrated_gradients", n_steps=26),
    ("CREsted", "expected_gradients"): crested(
        "expected_integrated_grad", "expected_gradients", n_steps=26, n_references=25
    ),
    ("authors", "saliency"): authors("saliency", peers.authors_saliency),
    ("authors", "smoothgrad"): authors("smoothgrad", peers.authors_smoothgrad, **REPO),
    ("authors", "integrated_gradients"): authors("integrated_gradients", peers.authors_expected_gradients, **REPO),
    ("authors", "expected_gradients"): authors(
        "expected_gradients", lambda g, x: peers.authors_expected_gradients(g, x, 20, 20), **REPO
    ),
}


@pytest.fixture(name="stack")
def _stack() -> Iterator[ExitStack]:
    logging.getLogger("captum").setLevel(logging.ERROR)
    with ExitStack() as stack, warnings.catch_warnings():
        yield stack


OF_TORCH = "Captum", "tangermeme", "gReLU"


def sequences(peer: str, n: int) -> Any:
    """One-hot sequences as a peer takes them."""
    x = Case(LENGTH, n).one_hot()
    if peer not in OF_TORCH:
        return x
    return pytest.importorskip("torch").from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1)))


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize(("peer", "method"), PAIRS)
def test_attributions_beside_peers(
    benchmark: Any, sizes: Any, record: Any, stack: ExitStack, peer: str, method: str, n: int
) -> None:
    is_quick = sizes.pairs < 30
    if n > SLOW.get(method, COUNTS[-1]) or (is_quick and n > 1):
        pytest.skip("takes long, and fewer sequences tell enough")
    ours, theirs = PAIRS[peer, method](stack)
    x, is_torch = sequences(peer, n), peer in OF_TORCH
    found, expected = (np.asarray(part(x)) for part in (ours, theirs))
    if method == "saliency":
        expected = gf.correct(expected, axis=1 if is_torch else -1)
        assert np.isclose(found, expected, rtol=1e-3, atol=1e-6).mean() > 0.999  # rounding decides between equal maxima
    pairs = 2 if is_quick else max(5, min(31, 400 // n)) if method == "saliency" else 7
    row = interleave(benchmark, lambda: ours(x), lambda: theirs(x), pairs)
    record(
        row, operation=method, outputs="beside peers", library="torch" if is_torch else "keras",
        layout="(N, 4, L)" if is_torch else "(N, L, 4)", x="one-hot", provider=peer, n_sequences=n, length=LENGTH,
        target=3 if peer in ("gReLU", "CREsted") and n >= 16 else 1,
    )  # fmt: skip


def call(peer: str, method: str, n: str, which: str) -> Callable[[], Any]:
    """Return a call of ours ("0") or theirs ("1"), after one of a single sequence."""
    part = PAIRS[peer, method](KEPT)[int(which)]
    part(sequences(peer, 1))
    x = sequences(peer, int(n))
    return lambda: part(x)


KEPT = ExitStack()
"""Of a process that makes a call."""


@pytest.mark.parametrize(("peer", "method"), PAIRS)
def test_memory_beside_peers(benchmark: Any, sizes: Any, record: Any, stack: ExitStack, peer: str, method: str) -> None:
    PAIRS[peer, method](stack)  # which skips what is not installed
    n = 1 if sizes.pairs < 30 else SLOW.get(method, COUNTS[-1])
    peaks = [memory.peak("benchmarks.test_peers", "call", peer, method, n, which) for which in (0, 1)]
    benchmark.pedantic(lambda: None, rounds=1)
    record(
        {} if benchmark.disabled else {"peak_bytes": peaks[0], "provider_peak_bytes": peaks[1]},
        operation=method, outputs="memory beside peers", layout="(N, 4, L)" if peer in OF_TORCH else "(N, L, 4)",
        x="one-hot", provider=peer, n_sequences=n, length=LENGTH,
    )  # fmt: skip

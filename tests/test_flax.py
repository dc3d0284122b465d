"""Modules of Flax NNX that are in training mode: never with dropout at work, and afterwards as they came."""

import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks import _flax

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")

LENGTH = 6
X = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (6, LENGTH))]


class Network(nnx.Module):  # type: ignore[misc]
    """With dropout and batch normalisation."""

    def __init__(self, n_hidden: int = 30) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.norm = nnx.Linear(4 * LENGTH, n_hidden, rngs=rngs), nnx.BatchNorm(n_hidden, rngs=rngs)
        self.dropout, self.last = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(n_hidden, 2, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(jax.nn.tanh(self.dropout(self.norm(self.first(x.reshape(len(x), -1))))))


class Dropped(nnx.Module):  # type: ignore[misc]
    """With dropout alone, which draws without an error in a program."""

    def __init__(self) -> None:
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def __call__(self, x: Any) -> Any:
        return jax.numpy.tanh(self.dropout(x).sum((1, 2)))[:, None]


class Holder:
    """A class of the user's that calls a module."""

    def __init__(self, module: Any) -> None:
        self.layers = [module]

    def __call__(self, x: Any) -> Any:
        return self.layers[0](x)


def apply(module: Any, x: Any) -> Any:
    return module(x)


MODULE = Network()
CALLS: dict[str, Callable[[Any], Any]] = {
    "module": lambda module: module,
    "closure": lambda module: lambda x: module(x),
    "method": lambda module: module.__call__,
    "partial": lambda module: partial(apply, module),
    "default": lambda module: lambda x, module=module: module(x),
    "object": Holder,
    "mapping": lambda module: lambda x, heads={"a": module}: {"a": heads["a"](x)},
}


@pytest.mark.parametrize("batch_size", [2, 6])
@pytest.mark.parametrize("method", ["saliency", "saturation_mutagenesis"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_modules_are_in_evaluation_mode_for_the_call(call: Callable[[Any], Any], method: str, batch_size: int) -> None:
    """Gradients ended in an error of Flax about traces, and predictions had dropout in them without a word."""
    wanted, module = Network(), Network()
    wanted.eval()
    module.dropout.deterministic = False
    module.norm.use_running_average = True  # each goes back to what it was
    run = getattr(gf.hooks.jax, method)
    np.testing.assert_allclose(run(call(module), X, batch_size=batch_size), run(wanted, X), atol=1e-6)
    assert (module.dropout.deterministic, module.norm.use_running_average) == (False, True)


def test_a_module_that_a_function_finds_by_its_name_is_seen() -> None:
    wanted = Network()
    wanted.eval()
    MODULE.train()
    got = gf.hooks.jax.saliency(lambda x: MODULE(x), X)
    np.testing.assert_allclose(got, gf.hooks.jax.saliency(wanted, X), atol=1e-6)
    assert not MODULE.dropout.deterministic


def test_dropout_alone_is_off_as_well() -> None:
    maps = gf.hooks.jax.saturation_mutagenesis(Dropped(), X, corrected=False)
    assert np.abs(maps).max() < 1e-6  # the sum of one-hot letters is the same whatever they are


@pytest.mark.parametrize("method", ["saliency", "saturation_mutagenesis"])
def test_a_compiled_function_that_calls_a_module_in_training_mode_is_refused(method: str) -> None:
    module = Network()
    compiled = jax.jit(lambda x: module(x))
    with pytest.raises(
        ValueError, match=r"module in training mode, with a (BatchNorm|Dropout) .* call the module's eval\(\)"
    ):
        getattr(gf.hooks.jax, method)(compiled, X)
    module.eval()
    getattr(gf.hooks.jax, method)(jax.jit(lambda x: module(x)), X)


def test_the_mode_comes_back_after_an_error() -> None:
    module = Network()
    with pytest.raises(TypeError, match=r"\S"):
        gf.hooks.jax.saliency(module, np.ascontiguousarray(X[:, :5]))
    assert not module.dropout.deterministic


def test_what_is_no_module_is_not_looked_into() -> None:
    with _flax.evaluating(lambda x: x):
        assert not _flax.is_module(Holder(None))


def test_a_scan_takes_a_module(tmp_path: Path) -> None:
    """The keys of its dropout ended its digest with an error, and it was taken for a model of PyTorch."""
    pytest.importorskip("pyarrow")
    letters = "".join(np.random.default_rng(1).choice(list("ACGT"), 200))
    (tmp_path / "genome.fa").write_text(f">chr1\n{textwrap.fill(letters, 60)}\n")
    variants = [("chr1", p, letters[p - 1], "CGTA"["ACGT".index(letters[p - 1])]) for p in range(50, 150, 9)]
    module, wanted = Network(), Network()
    wanted.eval()
    tables = [
        gf.scan.score_variants(m, tmp_path / "genome.fa", variants, length=LENGTH, batch_size=4)
        for m in (module, wanted)
    ]
    assert set(tables[0]["status"].to_pylist()) == {"ok"}
    np.testing.assert_allclose(*(table["delta"].to_numpy() for table in tables), atol=1e-6)
    assert not module.dropout.deterministic

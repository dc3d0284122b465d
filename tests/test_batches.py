"""Memory and precision of the PyTorch methods: batches halved or fitted, probes, models put back, bad models."""

import re
import tracemalloc
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.frameworks import FRAMEWORKS, N_TARGETS, X, gradient
from tests.test_saliency import centred, close

torch = pytest.importorskip("torch")

TORCH = next(framework for framework in FRAMEWORKS if framework.name == "torch")
XT = TORCH.lay(X)
METHODS = "saliency", "integrated_gradients", "smoothgrad", "expected_gradients", "saturation_mutagenesis"
MESSAGES = {
    "cuda": "CUDA out of memory. Tried to allocate 3.50 GiB. GPU 0 has a total capacity of 79.10 GiB",
    "cpu": "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "123456 bytes. Error code 12 (Cannot allocate memory)",
}


class Limited:
    """A model that has memory for some rows."""

    def __init__(self, n_rows: int, kind: str = "cuda") -> None:
        self.n_rows, self.kind, self.sizes, self.network = n_rows, kind, [], TORCH.model().eval()

    def __call__(self, x: Any) -> Any:
        self.sizes.append(len(x))
        if len(x) > self.n_rows:
            raise (torch.OutOfMemoryError if self.kind == "cuda" else RuntimeError)(MESSAGES[self.kind])
        return self.network(x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("batch_size", [64, "auto"])
def test_a_batch_that_exhausts_the_memory_is_halved_with_one_warning(method: str, kind: str, batch_size: Any) -> None:
    model = Limited(3, kind)
    with pytest.warns(UserWarning, match=r"memory was exhausted with batches of \d+ rows, and \d fit") as caught:
        got = getattr(gf.hooks.torch, method)(model, XT, batch_size=batch_size)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    close(got, getattr(gf.hooks.torch, method)(model.network, XT, batch_size=2))
    assert [size for size in model.sizes if size > 3] == sorted({n for n in model.sizes if n > 3}, reverse=True)


def test_a_row_that_does_not_fit_says_how_much_it_needs() -> None:
    with pytest.raises(
        MemoryError, match=r"one row of shape \(4, 6\) does not fit in memory: 3.50 GiB more were needed"
    ):
        gf.hooks.torch.integrated_gradients(Limited(0), XT)
    with pytest.raises(MemoryError, match=r"123456 bytes more were needed; shorten the sequences"):
        gf.hooks.torch.integrated_gradients(Limited(0, "cpu"), XT)


def test_other_errors_of_a_model_are_left_alone() -> None:
    def model(x: Any) -> Any:
        raise RuntimeError("a bug of mine")

    with pytest.raises(RuntimeError, match="a bug of mine"):
        gf.hooks.torch.saliency(model, XT)


def test_a_batch_is_fitted_to_the_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of the model takes 1000 bytes beside 5000 that are taken once; a row of the input is 96 bytes."""
    from gradcorr_fast.hooks.torch._memory import fit_batch

    rows: list[int] = []
    framework = SimpleNamespace(
        enter=lambda x: torch.from_numpy(np.array(x)), gradients=lambda x, args, positions: rows.append(len(x))
    )
    fake = {
        "empty_cache": lambda: None, "memory_allocated": lambda device: 10_000,
        "reset_peak_memory_stats": lambda device: None, "mem_get_info": lambda device: (400_000, 0),
        "max_memory_allocated": lambda device: 15_000 + 1000 * rows[-1],
    }  # fmt: skip
    for name, function in fake.items():
        monkeypatch.setattr(torch.cuda, name, function)
    request = SimpleNamespace(
        layout=SimpleNamespace(n_positions=6), args=(), positions=(None,), targets=(gf.targets.index(0),),
        output=None, before_activation=False, inputs=None,
    )  # fmt: skip
    model, given = torch.nn.Identity(), (framework, request, XT, torch.device("cpu"))
    assert fit_batch(model, *given, "float32") == int((0.8 * 400_000 - 5000) / (1000 + 7 * 96))
    assert rows == [1, 1, 2]
    fake["mem_get_info"] = lambda device: (200_000, 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", fake["mem_get_info"])
    assert fit_batch(model, *given, "float32") == int((0.8 * 200_000 - 5000) / (1000 + 7 * 96))
    assert rows == [1, 1, 2]  # what rows take is known
    fit_batch(model, *given, "tf32")
    fit_batch(torch.nn.Identity(), *given, "float32")
    assert len(rows) == 9
    request.layout.n_positions = 1 << 19
    assert fit_batch(model, *given, "float32") == 2
    framework.gradients = lambda *inputs: (_ for _ in ()).throw(torch.OutOfMemoryError(MESSAGES["cuda"]))
    assert fit_batch(torch.nn.Identity(), *given, "float32") == 1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_reduced_precision_is_compared_with_float32(precision: str, method: str) -> None:
    seen: list[Any] = []

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 16), torch.nn.GELU())
            self.last = torch.nn.Linear(16, N_TARGETS)

        def forward(self, x: Any) -> Any:
            output = self.last(self.layers(x))
            seen.append(output.dtype)
            return output

    model, function = Model(), getattr(gf.hooks.torch, method)
    message = rf"{precision} differs from float32 on 7 sequences: angles by .* degrees in the median .* gradients by"
    with pytest.warns(UserWarning, match=message) as caught:
        maps = function(model, XT, precision=precision, outputs=("corrected", "prediction"))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert set(seen) == {torch.float32, getattr(torch, precision)}
    assert maps.corrected.dtype == maps.prediction.dtype == np.float32
    exact = function(model, XT, outputs=("corrected", "prediction"))
    scale = np.abs(exact.corrected).max()
    assert 0 < np.abs(maps.corrected - exact.corrected).max() < (0.3 if "mutagenesis" in method else 0.05) * scale
    errors = [float(n) for n in re.findall(r"by ([\d.e-]+)", str(caught[0].message))]
    assert 0 < errors[0] < 5


def test_tf32_changes_nothing_without_a_gpu() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close(gf.hooks.torch.saliency(TORCH.model(), XT, precision="tf32"), gf.hooks.torch.saliency(TORCH.model(), XT))
    with pytest.raises(ValueError, match="precision must be one of float32, tf32, bfloat16, float16"):
        gf.hooks.torch.smoothgrad(TORCH.model(), XT, precision="float8")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_models_of_other_dtypes(dtype: str, method: str) -> None:
    """Means of half precision are summed in float32, and come back in the dtype of the input."""
    kind, function = getattr(torch, dtype), getattr(gf.hooks.torch, method)
    model, x = TORCH.model().eval().to(kind), torch.from_numpy(XT.copy()).to(kind)
    options = {"outputs": ("corrected", "prediction"), "rc": True}
    maps = function(model, x, **options)
    assert maps.corrected.dtype == kind
    expected = function(TORCH.model().eval(), XT, **options)
    tolerance = {"float16": 0.03, "bfloat16": 0.2, "float64": 1e-5}[dtype]
    np.testing.assert_allclose(maps.corrected.double(), expected.corrected, atol=tolerance)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_comes_back_as_it_was(method: str, fails: bool) -> None:
    seen: list[Any] = []

    def look(output: Any) -> Any:
        seen.append((model.training, model.dropout.training, model.w1.requires_grad))
        return output / 0 if fails else output

    model = TORCH.model(look).train()
    model.dropout.eval()
    if fails:
        with pytest.raises(ValueError, match="not finite"):
            getattr(gf.hooks.torch, method)(model, XT)
    else:
        getattr(gf.hooks.torch, method)(model, XT)
    assert set(seen) == {(False, False, False)}
    assert (model.training, model.dropout.training, model.w1.requires_grad) == (True, False, True)
    assert model.w1.grad is None


class _Nothing(torch.autograd.Function):
    """A part without a derivative, as people write them, or with the message of cuDNN."""

    @staticmethod
    def forward(ctx: Any, x: Any, error: Exception) -> Any:
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        raise ctx.error


KERNEL = NotImplementedError("the derivative for this kernel is not implemented")
CUDNN = RuntimeError("cudnn RNN backward can only be called in training mode")


def _write_input(x: Any) -> Any:
    x[:, 0] = 0
    return x.sum((1, 2))


def _write_between(x: Any) -> Any:
    y = x.exp()
    y *= 2
    return y.sum((1, 2))


BAD = [
    (_write_input, "the model writes over what its gradient needs; clone it there first"),
    (_write_between, "the model writes over what its gradient needs; clone it there first"),
    (lambda x: _Nothing.apply(x, KERNEL).sum((1, 2)), "a part of the model is not differentiable; replace it"),
    (
        lambda x: _Nothing.apply(x, CUDNN).sum((1, 2)),
        "recurrent layers with dropout .* set their dropout to 0, or call",
    ),
    (lambda x: x.sum((1, 2)).mean(0, keepdim=True), "the model returned 1 rows for 7 sequences; let it return one"),
    (lambda x: x.sum(), "the model returned one number for all sequences; let it return a row for each"),
    (lambda x: x.argmax(1).float().sum(1), "does not depend on its input by a differentiable"),
    (
        lambda x: torch.from_numpy(x.detach().numpy()).sum((1, 2)),
        "does not depend on its input by a differentiable",
    ),
    (lambda x: x.sum((1, 2)) * torch.tensor([1.0] * 3 + [torch.nan] * 4), r"not finite \(3, 4, 5, 6; target index"),
]


@pytest.mark.parametrize("method", METHODS[:4])
@pytest.mark.parametrize(("model", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_models_are_told_in_one_sentence(method: str, model: Any, message: str) -> None:
    options = {"references": "zero"} if method == "expected_gradients" else {}
    with pytest.raises(ValueError, match=message) as caught:
        getattr(gf.hooks.torch, method)(model, XT, batch_size=7, **options)
    assert "\n" not in str(caught.value)


def test_no_sequences_give_no_results() -> None:
    for method in METHODS:
        maps = getattr(gf.hooks.torch, method)(
            TORCH.model(), XT[:0], targets=[0, 1], rc=True, start=1, outputs=("corrected", "angle", "prediction")
        )
        assert [m.shape for m in maps[:2]] == [(0, 2, 4, 5), (0, 2, 5)]
        assert maps.prediction.shape == (0, 2)


@pytest.mark.parametrize("options", [{}, {"targets": [0, -1]}], ids=["one target", "several targets"])
def test_results_are_allocated_once(options: dict[str, Any]) -> None:
    """They were kept in parts and joined at the end, which took their memory twice."""
    x = np.ones((2000, 4, 50), np.float32)
    options = options | {"outputs": ("corrected", "angle", "grad_times_input", "prediction"), "batch_size": 20}

    def model(x: Any) -> Any:
        return (x**2).sum(2)

    gf.hooks.torch.saliency(model, x[:40], **options)
    tracemalloc.start()
    maps = gf.hooks.torch.saliency(model, x, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_bytes = sum(array.nbytes for array in maps[:4])
    assert n_bytes < peak < 1.2 * n_bytes


@pytest.mark.parametrize("method", METHODS)
def test_progress_is_that_of_rows(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    got = getattr(gf.hooks.torch, method)(TORCH.model(), XT, verbose=True, batch_size=2)
    captured = capsys.readouterr()
    assert "attributing" in captured.err
    assert captured.out == ""
    if method == "saliency":
        close(TORCH.read(got), centred(gradient(0)))

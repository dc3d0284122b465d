"""Faster copies of PyTorch models: the same values and gradients, the model as it was, and what is not done is told."""

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks._options import check_level
from tests.fasta import write_fasta
from tests.frameworks import FRAMEWORKS, X

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  (needs torch)
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from gradcorr_fast.hooks.torch import _optimizing, saliency, saturation_mutagenesis  # noqa: E402
from gradcorr_fast.hooks.torch._channels_last import put_channels_last  # noqa: E402
from gradcorr_fast.hooks.torch._normalisation import find_and_fold, fold_normalisation  # noqa: E402
from tests.architectures import CASES, LENGTH, Case, Residual, build, conv, head, norm  # noqa: E402

N = 6
CODES = np.random.default_rng(7).integers(0, 4, (N, LENGTH))
Build = Callable[[], nn.Module]


def one_hot(axis: int = 1, dtype: Any = torch.float64) -> Any:
    x = torch.eye(4, dtype=dtype)[torch.from_numpy(CODES)]
    return x if axis == -1 else x.transpose(1, 2).contiguous()


def made(build_model: Build, dtype: Any = torch.float64) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = build_model().to(dtype).eval()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.uniform_(-1, 2)
                    module.bias.normal_()
        return model


def state_of(model: nn.Module) -> Any:
    tensors = [
        (name, id(t), t.clone(), t._version, t.requires_grad) for name, t in model.state_dict(keep_vars=True).items()
    ]
    modules = [(name, id(module), type(module), module.training) for name, module in model.named_modules()]
    return [(name, place, version, wanted) for name, place, _, version, wanted in tensors], modules


def optimised(model: Any, x: Any, steps: Any, **options: Any) -> tuple[Any, Any]:
    """Results with and without steps, which are compared whether or not they are faster."""
    plain = saliency(model, x, outputs=("corrected", "prediction"), **options)
    return plain, saliency(model, x, outputs=("corrected", "prediction"), optimize=steps, **options)


def close(plain: Any, fast: Any, bound: float = 1e-12) -> None:
    for one, other in zip(plain, fast, strict=True):
        if one is not None:
            assert float((one - other).abs().max()) <= bound * float(one.abs().max())


def options_of(case: Case) -> dict[str, Any]:
    return {"targets": [target for target, _ in case.targets], "axis": case.axis, "output": case.output}


# --- models as people write them ---


@pytest.mark.parametrize("rc", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_level_1_changes_no_result(name: str, rc: bool) -> None:
    case = CASES[name]
    strands = {"rc": True, "rc_output": case.rc_output, "bin_axis": case.bin_axis, "shifts": (-2, 0, 3)} if rc else {}
    model = build(case).requires_grad_(True)
    before = state_of(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="optimize=1 runs the model as it is")
        plain, fast = optimised(model, one_hot(case.axis), 1, **options_of(case), **strands)
    close(plain, fast)
    assert state_of(model) == before


@pytest.mark.filterwarnings("ignore:optimize=.* runs the model")
@pytest.mark.parametrize("steps", [("fold",), ("channels_last",), ("fold", "channels_last")])
@pytest.mark.parametrize("name", CASES)
def test_every_step_changes_no_result(name: str, steps: tuple[str, ...]) -> None:
    """Steps that are named are taken whether or not they are faster."""
    case = CASES[name]
    close(*optimised(build(case), one_hot(case.axis), steps, **options_of(case)))


class Functional(nn.Module):
    """Functions on the parameters of layers that are not called."""

    def __init__(self, n_axes: int = 1, is_dropped: bool = False) -> None:
        super().__init__()
        self.conv = conv(4, 6) if n_axes == 1 else nn.Conv2d(4, 6, (1, 5))
        self.norm, self.head, self.is_dropped = nn.BatchNorm1d(6), nn.Linear(60, 3), is_dropped

    def forward(self, x: Any) -> Any:
        if isinstance(self.conv, nn.Conv2d):
            y = functional.conv2d(x.unsqueeze(2), self.conv.weight, bias=self.conv.bias)
        else:
            y = functional.conv1d(x, self.conv.weight, padding=0)
        if self.is_dropped:
            y = functional.dropout(y, 0.5, training=self.training)
        b = self.norm
        y = functional.batch_norm(y, b.running_mean, b.running_var, b.weight, b.bias, self.training, b.momentum, b.eps)
        return self.head(functional.max_pool1d(y.flatten(2), 2).relu().flatten(1))


class Branching(nn.Module):
    """Its way depends on the numbers, which no graph can; its blocks can be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(conv(n, 6), norm(6), nn.ReLU()) for n in (4, 6)])
        self.head = nn.Sequential(*head(6, LENGTH))

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
            if x.sum() < -1e9:
                x = x * 0
        return self.head(x)


class Inner(nn.Module):
    """One part of it cannot be followed, and is kept as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(conv(4, 6), norm(6), nn.ReLU())
        self.body, self.scale = Branching(), nn.Sequential(conv(6, 4, 1), norm(4))

    def forward(self, x: Any, mask: Any = None) -> Any:
        x = self.scale(self.first(x))
        return self.body(x if mask is None else x * mask)


class Stacked(nn.Module):
    """A convolution and a normalisation that are used twice, together and apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other, self.head = conv(4, 4), norm(4), norm(4), nn.Sequential(*head(4, LENGTH))

    def forward(self, x: Any) -> Any:
        x = self.norm(self.conv(x)).relu()
        return self.head(self.other(self.conv(x)).tanh() + self.norm(x))


def transposed() -> nn.Module:
    return nn.Sequential(conv(4, 6), nn.ReLU(), nn.ConvTranspose1d(6, 5, 3, padding=1), norm(5), *head(5, LENGTH))


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 8, 5, groups=2, padding=2, bias=False), norm(8), nn.GELU(), *head(8, LENGTH))


def normalised_first() -> nn.Module:
    """In front of a convolution that does not pad, and of a dense layer."""
    layers = [norm(4), nn.Conv1d(4, 6, 5), nn.ReLU(), *head(6, LENGTH - 4, 5), nn.ReLU(), norm(5), nn.Linear(5, 3)]
    return nn.Sequential(*layers)


def twice() -> nn.Module:
    return nn.Sequential(conv(4, 6), nn.Dropout(0.5), norm(6), norm(6), nn.Identity(), *head(6, LENGTH, 3), norm(3))


def images() -> nn.Module:
    layers = [nn.Unflatten(1, (4, 1)), nn.Conv2d(4, 6, (1, 5), padding="same"), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d((1, 4)), *head(6, 6))


def plain_norm() -> nn.Module:
    return nn.Sequential(conv(4, 6, dilation=2), nn.BatchNorm1d(6, affine=False), nn.ReLU(), *head(6, LENGTH))


def residual() -> nn.Module:
    block = Residual(conv(6, 6, 3), norm(6), nn.ReLU(inplace=True), conv(6, 6, 1), norm(6))
    return nn.Sequential(conv(4, 6), norm(6), block, nn.ReLU(inplace=True), nn.MaxPool1d(5, 3, 1), *head(6, 8))


def exported(build_model: Build) -> Build:
    def make() -> nn.Module:
        batch = torch.export.Dim("batch", min=1, max=1024)
        example = torch.zeros(2, 4, LENGTH, dtype=torch.float64)
        return torch.export.export(made(build_model), (example,), dynamic_shapes=[{0: batch}]).module()

    return make


FOLDABLE: dict[str, tuple[Build, int]] = {
    "functions": (Functional, 1),
    "functions of images": (lambda: Functional(2), 1),
    "functions and dropout": (lambda: Functional(is_dropped=True), 1),
    "branching": (Branching, 2),
    "a part that branches": (Inner, 4),
    "used twice": (Stacked, 2),
    "transposed": (transposed, 1),
    "grouped": (grouped, 1),
    "in front": (normalised_first, 2),
    "two in a row": (twice, 3),
    "images": (images, 1),
    "without affine": (plain_norm, 1),
    "residual": (residual, 3),
    "graph": (lambda: torch.fx.symbolic_trace(made(residual)), 3),
    "exported": (exported(residual), 3),
    "exported functions": (exported(lambda: Functional(2, True)), 1),
    "decomposed": (
        lambda: (
            torch.export.export(made(residual), (torch.zeros(N, 4, LENGTH).double(),)).run_decompositions().module()
        ),
        3,
    ),
}


@pytest.mark.filterwarnings("ignore:optimize=.* runs the model", "ignore:.*treespec:FutureWarning")
@pytest.mark.parametrize("name", FOLDABLE)
def test_what_can_be_folded_is(name: str) -> None:
    build_model, n_norms = FOLDABLE[name]
    model = build_model() if "graph" in name or "export" in name or "decomp" in name else made(build_model)
    before = state_of(model)
    assert len(find_and_fold(model).norms) == n_norms
    close(*optimised(model, one_hot(), ("fold",), batch_size=N))
    close(*optimised(model, one_hot(), ("fold", "channels_last"), batch_size=N))
    assert state_of(model) == before


class Both(nn.Module):
    """The output of the convolution is used beside the normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = conv(4, 6), norm(6), nn.Sequential(*head(6, LENGTH))

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        return self.head(self.norm(y).relu() + y)


class Scaled(nn.Conv1d):
    """A convolution that does something else."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).abs()


def statistics_of_the_batch() -> nn.Module:
    layer = nn.BatchNorm1d(6, track_running_stats=False)
    return nn.Sequential(conv(4, 6), layer, nn.ReLU(), *head(6, LENGTH))


def hooked() -> nn.Module:
    model = nn.Sequential(conv(4, 6), norm(6), nn.ReLU(), *head(6, LENGTH))
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    return model


def parametrized(of: Callable[[nn.Module], nn.Module]) -> Build:
    return lambda: nn.Sequential(of(conv(4, 6)), norm(6), nn.ReLU(), *head(6, LENGTH))


UNFOLDABLE: dict[str, Build] = {
    "used beside it": Both,
    "statistics of the batch": statistics_of_the_batch,
    "a layer with a hook": hooked,
    "spectral norm": parametrized(parametrizations.spectral_norm),
    "weight norm": parametrized(parametrizations.weight_norm),
    "a layer of another kind": lambda: nn.Sequential(Scaled(4, 6, 5, padding=2), norm(6), *head(6, LENGTH)),
    "padding behind it": lambda: nn.Sequential(norm(4), conv(4, 6), nn.ReLU(), *head(6, LENGTH)),
    "an activation between": lambda: nn.Sequential(conv(4, 6), nn.ReLU(), norm(6), nn.ReLU(), *head(6, LENGTH)),
    "scripted": lambda: torch.jit.script(nn.Sequential(conv(4, 6), norm(6), *head(6, LENGTH)).eval()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(made(plain_norm, torch.float32))),
}


@pytest.mark.filterwarnings("ignore:.*`torch.jit:DeprecationWarning", "ignore:.*torch.jit")
@pytest.mark.parametrize("name", UNFOLDABLE)
def test_what_cannot_be_folded_runs_as_before_and_says_so(name: str) -> None:
    model = UNFOLDABLE[name]() if name == "frozen" else made(UNFOLDABLE[name])
    x = one_hot(dtype=torch.float32 if name == "frozen" else torch.float64)
    plain = saliency(model, x)
    with pytest.warns(UserWarning, match=r"optimize=\('fold',\) runs the model as it is: fold: no batch norm") as told:
        fast = saliency(model, x, optimize=("fold",))
    assert torch.equal(plain, fast)
    assert len(told) == 1
    assert ("scripted" in str(told[0].message)) == (name in ("scripted", "frozen"))


def test_a_normalisation_in_training_mode_stays() -> None:
    assert not find_and_fold(made(plain_norm).train()).norms


def test_only_weights_of_changed_layers_are_new() -> None:
    model = made(residual)
    fast = fold_normalisation(model)
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    new = [name for name, tensor in fast.state_dict().items() if tensor.data_ptr() not in own]
    assert len(new) == 2 * 3
    assert all("_folded" in name for name in new)
    assert fast.get_submodule("6").weight.data_ptr() == model[6].weight.data_ptr()


def test_folding_a_graph_returns_a_graph_that_others_can_follow() -> None:
    graph = torch.fx.symbolic_trace(made(residual))
    fast = fold_normalisation(graph)
    assert isinstance(fast, torch.fx.GraphModule)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in fast.modules())
    assert [node.op for node in fast.graph.nodes if node.op in ("placeholder", "output")] == ["placeholder", "output"]
    torch.testing.assert_close(fast(one_hot()), graph(one_hot()), rtol=1e-12, atol=1e-12)


# --- what is not the same is not used ---


class Quiet(nn.Module):
    """A branch without gradients, which a graph would give them."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.Sequential(conv(4, 6), norm(6), nn.ReLU()), nn.Sequential(*head(6, LENGTH))

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            y = self.block(x)
        return self.head(self.block(x) + y)


class Drawing(nn.Module):
    """Adds numbers that are drawn anew in each call, which a graph would keep."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.Sequential(conv(4, 6), norm(6), nn.ReLU()), nn.Sequential(*head(6, LENGTH))

    def forward(self, x: Any) -> Any:
        return self.head(self.block(x) + 0.1 * torch.randn(6, 1, dtype=torch.float64))


def test_what_switches_gradients_off_is_not_followed() -> None:
    """A graph does not know of no_grad, so that all of the gradient would come back."""
    folded = find_and_fold(made(Quiet))
    assert any("switches gradients" in reason for reason in folded.reasons)
    close(*optimised(made(Quiet), one_hot(), ("fold",)))


def test_a_model_that_draws_numbers_runs_as_before() -> None:
    with pytest.warns(UserWarning, match=r"fold: values differ by .* of the largest, more than 1e-12"):
        saliency(made(Drawing), one_hot(), optimize=("fold",))


@pytest.mark.parametrize(("factor", "what"), [(1 + 1e-4, "values differ"), (1 + 1e-9, None)])
def test_a_copy_that_differs_is_left(monkeypatch: pytest.MonkeyPatch, factor: float, what: str | None) -> None:
    def wrong(model: Any, n_inputs: int) -> Any:
        folded = find_and_fold(model, n_inputs)
        return folded._replace(model=nn.Sequential(folded.model, Function(lambda y: y * factor)))

    from tests.architectures import Function

    monkeypatch.setattr(_optimizing, "find_and_fold", wrong)
    model, x = made(residual, torch.float32), one_hot(dtype=torch.float32)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plain, fast = optimised(model, x, ("fold",))
    assert [what in str(warning.message) for warning in told] == ([True] if what else [])
    close(plain, fast, 1e-4)


def test_gradients_alone_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values may agree where a gradient is lost on the way."""

    class Detached(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(0.999 * x + 0.001 * x.detach())

    def wrong(model: Any, n_inputs: int) -> Any:
        folded = find_and_fold(model, n_inputs)
        return folded._replace(model=Detached(folded.model))

    monkeypatch.setattr(_optimizing, "find_and_fold", wrong)
    with pytest.warns(UserWarning, match=r"gradients in float64 differ by 1\.0e-03 of the largest, more than 1e-09"):
        saliency(made(residual, torch.float32), one_hot(dtype=torch.float32), optimize=("fold",))


def test_gradients_that_jump_at_ties_are_compared_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a pooling's inputs are equal but for rounding, either gradient is right: no reason to leave a copy."""
    model = made(residual, torch.float32)
    exactly: list[Any] = []
    compare = _optimizing._compare_exactly
    monkeypatch.setattr(_optimizing, "_compare_exactly", lambda *args: exactly.append(compare(*args)))
    monkeypatch.setitem(_optimizing.BOUNDS, torch.float32, 0.0)
    monkeypatch.setattr(_optimizing, "_difference", _values_agree(_optimizing._difference))
    saliency(model, one_hot(dtype=torch.float32), optimize=("fold",))
    assert exactly == [None]


def _values_agree(difference: Callable[..., float]) -> Callable[..., float]:
    def of(expected: Any, found: Any) -> float:
        return 0.0 if expected[0].ndim == 1 else difference(expected, found)

    return of


def test_a_copy_that_is_no_faster_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_optimizing, "_speed_up", lambda *args: 0.9)
    with pytest.warns(UserWarning, match=r"fold: it is no faster here \(0.90 times as fast\); channels_last: it is no"):
        fast = saliency(made(residual), one_hot(), optimize=1)
    assert torch.equal(fast, saliency(made(residual), one_hot()))


def test_functions_cannot_be_taken_apart() -> None:
    model = made(residual)
    with pytest.warns(UserWarning, match="the model is a function, which cannot be taken apart"):
        saliency(lambda x: model(x), one_hot(), optimize=1)


# --- options around it ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_precisions_are_equal_to_their_rounding(dtype: Any) -> None:
    model, x = made(residual, dtype), one_hot(dtype=dtype)
    bound = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 2e-1}[dtype]
    plain, fast = optimised(model, x, ("fold",))
    close(plain[3:], fast[3:], bound)
    assert fast.corrected.dtype == dtype


@pytest.mark.filterwarnings("ignore:bfloat16 differs")
def test_autocast_runs_the_copy() -> None:
    model, x = made(residual, torch.float32), one_hot(dtype=torch.float32)
    plain, fast = optimised(model, x, ("fold", "channels_last"), precision="bfloat16")
    close(plain[3:], fast[3:], 2e-1)


def test_several_inputs_and_targets() -> None:
    model, mask = made(Inner), torch.rand(N, 1, LENGTH, dtype=torch.float64)
    options = {"args": (mask,), "targets": [0, 2]}
    close(*optimised(model, one_hot(), ("fold", "channels_last"), **options))
    with pytest.raises(AssertionError):
        close(saliency(model, one_hot(), **options)[None], saliency(model, one_hot(), targets=[0, 2])[None])


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Softmax(1)], ids=["sigmoid", "softmax"])
def test_what_goes_into_the_last_activation_is_found_in_the_copy(last: nn.Module) -> None:
    model = nn.Sequential(made(residual), last)
    target = gf.targets.before_activation(gf.targets.index(1))
    close(*optimised(model, one_hot(), ("fold", "channels_last"), target=target))


def test_a_position_for_each_sequence_and_small_batches() -> None:
    close(*optimised(made(residual), one_hot(), ("fold",), target=[0, 1, 2, 0, 1, 2], batch_size=4))


def test_mutagenesis_times_forward_passes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    compare = _optimizing._compare
    monkeypatch.setattr(
        _optimizing, "_compare", lambda *args: (seen.append(args[-1].needs_gradients), compare(*args))[1]
    )
    model = made(residual)
    fast = saturation_mutagenesis(model, one_hot(), optimize=("fold",))
    torch.testing.assert_close(fast, saturation_mutagenesis(model, one_hot()), rtol=1e-10, atol=1e-10)
    assert seen == [False]


def test_attach_holds_in_the_copy() -> None:
    model = made(residual)
    expected = saliency(model, one_hot())
    with gf.hooks.torch.attach(model):
        fast = saliency(model, one_hot(), corrected=False, optimize=("fold",))
    torch.testing.assert_close(fast, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:optimize=.* runs the model")
def test_the_model_comes_back_after_an_error() -> None:
    model = made(residual).train().requires_grad_(True)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"99|does not exist"):
        saliency(model, one_hot(), optimize=1, target=99)
    assert state_of(model) == before


def test_exhausted_memory_leaves_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine halves the batch as always."""
    model, forward = made(residual), nn.Sequential.forward

    def hungry(self: Any, x: Any) -> Any:
        if len(x) > 3:
            raise MemoryError("no memory")
        return forward(self, x)

    expected = saliency(model, one_hot())
    monkeypatch.setattr(nn.Sequential, "forward", hungry)
    with pytest.warns(UserWarning, match="a batch of 6 rows exhausts the memory|were taken|batch") as told:
        fast = saliency(model, one_hot(), optimize=1)
    assert any("optimize=1 runs the model as it is: a batch of 6 rows" in str(warning.message) for warning in told)
    torch.testing.assert_close(fast, expected)


def test_no_sequences_make_no_copy() -> None:
    assert saliency(made(residual), one_hot()[:0], optimize=2).shape == (0, 4, LENGTH)


# --- compiled ---


@pytest.fixture
def eager_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture and autograd as they are, without the machine code, which takes many seconds."""
    torch.compiler.reset()
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: compiler(model, backend="aot_eager", **options))


@pytest.mark.usefixtures("eager_compiler")
@pytest.mark.parametrize("steps", [("compile",), ("fold", "channels_last", "compile")])
def test_a_compiled_copy_serves_batches_of_its_size(steps: tuple[str, ...]) -> None:
    model, x = made(residual), one_hot()
    close(*optimised(model, x, steps, targets=[0, 1], batch_size=4))


@pytest.mark.usefixtures("eager_compiler")
def test_a_compiled_copy_of_a_function() -> None:
    model = made(residual)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close(*optimised(lambda x: model(x), one_hot(), ("compile",)))


@pytest.mark.filterwarnings("ignore:optimize=.* runs the model")
def test_a_model_that_is_compiled_already_is_folded() -> None:
    torch.compiler.reset()
    compiled = torch.compile(made(residual), backend="aot_eager")
    close(*optimised(compiled, one_hot(), ("fold",)))


def test_a_compiler_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any, **options: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(_optimizing, "_speed_up", lambda *args: 2.0)
    with pytest.warns(UserWarning, match="optimize=2 runs the model without torch.compile: compile: no C.. compiler$"):
        fast = saliency(made(residual), one_hot(), optimize=2)
    torch.testing.assert_close(fast, saliency(made(residual), one_hot()), rtol=1e-12, atol=1e-12)


# --- channels last ---


def test_channels_last_copies_the_weights_of_convolutions_alone() -> None:
    model = made(images)
    fast = put_channels_last(model)
    assert fast[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight.is_contiguous()
    assert fast[-1].weight is model[-1].weight
    assert fast(one_hot()).shape == (N, 3)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's, of any convolution
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 5, stride=2, padding=3, dilation=2),
        nn.Conv1d(4, 6, 4, padding="same", bias=False),
        nn.Conv1d(4, 6, 5, padding=2, padding_mode="circular"),
        nn.Conv1d(4, 8, 3, groups=4),
        nn.Sequential(nn.Conv1d(4, 6, 3), nn.MaxPool1d(3, 2, 1, ceil_mode=True)),
        nn.Sequential(nn.Conv1d(4, 6, 3), nn.MaxPool1d(2, dilation=2)),
        nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6, affine=False)),
        nn.Sequential(nn.Conv1d(4, 6, 3), nn.AvgPool1d(3), nn.AdaptiveMaxPool1d(2)),
    ],
)
def test_sequences_seen_as_images_are_what_they_were(layer: nn.Module) -> None:
    model, x = copy.deepcopy(layer).double().eval(), one_hot()
    fast = put_channels_last(model)
    torch.testing.assert_close(fast(x), model(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fast(x[0]), model(x[0]), rtol=1e-12, atol=1e-12) if "Batch" not in str(layer) else None
    traced = put_channels_last(torch.fx.symbolic_trace(model))
    torch.testing.assert_close(traced(x), model(x), rtol=1e-12, atol=1e-12)


def test_a_model_without_convolutions_has_no_channels_to_order() -> None:
    with pytest.raises(ValueError, match="no convolution"):
        put_channels_last(nn.Sequential(*head(4, LENGTH)))


# --- the option ---


@pytest.mark.parametrize("value", [3, -1, True, "fold", ("fuse",), 1.5, None])
def test_what_is_no_level_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"optimize must be 0, 1, 2 or some of fold, channels_last, compile; got"):
        check_level("optimize", value)


@pytest.mark.parametrize("framework", [f for f in FRAMEWORKS if f.name != "torch"], ids=lambda f: f.name)
def test_other_frameworks_have_no_faster_copies(framework: Any) -> None:
    pytest.importorskip(framework.name)
    with pytest.raises(ValueError, match="optimize=1 is for models of PyTorch alone; leave it away"):
        framework.hooks.saliency(framework.model(), X, optimize=1)


# --- scans ---


def sequence_model() -> nn.Module:
    return nn.Sequential(conv(4, 6), norm(6), nn.ReLU(), nn.MaxPool1d(4), *head(6, LENGTH // 4))


def scan(folder: Path, model: nn.Module, out: Path | None = None, **options: Any) -> Any:
    letters = "".join("ACGT"[k] for k in np.random.default_rng(0).integers(0, 4, 400))
    fasta = write_fasta(folder / "genome.fa", {"chr1": letters})
    given = {"regions": ["chr1:100-140"], "length": LENGTH, "batch_size": 16, "targets": [0, 2]} | options
    return gf.scan.score_variants(model, fasta, None, out, **given)


def test_a_scan_records_what_was_done_and_says_it_in_words(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from gradcorr_fast.scan.results.paragraph import describe

    model = made(sequence_model, torch.float32)
    plain = scan(tmp_path, model)
    steps = ("fold", "channels_last")
    scan(tmp_path, model, tmp_path / "out", optimize=steps)
    record = gf.scan.read_metadata(tmp_path / "out")
    assert record["options"]["optimize"] == list(steps)
    assert record["optimization"] == {"steps": list(steps), "folded": ["1"], "left": []}
    assert "for speed, batch normalisation was folded into the layers beside it and channels were" in describe(record)
    assert "optimization" not in gf.scan.read_metadata(scan(tmp_path, model, tmp_path / "plain"))
    import pyarrow.parquet as pq

    fast = pq.read_table(tmp_path / "out" / "scores.parquet")
    for name in (
        name for name in plain.column_names if name.partition(":")[0] in ("delta", "taylor", "ref_score", "alt_score")
    ):
        one, other = (np.array(table[name], float) for table in (plain, fast))
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * max(np.nanmax(np.abs(one)), 0.1))


def test_a_scan_goes_on_with_the_steps_it_was_begun_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is faster by the clock may be another the next time, and the last digits with it."""
    pytest.importorskip("pyarrow")
    model, ratios = made(sequence_model, torch.float32), iter([2.0, 0.5])
    monkeypatch.setattr(_optimizing, "_speed_up", lambda *args: next(ratios))
    out, options = tmp_path / "out", {"optimize": 1, "shard_size": 40}
    scan(tmp_path, model, out, shard=(1, 2), **options)
    assert json.loads((out / "run.json").read_text())["optimization"]["steps"] == ["fold"]
    scan(tmp_path, model, out, resume=True, **options)  # asks for no ratio
    whole = tmp_path / "whole"
    ratios = iter([2.0, 0.5])
    scan(tmp_path, model, whole, **options)
    assert (out / "scores.parquet").exists()
    one, other = (gf.scan.read_metadata(place) for place in (out, whole))
    assert one["optimization"] == other["optimization"]

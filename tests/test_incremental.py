"""The engine that computes only what substitutions change: equal to whole passes, and told where it cannot be."""

import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import gradcorr_fast as gf  # noqa: E402
from gradcorr_fast.hooks._ready import Wish  # noqa: E402
from gradcorr_fast.hooks.torch._incremental import choosing  # noqa: E402
from tests import architectures  # noqa: E402
from tests.architectures import CASES, Function, Residual, build, conv, norm  # noqa: E402

hooks = gf.hooks.torch
LENGTH = architectures.LENGTH


def one_hot(n: int, length: int = LENGTH, axis: int = 1, dtype: Any = torch.float64, seed: int = 0) -> Any:
    codes = np.random.default_rng(seed).integers(0, 4, (n, length)).astype(np.uint8)
    return torch.from_numpy(gf.sequences.one_hot(codes, np.float64, axis)).to(dtype)


def both(model: Any, x: Any, **options: Any) -> tuple[Any, Any]:
    """What the two engines return."""
    with torch.random.fork_rng(devices=[]):
        return tuple(
            hooks.saturation_mutagenesis(model, x, engine=engine, **options) for engine in ("incremental", "full")
        )


def check(model: Any, x: Any, **options: Any) -> None:
    found, expected = both(model.double().eval(), x, **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1.0, float(expected.abs().max())))
    assert float(expected.abs().max()) > 0


@pytest.mark.parametrize(
    "options", [{}, {"shifts": (-2, 0, 3)}, {"start": 5, "end": 20}, {"corrected": False}], ids=str
)
@pytest.mark.parametrize("name", CASES)
def test_architectures_return_what_whole_passes_do(name: str, options: dict[str, Any]) -> None:
    case = CASES[name]
    target, _ = case.targets[0]
    check(build(case), one_hot(3, axis=case.axis), target=target, output=case.output, axis=case.axis, **options)


@pytest.mark.parametrize("name", CASES)
def test_architectures_are_followed_on_both_strands(name: str) -> None:
    case = CASES[name]
    given = {"rc": True, "rc_output": case.rc_output, "bin_axis": case.bin_axis, "axis": case.axis}
    check(build(case), one_hot(2, axis=case.axis), targets=[t for t, _ in case.targets], output=case.output, **given)


class Branches(nn.Module):
    """Sums and concatenations of branches whose windows differ, crops and pads."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.mix = conv(4, 5, 9), conv(4, 5, 3), conv(10, 6, 3)
        self.skip, self.head = nn.Conv1d(4, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        y = torch.cat([self.wide(x).relu(), self.narrow(x).tanh()], 1)
        y = self.mix(y)[:, :, 2:-3] * 2 + self.skip(x)[..., 2:-3] - 0.5
        y = F.pad(y, (1, 2)).clamp(-1, 1)
        return self.head(y.mean(2))


class Dense(nn.Module):
    """Layers that are joined to what came before, pooled by means of halves, with the numbers of each position last."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(7, 3), nn.Linear(10, 3)])
        self.norm, self.head = nn.LayerNorm(13), nn.Linear(13, 2)

    def forward(self, x: Any) -> Any:
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = torch.cat([x, torch.sigmoid(layer(x))], -1)
        return self.head(self.norm(x).amax(1))


class Encoded(nn.Module):
    """An encoding of positions that is added late, and a gate that depends on the position alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = conv(4, 6), conv(6, 6), nn.Linear(6, 2)
        self.register_buffer("places", torch.linspace(-1, 1, LENGTH))

    def forward(self, x: Any) -> Any:
        y = self.first(x).relu() + torch.sin(self.places * torch.arange(1, 7)[:, None])
        return self.head((self.second(y) * self.places).relu().sum(2))


class AsImage(nn.Module):
    """Letters as the height of a picture with one channel, as in models that came from vision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 6, (4, 5), padding=(0, 2)), nn.MaxPool2d((1, 3))
        self.next, self.head = nn.Conv2d(6, 5, (1, 3), groups=1), nn.LazyLinear(2)

    def forward(self, x: Any) -> Any:
        y = self.pool(self.conv(x.unsqueeze(1)).relu())
        return self.head(self.next(y).relu().flatten(1))


def layers(*modules: Any) -> Any:
    return nn.Sequential(*modules)


def dense(*modules: Any) -> Any:
    """Layers, and a dense one on all that they make."""
    return nn.Sequential(*modules, nn.Flatten(), nn.LazyLinear(2))


POOLED = {
    "rounding up": lambda: dense(conv(4, 6), nn.ReLU(), nn.MaxPool1d(5, ceil_mode=True)),
    "overlapping": lambda: dense(conv(4, 6), nn.MaxPool1d(3, 2, 1), conv(6, 4)),
    "dilated": lambda: dense(conv(4, 6), nn.MaxPool1d(3, 2, dilation=2)),
    "means with zeros": lambda: dense(conv(4, 6), nn.GELU(), nn.AvgPool1d(4, 3, 2)),
    "means without zeros": lambda: dense(conv(4, 6), nn.GELU(), nn.AvgPool1d(4, 3, 2, True, False), conv(6, 4)),
    "means, rounding up": lambda: dense(conv(4, 6), nn.ELU(), nn.AvgPool1d(5, ceil_mode=True)),
    "to one": lambda: layers(conv(4, 6), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, 2)),
    "to a mean": lambda: layers(conv(4, 6), nn.SiLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)),
    "to four": lambda: layers(conv(4, 6), nn.AdaptiveMaxPool1d(4), nn.Flatten(), nn.Linear(24, 2)),
    "all": lambda: layers(conv(4, 6), nn.MaxPool1d(LENGTH), nn.Flatten(), nn.Linear(6, 2)),
}
CONVOLVED = {
    "strided": lambda: dense(nn.Conv1d(4, 6, 5, 3, 2), nn.ReLU(), nn.Conv1d(6, 5, 4, 2)),
    "dilated, even": lambda: dense(nn.Conv1d(4, 6, 4, padding=5, dilation=3), nn.ReLU(), nn.Conv1d(6, 5, 6, padding=2)),
    "valid": lambda: dense(nn.Conv1d(4, 6, 7), nn.ReLU(), nn.Conv1d(6, 5, 4, dilation=2)),
    "grouped": lambda: dense(conv(4, 8), nn.ReLU(), conv(8, 8, 3, groups=4)),
    "one after another": lambda: dense(conv(4, 6), conv(6, 6), norm(6), conv(6, 3)),
    "normalised first": lambda: dense(norm(4), conv(4, 6), nn.ReLU(), norm(6)),
    "circular": lambda: dense(nn.Conv1d(4, 6, 5, padding=2, padding_mode="circular"), nn.ReLU()),
    "gated": lambda: dense(conv(4, 12), nn.GLU(1), conv(6, 4), nn.Softmax(1)),
    "residual": lambda: dense(conv(4, 6), *(Residual(nn.ReLU(), conv(6, 6, 3, dilation=k)) for k in (1, 2, 4))),
    "halves": lambda: dense(conv(4, 6), Function(lambda y: sum(y.chunk(2, 1)))),
}


@pytest.mark.parametrize("name", [*POOLED, *CONVOLVED, "branches", "dense", "encoded", "as image"])
@pytest.mark.parametrize("length", [LENGTH, LENGTH - 1], ids=["even", "odd"])
def test_layers_return_what_whole_passes_do(name: str, length: int) -> None:
    """At every phase of the strides, at both ends, and at lengths that pooling does not divide."""
    kinds = {"branches": Branches, "dense": Dense, "encoded": Encoded, "as image": AsImage}
    if length != LENGTH and name in ("to four", "encoded", "residual", "all"):
        pytest.skip("the length belongs to the model")
    torch.manual_seed(0)
    model = (POOLED | CONVOLVED | kinds)[name]().eval()
    x = one_hot(2, length)
    model.double()(x)
    check(model, x, target=1)


def test_unknown_letters_and_masks_are_as_in_whole_passes() -> None:
    x = one_hot(3)
    x[0, :, 3:6], x[1, :, -2:] = 0, 0.25
    mask = np.random.default_rng(0).random((3, LENGTH)) < 0.5
    check(build(CASES["max pooling"]), x, target=1, mask=mask)


def test_arguments_and_targets_of_each_sequence_go_with_it() -> None:
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.embed, self.head = conv(4, 6), nn.Linear(2, 6), nn.Linear(6, 3)

        def forward(self, x: Any, cell: Any, weight: Any) -> Any:
            return self.head(((self.conv(x) + self.embed(cell)[:, :, None]).relu() * weight).mean(2))

    torch.manual_seed(0)
    args = torch.randn(5, 2).double(), torch.rand(5, 1, LENGTH).double()
    check(Conditioned(), one_hot(5), args=args, target=[0, 1, 2, 1, 0], batch_size=4)


def test_what_goes_into_the_last_activation_is_followed() -> None:
    model = layers(
        conv(4, 6), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1), nn.Sigmoid(), Function(lambda y: y.squeeze(1))
    )
    torch.manual_seed(0)
    model.double()(one_hot(2))
    check(model, one_hot(2), target=gf.targets.before_activation(lambda y: y))


def test_batches_and_their_size_change_nothing_but_rounding() -> None:
    model, x = build(CASES["max pooling"]), one_hot(7)
    found = [hooks.saturation_mutagenesis(model, x, engine="incremental", batch_size=n) for n in (1, 3, 128)]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-14)


def test_without_the_kernels_of_the_cpu_the_same_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other devices, whose tensors are moved by operations of PyTorch."""
    from gradcorr_fast.hooks.torch._incremental import windows

    monkeypatch.setattr(windows, "_is_for_kernel", lambda *tensors: False)
    for name in ("overlapping", "means without zeros", "to one"):
        torch.manual_seed(0)
        model = POOLED[name]().eval()
        x = one_hot(2)
        model.double()(x)
        check(model, x, target=1)


def test_code_that_asks_for_the_number_of_rows_is_followed() -> None:
    """`len(x)` is a constant to the tracer."""

    class Reshaping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = conv(4, 6), nn.Linear(6 * LENGTH, 2)
            self.seen: list[int] = []

        def forward(self, x: Any) -> Any:
            self.seen.append(len(x))
            return self.head(self.conv(x).relu().view(len(x), -1))

    torch.manual_seed(0)
    check(Reshaping(), one_hot(2))


def test_sums_of_many_large_numbers_are_not_taken_for_a_difference() -> None:
    """A dense layer whose terms cancel is rounded by far more than the last digits of its result."""
    torch.manual_seed(0)
    model = dense(nn.Conv1d(4, 64, 9, padding=4), nn.Softplus()).eval()
    x = one_hot(2, 400, dtype=torch.float32)
    with torch.no_grad():
        model(x)
        model[-1].weight.mul_(1e3)
        model[-1].bias.sub_(model(x).mean(0))
        found, expected = both(model, x)
        exact = hooks.saturation_mutagenesis(model.double(), x.double(), engine="full")
    assert float((found - exact).abs().max()) <= 2 * float((expected - exact).abs().max())


def test_a_normalisation_that_is_the_output_itself_is_followed() -> None:
    torch.manual_seed(0)
    check(layers(conv(4, 3), norm(3)), one_hot(2), target=gf.targets.mean())


class Chance(nn.Module):
    """Dropout that is left on."""

    def forward(self, x: Any) -> Any:
        return F.dropout(x, 0.5, training=True).sum((1, 2))


class Sizes(nn.Module):
    """The shapes of what it computes depend on numbers."""

    def forward(self, x: Any) -> Any:
        return torch.stack([row[row > 0].sum() for row in x])


class Batch(nn.Module):
    """Statistics of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = conv(4, 4), nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x: Any) -> Any:
        return self.norm(self.conv(x)).square().mean((1, 2))


class Stateful(nn.Module):
    """Returns something else than what its graph says once it was followed."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.conv, self.factor = conv(4, 4), factor

    def forward(self, x: Any) -> Any:
        factor = 1.0 if torch.compiler.is_exporting() else self.factor
        return factor * self.conv(x).relu().mean((1, 2))


FALLBACKS = {
    "chance": (Chance, "draws at random|depends on chance"),
    "sizes": (Sizes, "torch.export cannot follow it"),
    "batch": (Batch, "other sequences of a batch|windows of it return something else"),
    "stateful": (Stateful, "something else than the whole model"),
    "a little off": (lambda: Stateful(1.0005), "something else than the whole model"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_models_that_cannot_be_followed_run_as_a_whole_and_say_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, reason = FALLBACKS[name]
    torch.manual_seed(0)
    model, x = kind().double().eval(), one_hot(2)
    monkeypatch.setattr(choosing, "MANY", 0)  # as if there were much to do
    with pytest.raises(ValueError, match=f"cannot follow the model: .*({reason})"):
        hooks.saturation_mutagenesis(model, x, engine="incremental")
    with pytest.warns(UserWarning, match="takes a whole pass") as caught:
        found = hooks.saturation_mutagenesis(model, x)
    assert len(caught) == 1
    if name != "chance":
        np.testing.assert_array_equal(found, hooks.saturation_mutagenesis(model, x, engine="full"))


def test_a_scripted_model_is_named() -> None:
    model = torch.jit.trace(build(CASES["max pooling"]), one_hot(2)) if hasattr(torch.jit, "trace") else None
    with pytest.raises(ValueError, match="it is scripted"):
        hooks.saturation_mutagenesis(model, one_hot(1), engine="incremental")


def test_a_model_that_writes_over_its_input_leaves_the_users_as_it_is() -> None:
    def model(x: Any) -> Any:
        x -= 0.25
        return x.square().sum((1, 2)) + x[:, 0].cumsum(1).relu().sum(1)

    x = one_hot(2)
    before = x.clone()
    found, expected = both(model, x)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert torch.equal(x, before)


def test_a_layer_that_was_replaced_is_noticed() -> None:
    """The graph is kept between calls, and compared with the model before each of them."""
    torch.manual_seed(0)
    model = layers(conv(4, 6), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    x = one_hot(2)
    model.double()(x)
    check(model, x)
    model[0], model[1] = conv(4, 6, 9), nn.Tanh()
    check(model, x)


def test_trained_weights_are_those_of_now() -> None:
    torch.manual_seed(0)
    model, x = layers(conv(4, 6), norm(6), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)), one_hot(2)
    model.double()(x)
    check(model, x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    check(model, x)


def test_little_work_is_not_prepared_for() -> None:
    """To follow a model takes a second, more than a few whole passes."""
    calls: list[int] = []

    def model(x: Any) -> Any:
        calls.append(len(x))
        return x.sum((1, 2))

    hooks.saturation_mutagenesis(model, one_hot(1))
    assert sum(calls) <= 2 + 3 * LENGTH


def test_compiled_models_are_followed_as_they_were() -> None:
    model = build(CASES["max pooling"])
    compiled = torch.compile(model, backend="eager")
    found = hooks.saturation_mutagenesis(compiled, one_hot(2), engine="incremental")
    np.testing.assert_allclose(found, hooks.saturation_mutagenesis(model, one_hot(2), engine="full"), atol=1e-12)


def test_an_exported_model_is_followed() -> None:
    model, x = build(CASES["max pooling"]), one_hot(2)
    rows = torch.export.Dim("rows", min=1, max=4096)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: rows},))
    check_ = hooks.saturation_mutagenesis(program.module(), x, engine="incremental")
    np.testing.assert_allclose(check_, hooks.saturation_mutagenesis(model, x, engine="full"), atol=1e-12)


def test_explanations_name_what_limits_the_gain() -> None:
    found = hooks.explain_engine(build(CASES["recurrent"]), one_hot(1))
    assert found.is_followed
    assert found.receptive_field == 5
    assert found.stops_at is not None
    assert found.stops_at.startswith("lstm in layer lstm (")
    assert "architectures.py" in found.stops_at
    assert 1 <= found.expected_gain < 3
    attention = hooks.explain_engine(build(CASES["transformer"]), one_hot(1))
    assert attention.expected_gain < 1.3
    refused = hooks.explain_engine(Sizes(), one_hot(1))
    assert not refused.is_followed
    assert refused.expected_gain == 1


def test_a_layer_of_ones_own_needs_a_rule_and_then_is_followed() -> None:
    class Smooth(nn.Module):
        """What no tracer can look into."""

        def forward(self, x: Any) -> Any:
            padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2)))
            return torch.from_numpy(sum(padded[:, :, k : k + x.shape[2]] for k in range(5)) / 5)

    torch.manual_seed(0)
    model, x = layers(conv(4, 6), nn.ReLU(), Smooth(), conv(6, 3), nn.Flatten(), nn.LazyLinear(2)), one_hot(2)
    with torch.no_grad():
        model.double()(x)
    with pytest.raises(ValueError, match="cannot follow"):
        both(model, x)
    hooks.register_rule(Smooth, kernel=5, padding=2)
    check(model, x)
    assert "forward" not in vars(model[2])
    hooks.register_rule(Smooth, kernel=3, padding=1)  # which is wrong
    with pytest.raises(ValueError, match="something else than the whole model"):
        both(model, x)


def test_rules_say_what_is_wrong_with_them() -> None:
    with pytest.raises(TypeError, match="class of modules"):
        hooks.register_rule("conv")
    with pytest.raises(ValueError, match="positive"):
        hooks.register_rule(nn.ReLU, kernel=0)


def test_windows_of_residual_layers_are_no_wider_than_a_change() -> None:
    """What later layers reach is added to it, and not computed in earlier ones."""
    from gradcorr_fast.hooks.torch._incremental.graph import name_of, trace
    from gradcorr_fast.hooks.torch._incremental.layers import closed_layers
    from gradcorr_fast.hooks.torch._incremental.program import Program

    model = layers(conv(4, 6), nn.ReLU(), *(Residual(conv(6, 6, 3, dilation=k), nn.ReLU()) for k in (1, 2, 4)))
    program = Program(trace(model.eval(), one_hot(2, dtype=torch.float32), (), closed_layers), 2)
    plan = program.plan(1)
    widths = [plan.wanted[node].width for node in program.order if name_of(node) == "relu"]
    assert widths == [5, 7, 11, 19]
    assert all(plan.wanted[node].width == plan.touched[node].width for node in program.steps)


def test_several_neighbouring_letters_change_at_once() -> None:
    """As multi-nucleotide variants do, at both ends and on both strands."""
    from gradcorr_fast.hooks._methods import saliency
    from gradcorr_fast.hooks.torch._running import prepare

    model, x = build(CASES["max pooling"]), one_hot(2)
    start = np.array([0, 1, 7, LENGTH - 3, LENGTH - 4, 11])
    sequence = np.array([0, 1, 0, 1, 0, 1])
    codes = np.array([[0, 1, 2], [3, 3, 3], [255, 0, 1], [2, 1, 0], [1, 255, 1], [0, 0, 3]], np.uint8)
    mutants = x[sequence].clone()
    for row, (s, letters) in enumerate(zip(start, codes, strict=True)):
        mutants[row, :, s : s + 3] = torch.from_numpy(gf.sequences.one_hot(letters[None], np.float64, 1))[0]
    with prepare(model, x, None, saliency(), {"rc": True, "shifts": (0, 2)}) as ready:
        found = ready.refer(x, (), [None], Wish("incremental", 6, width=3))
        assert found is not None
        (values,) = found.run(sequence, start, codes)
        whole = [seen.values[0] for seen in ready.run(mutants, forward_only=True)]
    np.testing.assert_allclose(values, sum(whole) / len(whole), atol=1e-12)


def test_other_frameworks_say_that_they_are_not_followed() -> None:
    pytest.importorskip("jax")
    x = one_hot(1, axis=-1, dtype=torch.float32).numpy()
    with pytest.raises(ValueError, match="follows PyTorch models alone"):
        gf.hooks.jax.saturation_mutagenesis(lambda x: x.sum((1, 2)), x, engine="incremental")


def test_models_come_back_as_they_were() -> None:
    model = build(CASES["batch normalisation"]).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hooks.saturation_mutagenesis(model, one_hot(2), engine="incremental")
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())

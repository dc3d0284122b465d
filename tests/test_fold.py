"""`fold`: predictions of the original, corrected gradients, for whatever stands first in a model, or a refusal."""

import copy
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests import models
from tests.conftest import require

require("torch")
import torch  # noqa: E402
from torch import nn  # noqa: E402

hooks = gf.hooks.torch


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Waking a second one takes longer than these small models do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Function(nn.Module):
    """A function of its layers and the input."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Any, *args: Any) -> Any:
        return self.function(self, x, *args)


def head(n_features: int) -> list[nn.Module]:
    return [nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(), nn.Linear(n_features, 2), nn.Sigmoid()]


def branches(m: Any, x: Any) -> Any:
    both = torch.relu(m.a(x)).mean(2) + torch.relu(m.a(x.flip(1, 2))).mean(2)
    padded = nn.functional.pad(2 * x - 0.25, (2, 2), value=0.3)
    return both, {"dense": torch.tanh(m.b(x.flatten(1))), "third": torch.relu(m.c(padded)).amax(2)}


def written(m: Any, x: Any) -> Any:
    y = torch.zeros_like(x)
    y[:, :] = x
    return m.a(y)


def guarded(m: Any, x: Any) -> Any:
    """What has no gradient is no operation on the input."""
    mask = (x.detach().exp().sum(1, keepdim=True) > 0) & x.isfinite().all()
    return torch.tanh(m.a(x)).mean(2) * (mask.any() + torch.ones_like(x).mean())


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Any]]] = {
    "valid": (lambda: nn.Sequential(nn.Conv1d(4, 8, 19), *head(8 * 45)), (4, 200), {}),
    "same": (lambda: nn.Sequential(nn.Conv1d(4, 8, 7, padding="same"), *head(8 * 12)), (4, 50), {}),
    "padding": (lambda: nn.Sequential(nn.Conv1d(4, 8, 7, padding=2, stride=2), *head(8 * 6)), (4, 50), {}),
    "circular": (lambda: nn.Sequential(nn.Conv1d(4, 8, 7, padding=3, padding_mode="circular"), *head(96)), (4, 50), {}),
    "no_bias": (lambda: nn.Sequential(nn.Conv1d(4, 8, 19, bias=False), *head(8 * 8)), (4, 50), {}),
    "dropout": (lambda: nn.Sequential(nn.Dropout(), nn.Conv1d(4, 8, 19), *head(8 * 8)), (4, 50), {}),
    "any_length": (lambda: nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveMaxPool1d(1)), (4, 50), {}),
    "dense": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(200, 6), nn.Softplus()), (4, 50), {}),
    "letters_last": (
        lambda: Function(lambda m, x: m.net(x.transpose(1, 2)), net=nn.Sequential(nn.Conv1d(4, 8, 19), *head(64))),
        (50, 4),
        {"axis": -1},
    ),
    "dense_letters_last": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh()), (50, 4), {"axis": -1}),
    "branches": (
        lambda: Function(branches, a=nn.Conv1d(4, 8, 7, padding=3), b=nn.Linear(200, 3), c=nn.Conv1d(4, 8, 5)),
        (4, 50),
        {},
    ),
    "image": (lambda: nn.Sequential(nn.Conv2d(1, 8, (4, 7)), nn.Flatten(), nn.Tanh()), (1, 4, 50), {"axis": 2}),
    "tall_image": (lambda: nn.Sequential(nn.Conv2d(1, 8, (7, 4)), nn.Flatten(), nn.Tanh()), (1, 50, 4), {"axis": -1}),
    "channels_of_image": (lambda: nn.Sequential(nn.Conv2d(4, 8, (1, 7)), nn.Tanh()), (4, 1, 50), {}),
    "extra_channels": (lambda: nn.Sequential(nn.Conv1d(6, 8, 7), nn.Tanh()), (6, 50), {"letters": slice(1, 5)}),
    "five_letters": (lambda: nn.Sequential(nn.Conv1d(5, 8, 7), nn.Tanh()), (5, 50), {"n_letters": 5}),
    "two_positions_a_step": (
        lambda: Function(lambda m, x: m.a(x.unflatten(2, (-1, 2)).movedim(3, 1).flatten(1, 2)), a=nn.Conv1d(8, 3, 5)),
        (4, 50),
        {},
    ),
    "scaled": (lambda: Function(lambda m, x: torch.tanh(m.a(1 - 3 * x)), a=nn.Conv1d(4, 3, 5)), (4, 50), {}),
    "twice": (lambda: Function(lambda m, x: torch.tanh(m.a(torch.cat([x, x], 1))), a=nn.Conv1d(8, 3, 5)), (4, 50), {}),
    "guarded": (lambda: Function(guarded, a=nn.Conv1d(4, 3, 5)), (4, 50), {}),
    "padded_by_0.25": (lambda: nn.Sequential(nn.ConstantPad1d(2, 0.25), nn.Conv1d(4, 3, 5), nn.Tanh()), (4, 50), {}),
    "both_strands": (
        lambda: Function(lambda m, x: torch.tanh(m.a(torch.cat([x, x.flip(1, 2)], 1))), a=nn.Conv1d(8, 3, 5)),
        (4, 50),
        {},
    ),
}  # fmt: skip
WEIGHTS_ALONE = [
    "scaled",
    "twice",
    "padded_by_0.25",
    "valid",
    "circular",
    "dense",
    "letters_last",
    "dense_letters_last",
    "image",
    "channels_of_image",
]


def make(name: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """A model in float64, three sequences of random numbers, and the options of the letters."""
    torch.manual_seed(0)
    build, shape, options = MODELS[name]
    return build().double().eval(), torch.randn(3, *shape, dtype=torch.float64), {"axis": 1, **options}


def one_hot(x: Any, options: dict[str, Any]) -> Any:
    x = x.clone()
    channels = x.movedim(options["axis"], -1)[..., options.get("letters", slice(None))]
    channels.copy_(nn.functional.one_hot(channels.argmax(-1), channels.shape[-1]))
    return x


def with_unknown(x: Any, options: dict[str, Any]) -> Any:
    x = one_hot(x, options)
    x[..., 7:11] = 0
    return x


def run(model: Any, x: Any) -> tuple[Any, Any]:
    """Outputs side by side, and the gradient of a nonlinear function of them."""
    x = x.clone().requires_grad_()
    leaves = torch.utils._pytree.tree_leaves(model(x))
    outputs = torch.cat([leaf.flatten(1) for leaf in leaves], 1)
    return outputs.detach(), torch.autograd.grad(outputs.sin().sum(), x)[0]


def assert_folded(model: Any, folded: Any, x: Any, options: dict[str, Any]) -> None:
    outputs, grad = run(model, x)
    found, corrected = run(folded, x)
    expected = gf.correct(grad, **options)
    torch.testing.assert_close(found, outputs, rtol=0, atol=16 * np.spacing(float(outputs.abs().max())))
    torch.testing.assert_close(corrected, expected, rtol=0, atol=1e-14 * float(grad.abs().max()))


@pytest.mark.parametrize("change", [one_hot, with_unknown, lambda x, options: x], ids=["one-hot", "N", "numbers"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_stay_and_gradients_are_corrected(name: str, change: Callable[..., Any]) -> None:
    model, x, options = make(name)
    before = copy.deepcopy(model.state_dict())
    folded = hooks.fold(model, example=x, **options)
    assert_folded(model, folded, change(x, options), options)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert type(next(m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear))) in (
        nn.Conv1d,
        nn.Conv2d,
        nn.Linear,
    )


@pytest.mark.parametrize("name", ["valid", "same", "dense", "letters_last", "any_length"])
def test_an_example_is_made_up_where_none_is_given(name: str) -> None:
    model, x, options = make(name)
    assert_folded(model, hooks.fold(model, **options), x, options)


@pytest.mark.parametrize("name", WEIGHTS_ALONE)
def test_weights_alone_do_it_on_one_hot_sequences(name: str) -> None:
    model, x, options = make(name)
    folded = hooks.fold(model, example=x, exact=False, **options)
    assert_folded(model, folded, one_hot(x, options), options)
    assert [type(m) for m in folded.modules()] == [type(m) for m in model.modules()]
    assert folded.state_dict().keys() == model.state_dict().keys()


def test_weights_alone_predict_the_projection_of_what_is_off_the_simplex() -> None:
    model, x, _ = make("valid")
    model.requires_grad_(False)
    folded = hooks.fold(model, example=x, exact=False)
    projected = gf.correct(x, axis=1) + 0.25
    assert float((folded(x) - model(x)).abs().max()) > 1e-3
    torch.testing.assert_close(folded(x), model(projected), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("same", "layer 0 pads, and padding does not sum to what letters do; pass exact=True"),
        ("padding", "layer 0 pads"),
        ("branches", "layer a pads"),
        ("no_bias", "layer 0 has no bias to take the means"),
    ],
)
def test_weights_alone_are_refused_where_they_do_not_suffice(name: str, message: str) -> None:
    model, x, options = make(name)
    with pytest.raises(ValueError, match=message):
        hooks.fold(model, example=x, exact=False, **options)


def test_weights_alone_are_refused_where_another_layer_shares_them() -> None:
    model = Function(lambda m, x: m.b(torch.relu(m.a(x))), a=nn.Conv1d(4, 4, 3), b=nn.Conv1d(4, 4, 3))
    model.b.weight = model.a.weight
    with pytest.raises(ValueError, match=r"layer a shares its weights \(a.weight, a.bias, b.weight\)"):
        hooks.fold(model, exact=False)
    assert_folded(model.double(), hooks.fold(model), torch.randn(2, 4, 30, dtype=torch.float64), {"axis": 1})


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "activation": (lambda: nn.Sequential(nn.ReLU(), nn.Conv1d(4, 2, 3)), "first operation on the input is relu in 0, "),
    "inside": (
        lambda: nn.Sequential(nn.Identity(), nn.Sequential(nn.BatchNorm1d(4), nn.Conv1d(4, 2, 3))),
        "the first operation on the input is batch_norm in 1.0, and not a linear layer; put SimplexProjection",
    ),
    "written": (lambda: Function(written, a=nn.Conv1d(4, 2, 3)), "is __setitem__, and not"),
    "product": (lambda: Function(lambda m, x: m.a(x * x.mean()), a=nn.Conv1d(4, 2, 3)), "is mean, and not"),
    "beside": (lambda: Function(lambda m, x: m.a(x).sum() + x.exp().sum(), a=nn.Conv1d(4, 2, 3)), "is exp, and not"),
    "active_dropout": (
        lambda: Function(lambda m, x: m.a(nn.functional.dropout(x)), a=nn.Conv1d(4, 2, 3)),
        "is dropout, and not",
    ),
    "function": (
        lambda: Function(lambda m, x: nn.functional.conv1d(x, m.a.weight), a=nn.Conv1d(4, 2, 3)),
        "first operation on the input is conv1d, whose weights are no parameters of a Conv1d",
    ),
    "parametrized": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 2, 3))),
        "conv1d in 0, whose weights are no parameters .*remove_parametrizations first",
    ),
    "groups": (
        lambda: nn.Sequential(nn.Conv1d(4, 4, 3, groups=4)),
        "the convolution in 0 has groups, which part the l",
    ),
    "used_twice": (
        lambda: Function(lambda m, x: m.a(torch.relu(m.a(x))), a=nn.Conv1d(4, 4, 3)),
        "layer a is also used on other things than the input",
    ),
    "letters_apart": (
        lambda: Function(lambda m, x: m.a(x[:, None]), a=nn.Conv2d(1, 4, (2, 3))),
        "layer a does not take all letters of a position at once; axis is 1",
    ),
    "unused": (lambda: Function(lambda m, x: torch.ones(2, 1)), "the model does nothing with its input"),
    "length": (lambda: nn.Sequential(nn.Conv1d(7, 4, 3)), "no length was found .*pass example="),
    "scripted": (lambda: torch.jit.script(nn.Conv1d(4, 2, 3)), "a scripted model cannot be taken apart"),
    "folded": (lambda: hooks.fold(nn.Conv1d(4, 2, 3)), "the model is folded already"),
    "compiled": (lambda: torch.compile(nn.Conv1d(4, 2, 3)), "fold the module first"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_models_are_refused_by_name(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        hooks.fold(build())


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantized_layers_are_refused() -> None:
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Flatten(), nn.Linear(80, 2)))
    with pytest.raises(ValueError, match="the first operation on the input is linear_dynamic in 1"):
        hooks.fold(model, example=torch.rand(2, 4, 20))


def test_what_is_no_model_or_no_input_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module; got a function"):
        hooks.fold(make)
    with pytest.raises(TypeError, match=r"must be floating point, as the model takes it; got torch.int64"):
        hooks.fold(nn.Conv1d(4, 2, 3), example=torch.ones(2, 4, 20, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"for \(N, 4, L\) arrays pass axis=1"):
        hooks.fold(nn.Conv1d(4, 2, 3), axis=-1, example=torch.ones(2, 4, 20))


def test_a_copy_that_disagrees_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcorr_fast.hooks.torch import _folding as implementation

    def wrong(weight: Any, order: Any, merged: Any) -> tuple[Any, Any]:
        return weight, 0 * weight.mean(1, keepdim=True)

    monkeypatch.setattr(implementation, "split", wrong)
    with pytest.raises(RuntimeError, match=r"differs from its original, predictions by \S+ and gradients by 0\.\d+ of"):
        hooks.fold(nn.Conv1d(4, 2, 3))


def test_second_derivatives_are_those_behind_the_projection() -> None:
    x, v = torch.randn(2, 3, 4, 50, dtype=torch.float64)
    model = nn.Sequential(nn.Conv1d(4, 8, 19), nn.Tanh()).double()
    folded, projected = hooks.fold(model), nn.Sequential(hooks.SimplexProjection(), model)
    found, expected = (torch.autograd.functional.hvp(lambda y, m=m: m(y).sum(), x, v)[1] for m in (folded, projected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    assert float(expected.abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["same", "branches"])
def test_training_a_folded_model_equals_training_behind_the_projection(name: str) -> None:
    model, x, options = make(name)
    folded = hooks.fold(model, example=x, **options)
    projected, before = nn.Sequential(hooks.SimplexProjection(), model), copy.deepcopy(model.state_dict())
    for net in (folded, projected):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            leaves = torch.utils._pytree.tree_leaves(net(x))
            sum((leaf**2).mean() for leaf in leaves).backward()
            optimizer.step()
    torch.testing.assert_close(folded.state_dict(), model.state_dict(), rtol=0, atol=1e-14)
    assert not torch.equal(model.state_dict()[next(iter(before))], next(iter(before.values())))


def test_the_state_dict_goes_back_and_forth() -> None:
    model, x, _ = make("same")
    folded = hooks.fold(model)
    torch.testing.assert_close(folded.state_dict(), model.state_dict(), rtol=0, atol=0)
    model[0].weight.data += 1
    folded.load_state_dict(model.state_dict())
    assert_folded(model, folded, x, {"axis": 1})


def test_a_folded_model_is_saved_whole() -> None:
    model, x, options = make("image")
    file = io.BytesIO()
    torch.save(hooks.fold(model, example=x, **options), file)
    file.seek(0)
    assert_folded(model, torch.load(file, weights_only=False), x, options)


@pytest.mark.parametrize(
    ("name", "first"), [("branches", "fold"), ("image", "fold"), ("same", "export"), ("image", "export")]
)
def test_an_exported_program_keeps_corrected_gradients(name: str, first: str) -> None:
    model, x, options = make(name)
    shapes = ({0: torch.export.Dim("batch")},)
    if first == "fold":
        program = torch.export.export(hooks.fold(model, example=x, **options), (x,), dynamic_shapes=shapes)
    else:
        exported = torch.export.export(model, (x,), dynamic_shapes=shapes).module()
        folded = hooks.fold(exported, **options)
        assert_folded(model, folded, x, options)
        program = torch.export.export(folded, (x,), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert_folded(model, torch.export.load(file).module(), torch.cat([x, x + 1]), options)


def test_a_graph_of_modules_is_folded() -> None:
    model, x, options = make("valid")
    assert_folded(model, hooks.fold(torch.fx.symbolic_trace(model), example=x), x, options)


def test_a_folded_model_compiles() -> None:
    model, x, options = make("same")
    folded = hooks.fold(model)
    assert_folded(model, torch.compile(folded, backend="aot_eager", fullgraph=True), x, options)


def test_further_inputs_are_passed() -> None:
    model = Function(lambda m, x, y: m.a(x).mean(2) * y, a=nn.Conv1d(4, 2, 3)).double()
    y = torch.rand(3, 1, dtype=torch.float64)
    folded = hooks.fold(model, args=(y,))
    x = torch.randn(3, 4, 20, dtype=torch.float64)
    assert_folded(lambda x: model(x, y), lambda x: folded(x, y), x, {"axis": 1})


def test_the_mode_of_the_model_is_kept() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Conv1d(4, 2, 3)).train()
    model[1].weight.requires_grad_(False)
    folded = hooks.fold(model)
    assert model.training
    assert folded[0].training
    assert not folded[1].weight.requires_grad
    assert folded[1].bias.requires_grad


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_model_is_folded_where_gradients_are_off(context: Callable[[], Any]) -> None:
    model, x, options = make("same")
    with context():
        folded = hooks.fold(model, example=x.clone())
    assert_folded(model, folded, x, options)


def test_a_model_in_single_precision_is_folded() -> None:
    model = nn.Sequential(nn.Conv1d(4, 8, 7, padding=3), nn.Tanh())
    x = torch.randn(2, 4, 50)
    (outputs, grad), (found, corrected) = run(model, x), run(hooks.fold(model), x)
    torch.testing.assert_close(found, outputs, rtol=0, atol=1e-6)
    torch.testing.assert_close(corrected, gf.correct(grad, axis=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn_deep_exponential", "deepstarr"])
def test_published_models_give_the_corrected_saliency(shared_data: Path, name: str) -> None:
    require("h5py")
    architecture, weights = models.load(shared_data, name)
    model = models.torch_model(architecture, weights.astype(np.float64))
    x = np.eye(4)[np.random.default_rng(0).integers(0, 4, (2, architecture.length))].transpose(0, 2, 1).copy()
    expected = hooks.saliency(model, x)
    found = hooks.saliency(hooks.fold(model, example=torch.from_numpy(x)), x, corrected=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())

"""PyTorch's modes, transforms and kinds of module around the hooks: results stay, and so does what surrounds them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.frameworks import FRAMEWORKS, N_TARGETS, W1, X, gradient
from tests.test_saliency import centred, close

torch = pytest.importorskip("torch")

TORCH = next(framework for framework in FRAMEWORKS if framework.name == "torch")
XT = torch.from_numpy(TORCH.lay(X))
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 3},
    "smoothgrad": {"n_samples": 2},
    "expected_gradients": {"n_references": 2, "n_steps": 2},
    "saturation_mutagenesis": {},
}


def attribute(method: str, model: Any, x: Any = XT, **options: Any) -> Any:
    return getattr(gf.hooks.torch, method)(model, x, **METHODS[method], **options)


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("method", METHODS)
def test_what_surrounds_a_call_changes_nothing(method: str, around: str) -> None:
    """Autocast reaches backward passes too: under it they rounded what float32 was asked for."""
    model = TORCH.model(lambda output, scale: output * scale)
    scale = np.arange(1.0, 1 + 7 * N_TARGETS, dtype=np.float32).reshape(7, N_TARGETS)
    expected = attribute(method, model, args=(torch.from_numpy(scale),))
    with AROUND[around]():
        got = attribute(method, model, XT.clone(), args=(torch.from_numpy(scale).clone(),))
        assert torch.is_inference_mode_enabled() == (around == "inference_mode")
        assert torch.is_autocast_enabled("cpu") == (around == "autocast")
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_model_made_in_inference_mode_is_named_and_comes_back_as_it_was() -> None:
    """Its requires_grad could be switched off, but not on again, which left it in evaluation mode as well."""
    with torch.inference_mode():
        model = TORCH.model().train()
    with pytest.raises(ValueError, match=r"made in inference mode.*load it outside"):
        attribute("saliency", model)
    assert model.training
    assert model.w1.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_a_model_with_frozen_parameters_stays_frozen(method: str) -> None:
    expected = attribute(method, TORCH.model())
    model = TORCH.model().requires_grad_(False)
    torch.testing.assert_close(attribute(method, model), expected)
    assert not model.w1.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_hooks_of_the_user_are_called_and_stay(method: str) -> None:
    expected, model, seen = attribute(method, TORCH.model()), TORCH.model(), set()
    model.register_forward_pre_hook(lambda module, args: seen.add("forward pre"))
    model.register_forward_hook(lambda module, args, output: seen.add("forward"))
    model.register_full_backward_pre_hook(lambda module, grad: seen.add("backward pre"))
    model.register_full_backward_hook(lambda module, given, grad: seen.add("backward"))
    torch.testing.assert_close(attribute(method, model), expected)
    forwards = {"forward pre", "forward"}
    assert seen == (forwards if method == "saturation_mutagenesis" else {*forwards, "backward pre", "backward"})
    assert len(model._forward_hooks) == len(model._backward_hooks) == 1


def convolutional(inplace: bool) -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 5, 3), torch.nn.ReLU(inplace=inplace), torch.nn.Dropout(0.5, inplace=inplace),
        torch.nn.Flatten(), torch.nn.Linear(20, 2),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("is_projected", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_activations_in_place_are_those_that_are_not(method: str, is_projected: bool) -> None:
    with ExitStack() as stack:
        model = convolutional(inplace=True)
        if is_projected:
            stack.enter_context(gf.hooks.torch.attach(model))
        got = attribute(method, model)
        penalty = gf.hooks.torch.angle_penalty(model, XT)
    torch.testing.assert_close(got, attribute(method, convolutional(inplace=False)))
    expected = gf.hooks.torch.angle_penalty(convolutional(inplace=False), XT)
    torch.testing.assert_close(penalty, 0 * expected if is_projected else expected, rtol=1e-4, atol=1e-3)


def test_a_first_layer_in_place_leaves_the_input_alone_behind_the_projection() -> None:
    model = torch.nn.Sequential(torch.nn.ReLU(inplace=True), convolutional(inplace=True))
    x = XT.clone() - 0.5
    with gf.hooks.torch.attach(model):
        got = gf.hooks.torch.saliency(model, x)
    expected = gf.hooks.torch.saliency(lambda x: convolutional(inplace=False)(torch.relu(x)), x)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(x, XT - 0.5)


def test_attaching_twice_does_what_once_does() -> None:
    model = TORCH.model().eval()
    first, second = gf.hooks.torch.attach(model), gf.hooks.torch.attach(model)
    close(TORCH.read(attribute("saliency", model, corrected=False)), centred(gradient(0)))
    first.remove()
    close(TORCH.read(attribute("saliency", model, corrected=False)), centred(gradient(0)))
    second.remove()
    close(TORCH.read(attribute("saliency", model, corrected=False)), gradient(0))


def test_attach_corrects_the_first_of_a_tuple() -> None:
    """As Captum's DeepLift calls a model, with the inputs in one tuple and the references in another."""
    network = TORCH.model().eval()

    class Pair(torch.nn.Module):
        def forward(self, pair: Any) -> Any:
            return network(pair[0]) * pair[1]

    model, x, scale = Pair(), XT.clone().requires_grad_(), torch.ones(7, 3, requires_grad=True)
    with gf.hooks.torch.attach(model):
        grad, of_scale = torch.autograd.grad(model((x, scale))[:, 0].sum(), (x, scale))
    close(TORCH.read(grad), centred(gradient(0)))
    close(of_scale[:, 0], network(x)[:, 0].detach())


# --- compiled ---


def test_a_compiled_function_may_call_the_projection() -> None:
    torch.compiler.reset()
    model = TORCH.model().eval()

    def function(x: Any) -> Any:
        return model(gf.hooks.torch.project_gradient(2 * x, axis=1))[:, 1].sum()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    x = XT.clone().requires_grad_()
    (grad,) = torch.autograd.grad(compiled(x), x)
    close(TORCH.read(grad), centred(2 * gradient(1, 2 * X)))


@pytest.mark.parametrize("is_projected", [False, True])
def test_every_method_takes_a_compiled_model(is_projected: bool) -> None:
    torch.compiler.reset()
    model = TORCH.model()
    if is_projected:
        model = torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    got = {method: attribute(method, compiled, batch_size=7) for method in METHODS}
    torch.testing.assert_close(got, {method: attribute(method, TORCH.model()) for method in METHODS})


# --- torch.func ---


def test_jacobians_are_corrected() -> None:
    model = TORCH.model().eval()

    def function(x: Any) -> Any:
        return model(gf.hooks.torch.project_gradient(x[None]))[0]

    expected = np.stack([centred(gradient(k))[0] for k in range(N_TARGETS)])
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        close(np.moveaxis(transform(function)(XT[0]).detach().numpy(), 1, -1), expected)


def test_gradients_of_each_sequence_and_each_of_several_models_under_vmap() -> None:
    """torch.func.functional_call with stacked parameters, as ensembles are run, and the correction inside of it."""
    model = TORCH.model().eval()
    stacked = {"w1": torch.stack([model.w1.detach(), -2 * model.w1.detach()])}

    def corrected(parameters: Any, x: Any) -> Any:
        def value(x: Any) -> Any:
            return torch.func.functional_call(model, parameters, (x[None],))[0, 0]

        return gf.correct(torch.func.grad(value)(x), axis=0)

    over_sequences = torch.func.vmap(corrected, (None, 0))
    got = torch.func.vmap(over_sequences, (0, None))(stacked, XT)
    close(np.moveaxis(got[0].numpy(), 1, -1), centred(gradient(0)))
    hidden = np.einsum("nla,lah->nh", X.astype(np.float64), -2 * W1)
    w2 = model.w2[:, 0].double().numpy()
    expected = np.einsum("nh,lah->nla", w2 / (1 + np.exp(-hidden)), -2 * W1)
    close(np.moveaxis(got[1].numpy(), 1, -1), centred(expected))


def test_an_attached_model_is_corrected_in_functional_calls() -> None:
    model = TORCH.model().eval()
    parameters = {"w1": model.w1.detach()}

    def value(x: Any) -> Any:
        return torch.func.functional_call(model, parameters, (x,))[:, 0].sum()

    with gf.hooks.torch.attach(model):
        close(TORCH.read(torch.func.grad(value)(XT)), centred(gradient(0)))

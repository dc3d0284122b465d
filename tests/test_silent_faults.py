"""What once gave wrong attributions without a word: models that write over their input, outputs without a gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import require
from tests.frameworks import Framework

torch = pytest.importorskip("torch")

N, LENGTH = 6, 12
X = torch.nn.functional.one_hot(
    torch.from_numpy(np.random.default_rng(0).integers(0, 4, (N, LENGTH))), 4
).float().transpose(1, 2)  # fmt: skip
WEIGHT = torch.from_numpy(np.random.default_rng(1).standard_normal((4 * LENGTH, 1))).float()
METHODS = ["saliency", "integrated_gradients", "expected_gradients", "smoothgrad", "saturation_mutagenesis"]


def score(x: Any) -> Any:
    return torch.tanh(x.flatten(1) @ WEIGHT)


class InPlace(torch.nn.Module):
    """Centres its input where it lies."""

    def forward(self, x: Any) -> Any:
        x -= 0.25
        return score(x)


class InPlaceByArgument(torch.nn.Module):
    def forward(self, x: Any, shift: Any) -> Any:
        shift *= 2
        return score(x + shift)


class InPlaceByData(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        x.data.sub_(0.25)
        return score(x)


@pytest.mark.parametrize("options", [{}, {"rc": True}, {"shifts": (-1, 0, 1)}, {"batch_size": 2}], ids=str)
@pytest.mark.parametrize("as_numpy", [False, True], ids=["tensor", "numpy"])
@pytest.mark.parametrize(
    ("name", "model"),
    [("saturation_mutagenesis", InPlace()), *((name, InPlaceByData()) for name in METHODS)],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_model_that_works_in_place_gets_copies(name: str, model: Any, as_numpy: bool, options: Any) -> None:
    """Mutagenesis of such a model was 36 to 81 % off, and the user's sequences were written over."""
    method, x = getattr(gf.hooks.torch, name), X.numpy().copy() if as_numpy else X.clone()
    result = method(model, x, **options)
    np.testing.assert_array_equal(np.asarray(x), X.numpy())
    expected = method(lambda x: score(x - 0.25), X.clone(), **options)
    np.testing.assert_allclose(np.asarray(result), np.asarray(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS[:-1])
def test_a_gradient_with_respect_to_what_is_written_over_is_refused(name: str) -> None:
    x = X.clone()
    with pytest.raises(ValueError, match="the model writes over what its gradient needs; clone it there first"):
        getattr(gf.hooks.torch, name)(InPlace(), x)
    assert x.equal(X)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_works_in_place_on_its_arguments_gets_copies(name: str) -> None:
    method, shift = getattr(gf.hooks.torch, name), torch.full((N, 4, LENGTH), 0.1)
    result = method(InPlaceByArgument(), X.clone(), (shift,))
    assert (shift == 0.1).all()
    expected = method(lambda x, s: score(x + 2 * s), X.clone(), (torch.full((N, 4, LENGTH), 0.1),))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [torch.sign, torch.round, torch.floor, torch.ceil, torch.trunc])
@pytest.mark.parametrize("n", [1, N])
def test_an_output_made_of_steps_is_no_map_of_zeros(step: Callable[..., Any], n: int) -> None:
    """The gradient of sign and round is zero in torch, and maps of zeros came out without a word."""
    with pytest.raises(ValueError, match="does not depend on its input by a differentiable path"):
        gf.hooks.torch.saliency(lambda x: step(3 * score(x)), X[:n])


@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_steps_are_found_in_other_frameworks(name: str) -> None:
    module = pytest.importorskip({"jax": "jax.numpy"}.get(name, name))
    weight = WEIGHT.numpy().reshape(1, 4, LENGTH)
    total = module.reduce_sum if name == "tensorflow" else module.sum
    with pytest.raises(ValueError, match=r"differentiable path|made of steps"):
        getattr(gf.hooks, name).saliency(lambda x: module.sign(total(x * weight, axis=(1, 2))), X.numpy(), axis=1)


def test_a_dead_output_is_told_from_a_saturated_one() -> None:
    """A ReLU at 0 was told of as a saturated sigmoid."""
    positive = (score(X) > 0)[:, 0].sum()
    assert 0 < positive < N
    with pytest.warns(
        UserWarning, match=rf"^{N - positive} predictions are exactly 0 .* of a ReLU at the end that is off there;"
    ):
        gf.hooks.torch.saliency(lambda x: 5 * torch.relu(score(x)) + 0, X)
    with pytest.warns(UserWarning, match="exactly 0 or 1 and have no gradient, as from a saturated sigmoid"):
        gf.hooks.torch.saliency(lambda x: torch.sigmoid(1000 * score(x)), X)
    with pytest.warns(UserWarning, match="of a ReLU at the end that is off there, or a sigmoid that is saturated"):
        gf.hooks.torch.saliency(lambda x: torch.relu(score(x) - 5), X)


def test_predictions_that_are_not_a_number_are_refused(framework: Framework) -> None:
    """NaN in an output whose gradient is finite passed without a word."""
    require(framework.name)
    from tests import frameworks

    model = framework.model(lambda output: output + framework.array(np.full(output.shape[-1], np.nan, np.float32)))
    with pytest.raises(ValueError, match=r"what the model returns for 7 sequences is not finite \(0, 1, 2"):
        framework.hooks.saliency(model, framework.lay(frameworks.X))


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * LENGTH, 1), torch.nn.Tanh())


def off_simplex(grad: Any) -> float:
    return float(grad.mean(1).abs().max() / grad.abs().max())


@pytest.mark.parametrize("of", [lambda model: model, lambda model: model.forward], ids=["model", "forward"])
def test_attach_corrects_what_captum_calls(of: Callable[[Any], Any]) -> None:
    """Captum's tutorials pass model.forward, which went around the hook: 1.15 of the gradient was off the simplex."""
    captum = pytest.importorskip("captum.attr")
    model = network()
    with gf.hooks.torch.attach(model):
        grad = captum.Saliency(of(model)).attribute(X.clone().requires_grad_(), abs=False)
    assert off_simplex(grad) < 1e-6
    assert "forward" not in vars(model)
    assert off_simplex(captum.Saliency(of(model)).attribute(X.clone().requires_grad_(), abs=False)) > 0.1


def test_attach_warns_if_it_was_gone_around() -> None:
    model = network()
    forward = model.forward
    x = X.clone().requires_grad_()
    message = r"no call of the model went through attach.*model\.forward"
    with pytest.warns(UserWarning, match=message), gf.hooks.torch.attach(model):
        forward(x)


def test_attachments_come_and_go_in_any_order() -> None:
    model = network()
    model.forward = own = lambda x: torch.nn.Sequential.forward(model, x)
    first, second = gf.hooks.torch.attach(model), gf.hooks.torch.attach(model)
    first.remove()
    (grad,) = torch.autograd.grad(model(x := X.clone().requires_grad_()).sum(), x)
    assert off_simplex(grad) < 1e-6
    second.remove()
    first.remove()
    assert model.forward is own

"""Captum's methods on a model behind the projection: which of them give the corrected map, and what the others give."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import require

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
    pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks"),
]


@pytest.fixture(name="attr")
def _attr() -> Any:
    require("captum")
    from captum import attr

    return attr


def one_hot(n: int, seed: int) -> Any:
    codes = torch.randint(0, 4, (n, 10), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(codes, 4).double().transpose(1, 2).contiguous()


X, REFERENCE = one_hot(3, 0), one_hot(1, 1)


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 3), torch.nn.ReLU(), torch.nn.MaxPool1d(2), torch.nn.Flatten(), torch.nn.Linear(24, 5),
        torch.nn.ReLU(), torch.nn.Linear(5, 2), torch.nn.Sigmoid(),
    ).double()  # fmt: skip


def correct(grad: Any) -> Any:
    return gf.correct(grad.detach(), axis=1)


def same(a: Any, b: Any) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-9, atol=1e-12))


Attribute = Callable[[Any, Any], Any]
"""From captum.attr and a model to a map."""

GRADIENTS: dict[str, Attribute] = {
    "Saliency": lambda attr, m: attr.Saliency(m).attribute(X, target=1, abs=False),
    "IntegratedGradients": lambda attr, m: attr.IntegratedGradients(m, multiply_by_inputs=False).attribute(
        X, REFERENCE, target=1, n_steps=7
    ),
    "GradientShap": lambda attr, m: attr.GradientShap(m, multiply_by_inputs=False).attribute(
        X, REFERENCE, target=1, n_samples=4
    ),
    "NoiseTunnel": lambda attr, m: attr.NoiseTunnel(attr.Saliency(m)).attribute(
        X, target=1, nt_samples=4, stdevs=0.1, abs=False
    ),
    "DeepLift": lambda attr, m: attr.DeepLift(m, multiply_by_inputs=False).attribute(X, REFERENCE, target=1),
    "DeepLiftShap": lambda attr, m: attr.DeepLiftShap(m, multiply_by_inputs=False).attribute(
        X, REFERENCE.expand(2, 4, 10), target=1
    ),
    "GuidedBackprop": lambda attr, m: attr.GuidedBackprop(m).attribute(X, target=1),
}
"""Methods that return gradients, means of gradients, or multipliers."""

PRODUCTS: dict[str, tuple[str, Any, Attribute]] = {
    "InputXGradient": ("Saliency", X, lambda attr, m: attr.InputXGradient(m).attribute(X, target=1)),
    "IntegratedGradients": (
        "IntegratedGradients", X - REFERENCE,
        lambda attr, m: attr.IntegratedGradients(m).attribute(X, REFERENCE, target=1, n_steps=7),
    ),
    "GradientShap": (
        "GradientShap", X - REFERENCE,
        lambda attr, m: attr.GradientShap(m).attribute(X, REFERENCE, target=1, n_samples=4),
    ),
    "DeepLift": ("DeepLift", X - REFERENCE, lambda attr, m: attr.DeepLift(m).attribute(X, REFERENCE, target=1)),
    "DeepLiftShap": (
        "DeepLiftShap", X - REFERENCE,
        lambda attr, m: attr.DeepLiftShap(m).attribute(X, REFERENCE.expand(2, 4, 10), target=1),
    ),
}  # fmt: skip
"""Methods that multiply a map of those above: its name, the factor, and the method."""


def layered(model: Any) -> AbstractContextManager[Any]:
    return nullcontext(torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), model))


def inside(model: Any) -> AbstractContextManager[Any]:
    return nullcontext(lambda x: model(gf.hooks.torch.project_gradient(x)))


WAYS: dict[str, Callable[[Any], AbstractContextManager[Any]]] = {
    "layer": layered,
    "attach": gf.hooks.torch.attach,
    "function": inside,
}


def run(attr: Any, attribute: Attribute, model: Any) -> Any:
    logging.getLogger("captum").setLevel(logging.ERROR)
    torch.manual_seed(3)  # GradientShap and NoiseTunnel draw from both
    np.random.seed(3)  # noqa: NPY002
    return attribute(attr, model).detach()


def pairs(methods: dict[str, Any]) -> list[tuple[str, str]]:
    """Each method with each way to project that it takes: some need a module, whose parts they look into."""
    needs_module = "DeepLift", "DeepLiftShap", "GuidedBackprop"
    return [(name, way) for name in methods for way in WAYS if way != "function" or name not in needs_module]


@pytest.mark.parametrize(("name", "way"), pairs(GRADIENTS))
def test_methods_linear_in_the_gradient_give_the_corrected_map(attr: Any, name: str, way: str) -> None:
    plain = run(attr, GRADIENTS[name], network())
    with WAYS[way](network()) as model:
        got = run(attr, GRADIENTS[name], model)
    assert not same(got, plain)
    torch.testing.assert_close(got, correct(plain))


@pytest.mark.parametrize(("name", "way"), pairs(PRODUCTS))
def test_methods_that_multiply_do_so_after_the_correction(attr: Any, name: str, way: str) -> None:
    """The projection lies in front of the factor, which is the right order; centring their map is the wrong one."""
    factor_of, factor, attribute = PRODUCTS[name]
    with WAYS[way](network()) as model:
        got = run(attr, attribute, model)
    grad = run(attr, GRADIENTS[factor_of], network())
    torch.testing.assert_close(got, correct(grad) * factor)
    assert not same(got, correct(run(attr, attribute, network())))


@pytest.mark.parametrize("name", [name for name in PRODUCTS if name != "InputXGradient"])
def test_contributions_against_a_one_hot_reference_keep_their_sum_over_letters(attr: Any, name: str) -> None:
    """x - reference sums to zero at every position, so what the projection removes adds nothing to the sum."""
    *_, attribute = PRODUCTS[name]
    with layered(network()) as model:
        got = run(attr, attribute, model)
    plain = run(attr, attribute, network())
    assert not same(got, plain)
    torch.testing.assert_close(got.sum(1), plain.sum(1))


@pytest.mark.parametrize("method", ["IntegratedGradients", "DeepLift"])
@pytest.mark.parametrize(("reference", "is_kept"), [(REFERENCE, True), (0 * REFERENCE, False)], ids=["one-hot", "0"])
def test_completeness_is_kept_with_one_hot_references_and_broken_with_zeros(
    attr: Any, method: str, reference: Any, is_kept: bool
) -> None:
    def delta(model: Any) -> Any:
        found = getattr(attr, method)(model).attribute(X, reference, target=1, return_convergence_delta=True)
        return found[1]

    with layered(network()) as model:
        assert same(delta(model), delta(network())) == is_kept


def test_what_is_not_linear_is_that_of_the_corrected_gradient_not_its_correction(attr: Any) -> None:
    """abs=True is Captum's default."""
    gradient = run(attr, GRADIENTS["Saliency"], network())

    def absolute(attr: Any, model: Any) -> Any:
        return attr.Saliency(model).attribute(X, target=1)

    def squared(attr: Any, model: Any) -> Any:
        return attr.NoiseTunnel(attr.Saliency(model)).attribute(
            X, target=1, nt_type="smoothgrad_sq", nt_samples=1, stdevs=0.0, abs=False
        )

    with layered(network()) as model:
        for method, function in ((absolute, torch.abs), (squared, torch.square)):
            got = run(attr, method, model)
            torch.testing.assert_close(got, function(correct(gradient)))
            assert not same(got, correct(function(gradient)))


def test_methods_without_gradients_see_no_difference(attr: Any) -> None:
    with layered(network()) as model:
        got = attr.FeatureAblation(model).attribute(X, target=1)
    torch.testing.assert_close(got, attr.FeatureAblation(network()).attribute(X, target=1))


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients"])
def test_our_maps_are_those_of_captum_corrected(attr: Any, name: str) -> None:
    options = {} if name == "saliency" else {"references": REFERENCE, "n_steps": 7, "rule": "gausslegendre"}
    got = getattr(gf.hooks.torch, name)(network(), X, target=1, **options)
    captum = run(attr, GRADIENTS["Saliency" if name == "saliency" else "IntegratedGradients"], network())
    torch.testing.assert_close(got, correct(captum))

"""`gf.compat.captum.corrected`: every method of Captum that uses the input's gradient, made from whatever it takes."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import require
from tests.test_captum import REFERENCE, X, correct, network

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Input Tensor . did not already require gradients"),
    pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks"),
]


@pytest.fixture(name="attr")
def _attr() -> Any:
    require("captum")
    from captum import attr

    logging.getLogger("captum").setLevel(logging.ERROR)
    return attr


def attribute(method: Any, *args: Any, **options: Any) -> Any:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    return method.attribute(*args, **options)


FORMS: dict[str, Callable[[Any], Any]] = {
    "module": lambda model: model,
    "forward": lambda model: model.forward,
    "function": lambda model: lambda x: model(x),
}
"""What methods are made from."""
ANY_FUNCTION: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Saliency": ({}, {"abs": False}),
    "IntegratedGradients": ({"multiply_by_inputs": False}, {"baselines": REFERENCE, "n_steps": 5}),
    "GradientShap": ({"multiply_by_inputs": False}, {"baselines": REFERENCE, "n_samples": 4}),
}
MODULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DeepLift": ({"multiply_by_inputs": False}, {"baselines": REFERENCE}),
    "DeepLiftShap": ({"multiply_by_inputs": False}, {"baselines": REFERENCE.expand(2, 4, 10)}),
    "GuidedBackprop": ({}, {}),
    "Deconvolution": ({}, {}),
}
"""Methods that look into a module, with options of the class and of `attribute`."""
CASES = [(name, form) for name in ANY_FUNCTION for form in FORMS] + [(name, "module") for name in MODULES]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_map_is_the_correction_of_the_methods_own(attr: Any, name: str, form: str) -> None:
    made, given = {**ANY_FUNCTION, **MODULES}[name]
    method = getattr(attr, name)(FORMS[form](network()), **made)
    plain = attribute(method, X, target=1, **given)
    found = attribute(gf.compat.captum.corrected(method), X, target=1, **given)
    torch.testing.assert_close(found, correct(plain))
    assert (found - plain).abs().max() > 1e-6
    torch.testing.assert_close(attribute(method, X, target=1, **given), plain)  # the method is as it was


@pytest.mark.parametrize("name", ["InputXGradient", "IntegratedGradients", "GradientShap", "DeepLift", "DeepLiftShap"])
def test_products_are_made_after_the_correction(attr: Any, name: str) -> None:
    given = {**ANY_FUNCTION, **MODULES}.get(name, ({}, {}))[1]
    found = attribute(gf.compat.captum.corrected(getattr(attr, name)(network())), X, target=1, **given)
    if name == "InputXGradient":
        plain, factor = attribute(attr.Saliency(network()), X, target=1, abs=False), X
    else:
        plain = attribute(getattr(attr, name)(network(), multiply_by_inputs=False), X, target=1, **given)
        factor = X - REFERENCE
    torch.testing.assert_close(found.detach(), correct(plain) * factor)


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnels_average_corrected_gradients(attr: Any, kind: str) -> None:
    options = {"nt_type": kind, "nt_samples": 4, "stdevs": 0.1, "target": 1, "abs": False}
    found = attribute(gf.compat.captum.corrected(attr.NoiseTunnel(attr.Saliency(network()))), X, **options)
    projected = torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), network())
    torch.testing.assert_close(found, attribute(attr.NoiseTunnel(attr.Saliency(projected)), X, **options))


def test_saliency_as_it_comes_is_the_size_of_the_corrected_gradient(attr: Any) -> None:
    method = attr.Saliency(network())
    plain = attribute(method, X, target=1, abs=False)
    torch.testing.assert_close(attribute(gf.compat.captum.corrected(method), X, target=1), correct(plain).abs())


def test_neurons_and_several_inputs_take_their_place(attr: Any) -> None:
    model = network()
    neuron = attr.NeuronGradient(model, model[4])
    plain = neuron.attribute(X, neuron_selector=2)
    torch.testing.assert_close(gf.compat.captum.corrected(neuron).attribute(X, neuron_selector=2), correct(plain))

    class Two(torch.nn.Module):
        def forward(self, x: Any, scale: Any, power: float = 1.0) -> Any:
            return model(x) * scale**power

    scale = torch.rand(3, 1).double()
    for form in FORMS.values():
        method = attr.InputXGradient(form(Two()) if form is not FORMS["function"] else lambda x, s: Two()(x, s))
        found, of_scale = gf.compat.captum.corrected(method).attribute((X, scale), target=0)
        plain, expected = method.attribute((X, scale), target=0)
        torch.testing.assert_close(of_scale, expected)
        assert (found - plain).abs().max() > 1e-6
    more = attr.Saliency(Two())
    options = {"target": 0, "additional_forward_args": (scale, 2.0), "abs": False}
    torch.testing.assert_close(
        gf.compat.captum.corrected(more).attribute(X, **options), correct(more.attribute(X, **options))
    )


def test_other_axes_and_channels(attr: Any) -> None:
    model = network()
    method = attr.Saliency(lambda x: model(x[..., :4].transpose(1, 2)) + 0 * x.sum((1, 2))[:, None])
    wide = torch.cat([X.transpose(1, 2), torch.rand(3, 10, 2).double()], 2)
    plain = method.attribute(wide, target=1, abs=False)
    found = gf.compat.captum.corrected(method, axis=2, letters=slice(0, 4)).attribute(wide, target=1, abs=False)
    torch.testing.assert_close(found, gf.correct(plain.detach(), axis=2, letters=slice(0, 4)))


OFF_THE_SIMPLEX: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "IntegratedGradients": ({}, {"n_steps": 200}),
    "DeepLift": ({}, {"baselines": 0}),
    "GradientShap": ({}, {"baselines": 0 * REFERENCE, "n_samples": 4, "stdevs": 0.1}),
    "DeepLiftShap": ({}, {"baselines": lambda x: 0 * x[:2]}),
}


@pytest.mark.parametrize("name", OFF_THE_SIMPLEX)
def test_convergence_deltas_are_those_of_the_methods_own_maps(attr: Any, name: str) -> None:
    """What the correction takes away stood in the delta of zeros, the default baseline, as if steps were too few."""
    made, given = OFF_THE_SIMPLEX[name]
    method, options = getattr(attr, name)(network(), **made), {"target": 1, "return_convergence_delta": True} | given
    _, plain = attribute(method, X, **options)
    found, delta = attribute(gf.compat.captum.corrected(method), X, **options)
    torch.testing.assert_close(delta, plain)
    without = {**options, "return_convergence_delta": False}
    torch.testing.assert_close(found, attribute(gf.compat.captum.corrected(method), X, **without))


@pytest.mark.parametrize("baseline", [REFERENCE, 0.25], ids=["one-hot", "uniform"])
def test_deltas_on_the_simplex_need_no_second_run(attr: Any, baseline: Any) -> None:
    model, n_calls = network(), []
    model.register_forward_hook(lambda *_: n_calls.append(1))
    method = gf.compat.captum.corrected(attr.IntegratedGradients(model))
    options = {"target": 1, "n_steps": 200, "return_convergence_delta": True}
    _, delta = method.attribute(X, baseline, **options)
    assert float(delta.abs().max()) < 1e-3
    once = len(n_calls)
    method.method.attribute(X, baseline, **options)
    assert len(n_calls) == 2 * once
    assert method.has_convergence_delta()
    assert repr(method) == "corrected(IntegratedGradients, axis=1)"


def test_a_delta_asked_for_by_position_is_seen(attr: Any) -> None:
    method = attr.IntegratedGradients(network())
    given = (X, 0, 1, None, 5, "gausslegendre", None, True)
    torch.testing.assert_close(gf.compat.captum.corrected(method).attribute(*given)[1], method.attribute(*given)[1])


@pytest.mark.parametrize("name", ["Saliency", "IntegratedGradients"])
def test_noise_tunnels_are_made_of_corrected_methods(attr: Any, name: str) -> None:
    """NoiseTunnel calls what its method's `attribute` wraps, and its first argument is no baseline."""
    method, options = getattr(attr, name)(network()), {"nt_samples": 2, "target": 1}
    if name == "IntegratedGradients":
        options["return_convergence_delta"] = True
    corrected = gf.compat.captum.corrected
    outside = attribute(corrected(attr.NoiseTunnel(method)), X, "smoothgrad", **options)
    torch.testing.assert_close(attribute(attr.NoiseTunnel(corrected(method)), X, "smoothgrad", **options), outside)
    both = attribute(corrected(attr.NoiseTunnel(corrected(method))), X, "smoothgrad", **options)
    torch.testing.assert_close(both, outside)


def test_corrected_methods_are_copied(attr: Any) -> None:
    method = gf.compat.captum.corrected(attr.Saliency(network()))
    torch.testing.assert_close(copy.deepcopy(method).attribute(X, target=1), method.attribute(X, target=1))


def test_what_has_no_gradient_is_said(attr: Any) -> None:
    model = network()
    with pytest.warns(UserWarning, match="FeatureAblation uses no gradient"):
        ablation = gf.compat.captum.corrected(attr.FeatureAblation(model))
    torch.testing.assert_close(ablation.attribute(X, target=1), attr.FeatureAblation(model).attribute(X, target=1))
    with pytest.warns(UserWarning, match="DataLoaderAttribution uses no gradient"):
        gf.compat.captum.corrected(attr.DataLoaderAttribution(attr.FeatureAblation(model)))
    with pytest.raises(TypeError, match="LayerActivation attributes to a layer"):
        gf.compat.captum.corrected(attr.LayerActivation(model, model[0]))
    with pytest.raises(TypeError, match="LRP spreads relevance"):
        gf.compat.captum.corrected(attr.LRP(model))
    with pytest.raises(TypeError, match=r"must be a method of captum\.attr.*got Sequential"):
        gf.compat.captum.corrected(model)
    method = gf.compat.captum.corrected(attr.Saliency(model))
    assert gf.compat.captum.corrected(method) is method


def test_the_model_comes_back_after_an_error(attr: Any) -> None:
    model = network()
    saliency = attr.Saliency(model.forward)
    before = saliency.forward_func
    with pytest.raises(RuntimeError):
        gf.compat.captum.corrected(saliency).attribute(torch.rand(1, 5, 10).double(), target=0)
    assert saliency.forward_func is before
    assert "forward" not in vars(model)

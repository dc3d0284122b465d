"""Wrong orders of correction and multiplication: told while a model is attributed, and from a map's numbers alike."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.frameworks import FRAMEWORKS, Framework, X, gradient
from tests.test_saliency import centred, close


def projected(framework: Framework) -> Callable[[Any], Any]:
    """The network behind the projection."""
    network = framework.model()
    if framework.name == "torch":
        network.eval()  # a function is run as it is
    return lambda x: network(framework.hooks.project_gradient(x))


@pytest.mark.parametrize(
    ("method", "outputs"),
    [("integrated_gradients", None), ("expected_gradients", ("prediction", "grad_times_input"))],
)
def test_multiplying_before_the_correction_warns_once_and_names_the_order(
    framework: Framework, method: str, outputs: Any
) -> None:
    attribute = getattr(framework.hooks, method)
    with pytest.warns(UserWarning, match="correct first and multiply afterwards") as caught:
        attribute(framework.model(), framework.lay(X), multiply_by_inputs=True, n_steps=3, outputs=outputs)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "options",
    [
        {"multiply_by_inputs": True, "corrected": False},
        {"multiply_by_inputs": True, "outputs": ("prediction", "convergence_delta")},
    ],
)
def test_the_right_orders_do_not_warn(framework: Framework, options: dict[str, Any]) -> None:
    framework.hooks.integrated_gradients(framework.model(), framework.lay(X), n_steps=3, **options)


def test_correcting_twice_changes_nothing_and_is_silent(framework: Framework) -> None:
    got = framework.hooks.saliency(projected(framework), framework.lay(X), outputs=("corrected", "grad_times_input"))
    close(framework.read(got.corrected), centred(gradient(0)))
    close(framework.read(framework.hooks.saliency(projected(framework), framework.lay(X))), centred(gradient(0)))


@pytest.mark.parametrize(("method", "batch_size"), [("saliency", 3), ("smoothgrad", "auto")])
def test_angles_behind_a_projection_warn_that_they_say_nothing(
    framework: Framework, method: str, batch_size: Any
) -> None:
    x = np.concatenate([framework.lay(X)] * 2)  # fewer than 50 positions are not judged
    options = {"outputs": ("angle",), "batch_size": batch_size}
    with pytest.warns(UserWarning, match="comes out of the model centred already, .* angles are 0") as caught:
        maps = getattr(framework.hooks, method)(projected(framework), x, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.abs(np.asarray(maps.angle)).max() < 0.01


@pytest.mark.parametrize("size", [1e-3, 1e-2, 1.0])
def test_small_angles_are_no_projection(size: float) -> None:
    """A model trained with the angle penalty has angles of a tenth of a degree, and they are its own."""
    torch = pytest.importorskip("torch")
    w = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    w = w - w.mean(0) + size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = torch.eye(4)[:, :, None].expand(4, 4, 100).clone()
        maps = gf.hooks.torch.saliency(lambda x: (x * w).sum((1, 2)), x, outputs=("angle",))
    np.testing.assert_array_less(np.median(maps.angle.abs()), 100 * size)
    assert maps.angle.abs().median() > 0


ORDERS = {
    "plain": ({"corrected": False}, False, None),
    "corrected": ({}, False, "is centred already"),
    "behind a projection": ({"corrected": False}, True, "is centred already"),
    "multiplied": ({"corrected": False, "multiply_by_inputs": True}, False, "multiplied by its input already"),
    "multiplied, then corrected": ({"multiply_by_inputs": True}, False, "by its input before it was centred"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS[:1], ids=repr)
@pytest.mark.parametrize(("options", "is_projected", "message"), ORDERS.values(), ids=ORDERS)
@pytest.mark.filterwarnings("ignore:.*correct first and multiply afterwards")
def test_what_a_hook_returns_is_recognised_by_its_numbers(
    framework: Framework, options: dict[str, Any], is_projected: bool, message: str | None
) -> None:
    model = projected(framework) if is_projected else framework.model()
    x = framework.lay(np.concatenate([X, X[:, ::-1]]))
    grad = framework.hooks.integrated_gradients(model, x, n_steps=3, **options)
    found = gf.io.find_misuse(grad, axis=framework.axis)
    assert len(found) == (message is not None)
    assert all(message in sentence for sentence in found)


def test_hypothetical_scores_are_recognised_by_their_name_alone() -> None:
    """Against references other than dinucleotide shuffles nothing in the numbers tells them from a gradient."""
    grad = gradient(0)
    scores = np.concatenate([grad, grad]) - 0.1
    assert gf.io.find_misuse(scores) == []
    (sentence,) = gf.io.find_misuse(scores, name="hypothetical_contributions")
    assert "leave them as they are" in sentence

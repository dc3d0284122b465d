"""Real attribution files: what the README says of them, and agreement with the oracle on numbers nobody made up."""

from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.criterion import assert_meets_criterion


@pytest.fixture(name="tal1")
def _tal1(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and gradients of a small convolution + max-pool model of TAL1, (20, 500, 4)."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared_data / "real/reference/kipoi_tal1_grads.hdf5") as file:
        return file["inputs"][:], file["grads"][:]


@pytest.fixture(name="gata")
def _gata(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and hypothetical DeepSHAP attributions of a GATA model, (6, 4, 2114)."""
    torch = pytest.importorskip("torch")
    names = ("tangermeme_X_gata.torch", "tangermeme_X_gata_attr.torch")
    x, attributions = (torch.load(shared_data / "real/reference" / name, weights_only=True) for name in names)
    return x.numpy(), attributions.numpy()


@pytest.mark.parametrize("name", ["tal1", "gata"])
def test_real_maps_meet_the_criterion(name: str, request: pytest.FixtureRequest) -> None:
    x, grad = request.getfixturevalue(name)
    axis = -1 if name == "tal1" else 1
    maps = gf.analyze(grad, x, axis=axis)
    np.testing.assert_array_equal(maps.corrected, grad - grad.mean(axis, keepdims=True))
    assert_meets_criterion(maps.angle, "angle", grad, axis=axis)
    assert_meets_criterion(maps.grad_times_input, "grad_times_input", grad, x, axis=axis)
    codes = np.argmax(x, axis=axis).astype(np.uint8)
    np.testing.assert_array_equal(gf.grad_times_input(grad, codes, axis=axis), maps.grad_times_input)


def test_three_quarters_of_the_tal1_gradient_are_zero_and_the_rest_points_one_way(tal1: tuple) -> None:
    x, grad = tal1
    everywhere, where_defined = gf.angle_summary(grad), gf.angle_summary(grad, mask=np.any(grad != 0, axis=-1))
    assert everywhere.n_undefined.sum() == 7600
    np.testing.assert_allclose(everywhere.fractions.mean(0), [0.151, 0.074, 0.043], atol=5e-4)
    np.testing.assert_allclose(where_defined.fractions.mean(0), [0.630, 0.311, 0.180], atol=5e-4)
    assert everywhere.mean == pytest.approx(-37.14, abs=0.005)
    raw, corrected = gf.grad_times_input(grad, x, corrected=False), gf.grad_times_input(grad, x)
    defined = np.any(grad != 0, axis=-1)
    assert np.mean(np.sign(raw) != np.sign(corrected), where=defined) == pytest.approx(0.177, abs=5e-4)


def test_correcting_hypothetical_deepshap_breaks_completeness(gata: tuple) -> None:
    """Their sum over a sequence is f(x) - f(reference); afterwards it is not."""
    x, attributions = gata
    before = gf.grad_times_input(attributions, x, axis=1, corrected=False).sum(1)
    after = gf.grad_times_input(attributions, x, axis=1).sum(1)
    np.testing.assert_allclose(before, [0.2677, 0.2657, 0.2663, -0.0981, 0.4121, 0.0920], atol=1e-4)
    np.testing.assert_allclose(after, [1.0529, 0.9244, 0.9287, 0.6932, 1.0133, 0.7862], atol=1e-4)

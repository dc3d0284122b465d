"""Other people's formulas: where they agree with ours, and by how much where they knowingly do not."""

import numpy as np
import pytest

import gradcorr_fast as gf
from tests import peers

RNG = np.random.default_rng(0)
GRAD = RNG.standard_normal((5, 200, 4)).astype(np.float32)
ONEHOT = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (5, 200))]


def test_the_papers_lines_give_our_correction_and_product() -> None:
    np.testing.assert_array_equal(peers.geomath_attribution_correction(GRAD), gf.correct(GRAD))
    expected = peers.geomath_grad_times_input(gf.correct(GRAD), ONEHOT)
    np.testing.assert_array_equal(gf.grad_times_input(GRAD, ONEHOT), expected)


def test_the_papers_angle_is_low_by_its_value_of_pi() -> None:
    """180 / 3.1416 is 2.3e-6 less than 180 / pi; the rest is float32 and an arcsine."""
    wide = GRAD.astype(np.float64)
    np.testing.assert_allclose(
        peers.geomath_calculate_angles(wide) * 3.1416 / np.pi, gf.simplex_angle(wide), rtol=1e-12
    )
    np.testing.assert_allclose(peers.geomath_calculate_angles(GRAD), gf.simplex_angle(GRAD), rtol=3e-6, atol=4e-4)


def test_the_papers_angle_is_undefined_at_a_zero_gradient() -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(peers.geomath_calculate_angles(np.zeros((1, 1, 4)))).all()
    assert gf.simplex_angle(np.zeros((1, 1, 4))) == 0


def test_the_papers_counts_are_ours_away_from_the_edges() -> None:
    counts = peers.geomath_count_large_angles(GRAD.astype(np.float64))
    np.testing.assert_array_equal(counts, gf.angle_summary(GRAD).counts)


def test_grelu_and_crested_subtract_the_same_mean() -> None:
    channels_first = np.ascontiguousarray(GRAD.transpose(0, 2, 1))
    expected = gf.correct(channels_first, axis=1)
    np.testing.assert_array_equal(peers.grelu_correct_grad(channels_first.copy()), expected)
    np.testing.assert_array_equal(peers.crested_simplex_correction(GRAD.copy()), gf.correct(GRAD))


def test_plain_torch_agrees_to_rounding() -> None:
    torch = pytest.importorskip("torch")
    corrected, angle, product = peers.torch_standard_work(torch.from_numpy(GRAD), torch.from_numpy(ONEHOT))
    maps = gf.analyze(GRAD, ONEHOT)
    np.testing.assert_allclose(corrected, maps.corrected, atol=1e-6)
    np.testing.assert_allclose(angle, maps.angle, atol=1e-4)
    np.testing.assert_allclose(product, maps.grad_times_input, atol=1e-6)

"""The definitions against numbers worked by hand; these guard the oracle."""

import math

import numpy as np
import pytest

from gradcorr_fast.kernels import reference

GRAD = np.array([1.0, 2.0, 3.0, 6.0])


def test_correct_subtracts_the_mean() -> None:
    np.testing.assert_array_equal(reference.correct(GRAD), [-2, -1, 0, 3])


def test_correct_subtracts_the_weighted_mean() -> None:
    # 0.5 * 1 + 0.5 * 6 = 3.5
    np.testing.assert_array_equal(reference.correct(GRAD, background=(0.5, 0, 0, 0.5)), [-2.5, -1.5, -0.5, 2.5])


@pytest.mark.parametrize(
    ("grad", "degrees"),
    [
        ([1, 0, 0, 0], 30),  # asin(1 / 2)
        ([1, 1, 0, 0], 45),  # asin(2 / (2 sqrt 2))
        ([1, 1, 1, 0], 60),  # asin(3 / (2 sqrt 3))
        ([7, 7, 7, 7], 90),
        ([-7, -7, -7, -7], -90),
        ([1, -1, 1, -1], 0),
        ([0, 0, 0, 0], 0),
        ([1, 2, 3, 6], math.degrees(math.asin(12 / (2 * math.sqrt(50))))),
    ],
)
def test_angle_is_that_of_the_paper(grad: list[float], degrees: float) -> None:
    assert reference.simplex_angle(np.array(grad, float)) == pytest.approx(degrees, abs=1e-13)


def test_angle_for_twenty_letters_uses_the_root_of_twenty() -> None:
    grad = np.eye(20)[0]
    assert reference.simplex_angle(grad) == pytest.approx(math.degrees(math.asin(1 / math.sqrt(20))))


def test_grad_times_input_picks_the_observed_letter() -> None:
    assert reference.grad_times_input(GRAD, np.array([0.0, 0, 0, 1])) == 3
    assert reference.grad_times_input(GRAD, np.array(3)) == 3
    assert reference.grad_times_input(GRAD, np.array(3), corrected=False) == 6


def test_an_unknown_letter_contributes_nothing() -> None:
    assert reference.grad_times_input(GRAD, np.array(4)) == 0
    assert reference.grad_times_input(GRAD, np.array(-1)) == 0
    np.testing.assert_array_equal(reference.substitution_effects(GRAD, np.array(255)), GRAD)


def test_substitution_effects_are_differences_to_the_observed_letter() -> None:
    np.testing.assert_array_equal(reference.substitution_effects(GRAD, np.array(1)), [-1, 0, 1, 4])


def test_summary_of_four_positions() -> None:
    grad = np.array([[[1, 0, 0, 0], [1.0, 1, 1, 1], [0, 0, 0, 0], [-1, 0, 0, 0]]])
    counts, n_positions, n_undefined, sums, squares, histogram = reference.angle_summary(
        grad, thresholds=(29, 30), bins=6
    )
    np.testing.assert_array_equal(counts, [[3, 1]])  # 30 degrees is not above 30
    assert (n_positions, n_undefined) == (4, 1)
    assert sums == pytest.approx(90)
    assert squares == pytest.approx(90**2 + 2 * 30**2)
    np.testing.assert_array_equal(histogram, [0, 0, 1, 1, 0, 1])  # on the edges at -30 and 30: the bin nearer zero

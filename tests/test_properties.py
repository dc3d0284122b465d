"""What holds for every gradient, whatever the numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gradcorr_fast as gf

N_LETTERS = st.sampled_from([2, 4, 5, 20])
MODERATE = st.floats(-1e6, 1e6, allow_subnormal=False)


def gradients(elements: st.SearchStrategy[float] = MODERATE) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 3), st.integers(5, 20), N_LETTERS)
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=elements))


def close(a: np.ndarray, b: np.ndarray, grad: np.ndarray, ulp: int = 16) -> None:
    scale = np.abs(grad).max(initial=0) + np.finfo(np.float64).tiny
    np.testing.assert_allclose(a, b, rtol=0, atol=ulp * np.finfo(np.float64).eps * scale)


@given(gradients())
def test_centred_gradient_sums_to_zero(grad: np.ndarray) -> None:
    close(gf.correct(grad).sum(-1), 0, grad, ulp=16 * grad.shape[-1])


@given(gradients())
def test_correcting_twice_is_correcting_once(grad: np.ndarray) -> None:
    close(gf.correct(gf.correct(grad)), gf.correct(grad), grad)


@given(gradients(), MODERATE)
def test_correction_is_linear(grad: np.ndarray, factor: float) -> None:
    other = np.roll(grad, 1, axis=1)
    expected = gf.correct(grad) + factor * gf.correct(other)
    close(gf.correct(grad + factor * other), expected, np.abs(grad).max() * (1 + abs(factor)))


@given(gradients())
def test_correction_is_self_adjoint(grad: np.ndarray) -> None:
    other = np.cos(np.arange(grad.size, dtype=float)).reshape(grad.shape)
    close((gf.correct(grad) * other).sum(), (grad * gf.correct(other)).sum(), grad, ulp=16 * grad.size)


@given(gradients(), MODERATE)
def test_a_constant_on_a_position_changes_nothing(grad: np.ndarray, constant: float) -> None:
    close(gf.correct(grad + constant), gf.correct(grad), np.abs(grad).max() + abs(constant))


@given(gradients())
def test_correction_commutes_with_the_reverse_complement(grad: np.ndarray) -> None:
    close(gf.correct(grad[:, ::-1, ::-1]), gf.correct(grad)[:, ::-1, ::-1], grad)


@given(gradients(), st.randoms(use_true_random=False))
def test_correction_commutes_with_a_permutation_of_letters(grad: np.ndarray, random: object) -> None:
    order = random.sample(range(grad.shape[-1]), grad.shape[-1])
    close(gf.correct(grad[..., order]), gf.correct(grad)[..., order], grad)


@given(gradients())
def test_angle_lies_within_a_right_angle_and_is_odd(grad: np.ndarray) -> None:
    angle = gf.simplex_angle(grad)
    assert np.all(np.abs(angle) <= 90)
    np.testing.assert_array_equal(gf.simplex_angle(-grad), -angle)


@given(gradients(), st.integers(-200, 200))
def test_angle_does_not_depend_on_a_power_of_two(grad: np.ndarray, power: int) -> None:
    np.testing.assert_array_equal(gf.simplex_angle(np.ldexp(grad, power)), gf.simplex_angle(grad))


@given(gradients())
def test_corrected_length_is_length_times_cosine_of_the_angle(grad: np.ndarray) -> None:
    expected = np.linalg.norm(grad, axis=-1) * np.abs(np.cos(gf.simplex_angle(grad, degrees=False)))
    close(np.linalg.norm(gf.correct(grad), axis=-1), expected, grad, ulp=64)


@given(gradients())
def test_corrected_gradient_has_no_angle_beyond_rounding(grad: np.ndarray) -> None:
    corrected = gf.correct(grad)
    clear = np.abs(corrected).max(-1) > 1e-6 * np.abs(grad).max(-1)
    assert np.all(np.abs(gf.simplex_angle(corrected)[clear]) < 1e-6)


@given(gradients())
def test_substitution_effects_do_not_change_under_correction(grad: np.ndarray) -> None:
    codes = np.arange(grad.shape[0] * grad.shape[1]).reshape(grad.shape[:2]) % grad.shape[-1]
    close(gf.substitution_effects(gf.correct(grad), codes), gf.substitution_effects(grad, codes), grad)


@given(gradients())
def test_cosine_with_a_centred_truth_grows_by_the_ratio_of_lengths(grad: np.ndarray) -> None:
    """cos_after = cos_before |G| / |Gc|: why the gain in cosine similarity is an identity and not evidence."""
    truth = gf.correct(np.cos(np.arange(grad.size, dtype=float)).reshape(grad.shape))
    corrected = gf.correct(grad)
    close((grad * truth).sum(), (corrected * truth).sum(), grad, ulp=16 * grad.size)


@given(gradients(st.floats(width=64)))
def test_whatever_the_numbers_chunks_give_what_the_whole_gives(grad: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        whole = gf.analyze(grad)
        parts = [gf.analyze(grad[n : n + 1]) for n in range(len(grad))]
    np.testing.assert_array_equal(np.concatenate([part.corrected for part in parts]), whole.corrected)
    np.testing.assert_array_equal(np.concatenate([part.angle for part in parts]), whole.angle)


@given(gradients(st.floats(width=32)), st.integers(0, 19))
def test_nan_and_infinity_stay_at_their_position(grad: np.ndarray, position: int) -> None:
    grad = grad.astype(np.float32)
    grad[0, position % grad.shape[1], 0] = np.nan
    bad = ~np.isfinite(grad).all(-1)
    angle, corrected = gf.simplex_angle(grad), gf.correct(grad)
    assert np.isnan(angle[bad]).all()
    assert np.isfinite(angle[~bad]).all()
    with np.errstate(all="ignore"):
        alone = gf.correct(np.where(bad[..., None], np.float32(0), grad))
    np.testing.assert_array_equal(corrected[~bad], alone[~bad])


def test_layouts_agree_bit_for_bit() -> None:
    grad = np.random.default_rng(0).standard_normal((3, 101, 4)).astype(np.float32)
    other = np.ascontiguousarray(grad.transpose(0, 2, 1))
    a, b = gf.analyze(grad), gf.analyze(other, axis=1)
    np.testing.assert_array_equal(a.corrected, b.corrected.transpose(0, 2, 1))
    np.testing.assert_array_equal(a.angle, b.angle)

"""Angle summaries against the oracle, and their arithmetic."""

import itertools
import math

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.kernels import reference, threads
from tests.criterion import DTYPES, MAGNITUDES, make_grad
from tests.libraries import Library

SHAPES = {"NLA": ((5, 1100, 4), -1), "NAL": ((5, 4, 1100), 1), "NLA20": ((5, 110, 20), -1), "N5L": ((5, 5, 110), 1)}


def expect(grad: np.ndarray, axis: int, mask: np.ndarray | None = None, **options: object) -> tuple[np.ndarray, ...]:
    with np.errstate(all="ignore"):
        return reference.angle_summary(np.moveaxis(grad, axis, -1).astype(np.float64), mask=mask, **options)


def agrees(summary: gf.AngleSummary, expected: tuple[np.ndarray, ...], *, slack: int = 0) -> None:
    """Equal to the oracle; `slack` positions may lie within rounding of an edge."""
    counts, n_positions, n_undefined, sums, squares, histogram = expected
    assert np.abs(summary.counts - counts).sum() <= slack
    np.testing.assert_array_equal(summary.n_positions, n_positions)
    np.testing.assert_array_equal(summary.n_undefined, n_undefined)
    rounding = 1e-5 if slack else 1e-12
    np.testing.assert_allclose(summary.sums, sums, atol=rounding * max(1, n_positions.max()))
    np.testing.assert_allclose(summary.sums_of_squares, squares, rtol=rounding)
    assert np.abs(summary.histogram - histogram).sum() <= 2 * slack
    assert summary.histogram.sum() == histogram.sum()


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_summary_agrees_with_the_oracle(layout: str, magnitude: str, dtype: str) -> None:
    shape, axis = SHAPES[layout]
    grad = make_grad(magnitude, shape, DTYPES[dtype], axis)
    slack = 60 if magnitude == "nearly_constant" else 2  # in single precision, those near an edge may move
    agrees(gf.angle_summary(grad, axis=axis), expect(grad, axis), slack=0 if dtype == "float64" else slack)


@pytest.mark.parametrize("layout", SHAPES)
def test_summary_works_in_every_library(library: Library, layout: str) -> None:
    if library.traced:
        pytest.skip("returns NumPy arrays, which cannot be traced")
    shape, axis = SHAPES[layout]
    grad = make_grad("special", shape, DTYPES["float64"], axis)
    mask = np.random.default_rng(0).random(np.delete(shape, axis)) < 0.7
    options = {"bins": 37, "thresholds": (10, 30, 35, 40, 45, 60)}
    summary = library.call(
        lambda g, m: gf.angle_summary(g, axis=axis, mask=m, **options), library.make(grad), library.make(mask)
    )
    agrees(summary, expect(grad, axis, mask, **options))


@pytest.mark.parametrize("shape", [(0, 9, 4), (3, 0, 4), (0, 0, 4)])
def test_empty_batches_are_summarised_in_every_library(library: Library, shape: tuple[int, ...]) -> None:
    """Those on a GPU once could not be given a shape."""
    if library.traced:
        pytest.skip("returns NumPy arrays, which cannot be traced")
    summary = library.call(gf.angle_summary, library.make(np.zeros(shape, np.float32)))
    assert summary.counts.shape == (shape[0], 3)
    assert summary.histogram.sum() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_equal", [1, 2, 3])
def test_equal_letters_lie_exactly_at_a_threshold_and_are_not_above(n_equal: int, dtype: str) -> None:
    """One, two or three equal letters give 30, 45 and 60 degrees; rounding must not decide."""
    grad = np.zeros((2, 600, 4))
    grad[..., :n_equal] = np.exp(np.linspace(-4, 4, 600))[:, None] * np.array([1, -1])[:, None, None]
    grad = grad.astype(DTYPES[dtype])
    edge = {1: 30, 2: 45, 3: 60}[n_equal]
    summary = gf.angle_summary(grad, thresholds=(edge - 1, edge))
    np.testing.assert_array_equal(summary.counts, [[600, 0], [600, 0]])
    assert summary.histogram[90 + edge - 1] == 600  # the bin nearer zero
    assert summary.histogram[90 - edge] == 600


def test_threads_chunks_and_order_do_not_matter() -> None:
    grad = make_grad("special", (300, 700, 4), DTYPES["float32"])
    before = threads.get_num_threads()
    whole = gf.angle_summary(grad)
    gf.set_num_threads(1)
    try:
        alone = gf.angle_summary(grad)
    finally:
        gf.set_num_threads(before)
    parts = [gf.angle_summary(grad[n : n + 100]) for n in (0, 100, 200)]
    for other in (alone, *(gf.merge(order) for order in itertools.permutations(parts))):
        assert (other.mean, other.std) == (whole.mean, whole.std)
        np.testing.assert_array_equal(other.histogram, whole.histogram)
    np.testing.assert_array_equal(gf.merge(parts).sums, whole.sums)
    np.testing.assert_array_equal(gf.merge(parts).counts, whole.counts)


def test_mean_std_and_fractions_are_those_of_the_angles() -> None:
    grad = make_grad("normal", (4, 50, 4), DTYPES["float64"])
    summary, angle = gf.angle_summary(grad), gf.simplex_angle(grad)
    defined = np.abs(grad).max(-1) > 0
    assert summary.mean == pytest.approx(angle[defined].mean())
    assert summary.std == pytest.approx(angle[defined].std())
    expected = np.stack([(np.abs(angle) > t).mean(-1) for t in (30, 45, 60)], axis=-1)
    np.testing.assert_array_equal(summary.fractions, expected)
    np.testing.assert_array_equal(summary.edges, np.arange(-90, 91))


def test_without_a_defined_position_mean_is_nan_and_nothing_warns() -> None:
    summary = gf.angle_summary(np.zeros((2, 3, 4)), mask=np.array([[True] * 3, [False] * 3]))
    assert math.isnan(summary.mean)
    assert math.isnan(summary.std)
    np.testing.assert_array_equal(summary.fractions, [[0] * 3, [math.nan] * 3])
    assert "3 undefined" in str(summary)


@pytest.mark.parametrize(
    ("shape", "sequences"), [((4,), ()), ((7, 4), ()), ((0, 7, 4), (0,)), ((3, 0, 4), (3,)), ((2, 3, 7, 4), (2, 3))]
)
def test_axes_before_the_positions_are_sequences(shape: tuple[int, ...], sequences: tuple[int, ...]) -> None:
    summary = gf.angle_summary(np.ones(shape))
    assert summary.counts.shape == (*sequences, 3)
    assert summary.sums.shape == sequences
    assert summary.histogram.sum() == np.prod(shape[:-1])


@pytest.mark.parametrize("axis", [-1, 1])
def test_one_very_long_sequence_is_summarised(axis: int) -> None:
    grad = make_grad("normal", (1, 4, 1_200_003) if axis == 1 else (1, 1_200_003, 4), DTYPES["float64"], axis)
    mask = np.random.default_rng(0).random((1, 1_200_003)) < 0.5
    agrees(gf.angle_summary(grad, axis=axis), expect(grad, axis))
    agrees(gf.angle_summary(grad, axis=axis, mask=mask), expect(grad, axis, mask))


def test_a_single_sequence_can_be_masked() -> None:
    grad, mask = make_grad("normal", (50, 4), DTYPES["float64"]), np.arange(50) % 3 == 0
    agrees(gf.angle_summary(grad, mask=mask), expect(grad, -1, mask))


def test_summaries_can_be_compared_and_kept_in_sets() -> None:
    summary = gf.angle_summary(np.ones((2, 3, 4)))
    assert summary == summary
    assert len({summary, summary}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": (100,)}, "between 0 and 90"),
        ({"thresholds": 30}, "must be numbers"),
        ({"bins": 0}, "bins must be"),
        ({"mask": np.ones((2, 4), bool)}, "mask has shape"),
        ({"mask": np.ones((2, 3))}, "mask must be boolean"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        gf.angle_summary(np.ones((2, 3, 4)), **options)


def test_merging_different_thresholds_or_nothing_is_refused() -> None:
    one, other = (gf.angle_summary(np.ones((2, 3, 4)), thresholds=(t,)) for t in (30, 45))
    with pytest.raises(ValueError, match="cannot be merged"):
        gf.merge([one, other])
    with pytest.raises(ValueError, match="no summary"):
        gf.merge([])

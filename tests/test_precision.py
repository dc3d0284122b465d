"""Stated bounds of rounding: the arctangent's polynomial, and conversions of half precision."""

import ml_dtypes
import numpy as np
import pytest
from numba import njit

import gradcorr_fast as gf
from gradcorr_fast.kernels import cpu


@njit
def _arctangents(values: np.ndarray, results: np.ndarray) -> None:
    for i in range(values.size):
        results[i] = cpu._arctangent(values[i])


@pytest.mark.parametrize(("dtype", "exact"), [(np.float32, np.float64), (np.float64, np.longdouble)])
def test_arctangent_is_within_two_ulp(dtype: type, exact: type) -> None:
    if np.finfo(exact).eps >= np.finfo(dtype).eps:
        pytest.skip("no wider type to compare with")
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random(200_000), 2.0 ** rng.uniform(-60, 0, 200_000), [0, 1]]).astype(dtype)
    results = np.empty_like(values)
    _arctangents(values, results)
    truth = np.arctan(values.astype(exact))
    assert np.max(np.abs(results - truth) / np.spacing(truth.astype(dtype))) <= 2


@pytest.mark.parametrize("layout", [(1 << 16, 1, 4), (1, 4, 1 << 16), (1, 5, 1 << 16)])
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_half_precision_number_is_read_and_rounded_right(dtype: np.dtype, layout: tuple[int, int, int]) -> None:
    """All 65,536 bit patterns, in pairs whose differences also need every kind of rounding."""
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    axis = 2 if layout[2] == 4 else 1
    grad = np.zeros(layout, dtype)
    letters = np.moveaxis(grad, axis, -1).reshape(-1, layout[axis]) if axis == 2 else grad[0].T
    letters[:, 0] = every
    letters[:, 1] = np.random.default_rng(0).permutation(every)
    wide = grad.astype(np.float32)
    expected = (wide - wide.sum(axis, keepdims=True) / np.float32(layout[axis])).astype(dtype)
    np.testing.assert_array_equal(gf.correct(grad, axis=axis).astype(np.float32), expected.astype(np.float32))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_nan_of_any_payload_stays_a_nan_in_half_precision() -> None:
    """Rounding a bfloat16 NaN by adding to its bits would carry into the sign."""
    grad = np.full((1, 4), np.nan, np.float32)
    grad.view(np.uint32)[:] = [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFFC00000]
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert np.isnan(gf.correct(grad.astype(dtype)).astype(np.float32)).all()

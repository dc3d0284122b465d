"""The one criterion for numbers: how far a result may be from the oracle, and gradients of every magnitude."""

from typing import Any

import ml_dtypes
import numpy as np

from gradcorr_fast.kernels import reference

DTYPES = {name: np.dtype(name) for name in ("float64", "float32", "float16")} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}
MAGNITUDES = ("normal", "tiny", "huge", "nearly_constant", "special")


def make_grad(magnitude: str, shape: tuple[int, ...], dtype: np.dtype, axis: int = -1, seed: int = 0) -> np.ndarray:
    """Gradients of one class of magnitude, some positions zero; `special` has NaN, infinity and equal letters."""
    grad = np.random.default_rng(seed).standard_normal(shape)
    half = dtype == np.float16
    if magnitude == "tiny":
        grad *= 1e-6 if half else 1e-30
    if magnitude == "huge":
        grad *= 1e3 if half else 1e30
    if magnitude == "nearly_constant":
        grad = 1 + grad * 4 * float(ml_dtypes.finfo(dtype).eps)
    positions = np.moveaxis(grad, axis, -1)
    positions[..., ::7, :] = 0
    if magnitude == "special":
        positions[..., 1::7, :] = 0.5
        positions[..., 1::7, 1:] = 0
        positions[..., 2::7, 0] = np.nan
        positions[..., 3::7, -1] = np.inf
        positions[..., 4::7, 0] = -np.inf
        positions[..., 5::7, :] = -2
    with np.errstate(over="ignore"):
        return grad.astype(dtype)


def assert_meets_criterion(
    result: np.ndarray, field: str, grad: np.ndarray, x: Any = None, *, axis: int = -1, **options: Any
) -> None:
    """Check a map against the oracle: error <= 2 x that of the plain formula in its dtype + 4 ulp of the scale."""
    compute = np.dtype(np.float64 if grad.dtype == np.float64 else np.float32)
    has_letters = field in ("corrected", "substitution_effects")
    dtype = grad.dtype if field == "corrected" else compute
    assert result.dtype == dtype
    arguments = {"axis": axis, "fields": (field,), **options}
    with np.errstate(all="ignore"):
        (oracle,) = reference.analyze(grad.astype(np.float64), x, **arguments)
        (plain,) = reference.analyze(grad.astype(compute), x, **arguments)
        oracle, plain = np.asarray(oracle, np.float64), np.asarray(plain, np.float64)
        assert result.shape == oracle.shape
        if field == "angle":
            scale = np.float64(90 if options.get("degrees", True) else np.pi / 2)
        else:
            scale = np.abs(grad.astype(np.float64)).max(axis=axis, keepdims=has_letters)
        error = np.abs(plain - oracle)
        allowed = 2 * np.max(error, initial=0, where=np.isfinite(error))
        least = float(ml_dtypes.finfo(dtype).smallest_normal)
        _, exponent = np.frexp(np.where(np.isfinite(scale), np.maximum(scale, least), least))
        spacing = np.ldexp(float(ml_dtypes.finfo(dtype).eps), exponent - 1)  # an ulp of the scale
        wide = result.astype(np.float64)
        np.testing.assert_array_equal(np.isnan(wide), np.isnan(oracle))
        finite = np.isfinite(oracle) & (np.abs(oracle) < float(ml_dtypes.finfo(dtype).max))
        np.testing.assert_array_equal(wide[~finite], oracle.astype(dtype).astype(np.float64)[~finite])
        difference = np.where(finite, np.abs(wide - np.where(finite, oracle, 0)), 0)
    excess = difference - (allowed + 4 * np.broadcast_to(spacing, difference.shape))
    assert not np.any(excess > 0), f"off by {difference.flat[np.nanargmax(excess)]} at {np.nanargmax(excess)}"

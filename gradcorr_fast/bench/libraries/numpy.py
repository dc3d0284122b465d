"""NumPy: the authors' formulas, from github.com/p-koo/GradientCorrection, gradient_correction/geomath.py."""

from typing import Any

import numpy as np

from ..._types import AnyArray, Array
from .._cases import Case
from .._host import host_copy
from .._timing import Call, Clock
from . import Formula

DTYPES = ("float32", "float64", "float16")
HAS_OUT = True
ERRORS: tuple[type[Exception], ...] = ()


def geomath_attribution_correction(scores: Any) -> Any:
    """Centre (N, L, 4) over axis 2: `attribution_correction`.

    The same definition as ours; NumPy's mean adds the letters in an order of its own.
    """
    return scores - np.mean(scores, axis=2, keepdims=True)


def geomath_calculate_angles(scores: Any) -> Any:
    """Signed angle in degrees of (N, L, 4): `calculate_angles`.

    Differs from ours: pi is 3.1416, so angles are 2.3e-6 (relative) low; NaN at zero gradients; arcsin loses half the
    digits near 90 degrees and gives NaN where rounding takes the sine above 1; the squares over- and underflow.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        norm = np.sqrt(np.sum(np.square(scores), axis=-1))
        sine = 0.5 * np.sum(scores, axis=-1) / norm
        return np.arcsin(sine) * (180 / 3.1416)


def geomath_grad_times_input(corrected: Any, one_hot: Any) -> Any:
    """Corrected gradient (N, L, 4) at the observed letter, as the analysis scripts of the same repository take it."""
    return np.sum(corrected * one_hot, axis=-1)


def geomath_standard_work(scores: Any, one_hot: Any) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input of (N, L, 4): the three formulas above."""
    corrected = geomath_attribution_correction(scores)
    return corrected, geomath_calculate_angles(scores), geomath_grad_times_input(corrected, one_hot)


def geomath_count_large_angles(scores: Any, thresholds: Any = (30, 45, 60)) -> Any:
    """Positions of (N, L, 4) above each threshold, shape (N, T): `count_large_angles`.

    The original counts in three nested Python loops and gives percentages; here the counting is vectorised. Differs
    from ours: no tolerance at the thresholds, see `geomath_calculate_angles` for the angles.
    """
    size = np.abs(geomath_calculate_angles(scores))
    return np.stack([np.sum(size > threshold, axis=-1) for threshold in thresholds], axis=-1)


BY_OPERATION = {
    "correct": lambda grad, one_hot: geomath_attribution_correction(grad),
    "simplex_angle": lambda grad, one_hot: geomath_calculate_angles(grad),
    "grad_times_input": lambda grad, one_hot: geomath_grad_times_input(geomath_attribution_correction(grad), one_hot),
    "angle_summary": lambda grad, one_hot: geomath_count_large_angles(grad),
    "standard work": geomath_standard_work,
}


def _paper(case: Case, grad: AnyArray, one_hot: AnyArray) -> Call:
    formula = BY_OPERATION[case.names["operation"]]
    return lambda: formula(grad, one_hot)


FORMULAS = (Formula("paper, NumPy", _paper, tuple(BY_OPERATION), layouts=("(N, L, 4)",)),)


def devices() -> list[str]:
    """NumPy has one."""
    return ["cpu"]


def clock(device: str) -> Clock:
    """Results are there when a call returns."""
    return Clock()


def array(array: Array, dtype: str | None, device: str) -> Array:
    """Return the array itself, or one of another dtype."""
    return array if dtype is None else array.astype(dtype, copy=False)


def empty(shape: tuple[int, ...], dtype: str, device: str) -> Array:
    """Memory whose pages are there."""
    return np.ones(shape, dtype)


def copy(n_bytes: int, device: str) -> Call:
    """By all threads."""
    return host_copy(n_bytes)


def bus_id(device: str) -> None:
    """A CPU has none."""


def free_bytes(device: str) -> None:
    """See `_machine.available_bytes`."""


def tidy() -> None:
    """NumPy keeps none."""

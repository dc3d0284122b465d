"""Checks of what users pass, made once at the public boundary; each error names what came and the mend."""

import math
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, SupportsIndex

from ._installing import install_command
from ._wording import option

MAX_LETTERS = 32
FLOAT_NAMES = ("float16", "bfloat16", "float32", "float64")


class MissingBackendError(ImportError):
    """An array library or framework that was asked for is not installed; the message names the pip extra."""


def missing_backend(package: str, extra: str) -> MissingBackendError:
    """Return the error that names the extra with `package`."""
    return MissingBackendError(
        f"{package} is not installed; gradcorr-fast[{extra}] brings it: {install_command(extra)}"
    )


def optional(package: str, extra: str) -> Any:
    """Import a package that an extra of this one brings."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        root = package.partition(".")[0]
        if error.name != root:
            raise
        raise missing_backend(root, extra) from None


class Call(NamedTuple):
    """One checked call of per-position operations, as the backends receive it."""

    axis: int
    """Letter axis, counted from the front."""
    fields: tuple[str, ...]
    """Maps to produce, out of `kernels.reference.FIELDS`."""
    degrees: bool = True
    corrected: bool = True
    """Whether grad_times_input is of the corrected gradient."""
    background: tuple[float, ...] | None = None


def check_axis(shape: Sequence[int | None], axis: int, n_letters: int | None) -> int:
    """Return the letter axis counted from the front, or say which axis holds the letters.

    Lengths may be None where a traced array does not know them.
    """
    front = _front(shape, axis)
    length = shape[front]
    if n_letters is not None and length != 0:
        if length != n_letters:
            raise ValueError(
                f"axis {axis} has length {length}, not n_letters={n_letters}; pass the axis of the letters"
            )
        return front
    if length is None or length == 4:
        return front
    others = [k for k in range(1, len(shape)) if k != front and shape[k] == 4]
    if len(others) == 1 and length != 0:
        layout = "(N, 4, L) arrays " if (len(shape), others[0]) == (3, 1) else ""
        raise ValueError(
            f"axis {axis} has length {length}; for {layout or 'letters on the axis of length 4 '}pass "
            f"{option('axis', str(others[0]))} (n_letters={length} if axis {axis} does hold the letters)"
        )
    if length > MAX_LETTERS or length == 0:
        raise ValueError(
            f"axis {axis} has length {length}, and an alphabet has 1 to {MAX_LETTERS} letters; for (N, 4, L) arrays "
            f"pass {option('axis', '1')}"
        )
    return front


def _front(shape: Sequence[int | None], axis: SupportsIndex) -> int:
    """Return the axis counted from the front."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be an int, the position of the letter axis; got {axis!r}")
    position = int(axis)
    if not -len(shape) <= position < len(shape):
        raise ValueError(f"axis {axis} does not exist in shape {_show(shape)}; pass the axis of the letters")
    return position % len(shape)


def select_letters(
    shape: Sequence[int | None], axis: int, letters: slice, n_letters: int | None
) -> tuple[int, tuple[slice, ...]]:
    """Return the letter axis counted from the front and the index of its `letters` in the whole array."""
    if not isinstance(letters, slice):
        raise TypeError(f"letters must be a slice of the letter axis, such as slice(0, 4); got {letters!r}")
    front = _front(shape, axis)
    if letters.step is not None and letters.step < 1:
        raise ValueError(f"letters must step forward; got {letters!r}")
    length = shape[front]
    chosen = len(range(*letters.indices(MAX_LETTERS if length is None else length)))
    check_axis((*shape[:front], chosen, *shape[front + 1 :]), front, n_letters)
    return front, (slice(None),) * front + (letters,)


def rest_of(letters: slice, length: int) -> list[int]:
    """Return the channels that are none of the letters."""
    chosen = set(range(length)[letters])
    return [channel for channel in range(length) if channel not in chosen]


def check_float(dtype_name: str, argument: str = "grad") -> None:
    """Refuse gradients and scores that are not real floating point."""
    if dtype_name not in FLOAT_NAMES:
        raise TypeError(f"{argument} must be one of {', '.join(FLOAT_NAMES)}; got {dtype_name}, convert it first")


def check_background(background: Iterable[float] | None, n_letters: int) -> tuple[float, ...] | None:
    """Return the background as floats that sum to 1, or None for the uniform one."""
    if background is None:
        return None
    try:
        weights = tuple(float(weight) for weight in background)
    except (TypeError, ValueError):
        raise TypeError(f"background must be {n_letters} numbers, one for each letter; got {background!r}") from None
    if len(weights) != n_letters:
        raise ValueError(f"background has {len(weights)} numbers for {n_letters} letters; give one for each")
    total = math.fsum(weights)
    if not abs(total - 1) <= 1e-6:
        raise ValueError(f"background sums to {total:g}, not 1; divide it by its sum")
    return weights


def check_x(
    x_shape: Sequence[int | None], x_is_integer: bool, x_dtype: str, grad_shape: Sequence[int | None], axis: int
) -> bool:
    """Return whether `x` holds codes (True) or is one-hot (False)."""
    positions = (*grad_shape[:axis], *grad_shape[axis + 1 :])
    if len(x_shape) == len(grad_shape) and _agree(x_shape, grad_shape):
        return False
    if len(x_shape) == len(positions) and _agree(x_shape, positions):
        if not x_is_integer:
            raise TypeError(f"codes must be integers (A C G T = 0..3); got {x_dtype}, convert them with astype")
        return True
    raise ValueError(
        f"x has shape {_show(x_shape)}; for grad of shape {_show(grad_shape)} and letter axis {axis} pass one-hot of "
        f"shape {_show(grad_shape)} or codes of shape {_show(positions)}"
    )


def check_out(shape: Sequence[int], dtype: str, out_shape: Sequence[int], out_dtype: str, field: str) -> None:
    """Refuse an output of another shape or dtype than the result."""
    if tuple(out_shape) != tuple(shape) or out_dtype != dtype:
        raise ValueError(
            f"out for {field} has shape {_show(out_shape)} and dtype {out_dtype}; it must have shape {_show(shape)} "
            f"and dtype {dtype}"
        )


def check_mask(mask_shape: Sequence[int], mask_dtype: str, shape: Sequence[int]) -> None:
    """Refuse a mask that is not one truth value for each position."""
    if mask_dtype.removeprefix("torch.") != "bool":
        raise TypeError(f"mask must be boolean, True where a position counts; got {mask_dtype}, compare it first")
    if tuple(mask_shape) != tuple(shape):
        raise ValueError(f"mask has shape {_show(mask_shape)}; it must have shape {_show(shape)}, one entry a position")


def check_same_shape(name: str, given: Sequence[int | None], other: str, wanted: Sequence[int | None]) -> None:
    """Refuse an array that does not have the shape of another one."""
    if len(given) != len(wanted) or not _agree(given, wanted):
        raise ValueError(f"{name} has shape {_show(given)}; for {other} it must have shape {_show(wanted)}")


def refuse_nan(sequence: int) -> None:
    """Say that scores without a rank were found."""
    raise ValueError(
        f"scores of sequence {sequence} hold NaN, which has no rank; look for what made it, or leave such positions "
        f'out with nan_policy="omit"'
    )


def refuse_labels(label: object) -> None:
    """Say that labels are not those of two classes."""
    raise ValueError(f"labels must be boolean or 0 and 1; got {label}, compare them with the class to be found")


def check_thresholds(thresholds: Iterable[float], bins: int) -> tuple[float, ...]:
    """Return thresholds in degrees as floats in [0, 90]."""
    try:
        values = tuple(float(threshold) for threshold in thresholds)
    except TypeError:
        raise TypeError(f"thresholds must be numbers in degrees, such as (30, 45, 60); got {thresholds!r}") from None
    if not all(0 <= value <= 90 for value in values):
        raise ValueError(f"thresholds are degrees between 0 and 90; got {values}")
    if isinstance(bins, bool) or not hasattr(bins, "__index__") or not 1 <= bins <= 1_000_000:
        raise ValueError(f"bins must be an int from 1 to 1000000; got {bins!r}")
    return values


def _agree(given: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(given, wanted, strict=True))


def _show(shape: Sequence[int | None]) -> str:
    return str(tuple(shape))

"""Whether outputs lie on the memory of other arrays, or on their own twice.

Only addresses, shapes and strides are looked at, so the arrays may stand for memory that NumPy cannot read.
"""

import numpy as np

from .._types import Array


def check_overlap(operands: list[tuple[str, Array]], n_inputs: int) -> None:
    """Refuse outputs on the memory of others; `corrected` may be `grad`: a position is read before it is written.

    `operands` are the name and the memory of every array, the `n_inputs` first of them inputs.
    """
    for k, (name, output) in enumerate(operands[n_inputs:], n_inputs):
        for other_name, other in operands[:k]:
            if not np.may_share_memory(output, other):
                continue
            in_place = name == "corrected" and other_name == "grad" and _same(other, output)
            if not in_place and _overlap(output, other):
                raise ValueError(
                    f"out for {name} overlaps {other_name}; pass memory of its own (or grad itself to `correct`)"
                )


def overlaps_itself(array: Array) -> bool:
    """Whether elements may share memory: some stride is shorter than what the smaller ones span."""
    if array.size == 0:
        return False
    span = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < span:
            return True
        span += stride * (length - 1)
    return False


def _overlap(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # NumPy's stub knows two of all
    except np.exceptions.TooHardError:  # views so intertwined that telling takes too long
        return True


def _same(a: Array, b: Array) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype

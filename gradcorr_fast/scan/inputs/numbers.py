"""Whole numbers as files and tables hold them: plain digits, where Python's int() takes 1_000 and Arabic ones too."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

N_DIGITS = 18
"""Of the longest number, which leaves room to calculate in 64 bits."""
LARGEST = 10**N_DIGITS - 1
_WHOLE = re.compile(rf"-?[0-9]{{1,{N_DIGITS}}}")


def parse_whole(value: object) -> int | None:
    """Return a text, an integer or a float as a whole number; None if it is none of at most 18 digits.

    Examples
    --------
    >>> [parse_whole(value) for value in ("1000", "-1", 7.0, "1_000", "1e3", "", 7.5, None, 10**20)]
    [1000, -1, 7, None, None, None, None, None, None]
    """
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if is_integer or (isinstance(value, float | np.floating) and value.is_integer()):
        number = int(value)  # type: ignore[call-overload]  # one of the above
        return number if -LARGEST <= number <= LARGEST else None
    return None


def parse_column(column: pa.Array) -> pa.Array:
    """Return a column of texts or numbers as int64, null where `parse_whole` gives None.

    Raises
    ------
    TypeError
        If it holds other things than texts and numbers.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return parse_column(column.cast(kind.value_type))
    if pa.types.is_null(kind):
        return column.cast(pa.int64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
        is_whole = pc.match_substring_regex(column, f"^{_WHOLE.pattern}$")
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        is_whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), float(LARGEST)))
    elif pa.types.is_integer(kind):
        column = column.cast(pa.decimal128(20))  # which holds 64 bits without a sign too
        is_whole = pc.less_equal(pc.abs(column), pa.scalar(LARGEST, column.type))
    else:
        raise TypeError(f"whole numbers cannot be read from a column of {kind}; give integers")
    return pc.if_else(is_whole, column, pa.scalar(None, column.type)).cast(pa.int64())

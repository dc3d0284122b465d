"""The operations with Numba, for arrays in memory seen as (outer, letters, inner).

One loop reads a position's letters once and writes every output asked for: outputs, inputs and weights that are None
vanish when the kernel is compiled, so each combination is a loop of its own. With four letters the same loop body
serves both layouts, letters side by side (inner == 1) and in rows. `_general` takes any number of letters.

Half precision comes as integers that hold the bits, float16 as int16 and bfloat16 as uint16; it is computed in
float32. Helpers stand in this file, long as it gets, because Numba's cache on disk does not see other files.

The flag "contract" (fused multiply-add) is set in the angle alone and changes neither NaN nor signed zeros; everything
else is IEEE arithmetic as written.
"""

import math
from functools import cache

import numpy as np
from numba import njit, types
from numba.extending import overload

from . import threads
from .jit import cached

CHUNK = 1 << 16  # positions a thread takes at a time: 1 MiB of float32 gradients

IEEE = {"nogil": True, "error_model": "numpy"}  # here, since the cache on disk sees changes in this file only
_inline = njit(forceinline=True, **IEEE)
_contracted = njit(forceinline=True, fastmath={"contract"}, **IEEE)


# --- values: half precision to float32 and back, constants in the type of the computation ---


def _widen(value):
    """Value in the type of the computation."""


@overload(_widen)
def _(value):
    if value == types.uint16:  # bfloat16 is the upper half of a float32
        return lambda value: np.int32(np.int32(value) << np.int32(16)).view(np.float32)
    if value == types.int16:
        return _float16_to_float32
    return lambda value: value


def _float16_to_float32(value):
    bits = np.int32(value)
    magnitude = np.int32(np.int32(bits & np.int32(0x7FFF)) << np.int32(13))
    # Rebias the exponent by multiplying, which handles subnormals too; infinity and NaN need all exponent bits set.
    finite = np.float32(np.int32(magnitude).view(np.float32) * np.float32(2.0**112)).view(np.int32)
    special = np.int32(magnitude | np.int32(0x7F800000))
    result = special if magnitude >= np.int32(0x0F800000) else finite
    return np.int32(result | np.int32(np.int32(bits & np.int32(0x8000)) << np.int32(16))).view(np.float32)


def _narrow(value, array):
    """Value as the type that `array` stores."""


@overload(_narrow)
def _(value, array):
    if array.dtype == types.uint16:
        return _float32_to_bfloat16
    if array.dtype == types.int16:
        return _float32_to_float16
    return lambda value, array: value


def _float32_to_bfloat16(value, array):
    bits = np.float32(value).view(np.int32)
    rounded = np.int32(bits + np.int32(0x7FFF) + np.int32(np.int32(bits >> np.int32(16)) & np.int32(1)))
    quiet = np.int32(bits | np.int32(0x00400000))
    return np.uint16(np.int32((rounded if value == value else quiet) >> np.int32(16)) & np.int32(0xFFFF))


def _float32_to_float16(value, array):
    bits = np.float32(value).view(np.int32)
    magnitude = np.int32(bits & np.int32(0x7FFFFFFF))
    odd = np.int32(np.int32(magnitude >> np.int32(13)) & np.int32(1))
    normal = np.int32(np.int32(magnitude - np.int32(0x38000000) + np.int32(0x0FFF) + odd) >> np.int32(13))
    # Adding 0.5 leaves a subnormal's bits, correctly rounded, at the end of the mantissa.
    shifted = np.int32(magnitude).view(np.float32) + np.float32(0.5)
    subnormal = np.int32(np.float32(shifted).view(np.int32) - np.int32(0x3F000000))
    result = subnormal if magnitude < np.int32(0x38800000) else normal
    result = np.int32(0x7C00) if magnitude >= np.int32(0x47800000) else result
    result = np.int32(0x7E00) if magnitude > np.int32(0x7F800000) else result
    return np.int16(result | np.int32(np.int32(bits >> np.int32(16)) & np.int32(0x8000)))


def _like(value, other):
    """A constant in the type of `other`, so that float32 is not computed in float64."""


@overload(_like)
def _(value, other):
    if other == types.float32:
        return lambda value, other: np.float32(value)
    return lambda value, other: np.float64(value)


def _letter(code):
    """A code as int32; checked before 64 bits are cut, so that 2**32 is not an A."""


@overload(_letter)
def _(code):
    if getattr(code, "bitwidth", 8) == 64:
        return lambda code: np.int32(code) if 0 <= np.int64(code) <= 0x7FFFFFFF else np.int32(-1)
    return lambda code: np.int32(code)


# --- the angle ---


def _magnitude(value):
    """Bits of |value| as an integer, which orders as the values do, NaN last."""


@overload(_magnitude)
def _(value):
    if value == types.float32:
        return lambda value: np.int32(np.float32(value).view(np.int32) & np.int32(0x7FFFFFFF))
    return lambda value: np.float64(value).view(np.int64) & np.int64(0x7FFFFFFFFFFFFFFF)


def _inverse_scale(magnitude):
    """A power of two that brings `magnitude` (bits) into [2, 4); 0 for infinity and NaN, whose product is NaN."""


@overload(_inverse_scale)
def _(magnitude):
    if magnitude == types.int32:

        def scale(magnitude):
            least = np.int32(0x00800000)  # smallest normal number: zeros and denormals are scaled as far as it
            bounded = magnitude if magnitude > least else least
            return np.int32(np.int32(0x7F800000) - np.int32(bounded & np.int32(0x7F800000))).view(np.float32)

    else:

        def scale(magnitude):
            least = np.int64(0x0010000000000000)
            bounded = magnitude if magnitude > least else least
            infinity = np.int64(0x7FF0000000000000)
            return np.int64(infinity - (bounded & infinity)).view(np.float64)

    return scale


def _arctangent(t):
    """Arctangent on [0, 1] in radians: t times a minimax polynomial in t**2.

    Relative error of the polynomial: 1.6e-8 with 9 terms (float32), 2.8e-17 with 20 terms (float64); with rounding the
    result is within 2 ulp.
    """


@overload(_arctangent, jit_options={"fastmath": {"contract"}})
def _(t):
    if t == types.float32:

        def polynomial(t):
            q = t * t
            p = np.float32(0.00284989015199244)
            p = p * q - np.float32(0.016068633645772934)
            p = p * q + np.float32(0.04269152879714966)
            p = p * q - np.float32(0.0750429555773735)
            p = p * q + np.float32(0.10640934854745865)
            p = p * q - np.float32(0.14203645288944244)
            p = p * q + np.float32(0.1999261975288391)
            p = p * q - np.float32(0.3333307206630707)
            return t + t * (q * p)

    else:

        def polynomial(t):
            q = t * t
            p = -2.0018582799593352e-05
            p = p * q + 0.0002206870248054369
            p = p * q - 0.0011535835694877338
            p = p * q + 0.003827146336583401
            p = p * q - 0.009130324715527256
            p = p * q + 0.016904053108219394
            p = p * q - 0.02575116047215757
            p = p * q + 0.0340087368743305
            p = p * q - 0.04089077672763401
            p = p * q + 0.04672287972916032
            p = p * q - 0.05238634057682439
            p = p * q + 0.058771423596369304
            p = p * q - 0.06665825855799087
            p = p * q + 0.07692207609190774
            p = p * q - 0.0909090064767908
            p = p * q + 0.11111110634359768
            p = p * q - 0.1428571426919653
            p = p * q + 0.1999999999969632
            p = p * q - 0.3333333333333111
            return t + t * (q * p)

    return polynomial


@_contracted
def _angle(upright, squares, zero, units):
    """atan2(upright, sqrt(squares)) for squares >= 0; `units` is (one radian, a right angle, what zero gives)."""
    radian, right, undefined = units
    height = -upright if upright < 0 else upright
    width = np.sqrt(squares)
    steep = height > width
    t = (width if steep else height) / (height if steep else width)
    angle = _arctangent(t) * radian
    angle = right - angle if steep else angle
    angle = -angle if upright < 0 else angle
    return undefined if zero else angle


@_contracted
def _angle_of_four(g0, g1, g2, g3, units):
    m0, m1, m2, m3 = _magnitude(g0), _magnitude(g1), _magnitude(g2), _magnitude(g3)
    m0 = m0 if m0 > m1 else m1
    m2 = m2 if m2 > m3 else m3
    m0 = m0 if m0 > m2 else m2
    scale = _inverse_scale(m0)
    g0, g1, g2, g3 = g0 * scale, g1 * scale, g2 * scale, g3 * scale
    total = ((g0 + g1) + g2) + g3
    mean = total * _like(0.25, g0)
    c0, c1, c2, c3 = g0 - mean, g1 - mean, g2 - mean, g3 - mean
    squares = ((c0 * c0 + c1 * c1) + c2 * c2) + c3 * c3
    return _angle(total * _like(0.5, g0), squares, m0 == 0, units)


# --- memory: flat arrays, of which position i has its four letters side by side (`row` is None) or in rows that are
# `row` elements apart, counted from `at`. Unsigned indices spare the test for negative ones; slices would spare the
# counting, but their reference counts are atomic, and each waits until all that was written has reached memory. ---


def _load(array, at, row, i):
    """The four letters of position i."""


@overload(_load)
def _(array, at, row, i):
    if isinstance(row, types.NoneType):

        def load(array, at, row, i):
            k = at + np.uintp(4) * i
            return (
                _widen(array[k]),
                _widen(array[k + np.uintp(1)]),
                _widen(array[k + np.uintp(2)]),
                _widen(array[k + np.uintp(3)]),
            )

    else:

        def load(array, at, row, i):
            k = at + i
            return (
                _widen(array[k]),
                _widen(array[k + row]),
                _widen(array[k + np.uintp(2) * row]),
                _widen(array[k + np.uintp(3) * row]),
            )

    return load


def _store(array, at, row, i, v0, v1, v2, v3):
    """Write the four letters of position i."""


@overload(_store)
def _(array, at, row, i, v0, v1, v2, v3):
    if isinstance(row, types.NoneType):

        def store(array, at, row, i, v0, v1, v2, v3):
            k = at + np.uintp(4) * i
            array[k] = _narrow(v0, array)
            array[k + np.uintp(1)] = _narrow(v1, array)
            array[k + np.uintp(2)] = _narrow(v2, array)
            array[k + np.uintp(3)] = _narrow(v3, array)

    else:

        def store(array, at, row, i, v0, v1, v2, v3):
            k = at + i
            array[k] = _narrow(v0, array)
            array[k + row] = _narrow(v1, array)
            array[k + np.uintp(2) * row] = _narrow(v2, array)
            array[k + np.uintp(3) * row] = _narrow(v3, array)

    return store


# --- one position with four letters ---


@_inline
def _mean_of_four(g0, g1, g2, g3, weights):
    if weights is None:
        return (((g0 + g1) + g2) + g3) * _like(0.25, g0)
    return ((g0 * weights[0] + g1 * weights[1]) + g2 * weights[2]) + g3 * weights[3]


@_inline
def _observed_of_four(g0, g1, g2, g3, codes, onehot, at, first, row, i):
    value = _like(0, g0)
    if codes is not None:  # numba prunes a branch only by the name that is None in it
        letter = _letter(codes[first + i])
        value = g0 if letter == np.int32(0) else value
        value = g1 if letter == np.int32(1) else value
        value = g2 if letter == np.int32(2) else value
        value = g3 if letter == np.int32(3) else value
    if onehot is not None:
        x0, x1, x2, x3 = _load(onehot, at, row, i)
        x0, x1, x2, x3 = _like(x0, g0), _like(x1, g0), _like(x2, g0), _like(x3, g0)
        value = ((g0 * x0 + g1 * x1) + g2 * x2) + g3 * x3
    return value


@_inline
def _four(n, at, first, row, grad, codes, onehot, weights, corrected, angle, product, raw_product, effects, units):
    """Positions 0 to n - 1 after `first`, whose letters begin at `at`."""
    for i in range(n):
        g0, g1, g2, g3 = _load(grad, at, row, i)
        if angle is not None:
            angle[first + i] = _angle_of_four(g0, g1, g2, g3, units)
        if corrected is not None or product is not None:
            mean = _mean_of_four(g0, g1, g2, g3, weights)
            c0, c1, c2, c3 = g0 - mean, g1 - mean, g2 - mean, g3 - mean
            if corrected is not None:
                _store(corrected, at, row, i, c0, c1, c2, c3)
            if product is not None:
                product[first + i] = _observed_of_four(c0, c1, c2, c3, codes, onehot, at, first, row, i)
        if raw_product is not None or effects is not None:
            observed = _observed_of_four(g0, g1, g2, g3, codes, onehot, at, first, row, i)
            if raw_product is not None:
                raw_product[first + i] = observed
            if effects is not None:
                _store(effects, at, row, i, g0 - observed, g1 - observed, g2 - observed, g3 - observed)


@cached(**IEEE)
def _side_by_side(
    grad, codes, onehot, weights, corrected, angle, product, raw_product, effects, units, _inner, _o, _end, start, stop
):
    first = np.uintp(start)
    at = np.uintp(4) * first
    n = np.uintp(stop) - first
    _four(n, at, first, None, grad, codes, onehot, weights, corrected, angle, product, raw_product, effects, units)


@cached(**IEEE)
def _in_rows(
    grad, codes, onehot, weights, corrected, angle, product, raw_product, effects, units, inner, o, end, start, stop
):
    row = np.uintp(inner)
    n = np.uintp(stop - start)
    for block in range(np.uintp(o), np.uintp(end)):
        first = block * row + np.uintp(start)
        at = np.uintp(4) * block * row + np.uintp(start)
        _four(n, at, first, row, grad, codes, onehot, weights, corrected, angle, product, raw_product, effects, units)


# --- one position with any number of letters ---


@_contracted
def _angle_of_many(letters, units):
    largest = _magnitude(letters[0])
    for a in range(1, letters.size):
        magnitude = _magnitude(letters[a])
        largest = magnitude if magnitude > largest else largest
    scale = _inverse_scale(largest)
    total = letters[0] * scale
    for a in range(1, letters.size):
        total += letters[a] * scale
    mean = total / _like(letters.size, total)
    squares = _like(0, total)
    for a in range(letters.size):
        centred = letters[a] * scale - mean
        squares += centred * centred
    return _angle(total / _like(math.sqrt(letters.size), total), squares, largest == 0, units)


@_inline
def _mean_of_many(letters, weights):
    if weights is None:
        total = letters[0]
        for a in range(1, letters.size):
            total += letters[a]
        return total / _like(letters.size, total)
    total = letters[0] * weights[0]
    for a in range(1, letters.size):
        total += letters[a] * weights[a]
    return total


@_inline
def _observed_of_many(letters, mean, codes, onehot, o, i):
    value = _like(0, mean)
    if codes is not None:
        letter = _letter(codes[o, i])
        if 0 <= letter < letters.size:
            value = letters[letter] - mean
    if onehot is not None:
        for a in range(letters.size):
            value += (letters[a] - mean) * _like(_widen(onehot[o, a, i]), mean)
    return value


@cached(**IEEE)
def _general(
    grad,
    codes,
    onehot,
    weights,
    corrected,
    angle,
    product,
    raw_product,
    effects,
    units,
    _inner,
    first,
    last,
    start,
    stop,
):
    letters = np.full(grad.shape[1], units[0])
    for o in range(first, last):
        for i in range(start, stop):
            for a in range(letters.size):
                letters[a] = _widen(grad[o, a, i])
            if angle is not None:
                angle[o, i] = _angle_of_many(letters, units)
            if corrected is not None or product is not None:
                mean = _mean_of_many(letters, weights)
                if corrected is not None:
                    for a in range(letters.size):
                        corrected[o, a, i] = _narrow(letters[a] - mean, corrected)
                if product is not None:
                    product[o, i] = _observed_of_many(letters, mean, codes, onehot, o, i)
            if raw_product is not None or effects is not None:
                observed = _observed_of_many(letters, _like(0, letters[0]), codes, onehot, o, i)
                if raw_product is not None:
                    raw_product[o, i] = observed
                if effects is not None:
                    for a in range(letters.size):
                        effects[o, a, i] = _narrow(letters[a] - observed, effects)


# --- what the backends call ---


@cache
def _units(dtype, degrees, undefined):
    radian = 180 / math.pi if degrees else 1.0
    return tuple(dtype.type(value) for value in (radian, radian * math.pi / 2, undefined))


def _spread(kernel, operands, outer, inner):
    """Call the kernel for first:last, start:stop of chunks of blocks (inner is short) or of one block (it is long)."""
    if outer * inner <= CHUNK:
        kernel(*operands, 0, outer, 0, inner)
        return
    group, pieces = max(1, CHUNK // inner), -(-inner // CHUNK)

    def task(number):
        block, piece = divmod(number, pieces)
        first, start = block * group, piece * CHUNK
        kernel(*operands, first, min(outer, first + group), start, min(inner, start + CHUNK))

    threads.run(task, -(-outer // group) * pieces)


@cache
def compute_dtype(dtype):
    """The type an operation computes in: float64 for float64, float32 for everything else."""
    return np.dtype(np.float64 if dtype.newbyteorder("=") == np.float64 else np.float32)


def analyze(
    block,
    *,
    grad,
    codes=None,
    onehot=None,
    weights=None,
    degrees=True,
    undefined=0.0,
    corrected=None,
    angle=None,
    grad_times_input=None,
    raw_grad_times_input=None,
    substitution_effects=None,
):
    """Fill the outputs that are not None, in one pass over arrays of C-contiguous memory.

    `block` is (outer, letters, inner), the order of `grad`, `onehot`, `corrected` and `substitution_effects` in memory;
    that of the others is (outer, inner). `weights` (letters,) in the type of the computation; `undefined` is the angle
    of a zero gradient.
    """
    outer, letters, inner = block
    kernel, with_letters, without = _general, block, (outer, inner)
    if letters == 4:
        kernel, with_letters, without = _in_rows, -1, -1
        if inner == 1:
            kernel, outer, inner = _side_by_side, 1, outer
    operands = (
        grad.reshape(with_letters),
        codes if codes is None else codes.reshape(without),
        onehot if onehot is None else onehot.reshape(with_letters),
        weights,
        corrected if corrected is None else corrected.reshape(with_letters),
        angle if angle is None else angle.reshape(without),
        grad_times_input if grad_times_input is None else grad_times_input.reshape(without),
        raw_grad_times_input if raw_grad_times_input is None else raw_grad_times_input.reshape(without),
        substitution_effects if substitution_effects is None else substitution_effects.reshape(with_letters),
        _units(compute_dtype(grad.dtype), degrees, undefined),
        inner,
    )
    _spread(kernel, operands, outer, inner)


def cache_folder():
    """Where the compiled kernels are kept, or None if no folder can be written."""
    return getattr(_general._cache, "cache_path", None)

"""The metrics with Numba: rankings by an integer sort, cosines and distances in one pass over memory.

Distances are computed in the type of the maps and cosines in float64; what over- or underflows is computed again,
scaled by a power of two. Maps are flat arrays seen as (outer, letters, inner), as in `cpu.py`; helpers stand here
because Numba's cache on disk does not see other files.

The flags "contract" and "reassoc" are set where squares and products are summed, in an order that is fixed by the
length alone; they change neither NaN nor signed zeros.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from .jit import cached

TILE = 2048  # positions whose distances stay in cache

IEEE = {"nogil": True, "error_model": "numpy"}  # here, since the cache on disk sees changes in this file only
SUMS = {"contract", "reassoc"}
_inline = njit(forceinline=True, **IEEE)


# --- rankings ---


@_inline
def _collect(scores, labels, mask, omit_nan, keys, positive, counts):
    """Take the positions that count: scores as integers in the same order, labels, and how often each byte occurs.

    Returns how many there are, or -1 if one of the scores is NaN and none may be left out.
    """
    counts[:] = 0
    n = 0
    for i in range(scores.size):
        if mask is not None and not mask[i]:
            continue
        score = np.float64(scores[i]) + 0.0  # which makes -0 the zero that it equals
        if score != score:
            if omit_nan:
                continue
            return -1
        bits = np.float64(score).view(np.int64)
        key = np.uint64(bits) ^ (np.uint64(0xFFFFFFFFFFFFFFFF) if bits < 0 else np.uint64(0x8000000000000000))
        keys[n] = key
        positive[n] = np.uint8(labels[i])
        for digit in range(8):
            counts[digit, (key >> np.uint64(8 * digit)) & np.uint64(255)] += 1
        n += 1
    return n


@_inline
def _sort(n, keys, positive, other_keys, other_positive, counts):
    """Sort by one byte of the keys after the other, the lowest first; bytes that are equal everywhere are left out."""
    for digit in range(8):
        shift = np.uint64(8 * digit)
        if counts[digit, (keys[0] >> shift) & np.uint64(255)] == n:
            continue
        start = 0
        for value in range(256):
            count = counts[digit, value]
            counts[digit, value] = start
            start += count
        for i in range(n):
            value = (keys[i] >> shift) & np.uint64(255)
            at = counts[digit, value]
            counts[digit, value] = at + 1
            other_keys[at] = keys[i]
            other_positive[at] = positive[i]
        keys, other_keys = other_keys, keys
        positive, other_positive = other_positive, positive
    return keys, positive


@_inline
def _areas(n, keys, positive):
    """AUROC, AUPR and average precision of sorted keys, going down; equal keys are passed together."""
    true = np.int64(0)
    for i in range(n):
        true += positive[i]
    n_positive, n_negative = true, n - true
    if n_positive == 0 or n_negative == 0:
        return np.nan, np.nan, np.nan
    ranks = np.int64(0)  # twice the pairs in which the positive outranks the negative
    trapezoids, steps = 0.0, 0.0
    true, false, precision = np.int64(0), np.int64(0), 1.0
    i = n - 1
    while i >= 0:
        key = keys[i]
        true_before, false_before, precision_before = true, false, precision
        while i >= 0 and keys[i] == key:
            true += positive[i]
            false += 1 - positive[i]
            i -= 1
        precision = true / (true + false)
        ranks += (false - false_before) * (true + true_before)
        trapezoids += (true - true_before) * (precision + precision_before)
        steps += (true - true_before) * precision
    return ranks / (2 * n_positive * n_negative), trapezoids / (2 * n_positive), steps / n_positive


@cached(**IEEE)
def rank(scores, labels, mask, omit_nan, results):
    """Fill AUROC, AUPR and average precision (n_sequences, 3) of scores (n_sequences, length).

    `labels` hold 0 and 1, `mask` True = counted, or None. Returns -1, or the first sequence with a NaN that may not be
    left out, at which it stops.
    """
    length = scores.shape[1]
    keys, other_keys = np.empty(length, np.uint64), np.empty(length, np.uint64)
    positive, other_positive = np.empty(length, np.uint8), np.empty(length, np.uint8)
    counts = np.empty((8, 256), np.int64)
    for sequence in range(scores.shape[0]):
        counted = None if mask is None else mask[sequence]
        n = _collect(scores[sequence], labels[sequence], counted, omit_nan, keys, positive, counts)
        if n < 0:
            return sequence
        results[sequence] = np.nan
        if n > 0:
            ordered, truth = _sort(n, keys, positive, other_keys, other_positive, counts)
            results[sequence, 0], results[sequence, 1], results[sequence, 2] = _areas(n, ordered, truth)
    return -1


# --- letters ---


def _load(array, at, row, i):
    """The four letters of position i: side by side if `row` is None, or `row` elements apart; counted from `at`."""


@overload(_load)
def _(array, at, row, i):
    if isinstance(row, types.NoneType):

        def load(array, at, row, i):
            k = at + np.uintp(4) * i
            return array[k], array[k + np.uintp(1)], array[k + np.uintp(2)], array[k + np.uintp(3)]

    else:

        def load(array, at, row, i):
            k = at + i
            return array[k], array[k + row], array[k + np.uintp(2) * row], array[k + np.uintp(3) * row]

    return load


@_inline
def _power_of_two(largest):
    """What brings `largest` to about 1, as far as a float64 goes."""
    _, exponent = math.frexp(largest)
    return math.ldexp(1.0, -max(exponent, -1022))


# --- cosines ---


@njit(fastmath=SUMS, **IEEE)
def _products(a, b):
    product, a_squares, b_squares = 0.0, 0.0, 0.0
    for i in range(a.size):
        x, y = np.float64(a[i]), np.float64(b[i])
        product += x * y
        a_squares += x * x
        b_squares += y * y
    return product, a_squares, b_squares


@njit(fastmath=SUMS, **IEEE)
def _scaled_products(a, b, start, stop, step):
    """As `_products`, of every `step`-th number after scaling each array, which a cosine does not see."""
    a_largest, b_largest = 0.0, 0.0
    for i in range(start, stop, step):
        a_largest = max(a_largest, abs(np.float64(a[i])))
        b_largest = max(b_largest, abs(np.float64(b[i])))
    a_scale, b_scale = _power_of_two(a_largest), _power_of_two(b_largest)
    product, a_squares, b_squares = 0.0, 0.0, 0.0
    for i in range(start, stop, step):
        x, y = a[i] * a_scale, b[i] * b_scale
        product += x * y
        a_squares += x * x
        b_squares += y * y
    return product, a_squares, b_squares


@_inline
def _cosine(product, a_squares, b_squares):
    return product / (np.sqrt(a_squares) * np.sqrt(b_squares))  # 0 / 0 where one of them is zero


@_inline
def _in_range(squares):
    return 1e-200 < squares < 1e200


@cached(**IEEE)
def cosine_similarity(a, b, result):
    """Cosines between the rows of (n_sequences, size) arrays."""
    for sequence in range(a.shape[0]):
        product, a_squares, b_squares = _products(a[sequence], b[sequence])
        if not (_in_range(a_squares) and _in_range(b_squares)):
            product, a_squares, b_squares = _scaled_products(a[sequence], b[sequence], 0, a.shape[1], 1)
        result[sequence] = _cosine(product, a_squares, b_squares)


@njit(fastmath={"contract"}, **IEEE)
def _four_cosines(n, at, row, a, b, result):
    for i in range(np.uintp(n)):
        a0, a1, a2, a3 = _load(a, at, row, i)
        b0, b1, b2, b3 = _load(b, at, row, i)
        a0, a1, a2, a3 = np.float64(a0), np.float64(a1), np.float64(a2), np.float64(a3)
        b0, b1, b2, b3 = np.float64(b0), np.float64(b1), np.float64(b2), np.float64(b3)
        product = ((a0 * b0 + a1 * b1) + a2 * b2) + a3 * b3
        a_squares = ((a0 * a0 + a1 * a1) + a2 * a2) + a3 * a3
        b_squares = ((b0 * b0 + b1 * b1) + b2 * b2) + b3 * b3
        result[i] = product / np.sqrt(a_squares * b_squares)


@cached(**IEEE)
def positionwise_cosine_similarity(a, b, outer, letters, inner, result):
    """Cosines between the letters of positions of flat arrays; float32 squares cannot leave the range of float64."""
    for block in range(outer if inner > 1 else 1):
        at, out = block * letters * inner, result[block * inner : (block + 1) * inner]
        if letters == 4 and a.itemsize == 4 and b.itemsize == 4:
            if inner == 1:
                _four_cosines(outer, np.uintp(0), None, a, b, result)
            else:
                _four_cosines(inner, np.uintp(at), np.uintp(inner), a, b, out)
            continue
        n, first = (outer, letters) if inner == 1 else (inner, 1)
        for i in range(n):
            start = at + i * first
            products = _scaled_products(a, b, start, start + letters * inner, inner)
            result[block * inner + i] = _cosine(products[0], products[1], products[2])


# --- distances from an ensemble ---


@njit(fastmath={"contract"}, **IEEE)
def _four_distances(n, at, row, values, ensemble, corrected, bounds, out):
    """Fill `out`; return at how many positions the distance is not within `bounds`."""
    quarter = values.dtype.type(0.25)
    least, most = bounds
    count = np.int32(0)
    for i in range(np.uintp(n)):
        s0, s1, s2, s3 = _load(values, at, row, i)
        e0, e1, e2, e3 = _load(ensemble, at, row, i)
        if corrected is not None:
            mean = (((s0 + s1) + s2) + s3) * quarter
            s0, s1, s2, s3 = s0 - mean, s1 - mean, s2 - mean, s3 - mean
        d0, d1, d2, d3 = s0 - e0, s1 - e1, s2 - e2, s3 - e3
        distance = np.sqrt(((d0 * d0 + d1 * d1) + d2 * d2) + d3 * d3)
        out[i] = distance
        count += np.int32(0) if least < distance < most else np.int32(1)
    return count


@_inline
def _distance(values, ensemble, at, letters, step, corrected):
    """Distance at one position, the differences scaled before they are squared."""
    mean = 0.0
    if corrected is not None:
        for a in range(letters):
            mean += np.float64(values[at + a * step])
        mean /= letters
    largest = 0.0
    for a in range(letters):
        difference = (np.float64(values[at + a * step]) - mean) - ensemble[at + a * step]
        largest = largest if abs(difference) <= largest else abs(difference)  # so that NaN stays
    if largest == 0:
        return 0.0
    scale = _power_of_two(largest)
    squares = 0.0
    for a in range(letters):
        difference = ((np.float64(values[at + a * step]) - mean) - ensemble[at + a * step]) * scale
        squares += difference * difference
    return np.sqrt(squares) / scale


@njit(**IEEE)
def _measure(at, letters, inner, values, ensemble, corrected, out):
    """Distances of as many positions as `out` has; the letters of the first begin at `at`."""
    # Distances whose squares are far from both ends of the range.
    least, most = (1e-15, 1e15) if out.itemsize == 4 else (1e-140, 1e140)
    if letters == 4:
        bounds = out.dtype.type(least), out.dtype.type(most)
        if inner == 1:
            n_bad = _four_distances(out.size, np.uintp(at), None, values, ensemble, corrected, bounds, out)
        else:
            n_bad = _four_distances(out.size, np.uintp(at), np.uintp(inner), values, ensemble, corrected, bounds, out)
        if n_bad == 0:
            return
    next_position = letters if inner == 1 else 1
    for i in range(out.size):
        if letters != 4 or not least < out[i] < most:
            out[i] = _distance(values, ensemble, at + i * next_position, letters, inner, corrected)


@cached(**IEEE)
def ensemble_differences(maps, ensemble, letters, inner, first, last, scratch, before, after, reduction):
    """Fill those of the last three, (M, outer * inner), that are not None, from maps (M, size) and ensemble (size,).

    Blocks `first` to `last` of the outer axis, few enough for those of the ensemble to stay in cache for all members.
    `before` and `after` the correction; `reduction` = 1 - after / before; `scratch` (2, TILE) in the result's type.
    """
    stop = first + 1 if inner == 1 else last  # letters side by side are one long block
    low, high = (first, last) if inner == 1 else (0, inner)
    for member in range(maps.shape[0]):
        for block in range(first, stop):
            for start in range(low, high, TILE):
                n = min(TILE, high - start)
                position = start if inner == 1 else block * inner + start
                at = start * letters if inner == 1 else block * letters * inner + start
                uncorrected, corrected = scratch[0, :n], scratch[1, :n]
                if before is not None:
                    uncorrected = before[member, position : position + n]
                if after is not None:
                    corrected = after[member, position : position + n]
                _measure(at, letters, inner, maps[member], ensemble, None, uncorrected)
                if after is not None or reduction is not None:
                    _measure(at, letters, inner, maps[member], ensemble, True, corrected)
                if reduction is not None:
                    result = reduction[member, position : position + n]
                    for i in range(n):
                        result[i] = 1 - corrected[i] / uncorrected[i] if uncorrected[i] > 0 else np.nan


# --- information ---


@cached(**IEEE)
def information_content(ppm, letters, inner, result):
    """Bits of each position of a flat array; False if what it holds are no probabilities."""
    valid = True
    most = math.log2(letters)
    for i in range(result.size):
        block, k = divmod(i, inner)
        total, bits = 0.0, most
        for a in range(letters):
            p = np.float64(ppm[(block * letters + a) * inner + k])
            valid = valid and p >= 0
            total += p
            if p > 0:
                bits += p * math.log2(p)
        valid = valid and abs(total - 1) <= 0.01
        result[i] = bits if bits > 0 else 0.0
    return valid

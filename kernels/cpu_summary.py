"""Counts and sums over the angles of sequences, with Numba: what remains of a tile of angles while it is in cache.

The flags "contract" and "reassoc" are set in the sums alone, whose order is fixed by the compiled loop over a tile;
they change neither NaN nor signed zeros.
"""

import numpy as np
from numba import njit

from .jit import cached

TILE = 512  # positions

IEEE = {"nogil": True, "error_model": "numpy"}  # here, since the cache on disk sees changes in this file only
_inline = njit(forceinline=True, **IEEE)


@njit(fastmath={"contract", "reassoc"}, **IEEE)
def _sums(angle):
    total = 0.0
    squares = 0.0
    for i in range(angle.size):
        value = np.float64(angle[i])
        value = value if value == value else 0.0
        total += value
        squares += value * value
    return total, squares


@_inline
def _count_above(angle, threshold):
    count = np.int32(0)
    for i in range(angle.size):
        size = -angle[i] if angle[i] < 0 else angle[i]
        count += np.int32(1) if size > threshold else np.int32(0)
    return count


@_inline
def _exclude(angle, mask):
    """Mark what is not counted with a number that is no angle; return how many."""
    n_excluded = 0
    for i in range(angle.size):
        n_excluded += 0 if mask[i] else 1
        angle[i] = angle[i] if mask[i] else np.nan
    return n_excluded


@_inline
def _find_slots(angle, edges, bins, slots):
    """Bin of each position; the slot `bins` for undefined angles."""
    tolerance, width, right, zero = edges
    for i in range(angle.size):
        value = angle[i]
        inward = value - tolerance if value > tolerance else zero
        inward = value + tolerance if value < -tolerance else inward
        slot = np.int32((inward + right) * width)
        slot = slot if slot < bins else np.int32(bins - np.int32(1))
        slots[i] = slot if value == value else bins


@_inline
def _tally(slots, tables):
    """Count the slots in four tables in turn, so that equal neighbours need not wait for each other."""
    quarters = slots.size // 4
    for i in range(quarters):
        for k in range(4):
            tables[k, slots[4 * i + k]] += 1
    for i in range(4 * quarters, slots.size):
        tables[0, slots[i]] += 1


@cached(**IEEE)
def _summarize(angle, mask, thresholds, edges, bins, counts, n_positions, n_undefined, sums, squares, histogram):
    all_slots = np.empty(TILE, np.int32)
    tables = np.zeros((4, bins + 1), np.int64)
    for sequence in range(angle.shape[0]):
        n_excluded = 0
        empty_before = tables[:, bins].sum()
        for start in range(0, angle.shape[1], TILE):
            tile = angle[sequence, start : start + TILE]
            if mask is not None:
                n_excluded += _exclude(tile, mask[sequence, start : start + TILE])
            slots = all_slots[: tile.size]
            _find_slots(tile, edges, bins, slots)
            _tally(slots, tables)
            for t in range(thresholds.size):
                counts[sequence, t] += _count_above(tile, thresholds[t])
            total, square = _sums(tile)
            sums[sequence] += total
            squares[sequence] += square
        n_positions[sequence] += angle.shape[1] - n_excluded
        n_undefined[sequence] += tables[:, bins].sum() - empty_before - n_excluded
    for b in range(bins):
        for k in range(4):
            histogram[b] += tables[k, b]


def summarize_angles(angle, mask, thresholds, tolerance, counts, n_positions, n_undefined, sums, squares, histogram):
    """Do what `reference.summarize_angles` does, for (n_sequences, length), C-contiguous; `angle` is used up.

    Adds to counts (n_sequences, T), to the arrays of shape (n_sequences,) and to the histogram (bins,).
    """
    bins = histogram.size
    above = np.array([threshold + tolerance for threshold in thresholds], angle.dtype)
    edges = tuple(angle.dtype.type(value) for value in (tolerance, bins / 180, 90, 0))
    _summarize(angle, mask, above, edges, np.int32(bins), counts, n_positions, n_undefined, sums, squares, histogram)

"""Windows of an array, each at a place of its own, with what is new there laid over it, with Numba.

An array is (n, length, size), with `size` numbers at each position, and windows are (rows, width, size). Row r is of
sequence[r], and its first position is that at start[r], which may lie outside of the array, as its last may.

The kernels run on the calling thread. They stand between a framework's operations, whose threads spin for a while when
they have nothing to do: helpers of ours waited for a core, and two threads took up to three times as long as one.
"""

import numpy as np
from numba import njit

from .jit import cached

IEEE = {"nogil": True, "error_model": "numpy"}  # here, since the cache on disk sees changes in this file only


def lay_over(base, sequence, start, patch, offset, adds, fill, out):
    """Write windows of `base`, with a patch added to each or put in its place.

    Parameters
    ----------
    base : array, shape (n, length, size)
    sequence, start, offset : int64 arrays, shape (rows,)
        Of `base`; first position of each window in it; position of the patch in the window, which may be negative.
    patch : array, shape (rows, width of the patch, size)
    adds : bool
        Whether the patch is added; otherwise it takes the place of what is there.
    fill : float
        What is outside of `base`, where a patch writes nothing.
    out : array, shape (rows, width, size)
    """
    shape = *base.shape[1:], patch.shape[1], out.shape[1]
    flat = base.reshape(-1), patch.reshape(-1), out.reshape(-1)
    _lay_over(*flat, sequence, start, offset, *shape, adds, fill, len(out))


def place(patch, start, offset, length, out):
    """Write patches into windows of zeros of an array with a length, outside of which nothing is written.

    See `lay_over` for the arguments.
    """
    shape = length, patch.shape[2], patch.shape[1], out.shape[1]
    flat = patch.reshape(-1), out.reshape(-1)
    _place(*flat, start, offset, *shape, len(out))


def subtract(windows, base, sequence, start, out):
    """Write windows less those of `base`; see `lay_over` for the arguments."""
    flat = windows.reshape(-1), base.reshape(-1), out.reshape(-1)
    _subtract(*flat, sequence, start, *base.shape[1:], out.shape[1], len(out))


def largest(windows, extent, stride, dilation, out):
    """Write the largest of every so many positions, as max pooling does; not a number is larger than all.

    Parameters
    ----------
    windows : array, shape (rows, width, size)
    extent, stride, dilation : int
        Output o is of the positions from ``o * stride`` to ``o * stride + extent - 1``, `dilation` from each other.
    out : array, shape (rows, width of the output, size)
    """
    flat = windows.reshape(-1), out.reshape(-1)
    shape = windows.shape[2], windows.shape[1], out.shape[1]
    _largest(*flat, *shape, extent, stride, dilation, len(out))


# Arrays are flat and places unsigned, since signed ones may count from the end, which Numba would look after each time.


@njit(forceinline=True, **IEEE)
def _copy(source, at, target, to, n):
    first, second = np.uint64(at), np.uint64(to)
    for k in range(np.uint64(n)):
        target[second + k] = source[first + k]


@njit(forceinline=True, **IEEE)
def _fill(value, target, to, n):
    first = np.uint64(to)
    for k in range(np.uint64(n)):
        target[first + k] = value


@cached(**IEEE)
def _lay_over(base, patch, out, sequence, start, offset, length, size, n_patch, width, adds, fill, n_rows):
    for r in range(n_rows):
        q, s, o = sequence[r], start[r], offset[r]
        begin = min(max(-s, 0), width)  # of the window that lies inside of base
        end = max(min(length - s, width), begin)
        new = max(o, begin)  # of the patch
        n_new = max(min(o + n_patch, end) - new, 0) * size
        to = r * width * size
        _fill(fill, out, to, begin * size)
        _copy(base, (q * length + s + begin) * size, out, to + begin * size, (end - begin) * size)
        _fill(fill, out, to + end * size, (width - end) * size)
        at, there = (r * n_patch + new - o) * size, to + new * size
        if adds:
            here, place = np.uint64(at), np.uint64(there)
            for k in range(np.uint64(n_new)):
                out[place + k] += patch[here + k]
        else:
            _copy(patch, at, out, there, n_new)


@cached(**IEEE)
def _place(patch, out, start, offset, length, size, n_patch, width, n_rows):
    for r in range(n_rows):
        s, o = start[r], offset[r]
        new = max(o, -s, 0)
        n_new = max(min(o + n_patch, length - s, width) - new, 0) * size
        to = r * width * size
        _fill(0, out, to, width * size)
        _copy(patch, (r * n_patch + new - o) * size, out, to + new * size, n_new)


@cached(**IEEE)
def _subtract(windows, base, out, sequence, start, length, size, width, n_rows):
    for r in range(n_rows):
        here = np.uint64(r * width * size)
        there = np.uint64((sequence[r] * length + start[r]) * size)
        for k in range(np.uint64(width * size)):
            out[here + k] = windows[here + k] - base[there + k]


@cached(**IEEE)
def _largest(windows, out, size, width, n_out, extent, stride, dilation, n_rows):
    for r in range(n_rows):
        for o in range(n_out):
            to, at = np.uint64((r * n_out + o) * size), (r * width + o * stride) * size
            _copy(windows, at, out, to, size)
            for shift in range(dilation, extent, dilation):
                here = np.uint64(at + shift * size)
                for k in range(np.uint64(size)):
                    number, before = windows[here + k], out[to + k]
                    out[to + k] = number if (number > before) | (number != number) else before

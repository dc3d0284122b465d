"""Random draws and shuffles of sequences, with Numba: what `reference_sequences` defines, to the bit.

Helpers and constants stand in this file, because Numba's cache on disk does not see other files. Words of 32 bits are
computed as uint64, which no operation here mixes with signed integers: Numba would turn the pair into a float.
"""

import math

import numpy as np
from numba import njit

from . import reference_sequences as reference
from . import threads
from .jit import cached

CHUNK = 1 << 17  # codes a thread writes or reads at a time
BUFFER = 256  # words drawn at a time
N_LETTERS = 33  # 32 letters and the unknown one
PURPOSES = {"mono": 1, "dinucleotide": 2, "noise": 3, "mutation": 4}

IEEE = {"nogil": True, "error_model": "numpy"}  # here, since the cache on disk sees changes in this file only
_inline = njit(forceinline=True, **IEEE)

_WORD = np.uint64(0xFFFFFFFF)
_BITS = np.uint64(32)
_MULTIPLIER0, _MULTIPLIER1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_INCREMENT0, _INCREMENT1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


# --- words and integers: a stream is (key, key, sample, purpose), `at` the number of its next word ---


@_inline
def _philox(c0, c1, c2, c3, k0, k1):
    for _ in range(10):
        p0, p1 = _MULTIPLIER0 * c0, _MULTIPLIER1 * c2
        c0, c1, c2, c3 = (p1 >> _BITS) ^ c1 ^ k0, p1 & _WORD, (p0 >> _BITS) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + _INCREMENT0) & _WORD, (k1 + _INCREMENT1) & _WORD
    return c0, c1, c2, c3


@njit(**IEEE)
def _refill(words, at, stream):
    """Draw the next words of the stream, as many as the buffer holds; `at` is a multiple of that."""
    k0, k1, sample, purpose = stream
    first = np.uint64(at) >> np.uint64(2)
    for j in range(BUFFER // 4):
        w0, w1, w2, w3 = _philox(first + np.uint64(j), sample, purpose, np.uint64(0), k0, k1)
        words[4 * j] = w0
        words[4 * j + 1] = w1
        words[4 * j + 2] = w2
        words[4 * j + 3] = w3


@_inline
def _next(words, at, stream):
    slot = at & (BUFFER - 1)
    if slot == 0:
        _refill(words, at, stream)
    return np.uint64(words[slot]), at + 1


@_inline
def _below(n, words, at, stream):
    """An integer in 0 to n - 1, and where the stream goes on."""
    bound = np.uint64(n)
    word, at = _next(words, at, stream)
    product = word * bound
    if product & _WORD < bound:  # otherwise the word is not among those turned away, and no division is needed
        excess = (np.uint64(1 << 32) - bound) % bound
        while product & _WORD < excess:
            word, at = _next(words, at, stream)
            product = word * bound
    return np.int64(product >> _BITS), at


@_inline
def _stream(keys, pair, first, n, purpose):
    """Sequence and stream of a pair; the samples of a sequence are numbered from `first`."""
    sequence = pair // n
    sample = np.uint64(first + pair - sequence * n)
    return sequence, (np.uint64(keys[sequence, 0]), np.uint64(keys[sequence, 1]), sample, np.uint64(purpose))


# --- digests ---


@_inline
def _pack(codes, start):
    """Four codes as a word, zeros after the end."""
    word = np.uint64(0)
    for k in range(4):
        if start + k < codes.size:
            word |= np.uint64(codes[start + k]) << np.uint64(8 * k)
    return word


@cached(**IEEE)
def _digest(codes, seed, keys, first, last):
    k0, k1 = seed
    length = np.uint64(codes.shape[1])
    for sequence in range(first, last):
        row = codes[sequence]
        c0, c1, c2, c3 = _philox(length & _WORD, length >> _BITS, np.uint64(0), np.uint64(0), k0, k1)
        for start in range(0, row.size, 16):
            c0 ^= _pack(row, start)
            c1 ^= _pack(row, start + 4)
            c2 ^= _pack(row, start + 8)
            c3 ^= _pack(row, start + 12)
            c0, c1, c2, c3 = _philox(c0, c1, c2, c3, k0, k1)
        keys[sequence, 0] = c0
        keys[sequence, 1] = c1


# --- permutations; `start` to `stop` are pairs of sequence and sample, the n samples of a sequence side by side ---


@cached(**IEEE)
def _permute(codes, keys, first, n, purpose, out, start, stop):
    words = np.empty(BUFFER, np.uint32)
    for pair in range(start, stop):
        sequence, stream = _stream(keys, pair, first, n, purpose)
        row, source = out[pair], codes[sequence]
        for i in range(row.size):
            row[i] = source[i]
        at = 0
        for i in range(row.size - 1, 0, -1):
            j, at = _below(i + 1, words, at, stream)
            row[i], row[j] = row[j], row[i]


# --- walks: letters are numbered in the order of their codes, those that occur ---


@_inline
def _number(codes, rank, letters):
    """Number the letters that occur; return how many."""
    rank[:] = -1
    for i in range(codes.size):
        rank[codes[i]] = 0
    n_letters = 0
    for code in range(rank.size):
        if rank[code] == 0:
            rank[code] = n_letters
            letters[n_letters] = code
            n_letters += 1
    return n_letters


@_inline
def _count_pairs(codes, rank, n_letters, pairs):
    pairs[:n_letters] = 0
    a = rank[codes[0]]
    for i in range(1, codes.size):
        b = rank[codes[i]]
        pairs[a, b] += 1
        a = b


@_inline
def _pick_other(counts, a, number):
    """Letter of the item with this number among all but the letter's own."""
    b = 0
    while b == a or number >= counts[b]:
        number -= 0 if b == a else counts[b]
        b += 1
    return b


@njit(**IEEE)
def _tree(pairs, n_letters, root, parent, finished, words, stream):
    """Draw the edge by which each letter is left for the last time; return where the stream goes on."""
    at = 0
    for a in range(n_letters):
        finished[a] = a == root
    for first in range(n_letters):
        a = first
        while not finished[a]:
            leaving = pairs[a, :n_letters].sum() - pairs[a, a]
            number, at = _below(leaving, words, at, stream)
            parent[a] = _pick_other(pairs[a], a, number)
            a = parent[a]
        a = first
        while not finished[a]:
            finished[a] = True
            a = parent[a]
    return at


@_inline
def _pick(counts, a, n_letters, number):
    """Letter of the item with this number. Comparing with every count costs less than branches guessed wrong."""
    end = counts[a, 0]
    b = np.uintp(number >= end)
    end += counts[a, 1]
    b += np.uintp(number >= end)
    end += counts[a, 2]
    b += np.uintp(number >= end)
    for k in range(3, n_letters - 1):
        end += counts[a, k]
        b += np.uintp(number >= end)
    return b


@_inline
def _trail(row, first, n_letters, letters, parent, left, totals, words, at, stream):
    """Walk along the pairs left, and along the tree where none is left at a letter."""
    a = np.uintp(first)  # without a sign, which spares the test for negative indices
    row[0] = letters[a]
    for i in range(1, row.size):
        if totals[a] > 0:
            number, at = _below(totals[a], words, at, stream)
            b = _pick(left, a, n_letters, number)
            left[a, b] -= 1
            totals[a] -= 1
            a = b
        else:
            a = np.uintp(parent[a])
        row[i] = letters[a]


@cached(**IEEE)
def _walk(codes, keys, first, n, purpose, out, start, stop):
    words = np.empty(BUFFER, np.uint32)
    rank, letters = np.empty(256, np.int64), np.empty(N_LETTERS, np.uint8)
    pairs, left = np.zeros((N_LETTERS, N_LETTERS), np.int64), np.zeros((N_LETTERS, N_LETTERS), np.int64)
    parent, totals = np.empty(N_LETTERS, np.int64), np.empty(N_LETTERS, np.int64)
    finished = np.empty(N_LETTERS, np.bool_)
    prepared, n_letters = -1, 0
    for pair in range(start, stop):
        sequence, stream = _stream(keys, pair, first, n, purpose)
        source = codes[sequence]
        if sequence != prepared:
            n_letters = _number(source, rank, letters)
            _count_pairs(source, rank, n_letters, pairs)
            prepared = sequence
        root = rank[source[-1]]
        at = _tree(pairs, n_letters, root, parent, finished, words, stream)
        for a in range(n_letters):
            totals[a] = 0
            for b in range(n_letters):
                left[a, b] = pairs[a, b] - (a != root and b == parent[a])
                totals[a] += left[a, b]
        _trail(out[pair], rank[source[0]], n_letters, letters, parent, left, totals, words, at, stream)


# --- normal numbers, and mutations ---

_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)
_ROOT = np.float32(0.70710677)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_QUARTER_TURN = np.float32(np.pi / 2 / 2**24)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = map(np.float32, reference.LOG)
_S0, _S1, _S2 = map(np.float32, reference.SIN)
_C0, _C1, _C2 = map(np.float32, reference.COS)


@njit(**IEEE)
def _normals(words, radius, mantissa, numbers):
    """Turn the words of a buffer into as many numbers; short loops over arrays, which are what vectorises."""
    bits, mantissa_bits = radius.view(np.int32), mantissa.view(np.int32)
    for j in range(BUFFER // 2):
        radius[j] = np.float32(np.int32(words[2 * j] >> np.uint32(8)) + np.int32(1))
    for j in range(BUFFER // 2):
        mantissa_bits[j] = (bits[j] & np.int32(0x7FFFFF)) | np.int32(0x3F000000)  # in [0.5, 1)
    for j in range(BUFFER // 2):
        m = mantissa[j]
        power = np.float32((bits[j] >> np.int32(23)) - np.int32(150)) - (_ONE if m < _ROOT else np.float32(0))
        t = (m + m if m < _ROOT else m) - _ONE
        z = t * t
        p = ((((((((_L0 * t + _L1) * t + _L2) * t + _L3) * t + _L4) * t + _L5) * t + _L6) * t + _L7) * t) + _L8
        tail = t * z * p + power * _LN2_LOW - _HALF * z
        radius[j] = math.sqrt(-_TWO * (t + tail + power * _LN2_HIGH))
    for j in range(BUFFER // 2):
        word = words[2 * j + 1]
        x = np.float32(np.int32((word >> np.uint32(6)) & np.uint32(0xFFFFFF)) - np.int32(1 << 23)) * _QUARTER_TURN
        z = x * x
        sine = x * z * ((_S0 * z + _S1) * z + _S2) + x
        cosine = z * z * ((_C0 * z + _C1) * z + _C2) - _HALF * z + _ONE
        is_half, is_odd = word >> np.uint32(31), (word >> np.uint32(30)) & np.uint32(1)
        across, up = (sine, cosine) if is_odd else (cosine, sine)
        numbers[2 * j] = radius[j] * (-across if is_half != is_odd else across)
        numbers[2 * j + 1] = radius[j] * (-up if is_half else up)


@cached(**IEEE)
def _noise(keys, sample, purpose, out, first, last):
    words, numbers = np.empty(BUFFER, np.uint32), np.empty(BUFFER, np.float32)
    radius, mantissa = np.empty(BUFFER // 2, np.float32), np.empty(BUFFER // 2, np.float32)
    _, length, n_letters = out.shape
    for sequence in range(first, last):
        stream = np.uint64(keys[sequence, 0]), np.uint64(keys[sequence, 1]), np.uint64(sample), np.uint64(purpose)
        row, i, a = out[sequence], 0, 0
        for at in range(0, length * n_letters, BUFFER):
            _refill(words, at, stream)
            _normals(words, radius, mantissa, numbers)
            for j in range(min(BUFFER, length * n_letters - at)):
                row[i, a] = numbers[j]
                a += 1
                if a == n_letters:
                    i, a = i + 1, 0


@cached(**IEEE)
def _mutate(codes, keys, sample, purpose, threshold, n_letters, out, first, last):
    words = np.empty(BUFFER, np.uint32)
    for sequence in range(first, last):
        stream = np.uint64(keys[sequence, 0]), np.uint64(keys[sequence, 1]), np.uint64(sample), np.uint64(purpose)
        source, row, at = codes[sequence], out[sequence], 0
        for i in range(source.size):
            word, at = _next(words, at, stream)
            other, at = _next(words, at, stream)
            row[i] = source[i]
            if source[i] < n_letters and word < threshold:
                step = np.int64((other * np.uint64(n_letters - 1)) >> _BITS)
                row[i] = (np.int64(source[i]) + 1 + step) % n_letters


# --- counts ---


@_inline
def _log_trees(weights, n_letters, root):
    """Logarithm of the determinant of the Laplacian without its root, by elimination without subtractions.

    Taking a letter out hands what leads to it on to where it leads; sums of positive numbers stay accurate.
    """
    result = 0.0
    for a in range(n_letters):
        if a == root:
            continue
        leaving = 0.0
        for b in range(n_letters):
            leaving += weights[a, b] if b > a or b == root else 0.0
        result += math.log(leaving)
        for c in range(a + 1, n_letters):
            for b in range(n_letters):
                if b > a or b == root:
                    weights[c, b] += 0.0 if b == c else weights[c, a] * weights[a, b] / leaving
    return result


@cached(**IEEE)
def _log_count(codes, is_walk, logs, first, last):
    rank, letters = np.empty(256, np.int64), np.empty(N_LETTERS, np.uint8)
    pairs, totals = np.zeros((N_LETTERS, N_LETTERS), np.int64), np.empty(N_LETTERS, np.int64)
    for sequence in range(first, last):
        source = codes[sequence]
        n_letters = _number(source, rank, letters)
        _count_pairs(source, rank, n_letters, pairs)
        root = rank[source[-1]]
        result = 0.0
        for a in range(n_letters):
            totals[a] = 0
            for b in range(n_letters):
                totals[a] += pairs[a, b]
                result -= math.lgamma(pairs[a, b] + 1.0) if is_walk else 0.0
        if is_walk:
            for a in range(n_letters):
                result += math.lgamma(totals[a] + 1.0) - (0.0 if a == root else math.log(totals[a]))
            result += _log_trees(pairs.astype(np.float64), n_letters, root)
        else:
            totals[root] += 1  # the last letter begins no pair
            result = math.lgamma(source.size + 1.0)
            for a in range(n_letters):
                result -= math.lgamma(totals[a] + 1.0)
        logs[sequence] = result


# --- what the public functions call; codes are uint8 (n_sequences, length), C-contiguous, letters below 32 or 255 ---


@cached(**IEEE)
def _philox_of_rows(counter, key, out):
    for k in range(out.shape[0]):
        c0, c1, c2, c3 = counter[k, 0], counter[k, 1], counter[k, 2], counter[k, 3]
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = _philox(c0, c1, c2, c3, key[k, 0], key[k, 1])


def philox(counter, key):
    """Four random words, uint32 (n, 4), for counters (n, 4) and keys (n, 2) of words."""
    out = np.empty((len(counter), 4), np.uint32)
    _philox_of_rows(np.ascontiguousarray(counter, np.uint64), np.ascontiguousarray(key, np.uint64), out)
    return out


def digest(codes, seed):
    """Keys of the draws for sequences, uint32 (n_sequences, 2)."""
    keys = np.empty((len(codes), 2), np.uint32)
    words = np.uint64(seed % 2**32), np.uint64(seed // 2**32)
    _spread(lambda first, last: _digest(codes, words, keys, first, last), len(codes), codes.shape[1])
    return keys


def shuffle(codes, n, kind, seed, first=0):
    """Shuffles `first` to first + n - 1 of sequences, uint8 (n_sequences, n, length)."""
    out = np.empty((len(codes), n, codes.shape[1]), np.uint8)
    if out.size:
        keys, rows = digest(codes, seed), out.reshape(-1, codes.shape[1])
        kernel = _permute if kind == "mono" else _walk
        _spread(lambda start, stop: kernel(codes, keys, first, n, PURPOSES[kind], rows, start, stop), *rows.shape)
    return out


def noise(keys, sample, out):
    """Fill `out`, float32 (n_sequences, length, n_letters) in any order, with the numbers of one sample."""
    if out.size:
        n_entries = out.shape[1] * out.shape[2]
        _spread(lambda first, last: _noise(keys, sample, PURPOSES["noise"], out, first, last), len(out), n_entries)
    return out


def mutate(codes, keys, sample, rate, n_letters):
    """Mutants with the number `sample` of sequences, uint8, shape of `codes`."""
    out = np.empty_like(codes)
    if out.size:
        drawn = sample, PURPOSES["mutation"], np.uint64(math.floor(rate * 2**32)), n_letters
        _spread(lambda first, last: _mutate(codes, keys, *drawn, out, first, last), len(codes), 4 * codes.shape[1])
    return out


def log_count_shuffles(codes, kind):
    """Natural logarithm of the number of distinct shuffles, float64 (n_sequences,)."""
    logs = np.zeros(len(codes))
    if codes.size:
        is_walk = kind == "dinucleotide"
        _spread(lambda first, last: _log_count(codes, is_walk, logs, first, last), *codes.shape)
    return logs


def _spread(task, n_rows, length):
    """Call the task for first:last of chunks of rows."""
    step = max(1, CHUNK // max(length, 1))
    threads.run(lambda number: task(number * step, min(n_rows, (number + 1) * step)), -(-n_rows // step))

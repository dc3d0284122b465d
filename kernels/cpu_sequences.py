"""Random draws and shuffles of sequences, with Numba: what `reference_sequences` defines, to the bit.

Helpers and constants stand in this file, because Numba's cache on disk does not see other files. Words of 32 bits are
computed as uint64, which no operation here mixes with signed integers: Numba would turn the pair into a float.
"""

import math

import numpy as np
from numba import njit

from . import threads
from .jit import cached

CHUNK = 1 << 17  # codes a thread writes or reads at a time
BUFFER = 256  # words drawn at a time
N_LETTERS = 33  # 32 letters and the unknown one
PURPOSES = {"mono": 1, "dinucleotide": 2}

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
def _stream(keys, pair, n, purpose):
    """Sequence and stream of a pair."""
    sequence = pair // n
    sample = np.uint64(pair - sequence * n)
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
def _permute(codes, keys, n, purpose, out, start, stop):
    words = np.empty(BUFFER, np.uint32)
    for pair in range(start, stop):
        sequence, stream = _stream(keys, pair, n, purpose)
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
def _walk(codes, keys, n, purpose, out, start, stop):
    words = np.empty(BUFFER, np.uint32)
    rank, letters = np.empty(256, np.int64), np.empty(N_LETTERS, np.uint8)
    pairs, left = np.zeros((N_LETTERS, N_LETTERS), np.int64), np.zeros((N_LETTERS, N_LETTERS), np.int64)
    parent, totals = np.empty(N_LETTERS, np.int64), np.empty(N_LETTERS, np.int64)
    finished = np.empty(N_LETTERS, np.bool_)
    prepared, n_letters = -1, 0
    for pair in range(start, stop):
        sequence, stream = _stream(keys, pair, n, purpose)
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


def shuffle(codes, n, kind, seed):
    """Shuffles 0 to n - 1 of sequences, uint8 (n_sequences, n, length)."""
    out = np.empty((len(codes), n, codes.shape[1]), np.uint8)
    if out.size:
        keys, rows = digest(codes, seed), out.reshape(-1, codes.shape[1])
        kernel = _permute if kind == "mono" else _walk
        _spread(lambda start, stop: kernel(codes, keys, n, PURPOSES[kind], rows, start, stop), *rows.shape)
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

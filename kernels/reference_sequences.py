"""Definitions of the random draws and of the shuffles of sequences, which every realisation follows to the bit.

All randomness comes from one function without state, `philox`, so that a draw depends on nothing but the seed, the
sequence's own codes, the number of the sample and the purpose. In four steps:

1. `digest`: seed and codes become a key of two words (64 bits). Codes 0 to 31 are letters, everything else is 255. The
   codes are cut into blocks of 16, each packed into four words, first code in the lowest byte, zeros after the end.
   The chain starts with ``philox((length, length >> 32, 0, 0), seed)``, as (low, high) words; each block is xored into
   the state, and the state goes through `philox` with the seed as key. The digest is the first two words of the last.
2. `words`: the stream of 32-bit words of a sample is ``philox((block, sample, purpose, 0), digest)``, block 0, 1, ...
3. `below`: an unbiased integer from the next words of the stream.
4. `shuffle`: draws in the order in which they stand here. `noise` and `mutate` need no order: which words belong to
   which position is fixed.

`philox` is plain operators on arrays of any library, `normal` on NumPy arrays; the rest is plain Python. Nobody
optimises this file.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any

import numpy as np

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
INCREMENTS = 0x9E3779B9, 0xBB67AE85  # of the key: golden ratio and sqrt(3) - 1

PURPOSES = {"mono": 1, "dinucleotide": 2, "noise": 3, "mutation": 4}
"""Third word of the counter, so that draws for different purposes never share a stream."""

N_LETTERS = 32
UNKNOWN = 255


def _multiply(constant: int, word: Any) -> tuple[Any, Any]:
    """High and low word of a product, from halves, so that 32 bits without a sign are enough all the way."""
    constant_high, constant_low = divmod(constant, 65536)
    high, low = word // 65536, word & 65535
    lowest = low * constant_low
    cross = high * constant_low
    other = low * constant_high
    middle = lowest // 65536 + (cross & 65535) + (other & 65535)
    upper = high * constant_high + cross // 65536 + other // 65536 + middle // 65536
    return upper, (middle & 65535) * 65536 + (lowest & 65535)


def _add(word: Any, constant: int) -> Any:
    """Sum modulo 2**32, likewise from halves."""
    low = (word & 65535) + (constant & 65535)
    high = word // 65536 + constant // 65536 + low // 65536
    return (high & 65535) * 65536 + (low & 65535)


def philox(counter: Sequence[Any], key: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """Four random words for a counter of four words and a key of two.

    The words are Python ints, or arrays that broadcast, of one library and one integer dtype that holds 0 to 2**32 - 1:
    uint32, int64 or uint64. The same lines give the same integers in NumPy, PyTorch, JAX (uint32, which needs no x64)
    and TensorFlow (int64), also traced.

    Notes
    -----
    Philox4x32-10: Salmon, Moraes, Dror, Shaw, SC 2011, doi:10.1145/2063384.2063405, section 3.3.

    Examples
    --------
    >>> [hex(word) for word in philox((0, 0, 0, 0), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(MULTIPLIERS[0], c0)
        high1, low1 = _multiply(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = _add(k0, INCREMENTS[0]), _add(k1, INCREMENTS[1])
    return c0, c1, c2, c3


def digest(codes: Sequence[int], seed: int) -> tuple[int, int]:
    """Return the key of all draws for a sequence: 64 bits of its codes and the seed.

    Notes
    -----
    A chain of block ciphers (CBC-MAC) that begins with the length, without which sequences could be continued to equal
    digests.
    """
    letters = normalize(codes)
    key = seed % 2**32, seed // 2**32
    state = philox((len(letters) % 2**32, len(letters) // 2**32, 0, 0), key)
    for start in range(0, len(letters), 16):
        block = bytes(letters[start : start + 16]).ljust(16, b"\0")
        packed = [int.from_bytes(block[k : k + 4], "little") for k in (0, 4, 8, 12)]
        state = philox([a ^ b for a, b in zip(state, packed, strict=True)], key)
    return state[0], state[1]


def words(key: tuple[int, int], sample: int, purpose: int) -> Iterator[int]:
    """Generate the stream of 32-bit words of a sample."""
    block = 0
    while True:
        yield from philox((block, sample, purpose, 0), key)
        block += 1


def below(n: int, stream: Iterator[int]) -> int:
    """Draw an integer in 0 to n - 1, each with the same probability, for n up to 2**32.

    Notes
    -----
    Lemire, ACM TOMACS 29:3 (2019), doi:10.1145/3230636: the high word of ``word * n``; of the 2**32 words, 2**32 mod n
    are turned away, those with the smallest low words.
    """
    while True:
        high, low = divmod(next(stream) * n, 2**32)
        if low >= 2**32 % n:
            return high


def normalize(codes: Sequence[int]) -> list[int]:
    """Codes as Python ints, all that are no letters as 255."""
    return [int(code) if 0 <= code < N_LETTERS else UNKNOWN for code in codes]


def shuffle(codes: Sequence[int], sample: int, kind: str, seed: int) -> list[int]:
    """Return the shuffle with the number `sample` of one sequence."""
    stream = words(digest(codes, seed), sample, PURPOSES[kind])
    shuffles = {"mono": _permute, "dinucleotide": _walk}
    return shuffles[kind](normalize(codes), lambda n: below(n, stream))


def _permute(letters: list[int], draw: Callable[[int], int]) -> list[int]:
    """Permute the positions, every permutation with the same probability (Fisher and Yates, Durstenfeld's order)."""
    for i in range(len(letters) - 1, 0, -1):
        j = draw(i + 1)
        letters[i], letters[j] = letters[j], letters[i]
    return letters


def _walk(letters: list[int], draw: Callable[[int], int]) -> list[int]:
    """Draw one of all sequences with the same first letter and the same counts of neighbouring pairs.

    Notes
    -----
    The pairs are the edges of a graph on the letters, and such sequences the trails through all of them. The edges by
    which a trail leaves each letter for the last time form a tree towards the last letter; given a tree, the other
    edges of a letter may come in any order (Altschul, Erickson, Mol. Biol. Evol. 2:526, 1985,
    doi:10.1093/oxfordjournals.molbev.a040370). With the tree uniform among all trees and the order uniform among all
    orders, every trail has the same probability (van Aardenne-Ehrenfest, de Bruijn, Simon Stevin 28:203, 1951). Trails
    that differ only by equal pairs are one sequence, equally many for each sequence. An order need not be made
    beforehand: drawing among the edges left at every visit gives the same.
    """
    if not letters:
        return []
    pairs = Counter(pairwise(letters))
    parent = _tree(pairs, sorted(set(letters)), letters[-1], draw)
    pairs.subtract(parent.items())
    walk = letters[:1]
    while len(walk) < len(letters):
        a = walk[-1]
        remaining = {b: pairs[a, b] for b in sorted(set(letters)) if pairs[a, b]}
        b = _pick(remaining, draw(sum(remaining.values()))) if remaining else parent[a]
        pairs[a, b] -= 1
        walk.append(b)
    return walk


def _tree(pairs: Counter[tuple[int, int]], letters: list[int], root: int, draw: Callable[[int], int]) -> dict[int, int]:
    """Draw a spanning tree towards `root` with a probability proportional to the product of its edges' counts.

    Notes
    -----
    Wilson, STOC 1996, doi:10.1145/237814.237880: random walks until they meet the tree, with their loops erased. Pairs
    of equal letters are loops that would be erased at once; they are left away.
    """
    parent: dict[int, int] = {}
    finished = {root}
    for start in letters:
        a = start
        while a not in finished:
            leaving = {b: pairs[a, b] for b in letters if b != a and pairs[a, b]}
            parent[a] = _pick(leaving, draw(sum(leaving.values())))
            a = parent[a]
        a = start
        while a not in finished:
            finished.add(a)
            a = parent[a]
    return parent


def _pick(counts: dict[int, int], number: int) -> int:
    """Letter of the item with this number, when the items are laid out in the order of the letters."""
    return next(letter for letter, end in zip(counts, accumulate(counts.values()), strict=True) if number < end)


def normal(first: Any, second: Any) -> tuple[Any, Any]:
    """Return two independent standard normal numbers, float32, for two words, uint32; of arrays, elementwise.

    Every operation is one of float32, rounded by itself: sums, products, a square root, and polynomials where others
    call a library's log, sin and cos. So the bits are the same wherever arithmetic is that of IEEE 754 and a product
    is not fused with a sum. No number is larger than 5.77.

    Notes
    -----
    Box, Muller, Ann. Math. Stat. 29:610 (1958), doi:10.1214/aoms/1177706645: ``sqrt(-2 log(u))`` times the cosine and
    the sine of a uniform angle. u is a multiple of 2**-24 in (0, 1]; the angle is a number of quarter turns and a rest
    between -1/8 and 1/8 turn in steps of 2**-26. The polynomials are those of the Cephes library (Moshier 1989) for
    single precision, with errors below 2e-7.
    """
    mantissa, exponent = np.frexp(((first >> 8) + 1).astype(np.float32))  # mantissa in [0.5, 1)
    is_low = mantissa < np.float32(0.70710677)
    t = np.where(is_low, mantissa + mantissa, mantissa) - np.float32(1)
    power = (exponent - is_low - 24).astype(np.float32)
    square = t * t
    tail = t * square * polynomial(LOG, t) + power * np.float32(-2.12194440e-4) - np.float32(0.5) * square
    radius = np.sqrt(np.float32(-2) * (t + tail + power * np.float32(0.693359375)))

    turns = second >> 30
    x = (((second >> 6) & 0xFFFFFF).astype(np.int32) - 2**23).astype(np.float32) * np.float32(np.pi / 2 / 2**24)
    square = x * x
    sine = x * square * polynomial(SIN, square) + x
    cosine = square * square * polynomial(COS, square) - np.float32(0.5) * square + np.float32(1)
    is_odd = turns % 2 == 1
    across, up = np.where(is_odd, sine, cosine), np.where(is_odd, cosine, sine)
    across, up = np.where((turns == 1) | (turns == 2), -across, across), np.where(turns >= 2, -up, up)
    return radius * across, radius * up


LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
       2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip
SIN = -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1
COS = 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2


def polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """Evaluate by Horner's rule, in float32, highest power first."""
    result = np.float32(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + np.float32(coefficient)
    return result


def noise(codes: Sequence[int], sample: int, n_letters: int, seed: int) -> Any:
    """Return standard normal numbers for all letters of all positions of one sequence, float32 (length, n_letters).

    Entry e, the letters side by side, is one of the pair e // 2, the first if e is even; the pair is `normal` of the
    words 2 (e // 2) and 2 (e // 2) + 1 of the sample's stream.
    """
    n = len(codes) * n_letters
    stream = words(digest(codes, seed), sample, PURPOSES["noise"])
    drawn = np.array(list(islice(stream, n + n % 2)), np.uint32)
    pairs = np.stack(normal(drawn[0::2], drawn[1::2]), axis=1)
    return pairs.reshape(-1)[:n].reshape(len(codes), n_letters)


def mutate(codes: Sequence[int], sample: int, rate: float, n_letters: int, seed: int) -> list[int]:
    """Return one sequence with about a share `rate` of its letters replaced by others, each other equally likely.

    Position i has the words 2 i and 2 i + 1. It mutates if the first is below ``floor(rate * 2**32)``; its letter then
    becomes the ``1 + (second * (n_letters - 1) // 2**32)``-th after it, going round. The probabilities of the letters
    differ by less than 2**-32 n_letters. Codes that are no letters stay.
    """
    stream = words(digest(codes, seed), sample, PURPOSES["mutation"])
    letters = normalize(codes)
    for i, letter in enumerate(letters):
        first, second = next(stream), next(stream)
        if letter < n_letters and first < math.floor(rate * 2**32):
            letters[i] = (letter + 1 + second * (n_letters - 1) // 2**32) % n_letters
    return letters


def count_shuffles(codes: Sequence[int], kind: str) -> int:
    """Return the number of distinct sequences that `shuffle` can give, the sequence itself among them.

    Notes
    -----
    For "mono" the multinomial coefficient of the letters' counts. For "dinucleotide" the BEST theorem (the paper of
    1951 in `_walk`): the number of trees towards the last letter, times the orders of the other d[a] - 1 edges of each
    letter (d[a] at the last letter), ``prod_a (d[a] - 1)!``, over the orders of equal pairs, ``prod m!``. Here it is
    written with the multinomial coefficients ``d! / prod m!``, which are not large unless the result is.
    """
    letters = normalize(codes)
    if kind == "mono":
        return _multinomial(Counter(letters).values())
    pairs = Counter(pairwise(letters))
    others = sorted(set(letters) - set(letters[-1:]))
    leaving = {a: [m for (first, _), m in pairs.items() if first == a] for a in set(letters)}
    laplacian = [[(sum(leaving[a]) if a == b else 0) - pairs[a, b] for b in others] for a in others]
    orders = math.prod(_multinomial(counts) for counts in leaving.values())
    return _determinant(laplacian) * orders // math.prod(sum(leaving[a]) for a in others)


def _multinomial(counts: Any) -> int:
    result, total = 1, 0
    for count in counts:
        total += count
        result *= math.comb(total, count)
    return result


def _determinant(matrix: list[list[int]]) -> int:
    """Determinant in integers (Bareiss); the leading minors of a Laplacian without its root are never zero."""
    n, previous = len(matrix), 1
    for k in range(n - 1):
        for i in range(k + 1, n):
            for j in range(k + 1, n):
                matrix[i][j] = (matrix[i][j] * matrix[k][k] - matrix[i][k] * matrix[k][j]) // previous
        previous = matrix[k][k]
    return matrix[-1][-1] if n else 1

"""Random words, keys and integers: known answers, another implementation, every library, and by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcorr_fast.kernels import cpu_sequences, reference_sequences
from tests.conftest import require
from tests.libraries import Library

VECTORS = [  # counter, key, result
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
INPUTS = np.random.default_rng(0).integers(0, 2**32, (6, 50), dtype=np.uint32)  # four words of counter, two of key
EXPECTED = cpu_sequences.philox(INPUTS[:4].T, INPUTS[4:].T).T


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_gives_the_known_answers(counter: tuple[int], key: tuple[int], expected: tuple[int]) -> None:
    assert reference_sequences.philox(counter, key) == expected
    np.testing.assert_array_equal(cpu_sequences.philox([counter], [key]), [expected])


def test_philox_gives_the_words_of_tensorflow() -> None:
    require("tensorflow")
    import tensorflow as tf

    c0, c1, c2, c3, k0, k1 = (int(word) for word in INPUTS[:, 0])
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[400],
        key=tf.constant([k0 | k1 << 32], tf.uint64),
        counter=tf.constant([c0 | c1 << 32, c2 | c3 << 32], tf.uint64),
        alg=1,
        dtype=tf.uint32,
    )
    counters = np.array([[c0 + block, c1, c2, c3] for block in range(100)])
    np.testing.assert_array_equal(cpu_sequences.philox(counters, [[k0, k1]] * 100).ravel(), words)


def _philox(*words: Any) -> tuple[Any, ...]:
    return reference_sequences.philox(words[:4], words[4:])


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.uint64])
def test_philox_is_the_same_in_every_integer_dtype(dtype: type) -> None:
    words = _philox(*INPUTS.astype(dtype))
    assert {word.dtype for word in words} == {np.dtype(dtype)}
    np.testing.assert_array_equal(words, EXPECTED)


def test_philox_is_the_same_in_every_library(library: Library) -> None:
    if library.name == "dask:torch":
        pytest.skip("Dask's operators do not know the dtypes of tensors")
    dtype = np.uint32 if library.name.startswith("jax") else np.int64
    words = library.call(_philox, *(library.make(row.astype(dtype)) for row in INPUTS))
    np.testing.assert_array_equal([library.read(word) for word in words], EXPECTED)


def test_philox_in_jax_needs_no_64_bits() -> None:
    require("jax")
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        words = jax.jit(_philox)(*(jax.numpy.asarray(row) for row in INPUTS))
    finally:
        jax.config.update("jax_enable_x64", before)
    np.testing.assert_array_equal(words, EXPECTED)


def test_the_digest_is_philox_chained_over_blocks() -> None:
    """Eighteen codes are two blocks; the first code is in the lowest byte."""
    codes, seed = [1, 2, 3, 255, *[0] * 12, 7, 8], 5 + 2**32 * 6
    state = reference_sequences.philox((18, 0, 0, 0), (5, 6))
    state = reference_sequences.philox((state[0] ^ 0xFF030201, *state[1:]), (5, 6))
    state = reference_sequences.philox((state[0] ^ 0x0807, *state[1:]), (5, 6))
    assert reference_sequences.digest(codes, seed) == state[:2]


@given(st.lists(st.sampled_from([0, 1, 2, 3, 17, 31, 255]), max_size=70), st.integers(0, 2**64 - 1))
def test_digests_are_those_of_the_definition(codes: list[int], seed: int) -> None:
    rows = np.array([codes, codes[::-1]], np.uint8)
    expected = [reference_sequences.digest(row, seed) for row in rows.tolist()]
    np.testing.assert_array_equal(cpu_sequences.digest(rows, seed), expected)


def test_digests_of_different_codes_lengths_and_seeds_differ() -> None:
    keys = [
        *(reference_sequences.digest([0] * length, seed) for length in range(40) for seed in (0, 1, 2**32, 2**63)),
        *(reference_sequences.digest(codes, 0) for codes in itertools.product((1, 2, 255), repeat=5)),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("n", "words", "drawn", "left"),
    [
        (3, [0, 1], 0, 0),  # 2**32 = 1 (mod 3), so one word of 2**32 is turned away: 0
        (3, [1, 9], 0, 1),
        (3, [2**32 - 1], 2, 0),
        (4, [0], 0, 0),  # a power of two turns nothing away
        (2**31 + 1, [0, 2**31 - 1], 2**30 - 1, 0),  # 2**62 - 1; low words below 2**31 - 1 are turned away
        (1, [77], 0, 0),
        (2**32, [77], 77, 0),
    ],
)
def test_integers_are_drawn_as_worked_by_hand(n: int, words: list[int], drawn: int, left: int) -> None:
    stream = iter(words)
    assert reference_sequences.below(n, stream) == drawn
    assert len(list(stream)) == left


def draw_from(n: int, word: int) -> int | None:
    """Integer that is drawn by one word, None if the word is turned away."""
    try:
        return reference_sequences.below(n, iter([word]))
    except StopIteration:
        return None


@given(st.integers(1, 2**32), st.data())
def test_every_integer_is_drawn_by_equally_many_words(n: int, data: st.DataObject) -> None:
    """The words of an integer are consecutive, 2**32 // n of them, whatever the integer."""
    number = data.draw(st.integers(0, n - 1))
    first = -(-(number * 2**32 + 2**32 % n) // n)
    last = first + 2**32 // n - 1
    assert draw_from(n, first) == draw_from(n, last) == number
    assert first == 0 or draw_from(n, first - 1) != number
    assert draw_from(n, last + 1) != number

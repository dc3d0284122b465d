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


CODES = np.random.default_rng(1).integers(0, 4, (3, 37)).astype(np.uint8)
CODES[1, 5] = 255


@pytest.mark.parametrize("n_letters", [4, 5, 1])
@pytest.mark.parametrize("length", [37, 1, 300])
@pytest.mark.parametrize("is_strided", [False, True])
def test_noise_is_that_of_the_definition_to_the_bit(n_letters: int, length: int, is_strided: bool) -> None:
    codes = np.resize(CODES, (3, length))
    out = np.empty((3, n_letters, length), np.float32).transpose(0, 2, 1)
    if not is_strided:
        out = np.ascontiguousarray(out)
    cpu_sequences.noise(cpu_sequences.digest(codes, 9), 7, out)
    expected = [reference_sequences.noise(row, 7, n_letters, 9) for row in codes.tolist()]
    np.testing.assert_array_equal(out, expected)
    assert out.dtype == np.float32


def test_noise_of_a_pair_of_words_worked_by_hand() -> None:
    """The largest first word gives u = 1 and the radius 0, the smallest the largest number there is."""
    words = np.array([2**32 - 1, 0, 0, 2**31 - 1 + 2**31], np.uint32), np.array([5, 2**29, 3 * 2**30, 0], np.uint32)
    across, up = reference_sequences.normal(*words)
    largest = np.sqrt(2 * 24 * np.log(2))
    eighth = np.pi / 4
    np.testing.assert_allclose(across, [0, largest, largest * np.sin(-eighth), 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(up, [0, 0, -largest * np.cos(eighth), 0], rtol=1e-6, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_normal_numbers_are_those_of_box_and_muller(first: int, second: int) -> None:
    got = reference_sequences.normal(np.array([first], np.uint32), np.array([second], np.uint32))
    radius = np.sqrt(-2 * np.log(((first >> 8) + 1) / 2**24))
    angle = np.pi / 2 * ((second >> 30) + ((second >> 6) % 2**24 - 2**23) / 2**24)
    expected = radius * np.cos(angle), radius * np.sin(angle)
    np.testing.assert_allclose(np.ravel(got), expected, rtol=0, atol=1e-6)


def test_noise_is_normal_and_independent() -> None:
    codes = np.random.default_rng(2).integers(0, 4, (100, 500)).astype(np.uint8)
    keys = cpu_sequences.digest(codes, 0)
    numbers = [cpu_sequences.noise(keys, sample, np.empty((100, 500, 4), np.float32)) for sample in (0, 1)]
    flat = np.sort(numbers[0].ravel().astype(np.float64))
    error = 1 / np.sqrt(flat.size)
    assert abs(flat.mean()) < 4 * error
    assert abs(flat.var() - 1) < 4 * np.sqrt(2) * error
    assert abs((flat**4).mean() - 3) < 4 * np.sqrt(96) * error
    share = np.array([np.mean(flat < x) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)])
    np.testing.assert_allclose(share, [0.02275, 0.15866, 0.5, 0.84134, 0.97725], atol=4 * error)
    for other in (numbers[1], np.roll(numbers[0], 1, 0), np.roll(numbers[0], 1, 1), np.roll(numbers[0], 1, 2)):
        assert abs(np.mean(numbers[0] * other, dtype=np.float64)) < 4 * error


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_mutations_are_those_of_the_definition(rate: float) -> None:
    keys = cpu_sequences.digest(CODES, 3)
    got = cpu_sequences.mutate(CODES, keys, 2, rate, 4)
    np.testing.assert_array_equal(got, [reference_sequences.mutate(row, 2, rate, 4, 3) for row in CODES.tolist()])
    assert got[1, 5] == 255
    is_letter = CODES < 4
    assert np.all(got[is_letter] < 4)
    if rate in (0, 1):
        np.testing.assert_array_equal(got != CODES, is_letter & (rate == 1))


def test_every_mutation_is_as_likely_as_it_should_be() -> None:
    codes = np.random.default_rng(2).integers(0, 4, (200, 1000)).astype(np.uint8)
    mutants = cpu_sequences.mutate(codes, cpu_sequences.digest(codes, 0), 0, 0.2, 4)
    counts = np.bincount((mutants.astype(int) - codes).ravel() % 4, minlength=4)
    expected = codes.size * np.array([0.8, 0.2 / 3, 0.2 / 3, 0.2 / 3])
    assert np.sum((counts - expected) ** 2 / expected) < 21.1  # chi squared, 3 degrees of freedom, p = 1e-4


@pytest.mark.parametrize("draw", ["noise", "mutate", "shuffle"])
def test_draws_depend_on_the_sequence_seed_and_sample_alone(draw: str) -> None:
    def sample(codes: np.ndarray, number: int, seed: int) -> np.ndarray:
        if draw == "shuffle":
            return cpu_sequences.shuffle(codes, 1, "mono", seed, number)[:, 0]
        keys = cpu_sequences.digest(codes, seed)
        if draw == "mutate":
            return cpu_sequences.mutate(codes, keys, number, 0.5, 4)
        return cpu_sequences.noise(keys, number, np.empty((*codes.shape, 4), np.float32))

    whole = sample(CODES, 4, 6)
    np.testing.assert_array_equal(sample(CODES[::-1].copy(), 4, 6)[::-1], whole)
    np.testing.assert_array_equal(sample(CODES[1:2], 4, 6), whole[1:2])
    for other in (sample(CODES, 5, 6), sample(CODES, 4, 7)):
        assert np.mean(other == whole) < 0.9


@pytest.mark.parametrize("kind", ["mono", "dinucleotide"])
def test_a_shuffle_can_be_drawn_by_its_number(kind: str) -> None:
    several = cpu_sequences.shuffle(CODES, 5, kind, 1)
    np.testing.assert_array_equal(cpu_sequences.shuffle(CODES, 2, kind, 1, 3), several[:, 3:])

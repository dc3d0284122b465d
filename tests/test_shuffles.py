"""Shuffles: as defined to the bit, what they keep, uniform over all there are, and how many there are."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcorr_fast import sequences
from gradcorr_fast.kernels import cpu_sequences, reference_sequences
from tests.test_sequences import KINDS, random_codes


@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2**64 - 1), st.data())
def test_shuffles_are_those_of_the_definition(n_sequences: int, n: int, seed: int, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    length = data.draw(st.integers(0, 60))
    letters = data.draw(st.sampled_from([[0], [0, 3], [0, 1, 2, 3], [0, 1, 2, 3, 255], [*range(32), 255]]))
    codes = data.draw(st.lists(st.sampled_from(letters), min_size=length * n_sequences, max_size=length * n_sequences))
    rows = np.array(codes, np.uint8).reshape(n_sequences, length)
    expected = [[reference_sequences.shuffle(row, k, kind, seed) for k in range(n)] for row in rows.tolist()]
    np.testing.assert_array_equal(
        cpu_sequences.shuffle(rows, n, kind, seed), np.array(expected).reshape(n_sequences, n, length)
    )


def test_a_shuffle_in_which_words_are_turned_away_is_that_of_the_definition() -> None:
    """Of 2000 positions hardly ever, of 300000 about ten times."""
    codes, seed = random_codes(1, 300_000), 3
    key = reference_sequences.digest(codes[0].tolist(), seed)
    blocks = np.arange(75_000)
    words = np.stack(reference_sequences.philox((blocks, 0, 1, 0), key), axis=-1).ravel()[:-1]
    bounds = np.arange(300_000, 1, -1)
    assert (words * bounds % 2**32 < 2**32 % bounds).any()
    expected = reference_sequences.shuffle(codes[0].tolist(), 0, "mono", seed)
    np.testing.assert_array_equal(sequences.shuffle(codes, 1, "mono", seed)[0, 0], expected)


PINNED = {
    "mono": ["CTACTAAANGTCCGGATAGN", "ACAGATNCTGTTCAAGNGAC"],
    "dinucleotide": ["ATTTGTANNACACGGCACGA", "ACACGACANNATGGCGTTTA"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_shuffles_never_change(kind: str) -> None:
    """Results in papers and resumed scans rest on them: a change of these texts is a change of the public contract."""
    assert sequences.decode(sequences.shuffle(sequences.encode("ACGTTGCANNACGGATTACA"), 2, kind, 22)) == PINNED[kind]


def pairs_of(codes: np.ndarray) -> np.ndarray:
    """Neighbouring pairs in order of size, the last axis being positions."""
    pairs = codes[..., :-1].astype(int) * 256 + codes[..., 1:]
    return np.sort(pairs, axis=-1)


def test_a_dinucleotide_shuffle_keeps_pairs_and_ends() -> None:
    codes = random_codes(20, 300, n_letters=5)
    codes[codes == 4] = 255
    shuffles = sequences.shuffle(codes, 7, "dinucleotide")
    np.testing.assert_array_equal(pairs_of(shuffles), np.repeat(pairs_of(codes)[:, None], 7, 1))
    np.testing.assert_array_equal(shuffles[..., [0, -1]], np.repeat(codes[:, None, [0, -1]], 7, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_shuffle_keeps_the_letters(kind: str) -> None:
    codes = random_codes(20, 300, n_letters=33)
    codes[codes == 32] = 255
    shuffles = sequences.shuffle(codes, 7, kind)
    np.testing.assert_array_equal(np.sort(shuffles), np.repeat(np.sort(codes)[:, None], 7, 1))
    assert (shuffles != codes[:, None]).any(-1).all()


def signature(text: str, kind: str) -> Any:
    return (text[:1], Counter(itertools.pairwise(text))) if kind == "dinucleotide" else Counter(text)


def admissible(text: str, kind: str) -> list[str]:
    """Find all sequences that a shuffle may give, by trying all there are."""
    candidates = {text[:1] + "".join(rest) for rest in multiset_permutations(Counter(text[1:]))}
    if kind == "mono":
        candidates = {"".join(letters) for letters in multiset_permutations(Counter(text))}
    return sorted(candidate for candidate in candidates if signature(candidate, kind) == signature(text, kind))


def multiset_permutations(counts: Counter[str]) -> Any:
    if not +counts:
        yield ""
    for letter in list(+counts):
        for rest in multiset_permutations(counts - Counter(letter)):
            yield letter + rest


def chi_square_z(observed: np.ndarray) -> float:
    """Chi-square against uniform as a standard normal deviate (Wilson and Hilferty 1931)."""
    expected, freedom = observed.mean(), len(observed) - 1
    statistic = ((observed - expected) ** 2).sum() / expected
    return ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))


def is_uniform(drawn: list[str], possible: list[str]) -> bool:
    """Whether each is reached and no other, and chi-square has a p-value between 0.001 and 0.999 (|z| < 3.09)."""
    tally = Counter(drawn)
    if sorted(tally) != possible:
        return False
    return len(possible) == 1 or abs(chi_square_z(np.array([tally[text] for text in possible]))) < 3.09


TRAPS = [
    "AAAACAAAAG",  # a letter that occurs once, and the last letter reached by one edge only
    "ACACACAC",  # admits nothing but itself
    "ACGACGACG",
    "ACGTACGTAC",
    "AACCAACCAA",  # loops
    "AACAAGAATA",  # a tree with a choice only through one letter
    "CAGATACAGA",
    "ACGTTGCATG",
    "ACGGTCAGCTA",
    "ANNANCNACN",
    "TGCACGT",
    "AAAAAAA",
    "GATTACA",
]


@pytest.mark.filterwarnings("ignore:fewer than n=")
@pytest.mark.parametrize("text", TRAPS)
def test_dinucleotide_shuffles_are_uniform(text: str) -> None:
    drawn = sequences.decode(sequences.shuffle(sequences.encode(text), 20_000, "dinucleotide", seed=1))
    assert is_uniform(drawn, admissible(text, "dinucleotide"))


@pytest.mark.filterwarnings("ignore:fewer than n=")
@pytest.mark.parametrize("text", ["ACGT", "AACGN", "AACCGG", "AAAAAC", "A"])
def test_mono_shuffles_are_uniform(text: str) -> None:
    drawn = sequences.decode(sequences.shuffle(sequences.encode(text), 20_000, "mono", seed=1))
    assert is_uniform(drawn, admissible(text, "mono"))


@pytest.mark.parametrize(("text", "kind"), [("AACCGT", "mono"), ("ACAACGATCA", "dinucleotide")])
def test_shuffles_are_uniform_over_seeds_too(text: str, kind: str) -> None:
    codes = sequences.encode(text)
    drawn = [sequences.decode(sequences.shuffle(codes, 1, kind, seed))[0] for seed in range(8000)]
    assert is_uniform(drawn, admissible(text, kind))


def test_shuffles_of_different_sequences_do_not_depend_on_each_other() -> None:
    """All sequences with the same letters are shuffled into the same ones."""
    possible = admissible("AACCGGT", "mono")
    shuffles = sequences.shuffle(sequences.encode(possible), 40, "mono")
    assert is_uniform(sequences.decode(shuffles.reshape(-1, 7)), possible)


@pytest.mark.parametrize("length", range(1, 8))
@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_brute_force(length: int, kind: str) -> None:
    codes = np.array(list(itertools.product((0, 3, 255), repeat=length)), np.uint8)
    kept = np.sort(codes) if kind == "mono" else np.concatenate([codes[:, :1], pairs_of(codes)], axis=1)
    _, group, sizes = np.unique(kept, axis=0, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(sequences.count_shuffles(codes, kind), sizes[group])


@pytest.mark.parametrize("text", TRAPS)
def test_counts_of_the_traps_are_those_of_brute_force(text: str) -> None:
    assert sequences.count_shuffles(sequences.encode(text), "dinucleotide") == len(admissible(text, "dinucleotide"))


def test_counts_are_rounded_exactly_and_infinite_beyond_float64() -> None:
    assert sequences.count_shuffles(np.repeat([0, 1], 26)) == math.comb(52, 26)  # below 2**53
    assert sequences.count_shuffles(np.repeat([0, 1], 500)) == float(math.comb(1000, 500))
    assert sequences.count_shuffles(np.repeat([0, 1], 600)) == math.inf
    assert sequences.count_shuffles(random_codes(5000), "dinucleotide") == math.inf
    assert sequences.count_shuffles(np.repeat([0, 1, 2], [10**6, 1, 1])) == (10**6 + 2) * (10**6 + 1)


@given(st.lists(st.sampled_from([0, 1, 2, 3, 17, 31, 255]), min_size=1, max_size=70))
def test_logarithms_are_those_of_the_counts(codes: list[int]) -> None:
    row = np.array([codes], np.uint8)
    logs = [cpu_sequences.log_count_shuffles(row, kind)[0] for kind in KINDS]
    exact = [math.log(reference_sequences.count_shuffles(codes, kind)) for kind in KINDS]
    np.testing.assert_allclose(logs, exact, rtol=1e-12, atol=1e-12)


def test_too_few_shuffles_are_warned_of_once() -> None:
    codes = sequences.encode(["ACACACACAC", "AACAGACCAG", "AAAACAAAAG"])
    with pytest.warns(UserWarning, match=r"than n=20 .* of sequence 0 \(1\), sequence 2 \(7\), so that") as seen:
        sequences.shuffle(codes, 20, "dinucleotide")
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match=r"sequence 0 \(1\), sequence 1 \(1\), sequence 2 \(1\) and 7 others"):
        sequences.shuffle(codes[[0] * 10], 2, "dinucleotide")
    sequences.shuffle(codes[2], 7, "dinucleotide")  # as many as there are

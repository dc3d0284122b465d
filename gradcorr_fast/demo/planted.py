"""Random sequences with planted motifs, and where the motifs are.

A positive sequence has motifs of one set, a negative one of a set that holds other motifs too, as in the synthetic data
of Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023): what tells them apart are the motifs, not their number.
"""

from typing import NamedTuple

import numpy as np

from .._types import Array

LENGTH = 200
CORE = {"GATA": "WGATAAGR", "AP-1": "TGAGTCAY", "ETS": "RCCGGAAGTR", "YY1": "AAGATGGCGGCY", "CEBP": "RTTGCGCAAY"}
"""Motifs of the positive sequences, as consensus sequences of well-known transcription factor families."""

OTHERS = {
    "TEAD": "RGGAATGYRR", "FOX": "TRTTTACWTW", "SOX": "CCATTGTTYW", "NRF1": "GCGCATGCGCR", "RUNX": "WAACCACARW",
    "MEF2": "CTATTTATAGM", "P53": "RACATGCCYG", "KLF": "GGGTGTGGCY", "STAT": "TTCCNGGAAR", "HNF4": "CAAAGTCCAY",
}  # fmt: skip
"""Further motifs, which occur in negative sequences only."""

IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "W": "AT", "M": "AC", "N": "ACGT",
}  # fmt: skip
AGREEMENT = 0.94  # probability that a planted letter is one the consensus allows


class Planted(NamedTuple):
    """Sequences, their labels, and what they were drawn from."""

    codes: Array
    """(N, L) uint8, A C G T = 0..3."""
    labels: Array
    """(N,) 1 = only core motifs."""
    ppm: Array
    """(N, L, 4) float32: the probability of each letter, 0.25 where nothing is planted."""


def generate(n_sequences: int, seed: int) -> Planted:
    """Draw sequences; the first half is positive.

    Parameters
    ----------
    n_sequences : int
    seed : int

    Returns
    -------
    Planted

    Examples
    --------
    >>> planted = generate(4, seed=0)
    >>> planted.codes.shape, planted.labels.tolist()
    ((4, 200), [1, 1, 0, 0])
    """
    rng = np.random.default_rng(seed)
    core = [m for consensus in CORE.values() for m in _both_strands(consensus)]
    everything = core + [m for consensus in OTHERS.values() for m in _both_strands(consensus)]
    ppm = np.full((n_sequences, LENGTH, 4), 0.25)
    labels = (np.arange(n_sequences) < (n_sequences + 1) // 2).astype(np.uint8)
    for sequence, label in zip(ppm, labels, strict=True):
        _plant(sequence, core if label else everything, rng)
    drawn = rng.random((n_sequences, LENGTH, 1)) > np.cumsum(ppm[..., :3], axis=-1)
    return Planted(drawn.sum(-1).astype(np.uint8), labels, ppm.astype(np.float32))


class Likeness(NamedTuple):
    """The motif that a part of a map is most like."""

    name: str
    start: int
    stop: int
    n_fitting: int
    """Letters of the sequence that its consensus allows."""


def most_alike(corrected: Array, codes: Array, first: int, last: int) -> Likeness:
    """Return which motif, of those that are planted anywhere, a map asks for about some positions, on either strand.

    Parameters
    ----------
    corrected : array, shape (L, 4)
        Corrected gradient, which says what each letter would do, also where the sequence has another.
    codes : array, shape (L,)
    first, last : int
        The motif begins at `first` at least, and ends before `last`.

    Examples
    --------
    >>> codes = np.array([3, 3, 0, 2, 0, 3, 0, 0, 2, 2, 1])
    >>> most_alike(np.eye(4)[codes] - 0.25, codes, 0, 11)
    Likeness(name='GATA', start=2, stop=10, n_fitting=8)
    """
    found = []
    for name, consensus in (CORE | OTHERS).items():
        for matrix in _both_strands(consensus):
            for start in range(first, last - len(matrix) + 1):
                part = slice(start, start + len(matrix))
                likeness = np.vdot(corrected[part], matrix - 0.25)
                likeness /= np.linalg.norm(corrected[part]) * np.linalg.norm(matrix - 0.25) + 1e-30
                allowed = matrix[np.arange(len(matrix)), codes[part]] > 0.1
                found.append((likeness, Likeness(name, part.start, part.stop, int(allowed.sum()))))
    return max(found)[1]


def _both_strands(consensus: str) -> list[Array]:
    """Position probability matrix of a consensus, and that of the other strand."""
    matrix = np.empty((len(consensus), 4))
    for row, symbol in zip(matrix, consensus, strict=True):
        allowed = np.array([letter in IUPAC[symbol] for letter in "ACGT"])
        row[:] = np.where(allowed, AGREEMENT / allowed.sum(), (1 - AGREEMENT) / max(4 - allowed.sum(), 1))
    matrix /= matrix.sum(1, keepdims=True)
    return [matrix, matrix[::-1, ::-1]]


def _plant(sequence: Array, motifs: list[Array], rng: np.random.Generator) -> None:
    """Write three to five motifs that do not overlap into the probabilities of a sequence."""
    chosen = [motifs[k] for k in rng.integers(len(motifs), size=rng.integers(3, 6))]
    free = LENGTH - sum(map(len, chosen))
    gaps = np.sort(rng.integers(0, free + 1, len(chosen)))
    position = 0
    for motif, start in zip(chosen, gaps, strict=True):
        sequence[start + position : start + position + len(motif)] = motif
        position += len(motif)

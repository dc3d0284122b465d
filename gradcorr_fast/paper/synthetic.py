"""The papers' synthetic regulatory code: random sequences with planted motifs, and where the motifs are.

The same distribution as the authors' data, not the same sequences.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._types import Array
from .datasets import Dataset, random_split

__all__ = ["Motif", "generate", "motif_pools"]


MOTIFS = Path(__file__).with_name("motifs.jaspar")
N_CORE, N_BACKGROUND = 5, 50
AS_COMMITTED = """
0909.1 0004.1 0006.1 0913.1 0663.1 0664.1 0667.1 0668.1 0038.1 0046.2 0682.1 0050.2 0057.1 0063.1 0693.1 0697.1 0701.1
0080.4 0083.3 0084.1 0724.1 0103.2 0124.2 0749.1 0752.1 0754.1 0142.1 0143.3 0757.1 0763.1 0765.1 0160.1 0161.1 0163.1
0164.1 0461.2 0464.2 0786.1 0471.1 0482.1 0489.1 0492.1 0498.2 0823.1 0507.1 0830.1 0513.1 0512.2 0838.1 0593.1
"""
"""JASPAR numbers of the background motifs that the authors' notebook takes, some of which look like core motifs."""

LOOK_ALIKES = "0004.1 0664.1 0080.4 0823.1 0632.1 0464.2"
"""Those of the filtered background that correlate by 0.8 or more with a core motif: Arnt, MLXIPL, HEY1, Tcfl5 and
BHLHE40 with MAX, SPI1 with Gabpa; aligned on either strand with an overlap of 6 or more."""
INSTEAD = "0693.1 0891.1 0870.1 0724.1 0083.3 0696.1"
"""The next of the authors' draw that neither do nor are on their list: Vdr, GSC2, Sox1, VENTX, SRF, ZIC1."""

BACKGROUNDS = ("filtered", "as_committed", "distinct")
N_MOTIFS, SHARES = (3, 4, 5, 6, 7), (0.50, 0.25, 0.17, 0.05, 0.03)
"""How many motifs a sequence has, and with which probability."""


class Motif(NamedTuple):
    """A transcription factor's binding motif of JASPAR, or its reverse complement."""

    name: str
    """Such as "MA0079.3 SP1", with "_rc" after a reverse complement."""
    counts: Array
    """(width, 4) int64, columns A, C, G, T."""

    @property
    def ppm(self) -> Array:
        """(width, 4): the probability of each letter at each position."""
        ppm: Array = self.counts / self.counts.sum(1, keepdims=True)
        return ppm


def motif_pools(background: str = "filtered") -> tuple[list[Motif], list[Motif]]:
    """Return the motifs that positive and negative sequences are made of.

    Parameters
    ----------
    background : {"filtered", "as_committed", "distinct"}
        Whether background motifs that look like core motifs are left out. "filtered": those of the authors' list, which
        lacks SPI1 and most relatives of MAX; "as_committed": none, as in the authors' notebook, which takes its list
        for other numbers than they are; "distinct": all, as the paper says. Weights that the authors published take
        such motifs for evidence, so that the negative sequences they were trained on will not have had them.

    Returns
    -------
    core, everything : list of Motif
        Core motifs (10), and those followed by background motifs (110), each followed by its reverse complement.

    Raises
    ------
    ValueError
        For another background.

    Examples
    --------
    >>> core, everything = motif_pools()
    >>> len(core), len(everything), core[1].name
    (10, 110, 'MA0079.3 SP1_rc')
    """
    if background not in BACKGROUNDS:
        raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}; got {background!r}")
    motifs = _read_motifs()
    core = motifs[:N_CORE]
    by_number = {motif.name[2:8]: motif for motif in motifs}
    others = motifs[N_CORE : N_CORE + N_BACKGROUND]
    if background == "as_committed":
        others = [by_number[number] for number in AS_COMMITTED.split()]
    if background == "distinct":
        others = [motif for motif in others if motif.name[2:8] not in LOOK_ALIKES.split()]
        others += [by_number[number] for number in INSTEAD.split()]
    core, others = (
        [strand for motif in some for strand in (motif, Motif(f"{motif.name}_rc", motif.counts[::-1, ::-1]))]
        for some in (core, others)
    )
    return core, core + others


@cache
def _read_motifs() -> list[Motif]:
    lines = [line for line in MOTIFS.read_text().splitlines() if not line.startswith("#")]
    records = [lines[k : k + 5] for k in range(0, len(lines), 5)]
    return [
        Motif(" ".join(title[1:].split()), np.array([row.split()[2:-1] for row in rows], np.int64).T)
        for title, *rows in records
    ]


def generate(n_sequences: int = 20_000, length: int = 200, seed: int = 22, *, background: str = "filtered") -> Dataset:
    """Draw sequences with planted motifs; the first half is positive.

    Parameters
    ----------
    n_sequences : int
    length : int
        Positions of a sequence, at least 50.
    seed : int
        Of the sequences and of the split.
    background : {"filtered", "as_committed", "distinct"}
        See `motif_pools`.

    Returns
    -------
    Dataset
        `x` (N, L, 4) one-hot, `codes` (N, L), labels `y` (N, 1), the ground truth `ppm` (N, L, 4), 0.25 where nothing
        is planted, and the `split`.

    Raises
    ------
    ValueError
        If the length is too small for three motifs, or for another background.

    Notes
    -----
    Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), as their notebook has it. A positive sequence has 3 to 7
    motifs (probabilities 0.50, 0.25, 0.17, 0.05, 0.03) drawn from the core motifs and their reverse complements, a
    negative one from those of the background too; the gaps between them are uniform numbers scaled to the length and
    rounded, drawn again until they add up. Letters are drawn from the columns of motifs, uniformly elsewhere.

    Examples
    --------
    >>> data = generate(1000)
    >>> data.x.shape, data.y[:2].tolist(), [len(rows) for rows in data.split]
    ((1000, 200, 4), [[1], [1]], [700, 100, 200])
    """
    if length < 50:
        raise ValueError(f"length is {length}; three motifs with gaps need at least 50 positions")
    rng = np.random.default_rng(seed)
    core, everything = motif_pools(background)
    n_positive = (n_sequences + 1) // 2
    ppm = np.concatenate(
        [_plant(n_positive, length, core, rng), _plant(n_sequences - n_positive, length, everything, rng)]
    )
    above = rng.random((n_sequences, length, 1)) >= np.cumsum(ppm[..., :3], axis=-1)
    labels = (np.arange(n_sequences) < n_positive).astype(np.uint8)[:, None]
    split = random_split(n_sequences, rng)
    return Dataset(above.sum(-1, dtype=np.uint8), labels, split, ppm.astype(np.float32))


def _plant(n_sequences: int, length: int, motifs: list[Motif], rng: np.random.Generator) -> Array:
    """Draw the probabilities of letters (n_sequences, length, 4)."""
    widths = np.array([len(motif.counts) for motif in motifs])
    columns = np.concatenate([motif.ppm for motif in motifs])
    chosen = _choose(n_sequences, length, widths, rng)
    ppm = np.full((n_sequences, length, 4), 0.25)
    taken = np.where(chosen < 0, 0, widths[chosen])
    starts = np.cumsum(_gaps(chosen, length - taken.sum(1), rng), axis=1) + np.cumsum(taken, axis=1) - taken
    rows, slots = np.nonzero(chosen >= 0)
    motif, start = chosen[rows, slots], starts[rows, slots]
    offset = np.arange(widths[motif].sum()) - np.repeat(np.cumsum(widths[motif]) - widths[motif], widths[motif])
    first_column = np.cumsum(widths) - widths
    rows, start, motif = (np.repeat(column, widths[motif]) for column in (rows, start, motif))
    ppm[rows, start + offset] = columns[first_column[motif] + offset]
    return ppm


def _choose(n_sequences: int, length: int, widths: Array, rng: np.random.Generator) -> Array:
    """Draw the motifs of each sequence (n_sequences, 7), -1 where it has fewer, so that they are shorter than it."""
    chosen = np.full((n_sequences, N_MOTIFS[-1]), -1)
    todo = np.arange(n_sequences)
    while len(todo):
        n_motifs = rng.choice(N_MOTIFS, len(todo), p=SHARES)
        drawn = rng.integers(len(widths), size=(len(todo), N_MOTIFS[-1]))
        drawn[np.arange(N_MOTIFS[-1]) >= n_motifs[:, None]] = -1
        chosen[todo] = drawn
        todo = todo[np.where(drawn < 0, 0, widths[drawn]).sum(1) >= length]
    return chosen


def _gaps(chosen: Array, free: Array, rng: np.random.Generator) -> Array:
    """Draw the gap before each motif (n_sequences, 7); the last gap of a sequence is what is left."""
    n_slots = chosen.shape[1]
    n_gaps = (chosen >= 0).sum(1, keepdims=True) + 1
    gaps = np.zeros((len(chosen), n_slots + 1), np.int64)
    todo = np.arange(len(chosen))
    while len(todo):
        drawn = rng.uniform(0, 2, (len(todo), n_slots + 1)) * (np.arange(n_slots + 1) < n_gaps[todo])
        drawn *= (free[todo] / drawn.sum(1))[:, None]
        gaps[todo] = np.rint(drawn)
        todo = todo[gaps[todo].sum(1) != free[todo]]
    return gaps[:, :n_slots]

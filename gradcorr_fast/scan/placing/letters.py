"""Alleles as codes in one array: compared with a genome, trimmed, moved to the left, and written."""

from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._types import Array
from ...sequences import LETTERS, UNKNOWN, encode
from ..inputs.genome import Genome

_CODES = encode(bytes(range(256)))
_LETTERS = np.frombuffer(LETTERS + b"N" * (UNKNOWN + 1 - len(LETTERS)), np.uint8)
_WIDTH, _CELLS = 32, 1 << 22  # letters that are first looked at before an indel; then as many as make an array so large


class Texts(NamedTuple):
    """Parts of one array of codes, such as the alleles of a column."""

    codes: Array
    starts: Array
    lengths: Array

    @classmethod
    def of(cls, column: pa.Array) -> Self:
        """Take them from a column of pyarrow's strings; null is an empty one."""
        array = pc.fill_null(column, "")
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        _, offsets, letters = array.buffers()
        places = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
        codes = _CODES[np.frombuffer(letters or b"", np.uint8)]
        return cls(codes, places[:-1], np.diff(places))

    def take(self, rows: Array) -> "Texts":
        """Return some of them."""
        return Texts(self.codes, self.starts[rows], self.lengths[rows])

    def flat(self) -> tuple[Array, Array, Array]:
        """Return of each letter the number of its text, its place in it, and its code."""
        owner = np.repeat(np.arange(len(self.lengths)), self.lengths)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        return owner, place, self.codes[self.starts[owner] + place]

    def have_unknown(self) -> Array:
        """Return which have a letter that is not A, C, G or T."""
        owner, _, codes = self.flat()
        return np.bincount(owner[codes == UNKNOWN], minlength=len(self.lengths)) > 0


def compare(texts: Texts, codes: Array, places: Array) -> tuple[Array, Array]:
    """Return which texts differ from codes at their places, and which have something unknown there on either side."""
    owner, number, own = texts.flat()
    others = codes[places[owner] + number]
    is_unknown = (own == UNKNOWN) | (others == UNKNOWN)
    differ, unknown = (
        np.bincount(owner[is_so], minlength=len(places)) > 0 for is_so in ((own != others) & ~is_unknown, is_unknown)
    )
    return differ, unknown


def trim(ref: Texts, alt: Texts) -> tuple[Texts, Texts]:
    """Take off the suffix that two alleles share, then the prefix."""
    shortest = np.minimum(ref.lengths, alt.lengths)
    last = ref.starts + ref.lengths - 1, alt.starts + alt.lengths - 1
    tail = _count_shared(ref.codes, last[0], alt.codes, last[1], shortest, -1)
    head = _count_shared(ref.codes, ref.starts, alt.codes, alt.starts, shortest - tail, 1)
    return Texts(ref.codes, ref.starts + head, ref.lengths - head - tail), Texts(
        alt.codes, alt.starts + head, alt.lengths - head - tail
    )


def _count_shared(a: Array, i: Array, b: Array, j: Array, limits: Array, step: int) -> Array:
    """Count equal codes from two places on, in one direction."""
    counts = np.zeros(len(limits), np.int64)
    rows = np.flatnonzero(limits)
    while rows.size:
        rows = rows[a[i[rows] + step * counts[rows]] == b[j[rows] + step * counts[rows]]]
        counts[rows] += 1
        rows = rows[counts[rows] < limits[rows]]
    return counts


def count_moves(genome: Genome, contig: str, places: Array, texts: Texts) -> Array:
    """Count by how many bp insertions or deletions of texts can move to the left and mean the same.

    One moves past the letter before it if that is its own last one, which then becomes its first.
    """
    moves, width = np.zeros(len(places), np.int64), _WIDTH
    rows = np.arange(len(places))
    while rows.size:
        lengths = texts.lengths[rows, None]
        before = genome.windows(contig, places[rows] - moves[rows] - width, width)[:, ::-1]
        last = (lengths - 1 - moves[rows, None] - np.arange(width)) % lengths
        is_same = (before == texts.codes[texts.starts[rows, None] + last]) & (before != UNKNOWN)
        n_same = np.where(is_same.all(1), width, is_same.argmin(1))
        moves[rows] += n_same
        rows = rows[n_same == width]
        width = max(_WIDTH, _CELLS // max(rows.size, 1 << 8))
    return moves


def write(texts: Texts, moves: Array, anchors: Array, is_before: Array) -> pa.StringArray:
    """Return texts as pyarrow's strings, those of indels with the letter before or after.

    Parameters
    ----------
    texts : Texts
    moves : array of int
        How far each moved to the left, which rotates its letters.
    anchors : array of int
        Code of the letter, -1 for none.
    is_before : array of bool
    """
    lengths = texts.lengths + (anchors >= 0)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place -= (is_before & (anchors >= 0))[owner]
    is_own = (place >= 0) & (place < texts.lengths[owner])
    codes = anchors[owner]
    owner, place = owner[is_own], place[is_own]
    codes[is_own] = texts.codes[texts.starts[owner] + (place - moves[owner]) % texts.lengths[owner]]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(_LETTERS[codes]))

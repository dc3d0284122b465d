"""Windows round variants: where they lie, and their DNA with either allele."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..._types import Array
from ..inputs.genome import Genome
from ..inputs.regions import read_regions
from .letters import Texts


@dataclass(frozen=True, eq=False)
class WindowOptions:
    """How variants are placed.

    Parameters
    ----------
    length : int
        Of a window, in bp.
    edges : {"pad", "reject"}
        Windows that leave their contig get unknown letters there, or the status "out_of_bounds".
    max_n : float
        Largest share of unknown letters of the genome in a window; beyond, the status is "n_in_window". Letters outside
        of the contig do not count, `pad_bp` tells of them.
    max_allele_bp : int, optional
        Longer alleles are "too_long", after trimming. By default and at most the longest that fits into every window:
        (length - step) // 2, with step 0 for centred windows.
    step : int, optional
        Distance of windows that are cut by position alone, so that neighbouring variants share them. By default each
        window is centred on its variant.
    chroms : sequence of str, optional
        Only variants on these contigs, by any of their names; others are "outside_regions".
    regions : optional
        Only variants whose REF shares a position with one of these, see `regions.read_regions`; others are
        "outside_regions".

    Raises
    ------
    ValueError
        If windows are too short, or an option is none of these.

    Notes
    -----
    With pos0 the 0-based position of the variant as scored, a centred window begins at pos0 - length // 2: an odd
    length has as many letters on either side, an even one a letter more on the left. Of the windows that begin at
    multiples of `step`, a variant gets the one whose centred position is nearest, of two the left one; so it is at the
    ends of contigs too, where windows are padded or rejected as others are.

    Examples
    --------
    >>> WindowOptions(length=200).max_allele_bp, WindowOptions(length=200, step=50).max_allele_bp
    (100, 75)
    >>> WindowOptions(length=200, step=50).starts(np.array([1000, 1024, 1025, 1026]))
    array([900, 900, 900, 950])
    """

    length: int
    edges: str = "pad"
    max_n: float = 0.05
    max_allele_bp: int | None = None
    step: int | None = None
    chroms: Any = None
    regions: Any = None

    def __post_init__(self) -> None:
        longest = (self.length - (self.step or 0)) // 2
        if self.step is not None and self.step < 1:
            raise ValueError(f"step is {self.step}; it must be at least 1 bp")
        if longest < 1:
            raise ValueError(
                f"windows of {self.length} bp are too short; they need at least {(self.step or 0) + 2} bp, step + 2"
            )
        if self.edges not in ("pad", "reject"):
            raise ValueError(f"edges must be pad or reject; got {self.edges!r}")
        if not 0 <= self.max_n <= 1:
            raise ValueError(f"max_n is {self.max_n}; it must lie in 0 to 1")
        limit = longest if self.max_allele_bp is None else self.max_allele_bp
        if not 1 <= limit <= longest:
            raise ValueError(f"max_allele_bp is {limit}; in these windows it must lie in 1 to {longest}")
        object.__setattr__(self, "max_allele_bp", limit)
        if isinstance(self.chroms, str):
            object.__setattr__(self, "chroms", (self.chroms,))
        if self.regions is not None:  # read once for all batches
            object.__setattr__(self, "regions", read_regions(self.regions))

    def starts(self, pos0: Array) -> Array:
        """Return where the windows of 0-based positions begin."""
        centred = pos0 - self.length // 2
        if self.step is None:
            return centred
        return (centred + (self.step - 1) // 2) // self.step * self.step


def by_contig(chrom: Any, genome: Genome) -> Iterator[tuple[str | None, str, Array]]:
    """Yield the contig, the name and the rows of each name in a column; the contig is None if the genome lacks it."""
    numbers, names = encode_names(chrom)
    for k, name in enumerate(names):
        yield genome.resolve(name), name, np.flatnonzero(numbers == k)


def cut_windows(
    rows: Any, genome: Genome, options: WindowOptions, *, allele: str = "ref", side: str = "right"
) -> Array:
    """Cut the windows of placed variants, with one of their alleles.

    Parameters
    ----------
    rows : pyarrow.Table or RecordBatch
        Of `alleles.place`, those with a window_start, in any order.
    genome : Genome
    options : WindowOptions
        Those with which the rows were placed.
    allele : {"ref", "alt"}
        The genome as it is, or with the variant.
    side : {"right", "left"}
        Where the genome follows that an indel makes room for or pushes out of the window. "right": the window of ALT
        begins where that of REF does, and every letter up to the variant has the same place in both. "left": it ends
        where that of REF does, and every letter after the variant has the same place. The window of REF is the same.

    Returns
    -------
    array, uint8, shape (n_rows, length)
        A C G T = 0..3; 255 for unknown letters and outside of the contig.

    Raises
    ------
    ValueError
        If a row has no window, or allele or side is none of these.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gradcorr_fast.scan.placing.alleles import place_all
    >>> from gradcorr_fast.scan.inputs.variants import read_variants
    >>> from gradcorr_fast.sequences import decode
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">1\\nACGTTTGCAGGCAT\\n")
    ...     genome, options = Genome(f"{folder}/tiny.fa"), WindowOptions(length=8)
    ...     (rows,) = place_all(read_variants(["1:7:GC:G"]), genome, options)
    ...     print([decode(cut_windows(rows, genome, options, allele=a, side=s))[0] for a, s in
    ...            [("ref", "right"), ("alt", "right"), ("alt", "left")]])
    ['GTTTGCAG', 'GTTTGAGG', 'CGTTTGAG']
    """
    if allele not in ("ref", "alt") or side not in ("right", "left"):
        raise ValueError(f"allele must be ref or alt, and side right or left; got {allele!r} and {side!r}")
    kind = REF if allele == "ref" else ALT if side == "right" else ALT_LEFT
    return Windows(rows, genome, options.length).cut(np.arange(len(rows)), np.full(len(rows), kind))


REF, ALT, ALT_LEFT = range(3)
"""What a window is cut with: the genome as it is, the variant, or the variant with the end of the window kept."""


class Windows:
    """The windows of placed variants, cut in any order; columns are looked at once, a cut is a few array operations.

    Parameters
    ----------
    rows : pyarrow.Table or RecordBatch
        Of `alleles.place`, those with a window_start.
    genome : Genome
    length : int
        Of a window, in bp.
    """

    def __init__(self, rows: Any, genome: Genome, length: int) -> None:
        if rows["window_start"].null_count:
            raise ValueError("rows without a window_start cannot be cut; pass those whose status is ok")
        self._genome, self._length = genome, length
        self.ref, self.alt = Texts.of(rows["norm_ref"]), Texts.of(rows["norm_alt"])
        self.start = np.asarray(rows["window_start"], np.int64)
        """Where the window of REF begins."""
        self.offset = np.asarray(rows["norm_pos"], np.int64) - 1 - self.start
        """Of the variant in it."""
        self.growth = self.alt.lengths - self.ref.lengths
        """By how many letters ALT is longer than REF."""
        self.contig, names = encode_names(rows["chrom"])
        """Number of its contig."""
        self._contigs = [(genome.resolve(name), name) for name in names]

    def cut(self, index: Array, kind: Array) -> Array:
        """Return the codes of some windows, each cut as its kind says, `REF`, `ALT` or `ALT_LEFT`; (n, length)."""
        growth = np.where(kind == REF, 0, self.growth[index])
        shift = np.where(kind == ALT_LEFT, growth, 0)
        starts, offsets = self.start[index] + shift, self.offset[index] - shift
        result = self._of_genome(index, starts)
        if (indels := np.flatnonzero(growth)).size:
            after = self._of_genome(index[indels], (starts - growth)[indels])
            result[indels] = np.where(np.arange(self._length) < offsets[indels, None], result[indels], after)
        changed = np.flatnonzero(kind != REF)
        owner, number, codes = self.alt.take(index[changed]).flat()
        row = changed[owner]
        column = offsets[row] + number
        is_inside = column < self._length  # but for the last letter of the longest insertions
        result[row[is_inside], column[is_inside]] = codes[is_inside]
        return result

    def _of_genome(self, index: Array, starts: Array) -> Array:
        return genome_windows(self._genome, self._contigs, self.contig[index], starts, self._length)


def encode_names(column: Any) -> tuple[Array, list[str]]:
    """Return the number of each name of a column, and the names."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array.dictionary_encode()
    return np.asarray(encoded.indices), encoded.dictionary.to_pylist()


def genome_windows(
    genome: Genome, contigs: Sequence[tuple[str | None, str]], number: Array, starts: Array, length: int
) -> Array:
    """Return the codes of windows in any order, (n, length).

    `contigs` are the genome's and the rows' names of contigs, the former None where the genome has none, and `number`
    tells which is a window's.
    """
    present = np.flatnonzero(np.bincount(number, minlength=len(contigs))).tolist()
    for k in present:
        if contigs[k][0] is None:
            raise ValueError(
                f"{genome.path} has no contig {contigs[k][1]!r}; pass the genome that the rows were placed on"
            )
    if len(present) == 1:
        return genome.windows(str(contigs[present[0]][0]), starts, length)
    result = np.empty((len(starts), length), np.uint8)
    for k in present:
        rows = np.flatnonzero(number == k)
        result[rows] = genome.windows(str(contigs[k][0]), starts[rows], length)
    return result

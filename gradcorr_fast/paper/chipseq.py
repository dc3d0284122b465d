"""Data sets like the papers' ChIP-seq data, from peaks and a genome, or from sequences of peaks alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .. import sequences
from .._check import optional
from .._types import Array
from ..scan.inputs.genome import Genome
from ..scan.inputs.regions import is_inside, read_regions
from .datasets import Dataset, random_split

__all__ = ["from_fasta", "generate"]

Windows = dict[str, Array]
"""Starts of windows on each contig, ascending."""


def generate(
    peaks: Any, open_regions: Any, fasta: str | Path, *, length: int = 200, seed: int = 22, max_unknown: float = 0.0
) -> Dataset:
    """Cut windows round peaks, and as many round open regions that overlap no peak.

    Parameters
    ----------
    peaks, open_regions : path or regions
        Such as narrowPeak and BED files of ChIP-seq and DNase-seq in one cell line; see `scan.read_regions`.
    fasta : str or Path
        The genome that they refer to.
    length : int
        Of the windows, in bp. They are centred on the summit of a narrowPeak, on the middle of any other region.
    seed : int
        Of the choice of negatives, and of the split.
    max_unknown : float
        Largest share of letters that are unknown, or lie beyond the end of a contig.

    Returns
    -------
    Dataset
        Positives first, then as many negatives, in the order of the genome, each window once; the larger class is
        sampled. Regions on contigs that the genome lacks are left out.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file does not exist or is not what it should be, or if of a class no window is left.

    Notes
    -----
    Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023): peaks against sites of DNase hypersensitivity. A negative
    shares no position with any peak, nor with the window of a positive.

    Examples
    --------
    >>> generate("CTCF.narrowPeak.gz", "DNase.bed.gz", "hg38.fa")  # doctest: +SKIP
    """
    rng = np.random.default_rng(seed)
    peak_regions, sites = read_regions(peaks), read_regions(open_regions)
    with Genome(fasta) as genome:
        positive = _place(peak_regions, genome, length)
        windows = [(contig, start, start + length) for contig, starts in positive.items() for start in starts]
        taken = pa.concat_tables([peak_regions, read_regions(windows)])
        negative = {
            contig: starts[~is_inside(taken, genome, contig, starts, starts + length)]
            for contig, starts in _place(sites, genome, length).items()
        }
        classes = [_cut(windows, genome, length, max_unknown) for windows in (positive, negative)]
    for name, codes in zip(("peak", "open region without a peak"), classes, strict=True):
        if not len(codes):
            raise ValueError(
                f"no {name} is left in {fasta}; are the regions of the same genome, and the names of its contigs like "
                f"{', '.join(list(genome.lengths)[:3])}?"
            )
    n = min(map(len, classes))
    return _dataset([codes[np.sort(rng.choice(len(codes), n, replace=False))] for codes in classes], rng)


def from_fasta(fasta: str | Path, *, seed: int = 22) -> Dataset:
    """Make a data set of sequences of peaks, and a shuffle of each that keeps its dinucleotides.

    Parameters
    ----------
    fasta : str or Path
        Sequences of one length, plain or compressed by gzip.
    seed : int
        Of the shuffles, and of the split.

    Returns
    -------
    Dataset
        The sequences, then their shuffles.

    Raises
    ------
    ValueError
        If the sequences have different lengths.
    MissingBackendError
        If pysam is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "peaks.fa").write_text(">a\\nACGTGGAC\\n>b\\nTTGACCTA\\n")
    ...     from_fasta(f"{folder}/peaks.fa").y.tolist()
    [[1], [1], [0], [0]]
    """
    pysam = optional("pysam", "genome")
    with pysam.FastxFile(str(fasta)) as records:
        codes = sequences.encode([record.sequence for record in records])
    shuffled = sequences.shuffle(codes, 1, "dinucleotide", seed)[:, 0]
    return _dataset([codes, shuffled], np.random.default_rng(seed))


def _dataset(classes: list[Array], rng: np.random.Generator) -> Dataset:
    """Put positives and negatives together."""
    labels = np.repeat(np.array([1, 0], np.uint8), [len(codes) for codes in classes])
    return Dataset(np.concatenate(classes), labels[:, None], random_split(len(labels), rng))


def _place(regions: pa.Table, genome: Genome, length: int) -> Windows:
    """Centre a window on each region of the genome."""
    chroms = regions["chrom"].to_numpy()
    starts = regions["centre"].to_numpy() - length // 2
    contigs = {chrom: genome.resolve(chrom) for chrom in set(chroms)}
    contig_of_start = np.array([contigs[chrom] for chrom in chroms], object)
    return {
        contig: np.unique(starts[contig_of_start == contig]) for contig in genome.lengths if contig in contigs.values()
    }


def _cut(windows: Windows, genome: Genome, length: int, max_unknown: float) -> Array:
    """Return the codes of windows, (N, length), without those with too many unknown letters."""
    codes = [genome.windows(contig, starts, length) for contig, starts in windows.items()]
    found = np.concatenate([np.empty((0, length), np.uint8), *codes])
    kept: Array = found[(found == sequences.UNKNOWN).mean(1) <= max_unknown]
    return kept

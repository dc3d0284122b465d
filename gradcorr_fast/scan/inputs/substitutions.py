"""Every single-base change in some regions of a genome, as a list of variants."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ..._types import RegionsLike
from .genome import Genome
from .regions import read_regions
from .variants import SCHEMA

OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Codes of the other letters, for each."""
LETTERS = np.array(list("ACGT"), object)


def count_substitutions(regions: RegionsLike, genome: Genome) -> int:
    """Return how many substitutions there are in some regions at most: those of known letters.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">1\\nACNT\\n")
    ...     count_substitutions("1:2-9", Genome(f"{folder}/tiny.fa"))
    9
    """
    found = read_regions(regions)
    contigs = (genome.resolve(name) for name in found["chrom"].fill_null("").to_pylist())
    ends = [genome.lengths.get(contig or "", 0) for contig in contigs]
    starts, stops = (found[name].fill_null(0).to_numpy() for name in ("start", "stop"))
    return 3 * int(np.maximum(np.minimum(stops, ends) - starts, 0).sum())


def every_substitution(regions: RegionsLike, genome: Genome, *, n_rows: int = 3 << 14) -> Iterator[pa.RecordBatch]:
    """Yield all substitutions of the letters in some regions, three for each position.

    Parameters
    ----------
    regions
        See `regions.read_regions`; where regions overlap, a position comes once for each.
    genome : Genome
    n_rows : int
        Largest number of rows of a batch.

    Yields
    ------
    pyarrow.RecordBatch
        As `variants.read_variants` yields them: one record for each position whose letter is known.

    Raises
    ------
    ValueError
        If a region lies on no contig of the genome.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">1\\nACNT\\n")
    ...     (batch,) = every_substitution("1:2-4", Genome(f"{folder}/tiny.fa"))
    >>> batch.select(["record", "pos", "ref", "alt"]).slice(3, 1).to_pylist()
    [{'record': 1, 'pos': 4, 'ref': 'T', 'alt': 'A'}]
    """
    n_records = 0
    for region in read_regions(regions).to_pylist():
        contig = genome.resolve(region["chrom"])
        if contig is None:
            raise ValueError(f"the genome has no contig {region['chrom']}; it has {genome.suggest(region['chrom'])}")
        stop = min(region["stop"], genome.lengths[contig])
        for first in range(region["start"], stop, n_rows // 3):
            codes = genome.codes(contig, first, min(first + n_rows // 3, stop))
            known = np.flatnonzero(codes < 4)
            ref = np.repeat(codes[known], 3)
            yield pa.record_batch(
                [
                    np.repeat(n_records + np.arange(len(known)), 3),
                    np.tile(np.arange(3, dtype=np.int32), len(known)),
                    pa.array(np.full(len(ref), contig, object), pa.string()),
                    np.repeat(first + known + 1, 3),
                    pa.nulls(len(ref), pa.string()),
                    pa.array(LETTERS[ref], pa.string()),
                    pa.array(LETTERS[OTHERS[codes[known]].reshape(-1)], pa.string()),
                ],
                schema=SCHEMA,
            )
            n_records += len(known)

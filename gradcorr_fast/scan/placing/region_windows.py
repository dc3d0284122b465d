"""Windows of one length centred on regions: where they lie, what is wrong with them, and their DNA."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._types import Array, RegionsLike
from ...sequences import reverse_complement
from ..inputs.genome import Genome
from ..inputs.regions import read_regions
from .windows import WindowOptions, by_contig, encode_names, genome_windows

ROW = pa.schema(
    [
        ("region", pa.int64()),
        ("chrom", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("name", pa.string()),
        ("centre", pa.int64()),
        ("contig", pa.string()),
        ("window_start", pa.int64()),
        ("strand", pa.string()),
        ("n_fraction", pa.float32()),
        ("pad_bp", pa.int32()),
        ("status", pa.string()),
    ]
)
"""The columns of a table of regions: one row for each, in the order of the input."""
REGION_STATUSES = {
    "unreadable": "the line is no region; the name tells which it is",
    "contig_missing": "the genome has no such contig",
    "out_of_bounds": "the window lies outside of its contig, or leaves it and must not",
    "n_in_window": "too much of the window is unknown",
    "model_failed": "the model gave no finite number",
    "ok": "attributed",
}
"""What may become of a region; of several, the first."""
BATCH_ROWS = 1 << 16
_EVERYTHING = np.iinfo(np.int64).max


def place_regions(source: RegionsLike, genome: Genome, options: WindowOptions) -> Iterator[pa.Table]:
    """Find the windows of regions.

    Parameters
    ----------
    source
        See `regions.read_regions`.
    genome : Genome
    options : WindowOptions
        Of which length, edges and max_n count.

    Yields
    ------
    pyarrow.Table
        The columns of `ROW`: region, the number in the input, from 0; chrom, start, stop and name as given; centre,
        0-based, the summit where a narrowPeak tells one, else (start + stop) // 2; contig, the genome's own name of it;
        window_start, centre - length // 2, negative where it lies before the contig; strand, "-" where `cut_regions`
        gives the reverse complement of the window, otherwise "+" or "."; n_fraction, unknown letters of the contig in
        the window, divided by its length; pad_bp, letters outside of the contig, which n_fraction does not count;
        status, of `REGION_STATUSES` the first that applies. What a missing contig does not tell is null, and so are
        start and stop of what is no region, whose name tells which line it is.

    Raises
    ------
    ValueError
        If no region lies on a contig of the genome, or most lines are no regions.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">1\\nACGTNNNNGGCAT\\n")
    ...     options = WindowOptions(length=4)
    ...     (rows,) = place_regions(["chr1:3-5", "chr1:9", "chr2:1"], Genome(f"{folder}/tiny.fa"), options)
    >>> for row in rows.select(["chrom", "centre", "window_start", "status"]).to_pylist():
    ...     print(*row.values())
    chr1 3 1 n_in_window
    chr1 10 8 ok
    chr2 None None contig_missing
    """
    regions = read_regions(source, keep_unreadable=True)
    names = regions.filter(regions["start"].is_valid())["chrom"].unique().to_pylist()
    if names and not any(map(genome.resolve, names)):
        raise ValueError(
            f"{genome.path} has no contig of the regions ({', '.join(names[:3])}); its contigs are "
            f"{genome.suggest(names[0])}"
        )
    for start in range(0, len(regions), BATCH_ROWS):
        yield _place(regions.slice(start, BATCH_ROWS), start, genome, options)


def _place(regions: pa.Table, first: int, genome: Genome, options: WindowOptions) -> pa.Table:
    n, length = len(regions), options.length
    begins, ends, centre = (pc.fill_null(regions[name], 0).to_numpy().copy() for name in ("start", "stop", "centre"))
    contig = np.full(n, None, object)
    window, n_unknown, n_outside = np.zeros((3, n), np.int64)
    for found, _, rows in by_contig(regions["chrom"], genome):
        if found is None:
            continue
        size = genome.lengths[found]
        contig[rows] = found
        goes_on = rows[ends[rows] == _EVERYTHING]
        centre[goes_on] = (begins[goes_on] + size) // 2
        starts = options.starts(centre[rows])
        window[rows] = starts
        n_unknown[rows] = genome.count_unknown(found, starts, length)
        n_outside[rows] = length - (np.minimum(starts + length, size) - np.maximum(starts, 0)).clip(0)
    is_missing = contig == None  # noqa: E711  (elementwise)
    is_unreadable = regions["start"].is_null().to_numpy()
    is_missing |= is_unreadable
    is_ = {
        "unreadable": is_unreadable,
        "contig_missing": is_missing,
        "out_of_bounds": n_outside >= (1 if options.edges == "reject" else length),
        "n_in_window": n_unknown > options.max_n * length,
        "ok": ~is_missing,
    }
    status = np.array(list(is_), object)[np.argmax(list(is_.values()), axis=0)]
    columns = {
        "region": np.arange(first, first + n),
        **{name: regions[name] for name in ("chrom", "start", "stop", "name")},
        "centre": pa.array(centre, mask=is_unreadable | is_missing & (ends == _EVERYTHING)),
        "contig": pa.array(contig, pa.string()),
        "window_start": pa.array(window, mask=is_missing),
        "strand": regions["strand"],
        "n_fraction": pa.array((n_unknown / length).astype(np.float32), mask=is_missing),
        "pad_bp": pa.array(n_outside.astype(np.int32), mask=is_missing),
        "status": pa.array(status, pa.string()),
    }
    return pa.table(columns, schema=ROW)


def cut_regions(rows: pa.Table, genome: Genome, length: int) -> Array:
    """Cut the windows of placed regions, (n, length) uint8; 255 for unknown letters and outside of the contig.

    Those of regions on the strand "-" are reverse complements.
    """
    number, names = encode_names(rows["contig"])
    contigs = [(genome.resolve(name), name) for name in names]
    codes = genome_windows(genome, contigs, number, rows["window_start"].to_numpy(), length)
    is_minus = pc.equal(rows["strand"], "-").to_numpy()
    codes[is_minus] = reverse_complement(codes[is_minus])
    return codes

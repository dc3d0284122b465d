"""Attributions of regions in the files that other programs read, a block of regions at a time."""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ... import ops
from ..._types import Array
from ...io.motifs import save_contribs_h5, save_modisco
from ...io.replacing import replacing
from ...io.tracks import save_bigwig
from .attributions import Attributions
from .parquet import writing
from .store import ANGLES

SUFFIXES = {"hdf5": (".h5", ".hdf5", ".hdf"), "bigwig": (".bw", ".bigwig"), "parquet": (".parquet", ".pq")}
"""Of files in a format, by which other programs know it, in lower case."""
EXPORT_FORMATS = ("modisco", *SUFFIXES)
BLOCK_ROWS = 1 << 12
"""Regions of which a table of numbers is made at once."""


def export(
    store: str | os.PathLike[str], out: str | os.PathLike[str], *, format: str, target: Any = None,  # noqa: A002
    corrected: bool = True, overlap: str = "mean", force: bool = False, verbose: bool = False,
) -> list[Path]:  # fmt: skip
    """Write attributions of regions in another format.

    Parameters
    ----------
    store : path
        Folder of `attribute_regions`.
    out : path
        File to write, with a suffix of its format (.h5, .bw, .parquet); for "modisco" the beginning of its name.
    format : {"modisco", "hdf5", "bigwig", "parquet"}
        * "modisco": OUT.ohe.npz and OUT.attr.npz, see `io.save_modisco`;
        * "hdf5": the layout of ChromBPNet, which TF-MoDISco and Fi-NeMo read, see `io.save_contribs_h5`;
        * "bigwig": the attribution of the observed letter (gradient times input) in the order of the genome on either
          strand, see `io.save_bigwig`; unknown letters have none;
        * "parquet": the table of regions with prediction and summary of the angles, for all targets.
    target : int, str or `gf.targets` object, optional
        Which, as it was asked for or in the text of `Attributions.targets`; needed if the store has several.
    corrected : bool
        Whether maps are corrected, or those before the correction, which `keep_uncorrected` stores.
    overlap : {"mean", "max", "first", "nearest-summit"}
        What a position gets in a bigWig that several windows cover.
    force : bool
        Replace files that exist.
    verbose : bool
        Show progress on stderr.

    Returns
    -------
    list of Path
        Of the files. The first two formats have a row for each region with status "ok", and which these are is told by
        a narrowPeak beside them: the region as given, and the centre of the window as its summit. Where its strand is
        "-", sequences and maps are reverse complements.

    Raises
    ------
    FileNotFoundError
        If there is no store all of whose shards are done.
    FileExistsError
        If a file exists and `force` is not given.
    ValueError
        If no region was attributed, the format is none of these or the suffix another's, the target is not told, or the
        store has no such maps.

    Examples
    --------
    >>> export("peaks", "peaks.h5", format="hdf5")  # doctest: +SKIP
    """
    if format not in EXPORT_FORMATS:
        raise ValueError(f"format must be one of {', '.join(EXPORT_FORMATS)}; got {format!r}")
    out = Path(out)
    if format in SUFFIXES and out.suffix.lower() not in SUFFIXES[format]:
        raise ValueError(f"{out} does not say that it is {format}; end it with {' or '.join(SUFFIXES[format])}")
    found = Attributions(store)
    if format == "parquet":
        _write_parquet(found, out, force)
        return [out]
    number = found.number_of(target)
    rows = np.flatnonzero(pc.equal(found.regions["status"], "ok").to_numpy())
    if not rows.size:
        raise ValueError(f"no region of {store} was attributed; gradcorr-fast status {store} tells why")
    regions, codes = found.regions.take(pa.array(rows)), ChosenRows(found.codes, rows, found.group["codes"])
    maps = ChosenRows(
        lambda index: found.maps(index, number, corrected=corrected),
        rows,
        found.group["corrected"],
        (4, codes.shape[1]),
    )
    if format == "bigwig":
        values = ChosenRows(_observed(found, number, corrected), rows, found.group["codes"])
        _write_bigwig(found, regions, values, out, overlap, force)
        return [out]
    peaks = out.with_name(f"{out.name if format == 'modisco' else out.stem}.regions.narrowPeak")
    given: dict[str, Any] = {"axis": 1, "corrected": False, "force": force, "verbose": verbose}
    with replacing([peaks], force=force) as (temporary,):
        temporary.write_text("".join(_narrow_peaks(regions, found.metadata["contig_lengths"])))
        if format == "modisco":
            save_modisco(out, maps, codes, **given)
            return [*(out.with_name(f"{out.name}.{part}.npz") for part in ("ohe", "attr")), peaks]
        save_contribs_h5(out, maps, codes, **given)
        return [out, peaks]


class ChosenRows:
    """Chosen rows of a store as one array, which is read when it is sliced.

    Parameters
    ----------
    read : callable
        From numbers of rows to the rows.
    rows : array of int
        Which.
    array : zarr.Array
        What is read, whose chunks are best read whole.
    tail : tuple of int, optional
        Shape of a row, by default that of `array`.
    """

    def __init__(self, read: Callable[[Array], Array], rows: Array, array: Any, tail: Any = None) -> None:
        self._read, self._rows = read, rows
        self.shape = (len(rows), *(array.shape[1:] if tail is None else tail))
        self.chunks = array.chunks[:1]
        self.dtype = read(rows[:0]).dtype
        self._kept: tuple[int, Array] = -1, rows[:0]

    def __getitem__(self, index: int | slice) -> Array:
        if isinstance(index, slice):
            return self._read(self._rows[index])
        first = index - index % self.chunks[0]
        if self._kept[0] != first:  # rows that follow each other are often asked for one by one
            self._kept = first, self._read(self._rows[first : first + self.chunks[0]])
        row: Array = self._kept[1][index - first]
        return row


def _observed(found: Attributions, target: int, corrected: bool) -> Callable[[Array], Array]:
    """Return what reads the attribution of the observed letter in the order of the genome, NaN where it is unknown."""

    def read(rows: Array) -> Array:
        codes = found.codes(rows)
        values = ops.grad_times_input(
            found.maps(rows, target, corrected=corrected), codes, axis=1, corrected=False, n_letters=4
        )
        observed: Array = np.where(codes < 4, values, np.nan)
        is_minus = pc.equal(found.regions["strand"].take(pa.array(rows)), "-").to_numpy()
        observed[is_minus] = observed[is_minus, ::-1]
        return observed

    return read


def _write_bigwig(
    found: Attributions, regions: pa.Table, values: ChosenRows, out: Path, overlap: str, force: bool
) -> None:
    lengths = found.metadata["contig_lengths"]
    contigs, starts = regions["contig"].to_pylist(), regions["window_start"].to_pylist()
    sizes = {contig: lengths[name] for contig, name in zip(contigs, regions["chrom"].to_pylist(), strict=True)}
    windows = [(contig, start, start + values.shape[1]) for contig, start in zip(contigs, starts, strict=True)]
    save_bigwig(out, values, windows, sizes, overlap=overlap, force=force)


def _narrow_peaks(regions: pa.Table, lengths: Mapping[str, int]) -> Iterator[str]:
    """Write regions as narrowPeak: the centre is the summit, what is not known has the format's marks for that."""
    columns = (regions[name].to_pylist() for name in ("chrom", "contig", "start", "stop", "name", "centre", "strand"))
    for chrom, contig, start, stop, name, centre, strand in zip(*columns, strict=True):
        end = min(stop, max(lengths[chrom], start))
        yield f"{contig}\t{start}\t{end}\t{name or '.'}\t0\t{strand}\t0\t-1\t-1\t{centre - start}\n"


def _write_parquet(found: Attributions, out: Path, force: bool) -> None:
    """Write the table of regions with what is one number for each of them."""
    tables = _tables(found)
    first = next(tables)
    with (
        replacing([out], force=force) as (temporary,),
        pq.ParquetWriter(temporary, first.schema, **writing(first.schema)) as writer,
    ):
        for table in chain([first], tables):
            writer.write_table(table)


def _tables(found: Attributions) -> Iterator[pa.Table]:
    several = len(found.targets) > 1
    for start in range(0, max(1, len(found.regions)), BLOCK_ROWS):
        table = found.regions.slice(start, BLOCK_ROWS)
        rows = np.arange(start, start + len(table))
        for k, target in enumerate(found.targets):
            for name, values in _numbers(found, rows, k).items():
                column = pa.array(values, pa.float32(), from_pandas=True)
                table = table.append_column(f"{name}:{target}" if several else name, column)
        yield table


def _numbers(found: Attributions, rows: Array, target: int) -> dict[str, Array]:
    numbers = {"prediction": found.read("prediction", rows, target)}
    if "angle_summary" in found.group:
        angles = found.read("angle_summary", rows, target)
        numbers |= {f"angle_{name}": angles[:, k] for k, name in enumerate(ANGLES)}
    return numbers

"""The papers' published data: where it is, fetching it into a folder, and reading it."""

import json
import math
import re
from pathlib import Path

import numpy as np

from .. import sequences
from .._check import optional
from .._types import Array
from .._warn import warn
from ._fetching import SOURCES, File, Source, fetch
from ._tfrecords import read_examples
from .datasets import Dataset, Split, codes_of, load, read_hdf5, split_in_order

__all__ = ["SOURCES", "File", "Source", "atac", "basset", "deepstarr", "fetch"]


ACTIVITIES = {"Dev": "Dev_log2_enrichment", "Hk": "Hk_log2_enrichment"}
"""Targets of DeepSTARR, and the columns that hold them."""


def deepstarr(folder: str | Path | None = None) -> Dataset:
    """Read the data of DeepSTARR.

    Parameters
    ----------
    folder : str or Path, optional
        With Sequences_Train.fa, Sequences_activity_Train.txt and the same for Val and Test. Without it they are
        fetched, 193 MB.

    Returns
    -------
    Dataset
        Sequences of 249 bp, and float32 log2 enrichments of developmental and housekeeping activity, (N, 2).

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If a file is cut short, or has other columns, or sequences and activities differ in number.
    OSError
        If files have to be fetched and cannot be, see `fetch`.
    MissingBackendError
        If pysam or pyarrow is not installed.

    Notes
    -----
    The lines of a table belong to the sequences in their order. The authors of the gradient correction used the same
    split, in a file of their own: ``datasets.load(fetch("deepstarr_hdf5")["deepstarr_data.h5"])``.

    Examples
    --------
    >>> deepstarr("DeepSTARR").y.shape  # doctest: +SKIP
    (484052, 2)
    """
    if folder is None:
        names = [file.name for file in SOURCES["deepstarr"].files if file.name.startswith("Sequences")]
        folder = next(iter(fetch("deepstarr", files=names).values())).parent
    codes, y = [], []
    for part in ("Train", "Val", "Test"):
        fasta, table = Path(folder, f"Sequences_{part}.fa"), Path(folder, f"Sequences_activity_{part}.txt")
        codes.append(_read_fasta(fasta))
        y.append(_read_activities(table))
        if len(codes[-1]) != len(y[-1]):
            raise ValueError(
                f"{fasta} has {len(codes[-1])} sequences and {table} {len(y[-1])} activities; one of them is cut "
                f"short, fetch both again"
            )
    split = split_in_order({part: len(rows) for part, rows in zip(Split._fields, y, strict=True)})
    return Dataset(np.concatenate(codes), np.concatenate(y), split, targets=tuple(ACTIVITIES))


def _read_fasta(path: Path) -> Array:
    """Read sequences of one length as codes."""
    _check_there(path)
    with optional("pysam", "genome").FastxFile(str(path)) as records:
        try:
            return sequences.encode([record.sequence for record in records])
        except ValueError as error:
            raise ValueError(f"{path} is cut short or no FASTA, fetch it again ({error})") from error


def _read_activities(path: Path) -> Array:
    _check_there(path)
    y = np.stack(_read_columns(path, dict.fromkeys(ACTIVITIES.values(), "float32")), axis=1)
    if np.isnan(y).any():
        raise ValueError(f"{path} has no activity in row {int(np.isnan(y).any(1).argmax())}; fetch it again")
    return y


def _read_columns(path: Path, types: dict[str, str]) -> list[Array]:
    """Read columns of a table with tabs."""
    optional("pyarrow", "genome")
    from pyarrow import csv

    tabs = csv.ParseOptions(delimiter="\t")
    try:
        table = csv.read_csv(path, None, tabs, csv.ConvertOptions(include_columns=list(types), column_types=types))
    except (ValueError, KeyError) as error:  # of pyarrow, which names the column or the line
        raise ValueError(f"{path} is no whole table with {', '.join(types)}, fetch it again ({error})") from error
    return [table[column].to_numpy() for column in types]


def _check_there(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; published.fetch("deepstarr") brings it')


def basset(path: str | Path | None = None) -> Dataset:
    """Read the data of Basset: DNase hypersensitive sites of 600 bp in 164 cell types.

    Parameters
    ----------
    path : str or Path, optional
        HDF5, as Basset's own scripts write it (train_in, train_out and so on) or as the authors of the gradient
        correction give its test set (x_test, y_test). Without it this test set is fetched, 42 MB.

    Returns
    -------
    Dataset
        With y as the file has it, of whole numbers, (N, 164), and the names of the cell types if the file has them.

    Raises
    ------
    FileNotFoundError, ValueError, OSError, MissingBackendError
        As `datasets.load`, and as `fetch` if the file has to be fetched.

    Notes
    -----
    All 2,071,886 sequences take 1.2 GB as codes, and y 0.3 GB; the one-hot sequences of the file, four times as much,
    are read some at a time. Basset publishes its sites and their labels, ``fetch("basset_sites")``, of which its script
    seq_hdf5.py makes the HDF5 file; the authors' test set is the one of 71,886 sequences.

    Examples
    --------
    >>> basset("encode_roadmap.h5").targets  # doctest: +SKIP
    """
    return load(fetch("basset", files=["basset_testset.h5"])["basset_testset.h5"] if path is None else path)


def atac(path: str | Path, *, bin_size: int = 1) -> Dataset:
    """Read profiles of GOPHER: ATAC-seq coverage of 15 cell lines.

    Parameters
    ----------
    path : str or Path
        A folder as GOPHER publishes it, with statistics.json and tfrecords/test-0.tfr and so on; or an HDF5 file of a
        test set, with X and y, such as cell_line_13.h5 of the authors of the gradient correction (PC-3).
    bin_size : int
        Positions that are averaged: 32 for the models with 32-bp bins.

    Returns
    -------
    Dataset
        y : (N, positions / bin_size, 15), as the file has it (float16), float32 if positions are averaged.

    Raises
    ------
    FileNotFoundError
        If there are no such files.
    ValueError
        If they do not hold what they should, or `bin_size` does not divide the positions.
    OSError
        If a file is cut short.
    MissingBackendError
        If h5py or pyarrow is not installed and is needed.

    Warns
    -----
    UserWarning
        If there are fewer or more sequences than statistics.json says.

    Notes
    -----
    ``fetch("atac")`` brings archives that are to be unpacked. Of a peak-centred test set of 3,968 sequences of 2,048 bp
    y takes 0.24 GB.

    Examples
    --------
    >>> folder = "datasets/quantitative_data/cell_line_testsets/cell_line_13/complete/peak_centered/i_2048_w_1"
    >>> atac(folder, bin_size=32).y.shape  # doctest: +SKIP
    (3968, 64, 15)
    """
    path = Path(path)
    if path.is_dir():
        return _read_shards(path, bin_size)
    data = read_hdf5(path, ("x", "y"), parts=["test"])
    if data.y.ndim != 3:
        raise ValueError(f"{path}: y has shape {data.y.shape}; profiles are (N, positions, cell lines)")
    return Dataset(data.codes, _average(data.y, bin_size), data.split, targets=data.targets)


def _average(y: Array, bin_size: int) -> Array:
    """Average profiles (N, positions, T) over bins."""
    n, positions, n_targets = y.shape
    if bin_size < 1 or positions % bin_size:
        raise ValueError(f"bin_size is {bin_size}; it must divide the {positions} positions of a profile")
    return y if bin_size == 1 else y.reshape(n, -1, bin_size, n_targets).mean(2, dtype=np.float32)


def _read_shards(folder: Path, bin_size: int) -> Dataset:
    statistics = folder / "statistics.json"
    shards = {part: sorted(folder.glob(f"tfrecords/{part}-*.tfr"), key=_number) for part in Split._fields}
    if not statistics.exists() or not any(shards.values()):
        raise FileNotFoundError(
            f"{folder} lacks statistics.json or tfrecords/test-*.tfr; pass a folder of the unpacked archive with both"
        )
    stats = json.loads(statistics.read_text())
    missing = {"seq_length", "target_length", "num_targets"} - set(stats)
    if missing:
        raise ValueError(f"{statistics} has no {', '.join(sorted(missing))}; unpack the archive again")
    codes, y, counts = [], [], {}
    for part, paths in shards.items():
        found = [_read_shard(path, stats, bin_size) for path in paths]
        codes += [rows for rows, _ in found]
        y += [rows for _, rows in found]
        counts[part] = sum(len(rows) for rows, _ in found)
        if counts[part] != stats.get(f"{part}_seqs", counts[part]) and found:
            expected = stats[f"{part}_seqs"]
            warn(
                f"{folder} holds {counts[part]} sequences of {part}, and {expected} by its statistics.json; is it "
                f"whole?",
            )
    names = folder / "targets.txt"
    targets = _read_columns(names, {"identifier": "string"})[0].tolist() if names.exists() else ()
    return Dataset(np.concatenate(codes), np.concatenate(y), split_in_order(counts), targets=tuple(targets))


def _number(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem) or 0)


def _read_shard(path: Path, stats: dict[str, int], bin_size: int) -> tuple[Array, Array]:
    """Read the codes (N, L) and profiles (N, bins, T) of a file."""
    profile = stats["target_length"], stats["num_targets"]
    one_hot, y = [], []
    for number, example in enumerate(read_examples(path)):
        sequence, target = (example.get(name, b"") for name in ("sequence", "target"))
        n_bytes, rest = divmod(len(sequence), 4 * stats["seq_length"])  # for each number
        if rest or n_bytes not in (1, 2) or len(target) != 2 * math.prod(profile):
            raise ValueError(
                f"{path}: example {number} has no sequence of {stats['seq_length']} letters or no profile of "
                f"{profile[0]} x {profile[1]} numbers, as statistics.json says; unpack the archive again"
            )
        one_hot.append(np.frombuffer(sequence, (np.uint8, np.float16)[n_bytes - 1]))
        y.append(np.frombuffer(target, np.float16))
    codes = codes_of(np.reshape(one_hot, (-1, stats["seq_length"], 4)), 2, str(path))
    return codes, _average(np.reshape(y, (-1, *profile)).astype(np.float16), bin_size)

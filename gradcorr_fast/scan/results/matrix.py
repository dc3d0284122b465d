"""Scores of many targets as a Zarr matrix beside the table of variants, one Zarr shard for each shard of the scan."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._check import optional
from ..._types import Array
from ...io.writing import checked_chunks
from .metadata import KEY
from .tables import check_scores

CHUNK_BYTES = 1 << 18


def create_matrix(
    path: str | Path, n_rows: int, shard_rows: int, targets: Sequence[str], scores: Sequence[str]
) -> None:
    """Create a Zarr group for the scores of many targets, in which nothing is scored yet.

    Parameters
    ----------
    path : str or Path
        Folder to create.
    n_rows : int
        Rows of the table of variants.
    shard_rows : int
        Rows of each shard of the scan but the last; also of each Zarr shard.
    targets : sequence of str
        Text of each target, kept as the attribute "targets".
    scores : sequence of str
        Of `tables.SCORES`; each is an array (n_rows, n_targets) of float32, NaN where a variant was not scored.

    Raises
    ------
    ValueError
        As `tables.column_names`.
    FileExistsError
        If there is something at `path`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     create_matrix(f"{folder}/scores.zarr", 5, 2, ["index(0)", "index(1)"], ["delta"])
    ...     write_matrix_shard(f"{folder}/scores.zarr", 0, {"delta": np.zeros((2, 2), np.float32)})
    """
    ordered = check_scores(scores, targets)
    path, shard_rows = Path(path), max(1, shard_rows)  # there may be no variants
    if path.exists():
        raise FileExistsError(f"{path} exists already; move it away, or write elsewhere")
    group = optional("zarr", "io").create_group(path, attributes={"targets": list(targets)})
    for score in ordered:
        group.create_array(
            score,
            shape=(n_rows, len(targets)),
            dtype="float32",
            shards=(shard_rows, len(targets)),
            chunks=(chunk_rows(shard_rows, 4 * len(targets)), len(targets)),
            **checked_chunks(),
            fill_value=np.nan,
            dimension_names=("variant", "target"),
        )


def chunk_rows(shard_rows: int, row_bytes: int) -> int:
    """Return the rows of a chunk: they must divide the shard, and are worth a read of their own."""
    least = min(shard_rows, -(-CHUNK_BYTES // row_bytes))
    return next(rows for rows in range(least, shard_rows + 1) if shard_rows % rows == 0)


def write_matrix_shard(path: str | Path, shard_index: int, values: Mapping[str, Array]) -> None:
    """Write all rows of one shard. Other processes may write other shards at the same time.

    Parameters
    ----------
    path : str or Path
        What `create_matrix` created.
    shard_index : int
        Number of the shard, from 0.
    values : mapping from score to array, shape (n, n_targets)
        Of every row of the shard, NaN where it was not scored.

    Raises
    ------
    ValueError
        If the values are not of every row, target and score: part of a Zarr shard must not be written, as another
        process could lose it.

    Examples
    --------
    >>> write_matrix_shard("scores.zarr", 0, {"delta": delta})  # doctest: +SKIP
    """
    arrays = dict(optional("zarr", "io").open_group(path, mode="r+").arrays())
    if set(values) != set(arrays):
        raise ValueError(f"the scores are {', '.join(values)}; give {', '.join(arrays)}, which the matrix has")
    for score, array in arrays.items():
        start = shard_index * array.shards[0]
        stop = min(start + array.shards[0], array.shape[0])
        wanted = (stop - start, array.shape[1])
        if values[score].shape != wanted:
            raise ValueError(f"{score} has shape {values[score].shape}; give all of shard {shard_index}, {wanted}")
        array[start:stop] = values[score]


def shard_files(path: Path, shard_index: int) -> list[Path]:
    """Return the files that one shard of the scan has in a Zarr group, one in each array that has it."""
    places = sorted(path.glob(f"*/c/{shard_index}"))  # along other axes there is one shard
    return [file for place in places for file in (place, *place.rglob("0")) if file.is_file()]


def finish_matrix(path: str | Path, metadata: Mapping[str, Any]) -> None:
    """Write what a scan says about itself, JSON, to the matrix; `metadata.read_metadata` reads it back."""
    optional("zarr", "io").open_group(path, mode="r+").attrs[KEY] = dict(metadata)

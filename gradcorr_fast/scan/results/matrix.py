"""Scores of many targets as a Zarr matrix beside the table of variants, one Zarr shard for each shard of the scan."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._check import optional
from ..._types import Array
from ...io.writing import checked_chunks
from .digests import CHECK, problem_of, seal
from .metadata import KEY
from .tables import check_scores

CHUNK_BYTES = 1 << 18
ARRAYS, ATTRIBUTES, EMPTY = "arrays", "attributes", "empty"
"""In what checks a group's metadata: digests of what describes its arrays, what it says beside the metadata, and the
files of shards without any value, which Zarr does not write."""


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
    finish_group(Path(path), metadata)


def finish_group(path: Path, metadata: Mapping[str, Any]) -> None:
    """Write metadata to a Zarr group, sealed, with digests of the files that describe its arrays."""
    group = optional("zarr", "io").open_group(path, mode="r+")
    digests = {
        ARRAYS: describe_arrays(path),
        ATTRIBUTES: describe_attributes(group),
        EMPTY: missing_shards(path, group),
    }
    group.attrs[KEY] = seal(metadata, **digests)


def describe_arrays(path: Path) -> dict[str, str]:
    """Return a digest of the file that describes each array of a group: shape, dtype, codecs."""
    return {
        file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.glob("*/zarr.json"))
    }


def describe_attributes(group: Any) -> dict[str, Any]:
    """Return what a group says beside the metadata."""
    return {key: value for key, value in dict(group.attrs).items() if key != KEY}


def missing_shards(path: Path, group: Any) -> list[str]:
    """Return the files of a group's shards that are not there, which Zarr reads as filled with nothing."""
    names = []
    for name, array in sorted(group.arrays()):
        n_shards = -(-array.shape[0] // array.shards[0])
        names += ["/".join([name, "c", str(number), *["0"] * (array.ndim - 1)]) for number in range(n_shards)]
    return [name for name in names if not (path / name).is_file()]


def check_group(path: Path, group: Any) -> None:
    """Refuse a finished group that is not as it was, or of which files are missing: a hole would read as NaN."""
    problems = group_problems(path, group)
    if problems:
        raise OSError(f"{problems[0]}; gradcorr-fast verify {path.parent} tells what to do again")


def group_problems(path: Path, group: Any) -> list[str]:
    """Say what is wrong with a finished group, but for the contents of its chunks."""
    sealed = dict(group.attrs[KEY])
    if problem := problem_of(sealed, path):
        return [problem]
    check, described = sealed[CHECK], describe_arrays(path)
    problems = [
        f"{path / name / 'zarr.json'} is not what was written"
        for name in sorted(check[ARRAYS].keys() | described.keys())
        if check[ARRAYS].get(name) != described.get(name)
    ]
    if check[ATTRIBUTES] != describe_attributes(group):
        problems.append(f"{path / 'zarr.json'} is not what was written")
    if problems:
        return problems
    return [f"{path / name} is missing" for name in missing_shards(path, group) if name not in set(check[EMPTY])]

"""Attributions of regions as a Zarr group, one Zarr shard for each shard of the scan: how they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..._check import optional
from ..._types import Array
from ...io.replacing import replacing
from ...io.writing import checked_chunks
from .matrix import chunk_rows, finish_group

THRESHOLDS = (30, 45, 60)
ANGLES = (*(f"share_above_{t}" for t in THRESHOLDS), "mean", "std")
"""Columns of "angle_summary"."""
ERROR = (
    "a map is its numbers times its scale, a power of two; the error is at most 2**-11 (0.049 %) of a value, or 2**-39 "
    "of the largest value of the region if that is more"
)
"""Of maps in float16, as metadata say it."""
LEAST_EXPONENT = -126
"""Of a scale: smaller numbers of float32 are not normal, and some devices take them for zero."""


class Field(NamedTuple):
    """An array of the store; the first axis is that of regions."""

    shape: tuple[int, ...]
    """Without the regions."""
    dtype: str
    fill: float
    """Where nothing was computed."""
    axes: tuple[str, ...]


def fields(length: int, n_targets: int, names: Sequence[str], dtype: str) -> dict[str, Field]:
    """Return the arrays of a store.

    Parameters
    ----------
    length : int
        Of windows, bp.
    n_targets : int
        With several, arrays of what depends on the target have an axis of targets after that of regions.
    names : sequence of str
        Of "corrected", "uncorrected", "prediction" and "angle_summary"; "codes" is always there.
    dtype : "float16" or "float32"
        Of maps; with float16 each has a scale.
    """
    t, axis = ((n_targets,), ("target",)) if n_targets > 1 else ((), ())
    found = {"codes": Field((length,), "uint8", 255, ("position",))}
    for name in names:
        if name == "prediction":
            found[name] = Field(t, "float32", np.nan, axis)
        elif name == "angle_summary":
            found[name] = Field((*t, len(ANGLES)), "float32", np.nan, (*axis, "angle"))
        else:
            found[name] = Field((*t, 4, length), dtype, np.nan, (*axis, "letter", "position"))
            if dtype == "float16":
                found[f"{name}_scale"] = Field(t, "float32", np.nan, axis)
    return found


def create_store(path: Path, n_rows: int, shard_rows: int, arrays: Mapping[str, Field], targets: Sequence[str]) -> None:
    """Create the group, in which nothing is attributed yet.

    Every array has one Zarr shard for each shard of the scan, `shard_rows` regions, which is written whole by the
    process that has the shard; chunks inside of it can be read by themselves.
    """
    attributes = {"targets": list(targets), "letters": "ACGT", "angle_summary": list(ANGLES)}
    if any(field.dtype == "float16" for field in arrays.values()):
        attributes["float16"] = ERROR
    with replacing([path]) as (temporary,):  # all of it or nothing
        group = optional("zarr", "io").create_group(temporary, attributes=attributes)
        for name, field in arrays.items():
            row_bytes = int(np.prod(field.shape)) * np.dtype(field.dtype).itemsize
            group.create_array(
                name,
                shape=(n_rows, *field.shape),
                dtype=field.dtype,
                shards=(shard_rows, *field.shape),
                chunks=(chunk_rows(shard_rows, row_bytes), *field.shape),
                **checked_chunks(),
                fill_value=field.fill,
                dimension_names=("region", *field.axes),
                config={"write_empty_chunks": True},  # so that a file that is not there is missing
            )


def write_store_shard(path: Path, number: int, rows: Array, n_rows: int, values: Mapping[str, Array]) -> None:
    """Write all rows of one shard.

    Parameters
    ----------
    path : Path
        What `create_store` created.
    number : int
        Of the shard.
    rows : array of int, shape (k,)
        Rows of the shard that have values; others get the fill value.
    n_rows : int
        Rows of the shard.
    values : mapping from name to array, shape (k, ...)
        Maps in float32.
    """
    group = optional("zarr", "io").open_group(path, mode="r+")
    encoded: dict[str, Array] = {}
    for name, found in values.items():
        encoded[name] = found
        if group[name].dtype == np.float16:
            encoded[name], encoded[f"{name}_scale"] = to_float16(found)
    for name, array in group.arrays():
        whole = np.full((n_rows, *array.shape[1:]), array.fill_value, array.dtype)
        if len(rows):
            whole[rows] = encoded[name]
        place = path / name / "c" / "/".join([str(number), *["0"] * (array.ndim - 1)])
        place.unlink(missing_ok=True)  # what a killed process left would be read and may be damaged
        start = number * array.shards[0]
        array[start : start + n_rows] = whole


def to_float16(maps: Array) -> tuple[Array, Array]:
    """Return maps (..., 4, L) in float16, and the power of two for each that they must be multiplied by, float32.

    Examples
    --------
    >>> numbers, scale = to_float16(np.float32([[[1e-20, 3e-20]]]))
    >>> numbers.dtype, bool(abs(numbers[0, 0, 1] * scale[0] - 3e-20) <= 3e-20 / 2048)
    (dtype('float16'), True)
    """
    largest = np.maximum(maps.max((-2, -1)), -maps.min((-2, -1)))
    exponent = np.maximum(np.frexp(largest)[1] - 15, LEAST_EXPONENT)  # numbers below 2**15, the format ends at 65504
    scale = np.ldexp(np.float32(1), exponent).astype(np.float32)
    return (maps / scale[..., None, None]).astype(np.float16), scale


def finish_store(path: Path, metadata: Mapping[str, Any]) -> None:
    """Write what the scan says about itself, and remove what killed processes left."""
    finish_group(path, metadata)
    for rest in path.rglob("*.partial"):
        rest.unlink()

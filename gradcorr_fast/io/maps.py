"""The maps of a block of attributions, and the pass over all blocks that writes them to files."""

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._check import check_x
from .._types import Array
from .._warn import warn
from ..ops import AttributionMaps, analyze, correct
from ..sequences import one_hot
from ..summary import AngleSummary, angle_summary, merge
from .misuse import Evidence
from .reading import Entry, Rows
from .replacing import replacing
from .streaming import BLOCK, stream
from .writing import create

CHUNK = 1 << 20  # bytes of a new chunk, which is what the cache of HDF5 holds
MOST_LOST = 0.001
"""Share of values that may become zero in a narrower dtype without a word."""


class Output(NamedTuple):
    """A file to write."""

    path: Path
    kind: str
    """Of `reading.ARRAY_FORMATS`."""
    arrays: dict[str, Entry]
    """For each of the maps that `make_maps` names, where it goes."""
    filters: dict[str, Any] = {}  # noqa: RUF012  (never written)
    """Compression; that of the map's own file if it has the same format."""


class MapRequest(NamedTuple):
    """What to make of a map."""

    name: str
    """What warnings call the map."""
    axis: int
    """Letter axis, counted from the front."""
    corrected: bool = True
    dtype: np.dtype[Any] | None = None
    """Of the maps with letters first, if it is another than that of the attributions."""
    inputs: tuple[Path, ...] = ()
    """Files that must not be written."""
    summary: Path | None = None
    force: bool = False
    verbose: bool = False


def write_maps(sources: Sequence[Rows], outputs: Sequence[Output], request: MapRequest) -> AngleSummary | None:
    """Write the maps of attributions, and of their one-hot input if there is a second source, to files."""
    grad, fields = sources[0], [field for output in outputs for field in output.arrays]
    evidence, parts, n_values = Evidence(), [], np.zeros(2, np.int64)

    def work(block: Array, x: Array | None = None) -> list[Array]:
        evidence.add(block, request.axis, x)
        if request.summary is not None:
            parts.append(angle_summary(block, axis=request.axis, n_letters=block.shape[request.axis]))
        maps = make_maps(block, x, fields, request)
        if request.dtype is not None:
            n_values[:] += np.count_nonzero(block), np.count_nonzero(maps["hypothetical"])
        return [maps[field] for field in fields]

    paths = [*(output.path for output in outputs), *([] if request.summary is None else [request.summary])]
    step, chunk_rows = _sizes(sources)
    total = None
    with replacing(paths, request.inputs, force=request.force) as temporaries:
        with ExitStack() as stack:
            writers = []
            for output, path in zip(outputs, temporaries, strict=False):
                filters = output.filters or (grad.filters if grad.kind == output.kind else {})
                is_free = output.kind == "zarr" and not grad.chunk_rows  # where every chunk is a file of its own
                chunk = step if is_free else chunk_rows
                writers += create(path, output.kind, list(output.arrays.values()), chunk, filters, stack)
            is_locked = any(rows.is_locked for rows in sources)
            has_hdf5 = any(output.kind == "hdf5" for output in outputs)
            stream(sources, work, writers, step, one_thread=is_locked and has_hdf5, verbose=request.verbose)
        if request.summary is not None:
            total = merge(parts or [angle_summary(np.empty(grad.entry.shape), axis=request.axis)])
            temporaries[-1].write_text(json.dumps(describe(total, grad.entry, request), indent=1) + "\n")
    sentences = evidence.sentences(request.name, corrected=request.corrected)
    if n_values[1] < (1 - MOST_LOST) * n_values[0]:
        lost = f"{1 - n_values[1] / n_values[0]:.1%} of the values become zero in {request.dtype}"
        sentences.append(f"{lost}; take a wider dtype or multiply by a constant first")
    for sentence in sentences:
        warn(sentence)
    return total


def _sizes(sources: Sequence[Rows]) -> tuple[int, int]:
    """Return how many rows to take at once, and how many of them make a chunk."""
    grad = sources[0]
    row_bytes = max(1, *(math.prod(rows.entry.shape[1:]) * grad.entry.dtype.itemsize for rows in sources))
    chunk_rows = grad.chunk_rows or max(1, CHUNK // row_bytes)
    return max(1, round(BLOCK / (chunk_rows * row_bytes))) * chunk_rows, chunk_rows


def make_maps(block: Array, x: Array | None, fields: Sequence[str], request: MapRequest) -> dict[str, Array]:
    """Make the maps of some rows, overwriting `block`.

    "corrected" and "angle" in the layout of the block; "hypothetical", "onehot" and "projected" as (N, 4, L).
    """
    axis, n_letters = request.axis, block.shape[request.axis]
    maps = {"corrected": block}
    if "angle" in fields:
        out, wanted = AttributionMaps(corrected=block), ("corrected", "angle")
        maps["angle"] = analyze(block, axis=axis, outputs=wanted, out=out, n_letters=n_letters).angle
    elif request.corrected:
        correct(block, axis=axis, out=block, n_letters=n_letters)
    if x is not None:
        maps["onehot"] = _one_hot(x, block.shape, axis)
        maps["hypothetical"] = _narrow(np.moveaxis(block, axis, 1), request.dtype)
        if "projected" in fields:
            maps["projected"] = np.where(maps["onehot"] == 1, maps["hypothetical"], 0)
    return maps


def _narrow(values: Array, dtype: np.dtype[Any] | None) -> Array:
    """Convert to a dtype that may hold less, but not turn numbers into infinity."""
    if dtype is None or dtype == values.dtype:
        return values
    with np.errstate(over="ignore"):  # which is refused below
        narrow: Array = values.astype(dtype)
    if np.isinf(narrow).sum() > np.isinf(values).sum():
        largest = np.max(np.abs(values), where=np.isfinite(values), initial=0)
        raise ValueError(f"a value of {largest:g} is too large for {dtype}; take a wider dtype or scale the map down")
    return narrow


def _one_hot(x: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Return one-hot sequences or codes as one-hot int8, (N, 4, L)."""
    if check_x(x.shape, x.dtype.kind in "iu", x.dtype.name, shape, axis):
        codes: Array = one_hot(x, np.int8, axis=1)
        return codes
    x = np.moveaxis(x, axis, 1)
    is_unknown = (x == x[:, :1]).all(axis=1, keepdims=True) & (x[:, :1] >= 0) & (x[:, :1] < 1)  # such as 0.25 each
    with np.errstate(invalid="ignore"):  # NaN, which is refused below
        whole: Array = x.astype(np.int8)
    if ((whole != x) & ~is_unknown).any() or (whole < 0).any() or (whole.sum(axis=1) > 1).any():
        raise ValueError(
            "x is neither one-hot nor codes; pass 0 and 1, with at most one 1 at a position, or the same number for "
            "every letter where it is unknown"
        )
    return whole


def describe(summary: AngleSummary, entry: Entry, request: MapRequest) -> dict[str, Any]:
    """Return the totals of a summary as plain numbers, None where there are none."""
    positions = int(summary.n_positions.sum())
    above = summary.counts.reshape(-1, len(summary.thresholds)).sum(axis=0).tolist()
    return {
        "source": request.name,
        "shape": entry.shape,
        "dtype": entry.dtype.name,
        "letter_axis": request.axis,
        "positions": positions,
        "undefined": int(summary.n_undefined.sum()),
        "thresholds_degrees": summary.thresholds,
        "above": above,
        "shares": [count / positions if positions else None for count in above],
        "mean_degrees": None if math.isnan(summary.mean) else summary.mean,
        "std_degrees": None if math.isnan(summary.std) else summary.std,
        "histogram": {"edges_degrees": summary.edges.tolist(), "counts": summary.histogram.tolist()},
    }

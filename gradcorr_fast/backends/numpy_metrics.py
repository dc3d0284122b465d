"""The metrics of NumPy arrays, which stand for the memory of every library on the CPU: views go to the Numba kernels.

Memory that is not dense, and half precision, is copied by chunks of sequences. A chunk is one thread's, and a sequence
is never cut where its sum is taken, so results depend on neither threads nor batches.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._check import refuse_labels, refuse_nan
from .._types import Array
from ..kernels import cpu, cpu_metrics, threads
from ..kernels.reference_metrics import RANKINGS
from ._arrays import widened

RANKED = 1 << 14  # positions a thread ranks at a time, in a quarter of a millisecond


def ranking(
    scores: Array, labels: Array, mask: Array | None, fields: Sequence[str], omit_nan: bool
) -> tuple[Array, ...]:
    """Those of `RANKINGS` in `fields`, of scores, labels and a mask of shape (..., length), from one sort."""
    *sequences, length = scores.shape
    n = math.prod(sequences)
    results = np.empty((n, len(RANKINGS)))
    scores, labels = scores.reshape(n, length), labels.reshape(n, length)
    mask = None if mask is None else mask.reshape(n, length)
    with_nan: list[int] = []

    def work(part: slice) -> None:
        counted = None if mask is None else _dense(mask[part], np.bool_)
        truth = _zero_or_one(labels[part], counted)
        row = cpu_metrics.rank(_dense(scores[part]), truth, counted, omit_nan, results[part])
        if row >= 0:
            with_nan.append(part.start + row)

    _over(work, n, length, RANKED)
    if with_nan:
        refuse_nan(min(with_nan))
    return tuple(results[:, RANKINGS.index(field)].reshape(sequences).copy() for field in fields)


def cosine_similarity(a: Array, b: Array, axis: int) -> Array:
    """Cosines of the maps of sequences: those of all axes before that of the positions."""
    if a.ndim < 2:
        a, b, axis = a[None], b[None], 1
    if axis < a.ndim - 2:
        a, b = (np.moveaxis(array, axis, -1) for array in (a, b))
    sequences, n = a.shape[:-2], math.prod(a.shape[:-2])
    dtype, size = _common_dtype(a, b), math.prod(a.shape[-2:])
    a, b = (array.reshape(n, *array.shape[-2:]) for array in (a, b))
    result = np.empty(n)

    def work(part: slice) -> None:
        rows = [_dense(array[part], dtype).reshape(-1, size) for array in (a, b)]
        cpu_metrics.cosine_similarity(*rows, result[part])

    if size:
        _over(work, n, max(a.shape[-2:]))
    else:
        result[:] = math.nan
    return result.reshape(sequences)


def positionwise_cosine_similarity(a: Array, b: Array, axis: int) -> Array:
    """Cosines of the letters of each position."""
    dtype = _common_dtype(a, b)

    def compute(parts: list[Array], block: tuple[int, int, int], result: Array) -> None:
        cpu_metrics.positionwise_cosine_similarity(*[part.reshape(-1) for part in parts], *block, result)

    return _over_positions(compute, [a, b], axis, dtype, dtype)


def information_content(ppm: Array, axis: int, dtype: npt.DTypeLike | None = None) -> Array:
    """Bits of each position."""
    own = _common_dtype(ppm)

    def compute(parts: list[Array], block: tuple[int, int, int], result: Array) -> None:
        if not cpu_metrics.information_content(parts[0].reshape(-1), *block[1:], result):
            raise ValueError(
                "the ground truth must hold probabilities that sum to 1 at each position; divide counts by their sum"
            )

    return _over_positions(compute, [ppm], axis, own, own if dtype is None else dtype)


def interpretability(
    scores: Array, ppm: Array, axis: int, threshold: float, omit_nan: bool
) -> tuple[Array, Array, Array]:
    """AUROC, AUPR and information (float64) of scores (..., length) against the probabilities of the letters."""
    information = information_content(ppm, axis, np.float64)
    positive = information > threshold
    counted = positive | (information == information.min(axis=-1, keepdims=True, initial=math.inf))
    auroc, aupr = ranking(scores, positive, counted, ("auroc", "aupr"), omit_nan)
    return auroc, aupr, information


def ensemble_difference(maps: Array, ensemble: Array, axis: int) -> Array:
    """Distances of the maps (M, ...) of members from the map (...) of the ensemble; `axis` is that of `maps`."""
    (result,) = _differences(maps, ensemble, axis, ("before",))
    return result


def ensemble_difference_reduction(maps: Array, ensemble: Array, axis: int) -> Array:
    """Share of these distances that goes with the correction."""
    (result,) = _differences(maps, ensemble, axis, ("reduction",))
    return result


def ensemble_difference_by_angle(maps: Array, ensemble: Array, axis: int, bins: int) -> tuple[Array, Array, Array]:
    """Counts (int64), sums of distances before, and after the correction, in bins of the angle of the members."""
    dtype, (maps, ensemble, axis) = _common_dtype(maps, ensemble), _as_blocks(maps, ensemble, axis)
    n_members, n = maps.shape[:2]
    found: dict[int, list[Array]] = {}

    def work(part: slice) -> None:
        own, mean = _dense(maps[:, part], dtype), _dense(ensemble[part], dtype)
        before, after, angle = (np.empty(own.shape[:axis] + own.shape[axis + 1 :], dtype) for _ in range(3))
        _measure(own, mean, axis, {"before": before, "after": after})
        block = math.prod(own.shape[:axis]), own.shape[axis], math.prod(own.shape[axis + 1 :])
        cpu.analyze(block, grad=own, angle=angle, undefined=math.nan)
        defined = ~np.isnan(angle)
        slots = np.floor((angle[defined].astype(np.float64) + 90) / 180 * bins)
        slots = np.clip(slots.astype(np.int64), 0, bins - 1)
        weights = None, before[defined], after[defined]
        found[part.start] = [np.bincount(slots, weight, bins) for weight in weights]

    if maps.size:
        _over(work, n, n_members * ensemble.size // (n * ensemble.shape[axis - 1]))
    totals = [np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins)]
    for start in sorted(found):  # in an order that does not depend on threads
        for total, values in zip(totals, found[start], strict=True):
            total += values
    return totals[0], totals[1], totals[2]


def _differences(maps: Array, ensemble: Array, axis: int, fields: Sequence[str]) -> tuple[Array, ...]:
    shape = maps.shape[:axis] + maps.shape[axis + 1 :]
    dtype, (maps, ensemble, axis) = _common_dtype(maps, ensemble), _as_blocks(maps, ensemble, axis)
    results = [np.empty(shape, dtype) for _ in fields]
    if not maps.size:
        return tuple(results)
    seen = maps.shape[:axis] + maps.shape[axis + 1 :]
    outputs = {field: result.reshape(seen) for field, result in zip(fields, results, strict=True)}
    if all(_is_dense(array, dtype) for array in (maps, ensemble)):
        outer, inner = math.prod(ensemble.shape[: axis - 1]), math.prod(ensemble.shape[axis:])
        whole, mean = _dense(maps, dtype), _dense(ensemble, dtype)
        _over(lambda part: _measure(whole, mean, axis, outputs, (part.start, part.stop)), outer, inner)
        return tuple(results)

    def work(part: slice) -> None:
        own = {field: np.empty_like(output[:, part]) for field, output in outputs.items()}
        _measure(_dense(maps[:, part], dtype), _dense(ensemble[part], dtype), axis, own)
        for field, output in outputs.items():
            output[:, part] = own[field]

    _over(work, ensemble.shape[0], len(maps) * ensemble.size // (ensemble.shape[0] * ensemble.shape[axis - 1]))
    return tuple(results)


def _measure(
    maps: Array, ensemble: Array, axis: int, outputs: dict[str, Array], span: tuple[int, int] | None = None
) -> None:
    """Fill dense outputs from dense maps, all of them or the blocks of a span of the outer axis."""
    outer, letters, inner = math.prod(maps.shape[1:axis]), maps.shape[axis], math.prod(maps.shape[axis + 1 :])
    results = [outputs[k].reshape(len(maps), -1) if k in outputs else None for k in ("before", "after", "reduction")]
    scratch = np.empty((2, cpu_metrics.TILE), maps.dtype)
    first, last = (0, outer) if span is None else span
    cpu_metrics.ensemble_differences(
        maps.reshape(len(maps), -1), ensemble.reshape(-1), letters, inner, first, last, scratch, *results
    )


def _as_blocks(maps: Array, ensemble: Array, axis: int) -> tuple[Array, Array, int]:
    """See to it that the first axis of the ensemble is not that of the letters, so that it can be cut."""
    if ensemble.ndim == 1:
        return maps[:, None], ensemble[None], 2
    if axis == 1:
        return np.moveaxis(maps, 1, -1), np.moveaxis(ensemble, 0, -1), maps.ndim - 1
    return maps, ensemble, axis


def _over_positions(
    compute: Callable[[list[Array], tuple[int, int, int], Array], None],
    arrays: list[Array],
    axis: int,
    dtype: npt.DTypeLike,
    result_dtype: npt.DTypeLike,
) -> Array:
    """Call ``compute(dense parts, (outer, letters, inner), flat result)`` for chunks of arrays of one shape."""
    shape = arrays[0].shape[:axis] + arrays[0].shape[axis + 1 :]
    if axis == 0:
        arrays = [np.moveaxis(array, 0, -1) if array.ndim > 1 else array[None] for array in arrays]
        axis = arrays[0].ndim - 1
    if axis == arrays[0].ndim - 1 and all(array.flags.c_contiguous for array in arrays):
        arrays, axis = [array.reshape(math.prod(shape), array.shape[-1]) for array in arrays], 1
    letters, inner = arrays[0].shape[axis], math.prod(arrays[0].shape[axis + 1 :])
    result = np.empty(shape, result_dtype)
    rows = result.reshape(len(arrays[0]), -1) if result.size else result

    def work(part: slice) -> None:
        parts, out = [_dense(array[part], dtype) for array in arrays], rows[part].reshape(-1)
        compute(parts, (out.size // inner, letters, inner), out)

    if result.size:
        _over(work, len(rows), rows.shape[1])
    return result


def _over(work: Callable[[slice], None], n: int, length: int, chunk: int = cpu.CHUNK) -> None:
    """Call `work` for slices of n rows of so many positions, on a few threads."""
    step = max(1, chunk // max(length, 1))
    threads.run(lambda k: work(slice(k * step, min(n, (k + 1) * step))), -(-n // step))


def _common_dtype(*arrays: Array) -> np.dtype[Any]:
    return np.result_type(*[cpu.compute_dtype(array.dtype) for array in arrays])


def _is_dense(array: Array, dtype: npt.DTypeLike) -> bool:
    return array.flags.c_contiguous and array.flags.aligned and array.dtype == dtype


def _dense(array: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """The array as the kernels read it, by default in the type of the computation; a copy only where it must be."""
    array = widened(array)
    dense = np.require(array, cpu.compute_dtype(array.dtype) if dtype is None else dtype, ["C", "A"]).view()
    dense.flags.writeable = False  # so that the kernels are compiled for one kind of input
    return dense


def _zero_or_one(labels: Array, mask: Array | None) -> Array:
    """Labels as bytes, refused where they count and are something else."""
    labels = widened(labels)
    if labels.dtype == np.bool_:
        return _dense(labels, np.bool_).view(np.uint8)
    truth = labels == 1
    wrong = ~(truth | (labels == 0))
    if mask is not None:
        wrong &= mask
    if wrong.any():
        refuse_labels(labels[wrong][0])
    return _dense(truth, np.bool_).view(np.uint8)

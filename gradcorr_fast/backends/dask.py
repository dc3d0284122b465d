"""Dask arrays: every block goes to the backend of its own library, lazily."""

from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array.core import slices_from_chunks

from .. import _dispatch
from .._check import Call, check_mask, check_x
from ..kernels import reference


def shape(array: Any) -> tuple[int | None, ...]:
    """Shape of an array; None where the chunks' sizes are unknown."""
    return tuple(None if np.isnan(length) else int(length) for length in array.shape)


def run(call: Call, grad: Any, x: Any, out: Sequence[Any]) -> tuple[Any, ...]:
    """Produce ``call.fields`` lazily; all of them from one pass over each block."""
    if any(array is not None for array in out):
        raise TypeError("Dask arrays cannot be written to; leave out= away, and store the result with da.store")
    _check_letters("grad", grad, call.axis)
    everything = tuple(range(grad.ndim))
    positions = tuple(k for k in everything if k != call.axis)
    arguments = [grad, everything]
    meta_x = None
    if x is not None:
        is_codes = check_x(shape(x), "int" in str(x.dtype), str(x.dtype), shape(grad), call.axis)
        if not is_codes:
            _check_letters("x", x, call.axis)
        own = positions if is_codes else everything
        arguments += [_rechunk("x", x, tuple(grad.chunks[k] for k in own), "the same chunks as grad"), own]
        meta_x = x._meta
    metas = _maps(grad._meta, meta_x, call=call)
    if len(call.fields) == 1:  # one layer, which Dask schedules sooner than it fuses two
        indices = everything if call.fields[0] in reference.WITH_LETTERS else positions
        return (da.blockwise(_map, indices, *arguments, call=call, meta=metas[0]),)
    maps = da.blockwise(_maps, everything, *arguments, call=call, dtype=object, meta=np.empty((0,) * grad.ndim, object))
    return tuple(
        da.blockwise(
            _pick,
            everything if field in reference.WITH_LETTERS else positions,
            maps,
            everything,
            number=number,
            meta=meta,
        )
        for number, (field, meta) in enumerate(zip(call.fields, metas, strict=True))
    )


def embed(part: Any, index: tuple[slice, ...], grad: Any, out: Any) -> Any:
    """Return `part` at `index` of an array that is `grad` elsewhere."""
    everything = tuple(range(grad.ndim))
    axis = len(index) - 1
    apart = tuple(grad.ndim if k == axis else k for k in everything)  # the letters of the part have another length
    return da.blockwise(_embed, everything, grad, everything, part, apart, index=index, meta=part._meta)


def angle_summary(grad: Any, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Any, ...]:
    """Counts and sums over the positions of each sequence, computed at once: a summary is what remains at the end."""
    _check_letters("grad", grad, axis)
    if mask is not None:
        check_mask(mask.shape, str(mask.dtype), grad.shape[:axis] + grad.shape[axis + 1 :])
    positions = [k for k in range(grad.ndim) if k != axis]
    if positions and grad.numblocks[positions[-1]] > 1:  # a sequence is summarised whole
        whole = {positions[-1]: (grad.shape[positions[-1]],)}
        chunks = tuple(whole.get(k, chunks) for k, chunks in enumerate(grad.chunks))
        grad = _rechunk("grad", grad, chunks, "every sequence in one chunk")
    blocks = grad.to_delayed().ravel()
    masks = [None] * len(blocks)
    if mask is not None:
        chunks = tuple(grad.chunks[k] for k in positions)
        masks = _rechunk("mask", mask, chunks, "the same chunks as grad").to_delayed().ravel()
    summarize = dask.delayed(_summarize, pure=True)
    parts = dask.compute(*[summarize(b, axis, thresholds, bins, m) for b, m in zip(blocks, masks, strict=True)])
    sequences = tuple(grad.shape[k] for k in positions[:-1])
    results = [np.zeros((*sequences, *part.shape[len(sequences) :]), part.dtype) for part in parts[0][:5]]
    for part, rows in zip(parts, slices_from_chunks([grad.chunks[k] for k in positions[:-1]]), strict=True):
        for result, values in zip(results, part, strict=False):
            result[rows] = values
    return *results, np.sum([part[5] for part in parts], axis=0)


def _summarize(grad: Any, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Any, ...]:
    summary: tuple[Any, ...] = _dispatch.find_backend(grad=grad, mask=mask).angle_summary(
        grad, axis, thresholds, bins, mask
    )
    return summary


def _check_letters(name: str, array: Any, axis: int) -> None:
    if array.numblocks[axis] > 1:
        raise ValueError(
            f"the letter axis {axis} of {name} is split into {array.numblocks[axis]} chunks; keep it whole with "
            f"{name}.rechunk({{{axis}: -1}})" + ("" if _is_numpy(array) else ", before its blocks become tensors")
        )


def _maps(grad: Any, x: Any = None, *, call: Call) -> tuple[Any, ...]:
    return tuple(_dispatch.find_backend(grad=grad, x=x).run(call, grad, x, (None,) * len(call.fields)))


def _map(grad: Any, x: Any = None, *, call: Call) -> Any:
    return _maps(_only(grad), _only(x), call=call)[0]


def _pick(maps: Any, *, number: int) -> Any:
    return _only(maps)[number]


def _embed(grad: Any, part: Any, *, index: tuple[slice, ...]) -> Any:
    return _dispatch.find_backend(grad=grad).embed(_only(part), index, grad, None)


def _only(block: Any) -> Any:
    """The block of an axis that the result does not have: Dask hands it over in a list, which has one entry here."""
    while isinstance(block, list):
        (block,) = block
    return block


def _rechunk(name: str, array: Any, chunks: Any, wanted: str) -> Any:
    if array.chunks == chunks:
        return array
    if not _is_numpy(array):
        raise ValueError(
            f"{name} needs {wanted}, and Dask cannot rechunk blocks of type {type(array._meta).__name__}; rechunk it "
            f"before its blocks become tensors"
        )
    return array.rechunk(chunks)


def _is_numpy(array: Any) -> bool:
    """Whether Dask can rechunk an array; it cannot cut and join tensors."""
    return isinstance(array.dtype, np.dtype)

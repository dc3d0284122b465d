"""Dask arrays: every block goes to the backend of its own library, lazily."""

import math
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
        chunks = tuple(grad.chunks[k] for k in positions) if is_codes else grad.chunks
        arguments += [x if x.chunks == chunks else x.rechunk(chunks), positions if is_codes else everything]
        meta_x = x._meta
    metas = _maps(grad._meta, meta_x, call=call)
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
    """Return `grad` with `part` at `index`."""
    whole = grad.astype(part.dtype)
    whole[index] = part
    return whole


def angle_summary(grad: Any, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Any, ...]:
    """Counts and sums over the positions of each sequence, computed at once: a summary is what remains at the end."""
    _check_letters("grad", grad, axis)
    if mask is not None:
        check_mask(mask.shape, str(mask.dtype), grad.shape[:axis] + grad.shape[axis + 1 :])
    grad = da.moveaxis(grad, axis, -1)
    sequences, length = grad.shape[:-2], math.prod(grad.shape[-2:-1])
    grad = grad.reshape((*sequences, length, grad.shape[-1])).rechunk({grad.ndim - 2: -1})
    masks = [None] * math.prod(grad.numblocks)
    if mask is not None:
        masks = mask.rechunk(grad.chunks[:-1]).to_delayed().ravel()
    summarize = dask.delayed(_summarize, pure=True)
    blocks = grad.to_delayed().ravel()
    parts = dask.compute(*[summarize(b, thresholds, bins, m) for b, m in zip(blocks, masks, strict=True)])
    results = [np.zeros((*sequences, *part.shape[len(sequences) :]), part.dtype) for part in parts[0][:5]]
    for part, rows in zip(parts, slices_from_chunks(grad.chunks[:-2]), strict=True):
        for result, values in zip(results, part, strict=False):
            result[rows] = values
    return *results, np.sum([part[5] for part in parts], axis=0)


def _summarize(grad: Any, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Any, ...]:
    summary: tuple[Any, ...] = _dispatch.find_backend(grad=grad, mask=mask).angle_summary(
        grad, grad.ndim - 1, thresholds, bins, mask
    )
    return summary


def _check_letters(name: str, array: Any, axis: int) -> None:
    if array.numblocks[axis] > 1:
        raise ValueError(
            f"the letter axis {axis} of {name} is split into {array.numblocks[axis]} chunks; keep it whole with "
            f"{name}.rechunk({{{axis}: -1}})"
        )


def _maps(grad: Any, x: Any = None, *, call: Call) -> tuple[Any, ...]:
    return tuple(_dispatch.find_backend(grad=grad, x=x).run(call, grad, x, (None,) * len(call.fields)))


def _pick(maps: Any, *, number: int) -> Any:
    while isinstance(maps, list):  # the letter axis, which is dropped, is a list of one block
        (maps,) = maps
    return maps[number]

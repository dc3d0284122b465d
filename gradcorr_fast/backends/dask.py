"""Dask arrays: every block goes to the backend of its own library, lazily."""

from collections.abc import Callable, Sequence
from functools import wraps

import dask
import dask.array as da
import numpy as np
from dask.array.core import slices_from_chunks

from .._check import Call, check_mask, check_x
from .._types import AnyArray, Array
from ..kernels import reference
from ._contract import Namespace, Operation, Place
from ._registry import find_backend

IS_LAZY = True
DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {}


def _of_numpy(operation: Operation) -> Operation:
    """An operation of Dask, which takes blocks of NumPy alone."""

    @wraps(operation)
    def checked(arrays: AnyArray, *args: AnyArray, **options: AnyArray) -> AnyArray:
        for array in arrays if isinstance(arrays, list | tuple) else (arrays,):
            _refuse_tensors(array)
        return operation(arrays, *args, **options)

    return checked


XP = Namespace(
    sum=_of_numpy(da.sum),
    mean=_of_numpy(da.mean),
    max=_of_numpy(da.max),
    abs=_of_numpy(da.absolute),
    sqrt=_of_numpy(da.sqrt),
    where=_of_numpy(da.where),
    atan2=_of_numpy(da.arctan2),
    log=_of_numpy(da.log),
    log1p=_of_numpy(da.log1p),
    exp=_of_numpy(da.exp),
    cumsum=_of_numpy(da.cumsum),
    argmax=_of_numpy(da.argmax),
    take=_of_numpy(da.take),
    reshape=_of_numpy(da.reshape),
    stack=_of_numpy(da.stack),
    concat=_of_numpy(da.concatenate),
    asarray=lambda values, like: da.asarray(values, dtype=like.dtype),
    stop_gradient=lambda array: array,
)


def shape(array: AnyArray) -> tuple[int | None, ...]:
    """Shape of an array; None where the chunks' sizes are unknown."""
    return tuple(None if np.isnan(length) else int(length) for length in array.shape)


def dtype_name(array: AnyArray) -> str:
    """Name of the dtype of the blocks."""
    return array.dtype.name if _is_numpy(array) else str(array.dtype).removeprefix("torch.")


def place(arrays: Sequence[AnyArray]) -> Place:
    """The formula, in Dask's operations."""
    return "formula"


def is_on_host(array: AnyArray) -> bool:
    """No: nothing is computed yet."""
    return False


def is_differentiated(arrays: Sequence[AnyArray]) -> bool:
    """No: Dask has no derivatives."""
    return False


def to_numpy(array: AnyArray, argument: str) -> Array:
    """Refuse: nothing is computed yet."""
    raise TypeError(f"{argument} is a dask array; apply this to its blocks, {argument}.map_blocks(...)")


def to_host(array: AnyArray) -> Array:
    """What the array holds, computed block by block, since Dask cannot join tensors; bfloat16 as float32."""
    values: Array = array.map_blocks(_to_host, meta=np.empty((0,) * array.ndim)).compute()
    return values


def from_numpy(array: Array) -> AnyArray:
    """An array of Dask in one block."""
    return da.from_array(array, chunks=-1)


def flip(array: AnyArray, axes: Sequence[int]) -> AnyArray:
    """The array with some axes reversed."""
    _refuse_tensors(array)
    return array[tuple(slice(None, None, -1 if k in axes else None) for k in range(array.ndim))]


def run(call: Call, grad: AnyArray, x: AnyArray, out: Sequence[AnyArray]) -> tuple[AnyArray, ...]:
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


def embed(part: AnyArray, index: tuple[slice, ...], grad: AnyArray, out: AnyArray) -> AnyArray:
    """Return `part` at `index` of an array that is `grad` elsewhere."""
    everything = tuple(range(grad.ndim))
    axis = len(index) - 1
    apart = tuple(grad.ndim if k == axis else k for k in everything)  # the letters of the part have another length
    return da.blockwise(_embed, everything, grad, everything, part, apart, index=index, meta=part._meta)


def angle_summary(
    grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray
) -> tuple[Array, ...]:
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


def _summarize(
    grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray
) -> tuple[Array, ...]:
    return find_backend(grad=grad, mask=mask).angle_summary(grad, axis, thresholds, bins, mask)


def _to_host(block: AnyArray) -> Array:
    return find_backend(block=block).to_host(block)


def _check_letters(name: str, array: AnyArray, axis: int) -> None:
    if array.numblocks[axis] > 1:
        raise ValueError(
            f"the letter axis {axis} of {name} is split into {array.numblocks[axis]} chunks; keep it whole with "
            f"{name}.rechunk({{{axis}: -1}})" + ("" if _is_numpy(array) else ", before its blocks become tensors")
        )


def _maps(grad: AnyArray, x: AnyArray = None, *, call: Call) -> tuple[AnyArray, ...]:
    return tuple(find_backend(grad=grad, x=x).run(call, grad, x, (None,) * len(call.fields)))


def _map(grad: AnyArray, x: AnyArray = None, *, call: Call) -> AnyArray:
    return _maps(_only(grad), _only(x), call=call)[0]


def _pick(maps: AnyArray, *, number: int) -> AnyArray:
    return _only(maps)[number]


def _embed(grad: AnyArray, part: AnyArray, *, index: tuple[slice, ...]) -> AnyArray:
    return find_backend(grad=grad).embed(_only(part), index, grad, None)


def _only(block: AnyArray) -> AnyArray:
    """The block of an axis that the result does not have: Dask hands it over in a list, which has one entry here."""
    while isinstance(block, list):
        (block,) = block
    return block


def _rechunk(name: str, array: AnyArray, chunks: tuple[tuple[int, ...], ...], wanted: str) -> AnyArray:
    if array.chunks == chunks:
        return array
    if not _is_numpy(array):
        raise ValueError(
            f"{name} needs {wanted}, and Dask cannot rechunk blocks of type {type(array._meta).__name__}; rechunk it "
            f"before its blocks become tensors"
        )
    return array.rechunk(chunks)


def _refuse_tensors(array: AnyArray) -> None:
    if not _is_numpy(array):
        raise TypeError(
            f"Dask's own operations take no blocks of type {type(array._meta).__name__}; apply this to each block with "
            f"dask.array.map_blocks, or to the array before its blocks become tensors"
        )


def _is_numpy(array: AnyArray) -> bool:
    """Whether Dask can rechunk an array; it cannot cut and join tensors."""
    return isinstance(array.dtype, np.dtype)

"""Memory that NumPy sees, whatever library it belongs to: views of it go to the Numba kernels, as a plan says."""

import math
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .._check import Call, check_float, check_mask, check_out, check_x
from .._types import Array
from ..kernels import cpu, cpu_summary, reference, threads
from ._arrays import dtype_name, plain
from ._overlap import check_overlap, overlaps_itself
from ._planning import plan

SLAB = 1 << 16  # positions copied at a time from memory that the kernels cannot walk through
SEGMENT = 1 << 20  # positions of one sequence summarised at a time


class _Operand(NamedTuple):
    name: str
    """Argument of `cpu.analyze`."""
    array: Array
    dtype: np.dtype[Any]
    """What the kernel reads or writes; the same as the array's unless it must be converted."""
    bits: np.dtype[Any]
    """How the kernel sees `dtype`: half precision as integers."""
    has_letters: bool


def run(
    call: Call,
    grad: Array,
    x: Array | None,
    out: Sequence[Array | None],
    *,
    empty: Callable[[tuple[int, ...], np.dtype[Any]], Array] = np.empty,
) -> tuple[Array, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None; `empty` allocates the others."""
    grad = plain(grad, "grad")
    check_float(dtype_name(grad.dtype))
    operands = [_Operand("grad", grad, *_float_dtypes(grad.dtype), True)]
    if x is not None:
        operands.append(_onehot_or_codes(plain(x, "x"), grad.shape, call.axis))
    n_inputs = len(operands)
    for field, result in zip(call.fields, out, strict=True):
        name = "raw_grad_times_input" if field == "grad_times_input" and not call.corrected else field
        operands.append(_output(name, grad, field, call.axis, result, empty))
    if any(result is not None for result in out):
        check_overlap([(operand.name, operand.array) for operand in operands], n_inputs)
    options: dict[str, Any] = {"degrees": call.degrees}
    if call.background is not None:
        options["weights"] = np.array(call.background, cpu.compute_dtype(grad.dtype))
    _stream(operands, n_inputs, call.axis, options)
    return tuple([operand.array for operand in operands[n_inputs:]])


def angle_summary(
    grad: Array, axis: int, thresholds: tuple[float, ...], bins: int, mask: Array | None
) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    grad = np.moveaxis(plain(grad, "grad"), axis, -1)
    check_float(dtype_name(grad.dtype))
    if mask is not None:
        mask = plain(mask, "mask")
        check_mask(mask.shape, str(mask.dtype), grad.shape[:-1])
    sequences = grad.shape[:-2]
    grad, mask = _merge_sequences(grad, mask)
    *shape, length, _ = grad.shape
    dtypes, dtype = _float_dtypes(grad.dtype), cpu.compute_dtype(grad.dtype)
    tolerance = reference.edge_tolerance(dtype)
    counts = np.zeros((*shape, len(thresholds)), np.int64)
    n_positions, n_undefined = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    sums, squares = np.zeros(shape), np.zeros(shape)
    histogram, lock = np.zeros(bins, np.int64), threading.Lock()
    step = max(1, cpu.CHUNK // max(length, 1))
    parts = [(*k, slice(n, n + step)) for k in np.ndindex(*shape[:-1]) for n in range(0, shape[-1], step)]

    def work(number: int) -> None:
        part = parts[number]
        rows = counts[part], n_positions[part], n_undefined[part], sums[part], squares[part]
        found = np.zeros(bins, np.int64)
        for start in range(0, length, SEGMENT):
            segment = (*part, slice(start, start + SEGMENT))
            angle = np.empty(grad[segment].shape[:-1], dtype)
            operands = [_Operand("grad", grad[segment], *dtypes, True), _Operand("angle", angle, dtype, dtype, False)]
            _stream(operands, 1, 2, {"undefined": math.nan})
            counted = None if mask is None else np.ascontiguousarray(mask[segment])
            cpu_summary.summarize_angles(angle, counted, thresholds, tolerance, *rows, found)
        with lock:
            np.add(histogram, found, out=histogram)

    threads.run(work, len(parts))
    results = counts, n_positions, n_undefined, sums, squares
    return *(result.reshape(sequences + result.shape[len(shape) :]) for result in results), histogram


def _merge_sequences(grad: Array, mask: Array | None) -> tuple[Array, Array | None]:
    """See (..., length, letters) as (n_sequences, length, letters) where memory allows it without a copy."""
    if grad.ndim < 3:  # a single sequence, or a single position of one
        grad = grad.reshape((1, -1, grad.shape[-1]))
        return grad, None if mask is None else mask.reshape(1, -1)
    try:
        merged = grad.reshape((math.prod(grad.shape[:-2]), *grad.shape[-2:]), copy=False)
    except ValueError:
        return grad, mask
    return merged, None if mask is None else mask.reshape(merged.shape[:-1])


@cache
def _float_dtypes(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """The dtype a kernel reads, and the integers it sees in its place."""
    native = dtype.newbyteorder("=")
    bits = {"float16": np.dtype(np.int16), "bfloat16": np.dtype(np.uint16)}.get(dtype_name(dtype), native)
    return native, bits


@cache
def _onehot_dtypes(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]]:
    if dtype == np.bool_:
        return dtype, np.dtype(np.uint8)
    if dtype.kind in "iu" and dtype.itemsize == 2:  # the kernels take 16-bit integers for half precision
        return np.dtype(np.int32), np.dtype(np.int32)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64), np.dtype(np.float64)
    return _float_dtypes(dtype)


def _onehot_or_codes(x: Array, grad_shape: tuple[int, ...], axis: int) -> _Operand:
    kind, name = x.dtype.kind, dtype_name(x.dtype)
    if kind not in "biuf" and name != "bfloat16":
        raise TypeError(f"x must be one-hot of a real dtype or integer codes; got {name}")
    if check_x(x.shape, kind in "iu", name, grad_shape, axis):
        native = x.dtype.newbyteorder("=")
        return _Operand("codes", x, native, native, False)
    return _Operand("onehot", x, *_onehot_dtypes(x.dtype), True)


def _output(name: str, grad: Array, field: str, axis: int, out: Array | None, empty: Callable[..., Array]) -> _Operand:
    """The output for a field: the one that was passed, or a new one in the stride order of `grad`."""
    has_letters = field in reference.WITH_LETTERS
    dtype = grad.dtype if field == "corrected" else cpu.compute_dtype(grad.dtype)
    if out is None:
        if grad.flags.c_contiguous:
            out = empty(grad.shape if has_letters else grad.shape[:axis] + grad.shape[axis + 1 :], dtype)
        else:
            like = grad if has_letters else grad[(slice(None),) * axis + (0,)]
            out = np.empty_like(like, dtype, subok=False)
        return _Operand(name, out, *_float_dtypes(dtype), has_letters)
    out = plain(out, "out")
    shape = grad.shape if has_letters else grad.shape[:axis] + grad.shape[axis + 1 :]
    check_out(shape, dtype_name(dtype), out.shape, dtype_name(out.dtype), field)
    if not out.flags.writeable:
        raise ValueError(f"out for {field} is read-only; pass an array that can be written")
    if overlaps_itself(out):
        raise ValueError(f"out for {field} has elements that share memory; pass an array of its own, such as np.empty")
    return _Operand(name, out, *_float_dtypes(dtype), has_letters)


def _stream(operands: list[_Operand], n_inputs: int, axis: int, options: dict[str, Any]) -> None:
    """Pass the operands, the first of them inputs, to the kernels: in one go where memory allows it, or in slabs."""
    arrays = [operand.array for operand in operands]
    grad = arrays[0]
    if grad.size == 0:
        return
    fields = [
        (array.strides, array.itemsize, has_letters, array.dtype == dtype and array.flags.aligned)
        for _, array, dtype, _, has_letters in operands
    ]
    walk = plan(grad.shape, axis, tuple(fields), SLAB)
    if walk.is_reordered:  # look at every array with its axes in the order in which grad lies in memory
        arrays = [operand.array.transpose(walk.order_of(operand.has_letters)) for operand in operands]
    if not walk.has_copies:
        _launch(operands, arrays, n_inputs, walk.block, options)
        return

    def work(number: int) -> None:
        parts, dense = [], []
        for k, (operand, array, is_copied) in enumerate(zip(operands, arrays, walk.copied, strict=True)):
            part = array[walk.slab(number, operand.has_letters)]
            parts.append(part)
            if not is_copied:
                dense.append(part)
            elif k < n_inputs:
                dense.append(np.array(part, operand.dtype, order="C"))
            else:
                dense.append(np.empty(part.shape, operand.dtype))
        _launch(operands, dense, n_inputs, walk.block_of(parts[0].shape), options)
        for part, result in zip(parts[n_inputs:], dense[n_inputs:], strict=True):
            if part is not result:
                part[...] = result

    threads.run(work, walk.n_slabs)


def _launch(
    operands: list[_Operand], parts: list[Array], n_inputs: int, block: tuple[int, int, int], options: dict[str, Any]
) -> None:
    """Call the kernels with dense parts of the operands."""
    arguments = {}
    for k, ((name, _, dtype, bits, _), part) in enumerate(zip(operands, parts, strict=True)):
        if bits is not dtype:
            part = part.view(bits)
        if k < n_inputs:  # looked at as read-only, so that the kernels are compiled for one kind of input
            part = part.view()
            part.flags.writeable = False
        arguments[name] = part
    cpu.analyze(block, **arguments, **options)

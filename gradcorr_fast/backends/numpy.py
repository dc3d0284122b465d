"""NumPy arrays: views of their memory go to the Numba kernels; what is not dense goes through in slabs."""

import math
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .._check import Call, check_float, check_mask, check_out, check_x
from ..kernels import cpu, cpu_summary, reference, threads
from ._overlap import check_overlap, overlaps_itself

SLAB = 1 << 16  # positions copied at a time from memory that the kernels cannot walk through
SEGMENT = 1 << 20  # positions of one sequence summarised at a time
ALIGNMENT = 64  # bytes; memory that starts on a multiple becomes a TensorFlow or JAX array without a copy

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""How other backends hand over bfloat16, which NumPy lacks; arrays with the dtype of ml_dtypes are read as well."""

Array = np.ndarray[Any, Any]
XP = reference.NUMPY


class _Operand(NamedTuple):
    name: str
    """Argument of `cpu.analyze`."""
    array: Array
    dtype: np.dtype[Any]
    """What the kernel reads or writes; the same as the array's unless it must be converted."""
    bits: np.dtype[Any]
    """How the kernel sees `dtype`: half precision as integers."""
    has_letters: bool


def shape(array: Any) -> tuple[int, ...]:
    """Shape of an array."""
    return np.shape(array)


def run(
    call: Call, grad: Any, x: Any, out: Sequence[Any], *, empty: Callable[..., Array] = np.empty
) -> tuple[Array, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None; `empty` allocates the others."""
    grad = _plain(grad, "grad")
    check_float(_dtype_name(grad.dtype))
    operands = [_Operand("grad", grad, *_float_dtypes(grad.dtype), True)]
    if x is not None:
        operands.append(_onehot_or_codes(_plain(x, "x"), grad.shape, call.axis))
    n_inputs = len(operands)
    for field, given in zip(call.fields, out, strict=True):
        name = "raw_grad_times_input" if field == "grad_times_input" and not call.corrected else field
        operands.append(_output(name, grad, field, call.axis, given, empty))
    if any(given is not None for given in out):
        check_overlap([(operand.name, operand.array) for operand in operands], n_inputs)
    options: dict[str, Any] = {"degrees": call.degrees}
    if call.background is not None:
        options["weights"] = np.array(call.background, cpu.compute_dtype(grad.dtype))
    _stream(operands, n_inputs, call.axis, options)
    return tuple([operand.array for operand in operands[n_inputs:]])


def empty_aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array such as `np.empty` makes, which starts on a multiple of `ALIGNMENT`; NumPy's start wherever."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    array: Array = memory[start : start + size].view(dtype).reshape(shape)
    return array


def embed(part: Array, index: tuple[slice, ...], grad: Any, out: Any) -> Array:
    """Return `part` at `index` of an array that is `grad` elsewhere; `part` lies in `out` already if it is given."""
    if out is None:
        whole = np.array(grad, part.dtype, order="K", subok=False)
        whole[index] = part
        return whole
    rest = np.ones(grad.shape[len(index) - 1], bool)
    rest[index[-1]] = False
    out[(*index[:-1], rest)] = grad[(*index[:-1], rest)]
    return _plain(out, "out")


def angle_summary(grad: Any, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    grad = np.moveaxis(_plain(grad, "grad"), axis, -1)
    check_float(_dtype_name(grad.dtype))
    if mask is not None:
        mask = _plain(mask, "mask")
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


def to_numpy(array: Any, argument: str) -> Array:
    """The array as a plain ndarray on the same memory."""
    return _plain(array, argument)


def from_numpy(array: Array) -> Array:
    """A new array as one of this library."""
    return array


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


def _plain(array: Any, argument: str) -> Array:
    """The array as a plain ndarray on the same memory."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{argument} is a masked array, whose mask would be lost; pass {argument}.filled(0)")
    plain: Array = np.asarray(array)
    return plain


@cache
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "bfloat16" if dtype == BFLOAT16 else dtype.name


@cache
def _float_dtypes(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """The dtype a kernel reads, and the integers it sees in its place."""
    native = dtype.newbyteorder("=")
    bits = {"float16": np.dtype(np.int16), "bfloat16": np.dtype(np.uint16)}.get(_dtype_name(dtype), native)
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
    kind, name = x.dtype.kind, _dtype_name(x.dtype)
    if kind not in "biuf" and name != "bfloat16":
        raise TypeError(f"x must be one-hot of a real dtype or integer codes; got {name}")
    if check_x(x.shape, kind in "iu", name, grad_shape, axis):
        native = x.dtype.newbyteorder("=")
        return _Operand("codes", x, native, native, False)
    return _Operand("onehot", x, *_onehot_dtypes(x.dtype), True)


def _output(name: str, grad: Array, field: str, axis: int, given: Any, empty: Callable[..., Array]) -> _Operand:
    """The output for a field: the one given, or a new one in the stride order of `grad`."""
    has_letters = field in reference.WITH_LETTERS
    dtype = grad.dtype if field == "corrected" else cpu.compute_dtype(grad.dtype)
    if given is None:
        if grad.flags.c_contiguous:
            given = empty(grad.shape if has_letters else grad.shape[:axis] + grad.shape[axis + 1 :], dtype)
        else:
            like = grad if has_letters else grad[(slice(None),) * axis + (0,)]
            given = np.empty_like(like, dtype, subok=False)
        return _Operand(name, given, *_float_dtypes(dtype), has_letters)
    given = _plain(given, "out")
    shape = grad.shape if has_letters else grad.shape[:axis] + grad.shape[axis + 1 :]
    check_out(shape, _dtype_name(dtype), given.shape, _dtype_name(given.dtype), field)
    if not given.flags.writeable:
        raise ValueError(f"out for {field} is read-only; pass an array that can be written")
    if overlaps_itself(given):
        raise ValueError(f"out for {field} has elements that share memory; pass an array of its own, such as np.empty")
    return _Operand(name, given, *_float_dtypes(dtype), has_letters)


def _stream(operands: list[_Operand], n_inputs: int, axis: int, options: dict[str, Any]) -> None:
    """Pass the operands, the first of them inputs, to the kernels: in one go where memory allows it, or in slabs."""
    grad = operands[0].array
    if grad.ndim == 1:  # a single position; the new axis has something to walk along
        operands = [operand._replace(array=operand.array[None]) for operand in operands]
        grad, axis = operands[0].array, 1
    if grad.size == 0:
        return
    arrays = [operand.array for operand in operands]
    if not grad.flags.c_contiguous:  # look at every array with its axes in the order in which grad lies in memory
        order = sorted(range(grad.ndim), key=lambda k: -abs(grad.strides[k]))
        axes = {True: order, False: [k - (k > axis) for k in order if k != axis]}
        arrays = [operand.array.transpose(axes[operand.has_letters]) for operand in operands]
        axis = order.index(axis)
    shape = arrays[0].shape

    def launch(parts: list[Array]) -> None:
        arguments = {}
        for k, (operand, part) in enumerate(zip(operands, parts, strict=True)):
            if operand.bits is not operand.dtype:
                part = part.view(operand.bits)
            if k < n_inputs:  # looked at as read-only, so that the kernels are compiled for one kind of input
                part = part.view()
                part.flags.writeable = False
            arguments[operand.name] = part
        lengths = parts[0].shape
        cpu.analyze((math.prod(lengths[:axis]), lengths[axis], math.prod(lengths[axis + 1 :])), **arguments, **options)

    direct = [_is_dense(array, operand.dtype) for array, operand in zip(arrays, operands, strict=True)]
    if all(direct):
        launch(arrays)
        return
    along = max((k for k in range(grad.ndim) if k != axis), key=lambda k: shape[k])
    step = max(1, SLAB * shape[along] * shape[axis] // grad.size)

    def work(number: int) -> None:
        slab = slice(number * step, (number + 1) * step)
        parts, dense = [], []
        for k, (operand, array, is_direct) in enumerate(zip(operands, arrays, direct, strict=True)):
            cut = along if operand.has_letters or along < axis else along - 1
            part = array[(slice(None),) * cut + (slab,)]
            parts.append(part)
            if is_direct and part.flags.c_contiguous:
                dense.append(part)
            elif k < n_inputs:
                dense.append(np.array(part, operand.dtype, order="C"))
            else:
                dense.append(np.empty(part.shape, operand.dtype))
        launch(dense)
        for part, result in zip(parts[n_inputs:], dense[n_inputs:], strict=True):
            if part is not result:
                part[...] = result

    threads.run(work, -(-shape[along] // step))


def _is_dense(array: Array, dtype: np.dtype[Any]) -> bool:
    return array.flags.c_contiguous and array.flags.aligned and array.dtype == dtype

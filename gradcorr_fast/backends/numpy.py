"""NumPy arrays: views of their memory go to the Numba kernels; what is not dense goes through in slabs."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .._check import Call, check_float, check_out, check_x
from ..kernels import cpu, cpu_summary, reference, threads

NAME = "numpy"

SLAB = 1 << 14  # positions copied at a time from memory that the kernels cannot walk through

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""How other backends hand over bfloat16, which NumPy lacks; arrays with the dtype of ml_dtypes are read as well."""

Array = np.ndarray[Any, Any]


class _Operand(NamedTuple):
    array: Array
    dtype: np.dtype[Any]
    """What the kernel reads or writes; the same as the array's unless it must be converted."""
    bits: np.dtype[Any]
    """How the kernel sees `dtype`: half precision as integers."""
    has_letters: bool


def shape(array: Any) -> tuple[int, ...]:
    """Shape of an array."""
    return np.shape(array)


def run(call: Call, grad: Any, x: Any, out: Sequence[Any]) -> tuple[Array, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None."""
    grad = _plain(grad, "grad")
    check_float(_dtype_name(grad.dtype))
    inputs = {"grad": _Operand(grad, *_float_dtypes(grad.dtype), True)}
    if x is not None:
        x = _plain(x, "x")
        kind = x.dtype.kind
        if not (kind in "biuf" or _dtype_name(x.dtype) == "bfloat16"):
            raise TypeError(f"x must be one-hot of a real dtype or integer codes; got {x.dtype}")
        is_codes = check_x(x.shape, kind in "iu", str(x.dtype), grad.shape, call.axis)
        dtype, bits = (x.dtype.newbyteorder("="),) * 2 if is_codes else _onehot_dtypes(x.dtype)
        inputs["codes" if is_codes else "onehot"] = _Operand(x, dtype, bits, not is_codes)
    outputs = {field: _output(grad, field, call.axis, given) for field, given in zip(call.fields, out, strict=True)}
    in_place = any(given is not None for given in out) and _check_overlap(inputs, outputs)
    names = {"grad_times_input": "grad_times_input" if call.corrected else "raw_grad_times_input"}
    operands = inputs | {names.get(field, field): operand for field, operand in outputs.items()}
    weights = None if call.background is None else np.array(call.background, cpu.compute_dtype(grad.dtype))
    _stream(operands, call.axis, {"weights": weights, "degrees": call.degrees}, in_place, len(inputs))
    return tuple(outputs[field].array for field in call.fields)


def embed(part: Array, index: tuple[slice, ...], grad: Any, out: Any) -> Array:
    """Return `grad` with `part` at `index`, in `out` if it is given."""
    if out is None:
        whole = np.array(grad, order="K", subok=False)
    else:
        whole = _plain(out, "out")
        check_out(grad.shape, _dtype_name(grad.dtype), whole.shape, _dtype_name(whole.dtype), "all channels")
        if not _same(whole, grad):
            np.copyto(whole, grad)
    whole[index] = part
    return whole


def angle_summary(grad: Any, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    grad = np.moveaxis(_plain(grad, "grad"), axis, -1)
    check_float(_dtype_name(grad.dtype))
    if mask is not None:
        mask = check_mask(mask, grad.shape[:-1])
    sequences = grad.shape[:-2]
    if grad.ndim < 3:  # a single sequence, or a single position of one
        grad = grad.reshape((1, -1, grad.shape[-1]))
        mask = None if mask is None else mask.reshape(1, -1)
    *shape, length, _ = grad.shape
    dtypes, dtype = _float_dtypes(grad.dtype), cpu.compute_dtype(grad.dtype)
    tolerance = reference.edge_tolerance(dtype)
    counts = np.zeros((*shape, len(thresholds)), np.int64)
    n_positions, n_undefined = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    sums, squares = np.zeros(shape), np.zeros(shape)
    histograms = []
    step = max(1, cpu.CHUNK // max(length, 1))
    parts = [(*k, slice(n, n + step)) for k in np.ndindex(*shape[:-1]) for n in range(0, shape[-1], step)]

    def work(number: int) -> None:
        part = parts[number]
        angle = np.empty((len(range(*part[-1].indices(shape[-1]))), length), dtype)
        operands = {
            "grad": _Operand(grad[part], *dtypes, True),
            "angle": _Operand(angle, dtype, dtype, False),
        }
        _stream(operands, 2, {"undefined": math.nan}, in_place=False, n_inputs=1)
        counted = None if mask is None else _read_only(np.ascontiguousarray(mask[part]))
        rows = counts[part], n_positions[part], n_undefined[part], sums[part], squares[part]
        histograms.append(cpu_summary.summarize_angles(angle, counted, thresholds, bins, tolerance, *rows))

    threads.run(work, len(parts))
    rows = (
        row.reshape(sequences + row.shape[len(shape) :]) for row in (counts, n_positions, n_undefined, sums, squares)
    )
    return *rows, np.sum(histograms, axis=0, dtype=np.int64) + np.zeros(bins, np.int64)


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


def _output(grad: Array, field: str, axis: int, given: Any) -> _Operand:
    """The output for a field: the one given, or a new one in the stride order of `grad`."""
    has_letters = field in ("corrected", "substitution_effects")
    dtype = grad.dtype if has_letters else cpu.compute_dtype(grad.dtype)
    kernel_dtypes = _float_dtypes(dtype)
    if given is None:
        like = grad if has_letters else grad[(slice(None),) * axis + (0,)]
        return _Operand(np.empty_like(like, dtype, subok=False), *kernel_dtypes, has_letters)
    given = _plain(given, "out")
    shape = grad.shape if has_letters else grad.shape[:axis] + grad.shape[axis + 1 :]
    check_out(shape, _dtype_name(dtype), given.shape, _dtype_name(given.dtype), field)
    if not given.flags.writeable:
        raise ValueError(f"out for {field} is read-only; pass an array that can be written")
    return _Operand(given, *kernel_dtypes, has_letters)


def _check_overlap(inputs: dict[str, _Operand], outputs: dict[str, _Operand]) -> bool:
    """Refuse outputs on the memory of others; return whether `corrected` is `grad` itself."""
    in_place = False
    others = {name: operand.array for name, operand in inputs.items()}
    for field, operand in outputs.items():
        for name, other in others.items():
            if not np.may_share_memory(operand.array, other):
                continue
            if field == "corrected" and name == "grad" and _same(other, operand.array):
                in_place = True
            elif _overlap(operand.array, other):
                raise ValueError(
                    f"out for {field} overlaps {name}; pass memory of its own (or grad itself to `correct`)"
                )
        others[field] = operand.array
    return in_place


def _overlap(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # NumPy's stub knows two of all
    except np.exceptions.TooHardError:  # views so intertwined that telling takes too long
        return True


def _same(a: Array, b: Array) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype


def check_mask(mask: Any, shape: tuple[int, ...]) -> Array:
    """Return the mask as a boolean array, or say what is wrong with it."""
    plain = _plain(mask, "mask")
    if plain.dtype != np.bool_:
        raise TypeError(f"mask must be boolean, True where a position counts; got {plain.dtype}, compare it first")
    if plain.shape != shape:
        raise ValueError(f"mask has shape {plain.shape}; it must have shape {shape}, one entry a position")
    return plain


def _stream(operands: dict[str, _Operand], axis: int, options: dict[str, Any], in_place: bool, n_inputs: int) -> None:
    """Pass the operands, the first `n_inputs` of them inputs, to the kernels: in one go where memory allows it."""
    if operands["grad"].array.ndim == 1:  # a single position; the new axis has something to walk along
        operands = {name: operand._replace(array=operand.array[None]) for name, operand in operands.items()}
        axis = 1
    grad = operands["grad"].array
    if grad.size == 0:
        return
    arrays = [operand.array for operand in operands.values()]
    if not grad.flags.c_contiguous:
        order = sorted(range(grad.ndim), key=lambda k: -abs(grad.strides[k]))
        axes = {True: order, False: [k - (k > axis) for k in order if k != axis]}
        arrays = [operand.array.transpose(axes[operand.has_letters]) for operand in operands.values()]
        axis = order.index(axis)
    shape = arrays[0].shape
    block = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    direct = [_is_dense(array, operand.dtype) for array, operand in zip(arrays, operands.values(), strict=True)]
    direct[0] = direct[0] and not in_place

    def launch(parts: Sequence[Array], outer: int, inner: int) -> None:
        blocks = {}
        for k, ((name, operand), part) in enumerate(zip(operands.items(), parts, strict=True)):
            part = part.reshape((outer, block[1], inner) if operand.has_letters else (outer, inner))
            if operand.bits is not operand.dtype:
                part = part.view(operand.bits)
            blocks[name] = _read_only(part) if k < n_inputs else part
        cpu.analyze(blocks.pop("grad"), **blocks, **options)

    if all(direct):
        launch(arrays, block[0], block[2])
        return
    slabbed = max((k for k in range(grad.ndim) if k != axis), key=lambda k: shape[k])
    step = max(1, SLAB * shape[slabbed] // (block[0] * block[2]))

    def work(number: int) -> None:
        slab = slice(number * step, (number + 1) * step)
        parts = []
        for operand, array in zip(operands.values(), arrays, strict=True):
            cut = slabbed - (slabbed > axis and not operand.has_letters)
            parts.append(array[(slice(None),) * cut + (slab,)])
        dense = [
            part if direct_ and part.flags.c_contiguous else np.array(part, operand.dtype, order="C", copy=True)
            for part, operand, direct_ in zip(parts, operands.values(), direct, strict=True)
        ]
        part_shape = dense[0].shape
        launch(dense, math.prod(part_shape[:axis]), math.prod(part_shape[axis + 1 :]))
        for part, result in list(zip(parts, dense, strict=True))[n_inputs:]:
            if part is not result:
                part[...] = result

    threads.run(work, -(-shape[slabbed] // step))


def _is_dense(array: Array, dtype: np.dtype[Any]) -> bool:
    return array.flags.c_contiguous and array.flags.aligned and array.dtype == dtype


def _read_only(array: Array) -> Array:
    """A view that cannot be written, so that the kernels are compiled for one kind of input."""
    view = array.view()
    view.flags.writeable = False
    return view

"""CuPy arrays: the CUDA kernels, on the array's device and CuPy's current stream."""

from collections.abc import Callable, Sequence

import cupy
import numpy as np

from .._check import Call, rest_of
from .._types import AnyArray, Array
from ..kernels import cuda
from . import _cuda, _cuda_metrics
from ._arrays import widened
from ._contract import Namespace, Place

XP = Namespace(
    sum=cupy.sum,
    mean=cupy.mean,
    max=cupy.max,
    abs=cupy.abs,
    sqrt=cupy.sqrt,
    where=cupy.where,
    atan2=cupy.arctan2,
    log=cupy.log,
    log1p=cupy.log1p,
    exp=cupy.exp,
    cumsum=cupy.cumsum,
    argmax=cupy.argmax,
    take=cupy.take,
    reshape=cupy.reshape,
    stack=cupy.stack,
    concat=cupy.concatenate,
    asarray=lambda values, like: cupy.asarray(values, dtype=like.dtype),
    stop_gradient=lambda array: array,
)
IS_LAZY = False


def shape(array: AnyArray) -> tuple[int, ...]:
    """Shape of an array."""
    return tuple(array.shape)


def dtype_name(array: AnyArray) -> str:
    """Name of the dtype."""
    return str(array.dtype.name)


def place(arrays: Sequence[AnyArray]) -> Place:
    """The device."""
    return "device"


def is_on_host(array: AnyArray) -> bool:
    """No."""
    return False


def is_differentiated(arrays: Sequence[AnyArray]) -> bool:
    """No: CuPy has no derivatives."""
    return False


def flip(array: AnyArray, axes: Sequence[int]) -> AnyArray:
    """A view with some axes reversed."""
    return array[tuple(slice(None, None, -1 if k in axes else None) for k in range(array.ndim))]


def run(call: Call, grad: AnyArray, x: AnyArray, out: Sequence[AnyArray]) -> tuple[AnyArray, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None."""
    for array in (x, *out):
        _check_device(array, grad)
    return _cuda.run(call, grad, x, out, LIBRARY)


def embed(part: AnyArray, index: tuple[slice, ...], grad: AnyArray, out: AnyArray) -> AnyArray:
    """Return `part` at `index` of an array that is `grad` elsewhere; `part` lies in `out` already if it is given."""
    with grad.device:
        if out is None:
            whole = _as_bits(grad).copy().view(grad.dtype) if grad.dtype == part.dtype else grad.astype(part.dtype)
            _copy(whole[index], part)
            return whole
        for channel in rest_of(index[-1], grad.shape[len(index) - 1]):
            _copy(out[(*index[:-1], channel)], grad[(*index[:-1], channel)])
    return out


def angle_summary(
    grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray
) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    _check_device(mask, grad)
    return _cuda.angle_summary(grad, axis, thresholds, bins, mask, LIBRARY)


def to_numpy(array: AnyArray, argument: str) -> Array:
    """Refuse: NumPy cannot see the memory of a GPU."""
    raise ValueError(f"{argument} is on {array.device}; pass a NumPy array, cupy.asnumpy({argument})")


def to_host(array: AnyArray) -> Array:
    """A copy of the array in NumPy's memory; bfloat16 as float32."""
    return widened(cupy.asnumpy(array))


def _ranking(
    scores: AnyArray, labels: AnyArray, mask: AnyArray, fields: Sequence[str], omit_nan: bool
) -> tuple[AnyArray, ...]:
    for array in (labels, mask):
        _check_device(array, scores)
    with scores.device:
        return _cuda_metrics.ranking(scores, labels, mask, fields, omit_nan, LIBRARY)


def _interpretability(
    scores: AnyArray, ppm: AnyArray, axis: int, threshold: float, omit_nan: bool
) -> tuple[AnyArray, ...]:
    _check_device(ppm, scores)
    with scores.device:
        return _cuda_metrics.interpretability(scores, ppm, axis, threshold, omit_nan, LIBRARY, XP)


DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {"ranking": _ranking, "interpretability": _interpretability}


def from_numpy(array: Array) -> AnyArray:
    """A new array as one of this library, on the current device."""
    return cupy.asarray(array)


def from_dlpack(array: AnyArray) -> AnyArray:
    """Another library's array, or its capsule, as CuPy's, on the same memory.

    CuPy's current stream waits until an array has been written; of a capsule its library has waited.
    """
    return cupy.from_dlpack(array)


def synchronize(array: AnyArray) -> None:
    """Wait until everything is done that was launched for an array on CuPy's current stream."""
    with array.device:
        cupy.cuda.get_current_stream().synchronize()


def _check_device(array: AnyArray, grad: AnyArray) -> None:
    if array is not None and array.device != grad.device:
        raise ValueError(f"grad is on {grad.device} and another argument on {array.device}; copy one with cupy.asarray")


def _queue(array: AnyArray) -> cuda.Queue:
    with array.device:
        return cuda.Queue(array.device.id, cupy.cuda.get_current_stream().ptr)


def _empty(lengths: Sequence[int], dtype: str, like: AnyArray) -> AnyArray:
    with like.device:
        return cupy.empty(tuple(lengths), like.dtype if dtype == "bfloat16" else dtype)


def _zero_bytes(n_bytes: int, like: AnyArray) -> AnyArray:
    with like.device:
        return cupy.zeros(n_bytes, np.uint8)


def _as_bits(array: AnyArray) -> AnyArray:
    """The array, bfloat16 as integers: CuPy compiles a header of the CUDA toolkit for it, which few have."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _dense(array: AnyArray) -> AnyArray:
    with array.device:
        return cupy.ascontiguousarray(_as_bits(array)).view(array.dtype)


def _copy_of(array: AnyArray) -> AnyArray:
    with array.device:
        return _as_bits(array).copy(order="C").view(array.dtype)


def _copy(to: AnyArray, array: AnyArray) -> None:
    with to.device:
        _as_bits(to)[...] = _as_bits(array.astype(to.dtype, copy=False))


LIBRARY = _cuda.Library(
    cuda_major=cupy.cuda.runtime.runtimeGetVersion() // 1000,
    out_of_memory=cupy.cuda.memory.OutOfMemoryError,
    queue=_queue,
    kind=lambda array: (array.dtype, array.shape, array.strides, array.data.ptr % _cuda.ALIGNMENT),
    dtype_name=lambda array: array.dtype.name,
    address=lambda array: array.data.ptr,
    strides=lambda array: array.strides,
    permute=lambda array, axes: array.transpose(tuple(axes)),
    is_dense=lambda array: array.flags.c_contiguous,
    dense=_dense,
    copy_of=_copy_of,
    empty=_empty,
    zero_bytes=_zero_bytes,
    copy=_copy,
    to_host=cupy.asnumpy,
)

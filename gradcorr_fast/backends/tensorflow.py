"""TensorFlow tensors: the Numba kernels for eager CPU tensors, the CUDA kernels for those on NVIDIA GPUs.

Symbolic tensors (tf.function, with or without XLA, layers in a Keras graph) and other devices get the reference
formula.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce
from types import ModuleType

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from .._check import Call, check_float, check_mask, check_x
from .._types import AnyArray, Array
from ..kernels import reference
from . import _arrays, _cuda, _numba
from ._arrays import BFLOAT16, widened
from ._contract import Namespace, Operation, Place


def _asarray(values: AnyArray, like: AnyArray) -> AnyArray:
    return tf.cast(values, like.dtype) if tf.is_tensor(values) else tf.constant(list(values), like.dtype)


def _where(condition: AnyArray, a: AnyArray, b: AnyArray) -> AnyArray:
    """tf.where takes a Python number as float32, whatever stands on the other side."""
    dtype = a.dtype if tf.is_tensor(a) else b.dtype
    return tf.where(condition, tf.cast(a, dtype), tf.cast(b, dtype))


XP = Namespace(
    sum=tf.reduce_sum,
    mean=tf.reduce_mean,
    max=tf.reduce_max,
    abs=tf.abs,
    sqrt=tf.sqrt,
    where=_where,
    atan2=tf.atan2,
    log=tf.math.log,
    log1p=tf.math.log1p,
    exp=tf.exp,
    cumsum=tf.cumsum,
    argmax=tf.argmax,
    take=lambda array, indices, axis: tf.gather(array, indices, axis=axis),
    asarray=_asarray,
    reshape=tf.reshape,
    stack=tf.stack,
    concat=tf.concat,
    stop_gradient=tf.stop_gradient,
)
IS_LAZY = False


def _by_letter(combine: Operation, otherwise: Operation) -> Operation:
    """Reduce four letters side by side one after the other: XLA fuses that into one loop, its reductions it does not.

    In rows, (N, 4, L), the reductions are the faster ones in graphs without XLA.
    """

    def reduction(array: AnyArray, axis: int, keepdims: bool = False) -> AnyArray:
        if axis != array.shape.rank - 1 or array.shape[axis] != 4:
            return otherwise(array, axis=axis, keepdims=keepdims)
        result = reduce(combine, tf.unstack(array, axis=axis))
        return result[..., None] if keepdims else result

    return reduction


_sum = _by_letter(operator.add, tf.reduce_sum)
_LETTERS = replace(
    XP,
    sum=_sum,
    mean=lambda array, axis, keepdims=False: _sum(array, axis, keepdims) / array.shape[axis],
    max=_by_letter(tf.maximum, tf.reduce_max),
)
"""As XP, for reductions over the letters of each position."""


def shape(array: AnyArray) -> tuple[int | None, ...]:
    """Shape of a tensor; None where a graph does not know a length."""
    return tuple(array.shape)


def dtype_name(array: AnyArray) -> str:
    """Name of the dtype."""
    return str(array.dtype.name)


def place(arrays: Sequence[AnyArray]) -> Place:
    """The host or a GPU for eager tensors that are all there, else the formula."""
    if not tf.executing_eagerly() or not all(is_native(tensor) for tensor in arrays):
        return "formula"
    on_cuda = [_uses_cuda(tensor) for tensor in arrays]
    if all(on_cuda):
        return "device"
    return "formula" if any(on_cuda) else "host"


def is_differentiated(arrays: Sequence[AnyArray]) -> bool:
    """Whether a tape may record what is computed."""
    return bool(record.could_possibly_record())


def flip(array: AnyArray, axes: Sequence[int]) -> AnyArray:
    """The tensor with some axes reversed."""
    return array[tuple(slice(None, None, -1 if k in axes else None) for k in range(len(array.shape)))]


def run(call: Call, grad: AnyArray, x: AnyArray, out: Sequence[AnyArray]) -> tuple[AnyArray, ...]:
    """Produce ``call.fields``; tensors are immutable, so nothing can be filled."""
    if any(array is not None for array in out):
        raise TypeError("TensorFlow tensors cannot be written to; leave out= away")
    inputs = [tf.convert_to_tensor(array) for array in (grad, x) if array is not None]
    grad = inputs[0]
    check_float(grad.dtype.name)
    if grad.shape[call.axis] is None:
        raise ValueError(f"axis {call.axis} holds the letters, and its length is unknown; set it with tf.ensure_shape")
    if x is not None:
        check_x(inputs[1].shape, inputs[1].dtype.is_integer, inputs[1].dtype.name, grad.shape, call.axis)
        if inputs[1].device != grad.device:
            raise ValueError(f"grad is on {grad.device} and x on {inputs[1].device}; move one with tf.identity")
    if tf.executing_eagerly() and all(is_native(tensor) for tensor in inputs):
        # A custom gradient costs 0.1 to 0.7 ms; TensorFlow has no public question for whether a tape would want it.
        function = _differentiable(call) if record.could_possibly_record() else partial(_native, call)
        return tuple(function(*inputs))
    return _reference(call, *inputs)


def embed(part: AnyArray, index: tuple[slice, ...], grad: AnyArray, out: AnyArray) -> AnyArray:
    """Return `grad` with `part` at `index`, the last entry of which is a slice of the letter axis."""
    axis, letters = len(index) - 1, index[-1]
    channels = np.arange(grad.shape[axis])
    rest = np.setdiff1d(channels, channels[letters])
    whole = tf.concat([part, tf.cast(tf.gather(grad, rest, axis=axis), part.dtype)], axis=axis)
    return tf.gather(whole, np.argsort(np.concatenate([channels[letters], rest])), axis=axis)


def angle_summary(
    grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray
) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    if not tf.executing_eagerly() or tf.is_symbolic_tensor(grad):
        raise TypeError(
            "angle_summary returns NumPy arrays and cannot be traced; use simplex_angle inside the function"
        )
    grad = tf.convert_to_tensor(grad)
    check_float(grad.dtype.name)
    if _uses_cuda(grad):
        if mask is not None:
            mask = tf.convert_to_tensor(mask)
            check_mask(tuple(mask.shape), mask.dtype.name, tuple(grad.shape[:axis] + grad.shape[axis + 1 :]))
            mask = _as_cupy(mask).view(bool)  # some versions hand over bytes
        summary: tuple[Array, ...] = _cupy_backend().angle_summary(_as_cupy(grad), axis, thresholds, bins, mask)
        return summary
    mask = None if mask is None else np.asarray(mask)
    return _numba.angle_summary(_as_numpy(grad), axis, thresholds, bins, mask)


def to_numpy(tensor: AnyArray, argument: str) -> Array:
    """The tensor as NumPy sees it, on the same memory."""
    if not tf.executing_eagerly() or not is_on_host(tensor):
        raise ValueError(f"{argument} is traced or not on the CPU; pass an eager CPU tensor")
    return _as_numpy(tf.convert_to_tensor(tensor))


def to_host(tensor: AnyArray) -> Array:
    """What the tensor holds; bfloat16 as float32."""
    return widened(np.asarray(tensor))


def from_numpy(array: Array) -> AnyArray:
    """A new array as one of this library."""
    return tf.convert_to_tensor(array)


def _differentiable(call: Call) -> AnyArray:
    """The kernels forward; backward, to any order, through the reference formula."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow is not typed here
    def forward(*inputs: AnyArray) -> AnyArray:
        def backward(*cotangents: AnyArray) -> AnyArray:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                results = _reference(call, *inputs)
            return tape.gradient(results, inputs, output_gradients=cotangents)

        return _native(call, *inputs), backward

    return forward


def _native(call: Call, grad: AnyArray, x: AnyArray = None) -> list[AnyArray]:
    if _uses_cuda(grad):
        return _through_cupy(lambda backend, *a: backend.run(call, *a, (None,) * len(call.fields)), grad, x)
    arrays = _as_numpy(grad), None if x is None else _as_numpy(x)
    results = _numba.run(call, *arrays, (None,) * len(call.fields), empty=_arrays.empty_aligned)
    return [_from_numpy(result) for result in results]


def _reference(call: Call, grad: AnyArray, x: AnyArray = None) -> tuple[AnyArray, ...]:
    wide = tf.cast(grad, tf.float64 if grad.dtype == tf.float64 else tf.float32)
    results = reference.analyze(wide, x, xp=_LETTERS, **call._asdict())
    return tuple(
        tf.cast(result, grad.dtype) if field == "corrected" else result
        for field, result in zip(call.fields, results, strict=True)
    )


def is_native(tensor: AnyArray) -> bool:
    """Whether the kernels may read the tensor's memory: concrete, and on a device of theirs."""
    return not tf.is_symbolic_tensor(tensor) and ("CPU" in tensor.device or _uses_cuda(tensor))


def is_on_host(tensor: AnyArray) -> bool:
    """Whether NumPy can read the tensor's memory."""
    return is_native(tensor) and not _uses_cuda(tensor)


def _uses_cuda(tensor: AnyArray) -> bool:
    return "GPU" in tensor.device and bool(tf.sysconfig.get_build_info()["is_cuda_build"])


def _cupy_backend() -> ModuleType:
    """The backend that GPU tensors pass through; DLPack hands their memory over."""
    _cuda.require_cupy(int(tf.sysconfig.get_build_info()["cuda_version"].partition(".")[0]))
    from . import cupy as cupy_backend

    return cupy_backend


def _through_cupy(function: Callable[..., AnyArray], *tensors: AnyArray) -> list[AnyArray]:
    """Call ``function(backend, *arrays)`` with what CuPy sees of the tensors; its results as tensors."""
    backend = _cupy_backend()
    arrays = [None if tensor is None else _as_cupy(tensor) for tensor in tensors]
    results = function(backend, *arrays)
    backend.synchronize(arrays[0])  # TensorFlow does not wait for the stream that others work on
    return [_from_cupy(result) for result in results]


def _ranking(
    scores: AnyArray, labels: AnyArray, mask: AnyArray, fields: Sequence[str], omit_nan: bool
) -> list[AnyArray]:
    if mask is not None:
        mask = tf.cast(mask, tf.uint8)  # some versions hand over booleans as bytes
    return _through_cupy(
        lambda backend, s, y, m: backend.DEVICE_METRICS["ranking"](
            s, y, None if m is None else m.view(bool), fields, omit_nan
        ),
        scores,
        tf.cast(labels, tf.uint8) if labels.dtype == tf.bool else labels,
        mask,
    )


def _interpretability(scores: AnyArray, ppm: AnyArray, axis: int, threshold: float, omit_nan: bool) -> list[AnyArray]:
    return _through_cupy(
        lambda backend, *arrays: backend.DEVICE_METRICS["interpretability"](*arrays, axis, threshold, omit_nan),
        scores,
        ppm,
    )


DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {"ranking": _ranking, "interpretability": _interpretability}


def _as_cupy(tensor: AnyArray) -> AnyArray:
    """The tensor's memory as a CuPy array; by a capsule, since TensorFlow refuses the stream that CuPy passes."""
    if tensor.dtype == tf.bfloat16:
        return _as_cupy(tf.bitcast(tensor, tf.uint16)).view(tf.bfloat16.as_numpy_dtype)
    return _cupy_backend().from_dlpack(tf.experimental.dlpack.to_dlpack(tensor))


def _from_cupy(array: AnyArray) -> AnyArray:
    """A tensor on the memory of a CuPy array that nobody else has."""
    if array.dtype.name == "bfloat16":
        return tf.bitcast(_from_cupy(array.view(np.uint16)), tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _as_numpy(tensor: AnyArray) -> Array:
    """The tensor's memory as a NumPy array."""
    if tensor.dtype == tf.bfloat16:
        return np.asarray(memoryview(tf.bitcast(tensor, tf.uint16))).view(BFLOAT16)
    return np.asarray(memoryview(tensor))


def _from_numpy(array: Array) -> AnyArray:
    """A tensor on the memory of an aligned array that nobody else has; tf.convert_to_tensor copies."""
    if array.dtype == BFLOAT16:
        return tf.bitcast(_from_numpy(array.view(np.uint16)), tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

"""Arrays on NVIDIA GPUs, whatever their library: from their memory to the CUDA kernels, without leaving the device.

Each library says how to reach its arrays, see `Library`. Results are allocated by it and the kernels
launched on its current stream, so that everything before and after is in order.
"""

import importlib.util
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from .._check import Call, check_float, check_mask, check_out, check_x, missing_backend
from .._installing import install_command
from .._types import AnyArray, Array
from ..kernels import cuda, reference
from ._overlap import check_overlap, overlaps_itself
from ._planning import Field, plan

LETTERED = ("grad", "onehot", *reference.WITH_LETTERS)
"""Arrays that have the letter axis."""


@dataclass(frozen=True)
class Library:
    """What an array library has to offer here."""

    cuda_major: int
    """Major version of CUDA that the library was built for."""
    out_of_memory: type[Exception]
    queue: Callable[[AnyArray], cuda.Queue]
    """Device of an array, and the stream that is current there."""
    kind: Callable[[AnyArray], Hashable]
    """What a launch on an array depends on, quick to ask: dtype, shape, strides, address modulo 16."""
    dtype_name: Callable[[AnyArray], str]
    """NumPy's name of the dtype, or "bfloat16"."""
    address: Callable[[AnyArray], int]
    """Where the first element lies."""
    strides: Callable[[AnyArray], tuple[int, ...]]
    """Bytes from one element to the next, along each axis."""
    permute: Callable[[AnyArray, Sequence[int]], AnyArray]
    """The same memory with its axes in another order."""
    is_dense: Callable[[AnyArray], bool]
    """Whether an array is C-contiguous."""
    dense: Callable[[AnyArray], AnyArray]
    """The array, C-contiguous: itself if it is already."""
    copy_of: Callable[[AnyArray], AnyArray]
    """A new array, C-contiguous, with the same values."""
    empty: Callable[[Sequence[int], str, AnyArray], AnyArray]
    """A new array of a shape and dtype, on the device of another."""
    zero_bytes: Callable[[int, AnyArray], AnyArray]
    """So many zeros, uint8, on the device of another array."""
    copy: Callable[[AnyArray, AnyArray], object]
    """Write into the first array what the second holds, of the same shape and dtype."""
    to_host: Callable[[AnyArray], Array]
    """The array in NumPy's memory."""


def run(call: Call, grad: AnyArray, x: AnyArray, out: Sequence[AnyArray], library: Library) -> tuple[AnyArray, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None."""
    queue = library.queue(grad)
    check_device(queue.device, library.cuda_major)
    inputs = (grad,) if x is None else (grad, x)
    kind = _kind_of(call, inputs, out, library)
    if kind.has_out:
        _check_overlap(call, kind, inputs, out, library)
    # These keep alive what is copied to be dense, until the kernel is launched.
    dense = [
        array if axes is None else library.copy_of(library.permute(array, axes))
        for array, axes in zip(inputs, kind.copied, strict=True)
    ]
    results = [
        array if made is None else _allocate(made, grad, library) for array, made in zip(out, kind.made, strict=True)
    ]
    if not kind.is_empty:
        addresses = [library.address(array) for array in (*dense, *results)]
        kind.launch(call, addresses, queue)
    if not kind.has_out:
        return tuple(results)
    for array, result in zip(out, results, strict=True):
        if array is not None and array is not result:
            library.copy(array, result)
    return tuple(result if array is None else array for array, result in zip(out, results, strict=True))


class _New(NamedTuple):
    """A result to allocate."""

    field: str
    lengths: tuple[int, ...]
    """Its shape in the order of the gradient in memory."""
    dtype: str
    axes: tuple[int, ...] | None
    """Its axes in the order of the caller's; None if that is the same."""


@dataclass(frozen=True)
class _Kind:
    """What calls have in common whose arrays differ in nothing but their addresses, and in those by whole 16 bytes."""

    block: tuple[int, int, int]
    names: tuple[str, ...]
    """What the kernel calls its operands: inputs, then results."""
    dtypes: tuple[str, ...]
    copied: tuple[tuple[int, ...] | None, ...]
    """Of each input, the order in which its axes are copied; None if it is read where it is."""
    made: tuple[_New | None, ...]
    """Of each result, what is allocated; None if it is written where it is."""
    has_out: bool
    is_empty: bool
    plans: dict[tuple[int, ...], cuda.Maps] = field(default_factory=dict)
    """Launches, by how far the addresses are from the last multiple of 16."""

    def launch(self, call: Call, addresses: list[int], queue: cuda.Queue) -> None:
        """Launch the kernel on operands at these addresses."""
        offsets = tuple([address % ALIGNMENT for address in addresses])
        maps = self.plans.get(offsets)
        if maps is None:
            maps = cuda.plan_maps(self.block, self.names, self.dtypes, offsets, call.background, call.degrees)
            self.plans[offsets] = maps
        maps.launch(addresses, queue)


ALIGNMENT = 16
"""Bytes that a thread loads at most, at an address that is a multiple of them."""
_MOST_KINDS = 4096
_kinds: dict[tuple[Any, ...], _Kind] = {}


def _kind_of(call: Call, inputs: Sequence[AnyArray], out: Sequence[AnyArray], library: Library) -> _Kind:
    """What was worked out for arrays of this kind, at the first call with them."""
    key = (call, *[None if array is None else library.kind(array) for array in (*inputs, *out)])
    kind = _kinds.get(key)
    if kind is None:
        if len(_kinds) >= _MOST_KINDS:
            _kinds.clear()
        kind = _kinds[key] = _plan_kind(call, inputs, out, library)
    return kind


def _plan_kind(call: Call, inputs: Sequence[AnyArray], out: Sequence[AnyArray], library: Library) -> _Kind:
    """Check arrays but for where they lie, and plan the way through their memory."""
    grad, dtype, shape = inputs[0], library.dtype_name(inputs[0]), tuple(inputs[0].shape)
    check_float(dtype)
    names = ["grad"]
    if len(inputs) == 2:
        names.append("codes" if _is_codes(inputs[1], shape, call.axis, library) else "onehot")
    given = {name: array for name, array in zip(call.fields, out, strict=True) if array is not None}
    for name, array in given.items():
        _check_out(name, array, call.axis, grad, library)
    arrays = dict(zip(names, inputs, strict=True)) | given
    walk = plan(shape, call.axis, tuple(_field(name, array, library) for name, array in arrays.items()))
    is_copied = dict(zip(arrays, walk.copied, strict=True))
    without = tuple(length for k, length in enumerate(walk.lengths) if k != walk.axis)
    made = []
    for name in call.fields:
        order, lengths = walk.order_of(name in LETTERED), walk.lengths if name in LETTERED else without
        axes = tuple(order.index(k) for k in range(len(order))) if walk.is_reordered else None
        new = _New(name, lengths, _result_dtype(name, dtype), axes)
        made.append(None if name in given and not is_copied[name] else new)
    return _Kind(
        block=walk.block,
        names=(*names, *(_operand(name, call) for name in call.fields)),
        dtypes=(*map(library.dtype_name, inputs), *(_result_dtype(name, dtype) for name in call.fields)),
        copied=tuple(walk.order_of(name in LETTERED) if is_copied[name] else None for name in names),
        made=tuple(made),
        has_out=bool(given),
        is_empty=0 in shape,
    )


def _operand(name: str, call: Call) -> str:
    return "raw_grad_times_input" if name == "grad_times_input" and not call.corrected else name


def _field(name: str, array: AnyArray, library: Library) -> Field:
    """What the plan asks of an array."""
    item_bytes = cuda.ITEM_BYTES[library.dtype_name(array)]
    is_aligned = library.address(array) % item_bytes == 0
    return tuple(library.strides(array)), item_bytes, name in LETTERED, is_aligned


def _allocate(new: _New, grad: AnyArray, library: Library) -> AnyArray:
    """A new result, dense in the order of `grad` in memory, and seen with its axes in the order of the caller's."""
    try:
        result = library.empty(new.lengths, new.dtype, grad)
    except library.out_of_memory as error:
        error.add_note(
            f"There is no room on the device for {new.field}; call with fewer sequences at a time, or pass memory to "
            "write to as out= (`correct` can write into the gradient itself)."
        )
        raise
    return result if new.axes is None else library.permute(result, new.axes)


def angle_summary(
    grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray, library: Library
) -> tuple[AnyArray, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    dtype = library.dtype_name(grad)
    check_float(dtype)
    queue = library.queue(grad)
    check_device(queue.device, library.cuda_major)
    positions = [k for k in range(len(grad.shape)) if k != axis]
    if mask is not None:
        check_mask(mask.shape, library.dtype_name(mask), tuple(grad.shape[k] for k in positions))
        mask = library.dense(mask)  # bytes, which lie wherever they like
    sequences = tuple(grad.shape[k] for k in positions[:-1])
    length = grad.shape[positions[-1]] if positions else 1
    n_sequences = math.prod(sequences)
    n_letters = grad.shape[axis]
    grad, letters_last = _by_sequence(grad, positions, axis, library)
    buffer = cuda.SummaryBuffer.plan(n_sequences, length, len(thresholds), bins)
    size = buffer.offsets[-1]
    host = np.zeros(size, np.uint8)
    if n_sequences and length:
        memory = library.zero_bytes(size, grad)
        cuda.angle_summary(
            (n_sequences, length, n_letters),
            letters_last,
            queue,
            grad=cuda.DeviceMemory(library.address(grad), dtype),
            mask=None if mask is None else library.address(mask),
            thresholds=thresholds,
            tolerance=reference.edge_tolerance(_compute_dtype(dtype)),
            buffer=buffer,
            address=library.address(memory),
        )
        host = library.to_host(memory)
    *results, histogram = buffer.read(host, len(thresholds), length)
    return *(result.reshape(sequences + result.shape[1:]) for result in results), histogram


def _by_sequence(grad: AnyArray, positions: list[int], axis: int, library: Library) -> tuple[AnyArray, bool]:
    """The gradient with one sequence after the other in memory, and whether the letters come last in it."""
    letters_last = library.permute(grad, [*positions, axis])
    if not _is_usable(letters_last, library):
        rows = library.permute(grad, [*positions[:-1], axis, *positions[-1:]])
        if _is_usable(rows, library):
            return rows, False
    return _dense(letters_last, library), True


def _is_usable(array: AnyArray, library: Library) -> bool:
    """Whether kernels can work on the memory of an array as it lies."""
    item_bytes = cuda.ITEM_BYTES[library.dtype_name(array)]
    return library.is_dense(array) and library.address(array) % item_bytes == 0


def _dense(array: AnyArray, library: Library) -> AnyArray:
    """The array, C-contiguous and aligned: itself if it is already."""
    return array if _is_usable(array, library) else library.copy_of(array)


def _compute_dtype(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def _result_dtype(field: str, dtype: str) -> str:
    return dtype if field == "corrected" else _compute_dtype(dtype)


def _is_codes(x: AnyArray, shape: tuple[int, ...], axis: int, library: Library) -> bool:
    name = library.dtype_name(x)
    if name not in cuda.TYPES:
        raise TypeError(f"x must be one-hot of a real dtype or integer codes; got {name}")
    return check_x(tuple(x.shape), name in cuda.INTEGERS, name, shape, axis)


def _check_out(field: str, given: AnyArray, axis: int, grad: AnyArray, library: Library) -> None:
    """Refuse an output whose shape or dtype does not fit, or that shares memory with itself."""
    shape = tuple(grad.shape)
    wanted = shape if field in reference.WITH_LETTERS else shape[:axis] + shape[axis + 1 :]
    dtype = _result_dtype(field, library.dtype_name(grad))
    check_out(wanted, dtype, tuple(given.shape), library.dtype_name(given), field)
    if overlaps_itself(_shadow(given, library)):
        raise ValueError(f"out for {field} has elements that share memory; pass an array of its own")


def _check_overlap(
    call: Call, kind: _Kind, inputs: Sequence[AnyArray], out: Sequence[AnyArray], library: Library
) -> None:
    """Refuse outputs that lie on the memory of others."""
    names = (*kind.names[: len(inputs)], *call.fields)
    operands = [
        (name, _shadow(array, library)) for name, array in zip(names, (*inputs, *out), strict=True) if array is not None
    ]
    check_overlap(operands, len(inputs))


def _shadow(array: AnyArray, library: Library) -> Array:
    """NumPy's view of memory that it must not touch, for questions about overlap alone."""
    interface = {
        "version": 3,
        "data": (library.address(array) if 0 not in array.shape else 1, False),
        "shape": tuple(array.shape),
        "strides": library.strides(array),
        "typestr": f"|V{cuda.ITEM_BYTES[library.dtype_name(array)]}",
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def require_cupy(cuda_major: int) -> None:
    """Say how to install what compiles and launches the kernels, if it is not there."""
    if importlib.util.find_spec("cupy") is None:
        raise missing_backend("CuPy, which compiles the kernels for arrays on CUDA devices,", f"cuda{cuda_major}x")


@cache
def check_device(device: int, cuda_major: int) -> None:
    """Refuse what the kernels cannot be compiled for or launched on; nothing falls back to the host."""
    require_cupy(cuda_major)
    import cupy
    from cupy.cuda import nvrtc, runtime

    if runtime.is_hip:
        raise RuntimeError("CuPy is built for ROCm, and the kernels are CUDA; pass the array as a PyTorch tensor")
    driver, built_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver // 1000 < built_for // 1000:
        extra = f"cuda{driver // 1000}x"
        mend = f"a newer one, or gradcorr-fast[{extra}] in place of this CuPy: {install_command(extra)}"
        raise RuntimeError(
            f"CuPy is built for CUDA {built_for // 1000}, and the NVIDIA driver offers CUDA {driver // 1000}; install "
            f"{mend}"
            if driver
            else "no NVIDIA driver was found; install it"
        )
    try:
        architectures = nvrtc.getSupportedArchs()
    except (ImportError, RuntimeError, OSError) as error:
        raise RuntimeError(
            f"CuPy finds no NVRTC to compile with; pip install 'cupy-cuda{built_for // 1000}x[ctk]' brings it"
        ) from error
    capability = int(cupy.cuda.Device(device).compute_capability)
    if capability < min(architectures):
        raise RuntimeError(
            f"device {device} has compute capability {capability / 10}, and CUDA {built_for // 1000} compiles for "
            f"{min(architectures) / 10} and newer; use a CuPy built for an older CUDA, or the CPU"
        )

"""Arrays on NVIDIA GPUs, whatever their library: from their memory to the CUDA kernels, without leaving the device.

Each library says how to reach its arrays, see `Library`. Results are allocated by it and the kernels
launched on its current stream, so that everything before and after is in order.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np

from .._check import Call, check_float, check_mask, check_out, check_x, missing_backend
from .._installing import install_command
from .._types import AnyArray, Array
from ..kernels import cuda, reference
from ._overlap import check_overlap, overlaps_itself
from ._planning import Field, Plan, plan

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
    dtype, shape = library.dtype_name(grad), tuple(grad.shape)
    check_float(dtype)
    queue = library.queue(grad)
    check_device(queue.device, library.cuda_major)
    inputs = {"grad": grad}
    if x is not None:
        inputs["codes" if _is_codes(x, shape, call.axis, library) else "onehot"] = x
    if any(array is not None for array in out):
        _check_out(call, inputs, out, library)
    arrays = inputs | {field: array for field, array in zip(call.fields, out, strict=True) if array is not None}
    walk = plan(shape, call.axis, tuple(_field(name, array, library) for name, array in arrays.items()))
    copied = dict(zip(arrays, walk.copied, strict=True))
    # These keep alive what is copied to be dense, until the kernel is launched.
    dense = {name: _permute(array, walk.order_of(name in LETTERED), library) for name, array in inputs.items()}
    dense = {name: library.copy_of(array) if copied[name] else array for name, array in dense.items()}
    memory = {
        name: cuda.DeviceMemory(library.address(array), library.dtype_name(array)) for name, array in dense.items()
    }
    results = []
    for field, array in zip(call.fields, out, strict=True):
        is_new = array is None or copied[field]
        results.append(_allocate(field, grad, walk, library) if is_new else array)
        name = "raw_grad_times_input" if field == "grad_times_input" and not call.corrected else field
        memory[name] = cuda.DeviceMemory(library.address(results[-1]), _result_dtype(field, dtype))
    if 0 not in shape:
        cuda.analyze(walk.block, queue, weights=call.background, degrees=call.degrees, **memory)
    for array, result in zip(out, results, strict=True):
        if array is not None and array is not result:
            library.copy(array, result)
    return tuple(result if array is None else array for array, result in zip(out, results, strict=True))


def _field(name: str, array: AnyArray, library: Library) -> Field:
    """What the plan asks of an array."""
    item_bytes = cuda.ITEM_BYTES[library.dtype_name(array)]
    is_aligned = library.address(array) % item_bytes == 0
    return tuple(library.strides(array)), item_bytes, name in LETTERED, is_aligned


def _allocate(field: str, grad: AnyArray, walk: Plan, library: Library) -> AnyArray:
    """A new result, dense in the order of `grad` in memory, and seen with its axes in the order of the caller's."""
    lengths = list(walk.lengths)
    if field not in LETTERED:
        del lengths[walk.axis]
    axes = walk.order_of(field in LETTERED)
    try:
        result = library.empty(lengths, _result_dtype(field, library.dtype_name(grad)), grad)
    except library.out_of_memory as error:
        error.add_note(
            f"There is no room on the device for {field}; call with fewer sequences at a time, or pass memory to write "
            "to as out= (`correct` can write into the gradient itself)."
        )
        raise
    return _permute(result, tuple(axes.index(k) for k in range(len(axes))), library)


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


def _permute(array: AnyArray, axes: tuple[int, ...], library: Library) -> AnyArray:
    """The same memory with its axes in another order; a call of the library is saved where they stay."""
    return array if axes == tuple(range(len(axes))) else library.permute(array, axes)


def _compute_dtype(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def _result_dtype(field: str, dtype: str) -> str:
    return dtype if field == "corrected" else _compute_dtype(dtype)


def _is_codes(x: AnyArray, shape: tuple[int, ...], axis: int, library: Library) -> bool:
    name = library.dtype_name(x)
    if name not in cuda.TYPES:
        raise TypeError(f"x must be one-hot of a real dtype or integer codes; got {name}")
    return check_x(tuple(x.shape), name in cuda.INTEGERS, name, shape, axis)


def _check_out(call: Call, inputs: dict[str, AnyArray], out: Sequence[AnyArray], library: Library) -> None:
    """Refuse outputs that do not fit, or lie on the memory of others."""
    shape, dtype = tuple(inputs["grad"].shape), library.dtype_name(inputs["grad"])
    operands = [(name, _shadow(array, library)) for name, array in inputs.items()]
    for field, given in zip(call.fields, out, strict=True):
        if given is None:
            continue
        wanted = shape if field in reference.WITH_LETTERS else shape[: call.axis] + shape[call.axis + 1 :]
        check_out(wanted, _result_dtype(field, dtype), tuple(given.shape), library.dtype_name(given), field)
        shadow = _shadow(given, library)
        if overlaps_itself(shadow):
            raise ValueError(f"out for {field} has elements that share memory; pass an array of its own")
        operands.append((field, shadow))
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

"""How a tensor reaches the kernels, or the formula where there are none, and what is known of its memory."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from ..._check import Call
from ..._types import Array
from ...kernels import cuda, reference
from .. import _cuda, _numba
from .._arrays import BFLOAT16
from .._contract import Namespace

_MOST_INDICES = 4096


def _take(array: torch.Tensor, indices: Any, axis: int) -> torch.Tensor:
    """Positions of an array; a GPU keeps NumPy's, since a copy to it waits for all that it has to do."""
    is_plain = not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() == 0
    is_small = isinstance(indices, np.ndarray) and indices.size <= _MOST_INDICES
    if is_plain and is_small and array.device.type == "cuda":
        return array.index_select(axis, _index(indices.tobytes(), indices.dtype.str, array.device))
    return array.index_select(axis, torch.as_tensor(indices, device=array.device))


@lru_cache(1024)
def _index(numbers: bytes, dtype: str, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # or no gradient could go through it
        return torch.as_tensor(np.frombuffer(numbers, dtype).copy(), device=device)


def _asarray(values: Any, like: torch.Tensor) -> torch.Tensor:
    if isinstance(values, range):  # counted where it is wanted
        return torch.arange(values.start, values.stop, values.step, dtype=like.dtype, device=like.device)
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


XP = Namespace(
    sum=lambda array, axis, keepdims=False: torch.sum(array, dim=axis, keepdim=keepdims),
    mean=lambda array, axis, keepdims=False: torch.mean(array, dim=axis, keepdim=keepdims),
    max=lambda array, axis, keepdims=False: torch.amax(array, dim=axis, keepdim=keepdims),
    abs=torch.abs,
    sqrt=torch.sqrt,
    where=torch.where,
    atan2=torch.atan2,
    log=torch.log,
    log1p=torch.log1p,
    exp=torch.exp,
    cumsum=torch.cumsum,
    argmax=torch.argmax,
    take=_take,
    asarray=_asarray,
    reshape=torch.reshape,
    stack=torch.stack,
    concat=torch.cat,
    stop_gradient=lambda array: array.detach(),
)

PLAIN = (torch.Tensor, torch.nn.Parameter)


def dtype_name(tensor: torch.Tensor) -> str:
    """Name of the dtype as NumPy has it."""
    return str(tensor.dtype).removeprefix("torch.")


def run_kernels(
    call: Call, grad: torch.Tensor, x: torch.Tensor | None, out: Sequence[torch.Tensor | None]
) -> tuple[torch.Tensor, ...]:
    """Run the kernels.

    On the CPU NumPy allocates: large fresh outputs take a third of the time of torch.empty (first touch).
    """
    if uses_cuda(grad):
        results = _cuda.run(call, grad.detach(), None if x is None else x.detach(), out, LIBRARY)
    else:
        arrays = [None if tensor is None else as_numpy(tensor) for tensor in out]
        found = _numba.run(call, as_numpy(grad), None if x is None else as_numpy(x), arrays)
        results = tuple([from_numpy(array) if t is None else t for t, array in zip(out, found, strict=True)])
    for tensor in out:
        if tensor is not None:
            torch.autograd.graph.increment_version(tensor)  # so that autograd notices what was overwritten
    return results


def formula(call: Call, grad: torch.Tensor, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    results = reference.analyze(widen(grad), x, xp=XP, **call._asdict())
    return tuple(
        result.to(grad.dtype) if field == "corrected" else result
        for field, result in zip(call.fields, results, strict=True)
    )


def is_native(tensor: torch.Tensor) -> bool:
    """Whether the kernels may read the tensor's memory: a plain tensor on a device of theirs, outside every transform.

    torch has no public question for functorch's wrappers, forward-mode levels and dispatch modes (make_fx has one).
    """
    return (
        type(tensor) in PLAIN
        and has_kernels(tensor.device)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and forward_ad._current_level < 0
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch.jit.is_tracing()
        and not tensor.is_neg()
    )


def has_kernels(device: torch.device) -> bool:
    return device.type == "cpu" or (device.type == "cuda" and torch.version.hip is None)


def uses_cuda(tensor: torch.Tensor) -> bool:
    return bool(tensor.device.type == "cuda")


def _queue(tensor: torch.Tensor) -> cuda.Queue:
    """Device and current stream, asked as torch's own compiled code does: making a stream's object takes longer."""
    device = tensor.device.index
    return cuda.Queue(device, torch._C._cuda_getCurrentRawStream(device))


LIBRARY = _cuda.Library(
    cuda_major=int((torch.version.cuda or "0").partition(".")[0]),
    out_of_memory=torch.OutOfMemoryError,
    queue=_queue,
    kind=lambda tensor: (tensor.dtype, tensor.shape, tensor.stride(), tensor.data_ptr() % _cuda.ALIGNMENT),
    dtype_name=dtype_name,
    address=torch.Tensor.data_ptr,
    strides=lambda tensor: tuple(stride * tensor.element_size() for stride in tensor.stride()),
    permute=torch.Tensor.permute,
    is_dense=torch.Tensor.is_contiguous,
    dense=torch.Tensor.contiguous,
    copy_of=lambda tensor: tensor.clone(memory_format=torch.contiguous_format),
    empty=lambda lengths, dtype, like: torch.empty(lengths, dtype=getattr(torch, dtype), device=like.device),
    zero_bytes=lambda n_bytes, like: torch.zeros(n_bytes, dtype=torch.uint8, device=like.device),
    copy=torch.Tensor.copy_,
    to_host=lambda tensor: tensor.cpu().numpy(),
)
"""How to reach the memory of CUDA tensors."""


def as_numpy(tensor: torch.Tensor) -> Array:
    """The tensor's memory as a NumPy array."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    values: Array = tensor.numpy()
    return values


def from_numpy(array: Array) -> torch.Tensor:
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(_compute_dtype(tensor.dtype))

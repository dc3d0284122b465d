"""PyTorch tensors: the Numba kernels on the CPU, the CUDA kernels on NVIDIA GPUs, the reference formula elsewhere.

Elsewhere is other devices (ROCm among them, whose tensors say "cuda"), and traced tensors (torch.compile,
torch.func, fake tensors, forward-mode AD), where the formula is what compilers and transforms can see through.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from .._check import Call, check_float, check_mask, check_out, check_x, rest_of
from .._types import AnyArray, Array
from ..kernels import cuda, reference
from . import _cuda, _cuda_metrics, _numba
from ._arrays import BFLOAT16
from ._contract import Namespace, Place

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
    take=lambda array, indices, axis: array.index_select(axis, torch.as_tensor(indices, device=array.device)),
    asarray=lambda values, like: torch.as_tensor(values, dtype=like.dtype, device=like.device),
    reshape=torch.reshape,
    stack=torch.stack,
    concat=torch.cat,
    stop_gradient=lambda array: array.detach(),
)

IS_LAZY = False
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def shape(array: torch.Tensor) -> tuple[int, ...]:
    """Shape of a tensor."""
    if not isinstance(array, torch.Tensor):
        raise TypeError(f"got a {type(array).__module__}.{type(array).__qualname__}; pass a tensor")
    return tuple(array.shape)


def dtype_name(tensor: torch.Tensor) -> str:
    """Name of the dtype as NumPy has it."""
    return str(tensor.dtype).removeprefix("torch.")


def place(tensors: Sequence[torch.Tensor]) -> Place:
    """The host, a GPU with kernels, or the formula; torch.compile, which traces, must not see kernels."""
    if torch.compiler.is_compiling():
        return "formula"
    if all(is_on_host(tensor) for tensor in tensors):
        return "host"
    for tensor in tensors:
        _check_placement(tensor, tensors[0])
    return "device" if all(is_native(tensor) for tensor in tensors) else "formula"


def is_differentiated(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether autograd follows one of them."""
    return any(tensor.requires_grad for tensor in tensors)


def run(
    call: Call, grad: torch.Tensor, x: torch.Tensor | None, out: Sequence[torch.Tensor | None]
) -> tuple[torch.Tensor, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None."""
    check_float(dtype_name(grad))
    given = [tensor for tensor in out if tensor is not None]
    inputs = (grad,) if x is None else (grad, x)
    for tensor in (*inputs, *given):
        _check_placement(tensor, grad)
    differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*inputs, *given))
    if given and differentiable:
        raise ValueError("out= cannot be differentiated; leave it away, or call under torch.no_grad()")
    if any(type(tensor) not in _PLAIN or tensor.is_neg() for tensor in given):
        raise TypeError("out= is a tensor subclass or a negated view; pass a plain tensor, such as torch.empty makes")
    if torch.compiler.is_compiling() or not all(is_native(tensor) for tensor in inputs):
        if x is not None:
            is_integer = not (x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool)
            check_x(x.shape, is_integer, dtype_name(x), grad.shape, call.axis)
        results = _reference(call, grad, x)
        return tuple(
            result if tensor is None else _copy_into(tensor, result, field)
            for field, tensor, result in zip(call.fields, out, results, strict=True)
        )
    if differentiable:
        return tuple(_Maps.apply(call, grad, x))
    return _native(call, grad, x, out)


def embed(part: torch.Tensor, index: tuple[slice, ...], grad: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """Return `part` at `index` of a tensor that is `grad` elsewhere; `part` lies in `out` already if it is given."""
    if out is None:
        whole = grad.to(part.dtype, copy=True)
        whole[index] = part
        return whole
    for channel in rest_of(index[-1], grad.shape[len(index) - 1]):  # one by one: a mask would synchronise a GPU
        out[(*index[:-1], channel)] = grad[(*index[:-1], channel)].to(out.dtype)
    return out


def angle_summary(
    grad: torch.Tensor, axis: int, thresholds: tuple[float, ...], bins: int, mask: torch.Tensor | None
) -> tuple[Array, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    check_float(dtype_name(grad))
    _check_placement(grad, grad)
    if mask is not None:
        _check_placement(mask, grad)
    if torch.compiler.is_compiling() or (_has_kernels(grad.device) and not is_native(grad)):
        raise TypeError(
            "angle_summary returns NumPy arrays and cannot be traced; use simplex_angle inside the function"
        )
    if is_native(grad) and _uses_cuda(grad):
        return _cuda.angle_summary(grad.detach(), axis, thresholds, bins, mask, LIBRARY)
    if mask is not None:
        mask = mask.numpy(force=True)
    if is_native(grad):
        return _numba.angle_summary(_as_numpy(grad), axis, thresholds, bins, mask)
    angle = reference.defined_angle(_widen(grad.detach()), axis=axis, xp=XP).numpy(force=True)
    if mask is not None:
        check_mask(mask.shape, str(mask.dtype), angle.shape)
    return tuple(reference.summarize_angles(angle, mask, thresholds, bins))


def to_numpy(tensor: torch.Tensor, argument: str) -> Array:
    """The tensor as NumPy sees it, on the same memory."""
    if torch.compiler.is_compiling():
        raise TypeError(f"{argument} is traced, and has no values yet; call this outside of the compiled function")
    if not is_on_host(tensor):
        raise ValueError(f"{argument} is on {tensor.device} or traced; pass a plain CPU tensor, {argument}.cpu()")
    return _as_numpy(tensor)


def to_host(tensor: torch.Tensor) -> Array:
    """What the tensor holds, cut from its graph; bfloat16 as float32."""
    values: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)
    return values


def flip(tensor: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """A copy with some axes reversed; torch has no negative strides."""
    return tensor.flip(tuple(axes))


def _ranking(
    scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, fields: Sequence[str], omit_nan: bool
) -> tuple[torch.Tensor, ...]:
    return _cuda_metrics.ranking(scores.detach(), labels, mask, fields, omit_nan, LIBRARY)


def _interpretability(
    scores: torch.Tensor, ppm: torch.Tensor, axis: int, threshold: float, omit_nan: bool
) -> tuple[torch.Tensor, ...]:
    return _cuda_metrics.interpretability(scores.detach(), ppm.detach(), axis, threshold, omit_nan, LIBRARY, XP)


DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {"ranking": _ranking, "interpretability": _interpretability}


def from_numpy(array: Array) -> torch.Tensor:
    """A new array as one of this library."""
    return _from_numpy(array)


class _Maps(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """The kernels forward; backward, to any order, through the reference formula on the saved inputs."""

    @staticmethod
    def forward(ctx: Any, call: Call, grad: torch.Tensor, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(grad, x)
        ctx.set_materialize_grads(False)
        results = _native(call, grad, x, (None,) * len(call.fields))
        if not grad.requires_grad:
            pairs = zip(call.fields, results, strict=True)
            ctx.mark_non_differentiable(*[result for field, result in pairs if field not in reference.OF_INPUT])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        used = [k for k, cotangent in enumerate(cotangents) if cotangent is not None]
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views cut off what the inputs were computed from: that part is for the caller's backward pass alone.
            grad, x = (None if tensor is None else tensor.view_as(tensor) for tensor in ctx.saved_tensors)
            call = ctx.call._replace(fields=tuple(ctx.call.fields[k] for k in used))
            results = _reference(call, grad, x)
            wanted = [tensor for tensor, is_needed in zip((grad, x), needed, strict=True) if is_needed]
            found = torch.autograd.grad(
                results, wanted, [cotangents[k] for k in used], create_graph=create_graph, allow_unused=True
            )
        remaining = iter(found)
        return None, *(next(remaining) if is_needed else None for is_needed in needed)


def _native(
    call: Call, grad: torch.Tensor, x: torch.Tensor | None, out: Sequence[torch.Tensor | None]
) -> tuple[torch.Tensor, ...]:
    """Run the kernels.

    On the CPU NumPy allocates: large fresh outputs take a third of the time of torch.empty (first touch).
    """
    if _uses_cuda(grad):
        results = _cuda.run(call, grad.detach(), None if x is None else x.detach(), out, LIBRARY)
    else:
        arrays = [None if tensor is None else _as_numpy(tensor) for tensor in out]
        found = _numba.run(call, _as_numpy(grad), None if x is None else _as_numpy(x), arrays)
        results = tuple([_from_numpy(array) if t is None else t for t, array in zip(out, found, strict=True)])
    for tensor in out:
        if tensor is not None:
            torch.autograd.graph.increment_version(tensor)  # so that autograd notices what was overwritten
    return results


def _reference(call: Call, grad: torch.Tensor, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    results = reference.analyze(_widen(grad), x, xp=XP, **call._asdict())
    return tuple(
        result.to(grad.dtype) if field == "corrected" else result
        for field, result in zip(call.fields, results, strict=True)
    )


def is_native(tensor: torch.Tensor) -> bool:
    """Whether the kernels may read the tensor's memory: a plain tensor on a device of theirs, outside every transform.

    torch has no public question for functorch's wrappers, forward-mode levels and dispatch modes (make_fx has one).
    """
    return (
        type(tensor) in _PLAIN
        and _has_kernels(tensor.device)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and forward_ad._current_level < 0
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch.jit.is_tracing()
        and not tensor.is_neg()
    )


def is_on_host(tensor: torch.Tensor) -> bool:
    """Whether NumPy can read the tensor's memory."""
    return is_native(tensor) and not _uses_cuda(tensor)


def _has_kernels(device: torch.device) -> bool:
    return device.type == "cpu" or (device.type == "cuda" and torch.version.hip is None)


def _uses_cuda(tensor: torch.Tensor) -> bool:
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


def _check_placement(tensor: torch.Tensor, grad: torch.Tensor) -> None:
    if tensor.layout != torch.strided:
        raise TypeError(f"got a {tensor.layout} tensor; pass a dense one, tensor.to_dense()")
    if tensor.device != grad.device:
        raise ValueError(f"grad is on {grad.device} and another argument on {tensor.device}; move one with .to(device)")


def _copy_into(out: torch.Tensor, result: torch.Tensor, field: str) -> torch.Tensor:
    check_out(result.shape, dtype_name(result), out.shape, dtype_name(out), field)
    return out.copy_(result)


def _as_numpy(tensor: torch.Tensor) -> Array:
    """The tensor's memory as a NumPy array."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    values: Array = tensor.numpy()
    return values


def _from_numpy(array: Array) -> torch.Tensor:
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(_compute_dtype(tensor.dtype))

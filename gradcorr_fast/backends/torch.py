"""PyTorch tensors: the Numba kernels on the memory of CPU tensors, the reference formula everywhere else.

Everywhere else is other devices, and traced tensors (torch.compile, torch.func, fake tensors, forward-mode AD), where
the formula is what compilers and transforms can see through.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch.autograd import forward_ad

from .._check import Call, check_float, check_out, check_x
from ..kernels import reference
from . import numpy as numpy_backend

_XP = SimpleNamespace(
    sum=lambda array, axis, keepdims=False: torch.sum(array, dim=axis, keepdim=keepdims),
    mean=lambda array, axis, keepdims=False: torch.mean(array, dim=axis, keepdim=keepdims),
    max=lambda array, axis, keepdims=False: torch.amax(array, dim=axis, keepdim=keepdims),
    abs=torch.abs,
    sqrt=torch.sqrt,
    where=torch.where,
    atan2=torch.atan2,
    asarray=lambda values, like: torch.as_tensor(values, dtype=like.dtype, device=like.device),
    stop_gradient=lambda array: array.detach(),
)

_PLAIN = (torch.Tensor, torch.nn.Parameter)


def shape(array: torch.Tensor) -> tuple[int, ...]:
    """Shape of a tensor."""
    return tuple(array.shape)


def run(call: Call, grad: torch.Tensor, x: Any, out: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """Produce ``call.fields``, filling those of `out` that are not None."""
    check_float(_dtype_name(grad))
    given = [tensor for tensor in out if tensor is not None]
    inputs = (grad,) if x is None else (grad, x)
    for tensor in (*inputs, *given):
        _check_placement(tensor, grad)
    differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*inputs, *given))
    if given and differentiable:
        raise ValueError("out= cannot be differentiated; leave it away, or call under torch.no_grad()")
    if torch.compiler.is_compiling() or not all(_is_native(tensor) for tensor in inputs):
        if x is not None:
            is_integer = not (x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool)
            check_x(x.shape, is_integer, _dtype_name(x), grad.shape, call.axis)
        results = _reference(call, grad, x)
        return tuple(
            result if tensor is None else _copy_into(tensor, result, field)
            for field, tensor, result in zip(call.fields, out, results, strict=True)
        )
    if differentiable:
        return tuple(_Maps.apply(call, grad, x))
    return _native(call, grad, x, out)


def embed(part: torch.Tensor, index: tuple[slice, ...], grad: torch.Tensor, out: Any) -> torch.Tensor:
    """Return `grad` with `part` at `index`, in `out` if it is given."""
    whole = grad.clone() if out is None else out
    if out is not None and out is not grad:
        check_out(grad.shape, _dtype_name(grad), out.shape, _dtype_name(out), "all channels")
        whole.copy_(grad)
    whole[index] = part
    return whole


def angle_summary(
    grad: torch.Tensor, axis: int, thresholds: tuple[float, ...], bins: int, mask: Any
) -> tuple[Any, ...]:
    """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""
    check_float(_dtype_name(grad))
    _check_placement(grad, grad)
    if mask is not None:
        _check_placement(mask, grad)
        mask = mask.numpy(force=True)
    if torch.compiler.is_compiling() or (grad.device.type == "cpu" and not _is_native(grad)):
        raise TypeError(
            "angle_summary returns NumPy arrays and cannot be traced; use simplex_angle inside the function"
        )
    if _is_native(grad):
        return numpy_backend.angle_summary(_as_numpy(grad), axis, thresholds, bins, mask)
    angle = reference.defined_angle(_widen(grad.detach()), axis=axis, xp=_XP).numpy(force=True)
    if mask is not None:
        mask = numpy_backend.check_mask(mask, angle.shape)
    return tuple(reference.summarize_angles(angle, mask, thresholds, bins))


class _Maps(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """The kernels forward; backward, to any order, through the reference formula on the saved inputs."""

    @staticmethod
    def forward(ctx: Any, call: Call, grad: torch.Tensor, x: Any) -> tuple[torch.Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(grad, x)
        ctx.set_materialize_grads(False)
        return _native(call, grad, x, (None,) * len(call.fields))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        grad, x = ctx.saved_tensors
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            results = _reference(ctx.call, grad, x)
            pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if c is not None]
            wanted = [tensor for tensor, needed in zip((grad, x), ctx.needs_input_grad[1:], strict=True) if needed]
            found = iter(
                torch.autograd.grad(
                    [r for r, _ in pairs], wanted, [c for _, c in pairs], create_graph=create_graph, allow_unused=True
                )
                if pairs
                else [None] * len(wanted)
            )
        return None, *(next(found) if needed else None for needed in ctx.needs_input_grad[1:])


def _native(call: Call, grad: torch.Tensor, x: Any, out: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """Run the kernels; NumPy allocates, since the huge pages it asks for halve the time of fresh outputs."""
    arrays = [None if tensor is None else _as_numpy(tensor) for tensor in out]
    results = numpy_backend.run(call, _as_numpy(grad), None if x is None else _as_numpy(x), arrays)
    return tuple([_from_numpy(array) if tensor is None else tensor for tensor, array in zip(out, results, strict=True)])


def _reference(call: Call, grad: torch.Tensor, x: Any) -> tuple[torch.Tensor, ...]:
    results = reference.analyze(_widen(grad), x, xp=_XP, **call._asdict())
    return tuple(
        result.to(grad.dtype) if field in numpy_backend.WITH_LETTERS else result
        for field, result in zip(call.fields, results, strict=True)
    )


def _is_native(tensor: torch.Tensor) -> bool:
    """Whether the kernels may read the tensor's memory: a plain CPU tensor outside of every transform."""
    return (
        type(tensor) in _PLAIN
        and tensor.device.type == "cpu"
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and forward_ad._current_level < 0
        and not torch.jit.is_tracing()
    )


def _check_placement(tensor: torch.Tensor, grad: torch.Tensor) -> None:
    if tensor.layout != torch.strided:
        raise TypeError(f"got a {tensor.layout} tensor; pass a dense one, tensor.to_dense()")
    if tensor.device != grad.device:
        raise ValueError(f"grad is on {grad.device} and another argument on {tensor.device}; move one with .to(device)")


def _copy_into(out: torch.Tensor, result: torch.Tensor, field: str) -> torch.Tensor:
    check_out(result.shape, _dtype_name(result), out.shape, _dtype_name(out), field)
    return out.copy_(result)


def _as_numpy(tensor: torch.Tensor) -> Any:
    """The tensor's memory as a NumPy array."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(numpy_backend.BFLOAT16)
    return tensor.numpy()


def _from_numpy(array: Any) -> torch.Tensor:
    if array.dtype == numpy_backend.BFLOAT16:
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(_compute_dtype(tensor.dtype))


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

"""PyTorch tensors: the Numba kernels on the CPU, the CUDA kernels on NVIDIA GPUs, the reference formula elsewhere.

Elsewhere is other devices (ROCm among them, whose tensors say "cuda"), and traced tensors (torch.func, fake tensors,
forward-mode AD, torch.export), where the formula is what transforms can see through. What torch.compile makes calls
the kernels as an operator, see `_operator`.
"""

from collections.abc import Callable, Sequence

import torch

from ..._check import Call, check_float, check_mask, check_out, check_x, rest_of
from ..._types import AnyArray, Array
from ...kernels import reference
from .. import _cuda, _cuda_metrics, _numba
from .._contract import Place
from . import _native
from ._maps import Maps
from ._native import PLAIN, as_numpy, formula, has_kernels, is_native, run_kernels, widen
from ._native import XP as XP
from ._native import dtype_name as dtype_name
from ._native import from_numpy as from_numpy

if hasattr(torch.compiler, "is_exporting"):  # since PyTorch 2.7, without which compiled code takes the formula
    from . import _operator
else:
    _operator = None  # type: ignore[assignment]

IS_LAZY = False


def shape(array: torch.Tensor) -> tuple[int, ...]:
    """Shape of a tensor."""
    if not isinstance(array, torch.Tensor):
        raise TypeError(f"got a {type(array).__module__}.{type(array).__qualname__}; pass a tensor")
    return tuple(array.shape)


def place(tensors: Sequence[torch.Tensor]) -> Place:
    """The host, a GPU with kernels, or the formula; torch.compile, which traces, must not see kernels."""
    if torch.compiler.is_compiling():
        return "formula"
    if all(is_on_host(tensor) for tensor in tensors):
        return "host"
    for tensor in tensors:
        _check_placement(tensor, tensors[0])
    return "device" if all(is_native(tensor) for tensor in tensors) else "formula"


def is_on_host(tensor: torch.Tensor) -> bool:
    """Whether NumPy can read the tensor's memory."""
    return is_native(tensor) and not _native.uses_cuda(tensor)


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
    if any(type(tensor) not in PLAIN or tensor.is_neg() for tensor in given):
        raise TypeError("out= is a tensor subclass or a negated view; pass a plain tensor, such as torch.empty makes")
    is_compiled = torch.compiler.is_compiling()
    if is_compiled or not all(is_native(tensor) for tensor in inputs):
        if x is not None:
            is_integer = not (x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool)
            check_x(x.shape, is_integer, dtype_name(x), grad.shape, call.axis)
        is_called = is_compiled and _operator is not None and _operator.can_be_called(call, grad, x)
        results = _operator.call_operator(call, grad, x) if is_called else formula(call, grad, x)
        return tuple(
            result if tensor is None else _copy_into(tensor, result, field)
            for field, tensor, result in zip(call.fields, out, results, strict=True)
        )
    if differentiable:
        return tuple(Maps.apply(call, grad, x))
    return run_kernels(call, grad, x, out)


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
    if torch.compiler.is_compiling() or (has_kernels(grad.device) and not is_native(grad)):
        raise TypeError(
            "angle_summary returns NumPy arrays and cannot be traced; use simplex_angle inside the function"
        )
    if is_native(grad) and _native.uses_cuda(grad):
        return _cuda.angle_summary(grad.detach(), axis, thresholds, bins, mask, _native.LIBRARY)
    if mask is not None:
        mask = mask.numpy(force=True)
    if is_native(grad):
        return _numba.angle_summary(as_numpy(grad), axis, thresholds, bins, mask)
    angle = reference.defined_angle(widen(grad.detach()), axis=axis, xp=XP).numpy(force=True)
    if mask is not None:
        check_mask(mask.shape, str(mask.dtype), angle.shape)
    return tuple(reference.summarize_angles(angle, mask, thresholds, bins))


def to_numpy(tensor: torch.Tensor, argument: str) -> Array:
    """The tensor as NumPy sees it, on the same memory."""
    if torch.compiler.is_compiling():
        raise TypeError(f"{argument} is traced, and has no values yet; call this outside of the compiled function")
    if not is_on_host(tensor):
        raise ValueError(f"{argument} is on {tensor.device} or traced; pass a plain CPU tensor, {argument}.cpu()")
    return as_numpy(tensor)


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
    return _cuda_metrics.ranking(scores.detach(), labels, mask, fields, omit_nan, _native.LIBRARY)


def _interpretability(
    scores: torch.Tensor, ppm: torch.Tensor, axis: int, threshold: float, omit_nan: bool
) -> tuple[torch.Tensor, ...]:
    return _cuda_metrics.interpretability(scores.detach(), ppm.detach(), axis, threshold, omit_nan, _native.LIBRARY, XP)


DEVICE_METRICS: dict[str, Callable[..., AnyArray]] = {"ranking": _ranking, "interpretability": _interpretability}


def _check_placement(tensor: torch.Tensor, grad: torch.Tensor) -> None:
    if tensor.layout != torch.strided:
        raise TypeError(f"got a {tensor.layout} tensor; pass a dense one, tensor.to_dense()")
    if tensor.device != grad.device:
        raise ValueError(f"grad is on {grad.device} and another argument on {tensor.device}; move one with .to(device)")


def _copy_into(out: torch.Tensor, result: torch.Tensor, field: str) -> torch.Tensor:
    check_out(result.shape, dtype_name(result), out.shape, dtype_name(out), field)
    return out.copy_(result)

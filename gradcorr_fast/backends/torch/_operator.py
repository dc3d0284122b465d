"""The maps as an operator of PyTorch, which compiled code calls: kernels forward, the reference formula backward."""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.autograd import forward_ad

from ..._check import Call
from ...kernels import reference
from ._maps import differentiate
from ._native import PLAIN, formula, has_kernels, run_kernels

HAS_CUDA_KERNELS = importlib.util.find_spec("cupy") is not None
"""Whether compiled code finds what launches them; otherwise the formula does as well there."""
NAME = "gradcorr_fast::maps"
STRIDES = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
"""Compiled code keeps the inputs' strides, on which those of the results depend."""


def can_be_called(call: Call, grad: torch.Tensor, x: torch.Tensor | None) -> bool:
    """Whether compiled code calls the kernels: of all but `correct` alone, which compilers fuse with what is around it.

    What is exported must run where this package is not; forward-mode derivatives are those of the formula.
    """
    return (
        call.fields != ("corrected",)
        and not torch.compiler.is_exporting()
        and forward_ad._current_level < 0
        and all(type(tensor) in PLAIN for tensor in (grad, x) if tensor is not None)
        and has_kernels(grad.device)
        and (grad.device.type == "cpu" or HAS_CUDA_KERNELS)
    )


def call_operator(call: Call, grad: torch.Tensor, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Produce ``call.fields`` in compiled code."""
    background = None if call.background is None else [*call.background]
    maps = torch.ops.gradcorr_fast.maps
    return tuple(maps(grad, x, ",".join(call.fields), call.axis, call.degrees, call.corrected, background))


def _as_call(fields: str, axis: int, degrees: bool, corrected: bool, background: Sequence[float] | None) -> Call:
    return Call(axis, tuple(fields.split(",")), degrees, corrected, None if background is None else tuple(background))


def _run(
    grad: torch.Tensor,
    x: torch.Tensor | None,
    fields: str,
    axis: int,
    degrees: bool,
    corrected: bool,
    background: Sequence[float] | None,
) -> list[torch.Tensor]:
    """Run the kernels; `fields` with commas between, the others as in `Call`."""
    call = _as_call(fields, axis, degrees, corrected, background)
    found = run_kernels(call, grad, x, (None,) * len(call.fields))
    # compiled code relies on the strides that it was told
    planned = _planned_strides(grad.shape, grad.stride(), grad.dtype, fields, axis)
    return [
        result
        if result.stride() == strides
        else torch.empty_strided(result.shape, strides, dtype=result.dtype, device=result.device).copy_(result)
        for result, strides in zip(found, planned, strict=True)
    ]


@lru_cache
def _planned_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype, fields: str, axis: int
) -> list[tuple[int, ...]]:
    """Return the strides of results, asked of the meta device, where they take no memory."""
    grad = torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    return [result.stride() for result in _plan(grad, None, fields, axis)]


def _plan(grad: torch.Tensor, x: torch.Tensor | None, fields: str, axis: int, *rest: Any) -> list[torch.Tensor]:
    """Allocate results, in the order of the gradient in memory."""
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    return [
        torch.empty_like(grad)
        if field == "corrected"
        else torch.empty_like(grad if field in reference.WITH_LETTERS else grad.select(axis, 0), dtype=dtype)
        for field in fields.split(",")
    ]


class _Maps(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """The operator, to be differentiated to any order."""

    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor, x: torch.Tensor | None, *rest: Any) -> tuple[torch.Tensor, ...]:
        ctx.call = _as_call(*rest)
        ctx.save_for_backward(grad, x)
        ctx.set_materialize_grads(False)
        with torch._C._AutoDispatchBelowAutograd():
            results = tuple(torch.ops.gradcorr_fast.maps(grad, x, *rest))
        if not grad.requires_grad:
            pairs = zip(ctx.call.fields, results, strict=True)
            ctx.mark_non_differentiable(*[result for field, result in pairs if field not in reference.OF_INPUT])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[Any, ...]:
        found = differentiate(ctx.call, ctx.saved_tensors, ctx.needs_input_grad[:2], cotangents)
        return *found, *[None] * len(ctx.call)


def _follow(grad: torch.Tensor, x: torch.Tensor | None, *rest: Any) -> list[torch.Tensor]:
    """Run the operator under autograd, or where a transform of torch.func follows, the formula."""
    tensors = [tensor for tensor in (grad, x) if tensor is not None]
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors)):
        return [*formula(_as_call(*rest), grad, x)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return [*_Maps.apply(grad, x, *rest)]
    with torch._C._AutoDispatchBelowAutograd():
        found: list[torch.Tensor] = torch.ops.gradcorr_fast.maps(grad, x, *rest)
        return found


def _map_over(
    info: Any,
    dims: tuple[int | None, ...],
    grad: torch.Tensor,
    x: torch.Tensor | None,
    fields: str,
    axis: int,
    *rest: Any,
) -> tuple[list[torch.Tensor], list[int]]:
    """Take the axis that is mapped over as the first of positions."""
    grad, x = (
        tensor
        if tensor is None
        else tensor.movedim(dim, 0)
        if dim is not None
        else tensor.expand(info.batch_size, *tensor.shape)
        for tensor, dim in zip((grad, x), dims, strict=False)
    )
    found = torch.ops.gradcorr_fast.maps(grad, x, fields, axis + 1, *rest)
    return found, [0] * len(found)


LIBRARY = torch.library.Library("gradcorr_fast", "FRAGMENT")
"""Keeps the operator, as long as it is there."""
LIBRARY.define(f"maps{torch.library.infer_schema(_run, mutates_args=())}", tags=(STRIDES,))
for _key in ("CPU", "CUDA"):
    LIBRARY.impl("maps", _run, _key)
LIBRARY.impl("maps", _follow, "Autograd")
torch.library.register_fake(NAME, _plan, lib=LIBRARY)
torch.library.register_vmap(NAME, _map_over, lib=LIBRARY)

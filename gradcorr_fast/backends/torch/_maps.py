"""Maps of tensors that are differentiated: kernels forward, the reference formula backward."""

from collections.abc import Sequence
from typing import Any

import torch

from ..._check import Call
from ...kernels import reference
from ._native import formula, run_kernels


class Maps(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """Maps in eager mode, to be differentiated to any order."""

    @staticmethod
    def forward(ctx: Any, call: Call, grad: torch.Tensor, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(grad, x)
        ctx.set_materialize_grads(False)
        results = run_kernels(call, grad, x, (None,) * len(call.fields))
        if not grad.requires_grad:
            pairs = zip(call.fields, results, strict=True)
            ctx.mark_non_differentiable(*[result for field, result in pairs if field not in reference.OF_INPUT])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[Any, ...]:
        return None, *differentiate(ctx.call, ctx.saved_tensors, ctx.needs_input_grad[1:], cotangents)


def differentiate(
    call: Call,
    inputs: Sequence[torch.Tensor | None],
    needed: Sequence[bool],
    cotangents: Sequence[torch.Tensor | None],
) -> tuple[torch.Tensor | None, ...]:
    """Return the derivatives by gradient and input, None where they are not needed."""
    used = [k for k, cotangent in enumerate(cotangents) if cotangent is not None]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views cut off what the inputs were computed from: that part is for the caller's backward pass alone.
        grad, x = (None if tensor is None else tensor.view_as(tensor) for tensor in inputs)
        results = formula(call._replace(fields=tuple(call.fields[k] for k in used)), grad, x)
        wanted = [tensor for tensor, is_needed in zip((grad, x), needed, strict=True) if is_needed]
        found = torch.autograd.grad(
            results, wanted, [cotangents[k] for k in used], create_graph=create_graph, allow_unused=True
        )
    remaining = iter(found)
    return tuple(next(remaining) if is_needed else None for is_needed in needed)

"""What others would run on the GPU for the same results: torch eager and compiled, CuPy's fusion, Triton.

Every one is given what ours is given, codes or one-hot, and half precision is widened first as ours is, since without
that the angles of half precision gradients are off by degrees.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.gpu.device import Device
from benchmarks.gpu.work import Case
from tests import peers

COMPILE_MODES = {"torch.compile": None, "torch.compile, max-autotune-no-cudagraphs": "max-autotune-no-cudagraphs"}


def torch_standard_work(grad: Any, x: Any, *, axis: int) -> tuple[Any, Any, Any]:
    """`tests.peers.torch_standard_work` in single precision; codes are compared with the letters."""
    import torch

    if x.dtype == torch.uint8:
        letters = torch.arange(4, dtype=torch.uint8, device=x.device)
        x = x.unsqueeze(axis) == (letters.view(4, 1) if axis == 1 else letters)
    corrected, angle, product = peers.torch_standard_work(grad.float(), x, axis=axis)
    return corrected.to(grad.dtype), angle, product


def torch_correct(grad: Any, x: None, *, axis: int) -> Any:
    return peers.torch_correct(grad.float(), axis=axis).to(grad.dtype)


FORMULAS = {"analyze": torch_standard_work, "correct": torch_correct}


def eager(case: Case, device: Device, grad: Any, x: Any) -> Callable[[], Any]:
    return partial(FORMULAS[case.work.operation], grad, x, axis=case.axis)


def compiled(case: Case, device: Device, grad: Any, x: Any, *, mode: str | None) -> Callable[[], Any]:
    import torch

    torch.compiler.reset()
    formula = partial(FORMULAS[case.work.operation], axis=case.axis)
    options = {"backend": "eager"} if device.is_dry else {"mode": mode}
    function = torch.compile(formula, fullgraph=True, dynamic=False, **options)
    return lambda: function(grad, x)


def fused(case: Case, device: Device, grad: Any, x: Any) -> Callable[[], Any]:
    """CuPy's own kernels, with what can be fused into them: one reduction at the end of each."""
    if device.is_dry:
        import numpy as xp

        grad, x = grad.numpy(), None if x is None else x.numpy()
        fuse = lambda function: function  # noqa: E731
    else:
        import cupy as xp

        grad, x = xp.from_dlpack(grad), None if x is None else xp.from_dlpack(x)
        fuse = xp.fuse()
    axis = case.axis

    @fuse
    def centre(grad: Any, mean: Any) -> Any:
        return grad - mean

    @fuse
    def sum_of_products(a: Any, b: Any) -> Any:
        return xp.sum(a * b, axis=axis)

    @fuse
    def angle(mean: Any, squares: Any) -> Any:
        return xp.rad2deg(xp.arctan2(mean + mean, xp.sqrt(squares)))

    def call() -> Any:
        mean = grad.mean(axis, keepdims=True)
        corrected = centre(grad, mean)
        if case.work.operation == "correct":
            return corrected
        degrees = angle(mean.squeeze(axis), sum_of_products(corrected, corrected))
        return corrected, degrees, sum_of_products(corrected, x)

    return call


def triton(case: Case, device: Device, grad: Any, x: Any) -> Callable[[], Any]:
    """A kernel of our own making in Triton, autotuned."""
    from benchmarks.gpu import triton_peer

    return partial(triton_peer.standard_work, grad, x, axis=case.axis)


PEERS: dict[str, Callable[..., Callable[[], Any]]] = {
    "torch eager": eager,
    **{name: partial(compiled, mode=mode) for name, mode in COMPILE_MODES.items()},
    "Triton": triton,
    "cupy.fuse": fused,
}

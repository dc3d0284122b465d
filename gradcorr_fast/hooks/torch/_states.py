"""The states that a call needs, and puts back: a module's modes, gradients and device, and PyTorch's precision."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from ..._types import Device, Model
from .._holding import held_modules


@contextmanager
def prepared(model: Model, device: Device) -> Iterator[torch.device | None]:
    """Put a module into evaluation mode, without gradients of parameters, on `device`; put everything back."""
    wanted = None if device is None else torch.device(device)
    if wanted is not None and wanted.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f'device is "{wanted}", and torch finds no GPU; gradcorr-fast doctor says why')
    found = held_modules(model, lambda value: isinstance(value, torch.nn.Module))
    modules = [*{id(module): module for root in found for module in root.modules()}.values()]
    if not modules:
        yield wanted
        return
    moves = False
    modes = [(module, getattr(module, "training", None)) for module in modules]  # frozen ones have none
    parameters, buffers = (
        {id(t): t for module in modules for t in getattr(module, kind).values() if t is not None}.values()
        for kind in ("_parameters", "_buffers")
    )
    trainable = [p for p in parameters if p.requires_grad and not p.is_inference()]
    tensors = [*parameters, *buffers]
    home = tensors[0].device if tensors else None
    if any(tensor.is_meta for tensor in tensors):
        raise ValueError("the model has no weights yet, for they are on the meta device; load them first")
    try:
        for module, training in modes:
            # cuDNN differentiates recurrent layers in training mode alone, which without dropout is the same function
            mode = isinstance(module, torch.nn.RNNBase) and not module.dropout
            if training is not None and training != mode:
                module.training = mode
        for parameter in trainable:
            parameter.requires_grad_(False)  # what their gradients would need is not kept
        moves = wanted is not None and home is not None and wanted != home and isinstance(model, torch.nn.Module)
        if moves:
            model.to(wanted)
        yield wanted or home
    finally:
        if moves:
            model.to(home)
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, training in modes:
            if training != getattr(module, "training", None):
                module.training = training


@contextmanager
def set_precision(name: str) -> Iterator[None]:
    """Allow or forbid TF32 in CUDA's matrix products, convolutions and recurrent layers.

    PyTorch 2.9 has newer names for these settings. While they are set, the older ones cannot be read, as its own
    compiler and others' code do; setting the older ones sets both. Where a user has set the newer ones to what the
    older cannot say, they are taken.
    """
    if not torch.cuda.is_available():
        yield
        return
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = (cuda, cudnn.conv, cudnn.rnn) if hasattr(cuda, "fp32_precision") else ()
    shown = [place.fp32_precision for place in newer]
    try:
        older = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    except RuntimeError:
        older = None
    try:
        if older is None:
            for place in newer:
                place.fp32_precision = "tf32" if name == "tf32" else "ieee"
        else:
            torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
            cudnn.allow_tf32 = name == "tf32"
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            cudnn.allow_tf32 = older[1]
        for place, setting in zip(newer, shown, strict=True):
            if place.fp32_precision != setting:
                place.fp32_precision = setting


def autocast(x: torch.Tensor, precision: str) -> Any:
    if precision not in ("bfloat16", "float16"):
        return nullcontext()
    return torch.autocast(x.device.type, getattr(torch, precision))


def without_autocast(device: torch.device) -> Any:
    """Switch off the autocast of a caller: backward passes take it over too, and round what is off the simplex."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()

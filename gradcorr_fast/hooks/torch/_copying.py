"""Copies of PyTorch models, whole or with the tensors of the original in them."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch


def copy_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy that has nothing in common with the model."""
    return _deepcopy(model, {})


def share_model(
    model: torch.nn.Module, convert: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.nn.Module:
    """Return a copy that can be taken apart, with the parameters and buffers of the model, or what they convert to."""
    tensors = [*model.parameters(), *model.buffers()]
    if convert is None:
        return _deepcopy(model, {id(tensor): tensor for tensor in tensors})
    memo: dict[int, Any] = {}
    for tensor in tensors:
        converted = convert(tensor.detach())
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        memo[id(tensor)] = torch.nn.Parameter(converted, requires_grad=False) if is_parameter else converted
    return _deepcopy(model, memo)


def _deepcopy(model: torch.nn.Module, memo: dict[int, Any]) -> torch.nn.Module:
    with warnings.catch_warnings():  # torch 2.13 copies graphs by functions that it deprecates
        warnings.filterwarnings("ignore", message=".*treespec", category=FutureWarning)
        return copy.deepcopy(model, memo)

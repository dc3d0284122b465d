"""Fold a PyTorch model that a user names, and write it to a file that was read back and compared."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...hooks.torch._folding import Differences, check_model, differences, fold
from ...hooks.torch._tracing import excess, make_example
from ...io.replacing import replacing
from .. import inspect_model, load_model
from . import load_file, read_state, safetensors, shapes

WEIGHTS_SUFFIXES = (".pt", ".pth", ".safetensors")


class Folded(NamedTuple):
    """What was written."""

    shape: tuple[int | None, ...] | None
    """Of the input that an exported program takes; None for a length that may vary."""
    differences: Differences


def fold_file(
    source: str,
    out: str | os.PathLike[str],
    *,
    axis: int = 1,
    weights: str | None = None,
    trust: bool = False,
    length: int | None = None,
    weights_only: bool = False,
    force: bool = False,
) -> Folded:
    """Write a copy of a model whose gradients come out corrected.

    Parameters
    ----------
    source, weights, trust
        See `load_model`.
    out : path
        A file for torch.export.load (.pt2), or with `weights_only` for a state dict (.pt, .pth, .safetensors).
    axis, weights_only
        See `hooks.torch.fold`, whose `exact` is the opposite.
    length : int, optional
        Positions of a sequence; needed where the model takes several lengths, but not any.
    force : bool
        Whether a file that exists is replaced.

    Returns
    -------
    Folded
        The differences are those between the original and what was read back.
    """
    path = Path(out)
    if weights_only and path.suffix.lower() not in WEIGHTS_SUFFIXES:
        raise ValueError(f"{path} must end in {' or '.join(WEIGHTS_SUFFIXES)}; --weights-only writes a state dict")
    if not weights_only and path.suffix.lower() != ".pt2":
        raise ValueError(f"{path} must end in .pt2; a state dict is written with --weights-only")
    loaded = load_model(source, weights=weights, trust=trust)
    if loaded.framework != "torch" or not isinstance(loaded.model, torch.nn.Module):
        raise ValueError(
            f"fold takes PyTorch modules, and {source} is none; put SimplexProjection in front of it instead"
        )
    check_model(loaded.model)
    model, batch_size = loaded.model, inspect_model(loaded).batch_size
    example = _make_example(model, axis, length, batch_size)
    folded = fold(model, axis, exact=not weights_only, example=example)
    inputs = [Path(name) for name in (source, weights) if name is not None and Path(name).exists()]
    with replacing([path], inputs, force=force) as (partial,):
        if weights_only:
            shape: tuple[int | None, ...] | None = None
            _save_state(folded, partial)
            again = copy.deepcopy(model)
            again.load_state_dict(read_state(partial))
        else:
            free = [0] * (batch_size is None)
            free += [_place(axis)] * _has_free_length(model, example, axis, length is not None)
            _export(folded, example, free, partial)
            again = load_file(partial, True, None)  # which was written here
            shape = next(shapes(again.graph.find_nodes(op="placeholder")))
        changes = differences(model, again, example, axis=axis, only_one_hot=weights_only)
    return Folded(shape, changes)


def _make_example(model: torch.nn.Module, axis: int, length: int | None, batch_size: int | None) -> torch.Tensor:
    if length is None:
        return make_example(model, axis, None, ())
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    n = 2 if batch_size is None else batch_size
    shape = (n, 4, length) if _place(axis) == 2 else (n, length, 4)
    example = torch.rand(shape, dtype=like.dtype, device=like.device)
    if excess(model, example, ()):
        raise ValueError(f"the model does not take an input of shape {shape}; pass another --length or --axis, or none")
    return example


def _place(axis: int) -> int:
    """Return the axis of the positions."""
    return 2 if axis in (1, -2) else 1


def _takes(model: torch.nn.Module, example: torch.Tensor, place: int, length: int) -> bool:
    shape = [length if k == place else size for k, size in enumerate(example.shape)]
    return length > 0 and excess(model, example.new_ones(shape), ()) == 0


def _has_free_length(model: torch.nn.Module, example: torch.Tensor, axis: int, is_given: bool) -> bool:
    """Return whether a model takes any length; refuse to choose one of a few that it takes."""
    if isinstance(model, torch.fx.GraphModule):
        return False
    place = _place(axis)
    length = example.shape[place]
    if _takes(model, example, place, 2 * length):
        return True
    if not is_given and any(_takes(model, example, place, other) for other in (length - 1, length + 1)):
        raise ValueError(
            f"the model takes {length} positions, and other lengths too, but its copy takes one; pass it by --length"
        )
    return False


def _export(model: torch.nn.Module, example: torch.Tensor, free: Sequence[int], path: Path) -> None:
    program = torch.export.export(model, (example,), dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.AUTO),))
    with open(path, "wb") as file:
        torch.export.save(program, file)


def _save_state(model: torch.nn.Module, path: Path) -> None:
    state: dict[str, Any] = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if path.suffix.lower() == ".safetensors":
        path.write_bytes(safetensors(path).save(state))
    else:
        with open(path, "wb") as file:  # a path would be written into the file
            torch.save(state, file)

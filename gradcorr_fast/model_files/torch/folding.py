"""Fold a PyTorch model that a user names, and write it to a file that was read back and compared."""

import copy
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..._wording import option
from ...hooks.torch._folding import Differences, check_model, differences, fold
from ...io.replacing import replacing
from .. import inspect_model, load_model
from . import load_file, read_state, safetensors, shapes
from .exporting import has_free_length, make_input, write_program
from .lengths import place_of

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
        raise ValueError(
            f"{path} must end in {' or '.join(WEIGHTS_SUFFIXES)}; {option('weights_only')} writes a state dict"
        )
    if not weights_only and path.suffix.lower() != ".pt2":
        raise ValueError(f"{path} must end in .pt2; a state dict is written with {option('weights_only')}")
    loaded = load_model(source, weights=weights, trust=trust)
    if loaded.framework != "torch" or not isinstance(loaded.model, torch.nn.Module):
        raise ValueError(
            f"fold takes PyTorch modules, and {source} is none; put SimplexProjection in front of it instead"
        )
    check_model(loaded.model)
    model, batch_size = loaded.model, inspect_model(loaded).batch_size
    example = make_input(model, axis, length, batch_size)
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
            free += [place_of(axis)] * has_free_length(model, example, axis, length is not None)
            write_program(folded, example, free, partial)
            again = load_file(partial, True, None)  # which was written here
            shape = next(shapes(again.graph.find_nodes(op="placeholder")))
        changes = differences(model, again, example, axis=axis, only_one_hot=weights_only)
    return Folded(shape, changes)


def _save_state(model: torch.nn.Module, path: Path) -> None:
    state: dict[str, Any] = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if path.suffix.lower() == ".safetensors":
        path.write_bytes(safetensors(path).save(state))
    else:
        with open(path, "wb") as file:  # a path would be written into the file
            torch.save(state, file)

"""Write a PyTorch model that a user names as a program for any batch size."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from ..._wording import option
from ...hooks.torch._tracing import excess, make_example
from ...io.replacing import replacing
from .. import inspect_model, load_model
from . import load_file, shapes
from .lengths import place_of, takes

TOLERANCE = 1e-4
"""Largest difference of predictions, as part of the largest of them, that is rounding."""


class Exported(NamedTuple):
    """What was written."""

    shape: tuple[int | None, ...]
    """Of the input that the program takes; None for a length that may vary."""
    difference: float
    """Of predictions between the model and what was read back, as part of the largest."""


def export_file(
    source: str,
    out: str | os.PathLike[str],
    *,
    axis: int | None = None,
    weights: str | None = None,
    trust: bool = False,
    length: int | None = None,
    force: bool = False,
) -> Exported:
    """Write a model as a file for torch.export.load that takes any number of sequences.

    Parameters
    ----------
    source, weights, trust
        See `load_model`.
    out : path
        A .pt2 file.
    axis : int, optional
        Letter axis; by default what the model tells, else 1.
    length : int, optional
        Positions of a sequence; needed where the model takes several lengths, but not any.
    force : bool
        Whether a file that exists is replaced.

    Returns
    -------
    Exported
    """
    path = Path(out)
    if path.suffix.lower() != ".pt2":
        raise ValueError(f"{path} must end in .pt2, by which exported programs are known")
    loaded = load_model(source, weights=weights, trust=trust)
    model = loaded.model
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule | torch.fx.GraphModule):
        raise ValueError(
            f"{source} is no PyTorch module in Python, which alone can be exported; name the code that makes it, "
            f"module:callable, and {option('weights', 'FILE')}"
        )
    axis = axis or inspect_model(loaded).axis or 1
    example = make_input(model, axis, length, None)
    free = [0] + [place_of(axis)] * has_free_length(model, example, axis, length is not None)
    inputs = [Path(name) for name in (source, weights) if name is not None and Path(name).exists()]
    with replacing([path], inputs, force=force) as (partial,):
        write_program(model, example, free, partial)
        again = load_file(partial, True, None)  # which was written here
        shape = next(shapes(again.graph.find_nodes(op="placeholder")))
        examples = [example, *([torch.cat([example, example[:1]])] if shape[0] is None else [])]
        difference = max(_difference(model, again, x) for x in examples)
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"what was read back differs from {source} by {difference:.2g} of its largest prediction"
            )
    return Exported(shape, difference)


def make_input(model: torch.nn.Module, axis: int, length: int | None, batch_size: int | None) -> torch.Tensor:
    """Return random numbers in a shape that a model takes, of a length if one is given."""
    if length is None:
        return make_example(model, axis, None, ())
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    n = 2 if batch_size is None else batch_size
    shape = (n, 4, length) if place_of(axis) == 2 else (n, length, 4)
    example = torch.rand(shape, dtype=like.dtype, device=like.device)
    if excess(model, example, ()):
        raise ValueError(
            f"the model does not take an input of shape {shape}; pass another "
            f"{option('length', '...')} or {option('axis', '...')}, or none"
        )
    return example


def has_free_length(model: torch.nn.Module, example: torch.Tensor, axis: int, is_given: bool) -> bool:
    """Return whether a model takes any length; refuse to choose one of a few that it takes."""
    if isinstance(model, torch.fx.GraphModule):
        return False
    place = place_of(axis)
    length = example.shape[place]
    if takes(model, example, place, 2 * length):
        return True
    if not is_given and any(takes(model, example, place, other) for other in (length - 1, length + 1)):
        raise ValueError(
            f"the model takes {length} positions, and other lengths too, but its copy takes one; pass "
            f"it by {option('length', '...')}"
        )
    return False


def write_program(model: torch.nn.Module, example: torch.Tensor, free: Sequence[int], path: Path) -> None:
    """Export a model, with some axes of its input free."""
    program = torch.export.export(model, (example,), dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.AUTO),))
    with open(path, "wb") as file:
        torch.export.save(program, file)


def _difference(model: torch.nn.Module, again: torch.nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        pairs = zip(tree_leaves(model(x)), tree_leaves(again(x)), strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in pairs)

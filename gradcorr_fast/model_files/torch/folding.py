"""A folded PyTorch model as an exported program or a state dict, read back and compared."""

import copy
from pathlib import Path
from typing import Any

import torch

from ..._types import Model
from ...hooks.torch._folding import Differences, check_model, differences, fold
from . import inspect, load_file, read_state, safetensors, shapes
from .exporting import has_free_length, make_input, write_program
from .lengths import place_of

SUFFIXES = {False: (".pt2",), True: (".pt", ".pth", ".safetensors")}
"""Of what is written, a model or weights alone."""
AXIS = 1


def write_folded(
    model: Model, path: Path, axis: int, length: int | None, *, weights_only: bool
) -> tuple[tuple[int | None, ...] | None, Differences]:
    """Write the folded copy of a model; return the shape of its input, if a program was written, and differences."""
    check_model(model)
    batch_size = inspect(model).batch_size
    example = make_input(model, axis, length, batch_size)
    folded = fold(model, axis, exact=not weights_only, example=example)
    shape: tuple[int | None, ...] | None = None
    if weights_only:
        _save_state(folded, path)
        again = copy.deepcopy(model)
        again.load_state_dict(read_state(path))
    else:
        free = [0] * (batch_size is None)
        free += [place_of(axis)] * has_free_length(model, example, axis, length is not None)
        write_program(folded, example, free, path)
        again = load_file(path, True, None)  # which was written here
        shape = next(shapes(again.graph.find_nodes(op="placeholder")))
    return shape, differences(model, again, example, axis=axis, only_one_hot=weights_only)


def _save_state(model: torch.nn.Module, path: Path) -> None:
    state: dict[str, Any] = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if path.suffix.lower() == ".safetensors":
        path.write_bytes(safetensors(path).save(state))
    else:
        with open(path, "wb") as file:  # a path would be written into the file
            torch.save(state, file)

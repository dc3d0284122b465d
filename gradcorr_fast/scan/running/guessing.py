"""What a model tells of its input where a scan was not told: letter axis, length, batch size."""

import sys
from collections.abc import Mapping
from typing import Any

from ... import model_files
from ..._warn import warn
from ..._wording import option, words
from .options import target_names


def guess(loaded: model_files.LoadedModel, options: Mapping[str, Any], tell: bool) -> dict[str, Any]:
    """Return axis, length and batch size where the model tells what was left open; `tell` shows them on stderr."""
    shape = model_files.inspect_model(loaded)
    if shape.batch_size is not None and options["batch_size"] not in ("auto", shape.batch_size):
        raise ValueError(f"{loaded.source} takes batches of {shape.batch_size} only; leave the batch size away")
    guesses = {"length": shape.length, "axis": shape.axis, "batch_size": shape.batch_size}
    if options["axis"] is None and shape.axis is None:
        guesses["axis"] = 1 if loaded.framework == "torch" else -1
    how = dict.fromkeys(guesses, "as the model seems to take")
    if options["length"] is None and shape.length is None:
        guesses["length"] = _only_length(loaded, shape, guesses["axis"] if options["axis"] is None else options["axis"])
        how["length"] = "the only one that the model takes"
    taken = {
        name: value for name, value in guesses.items() if value is not None and options[name] in (None, "auto")
    }  # fmt: skip
    if tell:
        for name, value in taken.items():
            print(f"{name.replace('_', ' ')} {value}, {how[name]}", file=sys.stderr)
        outputs = "" if shape.n_outputs is None else f", of an output that seems to have {shape.n_outputs}"
        print(f"target {', '.join(target_names(options))}{outputs}", file=sys.stderr)
        _tell_batches(loaded, shape)
    return taken


def _only_length(loaded: model_files.LoadedModel, shape: model_files.ModelShape, axis: int | None) -> int:
    """Return the one length that a model takes, or say which it takes."""
    given = option("length", "...")
    lengths = model_files.find_lengths(loaded, 1 if axis is None else axis)
    if lengths is not None and lengths.least == lengths.most:
        return lengths.least
    if lengths is None and shape.n_letters is None:
        raise ValueError(f"{loaded.source} does not tell the length of its input; give it, {given}")
    many = "any length" if lengths is None or lengths.most is None else f"{lengths.least} to {lengths.most} positions"
    raise ValueError(f"{loaded.source} takes {many}; give the length that it was trained with, {given}")


def _tell_batches(loaded: model_files.LoadedModel, shape: model_files.ModelShape) -> None:
    """Warn of a model that was exported for one size of batches, which may run at a small part of its speed."""
    if shape.batch_size is not None:
        how = words(
            'torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))',
            "gradcorr-fast export-model module:callable -o net.pt2",
        )
        warn(f"{loaded.source} takes batches of {shape.batch_size} alone, which may be slow; {how} makes one for any")

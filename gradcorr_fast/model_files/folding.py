"""Fold a model that a user names, and write it to a file that was read back and compared."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from .._wording import option
from ..io.replacing import replacing
from . import load_model

PARTS = {"torch": ".torch.folding", "keras": ".keras"}
"""Where models of a framework are folded and written."""


class Folded(NamedTuple):
    """What was written."""

    shape: tuple[int | None, ...] | None
    """Of the input that the model in the file takes, None for a length that may vary; None if it is weights alone."""
    differences: Any
    """The largest of predictions and of gradients, and the dtype in which they were compared."""


def fold_file(
    source: str,
    out: str | os.PathLike[str],
    *,
    axis: int | None = None,
    weights: str | None = None,
    trust: bool = False,
    custom_objects: Sequence[str] = (),
    length: int | None = None,
    weights_only: bool = False,
    force: bool = False,
) -> Folded:
    """Write a copy of a model whose gradients come out corrected.

    Parameters
    ----------
    source, weights, trust, custom_objects
        See `load_model`.
    out : path
        Of PyTorch a file for torch.export.load (.pt2), or with `weights_only` for a state dict (.pt, .pth,
        .safetensors); of Keras a model (.keras), or with `weights_only` one of its own layers alone or its weights
        (.keras, .weights.h5).
    axis : int, optional
        See `hooks.torch.fold` and `hooks.keras.fold`; by default 1 for PyTorch and -1 for Keras.
    weights_only : bool
        The opposite of `exact` there.
    length : int, optional
        Positions of a sequence; needed where a PyTorch model takes several lengths, but not any.
    force : bool
        Whether a file that exists is replaced.

    Returns
    -------
    Folded
        The differences are those between the original and what was read back.
    """
    path = Path(out)
    loaded = load_model(source, weights=weights, trust=trust, custom_objects=custom_objects)
    if loaded.framework not in PARTS:
        raise ValueError(f"fold takes models of PyTorch or Keras, and {loaded.source} is none of them")
    part = import_module(PARTS[loaded.framework], __package__)
    if not path.name.lower().endswith(part.SUFFIXES[weights_only]):
        wanted, others = (" or ".join(part.SUFFIXES[kind]) for kind in (weights_only, not weights_only))
        how = "without" if weights_only else "with"
        raise ValueError(f"{path} must end in {wanted}, or {how} {option('weights_only')} in {others}")
    inputs = [Path(name) for name in (source, weights) if name is not None and Path(name).exists()]
    with replacing([path], inputs, force=force) as (partial,):
        its_axis = part.AXIS if axis is None else axis
        return Folded(*part.write_folded(loaded.model, partial, its_axis, length, weights_only=weights_only))

"""Memory of PyTorch models: what to do when it is exhausted, and how many rows a GPU has room for."""

import re
import weakref
from typing import Any

import numpy as np
import torch

from ..._types import AnyArray, Model
from .. import _request
from .._attempts import Memory
from .._ready import Framework

POSITIONS = 1 << 20
"""Most input positions of a batch on a GPU: more is no faster, and some kernels count elements in 32 bits."""
SHARE = 0.8
"""Of the free memory of a GPU, the part that a batch may take."""


def _is_exhausted(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _describe_memory(error: Exception) -> str:
    """How much was asked for, beside what was in use."""
    asked = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error), re.IGNORECASE)
    text = f"{asked.group(1)} more were needed" if asked else str(error).partition("\n")[0].rstrip(". ")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        text += f" than the {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB in use"
    return text


def _release_memory() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


MEMORY = Memory((MemoryError, RuntimeError), _is_exhausted, _describe_memory, _release_memory)


_memory_of: "weakref.WeakKeyDictionary[Any, dict[Any, tuple[int, int]]]" = weakref.WeakKeyDictionary()
"""What models take on a GPU, of memory for a batch of any size and for each row, by what was asked."""


def fit_batch(
    model: Model, framework: Framework, request: _request.Request, X: AnyArray, device: torch.device, precision: str
) -> int:
    """Return how many rows a GPU has memory for, from what one row takes and what two take.

    Of what is kept beside the model there are about six arrays as large as the batch, and one more for each target.
    What rows take is measured once for a model; the memory that is free is that of now.
    """
    most = max(1, POSITIONS // max(request.layout.n_positions, 1))
    shapes = tuple((tuple(array.shape[1:]), str(array.dtype)) for array in (X, *request.args))
    key = (shapes, request.output, request.before_activation, len(request.targets), request.inputs, precision, device)
    try:
        known = _memory_of.setdefault(model, {})
    except TypeError:  # it cannot be referred to weakly
        known = {}
    if key not in known:
        try:
            _, one, two = (_peak(framework, request, X, device, n) for n in (1, 1, 2))  # first calls take more
        except torch.OutOfMemoryError:
            return 1
        row = X[:1].size * X.itemsize if isinstance(X, np.ndarray) else X[:1].numel() * X.element_size()
        known[key] = max(2 * one - two, 0), max(two - one, 1) + (6 + len(request.targets)) * row
    fixed, each = known[key]
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(most, int((SHARE * free - fixed) // each)))


def _peak(framework: Framework, request: _request.Request, X: AnyArray, device: torch.device, n: int) -> int:
    """Memory that the gradients of one sequence, `n` times, take."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    x, *args = (framework.enter(array[:1]).repeat_interleave(n, 0) for array in (X, *request.args))
    framework.gradients(x, tuple(args), [None if p is None else np.repeat(p[:1], n) for p in request.positions])
    return int(torch.cuda.max_memory_allocated(device) - before)

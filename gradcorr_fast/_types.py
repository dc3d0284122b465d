"""Names for what users pass and libraries return, where the class itself cannot be imported or does not matter."""

import os
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
"""A NumPy array."""
AnyArray: TypeAlias = Any
"""An array of one of the supported libraries; its backend tells its shape, and computes with it."""
ArrayT = TypeVar("ArrayT")
"""The class of an array, where what comes back is of the same."""
Model: TypeAlias = Any
"""A model of PyTorch, Keras or JAX, or a function of one batch of sequences."""
TargetLike: TypeAlias = Any
"""What `targets.as_target` takes: an int, a tuple, a callable, or an object of `gf.targets`."""
Unchecked: TypeAlias = Any
"""What a user gives for an option, before it is looked at."""
PathLike: TypeAlias = str | os.PathLike[str]
"""The path of a file or folder."""
Device: TypeAlias = Any
"""A device of PyTorch: its name, such as "cuda:0", or a torch.device; None chooses."""
VariantsLike: TypeAlias = Any
"""What `scan.read_variants` takes: a path, a data frame, or an iterable of texts, tuples or dicts."""
RegionsLike: TypeAlias = Any
"""What `scan.read_regions` takes: a path, texts, tuples or a table."""
SourceLike: TypeAlias = Any
"""What a scan goes over: variants or regions, or None."""
FastaLike: TypeAlias = PathLike | Mapping[str, Any]
"""The path of a genome, or sequences by name, as text or codes."""

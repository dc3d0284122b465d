"""Functions of JAX arrays, and pytrees that can be called."""

from pathlib import Path
from typing import Any

from .._check import missing_backend
from ._common import ModelShape, hash_arrays

try:
    import jax
except ModuleNotFoundError as error:
    raise missing_backend("JAX", "jax") from error

import numpy as np

from .._types import AnyArray, Array, Device, Model


def load_weights(model: Model, path: Path) -> None:
    """Refuse: JAX has no file format of its own."""
    raise ValueError(f"weights of JAX models are read by their own code; let module:callable load {path}")


def prepare(model: Model, device: Device) -> Any:
    """Return the model as it is."""
    return model


def digest(model: Model) -> str:
    """Hash the arrays in a pytree; those that a function closes over are not seen."""
    leaves = jax.tree_util.tree_flatten_with_path(model)[0]
    arrays = [(jax.tree_util.keystr(place), _numbers(leaf)) for place, leaf in leaves if hasattr(leaf, "dtype")]
    return hash_arrays((name, array.shape, str(array.dtype), array.tobytes()) for name, array in arrays)


def _numbers(leaf: AnyArray) -> Array:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # of modules that draw at random
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def inspect(model: Model) -> ModelShape:
    """Know nothing."""
    return ModelShape()

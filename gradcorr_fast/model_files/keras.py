"""Keras models from files."""

import tempfile
import zipfile
from pathlib import Path
from typing import Any

from .._check import missing_backend, optional
from .._wording import option
from ..io import hdf5
from ._common import ModelShape, hash_arrays, needs_trust, weights_alone

try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise
    raise missing_backend("Keras", "tensorflow") from error

import numpy as np

from .._types import Device, Model
from ..hooks._keras.folding import Differences, differences, fold
from ..hooks.keras import SimplexProjection  # noqa: F401 - which files may name

LAMBDAS = ('"__lambda__"', '"function_type": "lambda"')
"""How configurations of Keras 3 and Keras 2 say that a layer's function is stored as byte code."""
SUFFIXES = {False: (".keras",), True: (".keras", ".weights.h5")}
"""Of a folded model, with layers of this package or without."""
AXIS = -1


def load_file(path: Path, trust: bool, custom_objects: dict[str, Any]) -> Any:
    """Load a whole model, without its optimizer."""
    config = _read_config(path)
    if config is None:
        raise weights_alone(path)
    if not trust and any(mark in config for mark in LAMBDAS):
        raise needs_trust(path, "holds a lambda layer")
    try:
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=not trust)
    except (TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ValueError(
            f"Keras cannot load {path}; name its own classes by "
            f"{option('custom_objects', 'name=module:Class')}, or pass "
            f"module:callable with {option('weights', 'FILE')} (Keras: {text[:300]})"
        ) from error


def _read_config(path: Path) -> str | None:
    """Return the description of the layers, or None in a file that has weights alone."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json").decode() if "config.json" in archive.namelist() else None
    h5py = optional("h5py", "io")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is no file of Keras; save the model by model.save('model.keras')")
    with hdf5.open_whole(path) as file:
        config = file.attrs.get("model_config")
        return config.decode() if isinstance(config, bytes) else config


def load_weights(model: Model, path: Path) -> None:
    """Fill a model from a file of weights."""
    if optional("h5py", "io").is_hdf5(path):
        with hdf5.open_whole(path):  # which refuses what leads out of it
            pass
    try:
        model.load_weights(path)
    except (TypeError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"the weights in {path} do not fit the model (Keras: {text[:300]})") from error


def prepare(model: Model, device: Device) -> Any:
    """Return the model as it is: Keras calls say themselves that they are for inference, and where they run."""
    return model


def digest(model: Model) -> str:
    """Hash the variables, in their order, since the names of layers count up in a process."""
    arrays = (np.asarray(keras.ops.convert_to_numpy(variable)) for variable in model.variables)
    named = zip(model.variables, arrays, strict=True)
    return hash_arrays((v.name, a.shape, v.dtype, np.ascontiguousarray(a).reshape(-1).view(np.uint8)) for v, a in named)


def inspect(model: Model) -> ModelShape:
    """Read the shapes that a model was built with."""
    inputs, outputs = (_first(getattr(model, name, None)) for name in ("input_shape", "output_shape"))
    n_outputs = outputs[-1] if outputs and len(outputs) == 2 else None
    if not inputs or len(inputs) != 3:
        return ModelShape(n_outputs=n_outputs)
    if inputs[-1] == 4 or inputs[1] != 4:
        return ModelShape(-1, inputs[1], inputs[2], n_outputs)
    return ModelShape(1, inputs[2], inputs[1], n_outputs)


def _first(shape: Any) -> Any:
    """The shape, or the first of several."""
    while isinstance(shape, dict | list):
        shape = next(iter(shape.values())) if isinstance(shape, dict) else shape[0]
    return shape


def write_folded(
    model: Model, path: Path, axis: int, length: int | None, *, weights_only: bool
) -> tuple[tuple[int | None, ...] | None, Differences]:
    """Write the folded copy of a model; return the shape of its input, if a model was written, and differences."""
    folded = fold(model, axis, exact=not weights_only, length=length)
    if path.suffix == ".h5":
        again = keras.models.clone_model(model)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # Keras insists on the name of the file
            weights = Path(folder) / "folded.weights.h5"
            folded.save_weights(weights)
            load_weights(again, weights)
            weights.replace(path)
        return None, differences(model, again, axis, length)
    folded.save(path)
    with keras.saving.custom_object_scope(_objects_of(model)):
        again = keras.saving.load_model(path, compile=False, safe_mode=False)  # which was written here
    return tuple(again.inputs[0].shape), differences(model, again, axis, length)


def _objects_of(model: Model) -> dict[str, Any]:
    """Return the classes of a model's layers, which its file names."""
    return {type(layer).__name__: type(layer) for layer in model._flatten_layers()}

"""From what a user names on the command line, a file or ``module:callable``, to a model."""

import hashlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from .._types import Device, Model
from .._wording import option
from ._common import Lengths, ModelShape, current_folder_importable, hash_arrays, weights_alone

__all__ = ["LoadedModel", "ModelShape", "describe_model", "inspect_model", "load_model"]

TORCH_SUFFIXES = (".pt", ".pth", ".ts", ".torchscript", ".pt2", ".bin", ".ckpt")
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
OBJECT = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*):([A-Za-z_]\w*(?:\.\w+)*)")
PACKAGES = {"keras": {"keras"}, "torch": {"torch"}, "jax": {"jax", "jaxlib", "equinox", "flax"}}
"""Which packages the classes of a framework's models come from."""
MENDS = {
    ".py": "{} is a Python file; pass module:callable, which names a function, class or model in it",
    ".onnx": "{} is an ONNX file, which has no gradients; go back to the model that it was made of",
}


class LoadedModel(NamedTuple):
    """A model, and what tells it from others."""

    model: Any
    """torch.nn.Module (also a scripted one or that of an exported program), Keras model or other callable."""
    framework: str
    """"torch", "keras" or "jax"."""
    source: str
    """What was named, such as "model.pt2" or "package.module:factory"."""
    digest: str
    """SHA-256 over names, shapes, dtypes and bytes of all parameters and buffers; of the file if it has none."""
    code_digest: str | None
    """SHA-256 of the source text of the module in ``module:callable``."""
    arguments: Mapping[str, Any] | None = None
    """What `load_model` was called with, so that another process can do the same; None for a model that was there."""


def load_model(
    source: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    trust: bool = False,
    custom_objects: Mapping[str, Any] | Sequence[str] | None = None,
    device: Device = None,
    framework: str | None = None,
) -> LoadedModel:
    """Load a model from a file, or make the one that ``module:callable`` names.

    Parameters
    ----------
    source : str or path
        A file of torch.jit.save, torch.export.save (.pt2), torch.save or Keras (.keras, .h5), or ``module:callable``:
        a model, or a function or class that returns one when called without arguments. Modules in the current folder
        are found.
    weights : str or path, optional
        For ``module:callable``: a file with the state dict of a torch module (torch.save or .safetensors), or with the
        weights of a Keras model.
    trust : bool
        Whether files may run code while they are loaded: every exported program (.pt2), whole modules of torch.save,
        lambda layers of Keras, and scripted models that set their own state, touch files or call operators of others.
    custom_objects : mapping or sequence of str, optional
        Classes and functions that a Keras file names: a mapping, or "name=module:Class" for each.
    device : torch.device or str, optional
        Where to put a PyTorch model.
    framework : "torch" or "jax", optional
        Of ``module:callable`` if it gives a plain function; by default "torch".

    Returns
    -------
    LoadedModel
        PyTorch modules are in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is no such module or attribute, the file holds no model, the weights do not fit, the file needs
        `trust`, or the gradient was lost when the model was exported.
    TypeError
        If what ``module:callable`` gives is no model.

    Notes
    -----
    What needs no trust: ``module:callable`` with weights in .safetensors or a state dict, which is read with
    ``weights_only=True``; and a Keras model of Keras' own layers. A scripted model (TorchScript) is a program: without
    `trust` it may only compute. No file of a stranger is safe all the same: `trust` is about those that run code by
    design.

    Examples
    --------
    >>> load_model("math:sqrt")
    Traceback (most recent call last):
    TypeError: math:sqrt needs the arguments (x); name a function without arguments that returns the model
    """
    name = os.fspath(source)
    arguments = {
        "source": name, "weights": weights, "trust": trust, "custom_objects": custom_objects, "framework": framework,
    }  # fmt: skip
    named = OBJECT.fullmatch(name)
    if named and not Path(name).exists():
        with current_folder_importable():
            model, code_digest = _make(name, *named.groups())
        framework = framework_of(model, framework or "torch")
        part = _part(framework)
        if weights is not None:
            part.load_weights(model, existing_file(weights))
        model = part.prepare(model, device)
        return LoadedModel(model, framework, name, part.digest(model), code_digest, arguments)
    path = existing_file(source)
    if weights is not None:
        raise ValueError(f"weights go with module:callable, and {path} is a file; leave {option('weights', '...')} out")
    suffix = path.suffix.lower()
    if suffix in KERAS_SUFFIXES:
        part, framework = _part("keras"), "keras"
        model = part.load_file(path, trust, _find_objects(custom_objects))
    elif suffix in TORCH_SUFFIXES:
        part, framework = _part("torch"), "torch"
        model = part.load_file(path, trust, device)
    else:
        if suffix == ".safetensors":
            raise weights_alone(path)
        known = ", ".join((*TORCH_SUFFIXES, *KERAS_SUFFIXES))
        mend = MENDS.get(suffix, f"{{}} has no suffix of a model; use one of {known}, or module:callable")
        raise ValueError(mend.format(path))
    digest = part.digest(model)
    if digest == hash_arrays([]):  # a frozen model keeps its weights in its code
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return LoadedModel(model, framework, name, digest, None, arguments)


def inspect_model(loaded: LoadedModel) -> ModelShape:
    """Guess what a model takes and returns, from what its layers say.

    Parameters
    ----------
    loaded : LoadedModel
        See `load_model`.

    Returns
    -------
    ModelShape
        None in every field that is not known.

    Examples
    --------
    >>> inspect_model(load_model("model.pt2"))  # doctest: +SKIP
    ModelShape(axis=1, length=200, n_letters=4, n_outputs=1, batch_size=None)
    """
    shape: ModelShape = _part(loaded.framework).inspect(loaded.model)
    return shape


def find_lengths(loaded: LoadedModel, axis: int) -> Lengths | None:
    """Try which lengths of sequences a model takes, where its layers do not say.

    Returns
    -------
    Lengths or None
        The least and the most, which is None where there is no end; None if nothing was found.
    """
    if loaded.framework != "torch" or inspect_model(loaded).length is not None:
        return None
    from .torch import lengths

    return lengths.find_lengths(loaded.model, axis)


def describe_model(model: Model, framework: str | None = None) -> LoadedModel:
    """Say of a model that is there already what tells it from others.

    Parameters
    ----------
    model : torch.nn.Module, Keras model or callable
        A callable of no framework has no parameters that can be seen.
    framework : "torch", "keras" or "jax", optional
        By default that of the model's class, or "torch".

    Returns
    -------
    LoadedModel
        Its source is the name of the class or function.

    Examples
    --------
    >>> import torch
    >>> describe_model(torch.nn.Linear(4, 1)).source
    'torch.nn.modules.linear.Linear'
    """
    its_framework = framework or framework_of(model, "torch")
    named = model if hasattr(model, "__qualname__") else type(model)
    return LoadedModel(
        model, its_framework, f"{named.__module__}.{named.__qualname__}", _part(its_framework).digest(model), None
    )


def framework_of(model: Model, otherwise: str) -> str:
    """Return the framework that a model's class comes from, found out without importing any; or `otherwise`."""
    roots = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    for framework, packages in PACKAGES.items():
        if roots & packages:
            return framework
    return otherwise


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there."""
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{file} is a folder; save the model as one file, .pt2 or .keras")
    if not file.is_file():
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise FileNotFoundError(f"{file} does not exist{_suggest(file.name, siblings)}; give a file or module:callable")
    return file


def _part(framework: str) -> Any:
    """Return what loads, hashes and inspects the models of a framework."""
    if framework == "torch":
        from . import torch

        return torch
    if framework == "keras":
        from . import keras

        return keras
    from . import jax

    return jax


def _make(source: str, module_name: str, attribute: str) -> tuple[Any, str | None]:
    """Return the model that ``module:callable`` is or returns, and the digest of the module's source."""
    named, module = _find(source, module_name, attribute)
    try:
        code_digest = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
    except (OSError, TypeError):  # compiled
        code_digest = None
    is_class = isinstance(named, type)
    if not is_class and framework_of(named, "") != "":
        return named, code_digest
    if not callable(named):
        raise TypeError(f"{source} is a {type(named).__name__}; name a model, or a function that returns one")
    parameters = inspect.signature(named).parameters.values()
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in fixed]
    if required:
        raise TypeError(
            f"{source} needs the arguments ({', '.join(required)}); name a function without arguments that returns the "
            f"model"
        )
    try:
        model = named()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(f"{source} made no model, it raised {type(error).__name__}: {reason}") from error
    if not callable(model):
        raise TypeError(f"{source} returns a {type(model).__name__}; it must return a model")
    return model, code_digest


def _find(source: str, module_name: str, attribute: str) -> tuple[Any, Any]:
    """Return an attribute of a module, and the module."""
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # something that the module needs
        siblings = [p.stem for p in Path().glob("*.py")]
        raise ValueError(
            f"there is no module {error.name} in the current folder or among the installed packages"
            f"{_suggest(error.name, siblings)}; give the module of {source} as Python imports it"
        ) from None
    value: Any = module
    for name in attribute.split("."):
        if not hasattr(value, name):
            public = [member for member in dir(value) if not member.startswith("_")]
            hint = _suggest(name, public) or f" (it has {', '.join(public[:10])})"
            raise ValueError(f"{getattr(value, '__name__', value)} has no {name}{hint}; mend {source}")
        value = getattr(value, name)
    return value, module


def _suggest(name: str, known: Sequence[str]) -> str:
    matches = get_close_matches(name, known)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""


def _find_objects(custom: Mapping[str, Any] | Sequence[str] | None) -> dict[str, Any]:
    """Return what a Keras file may name; "name=module:Class" is imported."""
    pairs: list[Any]
    if isinstance(custom, Mapping):
        pairs = list(custom.items())
    else:
        for text in custom or ():
            if "=" not in text:
                raise ValueError(f"custom objects are given as name=module:Class; got {text}")
        pairs = [tuple(text.split("=", 1)) for text in custom or ()]
    objects = {}
    for name, value in pairs:
        match = OBJECT.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and match is None:
            raise ValueError(f"custom objects are given as name=module:Class; got {name}={value}")
        with current_folder_importable():
            objects[name] = value if match is None else _find(value, *match.groups())[0]
    return objects

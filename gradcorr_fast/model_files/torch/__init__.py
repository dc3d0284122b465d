"""PyTorch models from files: TorchScript, exported programs, pickled modules, state dicts."""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..._check import missing_backend
from ..._wording import option
from .._common import ModelShape, current_folder_importable, hash_arrays, needs_trust, weights_alone

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_backend("PyTorch", "torch") from error

from torch.export.passes import move_to_device_pass

from ..._damage import telling_damage
from ..._types import AnyArray, Device, Model

DICTS = ("dict", "collections OrderedDict")
LEGACY_HEADERS = 3
"""Pickles that precede the object in files of torch.save before PyTorch 1.6."""
CODE = re.compile(r"/code/.*\.py$")
ACTS = re.compile(
    r"__setstate__|\b(torch|ops\.aten)\.(save|from_file)\b|\btorch\.classes\b|\bops\.(?!prim\b|aten\b)\w+"
)
"""In the code of scripted models: what runs on loading, reads or writes files, or is an operator from elsewhere."""
N_KEYS = 5
"""Keys of weights that an error names."""


def load_file(path: Path, trust: bool, device: Device) -> torch.nn.Module:
    """Load whatever a file holds, which its members tell."""
    members = _members(path)
    if any("aotinductor/" in name for name in members):
        raise ValueError(f"{path} was compiled without gradients; save the model by torch.export.save instead")
    if any(name.endswith("constants.pkl") for name in members):
        if not trust:
            _refuse_acts(path, members)
        with telling_damage(path):
            script = torch.jit.load(path, map_location=device or "cpu")
        return prepare(script, None)
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in members):
        return _load_exported(path, trust, device)
    root = _root_class(path, members)
    if root is None:
        raise ValueError(f"{path} holds nothing that torch.save, torch.jit.save or torch.export.save writes")
    if root in DICTS:
        raise weights_alone(path)
    if not trust:
        raise needs_trust(path, f"is a pickle of {root.replace(' ', '.')}")
    return _load_pickled(path, device)


def _members(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _root_class(path: Path, members: list[str]) -> str | None:
    """Return "module name" of the class of a pickled object, "dict" for dicts, without unpickling it."""
    inside = [name for name in members if name.endswith("data.pkl")]
    with open(path, "rb") as file:
        stream: Any = file
        if inside:
            with zipfile.ZipFile(file) as archive:
                stream = io.BytesIO(archive.read(inside[0]))
        try:
            for _ in range(0 if inside else LEGACY_HEADERS):
                list(pickletools.genops(stream))
            return _first_class(stream)
        except ValueError:  # no pickle
            return None


def _first_class(stream: Any) -> str | None:
    texts: list[str] = []
    for step, argument, _ in pickletools.genops(stream):
        if step.name == "EMPTY_DICT":
            return "dict"
        if step.name == "GLOBAL":
            return str(argument)
        if step.name == "STACK_GLOBAL":
            return " ".join(texts[-2:])
        texts += [argument] if isinstance(argument, str) else []
    return None


def _load_pickled(path: Path, device: Device) -> torch.nn.Module:
    try:
        with telling_damage(path), current_folder_importable():
            model = torch.load(path, map_location=device or "cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise ValueError(
            f"{path} needs the code of its model, and Python does not find it ({error}); run where it can be imported, "
            f"or save a state dict and pass module:callable with {option('weights', 'FILE')}"
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise ValueError(
            f"{path} holds a {type(model).__name__}; pass module:callable with {option('weights', 'FILE')}"
        )
    return prepare(model, None)


def _load_exported(path: Path, trust: bool, device: Device) -> torch.nn.Module:
    if not trust:
        raise needs_trust(
            path,
            "is an exported program, which torch unpickles in several places",
            f"; or give the model as module:callable with "
            f"{option('weights', 'FILE')} as .safetensors, which run nothing",
        )
    with telling_damage(path):
        program = torch.export.load(path)
    if device is not None:
        program = move_to_device_pass(program, device)
    model = program.module()
    _check_gradient(path, model, program)
    return model


def _refuse_acts(path: Path, members: list[str]) -> None:
    """Refuse a scripted model that does more than compute: what runs when it is loaded, and what touches files.

    TorchScript is a program in a language of its own, which torch compiles from text inside the file.
    """
    with zipfile.ZipFile(path) as archive:
        for name in members:
            act = ACTS.search(archive.read(name).decode(errors="replace")) if CODE.search(name) else None
            if act:
                raise needs_trust(path, f"is a scripted model that does more than compute ({act[0]})")


def _check_gradient(path: Path, model: torch.nn.Module, program: Any) -> None:
    """Refuse an exported program whose output does not depend on its inputs by a differentiable path."""
    if program.example_inputs is None:
        return
    args, kwargs = program.example_inputs
    inputs = [x.detach().clone().requires_grad_() if _is_float(x) else x for x in args]
    if not any(map(_is_float, inputs)):
        return
    with torch.enable_grad():
        outputs, _ = torch.utils._pytree.tree_flatten(model(*inputs, **kwargs))
    if not any(isinstance(output, torch.Tensor) and output.requires_grad for output in outputs):
        raise ValueError(
            f"{path} lost its gradient when it was exported, as by torch.no_grad or detach; export it without them"
        )


def _is_float(x: AnyArray) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def load_weights(model: Model, path: Path) -> None:
    """Fill a module from a file with a state dict."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"weights need a torch.nn.Module; the model is a {type(model).__name__}")
    state = read_state(path)
    expected = model.state_dict()
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")  # of DataParallel
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    ]
    problems = (
        ("the model needs", [key for key in expected if key not in state]),
        ("the file alone has", [key for key in state if key not in expected]),
        ("shapes differ:", sorted(shapes)),
    )
    misfits = [f"{what} {', '.join(keys[:N_KEYS])}{', ...' * (len(keys) > N_KEYS)}" for what, keys in problems if keys]
    if misfits:
        raise ValueError(f"the weights in {path} do not fit the model: {'; '.join(misfits)}")
    model.load_state_dict(state)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict, also one inside a checkpoint."""
    if path.suffix.lower() == ".safetensors":
        return dict(safetensors(path).load_file(path))
    try:
        with telling_damage(path):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors; save the weights alone, by torch.save(model.state_dict(), ...)"
        ) from error
    for key in ("state_dict", "model_state_dict"):
        contents = contents[key] if isinstance(contents, Mapping) and key in contents else contents
    if not isinstance(contents, Mapping) or not all(isinstance(value, torch.Tensor) for value in contents.values()):
        raise ValueError(f"{path} holds no state dict; save the weights by torch.save(model.state_dict(), ...)")
    return dict(contents)


def safetensors(path: Path) -> Any:
    """Import what reads and writes a file."""
    try:
        return import_module("safetensors.torch")
    except ModuleNotFoundError:
        raise ValueError(f"{path} needs the package safetensors; pip install it, or use .pt") from None


def prepare(model: Model, device: Device) -> Any:
    """Return a model in evaluation mode on a device."""
    if not isinstance(model, torch.nn.Module):
        return model
    model.eval()
    try:
        return model if device is None else model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"PyTorch cannot use the device {device} ({reason}); name another, such as cpu") from error


def digest(model: Model) -> str:
    """Hash parameters and buffers, in the order of their names."""
    return hash_arrays(
        (name, tensor.shape, str(tensor.dtype), _content(tensor)) for name, tensor in sorted(_tensors(model).items())
    )


def _content(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _tensors(model: Model) -> dict[str, torch.Tensor]:
    if not isinstance(model, torch.nn.Module):
        return {}
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def inspect(model: Model) -> ModelShape:
    """Read the shapes of an exported program, or guess from the shapes of the first and the last weights."""
    if isinstance(model, torch.fx.GraphModule):
        return _inspect_graph(model.graph)
    weights = [tensor for name, tensor in _tensors(model).items() if tensor.ndim >= 2 and "weight" in name]
    if not weights:
        return ModelShape()
    first, last = weights[0], weights[-1]
    n_outputs = int(last.shape[0]) if last.ndim == 2 else None
    if first.ndim == 3 and first.shape[1] == 4:
        return ModelShape(axis=1, n_letters=4, n_outputs=n_outputs)
    if first.ndim == 2 and first.shape[1] % 4 == 0 and first.shape[1] > 4:  # of 4, it is applied to each position
        return ModelShape(length=first.shape[1] // 4, n_letters=4, n_outputs=n_outputs)
    return ModelShape(n_outputs=n_outputs)


def _inspect_graph(graph: torch.fx.Graph) -> ModelShape:
    inputs = next(shapes(graph.find_nodes(op="placeholder")), ())
    outputs = next(shapes(graph.output_node().all_input_nodes), ())
    n_outputs = outputs[-1] if len(outputs) == 2 else None
    if len(inputs) != 3:
        return ModelShape(n_outputs=n_outputs)
    axis = 1 if inputs[1] == 4 or inputs[2] != 4 else 2
    return ModelShape(axis, inputs[3 - axis], inputs[axis], n_outputs, inputs[0])


def shapes(nodes: Iterable[Any]) -> Iterator[tuple[int | None, ...]]:
    """Yield the shapes of tensors that were traced; None for a length that may vary."""
    for node in nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            yield tuple(length if isinstance(length, int) else None for length in value.shape)

"""Batch normalisation folded into the linear layers beside it, in a copy of a model that shares all its other weights.

In evaluation mode batch normalisation multiplies each channel by a number and adds one, which the convolution or dense
layer in front of it can do with its own weights; so can the one behind it, unless it pads.
"""

import copy
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from ._copying import share_model
from ._graphs import arguments_of, constant, follow, has_hooks, is_plain, put_tensor, set_argument

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
ATEN = torch.ops.aten

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_NORM = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn_enabled")
LAYER_FUNCTIONS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _CONVOLUTION),
    **dict.fromkeys((ATEN.conv1d.default, ATEN.conv2d.default, ATEN.conv3d.default), _CONVOLUTION),
    **dict.fromkeys((ATEN.conv1d.padding, ATEN.conv2d.padding, ATEN.conv3d.padding), _CONVOLUTION),
    ATEN.convolution.default: (*_CONVOLUTION[:6], "transposed", "output_padding", "groups"),
    **dict.fromkeys((functional.linear, ATEN.linear.default), _CONVOLUTION[:3]),
}
"""Linear functions of graphs, and the names of their arguments."""
NORM_FUNCTIONS: dict[Any, tuple[str, ...]] = {
    functional.batch_norm: (
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
    ),
    torch.batch_norm: _NORM,
    ATEN.batch_norm.default: _NORM,
    ATEN._native_batch_norm_legit_no_training.default: (*_NORM[:5], "momentum", "eps"),
}  # fmt: skip
DROPOUT_FUNCTIONS = {functional.dropout: ("input", "p", "training"), ATEN.dropout.default: ("input", "p", "training")}


def scale_and_shift(
    weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor, variance: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what batch normalisation multiplies each channel by and then adds, in float64."""
    scale = torch.rsqrt(variance.detach().double() + eps)
    scale = scale if weight is None else scale * weight.detach().double()
    shift = -mean.detach().double() * scale
    return scale, shift if bias is None else shift + bias.detach().double()


class Folded(NamedTuple):
    """A model without some of its normalisations."""

    model: nn.Module
    norms: tuple[str, ...]
    """Names of those that are gone."""
    reasons: tuple[str, ...]
    """Why parts of the model could not be followed."""


def fold_normalisation(model: nn.Module, n_inputs: int = 1) -> nn.Module:
    """Return a copy of a model in which linear layers do what the batch normalisation beside them did.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. Of a graph (`torch.fx.GraphModule`, the module of an exported program) the copy is a graph
        with the same inputs. What `torch.fx` cannot follow stays as it is, and what it holds is folded for itself.
    n_inputs : int
        Number of inputs that the model will be given.

    Returns
    -------
    torch.nn.Module
        It shares all weights with the model but those of the layers that have changed.

    Notes
    -----
    Folded is what follows a layer directly and alone (or behind dropout, which does nothing), with statistics of its
    own: not in training mode, not with ``track_running_stats=False``, nothing with hooks or parametrized weights. New
    weights are computed in float64 and rounded once. Behind `Linear` the channels are taken to be the features, (N, C):
    compare the copy with the model where the features of (N, L, C) could be normalised over L = C.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv1d(4, 8, 5), nn.BatchNorm1d(8), nn.ReLU()).eval()
    >>> sorted(type(layer).__name__ for layer in fold_normalisation(model).children())
    ['Conv1d', 'ReLU']
    """
    return find_and_fold(model, n_inputs).model


def find_and_fold(model: nn.Module, n_inputs: int = 1) -> Folded:
    """Do what `fold_normalisation` does, and tell what was folded."""
    norms: list[str] = []

    def fold_graph(graph_module: fx.GraphModule, path: str) -> bool:
        found = _fold_graph(graph_module)
        norms.extend(f"{path}{name}" for name in found)
        return bool(found)

    folded, reasons = follow(share_model(model), n_inputs, fold_graph)
    return Folded(folded, tuple(norms), tuple(reasons))


# --- in a graph ---


class _Layer(NamedTuple):
    node: fx.Node
    module: nn.Module | None
    """None of a function."""
    weight: torch.Tensor
    bias: torch.Tensor | None
    out_axis: int
    can_follow: bool
    """Whether a normalisation in front of it can be folded into it."""


class _Norm(NamedTuple):
    node: fx.Node
    result: fx.Node
    """The node, or of one with several results, that of the first."""
    source: fx.Node
    scale: torch.Tensor
    shift: torch.Tensor


def _fold_graph(model: fx.GraphModule) -> list[str]:
    """Fold what can be in a graph, and return the names of the normalisations."""
    found = []
    for node in list(model.graph.nodes):
        norm = _read_norm(model, node)
        if norm is not None and (_fold_back(model, norm) or _fold_forth(model, norm)):
            found.append(str(node.target if node.op == "call_module" else node.name))
    if found:
        model.delete_all_unused_submodules()
        model.graph.lint()
        model.recompile()
    return found


def _fold_back(model: fx.GraphModule, norm: _Norm) -> bool:
    """Fold into the layer in front."""
    node, user = norm.source, norm.node
    while _is_alone(node, user) and _does_nothing(model, node):
        node, user = node.args[0], node
    layer = _read_layer(model, node) if _is_alone(node, user) else None
    if layer is None or layer.weight.shape[layer.out_axis] != len(norm.scale):
        return False
    shape = [1] * layer.weight.ndim
    shape[layer.out_axis] = -1
    bias = 0 if layer.bias is None else layer.bias.double()
    _put(model, layer, layer.weight.double() * norm.scale.reshape(shape), bias * norm.scale + norm.shift)
    norm.result.replace_all_uses_with(norm.source)
    _erase(model, norm)
    return True


def _fold_forth(model: fx.GraphModule, norm: _Norm) -> bool:
    """Fold into the layer behind."""
    node = _only_user(norm.result)
    while node is not None and _does_nothing(model, node):
        node = _only_user(node)
    layer = None if node is None else _read_layer(model, node)
    if layer is None or not layer.can_follow or layer.weight.shape[1] != len(norm.scale):
        return False
    weight = layer.weight.double()
    spread = [-1, *[1] * (weight.ndim - 2)]
    bias = (weight * norm.shift.reshape(spread)).flatten(1).sum(1) + (0 if layer.bias is None else layer.bias.double())
    _put(model, layer, weight * norm.scale.reshape(spread), bias)
    norm.result.replace_all_uses_with(norm.source)
    _erase(model, norm)
    return True


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_alone(node: Any, user: fx.Node) -> bool:
    return isinstance(node, fx.Node) and set(node.users) == {user}


def _erase(model: fx.GraphModule, norm: _Norm) -> None:
    for node in dict.fromkeys((norm.result, norm.node)):
        model.graph.erase_node(node)


def _does_nothing(model: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node returns its input, as dropout does in evaluation mode."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        is_idle = type(module) is nn.Identity or (type(module) in DROPOUTS and not module.training)
        return is_idle and not has_hooks(module)
    if node.op == "call_function" and node.target in DROPOUT_FUNCTIONS:
        return arguments_of(node, DROPOUT_FUNCTIONS[node.target]).get("training", True) is False
    return False


def _read_norm(model: fx.GraphModule, node: fx.Node) -> _Norm | None:
    """Return what a node adds and multiplies by, if it is a normalisation by statistics that do not change."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        if not is_plain(module, NORMS) or module.training:
            return None
        given: dict[str, Any] = {name: getattr(module, name) for name in ("weight", "bias", "eps")}
        given |= {"running_mean": module.running_mean, "running_var": module.running_var, "input": node.args[0]}
    elif node.op == "call_function" and node.target in NORM_FUNCTIONS:
        given = arguments_of(node, NORM_FUNCTIONS[node.target])
        if given.get("training", False):
            return None
        try:
            given |= {name: constant(model, given.get(name)) for name in ("weight", "bias", *_NORM[3:5])}
        except LookupError:
            return None
    else:
        return None
    mean, variance = given["running_mean"], given["running_var"]
    if mean is None or variance is None:
        return None
    scale, shift = scale_and_shift(given["weight"], given["bias"], mean, variance, given.get("eps", 1e-5))
    result: fx.Node | None = node
    if node.target is ATEN._native_batch_norm_legit_no_training.default:
        result = _only_user(node)
        if result is None or result.target is not operator.getitem or result.args[1] != 0:
            return None
    return None if result is None else _Norm(node, result, given["input"], scale, shift)


def _read_layer(model: fx.GraphModule, node: fx.Node) -> _Layer | None:
    """Return the weights of a node, if it is a linear layer of a kind that is known."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        is_transposed = is_plain(module, TRANSPOSED)
        if not (is_transposed or is_plain(module, (*CONVOLUTIONS, nn.Linear))) or "weight" not in module._parameters:
            return None
        groups, padding = getattr(module, "groups", 1), getattr(module, "padding", 0)
        weight, bias = module.weight, module.bias
    elif node.op == "call_function" and node.target in LAYER_FUNCTIONS:
        module, is_transposed = None, False
        given = arguments_of(node, LAYER_FUNCTIONS[node.target])
        if given.get("transposed"):
            return None
        groups, padding = given.get("groups", 1), given.get("padding", 0)
        try:
            weight, bias = constant(model, given["weight"]), constant(model, given.get("bias"))
        except LookupError:
            return None
    else:
        return None
    if is_transposed and groups != 1:
        return None
    can_follow = not is_transposed and groups == 1 and not _pads(padding)
    bias = None if bias is None else bias.detach()
    return _Layer(node, module, weight.detach(), bias, int(is_transposed), can_follow)


def _pads(padding: int | str | Sequence[int]) -> bool:
    if isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, Sequence) else bool(padding)


def _put(model: fx.GraphModule, layer: _Layer, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give a node new weights, and those that use the same module none."""
    node, dtype = layer.node, layer.weight.dtype
    tensors = [nn.Parameter(tensor.to(dtype).contiguous(), requires_grad=False) for tensor in (weight, bias)]
    if layer.module is None:
        for name, tensor in zip(("weight", "bias"), tensors, strict=True):
            set_argument(node, LAYER_FUNCTIONS[node.target], name, put_tensor(model, node, f"folded_{name}", tensor))
        return
    module = copy.copy(layer.module)
    module._parameters = dict(module._parameters)
    module.weight, module.bias = tensors
    node.target = _free_name(model, f"{node.target}_folded")
    model.add_submodule(node.target, module)


def _free_name(model: nn.Module, name: str) -> str:
    taken = {path for path, _ in model.named_modules()}
    return next(text for text in (name, *(f"{name}_{k}" for k in range(1, len(taken) + 2))) if text not in taken)

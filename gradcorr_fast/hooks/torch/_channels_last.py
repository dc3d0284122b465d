"""Convolutions with the channels last in memory, the order in which CPUs and tensor cores compute them faster.

PyTorch has this order for images alone. Sequences (N, C, L) are shown to its functions as images of height 1, which
views do; what comes back is (N, C, L) again, with the strides of (N, L, C), which the next layer takes as they are.
"""

from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from ._copying import share_model
from ._graphs import arguments_of, constant, has_hooks, put_tensor, set_argument
from ._normalisation import LAYER_FUNCTIONS

ATEN = torch.ops.aten


def put_channels_last(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose convolutions keep their channels last in memory; other weights are shared.

    Parameters
    ----------
    model : torch.nn.Module
        With layers `Conv1d` or `Conv2d`, or a graph that calls their functions. Others stay as they are.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If there is no convolution of these kinds.
    """
    model = share_model(model)
    n_changed = 0
    for module in list(model.modules()):
        if isinstance(module, fx.GraphModule):
            n_changed += _change_graph(module)
        elif type(module) in KINDS and not has_hooks(module) and "forward" not in vars(module):
            module.__class__ = KINDS[type(module)]
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                module.weight = _with_channels_last(module.weight)
                n_changed += 1
    if not n_changed:
        raise ValueError("it has no convolution over sequences or images")
    return model


def _with_channels_last(weight: torch.Tensor) -> nn.Parameter:
    weight = weight.detach()
    image = weight.unsqueeze(-2) if weight.ndim == 3 else weight
    image = image.contiguous(memory_format=torch.channels_last)
    return nn.Parameter(image.squeeze(-2) if weight.ndim == 3 else image, requires_grad=False)


# --- functions of sequences by those of images ---


def _image(x: torch.Tensor) -> torch.Tensor:
    return x.unsqueeze(-2)


def _pair(number: Any, other: int) -> Any:
    """Return what holds for the two axes of an image."""
    if isinstance(number, str):
        return number
    return (other, *number) if isinstance(number, list | tuple) else (other, number)


def conv1d(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: Any = 1, padding: Any = 0,  # noqa: A002
    dilation: Any = 1, groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    """Do what `torch.conv1d` does."""
    options = _pair(stride, 1), _pair(padding, 0), _pair(dilation, 1), groups
    return functional.conv2d(_image(input), _image(weight), bias, *options).squeeze(-2)


def convolution(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Any, padding: Any, dilation: Any,  # noqa: A002
    transposed: bool, output_padding: Any, groups: int,
) -> torch.Tensor:  # fmt: skip
    """Do what `aten.convolution` does."""
    if transposed or weight.ndim != 3:
        return ATEN.convolution.default(
            input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
        )
    return conv1d(input, weight, bias, stride, padding, dilation, groups)


def max_pool1d(
    input: torch.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,  # noqa: A002
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Do what `functional.max_pool1d` does."""
    step = _pair(kernel_size if stride in (None, []) else stride, 1)
    options = _image(input), _pair(kernel_size, 1), step, _pair(padding, 0), _pair(dilation, 1), ceil_mode
    if return_indices:
        return tuple(part.squeeze(-2) for part in functional.max_pool2d(*options, return_indices=True))
    return functional.max_pool2d(*options).squeeze(-2)


class _Conv1d(nn.Conv1d):  # type: ignore[misc]  # torch is not typed here
    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self.padding_mode != "zeros":
            return super()._conv_forward(x, weight, bias)
        return conv1d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _MaxPool1d(nn.MaxPool1d):  # type: ignore[misc]
    def forward(self, x: torch.Tensor) -> Any:
        sizes = self.kernel_size, self.stride, self.padding, self.dilation
        return max_pool1d(x, *sizes, self.ceil_mode, self.return_indices)


class _BatchNorm1d(nn.BatchNorm1d):  # type: ignore[misc]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 3 or self.training:
            return super().forward(x)
        statistics = self.running_mean, self.running_var, self.weight, self.bias
        is_of_batch = self.running_mean is None
        return functional.batch_norm(_image(x), *statistics, is_of_batch, 0.0, self.eps).squeeze(-2)


KINDS: dict[type, type] = {
    nn.Conv1d: _Conv1d,
    nn.Conv2d: nn.Conv2d,
    nn.MaxPool1d: _MaxPool1d,
    nn.BatchNorm1d: _BatchNorm1d,
}
"""What takes the place of a layer of PyTorch."""
FUNCTIONS: dict[Any, Any] = {
    torch.conv1d: conv1d,
    ATEN.conv1d.default: conv1d,
    ATEN.conv1d.padding: conv1d,
    ATEN.convolution.default: convolution,
    functional.max_pool1d: max_pool1d,
    torch.max_pool1d: max_pool1d,
    ATEN.max_pool1d.default: max_pool1d,
}
IMAGE_FUNCTIONS = (torch.conv2d, ATEN.conv2d.default, ATEN.conv2d.padding)


def _change_graph(model: fx.GraphModule) -> int:
    """Change the functions that a graph calls, and return how many of them are convolutions."""
    n_changed = 0
    for node in list(model.graph.nodes):
        if node.op != "call_function":
            continue
        names = LAYER_FUNCTIONS.get(node.target, ())
        if node.target in IMAGE_FUNCTIONS or FUNCTIONS.get(node.target) in (conv1d, convolution):
            try:
                weight = constant(model, arguments_of(node, names)["weight"])
            except LookupError:
                continue
            if weight is None or weight.ndim not in (3, 4) or arguments_of(node, names).get("transposed"):
                continue
            tensor = put_tensor(model, node, "channels_last", _with_channels_last(weight))
            set_argument(node, names, "weight", tensor)
            n_changed += 1
        node.target = FUNCTIONS.get(node.target, node.target)
    model.recompile()
    return n_changed

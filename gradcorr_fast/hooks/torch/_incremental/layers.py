"""Rules that users give for layers and operations of their own, which are then not looked into."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.fx import Node

from .graph import Unfollowed
from .rules import RULES
from .steps import VALUES, Facts, Reader, Step, shape_of, windows_in
from .windows import Span, Steps


@dataclass(frozen=True)
class Local:
    """How outputs are made of neighbouring positions, as with a convolution that pads with zeros."""

    kernel: int
    stride: int
    padding: int

    @property
    def margin(self) -> int:
        """Outputs at either end that padding has a part in."""
        return -(-self.padding // self.stride)


@dataclass(frozen=True)
class Inside(Steps):
    """As `Steps`, for an operation that pads what it is given: more is given, and what padding reaches is dropped."""

    margin: int = 0

    def needed(self, span: Span) -> Span:
        """See `Reach`."""
        n = (self.margin + span.width - 1) * self.stride - self.padding + self.kernel
        return Span((span.start - self.margin) * self.stride, n)


_layers: dict[type, Local] = {}
_running: "WeakValueDictionary[int, torch.nn.Module]" = WeakValueDictionary()
_shapes: dict[int, tuple[int, ...]] = {}


def register_rule(operation: Any, *, kernel: int = 1, stride: int = 1, padding: int = 0) -> None:
    """Tell which positions an operation of your own mixes, so that substitutions can be followed through it.

    Parameters
    ----------
    operation : type of torch.nn.Module, or operation of torch.ops
        Takes sequences (N, ..., L, ...), its first argument, and returns some with the positions on the same axis. A
        module is not looked into, so that it may do what cannot be traced.
    kernel, stride, padding : int
        Output o is made of inputs ``o * stride - padding`` to ``o * stride - padding + kernel - 1``, zeros beyond the
        ends, as with `torch.nn.Conv1d`. By default every position by itself.

    Notes
    -----
    The values of a model with the operation are compared with whole passes before they are used, as of any model.

    Examples
    --------
    >>> class Smooth(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.from_numpy(np.apply_along_axis(np.convolve, 2, x.numpy(), np.ones(3, np.float32), "same"))
    >>> register_rule(Smooth, kernel=3, padding=1)
    """
    local = Local(kernel, stride, padding)
    if kernel < 1 or stride < 1 or padding < 0:
        raise ValueError(f"kernel and stride must be positive and padding not negative; got {local}")
    if isinstance(operation, type) and issubclass(operation, torch.nn.Module):
        _layers[operation] = local
        return
    name = getattr(operation, "__name__", None) or getattr(getattr(operation, "overloadpacket", None), "__name__", None)
    if not isinstance(operation, torch._ops.OpOverload | torch._ops.OpOverloadPacket) or name is None:
        raise TypeError(f"operation must be a class of modules or an operation of torch.ops; got {operation!r}")
    packet = operation.overloadpacket if isinstance(operation, torch._ops.OpOverload) else operation
    RULES[packet.__name__] = lambda node, facts: _local_step(node, facts, local)


def _local_step(node: Node, facts: Facts, local: Local) -> Step:
    x = node.args[0]
    if windows_in(node, facts) != [x] or facts.is_flat(x):
        raise Unfollowed("its other inputs depend on the sequence too, or positions and channels are one axis")
    axis = facts.axis(x)
    reach = Inside(int(shape_of(node)[axis]), local.kernel, local.stride, local.padding, local.margin)

    def run(reader: Reader) -> Any:
        found = node.target(reader(x), *node.args[1:], **node.kwargs)
        return found.narrow(axis, local.margin, reader.span.width)

    return Step(axis, {x: reach}, run, VALUES)


@torch.library.custom_op("gradcorr_fast::layer", mutates_args=())  # type: ignore[untyped-decorator]
def _layer(x: torch.Tensor, number: int) -> torch.Tensor:
    """Run a layer that is not looked into."""
    found: torch.Tensor = type(_running[number]).forward(_running[number], x)
    return found.clone() if found is x else found


@_layer.register_fake  # type: ignore[untyped-decorator]
def _(x: torch.Tensor, number: int) -> torch.Tensor:
    return x.new_empty((x.shape[0], *_shapes[number]))


@contextmanager
def closed_layers(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Iterator[None]:
    """Keep the layers with rules of their own closed to a tracer."""
    own = [module for module in model.modules() if type(module) in _layers]
    hooks = [module.register_forward_hook(_note) for module in own]
    try:
        if own:
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    try:
        for module in own:
            _running[id(module)] = module
            module.forward = _Closed(id(module))
        yield
    finally:
        for module in own:
            del module.forward


class _Closed:
    """The forward of a layer that is not looked into."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _layer(x, self._number)
        return found


def _note(module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
    _shapes[id(module)] = tuple(output.shape[1:])


def _layer_step(node: Node, facts: Facts) -> Step:
    return _local_step(node, facts, _layers[type(_running[node.args[1]])])


RULES["layer"] = _layer_step

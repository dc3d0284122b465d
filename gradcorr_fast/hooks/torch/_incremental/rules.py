"""What each operation does to windows of positions: what its outputs are made of, and how windows are computed.

`RULES` has a function for each operation (operations on single numbers have one in common). It returns a `Step`, or
raises `Unfollowed` where the operation mixes positions in a way that has no rule; then the whole sequence is computed
from there on. To add an operation, write its rule here, in `moves` or in `neighbours`, and name it in the table.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from .._normalisation import scale_and_shift
from . import moves, neighbours
from .graph import Unfollowed, given, name_of
from .steps import (
    CHANGES,
    LINEAR,
    VALUES,
    Facts,
    Reader,
    Step,
    again,
    dim_of,
    first_input,
    keep,
    length_of,
    shape_of,
    windows_in,
)
from .windows import Steps

Rule = Callable[[Node, Facts], Step]


def pointwise(node: Node, facts: Facts) -> Step:
    """Operations on numbers one by one, broadcast against each other."""
    n_axes, inputs = len(shape_of(node)), windows_in(node, facts)
    flat = [facts.is_flat(value) for value in inputs]
    if any(flat):
        if len(node.all_input_nodes) > 1:
            raise Unfollowed("positions and channels are one axis in it")
        shape, axis = None, facts.axis(inputs[0])
    else:
        shape = shape_of(node)
        from_right = {len(shape_of(value)) - facts.axis(value) for value in inputs}
        if len(from_right) > 1:
            raise Unfollowed("its inputs have their positions on different axes")
        axis = n_axes - from_right.pop()
        if any(shape_of(value)[facts.axis(value)] != shape[axis] for value in inputs):
            raise Unfollowed("it spreads one position over others")
        if any(len(shape_of(value)) != n_axes for value in inputs):
            raise Unfollowed("it puts an axis before that of sequences")

    def run(reader: Reader) -> Any:
        def resolve(value: Any) -> Any:
            if facts.is_window(value) or not isinstance(value, Node):
                return reader(value)
            if reader.is_change and name_of(node) in ("add", "sub", "rsub"):
                return torch.zeros((), dtype=node.meta["val"].dtype, device=node.meta["val"].device)
            return reader(value) if shape is None else reader.beside(value, axis, n_axes)

        args = torch.fx.node.map_aggregate(node.args, resolve)
        return node.target(*args, **torch.fx.node.map_aggregate(dict(node.kwargs), resolve))

    length = Steps(length_of(inputs[0], facts))
    return Step(axis, dict.fromkeys(inputs, length), run, _form(node, inputs), is_flat=any(flat))


def _form(node: Node, inputs: list[Node]) -> str:
    """Whether an operation adds its inputs up, or multiplies one by what does not depend on the sequence."""
    name, first = name_of(node), node.args[0]
    others = [value for value in (*node.args[1:], *node.kwargs.values()) if value in inputs]
    if name in ("add", "sub") and all(isinstance(value, Node) for value in node.args):
        return LINEAR
    is_scaled = name in ("mul", "div") and len(inputs) == 1 and (name == "mul" or not others) and not node.kwargs
    return LINEAR if name == "neg" or (is_scaled and (first in inputs) != bool(others)) else VALUES


def _same(node: Node, facts: Facts) -> Step:
    """Operations that return what they are given."""
    x = node.args[0]
    if windows_in(node, facts) != [x]:
        raise Unfollowed("its other inputs depend on the sequence too")
    return Step(
        facts.axis(x), {x: Steps(length_of(x, facts))}, lambda reader: reader(x), LINEAR, is_flat=facts.is_flat(x)
    )


def _item(node: Node, facts: Facts) -> Step:
    """Parts of what an operation returns several of."""
    parent, number = node.args
    name = name_of(parent)
    if name in ("split", "chunk", "split_with_sizes", "unbind", "unsafe_split"):
        x, axis, _ = first_input(parent, facts)
        dim = dim_of(given(parent).get("dim", 0), x)
        if dim in (0, axis):
            raise Unfollowed("it cuts between positions")
        after = axis - (name == "unbind" and dim < axis)
        part = keep(x, axis)
        return Step(after, part, lambda reader: again(parent, reader(x))[number], LINEAR)
    if number == 0 and name in FIRST_OF_SEVERAL:
        return RULES[name](parent, facts)
    raise Unfollowed(f"there is no rule for what {name} returns")


def _within(node: Node, facts: Facts) -> Step:
    """Sums, means, largest numbers, normalisation over other axes than that of positions."""
    x, axis, _ = first_input(node, facts)
    values, n_axes = given(node), len(shape_of(x))
    dims = values.get("dim")
    if "normalized_shape" in values:
        dims = list(range(n_axes - len(values["normalized_shape"]), n_axes))
    dims = list(range(n_axes)) if dims in (None, []) else [dims] if isinstance(dims, int) else list(dims)
    dims = [dim % n_axes for dim in dims]
    if axis in dims or 0 in dims:
        raise Unfollowed("it mixes all positions")
    is_kept = len(shape_of(node)) == n_axes if hasattr(node.meta["val"], "shape") else values.get("keepdim", True)
    after = axis if is_kept else axis - sum(dim < axis for dim in dims)
    is_linear = name_of(node) in ("sum", "mean")

    def run(reader: Reader) -> Any:
        found = node.target(reader(x), *map(reader, node.args[1:]), **node.kwargs)
        return found[0] if isinstance(found, tuple | list) else found

    return Step(after, keep(x, axis), run, LINEAR if is_linear else VALUES)


def _linear(node: Node, facts: Facts) -> Step:
    """Products of the last axis with a matrix."""
    x, axis, length = first_input(node, facts)
    if facts.is_flat(x) or axis == len(shape_of(x)) - 1 or axis == 0:
        raise Unfollowed("it mixes all positions")
    if name_of(node) == "matmul" and len(shape_of(node.args[1])) != 2:
        raise Unfollowed("it multiplies by more than one matrix")

    def run(reader: Reader) -> Any:
        return node.target(reader(x), reader(node.args[1]))  # the bias is no part of a change

    return Step(axis, {x: Steps(int(length))}, run, CHANGES, moved=lambda span: span)


def _normalise(node: Node, facts: Facts) -> Step:
    """Batch normalisation by what was seen in training."""
    x, axis, _ = first_input(node, facts)
    values = given(node)
    if axis == 1:
        raise Unfollowed("its channels are the positions")
    weight, bias, mean, variance = (
        facts.constant(values[name]) for name in ("weight", "bias", "running_mean", "running_var")
    )
    pair = scale_and_shift(weight, bias, mean, variance, values["eps"])
    shape = [-1 if k == 1 else 1 for k in range(len(shape_of(x)))]
    scale, shift = (number.to(variance.dtype).reshape(shape) for number in pair)

    def run(reader: Reader) -> Any:
        scaled = reader(x) * scale
        return scaled if reader.is_change else scaled.add_(shift)

    return Step(axis, keep(x, axis), run, LINEAR)


FIRST_OF_SEVERAL = ("_native_batch_norm_legit_no_training", "native_layer_norm", "max", "min", "adaptive_max_pool1d")
"""Operations that return several, of which the first has a rule."""
RULES: dict[str, Rule] = {
    **dict.fromkeys(("clone", "alias", "detach", "contiguous", "_to_copy", "lift_fresh_copy", "dropout"), _same),
    **dict.fromkeys(("permute", "transpose", "t"), moves.permute),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten"), moves.view),
    "unsqueeze": moves.unsqueeze,
    "squeeze": moves.squeeze,
    "expand": moves.expand,
    "select": moves.select,
    "slice": moves.cut,
    "flip": moves.flip,
    "cat": moves.concatenate,
    **dict.fromkeys(("pad", "constant_pad_nd"), moves.pad),
    "getitem": _item,
    **dict.fromkeys(
        ("sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "logsumexp", "softmax", "_softmax"), _within
    ),
    **dict.fromkeys(("log_softmax", "_log_softmax", "layer_norm", "native_layer_norm", "rms_norm", "glu"), _within),
    **dict.fromkeys(("linear", "matmul"), _linear),
    **dict.fromkeys(("_native_batch_norm_legit_no_training",), _normalise),
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), neighbours.convolve),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), neighbours.pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_max_pool1d"), neighbours.adaptive),
}
"""The rule of each operation."""


def rule_of(node: Node) -> Rule:
    """Return the rule of an operation, or raise `Unfollowed` if it has none."""
    rule = RULES.get(name_of(node))
    if rule is not _same and torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return pointwise
    if rule is None:
        raise Unfollowed("there is no rule for it")
    return rule

"""What each operation does to windows of positions: what its outputs are made of, and how windows are computed.

`RULES` has a function for each operation (operations on single numbers have one in common). It returns a `Step`, or
raises `Unfollowed` where the operation mixes positions in a way that has no rule; then the whole sequence is computed
from there on. To add an operation, write its rule here and name it in the table.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.fx import Node

from .._normalisation import scale_and_shift
from .graph import Unfollowed, given, name_of
from .windows import Reach, Reverse, Span, Steps, largest

VALUES, LINEAR, CHANGES = "values", "linear", "changes"
"""What a step reads: numbers; changes where one of its inputs is a change, which its output is then too; changes at the
windows where there are some, of which it makes changes at windows of its own."""


class Reader(Protocol):
    """Gives a step what it works on."""

    n: int
    """Rows."""
    span: Span
    """Windows wanted of the output."""
    is_change: bool
    """Whether changes are computed."""

    def __call__(self, value: Any) -> Any:
        """Return an argument of the operation: for a node with windows, the windows that are needed."""

    def beside(self, value: Any, axis: int, n_axes: int) -> Any:
        """Return an argument without windows as it goes with windows on an axis of so many."""


class Step(NamedTuple):
    """How a node with windows is computed."""

    axis: int
    """Of positions, in what it makes."""
    reads: Mapping[Node, Reach]
    """Its inputs with windows."""
    run: Callable[[Reader], Any]
    form: str = VALUES
    fill: float = 0.0
    """What it takes beyond the ends of a sequence."""
    moved: Callable[[Span], Span] | None = None
    """With CHANGES: from the windows of its input to those of what it makes, which may leave the sequence."""
    is_flat: bool = False
    """Whether positions are merged with other axes in the graph; here they are not: (rows, outer, positions, inner)."""


class Facts(Protocol):
    """What is known of the nodes that a rule looks at."""

    def axis(self, node: Node) -> int:
        """Return the axis of positions of a node with windows."""

    def is_window(self, value: Any) -> bool:
        """Whether a value is a node with windows."""

    def is_flat(self, node: Node) -> bool:
        """See `Step.is_flat`."""

    def shape(self, node: Node) -> tuple[Any, ...]:
        """Return the shape of a node with windows, with its positions on an axis of their own."""

    def constant(self, value: Any) -> Any:
        """Return what an argument is, or raise `Unfollowed` if it depends on the sequences."""


Rule = Callable[[Node, Facts], Step]


def shape_of(node: Node) -> tuple[Any, ...]:
    """Return the shape of a node, whose number of rows is a symbol."""
    return tuple(node.meta["val"].shape)


def windows_in(node: Node, facts: Facts) -> list[Node]:
    """Return the inputs of a node that have windows."""
    return [value for value in node.all_input_nodes if facts.is_window(value)]


def _first(node: Node, facts: Facts) -> tuple[Node, int, int]:
    """Return the first input, its axis of positions, and how many there are; it alone may have windows."""
    x = node.args[0]
    if windows_in(node, facts) != [x]:
        raise Unfollowed("its other inputs depend on the sequence too")
    return x, facts.axis(x), facts.shape(x)[facts.axis(x)]


def _resize(shape: Any, axis: int, reader: Reader) -> list[int]:
    """Return a shape of the graph for the rows and windows at work."""
    return [reader.n if k == 0 else reader.span.width if k == axis else int(n) for k, n in enumerate(shape)]


# --- numbers one by one ---


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

    length = Steps(_length(inputs[0], facts))
    return Step(axis, dict.fromkeys(inputs, length), run, _form(node, inputs), is_flat=any(flat))


def _length(node: Node, facts: Facts) -> int:
    return int(facts.shape(node)[facts.axis(node)])


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
        facts.axis(x), {x: Steps(_length(x, facts))}, lambda reader: reader(x), LINEAR, is_flat=facts.is_flat(x)
    )


def _item(node: Node, facts: Facts) -> Step:
    """Parts of what an operation returns several of."""
    parent, number = node.args
    name = name_of(parent)
    if name in ("split", "chunk", "split_with_sizes", "unbind", "unsafe_split"):
        x, axis, _ = _first(parent, facts)
        dim = _dim(given(parent).get("dim", 0), x)
        if dim in (0, axis):
            raise Unfollowed("it cuts between positions")
        after = axis - (name == "unbind" and dim < axis)
        part = _keep(x, axis)
        return Step(after, part, lambda reader: _again(parent, reader(x))[number], LINEAR)
    if number == 0 and name in FIRST_OF_SEVERAL:
        return RULES[name](parent, facts)
    raise Unfollowed(f"there is no rule for what {name} returns")


def _again(node: Node, x: torch.Tensor) -> Any:
    return node.target(x, *node.args[1:], **node.kwargs)


def _keep(x: Node, axis: int) -> dict[Node, Reach]:
    return {x: Steps(int(shape_of(x)[axis]))}


def _dim(dim: int, x: Node) -> int:
    return dim % len(shape_of(x))


# --- numbers moved about ---


def _permute(node: Node, facts: Facts) -> Step:
    x, axis, _ = _first(node, facts)
    n_axes = len(shape_of(x))
    if name_of(node) == "permute":
        order = [dim % n_axes for dim in node.args[1]]
    else:
        order, (a, b) = list(range(n_axes)), (_dim(dim, x) for dim in node.args[1:3])
        order[a], order[b] = order[b], order[a]
    if order[0] != 0 or facts.is_flat(x):
        raise Unfollowed("it moves the axis of sequences")
    return Step(order.index(axis), _keep(x, axis), lambda reader: _again(node, reader(x)), LINEAR)


def _view(node: Node, facts: Facts) -> Step:
    """Reshape: the axis of positions stays, is cut into blocks, or is merged with others at the end."""
    x, axis, length = _first(node, facts)
    old, new = shape_of(x), shape_of(node)
    if facts.is_flat(x) or old[0] != new[0]:
        raise Unfollowed("it mixes sequences, or positions and channels")
    before = int(np.prod(old[1:axis]))
    sizes = [1, *np.cumprod([int(n) for n in new[1:]]).tolist()]
    for k in range(1, len(new)):
        if sizes[k - 1] != before:
            continue
        if new[k] == length:
            return _reshaped(x, new, k, Steps(int(length)))
        if k + 1 < len(new) and new[k] * new[k + 1] == length:
            return _reshaped(x, new, k, Steps(int(new[k]), int(new[k + 1]), int(new[k + 1])))
    if len(new) == 2:
        inner = int(np.prod(old[axis + 1 :]))
        node.meta["unflattened"] = before, int(length), inner
        return Step(
            2, _keep(x, axis), lambda reader: reader(x).reshape(reader.n, before, reader.span.width, inner), LINEAR,
            is_flat=True,
        )  # fmt: skip
    raise Unfollowed("it merges positions with other axes")


def _reshaped(x: Node, shape: tuple[Any, ...], axis: int, reach: Reach) -> Step:
    return Step(axis, {x: reach}, lambda reader: reader(x).reshape(_resize(shape, axis, reader)), LINEAR)


def _unsqueeze(node: Node, facts: Facts) -> Step:
    x, axis, _ = _first(node, facts)
    dim = node.args[1] % (len(shape_of(x)) + 1)
    if dim == 0:
        raise Unfollowed("it puts an axis before that of sequences")
    return Step(axis + (dim <= axis), _keep(x, axis), lambda reader: _again(node, reader(x)), LINEAR)


def _squeeze(node: Node, facts: Facts) -> Step:
    x, axis, _ = _first(node, facts)
    shape, wanted = shape_of(x), node.args[1] if len(node.args) > 1 else range(1, len(shape_of(x)))
    dims = [_dim(dim, x) for dim in (wanted if isinstance(wanted, list | tuple | range) else [wanted])]
    dims = [dim for dim in dims if dim != 0 and shape[dim] == 1]
    if axis in dims:
        raise Unfollowed("it drops the axis of positions")
    after = axis - sum(dim < axis for dim in dims)
    return Step(after, _keep(x, axis), lambda reader: torch.squeeze(reader(x), tuple(dims)), LINEAR)


def _expand(node: Node, facts: Facts) -> Step:
    x, axis, _ = _first(node, facts)
    after = axis + len(shape_of(node)) - len(shape_of(x))
    if after != axis:
        raise Unfollowed("it puts an axis before that of sequences")
    return Step(axis, _keep(x, axis), lambda reader: reader(x).expand(_resize(shape_of(node), axis, reader)), LINEAR)


def _select(node: Node, facts: Facts) -> Step:
    x, axis, _ = _first(node, facts)
    dim = _dim(node.args[1], x)
    if dim in (0, axis):
        raise Unfollowed("it takes one position")
    return Step(axis - (dim < axis), _keep(x, axis), lambda reader: _again(node, reader(x)), LINEAR)


def _slice(node: Node, facts: Facts) -> Step:
    x, axis, length = _first(node, facts)
    values = given(node)
    if _dim(values["dim"], x) == 0 and (values["start"] or values["end"] < sys.maxsize or values["step"] != 1):
        raise Unfollowed("it takes some of the sequences")
    if _dim(values["dim"], x) != axis:
        return Step(axis, _keep(x, axis), lambda reader: _again(node, reader(x)), LINEAR)
    begin, _, step = slice(values["start"], values["end"], values["step"]).indices(int(length))
    reach = Steps(int(shape_of(node)[axis]), 1, step, -begin)

    def run(reader: Reader) -> Any:
        return reader(x)[(slice(None),) * axis + (slice(None, None, step),)]

    return Step(axis, {x: reach}, run, LINEAR)


def _flip(node: Node, facts: Facts) -> Step:
    x, axis, length = _first(node, facts)
    dims = [_dim(dim, x) for dim in node.args[1]]
    if 0 in dims:
        raise Unfollowed("it reverses the order of the sequences")
    reach: Reach = Reverse(int(length)) if axis in dims else Steps(int(length))
    return Step(axis, {x: reach}, lambda reader: _again(node, reader(x)), LINEAR)


def _concatenate(node: Node, facts: Facts) -> Step:
    """Join inputs along the channels; along positions, inputs are padded with zeros to the whole and added up."""
    parts, inputs = node.args[0], windows_in(node, facts)
    dim = _dim(node.args[1] if len(node.args) > 1 else 0, node)
    axes = {facts.axis(value) for value in inputs}
    if len(axes) > 1 or any(facts.is_flat(value) for value in inputs):
        raise Unfollowed("its inputs have their positions on different axes")
    axis = axes.pop()
    shape = shape_of(node)
    if dim == 0 or (dim == axis and len(inputs) < len(parts)):
        raise Unfollowed("it joins positions with others that do not depend on the sequence")
    if dim == axis:
        raise Unfollowed("it joins positions")

    def resolve(reader: Reader, value: Node) -> Any:
        if facts.is_window(value):
            return reader(value)
        found = reader.beside(value, axis, len(shape))
        found = found.expand(reader.n, *(_resize(shape_of(value), axis, reader)[1:]))
        return torch.zeros_like(found) if reader.is_change else found

    def run(reader: Reader) -> Any:
        return torch.cat([resolve(reader, value) for value in parts], dim)

    return Step(axis, dict.fromkeys(inputs, Steps(int(shape[axis]))), run, LINEAR)


def _pad(node: Node, facts: Facts) -> Step:
    """Put a number, 0 by default, around."""
    x, axis, _ = _first(node, facts)
    values = given(node)
    amounts, mode, fill = list(values["pad"]), values.get("mode", "constant"), values.get("value") or 0.0
    where = 2 * (len(shape_of(x)) - 1 - axis)
    if mode != "constant" or len(amounts) > 2 * (len(shape_of(x)) - 1):
        raise Unfollowed(f"it pads by {mode}")
    left = amounts[where] if where < len(amounts) else 0
    inner = [0 if k in (where, where + 1) else amount for k, amount in enumerate(amounts)]
    reach = Steps(int(shape_of(node)[axis]), padding=left)

    def run(reader: Reader) -> Any:
        value = 0.0 if reader.is_change else fill
        return torch.nn.functional.pad(reader(x), inner, value=value) if any(inner) else reader(x)

    return Step(axis, {x: reach}, run, LINEAR, fill)


# --- numbers of one position together ---


def _within(node: Node, facts: Facts) -> Step:
    """Sums, means, largest numbers, normalisation over other axes than that of positions."""
    x, axis, _ = _first(node, facts)
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

    return Step(after, _keep(x, axis), run, LINEAR if is_linear else VALUES)


def _linear(node: Node, facts: Facts) -> Step:
    """Products of the last axis with a matrix."""
    x, axis, length = _first(node, facts)
    if facts.is_flat(x) or axis == len(shape_of(x)) - 1 or axis == 0:
        raise Unfollowed("it mixes all positions")
    if name_of(node) == "matmul" and len(shape_of(node.args[1])) != 2:
        raise Unfollowed("it multiplies by more than one matrix")

    def run(reader: Reader) -> Any:
        return node.target(reader(x), reader(node.args[1]))  # the bias is no part of a change

    return Step(axis, {x: Steps(int(length))}, run, CHANGES, moved=lambda span: span)


def _normalise(node: Node, facts: Facts) -> Step:
    """Batch normalisation by what was seen in training."""
    x, axis, _ = _first(node, facts)
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

    return Step(axis, _keep(x, axis), run, LINEAR)


# --- numbers of neighbouring positions together ---


def _spatial(given: Any, n: int) -> list[int]:
    values: list[int] = [given] if isinstance(given, int) else list(given)
    return values * n if len(values) == 1 else values


def _convolve(node: Node, facts: Facts) -> Step:
    """Convolutions: changes go in, changes come out, at windows that are as much wider as the kernel reaches."""
    x, axis, _ = _first(node, facts)
    values, n = given(node), len(shape_of(x)) - 2
    if axis < 2 or values.get("transposed"):
        raise Unfollowed("it is a transposed convolution" if axis >= 2 else "its channels are the positions")
    weight = facts.constant(values["weight"])
    stride, dilation = (_spatial(values[name], n) for name in ("stride", "dilation"))
    extents = [(int(k) - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    padding = values["padding"]
    if isinstance(padding, str):  # what is uneven of "same" comes after the sequence
        padding = [0 if padding == "valid" else (extent - 1) // 2 for extent in extents]
        is_uneven = values["padding"] == "same" and any(e % 2 == 0 for k, e in enumerate(extents) if k != axis - 2)
        if is_uneven:
            raise Unfollowed("it pads other axes unevenly")
    padding, own = _spatial(padding, n), axis - 2
    extent, groups = extents[own], values["groups"]
    reach = Steps(int(shape_of(node)[axis]), extent, stride[own], padding[own])
    is_plain = stride[own] == 1
    around = [(extent - 1 if is_plain else 0) if k == own else amount for k, amount in enumerate(padding)]
    run = _run_convolution(weight, stride, around, dilation, groups)
    if n == 1 and is_plain and groups == dilation[0] == 1:
        run = _run_single(weight, run)

    def moved(span: Span) -> Span:
        return Span(span.start + padding[own] - extent + 1, span.width + extent - 1)

    step = Step(axis, {x: reach}, lambda reader: run(reader(x)), CHANGES)
    return step._replace(moved=moved) if is_plain else step


Run = Callable[[torch.Tensor], torch.Tensor]


def _run_convolution(
    weight: torch.Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Run:
    """Return a convolution, in one dimension as in two, which reads and writes numbers as windows have them."""
    n = len(stride)
    if n == 1:
        weight, stride, padding, dilation = weight.unsqueeze(2), [1, *stride], [0, *padding], [1, *dilation]
    if weight.ndim == 4:
        weight = weight.contiguous(memory_format=torch.channels_last)

    def run(numbers: torch.Tensor) -> torch.Tensor:
        numbers = numbers.unsqueeze(2) if n == 1 else numbers
        found = torch.convolution(numbers, weight, None, stride, padding, dilation, False, [0] * len(stride), groups)
        return found.squeeze(2) if n == 1 else found

    return run


def _run_single(weight: torch.Tensor, run: Run) -> Run:
    """Return a convolution that takes windows of one position times the weights, and others as they are."""
    n_out, n_in, kernel = weight.shape
    rows = weight.flip(2).permute(1, 2, 0).reshape(n_in, kernel * n_out)

    def run_single(numbers: torch.Tensor) -> torch.Tensor:
        if numbers.shape[2] > 1:
            return run(numbers)
        return (numbers[:, :, 0] @ rows).view(-1, kernel, n_out).transpose(1, 2)

    return run_single


def _pool(node: Node, facts: Facts) -> Step:
    """Largest numbers or means of neighbouring positions."""
    x, axis, _ = _first(node, facts)
    values, n = given(node), 1 if name_of(node).endswith("1d") else 2
    own, is_mean = axis - (len(shape_of(x)) - n), name_of(node).startswith("avg")
    kernel = _spatial(values["kernel_size"], n)
    stride = _spatial(values["stride"] or kernel, n)
    padding = _spatial(values["padding"], n)
    dilation = _spatial(values.get("dilation", 1), n)
    others = [k for k in range(n) if k != own]
    if own < 0 or (values["ceil_mode"] and any(kernel[k] != 1 for k in others)):
        raise Unfollowed("it pools channels" if own < 0 else "it pools other axes too, rounding up")
    extent, n_out = (kernel[own] - 1) * dilation[own] + 1, int(shape_of(node)[axis])
    reach = Steps(n_out, extent, stride[own], padding[own])
    around = [0 if k == own else amount for k, amount in enumerate(padding)]
    if n == 1:  # as in two dimensions, which reads numbers as windows have them in memory
        kernel, stride, around, dilation = ([1, *kernel], [1, *stride], [0, *around], [1, *dilation])

    def pool(function: Any, numbers: torch.Tensor, *options: Any) -> Any:
        found = function(numbers.unsqueeze(-2) if n == 1 else numbers, kernel, stride, around, *options)
        return found.squeeze(-2) if n == 1 else found

    def pool_largest(reader: Reader) -> Any:
        found = largest(reader(x), axis, reach, dilation[-1]) if n == 1 else None
        return pool(torch.nn.functional.max_pool2d, reader(x), dilation) if found is None else found

    if not is_mean:
        return Step(axis, {x: reach}, pool_largest, VALUES, -torch.inf)
    weights = None
    if padding[own] or values["ceil_mode"]:
        if others and any(kernel[k] != 1 for k in others):
            raise Unfollowed("it pools other axes too")
        weights = _weights(node, x, axis, reach)

    def run(reader: Reader) -> Any:
        found = pool(torch.nn.functional.avg_pool2d, reader(x))
        return found if weights is None else found * reader.beside(weights, axis, found.ndim)

    return Step(axis, {x: reach}, run, LINEAR)


def _weights(node: Node, x: Node, axis: int, reach: Steps) -> torch.Tensor:
    """Return what turns sums over a kernel by its size into the means that a pooling takes at the ends."""
    shape = [int(size) if k == axis else 1 for k, size in enumerate(shape_of(x))]
    shape[0] = 1
    means = _again(node, torch.ones(shape, dtype=torch.float64)).flatten()
    first = torch.arange(reach.n_out) * reach.stride - reach.padding
    counts = (first + reach.kernel).clamp_max(shape[axis]) - first.clamp_min(0)
    weights = means * reach.kernel / counts.to(means)
    return weights.reshape([-1 if k == axis else 1 for k in range(len(shape))]).to(x.meta["val"])


def _adaptive(node: Node, facts: Facts) -> Step:
    """Pooling to a number of positions that divides theirs."""
    x, axis, length = _first(node, facts)
    (n_out,) = node.args[1] if name_of(node).endswith("1d") else (None,)
    if n_out is None or axis != len(shape_of(x)) - 1 or length % n_out or n_out == 1:
        raise Unfollowed("it mixes all positions")
    size = int(length) // n_out
    is_mean = "avg" in name_of(node)
    function = torch.nn.functional.avg_pool2d if is_mean else torch.nn.functional.max_pool2d

    def run(reader: Reader) -> Any:
        return function(reader(x).unsqueeze(-2), (1, size)).squeeze(-2)

    return Step(axis, {x: Steps(n_out, size, size)}, run, LINEAR if is_mean else VALUES)


def _refuse_several(node: Node, facts: Facts) -> Step:
    raise Unfollowed("several results are computed at once")


FIRST_OF_SEVERAL = ("_native_batch_norm_legit_no_training", "native_layer_norm", "max", "min", "adaptive_max_pool1d")
"""Operations that return several, of which the first has a rule."""
RULES: dict[str, Rule] = {
    **dict.fromkeys(("clone", "alias", "detach", "contiguous", "_to_copy", "lift_fresh_copy", "dropout"), _same),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten"), _view),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "select": _select,
    "slice": _slice,
    "flip": _flip,
    "cat": _concatenate,
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "getitem": _item,
    **dict.fromkeys(
        ("sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "logsumexp", "softmax", "_softmax"), _within
    ),
    **dict.fromkeys(("log_softmax", "_log_softmax", "layer_norm", "native_layer_norm", "rms_norm", "glu"), _within),
    **dict.fromkeys(("linear", "matmul"), _linear),
    **dict.fromkeys(("_native_batch_norm_legit_no_training",), _normalise),
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), _convolve),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), _pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_max_pool1d"), _adaptive),
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

"""Rules of operations that move numbers about: axes, shapes, slices, joins and pads."""

import sys
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from .graph import Unfollowed, given, name_of
from .steps import LINEAR, Facts, Reader, Step, again, dim_of, first_input, keep, resize, shape_of, windows_in
from .windows import Reach, Reverse, Steps


def permute(node: Node, facts: Facts) -> Step:
    x, axis, _ = first_input(node, facts)
    n_axes = len(shape_of(x))
    if name_of(node) == "permute":
        order = [dim % n_axes for dim in node.args[1]]
    else:
        order, (a, b) = list(range(n_axes)), (dim_of(dim, x) for dim in node.args[1:3])
        order[a], order[b] = order[b], order[a]
    if order[0] != 0 or facts.is_flat(x):
        raise Unfollowed("it moves the axis of sequences")
    return Step(order.index(axis), keep(x, axis), lambda reader: again(node, reader(x)), LINEAR)


def view(node: Node, facts: Facts) -> Step:
    """Reshape: the axis of positions stays, is cut into blocks, or is merged with others at the end."""
    x, axis, length = first_input(node, facts)
    old, new = shape_of(x), shape_of(node)
    if facts.is_flat(x) or old[0] != new[0]:
        raise Unfollowed("it mixes sequences, or positions and channels")
    before = int(np.prod(old[1:axis]))
    sizes = [1, *np.cumprod([int(n) for n in new[1:]]).tolist()]
    for k in range(1, len(new)):
        if sizes[k - 1] != before:
            continue
        if new[k] == length:
            return reshaped(x, new, k, Steps(int(length)))
        if k + 1 < len(new) and new[k] * new[k + 1] == length:
            return reshaped(x, new, k, Steps(int(new[k]), int(new[k + 1]), int(new[k + 1])))
    if len(new) == 2:
        inner = int(np.prod(old[axis + 1 :]))
        node.meta["unflattened"] = before, int(length), inner
        return Step(
            2, keep(x, axis), lambda reader: reader(x).reshape(reader.n, before, reader.span.width, inner), LINEAR,
            is_flat=True,
        )  # fmt: skip
    raise Unfollowed("it merges positions with other axes")


def reshaped(x: Node, shape: tuple[Any, ...], axis: int, reach: Reach) -> Step:
    return Step(axis, {x: reach}, lambda reader: reader(x).reshape(resize(shape, axis, reader)), LINEAR)


def unsqueeze(node: Node, facts: Facts) -> Step:
    x, axis, _ = first_input(node, facts)
    dim = node.args[1] % (len(shape_of(x)) + 1)
    if dim == 0:
        raise Unfollowed("it puts an axis before that of sequences")
    return Step(axis + (dim <= axis), keep(x, axis), lambda reader: again(node, reader(x)), LINEAR)


def squeeze(node: Node, facts: Facts) -> Step:
    x, axis, _ = first_input(node, facts)
    shape, wanted = shape_of(x), node.args[1] if len(node.args) > 1 else range(1, len(shape_of(x)))
    dims = [dim_of(dim, x) for dim in (wanted if isinstance(wanted, list | tuple | range) else [wanted])]
    dims = [dim for dim in dims if dim != 0 and shape[dim] == 1]
    if axis in dims:
        raise Unfollowed("it drops the axis of positions")
    after = axis - sum(dim < axis for dim in dims)
    return Step(after, keep(x, axis), lambda reader: torch.squeeze(reader(x), tuple(dims)), LINEAR)


def expand(node: Node, facts: Facts) -> Step:
    x, axis, _ = first_input(node, facts)
    after = axis + len(shape_of(node)) - len(shape_of(x))
    if after != axis:
        raise Unfollowed("it puts an axis before that of sequences")
    return Step(axis, keep(x, axis), lambda reader: reader(x).expand(resize(shape_of(node), axis, reader)), LINEAR)


def select(node: Node, facts: Facts) -> Step:
    x, axis, _ = first_input(node, facts)
    dim = dim_of(node.args[1], x)
    if dim in (0, axis):
        raise Unfollowed("it takes one position")
    return Step(axis - (dim < axis), keep(x, axis), lambda reader: again(node, reader(x)), LINEAR)


def cut(node: Node, facts: Facts) -> Step:
    x, axis, length = first_input(node, facts)
    values = given(node)
    if dim_of(values["dim"], x) == 0 and (values["start"] or values["end"] < sys.maxsize or values["step"] != 1):
        raise Unfollowed("it takes some of the sequences")
    if dim_of(values["dim"], x) != axis:
        return Step(axis, keep(x, axis), lambda reader: again(node, reader(x)), LINEAR)
    begin, _, step = slice(values["start"], values["end"], values["step"]).indices(int(length))
    reach = Steps(int(shape_of(node)[axis]), 1, step, -begin)

    def run(reader: Reader) -> Any:
        return reader(x)[(slice(None),) * axis + (slice(None, None, step),)]

    return Step(axis, {x: reach}, run, LINEAR)


def flip(node: Node, facts: Facts) -> Step:
    x, axis, length = first_input(node, facts)
    dims = [dim_of(dim, x) for dim in node.args[1]]
    if 0 in dims:
        raise Unfollowed("it reverses the order of the sequences")
    reach: Reach = Reverse(int(length)) if axis in dims else Steps(int(length))
    return Step(axis, {x: reach}, lambda reader: again(node, reader(x)), LINEAR)


def concatenate(node: Node, facts: Facts) -> Step:
    """Join inputs along the channels; along positions, inputs are padded with zeros to the whole and added up."""
    parts, inputs = node.args[0], windows_in(node, facts)
    dim = dim_of(node.args[1] if len(node.args) > 1 else 0, node)
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
        found = found.expand(reader.n, *(resize(shape_of(value), axis, reader)[1:]))
        return torch.zeros_like(found) if reader.is_change else found

    def run(reader: Reader) -> Any:
        return torch.cat([resolve(reader, value) for value in parts], dim)

    return Step(axis, dict.fromkeys(inputs, Steps(int(shape[axis]))), run, LINEAR)


def pad(node: Node, facts: Facts) -> Step:
    """Put a number, 0 by default, around."""
    x, axis, _ = first_input(node, facts)
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

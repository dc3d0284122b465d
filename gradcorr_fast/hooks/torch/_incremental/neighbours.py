"""Rules of operations that make numbers of those of neighbouring positions: convolutions and pooling."""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from .graph import Unfollowed, given, name_of
from .steps import CHANGES, LINEAR, VALUES, Facts, Reader, Step, again, first_input, shape_of
from .windows import Span, Steps, largest


def _spatial(given: Any, n: int) -> list[int]:
    values: list[int] = [given] if isinstance(given, int) else list(given)
    return values * n if len(values) == 1 else values


def convolve(node: Node, facts: Facts) -> Step:
    """Convolutions: changes go in, changes come out, at windows that are as much wider as the kernel reaches."""
    x, axis, _ = first_input(node, facts)
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


def pool(node: Node, facts: Facts) -> Step:
    """Largest numbers or means of neighbouring positions."""
    x, axis, _ = first_input(node, facts)
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
    means = again(node, torch.ones(shape, dtype=torch.float64)).flatten()
    first = torch.arange(reach.n_out) * reach.stride - reach.padding
    counts = (first + reach.kernel).clamp_max(shape[axis]) - first.clamp_min(0)
    weights = means * reach.kernel / counts.to(means)
    return weights.reshape([-1 if k == axis else 1 for k in range(len(shape))]).to(x.meta["val"])


def adaptive(node: Node, facts: Facts) -> Step:
    """Pooling to a number of positions that divides theirs."""
    x, axis, length = first_input(node, facts)
    (n_out,) = node.args[1] if name_of(node).endswith("1d") else (None,)
    if n_out is None or axis != len(shape_of(x)) - 1 or length % n_out or n_out == 1:
        raise Unfollowed("it mixes all positions")
    size = int(length) // n_out
    is_mean = "avg" in name_of(node)
    function = torch.nn.functional.avg_pool2d if is_mean else torch.nn.functional.max_pool2d

    def run(reader: Reader) -> Any:
        return function(reader(x).unsqueeze(-2), (1, size)).squeeze(-2)

    return Step(axis, {x: Steps(n_out, size, size)}, run, LINEAR if is_mean else VALUES)

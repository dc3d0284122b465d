"""How an operation is computed in windows: what rules return, and what they and steps are given."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch.fx import Node

from .graph import Unfollowed
from .windows import Reach, Span, Steps

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


def shape_of(node: Node) -> tuple[Any, ...]:
    """Return the shape of a node, whose number of rows is a symbol."""
    return tuple(node.meta["val"].shape)


def windows_in(node: Node, facts: Facts) -> list[Node]:
    """Return the inputs of a node that have windows."""
    return [value for value in node.all_input_nodes if facts.is_window(value)]


def first_input(node: Node, facts: Facts) -> tuple[Node, int, int]:
    """Return the first input, its axis of positions, and how many there are; it alone may have windows."""
    x = node.args[0]
    if windows_in(node, facts) != [x]:
        raise Unfollowed("its other inputs depend on the sequence too")
    return x, facts.axis(x), facts.shape(x)[facts.axis(x)]


def resize(shape: Any, axis: int, reader: Reader) -> list[int]:
    """Return a shape of the graph for the rows and windows at work."""
    return [reader.n if k == 0 else reader.span.width if k == axis else int(n) for k, n in enumerate(shape)]


def length_of(node: Node, facts: Facts) -> int:
    """Return how many positions a node with windows has."""
    return int(facts.shape(node)[facts.axis(node)])


def again(node: Node, x: torch.Tensor) -> Any:
    """Run an operation on another first input."""
    return node.target(x, *node.args[1:], **node.kwargs)


def keep(x: Node, axis: int) -> dict[Node, Reach]:
    """Return that an input is read at the windows of the output."""
    return {x: Steps(int(shape_of(x)[axis]))}


def dim_of(dim: int, x: Node) -> int:
    """Return an axis, counted from the front."""
    return dim % len(shape_of(x))

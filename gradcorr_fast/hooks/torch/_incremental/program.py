"""A model's graph made ready: which operations are computed in windows, which on whole sequences, and from where on."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.fx import Node

from .graph import Graph, Unfollowed, describe, name_of
from .mixing import Mix, mix_of
from .rules import rule_of
from .steps import CHANGES, LINEAR, Step, shape_of
from .windows import Span, unite


class Stop(NamedTuple):
    """Where windows end."""

    node: Node
    reason: str

    def __str__(self) -> str:
        return f"{describe(self.node)}: {self.reason}"


class Plan(NamedTuple):
    """Windows of every node, for a change of some neighbouring positions at any place."""

    touched: dict[Node, Span]
    """Which positions may change, for each place of the change, within the sequence."""
    wanted: dict[Node, Span]
    """Which are computed."""
    kept: frozenset[Node]
    """Nodes whose numbers in the sequences themselves are needed."""


class Program:
    """The operations of a model, each with the way in which it is computed.

    Parameters
    ----------
    graph : Graph
    axis : int
        Of positions, in the sequences.
    """

    def __init__(self, graph: Graph, axis: int) -> None:
        self.graph, self.x = graph, graph.x
        self.constants: dict[Any, Any] = {
            node: value.detach() if isinstance(value, torch.Tensor) else value
            for node, value in graph.constants.items()
        }
        self.steps: dict[Node, Step] = {}
        self.mixes: dict[Node, Mix] = {}
        self.stops: list[Stop] = []
        """Operations on windows from which on whole sequences are computed."""
        self._axes, self._flat = {graph.x: axis}, set[Node]()
        self._shapes: dict[Node, tuple[Any, ...]] = {graph.x: shape_of(graph.x)}
        self._deferred = set[Node]()  # several results, which are followed one by one
        self._mixed = set[Node]()  # whole, and changed anywhere
        self.length = int(shape_of(graph.x)[axis])
        for node in graph.nodes:
            self._add(node)
        self.order, self.whole_order = (live(graph, inputs, self.constants) for inputs in (self.inputs, whole_inputs))
        self.outputs = frozenset(value for value in graph.outputs if isinstance(value, Node))
        self.ends = last_uses(self.order, self.inputs, self.outputs)
        """Nodes that nobody needs after another."""
        self.native = {self.x: True}
        """Whether what a node computes in windows is a change: less work where windows of several widths meet."""
        touched = self._touched(1)
        for node, step in self.steps.items():
            widths = {touched[value].width for value in step.reads if value in touched}
            is_change = len(widths) > 1 or any(self.native[value] for value in step.reads)
            self.native[node] = step.form == CHANGES or (step.form == LINEAR and is_change)
        self._plans: dict[int, Plan] = {}

    # --- what rules ask ---

    def axis(self, node: Node) -> int:
        """See `steps.Facts`."""
        return self._axes[node]

    def is_window(self, value: Any) -> bool:
        """See `steps.Facts`."""
        return isinstance(value, Node) and (value in self._axes or value in self._deferred)

    def is_flat(self, node: Node) -> bool:
        """See `steps.Facts`."""
        return node in self._flat

    def shape(self, node: Node) -> tuple[Any, ...]:
        """See `steps.Facts`."""
        return self._shapes[node]

    def constant(self, value: Any) -> Any:
        """See `steps.Facts`."""
        if isinstance(value, Node) and value not in self.constants:
            raise Unfollowed("it depends on the sequences in more than one way")
        return self.constants.get(value, value)

    # --- how each node is computed ---

    def _add(self, node: Node) -> None:
        inputs = node.all_input_nodes
        if all(value in self.constants for value in inputs):
            self.constants[node] = call(node, self.constants)
            return
        if is_size(node):
            return
        if any(value in self._mixed for value in inputs):
            self._mixed.add(node)
            return
        if not any(self.is_window(value) for value in inputs):
            return
        try:
            if isinstance(node.meta["val"], tuple | list):
                self._deferred.add(node)
                return
            self._follow(node, rule_of(node)(node, self))
        except Unfollowed as stop:
            with suppress(Unfollowed):
                self.mixes[node] = mix_of(node, self)
            self._end(node, str(stop))

    def _follow(self, node: Node, step: Step) -> None:
        self.steps[node] = step
        self._axes[node], self._shapes[node] = step.axis, shape_of(node)
        if step.is_flat:
            (x,) = step.reads
            self._flat.add(node)
            unflattened = node.meta.get("unflattened")
            self._shapes[node] = self._shapes[x] if unflattened is None else (shape_of(node)[0], *unflattened)

    def _end(self, node: Node, reason: str) -> None:
        """Compute a node of whole sequences, and if it is a part of what another one returns, that as well."""
        whole = node.args[0] if name_of(node) == "getitem" and node not in self.mixes else node
        self._deferred.discard(whole)
        self._mixed |= {whole, node}
        self.stops.append(Stop(whole, reason))

    def inputs(self, node: Node) -> list[Node]:
        """Return the nodes that a node is computed of for rows."""
        if is_size(node):
            return []
        if node in self.mixes:
            return [self.mixes[node].x]
        others = [value for value in node.all_input_nodes if value not in self._deferred]
        return [*dict.fromkeys([*self.steps[node].reads, *others])] if node in self.steps else others

    # --- windows ---

    def plan(self, width: int) -> Plan:
        """Return the windows for changes of so many neighbouring positions."""
        if width not in self._plans:
            self._plans[width] = self._plan(width)
        return self._plans[width]

    def _touched(self, width: int) -> dict[Node, Span]:
        touched = {self.x: Span(np.arange(self.length - width + 1), width)}
        for node in self.order:
            if node in self.steps:
                spans = [reach.touched(touched[value]) for value, reach in self.steps[node].reads.items()]
                touched[node] = unite(spans).clip(self.positions(node))
        return touched

    def _plan(self, width: int) -> Plan:
        touched = self._touched(width)
        steps = [node for node in self.order if node in self.steps]
        wanted: dict[Node, Span] = {}
        asked: dict[Node, list[Span]] = {node: [] for node in touched}
        for node in self.order:
            if node not in self.steps:
                for value in self.inputs(node):
                    asked.get(value, []).append(touched.get(value, touched[self.x]))
        for node in reversed(steps):
            wanted[node] = unite(asked[node] or [touched[node]]).clip(self.positions(node))
            for value, span in self._asks(node, wanted[node], touched).items():
                asked[value].append(span)
        wanted[self.x] = touched[self.x]
        return Plan(touched, wanted, self._kept(wanted, touched, set(steps)))

    def positions(self, node: Node) -> int:
        """Return how many positions a node has."""
        return int(self._shapes[node][self._axes[node]])

    def _asks(self, node: Node, span: Span, touched: dict[Node, Span]) -> dict[Node, Span]:
        """Return the windows of its inputs that a node reads; of changes there are none beyond what is touched."""
        reads = self.steps[node].reads
        if self._reads_change(node):
            return {value: touched[value] for value in reads}
        return {value: reach.needed(span) for value, reach in reads.items()}

    def _reads_change(self, node: Node) -> bool:
        step = self.steps[node]
        return step.form == CHANGES or (step.form == LINEAR and self.native[node])

    def _kept(self, wanted: dict[Node, Span], touched: dict[Node, Span], steps: set[Node]) -> frozenset[Node]:
        """Return the nodes of which windows are laid over the sequences', or that are compared with them."""
        kept = {value for value in self.graph.outputs if value in self._axes}
        for node in self.order:
            if node in steps:
                reads_change = self._reads_change(node)
                for value, span in self._asks(node, wanted[node], touched).items():
                    is_there = self.native[value] == reads_change and (reads_change or span.is_same(wanted[value]))
                    kept |= set() if is_there else {value}
            elif node in self.mixes:
                mix = self.mixes[node]
                kept.add(node)
                kept |= {mix.x} if mix.prepare or not self.native[mix.x] else set()
            else:
                kept |= {value for value in self.inputs(node) if value in self._axes}
        return frozenset(kept)

    def in_double(self, x: torch.Tensor, args: Sequence[torch.Tensor]) -> list[Any]:
        """Return the outputs for whole sequences, computed in double precision."""
        inputs = {**self.constants, self.x: x, **dict(zip(self.graph.args, args, strict=True))}
        values: dict[Any, Any] = {
            node: value.double() if _is_tensor(value) and value.is_floating_point() else value
            for node, value in inputs.items()
        }
        for node in self.whole_order:
            values[node] = call(node, values)
        return [values[value] if isinstance(value, Node) else value for value in self.graph.outputs]

    # --- what it takes ---

    def share(self) -> float:
        """Return the part of a full pass's multiplications that a substitution takes, about."""
        work = {node: self.multiplications(node) for node in self.order}
        whole = sum(work.values())
        return min(1.0, sum(n * self._part(node) for node, n in work.items() if n) / whole) if whole else 1.0

    def work(self) -> float:
        """Return how many multiplications a whole pass takes for each sequence, about."""
        return sum(self.multiplications(node) for node in self.order)

    def multiplications(self, node: Node) -> float:
        """Return how many multiplications a product of matrices takes for each sequence, about."""
        name, args = name_of(node), node.args
        if name in ("lstm", "gru"):
            steps = math.prod(self._sizes(args[0])[:-1])
            return float(steps * sum(math.prod(self._sizes(weight)) for weight in args[2]))
        if not _is_tensor(node.meta.get("val")) or not isinstance(args[1] if len(args) > 1 else None, Node):
            return 0.0
        n_out, other = math.prod(self._sizes(node)), self._sizes(args[1])
        if name == "scaled_dot_product_attention":
            return float(2 * n_out * other[-2])
        if name in ("conv1d", "conv2d", "convolution", "linear"):
            return float(n_out * math.prod(other[1:]))
        return float(n_out * other[-2]) if name in ("matmul", "bmm", "mm") and len(other) > 1 else 0.0

    def _sizes(self, node: Node) -> list[int]:
        """Return the lengths of a node's axes, but for that of sequences."""
        shape = shape_of(node)
        return [int(n) for n in (shape if node in self.constants else shape[1:]) if isinstance(n, int)]

    def _part(self, node: Node) -> float:
        """Return the part of a node's multiplications that a substitution takes."""
        plan, step = self.plan(1), self.steps.get(node)
        if step is not None and step.moved is None:
            return plan.wanted[node].width / self.positions(node)
        if step is None and node not in self.mixes:
            return 1.0
        (x,) = [self.mixes[node].x] if step is None else step.reads
        return plan.touched[x].width / self.positions(x)

    def describe(self) -> str:
        """Say what a substitution takes."""
        first = f"; whole from {self.stops[0]}" if self.stops else ""
        return f"about {self.share():.0%} of a whole pass each, {self.receptive_field() or 1} bp seen{first}"

    def widest(self, width: int) -> tuple[int, int]:
        """Return how many numbers the largest layer has for each row, in windows of `width` changes and as a whole."""
        wanted, part, whole = self.plan(width).wanted, 1, 1
        for node in self.order:
            if not _is_tensor(node.meta.get("val")):
                continue
            size = math.prod(self._sizes(node))
            whole = max(whole, size)
            part = max(part, size * wanted[node].width // self.positions(node) if node in wanted else size)
        return part, whole

    def receptive_field(self) -> int | None:
        """Return how many positions one position, before any that mix all of them, depends on; None without any."""
        ends = {mix.x for mix in self.mixes.values()} | {value for value in self.graph.outputs if value in self._axes}
        ends |= {value for stop in self.stops for value in stop.node.all_input_nodes if value in self.steps}
        found = 0
        for end in ends & set(self.steps):
            middle = self.positions(end) // 2
            spans: dict[Node, list[Span]] = {end: [Span(np.array([middle]), 1)]}
            for node in reversed([node for node in self.order if node in self.steps]):
                if node in spans:
                    for value, reach in self.steps[node].reads.items():
                        spans.setdefault(value, []).append(reach.needed(unite(spans[node])))
            found = max(found, unite(spans[self.x]).width if self.x in spans else 0)
        return found or None


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def call(node: Node, values: dict[Any, Any]) -> Any:
    """Run an operation on the values of its inputs."""
    args = torch.fx.node.map_arg(node.args, lambda value: values[value])
    if name_of(node) in ("view", "_unsafe_view"):  # which need an order in memory that numbers here may not have
        return args[0].reshape(args[1])
    return node.target(*args, **torch.fx.node.map_arg(dict(node.kwargs), lambda value: values[value]))


def is_size(node: Node) -> bool:
    """Whether a node is the number of sequences."""
    return name_of(node) == "sym_size"


def whole_inputs(node: Node) -> list[Node]:
    """Return the nodes that a node is computed of for whole sequences."""
    inputs: list[Node] = node.all_input_nodes
    return inputs


def live(graph: Graph, inputs: Callable[[Node], list[Node]], constants: Mapping[Node, Any]) -> list[Node]:
    """Return the nodes that the outputs need, in their order."""
    needed = {value for value in graph.outputs if isinstance(value, Node)}
    for node in reversed(graph.nodes):
        if node in needed and node not in constants:
            needed.update(inputs(node))
    return [node for node in graph.nodes if node in needed and node not in constants]


def last_uses(
    order: Sequence[Node], inputs: Callable[[Node], list[Node]], kept: frozenset[Node]
) -> dict[Node, list[Node]]:
    """Return for each node those whose values nobody needs after it."""
    last = {value: node for node in order for value in inputs(node)}
    found: dict[Node, list[Node]] = {}
    for value, node in last.items():
        if value not in kept:
            found.setdefault(node, []).append(value)
    return found

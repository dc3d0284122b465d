"""Sequences and their mutants in a program: whole passes of the sequences, windows for what changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ...._types import Array
from .program import Program, call, is_size, last_uses, whole_inputs
from .steps import CHANGES, LINEAR, Step
from .windows import Rows, Span, Window, by_position


class References:
    """What a program computes of some sequences, as far as windows are laid over it.

    Parameters
    ----------
    program : Program
    x, args : tensors
        The sequences and what the model takes beside them.
    width : int
        Neighbouring positions that changes may have, at most.
    measures : bool
        Whether `largest` is wanted.
    """

    def __init__(
        self, program: Program, x: torch.Tensor, args: Sequence[torch.Tensor], width: int, measures: bool = False
    ) -> None:
        self.program, self.plan = program, program.plan(width)
        self.args = dict(zip(program.graph.args, args, strict=True))
        values: dict[Any, Any] = {**program.constants, **self.args, program.x: x}
        self.largest = size_of(x) if measures else 0.0
        """The size of the largest number of all layers."""
        ends = last_uses(program.whole_order, whole_inputs, self.plan.kept | program.outputs)
        for node in program.whole_order:
            values[node] = call(node, values)
            if measures:
                self.largest = max(self.largest, size_of(values[node]))
            for value in ends.get(node, ()):
                if value not in program.constants and value not in self.args:
                    del values[value]
        self.outputs = [
            values.get(value, value) if isinstance(value, Node) else value for value in program.graph.outputs
        ]
        """Of the sequences themselves."""
        self.values = {node: self._seen(node, values[node].detach()) for node in self.plan.kept}
        self.prepared = {
            node: mix.prepare(values[mix.x].detach())
            for node, mix in program.mixes.items()
            if mix.prepare and node in values
        }

    def _seen(self, node: Node, value: torch.Tensor) -> torch.Tensor:
        if self.program.is_flat(node):
            value = value.reshape(len(value), *self.program.shape(node)[1:])
        axis = self.program.axis(node) if node in self.program.steps or node is self.program.x else None
        return value if axis is None else by_position(value, axis)


def size_of(numbers: Any, of_nan: float = 0.0) -> float:
    """Return the size of the largest number, and of those that are not finite what is given."""
    if not isinstance(numbers, torch.Tensor) or not numbers.is_floating_point() or not numbers.numel():
        return 0.0
    return float(numbers.abs().nan_to_num(of_nan, of_nan).max())


class Run:
    """Rows in a program, each one of the sequences with some neighbouring positions changed."""

    def __init__(self, references: References, sequence: Array, place: Array, change: torch.Tensor) -> None:
        self._references, self._program, self._plan = references, references.program, references.plan
        self._place = place
        self.rows = Rows(sequence, change.device)
        self._windows = {self._program.x: Window(self._span(self._plan.wanted, self._program.x), change, True)}
        self._changes: dict[Node, Window] = {}
        self._whole: dict[Node, Any] = {}

    def outputs(self) -> list[Any]:
        """Return what the model returns for the rows."""
        program = self._program
        for node in program.order:
            if is_size(node):
                self._whole[node] = self.rows.n
            elif node in program.steps:
                self._windows[node] = self._step(node, program.steps[node])
            elif node in program.mixes:
                self._whole[node] = program.mixes[node].run(self)
            else:
                self._whole[node] = call(node, _Lookup(self))
            for value in program.ends.get(node, ()):
                for place in (self._windows, self._changes, self._whole):
                    place.pop(value, None)
        return [self.whole(value) if isinstance(value, Node) else value for value in program.graph.outputs]

    def _span(self, spans: dict[Node, Span], node: Node) -> Span:
        return spans[node].take(self._place)

    def _step(self, node: Node, step: Step) -> Window:
        span, is_change = self._span(self._plan.wanted, node), self._program.native[node]
        if step.moved is not None:
            (x,) = step.reads
            before = self._span(self._plan.touched, x)
            found = step.run(_Reader(self, step, {x: before}, span, True))
            return Window(step.moved(before), found, True)
        spans = {value: reach.needed(span) for value, reach in step.reads.items()}
        found = step.run(_Reader(self, step, spans, span, is_change))
        return Window(span, found, is_change)

    def read(self, node: Node, span: Span, is_change: bool, fill: float = 0.0) -> torch.Tensor:
        """Return numbers of a node, or their changes, at windows."""
        window, axis, length = self._windows[node], self._program.axis(node), self._program.positions(node)
        if is_change and not window.is_change:
            window = self._change(node, window, axis)
        if window.is_change == is_change and window.span.is_same(span) and _is_inside(span, length):
            return window.tensor
        if is_change:
            return self.rows.place(window, axis, span, length)
        return self.rows.lay_over(self._references.values[node], axis, window, span, fill)

    def _change(self, node: Node, window: Window, axis: int) -> Window:
        """Return new numbers less those of the sequences."""
        if node not in self._changes:
            base = self._references.values[node]
            found = self.rows.subtract(window.tensor, base, axis, window.span)
            self._changes[node] = Window(window.span, found, True)
        return self._changes[node]

    def whole(self, node: Node) -> Any:
        """Return all numbers of a node for the rows."""
        program, references = self._program, self._references
        if node in program.constants:
            return program.constants[node]
        if node in references.args:
            return references.args[node].index_select(0, self.rows.index)
        if node in self._windows:
            length = program.positions(node)
            found = self.read(node, Span(np.zeros(self.rows.n, np.int64), length), False)
            return found.reshape(self.rows.n, -1) if program.is_flat(node) else found
        return self._whole[node]

    # --- what a mix asks ---

    def change(self, node: Node) -> Window:
        """See `mixing.Place`."""
        span = self._span(self._plan.touched, node)
        return Window(span, self.read(node, span, True), True)

    def new(self, node: Node) -> Window:
        """See `mixing.Place`."""
        span = self._span(self._plan.touched, node)
        return Window(span, self.read(node, span, False), False)

    def reference(self, node: Node) -> torch.Tensor:
        """See `mixing.Place`."""
        return self._references.values[node]

    def prepared(self, node: Node) -> Any:
        """See `mixing.Place`."""
        return self._references.prepared[node]

    def constant(self, value: Any) -> Any:
        """See `mixing.Place`."""
        return self._program.constants.get(value, value) if isinstance(value, Node) else value


class _Lookup(dict[Node, Any]):
    """Finds the whole values of nodes."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getitem__(self, node: Node) -> Any:
        return self._run.whole(node)


class _Reader:
    """See `steps.Reader`."""

    def __init__(self, run: Run, step: Step, spans: dict[Node, Span], span: Span, is_change: bool) -> None:
        self._run, self._step, self._spans = run, step, spans
        self.n, self.span, self.is_change = run.rows.n, span, is_change

    def __call__(self, value: Any) -> Any:
        return torch.fx.node.map_aggregate(value, self._resolve)

    def _resolve(self, value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        if value not in self._spans:
            return self._run.whole(value)
        reads_change = self.is_change and self._step.form in (LINEAR, CHANGES)
        return self._run.read(value, self._spans[value], reads_change, self._step.fill)

    def beside(self, value: Any, axis: int, n_axes: int) -> Any:
        """See `steps.Reader`."""
        tensor = self._run.whole(value) if isinstance(value, Node) else value
        if not isinstance(tensor, torch.Tensor) or tensor.ndim == 0:
            return tensor
        tensor = tensor.reshape((1,) * (n_axes - tensor.ndim) + tuple(tensor.shape))
        return tensor if tensor.shape[axis] == 1 else self._run.rows.of_all(tensor, axis, self.span)


def _is_inside(span: Span, length: int) -> bool:
    return bool(span.start.min(initial=0) >= 0) and int(span.start.max(initial=0)) + span.width <= length

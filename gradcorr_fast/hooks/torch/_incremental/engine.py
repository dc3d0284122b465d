"""Runs a model on sequences, and on mutants of them only what a change reaches, once that was compared."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ...._types import Array, Model
from ..._layout import Layout, View
from ..._ready import Positions, Seen, Wish
from ..._request import Request
from .._transfer import bring
from .graph import Graph, Unfollowed, before_activations, trace
from .layers import closed_layers
from .program import Program
from .run import References, Run, size_of

Forward = Callable[..., Any]
"""What the model returns of sequences and arguments."""
Gradient = Callable[..., torch.Tensor]
CACHED = 1 << 20
"""Numbers of the widest layer of rows at work on a CPU, so that they stay in its caches."""
N_CHECKED = 2
"""Sequences whose mutants are compared with whole passes."""
CHECKED_SHARE, LEAST_CHECKED, MOST_CHECKED = 0.01, 6, 40
"""Mutants that are compared, of all that are to come."""
ROUNDED = 256
"""Units in the last place of the largest number of any layer by which whole passes may differ by rounding alone, with
the batch size or where large sums cancel; what differs by more draws at random, mixes sequences, or is another one."""

_graphs: "WeakKeyDictionary[Any, dict[Any, Graph]]" = WeakKeyDictionary()


class Engine:
    """A model whose operations are known, and that was found to return the same in windows as it does as a whole.

    Parameters
    ----------
    model : torch.nn.Module or callable
        In evaluation mode, where it runs.
    request : Request
        What is asked of it.
    x, args, positions
        A few sequences, and what goes with them.
    forward : callable
        Runs the model on sequences and arguments.
    gradient : callable
        From values and sequences to the gradient.
    n_rows : float
        Mutants to come, of which a part are compared first.

    Raises
    ------
    Unfollowed
        If it cannot be followed, or returns something else.
    """

    def __init__(
        self, model: Model, request: Request, x: torch.Tensor, args: Sequence[torch.Tensor], positions: Positions,
        forward: Forward, gradient: Gradient, n_rows: float = float("inf"),
    ) -> None:  # fmt: skip
        if len(request.layout.shape) != 3:
            raise Unfollowed("sequences have more axes than those of letters and positions")
        self.request, self._forward, self.gradient, self.note = request, forward, gradient, ""
        x, args = x[:N_CHECKED], [array[:N_CHECKED] for array in args]
        positions = [None if p is None else p[:N_CHECKED] for p in positions]
        key = (request.before_activation, x.dtype, x.device, *(tuple(array.shape[1:]) for array in (x, *args)))
        for graph in _known(model, key, x, args):
            self.program = Program(graph, _length_axis(request.layout))
            reason = self._differs(x, args, positions, n_rows)
            if reason is None:
                self.note = self.program.describe()
                return
        raise Unfollowed(reason or "")

    def refer(self, x: torch.Tensor, args: Sequence[torch.Tensor], positions: Positions, wish: Wish) -> "Substitutions":
        """Run the model on sequences, for mutants of them.

        Parameters
        ----------
        x, args : tensors
            The sequences, and what goes with them.
        positions : sequence of arrays or None
            Of each target, see `Request.positions`, for these sequences.
        wish : Wish
        """
        return Substitutions(self, x, args, positions, wish.width, wants_gradients=wish.needs_gradients)

    def values(self, outputs: list[Any], view: View, positions: list[Any]) -> list[torch.Tensor]:
        """Return the targets' values of outputs in a view."""
        is_reverse = view.is_reverse and self.request.strand is not None
        arranged = self.program.graph.arrange(outputs)
        return list(self.request._replace(is_reverse=is_reverse).values(arranged, positions))

    def _differs(
        self, x: torch.Tensor, args: Sequence[torch.Tensor], positions: Positions, n_rows: float
    ) -> str | None:
        """Compare mutants of a few sequences with whole passes; return what is wrong, or None."""
        layout, size, view = self.request.layout, self.request.batch_size, View(False, 0)
        n = int(np.clip(n_rows * CHECKED_SHARE, LEAST_CHECKED, MOST_CHECKED))
        mutants = _mutants_to_check(len(x), layout.n_positions, layout.n_letters, n)
        seen = Shown(self, x, args, view, 1, measures=True)
        rows, index = seen.mutants(*mutants), bring(torch.as_tensor(mutants[0]), x.device)
        arguments, own = [array[index] for array in args], [None if p is None else p[mutants[0]] for p in positions]

        def run_whole(n: int, size: int) -> torch.Tensor:
            found = []
            for part in (slice(k, min(k + size, n)) for k in range(0, n, size)):
                outputs = self._forward(rows[part].clone(), [array[part].clone() for array in arguments])
                found.append(torch.stack(self.request.values(outputs, _on(x.device, own, part)), 1).double())
            return torch.cat(found)

        expected = run_whole(len(rows), size)
        others = run_whole(min(len(rows), LEAST_CHECKED), max(1, min(size, LEAST_CHECKED) // 2))
        try:
            values = Substitutions(self, x, args, positions, 1, is_plain=True).run(*mutants)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # a rule that does not fit
            return f"windows of it cannot be computed ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        noise = size_of(others - expected[: len(others)], torch.inf)
        gap = size_of(torch.stack(values, 1).double() - expected, torch.inf)
        scale = size_of(expected)
        ulp = torch.finfo(x.dtype).eps * max(scale, seen.largest)
        if noise > ROUNDED * ulp:
            return "its output for a sequence depends on chance, or on the other sequences of a batch"
        if not gap <= 2 * noise + 4 * ulp:  # sums of many numbers are rounded by more: see by how much whole passes are
            exact = torch.stack(self.values(self.program.in_double(rows, arguments), view, own), 1)
            noise, distance = (size_of(v - exact, torch.inf) for v in (expected, torch.stack(values, 1).double()))
            if noise > ROUNDED * ulp or not distance <= 2 * noise + 4 * ulp:
                return f"windows of it return something else than the whole model does, by {gap:.2g} of {scale:.2g}"
        return None


def _on(device: torch.device, positions: Sequence[Any], rows: Any) -> list[Any]:
    """Return the positions of some rows where the model is."""
    return [None if p is None else bring(torch.as_tensor(p[rows]), device) for p in positions]


def _known(model: Model, key: Any, x: torch.Tensor, args: Sequence[torch.Tensor]) -> Iterator[Graph]:
    """Yield the graph that was traced before, then a new one, which is kept."""
    try:
        kept = _graphs.setdefault(model, {})
    except TypeError:  # it cannot be referred to weakly
        kept = {}
    if key in kept:
        yield kept[key]
    two = [array if len(array) > 1 else torch.cat([array, array]) for array in (x, *args)]
    graph = trace(model, two[0], two[1:], closed_layers)
    kept[key] = before_activations(graph) if key[0] else graph
    yield kept[key]


def _length_axis(layout: Layout) -> int:
    assert layout.length_axis is not None
    return layout.length_axis


def _mutants_to_check(n: int, length: int, n_letters: int, n_rows: int) -> tuple[Array, Array, Array]:
    """Return sequences, positions and letters: both ends, the middle, and places at which pooling begins anew."""
    ends = [0, length - 1, length // 2, 1, length - 2, length // 2 + 1, 2, length - 3]
    places = [*ends, *range(3, length, max(1, length // 11))]
    start = np.array([*dict.fromkeys(place for place in places if 0 <= place < length)][:n_rows], np.int64)
    number = np.arange(min(n_rows, n * len(start)))
    return number % n, start[number // n], (number % n_letters).astype(np.uint8)[:, None]


class Shown:
    """Sequences as a model sees them in one view, which mutants are laid over."""

    def __init__(
        self, engine: Engine, x: torch.Tensor, args: Sequence[torch.Tensor], view: View, width: int,
        measures: bool = False, wants_gradients: bool = False,
    ) -> None:  # fmt: skip
        layout = engine.request.layout
        self.view, self._layout, self._engine = view, layout, engine
        shown = view.show(x, layout)
        if wants_gradients:
            shown = shown.detach().clone().requires_grad_()
        self.shown = shown
        self.letters = shown.detach().permute(0, _length_axis(layout), layout.axis)
        """As (n, positions, channels)."""
        self._references = References(engine.program, shown, args, width, measures)
        self.outputs = self._references.outputs
        self.largest = self._references.largest

    def change(self, sequence: Array, start: Array, codes: Array) -> tuple[torch.Tensor, Array]:
        """Return what letters in place of others add to what is seen, (rows, width, channels), and where it begins."""
        length, width, layout = self._layout.n_positions, codes.shape[1], self._layout
        if self.view.is_reverse:
            is_known = codes < layout.n_letters
            codes = np.where(is_known, layout.n_letters - 1 - codes, codes)[:, ::-1]
            start = length - start - width
        start = start + self.view.shift
        place = start.clip(0, length - width)
        number = np.arange(width) + (place - start)[:, None]  # of the letter that is seen at each position
        is_new = (number >= 0) & (number < width)
        codes = np.take_along_axis(codes, number.clip(0, width - 1), 1)
        device, dtype = self.letters.device, self.letters.dtype
        table = np.zeros((256, self.letters.shape[2]), np.float32)
        table[np.arange(layout.n_letters), np.arange(table.shape[1])[layout.letters]] = 1
        index = bring(torch.as_tensor(place[:, None] + np.arange(width)), device)
        old = self.letters[bring(torch.as_tensor(sequence), device)[:, None], index]
        is_letter = np.zeros(table.shape[1], bool)
        is_letter[layout.letters] = True
        change = bring(torch.as_tensor(table[codes]), device).to(dtype) - old
        is_replaced = bring(torch.as_tensor(is_new[..., None] & is_letter), device)
        return torch.where(is_replaced, change, torch.zeros((), dtype=dtype, device=device)), place

    def mutants(self, sequence: Array, start: Array, codes: Array) -> torch.Tensor:
        """Return whole mutants, as the model takes them."""
        change, place = self.change(sequence, start, codes)
        rows = self.letters[bring(torch.as_tensor(sequence), change.device)]
        where = bring(torch.as_tensor(place[:, None] + np.arange(codes.shape[1])), change.device)
        rows[torch.arange(len(rows), device=change.device)[:, None], where] += change
        return rows if self._layout.axis > _length_axis(self._layout) else rows.transpose(1, 2)

    def run(self, sequence: Array, place: Array, change: torch.Tensor) -> list[Any]:
        """Return what the model returns for rows, each one of the sequences with a change of `change` at a place."""
        turned = change if self._layout.axis > _length_axis(self._layout) else change.transpose(1, 2)
        return Run(self._references, sequence, place, turned).outputs()


class Substitutions:
    """Sequences that a model was run on, and the values of their mutants; see `_ready.Substitutions`."""

    def __init__(
        self, engine: Engine, x: torch.Tensor, args: Sequence[torch.Tensor], positions: Positions,
        width: int, *, wants_gradients: bool = False, is_plain: bool = False,
    ) -> None:  # fmt: skip
        self._engine, self._positions, self.note = engine, positions, engine.note
        self._shown, self.seen = [], []
        for view in (View(False, 0),) if is_plain else engine.request.views:
            with torch.inference_mode(False), torch.set_grad_enabled(wants_gradients):
                shown = Shown(engine, x, args, view, width, wants_gradients=wants_gradients)
                values = self._values(shown, shown.outputs, slice(None))
                last = len(values) - 1
                grads = [
                    engine.gradient(value, shown.shown, retain_graph=k < last)
                    for k, value in enumerate(values if wants_gradients else ())
                ]
            del shown.outputs, shown.shown
            self._shown.append(shown)
            values = [value.detach() for value in values]
            self.seen.append(Seen(view, values, grads, (x, tuple(args), positions)))
        self.values = _mean([seen.values for seen in self.seen])
        self.n_rows = self._rows_at_work(x, width)

    def _rows_at_work(self, x: torch.Tensor, width: int) -> int:
        """Return how many rows to run at a time: on a CPU few, on other devices as much as a batch of whole passes."""
        part, whole = self._engine.program.widest(width)
        size = self._engine.request.batch_size
        if x.device.type == "cpu":
            return max(16, min(CACHED // part, 4096))
        return max(size, size * whole // part)

    def run(self, sequence: Array, start: Array, codes: Array) -> list[torch.Tensor]:
        """Return the values of mutants; see `_ready.Substitutions.run`."""
        if not len(sequence):
            return [value[:0] for value in self.values]
        with torch.no_grad():
            found = []
            for seen in self._shown:
                change, place = seen.change(sequence, start, codes)
                order = np.argsort(place, kind="stable")
                parts = [order[k : k + self.n_rows] for k in range(0, len(order), self.n_rows)]
                values = []
                for part in parts:
                    rows = change[bring(torch.as_tensor(part), change.device)]
                    outputs = seen.run(sequence[part], place[part], rows)
                    values.append(self._values(seen, outputs, sequence[part]))
                back = bring(torch.as_tensor(np.argsort(order, kind="stable")), change.device)
                found.append([torch.cat(numbers)[back] for numbers in zip(*values, strict=True)])
            return _mean(found)

    def _values(self, seen: Shown, outputs: list[Any], rows: Any) -> list[torch.Tensor]:
        return self._engine.values(outputs, seen.view, _on(seen.letters.device, self._positions, rows))


def _mean(by_view: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Return means over views for each target."""
    if len(by_view) == 1:
        return by_view[0]
    weight = 1 / len(by_view)
    return [sum(value * weight for value in values) for values in zip(*by_view, strict=True)]

"""A model made ready, the sequences at work in it, and what a method makes of them.

A framework brings `Framework`: how rows of the input reach the model, their gradients, and how results come back. A row
is one sequence at one point of a method, or one mutant. The engine in `_engine` asks a `Method` to run on a `Work`,
and the method asks that for the values and gradients of rows, which come from a `ReadyModel`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from .._comparisons import Taken
from .._types import AnyArray, Array
from ..backends import find_backend
from ._attempts import Batches, Memory
from ._heap import keep_freed_memory
from ._layout import Layout, Strand, View, track_axes
from ._request import Request

Rows: TypeAlias = Any
"""Which rows of an array: a slice, or their numbers."""
Arrays = list[AnyArray]
"""One for each target."""
Positions = Sequence[Array | None]
"""For each target, the position of each row; None if it is the same for all."""
Step = Callable[[AnyArray, tuple[AnyArray, ...], Positions], tuple[Arrays, Arrays]]
"""From input, arguments and positions to values and their gradients, none of them if the request is `forward_only`."""


def _add(total: AnyArray | None, grad: AnyArray, weight: float) -> AnyArray:
    if total is None:
        return grad if weight == 1 else grad * weight
    if isinstance(total, np.ndarray) and total.flags.writeable:
        total += grad * weight
        return total
    return total + grad * weight


def stay(arrays: Arrays) -> Callable[[], Arrays]:
    """Leave arrays where they are; see `Framework.fetch`."""
    return lambda: arrays


class Seen(NamedTuple):
    """What a model made of rows in one view."""

    view: View
    values: Arrays
    grads: Arrays
    """Of what the model saw; `View.map_back` turns them into those of the rows."""
    inputs: tuple[AnyArray, tuple[AnyArray, ...], Positions]


class Substitutions(Protocol):
    """Sequences in a model that tells what other letters in them change for less than whole passes."""

    values: Arrays
    """Of the sequences themselves, means over the views."""
    seen: list[Seen]
    """What the model made of the sequences in each view, with gradients if they were wished for."""
    note: str
    """What a substitution takes, in words."""

    def run(self, sequence: Array, start: Array, codes: Array) -> Arrays:
        """Return the values of rows, means over the views.

        Parameters
        ----------
        sequence : int array, shape (rows,)
            Which of the sequences each row is of.
        start : int array, shape (rows,)
            Its first position that has another letter.
        codes : uint8 array, shape (rows, width)
            The letters there, numbers of letters; unknown ones, which no letter is, are above them.
        """


class Wish(NamedTuple):
    """What is asked of the engine that computes substitutions."""

    engine: str = "auto"
    n_rows: float = float("inf")
    """Rows to come, all in all: for few it does not pay to find out how a model works."""
    is_alone: bool = False
    """Whether each sequence has one mutant or two, so that its own pass is most of the work."""
    width: int = 1
    """Most neighbouring letters that change."""
    needs_gradients: bool = False
    """Whether the gradients of the sequences themselves are wanted as well."""


class Draws(Protocol):
    """What is drawn for some sequences, like them; by number, the seed and each sequence's letters alone."""

    def noise(self, number: int) -> AnyArray:
        """Return a standard normal number for every letter, and zeros for other channels."""

    def mutants(self, number: int, rate: float) -> AnyArray:
        """Return the sequences with about a share `rate` of the letters replaced by others."""

    def shuffled(self, kind: str, number: int) -> AnyArray:
        """Return the sequences with their letters in another order; `kind` is "mono" or "dinucleotide"."""


class Shapes(Enum):
    """Which numbers of rows a model takes at no cost."""

    ANY = "any"
    FEW = "few"
    """Each but a single row, and each may be compiled when it first comes."""
    ONE = "one"


class Framework(NamedTuple):
    """What a framework does; arrays are its own, but for rows and results, which are of the user's kind."""

    enter: Callable[[AnyArray], AnyArray]
    """Rows of the input or of an argument, as an array where the model is."""
    gradients: Step
    leave: Callable[[AnyArray], AnyArray]
    """An array, its own or one of those that entered or were fetched, as a result."""
    read: Callable[[AnyArray], Array]
    """Such an array as a NumPy array."""
    add: Callable[[AnyArray | None, AnyArray, float], AnyArray] = _add
    """From a sum (None at first), a gradient and a weight to the sum with the gradient, in place if possible."""
    memory: Memory = Memory()
    substitute: Callable[[AnyArray, tuple[Array, ...], Array, Layout], AnyArray] | None = None
    """Writes letters into new rows: rows, the place of each as indices of the axes of positions, letters, layout. None
    where arrays cannot be written to."""
    empty: Callable[[tuple[int, ...], AnyArray], AnyArray] | None = None
    """Makes an array of a shape, without values and otherwise like another; None where arrays cannot be written to."""
    has_path: Callable[..., bool] | None = None
    """Whether a gradient that is zero, of inputs, arguments, positions and number of the target, is computed at all;
    None if `gradients` raises where it is not."""
    refer: "Callable[[AnyArray, tuple[AnyArray, ...], Positions, Wish], Substitutions | None] | None" = None
    """Runs sequences, for substitutions in them; None where whole passes do as well, or nothing else is known."""
    shapes: Callable[[], Shapes] = lambda: Shapes.FEW
    """Finds out which numbers of rows the model takes at no cost."""
    see: Callable[[AnyArray], Array] | None = None
    """Sees an array, its own or the user's, as NumPy does, on the same memory; None where that cannot be. Then all but
    the model is NumPy's, since a framework takes tens of microseconds for each of many small operations."""
    runs_ahead: bool = False
    """Whether gradients are computed while Python goes on."""
    fetch: Callable[[Arrays], Callable[[], Arrays]] = stay
    """Begins to bring arrays to where `leave` and `read` need not wait for them; what is returned waits for that."""
    draw: Callable[[AnyArray, Layout, int], Draws | None] | None = None
    """Draws for sequences, with a seed, where they are; None, also as its result, if that is done on the host."""


class ReadyModel:
    """A model made ready for what is asked of it; what a framework makes for it is made once.

    Parameters
    ----------
    request : Request
        What is asked.
    make : callable
        Makes the functions of the framework for a request, which may be for the other strand, or for values alone.
    optimization : dict, optional
        What was done to run the model faster, as scans record it.
    """

    def __init__(
        self, request: Request, make: Callable[[Request], Framework], optimization: dict[str, Any] | None = None
    ) -> None:
        keep_freed_memory()
        self.request, self.optimization = request, optimization
        self._make = make
        self._made: dict[tuple[bool, bool], Framework] = {}

    def take_profiles(self, profiles: Sequence[Taken]) -> None:
        """Let the model's values be followed by more of its output, see `Request.profiles`; before it is first run."""
        strand = self.request.strand
        if isinstance(strand, Strand):
            axes = tuple({*strand.track_axes, *(axis for taken in profiles for axis in track_axes(taken.take))})
            strand = replace(strand, track_axes=axes)
        self.request = self.request._replace(profiles=tuple(profiles), strand=strand)

    @cached_property
    def framework(self) -> Framework:
        """What the framework does for the request itself."""
        return self._framework(is_reverse=False, forward_only=False)

    @cached_property
    def batches(self) -> Batches:
        """How many rows the model takes at a time, which lasts as long as the model is ready."""
        return Batches(self.request.batch_size, self.framework.memory, self.request.layout.shape[1:])

    def _framework(self, is_reverse: bool, forward_only: bool) -> Framework:
        key = is_reverse, forward_only
        if key not in self._made:
            self._made[key] = self._make(self.request._replace(is_reverse=is_reverse, forward_only=forward_only))
        return self._made[key]

    def run(
        self, x: AnyArray, arguments: tuple[AnyArray, ...] = (), positions: Positions | None = None,
        forward_only: bool = False,
    ) -> Iterator[Seen]:  # fmt: skip
        """Yield what the model makes of rows in every view, strands and shifts; results are means over them."""
        request, n_rows = self.request, len(x)
        for view in request.views:
            framework = self._framework(view.is_reverse and request.strand is not None, forward_only)
            inputs = view.show(x, request.layout), arguments, positions or [None] * len(request.targets)
            values, grads = framework.gradients(*inputs)
            n_values = len(values[0])
            if n_values != n_rows:
                raise ValueError(
                    f"the model returned {n_values} rows for {n_rows} sequences; let it return one for each"
                )
            yield Seen(view, values, grads, inputs)

    def refer(
        self, x: AnyArray, arguments: tuple[AnyArray, ...], positions: Positions, wish: Wish
    ) -> Substitutions | None:
        """Run the model on sequences whose substitutions are wanted; None if those need whole passes."""
        if wish.engine == "full":
            return None
        if self.framework.refer is None:
            if wish.engine == "incremental":
                raise ValueError('engine="incremental" follows PyTorch models alone; leave it away, or pass "full"')
            return None
        return self.framework.refer(x, arguments, positions, wish)


class Group:
    """Some sequences on the device, with what is made of them once: codes, draws, the last reference."""

    def __init__(self, request: Request, rows: slice, x: AnyArray, framework: Framework, source: AnyArray) -> None:
        self.request, self.rows, self.x, self._source = request, rows, x, source
        self.size = int(rows.stop - rows.start)
        self._framework = framework
        self._reference: tuple[int, Any, Any] = -1, None, None

    def array(self, array: Array) -> AnyArray:
        """Turn a NumPy array, or one of the user's, into one like x."""
        return find_backend(X=self.x).XP.asarray(self._framework.enter(array), self.x)

    def near(self, array: AnyArray) -> AnyArray:
        """See an array of the framework as one like x."""
        see = self._framework.see
        return array if see is None else see(array)

    @cached_property
    def host(self) -> Array:
        """The sequences as a NumPy array, read where they came from."""
        source = self._source
        return source if isinstance(source, np.ndarray) else np.asarray(self._framework.read(source))

    @cached_property
    def codes(self) -> Array:
        return self.request.layout.codes(self.host)[0]

    @cached_property
    def draws(self) -> Draws:
        """What is drawn at random for the sequences, where they are if that can be."""
        request, draw = self.request, self._framework.draw
        draws = None if draw is None else draw(self.x, request.layout, request.seed)
        if draws is not None:
            return draws
        from ._draws import HostDraws

        return HostDraws(self.host, self.codes, request.layout, request.seed, self.array)

    def reference(self, find: "FindReference", number: int) -> tuple[AnyArray, AnyArray]:
        """Return a reference, and what leads from it to the sequence; kept, since the steps of a path follow it."""
        if self._reference[0] != number:
            reference = find(self, number)
            self._reference = number, reference, self.x - reference
        return self._reference[1:]


FindReference = Callable[[Group, int], AnyArray]
"""Returns the reference of a group with a number."""


class Found(NamedTuple):
    """What a method found for a group of sequences, for each target."""

    maps: Arrays
    predictions: Arrays
    deltas: Arrays
    values: Arrays
    """Of each sequence in the last batch, for `Checks`."""
    inputs: tuple[Any, ...] = ()
    """Of the last batch."""


class Work(NamedTuple):
    """A group of sequences, and the model on rows made of it; no more than a batch are to be run at a time."""

    group: Group
    model: ReadyModel
    batch_size: int
    arguments: tuple[AnyArray, ...]
    positions: Positions
    advance: Callable[[int], None]
    """Tells the progress bar of so many rows."""

    def run(self, rows: AnyArray, index: Rows = slice(None), forward_only: bool = False) -> Iterator[Seen]:
        """Yield what the model makes of rows in every view, gradients mapped back; row k is of sequence index[k]."""
        places = index if isinstance(index, slice) or not self.arguments else self.model.framework.enter(index)
        arguments = tuple(take(array, places) for array in self.arguments)
        positions = [None if p is None else p[index] for p in self.positions]
        for seen in self.model.run(rows, arguments, positions, forward_only):
            self.advance(len(rows))
            yield seen._replace(grads=[seen.view.map_back(grad, self.group.request.layout) for grad in seen.grads])

    def predict(self, rows: AnyArray, index: Rows = slice(None)) -> Arrays:
        """Return the values of rows, the means over the views."""
        weight = 1 / len(self.group.request.views)
        totals: Arrays = [0.0] * len(self.positions)
        for seen in self.run(rows, index, forward_only=True):
            totals = [total + value * weight for total, value in zip(totals, seen.values, strict=True)]
        return totals


class Method(Protocol):
    """What is done with a group of sequences to attribute them."""

    @property
    def needs_gradients(self) -> bool:
        """Whether the maps are made of gradients."""

    @property
    def needs_one_hot(self) -> bool:
        """Whether input that is not one-hot is refused."""

    @property
    def mend(self) -> str:
        """What to do about input that is refused since it is not one-hot."""

    @property
    def extra(self) -> tuple[str, ...]:
        """Fields of AttributionMaps that there are beside those of every method."""

    @property
    def n_points(self) -> int:
        """Rows of each sequence that may share a batch."""

    def count_rows(self, request: Request) -> int:
        """Return how many rows the model sees for each sequence, in each view."""

    def run(self, work: Work) -> Found:
        """Attribute a group of sequences."""


def take(array: AnyArray, rows: Rows) -> AnyArray:
    """Return some rows of an array."""
    return array if isinstance(rows, slice) else find_backend(array=array).XP.take(array, rows, 0)

"""A model made ready once for many batches of codes: values, gradients at chosen positions, and whole maps."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import DTypeLike

from .. import sequences
from .._comparisons import Taken
from .._types import AnyArray, Array, Model
from ..backends import find_backend
from ._attempts import Batches
from ._engine import Prepare, find_fields
from ._layout import Layout, View
from ._methods import saliency, take
from ._options import Options
from ._ready import Arrays, Method, ReadyModel, Seen, Shapes, Substitutions, Wish
from ._request import PLAIN

N_ROWS = 1 << 20
"""Rows that a model is told to expect: many, so that what can be compiled is."""


class Mutants(NamedTuple):
    """Sequences with some neighbouring letters replaced."""

    sequence: Array
    """Which sequence each of them is of, int (k,)."""
    start: Array
    """The first position that is replaced, int (k,)."""
    codes: Array
    """What stands there, uint8 (k, width)."""


class Session:
    """A model made ready; codes go in, and numbers for single positions or maps of any method come out."""

    def __init__(self, model: ReadyModel, dtype: DTypeLike, *, takes_one_size: bool = False) -> None:
        self._model, self._request, self._framework, self._dtype = model, model.request, model.framework, dtype
        self.batches: Batches = model.batches
        """How many rows a batch has, which gets smaller when memory is exhausted, for all that follows."""
        self.n_targets = len(self._request.targets)
        """Number of values of a row."""
        self.length = self._request.layout.n_positions
        """Positions of a sequence."""
        self.engine = "full"
        """How substitutions are computed, of `choose_engine`."""
        self.engine_note = ""
        """The same in words, with the reason."""
        self._profile_bytes: int | None = None
        self.shapes = Shapes.ONE if takes_one_size else self._framework.shapes()
        """Which numbers of rows the model takes at no cost."""
        enter = self._framework.enter
        self._one, self._zero = enter(np.ones((), dtype)), enter(np.zeros((), dtype))
        self.device = str(self._one.device)
        """Where the model is."""
        self.is_on_host = find_backend(one=self._one).is_on_host(self._one)
        """Whether NumPy sees the memory there."""

    @property
    def optimization(self) -> dict[str, Any] | None:
        """What was done to run the model faster, if that was asked for."""
        return self._model.optimization

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        return self.batches.size

    def filled_size(self, part: slice, n_rows: int) -> int:
        """Return how many rows to show the model for a part of `n_rows`: as many whatever fails, for equal bits.

        That is the batch that the part belongs to, the last of which is smaller; where sizes are compiled, a whole one,
        or a power of two for fewer rows in all.
        """
        size = self.batches.size
        if self.shapes is Shapes.ANY:
            return self.batches.whole(part, n_rows)
        if self.shapes is Shapes.ONE or n_rows > size:
            return size
        return min(size, 1 << max(n_rows - 1, 1).bit_length())

    def values(self, codes: Array) -> Array:
        """Return the targets' values of some sequences, shape (n, T), means over strands and shifts.

        Parameters
        ----------
        codes : array of uint8, shape (n, L)
            A C G T = 0..3, anything else unknown: no letter is 1 there.
        """
        return self.start_values(codes)()

    def columns(self, codes: Array, rows: Array, positions: Array) -> tuple[Array, Array]:
        """Return values (n, T), and gradients at chosen positions, shape (T, k, 4), A C G T.

        Parameters
        ----------
        codes
            See `values`.
        rows, positions : arrays of int, shape (k,)
            Which sequences, and which of their positions.
        """
        return self.start_columns(codes, rows, positions)()

    def method(self, name: str, options: Mapping[str, Any]) -> Method:
        """Return an attribution method of the hooks with options of its own, for `maps`."""
        X = np.broadcast_to(np.zeros((), self._dtype), self._request.layout.shape)
        method, rest = take(name, X, options)
        if rest:
            raise TypeError(f"there is no option {next(iter(rest))!r} of {name}; leave it away")
        return method

    def count_rows(self, method: Method) -> int:
        """Return how many rows the model sees for each sequence."""
        return method.count_rows(self._request) * len(self._request.views)

    def maps(
        self, codes: Array, method: Method, fields: Sequence[str] = (PLAIN,), thresholds: Sequence[float] = ()
    ) -> dict[str, Array]:
        """Return fields of some sequences, shaped (n, T, ...), and "prediction", (n, T).

        Parameters
        ----------
        codes
            See `values`.
        method
            Of `method`. Batches that exhaust the memory are halved, for all later calls as well.
        fields : sequence of str
            "uncorrected", "corrected" maps, "angle_summary": shares of angles above `thresholds` (degrees), mean and
            standard deviation, (n, T, thresholds + 2). They are computed where the model is.
        thresholds : sequence of float
        """
        layout = self._request.layout
        request = self._request._replace(
            layout=layout._replace(shape=(len(codes), *layout.shape[1:])),
            fields=(*fields, "prediction"),
            thresholds=tuple(thresholds),
        )
        return find_fields(self._model, request, codes, method, self._one_hot)

    def start_values(self, codes: Array) -> Callable[[], Array]:
        """Begin to compute `values`; what is returned waits for them, so that a device can be given more to do."""
        finish = self.start_values_and_profiles(codes)
        return lambda: finish()[0]

    def start_values_and_profiles(self, codes: Array) -> Callable[[], tuple[Array, Arrays]]:
        """Begin to compute `values`, and the profiles that the session was opened for, see `_profiles_of`."""
        profiles = list[Arrays]()
        seen = self._without_profiles(self._model.run(self._one_hot(codes), forward_only=True), profiles)
        wait = self._framework.fetch([value for each in seen for value in each.values])
        return lambda: (self._mean(wait()), self._profiles_of(profiles))

    def start_columns(self, codes: Array, rows: Array, positions: Array) -> Callable[[], tuple[Array, Array]]:
        """Begin to compute `columns`; see `start_values`."""
        finish = self.start_columns_and_profiles(codes, rows, positions)
        return lambda: finish()[:2]

    def start_columns_and_profiles(
        self, codes: Array, rows: Array, positions: Array
    ) -> Callable[[], tuple[Array, Array, Arrays]]:
        """Begin to compute `columns`, and profiles, see `start_values_and_profiles`."""
        x, places, profiles = self._one_hot(codes), self._places(len(codes), rows, positions), list[Arrays]()
        wait = self._framework.fetch(self._columns(self._without_profiles(self._model.run(x), profiles), places))
        return lambda: (*self._read_columns(wait(), rows, positions), self._profiles_of(profiles))

    def _without_profiles(self, run: Iterable[Seen], profiles: list[Arrays]) -> Iterator[Seen]:
        """Yield what was seen in each view, whose profiles are put aside: they stay where they are."""
        for seen in run:
            profiles.append(seen.values[self.n_targets :])
            yield seen._replace(values=seen.values[: self.n_targets])

    def choose_engine(self, engine: str, n_rows: float, *, is_alone: bool) -> str:
        """Return "incremental" if substitutions are computed by what they change, "full" if by whole passes.

        `engine` is what is asked for, see `hooks.torch.saturation_mutagenesis`, and `n_rows` how many are to come;
        for `is_alone` see `Wish`.
        """
        codes = np.random.default_rng(1).integers(0, 4, (2, self.length)).astype(np.uint8)
        found = self._refer(codes, Wish(engine, n_rows, is_alone))
        self.engine = "full" if found is None else "incremental"
        note = getattr(self._framework.refer, "reason", None) if found is None else found.note
        self.engine_note = f"{self.engine}{(note and f' ({note})') or ''}"
        return self.engine

    def start_substitutions(
        self, codes: Array, rows: Array, positions: Array, mutants: Mutants, *, needs_gradients: bool
    ) -> Callable[[], tuple[Array, Array, Array]]:
        """Begin to compute `columns` of some sequences, and values of mutants of them, (k, T).

        Parameters
        ----------
        codes, rows, positions
            See `columns`; without gradients there are none.
        mutants : Mutants
        needs_gradients : bool
            Whether columns are wanted.
        """
        wish = Wish("incremental", width=mutants.codes.shape[1], needs_gradients=needs_gradients)
        places = self._places(len(codes), rows, positions)
        found = self._refer(codes, wish)
        assert found is not None  # as `choose_engine` has found out
        wild_types = self._columns(found.seen, places) if needs_gradients else list(found.values)
        wait = self._framework.fetch([*wild_types, *found.run(mutants.sequence, mutants.start, mutants.codes)])

        def finish() -> tuple[Array, Array, Array]:
            arrays = wait()
            first, values = arrays[: -self.n_targets], self._mean(arrays[-self.n_targets :])
            if needs_gradients:
                return *self._read_columns(first, rows, positions), values
            return self._mean(first), np.empty((self.n_targets, 0, 4)), values

        return finish

    def _refer(self, codes: Array, wish: Wish) -> Substitutions | None:
        return self._model.refer(self._one_hot(codes), (), [None] * self.n_targets, wish)

    def _places(self, n_rows: int, rows: Array, positions: Array) -> AnyArray:
        """Bring to the model where letters at some positions lie in the gradients of each view, (views, 4 k or more).

        That is done before the model runs: a copy after it would wait for it.
        """
        layout = self._request.layout
        shape = n_rows, *layout.shape[1:]
        filled = np.zeros((len(self._request.views), _filled(rows)), np.int32 if np.prod(shape) < 2**31 else np.int64)
        for view, flat in zip(self._request.views, filled, strict=True):
            places = [rows[:, None], _seen_at(positions, view, layout)[0][:, None]]
            places.insert(layout.axis, np.arange(4)[None])
            flat[: 4 * len(rows)] = np.ravel_multi_index(np.broadcast_arrays(*places), shape).reshape(-1)
        return self._framework.enter(filled)

    def _columns(self, run: Iterable[Seen], places: AnyArray) -> Arrays:
        """Return the values of every view, and then the letters at some places of its gradients."""
        values, columns = Arrays(), Arrays()
        for seen, own in zip(run, places, strict=True):
            values += seen.values
            for grad in seen.grads:
                xp = find_backend(grad=grad).XP
                columns.append(xp.take(xp.reshape(grad, (-1,)), own, 0))
        return values + columns

    def _read_columns(self, arrays: Arrays, rows: Array, positions: Array) -> tuple[Array, Array]:
        """Read what `_columns` returned: means of the values, (n, T), and of the letters, (T, k, 4)."""
        views, read = self._request.views, self._framework.read
        middle = len(views) * self.n_targets
        total = np.zeros((self.n_targets, len(rows), 4))
        for k, view in enumerate(views):
            columns = arrays[middle + k * self.n_targets :][: self.n_targets]
            letters = np.stack([read(array)[: 4 * len(rows)].reshape(-1, 4) for array in columns])
            is_inside = _seen_at(positions, view, self._request.layout)[1]
            total += np.where(is_inside[:, None], letters[..., ::-1] if view.is_reverse else letters, 0.0)
        return self._mean(arrays[:middle]), total / len(views)

    def _mean(self, values: Arrays) -> Array:
        """Read the values of every view, those of all targets side by side, and take their means, (n, T)."""
        read, n_targets = self._framework.read, self.n_targets
        by_view = [values[first : first + n_targets] for first in range(0, len(values), n_targets)]
        views = [np.stack([read(value) for value in own], 1).astype(np.float64) for own in by_view]
        mean: Array = np.mean(views, axis=0)
        return mean

    def _profiles_of(self, by_view: list[Arrays]) -> Arrays:
        """Return the profiles of every view as means over the views, float64 where the model is.

        Where that is the host, or an array library has no float64 there, they are NumPy arrays.
        """
        if not by_view[0]:
            return []
        found, is_near = [], self.is_on_host or self._double is None
        for number in range(len(by_view[0])):
            views = [values[number] for values in by_view]
            if is_near:
                found.append(np.mean([np.asarray(self._framework.read(view), np.float64) for view in views], axis=0))
            else:
                asarray = find_backend(view=views[0]).XP.asarray
                found.append(sum(asarray(view, self._double) for view in views) / len(views))
        self._profile_bytes = sum(8 * math.prod(map(int, profile.shape[1:])) for profile in found)
        return found

    def near_profiles(self, numbers: AnyArray) -> Array:
        """Read numbers that were made of profiles."""
        return numbers if isinstance(numbers, np.ndarray) else np.asarray(self._framework.read(numbers))

    @cached_property
    def _double(self) -> AnyArray | None:
        """A number of float64 where the model is, None if its library has none there."""
        try:
            double = self._framework.enter(np.zeros((), np.float64))
        except TypeError:  # as of PyTorch on Apple's GPUs
            return None
        return double if find_backend(double=double).dtype_name(double) == "float64" else None

    @property
    def profile_bytes(self) -> int:
        """What the profiles of a sequence take in memory; if none was seen yet, some are."""
        if self._profile_bytes is None:
            self.values(np.random.default_rng(2).integers(0, 4, (self.batch_size, self.length)).astype(np.uint8))
        return self._profile_bytes or 0

    def _one_hot(self, codes: Array) -> AnyArray:
        """Make one-hot sequences where the model is; to another device, a byte a position is brought."""
        axis, n_axes, enter = self._request.layout.axis, codes.ndim + 1, self._framework.enter
        if self.is_on_host:
            return enter(sequences.one_hot(codes, self._dtype, axis))
        device_codes = enter(codes)
        xp = find_backend(codes=device_codes).XP
        spread = device_codes[tuple(None if k == axis else slice(None) for k in range(n_axes))]
        return xp.where(spread == self._letters, self._one, self._zero)

    @cached_property
    def _letters(self) -> AnyArray:
        """The codes of the letters along their axis, where the model is."""
        axis = self._request.layout.axis
        return self._framework.enter(np.arange(4, dtype=np.uint8).reshape([4 if k == axis else 1 for k in range(3)]))


def _filled(rows: Array) -> int:
    """Return how many places are gathered for some rows: JAX compiles that for every number anew."""
    return 1 << (4 * len(rows)).bit_length()


def _seen_at(positions: Array, view: View, layout: Layout) -> tuple[Array, Array]:
    """Return where a view shows positions of the sequence, and whether it shows them at all."""
    length = layout.n_positions
    where = (length - 1 - positions if view.is_reverse else positions) + view.shift
    return where.clip(0, length - 1), (where >= 0) & (where < length)


@contextmanager
def open_session(
    model: Model, framework: str, *, length: int, dtype: DTypeLike = np.float32, args: Any = None,
    takes_one_size: bool = False, profiles: Sequence[Taken] = (), **options: Unpack[Options],
) -> Iterator[Session]:  # fmt: skip
    """Make a model ready, and put it back at the end.

    Parameters
    ----------
    model
        See the hooks of the framework.
    framework : "torch", "tensorflow", "jax" or "keras"
        Whose model it is.
    length : int
        Positions of its input.
    dtype : NumPy dtype
        Of its input.
    args : tuple or dict, optional
        Further inputs of the model, which are the same for all sequences.
    takes_one_size : bool
        Whether the model takes batches of one size only, which is then `batch_size`.
    profiles : sequence of comparisons.Taken
        What else is taken of the model's output, see `Request.profiles`.
    options
        See `hooks.torch.saliency`; `targets` must be given, `axis` is 1 for PyTorch by default and otherwise -1.
    """
    options.setdefault("axis", 1 if framework == "torch" else -1)
    codes = np.random.default_rng(0).integers(0, 4, (1, length)).astype(np.uint8)
    example = sequences.one_hot(codes, dtype, options["axis"])
    X = np.broadcast_to(example, (N_ROWS, *example.shape[1:]))
    with _prepare_for(model, framework)(model, X, args, saliency(), options) as ready:
        ready.take_profiles(profiles)
        yield Session(ready, dtype, takes_one_size=takes_one_size)


def _prepare_for(model: Model, framework: str) -> Prepare:
    if framework == "keras":
        from . import keras

        framework = keras.backend(model)
    if framework == "torch":
        from .torch import _running

        return _running.prepare
    if framework == "jax":
        from . import jax

        return jax.prepare
    from . import tensorflow

    return tensorflow.prepare

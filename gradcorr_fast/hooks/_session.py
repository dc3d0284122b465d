"""A model made ready once for many batches of codes: values, gradients at chosen positions, and whole maps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Unpack

import numpy as np

from .. import sequences
from .._types import Array
from ..backends import find_backend
from . import _methods, _mutagenesis
from ._engine import Framework, Make, Memory, find_fields
from ._layout import Layout, View
from ._options import Options
from ._request import PLAIN, Request

N_ROWS = 1 << 20
"""Rows that a model is told to expect: many, so that what can be compiled is."""


class Session:
    """A model made ready; codes go in, and numbers for single positions or maps of any method come out."""

    def __init__(self, request: Request, make: Make, dtype: Any) -> None:
        self._request, self._make = request, make
        self.batch_size = request.batch_size
        """Rows of a batch; it gets smaller when memory is exhausted, for all that follows."""
        self._dtype = dtype
        self._made: dict[tuple[bool, bool], Framework] = {}
        enter = self._framework(False, False).enter
        self._one, self._zero = enter(np.ones((), dtype)), enter(np.zeros((), dtype))

    @property
    def n_targets(self) -> int:
        """Number of values of a row."""
        return len(self._request.targets)

    @property
    def length(self) -> int:
        """Positions of a sequence."""
        return self._request.layout.n_positions

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(self._one.device)

    @property
    def memory(self) -> Memory:
        """How the framework says that memory is exhausted."""
        return self._framework(False, False).memory

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

    def method(self, name: str, options: Mapping[str, Any]) -> _methods.Method | None:
        """Return an attribution method of the hooks with options of its own, for `maps`; None is mutagenesis."""
        X = np.broadcast_to(np.zeros((), self._dtype), self._request.layout.shape)
        method, rest = _methods.take(name, X, options)
        if rest:
            raise TypeError(f"there is no option {next(iter(rest))!r} of {name}; leave it away")
        return method

    def maps(self, codes: Array, method: _methods.Method | None) -> tuple[Array, Array]:
        """Return the maps of some sequences before the correction, shaped (n, T, ...), and values (n, T).

        Parameters
        ----------
        codes
            See `values`.
        method
            Of `method`. Batches that exhaust the memory are halved, for all later calls as well.
        """
        layout = self._request.layout
        X = sequences.one_hot(codes, self._dtype, layout.axis)
        request = self._request._replace(
            layout=layout._replace(shape=X.shape), batch_size=self.batch_size, fields=(PLAIN, "prediction")
        )

        def make(wanted: Request) -> Framework:
            return self._framework(wanted.is_reverse, wanted.forward_only)

        found = find_fields(request, X, make, *_mutagenesis.choose(request, method), self.shrink)
        return found[PLAIN], found["prediction"]

    def shrink(self, batch_size: int) -> None:
        """Take batches of fewer rows from now on."""
        self.batch_size = batch_size

    def start_values(self, codes: Array) -> Callable[[], Array]:
        """Begin to compute `values`; what is returned waits for them, so that a device can be given more to do."""
        found = [values for _, values, _ in self._run(codes, forward_only=True)]
        return lambda: self._mean(found)

    def start_columns(self, codes: Array, rows: Array, positions: Array) -> Callable[[], tuple[Array, Array]]:
        """Begin to compute `columns`; see `start_values`."""
        layout = self._request.layout
        found, columns = [], []
        for view, values, grads in self._run(codes, forward_only=False):
            where, is_inside = _seen_at(positions, view, layout)
            found.append(values)
            columns.append((view.is_reverse, is_inside, [self._gather(grad, rows, where) for grad in grads]))

        def finish() -> tuple[Array, Array]:
            total = np.zeros((self.n_targets, len(rows), 4))
            for is_reverse, is_inside, gathered in columns:
                letters = np.stack([self._read(array)[: 4 * len(rows)].reshape(-1, 4) for array in gathered])
                total += np.where(is_inside[:, None], letters[..., ::-1] if is_reverse else letters, 0.0)
            return self._mean(found), total / len(columns)

        return finish

    def _mean(self, found: list[list[Any]]) -> Array:
        """Read the values of every view, and take their means, (n, T)."""
        views = [np.stack([self._read(value) for value in values], 1).astype(np.float64) for values in found]
        mean: Array = np.mean(views, axis=0)
        return mean

    def _read(self, array: Any) -> Array:
        numbers: Array = self._framework(False, False).read(array)
        return numbers

    def _framework(self, is_reverse: bool, forward_only: bool) -> Framework:
        key = is_reverse, forward_only
        if key not in self._made:
            self._made[key] = self._make(self._request._replace(is_reverse=is_reverse, forward_only=forward_only))
        return self._made[key]

    def _run(self, codes: Array, forward_only: bool) -> Iterator[tuple[View, list[Any], list[Any]]]:
        """Yield for every view the values of each target, and the gradients of the input that the model saw."""
        request = self._request
        x = self._one_hot(codes)
        for view in request.views:
            framework = self._framework(view.is_reverse and request.strand is not None, forward_only)
            yield view, *framework.gradients(view.show(x, request.layout), (), [None] * self.n_targets)

    def _one_hot(self, codes: Array) -> Any:
        """Make one-hot sequences where the model is; to another device, a byte a position is brought."""
        axis, n_axes, enter = self._request.layout.axis, codes.ndim + 1, self._framework(False, False).enter
        if find_backend(one=self._one).is_on_host(self._one):
            return enter(sequences.one_hot(codes, self._dtype, axis))
        device_codes = enter(codes)
        xp = find_backend(codes=device_codes).XP
        letters = xp.asarray(np.arange(4).reshape([4 if k == axis else 1 for k in range(n_axes)]), device_codes)
        spread = device_codes[tuple(None if k == axis else slice(None) for k in range(n_axes))]
        return xp.where(spread == letters, self._one, self._zero)

    def _gather(self, grad: Any, rows: Array, positions: Array) -> Any:
        """Return the letters of a gradient at some positions of some rows, (4 k,) and others behind."""
        places = [rows[:, None], positions[:, None]]
        places.insert(self._request.layout.axis, np.arange(4)[None])
        flat = np.ravel_multi_index(np.broadcast_arrays(*places), tuple(grad.shape)).reshape(-1)
        filled = np.zeros(1 << int(flat.size).bit_length(), np.int64)  # JAX compiles this for every size anew
        filled[: flat.size] = flat
        xp = find_backend(grad=grad).XP
        return xp.take(xp.reshape(grad, (-1,)), filled, 0)


def _seen_at(positions: Array, view: View, layout: Layout) -> tuple[Array, Array]:
    """Return where a view shows positions of the sequence, and whether it shows them at all."""
    length = layout.n_positions
    where = (length - 1 - positions if view.is_reverse else positions) + view.shift
    return where.clip(0, length - 1), (where >= 0) & (where < length)


@contextmanager
def open_session(
    model: Any, framework: str, *, length: int, dtype: Any = np.float32, **options: Unpack[Options]
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
    options
        See `hooks.torch.saliency`; `targets` must be given, `axis` is 1 for PyTorch by default and otherwise -1.
    """
    if framework == "keras":
        from . import keras

        name = keras.backend(model)
        options.setdefault("axis", -1)
    else:
        name = framework
        options.setdefault("axis", 1 if framework == "torch" else -1)
    hooks: Any = import_module(".torch._running" if name == "torch" else f".{name}", __package__)
    codes = np.random.default_rng(0).integers(0, 4, (1, length)).astype(np.uint8)
    example = sequences.one_hot(codes, dtype, options["axis"])
    X = np.broadcast_to(example, (N_ROWS, *example.shape[1:]))
    with hooks.opened(model, X, None, _methods.saliency(), options) as (request, make):
        yield Session(request, make, dtype)

"""What is done when a model fails: smaller batches where memory is exhausted, smaller parts where rows are at fault.

`attempt` runs a model on parts of its rows and yields what came of each; `Ahead`, in front of it, begins a part before
the one before has ended.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from .._types import Array
from .._warn import warn

Result = TypeVar("Result")
Cut = Callable[[slice], Iterator[slice]]
"""Cuts rows into parts, each when it is asked for."""


class Memory(NamedTuple):
    """How a framework says that memory is exhausted."""

    errors: tuple[type[Exception], ...] = (MemoryError,)
    is_exhausted: Callable[[Exception], bool] = lambda error: True
    """Whether such an error does say that."""
    describe: Callable[[Exception], str] = str
    """How much was needed."""
    release: Callable[[], None] = lambda: None
    """Gives back what is kept for later."""


class Batches:
    """Most rows in a model at a time: halved for good when memory is exhausted, which is told once a size fits."""

    def __init__(self, size: int, memory: Memory, shape: tuple[int, ...] = ()) -> None:
        self.size = self._told = size
        self.memory, self._shape = memory, shape

    def smaller(self, size: int) -> "Batches":
        """Return batches of at most so many rows."""
        return Batches(min(size, self.size), self.memory, self._shape)

    def cut(self, rows: slice) -> Iterator[slice]:
        """Yield parts of as many rows as a batch has then."""
        start = rows.start
        while start < rows.stop:
            part = slice(start, min(start + self.size, rows.stop))
            yield part
            start = part.stop

    def whole(self, part: slice, n_rows: int) -> int:
        """Return how many rows the batch has, of `n_rows` in all, that a part is or was cut from after a failure."""
        start: int = part.start - part.start % self.size
        return max(int(part.stop - part.start), min(self.size, n_rows - start))

    def halve(self, n_rows: int, error: Exception) -> None:
        """Take half of the rows that exhausted the memory from now on, or raise an error if it was one alone."""
        n_rows = min(self.size, n_rows)
        if n_rows < 2:
            raise MemoryError(
                f"one row of shape {self._shape} does not fit in memory: {self.memory.describe(error)}; shorten the "
                f"sequences, or use a device with more memory"
            ) from error
        self.size = n_rows // 2

    def tell(self) -> None:
        """Say which size fits, if it is not known yet."""
        before, self._told = self._told, self.size
        if self.size < before:
            warn(
                f"memory was exhausted with batches of {before} rows, and {self.size} fit; batches have {self.size} "
                f"rows from now on, pass that as the batch size to save the attempts"
            )


class Failure(NamedTuple):
    """What came of one row on which the model failed."""

    reason: str


class _Exhausted:
    """What came of a part that exhausted the memory; batches are smaller now."""


def attempt(
    rows: slice, run: Callable[[slice], Result], batches: Batches, *, cut: Cut | None = None,
    count: Callable[[slice], int] | None = None, check: Callable[[], object] | None = None,
) -> Iterator[tuple[slice, Result | Failure]]:  # fmt: skip
    """Run a model on parts of rows, in their order, and yield each part with what came of it.

    Where memory is exhausted, batches are halved and the part is cut anew. Any other error is raised, or with `check`
    traced to single rows by halves, so that a row on which the model fails costs no other.

    Parameters
    ----------
    rows : slice
        Numbers of the rows.
    run : callable
        Runs the model on a part.
    batches : Batches
        Their size, which lasts beyond this call.
    cut : callable, optional
        Cuts rows into parts that suit the size of batches; by default each part is a batch.
    count : callable, optional
        Tells how many rows of the model a part makes, where they may be fewer than a batch has.
    check : callable, optional
        Runs the model on rows that are good. If that fails too, the model fails on everything, which is an error.
    """
    for part in (cut or batches.cut)(rows):
        outcome = _try(run, part, batches, count, is_raised=check is None)
        if isinstance(outcome, _Exhausted):  # not in the handler of the error, which keeps all frames with their arrays
            batches.memory.release()
            yield from attempt(part, run, batches, cut=cut, count=count, check=check)
        elif isinstance(outcome, Failure) and check is not None:
            _check_model(check)
            if part.stop - part.start == 1:
                yield part, outcome
                continue
            for half in _halves(part, batches.size):
                yield from attempt(half, run, batches, cut=cut, count=count, check=_checked)
        else:
            batches.tell()
            yield part, outcome


def _try(
    run: Callable[[slice], Result], part: slice, batches: Batches, count: Callable[[slice], int] | None, is_raised: bool
) -> Result | Failure | _Exhausted:
    try:
        return run(part)
    except Exception as error:  # a model may raise anything
        if isinstance(error, batches.memory.errors) and batches.memory.is_exhausted(error):
            batches.halve(batches.size if count is None else count(part), error)
            return _Exhausted()
        if is_raised or isinstance(error, MemoryError):
            raise
        return Failure(reason_of(error))


def _check_model(check: Callable[[], object]) -> None:
    try:
        check()
    except Exception as error:
        raise RuntimeError(f"the model fails on every sequence, also on random ones ({reason_of(error)})") from error


def _checked() -> None:
    """The model does not fail on everything, as was found out."""


def _halves(rows: slice, batch_size: int) -> tuple[slice, slice]:
    """Cut rows in the middle, between batches if there are several."""
    n_rows = rows.stop - rows.start
    n_first = (n_rows + 1) // 2
    if n_rows > batch_size:
        n_first = -(-n_first // batch_size) * batch_size
    middle = rows.start + n_first
    return slice(rows.start, middle), slice(middle, rows.stop)


def reason_of(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


class Ahead(Generic[Result]):
    """Runs batches of rows in their order: a batch is read and begun before the last one is waited for.

    A part that is no whole batch, as after a failure, runs alone; so does again what failed beside another batch. Rows
    are read between two batches rather than by a thread: that takes microseconds, and a thread would take the
    interpreter from the many small calls of a model, and a core from its threads.

    Parameters
    ----------
    read : callable
        Returns the rows of a part.
    begin : callable
        Sets the model to work on a part with its rows; what it returns waits for the results.
    batches : Batches
        Their size.
    n_rows : int
        Rows there are.
    """

    def __init__(
        self, read: Callable[[slice], Array], begin: Callable[[slice, Array], Callable[[], Result]],
        batches: Batches, n_rows: int,
    ) -> None:  # fmt: skip
        self._read, self._begin, self._batches, self._n_rows = read, begin, batches, n_rows
        self._rows: tuple[slice, Array] | None = None
        self._begun: tuple[slice, Callable[[], Result]] | None = None

    def cut(self, rows: slice) -> Iterator[slice]:
        """Yield parts of rows once they are read, for `attempt`: what goes wrong there is no fault of the model."""
        for part in self._batches.cut(rows):
            if self._begun is None or self._begun[0] != part:
                self._rows_of(part)
            yield part

    def __call__(self, part: slice) -> Result:
        """Return what the model makes of a part."""
        wait = self._take(part)
        for following in self._following(part):
            self._begun = self._start_early(following)
        try:
            return wait()
        except Exception:  # of the model, perhaps for want of the memory that the other batch has
            if self._begun is None:
                raise
        del wait  # with what it holds on the device, as the other does
        self._begun = None
        return self._start(part)()

    def _take(self, part: slice) -> Callable[[], Result]:
        """Return what waits for a part, which may have been begun; if another was, that is dropped."""
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == part:
            return begun[1]
        del begun
        return self._start(part)

    def _start(self, part: slice) -> Callable[[], Result]:
        return self._begin(part, self._rows_of(part))

    def _rows_of(self, part: slice) -> Array:
        """Return the rows of a part, which are kept until others are read."""
        if self._rows is None or self._rows[0] != part:
            self._rows = part, self._read(part)
        return self._rows[1]

    def _start_early(self, part: slice) -> tuple[slice, Callable[[], Result]] | None:
        try:
            return part, self._start(part)
        except Exception:  # noqa: BLE001  (it is raised when it is the part's turn, if it is then)
            return None

    def _following(self, part: slice) -> Iterator[slice]:
        """The part that is expected after one, if it is a whole batch."""
        is_whole = part.stop - part.start == self._batches.size
        return islice(self._batches.cut(slice(part.stop, self._n_rows)), 1 if is_whole else 0)

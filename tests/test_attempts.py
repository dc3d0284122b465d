"""What is done when a model fails: batches halved, rows at fault found, batches begun ahead and tried again alone."""

import gc
import re
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gradcorr_fast.hooks._attempts import Ahead, Batches, Failure, Memory, attempt

N = 21
PARTS = list[tuple[int, int]]


class Limited:
    """Doubles rows; runs out of memory above a number of them, and fails on some rows."""

    def __init__(self, n_fit: int = N, bad: tuple[int, ...] = ()) -> None:
        self.n_fit, self.bad = n_fit, bad
        self.tried: PARTS = []

    def __call__(self, part: slice) -> Any:
        self.tried.append((part.start, part.stop))
        rows = np.arange(part.start, part.stop)
        if len(rows) > self.n_fit:
            raise MemoryError(f"{8 * len(rows)} bytes")
        if np.isin(rows, self.bad).any():
            raise ValueError("cannot digest\nthis")
        return 2 * rows


def whole(rows: slice) -> Iterator[slice]:
    yield rows


def check() -> None:
    """A model that works."""


def gather(attempts: Any) -> tuple[Any, dict[int, str]]:
    """Results of all rows, -1 where there is none, and why."""
    found, reasons, last = np.full(N, -1), {}, 0
    for part, outcome in attempts:
        assert part.start == last
        last = part.stop
        if isinstance(outcome, Failure):
            reasons[part.start] = outcome.reason
        else:
            found[part] = outcome
    assert last == N
    return found, reasons


@pytest.mark.filterwarnings("ignore:memory was exhausted")
@pytest.mark.parametrize("n_fit", [1, 2, 3, 7, 8, 20])
@pytest.mark.parametrize("size", [1, 5, 8, 21])
def test_rows_are_run_once_in_batches_that_fit(size: int, n_fit: int) -> None:
    model, batches = Limited(n_fit), Batches(size, Memory())
    found, _ = gather(attempt(slice(0, N), model, batches))
    np.testing.assert_array_equal(found, 2 * np.arange(N))
    refused = [stop - start for start, stop in model.tried if stop - start > n_fit]
    assert refused == sorted(set(refused), reverse=True)
    assert n_fit / 2 <= batches.size <= n_fit or batches.size == size


def test_a_size_that_fits_lasts_and_is_told_once() -> None:
    model, batches = Limited(3), Batches(16, Memory())
    with pytest.warns(UserWarning, match="exhausted with batches of 16 rows, and 2 fit; .* 2 rows from now on") as told:
        gather(attempt(slice(0, N), model, batches))
    assert len(told) == 1
    model.tried.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gather(attempt(slice(0, N), model, batches))
    assert len(model.tried) == 11


def test_fewer_rows_than_a_batch_has_are_halved_themselves() -> None:
    model, batches = Limited(5), Batches(1000, Memory())
    with pytest.warns(UserWarning, match="and 5 fit"):
        gather(attempt(slice(0, N), model, batches, count=lambda part: part.stop - part.start))
    assert model.tried[:3] == [(0, 21), (0, 10), (0, 5)]


def test_one_row_that_does_not_fit_says_what_was_needed() -> None:
    batches = Batches(8, Memory(describe=lambda error: f"{error} were needed"), shape=(4, 6))
    with pytest.raises(MemoryError, match=re.escape("one row of shape (4, 6) does not fit in memory: 8 bytes were")):
        gather(attempt(slice(0, N), Limited(0), batches, check=check))


@pytest.mark.parametrize("cut", [None, whole])
@pytest.mark.parametrize("bad", [(0,), (20,), (6, 7), (0, 9, 20), tuple(range(N))])
def test_rows_at_fault_cost_no_others(bad: tuple[int, ...], cut: Any) -> None:
    model = Limited(bad=bad)
    found, reasons = gather(attempt(slice(0, N), model, Batches(4, Memory()), cut=cut, check=check))
    np.testing.assert_array_equal(found, np.where(np.isin(np.arange(N), bad), -1, 2 * np.arange(N)))
    assert reasons == dict.fromkeys(bad, "ValueError: cannot digest")


def test_halves_are_cut_between_batches() -> None:
    model = Limited(bad=(20,))
    gather(attempt(slice(0, N), model, Batches(4, Memory()), cut=whole, check=check))
    assert model.tried == [(0, 21), (0, 12), (12, 21), (12, 20), (20, 21)]


@pytest.mark.filterwarnings("ignore:memory was exhausted")
def test_memory_that_ends_among_rows_at_fault_is_no_fault_of_theirs() -> None:
    model = Limited(n_fit=3, bad=(2, 15))
    found, reasons = gather(attempt(slice(0, N), model, Batches(8, Memory()), check=check))
    assert list(reasons) == [2, 15]
    assert list(np.flatnonzero(found < 0)) == [2, 15]


def test_without_a_check_errors_are_raised_at_once() -> None:
    model = Limited(bad=(6,))
    with pytest.raises(ValueError, match="cannot digest"):
        gather(attempt(slice(0, N), model, Batches(4, Memory())))
    assert model.tried == [(0, 4), (4, 8)]


def test_a_model_that_fails_on_everything_is_an_error() -> None:
    model = Limited(bad=tuple(range(4, N)))

    def fail() -> None:
        raise ValueError("cannot digest\nthis")

    with pytest.raises(RuntimeError, match=r"also on random ones \(ValueError: cannot digest\)$"):
        gather(attempt(slice(0, N), model, Batches(4, Memory()), check=fail))
    assert model.tried == [(0, 4), (4, 8)]


class Big:
    """What takes memory."""


@pytest.mark.filterwarnings("ignore:memory was exhausted")
@pytest.mark.parametrize("error", [MemoryError, ValueError])
def test_what_a_failed_attempt_held_is_gone_before_the_next(error: type[Exception]) -> None:
    """Retries inside of the handler kept the frames of the error, and with them all arrays that had not fitted."""
    held: list[weakref.ref[Big]] = []

    def run(part: slice) -> Any:
        assert all(reference() is None for reference in held)
        if part.stop - part.start > 2:
            big = Big()
            held.append(weakref.ref(big))
            raise error
        return 2 * np.arange(part.start, part.stop)

    gc.disable()
    try:
        found, _ = gather(attempt(slice(0, N), run, Batches(8, Memory()), check=check))
    finally:
        gc.enable()
    np.testing.assert_array_equal(found, 2 * np.arange(N))
    assert held


class Device:
    """Works on what was begun when it is waited for; knows how many rows it has at a time, and fails as it is told."""

    def __init__(self, n_fit: int = 1000, bad: tuple[int, ...] = (), fails_late: bool = True) -> None:
        self.n_fit, self.bad, self.fails_late = n_fit, bad, fails_late
        self.n_pending = 0
        self.log: list[str] = []

    def read(self, part: slice) -> Any:
        return np.arange(part.start, part.stop)

    def begin(self, part: slice, rows: Any) -> Callable[[], Any]:
        self.log.append(f"begin {part.start}")
        pending = _Pending(self, len(rows))
        if not self.fails_late:
            self.judge(rows)

        def wait() -> Any:
            self.log.append(f"wait {part.start}")
            self.judge(rows)
            pending.end()
            return 2 * rows

        return wait

    def judge(self, rows: Any) -> None:
        if self.n_pending > self.n_fit:
            raise MemoryError
        if np.isin(rows, self.bad).any():
            raise ValueError("cannot digest")


class _Pending:
    """Rows on the device, until they are done or dropped."""

    def __init__(self, device: Device, n_rows: int) -> None:
        self._device, self._n_rows = device, n_rows
        device.n_pending += n_rows

    def end(self) -> None:
        self._device.n_pending -= self._n_rows
        self._n_rows = 0

    def __del__(self) -> None:
        self.end()


def run_ahead(device: Device, batches: Batches) -> tuple[Any, dict[int, str]]:
    run = Ahead(device.read, device.begin, batches, N)
    return gather(attempt(slice(0, N), run, batches, cut=run.cut, check=check))


def test_a_batch_is_begun_before_the_one_before_is_waited_for() -> None:
    device = Device()
    found, _ = run_ahead(device, Batches(8, Memory()))
    np.testing.assert_array_equal(found, 2 * np.arange(N))
    assert device.log == ["begin 0", "begin 8", "wait 0", "begin 16", "wait 8", "wait 16"]


@pytest.mark.parametrize("fails_late", [True, False])
@pytest.mark.parametrize("bad", [(0,), (20,), (3, 12), (8, 9)])
def test_rows_at_fault_cost_no_others_also_when_they_were_begun_ahead(bad: tuple[int, ...], fails_late: bool) -> None:
    found, reasons = run_ahead(Device(bad=bad, fails_late=fails_late), Batches(8, Memory()))
    assert list(reasons) == list(bad)
    np.testing.assert_array_equal(np.flatnonzero(found < 0), bad)


@pytest.mark.parametrize("first", [0, 8, 16])
def test_rows_that_cannot_be_read_are_no_failure_of_the_model(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()

    def read(part: slice) -> Any:
        if part.start == first:
            raise OSError("the disk is gone")
        return np.arange(part.start, part.stop)

    monkeypatch.setattr(device, "read", read)
    with pytest.raises(OSError, match="the disk is gone"):
        run_ahead(device, Batches(8, Memory()))
    assert f"wait {first}" not in device.log


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fails_late", [True, False])
def test_a_batch_that_does_not_fit_beside_another_is_tried_alone(fails_late: bool) -> None:
    """Batches were halved for good although each of them fitted, but not two."""
    batches = Batches(8, Memory())
    found, _ = run_ahead(Device(n_fit=8, fails_late=fails_late), batches)
    np.testing.assert_array_equal(found, 2 * np.arange(N))
    assert batches.size == 8


@pytest.mark.parametrize("fails_late", [True, False])
@pytest.mark.parametrize("n_fit", [1, 3, 5, 7])
def test_a_batch_that_does_not_fit_alone_is_halved(n_fit: int, fails_late: bool) -> None:
    batches = Batches(8, Memory())
    with pytest.warns(UserWarning, match="memory was exhausted with batches of 8 rows"):
        found, _ = run_ahead(Device(n_fit, fails_late=fails_late), batches)
    np.testing.assert_array_equal(found, 2 * np.arange(N))
    assert n_fit / 2 <= batches.size <= n_fit

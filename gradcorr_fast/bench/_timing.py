"""Times several ways of doing the same work in turn; ratios are taken within one round, with their interval.

The machine's speed wanders from second to second, so a ratio is formed from neighbouring calls and the median taken.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

Call = Callable[[], Any]
LEAST = 5  # rounds
SHORTEST = 2e-4  # seconds under one reading of the clock: shorter calls are repeated


class Device(Protocol):
    """A device with a queue: events are put between calls, and the host waits once, at the end."""

    def event(self) -> Any:
        """Put an event into the queue; ``a.elapsed_time(b)`` are milliseconds between two of them."""

    def synchronize(self) -> None:
        """Wait for all that is in the queue."""


class Clock(NamedTuple):
    """How calls on a device are timed."""

    device: Device | None = None
    """With events; without, the host's clock is read and `wait` called on each result."""
    wait: Callable[[Any], Any] = lambda result: result
    """Returns when a result is there."""


def measure(clock: Clock, calls: Sequence[Call], rounds: int, seconds: float) -> list[list[float]]:
    """Return the seconds of each call, in turn for so many rounds, fewer (but LEAST) where they take longer."""
    for call in calls:
        clock.wait(call())
    if clock.device is not None:
        clock.device.synchronize()
    once = [_once(clock, call) for call in calls]
    repeats = [max(1, min(1_000, math.ceil(SHORTEST / max(each, 1e-9)))) for each in once]
    long = sum(each * n for each, n in zip(once, repeats, strict=True))
    rounds = max(LEAST, min(rounds, int(seconds / max(long, 1e-9))))
    repeated = [_repeated(call, n) for call, n in zip(calls, repeats, strict=True)]
    if clock.device is not None:
        times = turns(clock.device, repeated, rounds)
    else:
        times = [[] for _ in calls]
        for k in range(rounds):
            for number in in_turn(len(calls), k):
                times[number].append(_once(clock, repeated[number]))
    return [[value / n for value in column] for column, n in zip(times, repeats, strict=True)]


def _once(clock: Clock, call: Call) -> float:
    start = time.perf_counter()
    result = call()
    clock.wait(result)
    if clock.device is not None:
        clock.device.synchronize()
    stop = time.perf_counter()
    del result  # after the clock has stopped
    return stop - start


def _repeated(call: Call, n: int) -> Call:
    if n == 1:
        return call

    def several() -> Any:
        for _ in range(n - 1):
            call()
        return call()

    return several


def in_turn(n: int, k: int) -> range:
    """Order of the k-th round: every second one goes backwards, so that no call always follows the same one."""
    return range(n) if k % 2 == 0 else range(n - 1, -1, -1)


def turns(device: Device, calls: Sequence[Call], rounds: int) -> list[list[float]]:
    """Seconds of each call, in turn for so many rounds, timed by events on the stream.

    Nothing waits in between: the device always has the next call in its queue, and the host's time stays out of the
    numbers. The first call is made once more before the first event, to give the host a start.
    """
    for call in [*calls] * 2:
        call()
    device.synchronize()
    calls[0]()
    marks = []
    for k in range(rounds):
        start = device.event()
        for number in in_turn(len(calls), k):
            result = calls[number]()
            stop = device.event()
            marks.append((number, start, stop))
            start = stop
            del result
    device.synchronize()
    times: list[list[float]] = [[] for _ in calls]
    for number, start, stop in marks:
        times[number].append(start.elapsed_time(stop) / 1e3)
    return times


def host_seconds(clock: Clock, call: Call, n: int = 50) -> float:
    """Median time until a call returns, whether or not the device has done the work."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
        clock.wait(result)
    if clock.device is not None:
        clock.device.synchronize()
    return float(np.median(times))


def compare(ours: list[float], others: list[float]) -> dict[str, float]:
    """Median of the ratios other / ours with its 95 % interval, and the median seconds of both."""
    ratios = np.divide(others, ours)
    low, high = median_interval(ratios)
    return {
        "median_ratio": float(np.median(ratios)),
        "low": low,
        "high": high,
        "seconds": float(np.median(ours)),
        "provider_seconds": float(np.median(others)),
    }


def median_interval(values: Any, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of the median from order statistics: each value is above the true median with probability 1/2."""
    ordered = np.sort(values)
    n, tail, rank = len(ordered), 0.5 ** len(ordered), 0
    while rank + 1 <= (n - 1) // 2 and tail <= (1 - confidence) / 2:
        rank += 1
        tail += math.comb(n, rank) * 0.5**n
    rank = max(rank, 1)
    return float(ordered[rank - 1]), float(ordered[n - rank])

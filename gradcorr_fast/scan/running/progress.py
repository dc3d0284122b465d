"""Progress of a scan on stderr: a line that is written over in a terminal, a line now and then in a log."""

import sys
import time

TERMINAL_SECONDS, LOG_SECONDS = 0.5, 30.0


class Progress:
    """Tells how many alleles or regions are done, how fast, and when the rest will be.

    Parameters
    ----------
    total : int
        Of the whole scan.
    done : int
        Of earlier runs, which do not count for the rate.
    what : str
        What is counted.
    hidden : bool
        Whether nothing is shown.
    """

    def __init__(self, total: int, done: int = 0, what: str = "alleles", *, hidden: bool = False) -> None:
        self._total, self._before, self._done, self._what = total, done, float(done), what
        self._hidden, self._is_terminal = hidden, sys.stderr.isatty()
        self._start = self._shown = time.monotonic()

    def advance(self, n: float) -> None:
        """Tell of so many more."""
        self._done += n
        now = time.monotonic()
        if not self._hidden and now - self._shown >= (TERMINAL_SECONDS if self._is_terminal else LOG_SECONDS):
            self._shown = now
            self._show(now)

    def finish(self) -> None:
        """Show the end."""
        if not self._hidden and self._done > self._before:
            self._show(time.monotonic())
            sys.stderr.write("\n" if self._is_terminal else "")

    def _show(self, now: float) -> None:
        rate = (self._done - self._before) / max(now - self._start, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        text = (
            f"{self._done:,.0f} of {self._total:,} {self._what} ({self._done / max(self._total, 1):.1%}), "
            f"{rate:,.0f}/s, {show_seconds(left)} left"
        )
        sys.stderr.write(f"\r{text:<78}" if self._is_terminal else f"{text}\n")
        sys.stderr.flush()


def show_seconds(seconds: float) -> str:
    """Write a duration for people.

    Examples
    --------
    >>> show_seconds(75), show_seconds(7500)
    ('1 min 15 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

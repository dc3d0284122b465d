"""Two files of results, of two machines or two versions: what changed by more than the noise."""

import math
from typing import NamedTuple

from ._results import Results, key_of
from ._tables import Row, describe_names, describe_run, lay_out

CHANCE = 0.05
"""Share of unchanged rows whose 95 % interval leaves out 1."""


class Change(NamedTuple):
    """How many times as fast B is as A in a row."""

    row: Row
    ratio: float
    low: float
    high: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.low > 1 or self.high < 1


class Comparison(NamedTuple):
    """What `compare` returns.

    Attributes
    ----------
    changes : list of Change
        For each case of both: `row` of A, `ratio`, how many times as fast B is, with `low` and `high`.
    only_in_a, only_in_b : int
        Cases of one of them.
    by_limit : bool
        Whether rows with a copy were compared as shares of it, as on one machine, where that takes the wander of the
        machine's speed out.
    """

    a: Results
    b: Results
    changes: list[Change]
    only_in_a: int
    only_in_b: int
    by_limit: bool

    def table(self) -> str:
        """Return what the command prints."""
        lines = [f"A: {describe_run(self.a.machine)}", f"B: {describe_run(self.b.machine)}"]
        if self.by_limit:
            lines.append("One machine: operations are compared as shares of the copy that was measured beside them.")
        beyond = [change for change in self.changes if change.is_beyond_noise]
        if beyond:
            beyond.sort(key=lambda change: change.ratio)
            rows = [[*describe_names(c.row), f"{c.ratio:.2f}", f"{c.low:.2f} to {c.high:.2f}"] for c in beyond]
            columns = ["library", "device", "operation", "layout", "dtype", "sequences", "bp", "B is", "95 %"]
            lines += ["", lay_out(columns, rows)]
        slower = sum(change.ratio < 1 for change in beyond)
        lines += [
            "",
            f"Of {len(self.changes)} cases in both, B is faster in {len(beyond) - slower} and slower in {slower} "
            f"by more than the noise of a run; by chance about {CHANCE * len(self.changes):.0f} would be.",
        ]
        if self.only_in_a or self.only_in_b:
            lines.append(f"Not compared: {self.only_in_a} cases only in A, {self.only_in_b} only in B.")
        return "\n".join(lines)


def compare(a: Results, b: Results) -> Comparison:
    """Compare two runs, case by case.

    Parameters
    ----------
    a, b : Results
        Of two machines, or of one with two versions; see `load`.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If they have no case in common.

    Notes
    -----
    The interval of a ratio of two medians comes from theirs, as if logarithms were normal: half widths are added as
    squares. It knows the noise within a run, not what differs from run to run, such as where memory lies.
    """
    of_a, of_b = (_measured(results) for results in (a, b))
    both = [key for key in of_a if key in of_b]
    if not both:
        raise ValueError(
            "the two have no case in common, and other sizes cannot be compared; run both with the same plan, "
            "lengths and devices"
        )
    by_limit = _place(a) == _place(b)
    changes = [_change(of_a[key], of_b[key], by_limit) for key in both]
    return Comparison(a, b, changes, len(of_a) - len(both), len(of_b) - len(both), by_limit)


def _measured(results: Results) -> dict[tuple[object, ...], Row]:
    return {key_of(row): row for row in results.rows if "ours" in row["measured"]}


def _place(results: Results) -> tuple[object, ...]:
    devices = {device: card.get("name") for device, card in results.machine.get("devices", {}).items()}
    return results.machine["processor"], results.machine.get("threads"), sorted(devices.items())


def _change(a: Row, b: Row, by_limit: bool) -> Change:
    if by_limit and "share" in a and "share" in b:
        (before, *interval_before), (after, *interval_after) = a["share"], b["share"]
    else:  # times, so the other way round
        after, *interval_after = (a["measured"]["ours"][name] for name in ("seconds", "low", "high"))
        before, *interval_before = (b["measured"]["ours"][name] for name in ("seconds", "low", "high"))
    half = [math.log(high / low) / 2 for low, high in (interval_before, interval_after)]
    ratio, wide = after / before, math.exp(math.hypot(*half))
    return Change(a, ratio, ratio / wide, ratio * wide)

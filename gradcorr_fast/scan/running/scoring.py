"""From placed alleles to scores: one gradient of each reference window, one forward pass of each alternative."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ... import ops
from ..._types import Array
from ...hooks._attempts import Ahead, Failure, attempt
from ...hooks._session import Session
from ..results.tables import SCORES
from .failures import NOT_FINITE, random_codes

Result = TypeVar("Result")

FROM_GRADIENT = frozenset(("taylor", "grad_times_input", "angle"))
FROM_ALTERNATIVE = frozenset(("alt_score", "delta"))
Cut = Callable[[Array, str, str], Array]
"""From numbers of rows, "ref" or "alt", and the side that the window of an indel follows, to codes (n, length)."""

Begin: TypeAlias = Callable[[slice, Array], Callable[[], Result]]
"""Sets the model to work on the codes of a part; what it returns waits for the results."""


class Scored(NamedTuple):
    """What was found for some alleles."""

    scores: dict[str, Array]
    """Each score asked for, (n, T) float32, NaN where there is none."""
    has_failed: Array
    """Where the model raised or returned what is not finite, bool (n,)."""
    reasons: Counter[str]
    """Why, with the number of sequences."""
    agreement: Array
    """Of exact (y) and first-order (x) differences, for each target: n, sums of x, y, xx, yy, xy; (T, 6)."""


class Changes(NamedTuple):
    """Positions at which alleles as long as their reference differ from it, one entry for each, by window."""

    row: Array
    window: Array
    """Number of the reference window."""
    position: Array
    """In the window."""
    ref: Array
    alt: Array


def score(
    session: Session, rows: pa.Table, cut: Cut, scores: Sequence[str], *, top: int | None = None,
    flank: str = "right", advance: Callable[[float], None] = lambda n: None,
) -> Scored:  # fmt: skip
    """Score placed alleles; what was not asked for is not computed.

    Parameters
    ----------
    session : Session
        A model made ready.
    rows : pa.Table
        Alleles with status "ok", as `place` returns them.
    cut : callable
        Cuts their windows.
    scores : sequence of str
        Some of `SCORES`.
    top : int, optional
        Alternatives of each reference window that are scored exactly: those with the largest first-order effect, and
        those that have none, indels. By default all.
    flank : "right" or "both"
        "both" averages the exact scores of an indel over windows that follow the reference to either side.
    advance : callable
        Is told of alleles that are done, in parts.
    """
    wanted = set(scores) | ({"taylor"} if top is not None else set())
    n = rows.num_rows
    found = {name: np.full((n, session.n_targets), np.nan) for name in SCORES}
    group, first = _group_windows(rows)
    n_seen = (len(first) if wanted - {"alt_score"} else 0) + (n if wanted & FROM_ALTERNATIVE else 0)
    runner = _Runner(session, lambda seen: advance(n * seen / n_seen))
    has_failed = np.zeros(n, bool)
    if wanted - {"alt_score"}:
        changes = _find_changes(rows, group) if wanted & FROM_GRADIENT else None
        values, columns = runner.references(len(first), lambda part: cut(first[part], "ref", "right"), changes)
        found["ref_score"] = values[group]
        has_failed |= ~np.isfinite(values[group]).all(1)
        if changes is not None:
            found |= _first_order(changes, columns, n)
            np.logical_or.at(has_failed, changes.row, ~np.isfinite(columns).all((0, 2)))
    if wanted & FROM_ALTERNATIVE:
        chosen = np.flatnonzero(~has_failed & _is_chosen(group, found["taylor"], top))
        values = runner.values(len(chosen), lambda part: cut(chosen[part], "alt", "right"))
        if flank == "both":
            indels = np.flatnonzero(_is_indel(rows)[chosen])
            others = runner.values(len(indels), lambda part: cut(chosen[indels[part]], "alt", "left"))
            values[indels] = (values[indels] + others) / 2
        found["alt_score"][chosen] = values
        found["delta"] = found["alt_score"] - found["ref_score"]
        has_failed[chosen] |= ~np.isfinite(values).all(1)
    kept = {name: np.where(has_failed[:, None], np.nan, found[name]).astype(np.float32) for name in scores}
    return Scored(kept, has_failed, runner.reasons, _agreement(found["taylor"], found["delta"], has_failed))


def _group_windows(rows: pa.Table) -> tuple[Array, Array]:
    """Return the number of each row's reference window, and a row of each window, in the order of the genome."""
    contigs = rows["chrom"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    keys = (contigs.astype(np.int64) << 40) + rows["window_start"].to_numpy()
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return group, first


def _is_indel(rows: pa.Table) -> Array:
    ref, alt = (pc.binary_length(rows[name]).to_numpy() for name in ("norm_ref", "norm_alt"))
    is_indel: Array = ref != alt
    return is_indel


def _find_changes(rows: pa.Table, group: Array) -> Changes:
    offsets = rows["norm_pos"].to_numpy() - 1 - rows["window_start"].to_numpy()
    alleles = zip(rows["norm_ref"].to_pylist(), rows["norm_alt"].to_pylist(), strict=True)
    found = [
        (row, group[row], offsets[row] + k, "ACGT".index(a), "ACGT".index(b))
        for row, (ref, alt) in enumerate(alleles)
        if len(ref) == len(alt)
        for k, (a, b) in enumerate(zip(ref, alt, strict=True))
        if a != b
    ]
    numbers = np.array(found, np.int64).reshape(-1, 5)
    return Changes(*numbers[np.argsort(numbers[:, 1], kind="stable")].T)


def _first_order(changes: Changes, columns: Array, n: int) -> dict[str, Array]:
    """Sum first-order effects and grad-times-input over an allele's changes, and find its largest angle; (n, T)."""
    entry = np.arange(len(changes.row))
    corrected = ops.correct(columns)
    angles = ops.simplex_angle(columns)
    found = {name: np.full((n, len(columns)), np.nan) for name in FROM_GRADIENT}
    for name, numbers in (
        ("taylor", columns[:, entry, changes.alt] - columns[:, entry, changes.ref]),
        ("grad_times_input", corrected[:, entry, changes.ref]),
    ):
        found[name][changes.row] = 0
        np.add.at(found[name], changes.row, numbers.T)
    by_size = np.argsort(np.abs(angles), axis=1, kind="stable")
    for target, order in enumerate(by_size):  # the last one written is the largest
        found["angle"][changes.row[order], target] = angles[target, order]
    return found


def _is_chosen(group: Array, taylor: Array, top: int | None) -> Array:
    """Which alternatives are scored exactly: in each window the `top` largest, and all without a first-order effect."""
    if top is None:
        return np.ones(len(group), bool)
    size = np.abs(taylor).max(1)
    order = np.lexsort((-np.where(np.isnan(size), np.inf, size), group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    n_without = np.bincount(group, np.isnan(size), minlength=group.max(initial=-1) + 1)
    is_chosen: Array = np.isnan(size) | (rank < top + n_without[group])
    return is_chosen


def _agreement(taylor: Array, delta: Array, has_failed: Array) -> Array:
    both = np.isfinite(taylor) & np.isfinite(delta) & ~has_failed[:, None]
    x, y = (np.where(both, numbers, 0.0) for numbers in (taylor, delta))
    return np.stack([both.sum(0), x.sum(0), y.sum(0), (x * x).sum(0), (y * y).sum(0), (x * y).sum(0)], 1)


class _Runner:
    """Runs the model on batches of one shape, and counts the rows on which it fails."""

    def __init__(self, session: Session, advance: Callable[[int], object]) -> None:
        self._session, self._advance = session, advance
        self.reasons: Counter[str] = Counter()

    def values(self, n: int, cut: Callable[[slice], Array]) -> Array:
        """Return the values of sequences, (n, T); NaN where the model fails."""
        values = np.full((n, self._session.n_targets), np.nan)

        def begin(part: slice, codes: Array) -> Callable[[], Array]:
            return self._session.start_values(codes)

        for part, found in self._run(n, cut, begin):
            values[part] = self._keep(found, part)
        return values

    def references(self, n: int, cut: Callable[[slice], Array], changes: Changes | None) -> tuple[Array, Array]:
        """Return values (n, T) and the gradients (T, k, 4) at changed positions; NaN where the model fails."""
        if changes is None:
            return self.values(n, cut), np.empty((0, 0, 4))
        values = np.full((n, self._session.n_targets), np.nan)
        columns = np.full((self._session.n_targets, len(changes.row), 4), np.nan)

        def entries(part: slice) -> slice:
            return slice(*np.searchsorted(changes.window, (part.start, part.stop)))

        def begin(part: slice, codes: Array) -> Callable[[], tuple[Array, Array]]:
            here = entries(part)
            return self._session.start_columns(codes, changes.window[here] - part.start, changes.position[here])

        for part, (found, at_changes) in self._run(n, cut, begin):
            columns[:, entries(part)] = at_changes
            values[part] = self._keep(found, part)
        return values, columns

    def _run(self, n: int, cut: Callable[[slice], Array], begin: Begin[Result]) -> Iterator[tuple[slice, Result]]:
        """Yield what the model makes of all rows but those on which it fails."""
        session = self._session

        def begin_filled(part: slice, codes: Array) -> Callable[[], Result]:
            # the last row is repeated, so that all batches have one shape
            return begin(part, codes[np.minimum(np.arange(session.batches.size), len(codes) - 1)])

        def check() -> Array:
            return session.values(random_codes(session.batches.size, session.length))

        with Ahead(cut, begin_filled, session.batches, n) as run:
            for part, outcome in attempt(slice(0, n), run, session.batches, cut=run.cut, check=check):
                if isinstance(outcome, Failure):
                    self.reasons[outcome.reason] += 1
                else:
                    yield part, outcome
                self._advance(part.stop - part.start)

    def _keep(self, values: Array, part: slice) -> Array:
        """Return the values of the rows of a part, without those that only fill the batch."""
        kept = values[: part.stop - part.start]
        n_bad = int((~np.isfinite(kept)).any(1).sum())
        if n_bad:
            self.reasons[NOT_FINITE] += n_bad
        return kept

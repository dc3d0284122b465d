"""From placed alleles to scores: one gradient of each reference window, one forward pass of each alternative.

Every sequence that the model sees is a row of `Sequences`: the window of some allele, as the genome has it or with the
allele in it. Alleles as long as their reference are `Changes` of a window too: its number, positions and letters.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from ... import ops
from ..._types import AnyArray, Array
from ...hooks._attempts import Ahead, Failure, attempt
from ...hooks._session import Mutants, Session
from ..comparing.aligning import Place
from ..comparing.comparing import Comparing
from ..inputs.genome import Genome
from ..placing.windows import ALT, ALT_LEFT, REF, Windows
from ..results.tables import SCORES
from .failures import NOT_FINITE, random_codes

Result = TypeVar("Result")

FROM_GRADIENT = frozenset(("taylor", "grad_times_input", "angle"))
FROM_ALTERNATIVE = frozenset(("alt_score", "delta"))
WIDEST = 16
"""Neighbouring positions that an allele may change whose value is computed by what it changes."""
SUBSTITUTIONS = 1 << 14
"""Such alleles whose windows are kept in the model together."""

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
    compared: Array
    """Numbers of comparisons, (n, C) float32, NaN where there is none; see `Comparing.compare`."""


class Alleles:
    """Placed alleles with the windows that they share: what there is to run, before the model has seen any of it.

    Parameters
    ----------
    rows : pyarrow.Table
        Alleles with status "ok", as `place` returns them.
    genome : Genome
    length : int
        Of a window, in bp.
    """

    def __init__(self, rows: pa.Table, genome: Genome, length: int) -> None:
        self.windows = Windows(rows, genome, length)
        keys = (self.windows.contig.astype(np.int64) << 40) + self.windows.start
        _, self.first, self.group = np.unique(keys, return_index=True, return_inverse=True)
        """An allele of each reference window, in the order of the genome; and each allele's number of its window."""
        self.is_indel = self.windows.growth != 0

    def __len__(self) -> int:
        return len(self.group)

    def place(self, allele: Array, kind: Array) -> Place:
        """Return where alleles lie in their windows, each cut as its kind says."""
        windows = self.windows
        shift = np.where(kind == ALT_LEFT, windows.growth[allele], 0)
        return Place(windows.offset[allele], windows.ref.lengths[allele], windows.alt.lengths[allele], shift)

    def near(self, changes: "Changes") -> "Near":
        """Find the alleles as long as their reference that differ from it in few neighbouring positions, by window."""
        n = len(self)
        first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
        np.minimum.at(first, changes.row, changes.position)
        np.maximum.at(last, changes.row, changes.position)
        rows = np.flatnonzero((last >= 0) & (last - first < WIDEST))
        rows = rows[np.argsort(self.group[rows], kind="stable")]
        return Near(rows, self.group[rows], first[rows], last[rows] - first[rows] + 1)

    def changes(self) -> "Changes":
        """Find where alleles as long as their reference differ from it."""
        windows = self.windows
        same = np.flatnonzero(~self.is_indel)
        owner, number, ref = windows.ref.take(same).flat()
        alt = windows.alt.take(same).flat()[2]
        differ = np.flatnonzero(ref != alt)
        row = same[owner[differ]]
        group = self.group[row]
        changes = Changes(row, group, windows.offset[row] + number[differ], ref[differ], alt[differ])
        if (np.diff(group) < 0).any():
            order = np.argsort(group, kind="stable")
            changes = Changes(*(numbers[order] for numbers in changes))
        return changes


class Changes(NamedTuple):
    """Positions at which alleles as long as their reference differ from it, one entry for each, by window."""

    row: Array
    window: Array
    """Number of the reference window."""
    position: Array
    """In the window."""
    ref: Array
    alt: Array


class Near(NamedTuple):
    """Alleles that change few neighbouring positions of their window, by window."""

    row: Array
    window: Array
    start: Array
    """In the window."""
    width: Array


class Sequences(NamedTuple):
    """What the model is shown: windows of alleles, each as the genome has it or with the allele."""

    allele: Array
    kind: Array
    """`REF`, `ALT` or `ALT_LEFT`."""

    @classmethod
    def of(cls, references: Array, alternatives: Array, from_left: Array, group: Array) -> Self:
        """Mix them by their windows, `group`, so that what lies together in the genome is cut together."""
        allele = np.concatenate([references, alternatives, from_left])
        kind = np.repeat([REF, ALT, ALT_LEFT], [len(references), len(alternatives), len(from_left)])
        order = np.argsort(group[allele], kind="stable")
        return cls(allele[order], kind[order])


def score(
    session: Session, rows: pa.Table, genome: Genome, scores: Sequence[str], *, top: int | None = None,
    flank: str = "right", comparing: Comparing | None = None, advance: Callable[[float], None] = lambda n: None,
) -> Scored:  # fmt: skip
    """Score placed alleles; what was not asked for is not computed.

    Parameters
    ----------
    session : Session
        A model made ready.
    rows : pa.Table
        Alleles with status "ok", as `place` returns them.
    genome : Genome
        On which they were placed.
    scores : sequence of str
        Some of `SCORES`.
    top : int, optional
        Alternatives of each reference window that are scored exactly: those with the largest first-order effect, and
        those that have none, indels. By default all.
    flank : "right" or "both"
        "both" averages the exact scores of an indel over windows that follow the reference to either side.
    comparing : Comparing, optional
        What else is compared of both alleles.
    advance : callable
        Is told of alleles that are done, in parts.
    """
    alleles, n = Alleles(rows, genome, session.length), rows.num_rows
    wanted = set(scores) | ({"taylor"} if top is not None else set())
    needs_references = bool(wanted - {"alt_score"}) or comparing is not None
    needs_alternatives = bool(wanted & FROM_ALTERNATIVE) or comparing is not None
    found = {name: np.full((n, session.n_targets), np.nan) for name in SCORES}
    n_seen = len(alleles.first) * needs_references + n * needs_alternatives
    runner = _Runner(session, alleles, comparing, lambda seen: advance(n * seen / n_seen))
    is_near = np.zeros(n, bool)
    has_failed = np.zeros(n, bool)
    if wanted & FROM_GRADIENT or (session.engine == "incremental" and needs_references and needs_alternatives):
        changes = alleles.changes()
        if session.engine == "incremental" and needs_alternatives:
            near = alleles.near(changes)
            is_near[near.row] = True
            values, columns, found["alt_score"] = runner.substitutions(changes, near, bool(wanted & FROM_GRADIENT))
        else:
            values, columns = runner.gradients(changes)
        if wanted & FROM_GRADIENT:
            found |= _first_order(changes, columns, n)
            np.logical_or.at(has_failed, changes.row, ~np.isfinite(columns).all((0, 2)))
        found["ref_score"], needs_references = values[alleles.group], False
        has_failed |= ~np.isfinite(found["ref_score"]).all(1)
    elif comparing is not None:  # the references first, with whose outputs those of alternatives are compared
        values, needs_references = runner.values(Sequences(alleles.first, np.full(len(alleles.first), REF))), False
        found["ref_score"] = values[alleles.group]
        has_failed |= ~np.isfinite(found["ref_score"]).all(1)
    is_chosen = ~has_failed & _is_chosen(alleles.group, found["taylor"], top)
    compared = np.full((n, 0), np.nan)
    if needs_references or needs_alternatives:
        whole = np.flatnonzero(is_chosen & ~is_near & needs_alternatives)
        from_left = whole[alleles.is_indel[whole]] if flank == "both" else whole[:0]
        seen = Sequences.of(alleles.first if needs_references else whole[:0], whole, from_left, alleles.group)
        values = runner.values(seen)
        if needs_references:
            found["ref_score"] = values[seen.kind == REF][alleles.group]
            has_failed |= ~np.isfinite(found["ref_score"]).all(1)
        found["alt_score"][whole] = _mean_of_flanks(seen, values, n)[whole]
        if comparing is not None:
            compared = _mean_of_flanks(seen, runner.compared, n)
            from_right = _mean_of_flanks(*runner.of_kind(seen, ALT), n)
            compared[:, comparing.has_position] = from_right[:, comparing.has_position]
    if needs_alternatives:
        found["alt_score"][~is_chosen] = np.nan
        found["delta"] = found["alt_score"] - found["ref_score"]
        has_failed |= is_chosen & ~np.isfinite(found["alt_score"]).all(1)
    kept = {name: np.where(has_failed[:, None], np.nan, found[name]).astype(np.float32) for name in scores}
    compared = np.where(has_failed[:, None], np.nan, compared).astype(np.float32)
    return Scored(kept, has_failed, runner.reasons, _agreement(found["taylor"], found["delta"], has_failed), compared)


def _mean_of_flanks(seen: Sequences, values: Array, n: int) -> Array:
    """Return the values of alternatives by allele, (n, T), means where one was seen from either side; NaN for none."""
    found = np.full((n, values.shape[1]), np.nan)
    right, left = (np.flatnonzero(seen.kind == kind) for kind in (ALT, ALT_LEFT))
    found[seen.allele[right]] = values[right]
    found[seen.allele[left]] = (found[seen.allele[left]] + values[left]) / 2
    return found


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
    """Runs the model on batches of sequences, and counts those on which it fails."""

    def __init__(
        self, session: Session, alleles: Alleles, comparing: Comparing | None, advance: Callable[[int], object]
    ) -> None:
        self._session, self._alleles, self._comparing, self._advance = session, alleles, comparing, advance
        self.compared = np.empty((0, 0))
        """Numbers of comparisons for the sequences of the last `values`, (n, C)."""
        self.reasons: Counter[str] = Counter()

    def values(self, seen: Sequences) -> Array:
        """Return the values of sequences, (n, T); NaN where the model fails."""
        values = np.full((len(seen.allele), self._session.n_targets), np.nan)

        comparing = self._comparing
        n_compared = 0 if comparing is None else len(comparing.has_position)
        self.compared = np.full((len(values), n_compared), np.nan)

        def begin(part: slice, codes: Array) -> Callable[[], tuple[Array, list[AnyArray]]]:
            return self._session.start_values_and_profiles(codes)

        for part, (found, profiles) in self._run(seen, begin):
            values[part] = self._keep(found, part)
            if comparing is not None and (seen.kind[part] == REF).all():
                comparing.keep(part, profiles)
            elif comparing is not None:
                allele = seen.allele[part]
                place = self._alleles.place(allele, seen.kind[part])
                self.compared[part] = comparing.compare(self._alleles.group[allele], profiles, place)
        return values

    def of_kind(self, seen: Sequences, kind: int) -> tuple[Sequences, Array]:
        """Return the sequences of a kind, and their numbers of comparisons."""
        rows = np.flatnonzero(seen.kind == kind)
        return Sequences(seen.allele[rows], seen.kind[rows]), self.compared[rows]

    def gradients(self, changes: Changes) -> tuple[Array, Array]:
        """Return values of all reference windows (n, T) and the gradients (T, k, 4) at changed positions.

        Both are NaN where the model fails.
        """
        references = self._alleles.first
        values = np.full((len(references), self._session.n_targets), np.nan)
        columns = np.full((self._session.n_targets, len(changes.row), 4), np.nan)

        def entries(part: slice) -> slice:
            return slice(*np.searchsorted(changes.window, (part.start, part.stop)))

        def begin(part: slice, codes: Array) -> Callable[[], tuple[Array, Array, list[AnyArray]]]:
            here = entries(part)
            return self._session.start_columns_and_profiles(
                codes, changes.window[here] - part.start, changes.position[here]
            )

        seen = Sequences(references, np.full(len(references), REF))
        for part, (found, at_changes, profiles) in self._run(seen, begin):
            columns[:, entries(part)] = at_changes
            if self._comparing is not None:
                self._comparing.keep(part, profiles)
            values[part] = self._keep(found, part)
        return values, columns

    def substitutions(self, changes: Changes, near: Near, needs_gradients: bool) -> tuple[Array, Array, Array]:
        """Return what `gradients` does (columns if they are needed), and the values of alleles by what they change.

        The latter are (alleles, T), NaN for others than `near` and where the model fails.
        """
        session, references = self._session, self._alleles.first
        values, alternatives = (np.full((n, session.n_targets), np.nan) for n in (len(references), len(self._alleles)))
        columns = np.full((session.n_targets, len(changes.row) if needs_gradients else 0, 4), np.nan)
        entry = np.zeros(len(self._alleles), np.int64)

        def parts_of(window: Array, part: slice) -> slice:
            return slice(*np.searchsorted(window, (part.start, part.stop)))

        def begin(part: slice, codes: Array) -> Callable[[], tuple[Array, Array, Array]]:
            here, there = parts_of(changes.window, part), parts_of(near.window, part)
            rows, window = near.row[there], near.window[there] - part.start
            width = min(1 << int(near.width[there].max(initial=1) - 1).bit_length(), session.length)
            start = np.minimum(near.start[there], session.length - width)
            new = codes[window[:, None], start[:, None] + np.arange(width)]
            entry[rows] = np.arange(len(rows))
            is_near = np.isin(changes.row[here], rows)
            row, position, alt = (numbers[here][is_near] for numbers in (changes.row, changes.position, changes.alt))
            new[entry[row], position - start[entry[row]]] = alt
            at = changes.window[here] - part.start, changes.position[here]
            mutants = Mutants(window, start, new)
            return session.start_substitutions(codes, *at, mutants, needs_gradients=needs_gradients)

        n_together = max(1, SUBSTITUTIONS * len(references) // max(1, len(near.row)))
        for part, (found, at_changes, others) in self._run(
            Sequences(references, np.full(len(references), REF)), begin, n_together
        ):
            here, there = parts_of(changes.window, part), parts_of(near.window, part)
            if needs_gradients:
                columns[:, here] = at_changes
            values[part] = self._keep(found, part)
            alternatives[near.row[there]] = self._keep(others, slice(0, len(others)))
            self._advance(len(others))
        return values, columns, alternatives

    def _run(self, seen: Sequences, begin: Begin[Result], at_most: int | None = None) -> Iterator[tuple[slice, Result]]:
        """Yield what the model makes of all sequences but those on which it fails; `at_most` so many at a time."""
        session, n = self._session, len(seen.allele)
        batches = session.batches if at_most is None else session.batches.smaller(at_most)

        def cut(part: slice) -> Array:
            return self._alleles.windows.cut(seen.allele[part], seen.kind[part])

        def begin_filled(part: slice, codes: Array) -> Callable[[], Result]:
            # the last row is repeated, so that a batch has one shape whatever failed in it
            size = len(codes) if at_most is not None else session.filled_size(part, n)
            return begin(part, codes[np.minimum(np.arange(size), len(codes) - 1)] if len(codes) < size else codes)

        def check() -> Array:
            return session.values(random_codes(session.batches.size, session.length))

        run = Ahead(cut, begin_filled, batches, n)
        for part, outcome in attempt(slice(0, n), run, batches, cut=run.cut, check=check):
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

"""Outputs of references kept where the model is, and those of alternatives compared with them as they come."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._comparisons import Comparison, Pair, linear
from ..._types import AnyArray, Array
from ...backends import Namespace, find_backend
from ...hooks._session import Session
from .aligning import Bins, Place, chosen_bins, gather, realign

KEPT_BYTES = 1 << 28
"""Outputs of references that are kept together."""


def profiles_of(comparisons: Sequence[Comparison]) -> tuple[Any, ...]:
    """Return what comparisons take of an output, each once."""
    return tuple(dict.fromkeys(comparison.takes for comparison in comparisons))


class Comparing:
    """Comparisons of the alleles of some windows; the output of each reference is kept, and not computed again.

    Parameters
    ----------
    session : Session
        A model, opened for `profiles_of` the comparisons.
    comparisons : sequence of Comparison
    align : str or None
        How indels are aligned, of `aligning.ALIGNMENTS`.
    """

    def __init__(self, session: Session, comparisons: Sequence[Comparison], align: str | None) -> None:
        self._session, self.comparisons, self._align = session, tuple(comparisons), align
        self._takes = profiles_of(comparisons)
        self._parts: list[tuple[slice, list[AnyArray]]] = []
        self._kept: list[AnyArray] | None = None

    @property
    def has_position(self) -> Array:
        """Which of the numbers of `compare` are positions, bool (C,)."""
        return np.array([k > 0 for c in self.comparisons for k in range(1 + c.has_position)], bool)

    @property
    def windows_at_most(self) -> int:
        """References whose outputs are kept together."""
        return max(self._session.batch_size, KEPT_BYTES // max(self._session.profile_bytes, 1))

    def forget(self) -> None:
        """Drop all that is kept."""
        self._parts, self._kept = [], None

    def keep(self, windows: slice, profiles: list[AnyArray]) -> None:
        """Keep the outputs of some windows' references; rows beyond them fill a batch."""
        n = windows.stop - windows.start
        self._parts.append((windows, [profile[:n] for profile in profiles]))
        self._kept = None

    def _references(self) -> tuple[list[AnyArray], Array]:
        """Return all that is kept, and the number of the first window of each part."""
        if self._kept is None:
            self._parts.sort(key=lambda part: part[0].start)
            columns = list(zip(*(profiles for _, profiles in self._parts), strict=True))
            self._kept = [
                part[0] if len(part) == 1 else find_backend(part=part[0]).XP.concat(list(part), 0) for part in columns
            ]
            self._parts = [
                (windows, [profile[place] for profile in self._kept]) for windows, place in _places(self._parts)
            ]
        return self._kept, np.concatenate([np.arange(part.start, part.stop) for part, _ in self._parts])

    def compare(self, windows: Array, profiles: list[AnyArray], place: Place) -> Array:
        """Compare alternatives with the references of their windows.

        Parameters
        ----------
        windows : int array, shape (n,)
            Numbers of the windows.
        profiles : list of arrays, (m, ...)
            What was taken of the outputs of alternatives; rows beyond n fill a batch.
        place : Place
            Of the alleles, n.

        Returns
        -------
        float64 array, shape (n, C)
            The number of each comparison, and behind it its bin, counted from that of the variant, if it has one; NaN
            where there is none, or the reference's output is not kept, as the model failed on it.
        """
        found = np.full((len(windows), len(self.has_position)), np.nan)
        if not self._parts:
            return found
        kept, numbers = self._references()
        rows = np.searchsorted(numbers, windows).clip(0, len(numbers) - 1)
        is_kept = np.flatnonzero(numbers[rows] == windows)
        if not is_kept.size:
            return found
        is_all = len(is_kept) == len(windows)
        batch = _Batch(self._session, self._align, place if is_all else place.take(is_kept))
        xp = find_backend(profile=profiles[0]).XP
        for take, reference, profile in zip(self._takes, kept, profiles, strict=True):
            alt = profile[: len(windows)] if is_all else xp.take(profile, is_kept, 0)
            batch.outputs[take] = xp.take(reference, rows[is_kept], 0), alt
        found[is_kept] = batch.numbers(self.comparisons, xp)
        return found


def _places(parts: list[tuple[slice, list[AnyArray]]]) -> list[tuple[slice, slice]]:
    stops = np.cumsum([part.stop - part.start for part, _ in parts]).tolist()
    return [(part, slice(stop - (part.stop - part.start), stop)) for (part, _), stop in zip(parts, stops, strict=True)]


class _Batch:
    """Outputs of both alleles of a batch, and what is made of them once for all comparisons."""

    def __init__(self, session: Session, align: str | None, place: Place) -> None:
        self._session, self._align, self._place = session, align, place
        self.outputs: dict[Any, tuple[AnyArray, AnyArray]] = {}
        self._scaled: dict[Any, tuple[AnyArray, AnyArray]] = {}
        self._aligned: dict[Any, tuple[AnyArray, AnyArray, Array | None]] = {}
        self._pairs: dict[Any, tuple[Pair, Array | None]] = {}

    def numbers(self, comparisons: Sequence[Comparison], xp: Namespace) -> Array:
        """Return the numbers of all comparisons, (n, C), read at once."""
        found, columns = [], []
        for comparison in comparisons:
            pair, chosen = self._pair(comparison, xp)
            value, place = comparison.compare(pair)
            found.append(value)
            columns.append(None if place is None else (len(found), comparison, chosen, pair.ref.shape[-1]))
            if place is not None:
                found.append(xp.asarray(place, value))
        numbers = np.array(self._session.near_profiles(xp.stack(found, 1)), np.float64)
        for each in columns:
            if each is not None:
                at, comparison, chosen, n_tracks = each
                numbers[:, at] = self._position(numbers[:, at], comparison, chosen, int(n_tracks))
                numbers[np.isnan(numbers[:, at - 1]), at] = np.nan
        return numbers

    def _position(self, place: Array, comparison: Any, chosen: Array | None, n_tracks: int) -> Array:
        """Return bins counted from that of the variant."""
        number = place.astype(np.int64) // n_tracks
        if chosen is not None:
            number = np.take_along_axis(chosen, number[:, None], 1)[:, 0]
        position: Array = number - self._bins(comparison).at(self._place.offset)
        return position.astype(np.float64)

    def _bins(self, comparison: Any) -> Bins:
        n_bins = int(self.outputs[comparison.takes][0].shape[1])
        if n_bins * comparison.bin_bp > self._session.length:
            raise ValueError(
                f"{comparison}: {n_bins} bins of {comparison.bin_bp} bp are longer than the window of "
                f"{self._session.length} bp; give the bin_bp that the model has"
            )
        return Bins(n_bins, comparison.bin_bp, self._session.length)

    def _pair(self, comparison: Any, xp: Namespace) -> tuple[Pair, Array | None]:
        """Return what is compared, and the numbers of its bins if they are not all."""
        key = comparison.takes, comparison.scale
        if key not in self._scaled:
            ref, alt = self.outputs[comparison.takes]
            self._scaled[key] = linear(ref, comparison.scale, xp), linear(alt, comparison.scale, xp)
        if not hasattr(comparison, "bins"):
            return Pair(*self._scaled[key], None, xp), None
        ref, alt, inside = self._brought(key, comparison, xp)
        chosen = (*key, comparison.bin_bp, comparison.bins if comparison.bins is None else str(comparison.bins))
        if chosen not in self._pairs:
            self._pairs[chosen] = self._cut(comparison, ref, alt, inside, xp)
        return self._pairs[chosen]

    def _brought(self, key: Any, comparison: Any, xp: Namespace) -> tuple[AnyArray, AnyArray, Array | None]:
        """Return both profiles in the coordinates of the reference, and which bins are compared."""
        ref, alt = self._scaled[key]
        place = self._place
        if self._align is None or not ((place.ref_length != place.alt_length).any() or place.shift.any()):
            return ref, alt, None
        whole = (*key, comparison.bin_bp)
        if whole not in self._aligned:
            self._aligned[whole] = realign(ref, alt, self._bins(comparison), place, self._align, xp)
        return self._aligned[whole]

    def _cut(
        self, comparison: Any, ref: AnyArray, alt: AnyArray, inside: Array | None, xp: Namespace
    ) -> tuple[Pair, Array | None]:
        if comparison.bins is None:
            chosen, exists = None, inside
        else:
            chosen, exists = chosen_bins(comparison.bins, self._bins(comparison), self._place)
            columns = chosen.clip(0, int(ref.shape[1]) - 1)
            ref, alt = (gather(profile, columns, xp) for profile in (ref, alt))
            exists = exists if inside is None else exists & np.take_along_axis(inside, columns, 1)
        if exists is None or exists.all():
            return Pair(ref, alt, None, xp), chosen
        mask = xp.asarray(exists[..., None].astype(float), ref)
        return Pair(ref * mask, alt * mask, mask, xp), chosen

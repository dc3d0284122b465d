"""Which bin of the alternative's output stands for which of the reference's, and which of them are compared."""

from typing import Any, NamedTuple

import numpy as np

from ..._comparisons import around
from ..._types import AnyArray, Array
from ...backends import Namespace

INSERTED, DELETED = ("max", "sum"), ("zero", "mask", "sum")
ALIGNMENTS = tuple(f"{inserted},{deleted}" for inserted in INSERTED for deleted in DELETED)
"""What is done with bins of inserted letters, and of deleted ones."""


class Place(NamedTuple):
    """Where alleles lie in their windows, in bp, (n,) each."""

    offset: Array
    """Of the first letter of both alleles."""
    ref_length: Array
    alt_length: Array
    shift: Array
    """By how much the window of the alternative begins after that of the reference."""

    def take(self, rows: Array) -> "Place":
        """Return that of some alleles."""
        return Place(*(numbers[rows] for numbers in self))


class Bins(NamedTuple):
    """Bins of an output: how many there are, in the middle of a window."""

    n: int
    bp: int
    length: int
    """Of the window, bp."""

    def at(self, position: Array) -> Array:
        """Return the bin of a position of the window, which may lie outside of all bins."""
        bins: Array = (position - (self.length - self.n * self.bp) // 2) // self.bp
        return bins

    @property
    def middles(self) -> Array:
        """The position in the middle of each bin."""
        return (self.length - self.n * self.bp) // 2 + np.arange(self.n) * self.bp + self.bp // 2


def chosen_bins(bins: Any, scale: Bins, place: Place) -> tuple[Array, Array]:
    """Return which bins of the reference are compared, and whether they exist, (n, k)."""
    n = len(place.offset)
    if isinstance(bins, around):
        first = scale.at(place.offset) - bins.bins
        columns = first[:, None] + np.arange(2 * bins.bins + 1)
        return columns, (columns >= 0) & (columns < scale.n)
    every = range(scale.n)
    try:
        if bins is None or isinstance(bins, slice):
            numbers = list(every[bins or slice(None)])
        else:
            numbers = [every[k] for k in ((bins,) if isinstance(bins, int) else bins)]
    except IndexError:
        numbers = []
    if not numbers:
        raise ValueError(f"bins {bins} do not all exist in an output of {scale.n} bins")
    columns = np.broadcast_to(np.array(numbers), (n, len(numbers)))
    return columns, np.ones(columns.shape, bool)


class Aligned(NamedTuple):
    """The reference's bins in terms of the alternative's, for each allele."""

    columns: Array
    """The alternative's bin for each of the reference's, (n, bins)."""
    exists: Array
    """Whether it has one, (n, bins)."""
    is_deleted: Array
    """Whether that is for lack of its letters, (n, bins)."""
    anchor: Array
    """The reference's last bin before what is inserted or deleted, (n,)."""
    n_inserted: Array
    """The alternative's bins after that which are inserted, (n,)."""


def align(bins: Bins, place: Place) -> Aligned:
    """Find which bins of both alleles show the same letters of the genome."""
    offset, stop = place.offset, place.offset + place.ref_length
    common = np.minimum(place.ref_length, place.alt_length)
    growth, middles = (place.alt_length - place.ref_length)[:, None], bins.middles[None]
    is_after = middles >= stop[:, None]
    is_deleted = (middles >= (offset + common)[:, None]) & ~is_after
    columns = bins.at(middles + growth * is_after - place.shift[:, None])
    anchor = bins.at(offset + common - 1).clip(0, bins.n - 1)
    alt_middles = middles + place.shift[:, None]  # where bins of the alternative lie before its letters move
    is_inserted = (alt_middles >= (offset + common)[:, None]) & (
        alt_middles < (offset + np.maximum(place.alt_length, common))[:, None]
    )
    n_inserted = np.where(place.alt_length > place.ref_length, is_inserted.sum(1), 0)
    exists = (columns >= 0) & (columns < bins.n) & ~is_deleted
    return Aligned(columns.clip(0, bins.n - 1), exists, is_deleted, anchor, n_inserted)


def gather(profile: AnyArray, columns: Array, xp: Namespace) -> AnyArray:
    """Return some bins of each row of a profile, (n, k, tracks); by one gather."""
    n, n_bins, n_tracks = (int(size) for size in profile.shape)
    flat = (np.arange(n)[:, None] * n_bins + columns).reshape(-1)
    return xp.reshape(xp.take(xp.reshape(profile, (n * n_bins, n_tracks)), flat, 0), (n, columns.shape[1], n_tracks))


def realign(
    ref: AnyArray, alt: AnyArray, bins: Bins, place: Place, how: str, xp: Namespace
) -> tuple[AnyArray, AnyArray, Array]:
    """Bring the alternative's bins to those of the reference; also return which of them are compared, (n, bins)."""
    inserted, deleted = how.split(",")
    aligned = align(bins, place)
    inside = aligned.exists | (aligned.is_deleted if deleted == "zero" else False)
    brought = gather(alt, aligned.columns, xp) * xp.asarray(aligned.exists[..., None].astype(float), alt)
    is_anchor = xp.asarray((np.arange(bins.n) == aligned.anchor[:, None])[..., None].astype(float), alt)
    first = np.take_along_axis(aligned.columns, aligned.anchor[:, None], 1)
    if width := int(aligned.n_inserted.max(initial=0)):
        columns = first + np.arange(width + 1)
        is_one = (np.arange(width + 1) <= aligned.n_inserted[:, None]) & (columns < bins.n)
        pooled = _pool(gather(alt, columns.clip(0, bins.n - 1), xp), is_one, inserted, xp)
        brought = brought + is_anchor * (pooled - xp.sum(brought * is_anchor, axis=1, keepdims=True))
    if deleted == "sum" and aligned.is_deleted.any():
        is_lost = xp.asarray(aligned.is_deleted[..., None].astype(float), ref)
        ref = ref + is_anchor * xp.sum(ref * is_lost, axis=1, keepdims=True)
    return ref, brought, inside


def _pool(bins: AnyArray, is_one: Array, how: str, xp: Namespace) -> AnyArray:
    mask = xp.asarray(is_one[..., None].astype(float), bins)
    if how == "sum":
        return xp.sum(bins * mask, axis=1, keepdims=True)
    return xp.max(xp.where(mask > 0, bins, -np.inf), axis=1, keepdims=True)

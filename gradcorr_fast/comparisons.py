"""What is said of two outputs of a model, for the reference and the alternative allele: one number, and where it lies.

Comparisons are small objects as targets are: ``parse(str(comparison)) == comparison``. Those of one number compare a
target; those of profiles compare bins, which are axis 1 of an output (N, bins) or (N, bins, tracks).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import targets
from ._comparisons import SCALES, Comparison, Numbers, Pair, Profile, Taken, around, linear
from ._types import AnyArray, Array, TargetLike, Unchecked
from .backends import Namespace, find_backend

__all__ = [
    "around", "cosine", "difference", "jsd", "kl", "l1", "l2", "larger", "log2_ratio", "max", "max_abs", "min", "parse",
    "ratio", "wasserstein",
]  # fmt: skip

NEAR = 0.03
"""Relative difference of two shares below which their divergence is a series, as its two terms cancel."""


@dataclass(frozen=True, eq=False)
class _OfTarget(Comparison):
    """A comparison of one number."""

    target: TargetLike = 0
    scale: str = "linear"
    output: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale == "logits":
            raise ValueError("logits are of profiles; of one number, scale is linear, log or log1p")

    @property
    def takes(self) -> Taken:
        """The target."""
        return Taken(self.target, self.output)


class difference(_OfTarget):
    """The alternative's number less the reference's; of the output's first track this is `delta`.

    Parameters
    ----------
    target : target or int
        What of the output is compared, see `gradcorr_fast.targets`.
    scale : "linear", "log" or "log1p"
        What the target's numbers are: x, log(x) or log(1 + x). x is compared.
    output : int, str or tuple, optional
        Head of a model that returns several; by default that of the targets.

    Examples
    --------
    >>> str(difference(targets.mean()))
    'difference(mean())'
    """

    def compare(self, pair: Pair) -> Numbers:
        """Subtract."""
        return pair.alt - pair.ref, None


class larger(_OfTarget):
    """The larger number of both alleles: whether the site is active with any of them; parameters as of `difference`.

    Examples
    --------
    >>> str(larger(scale="log1p"))
    'larger(index(0), scale=log1p)'
    """

    def compare(self, pair: Pair) -> Numbers:
        """Take the larger one."""
        return pair.xp.where(pair.alt > pair.ref, pair.alt, pair.ref), None


@dataclass(frozen=True, eq=False)
class ratio(_OfTarget):
    """The alternative's number divided by the reference's.

    Parameters
    ----------
    target, scale, output
        See `difference`.
    pseudocount : float
        Added to both.

    Examples
    --------
    >>> str(ratio(1, pseudocount=0.5))
    'ratio(index(1), pseudocount=0.5)'
    """

    pseudocount: float = 0.0

    def compare(self, pair: Pair) -> Numbers:
        """Divide."""
        return (pair.alt + self.pseudocount) / (pair.ref + self.pseudocount), None


class log2_ratio(ratio):
    """The binary logarithm of the alternative's number divided by the reference's: the log fold change.

    Parameters as of `ratio`. Where a number is not positive, there is none.

    Examples
    --------
    >>> log2_ratio(scale="log1p") == parse("log2_ratio(scale=log1p)")
    True
    """

    def compare(self, pair: Pair) -> Numbers:
        """Subtract the logarithms."""
        alt, ref = (_log(numbers + self.pseudocount, pair.xp) for numbers in (pair.alt, pair.ref))
        return (alt - ref) / math.log(2), None


def _log(numbers: AnyArray, xp: Namespace) -> AnyArray:
    """Return logarithms, NaN where there is none."""
    is_positive = numbers > 0
    return xp.where(is_positive, xp.log(xp.where(is_positive, numbers, 1.0)), math.nan)


@dataclass(frozen=True, eq=False)
class _OfProfile(Comparison):
    """A comparison of bins."""

    bins: Any = None
    tracks: Any = None
    track_axis: int = -1
    bin_bp: int = 1
    scale: str = "linear"
    output: Any = None

    @property
    def takes(self) -> Taken:
        """The profile of its tracks."""
        return Taken(Profile(self.tracks, self.track_axis), self.output)


class _Extreme(_OfProfile):
    """The difference of a bin that is the largest in some sense."""

    has_position = True

    def _rank(self, difference: AnyArray, xp: Namespace) -> AnyArray:
        raise NotImplementedError

    def compare(self, pair: Pair) -> Numbers:
        """Find the bin."""
        xp, change = pair.xp, pair.difference
        rank = self._rank(change, xp)
        if pair.inside is not None:
            inside = xp.reshape(pair.inside + pair.ref * 0, (len(pair.ref), -1))
            rank = xp.where(inside > 0, rank, -math.inf)
        place = xp.argmax(rank, 1)
        columns = xp.asarray(np.arange(change.shape[1]), change)[None]
        chosen = columns == xp.asarray(place, change)[:, None]
        found = xp.sum(xp.where(chosen, change, 0.0), axis=1)
        return (found if pair.inside is None else xp.where(xp.max(rank, axis=1) > -math.inf, found, math.nan)), place


class max(_Extreme):  # noqa: A001  (as users call it)
    """The largest difference of a bin, alternative less reference, and how many bins from the variant it lies.

    Parameters
    ----------
    bins : int, slice, sequence of int or `around`, optional
        Bins that are compared, by default all.
    tracks : int, slice or sequence of int, optional
        Of an output (N, bins, tracks); by default all.
    track_axis : int
        1 for outputs (N, tracks, bins).
    bin_bp : int
        Length of a bin. The bins are taken to lie in the middle of the window.
    scale : "linear", "log", "log1p" or "logits"
        What the output's numbers are: x, log(x), log(1 + x), or logits that a softmax along all bins turns into x. x
        is compared.
    output : int, str or tuple, optional
        Head of a model that returns several; by default that of the targets.

    Examples
    --------
    >>> str(max(tracks=1, bins=around(50)))
    'max(bins=centre±50, tracks=1)'
    """

    def _rank(self, difference: AnyArray, xp: Namespace) -> AnyArray:
        return difference


class min(_Extreme):  # noqa: A001
    """The smallest difference of a bin, the most negative one, and where it lies; parameters as of `max`.

    Examples
    --------
    >>> str(min(tracks=[0, 1]))
    'min(tracks=(0, 1))'
    """

    def _rank(self, difference: AnyArray, xp: Namespace) -> AnyArray:
        return -difference


class max_abs(_Extreme):
    """The difference of a bin that is the largest in size, with its sign, and where it lies; parameters as of `max`.

    Examples
    --------
    >>> str(max_abs())
    'max_abs()'
    """

    def _rank(self, difference: AnyArray, xp: Namespace) -> AnyArray:
        return xp.abs(difference)


class l1(_OfProfile):
    """The sum of the differences' sizes over bins and tracks; parameters as of `max`.

    Examples
    --------
    >>> str(l1(bins=slice(400, 600)))
    'l1(bins=400:600)'
    """

    def compare(self, pair: Pair) -> Numbers:
        """Sum sizes."""
        return pair.xp.sum(pair.xp.abs(pair.difference), axis=1), None


class l2(_OfProfile):
    """The square root of the sum of squared differences over bins and tracks; parameters as of `max`.

    Examples
    --------
    >>> str(l2(bin_bp=128))
    'l2(bin_bp=128)'
    """

    def compare(self, pair: Pair) -> Numbers:
        """Take the length."""
        change = pair.difference
        return pair.xp.sqrt(pair.xp.sum(change * change, axis=1)), None


class cosine(_OfProfile):
    """One less the cosine of both profiles along the bins, the mean over tracks; parameters as of `max`.

    Examples
    --------
    >>> str(cosine())
    'cosine()'
    """

    def compare(self, pair: Pair) -> Numbers:
        """Compare directions; from their difference, so that nothing cancels."""
        xp = pair.xp
        a, b = (x / xp.sqrt(xp.sum(x * x, axis=1, keepdims=True)) for x in (pair.ref, pair.alt))
        return xp.mean(xp.sum((a - b) * (a - b), axis=1) / 2, axis=1), None


class _OfShares(_OfProfile):
    """A comparison of how both profiles are distributed along the bins."""

    pseudocount: float = 0.0

    def compare(self, pair: Pair) -> Numbers:
        """Divide both by their sums, and compare; there is no number where a bin is negative or the sum is 0."""
        xp, shares = pair.xp, []
        for x in (pair.ref, pair.alt):
            x = x + self.pseudocount * (1.0 if pair.inside is None else pair.inside)
            total = xp.sum(x, axis=1, keepdims=True)
            is_fit = (-xp.max(-x, axis=1, keepdims=True) >= 0) & (total > 0)
            shares.append(xp.where(is_fit, x / xp.where(total > 0, total, 1.0), math.nan))
        return xp.mean(self._between(shares[0], shares[1], xp), axis=1), None

    def _between(self, p: AnyArray, q: AnyArray, xp: Namespace) -> AnyArray:
        """Return what lies between shares (n, bins, tracks), for each track."""
        raise NotImplementedError


class jsd(_OfShares):
    """The Jensen-Shannon distance of the profiles along the bins, in 0 to 1, the mean over tracks.

    This is the square root of the divergence in bits, as `scipy.spatial.distance.jensenshannon` with base 2 has it.
    Parameters as of `max`.

    Examples
    --------
    >>> parse("jsd(scale=logits)").scale
    'logits'
    """

    def _between(self, p: AnyArray, q: AnyArray, xp: Namespace) -> AnyArray:
        total = p + q
        known = xp.where(total > 0, total, 1.0)
        r = (p - q) / known
        square, size = r * r, xp.abs(r)
        series = square * (1 + square * (1 / 6 + square / 15))
        rest = xp.where(size < 1, 1 - size, 1.0)
        exact = (1 + size) * xp.log1p(size) + xp.where(size < 1, rest * xp.log(rest), 0.0)
        terms = total * xp.where(size < NEAR, series, exact)
        return xp.sqrt(xp.sum(terms, axis=1) / (4 * math.log(2)))


@dataclass(frozen=True, eq=False)
class kl(_OfShares):
    """The Kullback-Leibler divergence of the alternative's profile from the reference's, in bits, the mean over tracks.

    Parameters
    ----------
    bins, tracks, track_axis, bin_bp, scale, output
        See `max`.
    pseudocount : float
        Added to each bin; where the reference has 0 and the alternative has not, the divergence is infinite and left
        out.

    Examples
    --------
    >>> str(kl(pseudocount=1e-6))
    'kl(pseudocount=1e-06)'
    """

    pseudocount: float = 0.0

    def _between(self, p: AnyArray, q: AnyArray, xp: Namespace) -> AnyArray:
        both = (p > 0) & (q > 0)
        a, b = xp.where(both, q, 1.0), xp.where(both, p, 1.0)
        terms = a * (xp.log(a) - xp.log(b)) - a + b  # the shares sum to one: each term is positive
        terms = xp.where(both, terms, xp.where(q > 0, math.nan, p))
        return xp.sum(xp.where(p + q >= 0, terms, math.nan), axis=1) / math.log(2)


class wasserstein(_OfShares):
    """How far, in bins, the alternative's profile moved along them, the mean over tracks; parameters as of `max`.

    Examples
    --------
    >>> str(wasserstein())
    'wasserstein()'
    """

    def _between(self, p: AnyArray, q: AnyArray, xp: Namespace) -> AnyArray:
        return xp.sum(xp.abs(xp.cumsum(q - p, 1)), axis=1)


COMPARISONS: dict[str, Callable[..., Comparison]] = {
    c.__name__: c
    for c in (difference, ratio, log2_ratio, larger, max, min, max_abs, l1, l2, jsd, kl, wasserstein, cosine)
}
NAMES: dict[str, Callable[..., Any]] = {
    **targets.TARGETS,
    **COMPARISONS,
    "around": around,
    **{scale: lambda scale=scale: scale for scale in SCALES},
}


def as_comparison(comparison: Unchecked) -> Comparison:
    """Return a comparison, or its text, as a comparison."""
    if isinstance(comparison, Comparison):
        return comparison
    if isinstance(comparison, str):
        return parse(comparison)
    raise TypeError(f"a comparison is one of gf.comparisons or its text; got {comparison!r}")


def parse(text: str) -> Comparison:
    """Read a comparison from its text form.

    Parameters
    ----------
    text : str
        Such as ``jsd``, ``max(tracks=1, bins=centre±50)`` (or centre+-50), ``log2_ratio(sum_over(), pseudocount=1)``,
        ``jsd(scale=logits)``. Nothing in it is executed.

    Returns
    -------
    comparison

    Raises
    ------
    ValueError
        If the text is not a comparison; the message names those there are.

    Examples
    --------
    >>> parse("l2(bins=centre+-3)")
    l2(bins=around(bins=3), tracks=None, track_axis=-1, bin_bp=1, scale='linear', output=None)
    """
    readable = text
    for sign in ("±", "+-"):
        first, *rest = readable.split(f"centre{sign}")
        readable = first + "".join(f"around({part[: _digits(part)]}){part[_digits(part) :]}" for part in rest)
    try:
        found = targets.read_calls(readable, NAMES)
        if not isinstance(found, Comparison):
            raise ValueError(f"{targets.show(found)} is none")
        return found
    except targets.UNREADABLE as error:
        raise ValueError(
            f"{text!r} is not a comparison ({error}); write one of {', '.join(COMPARISONS)}, such as "
            f"jsd(bins=centre±50)"
        ) from None


def _digits(text: str) -> int:
    return len(text) - len(text.lstrip("0123456789"))


def describe() -> list[tuple[str, str]]:
    """Return an example of each kind of comparison, as text, and what it is in a few words.

    Examples
    --------
    >>> describe()[0]
    ('difference(3)', 'of a target, alternative less reference')
    """
    return [
        ("difference(3)", "of a target, alternative less reference"),
        ("log2_ratio(3, pseudocount=1)", "of a target; also ratio, larger"),
        ("max(bins=centre±50)", "largest of the bins, and where; min, max_abs"),
        ("l1(tracks=1), l2", "sum, and root of squares, over bins"),
        ("jsd(scale=logits), kl", "of profiles along the bins"),
        ("wasserstein, cosine", "the same"),
    ]


def compare(comparison: Comparison, ref: Array, alt: Array) -> Numbers:
    """Compare arrays of one library as they are, all bins with the same in both; for tests and single profiles."""
    xp = find_backend(ref=ref).XP
    ref, alt = (linear(comparison.takes.take(x), comparison.scale, xp) for x in (ref, alt))
    return comparison.compare(Pair(ref, alt, None, xp))

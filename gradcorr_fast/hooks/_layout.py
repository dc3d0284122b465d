"""Where letters and positions lie in the input, and the strands and shifts in which a model sees a sequence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._check import check_axis, select_letters
from .._types import AnyArray, Array, TargetLike
from .._wording import option, words
from ..backends import find_backend, to_host
from ..sequences import UNKNOWN
from ._options import FUNCTION


class Layout(NamedTuple):
    """Axes of the input: sequences first, letters, and positions, which are all others."""

    shape: tuple[int, ...]
    axis: int
    """Letter axis, counted from the front."""
    letters: slice
    """The part of that axis that holds letters."""

    @property
    def n_letters(self) -> int:
        return len(range(*self.letters.indices(self.shape[self.axis])))

    @property
    def positions(self) -> tuple[int, ...]:
        """Lengths of the axes of positions."""
        return tuple(n for k, n in enumerate(self.shape) if k not in (0, self.axis))

    @property
    def n_positions(self) -> int:
        return int(np.prod(self.positions))

    @property
    def length_axis(self) -> int | None:
        """The axis along which strands run and windows are cut: the last that does not hold letters."""
        others = [k for k in range(1, len(self.shape)) if k != self.axis]
        return others[-1] if others else None

    def flat(self, array: Array) -> Array:
        """See an array of this layout as (n, n_positions, n_letters), letters alone; a view if there is one."""
        return np.moveaxis(array, self.axis, -1)[..., self.letters].reshape(len(array), self.n_positions, -1)

    def put(self, whole: Array, numbers: Array) -> Array:
        """Write (n, n_positions, n_letters) over the letters of an array of this layout, and return it."""
        np.moveaxis(whole, self.axis, -1)[..., self.letters] = numbers.reshape(len(whole), *self.positions, -1)
        return whole

    def codes(self, x: Array) -> tuple[Array, Array]:
        """Return codes, uint8 (n, n_positions), 255 where unknown, and which positions are not one-hot.

        A position of equal letters is unknown, such as all 0 or all 1/4.
        """
        letters = self.flat(x)
        is_one = letters == 1
        is_letter = (is_one.sum(-1) == 1) & ((letters != 0).sum(-1) == 1)
        is_unknown = np.all(letters == letters[..., :1], axis=-1) & (letters[..., 0] >= 0) & (letters[..., 0] < 1)
        codes = np.where(is_letter, is_one.argmax(-1), UNKNOWN).astype(np.uint8)
        return codes, ~(is_letter | is_unknown)

    def cut(self, array: AnyArray, window: slice) -> AnyArray:
        """Return the positions of a window of an array of this layout."""
        if self.length_axis is None or (window.start, window.stop) == (0, self.shape[self.length_axis]):
            return array
        return array[(slice(None),) * self.length_axis + (window,)]


def make_layout(shape: tuple[int, ...], axis: int, letters: slice | None, n_letters: int | None) -> Layout:
    """Check the letter axis of an input."""
    if letters is None:
        try:
            front, part = check_axis(shape, axis, n_letters), slice(None)
        except ValueError as error:
            if len(shape) != 2:
                raise
            raise ValueError(f"{error}; X has shape {shape}, so if it is one sequence, pass X[None]") from None
    else:
        front, index = select_letters(shape, axis, letters, n_letters)
        part = index[-1]
    if len(shape) < 2 or front == 0:
        raise ValueError(f"X has shape {shape}; pass one-hot sequences with the sequences first, such as (N, L, 4)")
    return Layout(shape, front, part)


def make_window(layout: Layout, start: int, end: int) -> slice:
    """Check a window of positions; an end below zero counts from the end, -1 being the end itself."""
    if layout.length_axis is None:
        return slice(0, 0)
    length = layout.shape[layout.length_axis]
    stop = length + 1 + end if end < 0 else end
    if not (0 <= start < stop <= length or start == stop == length == 0):
        raise ValueError(
            f"start={start} and end={end} leave no window of sequences of length {length}; pass 0 <= start < end <= "
            f"{length}"
        )
    return slice(int(start), int(stop))


def make_mask(layout: Layout, mask: AnyArray | None) -> Array | None:
    """Check a mask of positions, (N, L) or (L,)."""
    if mask is None:
        return None
    found = to_host(mask)
    if found.dtype != np.bool_:
        raise TypeError(f"mask must be boolean, True at the positions that are wanted; got {found.dtype}, compare it")
    for shape in ((layout.shape[0], *layout.positions), layout.positions):
        if found.shape == shape:
            return found.reshape(-1, *layout.positions)
    raise ValueError(
        f"mask has shape {found.shape}; it must have shape {(layout.shape[0], *layout.positions)} or {layout.positions}"
    )


class View(NamedTuple):
    """How a model is shown a sequence: either strand, moved to the right by `shift`, with zeros where it ends."""

    is_reverse: bool
    shift: int

    def show(self, x: AnyArray, layout: Layout) -> AnyArray:
        """Return the input that the model sees."""
        return self._move(self._turn(x, layout), layout, self.shift)

    def map_back(self, grad: AnyArray, layout: Layout) -> AnyArray:
        """Return a gradient with respect to what the model sees as one with respect to the sequence."""
        return self._turn(self._move(grad, layout, -self.shift), layout)

    def _turn(self, array: AnyArray, layout: Layout) -> AnyArray:
        if not self.is_reverse:
            return array
        length_axis, n_channels = layout.length_axis, layout.shape[layout.axis]
        is_plain = layout.n_letters == n_channels
        axes = ([layout.axis] if is_plain else []) + ([] if length_axis is None else [length_axis])
        turned = find_backend(array=array).flip(array, axes)
        if is_plain:
            return turned
        order = np.arange(n_channels)
        order[layout.letters] = order[layout.letters][::-1]
        return find_backend(array=array).XP.take(turned, order, layout.axis)

    def _move(self, array: AnyArray, layout: Layout, shift: int) -> AnyArray:
        if not shift or layout.length_axis is None:
            return array
        front, size = (slice(None),) * layout.length_axis, abs(shift)
        xp = find_backend(array=array).XP
        gap = array[(*front, slice(0, size))] * 0.0
        kept = array[(*front, slice(0, -size) if shift > 0 else slice(size, None))]
        return xp.concat([gap, kept] if shift > 0 else [kept, gap], layout.length_axis)


def make_views(layout: Layout, rc: bool, shifts: Sequence[int]) -> tuple[View, ...]:
    """Check strands and shifts."""
    length = 1 if layout.length_axis is None else layout.shape[layout.length_axis]
    for shift in shifts:
        if abs(shift) >= max(length, 1):
            raise ValueError(f"shift {shift} moves sequences of length {length} away; pass shifts below {length}")
    if rc and layout.n_letters != 4:
        raise ValueError(
            f"{option('rc')} needs the 4 letters of DNA, which alone have complements; the letter axis has "
            f"{layout.n_letters}"
        )
    return tuple(View(strand, shift) for strand in ((False, True) if rc else (False,)) for shift in shifts)


@dataclass(frozen=True)
class Strand:
    """Turns a model's output for the other strand into what it says of this one."""

    flips_bins: bool
    pairs: tuple[tuple[int, int], ...]
    """Tracks that belong to the two strands, to be exchanged."""
    bin_axis: int | None = None
    track_axes: tuple[int, ...] = ()
    """Axes that targets take for that of tracks."""

    def __call__(self, output: AnyArray) -> AnyArray:
        """Return the output with its bins reversed and its pairs of tracks exchanged."""
        backend = find_backend(output=output)
        shape = backend.shape(output)
        bins, tracks = self._axes(shape)
        if self.flips_bins:
            output = backend.XP.take(output, np.arange(shape[bins])[::-1].copy(), bins)
        if self.pairs:
            order = np.arange(shape[tracks])
            for a, b in self.pairs:
                if not (0 <= a < len(order) and 0 <= b < len(order)):
                    raise ValueError(f"strand pair {(a, b)} does not exist in an output of shape {shape}")
                order[[a, b]] = order[[b, a]]
            output = backend.XP.take(output, order, tracks)
        return output

    def _axes(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the axes of bins and of tracks, the same one where an output has bins or tracks alone."""
        both, axis = self.flips_bins and self.pairs, self.bin_axis
        if len(shape) == 3 and axis is None:
            raise ValueError(
                f"the output has shape {shape}, and nothing says which of its axes holds bins; pass "
                f"{option('bin_axis', '1')} for (N, bins, tracks), or 2 for (N, tracks, bins)"
            )
        if len(shape) == 3 and axis in (-2, -1, 1, 2):
            bins = axis % 3
            if bins in [track_axis % 3 for track_axis in self.track_axes]:
                raise ValueError(
                    f"axis {bins} of the output holds bins by bin_axis={axis}, and tracks by the target; pass one of "
                    f"them otherwise (the target's track_axis={3 - bins})"
                )
            return bins, 3 - bins
        if len(shape) == 2 and not both and (axis is None or (axis in (-1, 1) and self.flips_bins)):
            return 1, 1
        raise ValueError(
            f"the output has shape {shape}; {flipping()} is for (N, bins) and "
            f"{words('strand_pairs', '--strand-pairs')} for (N, tracks), both with "
            f"{words('bin_axis=', '--bin-axis')} for outputs of three axes"
            f"{words('; else pass a function of the output as rc_output', '')}"
        )


def flipping() -> str:
    """Say how bins are reversed."""
    return words("rc_output='flip_bins'", "--rc-output flip_bins")


def make_strand(
    rc: bool, rc_output: str | Callable[[AnyArray], AnyArray], bin_axis: int | None,
    pairs: tuple[tuple[int, int], ...] | None, targets: Sequence[TargetLike],
) -> Strand | Callable[[AnyArray], AnyArray] | None:  # fmt: skip
    """Check what the other strand does to the output."""
    if not rc:
        if rc_output != "same" or pairs is not None or bin_axis is not None:
            raise ValueError(
                f"rc_output, bin_axis and strand_pairs say what the other strand does; pass {option('rc')} with them"
            )
        return None
    if callable(rc_output):
        if pairs is not None or bin_axis is not None:
            raise ValueError(
                "rc_output is a function, which must exchange the tracks itself; leave strand_pairs away, and bin_axis"
            )
        return rc_output
    if not isinstance(rc_output, str):
        raise ValueError(f"rc_output must be text or {FUNCTION}; got {rc_output!r}")
    if rc_output == "same" and not pairs:
        if bin_axis is not None:
            raise ValueError(
                f"{words('bin_axis', '--bin-axis')} says where bins are flipped; pass {flipping()} or "
                f"{words('strand_pairs', '--strand-pairs')} with it"
            )
        return None
    axes = tuple({axis for target in targets for axis in track_axes(target)})
    return Strand(rc_output == "flip_bins", pairs or (), bin_axis, axes)


def track_axes(target: TargetLike) -> list[int]:
    """Return the axes that a target takes for that of tracks, where that matters to it."""
    parts = [getattr(target, name) for name in ("a", "b") if hasattr(target, name)]
    if parts:
        return [axis for part in parts for axis in track_axes(part)]
    matters = any(getattr(target, name, None) is not None for name in ("bins", "tracks"))
    return [target.track_axis] if matters else []

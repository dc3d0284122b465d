"""Windows of positions: how far a change reaches, and numbers at windows laid over those of the whole sequence."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ...._types import Array
from ....kernels import cpu_windows
from .._transfer import bring


class Span(NamedTuple):
    """A window of each of some rows, all of one width."""

    start: Array
    """First position, int64 (rows,)."""
    width: int

    def take(self, index: Array) -> "Span":
        """Return the windows of some rows."""
        return Span(self.start[index], self.width)

    def clip(self, length: int) -> "Span":
        """Return windows of the same width, or as many positions as there are, that do not leave a sequence."""
        width = min(self.width, length)
        return Span(np.clip(self.start, 0, length - width), width)

    def is_same(self, other: "Span") -> bool:
        """Whether all windows are the same."""
        return self.width == other.width and bool((self.start == other.start).all())


def unite(spans: list[Span]) -> Span:
    """Return windows that hold those of all spans."""
    start = np.minimum.reduce([span.start for span in spans])
    end = np.maximum.reduce([span.start + span.width for span in spans])
    return Span(start, int((end - start).max(initial=1)))


class Reach(Protocol):
    """Which positions of an operation's input and output belong together."""

    def touched(self, span: Span) -> Span:
        """Return the windows of the output that changes of the input can reach, inside of the sequence."""

    def needed(self, span: Span) -> Span:
        """Return the windows of the input, perhaps beyond its ends, that the windows of an output are made of."""


@dataclass(frozen=True)
class Steps:
    """Output o is made of the inputs ``o * stride - padding`` to ``o * stride - padding + kernel - 1``."""

    n_out: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0

    def touched(self, span: Span) -> Span:
        """See `Reach`."""
        first = -((self.kernel - 1 - self.padding - span.start) // self.stride)  # rounded up
        last = (span.start + span.width - 1 + self.padding) // self.stride
        first, last = np.maximum(first, 0), np.minimum(last, self.n_out - 1)
        return Span(first, max(1, int((last - first).max(initial=0)) + 1)).clip(self.n_out)

    def needed(self, span: Span) -> Span:
        """See `Reach`."""
        return Span(span.start * self.stride - self.padding, (span.width - 1) * self.stride + self.kernel)


@dataclass(frozen=True)
class Reverse:
    """Output o is made of the input ``length - 1 - o``."""

    length: int

    def touched(self, span: Span) -> Span:
        """See `Reach`."""
        return Span(self.length - span.start - span.width, span.width)

    needed = touched


class Window(NamedTuple):
    """Numbers at windows of the rows at work."""

    span: Span
    tensor: torch.Tensor
    """With the positions of the windows on the axis of positions."""
    is_change: bool
    """Whether they are what has to be added to the numbers of the sequence itself; otherwise they replace them."""


class Rows:
    """Rows at work: which sequences they are of. Reads windows of them from numbers of whole sequences."""

    def __init__(self, sequence: Array, device: torch.device) -> None:
        self.sequence, self._device = np.ascontiguousarray(sequence, np.int64), device
        self.n = len(sequence)
        self.index = bring(torch.as_tensor(self.sequence), device)
        """The sequences, on the device."""

    def lay_over(self, base: torch.Tensor, axis: int, window: Window, span: Span, fill: float) -> torch.Tensor:
        """Return windows of `base` (n, ...) with what is at other windows added, or in its place."""
        offset = window.span.start - span.start
        if _is_for_kernel(base, window.tensor):
            out = _empty_like(window.tensor, axis, span.width)
            whole, patch, result = (_see(tensor, axis) for tensor in (base, window.tensor, out))
            cpu_windows.lay_over(whole, self.sequence, span.start, patch, offset, window.is_change, fill, result)
            return out
        length = base.shape[axis]
        places = span.start[:, None] + np.arange(span.width)
        found = self._take(base, axis, places.clip(0, length - 1))
        is_outside = self._mask((places < 0) | (places >= length), axis, found.ndim)
        inside = np.arange(span.width) - offset[:, None]
        is_new = (inside >= 0) & (inside < window.span.width) & (places >= 0) & (places < length)
        patch = self._gather(window.tensor, axis, inside.clip(0, window.span.width - 1))
        covered = self._mask(is_new, axis, found.ndim)
        found = torch.where(covered, found + patch if window.is_change else patch, found)
        return torch.where(is_outside, torch.full((), fill, dtype=found.dtype, device=found.device), found)

    def place(self, window: Window, axis: int, span: Span, length: int) -> torch.Tensor:
        """Return changes at other windows, 0 where none are known, and outside of the sequence."""
        offset = window.span.start - span.start
        if _is_for_kernel(window.tensor):
            out = _empty_like(window.tensor, axis, span.width)
            cpu_windows.place(_see(window.tensor, axis), span.start, offset, length, _see(out, axis))
            return out
        places = span.start[:, None] + np.arange(span.width)
        inside = np.arange(span.width) - offset[:, None]
        is_known = (inside >= 0) & (inside < window.span.width) & (places >= 0) & (places < length)
        patch = self._gather(window.tensor, axis, inside.clip(0, window.span.width - 1))
        return torch.where(self._mask(is_known, axis, patch.ndim), patch, torch.zeros_like(patch))

    def subtract(self, tensor: torch.Tensor, base: torch.Tensor, axis: int, span: Span) -> torch.Tensor:
        """Return numbers at windows less those of `base` there."""
        if _is_for_kernel(base, tensor):
            out = _empty_like(tensor, axis, span.width)
            cpu_windows.subtract(_see(tensor, axis), _see(base, axis), self.sequence, span.start, _see(out, axis))
            return out
        return tensor - self._take(base, axis, span.start[:, None] + np.arange(span.width))

    def of_all(self, tensor: torch.Tensor, axis: int, span: Span) -> torch.Tensor:
        """Return windows of numbers of each row (n, ...), or of numbers that are the same for all rows (1, ...)."""
        places = span.start[:, None] + np.arange(span.width)
        if len(tensor) == 1:
            index = bring(torch.as_tensor(places.reshape(-1)), tensor.device)
            return tensor[0].index_select(axis - 1, index).unflatten(axis - 1, places.shape).movedim(axis - 1, 0)
        return self._gather(tensor, axis, places)

    def _take(self, base: torch.Tensor, axis: int, places: Array) -> torch.Tensor:
        """Return numbers of `base` at places (rows, width) of each row's sequence."""
        index = bring(torch.as_tensor(places), self._device)
        found = base.movedim(axis, 1)[self.index[:, None], index]
        return found.movedim(1, axis)

    def _gather(self, tensor: torch.Tensor, axis: int, places: Array) -> torch.Tensor:
        """Return numbers of rows (rows, ...) at places (rows, width) of their own."""
        index = bring(torch.as_tensor(places), self._device)
        rows = torch.arange(self.n, device=self._device)
        return tensor.movedim(axis, 1)[rows[:, None], index].movedim(1, axis)

    def _mask(self, mask: Array, axis: int, n_axes: int) -> torch.Tensor:
        """Return a mask (rows, width) that fits numbers with the windows on an axis."""
        shape = [mask.shape[1] if k == axis else self.n if k == 0 else 1 for k in range(n_axes)]
        return bring(torch.as_tensor(mask), self._device).reshape(shape)


def _is_for_kernel(*tensors: torch.Tensor) -> bool:
    """Whether the kernels of the CPU take the tensors."""
    dtypes = {tensor.dtype for tensor in tensors}
    return (
        all(tensor.device.type == "cpu" for tensor in tensors)
        and len(dtypes) == 1
        and dtypes <= {torch.float32, torch.float64}
    )


def largest(tensor: torch.Tensor, axis: int, reach: Steps, dilation: int) -> torch.Tensor | None:
    """Return the largest numbers of neighbouring positions, or None where there is no kernel for them."""
    if not _is_for_kernel(tensor):
        return None
    out = _empty_like(tensor, axis, (tensor.shape[axis] - reach.kernel) // reach.stride + 1)
    cpu_windows.largest(_see(tensor, axis), reach.kernel, reach.stride, dilation, _see(out, axis))
    return out


def by_position(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return a tensor with all numbers of a position next to each other in memory, as windows are copied best."""
    return tensor.movedim(axis, 1).contiguous().movedim(1, axis)


def _see(tensor: torch.Tensor, axis: int) -> Array:
    """See a tensor as an array (n, length, numbers of a position)."""
    ordered = by_position(tensor, axis).movedim(axis, 1)
    array: Array = ordered.reshape(*ordered.shape[:2], -1 if ordered.numel() else 0).numpy()
    return array


def _empty_like(tensor: torch.Tensor, axis: int, width: int) -> torch.Tensor:
    """Return a tensor like another, but for its number of positions, which are next to each other in memory."""
    shape = [*tensor.shape]
    del shape[axis]
    return torch.empty((shape[0], width, *shape[1:]), dtype=tensor.dtype).movedim(1, axis)

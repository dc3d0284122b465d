"""What methods draw at random for sequences on an NVIDIA GPU, drawn there, with the bits of the CPU's."""

from functools import cached_property

import torch

from ...backends import _cuda
from ...backends.torch import _native
from ...kernels import cuda, cuda_draws
from ...sequences import UNKNOWN
from .._layout import Layout


def draws_on(x: torch.Tensor, layout: Layout, seed: int) -> "DeviceDraws | None":
    """Return draws for sequences on a GPU; None where no kernel can be launched, as without CuPy."""
    if not _native.has_kernels(x.device):
        return None
    try:
        _cuda.check_device(x.device.index, _native.LIBRARY.cuda_major)
    except (ImportError, RuntimeError):
        return None
    return DeviceDraws(x, layout, seed)


class DeviceDraws:
    """`_ready.Draws` on a GPU.

    Parameters
    ----------
    x : torch.Tensor
        The sequences.
    layout : Layout
    seed : int
    """

    def __init__(self, x: torch.Tensor, layout: Layout, seed: int) -> None:
        self._x, self._layout, self._seed = x, layout, seed
        self._queue = _native.LIBRARY.queue(x)

    def noise(self, number: int) -> torch.Tensor:
        """See `_ready.Draws`."""
        layout, (n, length) = self._layout, self._codes.shape
        letters_last = layout.axis != 1
        lengths = layout.n_letters, *layout.positions
        shape = (n, *lengths[1:], lengths[0]) if letters_last else (n, *lengths)
        numbers = torch.empty(shape, dtype=torch.float32, device=self._x.device)
        cuda_draws.noise(
            (n, length, layout.n_letters), self._queue, keys=self._keys.data_ptr(), sample=number,
            out=numbers.data_ptr(), letters_last=letters_last,
        )  # fmt: skip
        if letters_last:
            numbers = numbers.movedim(-1, layout.axis)
        if layout.n_letters < layout.shape[layout.axis]:
            whole = torch.zeros(self._x.shape, dtype=torch.float32, device=self._x.device)
            numbers = self._put(whole, numbers.movedim(layout.axis, -1))
        return numbers.to(self._x.dtype)

    def mutants(self, number: int, rate: float) -> torch.Tensor:
        """See `_ready.Draws`."""
        mutants = torch.empty_like(self._codes)
        cuda_draws.mutate(
            tuple(mutants.shape), self._queue, codes=self._codes.data_ptr(), keys=self._keys.data_ptr(), sample=number,
            rate=rate, n_letters=self._layout.n_letters, out=mutants.data_ptr(),
        )  # fmt: skip
        is_kept = (mutants == self._codes)[..., None]
        letters = torch.where(is_kept, self._letters.reshape(*mutants.shape, -1), self._one_hot(mutants))
        return self._put(self._x.clone(), letters)

    def shuffled(self, kind: str, number: int) -> torch.Tensor:
        """See `_ready.Draws`."""
        shuffled = torch.empty_like(self._codes)
        cuda_draws.shuffle(
            tuple(shuffled.shape), self._queue, codes=self._codes.data_ptr(), keys=self._keys.data_ptr(),
            sample=number, kind=kind, out=shuffled.data_ptr(),
        )  # fmt: skip
        return self._put(self._x.clone(), self._one_hot(shuffled))

    @property
    def _letters(self) -> torch.Tensor:
        return self._x.movedim(self._layout.axis, -1)[..., self._layout.letters]

    @cached_property
    def _codes(self) -> torch.Tensor:
        """The letters, uint8 (n, n_positions), as `Layout.codes` tells them."""
        letters = self._letters.reshape(len(self._x), self._layout.n_positions, -1)
        is_one = letters == 1
        is_letter = (is_one.sum(-1) == 1) & ((letters != 0).sum(-1) == 1)
        return torch.where(is_letter, (is_one * self._numbers).sum(-1), UNKNOWN).to(torch.uint8)

    @cached_property
    def _numbers(self) -> torch.Tensor:
        return torch.arange(self._layout.n_letters, device=self._x.device)

    @cached_property
    def _keys(self) -> torch.Tensor:
        keys = torch.empty((len(self._x), 2), dtype=torch.int32, device=self._x.device)
        shape = tuple(self._codes.shape)
        cuda.digest(shape, self._queue, codes=self._codes.data_ptr(), seed=self._seed, keys=keys.data_ptr())
        return keys

    def _one_hot(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes[..., None] == self._numbers).to(self._x.dtype)

    def _put(self, whole: torch.Tensor, letters: torch.Tensor) -> torch.Tensor:
        """Write letters, (n, positions, n_letters), into sequences, and return these."""
        place = whole.movedim(self._layout.axis, -1)[..., self._layout.letters]
        place.copy_(letters.reshape(place.shape))
        return whole

"""What methods draw at random for sequences, drawn on the CPU."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from .._types import AnyArray, Array
from ..kernels import cpu_sequences
from ._layout import Layout


class HostDraws:
    """`_ready.Draws` on the CPU.

    Parameters
    ----------
    host : NumPy array
        The sequences.
    codes : uint8 array, shape (n, n_positions)
        Their letters.
    layout : Layout
    seed : int
    leave : callable
        Turns a NumPy array into one like the sequences of the model.
    """

    def __init__(
        self, host: Array, codes: Array, layout: Layout, seed: int, leave: Callable[[Array], AnyArray]
    ) -> None:
        self._host, self._codes, self._layout, self._seed, self._leave = host, codes, layout, seed, leave

    @cached_property
    def _keys(self) -> Array:
        keys: Array = cpu_sequences.digest(self._codes, self._seed)
        return keys

    def noise(self, number: int) -> AnyArray:
        """See `_ready.Draws`."""
        layout = self._layout
        whole = np.zeros((len(self._codes), *layout.shape[1:]), np.float32)
        view = layout.flat(whole)
        if np.may_share_memory(view, whole):
            cpu_sequences.noise(self._keys, number, view)
        else:
            layout.put(whole, cpu_sequences.noise(self._keys, number, np.empty(view.shape, np.float32)))
        return self._leave(whole)

    def mutants(self, number: int, rate: float) -> AnyArray:
        """See `_ready.Draws`."""
        layout = self._layout
        mutants = cpu_sequences.mutate(self._codes, self._keys, number, rate, layout.n_letters)
        where = np.nonzero(mutants != self._codes)
        whole = self._host.copy()
        letters = layout.flat(whole)
        letters[where] = 0
        letters[(*where, mutants[where])] = 1
        return self._leave(whole if np.may_share_memory(letters, whole) else layout.put(whole, letters))

    def shuffled(self, kind: str, number: int) -> AnyArray:
        """See `_ready.Draws`."""
        layout = self._layout
        codes = cpu_sequences.shuffle(self._codes, 1, kind, self._seed, number)[:, 0]
        letters = np.eye(layout.n_letters + 1, layout.n_letters, dtype=self._host.dtype)
        return self._leave(layout.put(self._host.copy(), letters[np.minimum(codes, layout.n_letters)]))

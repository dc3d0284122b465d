"""In-silico mutagenesis: the model's output for every substitution, minus that for the sequence."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._types import AnyArray, Array
from ..backends import find_backend
from ._ready import Arrays, Found, Group, Work, take
from ._request import Request


@dataclass(frozen=True)
class Mutagenesis:
    """The method: every mutant of a sequence is a row of the model."""

    needs_gradients: ClassVar[bool] = False
    needs_one_hot: ClassVar[bool] = True
    mend: ClassVar[str] = ""
    extra: ClassVar[tuple[str, ...]] = ()
    n_points: ClassVar[int] = 1

    def count_rows(self, request: Request) -> int:
        """Return how many rows there are of each sequence, if all of its letters are known and none is masked."""
        layout = request.layout
        axis = layout.length_axis
        share = 1.0 if axis is None else (request.window.stop - request.window.start) / max(layout.shape[axis], 1)
        return 1 + int((layout.n_letters - 1) * layout.n_positions * share)

    def run(self, work: Work) -> Found:
        """Run the model on every mutant, and put the differences where the mutants' letters stand."""
        group, layout, read = work.group, work.group.request.layout, work.model.framework.read
        wild_types = work.predict(group.x)
        sequences, positions, letters = np.nonzero(_is_wanted(group))
        mutants: list[Arrays] = [[] for _ in wild_types]
        for start in range(0, len(sequences), work.batch_size):
            part = slice(start, start + work.batch_size)
            rows = _mutants(work, sequences[part], positions[part], letters[part])
            for values, value in zip(mutants, work.predict(rows, sequences[part]), strict=True):
                values.append(value)
        maps = []
        for wild_type, values in zip(wild_types, mutants, strict=True):
            numbers = np.zeros((group.size, layout.n_positions, layout.n_letters), group.host.dtype)
            if values:
                mutant = read(find_backend(output=values[0]).XP.concat(values, 0))
                with np.errstate(invalid="ignore"):  # of infinities; `Checks` names the sequences
                    numbers[sequences, positions, letters] = mutant - read(wild_type)[sequences]
            maps.append(group.array(layout.put(np.zeros_like(group.host), numbers)))
        return Found(maps, wild_types, [None] * len(maps), wild_types)


def _is_wanted(group: Group) -> Array:
    """Which letters to try, bool (n, n_positions, n_letters): all but the sequence's own, in the window and mask."""
    request, layout = group.request, group.request.layout
    wanted = group.codes[..., None] != np.arange(layout.n_letters)
    where = np.zeros((1, *layout.positions), bool)
    where[... if layout.length_axis is None else (..., request.window)] = True
    if request.mask is not None:
        where = where & (request.mask[group.rows] if len(request.mask) > 1 else request.mask)
    is_wanted: Array = wanted & where.reshape(len(where), layout.n_positions, 1)
    return is_wanted


def _mutants(work: Work, sequences: Array, positions: Array, letters: Array) -> AnyArray:
    """Rows with one letter replaced; what is brought to the device is small."""
    group, layout = work.group, work.group.request.layout
    rows, substitute = take(group.x, sequences), work.model.framework.substitute
    if substitute is not None:
        return substitute(rows, np.unravel_index(positions, layout.positions), letters, layout)
    n, ones, n_channels = len(sequences), [1] * len(layout.positions), layout.shape[layout.axis]
    place, is_letter = np.zeros((n, layout.n_positions), np.float32), np.zeros(n_channels, np.float32)
    place[np.arange(n), positions] = 1
    is_letter[layout.letters] = 1
    channel = np.zeros((n, n_channels), np.float32)
    channel[np.arange(n), np.arange(n_channels)[layout.letters][letters]] = 1

    def lay(numbers: Array, *shape: int) -> AnyArray:
        return group.array(np.moveaxis(numbers.reshape(shape), -1, layout.axis))

    is_replaced = (lay(place, n, *layout.positions, 1) > 0) & (lay(is_letter, 1, *ones, n_channels) > 0)
    return find_backend(X=rows).XP.where(is_replaced, lay(channel, n, *ones, n_channels), rows)

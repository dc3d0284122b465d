"""In-silico mutagenesis: the model's output for every substitution, minus that for the sequence."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from .._types import AnyArray, Array
from ..backends import find_backend
from ._ready import Arrays, Found, Group, Wish, Work, take
from ._request import Request

N_TOGETHER = 16
"""Sequences whose substitutions are computed together, of which all layers are kept meanwhile."""


@dataclass(frozen=True)
class Mutagenesis:
    """The method: every mutant of a sequence is a row of the model, or of what of it a substitution reaches."""

    engine: str = "auto"

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
        wanted = np.nonzero(_is_wanted(group))
        n_rows = count_rows_of(group.request, self)
        wild_types, mutants = _run_changes(work, wanted, Wish(self.engine, n_rows)) or _run_whole(work, wanted)
        maps = []
        for wild_type, values in zip(wild_types, mutants, strict=True):
            numbers = np.zeros((group.size, layout.n_positions, layout.n_letters), group.host.dtype)
            if values:
                mutant = read(find_backend(output=values[0]).XP.concat(values, 0))
                with np.errstate(invalid="ignore"):  # of infinities; `Checks` names the sequences
                    numbers[wanted] = mutant - read(wild_type)[wanted[0]]
            maps.append(group.array(layout.put(np.zeros_like(group.host), numbers)))
        return Found(maps, wild_types, [None] * len(maps), wild_types)


def count_rows_of(request: Request, method: Mutagenesis) -> int:
    """Return how many rows the model would see in all."""
    return request.layout.shape[0] * method.count_rows(request) * len(request.views)


Mutants: TypeAlias = tuple[Arrays, list[Arrays]]
"""Values of the sequences for each target, and parts of those of their mutants."""


def _run_whole(work: Work, wanted: tuple[Array, ...]) -> Mutants:
    """Run the model on whole mutants."""
    sequences, positions, letters = wanted
    wild_types = work.predict(work.group.x)
    mutants: list[Arrays] = [[] for _ in wild_types]
    for start in range(0, len(sequences), work.batch_size):
        part = slice(start, start + work.batch_size)
        rows = _mutants(work, sequences[part], positions[part], letters[part])
        for values, value in zip(mutants, work.predict(rows, sequences[part]), strict=True):
            values.append(value)
    return wild_types, mutants


def _run_changes(work: Work, wanted: tuple[Array, ...], wish: Wish) -> Mutants | None:
    """Compute what substitutions change of a few sequences at a time; None if that needs whole passes."""
    group, (sequences, positions, letters) = work.group, wanted
    parts: list[tuple[Arrays, Arrays]] = []
    for first in range(0, group.size, N_TOGETHER):
        rows = slice(first, min(first + N_TOGETHER, group.size))
        arguments = tuple(array[rows] for array in work.arguments)
        own = [None if p is None else p[rows] for p in work.positions]
        found = work.model.refer(group.x[rows], arguments, own, wish)
        if found is None:
            return None
        here = slice(*np.searchsorted(sequences, (rows.start, rows.stop)))
        codes = letters[here, None].astype(np.uint8)
        parts.append((found.values, found.run(sequences[here] - first, positions[here], codes)))
        work.advance((rows.stop - rows.start + len(codes)) * len(group.request.views))
    join = find_backend(output=parts[0][0][0]).XP.concat
    wild_types = [join(list(values), 0) for values in zip(*(values for values, _ in parts), strict=True)]
    return wild_types, [list(values) for values in zip(*(mutants for _, mutants in parts), strict=True)]


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
    framework = work.model.framework
    rows, substitute = take(group.x, framework.enter(sequences)), framework.substitute
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

"""What a scan of regions wrote, as users read it: a table of regions, and arrays that are read when asked for."""

import json
import operator
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from ... import targets
from ..._check import optional
from ..._damage import MALFORMED, telling_damage
from ..._show import html_facts, show_array
from ..._types import Array
from ..._warn import warn
from ..._wording import option
from .digests import unsealed
from .matrix import check_group
from .metadata import KEY, REGIONS, STORE
from .parquet import open_checked

STRAND = "strand"
"""Column of a table of regions, which those of earlier versions lack."""

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Attribution(NamedTuple):
    """One region of `Attributions`; with several targets, all but the codes have an axis of targets before others."""

    region: dict[str, Any]
    """Its row of the table."""
    codes: Array
    """(L,) A C G T = 0..3, 255 unknown."""
    corrected: Array
    """(4, L), float32; NaN where the status is not "ok"."""
    prediction: Array
    """A number."""
    angle_summary: Array | None
    """(5,), see `attribute_regions`; None of mutagenesis."""
    uncorrected: Array | None
    """(4, L), if it was kept."""

    def __repr__(self) -> str:
        """Name the region, and what there is of it."""
        parts = {name: show_array(value) for name, value in self._asdict().items() if isinstance(value, np.ndarray)}
        shown = ", ".join(f"{name}={text}" for name, text in parts.items())
        return f"Attribution({_name(self.region)}, {self.region['status']}, {shown})"


class Attributions:
    """What `attribute_regions` wrote: a table of regions, and arrays that are read when asked for.

    `len` is the number of regions, ``attributions[k]`` and iteration give them as `Attribution`, in the order of the
    input and whatever their status.

    Parameters
    ----------
    path : path
        The folder of the scan, all of whose shards are done.

    Attributes
    ----------
    regions : pyarrow.Table
        One row for each region, whatever its status.
    metadata : dict
        See `metadata.read_metadata`.
    targets : list of str
        Text of each target.
    table : Path
        The file of `regions`.

    Raises
    ------
    FileNotFoundError
        If there are no attributions, or not all shards are done.
    OSError
        If they are damaged.

    Warns
    -----
    UserWarning
        If an earlier version made them, which knew neither strands nor checksums.

    Examples
    --------
    >>> Attributions("peaks").maps([0, 1]).shape  # doctest: +SKIP
    (2, 4, 2114)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder = Path(path)
        if not (folder / REGIONS).exists() or not (folder / STORE).exists():
            raise FileNotFoundError(
                f"{folder} holds no attributions whose shards are all done; make them with attribute, and join shares "
                f"that were done apart with merge"
            )
        with telling_damage(folder / REGIONS, *MALFORMED), open_checked(folder / REGIONS) as file:
            self.regions: pa.Table = file.read()
            text = file.schema_arrow.metadata[KEY.encode()]
        self.metadata: dict[str, Any] = unsealed(json.loads(text), folder / REGIONS)
        self.path, self.table = folder / STORE, folder / REGIONS
        is_earlier = STRAND not in self.regions.column_names
        with telling_damage(self.path, *MALFORMED):
            self.group = optional("zarr", "io").open_group(self.path, mode="r")
            if not is_earlier:
                check_group(self.path, self.group)
            self.targets: list[str] = list(self.group.attrs["targets"])
        if is_earlier:  # when all maps were of the strand "+"
            warn(
                f"{folder} was made by an earlier version: its maps are of the strand + whatever the regions said, and "
                f"nothing tells whether they are whole; attribute again for checksums and strands"
            )
            self.regions = self.regions.append_column(STRAND, pa.array(["+"] * len(self.regions)))

    def __len__(self) -> int:
        """Count the regions, whatever their status."""
        return len(self.regions)

    def __getitem__(self, row: int) -> Attribution:
        """Return one region; negative numbers count from the end."""
        number = operator.index(row)
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self):,} regions; got number {number}")
        return next(self._block(number % len(self), number % len(self) + 1))

    def __iter__(self) -> Iterator[Attribution]:
        """Yield all regions, which are read a chunk at a time."""
        step = self.group["codes"].chunks[0]
        for start in range(0, len(self), step):
            yield from self._block(start, min(start + step, len(self)))

    def _block(self, start: int, stop: int) -> Iterator[Attribution]:
        rows = np.arange(start, stop)
        regions, codes, predictions = (
            self.regions.slice(start, stop - start).to_pylist(), self.codes(rows), self.read("prediction", rows)
        )  # fmt: skip
        corrected = self.maps(rows)
        uncorrected = self.maps(rows, corrected=False) if "uncorrected" in self.group else [None] * len(rows)
        angles = self.read("angle_summary", rows) if "angle_summary" in self.group else [None] * len(rows)
        for parts in zip(regions, codes, corrected, predictions, angles, uncorrected, strict=True):
            yield Attribution(*parts)

    def __repr__(self) -> str:
        """Say in a line what there is."""
        facts = ", ".join(f"{name}: {text}" for name, text in self._facts().items())
        return f"Attributions({str(self.table.parent)!r}, {facts})"

    def _repr_html_(self) -> str:
        return html_facts(f"Attributions in {self.table.parent}", self._facts())

    def _facts(self) -> dict[str, str]:
        n_ok = self.metadata["counts"].get("ok", 0)
        facts = {
            "regions": f"{n_ok:,} of {len(self):,} attributed",
            "window": f"{self.group['codes'].shape[1]:,} bp",
            "method": self.metadata["options"]["method"],
            "targets": ", ".join(self.targets[:3]) + (f" and {len(self.targets) - 3} more" if self.targets[3:] else ""),
        }
        if "angles" in self.metadata:
            facts["positions above 30 degrees"] = f"{self.metadata['angles']['above_30']:.1%}"
        return facts

    def number_of(self, target: Any = None) -> int:
        """Return the number of a target, which is told as it was asked for or in its text; one alone need not be."""
        names = self.targets
        if target is None and len(names) == 1:
            return 0
        if isinstance(target, str):
            name = target if target in names else str(targets.parse(target))
        else:
            name = "" if target is None else str(targets.as_target(target))
        if name in names:
            return names.index(name)
        raise ValueError(
            f"the store has the targets {', '.join(names)}; choose one, {option('target', '...')}; got {target!r}"
        )

    def logo(self, row: int, ax: "Axes | None" = None, *, target: Any = None, corrected: bool = True) -> "Axes":
        """Draw the attributions of one region at the letters of its sequence, see `plot.logo`.

        Parameters
        ----------
        row : int
            Number of the region.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        target : int, str or `gf.targets` object, optional
            Which of several.
        corrected : bool
            False for the map before the correction, which `keep_uncorrected` stores.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If the region was not attributed, the target is not told, or there is no such map.
        IndexError
            If there is no such region.
        """
        from ... import plot

        one = self._attributed(row)
        values = self.maps([row % len(self)], self.number_of(target), corrected=corrected)[0]
        return plot.logo(values, ax, x=one.codes, axis=0, **_place(one.region))

    def correction_figure(self, row: int, *, target: Any = None, zoom: int | None = None) -> "Figure":
        """Draw one region before the correction, its angle, and after it, see `plot.correction_figure`.

        Parameters
        ----------
        row, target
            See `logo`.
        zoom : int, optional
            Show only so many positions, those with most signal.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ValueError, IndexError
            As `logo`, and if the maps before the correction were not kept.
        """
        from ... import plot

        one, number = self._attributed(row), self.number_of(target)
        raw = self.maps([row % len(self)], number, corrected=False)[0]
        title = f"{_name(one.region)}, {self.metadata['model']['source']}, {self.targets[number]}"
        return plot.correction_figure(raw, one.codes, axis=0, zoom=zoom, title=title, **_place(one.region))

    def _attributed(self, row: int) -> Attribution:
        one = self[row]
        if one.region["status"] != "ok":
            raise ValueError(f"region {row} was not attributed, its status is {one.region['status']}; choose another")
        return one

    def read(self, name: str, rows: Any, target: int | None = None) -> Array:
        """Return rows of an array as they are stored; of one target where there are several."""
        array, numbers = self.group[name], np.asarray(rows, np.int64)
        with telling_damage(self.path, *MALFORMED):  # also Zarr's for a checksum that is wrong
            whole = _take(array, numbers)
        has_targets = len(self.targets) > 1 and name != "codes"
        return whole[:, target] if has_targets and target is not None else whole

    def codes(self, rows: Any) -> Array:
        """Return the sequences of some regions, codes (n, L): A C G T = 0..3, 255 unknown."""
        return self.read("codes", rows)

    def maps(self, rows: Any, target: int | None = None, *, corrected: bool = True) -> Array:
        """Return the attributions of some regions, float32, (n, 4, L); NaN where the status is not "ok".

        With several targets, and none chosen, they are (n, T, 4, L).
        """
        name = "corrected" if corrected else "uncorrected"
        if name not in self.group:
            raise ValueError(f"the store has no uncorrected maps; attribute with {option('keep_uncorrected')}")
        found = self.read(name, rows, target)
        if found.dtype == np.float32:
            return found
        numbers: Array = found.astype(np.float32) * self.read(f"{name}_scale", rows, target)[..., None, None]
        return numbers


def _name(region: Mapping[str, Any]) -> str:
    """Name a region by its place, as BED has it."""
    return f"{region['chrom']}:{region['start']}-{region['stop']}"


def _place(region: Mapping[str, Any]) -> dict[str, Any]:
    """Where the window of a region is, for the axis of a picture; those of the other strand run backwards."""
    return {} if region["strand"] == "-" else {"start": region["window_start"], "chrom": region["chrom"]}


def _take(array: Any, rows: Array) -> Array:
    """Read rows, whole chunks one by one: ten times as fast as Zarr's own selection by number."""
    if rows.size and (np.diff(rows) == 1).all():
        together: Array = array[int(rows[0]) : int(rows[-1]) + 1]
        return together
    found, numbers = np.empty((len(rows), *array.shape[1:]), array.dtype), rows // array.chunks[0]
    for number in np.unique(numbers):
        here, first = np.flatnonzero(numbers == number), int(number) * array.chunks[0]
        found[here] = array[first : first + array.chunks[0]][rows[here] - first]
    return found

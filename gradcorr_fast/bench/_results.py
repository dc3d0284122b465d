"""What a run found: rows, the machine, and the one JSON file that holds them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._types import PathLike
from ..io.replacing import replacing
from ._tables import Row, render

FORMAT, VERSION = "gradcorr-fast bench", 1
KEY = ("kind", "library", "device", "operation", "layout", "dtype", "x", "network", "model", "n_sequences", "length")
"""What tells a row from others."""
ROW, MEASURED = {"kind", "library", "device", "operation", "measured"}, {"seconds", "low", "high"}


@dataclass
class Results:
    """Rows of measurements, and on what machine, with which versions, they were taken.

    Attributes
    ----------
    machine : dict
        Processor, threads, memory, versions, commit and date; `devices` are the GPUs.
    plan : dict
        What was to be measured.
    rows : list of dict
        Each case: `measured` has the median seconds of every way of doing it, with the 95 % interval, `ratios` how
        many times as long as ours the others took, taken within rounds; `share` is that of the device's own copy of
        as many bytes; `left_out` says why something is missing.
    interrupted : bool
        Whether Ctrl-C ended the run.
    """

    machine: dict[str, Any]
    plan: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    interrupted: bool = False

    def __repr__(self) -> str:
        measured = sum("ours" in row["measured"] for row in self.rows)
        return f"Results of {self.machine['processor']}: {measured} of {len(self.rows)} rows measured"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.table())}</pre>"

    def table(self) -> str:
        """Return the tables that the command prints."""
        return render(self.rows, interrupted=self.interrupted)

    def save(self, path: PathLike, *, force: bool = False) -> Path:
        """Write the JSON file, which is whole or not there, and return its path."""
        content = {"format": FORMAT, "version": VERSION, **vars(self)}
        with replacing([Path(path)], force=force) as (temporary,):
            temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")
        return Path(path)

    def draw(self) -> Any:
        """Draw bandwidth, speed-up and time of a call over length.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        MissingBackendError
            Without matplotlib.
        """
        from .._check import optional

        optional("matplotlib", "plot")
        from ._picture import draw

        return draw(self.rows, self.machine)


def key_of(row: Row) -> tuple[Any, ...]:
    """Return what tells a row from others."""
    return tuple(row.get(name) for name in KEY)


def load(path: PathLike) -> Results:
    """Read what `Results.save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Results

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds something else, is damaged, or was written by a newer version of this package.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no whole file of results; was it cut off on its way? ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by gradcorr-fast bench, whose files alone can be read")
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(
            f"{path} has version {version} of the format, and this package reads up to {VERSION}; update it"
        )
    machine, plan, rows = content.get("machine"), content.get("plan"), content.get("rows")
    if (
        not (isinstance(machine, dict) and isinstance(plan, dict) and isinstance(rows, list))
        or "processor" not in machine
    ):
        raise ValueError(f"{path} is damaged: machine, plan or rows are missing")
    for number, row in enumerate(rows):
        if not _is_row(row):
            raise ValueError(f"{path} is damaged: its row {number} is no measurement")
    return Results(machine, plan, rows, bool(content.get("interrupted")))


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not row.keys() >= ROW or not isinstance(row["measured"], dict):
        return False
    values = [*row["measured"].values()]
    if not all(isinstance(value, dict) and value.keys() >= MEASURED for value in values):
        return False
    numbers = [value[name] for value in values for name in MEASURED]
    triples = [*row.get("ratios", {}).values(), *([row["share"]] if "share" in row else [])]
    if not all(isinstance(triple, list) and len(triple) == 3 for triple in triples):
        return False
    numbers += [value for triple in triples for value in triple]
    return all(isinstance(value, int | float) and 0 < value < float("inf") for value in numbers)

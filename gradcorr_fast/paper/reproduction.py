"""The papers' figures as files: a picture, the numbers behind it and a paragraph, beside the published numbers."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._check import optional
from ..io.replacing import replacing
from .figures import FIGURES, Reproduction, Study, draw
from .figures.scale import CPU, PAPER, QUICK, Scale

__all__ = ["CPU", "FIGURES", "PAPER", "QUICK", "Scale", "reproduce"]


def reproduce(
    figures: str | Iterable[str],
    folder: str | Path,
    *,
    scale: Scale = CPU,
    data: str | Path | None = None,
    stand_in: bool = False,
    workers: int = 1,
    device: str | None = None,
    quiet: bool = False,
) -> dict[str, Reproduction | FileNotFoundError]:
    """Reproduce figures of the papers; what was interrupted goes on where it was.

    Parameters
    ----------
    figures : str or iterable of str
        Of `FIGURES`, or "all".
    folder : str or Path
        Where figures, models and measurements go: new, or of an earlier call.
    scale : Scale
        How many models, sequences and settings: `QUICK`, `CPU`, `PAPER`, or one of your own.
    data : str or Path, optional
        Folder of published files. By default ``folder / "data"``.
    stand_in : bool
        Whether generated data takes the place of published files that are not there.
    workers : int
        Models that are trained side by side on a CPU. Above 1, a script that calls this needs
        ``if __name__ == "__main__":``.
    device : str, optional
        Where models are trained and attributed, such as "cuda", which trains the seeds of a model at once.
    quiet : bool
        Whether no progress is written to stderr.

    Returns
    -------
    dict of str to Reproduction
        And of figures whose data is not there to the error that says which files are missing, if there are others.

    Raises
    ------
    ValueError
        If there is no such figure or device, or the folder is of a study of other numbers.
    OSError
        If a file that an earlier call kept is damaged.
    FileExistsError
        If the folder holds something else.
    FileNotFoundError
        If published files are not there and no figure can do without.
    MissingBackendError
        If a library is not installed.

    Notes
    -----
    Of each figure, FIGURE.png, .pdf, .csv and .txt are written; of the table, table.md instead of a picture.

    Examples
    --------
    >>> reproduce("fig1c", "papers", scale=QUICK)  # doctest: +SKIP
    """
    names = [figures] if isinstance(figures, str) else list(dict.fromkeys(figures))
    names = list(FIGURES) if names == ["all"] else names
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise ValueError(f"there is no figure {unknown[0]!r}; the figures are {', '.join(FIGURES)}, or all")
    study = Study(folder, scale=scale, data=data, stand_in=stand_in, workers=workers, device=device, quiet=quiet)
    done: dict[str, Reproduction | FileNotFoundError] = {}
    for name in names:
        study.say(f"{name}: {FIGURES[name].title}")
        try:
            result = draw(name, study)
        except FileNotFoundError as error:  # published data that is not there
            done[name] = error
            continue
        write(result, study.folder / name)
        done[name] = result
    errors = [outcome for outcome in done.values() if isinstance(outcome, FileNotFoundError)]
    if len(errors) == len(done) > 0:
        raise errors[0]
    return done


def write(result: Reproduction, path: Path) -> None:
    """Write a figure to files of one name."""
    from .. import plot

    has = {".csv": True, ".txt": True, ".md": result.markdown, ".png": result.figure, ".pdf": result.figure}
    suffixes = [suffix for suffix, content in has.items() if content]
    with replacing([path.with_name(path.name + suffix) for suffix in suffixes], force=True) as temporaries:
        for suffix, temporary in zip(suffixes, temporaries, strict=True):
            match suffix:
                case ".csv":
                    _write_table(result.numbers, temporary)
                case ".txt":
                    temporary.write_text(wrap(result.text) + "\n")
                case ".md":
                    temporary.write_text(result.markdown)
                case _:
                    assert result.figure is not None
                    plot.save(result.figure, temporary, dpi=150)


def _write_table(columns: Any, path: Path) -> None:
    pyarrow = optional("pyarrow", "paper")
    from pyarrow import csv

    csv.write_csv(pyarrow.table(dict(columns)), path)


def wrap(text: str) -> str:
    """Break the lines of a paragraph."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)

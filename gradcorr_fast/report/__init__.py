"""Reports: what a scan or `correct` wrote as one HTML file with pictures, which needs no other file and no network."""

from pathlib import Path

from .._types import Model, PathLike
from .._wording import option
from ..io.reading import ARRAY_FORMATS
from ..io.replacing import replacing
from ..scan.results.metadata import KEY, REPORT, RUN_FILE, TABLE_FORMATS, read_metadata
from ..scan.running.planning import as_loaded
from ._maps import is_summary, map_page, summary_page
from ._page import render
from ._regions import region_page
from ._variants import variant_page

__all__ = ["write_report"]

TOP = 200


def write_report(
    out: PathLike, file: PathLike | None = None, *, target: str | None = None, top: int = TOP, model: Model = None,
    fasta: PathLike | None = None, dataset: str | None = None, axis: int | None = None, x: PathLike | None = None,
    force: bool = False,
) -> Path:  # fmt: skip
    """Write a report on what a scan or `correct` wrote, as one HTML file.

    Parameters
    ----------
    out : path
        A folder or table of `scan.score_variants`, a folder of `scan.attribute_regions`, attributions in a file that
        `io.correct_file` takes, or the summary that it writes.
    file : path, optional
        What to write; by default "report.html" in the folder, or the name of the file with the suffix ".html".
    target : str, optional
        Text of the target that is shown, of scans of several; by default the first.
    top : int
        Rows of the table of the largest effects or angles.
    model : model, `model_files.LoadedModel` or str, optional
        The model of a scan of variants, which draws the logos of both alleles of the largest effects.
    fasta : path, optional
        The genome of a scan of variants, by default where it was.
    dataset, axis
        Of attributions in a file, see `io.correct_file`.
    x : path, optional
        Sequences of attributions in a file, one-hot or codes; their letters are drawn.
    force : bool
        Replace a file that exists.

    Returns
    -------
    Path
        Of the report.

    Raises
    ------
    FileNotFoundError, FileExistsError
        If there is no such output, or the report exists and `force` is not given.
    ValueError
        If `out` is nothing of this kind, a scan is not done, there is no such target, or the model is another one.
    MissingBackendError
        If jinja2, or what reads the output, is not installed.

    Notes
    -----
    The file holds its style, its pictures (SVG) and a small script that sorts and searches tables; it loads nothing,
    and a policy in it forbids that. Names of the input are shown as text, whatever they are.

    Examples
    --------
    >>> write_report("scan", "scan.html")  # doctest: +SKIP
    """
    path = Path(out)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give what score, attribute or correct wrote")
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top must be a whole number from 1; got {top!r}")
    place = _place(path) if file is None else Path(file)
    if place.exists() and not force:  # before the work
        raise FileExistsError(f"{place} exists already; {option('force')} replaces it")
    kind = _kind_of(path)
    if kind != "variants" and (model is not None or fasta is not None):
        raise ValueError(f"a model or genome is for a scan of variants, and {path} is none; leave it away")
    if kind not in ("variants", "regions") and target is not None:
        raise ValueError(f"a target is of a scan, and {path} is none; leave it away")
    if kind != "maps" and not (dataset is None and axis is None and x is None):
        raise ValueError(f"dataset, axis and x are of attributions in a file, and {path} is none; leave them away")
    if kind == "summary":
        page = summary_page(path)
    elif kind == "maps":
        page = map_page(path, dataset=dataset, axis=axis, x=None if x is None else Path(x))
    elif kind == "regions":
        page = region_page(path, target=target, top=top)
    else:
        loaded, genome = None if model is None else as_loaded(model, None), None if fasta is None else Path(fasta)
        page = variant_page(path, target=target, top=top, model=loaded, fasta=genome)
    with replacing([place], [path] if path.is_file() else [], force=force) as (temporary,):
        temporary.write_text(render(page), encoding="utf-8", errors="backslashreplace")
    return place


def _place(path: Path) -> Path:
    """Where the report of an output goes."""
    if path.is_dir() and path.suffix.lower() not in ARRAY_FORMATS:
        return path / REPORT
    suffix = next((suffix for suffix in sorted(TABLE_FORMATS, key=len, reverse=True) if path.name.endswith(suffix)), "")
    return path.with_name(f"{path.name.removesuffix(suffix or path.suffix)}.html")


def _kind_of(path: Path) -> str:
    """Tell what wrote a file or folder."""
    if is_summary(path) and path.is_file():
        return "summary"
    if path.suffix.lower() in ARRAY_FORMATS and not (path.is_dir() and _is_ours(path)):
        return "maps"
    kind = str(read_metadata(path).get("kind"))
    if kind not in ("variants", "regions") or (kind == "regions" and not (path / RUN_FILE).exists()):
        raise ValueError(f"{path} is a part of what a scan wrote; give its folder")
    return kind


def _is_ours(path: Path) -> bool:
    """Whether a Zarr store was written by a scan."""
    return f'"{KEY}"' in (path / "zarr.json").read_text() if (path / "zarr.json").exists() else False

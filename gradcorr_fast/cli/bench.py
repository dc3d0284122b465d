"""`gradcorr-fast bench`: what this work costs on the devices at hand, over the lengths of sequences."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._check import MissingBackendError
from ._errors import WrongCallError, told
from ._parameters import FILE, Text

if TYPE_CHECKING:
    from ..bench import Results

DEFAULT_FILE = "gradcorr-bench.json"
SUFFIXES = (".png", ".svg", ".pdf")


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(int(part.strip().replace("_", "")) for part in text.split(",") if part.strip())


@click.command()
@click.option("--quick", is_flag=True, help="Under a minute: a few lengths, float32.")
@click.option("--full", is_flag=True, help="Hours: every operation at every length, all dtypes.")
@click.option("--device", "devices", multiple=True, help="cpu, cuda (all), cuda:1, ...; repeatable. Default: all.")
@click.option("--library", "libraries", multiple=True, help="numpy, torch, cupy, jax or tensorflow; repeatable.")
@click.option("--op", "operations", multiple=True, help="An operation, 'standard work', saliency or score_variants.")
@click.option("--lengths", type=Text(_lengths, "bp,bp,..."), help="Lengths of sequences instead of the usual ones.")
@click.option("--model", "-m", type=FILE, help="PyTorch model to scan variants with, as in score; else the demo's.")
@click.option("--weights", type=FILE, help="State dict for the model that module:callable makes.")
@click.option("--trust-model", is_flag=True, help="Load files that run code when they are loaded.")
@click.option("--length", type=click.IntRange(1), help="Window of that model, bp, where it does not tell one.")
@click.option("--json", "json_file", type=FILE, help=f"File of results.  [default: {DEFAULT_FILE}]")
@click.option("--plot", "plots", type=FILE, multiple=True, help="Picture, .png, .svg or .pdf; repeatable.")
@click.option("--force", is_flag=True, help="Replace files.")
@click.option("--compare", type=FILE, nargs=2, metavar="A B", help="Measure nothing; compare two files of results.")
@click.option("--submit", is_flag=True, help="Say at the end which file to attach to an issue; sends nothing.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def bench(**options: Any) -> None:
    """Measure on the devices at hand what the work costs, from 200 bp to half a million.

    Each row compares our operation, in turn within one run, with others' formulas in the same library and with the
    device's own copy of as many bytes, which is the limit. Then gradients through the hook against the bare model's,
    and variants a second. Without --quick or --full it takes half an hour at most. Ctrl-C keeps what was measured.

    \b
    Example:
      gradcorr-fast bench --quick
      gradcorr-fast bench --device cuda --json my-gpu.json --plot my-gpu.svg
      gradcorr-fast bench --library torch --op correct --lengths 500,196608
      gradcorr-fast bench --compare before.json after.json
    """
    if options["quick"] and options["full"]:
        raise WrongCallError("--quick and --full exclude each other; leave one of them out")
    with told():
        if options["compare"]:
            from ..bench import compare, load

            click.echo(compare(*(load(path) for path in options["compare"])).table())
            return
        places = _places(options)
        results = _run(options)
    _keep(results, places, options)
    if results.interrupted or not any("ours" in row["measured"] for row in results.rows):
        raise SystemExit(1)


def _places(options: dict[str, Any]) -> tuple[Path, list[Path]]:
    """Return where the results go, and refuse before the work what would be refused after it."""
    path = Path(options["json_file"] or DEFAULT_FILE)
    plots = [Path(plot) for plot in options["plots"]]
    # A name that nobody chose is replaced: it holds the run before, which --json keeps.
    for place in [*plots, *([path] if options["json_file"] else [])]:
        if place.exists() and not options["force"]:
            raise FileExistsError(f"{place} exists already; --force replaces it")
    for place in [path, *plots]:
        if not place.parent.is_dir():
            raise FileNotFoundError(f"the folder {place.parent} does not exist; make it, or write elsewhere")
    for plot in plots:
        if plot.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{plot} must end in one of {', '.join(SUFFIXES)}")
    if plots:
        from .._check import optional

        optional("matplotlib", "plot")
    return path, plots


def _run(options: dict[str, Any]) -> "Results":
    from ..bench import run

    model: dict[str, Any] = {}
    if options["model"]:
        from ..model_files import load_model

        loaded = load_model(options["model"], weights=options["weights"], trust=options["trust_model"])
        model = {"model": loaded, "model_name": loaded.digest[:12], "model_length": options["length"]}
    names = "quick" if options["quick"] else "full" if options["full"] else "usual"
    chosen = {name: options[name] for name in ("devices", "libraries", "operations")}
    tell = (lambda text: None) if options["quiet"] else (lambda text: click.echo(text, err=True))
    return run(names, **chosen, lengths=options["lengths"] or (), tell=tell, **model)


def _keep(results: "Results", places: tuple[Path, list[Path]], options: dict[str, Any]) -> None:
    """Show the tables, and write the file and the pictures."""
    path, plots = places
    with told():
        results.save(path, force=True)
        click.echo(results.table())
        click.echo(f"\n{results.machine['seconds']:.0f} s; results in {path}")
        for plot in plots:
            try:
                results.draw().savefig(plot, dpi=200, metadata={"Date": None} if plot.suffix == ".svg" else None)
            except MissingBackendError as error:
                raise click.ClickException(str(error)) from error
            click.echo(f"picture in {plot}")
    if options["submit"]:
        click.echo(
            f"To share them, attach {path.resolve()} to a new issue of the project ('Something is slow, or measured on "
            "a GPU'). It names processor, GPUs, driver, versions and commit; no host, user, path or model. Nothing was "
            "sent."
        )

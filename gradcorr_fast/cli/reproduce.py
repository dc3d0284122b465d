"""`gradcorr-fast reproduce`: figures and tables of the papers, from data to pictures, beside the published numbers."""

import os
from dataclasses import replace
from pathlib import Path

import click

from ..paper import reproduction
from ..paper.reproduction import FIGURES
from ._errors import told

NAMES = [*FIGURES, "all"]
SIZES = {"quick": reproduction.QUICK, "whole": reproduction.PAPER}
LIST = "\n".join(f"  {name:<10} {entry.title}" for name, entry in FIGURES.items())


@click.command(epilog=f"\b\nFigures:\n{LIST}\n  {'all':<10} All of them")
@click.argument("figures", metavar="FIGURE...", nargs=-1, required=True, type=click.Choice(NAMES))
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("gradcorr-paper"),
    show_default=True,
    help="Folder for figures, models and measurements; the same again goes on.",
)
@click.option("--quick", "size", flag_value="quick", help="Minutes on two cores: fewer, smaller, shorter.")
@click.option("--whole", "size", flag_value="whole", help="All models and settings of the papers.")
@click.option("--models", type=click.IntRange(1), help="Seeds of each model; 5, and 50 in the papers.")
@click.option("--trials", type=click.IntRange(1), help="Models of each setting of notes S1 and S2; 1.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of published files; by default OUT/data."
)
@click.option("--stand-in", is_flag=True, help="Generate small data where published files are not there.")
@click.option("--workers", type=click.IntRange(1), help="Trainings side by side on a CPU; by default its cores.")
@click.option("--device", help="Where models run, such as cuda, which trains the seeds of a model at once.")
@click.option("--quiet", is_flag=True, help="No progress.")
def reproduce(
    figures: tuple[str, ...],
    out: Path,
    size: str | None,
    models: int | None,
    trials: int | None,
    data: Path | None,
    stand_in: bool,
    workers: int | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Reproduce figures and tables of the papers.

    Makes the data, trains the models, attributes and measures, and writes of each figure a picture (PNG, PDF), the
    numbers behind it (CSV) and a paragraph that sets them beside the published ones.

    \b
    Example:
      gradcorr-fast reproduce fig1b --quick -o papers-quick
      gradcorr-fast reproduce all -o papers
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    scale = SIZES[size] if size else reproduction.CPU
    scale = replace(scale, models=models or scale.models)
    scale = replace(scale, sigma_trials=trials or scale.sigma_trials, angle_trials=trials or scale.angle_trials)
    if scale.reductions() and not quiet:
        click.echo(f"Less than in the papers: {'; '.join(scale.reductions())}.", err=True)
    with told():
        try:
            done = reproduction.reproduce(
                list(FIGURES) if "all" in figures else figures,
                out,
                scale=scale,
                data=data,
                stand_in=stand_in,
                workers=workers or n_cores,
                device=device,
                quiet=quiet,
            )
        except (RuntimeError, MemoryError) as error:  # of a framework
            raise click.ClickException(f"{error}\nWhat is done is kept in {out}; the same call goes on.") from error
    for name, result in done.items():
        if not isinstance(result, FileNotFoundError):
            click.echo(f"\n{out / name}: {FIGURES[name].title}\n\n{reproduction.wrap(result.text)}")
    missing = {name: error for name, error in done.items() if isinstance(error, FileNotFoundError)}
    if missing:
        reasons = "\n".join(f"{name}: {error}" for name, error in missing.items())
        raise click.ClickException(f"{len(missing)} figures lack their data\n{reasons}")

"""`gradcorr-fast demo`: attributions of a small trained network, before and after the correction; needs no input."""

from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from .._check import missing_backend
from ._errors import WrongCallError, told

if TYPE_CHECKING:
    from ..demo.run import Result

NEEDED = {
    "torch": "PyTorch",
    "matplotlib": "matplotlib",
    "logomaker": "logomaker",
    "pysam": "pysam",
    "pyarrow": "pyarrow",
}


OPENING = (
    "What you will see: where a network looks in sequences whose motifs are known, before and after the part of its "
    "gradient that points off the simplex is taken away.\n"
)
STEPS = 4


@click.command()
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("gradcorr-demo"), show_default=True, help="New folder."
)
@click.option("--sequences", type=click.IntRange(2, 100_000), default=300, show_default=True, help="How many to make.")
@click.option("--force", is_flag=True, help="Write into the folder if it exists.")
def demo(out: Path, sequences: int, force: bool) -> None:
    """Show on planted motifs what the correction does.

    Makes sequences with planted motifs, computes the input gradients of a network that was trained on such sequences,
    corrects them, measures both against the truth, and writes maps and pictures to a folder.

    \b
    Example:
      gradcorr-fast demo
      gradcorr-fast demo -o another-folder --sequences 1000
    """
    click.echo(OPENING, err=True)
    for package, name in NEEDED.items():
        if find_spec(package) is None:
            raise click.ClickException(str(missing_backend(name, "demo")))
    if out.exists() and not (force and out.is_dir()):
        raise WrongCallError(f"{out} exists; pass --force to write into that folder, or -o with another one")
    steps = count(1)
    with told():
        from ..demo.run import run

        out.mkdir(parents=True, exist_ok=True)
        text = report(run(out, sequences, lambda step: click.echo(f"{next(steps)}/{STEPS}  {step}", err=True)))
        (out / "report.txt").write_text(text)
    click.echo(text)
    click.echo(
        f"Look at {out / 'largest-angles.png'}: its fourth panel is the first without the second, what was off the "
        "simplex."
    )


def report(result: "Result") -> str:
    """Return the table of a run."""
    shares = 100 * result.summary.fractions.mean(axis=0)
    lines = [
        f"A network that finds planted motifs (CNN-deep of the papers), on {result.n_sequences} sequences of 200 bp",
        "that it has not seen. Positions whose gradient points off the simplex by more than",
        *(
            f"  {threshold:.0f} degrees: {share:4.1f} %"
            for threshold, share in zip(result.summary.thresholds, shares, strict=True)
        ),
        "",
        f"{'agreement with the truth':<26}{'before':>8}{'after':>8}   better in",
    ]
    for name, label in (("auroc", "AUROC"), ("aupr", "AUPR"), ("cosine", "cosine similarity *")):
        before, after = getattr(result.before, name), getattr(result.after, name)
        better = f"{100 * np.mean(after > before):.0f} % of sequences"
        lines.append(f"{label:<26}{before.mean():>8.3f}{after.mean():>8.3f}   {better}")
    lines += [
        "* grows by |G| / |Gc| wherever it was positive, whatever was removed: no evidence",
        "",
        f"Effects of {result.n_substitutions:,} substitutions, exact and from one gradient of each sequence:",
        f"r = {result.correlation:.2f}. The correction does not change the latter; there the angle is quality control.",
        "",
        "Where nothing is planted the network may still find what is like a motif. Its strongest such signal is",
        *(f"  in {name}.png at {text}" for name, text in result.unplanted.items()),
        "",
        "Files: largest-angles.png and typical.png (before, removed, angle, after, truth), angles.png,",
        "large-angles.png; sequences.fa and scores.vcf.gz, every substitution in those two (`gradcorr-fast report`",
        "shows it, `gradcorr-fast info` tells of it);",
        "gradients.npy (N, 4, L), one-hot.npy, angles.npy; modisco.ohe.npz and modisco.attr.npz for TF-MoDISco:",
        f"  {result.command}",
        "genome.fa, variants.vcf and peaks.bed to try `gradcorr-fast score` and `attribute` with.",
        "",
    ]
    return "\n".join(lines)

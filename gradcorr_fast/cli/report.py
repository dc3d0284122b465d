"""`gradcorr-fast report`: one HTML file on what a scan or `correct` wrote."""

from typing import Any

import click

from ._parameters import FILE
from ._scan import ending


@click.command(no_args_is_help=True)
@click.argument("out", type=FILE)
@click.option(
    "-o", "--file", metavar="FILE.html", type=FILE, help="By default report.html in a folder, or beside a file."
)
@click.option("--target", "-t", help="Which of several to show, by its text.")
@click.option("--top", type=click.IntRange(1, 5000), default=200, show_default=True, help="Rows of the large table.")
@click.option("--model", "-m", type=FILE, help="That of a scan of variants: draws the logos of the largest effects.")
@click.option("--weights", type=FILE, help="For the model that module:callable makes.")
@click.option("--trust-model", is_flag=True, help="Load files that run code when they are loaded.")
@click.option("--custom-objects", multiple=True, metavar="NAME=MODULE:CLASS", help="For Keras; repeatable.")
@click.option("--device", help="Of the model, such as cuda:0.")
@click.option("--fasta", "-f", type=FILE, help="Genome of a scan of variants, if it is no longer where it was.")
@click.option("--x", metavar="FILE", type=FILE, help="One-hot sequences or codes of attributions in a file.")
@click.option("--dataset", metavar="NAME", help="Which array of attributions in a file.")
@click.option("--axis", type=int, help="Letter axis of attributions in a file.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def report(
    model: str | None, weights: str | None, trust_model: bool, custom_objects: tuple[str, ...], device: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Write a report on OUT as one HTML file, which opens without network.

    OUT is a folder or table of score, a folder of attribute, attributions in a file that correct takes, or the file of
    correct --summary. The report has the counts with their reasons, the distributions, the largest effects or angles
    in a table that can be sorted and searched, logos, and how it was made.

    \b
    Example:
      gradcorr-fast report scan
      gradcorr-fast report scores.parquet -o scores.html -m nets:make --weights net.safetensors
      gradcorr-fast report peaks
      gradcorr-fast report gradients.npy --x onehot.npy
    """
    if model is None and (weights or trust_model or custom_objects or device):
        raise click.UsageError("--weights, --trust-model, --custom-objects and --device go with --model; give that too")
    with ending():
        from ..report import write_report

        loaded = None
        if model is not None:
            from ..model_files import load_model

            loaded = load_model(
                model, weights=weights, trust=trust_model, custom_objects=custom_objects, device=device
            )  # fmt: skip
        click.echo(write_report(options.pop("out"), model=loaded, **options))

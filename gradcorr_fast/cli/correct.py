"""`gradcorr-fast correct`: attributions in a file, corrected into another."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ._errors import told
from ._parameters import FILE


@click.command(no_args_is_help=True)
@click.argument("source", metavar="IN", type=FILE)
@click.option("-o", "--out", required=True, type=FILE, help="File to write; with --format modisco, a prefix.")
@click.option("--dataset", metavar="NAME", help="Which array of IN, if several look like attributions.")
@click.option(
    "--axis",
    type=int,
    help="Letter axis: 1 for (N, 4, L), 2 for (N, L, 4). By default the only axis but the first of length 4.",
)
@click.option("--angles", metavar="FILE", type=FILE, help="Also write the angle of each position, in degrees.")
@click.option("--summary", metavar="FILE.json", type=FILE, help="Also write shares above 30, 45 and 60 degrees, ...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["modisco"]),
    help="Write PREFIX.ohe.npz and PREFIX.attr.npz for TF-MoDISco, (N, 4, L), and print the command that reads them.",
)
@click.option("--x", metavar="FILE", type=FILE, help="One-hot sequences or codes, for --format modisco; may be IN.")
@click.option("--x-dataset", metavar="NAME", help="Which array of the file with the sequences.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def correct(
    source: str, out: str, format_: str | None, x: str | None, x_dataset: str | None, quiet: bool, **options: Any
) -> None:
    """Subtract the mean over the letters from the attributions in IN.

    IN and the files that are written are npy, npz, HDF5 (.h5, .hdf5, .hdf) or Zarr (.zarr; versions 2 and 3 are
    read, 3 is written), going by their suffixes, in any pairing. They are read and written block by block, so that
    their size does not matter. Shape, dtype and the name of the dataset stay; attributes and other datasets are not
    copied. Angles are written without the letter axis, as the dataset "angle"; the summary tells them of IN. Outputs
    appear when all are complete, or not at all.

    A warning says if IN seems to hold something else than plain gradients.

    \b
    Example:
      gradcorr-fast correct grads.h5 -o corrected.npy --summary angles.json
      gradcorr-fast correct grads.npy -o run --x onehot.npy --format modisco
    """
    if (x is None) != (format_ is None) or (x is None and x_dataset is not None):
        raise click.UsageError("--x FILE and --format modisco go together; give both or neither")
    from .. import io

    with told(), _warnings_told():
        if x is None:
            total = io.correct_file(source, out, verbose=not quiet, **options)
        else:
            total = io.correct_to_modisco(source, out, x, x_dataset=x_dataset, verbose=not quiet, **options)
    if total is not None:
        click.echo(total)


@contextmanager
def _warnings_told() -> Iterator[None]:
    def show(message: Warning | str, *rest: Any, **options: Any) -> None:
        click.echo(f"Warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield

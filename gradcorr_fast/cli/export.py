"""`gradcorr-fast export`: attributions of regions in the files that other programs read."""

from typing import Any

import click

from ..io.tracks import OVERLAPS
from ..scan.results.exporting import EXPORT_FORMATS
from ._parameters import FILE
from ._scan import ending


@click.command(no_args_is_help=True)
@click.argument("store", type=FILE)
@click.option("-o", "--out", required=True, type=FILE, help="File to write; for modisco the beginning of its name.")
@click.option("--format", type=click.Choice(EXPORT_FORMATS), required=True)
@click.option("--target", "-t", help="Which of several, by its text.")
@click.option("--uncorrected", is_flag=True, help="Maps before the correction, which --keep-uncorrected stores.")
@click.option("--overlap", type=click.Choice(OVERLAPS), default="mean", help="Of windows, in a bigWig.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def export(store: str, out: str, uncorrected: bool, quiet: bool, **options: Any) -> None:
    """Write the attributions in the folder STORE, which attribute made, in another format.

    modisco writes OUT.ohe.npz and OUT.attr.npz and prints the command that reads them; hdf5 the layout of ChromBPNet,
    for Fi-NeMo; both a narrowPeak of the regions that are in them. bigwig has the corrected gradient at the observed
    letter; parquet the table of regions with predictions and angles.

    \b
    Example:
      gradcorr-fast export peaks -o peaks.bw --format bigwig --overlap max
    """
    with ending():
        from .. import scan

        for path in scan.export(store, out, corrected=not uncorrected, verbose=not quiet, **options):
            click.echo(path)

"""`gradcorr-fast info`: what a file of scores holds and how it was made."""

import json

import click

from ._errors import told
from ._scan import show_counts


@click.command(no_args_is_help=True)
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print metadata, columns and number of rows as JSON.")
def info(file: str, as_json: bool) -> None:
    """Describe how the scores in FILE were made, in a paragraph for a paper, and what it holds.

    FILE is a Parquet, TSV (with its .json beside it), VCF or BCF file, a Zarr matrix, or the folder of a run.

    \b
    Example:
      gradcorr-fast info scores.vcf.gz
    """
    with told():
        from ..scan.results.metadata import read_contents
        from ..scan.results.paragraph import describe

        contents = read_contents(file)
    if as_json:
        click.echo(json.dumps(contents._asdict(), indent=2))
        return
    click.echo(describe(contents.metadata))
    if contents.metadata.get("counts"):
        click.echo(f"\n{show_counts(contents.metadata['counts'])}")
    if contents.n_rows is not None:
        click.echo(f"\n{contents.n_rows:,} rows")
    if contents.columns:
        click.echo(f"columns: {', '.join(contents.columns)}")
    else:
        click.echo(f"there is no table yet; gradcorr-fast status {file} tells how far the scan is")

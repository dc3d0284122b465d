"""`gradcorr-fast merge`: the shards of a scan, joined into one table."""

import click

from ._parameters import FILE
from ._scan import ending, show_result


@click.command(no_args_is_help=True)
@click.argument("out", type=FILE)
@click.option("--format", "format_", help="Of the table in a folder: parquet, tsv, tsv.gz, vcf, vcf.gz or bcf.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.pass_context
def merge(context: click.Context, /, out: str, format_: str | None, force: bool) -> None:
    """Join the shards of the scan OUT, when all are done; OUT is what score was given.

    \b
    Example:
      gradcorr-fast merge scan --format vcf.gz
    """
    with ending():
        from .. import scan

        exit_status = show_result(scan.merge(out, format=format_, force=force))
    context.exit(exit_status)

"""`gradcorr-fast score`: variants, a genome and a model in, a table of scores out."""

from typing import Any

import click

from ..scan.running.options import ScanOptions
from ._parameters import Share
from ._scan import VARIANTS, WORKERS, ending, prepare_variants, scan_options, show_result, show_share, taking_workers


@click.command(no_args_is_help=True)
@scan_options(ScanOptions, *VARIANTS, *WORKERS)
@click.option("--format", "format_", help="Of the table in a folder: parquet, tsv, tsv.gz, vcf, vcf.gz or bcf.")
@click.option("--shard", type=Share(), help="Do every n-th shard, beginning with the i-th, and do not merge.")
@click.pass_context
def score(context: click.Context, /, format_: str | None, shard: tuple[int, int] | None, **options: Any) -> None:
    """Score variants: one row for each record and alternative allele, whatever becomes of it.

    All variants are placed first, and cut into shards; a shard is done whole or not at all. What ends before its time
    goes on with --resume, and ends with the same bytes. --workers and --dask share the work among processes, which this
    one drives. --shard i/n does a part of the shards, alone, as in an array job; merge joins them. `gradcorr-fast info
    FILE` tells how a table was made.

    Exit status: 0 all is scored that can be, 1 failed, incomplete, the model failed for some alleles, or nothing
    could be scored (with --shard: in no share), 2 the call was wrong.

    \b
    Example:
      gradcorr-fast score -m model.pt2 -f hg38.fa -v cohort.vcf.gz -o scores.parquet
      gradcorr-fast score -m nets:make --weights net.pt -f hg38.fa -v cohort.vcf.gz -o scan --shard 3/16
    """
    with ending(options["out"]), taking_workers(options) as client:
        from .. import scan

        model, arguments = prepare_variants(options)
        fasta, variants, out = arguments.pop("fasta"), arguments.pop("variants"), arguments.pop("out")
        table = scan.score_variants(
            model, fasta, variants, out, shard=shard, client=client, format=format_, **arguments
        )
        exit_status = show_result(table) if table is not None else show_share(out, shard or (1, 1))
    context.exit(exit_status)

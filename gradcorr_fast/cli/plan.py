"""`gradcorr-fast plan`: what scoring will take, before it is begun."""

from typing import Any

import click

from ..scan.running.options import ScanOptions
from ._scan import VARIANTS, ending, prepare_variants, scan_options, show_counts


@click.command(no_args_is_help=True)
@scan_options(ScanOptions, *VARIANTS)
@click.option("--seconds", type=float, default=30.0, help="How long to score for the estimate.")
def plan(**options: Any) -> None:
    """Place all variants, show what becomes of them, and estimate what scoring will take.

    The options are those of score, which goes on from here with --resume or --shard.

    \b
    Example:
      gradcorr-fast plan -m model.pt2 -f hg38.fa -v cohort.vcf.gz -o scan
    """
    with ending(options["out"]):
        from .. import scan
        from ..scan.running.progress import show_seconds

        model, arguments = prepare_variants(options)
        fasta, variants, out = arguments.pop("fasta"), arguments.pop("variants"), arguments.pop("out")
        estimate = scan.plan(model, fasta, variants, out, **arguments)
    click.echo(show_counts(estimate.counts))
    click.echo(
        f"{estimate.n_windows:,} reference windows, {estimate.n_shards:,} shards; about "
        f"{show_seconds(estimate.seconds)} in one process like this, and {estimate.n_bytes / 1e6:,.1f} MB"
    )
    if estimate.engine:
        click.echo(f"substitutions: {estimate.engine}")

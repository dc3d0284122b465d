"""`gradcorr-fast attribute`: regions, a genome and a model in, a store of attributions out."""

from typing import Any

import click

from ._scan import Share, auto_or_number, ending, prepare, scan_options, show_counts

METHODS = ("saliency", "integrated_gradients", "smoothgrad", "expected_gradients", "saturation_mutagenesis")
REFERENCES = ("zero", "uniform", "mono", "dinucleotide")

OWN = (
    click.option("--regions", "-r", required=True, help="BED, narrowPeak (its summits count), or chr:start-end."),
    click.option("-o", "--out", required=True, help="A folder."),
    click.option("--method", type=click.Choice(METHODS), default="saliency", show_default=True),
    click.option("--n-steps", type=int, help="Of integrated (20) and expected gradients (20)."),
    click.option("--references", type=click.Choice(REFERENCES), help="Of integrated (zero) and expected (mono)."),
    click.option("--n-references", type=int, help="Shuffles: 1 for integrated, 10 for expected gradients."),
    click.option("--rule", type=click.Choice(["trapezoid", "left", "midpoint", "gausslegendre"]), help="Of a path."),
    click.option("--n-samples", type=int, help="Of smoothgrad (25)."),
    click.option("--kind", type=click.Choice(["gaussian", "mutation"]), help="Of smoothgrad's samples (gaussian)."),
    click.option("--sd", type=float, help="Of smoothgrad's noise (0.1)."),
    click.option("--rate", type=float, help="Share of letters that smoothgrad mutates (0.1)."),
    click.option("--preset", type=click.Choice(["paper", "repo"]), help="What is not given is as there (paper)."),
    click.option("--seed", "random_state", type=int, default=0, help="Of methods that draw at random."),
    click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16", help="Of the maps."),
    click.option("--keep-uncorrected", is_flag=True, help="Store the maps before the correction too."),
    click.option("--shard-size", default="auto", callback=auto_or_number, help="Regions done whole or not at all."),
)


@click.command(no_args_is_help=True)
@scan_options(*OWN)
@click.option("--shard", type=Share(), help="Do every n-th shard, beginning with the i-th, and do not join them.")
@click.pass_context
def attribute(context: click.Context, /, shard: tuple[int, int] | None, **options: Any) -> None:
    """Attribute a window about the summit or centre of each region; every region is accounted for.

    OUT gets a Zarr store of maps and a table of regions; export turns them into what other programs read. Regions are
    cut into shards, and a shard is done whole or not at all. What ends before its time goes on with --resume, and ends
    with the same bytes. --shard i/n does a part of the shards, alone, as in an array job; merge joins them.

    Exit status: 0 all is attributed that can be, 1 failed, incomplete, or the model failed for some regions, 2 the call
    was wrong.

    \b
    Example:
      gradcorr-fast attribute -m model.pt2 -f hg38.fa -r peaks.narrowPeak -o peaks
      gradcorr-fast export peaks -o peaks.h5 --format hdf5
    """
    with ending(options["out"]):
        from .. import scan

        model, arguments = prepare(options)
        fasta, regions, out = arguments.pop("fasta"), arguments.pop("regions"), arguments.pop("out")
        table = scan.attribute_regions(model, fasta, regions, out, shard=shard, **arguments)
        state = scan.status(out)
        if table is None:
            click.echo(f"{state.n_done} of {state.n_shards} shards are done; merge {out} joins them when all are")
        else:
            click.echo(f"{table}\n{show_counts(state.counts)}")
            for reason, n in scan.read_metadata(table).get("reasons", {}).items():
                click.echo(f"Warning: {reason} ({n:,} sequences)", err=True)
    context.exit(1 if state.counts.get("model_failed", 0) else 0)

"""`gradcorr-fast attribute`: regions, a genome and a model in, a store of attributions out."""

from typing import Any

import click

from ..scan.running.options import RegionOptions
from ._parameters import FILE, Share
from ._scan import WORKERS, ending, prepare, scan_options, show_result, show_share, taking_workers

REGIONS = (
    click.option(
        "--regions", "-r", required=True, type=FILE, help="BED, narrowPeak (its summits count), or chr:start-end."
    ),
    click.option("-o", "--out", required=True, type=FILE, help="A folder."),
)


@click.command(no_args_is_help=True)
@scan_options(RegionOptions, *REGIONS, *WORKERS)
@click.option("--shard", type=Share(), help="Do every n-th shard, beginning with the i-th, and do not join them.")
@click.pass_context
def attribute(context: click.Context, /, shard: tuple[int, int] | None, **options: Any) -> None:
    """Attribute a window about the summit or centre of each region; every region is accounted for.

    OUT gets a Zarr store of maps and a table of regions; export turns them into what other programs read. Regions are
    cut into shards, and a shard is done whole or not at all. What ends before its time goes on with --resume, and ends
    with the same bytes. --workers and --dask share the work among processes, which this one drives. --shard i/n does a
    part of the shards, alone, as in an array job; merge joins them.

    Exit status: 0 all is attributed that can be, 1 failed, incomplete, or the model failed for some regions, or
    nothing could be attributed (with --shard: in no share), 2 the call was wrong.

    \b
    Example:
      gradcorr-fast attribute -m model.pt2 -f hg38.fa -r peaks.narrowPeak -o peaks
      gradcorr-fast export peaks -o peaks.h5 --format hdf5
    """
    with ending(options["out"]), taking_workers(options) as client:
        from .. import scan

        model, arguments = prepare(options)
        fasta, regions, out = arguments.pop("fasta"), arguments.pop("regions"), arguments.pop("out")
        attributions = scan.attribute_regions(model, fasta, regions, out, shard=shard, client=client, **arguments)
        table = None if attributions is None else attributions.table
        exit_status = show_result(table) if table is not None else show_share(out, shard or (1, 1))
    context.exit(exit_status)

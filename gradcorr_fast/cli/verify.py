"""`gradcorr-fast verify`: all that a scan wrote, read again and compared with its digests."""

import click

from ._errors import told
from ._parameters import FILE


@click.command(no_args_is_help=True)
@click.argument("out", type=FILE)
@click.pass_context
def verify(context: click.Context, out: str, is_last: bool = True) -> None:
    """Read everything that the scan OUT wrote, and say what is damaged and which shards to do again.

    OUT is what score or attribute was given, or a table of scores by itself. Nothing is changed. Exit status 0 if all
    is as it was written, otherwise 1.

    \b
    Example:
      gradcorr-fast verify peaks
    """
    with told():
        from ..scan import verify as verify_scan

        found = verify_scan(out)
    for problem in found.problems:
        click.echo(problem)
    left = f"; {found.n_left:,} shards are not done yet" if found.n_left else ""
    click.echo(f"{found.n_files:,} files read, {len(found.problems):,} problems{left}")
    if found.shards:
        numbers = ", ".join(map(str, found.shards[:20])) + (", ..." if len(found.shards) > 20 else "")
        click.echo(f"shards to do again: {numbers}; the call that began the scan does so with --resume")
    if found.problems or is_last:
        context.exit(1 if found.problems else 0)

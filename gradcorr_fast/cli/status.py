"""`gradcorr-fast status`: how far a scan is, whoever works on it."""

from typing import Any

import click

from ._parameters import FILE
from ._scan import ending, show_counts


@click.command(no_args_is_help=True)
@click.argument("out", type=FILE)
@click.pass_context
def status(context: click.Context, out: str) -> None:
    """Tell how far the scan OUT is; exit status 0 if all shards are done, otherwise 1.

    \b
    Example:
      gradcorr-fast status scan
    """
    with ending():
        from .. import scan
        from ..scan.running.progress import show_seconds

        state = scan.status(out)
    left = "" if state.seconds_left is None else f", about {show_seconds(state.seconds_left)} left"
    click.echo(f"{state.n_done:,} of {state.n_shards:,} shards done, {state.n_held:,} at work{left}")
    if len(state.workers) > 1:
        click.echo(show_workers(state))
    if state.counts:
        click.echo(show_counts(state.counts))
    context.exit(0 if state.n_done == state.n_shards else 1)


def show_workers(state: Any) -> str:
    """Write a line for each process that did shards, the slow ones marked."""
    from ..scan.running.progress import show_seconds

    width, slow = max(map(len, state.workers)), set(state.slow_workers)
    lines = []
    for name, worker in state.workers.items():
        done = f"{worker.n_shards:>6,} shards  {worker.rate:>8,.1f}/s  {show_seconds(worker.seconds_since)} ago"
        lines.append(f"  {name:<{width}}  {done}{'  slow' if name in slow else ''}")
    return "\n".join(lines)

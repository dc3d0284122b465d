"""`gradcorr-fast export-model`: a PyTorch model that code makes, in a file that scans take."""

from typing import Any

import click

from ._errors import told
from ._parameters import FILE


@click.command(no_args_is_help=True)
@click.argument("model", metavar="MODEL", type=FILE)
@click.option("-o", "--out", required=True, type=FILE, help="File to write, .pt2.")
@click.option("--axis", type=int, help="Letter axis: 1 for (N, 4, L), 2 for (N, L, 4); guessed where the model tells.")
@click.option("--weights", metavar="FILE", type=FILE, help="State dict for the module:callable that MODEL is.")
@click.option(
    "--length", metavar="BP", type=click.IntRange(min=1), help="Positions of a sequence, if MODEL takes several."
)
@click.option("--trust-model", "trust", is_flag=True, help="Load MODEL even if that runs code in it (pickles).")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def export_model(model: str, **options: Any) -> None:
    """Write a PyTorch model into a file that scans take, for batches of any size.

    MODEL is module:callable, a function that returns the model, or a module of torch.save (with --trust-model). What
    was written is read back before it gets its name, and compared with MODEL on random sequences. A program that was
    exported for one batch size runs at a fraction of the speed.

    In Python the same are three lines: `x = torch.zeros(2, 4, length)`, `program = torch.export.export(model, (x,),
    dynamic_shapes=({0: torch.export.Dim("n")},))`, `torch.export.save(program, "net.pt2")`.

    \b
    Example:
      gradcorr-fast export-model nets:make --weights net.pt -o net.pt2
      gradcorr-fast score -m net.pt2 --trust-model -f hg38.fa -v cohort.vcf.gz -o scores.parquet
    """
    with told():
        from ..model_files.torch.exporting import export_file

        try:
            done = export_file(model, **options)
        except RuntimeError as error:  # of torch, or because what was read back differs
            raise click.ClickException(" ".join(str(error).split())) from error
    click.echo(f"Input: ({', '.join('any' if size is None else str(size) for size in done.shape)})")
    if done.shape[0] is not None:
        click.echo(f"Warning: it takes batches of {done.shape[0]} alone, since the model does, and is slow", err=True)
    click.echo(f"Read back and compared: predictions differ by {done.difference:.1e} of the largest")

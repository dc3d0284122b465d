"""`gradcorr-fast fold`: a model in a file, its gradients corrected, into another."""

from typing import Any

import click

from ._errors import told
from ._parameters import FILE

OFF_SIMPLEX = (
    "Predictions equal the original's for one-hot sequences alone: unknown letters, noise (SmoothGrad) and points "
    "between sequences are predicted as their projection, whose letters sum to 1."
)


@click.command(no_args_is_help=True)
@click.argument("model", metavar="MODEL")
@click.option(
    "-o",
    "--out",
    required=True,
    type=FILE,
    help="File to write: .pt2 or .keras; with --weights-only .pt, .safetensors, .keras or .weights.h5.",
)
@click.option(
    "--axis", type=int, help="Letter axis: 1 for (N, 4, L), as of PyTorch by default, 2 for (N, L, 4), as of Keras."
)
@click.option(
    "--weights", metavar="FILE", type=FILE, help="State dict or weights for module:callable, if MODEL is one."
)
@click.option(
    "--length", metavar="BP", type=click.IntRange(min=1), help="Positions of a sequence, if MODEL takes several."
)
@click.option("--weights-only", is_flag=True, help="Change weights and biases alone, so that no layer is of ours.")
@click.option("--trust-model", "trust", is_flag=True, help="Load MODEL even if that runs code in it (pickles).")
@click.option("--custom-objects", multiple=True, metavar="NAME=MODULE:CLASS", help="For Keras; repeatable.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def fold(model: str, quiet: bool, weights_only: bool, **options: Any) -> None:
    """Write a copy of a model that predicts the same and whose input gradients are corrected.

    The correction is baked into the layers that take the input first. MODEL is a file of torch.export (.pt2), a module
    of torch.save (with --trust-model), a Keras model (.keras, .h5), or module:callable, a function that returns one.

    Of PyTorch the copy is a file for torch.export.load, whatever MODEL is; with --weights-only it is a state dict for
    the same class. Of Keras it is a .keras file, for which gradcorr_fast.hooks.keras must be imported; with
    --weights-only one of Keras' own layers, or weights. --weights-only needs biases that can take the rest: no padding
    in those layers, one-hot sequences.

    What was written is read back before it gets its name, and compared with MODEL on random sequences.

    \b
    Example:
      gradcorr-fast fold models:make_net --weights net.pt -o corrected.pt2
      gradcorr-fast fold models:make_net --weights net.pt -o corrected.pt --weights-only
      gradcorr-fast fold net.keras -o corrected.keras
    """
    with told():
        from ..model_files.folding import fold_file

        try:
            done = fold_file(model, weights_only=weights_only, **options)
        except RuntimeError as error:  # of the framework, or because the copy disagrees
            raise click.ClickException(" ".join(str(error).split())) from error
    if quiet:
        return
    if done.shape is not None:
        click.echo(f"Input: ({', '.join('any' if size is None else str(size) for size in done.shape)})")
    click.echo(
        f"Read back and compared in {str(done.differences.dtype).removeprefix('torch.')}: predictions differ by "
        f"{done.differences.predictions:.1e}, gradients by {done.differences.gradients:.1e} of the largest"
    )
    if weights_only:
        click.echo(OFF_SIMPLEX)

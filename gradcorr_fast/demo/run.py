"""What `gradcorr-fast demo` does: attributions of a trained network where the truth is known, before and after."""

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import io, plot, sequences
from .._types import Array
from ..ops import correct, grad_times_input, simplex_angle
from ..paper.evaluation import Agreement, measure
from ..plot._figures import busiest
from ..summary import AngleSummary, angle_summary
from . import planted
from .genome import write_genome

SIGNAL_BP, AROUND_BP = 8, 3
"""Width of the strongest signal, and how far a motif that is like it may reach beyond."""
SEED = 3  # the network was trained on sequences of others


class Result(NamedTuple):
    """What the demo found."""

    n_sequences: int
    summary: AngleSummary
    before: Agreement
    after: Agreement
    shown: dict[str, int]
    """Name of each figure and the sequence that it shows."""
    n_substitutions: int
    correlation: float
    """Of their exact and first-order effects."""
    unplanted: dict[str, str]
    """What the strongest signal of each figure is where nothing is planted."""
    command: str
    """That finds motifs in the maps."""


def run(folder: Path, n_sequences: int = 300, tell: Callable[[str], None] = lambda step: None) -> Result:
    """Attribute, correct, measure, and write maps and pictures to a folder that exists; `tell` is told each step."""
    tell("load PyTorch, and a network that was trained")
    from matplotlib.figure import Figure

    from ..hooks.torch import saliency
    from .torch import load, one_hot

    # Twice as many: the first half of what is drawn is positive, and only there the network has motifs to find.
    codes, _, ppm = (array[:n_sequences] for array in planted.generate(2 * n_sequences, SEED))
    tell(f"gradients of {n_sequences} sequences with planted motifs, and what the correction removes")
    grad = saliency(load(), one_hot(codes).numpy(), corrected=False)
    summary = angle_summary(grad, axis=1)
    shares = summary.fractions[:, 0]
    tell("pictures of two of them")
    shown = {"largest-angles": int(np.argmax(shares)), "typical": int(np.argsort(shares)[n_sequences // 2])}
    unplanted = {name: describe_unplanted(grad[k].T, codes[k], ppm[k]) for name, k in shown.items()}
    for name, k in shown.items():
        title = f"The demo's network (CNN-deep), sequence {k}: {name.replace('-', ' ')}"
        figure = plot.correction_figure(grad[k].T, codes[k], truth=ppm[k], title=title)
        plot.save(figure, folder / f"{name}.png", dpi=150)
    for name, draw, data in (
        ("angles", plot.angle_histogram, summary),
        ("large-angles", plot.large_angle_histogram, {"demo": summary}),
    ):
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        draw(data, figure.subplots())
        plot.save(figure, folder / f"{name}.png", dpi=150)
    np.save(folder / "gradients.npy", grad)
    np.save(folder / "one-hot.npy", one_hot(codes).numpy())
    np.save(folder / "angles.npy", simplex_angle(grad, axis=1))
    with redirect_stdout(StringIO()) as command:  # which would stand among the steps
        io.save_modisco(folder / "modisco", grad, codes, axis=1, force=True)
    tell("every substitution in these two, from one gradient and exactly; a small genome to try scans with")
    write_genome(folder)
    effects = score_substitutions(folder, {name: codes[k] for name, k in shown.items()})
    result = measure(np.moveaxis(grad, 1, -1), codes, ppm)
    return Result(
        n_sequences, summary, result.before, result.after, shown, *effects, unplanted, command.getvalue().strip()
    )


def describe_unplanted(grad: Array, codes: Array, ppm: Array) -> str:
    """Say where most is left after the correction that no motif was planted for, and what the network seeks there.

    Parameters
    ----------
    grad, ppm : array, shape (L, 4)
    codes : array, shape (L,)
    """
    signal = np.abs(grad_times_input(grad, codes))
    signal[ppm.max(axis=-1) > 0.25] = 0
    part = busiest(signal, SIGNAL_BP)
    first, last = max(0, part.start - AROUND_BP), min(len(codes), part.stop + AROUND_BP)
    like = planted.most_alike(correct(grad), codes, first, last)
    letters, n = sequences.decode(codes[like.start : like.stop]), like.stop - like.start
    return f"positions {like.start} to {like.stop - 1}, {letters}, {like.n_fitting} of the {n} letters of {like.name}"


def score_substitutions(folder: Path, codes: dict[str, Array]) -> tuple[int, float]:
    """Score every substitution in some sequences, but at their first two positions; write FASTA and VCF.

    Returns how many there are, and how their exact and first-order effects correlate.
    """
    from .. import scan
    from .torch import load

    texts = {name: sequences.decode(each) for name, each in codes.items()}
    (folder / "sequences.fa").write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    substitutions = [
        f"{name}:{k + 1}:{text[k]}:{','.join(letter for letter in 'ACGT' if letter != text[k])}"
        for name, text in texts.items()
        for k in range(2, len(text))
    ]
    length = planted.LENGTH  # windows that begin with the sequences, whatever the position
    table = scan.score_variants(
        load(), folder / "sequences.fa", substitutions, folder / "scores.vcf.gz", length=length,
        windows=f"grid:{length - 2}", force=True,
    )  # fmt: skip
    agreement = scan.read_metadata(table)["agreement"]
    return agreement["n"][0], agreement["pearson"][0]

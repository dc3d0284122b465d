"""The papers' figures and tables: functions of a `Study` that return a picture, its numbers and a paragraph."""

from collections.abc import Callable
from typing import NamedTuple

from ..._check import missing_backend

try:
    import logomaker  # noqa: F401
    import matplotlib  # noqa: F401
    import pyarrow  # noqa: F401
except ModuleNotFoundError as error:
    raise missing_backend((error.name or "matplotlib").partition(".")[0], "paper") from error

from . import angles, backgrounds, chipseq, genome, logos, sweeps, synthetic, table
from .drawing import Reproduction
from .study import Study

__all__ = ["FIGURES", "Entry", "Reproduction", "Study", "draw"]


class Entry(NamedTuple):
    """A figure that can be reproduced."""

    function: Callable[[Study], Reproduction]
    title: str


FIGURES = {
    "fig1b": Entry(synthetic.fig1b, "Agreement of saliency maps with planted motifs, before and after"),
    "fig1c": Entry(synthetic.fig1c, "Share of positions with large angles, CNN-deep-relu, synthetic data"),
    "fig1d": Entry(chipseq.fig1d, "Share of positions with large angles, CNN-deep-relu, ChIP-seq data"),
    "fig2": Entry(logos.fig2, "Logos before and after, synthetic, ChIP-seq, DeepSTARR, Basset and ATAC-seq"),
    "s1": Entry(synthetic.s1, "Agreement of integrated gradients, SmoothGrad and expected gradients"),
    "s2": Entry(angles.s2, "Angles at motifs and elsewhere, and what the correction gains at each"),
    "s3": Entry(synthetic.s3, "Share of positions with large angles, other models, synthetic data"),
    "s4": Entry(chipseq.s4, "Share of positions with large angles, other models, ChIP-seq data"),
    "s5": Entry(chipseq.s5, "Angles of single models and ensembles, and the distance between them, ChIP-seq data"),
    "s6": Entry(logos.s6, "Logos before and after, synthetic data"),
    "s7": Entry(chipseq.s7, "Logos before and after, and those of ensembles, ChIP-seq data"),
    "s8": Entry(genome.s8, "Angles and logos of DeepSTARR"),
    "s9": Entry(genome.s9, "Angles and logos of Basset"),
    "s10": Entry(genome.s10, "Angles and logos of GOPHER's models of ATAC-seq"),
    "note-s1": Entry(sweeps.note_s1, "Angles against the standard deviation of initial weights, Note S1"),
    "note-s2": Entry(sweeps.note_s2, "Angles against the weight of the angle penalty, Note S2"),
    "s11": Entry(sweeps.note_s1, "The same as note-s1"),
    "s12": Entry(chipseq.s12, "Angles against the standard deviation of initial weights, ChIP-seq data"),
    "s13": Entry(sweeps.note_s2, "The same as note-s2"),
    "backgrounds": Entry(backgrounds.backgrounds, "Not in the papers: what the choice of background motifs changes"),
    "table": Entry(table.table, "All of the above that is of synthetic data, in tables"),
    "icml-fig2": Entry(synthetic.icml_fig2, "Agreement of maps of the models of 2021"),
    "icml-fig3": Entry(angles.icml_fig3, "Angles at motifs and elsewhere, CNN-dist-exp of 2021"),
}
"""In the order of the papers."""


def draw(name: str, study: Study) -> Reproduction:
    """Reproduce a figure."""
    return FIGURES[name].function(study)

"""The papers' figures and tables: functions of a `Study` that return a picture, its numbers and a paragraph."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from .drawing import Reproduction
from .study import Study

__all__ = ["FIGURES", "Entry", "Reproduction", "Study", "draw"]


class Entry(NamedTuple):
    """A figure that can be reproduced."""

    function: str
    """``module.function`` in this package."""
    title: str


FIGURES = {
    "fig1b": Entry("synthetic.fig1b", "Agreement of saliency maps with planted motifs, before and after"),
    "fig1c": Entry("synthetic.fig1c", "Share of positions with large angles, CNN-deep-relu, synthetic data"),
    "s1": Entry("synthetic.s1", "Agreement of integrated gradients, SmoothGrad and expected gradients"),
    "s3": Entry("synthetic.s3", "Share of positions with large angles, other models, synthetic data"),
    "icml-fig2": Entry("synthetic.icml_fig2", "Agreement of maps of the models of 2021"),
}
"""In the order of the papers."""


def draw(name: str, study: Study) -> Reproduction:
    """Reproduce a figure."""
    module, _, function = FIGURES[name].function.partition(".")
    make: Callable[[Study], Reproduction] = getattr(import_module(f".{module}", __name__), function)
    return make(study)

"""Data sets of a study beside the synthetic one: published files, or generated ones in their place where asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from ..datasets import Dataset

if TYPE_CHECKING:
    from .study import Study

FAMILIES = {"chipseq": "chipseq_sets", "deepstarr": "genome_sets", "basset": "genome_sets", "atac": "genome_sets"}


def find(study: "Study", name: str) -> Dataset:
    """Return the data set "FAMILY/NAME", such as "chipseq/CTCF"."""
    family = name.partition("/")[0]
    dataset: Dataset = import_module(f".{FAMILIES[family]}", __package__).find(study, name)
    return dataset

"""Attributions in files: correcting files of any size, and what motif discovery and genome browsers read.

Loads when it is first touched; h5py, zarr and pyBigWig are imported when a file needs them.
"""

from .correction import correct_file, correct_to_modisco
from .misuse import find_misuse
from .motifs import save_contribs_h5, save_modisco
from .reading import load
from .tracks import save_bigwig

__all__ = [
    "correct_file",
    "correct_to_modisco",
    "find_misuse",
    "load",
    "save_bigwig",
    "save_contribs_h5",
    "save_modisco",
]

"""Scans of genomes: model, genome and variants in, scores out; resumable, in bounded memory."""

from .._check import missing_backend

try:
    import filelock  # noqa: F401
    import pyarrow  # noqa: F401
except ModuleNotFoundError as error:
    raise missing_backend(error.name or "pyarrow", "genome") from error

from .alleles import STATUSES, place, place_all
from .folder import Folder
from .genome import Genome
from .metadata import read_metadata
from .regions import read_regions
from .variant_scan import Plan, Status, folder_of, merge, plan, score_variants, status
from .variants import read_variants
from .windows import WindowOptions, cut_windows

__all__ = [
    "STATUSES",
    "Folder",
    "Genome",
    "Plan",
    "Status",
    "WindowOptions",
    "cut_windows",
    "folder_of",
    "merge",
    "place",
    "place_all",
    "plan",
    "read_metadata",
    "read_regions",
    "read_variants",
    "score_variants",
    "status",
]

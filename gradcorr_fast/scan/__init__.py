"""Scans of genomes: model, genome and variants or regions in, scores or attributions out; resumable."""

from .._check import missing_backend

try:
    import filelock  # noqa: F401
    import pyarrow  # noqa: F401
except ModuleNotFoundError as error:
    raise missing_backend(error.name or "pyarrow", "genome") from error

from .alleles import STATUSES, place, place_all
from .exporting import export
from .finishing import Status, folder_of, merge, status
from .folder import Folder
from .genome import Genome
from .metadata import read_metadata
from .region_scan import attribute_regions
from .regions import read_regions
from .store import Attributions
from .variant_scan import Plan, plan, score_variants
from .variants import read_variants
from .windows import WindowOptions, cut_windows

__all__ = [
    "STATUSES",
    "Attributions",
    "Folder",
    "Genome",
    "Plan",
    "Status",
    "WindowOptions",
    "attribute_regions",
    "cut_windows",
    "export",
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

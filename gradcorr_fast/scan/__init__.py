"""Scans of genomes: model, genome and variants or regions in, scores or attributions out; resumable."""

from .._check import missing_backend

try:
    import filelock  # noqa: F401
    import pyarrow  # noqa: F401
except ModuleNotFoundError as error:
    raise missing_backend(error.name or "pyarrow", "genome") from error

from .inputs.genome import Genome
from .inputs.regions import read_regions
from .inputs.variants import read_variants
from .placing.alleles import STATUSES, place, place_all
from .placing.windows import WindowOptions, cut_windows
from .region_scan import attribute_regions
from .results.attributions import Attribution, Attributions
from .results.exporting import export
from .results.metadata import read_metadata
from .running.folder import Folder
from .running.joining import Status, folder_of, merge, status
from .running.verifying import Verification, verify
from .variant_scan import Plan, plan, score_variants

__all__ = [
    "STATUSES",
    "Attribution",
    "Attributions",
    "Folder",
    "Genome",
    "Plan",
    "Status",
    "Verification",
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
    "verify",
]

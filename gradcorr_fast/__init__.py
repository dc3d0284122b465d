"""Correct, measure and use the input gradients of genomic neural networks, at the speed of memory.

>>> import numpy as np, gradcorr_fast as gf
>>> gf.correct(np.array([[1.0, 2.0, 3.0, 6.0]], np.float32))
array([[-2., -1.,  0.,  3.]], dtype=float32)
"""

import sys
import typing
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

_here = Path(__file__).parent
if not (_here / "kernels").is_dir():  # a checkout: kernels/ lies beside the package
    _spec = spec_from_file_location("gradcorr_fast.kernels", _here.parent / "kernels" / "__init__.py")
    assert _spec is not None and _spec.loader is not None  # noqa: PT018  (for the type checker)
    sys.modules[_spec.name] = kernels = module_from_spec(_spec)
    _spec.loader.exec_module(kernels)

from . import comparisons, metrics, sequences, targets  # noqa: E402
from ._check import MissingBackendError  # noqa: E402
from .ops import (  # noqa: E402
    AttributionMaps,
    analyze,
    correct,
    grad_times_input,
    simplex_angle,
    substitution_effects,
)
from .runtime import info, set_num_threads, warmup  # noqa: E402
from .summary import AngleSummary, angle_summary, merge  # noqa: E402

if typing.TYPE_CHECKING:
    from . import bench as bench
    from . import compat as compat
    from . import hooks as hooks
    from . import io as io
    from . import model_files as model_files
    from . import paper as paper
    from . import plot as plot
    from . import report as report
    from . import scan as scan

try:
    __version__ = version("gradcorr-fast")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "unknown"

__all__ = [
    "AngleSummary",
    "AttributionMaps",
    "MissingBackendError",
    "analyze",
    "angle_summary",
    "comparisons",
    "correct",
    "grad_times_input",
    "info",
    "merge",
    "metrics",
    "sequences",
    "set_num_threads",
    "simplex_angle",
    "substitution_effects",
    "targets",
    "warmup",
]


_LATER = ("bench", "compat", "hooks", "io", "model_files", "paper", "plot", "report", "scan")
"""What needs more than NumPy and Numba, and loads when it is first touched."""


def __getattr__(name: str) -> ModuleType:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    own = {name for name in globals() if name.startswith("__") and name.endswith("__")}
    return sorted({*own, *__all__, *_LATER})

"""Warnings that point at the line of the user that called the library."""

import sys
import warnings
from types import FrameType

INNER = {
    *("gradcorr_fast", "contextlib", "functools", "threading", "concurrent", "multiprocessing", "click"),
    *("numba", "torch", "tensorflow", "keras", "jax", "dask", "distributed"),
}
"""Packages whose lines are none of the user's: ours, and those that call us back."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside of `INNER`; where there is none, as in a thread that writes, at the outermost."""
    frame = _first_outside(sys._getframe(1))
    scope = frame.f_globals
    module, registry = scope.get("__name__", "<unknown>"), scope.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def _first_outside(frame: FrameType) -> FrameType:
    while str(frame.f_globals.get("__name__")).partition(".")[0] in INNER and frame.f_back:
        frame = frame.f_back
    return frame

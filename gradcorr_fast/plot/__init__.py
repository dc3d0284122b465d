"""Pictures of attributions and angles: sequence logos, angle tracks, histograms, and the papers' Fig. 2.

Each function draws on the axes it is given and returns them. Without axes it makes a figure that does not belong to
pyplot: it needs no closing, `save` writes it, and a notebook shows it (``ax.figure``) as the last expression of a cell,
once ``%matplotlib inline`` or a figure of pyplot came before. rcParams and the backend stay as they are.
"""

from .._check import missing_backend

try:
    import logomaker  # noqa: F401
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise missing_backend(str(error.name).partition(".")[0], "plot") from error

from ._correction import correction_figure
from ._figures import save
from ._histograms import angle_histogram, large_angle_histogram
from ._letters import LETTER_COLORS
from ._tracks import angle_track, logo

__all__ = [
    "LETTER_COLORS",
    "angle_histogram",
    "angle_track",
    "correction_figure",
    "large_angle_histogram",
    "logo",
    "save",
]

"""The names and signatures of github.com/p-koo/GradientCorrection, as its scripts import them.

>>> from gradcorr_fast.compat.gradient_correction import explain, geomath, helper
"""

from . import explain as explain
from . import geomath as geomath
from . import helper as helper

__all__ = ["explain", "geomath", "helper"]

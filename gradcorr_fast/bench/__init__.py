"""What this work costs on your devices, from 200 bp to half a million, against others' formulas and the limit.

>>> import gradcorr_fast as gf
>>> results = gf.bench.run("quick")  # doctest: +SKIP
>>> print(results.table())  # doctest: +SKIP
"""

from ._comparing import Comparison, compare
from ._results import Results, load
from ._running import run

__all__ = ["Comparison", "Results", "compare", "load", "run"]

"""Drop-ins for pipelines that are there already: other packages' names and signatures, our computations.

``gf.compat.gradient_correction``, ``gf.compat.captum`` and ``gf.compat.tangermeme`` are imported when they are first
touched.
"""

import typing
from importlib import import_module
from types import ModuleType

if typing.TYPE_CHECKING:
    from . import captum as captum
    from . import gradient_correction as gradient_correction
    from . import tangermeme as tangermeme

_PACKAGES = ("captum", "gradient_correction", "tangermeme")


def __getattr__(name: str) -> ModuleType:
    if name not in _PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted([*(name for name in globals() if name.startswith("__")), *_PACKAGES])

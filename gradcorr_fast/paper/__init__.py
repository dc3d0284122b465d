"""The papers' own system: their data, models and training.

Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), and their workshop paper of ICML 2021. Modules load when they are
first touched.
"""

from importlib import import_module
from types import ModuleType

_MODULES = (
    "chipseq",
    "datasets",
    "evaluation",
    "figures",
    "models",
    "published",
    "reproduction",
    "synthetic",
    "training",
)


def __getattr__(name: str) -> ModuleType:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])

"""From a model to corrected attributions, inside the framework that the model lives in.

``gf.hooks.torch``, ``gf.hooks.tensorflow`` and ``gf.hooks.jax`` are imported when they are first touched.
"""

from importlib import import_module
from types import ModuleType

_FRAMEWORKS = ("torch", "tensorflow", "jax", "keras")


def __getattr__(name: str) -> ModuleType:
    if name not in _FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FRAMEWORKS])

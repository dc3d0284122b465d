"""From a model to corrected attributions, inside the framework that the model lives in.

``gf.hooks.torch``, ``gf.hooks.tensorflow`` and ``gf.hooks.jax`` are imported when they are first touched.
"""

import typing
from importlib import import_module
from types import ModuleType

if typing.TYPE_CHECKING:
    from . import jax as jax
    from . import keras as keras
    from . import tensorflow as tensorflow
    from . import torch as torch

_FRAMEWORKS = ("torch", "tensorflow", "jax", "keras")


def __getattr__(name: str) -> ModuleType:
    if name not in _FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted([*(name for name in globals() if name.startswith("__")), *_FRAMEWORKS])

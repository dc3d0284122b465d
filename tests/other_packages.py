"""Other packages as they are, installed without what they depend on: modules that are absent are stood in for.

gReLU and CREsted import much that is not needed for attributions and does not install beside what the tests use.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


class _Stand(ModuleType):
    """A module that has every name, each a class without contents."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Finder:
    """Finds modules of packages that are absent."""

    def __init__(self) -> None:
        self.absent: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.absent else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Stand(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def away_from_the_checkout() -> Iterator[None]:
    """Import as elsewhere: here lies a folder named kernels, which transformers takes for a package of that name."""
    before = sys.path[:]
    sys.path[:] = [path for path in before if not (Path(path) / "kernels" / "cpu.py").exists()]
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def imported(package: str, module: str) -> Iterator[Any]:
    """Yield a module of a package; skip where the package itself is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"pip install --no-deps {package} brings it")
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        with away_from_the_checkout():
            loaded = _load(package, module, finder)
        yield loaded
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in {*finder.absent, package}]:
            del sys.modules[name]


def _load(package: str, module: str, finder: _Finder) -> Any:
    while True:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            if missing in finder.absent or missing == package:
                raise
            finder.absent.add(missing)
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                del sys.modules[name]

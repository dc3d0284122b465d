"""Runs commands as if nothing were installed but this package, some of its extras and some named packages.

Modules of all other distributions are not found, in Python and in what it starts.
"""

import os
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "gradcorr-fast"
HIDING = """
import os, sys
from importlib.machinery import PathFinder

HIDDEN = set(os.environ["HIDDEN_MODULES"].split(","))


class Finder:
    invalidate_caches = PathFinder.invalidate_caches
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if path is None and name in HIDDEN else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""
"""Runs when Python starts, as sitecustomize.py."""


class Installed(NamedTuple):
    """What `pip install` was given."""

    extras: frozenset[str]
    """Of this package."""
    others: tuple[str, ...] = ()
    """Other packages."""


def run_only(installed: Installed, command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, where nothing can be imported but what is installed."""
    place = folder / ".only"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(HIDING)
    environment = os.environ | {
        "PYTHONPATH": str(place),
        "HIDDEN_MODULES": ",".join(hidden_modules(installed)),
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@cache
def hidden_modules(installed: Installed) -> tuple[str, ...]:
    """Name the modules that what is installed does not bring."""
    wanted = [(PROJECT, extra) for extra in ("", *installed.extras)] + [(name, "") for name in installed.others]
    brought = {name for name, _ in closure(wanted)}
    return tuple(
        module
        for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & brought and module.isidentifier()
    )


def closure(wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return packages and extras with all that they require, and these require."""
    found: set[tuple[str, str]] = set()
    left = list(wanted)
    while left:
        entry = left.pop()
        if entry not in found:
            found.add(entry)
            left += required(*entry)
    return found


def required(name: str, extra: str) -> Iterator[tuple[str, str]]:
    """Yield what a package requires for an extra, or without any."""
    try:
        lines = requires(name) or ()
    except PackageNotFoundError:  # not for this machine
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for each in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), each

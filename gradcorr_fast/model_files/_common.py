"""What every kind of model file needs: shapes, digests, trust, and the folder whose modules can be imported."""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .._wording import option


class ModelShape(NamedTuple):
    """What a model seems to take and return; None is unknown."""

    axis: int | None = None
    """Letter axis."""
    length: int | None = None
    """Positions of a sequence."""
    n_letters: int | None = None
    n_outputs: int | None = None
    batch_size: int | None = None
    """The only one that an exported program takes."""


class Lengths(NamedTuple):
    """The lengths of sequences that a model takes."""

    least: int
    most: int | None
    """None if there is no end."""


def hash_arrays(arrays: Iterable[tuple[str, Sequence[int], str, Any]]) -> str:
    """Return the SHA-256 of names, shapes, dtypes and bytes, in this order."""
    digest = hashlib.sha256()
    for name, shape, dtype, content in arrays:
        digest.update(f"{name} {tuple(shape)} {dtype}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def weights_alone(path: Path) -> ValueError:
    """Return the error about a file that holds weights where a model was expected."""
    return ValueError(
        f"{path} holds weights without a model; pass module:callable, which makes the model, with "
        f"{option('weights', str(path))}"
    )


def needs_trust(path: Path, what: str, otherwise: str = "") -> ValueError:
    """Return the error about a file that runs code when it is loaded, and perhaps what to do otherwise."""
    return ValueError(
        f"{path} {what}, so that loading it runs code which its author chose; pass "
        f"{option('trust', flag='--trust-model')} if you trust where it comes from{otherwise}"
    )


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Let modules in the current folder be imported, as `python` itself does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)

"""Reading what a run kept in its folder."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what libraries raise for a damaged file into an error that names the file and the mend."""
    try:
        yield
    except (
        EOFError,
        KeyError,
        RuntimeError,
        TypeError,
        UnpicklingError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise OSError(f"{path} is damaged; remove it, and the same call makes it again") from error

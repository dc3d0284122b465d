"""What libraries raise for damaged data, told as an error that names the file."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from ._types import PathLike

DAMAGE: tuple[type[Exception], ...] = (
    RuntimeError,
    EOFError,
    OSError,
    zlib.error,
    zipfile.BadZipFile,
    json.JSONDecodeError,
    UnicodeDecodeError,
)


@contextmanager
def telling_damage(path: PathLike, *more: type[Exception]) -> Iterator[None]:
    """Raise OSError that names the file for what libraries raise while they read it; `more` is told as well."""
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError, NotImplementedError, RecursionError):
        raise
    except (*DAMAGE, *more) as error:
        if isinstance(error, OSError) and str(path) in str(error):
            raise
        raise OSError(f"{path} cannot be read to its end, it seems to be damaged ({error})") from error

"""What libraries raise for damaged data, told as an error that names the file."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tokenize import TokenError

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

MALFORMED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    SyntaxError,
    SystemError,
    TokenError,
    TypeError,
    ValueError,
)
"""What NumPy, h5py and Zarr raise besides, for headers and metadata that mean nothing."""


def told(error: Exception) -> str:
    """What an error says, or its name where it says nothing or but a key."""
    text = str(error)
    return text if text and not isinstance(error, KeyError) else repr(error)


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
        raise OSError(f"{path} cannot be read to its end, it seems to be damaged ({told(error)})") from error

"""HDF5 files, open_whole for reading only if all that they show lies in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._check import optional

HERE = "."
"""How a virtual dataset names the file that it is in."""


@contextmanager
def open_whole(path: str | Path) -> Iterator[Any]:
    """Open a file of a stranger: other files of the reader, which it may name, are not read through it.

    Raises
    ------
    PermissionError
        If a link, external storage or a virtual dataset leads out of the file.
    """
    with optional("h5py", "io").File(path, "r") as file:
        check_inside(file, path)
        yield file


def check_inside(file: Any, path: str | Path) -> None:
    """Refuse a file of which something leads to another file."""
    h5py = optional("h5py", "io")

    def through_link(name: str, link: Any) -> tuple[str, str] | None:
        return (name, link.filename) if isinstance(link, h5py.ExternalLink) else None

    def through_storage(name: str, item: Any) -> tuple[str, str] | None:
        if not isinstance(item, h5py.Dataset):
            return None
        others = [part[0] for part in item.external or ()]
        others += [source.file_name for source in item.virtual_sources()] if item.is_virtual else []
        return next(((name, other) for other in others if other != HERE), None)

    lead = file.visititems_links(through_link) or file.visititems(through_storage)  # both end at what is not None
    if lead is not None:
        raise _outside(path, *lead)


def _outside(path: str | Path, name: str, other: str) -> PermissionError:
    return PermissionError(
        f"{name} in {path} lies in another file, {other}, which is not read through it; copy the data into one file, "
        f"such as by h5repack or h5py's copy"
    )

"""Files and folders that are whole or not there, and what killed processes leave of them: put back, or removed."""

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .._warn import warn
from .._wording import option

UNFINISHED = re.compile(
    r"\.(?P<stem>.+)\.(?P<host>[0-9a-f]{4})(?P<process>[0-9a-f]{8})[0-9a-f]{4}\.(?P<kind>partial|replaced)(?P<suffix>(\.\w+)*)"
)
"""Names of what is being written, "partial", and of what it takes the place of, "replaced"."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux, see renameat2(2)."""
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)

ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")

_swept: set[Path] = set()


@contextmanager
def replacing(paths: Sequence[Path], inputs: Sequence[Path] = (), *, force: bool = False) -> Iterator[list[Path]]:
    """Yield temporary paths beside `paths`, whose files take their places together, or vanish after an error.

    Files that exist are replaced with `force` only, and what is read in the meantime, `inputs`, never. What processes
    left that were killed here is put back before, and removed afterwards.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    for k, target in enumerate(targets):
        restore(target)
        _check_target(target, [*inputs, *targets[:k]], force)
    temporaries = [hidden(target, "partial") for target in targets]
    try:
        yield temporaries
        for temporary in temporaries:
            sync(temporary)
        for temporary, target in zip(temporaries, targets, strict=True):
            _put(temporary, target)
    finally:
        for temporary in temporaries:
            remove(temporary)
    for folder in {target.parent for target in targets}:
        sweep(folder)


def _check_target(target: Path, others: Sequence[Path], force: bool) -> None:
    for other in (Path(os.path.realpath(path)) for path in others):
        same = target == other or (target.exists() and other.exists() and target.samefile(other))
        if same or target in other.parents or other in target.parents:
            raise ValueError(f"{target} would be written while {other} is in use; give the output another path")
    if any((target.parent / mark).exists() for mark in ZARR_MARKS):
        raise ValueError(f"{target} lies inside the Zarr store {target.parent}; give the output another path")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; make it, or write elsewhere")
    if not target.exists():
        return
    if not force:
        raise FileExistsError(f"{target} exists already; {option('force')} replaces it")
    is_store = target.is_dir() and any((target / mark).exists() for mark in ZARR_MARKS)
    if is_store != (target.suffix == ".zarr") or is_store != target.is_dir():
        raise FileExistsError(f"{target} is {'a folder' if target.is_dir() else 'a file'}; move it away first")
    if is_store and sum((part / mark).exists() for part in target.iterdir() for mark in ZARR_MARKS) > 1:
        raise FileExistsError(f"{target} is a Zarr group of several arrays, which would all go; move it away first")


def sync(path: Path) -> None:
    """Have a file, or all in a folder, on the disk before its name is changed."""
    for part in path.rglob("*") if path.is_dir() else [path]:
        if part.is_file():
            with open(part, "rb+") as file:
                os.fsync(file.fileno())


def _put(temporary: Path, target: Path) -> None:
    if target.exists():
        shutil.copymode(target, temporary)
    if not target.is_dir():
        os.replace(temporary, target)
    elif not exchange(temporary, target):  # on file systems that cannot, `restore` mends what is between two renames
        old = hidden(target, "replaced")
        os.replace(target, old)
        try:
            os.replace(temporary, target)
        finally:
            if not target.exists():
                os.replace(old, target)
        remove(old)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def hidden(target: Path, kind: str) -> Path:
    """Return a hidden name beside `target` that tells which process has it."""
    token = f"{_host():04x}{os.getpid():08x}{secrets.token_hex(2)}"
    return target.with_name(f".{target.stem}.{token}.{kind}{target.suffix}")


def exchange(a: Path, b: Path) -> bool:
    """Let two files or folders change names in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(a), None, str(b))


def restore(target: Path) -> None:
    """Put back what a process that was killed between two renames had moved away."""
    if target.exists() or not target.parent.is_dir():
        return
    for place, name in _of_dead_processes(target.parent, "replaced"):
        if (name["stem"], name["suffix"]) == (target.stem, target.suffix):
            os.replace(place, target)
            warn(f"a run was killed while it replaced {target}; what was there is back, from {place.name}")
            return


def sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left in a folder; once for each process and folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    for place, _ in _of_dead_processes(folder, "partial"):
        remove(place)
    for place, name in _of_dead_processes(folder, "replaced"):
        if place.with_name(f"{name['stem']}{name['suffix']}").exists():
            remove(place)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _of_dead_processes(folder: Path, kind: str) -> Iterator[tuple[Path, re.Match[str]]]:
    with os.scandir(folder) as entries:  # each file of a folder with many is written after a look at all
        hidden_ones = sorted(entry.name for entry in entries if entry.name.startswith("."))
    for entry in (folder / each for each in hidden_ones):
        name = UNFINISHED.fullmatch(entry.name)
        if name is None or name["kind"] != kind or int(name["host"], 16) != _host():
            continue
        if not _is_alive(int(name["process"], 16)):
            yield entry, name


def _host() -> int:
    """A number for this machine: what other machines write to a shared file system is left alone."""
    return zlib.crc32(socket.gethostname().encode()) & 0xFFFF


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""What a killed process leaves beside the file or folder that it was writing: told by its name, put back or removed."""

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from .._warn import warn

UNFINISHED = re.compile(
    r"\.(?P<stem>.+)\.(?P<host>[0-9a-f]{4})(?P<process>[0-9a-f]{8})[0-9a-f]{4}\.(?P<kind>partial|replaced)(?P<suffix>(\.\w+)*)"
)
"""Names of what is being written, "partial", and of what it takes the place of, "replaced"."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux, see renameat2(2)."""
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)

_swept: set[Path] = set()


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
    for entry in sorted(folder.iterdir()):
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

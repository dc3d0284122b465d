"""Who drives the workers of a scan: a file beside it that is written again and again, for file systems without locks.

Locks vanish with the process that holds them, but many file systems of clusters have none, or hang. Such a file stays
when its process is killed; it is believed for as long as it is young by the clock of the file system itself.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...io.replacing import hidden, replacing

CLAIM = "driver.json"
BEAT_SECONDS, STALE_SECONDS = 5.0, 60.0
"""Between two times that the file is written, and after which one that is no longer written is not believed."""
SETTLE_SECONDS = 0.2
"""After which one of two that took over at once has seen the other."""

_ours: dict[Path, "Claim"] = {}


class Claim:
    """The claim of this process on the folder of a scan."""

    def __init__(self, file: Path) -> None:
        self._file, self._token = file, secrets.token_hex(8)
        self._ended = threading.Event()
        self.state: dict[str, Any] = {}
        """What others are told of the work, such as shards that are worked at."""

    def write(self) -> None:
        """Say that this process is alive, and how far it is."""
        about = {"host": socket.gethostname(), "process": os.getpid(), "token": self._token, **self.state}
        with replacing([self._file], force=True) as (temporary,):
            temporary.write_text(json.dumps(about) + "\n")

    def check(self) -> None:
        """Raise an error if another process has taken the folder over."""
        found = read_claim(self._file.parent)
        if found is not None and found["token"] != self._token:
            raise RuntimeError(f"{describe(found)} has taken over the scan in {self._file.parent}; this call ends")

    def beat(self) -> None:
        """Go on saying so, until the end."""
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError, RuntimeError):  # of a folder that is gone, or another's
                self.check()
                self.write()

    def end(self) -> None:
        """Let the folder go."""
        self._ended.set()
        with suppress(OSError):
            self.check()
            self._file.unlink(missing_ok=True)


@contextmanager
def claiming(folder: Path) -> Iterator[Claim]:
    """Claim the folder of a scan; RuntimeError if another process has."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    refuse_others(folder)
    claim = Claim(folder / CLAIM)
    claim.write()
    time.sleep(SETTLE_SECONDS)
    claim.check()
    beating = threading.Thread(target=claim.beat, daemon=True)
    beating.start()
    place = folder.resolve()
    _ours[place] = claim
    try:
        yield claim
    finally:
        del _ours[place]
        claim.end()
        with suppress(OSError):
            if is_new:
                folder.rmdir()  # which only empty ones let happen


def is_ours(folder: Path) -> bool:
    """Whether this process has claimed a folder."""
    return folder.resolve() in _ours


def refuse_others(folder: Path) -> None:
    """Raise an error if another process that is alive has claimed a folder; what one left that is not, is removed."""
    found = read_claim(folder)
    if found is None or is_ours(folder):
        return
    if is_believed(folder, found):
        raise RuntimeError(
            f"{describe(found)} works on the scan in {folder} with Dask, and was heard of less than "
            f"{STALE_SECONDS:.0f} s ago; end it first, or wait"
        )
    if found == read_claim(folder):
        (folder / CLAIM).unlink(missing_ok=True)


def is_believed(folder: Path, claim: dict[str, Any]) -> bool:
    """Whether the process of a claim seems to be alive."""
    seconds = _age(folder / CLAIM)
    return seconds is not None and seconds <= STALE_SECONDS and not _is_gone(claim)


def read_claim(folder: Path) -> dict[str, Any] | None:
    """Return what the file says, if there is one."""
    try:
        found = dict(json.loads((folder / CLAIM).read_text()))
    except (OSError, ValueError):
        return None
    return found if {"host", "process", "token"} <= found.keys() else None


def describe(claim: dict[str, Any]) -> str:
    """Name the process of a claim."""
    return f"process {claim['process']} on {claim['host']}"


def _age(file: Path) -> float | None:
    """Return for how many seconds a file was not written, by the clock of its file system."""
    try:
        now = hidden(file, "partial")
        now.touch()
        try:
            return max(0.0, now.stat().st_mtime - file.stat().st_mtime)
        finally:
            now.unlink(missing_ok=True)
    except OSError:
        return None


def _is_gone(claim: dict[str, Any]) -> bool:
    """Whether the process is known to have ended, as those of this machine are."""
    if claim["host"] != socket.gethostname():
        return False
    try:
        os.kill(claim["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's
        return False
    return False

"""The bytes of a genome's file, plain or unpacked, as they were when it was opened; what changed since is an error."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import bgzip

PART = 1 << 20
"""How many bytes are read at once where all are read."""
TICK_NS = 10_000_000
"""Of the clocks of file systems: a file that is written twice within it may look unchanged."""


class Stamp(NamedTuple):
    """What tells a file from what it was before."""

    size: int
    modified_ns: int
    inode: int
    changed_ns: int
    """By what may leave the bytes as they are, too, such as another name."""


class Source:
    """Read a file by `os.pread`, which threads and forked processes may share.

    A memory map would end the process, if somebody cut the file short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        is_bgzip = _check(path)
        self._file: _File | None = _File(path)
        self._digest: str | None = None
        self._stamp = _settled(self._file.number)
        self.blocks = bgzip.find_blocks(self._file.number, self._stamp.size, path) if is_bgzip else None
        self.size = self._stamp.size if self.blocks is None else int(self.blocks.plain[-1])

    @property
    def modified_ns(self) -> int:
        """When the file was written."""
        return self._stamp.modified_ns

    def close(self) -> None:
        """Close the file as soon as nobody reads; it is opened again when something is read."""
        self._file = None
        self._local = threading.local()

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes of what the file holds, fewer beyond its end; ValueError if it is damaged or was changed."""
        while True:
            self._file = file = self._file or _File(self.path)
            if self.blocks is None:
                content: bytes | None = _read(file.number, start, stop)
            else:
                content = self._unpacked(file.number, start, min(stop, self.size))
            if _stamp(os.fstat(file.number))[:3] != self._stamp[:3]:
                self.check_unchanged()  # and read again what is the same all the same
            elif content is None:
                raise ValueError(f"{self.path} is damaged: blocks of bgzip do not fit their checksums; fetch it again")
            else:
                return content

    def parts(self) -> Iterator[bytes]:
        """Yield all that the file holds."""
        for start in range(0, self.size, PART):
            yield self.read(start, start + PART)

    def check_unchanged(self) -> None:
        """Raise ValueError if the file at the path is not that which was opened; see `Genome.check_unchanged`."""
        try:
            now = _stamp(os.stat(self.path))
        except FileNotFoundError:
            raise ValueError(f"{self.path} was removed since it was opened; put it back, or begin anew") from None
        is_same = now[:3] == self._stamp[:3] if self._digest is None else now == self._stamp
        if not is_same and (now.size != self._stamp.size or self._digest is None or self._digest != _digest(self.path)):
            raise ValueError(
                f"{self.path} was changed since it was opened; put the old file back, or begin anew with the new one"
            )
        self._stamp, self._file = now, None

    def digest(self) -> str:
        """Return the SHA-256 of the file that was opened."""
        self.check_unchanged()
        if self._digest is None:
            digest = _digest(self.path)
            self.check_unchanged()
            self._digest = digest
        return self._digest

    def _unpacked(self, file: int, start: int, stop: int) -> bytes | None:
        assert self.blocks is not None
        if start >= stop:
            return b""
        packed, plain = self.blocks
        first = int(np.searchsorted(plain, start, "right")) - 1
        last = int(np.searchsorted(plain, stop, "left"))
        kept_at, kept = getattr(self._local, "block", (-1, b""))  # small contigs share a block
        begin = first + (kept_at == first)
        raw = memoryview(_read(file, int(packed[begin]), int(packed[last])))
        places = (packed[begin : last + 1] - packed[begin]).tolist()
        pieces = [kept] * (begin - first)
        for a, b in pairwise(places):
            piece = bgzip.unpack(raw[a:b])
            if piece is None:
                return None
            pieces.append(piece)
        self._local.block = last - 1, pieces[-1]
        return b"".join(pieces)[start - int(plain[first]) : stop - int(plain[first])]


class _File:
    """An open file, closed when nobody holds it: by number it could be another one by then."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def _read(file: int, start: int, stop: int) -> bytes:
    """Read bytes, in pieces where the system gives no more at once."""
    content = os.pread(file, max(stop - start, 0), start)
    pieces = [content]
    while content and sum(map(len, pieces)) < stop - start:
        content = os.pread(file, stop - start - sum(map(len, pieces)), start + sum(map(len, pieces)))
        pieces.append(content)
    return b"".join(pieces) if len(pieces) > 1 else pieces[0]


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _settled(file: int) -> Stamp:
    """Return the stamp of an open file, once the clock has moved on if it was written just now."""
    age = time.time_ns() - os.fstat(file).st_mtime_ns
    if 0 <= age < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)
    return _stamp(os.fstat(file))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path) -> bool:
    """Return whether the file is one of bgzip, and refuse others that are compressed, and those that are cut short."""
    with open(path, "rb") as file:
        head = file.read(bgzip.N_HEAD)
    if bgzip.is_bgzip(head):
        if not bgzip.has_end(path):
            raise ValueError(f"{path} is cut short, bgzip's mark of the end is missing; fetch it again")
        return True
    if head.startswith(bgzip.GZIP):
        raise ValueError(
            f"{path} is compressed by gzip, of which no part can be read by itself; compress it by bgzip instead: "
            f"gunzip {path.name} && bgzip {path.stem}"
        )
    return False

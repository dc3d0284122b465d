"""How files of bgzip look: gzip in blocks, of which any can be read by itself, and a mark at the end."""

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._types import Array

GZIP = b"\x1f\x8b"
END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
"""What Python raises for a compressed file that is cut short or damaged."""
N_HEAD = 18
_TAIL = struct.Struct("<II")  # checksum and length of what a block holds
_PAIR = np.dtype("<u8")


class Blocks(NamedTuple):
    """Where the blocks of a file begin, and where they end that of the last."""

    packed: Array
    """In the file, (n + 1,) int64."""
    plain: Array
    """In what it holds, likewise."""


def is_bgzip(head: bytes) -> bool:
    """Whether the first bytes of a file are those of bgzip, not of another gzip."""
    return head[:2] == GZIP and head[12:14] == b"BC"


def has_end(path: str | Path) -> bool:
    """Whether a file of bgzip has its mark of the end, which it lacks if it was cut short between blocks."""
    with open(path, "rb") as file:
        file.seek(max(-len(END), -file.seek(0, 2)), 2)
        return file.read() == END


def find_blocks(file: int, size: int, path: Path) -> Blocks:
    """Return the blocks of a file by going from head to head, which reads none of them; `file` is its descriptor."""
    packed, plain = [0], [0]
    while packed[-1] < size:
        n_bytes = _length(os.pread(file, N_HEAD, packed[-1]))
        if n_bytes < N_HEAD + _TAIL.size or packed[-1] + n_bytes > size:
            raise ValueError(f"{path} is damaged: no block of bgzip is at byte {packed[-1]}; fetch it again")
        tail = os.pread(file, _TAIL.size, packed[-1] + n_bytes - _TAIL.size)
        packed.append(packed[-1] + n_bytes)
        plain.append(plain[-1] + _TAIL.unpack(tail)[1])
    return Blocks(np.array(packed, np.int64), np.array(plain, np.int64))


def unpack(block: memoryview) -> bytes | None:
    """Return what a block holds, None if it is damaged."""
    if len(block) < N_HEAD + _TAIL.size:
        return None
    try:
        plain = zlib.decompress(block[N_HEAD : -_TAIL.size], -zlib.MAX_WBITS, 1 << 16)
    except zlib.error:
        return None
    return plain if _TAIL.unpack(block[-_TAIL.size :]) == (zlib.crc32(plain), len(plain)) else None


def as_gzi(blocks: Blocks) -> bytes:
    """Return the index of blocks (.gzi) as bgzip writes it: all but the first, and none that is empty."""
    pairs = np.stack([blocks.packed[:-1], blocks.plain[:-1]], 1)[np.diff(blocks.plain) > 0][1:]
    return np.concatenate([[len(pairs)], pairs.ravel()]).astype(_PAIR).tobytes()


def fits_gzi(content: bytes, blocks: Blocks) -> bool:
    """Whether an index names nothing but beginnings of blocks, which others than bgzip may choose from all."""
    if len(content) % (2 * _PAIR.itemsize) != _PAIR.itemsize:
        return False
    count, *_ = numbers = np.frombuffer(content, _PAIR)
    pairs = numbers[1:].reshape(-1, 2)
    places = np.searchsorted(blocks.packed, pairs[:, 0])
    known = np.stack([blocks.packed, blocks.plain], 1).astype(_PAIR)[np.minimum(places, len(blocks.packed) - 1)]
    return bool(count == len(pairs) and (known == pairs).all())


def _length(head: bytes) -> int:
    """Return the number of bytes of a block, 0 if it is none."""
    is_whole = len(head) == N_HEAD and is_bgzip(head) and head[2:4] == b"\x08\x04" and head[10:12] == b"\x06\x00"
    return int.from_bytes(head[16:18], "little") + 1 if is_whole else 0

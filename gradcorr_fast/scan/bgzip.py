"""How files of bgzip look: gzip in blocks, of which any can be read by itself, and a mark at the end."""

import gzip
import zlib
from pathlib import Path

GZIP = b"\x1f\x8b"
END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
N_HEAD = 14
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
"""What Python raises for a compressed file that is cut short or damaged."""


def is_bgzip(head: bytes) -> bool:
    """Whether the first bytes of a file are those of bgzip, not of another gzip."""
    return head[:2] == GZIP and head[12:14] == b"BC"


def has_end(path: str | Path) -> bool:
    """Whether a file of bgzip has its mark of the end, which it lacks if it was cut short between blocks."""
    with open(path, "rb") as file:
        file.seek(max(-len(END), -file.seek(0, 2)), 2)
        return file.read() == END

"""Indices of FASTA files (.fai): made in one pass over the file, and trusted only where they fit it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._types import Array

LONGEST_HEAD = 1 << 20
"""Of the lines between two sequences, in bytes."""
PROBED = 1 << 16
"""Of a line that is longer, so many bytes are looked through for an end."""
_NEWLINE, _RETURN, _SPACE, _HEAD = b"\n\r >"


class Contig(NamedTuple):
    """A line of the index."""

    length: int
    """In bp, more than 0: contigs without letters are in no index."""
    offset: int
    """Where the letters begin."""
    line_bp: int
    line_bytes: int

    def place(self, pos0: int) -> int:
        """Return where a letter lies in the file."""
        return self.offset + pos0 // self.line_bp * self.line_bytes + pos0 % self.line_bp


class _Run(NamedTuple):
    """Lines that follow each other and are alike, or one that begins a contig."""

    start: int
    n_lines: int
    n_bytes: int
    n_ends: int
    """Of the bytes, how many end the line."""
    head: bytes | None = None
    """The line, of those that begin a contig."""


def build(parts: Iterable[bytes], path: Path) -> dict[str, Contig]:
    """Return the contigs of a FASTA file from all of its bytes; ValueError if it is none.

    As samtools: names end at white space, and contigs without letters are left away.
    """
    contigs: dict[str, Contig] = {}
    name, is_closed = None, False
    for run in _runs(parts, path):
        if run.head is not None:
            name, is_closed = _name(run.head), False
            if not name:
                raise ValueError(f"{path} is no whole FASTA file: > at byte {run.start} has no name; give it one")
            if name in contigs:
                raise ValueError(f"{path} is a FASTA file with two contigs {name!r}; rename one of them")
            continue
        n_bp = run.n_bytes - run.n_ends
        if n_bp == 0:
            is_closed = name in contigs
            continue
        if name is None:
            raise ValueError(f"{path} is no FASTA file, since it does not begin with >; fetch it again")
        before = contigs.get(name, Contig(0, run.start, n_bp, n_bp + max(run.n_ends, 1)))
        is_whole = n_bp == before.line_bp and run.n_bytes == before.line_bytes
        if is_closed or n_bp > before.line_bp or not (is_whole or run.n_lines == 1):
            raise ValueError(
                f"{path} is a FASTA file whose contig {name!r} has lines of different lengths, about byte {run.start}; "
                f"write it anew, for example by seqtk seq -l 60"
            )
        contigs[name] = before._replace(length=before.length + run.n_lines * n_bp)
        is_closed = not is_whole
    if not contigs:
        raise ValueError(f"{path} names no contig with letters; is it a FASTA file?")
    return contigs


def parse(content: bytes) -> dict[str, Contig] | None:
    """Read an index, in the order of its file; None if it is none."""
    contigs = {}
    lines = content.splitlines()
    try:
        for line in lines:
            name, length, offset, line_bp, line_bytes = line.split(b"\t")
            contigs[_text(name)] = Contig(int(length), int(offset), int(line_bp), int(line_bytes))
    except ValueError:
        return None
    if len(contigs) < len(lines):  # a name comes twice
        return None
    return dict(sorted(contigs.items(), key=lambda item: item[1].offset))


def render(contigs: dict[str, Contig]) -> bytes:
    """Write an index, as `parse` reads it."""
    lines = ("\t".join([name, *map(str, contig)]) + "\n" for name, contig in contigs.items())
    return "".join(lines).encode("utf-8", "surrogateescape")


def fits(contigs: dict[str, Contig], read: Callable[[int, int], bytes], size: int) -> bool:
    """Whether the contigs of a file, at least one, lie where an index says.

    Looked at are the lines before a contig, its first line and its end. An index that fits there is right for every
    file whose lines have one length, and others have no index: see `build`.

    Parameters
    ----------
    contigs : dict
        In the order of the file, see `parse`.
    read : callable
        Returns the bytes of the file from a place to another.
    size : int
        Of the file.
    """
    end = n_last = 0
    for name, contig in contigs.items():
        if not _is_possible(contig, end, size):
            return False
        first, n_probed = end - min(n_last, PROBED), min(contig.line_bp, PROBED)
        raw = read(first, contig.offset + n_probed + 2)
        before, raw = raw[: end - first], raw[end - first :]
        between, raw = raw[: contig.offset - end], raw[contig.offset - end :]
        line, rest = raw[:n_probed], raw[n_probed:]
        if n_probed < contig.line_bp:
            rest = read(contig.offset + contig.line_bp, contig.offset + contig.line_bytes)
        line_end = rest[: contig.line_bytes - contig.line_bp]
        is_end = line_end in (b"\n", b"\r\n") or contig.offset + contig.line_bp == size
        if not (is_end and _is_letters(line) and (not end or _is_letters(before)) and _is_before(between, end, name)):
            return False
        end, n_last = contig.place(contig.length - 1) + 1, (contig.length - 1) % contig.line_bp + 1
    first = end - min(n_last, PROBED)
    raw = read(first, min(size, end + LONGEST_HEAD))
    return size - end <= LONGEST_HEAD and _is_letters(raw[: end - first]) and _is_before(raw[end - first :], end)


def _is_possible(contig: Contig, end: int, size: int) -> bool:
    """Whether a contig may lie after a place in a file."""
    return (
        end <= contig.offset <= end + LONGEST_HEAD
        and 0 < contig.line_bp <= contig.length
        and contig.line_bytes - contig.line_bp in (1, 2)
        and contig.place(contig.length - 1) < size
    )


def _is_letters(line: bytes) -> bool:
    return line.split() == [line]


def _is_before(between: bytes, end: int, name: str | None = None) -> bool:
    """Whether bytes after the letters that end somewhere hold no letters, and last the line that begins a contig."""
    if end and between and not between.startswith((b"\n", b"\r\n")):
        return False
    heads = [line for line in between.splitlines() if line]
    is_last = name is None or (bool(heads) and between.endswith(b"\n") and _name(heads[-1]) == name)
    return is_last and all(line.startswith(b">") for line in heads)


def _name(head: bytes) -> str:
    words = head[1:].split(None, 1)
    return _text(words[0]) if words else ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _runs(parts: Iterable[bytes], path: Path) -> Iterator[_Run]:
    """Find the lines of a file; those that are alike come together, as few parts as the file allows."""
    at = start = 0  # of this part, and of the line that goes on from the part before
    head: bytes | None = None  # that line, if it begins a contig
    held = b""  # a return at the end of a part, as a newline may follow
    for part in parts:
        part = held + part
        held = b"\r" if part.endswith(b"\r") else b""
        part = part[: len(part) - len(held)]
        if not part:
            continue
        letters = np.frombuffer(part, np.uint8)
        spaces = np.flatnonzero(letters <= _SPACE)
        is_newline = letters[spaces] == _NEWLINE
        ends = spaces[is_newline] + 1
        starts = np.concatenate([[start - at], ends])
        is_head = letters[np.clip(starts, 0, len(letters) - 1)] == _HEAD
        if start < at:
            is_head[0] = head is not None
        _check_spaces(spaces[~is_newline], letters, ends, is_head, at, path)
        n_ends = 1 + (letters[ends - 2] == _RETURN) * (ends > 1)
        yield from _alike(part, starts, n_ends, is_head, at, head or b"")
        last = int(starts[-1])
        if is_head[-1] and last < len(part):
            head = (head or b"" if len(starts) == 1 else b"") + part[max(last, 0) :]
        elif last < len(part) or len(starts) > 1:
            head = None
        start, at = at + last, at + len(part)
    if head is not None and start < at:
        raise ValueError(f"{path} is no whole FASTA file, it ends in the name of a contig; fetch it again")
    if start < at:
        yield _Run(start, 1, at - start, 0)


def _check_spaces(spaces: Array, letters: Array, ends: Array, is_head: Array, at: int, path: Path) -> None:
    """Raise an error about white space or control characters among letters."""
    following = letters[np.minimum(spaces + 1, len(letters) - 1)]
    spaces = spaces[(letters[spaces] != _RETURN) | (following != _NEWLINE)]
    spaces = spaces[~is_head[np.searchsorted(ends, spaces, "right")]]
    if spaces.size:
        raise ValueError(
            f"{path} is no plain FASTA file: byte {at + int(spaces[0])} is {chr(letters[spaces[0]])!r} among letters; "
            f"write it anew, for example by seqtk seq -l 60"
        )


def _alike(part: bytes, starts: Array, n_ends: Array, is_head: Array, at: int, head: bytes) -> Iterator[_Run]:
    """Put the whole lines of a part together; `head` is what the part before holds of the first."""
    n_bytes = np.diff(starts)
    is_new = is_head[1:-1] | is_head[:-2] | (np.diff(n_bytes) != 0) | (np.diff(n_ends) != 0)
    places = [0, *(np.flatnonzero(is_new) + 1).tolist()] if len(n_ends) else []
    columns = (column[places].tolist() for column in (starts, n_bytes, n_ends, is_head))
    counts = np.diff([*places, len(n_ends)]).tolist()
    for start, size, n_end, is_first, count in zip(*columns, counts, strict=True):
        text = (head if start < 0 else b"") + part[max(start, 0) : start + size] if is_first else None
        yield _Run(at + start, count, size, n_end, text)

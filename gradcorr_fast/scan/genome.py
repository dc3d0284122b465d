"""A genome in a FASTA file: names and lengths of contigs, and windows of codes cut from large pieces that are kept."""

import difflib
import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from .._check import optional
from ..sequences import UNKNOWN, encode
from . import bgzip

Array = np.ndarray[Any, Any]

GAP_BP = 1 << 16  # windows farther apart than this are read one by one
_CODES = encode(bytes(range(256))).tobytes()  # for bytes.translate, the fastest look-up there is
_NEWLINES = b"\r\n"


class Genome:
    """Read a FASTA file, plain or compressed by bgzip.

    Parameters
    ----------
    path : str or Path
        With its index beside it (.fai, for bgzip also .gzi). A missing index is written there, or to a temporary folder
        where that folder cannot be written.
    slice_bp : int
        How much is read at once when windows follow each other; that much is kept in memory for each thread.

    Attributes
    ----------
    path : Path
    lengths : dict of str to int
        Length of each contig in bp, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no FASTA, is compressed by gzip (bgzip it), or its index belongs to another file.
    MissingBackendError
        If pysam is not installed.

    Notes
    -----
    Threads may share a genome, and processes may get one by fork or pickle: each reads through a handle of its own.
    Pickles hold the path.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">chr1\\nACGTN\\nacg\\n>chrM\\nTT\\n")
    ...     with Genome(f"{folder}/tiny.fa") as genome:
    ...         print(genome.lengths, genome.resolve("MT"), genome.codes("chr1", 3, 10))
    {'chr1': 8, 'chrM': 2} chrM [  3 255   0   1   2 255 255]
    """

    def __init__(self, path: str | Path, *, slice_bp: int = 1 << 24) -> None:
        if slice_bp < 1:
            raise ValueError(f"slice_bp is {slice_bp}; it must be at least 1")
        self.path, self.slice_bp = Path(path), slice_bp
        self._is_bgzip = _check(self.path)
        self._index = self._find_index()
        self._contigs = _read_index(self._index)
        self.lengths = {name: contig[0] for name, contig in self._contigs.items()}
        self._names: dict[str, str] = {}
        for name in self.lengths:
            self._names.setdefault(_plain(name), name)
        self._local = threading.local()
        self._digest: tuple[tuple[int, int], str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.slice_bp)

    def close(self) -> None:
        """Close the file, and forget what is kept; it is opened again when something is read."""
        self._local = threading.local()

    def resolve(self, chrom: str) -> str | None:
        """Return the contig that a name means, or None.

        The name itself comes first. Then upper and lower case are equal, and so are names with and without "chr" and
        MT, M and chrM. The mitochondrion of UCSC's hg19 is another sequence than MT of GRCh37, whatever its name.
        """
        return chrom if chrom in self.lengths else self._names.get(_plain(chrom))

    def suggest(self, chrom: str) -> str:
        """Return names of the file for a message about a name that it lacks: similar ones, or the first."""
        names = difflib.get_close_matches(chrom, self.lengths, 3) or list(self.lengths)[:3]
        return ", ".join(names) + (", ..." if len(self.lengths) > len(names) else "")

    def codes(self, contig: str, start: int, stop: int) -> Array:
        """Return the codes of a part of a contig.

        Parameters
        ----------
        contig : str
            As the file names it, see `resolve`.
        start, stop : int
            0-based, stop excluded; both may lie outside of the contig.

        Returns
        -------
        array, uint8, shape (stop - start,), perhaps read-only
            A C G T = 0..3 in upper and lower case; 255 for other letters, and outside of the contig.

        Raises
        ------
        KeyError
            If the file has no such contig.
        ValueError
            If the file does not hold what its index says: it is damaged, cut short, or another file.
        """
        length = self.lengths[contig]
        first, last = min(max(start, 0), length), max(min(stop, length), 0)
        inside = self._read(contig, first, last) if first < last else b""
        if len(inside) != max(last - first, 0):
            raise ValueError(
                f"{self.path} does not hold {contig}:{first + 1}-{last} where {self._index.name} says; the file is "
                f"damaged, or newer than its index: fetch it again, or delete the index"
            )
        codes = np.frombuffer(inside, np.uint8)
        if len(codes) == stop - start:
            return codes
        result = np.full(max(stop - start, 0), UNKNOWN, np.uint8)
        result[first - start : first - start + len(codes)] = codes
        return result

    def spans(self, contig: str, starts: Array, length: int) -> Iterator[tuple[Array, int, Array]]:
        """Yield parts of a contig that hold windows of one length, large parts where windows follow each other.

        Yields
        ------
        rows : array of int
            Which windows lie in the part; each comes once.
        first : int
            Where the part begins.
        codes : array, uint8
            As of `codes`; windows are codes[starts[row] - first :][:length].
        """
        order = np.argsort(starts, kind="stable")
        places = starts[order]
        breaks = np.flatnonzero(np.diff(places) > length + GAP_BP) + 1
        at = 0
        while at < len(places):
            begin = int(places[at])
            first, codes = self._kept(contig, begin, length)
            if codes is None:
                end = np.searchsorted(places, begin + self.slice_bp)
                next_break = np.searchsorted(breaks, at, side="right")
                end = min(end, breaks[next_break]) if next_break < len(breaks) else end
                first, codes = begin, self._keep(contig, begin, int(places[end - 1]) + length)
            end = np.searchsorted(places, first + len(codes) - length, side="right")
            yield order[at:end], first, codes
            at = int(end)

    def windows(self, contig: str, starts: Any, length: int) -> Array:
        """Return the codes of windows of one length, in any order; fastest where the starts ascend.

        Parameters
        ----------
        contig : str
        starts : array of int, shape (N,)
            0-based; windows may leave the contig.
        length : int
            In bp.

        Returns
        -------
        array, uint8, shape (N, length)
            As of `codes`.
        """
        starts = np.asarray(starts, np.int64)
        result = np.empty((len(starts), length), np.uint8)
        if length:
            for rows, first, codes in self.spans(contig, starts, length):
                result[rows] = np.lib.stride_tricks.sliding_window_view(codes, length)[starts[rows] - first]
        return result

    def count_unknown(self, contig: str, starts: Any, length: int) -> Array:
        """Count the unknown letters of windows, (N,) int64; outside of the contig nothing is counted."""
        starts = np.asarray(starts, np.int64)
        stops = np.minimum(starts + length, self.lengths[contig])
        begins = np.minimum(np.maximum(starts, 0), stops)
        counts = np.zeros(len(starts), np.int64)
        for rows, first, codes in self.spans(contig, starts, length):
            is_unknown = np.concatenate([[False], codes == UNKNOWN, [False]])
            edges = np.flatnonzero(is_unknown[1:] != is_unknown[:-1])  # of runs of unknown letters
            if edges.size:  # their number before a position is linear between edges
                before = np.concatenate([[0], np.cumsum(np.diff(edges) * (np.arange(len(edges) - 1) % 2 == 0))])
                counts[rows] = np.interp(stops[rows] - first, edges, before)
                counts[rows] -= np.interp(begins[rows] - first, edges, before).astype(np.int64)
        return counts

    def digest(self) -> str:
        """Return the SHA-256 of the file, which is computed again only if its size or time of change differ."""
        status = self.path.stat()
        stamp = status.st_size, status.st_mtime_ns
        if self._digest is None or self._digest[0] != stamp:
            with open(self.path, "rb") as file:
                self._digest = stamp, hashlib.file_digest(file, "sha256").hexdigest()
        return self._digest[1]

    def _find_index(self) -> Path:
        beside = self.path.with_name(f"{self.path.name}.fai")
        if beside.exists() and (not self._is_bgzip or _beside(beside).exists()):
            return beside
        if not os.access(self.path.parent, os.W_OK):
            elsewhere = tempfile.mkdtemp(prefix="gradcorr-fast-")
            weakref.finalize(self, shutil.rmtree, elsewhere, ignore_errors=True)
            return _write_index(self.path, Path(elsewhere, beside.name))
        with tempfile.TemporaryDirectory(prefix=f".{beside.name}-", dir=self.path.parent) as folder:
            written = _write_index(self.path, Path(folder, beside.name))
            if self._is_bgzip:
                os.replace(_beside(written), _beside(beside))
            os.replace(written, beside)
        return beside

    def _read(self, contig: str, start: int, stop: int) -> bytes:
        """Read codes inside of a contig, fewer than asked for where the file does not hold them."""
        handle = self._handle()
        if self._is_bgzip:
            try:
                letters: str = handle.fetch(contig, start, stop)
            except ValueError:  # a block that is damaged
                return b""
            return letters.encode("latin-1").translate(_CODES)
        _, offset, line_bp, line_bytes = self._contigs[contig]
        begin, end = (offset + place // line_bp * line_bytes + place % line_bp for place in (start, stop))
        raw: bytes = handle[begin:end].tobytes()
        return b"" if b">" in raw else raw.translate(_CODES, _NEWLINES)

    def _handle(self) -> Any:
        """The file as this thread of this process has it open: pysam's handles have a position, which is not shared."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.process, self._local.kept = os.getpid(), ("", 0, np.empty(0, np.uint8))
            if self._is_bgzip:
                pysam = optional("pysam", "genome")
                self._local.handle = pysam.FastaFile(
                    str(self.path),
                    filepath_index=str(self._index),
                    filepath_index_compressed=str(_beside(self._index)),
                )
            else:
                self._local.handle = np.memmap(self.path, np.uint8, "r")
        return self._local.handle

    def _kept(self, contig: str, start: int, length: int) -> tuple[int, Array | None]:
        """Return the part that is kept, if it holds the window."""
        self._handle()
        name, first, codes = self._local.kept
        holds = name == contig and first <= start and start + length <= first + len(codes)
        return (first, codes) if holds else (start, None)

    def _keep(self, contig: str, start: int, stop: int) -> Array:
        """Read a part and keep it; where it follows the one that was kept, it is a whole slice."""
        name, first, codes = self._local.kept
        if name == contig and first <= start <= first + max(len(codes), GAP_BP):
            stop = max(stop, min(start + self.slice_bp, self.lengths[contig]))
        part = self.codes(contig, start, stop)
        self._local.kept = contig, start, part
        return part


def _reopen(path: Path, slice_bp: int) -> Genome:
    return Genome(path, slice_bp=slice_bp)


def _plain(name: str) -> str:
    """A contig's name without what assemblies differ in."""
    plain = name.lower().removeprefix("chr")
    return "m" if plain == "mt" else plain


def _beside(index: Path) -> Path:
    """Path of the index of bgzip's blocks, beside that of contigs."""
    return index.with_suffix(".gzi")


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


def _write_index(path: Path, index: Path) -> Path:
    pysam = optional("pysam", "genome")
    try:
        pysam.faidx(str(path), "--fai-idx", str(index), "--gzi-idx", str(_beside(index)))
    except pysam.SamtoolsError:  # which says no more than that; htslib has printed the reason
        raise ValueError(f"{path} cannot be indexed, it is damaged or no FASTA file; fetch it again") from None
    return index


def _read_index(index: Path) -> dict[str, tuple[int, int, int, int]]:
    """Length, offset, bases and bytes of a line, of each contig."""
    contigs = {}
    for number, line in enumerate(index.read_text().splitlines(), 1):
        try:
            name, length, offset, line_bp, line_bytes = line.split("\t")
            contigs[name] = int(length), int(offset), int(line_bp), int(line_bytes)
        except ValueError:
            raise ValueError(f"line {number} of {index} is {line!r}, which is no index; delete the file") from None
    if not contigs:
        raise ValueError(f"{index} names no contig; is {index.stem} a FASTA file? if so, delete the index")
    return contigs

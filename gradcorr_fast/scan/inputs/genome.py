"""A genome in a FASTA file: names and lengths of contigs, and windows of codes cut from large pieces that are kept."""

import difflib
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..._types import Array, PathLike
from ..._warn import warn
from ...sequences import UNKNOWN, encode
from . import bgzip, faidx
from .contigs import Contigs, read_aliases
from .source import Source

GAP_BP = 1 << 16  # windows farther apart than this are read one by one
PIECE_BP = 1 << 18  # of what is read and translated at once: small, to stay in a cache
_CODES = encode(bytes(range(256))).tobytes()  # for bytes.translate, the fastest look-up there is
_NEWLINES = b"\r\n"
_NOTHING = np.empty(0, np.uint8)


class Genome:
    """Read a FASTA file, plain or compressed by bgzip.

    Parameters
    ----------
    path : str or Path
        With its index beside it (.fai, for bgzip also .gzi). An index that is missing or does not fit the file is
        written there, or kept in memory where that folder cannot be written.
    contigs : str, Path or mapping of str to str, optional
        Other names of contigs: by name, or in a file with two columns (name, contig), or in a report of NCBI about an
        assembly (``*_assembly_report.txt``). See `resolve` for names that are known without.
    slice_bp : int
        How much is read at once when windows follow each other; that much is kept in memory for each thread.

    Attributes
    ----------
    path : Path
    lengths : dict of str to int
        Length of each contig in bp, in the order of the file.
    aliases : dict of str to str
        What `contigs` says: contigs by their other names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no FASTA (letters in lines of one length, each contig with a name of its own), is compressed by
        gzip (bgzip it), or is damaged; or if `contigs` names no contig of it, or two by one name.

    Warns
    -----
    UserWarning
        If an index does not fit the file and is made anew.

    Notes
    -----
    An index is used where it fits: where its contigs begin after their names, and end before others, in lines as long
    as it says. If it is older than the file, the whole file is looked through. The index of bgzip's blocks is not
    needed, but kept right for others.

    Threads may share a genome, and processes may get one by fork or pickle. Pickles hold the path.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "tiny.fa").write_text(">chr1\\nACGTN\\nacg\\n>chrM\\nTT\\n")
    ...     with Genome(f"{folder}/tiny.fa") as genome:
    ...         print(genome.lengths, genome.resolve("MT"), genome.codes("chr1", 3, 10))
    {'chr1': 8, 'chrM': 2} chrM [  3 255   0   1   2 255 255]
    """

    def __init__(
        self, path: PathLike, *, contigs: PathLike | Mapping[str, str] | None = None, slice_bp: int = 1 << 24
    ) -> None:
        if slice_bp < 1:
            raise ValueError(f"slice_bp is {slice_bp}; it must be at least 1")
        self.path, self.slice_bp = Path(path), slice_bp
        self._source = Source(self.path)
        self._contigs = _open_index(self._source)
        self.lengths = {name: contig.length for name, contig in self._contigs.items()}
        self.aliases = {} if contigs is None else read_aliases(contigs, self.lengths, self.path)
        self._names = Contigs(self.lengths, self.aliases)
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.aliases, self.slice_bp)

    def close(self) -> None:
        """Close the file, and forget what is kept; it is opened again when something is read."""
        self._source.close()
        self._local = threading.local()

    def resolve(self, chrom: str) -> str | None:
        """Return the contig that a name means, or None.

        The name itself comes first, then what `contigs` says. Then upper and lower case are equal, and so are names
        with and without "chr" or a leading zero and MT, M and chrM. The mitochondrion of UCSC's hg19 is another
        sequence than MT of GRCh37, whatever its name.

        Then come names of UCSC, Ensembl, GenBank and RefSeq: of the chromosomes and most scaffolds of GRCh37, GRCh38,
        T2T-CHM13v2.0, GRCm38 and GRCm39, where the contig has the length that it has there, since an accession is of
        one assembly; and by rule of other scaffolds (chrUn_KI270302v1 is KI270302.1). Last come PLINK's codes, where
        the genome has no such names: 23, 24, 25 and 26 are X, Y, X (what X and Y share) and MT in man, as are 20 to 23
        in the mouse.
        """
        return self._names.resolve(chrom)

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
            If the file is damaged, or was changed since it was opened.
        """
        length = self.lengths[contig]
        first, last = min(max(start, 0), length), max(min(stop, length), 0)
        inside = self._read(contig, first, last) if first < last else b""
        if len(inside) != max(last - first, 0):
            raise ValueError(
                f"{self.path} does not hold {contig}:{first + 1}-{last} where its index says, as its lines have "
                f"different lengths; delete the index, or fetch both again"
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

    def check_unchanged(self) -> None:
        """Raise ValueError if the file at the path is not that which was opened, by its size, time of change and inode.

        Reading checks what is read by the same. If `digest` was called before, a file of the same digest is the same,
        whatever its time; then any change of its status, too, has its digest computed again.
        """
        self._source.check_unchanged()

    def digest(self) -> str:
        """Return the SHA-256 of the file that was opened; ValueError if it was changed since."""
        return self._source.digest()

    def sample_digest(self, n_parts: int, n_bp: int) -> str:
        """Return the SHA-256 of names and lengths of the contigs, and of parts of the longest ones."""
        found = hashlib.sha256(repr(sorted(self.lengths.items())).encode())
        longest = sorted(self.lengths, key=lambda name: (-self.lengths[name], name))[:n_parts]
        for k in range(n_parts if longest else 0):
            name = longest[k % len(longest)]
            start = max(0, self.lengths[name] - n_bp) * k // n_parts
            found.update(self.codes(name, start, min(start + n_bp, self.lengths[name])).tobytes())
        return found.hexdigest()

    def _read(self, contig: str, start: int, stop: int) -> bytes:
        """Read codes inside of a contig, fewer than asked for where the file does not hold them."""
        place = self._contigs[contig].place
        pieces = []
        for first in range(start, stop, PIECE_BP):
            raw = self._source.read(place(first), place(min(first + PIECE_BP, stop) - 1) + 1)
            pieces.append(b"" if b">" in raw else raw.translate(_CODES, _NEWLINES))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _kept(self, contig: str, start: int, length: int) -> tuple[int, Array | None]:
        """Return the part that is kept, if it holds the window."""
        name, first, codes = getattr(self._local, "kept", ("", 0, _NOTHING))
        holds = name == contig and first <= start and start + length <= first + len(codes)
        return (first, codes) if holds else (start, None)

    def _keep(self, contig: str, start: int, stop: int) -> Array:
        """Read a part and keep it; where it follows the one that was kept, it is a whole slice."""
        name, first, codes = getattr(self._local, "kept", ("", 0, _NOTHING))
        if name == contig and first <= start <= first + max(len(codes), GAP_BP):
            stop = max(stop, min(start + self.slice_bp, self.lengths[contig]))
        part = self.codes(contig, start, stop)
        self._local.kept = contig, start, part
        return part


def _reopen(path: Path, aliases: dict[str, str], slice_bp: int) -> Genome:
    return Genome(path, contigs=aliases or None, slice_bp=slice_bp)


def _open_index(source: Source) -> dict[str, faidx.Contig]:
    """Read the index of a genome, or make it anew; what is beside the genome is mended where that is possible."""
    index, blocks = (source.path.with_name(source.path.name + suffix) for suffix in (".fai", ".gzi"))
    content = _content(index)
    found = None if content is None else faidx.parse(content)
    contigs = found if found and faidx.fits(found, source.read, source.size) else None
    news: dict[Path, bytes] = {}
    stale = []
    if contigs is None or index.stat().st_mtime_ns < source.modified_ns:
        old, contigs = contigs, faidx.build(source.parts(), source.path)
        news[index] = faidx.render(contigs)
        stale += [index.name] * (content is not None and old != contigs)
    if source.blocks is not None:
        content = _content(blocks)
        if content is None or not bgzip.fits_gzi(content, source.blocks):
            news[blocks] = bgzip.as_gzi(source.blocks)
            stale += [blocks.name] * (content is not None)
    is_written = not news or _write(news)
    if stale:
        where = "" if is_written else ", in memory, since the folder cannot be written"
        warn(f"{' and '.join(stale)} did not fit {source.path}: made anew{where}")
    return contigs


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(contents: dict[Path, bytes]) -> bool:
    """Write files of one folder, each at once; return whether they could be."""
    folder = next(iter(contents)).parent
    if not os.access(folder, os.W_OK):
        return False
    try:
        with tempfile.TemporaryDirectory(prefix=".fai-", dir=folder) as place:
            for path, content in contents.items():
                Path(place, path.name).write_bytes(content)
                os.replace(Path(place, path.name), path)
    except OSError:
        return False
    return True

"""Arrays in npy, npz, HDF5 and Zarr files: finding them, loading them, and reading them a block of rows at a time."""

import math
import shutil
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO, RawIOBase
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np

from .._check import optional
from .._damage import DAMAGE, MALFORMED, telling_damage, told
from .._types import AnyArray, Array
from .._warn import warn
from ..backends import to_host
from . import hdf5
from .replacing import restore

ARRAY_FORMATS = {".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5", ".zarr": "zarr"}
LISTED = 20  # arrays of a file that an error names
LARGEST = 1 << 26  # bytes of the rows of a chunk that are read at once


class Entry(NamedTuple):
    """An array in a file."""

    name: str
    """Dataset or member; empty if the file is one array."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        """Describe in a few words."""
        return f"{self.name or 'an array without a name'} {self.shape} {self.dtype}"


class Rows(NamedTuple):
    """An open array that is read from its first row to its last."""

    entry: Entry
    read: Callable[[int, int, Array], None]
    """Fill an array with the rows from a start to a stop."""
    kind: str = ""
    """Format of the file, of `ARRAY_FORMATS`."""
    chunk_rows: int = 0
    """How many rows are best read at once, 0 if any number is."""
    filters: dict[str, Any] = {}  # noqa: RUF012  (never written)
    """Compression of the file, as the writer of the same format takes it."""
    is_locked: bool = False
    """Whether reading takes the lock that all of HDF5 shares."""


def format_of(path: Path) -> str:
    """Return the format that a file's suffix names."""
    if path.suffix.lower() not in ARRAY_FORMATS:
        raise ValueError(f"{path} has no suffix that names a format; use one of {', '.join(ARRAY_FORMATS)}")
    return ARRAY_FORMATS[path.suffix.lower()]


def load(path: str | Path, dataset: str | None = None) -> Any:
    """Open an array in a file, without reading it where the format allows that.

    Parameters
    ----------
    path : str or Path
        With the suffix .npy, .npz, .h5, .hdf5, .hdf or .zarr.
    dataset : str, optional
        Name of the array in the file; needed if it holds several.

    Returns
    -------
    numpy.memmap, h5py.Dataset, zarr.Array, or (npz) NumPy array
        The first three read what is sliced; all are read-only but the last, which is in memory.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix names no format, or `dataset` no array; the message lists the arrays of the file.
    OSError
        If the file is damaged, or of another format than its suffix says.
    MissingBackendError
        If h5py, zarr or a plugin for the compression of the file is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/maps.npz", grad=np.ones((2, 3, 4)))
    ...     load(f"{folder}/maps.npz").shape
    (2, 3, 4)
    """
    path = Path(path)
    kind = format_of(path)
    entry = choose(path, dataset)
    with telling_damage(path, *MALFORMED):
        if kind == "npy":
            return np.load(path, mmap_mode="r") if math.prod(entry.shape) else np.load(path)
        if kind == "npz":
            with np.load(path) as archive:
                return archive[entry.name]
        if kind == "hdf5":
            return _readable(optional("h5py", "io").File(path, "r")[entry.name])
        found = optional("zarr", "io").open(path, mode="r")
        return found[entry.name] if entry.name else found


def choose(path: Path, dataset: str | None = None, wanted: Callable[[Entry], bool] = lambda entry: True) -> Entry:
    """Return the array of a file that has the name `dataset`, or else the only one that is `wanted`."""
    restore(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the path")
    kind = format_of(path)
    try:
        entries = LISTERS[kind](path)
    except PermissionError:
        raise
    except (*DAMAGE, *MALFORMED) as error:
        raise OSError(
            f"{path} cannot be read as {kind}; check that it is whole and that its suffix is right ({told(error)})"
        ) from error
    if dataset is not None:
        found = [entry for entry in entries if entry.name == dataset.strip("/")]
        if not found:
            raise ValueError(f"{path} has no dataset {dataset!r}; it holds {_listed(entries)}")
        return found[0]
    found = [entry for entry in entries if wanted(entry)]
    if not found:
        raise ValueError(f"{path} holds no array that fits; name the dataset that you mean: {_listed(entries)}")
    if len(found) > 1:
        raise ValueError(f"{path} holds {len(found)} arrays; name the dataset that you mean: {_listed(found)}")
    return found[0]


def _listed(entries: list[Entry]) -> str:
    named = ", ".join(map(str, entries[:LISTED])) or "nothing"
    return named + (f" and {len(entries) - LISTED} more" if len(entries) > LISTED else "")


def _list_npy(path: Path) -> list[Entry]:
    with open(path, "rb") as file:
        shape, _, dtype = _header(file, path)
    return [Entry("", shape, dtype)]


def _list_npz(path: Path) -> list[Entry]:
    entries = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    shape, _, dtype = _header(file, path)
                entries.append(Entry(member.removesuffix(".npy"), shape, dtype))
    return entries


def _list_hdf5(path: Path) -> list[Entry]:
    h5py = optional("h5py", "io")
    entries: list[Entry] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            entries.append(Entry(name, item.shape, item.dtype))

    with hdf5.open_whole(path) as file:
        file.visititems(visit)
    return entries


def _list_zarr(path: Path) -> list[Entry]:
    found = optional("zarr", "io").open(path, mode="r")
    if hasattr(found, "shape"):
        return [Entry("", found.shape, found.dtype)]
    members = [(name, item) for name, item in found.members(max_depth=None) if hasattr(item, "shape")]
    return [Entry(name, item.shape, item.dtype) for name, item in sorted(members)]


LISTERS = {"npy": _list_npy, "npz": _list_npz, "hdf5": _list_hdf5, "zarr": _list_zarr}


def open_rows(path: Path, entry: Entry, stack: ExitStack) -> Rows:
    """Open an array of a file for reading; leaving `stack` closes it."""
    kind = format_of(path)
    with telling_damage(path, *MALFORMED):
        rows = _open(path, kind, entry, stack)

    def read(start: int, stop: int, out: Array) -> None:
        with telling_damage(path, *MALFORMED):  # also Zarr's for a checksum that is wrong
            rows.read(start, stop, out)

    return rows._replace(kind=kind, read=read)


def _open(path: Path, kind: str, entry: Entry, stack: ExitStack) -> Rows:
    if kind == "npy":
        file = stack.enter_context(_open_bytes(path))
        _, is_fortran, _ = _header(file, path)
        return _from_memory_map(file, entry) if is_fortran else _from_raw(file, path, entry, file.tell())
    if kind == "npz":
        archive = stack.enter_context(zipfile.ZipFile(path))
        return _from_archive(archive, path, entry, stack)
    if kind == "hdf5":
        file = stack.enter_context(optional("h5py", "io").File(path, "r"))
        dataset = _readable(file[entry.name])
        if (offset := _offset(file, dataset)) is not None:  # read without the lock of HDF5
            return _from_raw(stack.enter_context(_open_bytes(path)), path, entry, offset)
        filters = {key: getattr(dataset, key) for key in ("compression", "compression_opts", "shuffle", "fletcher32")}
        return from_array(dataset, entry.name)._replace(filters=filters if dataset.compression else {})
    found = optional("zarr", "io").open(path, mode="r")
    array = found[entry.name] if entry.name else found
    if array.nchunks_initialized < array.nchunks:  # allowed by the format, and what an incomplete copy looks like
        n_missing = array.nchunks - array.nchunks_initialized
        warn(f"{n_missing} of {array.nchunks} chunks of {path} are not there and read as empty")
    return from_array(array, entry.name)


def _open_bytes(path: Path) -> FileIO:
    return FileIO(path)  # without a buffer, since blocks are large


def from_array(array: AnyArray, name: str = "") -> Rows:
    """Read an array that can be sliced: of any supported library, a memory map, an h5py dataset or a zarr array."""
    entry = Entry(name, tuple(array.shape), as_numpy(array[:0]).dtype)
    sizes = (getattr(array, name, None) for name in ("shards", "chunksize", "chunks"))  # zarr, Dask, HDF5
    chunks = next(filter(None, sizes), (0,))
    chunk_rows = min(int(chunks[0]), entry.shape[0])

    def read(start: int, stop: int, out: Array) -> None:
        out[...] = as_numpy(array[start:stop])

    is_large = chunk_rows * math.prod(entry.shape[1:]) * entry.dtype.itemsize > LARGEST
    return Rows(
        entry,
        _chunk_by_chunk(array, chunk_rows) if is_large else read,
        chunk_rows=0 if is_large else chunk_rows,
        is_locked=type(array).__module__.partition(".")[0] == "h5py",
    )


def file_behind(array: AnyArray) -> tuple[Path, ...]:
    """Return the file that an array reads from when it is sliced, which must not be replaced before."""
    if type(array).__module__.partition(".")[0] == "h5py":
        return (Path(array.file.filename),)
    if type(array).__module__.partition(".")[0] == "zarr":
        root = getattr(array.store, "root", None)
        return () if root is None else (Path(root),)
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            return (Path(array.filename),)
        array = array.base
    return ()


def _chunk_by_chunk(array: AnyArray, chunk_rows: int) -> Callable[[int, int, Array], None]:
    """Return a reader that holds a chunk until all of its rows are read, instead of decompressing it for each block."""
    held: dict[int, Array] = {}

    def read(start: int, stop: int, out: Array) -> None:
        for row in range(start, stop):
            first = row - row % chunk_rows
            if first not in held:
                held.clear()
                held[first] = as_numpy(array[first : first + chunk_rows])
            out[row - start] = held[first][row - first]

    return read


def as_numpy(array: AnyArray) -> Array:
    """Return an array of any supported library as NumPy's; bfloat16, which NumPy lacks, as float32."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("got a masked array, whose mask would be lost; pass array.filled(0), or NaN for a track")
    return to_host(array)


def _from_raw(file: RawIOBase, path: Path, entry: Entry, offset: int) -> Rows:
    """Read rows that lie one after the other in an uncompressed file."""
    row_bytes = math.prod(entry.shape[1:]) * entry.dtype.itemsize
    _check_length(path, entry, (path.stat().st_size - offset) // max(row_bytes, 1))

    def read(start: int, stop: int, out: Array) -> None:
        file.seek(offset + start * row_bytes)
        _fill(file, path, out)

    return Rows(entry, read)


def _from_memory_map(file: IO[bytes], entry: Entry) -> Rows:
    """Read rows of an array in Fortran order, whose header has just been read from `file`."""
    if not math.prod(entry.shape):
        return from_array(np.empty(entry.shape, entry.dtype))
    return from_array(np.memmap(file, entry.dtype, "r", file.tell(), entry.shape, "F"), entry.name)


def _from_archive(archive: zipfile.ZipFile, path: Path, entry: Entry, stack: ExitStack) -> Rows:
    member = stack.enter_context(archive.open(f"{entry.name}.npy"))
    _, is_fortran, _ = _header(member, path)
    if is_fortran:  # the first row is spread over the whole member
        copy = stack.enter_context(TemporaryFile())  # noqa: SIM115  (`stack` closes it)
        member.seek(0)
        shutil.copyfileobj(member, copy)
        copy.seek(0)
        _header(copy, path)
        return _from_memory_map(copy, entry)
    info = archive.getinfo(f"{entry.name}.npy")

    def read(start: int, stop: int, out: Array) -> None:
        _fill(member, path, out)
        if stop == entry.shape[0]:
            member.read(1)  # the end of a member is where zipfile compares its checksum

    return Rows(entry, read, filters={"compression": info.compress_type})


def _fill(file: Any, path: Path, out: Array) -> None:
    """Read until a contiguous array is full."""
    memory = memoryview(out.reshape(-1).view(np.uint8).data)
    while len(memory):
        count = file.readinto(memory)
        if not count:
            raise OSError(f"{path} ends in the middle of its array; the file is cut short, write it again")
        memory = memory[count:]


def _check_length(path: Path, entry: Entry, n_rows: int) -> None:
    if n_rows < entry.shape[0] and 0 not in entry.shape:
        raise OSError(f"{path} ends after {n_rows} of {entry.shape[0]} rows; the file is cut short, write it again")


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an npy file: shape, whether in Fortran order, dtype."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"{path} is of npy version {version}, which holds no plain numbers; save a plain array")
    return readers[version](file)


def _readable(dataset: Any) -> Any:
    """Return an HDF5 dataset after loading the plugin for its compression, if one is needed."""
    available = optional("h5py", "io").h5z.filter_avail
    properties = dataset.id.get_create_plist()
    codes = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    if not all(map(available, codes)):
        optional("hdf5plugin", "io")
    return dataset


def _offset(file: Any, dataset: Any) -> int | None:
    """Return where the numbers of an HDF5 dataset begin, if they lie in the file as NumPy would write them."""
    type_of = optional("h5py", "io").h5t.py_create
    is_plain = file.userblock_size == 0 and dataset.id.get_type() == type_of(dataset.dtype)
    return dataset.id.get_offset() if is_plain else None

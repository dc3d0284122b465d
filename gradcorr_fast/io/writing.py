"""Arrays into npy, npz, HDF5 and Zarr files, a block of rows at a time; files that are whole or not there."""

import math
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from .._check import optional
from .._types import AnyArray, Array
from .reading import Entry

NAMES = {"npy": "", "npz": "arr_0", "hdf5": "attributions", "zarr": ""}
"""Names of arrays that came without one."""

Writer = Callable[[Array], None]
"""Appends rows to an array in a file."""


def create(
    path: Path, kind: str, entries: Sequence[Entry], chunk_rows: int, filters: dict[str, Any], stack: ExitStack
) -> list[Writer]:
    """Create a file with `entries` and return their writers; leaving `stack` closes it. npy and npz hold one array."""
    return CREATORS[kind](path, entries, chunk_rows, filters, stack)


def _create_npy(
    path: Path, entries: Sequence[Entry], chunk_rows: int, filters: dict[str, Any], stack: ExitStack
) -> list[Writer]:
    file = stack.enter_context(FileIO(path, "xb"))
    return [_append_npy(file, *entries)]


def _create_npz(
    path: Path, entries: Sequence[Entry], chunk_rows: int, filters: dict[str, Any], stack: ExitStack
) -> list[Writer]:
    (entry,) = entries
    info = zipfile.ZipInfo(f"{entry.name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # the same bytes at any time
    info.compress_type = filters.get("compression", zipfile.ZIP_STORED)
    info.external_attr = 0o644 << 16
    archive = stack.enter_context(zipfile.ZipFile(path, "x"))
    return [_append_npy(stack.enter_context(archive.open(info, "w", force_zip64=True)), entry)]


def _append_npy(file: Any, entry: Entry) -> Writer:
    header = {"descr": np.lib.format.dtype_to_descr(entry.dtype), "fortran_order": False, "shape": entry.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return _append_bytes(file)


def _append_bytes(file: Any) -> Writer:
    def write(block: Array) -> None:
        memory = memoryview(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        while len(memory):
            memory = memory[file.write(memory) :]

    return write


def _create_hdf5(
    path: Path, entries: Sequence[Entry], chunk_rows: int, filters: dict[str, Any], stack: ExitStack
) -> list[Writer]:
    h5py = optional("h5py", "io")
    if filters:
        file = stack.enter_context(h5py.File(path, "x"))
        datasets = []
        for entry in entries:
            chunks = (min(chunk_rows, entry.shape[0]), *entry.shape[1:]) if math.prod(entry.shape) else None
            options = filters if chunks else {}
            datasets.append(file.create_dataset(entry.name, entry.shape, entry.dtype, chunks=chunks, **options))
        return [_append_slices(dataset) for dataset in datasets]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)  # places are given at once, and filled without the lock of HDF5
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "x") as file:
        made = [file.create_dataset(entry.name, entry.shape, entry.dtype, dcpl=layout) for entry in entries]
        offsets = [dataset.id.get_offset() or 0 for dataset in made]
    writers = []
    for offset in offsets:
        raw = stack.enter_context(FileIO(path, "rb+"))
        raw.seek(offset)
        writers.append(_append_bytes(raw))
    return writers


def checked_chunks() -> dict[str, Any]:
    """Return how chunks of Zarr arrays are encoded: compressed as by default, with a checksum that reading tests."""
    codecs = optional("zarr.codecs", "io")
    return {"compressors": (codecs.ZstdCodec(level=0), codecs.Crc32cCodec())}


def _create_zarr(
    path: Path, entries: Sequence[Entry], chunk_rows: int, filters: dict[str, Any], stack: ExitStack
) -> list[Writer]:
    zarr = optional("zarr", "io")
    arrays = []
    group = zarr.open_group(path, mode="w-", zarr_format=3) if entries[0].name else None
    for entry in entries:
        chunks = tuple(max(1, length) for length in (min(chunk_rows, entry.shape[0]), *entry.shape[1:]))
        options = {"shape": entry.shape, "dtype": entry.dtype, "chunks": chunks, **checked_chunks()}
        options["config"] = {"write_empty_chunks": True}  # the test for emptiness would cost as much as writing
        if group is None:
            arrays.append(zarr.create_array(store=path, zarr_format=3, **options))
        else:
            arrays.append(group.create_array(entry.name, **options))
    return [_append_slices(array) for array in arrays]


def _append_slices(array: AnyArray) -> Writer:
    start = 0

    def write(block: Array) -> None:
        nonlocal start
        array[start : start + len(block)] = block
        start += len(block)

    return write


CREATORS = {"npy": _create_npy, "npz": _create_npz, "hdf5": _create_hdf5, "zarr": _create_zarr}

"""What is written carries checksums: bits that turn over on a disk are found when the file is read."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradcorr_fast import io
from gradcorr_fast.scan.results import matrix, store
from tests.conftest import require

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((6, 4, 50)).astype(np.float32)
N_FLIPS = 20


def turn_a_bit(path: Path, seed: int) -> None:
    """Turn one bit of a chunk over."""
    draw = random.Random(seed)
    files = sorted(file for file in path.rglob("*") if file.is_file() and "c" in file.relative_to(path).parts)
    file = draw.choice(files)
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def write_store(path: Path) -> Callable[[], np.ndarray]:
    store.create_store(path, 6, 3, store.fields(50, 1, ["corrected"], "float32"), ["index(0)"])
    for number in range(2):
        values = {"corrected": VALUES[3 * number :][:3], "codes": np.zeros((3, 50), np.uint8)}
        store.write_store_shard(path, number, np.arange(3), 3, values)
    return lambda: _read(path, "corrected", "codes")


def write_matrix(path: Path) -> Callable[[], np.ndarray]:
    matrix.create_matrix(path, 6, 3, [f"index({k})" for k in range(200)], ["delta"])
    for number in range(2):
        matrix.write_matrix_shard(path, number, {"delta": VALUES.reshape(6, 200)[3 * number :][:3]})
    return lambda: _read(path, "delta")


def write_corrected(path: Path) -> Callable[[], np.ndarray]:
    source = path.with_suffix(".npy")
    np.save(source, VALUES)
    io.correct_file(source, path)
    return lambda: _read(path, None)


def _read(path: Path, *names: str | None) -> np.ndarray:
    import zarr

    found = zarr.open(path, mode="r")
    return np.concatenate([np.asarray(found[name] if name else found, np.float32).ravel() for name in names])


@pytest.mark.parametrize("seed", range(N_FLIPS))
@pytest.mark.parametrize("write", [write_store, write_matrix, write_corrected])
def test_a_bit_that_turned_over_in_a_chunk_is_found(tmp_path: Path, write: Callable[..., object], seed: int) -> None:
    """Of 100 bits turned over in a finished store, 96 gave other numbers without a word."""
    require("zarr")
    read = write(tmp_path / "maps.zarr")
    read()
    turn_a_bit(tmp_path / "maps.zarr", seed)
    with pytest.raises(ValueError, match="checksum"):
        read()


@pytest.mark.parametrize("seed", range(N_FLIPS))
def test_a_bit_that_turned_over_in_a_table_is_found(tmp_path: Path, seed: int) -> None:
    """Of 200 bits turned over in a finished table, 67 gave other rows without a word."""
    pa = pytest.importorskip("pyarrow")
    from gradcorr_fast.scan.results.parquet import open_checked, write_whole

    path, draw = tmp_path / "table.parquet", random.Random(seed)
    write_whole(pa.table({"delta": VALUES.reshape(-1)}), path)
    with open_checked(path) as file:
        chunk = file.metadata.row_group(0).column(0)
    start = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
    content = bytearray(path.read_bytes())
    content[start + draw.randrange(chunk.total_compressed_size)] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r".+"), open_checked(path) as file:
        file.read()

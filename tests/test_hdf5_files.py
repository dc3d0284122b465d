"""HDF5 files that lead to other files: what they name there is not read through them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcorr_fast import io
from gradcorr_fast.io.hdf5 import open_whole
from tests.conftest import require

h5py = pytest.importorskip("h5py")

SECRET = np.arange(8.0).reshape(1, 2, 4)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(SECRET.tobytes())
    with h5py.File("secret.h5", "w") as file:
        file["grad"] = SECRET


def link(file: Any) -> None:
    file["grad"] = h5py.ExternalLink("secret.h5", "/grad")


def link_inside_a_group(file: Any) -> None:
    file.create_group("deep/er")["grad"] = h5py.ExternalLink("secret.h5", "/grad")


def store(file: Any) -> None:
    file.create_dataset("grad", SECRET.shape, "f8", external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])


def map_virtually(file: Any) -> None:
    layout = h5py.VirtualLayout(SECRET.shape, "f8")
    layout[:] = h5py.VirtualSource("secret.h5", "grad", SECRET.shape)
    file.create_virtual_dataset("grad", layout)


@pytest.mark.parametrize("lead", [link, link_inside_a_group, store, map_virtually])
@pytest.mark.parametrize("read", [io.load, open_whole])
def test_a_file_that_leads_to_another_is_refused(lead: Callable[[Any], None], read: Callable[..., Any]) -> None:
    """A file of attributions could name any file of its reader, whose bytes then came out as gradients."""
    with h5py.File("lure.h5", "w") as file:
        lead(file)
    with pytest.raises(PermissionError, match=r"grad in lure\.h5 lies in another file, secret\.(h5|bin)"):
        read("lure.h5") if read is io.load else read("lure.h5").__enter__()


@pytest.mark.parametrize("name", ["weights.weights.h5", "model.h5"])
def test_a_model_is_not_read_from_elsewhere(name: str) -> None:
    require("tensorflow")
    from gradcorr_fast.model_files import keras as files

    with h5py.File(name, "w") as file:
        file.attrs["model_config"] = "{}"
        store(file)
    with pytest.raises(PermissionError, match="lies in another file"):
        files.load_weights(None, Path(name)) if "weights" in name else files.load_file(Path(name), True, {})


def test_a_virtual_dataset_of_the_same_file_is_read() -> None:
    with h5py.File("whole.h5", "w") as file:
        file["part"] = SECRET
        layout = h5py.VirtualLayout(SECRET.shape, "f8")
        layout[:] = h5py.VirtualSource(file["part"])
        file.create_virtual_dataset("grad", layout)
    np.testing.assert_array_equal(io.load("whole.h5", "grad")[:], SECRET)

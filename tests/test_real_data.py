"""Real gradients: numbers that were looked at once, and must stay."""

from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.criterion import assert_meets_criterion

h5py = pytest.importorskip("h5py")


@pytest.fixture(name="tal1")
def _tal1(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(shared_data / "real/reference/kipoi_tal1_grads.hdf5") as file:
        print(list(file))
        return file["inputs"][:], file["grads"][:]


def test_tal1(tal1) -> None:
    x, grad = tal1
    print(x.shape, x.dtype, grad.shape, grad.dtype)
    print(gf.angle_summary(grad))
    raise SystemExit

"""Bits that turn over in what was written, and files of it that go: a few of `bit_faults`, and many when thorough."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("zarr")
pytest.importorskip("pysam")

from tests.bit_faults import FOUND, KINDS, count

N_FEW, N_MANY = 3, 200


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize("name", KINDS)
def test_no_fault_is_silent(name: str, folder: Path) -> None:
    counts = count(name, range(N_FEW), folder)
    assert counts.total() == N_FEW
    assert counts["silent"] == 0
    assert set(counts) <= set(FOUND)


@pytest.mark.thorough
@pytest.mark.parametrize("name", KINDS)
def test_of_many_faults_none_is_silent(name: str, folder: Path) -> None:
    assert count(name, range(N_FEW, N_FEW + N_MANY), folder)["silent"] == 0

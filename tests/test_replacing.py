"""What a killed process leaves beside the file that it was writing: put back, or removed by the next run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradcorr_fast.io import replacing
from tests.conftest import require

DEAD = 2**22 + 1
"""More than Linux gives to a process."""
KILLED = """
import os, signal
from pathlib import Path
from gradcorr_fast.io import replacing

def replace(a, b, move=os.replace):
    move(a, b)
    os.kill(os.getpid(), signal.SIGKILL)

replacing.exchange = lambda a, b: False
replacing.os.replace = replace
with replacing.replacing([Path("maps.zarr")], force=True) as (temporary,):
    temporary.mkdir()
    (temporary / "zarr.json").write_text("new")
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(replacing, "_swept", set())


def make_store(text: str) -> Path:
    store = Path("maps.zarr")
    store.mkdir()
    (store / "zarr.json").write_text(text)
    return store


def left_by(process: int, kind: str = "partial", host: int | None = None) -> Path:
    number = replacing._host() if host is None else host
    place = Path(f".maps.{number:04x}{process:08x}abcd.{kind}.npy")
    place.write_text("rest")
    return place


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no exchange of two names")
def test_a_folder_is_replaced_in_one_step() -> None:
    """A store that was replaced by two renames was gone when the process was killed between them."""
    make_store("old")
    with replacing.replacing([Path("maps.zarr")], force=True) as (temporary,):
        temporary.mkdir()
        (temporary / "zarr.json").write_text("new")
        assert replacing.exchange(temporary, Path("maps.zarr"))
        assert (temporary / "zarr.json").read_text() == "old"
        assert replacing.exchange(temporary, Path("maps.zarr"))
    assert Path("maps.zarr/zarr.json").read_text() == "new"
    assert os.listdir() == ["maps.zarr"]


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_what_a_kill_between_two_renames_moved_away_comes_back() -> None:
    """On file systems without an exchange the old store lay under a hidden name, which nothing looked for."""
    store = make_store("old")
    done = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not store.exists()
    with (
        pytest.warns(UserWarning, match="what was there is back"),
        pytest.raises(FileExistsError, match="exists already"),
        replacing.replacing([store]),
    ):
        pass
    assert (store / "zarr.json").read_text() == "old"
    with replacing.replacing([Path("other.npy")]) as (temporary,):
        temporary.write_text("whole")
    assert sorted(os.listdir()) == ["maps.zarr", "other.npy"]


@pytest.mark.parametrize("kind", ["partial", "replaced"])
def test_leftovers_of_killed_processes_go_with_the_next_run_that_succeeds(kind: str) -> None:
    """Files of 100 GB that a killed run had half written stayed for ever."""
    rest, mine, elsewhere = left_by(DEAD, kind), left_by(os.getpid(), kind), left_by(DEAD, kind, replacing._host() ^ 1)
    Path("maps.npy").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing.replacing([Path("maps.npy")], force=True):
        raise ZeroDivisionError
    assert rest.exists()
    with replacing.replacing([Path("maps.npy")], force=True) as (temporary,):
        temporary.write_text("whole")
    assert sorted(os.listdir()) == sorted([mine.name, elsewhere.name, "maps.npy"])


def test_a_replaced_file_whose_name_is_free_is_not_removed() -> None:
    rest = left_by(DEAD, "replaced")
    with replacing.replacing([Path("other.npy")]) as (temporary,):
        temporary.write_text("whole")
    assert rest.exists()


def test_a_reader_finds_what_was_moved_away(tmp_path: Path) -> None:
    require("zarr")
    from gradcorr_fast import io

    np.save("maps.npy", np.ones((1, 2, 4)))
    place = Path(f".maps.{replacing._host():04x}{DEAD:08x}abcd.replaced.npy")
    os.replace("maps.npy", place)
    with pytest.warns(UserWarning, match="what was there is back"):
        assert io.load("maps.npy").shape == (1, 2, 4)

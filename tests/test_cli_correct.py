"""`gradcorr-fast correct`: files of every format, whole or not there, in bounded memory, and errors that help."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gradcorr_fast as gf
from gradcorr_fast import io
from gradcorr_fast._installing import install_command
from gradcorr_fast.cli import main
from gradcorr_fast.io import maps, replacing
from tests.conftest import require
from tests.test_io import CODES, GRAD, ONE_HOT, write

COMMAND = "from gradcorr_fast.cli import main; main(prog_name='gradcorr-fast')"
HEARING = (  # of signals that the parent ignores, as under nohup and in the background of a shell
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="small_blocks")
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of every array."""
    monkeypatch.setattr(maps, "BLOCK", 2 * GRAD[0].nbytes)
    monkeypatch.setattr(maps, "CHUNK", GRAD[0].nbytes)


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["correct", *arguments])
    assert result.exit_code == status, result.output
    return result


def read(path: Path | str, dataset: str | None = None) -> np.ndarray:
    return np.asarray(io.load(path, dataset)[...])


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.pairwise
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("out", ["out.npy", "out.npz", "out.h5", "out.zarr"])
@pytest.mark.parametrize("source", ["in.npy", "in.npz", "in.h5", "in.zarr", "in.v2.zarr"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [1, 2])
def test_every_pairing_of_formats_equals_correcting_the_array(source: str, out: str, dtype: str, axis: int) -> None:
    grad = np.ascontiguousarray(np.moveaxis(GRAD, -1, axis)).astype(dtype)
    write(Path(source), **{"" if source.endswith((".npy", ".zarr")) else "maps/grad": grad})
    require("zarr" if out.endswith(".zarr") else "h5py")
    run(source, "-o", out)
    (entry,) = io.reading.LISTERS[io.reading.format_of(Path(out))](Path(out))
    unnamed = {"out.npy": "", "out.npz": "arr_0", "out.h5": "attributions", "out.zarr": ""}
    named = out != "out.npy" and not source.endswith((".npy", ".zarr"))
    assert entry.name == ("maps/grad" if named else unnamed[out])
    same(read(out), gf.correct(grad, axis=axis))


@pytest.mark.parametrize("shape", [(0, 30, 4), (5, 0, 4), (30, 4), (2, 3, 30, 4), (1, 1, 4)], ids=str)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".zarr"])
def test_arrays_of_other_shapes_are_corrected(shape: tuple[int, ...], suffix: str) -> None:
    grad = np.random.default_rng(0).standard_normal(shape)
    source = write(Path(f"in{suffix}"), **{"" if suffix in (".npy", ".zarr") else "grad": grad})
    run(str(source), "-o", f"out{suffix}", "--summary", "angles.json", "--angles", f"angle{suffix}")
    same(read(f"out{suffix}"), gf.correct(grad))
    same(read(f"angle{suffix}"), gf.simplex_angle(grad))
    assert json.loads(Path("angles.json").read_text())["positions"] == grad.size // 4


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
@pytest.mark.parametrize("source", ["in.npy", "in.npz"])
def test_any_byte_order_and_memory_order_is_read(source: str, dtype: str, order: str) -> None:
    write(Path(source), **{"" if source == "in.npy" else "grad": np.asarray(GRAD, dtype, order=order)})
    run(source, "-o", "out.npy")
    same(read("out.npy"), gf.correct(GRAD).astype(dtype))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {}])
def test_hdf5_keeps_its_compression(options: dict[str, object]) -> None:
    require("h5py")
    import h5py

    with h5py.File("in.h5", "w") as file:  # chunks larger than the array, as resizable datasets have
        file.create_dataset("grad", data=GRAD, chunks=(100, 30, 4), maxshape=(None, 30, 4), **options)
        file["notes"] = "text"
    run("in.h5", "-o", "out.h5")
    with h5py.File("out.h5") as file:
        assert file["grad"].compression == options.get("compression")
        assert list(file) == ["grad"]
    same(read("out.h5"), gf.correct(GRAD))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("largest", [1, 1 << 26])
@pytest.mark.parametrize("source", ["in.h5", "in.zarr"])
def test_chunks_of_any_size_are_read(monkeypatch: pytest.MonkeyPatch, source: str, largest: int) -> None:
    monkeypatch.setattr(io.reading, "LARGEST", largest)
    if source == "in.h5":
        require("h5py")
        import h5py

        with h5py.File(source, "w") as file:
            file.create_dataset("grad", data=GRAD, chunks=(5, 10, 2))
    else:
        require("zarr")
        import zarr

        shape, dtype = GRAD.shape, GRAD.dtype
        zarr.create_array(store=source, shape=shape, dtype=dtype, chunks=(1, 30, 4), shards=(3, 30, 4))[:] = GRAD
    run(source, "-o", "out.zarr")
    same(read("out.zarr"), gf.correct(GRAD))
    kept = {"in.h5": 5, "in.zarr": 3}[source]
    assert io.load("out.zarr").chunks[0] == (kept if largest > 1 else 2)


def test_a_compression_of_a_plugin_is_read_or_explained(tmp_path: Path) -> None:
    require("h5py")
    require("hdf5plugin")
    code = "import h5py, hdf5plugin, numpy as np\nwith h5py.File('in.h5', 'w') as file:\n    file.create_dataset("
    subprocess.run([sys.executable, "-c", code + "'a', data=np.ones((9, 50, 4)), **hdf5plugin.Blosc())"], check=True)
    hide = "import sys; sys.modules['hdf5plugin'] = None; "
    for start, status in (("", 0), (hide, 1)):
        arguments = [sys.executable, "-c", start + COMMAND, "correct", "in.h5", "-o", "out.h5", "--force"]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    assert f"hdf5plugin is not installed; gradcorr-fast[io] brings it: {install_command('io')}" in done.stderr
    assert not read("out.h5").any()


def test_npz_keeps_its_compression() -> None:
    np.savez_compressed("in.npz", grad=GRAD)
    run("in.npz", "-o", "out.npz")
    with zipfile.ZipFile("out.npz") as archive:
        assert archive.testzip() is None
        assert archive.getinfo("grad.npy").compress_type == zipfile.ZIP_DEFLATED


def test_nan_and_infinity_stay_at_their_position() -> None:
    grad = GRAD.copy()
    grad[2], grad[4, 5, 1], grad[6, 7, 2] = np.nan, np.inf, np.nan
    np.save("in.npy", grad)
    run("in.npy", "-o", "out.npy", "--angles", "angle.npy")
    np.testing.assert_array_equal(read("out.npy"), gf.correct(grad))
    assert np.isnan(read("angle.npy")).sum() == 32


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("source", ["in.npy", "in.npz", "in.h5", "in.zarr"])
def test_the_summary_is_that_of_the_whole_array(source: str) -> None:
    grad = GRAD.copy()
    grad[3, :5], grad[6, 7, 2] = 0, np.nan
    write(Path(source), **{"" if source.endswith((".npy", ".zarr")) else "grad": grad})
    result = run(source, "-o", "out.npy", "--angles", "angle.npz", "--summary", "angles.json")
    found, wanted = json.loads(Path("angles.json").read_text()), gf.angle_summary(grad)
    assert str(wanted) in result.stdout
    assert (found["positions"], found["undefined"]) == (210, 6)
    assert found["above"] == wanted.counts.sum(0).tolist()
    assert found["shares"] == (wanted.counts.sum(0) / 210).tolist()
    assert (found["mean_degrees"], found["std_degrees"]) == (wanted.mean, wanted.std)
    assert found["histogram"] == {"edges_degrees": wanted.edges.tolist(), "counts": wanted.histogram.tolist()}
    same(read("angle.npz", "angle"), gf.simplex_angle(grad))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("x", ["one-hot", "codes"])
def test_the_modisco_pair_is_written_from_one_file(x: str) -> None:
    write(Path("in.h5"), grads=GRAD, x=ONE_HOT if x == "one-hot" else CODES, other=GRAD[:, :7])
    options = ["--x", "in.h5", "--format", "modisco", "--dataset", "grads", "--summary", "angles.json"]
    result = run("in.h5", "-o", "run 1", *options)
    assert "modisco motifs -s 'run 1.ohe.npz' -a 'run 1.attr.npz' -n 2000 -w 30" in result.stdout
    same(read("run 1.attr.npz"), np.ascontiguousarray(gf.correct(GRAD).transpose(0, 2, 1)))
    same(read("run 1.ohe.npz"), gf.sequences.one_hot(CODES, np.int8, axis=1))
    assert Path("angles.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.npy", "-o", "out.npy"], "absent.npy does not exist"),
        (["in.txt", "-o", "out.npy"], "in.txt does not exist"),
        (["in.npz", "-o", "out.txt", "--dataset", "grad"], "no suffix that names a format"),
        (["in.npz", "-o", "out"], "holds 2 arrays; name the dataset that you mean: grad (7, 30, 4) float32, other"),
        (["in.npz", "-o", "out.npy", "--dataset", "nothing"], "has no dataset 'nothing'; it holds grad"),
        (["in.npz", "-o", "out.npy", "--dataset", "codes"], "got uint8, convert it first"),
        (["in.npz", "-o", "absent/out.npy", "--dataset", "grad"], "does not exist; make it"),
        (["in.npz", "-o", "in.npz", "--dataset", "grad", "--force"], "is in use; give the output another path"),
        (["in.npz", "-o", "link.npz", "--dataset", "grad", "--force"], "is in use; give the output another path"),
        (["in.npz", "-o", "o.npy", "--dataset", "grad", "--angles", "o.npy"], "is in use"),
        (
            ["in.npz", "-o", "o.npy", "--dataset", "grad", "--axis", "1"],
            "axis 1 has length 30; for letters on the axis of length 4 pass --axis 2",
        ),
        (["in.npz", "-o", "o.npy", "--dataset", "grad", "--axis", "0"], "pass --axis 2"),
        (["square.npy", "-o", "out.npy"], "pass the axis of the letters (1 for (N, 4, L), 2 for (N, L, 4))"),
        (["protein.npy", "-o", "out.npy"], "holds no array that fits; name the dataset"),
        (["square.npy", "-o", "out.npy", "--x", "x.npy"], "--x FILE and --format modisco go together"),
        (["square.npy", "-o", "out.npy", "--format", "modisco"], "--x FILE and --format modisco go together"),
        (["in.npz", "-o", "out.npy", "--dataset", "grad", "--angles", "folder.zarr", "--force"], "is a folder; move"),
        (["in.npz"], "Missing option"),
    ],
)
def test_a_wrong_call_ends_with_status_2_and_says_what_to_do(arguments: list[str], message: str) -> None:
    np.savez("in.npz", grad=GRAD, other=GRAD, codes=CODES)
    np.save("square.npy", GRAD[:, :4])
    np.save("protein.npy", np.ones((2, 9, 20), np.float32))
    Path("link.npz").symlink_to("in.npz")
    Path("folder.zarr").mkdir()
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    output = " ".join(run(*arguments, status=2).output.split())
    assert message in output
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before


def test_the_axis_settles_what_the_shape_leaves_open() -> None:
    np.save("square.npy", GRAD[:, :4])
    np.save("protein.npy", np.ones((2, 9, 20), np.float32))
    run("square.npy", "-o", "out.npy", "--axis", "1")
    same(read("out.npy"), gf.correct(GRAD[:, :4], axis=1))
    run("protein.npy", "-o", "out.npz", "--axis", "-1", "--summary", "angles.json")
    assert not read("out.npz").any()


@pytest.mark.parametrize("name", ["out.npy", "out.npz", "out.h5", "out.zarr"])
def test_files_are_replaced_only_by_force(name: str) -> None:
    np.save("in.npy", GRAD)
    np.save("old.npy", GRAD[:1])
    run("old.npy", "-o", name)
    assert "exists already; --force replaces it" in run("in.npy", "-o", name, status=2).output
    assert read(name).shape == (1, 30, 4)
    run("in.npy", "-o", name, "--force")
    same(read(name), gf.correct(GRAD))
    assert sorted(path.name for path in Path().iterdir()) == ["in.npy", "old.npy", name]


@pytest.mark.parametrize("source", ["in.npy", "in.npz", "in.h5"])
def test_a_file_that_is_cut_short_fails_with_status_1_and_leaves_nothing(source: str) -> None:
    grad = np.random.default_rng(0).standard_normal((1000, 30, 4))
    write(Path(source), **{"" if source == "in.npy" else "grad": grad})
    content = bytearray(Path(source).read_bytes())
    if source == "in.npz":  # whose numbers have a checksum
        content[500_000] ^= 1
    Path(source).write_bytes(content if source == "in.npz" else content[:-3000])
    run(source, "-o", "out.npy", "--summary", "angles.json", status=1)
    assert [path.name for path in Path().iterdir()] == [source]


def test_a_map_that_is_no_gradient_is_corrected_with_a_warning() -> None:
    np.save("in.npy", GRAD * ONE_HOT)
    assert "Warning: in.npy seems to have been multiplied by its input already" in run("in.npy", "-o", "o.npy").stderr
    write(Path("shap.h5"), **{"shap/seq": GRAD.transpose(0, 2, 1)})
    assert "hypothetical DeepLIFT or DeepSHAP scores, going by its name" in run("shap.h5", "-o", "o.h5").stderr
    np.save("plain.npy", GRAD)
    assert "Warning" not in run("plain.npy", "-o", "plain_out.npy").output


def test_progress_is_shown_on_stderr_unless_quiet() -> None:
    np.save("in.npy", GRAD)
    result = run("in.npy", "-o", "out.npy")
    assert (result.stdout, "writing" in result.stderr) == ("", True)
    assert run("in.npy", "-o", "out2.npy", "--quiet").output == ""


def test_help_has_an_example_and_loads_nothing_heavy() -> None:
    assert "gradcorr-fast correct grads.h5 -o corrected.npy" in run("--help").output
    check = "import sys; assert not {'numba', 'h5py', 'zarr', 'torch', 'gradcorr_fast.cli.correct'} & set(sys.modules)"
    script = f"import atexit; atexit.register(lambda: exec({check!r}))\n{COMMAND}"
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert "Correct the attributions in a file of any size." in done.stdout
    assert not done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("source", "out"), [("npy", "npy"), ("npz", "h5"), ("h5", "zarr"), ("zarr", "npz")])
def test_a_file_larger_than_its_share_of_memory_is_corrected(source: str, out: str) -> None:
    """600 MB with 200 MB; the numbers are zeros, which take no place on the disk."""
    require("h5py")
    require("zarr")
    code = f"""
import numpy as np, h5py, zarr
from gradcorr_fast.io import correct_file
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1000
shape = (18750, 2000, 4)
small = np.zeros((2, 2000, 4), np.float32)
np.save("small.npy", small)
np.lib.format.open_memmap("big.npy", "w+", np.float32, shape)
correct_file("small.npy", "small.{source}") if "{source}" != "npy" else None
correct_file("small.{source}", "small_out.{out}", angles="small_angle.npy")
before = peak()
correct_file("big.npy", "big.{source}") if "{source}" != "npy" else None
correct_file("big.{source}", "out.{out}", angles="angle.npy")
print(peak() - before, np.load("angle.npy", mmap_mode="r").shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    growth, shape = done.stdout.split(maxsplit=1)
    assert float(growth) < 200
    assert shape.strip() == "(18750, 2000)"


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("out", ["out.npy", "out.npz", "out.h5", "out.zarr"])
def test_an_interrupted_run_leaves_neither_a_torn_nor_a_temporary_file(out: str, number: int) -> None:
    require("zarr" if out.endswith(".zarr") else "h5py")
    np.lib.format.open_memmap("in.npy", "w+", np.float32, (200_000, 2000, 4))  # 6 GB of zeros, which are not stored
    arguments = [sys.executable, "-c", HEARING + COMMAND, "correct", "in.npy", "-o", out, "--angles", "angle.npy"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while len(list(Path().iterdir())) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert any(".partial" in path.name for path in Path().iterdir())
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "Aborted!" in errors
    assert [path.name for path in Path().iterdir()] == ["in.npy"]


def test_a_full_disk_fails_with_status_1_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("in.npy", GRAD)

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replacing, "sync", fail)
    assert "No space left on device" in run("in.npy", "-o", "out.npy", status=1).output
    assert [path.name for path in Path().iterdir()] == ["in.npy"]


def write_compressed(path: Path, grad: np.ndarray) -> Path:
    """Write an array with checksums, and return the file in which its numbers are."""
    if path.suffix == ".npz":
        np.savez_compressed(path, grad=grad)
        return path
    require("h5py" if path.suffix == ".h5" else "zarr")
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("grad", data=grad, compression="gzip", fletcher32=True)
        return path
    import zarr

    zarr.save_array(path, grad)
    return max((part for part in path.rglob("*") if part.is_file()), key=lambda part: part.stat().st_size)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr"])
def test_damaged_numbers_end_with_status_1_and_the_name_of_the_file(suffix: str) -> None:
    """What libraries raise for them was told without the file, and a checksum of Zarr as an error of the call."""
    source = Path(f"in{suffix}")
    numbers = write_compressed(source, np.random.default_rng(0).standard_normal((50, 200, 4)))
    data = bytearray(numbers.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    numbers.write_bytes(data)
    message = run(str(source), "-o", "out.npy", status=1).stderr
    assert f"{source} cannot be read to its end, it seems to be damaged" in message
    assert not Path("out.npy").exists()

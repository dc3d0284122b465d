"""gf.io: what is loaded, what other programs read of what is written, and which maps are told from gradients."""

import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast import io
from gradcorr_fast.io import maps, tracks
from gradcorr_fast.io.motifs import modisco_command
from gradcorr_fast.io.reading import Entry
from tests.conftest import require

RNG = np.random.default_rng(0)
GRAD = RNG.standard_normal((7, 30, 4)).astype(np.float32)
CODES = RNG.integers(0, 4, (7, 30)).astype(np.uint8)
ONE_HOT = gf.sequences.one_hot(CODES)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of every array."""
    monkeypatch.setattr(maps, "BLOCK", 2 * GRAD[0].nbytes)
    monkeypatch.setattr(maps, "CHUNK", GRAD[0].nbytes)


def write(path: Path, **arrays: np.ndarray) -> Path:
    """Write named arrays with the library of the format; "" is an array without a name. ".v2.zarr" is of version 2."""
    if path.suffix == ".npy":
        np.save(path, arrays[""])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        require("h5py")
        import h5py

        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    else:
        require("zarr")
        import zarr

        version = 2 if ".v2" in path.suffixes else 3
        for name, array in arrays.items():
            chunks = (2, *(max(1, length) for length in array.shape[1:]))
            options = {"shape": array.shape, "dtype": array.dtype, "chunks": chunks, "zarr_format": version}
            zarr.create_array(store=path, name=name or None, **options)[...] = array
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.zarr", "a.v2.zarr"])
def test_an_array_is_loaded_without_reading_it_where_the_format_allows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, **{"" if name.endswith((".npy", ".zarr")) else "shap/seq": GRAD})
    loaded = io.load(path)
    assert loaded.shape == GRAD.shape
    assert isinstance(loaded, np.memmap if name == "a.npy" else np.ndarray) == (name in ("a.npy", "a.npz"))
    np.testing.assert_array_equal(loaded[2:5], GRAD[2:5])


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.zarr"])
def test_a_dataset_is_named_where_there_are_several(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, grads=GRAD, onehot=ONE_HOT.astype(np.int8))
    with pytest.raises(ValueError, match=r"grads \(7, 30, 4\) float32, onehot \(7, 30, 4\) int8"):
        io.load(path)
    np.testing.assert_array_equal(io.load(path, "/grads")[:], GRAD)
    with pytest.raises(ValueError, match="has no dataset 'grad'; it holds grads"):
        io.load(path, "grad")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.npy", None, FileNotFoundError, "does not exist; check the path"),
        ("maps.txt", b"", ValueError, "no suffix that names a format; use one of .npy"),
        ("text.npy", b"hello world", OSError, "cannot be read as npy"),
        ("text.npz", b"hello world", OSError, "cannot be read as npz"),
        ("text.h5", b"hello world", OSError, "cannot be read as hdf5"),
    ],
)
def test_a_wrong_file_is_explained(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    if name.endswith(".h5"):
        require("h5py")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        io.load(tmp_path / name)


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        gf.MissingBackendError, match=r"h5py is not installed; gradcorr-fast\[io\] brings it: pip install"
    ):
        io.load(tmp_path / "a.h5")


def motif_maps() -> tuple[np.ndarray, np.ndarray]:
    """Sequences with a motif and gradients that point at it, plus what is the same for all letters."""
    motif, rng = gf.sequences.encode("TGACTCATGC"), np.random.default_rng(1)
    codes = rng.integers(0, 4, (120, 200)).astype(np.uint8)
    grad = rng.standard_normal((120, 200, 4)).astype(np.float32) * 0.02
    for n, start in enumerate(rng.integers(60, 130, 120)):
        codes[n, start : start + 10] = motif
        grad[n, start : start + 10] += np.eye(4, dtype=np.float32)[motif] * 1.5
    return codes, grad + rng.standard_normal((120, 200, 1)).astype(np.float32)


def test_modisco_finds_the_motif_with_the_command_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("modiscolite")
    require("h5py")
    import h5py

    codes, grad = motif_maps()
    io.save_modisco(tmp_path / "my run", grad, codes)
    words = shlex.split(capsys.readouterr().out)
    assert words[:2] == ["modisco", "motifs"]
    subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], check=True, capture_output=True, timeout=300)
    with h5py.File(tmp_path / "my run.modisco.h5") as file:
        (pattern,) = file["pos_patterns"].values()
        found = pattern["contrib_scores"][:]
    where = found.sum(1) > 0.5
    assert gf.sequences.decode(found[where].argmax(1)) in ("TGACTCATGC", "GCATGAGTCA")


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("kind", ["codes", "one-hot", "bool"])
@pytest.mark.parametrize("corrected", [True, False])
def test_the_modisco_pair_has_its_layout(tmp_path: Path, axis: int, kind: str, corrected: bool) -> None:
    codes = np.where(np.arange(30) == 3, 255, CODES).astype(np.uint8)
    one_hot = gf.sequences.one_hot(codes, bool if kind == "bool" else np.float32, axis)
    grad = np.ascontiguousarray(np.moveaxis(GRAD, -1, axis)).astype(np.float16)
    before = grad.copy()
    io.save_modisco(tmp_path / "run", grad, codes if kind == "codes" else one_hot, axis=axis, corrected=corrected)
    with np.load(tmp_path / "run.ohe.npz") as ohe, np.load(tmp_path / "run.attr.npz") as attr:
        assert ohe.files == attr.files == ["arr_0"]
        assert (ohe["arr_0"].dtype, attr["arr_0"].dtype) == (np.int8, np.float16)
        np.testing.assert_array_equal(ohe["arr_0"], gf.sequences.one_hot(codes, np.int8, axis=1))
        wanted = gf.correct(grad, axis=axis) if corrected else grad
        np.testing.assert_array_equal(attr["arr_0"], np.moveaxis(wanted, axis, 1))
    np.testing.assert_array_equal(grad, before)


@pytest.mark.parametrize("package", ["torch", "jax", "tensorflow", "dask.array", "h5py"])
def test_maps_of_other_libraries_are_written(tmp_path: Path, package: str) -> None:
    require(package.partition(".")[0])
    if package == "torch":
        import torch

        grad = torch.from_numpy(GRAD).requires_grad_()
    elif package == "jax":
        import jax.numpy as jnp

        grad = jnp.asarray(GRAD)
    elif package == "tensorflow":
        import tensorflow as tf

        grad = tf.constant(GRAD)
    elif package == "dask.array":
        import dask.array as da

        grad = da.from_array(GRAD, chunks=(3, 30, 4))
    else:
        grad = io.load(write(tmp_path / "a.h5", grads=GRAD))
    io.save_modisco(tmp_path / "run", grad, CODES)
    with np.load(tmp_path / "run.attr.npz") as attr:
        np.testing.assert_array_equal(attr["arr_0"], gf.correct(GRAD).transpose(0, 2, 1))


def test_bfloat16_is_written_as_float32(tmp_path: Path) -> None:
    require("torch")
    import torch

    grad = torch.from_numpy(GRAD).bfloat16()
    io.save_modisco(tmp_path / "run", grad, CODES)
    with np.load(tmp_path / "run.attr.npz") as attr:
        assert attr["arr_0"].dtype == np.float32
        np.testing.assert_array_equal(attr["arr_0"], gf.correct(grad.float().numpy()).transpose(0, 2, 1))


@pytest.mark.parametrize(
    ("grad", "x", "message"),
    [
        (GRAD, CODES[:3], "x has shape"),
        (GRAD, ONE_HOT * 0.5, "neither one-hot nor codes"),
        (GRAD, np.ones_like(ONE_HOT), "neither one-hot nor codes"),
        (GRAD, np.full_like(ONE_HOT, np.nan), "neither one-hot nor codes"),
        (GRAD[0], CODES[0], "is not that of DNA"),
        (GRAD.transpose(0, 2, 1), CODES, "pass axis=1"),
    ],
)
def test_what_modisco_would_misread_is_refused(tmp_path: Path, grad: np.ndarray, x: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        io.save_modisco(tmp_path / "run", grad, x)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_finemo_and_h5py_read_contributions(tmp_path: Path, dtype: str) -> None:
    require("h5py")
    import h5py

    io.save_contribs_h5(tmp_path / "run.h5", GRAD, CODES, dtype=dtype)
    wanted = gf.correct(GRAD).transpose(0, 2, 1).astype(dtype)
    one_hot = gf.sequences.one_hot(CODES, np.int8, axis=1)
    with h5py.File(tmp_path / "run.h5") as file:
        found = {name: file[name][:] for name in ("raw/seq", "shap/seq", "projected_shap/seq")}
    assert [array.dtype for array in found.values()] == [np.int8, dtype, dtype]
    np.testing.assert_array_equal(found["raw/seq"], one_hot)
    np.testing.assert_array_equal(found["shap/seq"], wanted)
    np.testing.assert_array_equal(found["projected_shap/seq"], wanted * one_hot)
    data_io = pytest.importorskip("finemo.data_io", reason="Fi-NeMo is not installed")
    sequences, contributions = data_io.load_regions_from_chrombpnet_h5([str(tmp_path / "run.h5")], 15)
    np.testing.assert_array_equal(sequences, one_hot)
    np.testing.assert_allclose(contributions, wanted, rtol=1e-3)


def test_what_float16_loses_is_told(tmp_path: Path) -> None:
    require("h5py")
    with pytest.warns(UserWarning, match=r"of the values become zero in float16"):
        io.save_contribs_h5(tmp_path / "small.h5", GRAD * 1e-8, CODES, dtype="float16")
    with pytest.raises(ValueError, match="is too large for float16"):
        io.save_contribs_h5(tmp_path / "large.h5", GRAD * 1e6, CODES, dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["small.h5"]


@pytest.mark.parametrize("unknown", [0.0, 0.25, 1 / 3])
def test_an_unknown_letter_may_be_equal_letters(tmp_path: Path, unknown: float) -> None:
    """The hooks take sequences with 1/4 for each letter where it is unknown, which the files of motifs refused."""
    x = ONE_HOT.astype(np.float32)
    x[0, 3] = unknown
    io.save_modisco(tmp_path / "run", GRAD, x)
    written = np.load(tmp_path / "run.ohe.npz")["arr_0"]
    assert not written[0, :, 3].any()
    np.testing.assert_array_equal(np.delete(written[0], 3, 1), np.delete(ONE_HOT[0].T, 3, 1))


@pytest.mark.parametrize(("n_sequences", "n_seqlets"), [(3, 2000), (2_000, 8_000), (100_000, 50_000)])
def test_the_command_for_motifs_allows_for_the_seqlets_to_expect(n_sequences: int, n_seqlets: int) -> None:
    """With 2,000 seqlets, motifs of tens of thousands of peaks were those of the strongest few."""
    entry = Entry("", (n_sequences, 1000, 4), np.dtype(np.float32))
    assert f" -n {n_seqlets} " in modisco_command("run", entry, 2)


REGIONS = [("chr2", 5, 9), ("chr10", 0, 4), ("chr2", 7, 11), ("chr2", -2, 2), ("chr2", 97, 101)]
SIZES = {"chr1": 50, "chr10": 100, "chr2": 100}
TRACK = np.array([[1, 2, 3, 4], [0, 0, np.nan, 5], [-9, 6, 1e-3, np.inf], [8, 7, 6, 6], [1, 2, 3, 9]])


@pytest.mark.parametrize(
    ("overlap", "shared"),
    [("mean", [-3.0, 5.0]), ("max", [3.0, 6.0]), ("first", [3.0, 4.0]), ("nearest-summit", [3.0, 6.0])],
    ids=lambda v: str(v),
)
def test_another_reader_reads_the_track(tmp_path: Path, overlap: str, shared: list[float]) -> None:
    require("pyBigWig")
    require("pybigtools")
    bed, sizes = tmp_path / "regions.bed", tmp_path / "genome.sizes"
    bed.write_text("track name=x\n" + "".join(f"{c}\t{s}\t{e}\tname\n" for c, s, e in REGIONS))
    sizes.write_text("".join(f"{name}\t{size}\n" for name, size in SIZES.items()))
    io.save_bigwig(tmp_path / "run.bw", TRACK, bed, sizes, overlap=overlap)
    wanted = {"chr2": np.full(100, np.nan), "chr10": np.full(100, np.nan)}
    wanted["chr2"][[0, 1, 5, 6, 7, 8, 9, 97, 98, 99]] = [6, 6, 1, 2, *shared, 1e-3, 1, 2, 3]
    wanted["chr10"][[0, 1, 3]] = [0, 0, 5]
    import pybigtools

    reader = pybigtools.open(str(tmp_path / "run.bw"))
    for name, values in wanted.items():
        found = reader.values(name, 0, 100, fillna=None)
        np.testing.assert_array_equal(found, values.astype(np.float32))
    assert reader.chroms() == SIZES


def test_a_position_gets_the_value_of_the_nearest_summit(tmp_path: Path) -> None:
    """As ChromBPNet has it: of two neighbours, the right one's from halfway between the summits on."""
    pybigwig = pytest.importorskip("pyBigWig")
    regions = [("chr1", 6, 16), ("chr1", 0, 10), ("chr1", 7, 17), ("chr1", 30, 40)]
    values = np.repeat([[2.0], [1.0], [3.0], [4.0]], 10, axis=1)
    values[3, 2] = np.nan
    io.save_bigwig(tmp_path / "run.bw", values, regions, SIZES, overlap="nearest-summit")
    found = pybigwig.open(str(tmp_path / "run.bw")).values("chr1", 0, 50)
    wanted = [*[1.0] * 8, *[2.0] * 3, *[3.0] * 6, *[np.nan] * 13, 4.0, 4.0, np.nan, *[4.0] * 7, *[np.nan] * 10]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("values", "regions", "message"),
    [
        (TRACK[:1], [("chrX", 1, 5)], "lies on 'chrX', which chrom_sizes lacks"),
        (TRACK[:1], [("chr1", 1, 9)], "has 8 bp and 4 values"),
        (TRACK[:1], [("chr1", 90, 94)], "lies outside of chr1"),
        (TRACK[:1], [], "there are 0 regions and 1 rows"),
        (TRACK[:1] * np.nan, [("chr1", 1, 5)], "no value is finite"),
        (GRAD, [("chr1", 1, 5)] * 7, "gf.grad_times_input"),
    ],
)
def test_regions_that_do_not_fit_are_refused(
    tmp_path: Path, values: np.ndarray, regions: list[tuple[str, int, int]], message: str
) -> None:
    require("pyBigWig")
    with pytest.raises(ValueError, match=message):
        io.save_bigwig(tmp_path / "run.bw", values, regions, SIZES)
    assert not list(tmp_path.iterdir())


def test_an_error_while_a_track_is_written_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("pyBigWig")
    monkeypatch.setattr(tracks, "_merge", lambda *rest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        io.save_bigwig(tmp_path / "run.bw", TRACK, REGIONS, SIZES)
    assert not list(tmp_path.iterdir())


def of(x: np.ndarray, grad: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of several kinds made of a gradient."""
    gated, noise = grad * x, 1e-7 * RNG.standard_normal(grad.shape)
    return {
        "gradient": grad,
        "sparse gradient": grad * (RNG.random(grad.shape[:2]) < 0.2)[..., None],
        "ReLU of a gradient": np.maximum(grad, 0),
        "gated": gated,
        "gated, float16": gated.astype(np.float16),
        "gated, then centred": gated - gated.mean(-1, keepdims=True),
        "corrected": grad - grad.mean(-1, keepdims=True),
        "corrected, float16": (grad - grad.mean(-1, keepdims=True)).astype(np.float16),
        "corrected, some noise": (grad - grad.mean(-1, keepdims=True)) + noise,
        "mutagenesis": grad - (grad * x).sum(-1, keepdims=True),
        "zeros": grad * 0,
        "NaN": grad * np.nan,
    }


LONG = RNG.standard_normal((40, 300, 4)).astype(np.float32)
KINDS = of(gf.sequences.one_hot(RNG.integers(0, 4, (40, 300))), LONG)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_maps_are_told_apart(kind: str, axis: int) -> None:
    said = " ".join(io.find_misuse(np.moveaxis(KINDS[kind], -1, axis), axis=axis, name="it"))
    start = {"gated": "it seems to have been multiplied", "corrected": "it is centred already"}.get(kind.split(",")[0])
    if kind == "gated, then centred":
        start = "it seems to have been multiplied by its input before it was centred"
    assert said.startswith(start) if start else said == ""


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1), (3, 20), (60,), (2, 3, 1000), (5000, 5000)], ids=str)
def test_maps_of_any_shape_are_judged_by_some_of_their_positions(shape: tuple[int, ...]) -> None:
    index = io.misuse._spread(shape)
    n_seen = np.broadcast_to(0, shape)[index].size
    assert min(np.prod(shape), 500) <= n_seen <= 2 * io.misuse.SAMPLE
    grad = np.broadcast_to(np.array([0, 0, 1.0, 0]), (*shape, 4))
    assert len(io.find_misuse(grad)) == 1


@pytest.mark.parametrize("corrected", [True, False])
def test_a_gated_map_warns_and_is_written(tmp_path: Path, corrected: bool) -> None:
    what = "only scales that letter by 3/4" if corrected else "TF-MoDISco needs the scores of all letters"
    with pytest.warns(UserWarning, match=what) as caught:
        io.save_modisco(tmp_path / "run", GRAD * ONE_HOT, ONE_HOT, corrected=corrected)
    assert caught[0].filename == __file__
    assert (tmp_path / "run.attr.npz").exists()


@pytest.mark.parametrize("codes", [True, False])
def test_a_gradient_of_one_hot_weights_is_not_taken_for_gated(tmp_path: Path, codes: bool) -> None:
    """One letter of each position has a value, but not the observed one."""
    x = RNG.integers(0, 4, (20, 30))
    weights = gf.sequences.one_hot(np.broadcast_to(RNG.integers(0, 4, 30), x.shape))
    own = x if codes else gf.sequences.one_hot(x)
    io.save_modisco(tmp_path / "run", weights, own)
    io.save_modisco(tmp_path / "corrected", gf.correct(weights), own, corrected=False)
    with pytest.warns(UserWarning, match="multiplied by its input before it was centred"):
        io.save_modisco(tmp_path / "gated", gf.correct(gf.sequences.one_hot(x)), own, corrected=False)


def test_a_corrected_map_is_saved_as_it_is_without_a_warning(tmp_path: Path) -> None:
    io.save_modisco(tmp_path / "run", gf.correct(GRAD), ONE_HOT, corrected=False)
    np.testing.assert_array_equal(np.load(tmp_path / "run.attr.npz")["arr_0"], gf.correct(GRAD).transpose(0, 2, 1))


@pytest.mark.parametrize(
    ("name", "warned"), [("shap.npz:arr_0", 1), ("x.h5:shap/seq", 1), ("hyp_scores", 1), ("reshaped.npy", 0)]
)
def test_hypothetical_scores_are_told_by_their_name(name: str, warned: int) -> None:
    assert len(io.find_misuse(LONG, name=name)) == warned


def test_the_real_tal1_gradient_is_taken_for_one(shared_data: Path) -> None:
    """Although 76 % of its positions are zero, and most of the others point the same way."""
    require("h5py")
    path = shared_data / "real/reference/kipoi_tal1_grads.hdf5"
    grad, x = io.load(path, "grads")[:], io.load(path, "inputs")[:]
    assert io.find_misuse(grad) == []
    assert "multiplied by its input already" in io.find_misuse(grad * x)[0]
    assert "centred already" in io.find_misuse(gf.correct(grad))[0]
    assert "before it was centred" in io.find_misuse(gf.correct(grad * x))[0]


def test_real_hypothetical_deepshap_scores_are_told_by_their_ends(shared_data: Path) -> None:
    """Dinucleotide shuffles keep both ends, where the score of the observed letter is therefore exactly zero."""
    torch = pytest.importorskip("torch")
    names = ("tangermeme_X_gata.torch", "tangermeme_X_gata_attr.torch")
    x, scores = (torch.load(shared_data / "real/reference" / name, weights_only=True) for name in names)
    assert "dinucleotide shuffles" in io.find_misuse(scores, axis=1)[0]
    assert "no longer sum to f(x) - f(reference)" in io.find_misuse(scores, axis=1)[0]
    assert "multiplied by its input already" in io.find_misuse(scores * x, axis=1)[0]
    assert io.find_misuse(scores[..., 1:-5], axis=1) == []  # nothing is left to tell them by


def test_gradients_of_a_network_raise_no_alarm() -> None:
    require("torch")
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv1d(4, 8, 7), torch.nn.ReLU(), torch.nn.MaxPool1d(4), torch.nn.Flatten(), torch.nn.Linear(96, 1)
    )
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (20, 54)), 4).float().transpose(1, 2)
    grad = gf.hooks.torch.saliency(model, x, corrected=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert io.find_misuse(grad, axis=1) == []


def test_masked_arrays_are_refused_since_their_mask_would_be_lost(tmp_path: Path) -> None:
    grad = np.ma.array(np.ones((2, 5, 4)), mask=False)
    with pytest.raises(TypeError, match="masked array"):
        gf.io.save_modisco(tmp_path / "run", grad, np.zeros((2, 5), np.uint8))


@pytest.mark.parametrize("kind", ["hdf5", "npy", "zarr"])
def test_the_file_that_an_input_is_read_from_is_never_replaced(tmp_path: Path, kind: str) -> None:
    """With force an output once took the place of the gradients it was made of."""
    require("h5py")
    require("zarr")
    import h5py
    import zarr

    grad = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    codes = np.zeros((3, 5), np.uint8)
    path = tmp_path / {"hdf5": "run.h5", "npy": "run.attr.npz", "zarr": "run.zarr"}[kind]
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["grad"] = grad
        with pytest.raises(ValueError, match=r"while .* is in use"):
            gf.io.save_contribs_h5(path, gf.io.load(path), codes, force=True)
    elif kind == "npy":
        np.save(tmp_path / "run.npy", grad)
        memory = gf.io.load(tmp_path / "run.npy")
        (tmp_path / "run.attr.npz").symlink_to(tmp_path / "run.npy")
        with pytest.raises(ValueError, match=r"while .* is in use"):
            gf.io.save_modisco(tmp_path / "run", memory, codes, force=True)
    else:
        zarr.save_array(path, grad)
        with pytest.raises(ValueError, match=r"while .* is in use"):
            gf.io.correct_file(path, path, force=True)
    np.testing.assert_array_equal(gf.io.load(tmp_path / "run.npy" if kind == "npy" else path)[:], grad)


def test_a_zarr_group_of_several_arrays_is_not_replaced(tmp_path: Path) -> None:
    require("zarr")
    import zarr

    group = zarr.open_group(tmp_path / "study.zarr", mode="w")
    for name in ("a", "b"):
        group.create_array(name, data=np.ones(3))
    np.save(tmp_path / "grad.npy", np.ones((2, 3, 4), np.float32))
    for out in ("study.zarr", "study.zarr/c.zarr"):
        with pytest.raises((FileExistsError, ValueError), match=r"several arrays|lies inside the Zarr store"):
            gf.io.correct_file(tmp_path / "grad.npy", tmp_path / out, force=True)
    assert sorted(zarr.open_group(tmp_path / "study.zarr", mode="r").array_keys()) == ["a", "b"]


def test_permissions_of_a_file_that_is_replaced_stay(tmp_path: Path) -> None:
    np.save(tmp_path / "grad.npy", np.ones((2, 3, 4), np.float32))
    (tmp_path / "out.npy").touch(mode=0o600)
    gf.io.correct_file(tmp_path / "grad.npy", tmp_path / "out.npy", force=True)
    assert (tmp_path / "out.npy").stat().st_mode & 0o777 == 0o600


def test_missing_chunks_of_zarr_warn(tmp_path: Path) -> None:
    require("zarr")
    import zarr

    grad = np.ones((4, 3, 4), np.float32)
    zarr.create_array(tmp_path / "grad.zarr", data=grad, chunks=(2, 3, 4))
    next(path for path in (tmp_path / "grad.zarr/c").rglob("*") if path.is_file()).unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 chunks of .* are not there"):
        gf.io.correct_file(tmp_path / "grad.zarr", tmp_path / "out.npy")


@pytest.mark.parametrize(
    ("bed", "sizes", "message"),
    [
        ("chr1 0 3\nchr1 x 6\n", "chr1 9\n", "line 2 of .*regions.bed is 'chr1 x 6'"),
        ("chr1 0 3\nchr1 3\n", "chr1 9\n", "line 2 of .*regions.bed"),
        ("chr1 0 3\nchr1 3 6\n", "chr1\n", "line 1 of .*sizes.txt is 'chr1'; it must begin with a name and 1 whole"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path: Path, bed: str, sizes: str, message: str) -> None:
    require("pyBigWig")
    (tmp_path / "regions.bed").write_text(bed)
    (tmp_path / "sizes.txt").write_text(sizes)
    with pytest.raises(ValueError, match=message):
        gf.io.save_bigwig(tmp_path / "a.bw", np.ones((2, 3)), tmp_path / "regions.bed", tmp_path / "sizes.txt")


def test_a_chromosome_whose_name_begins_like_a_header_is_kept(tmp_path: Path) -> None:
    require("pyBigWig")
    (tmp_path / "regions.bed").write_text("track name=x\n# comment\ntrack1\t0\t3\ntrack1 3 6\n")
    gf.io.save_bigwig(tmp_path / "a.bw", np.ones((2, 3)), tmp_path / "regions.bed", {"track1": 9})
    for values, error in ((np.full((2, 3), 1e60), ValueError), (np.ones((2, 3), complex), TypeError)):
        with pytest.raises(error, match=r"too large for float32|must be real numbers"):
            gf.io.save_bigwig(tmp_path / "b.bw", values, tmp_path / "regions.bed", {"track1": 9})

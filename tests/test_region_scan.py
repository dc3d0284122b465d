"""Attributions of regions: maps against the hooks on windows cut by hand, and how they are stored."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks._session import Session
from tests.region_scans import EVERY, LENGTH, METHODS, REGIONS, Network, cut, genome_fasta, one_thread, scan  # noqa: F401 - fixtures

torch = pytest.importorskip("torch")
pytest.importorskip("zarr")


@pytest.fixture(params=["the host", "a device"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a session makes sequences of codes, and corrects and summarises; the device here has the host's memory."""
    place, init = str(request.param), Session.__init__

    def begin(session: Session, *arguments: Any, **options: Any) -> None:
        init(session, *arguments, **options)
        session.is_on_host = place == "the host"

    monkeypatch.setattr(Session, "__init__", begin)
    return place


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_hooks_on_windows_cut_by_hand(
    fasta: Path, tmp_path: Path, method: str, where: str
) -> None:
    options = METHODS[method]
    found = scan(fasta, tmp_path / "out", method=method, dtype="float32", **options)
    attribute = getattr(gf.hooks.torch, method)
    wanted = attribute(Network(), cut(), outputs=("corrected", "prediction"), **options)
    np.testing.assert_array_equal(gf.sequences.one_hot(found.codes(EVERY), np.float32, 1), cut())
    np.testing.assert_allclose(found.maps(EVERY), wanted.corrected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.read("prediction", EVERY), wanted.prediction, rtol=1e-5)
    if method == "saturation_mutagenesis":
        assert "angle_summary" not in found.group
        return
    plain = attribute(Network(), cut(), corrected=False, **options)
    angles = gf.angle_summary(plain, axis=1, mask=cut().any(1))
    np.testing.assert_allclose(found.read("angle_summary", EVERY)[:, :3], angles.fractions, atol=1e-7)
    total = angles.counts.sum(0) / angles.n_positions.sum()
    assert list(found.metadata["angles"].values()) == [angles.n_positions.sum(), *total]
    each = [gf.angle_summary(grad, axis=0, mask=x.any(0)) for grad, x in zip(plain, cut(), strict=True)]
    statistics = found.read("angle_summary", EVERY)[:, 3:]
    np.testing.assert_allclose(statistics, [(one.mean, one.std) for one in each], rtol=1e-3, atol=1e-3)


def test_zero_gradients_are_counted_as_the_summary_of_angles_does(fasta: Path, tmp_path: Path, where: str) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Conv1d(4, 3, 7), torch.nn.Softplus(), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten()
    model = torch.nn.Sequential(*layers)
    found = scan(fasta, tmp_path / "out", model=model)
    plain = gf.hooks.torch.saliency(model, cut(), corrected=False)
    angles = gf.angle_summary(plain, axis=1, mask=cut().any(1))
    assert angles.n_undefined.min() > 5
    np.testing.assert_allclose(found.read("angle_summary", EVERY)[:, :3], angles.fractions, atol=1e-7)
    mean = angles.sums / (angles.n_positions - angles.n_undefined)
    np.testing.assert_allclose(found.read("angle_summary", EVERY)[:, 3], mean, rtol=1e-5)


def test_float16_is_as_near_as_it_says(fasta: Path, tmp_path: Path) -> None:
    wide, narrow = (scan(fasta, tmp_path / dtype, dtype=dtype) for dtype in ("float32", "float16"))
    exact = wide.maps(EVERY)
    assert narrow.group["corrected"].dtype == np.float16
    bound = np.maximum(np.abs(exact) * 2.0**-11, np.abs(exact).max((1, 2), keepdims=True) * 2.0**-39)
    assert (np.abs(narrow.maps(EVERY) - exact) <= bound).all()
    assert narrow.group.attrs["float16"].startswith("a map is its numbers times its scale")


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-20, 1.0, 3e38])
def test_float16_keeps_maps_of_every_size(size: float) -> None:
    from gradcorr_fast.scan.results.store import to_float16

    maps = np.float32(size) * np.float32([[[1, -1, 2.0**-20]], [[0, 0, 0]], [[0.999, 0.1, -0.3]]])
    numbers, scale = to_float16(maps)
    assert (scale >= np.finfo(np.float32).smallest_normal).all()
    with np.errstate(under="ignore"):
        found = numbers.astype(np.float64) * scale[:, None, None]
    np.testing.assert_allclose(found, maps, rtol=2.0**-11, atol=2.0**-39 * size)


def test_uncorrected_maps_are_kept_if_asked_for(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", keep_uncorrected=True, targets=[0, 1])
    wanted = gf.hooks.torch.saliency(Network(), cut(), targets=[0, 1], corrected=False)
    np.testing.assert_allclose(found.maps(EVERY, corrected=False), wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.maps(EVERY), gf.correct(wanted, axis=2), rtol=1e-3, atol=1e-5)
    plain = scan(fasta, tmp_path / "plain", targets=[0, 1])
    for name in ("prediction", "angle_summary"):
        np.testing.assert_allclose(found.read(name, EVERY), plain.read(name, EVERY), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no uncorrected maps"):
        plain.maps([0], corrected=False)


def test_both_maps_come_from_one_gradient(fasta: Path, tmp_path: Path) -> None:
    """Keeping the uncorrected maps took a forward pass more."""
    plain, both = Network(), Network()
    wanted = scan(fasta, tmp_path / "plain", model=plain)
    found = scan(fasta, tmp_path / "both", model=both, keep_uncorrected=True)
    assert plain.n_batches == both.n_batches
    np.testing.assert_array_equal(found.maps(EVERY), wanted.maps(EVERY))


def test_the_model_sees_every_region_once_and_few_random_sequences(fasta: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def count(n: int, x: Any, output: Any) -> Any:
        sizes.append(len(x))
        return output

    scan(fasta, tmp_path / "out", model=Network(count), batch_size=16, shard_size=16)
    assert sizes == [1, 4, 16, 4]


def test_every_target_has_its_maps(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", targets=["index(1)", 0, "mean()"])
    assert found.targets == ["index(1)", "index(0)", "mean()"]
    shapes = {name: array.shape[1:] for name, array in found.group.arrays()}
    assert shapes == {
        "codes": (LENGTH,), "corrected": (3, 4, LENGTH), "corrected_scale": (3,), "angle_summary": (3, 5),
        "prediction": (3,),
    }  # fmt: skip
    wanted = gf.hooks.torch.saliency(Network(), cut(), target=1)
    np.testing.assert_allclose(found.maps(EVERY, 0), wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.maps(EVERY)[:, 0], found.maps(EVERY, 0))


def test_strands_and_shifts_are_averaged(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", rc=True, shifts=(-1, 0, 2))
    wanted = gf.hooks.torch.saliency(Network(), cut(), rc=True, shifts=(-1, 0, 2))
    np.testing.assert_allclose(found.maps(EVERY), wanted, rtol=1e-3, atol=1e-6)


def test_references_of_ones_own_serve_all_regions(fasta: Path, tmp_path: Path) -> None:
    references = cut()[:2]
    options = {"references": references, "n_steps": 3}
    found = scan(fasta, tmp_path / "out", method="integrated_gradients", **options)
    wanted = gf.hooks.torch.integrated_gradients(Network(), cut(), **options)
    np.testing.assert_allclose(found.maps(EVERY), wanted, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="options references was"):
        scan(fasta, tmp_path / "out", method="integrated_gradients", **options | {"references": cut()[:3]}, resume=True)


def test_a_keras_model_has_maps_with_the_letters_first(fasta: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    inputs = keras.Input((LENGTH, 4))
    hidden = keras.layers.Conv1D(6, 5, activation="softplus")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(hidden)))
    found = scan(fasta, tmp_path / "out", model=model, length=None)
    wanted = gf.hooks.tensorflow.saliency(model, np.ascontiguousarray(cut().transpose(0, 2, 1)))
    np.testing.assert_allclose(found.maps(EVERY), wanted.transpose(0, 2, 1), rtol=1e-3, atol=1e-6)


def test_a_program_that_takes_one_batch_size_gets_full_batches(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(n: int, x: Any, output: Any) -> Any:
        assert len(x) == 4
        return output

    shape = gf.model_files.ModelShape(axis=1, length=LENGTH, batch_size=4)  # as of torch.export without dynamic shapes
    monkeypatch.setattr(gf.model_files, "inspect_model", lambda loaded: shape)
    found = scan(fasta, tmp_path / "out", model=Network(fail), batch_size="auto", shard_size=7)
    np.testing.assert_allclose(found.maps(EVERY), gf.hooks.torch.saliency(Network(), cut()), rtol=1e-3, atol=1e-6)


def test_a_shard_of_the_scan_is_one_of_zarr(fasta: Path, tmp_path: Path) -> None:
    found = scan(fasta, tmp_path / "out", keep_uncorrected=True)
    assert {array.shards[0] for _, array in found.group.arrays()} == {6}
    for name, array in found.group.arrays():
        files = [p for p in (tmp_path / "out/attributions.zarr" / name / "c").rglob("*") if p.is_file()]
        assert len(files) == 4
        assert array.metadata.zarr_format == 3
        assert [type(codec).__name__ for codec in array.metadata.codecs] == ["ShardingCodec"]
    assert found.group.attrs["gradcorr_fast"]["options"]["method"] == "saliency"
    assert pq.read_metadata(tmp_path / "out/regions.parquet").num_rows == len(REGIONS)


def test_a_warning_is_told_once_and_not_for_every_shard(fasta: Path, tmp_path: Path) -> None:
    def saturate(n: int, x: Any, output: Any) -> Any:
        return torch.sigmoid(output * 0 + 1000 + x[:, :1, 0] * 1e-9)

    with pytest.warns(UserWarning, match="saturated sigmoid") as caught:
        scan(fasta, tmp_path / "out", model=Network(saturate))
    assert len(caught) <= 2  # of the probe, and of the scan

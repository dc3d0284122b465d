"""The papers' figures of DeepSTARR, Basset and ATAC-seq models, and their logos, at a scale of seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for _package in ("torch", "h5py", "pysam", "pyarrow", "matplotlib", "logomaker"):
    pytest.importorskip(_package)
import torch  # noqa: E402

import gradcorr_fast as gf  # noqa: E402
from gradcorr_fast.paper import datasets, models, synthetic  # noqa: E402
from gradcorr_fast.paper.datasets import Dataset  # noqa: E402
from gradcorr_fast.paper.figures import (  # noqa: E402
    FIGURES,
    Reproduction,
    Study,
    claims,
    genome,
    genome_maps,
    genome_models,
    genome_sets,
    logos,
)
from gradcorr_fast.paper.figures.scale import Scale  # noqa: E402
from gradcorr_fast.paper.figures.study import Job  # noqa: E402

TINY = Scale(models=1, members=1, n_sequences=40, n_evaluated=6, epochs=1)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study", scale=TINY, data=tmp_path / "data", stand_in=True, quiet=True)


@pytest.fixture
def strict(tmp_path: Path) -> Study:
    """A study without stand-ins."""
    return Study(tmp_path / "study", scale=TINY, data=tmp_path / "data", quiet=True)


def plain_gradients(model: torch.nn.Module, codes: np.ndarray, number: object) -> np.ndarray:
    """Gradients (N, L, 4) in a loop, one sequence at a time."""
    found = []
    for one_hot in gf.sequences.one_hot(codes):
        x = torch.tensor(one_hot.T[None], requires_grad=True)
        number(model(x)[0]).backward()
        found.append(x.grad[0].T.numpy())
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("deepstarr/S2", ["Sequences_Train.fa", "DeepSTARR.model.h5", "zenodo.5502060"]),
        ("basset/cell-types", ["basset_testset.h5", "basset_relu.hdf5", "p-koo/GradientCorrection"]),
        ("atac/32bp", ["cell_line_13.h5", "cnn-base-relu.h5", "zenodo.6464031"]),
    ],
)
def test_an_error_names_the_files_their_source_and_stand_ins(strict: Study, name: str, files: list[str]) -> None:
    with pytest.raises(FileNotFoundError) as error:
        strict.dataset(name)
    assert all(text in str(error.value) for text in (*files, str(strict.data), "stand_in=True"))


def test_an_unknown_set_is_refused(study: Study) -> None:
    with pytest.raises(ValueError, match=r"there is no data set 'basset/all'; there are deepstarr/S2, basset"):
        study.dataset("basset/all")


def save(path: Path, data: Dataset, *, test_only: bool = False) -> None:
    path.parent.mkdir(parents=True)
    if test_only:
        import h5py

        with h5py.File(path, "w") as file:
            file["x_test"], file["y_test"] = np.moveaxis(data.x, -1, 1), data.y
    else:
        datasets.save(data, path)


def test_a_test_set_without_weights_asks_for_weights(strict: Study) -> None:
    save(strict.data / "basset/basset_testset.h5", genome_sets.generate("basset/cell-types", 6), test_only=True)
    with pytest.raises(FileNotFoundError, match=r"no weights of basset-exp.*basset/basset_exponential\.hdf5"):
        genome_models.trained(strict, genome_maps.BASSET[1].job)


def test_stand_ins_have_the_form_of_the_published_data() -> None:
    shapes = {name: genome_sets.generate(name, 10).y.shape[1:] for name in genome_sets.NAMES}
    assert shapes == {"deepstarr/S2": (2,), "basset/cell-types": (164,), "atac/1bp": (2048, 15), "atac/32bp": (64, 15)}
    lengths = [genome_sets.generate(name, 10).codes.shape[1] for name in genome_sets.NAMES]
    assert lengths == [249, 600, 2048, 2048]


def count(ppm: np.ndarray, strands: tuple[synthetic.Motif, ...]) -> np.ndarray:
    """Count where the probabilities are those of a motif on either strand, (N,)."""
    windows = np.lib.stride_tricks.sliding_window_view(ppm, len(strands[0].counts), axis=1)
    found = [np.abs(windows - motif.ppm.T).max((2, 3)) < 1e-6 for motif in strands]
    return np.any(found, axis=0).sum(1)


def test_activities_of_stand_ins_follow_from_planted_motifs() -> None:
    data = genome_sets.generate("deepstarr/S2", 200)
    core = synthetic.motif_pools()[0]
    counts = np.transpose([count(data.ppm, pair) for pair in zip(core[::2], core[1::2], strict=True)])
    rest = data.y - counts @ genome_sets.EFFECTS
    assert counts[:100].sum(1).min() >= 3
    np.testing.assert_allclose(rest.std(0), genome_sets.NOISE, rtol=0.15)
    np.testing.assert_allclose(rest.mean(0), 0, atol=0.12)


def test_bins_of_stand_ins_are_means_of_positions() -> None:
    fine, coarse = (genome_sets.generate(name, 6).y for name in ("atac/1bp", "atac/32bp"))
    np.testing.assert_allclose(fine.reshape(6, 64, 32, 15).mean(2), coarse, atol=0.02 * coarse.max())


def test_weights_in_the_folder_of_data_are_taken(study: Study, shared_data: Path) -> None:
    path = shared_data / "real/models/deepstarr.model.h5"
    if not path.exists():
        pytest.skip("the published weights are not there")
    (study.data / "deepstarr").mkdir(parents=True)
    (study.data / "deepstarr/deepstarr.model.h5").symlink_to(path)
    model, origin = genome_models.trained(study, genome_maps.DEEPSTARR[0].job)
    assert origin == "weights of deepstarr.model.h5"
    assert not (study.folder / "models").exists()
    x = torch.tensor(np.moveaxis(study.dataset("deepstarr/S2").x[:2], -1, 1))
    expected = models.load_weights(models.build("deepstarr"), path).eval()(x)
    torch.testing.assert_close(model(x), expected)


def test_basset_has_the_gradient_of_the_highest_class_of_each_sequence(study: Study) -> None:
    """The authors' script took the maximum over the batch, so that all sequences but one had no gradient."""
    model = models.build("basset-exp").eval()
    codes = genome_sets.generate("basset/cell-types", 4).codes
    grad = genome_maps.saliency(study, model, genome_maps.BASSET[1], codes)
    expected = plain_gradients(model[:-1], codes, torch.max)
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-6)
    assert (np.abs(grad).sum((1, 2)) > 0).all()


@pytest.fixture(scope="module")
def deepstarr(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Reproduction]:
    study = Study(tmp_path_factory.mktemp("s8") / "study", scale=TINY, stand_in=True, quiet=True)
    return study, genome.s8(study)


@pytest.mark.parametrize("k", range(4))
def test_angles_of_deepstarr_are_those_of_plain_gradients(deepstarr: tuple[Study, Reproduction], k: int) -> None:
    study, found = deepstarr
    row = {name: values[k] for name, values in found.numbers.items()}
    data = study.dataset("deepstarr/S2")
    model = study.model(genome_maps.DEEPSTARR[k].job)
    grad = plain_gradients(model, data.codes[data.split.test[:6]], lambda y: y[k % 2]).astype(np.float64)
    angles = np.degrees(np.arcsin(grad.sum(-1) / 2 / np.linalg.norm(grad, axis=-1)))
    density, _ = np.histogram(angles, np.linspace(-90, 90, 101), density=True)
    assert row["model"] == ("deepstarr", "deepstarr", "deepstarr-exp", "deepstarr-exp")[k]
    assert row["n_undefined"] == 0
    assert row["mean"] == pytest.approx(np.mean(angles), abs=1e-2)
    assert row["std"] == pytest.approx(np.std(angles), abs=1e-2)
    assert row["above_45"] == pytest.approx(100 * np.mean(np.abs(angles) > 45), abs=0.1)
    assert row["density_above_0"] == pytest.approx(density[50:].max(), rel=0.02)
    assert row["density_at_0"] == pytest.approx(density[49:51].mean(), rel=0.1)


@pytest.mark.parametrize("k", range(4))
def test_scores_of_deepstarr_are_of_the_whole_test_part(deepstarr: tuple[Study, Reproduction], k: int) -> None:
    study, found = deepstarr
    data = study.dataset("deepstarr/S2")
    with torch.no_grad():
        y = study.model(genome_maps.DEEPSTARR[k].job)(torch.tensor(np.moveaxis(data.x[data.split.test], -1, 1)))
    predicted, measured = y[:, k % 2].numpy(), data.y[data.split.test, k % 2]
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    assert found.numbers["test_mse"][k] == pytest.approx(np.mean((predicted - measured) ** 2), rel=1e-4)
    assert found.numbers["test_pearson"][k] == pytest.approx(np.corrcoef(predicted, measured)[0, 1], abs=1e-3)
    assert found.numbers["test_spearman"][k] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)


def test_figures_of_stand_ins_say_so(deepstarr: tuple[Study, Reproduction]) -> None:
    _, found = deepstarr
    assert found.text.startswith("STAND-IN: the published sequences of DeepSTARR are not there")
    assert "(published: one peak of density about 0.04 at +12, standard deviation about 10)" in found.text
    assert found.figure.axes[0].get_title(loc="left") == "DeepSTARR, Dev, stand-in sequences"
    assert found.numbers["stand_in"] == [True] * 4


def test_isotropic_gradients_have_the_spread_that_figures_name() -> None:
    grad = np.random.default_rng(0).standard_normal((20, 5_000, 4))
    assert gf.angle_summary(grad).std == pytest.approx(genome.RANDOM, abs=0.2)


def test_published_data_is_shown_where_the_papers_show_it(strict: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    data = genome_sets.generate("deepstarr/S2", 40)
    save(strict.data / "deepstarr_hdf5/deepstarr_data.h5", replace(data, ppm=None))
    monkeypatch.setitem(claims.WINDOWS, "deepstarr", (7, 50, 90))
    found = genome_maps.measure(strict, genome_maps.DEEPSTARR[0])
    np.testing.assert_array_equal(found.window.codes, data.codes[data.split.test[7], 50:90])
    assert genome_maps.describe_set(strict, "deepstarr/S2") == (
        "DeepSTARR: 6 of 8 test sequences of 249 bp are attributed."
    )
    assert found.origin == "trained here on 28 sequences for 1 of at most 1 epochs"


@pytest.mark.filterwarnings("ignore:auroc is NaN for:RuntimeWarning")  # few sequences do not have all labels
def test_basset_says_what_the_authors_differentiated(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genome, "BASSET", genome_maps.BASSET[:1])
    found = genome.s9(study)
    data = study.dataset("basset/cell-types")
    x = torch.tensor(np.moveaxis(data.x[data.split.test], -1, 1))
    with torch.no_grad():
        predicted = study.model(genome_maps.BASSET[0].job)(x).numpy()
    y = data.y[data.split.test].astype(bool)
    expected = [gf.metrics.auroc(p, label) for p, label in zip(predicted.T, y.T, strict=True) if len(set(label)) == 2]
    assert found.numbers["test_auroc"] == [pytest.approx(np.mean(expected), abs=1e-3)]
    assert "only one sequence in 128 had a gradient" in found.text


def test_atac_has_the_gradient_of_the_mean_of_one_track(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genome, "ATAC", genome_maps.ATAC[2:3])
    found = genome.s10(study)
    data, case = study.dataset("atac/32bp"), genome_maps.ATAC[2]
    codes = data.codes[data.split.test[:2]]
    expected = plain_gradients(study.model(case.job), codes, lambda y: y[:, 13].mean())
    np.testing.assert_allclose(
        genome_maps.saliency(study, study.model(case.job), case, codes), expected, rtol=1e-3, atol=1e-7
    )
    assert found.numbers["model"] == ["cnn-32-relu"]
    assert found.numbers["n_sequences"] == [6]
    assert "Poisson" in found.text


def test_panels_without_data_are_left_out_with_the_reason(strict: Study) -> None:
    found = logos.fig2(strict)
    assert set(found.numbers["panel"]) == {"a"}
    assert all(f"Panel {letter} is left out: " in found.text for letter in "bcde")
    assert len(found.numbers["position"]) == logos.SYNTHETIC_LENGTH


def test_logos_show_windows_of_the_maps(strict: Study) -> None:
    found = logos.s6(strict)
    panel = np.array(found.numbers["panel"])
    assert [int((panel == letter).sum()) for letter in "abcd"] == [logos.SYNTHETIC_LENGTH] * 4
    start = found.numbers["position"][0] - 1
    places = slice(start, start + logos.SYNTHETIC_LENGTH)
    gradient, corrected, truth = (
        np.transpose([np.array(found.numbers[f"{kind}_{letter}"])[panel == "a"] for letter in "ACGT"])
        for kind in ("gradient", "corrected", "below")
    )
    grad = strict.maps(Job("cnn-deep-exp", 0))[0, places]
    np.testing.assert_allclose(gradient, grad, rtol=1e-6)
    np.testing.assert_allclose(corrected, grad - grad.mean(-1, keepdims=True), atol=1e-6 * np.abs(grad).max())
    data, row = strict.dataset("synthetic"), strict.rows()[0]
    np.testing.assert_array_equal(truth, data.ppm[row, places])
    # No other window has more of the planted motifs.
    information = 2 + np.sum(data.ppm[row] * np.log2(data.ppm[row] + 1e-10), -1)
    sums = [information[k : k + logos.SYNTHETIC_LENGTH].sum() for k in range(200 - logos.SYNTHETIC_LENGTH + 1)]
    assert sums[start] == pytest.approx(max(sums), rel=2e-3)


@pytest.mark.parametrize("name", ["fig2", "s6", "s8", "s9", "s10"])
def test_figures_are_registered(name: str) -> None:
    assert FIGURES[name].function in vars(genome).values() or FIGURES[name].function in vars(logos).values()

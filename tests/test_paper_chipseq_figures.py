"""Figures of ChIP-seq data: which sets are taken, and numbers that plain NumPy gives again."""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf

torch = pytest.importorskip("torch")
for _package in ("h5py", "pysam", "logomaker"):
    pytest.importorskip(_package)
from gradcorr_fast.paper import chipseq as peaks  # noqa: E402
from gradcorr_fast.paper import datasets, figures, synthetic  # noqa: E402
from gradcorr_fast.paper.figures import chipseq, chipseq_sets, claims  # noqa: E402
from gradcorr_fast.paper.figures.scale import Scale  # noqa: E402
from gradcorr_fast.paper.figures.study import Job, Study  # noqa: E402

TINY = Scale(
    models=1,
    members=2,
    sigma_trials=2,
    sigmas=(0.005, 0.5),
    n_sequences=300,
    n_evaluated=12,
    epochs=1,
)
SMALL_SET = replace(synthetic.generate(240, length=100), ppm=None)


def save(folder: Path, name: str, data: datasets.Dataset = SMALL_SET) -> None:
    (folder / "chipseq").mkdir(parents=True, exist_ok=True)
    datasets.save(data, folder / "chipseq" / name)


def save_fasta(folder: Path, name: str, n: int = 40) -> Path:
    (folder / "chipseq").mkdir(parents=True, exist_ok=True)
    texts = gf.sequences.decode(SMALL_SET.codes[:n])
    content = "".join(f">{k}\n{text}\n" for k, text in enumerate(texts)).encode()
    path = folder / "chipseq" / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def make_study(folder: Path, **options: Any) -> Study:
    return Study(folder / "study", **{"scale": TINY, "data": folder, "quiet": True, **options})


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads do not help models as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two sets; the models of all figures here are trained once."""
    folder = tmp_path_factory.mktemp("papers")
    save(folder, "MAX_200.h5")
    save_fasta(folder, "SPI1.fa")
    return make_study(folder)


def angles_of(grad: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Degrees in float64, NaN for a zero gradient."""
    grad = grad.astype(np.float64)
    with np.errstate(invalid="ignore"):
        sine = grad.sum(-1) / 2 / np.sqrt((grad**2).sum(-1))
    return np.degrees(np.arcsin(np.clip(sine, -1, 1)))


def test_sets_come_in_the_order_of_the_papers_and_then_by_name(tmp_path: Path) -> None:
    for name in ("BACH1.h5", "CTCF_200 (1).h5", "MAX.h5", "ZBED2_400_h3k27ac.h5"):
        save(tmp_path, name)
    save_fasta(tmp_path, "IRF1.fa.gz")
    for name in ("checksums.json", ".SRF.h5", "README.txt"):
        (tmp_path / "chipseq" / name).write_text("no set")
    assert chipseq_sets.names(make_study(tmp_path)) == ["CTCF", "MAX", "BACH1", "IRF1", "ZBED2"]


def test_a_set_is_what_its_file_holds(tmp_path: Path) -> None:
    save(tmp_path, "CTCF.h5")
    found, expected = make_study(tmp_path).dataset("chipseq/CTCF"), datasets.load(tmp_path / "chipseq" / "CTCF.h5")
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_array_equal(found.y, expected.y)


@pytest.mark.parametrize("name", ["CTCF.fa", "CTCF.fa.gz"])
def test_sequences_of_peaks_are_set_against_their_shuffles(name: str, tmp_path: Path) -> None:
    path = save_fasta(tmp_path, name)
    found, expected = make_study(tmp_path).dataset("chipseq/CTCF"), peaks.from_fasta(path, seed=22)
    np.testing.assert_array_equal(found.codes, expected.codes)
    assert Counter(found.y[:, 0].tolist()) == {1: 40, 0: 40}


def test_two_files_of_a_transcription_factor_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "CTCF.h5")
    save_fasta(tmp_path, "CTCF.fa")
    with pytest.raises(ValueError, match=r"both of CTCF; leave one"):
        chipseq_sets.names(make_study(tmp_path))


def test_without_files_the_error_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"CTCF.h5, MAX.h5.*zenodo.7011631.*stand_in=True") as caught:
        chipseq_sets.names(make_study(tmp_path))
    assert str(tmp_path / "chipseq") in str(caught.value)


def test_a_set_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    save(tmp_path, "REST.h5")
    with pytest.raises(ValueError, match=r"no ChIP-seq set 'CTCF'.*there are REST"):
        make_study(tmp_path).dataset("chipseq/CTCF")


def test_labels_of_several_columns_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "CTCF.h5", replace(SMALL_SET, y=np.repeat(SMALL_SET.y, 2, axis=1)))
    with pytest.raises(ValueError, match=r"CTCF.h5 has labels of shape \(240, 2\)"):
        make_study(tmp_path).dataset("chipseq/CTCF")


def test_a_long_set_is_sampled_within_the_parts_of_its_split() -> None:
    codes = np.arange(1000, dtype=np.uint16)[:, None]
    y = np.arange(1000)[:, None] % 2
    data = datasets.Dataset(codes, y, datasets.random_split(1000, np.random.default_rng(1)))
    found = chipseq_sets.sample(data, 101)
    kept = {part: found.codes[rows, 0].tolist() for part, rows in found.split._asdict().items()}
    assert [len(rows) for rows in kept.values()] == [70, 10, 21]
    assert all(set(kept[part]) <= set(rows.tolist()) for part, rows in data.split._asdict().items())
    assert len(set(found.codes[:, 0])) == 101
    np.testing.assert_array_equal(found.y[:, 0], found.codes[:, 0] % 2)


def test_stand_ins_take_the_place_of_files_only_where_asked(tmp_path: Path) -> None:
    study = make_study(tmp_path, stand_in=True)
    assert chipseq_sets.names(study) == ["stand-in SP1", "stand-in CEBPB", "stand-in RFX2"]
    assert "nothing here is about ChIP-seq" in chipseq_sets.describe(study, chipseq_sets.names(study))
    save(tmp_path, "SRF.h5")
    assert chipseq_sets.names(study) == ["SRF"]


@pytest.mark.parametrize(
    ("name", "cores"),
    [
        ("SP1", ("CCCGCC", "GGCGGG")),
        ("RFX2", ("GTTGCC", "GGCAAC", "GTTACC", "GGTAAC")),
        ("CEBPB", ("TTGCGC", "GCGCAA", "TTGCAC", "GTGCAA")),
    ],
)
def test_the_motif_of_a_stand_in_tells_positives_from_negatives(
    name: str, cores: tuple[str, ...], tmp_path: Path
) -> None:
    study = make_study(tmp_path, stand_in=True, scale=replace(TINY, n_sequences=2000))
    data = study.dataset(f"chipseq/stand-in {name}")
    has_core = np.array([any(core in text for core in cores) for text in gf.sequences.decode(data.codes)])
    is_positive = data.y[:, 0] == 1
    assert is_positive.mean() == 0.5
    assert has_core[is_positive].mean() > 2 * has_core[~is_positive].mean()


def test_what_is_missing_sampled_and_shuffled_is_said(tmp_path: Path) -> None:
    save(tmp_path, "CTCF.h5")
    save_fasta(tmp_path, "REST.fa.gz", n=200)
    study = make_study(tmp_path)
    text = chipseq_sets.describe(study, ["CTCF", "REST"])
    assert "CTCF (240 sequences of 100 bp), REST (300 sequences of 100 bp)" in text
    assert "no more than 300 sequences" in text
    assert f"At most {TINY.n_evaluated} positive test sequences of each are attributed" in text
    assert "negatives of REST are shuffles" in text
    assert "MAX, ATF2, Arid3, BACH1, GABPA, ZNF24, ELK1, SRF are not there" in text


@pytest.mark.parametrize(
    ("members", "filters"),
    [(50, np.repeat(np.arange(12, 31, 2), 5)), (10, np.arange(12, 31, 2)), (2, [12, 22]), (1, [12])],
)
def test_members_spread_over_numbers_of_first_filters(members: int, filters: Any, tmp_path: Path) -> None:
    jobs = chipseq.ensemble(make_study(tmp_path, scale=replace(TINY, members=members)), "cnn-deep-exp", "CTCF")
    assert [job.first_filters for job in jobs] == list(filters)
    assert len(set(jobs)) == members


def test_shares_of_large_angles_are_those_of_the_maps(study: Study) -> None:
    found = chipseq.fig1d(study)
    numbers = found.numbers
    assert list(zip(numbers["factor"], numbers["first_filters"], strict=True)) == [
        ("MAX", 12),
        ("MAX", 22),
        ("SPI1", 12),
        ("SPI1", 22),
    ]
    job = chipseq.ensemble(study, "cnn-deep-relu", "SPI1")[1]
    angles = angles_of(study.maps(job))
    for threshold in (30, 45, 60):
        share = 100 * (np.abs(angles) > threshold).mean()
        assert numbers[f"above_{threshold}"][3] == pytest.approx(share, abs=0.2)
    assert numbers["std"][3] == pytest.approx(np.nanstd(angles), abs=1e-3)
    assert "(23.5 to 31.5) above 30 degrees" in found.text
    assert "(29.5) in synthetic data" in found.text


def test_a_point_stands_for_a_set_and_a_line_for_synthetic_data(study: Study) -> None:
    found = chipseq.fig1d(study)
    (ax,) = found.figure.axes
    points = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert points["MAX"][0] == pytest.approx(np.mean(found.numbers["above_30"][:2]))
    angles = angles_of(study.maps(Job("cnn-deep-relu")))
    (segments,) = [each.get_segments() for each in ax.collections]
    assert segments[1][0][1] == pytest.approx(100 * (np.abs(angles) > 45).mean(), abs=0.2)


def test_the_distance_from_the_mean_map_is_that_of_plain_numpy(study: Study) -> None:
    found = chipseq.s5(study)
    numbers = {name: np.array(values) for name, values in found.numbers.items()}
    own = (numbers["factor"] == "SPI1") & (numbers["model"] == "cnn-shallow-exp")
    assert own.sum() == 37
    jobs = chipseq.ensemble(study, "cnn-shallow-exp", "SPI1")
    maps = np.stack([study.maps(job) for job in jobs]).astype(np.float64)
    mean = maps.mean(0)
    before = np.linalg.norm(maps - mean, axis=-1)
    after = np.linalg.norm(maps - maps.mean(-1, keepdims=True) - mean, axis=-1)
    angles = angles_of(maps)
    defined = np.isfinite(angles)
    bins = np.clip((angles[defined] + 90) / 180 * 37, 0, 36).astype(int)
    sums = [np.bincount(bins, distance[defined], minlength=37) for distance in (before, after)]
    filled = sums[0] > 0
    expected = 100 * (1 - sums[1][filled] / sums[0][filled])
    np.testing.assert_allclose(numbers["reduction_percent"][own][filled], expected, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(numbers["density_single"][own].sum() * 180 / 37, 1)
    counts = np.histogram(angles_of(mean), np.linspace(-90, 90, 38))[0]
    np.testing.assert_allclose(numbers["density_mean"][own], counts / counts.sum() * 37 / 180, atol=1e-3)


def test_logos_show_the_stretch_with_the_strongest_mean_map(study: Study) -> None:
    found = chipseq.s7(study)
    own = np.array(found.numbers["factor"]) == "MAX"
    assert own.sum() == 50
    jobs = chipseq.ensemble(study, "cnn-deep-exp", "MAX")
    maps = np.stack([study.maps(job) for job in jobs]).astype(np.float64)
    data, rows = study.dataset("chipseq/MAX"), study.rows("chipseq/MAX")
    codes = data.codes[rows]
    best = int(np.argmax([study.record(job)["valid_score"] for job in jobs]))
    mean = maps.mean(0)
    scores = np.take_along_axis(mean - mean.mean(-1, keepdims=True), codes[..., None].astype(int), -1)[..., 0]
    sums = np.stack([scores[:, k : k + 12].sum(1) for k in range(100 - 12 + 1)], axis=1)
    n, first = np.unravel_index(sums.argmax(), sums.shape)
    position = np.array(found.numbers["position"])[own] - 1
    assert set(range(first, first + 12)) <= set(position.tolist())
    assert found.numbers["sequence"][0] == n
    assert "".join(np.array(found.numbers["letter"])[own]) == gf.sequences.decode(codes[n])[position[0] :][:50]
    gradient, corrected, shown = (
        np.stack([np.array(found.numbers[f"{kind}_{letter}"])[own] for letter in "ACGT"], axis=1)
        for kind in ("gradient", "corrected", "below")
    )
    np.testing.assert_allclose(gradient, maps[best, n, position], rtol=1e-5)
    np.testing.assert_allclose(corrected, gradient - gradient.mean(1, keepdims=True), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(shown, maps[1 - best, n, position], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["s5", "s7"])
def test_an_ensemble_of_one_is_refused(name: str, study: Study) -> None:
    alone = Study(study.folder, scale=replace(TINY, members=1), data=study.data, quiet=True)
    with pytest.raises(ValueError, match="at least 2 models"):
        figures.draw(name, alone)


def test_the_sweep_is_of_the_first_set_and_measures_all_its_models(study: Study) -> None:
    found = figures.draw("s12", study)
    rows = list(zip(found.numbers["model"], found.numbers["sigma"], found.numbers["seed"], strict=True))
    assert Counter(model for model, *_ in rows) == dict.fromkeys(claims.MODELS, 4)
    k = rows.index(("cnn-deep-exp", 0.5, 1))
    job = Job("cnn-deep-exp", 1, "chipseq/MAX", sigma=0.5)
    assert found.numbers["std"][k] == pytest.approx(np.nanstd(angles_of(study.maps(job))), abs=1e-3)
    assert found.numbers["test_auroc"][k] == study.record(job)["test_score"]


def test_the_other_models_have_a_panel_each(study: Study) -> None:
    found = figures.draw("s4", study)
    assert [ax.get_title() for ax in found.figure.axes] == ["CNN-deep-exp", "CNN-shallow-relu", "CNN-shallow-exp"]
    assert len(found.numbers["std"]) == 3 * 2 * 2
    low, high = found.figure.axes[2].get_ylim()
    assert low == 0
    assert high > max(value for ax in found.figure.axes for line in ax.lines for value in line.get_ydata())

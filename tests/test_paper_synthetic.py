"""The synthetic regulatory code: its motifs, its distribution, its files."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import gradcorr_fast as gf
from gradcorr_fast.paper import datasets, synthetic
from tests.conftest import require

DATA = synthetic.generate(4_000, seed=1)


def read_jaspar(path: Path) -> list[tuple[str, np.ndarray]]:
    """Names and counts (4, width) of a file in JASPAR's format, by another reader than that of the package."""
    motifs = pytest.importorskip("Bio.motifs")
    with path.open() as file:
        return [
            (f"{record.matrix_id} {record.name}", np.array([record.counts[letter] for letter in "ACGT"]))
            for record in motifs.parse(file, "jaspar")
        ]


@pytest.mark.parametrize("background", ["filtered", "as_committed"])
def test_pools_are_those_of_the_authors(shared_data: Path, background: str) -> None:
    suffix = "" if background == "filtered" else "_as_committed"
    expected = read_jaspar(shared_data / "synthetic_core_motifs.jaspar")
    expected += read_jaspar(shared_data / f"synthetic_background_motifs{suffix}.jaspar")
    core, everything = synthetic.motif_pools(background)
    assert [m.name for m in everything[: len(core)]] == [m.name for m in core]
    assert len(core) == 10
    assert len(everything) == len(expected) == 110
    for motif, (name, counts) in zip(everything, expected, strict=True):
        assert motif.name.split()[1] == name.split()[1]
        np.testing.assert_array_equal(motif.counts.T, counts)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Largest correlation of two motifs (width, 4) on either strand, where 6 or more of their positions overlap."""
    found = []
    for strand in (other, other[::-1, ::-1]):
        for shift in range(6 - len(strand), len(one) - 5):
            start, end = max(0, shift), min(len(one), shift + len(strand))
            if end - start >= 6:
                pair = one[start:end].ravel(), strand[start - shift : end - shift].ravel()
                found.append(np.corrcoef(*pair)[0, 1])
    return max(found)


def test_no_distinct_background_motif_looks_like_a_core_motif() -> None:
    core, everything = synthetic.motif_pools("distinct")
    _, filtered = synthetic.motif_pools()
    assert len({motif.name for motif in everything}) == 110

    def look_alikes(motifs: list[synthetic.Motif]) -> set[str]:
        pairs = ((motif.name, similarity(each.ppm, motif.ppm)) for motif in motifs[10::2] for each in core[::2])
        return {name[2:8] for name, r in pairs if r >= 0.8}

    assert look_alikes(everything) == set()
    assert look_alikes(filtered) == set(synthetic.LOOK_ALIKES.split())
    kept = [motif.name for motif in filtered if motif.name[2:8] not in synthetic.LOOK_ALIKES.split()]
    assert [motif.name for motif in everything[: len(kept)]] == kept


def test_distinct_background_motifs_are_the_first_of_the_authors_draw() -> None:
    pyjaspar = pytest.importorskip("pyjaspar")
    database = pyjaspar.jaspardb(release="JASPAR2016")
    motifs = database.fetch_motifs(collection="CORE", tax_group=["vertebrates"])
    draw = [sorted(motif.matrix_id for motif in motifs)[k] for k in np.random.RandomState(22).permutation(519)]
    listed = {draw[place] for place in (4, 5, 12, 15, 17, 18, 20, 36, 42, 60)}
    core, everything = synthetic.motif_pools("distinct")
    own = [motif.name.split()[0] for motif in everything[10::2]]
    assert sorted(own, key=draw.index) == own
    for name in draw[: draw.index(own[-1])]:
        if name not in listed and name not in own:
            counts = database.fetch_motif_by_id(name).counts
            ppm = np.array([counts[letter] for letter in "ACGT"], float).T
            assert max(similarity(each.ppm, ppm / ppm.sum(1, keepdims=True)) for each in core[::2]) >= 0.8


def test_the_70_motifs_are_those_of_jaspar_2018() -> None:
    pyjaspar = pytest.importorskip("pyjaspar")
    database = pyjaspar.jaspardb(release="JASPAR2018")
    motifs = synthetic._read_motifs()
    assert len(motifs) == len({motif.name for motif in motifs}) == 70
    for motif in motifs:
        record = database.fetch_motif_by_id(motif.name.split()[0])
        assert motif.name == f"{record.matrix_id} {record.name}"
        np.testing.assert_array_equal(motif.counts.T, [record.counts[letter] for letter in "ACGT"])


def test_the_file_of_motifs_names_its_source_and_licence() -> None:
    header = synthetic.MOTIFS.read_text().partition(">")[0]
    assert "JASPAR" in header
    assert "CC BY 4.0" in header


def test_reverse_complements_follow_their_motifs() -> None:
    _, everything = synthetic.motif_pools()
    for motif, other in zip(everything[::2], everything[1::2], strict=True):
        np.testing.assert_array_equal(other.ppm, gf.sequences.reverse_complement(motif.ppm, axis=-1))
        np.testing.assert_allclose(motif.ppm.sum(1), 1)


def parse(ppm: np.ndarray, motifs: list[np.ndarray]) -> list[int] | None:
    """Numbers of the motifs of a sequence, read from left to right; None if it is not made of them."""
    found, position = [], 0
    while position < len(ppm):
        if (ppm[position] == 0.25).all():
            position += 1
            continue
        fits = [k for k, m in enumerate(motifs) if np.array_equal(ppm[position : position + len(m)], m)]
        if not fits:
            return None
        found.append(fits[0])
        position += len(motifs[fits[0]])
    return found


@pytest.mark.parametrize("label", [1, 0])
def test_sequences_are_made_of_the_motifs_of_their_class(label: int) -> None:
    core, everything = synthetic.motif_pools()
    motifs = [m.ppm.astype(np.float32) for m in (core if label else everything)]
    rows = np.flatnonzero(DATA.y[:, 0] == label)[:600]
    layouts = [parse(DATA.ppm[row], motifs) for row in rows]
    assert None not in layouts
    counts = Counter(len(layout) for layout in layouts)
    assert sorted(counts) == [3, 4, 5, 6, 7]
    expected = np.array([0.50, 0.25, 0.17, 0.05, 0.03])
    assert stats.chisquare([counts[k] for k in range(3, 8)], 600 * expected).pvalue > 1e-3
    chosen = np.bincount(np.concatenate(layouts) // 2)  # on either strand, since some are palindromes
    assert len(chosen) == len(motifs) // 2
    assert stats.chisquare(chosen).pvalue > 1e-3


def test_gaps_are_scaled_uniform_numbers() -> None:
    """The first gap against the definition, drawn for one sequence at a time."""
    core, _ = synthetic.motif_pools()
    rng = np.random.default_rng(0)

    def draw() -> int:
        k = rng.choice([3, 4, 5, 6, 7], p=[0.50, 0.25, 0.17, 0.05, 0.03])
        free = 200 - sum(len(core[i].counts) for i in rng.integers(10, size=k))
        while True:
            gaps = rng.uniform(0, 2, k + 1)
            gaps = np.round(gaps / gaps.sum() * free)
            if gaps.sum() == free:
                return int(gaps[0])

    planted = (DATA.ppm[:2_000] != 0.25).any(-1)
    assert stats.ks_2samp(planted.argmax(1), [draw() for _ in range(2_000)]).pvalue > 1e-3
    assert stats.ks_2samp(planted.argmax(1), planted[:, ::-1].argmax(1)).pvalue > 1e-3  # the last gap is like the first


def test_letters_are_drawn_from_their_probabilities() -> None:
    p = DATA.ppm.astype(np.float64).reshape(-1, 4)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    excess = DATA.x.reshape(-1, 4) - p
    for level in (0, 0.25, 0.5, 0.9):
        near = (p >= level) & (p < level + 0.1)
        assert abs(excess[near].sum()) < 5 * np.sqrt((p * (1 - p))[near].sum()) + 1e-9
    assert (DATA.x.reshape(-1, 4)[p == 0] == 0).all()


def test_a_positive_has_as_many_informative_positions_as_the_papers() -> None:
    information = gf.metrics.information_content(DATA.ppm[:2_000])
    assert (information > 0.1).sum(1).mean() == pytest.approx(40.1, abs=0.6)
    assert (information == 0).sum(1).mean() == pytest.approx(158.3, abs=0.6)


def test_the_first_half_is_positive_and_the_split_is_one_permutation() -> None:
    assert DATA.y.shape == (4_000, 1)
    np.testing.assert_array_equal(DATA.y[:, 0], np.arange(4_000) < 2_000)
    assert [len(rows) for rows in DATA.split] == [2_800, 400, 800]
    np.testing.assert_array_equal(np.sort(np.concatenate(DATA.split)), np.arange(4_000))
    assert (np.diff(DATA.split.test) < 0).any()


def test_the_same_seed_gives_the_same_data() -> None:
    one, two, other = (synthetic.generate(50, 120, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.codes, two.codes)
    np.testing.assert_array_equal(one.split.test, two.split.test)
    assert one.codes.shape == (50, 120)
    assert (one.codes != other.codes).any()


def test_files_have_the_authors_keys_and_come_back(tmp_path: Path) -> None:
    require("h5py")
    import h5py

    data = synthetic.generate(60, seed=2)
    path = tmp_path / "synthetic.h5"
    datasets.save(data, path)
    with h5py.File(path) as file:
        assert set(file) == {f"{key}_{part}" for key in ("X", "Y", "model") for part in ("train", "valid", "test")}
        assert file["X_train"].shape == file["model_train"].shape == (42, 4, 200)
        assert file["Y_valid"].shape == (6, 1)
    with pytest.raises(FileExistsError):
        datasets.save(data, path)
    back = datasets.load(path)
    for part, rows in data.split._asdict().items():
        again = getattr(back.split, part)
        np.testing.assert_array_equal(back.codes[again], data.codes[rows])
        np.testing.assert_array_equal(back.y[again], data.y[rows])
        np.testing.assert_array_equal(back.ppm[again], data.ppm[rows])


def test_chipseq_files_of_the_authors_have_small_keys_and_no_truth(tmp_path: Path) -> None:
    require("h5py")
    import h5py

    one_hot = np.eye(4, dtype=np.float64)[[[0, 1, 3], [2, 2, 0]]].transpose(0, 2, 1)
    one_hot[0, :, 1] = 0  # an unknown letter
    with h5py.File(tmp_path / "chip.h5", "w") as file:
        for part in ("train", "valid", "test"):
            file[f"x_{part}"], file[f"y_{part}"] = one_hot, [1, 0]
    data = datasets.load(tmp_path / "chip.h5")
    np.testing.assert_array_equal(data.codes[2:4], [[0, 255, 3], [2, 2, 0]])
    np.testing.assert_array_equal(data.y[data.split.test], [[1], [0]])
    assert data.ppm is None
    with h5py.File(tmp_path / "chip.h5", "a") as file:
        del file["y_valid"]
    with pytest.raises(ValueError, match="has no y_valid"):
        datasets.load(tmp_path / "chip.h5")


def test_a_published_chipseq_file_is_read(shared_data: Path) -> None:
    require("h5py")
    import h5py

    path = shared_data / "real/peaks/IRF1_400_h3k27ac.h5"
    data = datasets.load(path)
    assert [len(rows) for rows in data.split] == [2_724, 389, 779]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(data.x[data.split.test].transpose(0, 2, 1), file["X_test"])
        np.testing.assert_array_equal(data.y[data.split.valid], file["Y_valid"])


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 50"):
        synthetic.generate(10, length=30)
    with pytest.raises(ValueError, match="filtered, as_committed"):
        synthetic.generate(10, background="none")

"""Figures of the papers as files, on few and short trainings."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
from click.testing import CliRunner, Result

from gradcorr_fast.cli import main
from gradcorr_fast.paper import evaluation, models, synthetic, training
from gradcorr_fast.paper._side_by_side.torch import Task, train_all
from gradcorr_fast.paper.figures import claims, sweeps
from gradcorr_fast.paper.figures.scale import CPU, PAPER, Scale
from gradcorr_fast.paper.figures.study import Job, Study
from gradcorr_fast.paper.reproduction import FIGURES, reproduce

TINY = Scale(
    models=2, members=1, sigma_trials=1, angle_trials=1, sigmas=(0.005, 0.1), angle_weights=(2e-5, 1e-4),
    n_sequences=500, n_evaluated=5, epochs=1,
)  # fmt: skip
SYNTHETIC = ("fig1b", "fig1c", "s2", "s3", "table")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of synthetic data, drawn once."""
    folder = tmp_path_factory.mktemp("papers") / "out"
    reproduce(SYNTHETIC, folder, scale=TINY, quiet=True)
    return folder


def read(path: Path) -> dict[str, np.ndarray]:
    table = pyarrow.csv.read_csv(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


@pytest.mark.parametrize("name", SYNTHETIC)
def test_each_figure_is_a_picture_numbers_and_a_paragraph(folder: Path, name: str) -> None:
    pictures = [".md"] if name == "table" else [".png", ".pdf"]
    assert {path.suffix for path in folder.glob(f"{name}.*")} == {".csv", ".txt", *pictures}
    assert all(len(column) > 1 for column in read(folder / f"{name}.csv").values())
    assert "published" in (folder / f"{name}.txt").read_text() or name in ("s2", "table")


def test_numbers_are_those_of_models_trained_and_evaluated_by_hand(folder: Path) -> None:
    data = synthetic.generate(500)
    model = models.build("cnn-deep-relu", length=200, n_outputs=1, seed=1)
    training.fit(model, data, seed=1, epochs=1, quiet=True)
    found = evaluation.evaluate(model, data, n_sequences=5)
    numbers = read(folder / "fig1b.csv")
    row = np.flatnonzero((numbers["model"] == "cnn-deep-relu") & (numbers["seed"] == 1))
    assert len(row) == 1
    assert numbers["test_auroc"][row[0]] == pytest.approx(training.score(model, data), abs=1e-3)
    assert numbers["auroc_before"][row[0]] == pytest.approx(found.before.auroc.mean(), abs=5e-3)
    assert numbers["aupr_after"][row[0]] == pytest.approx(found.after.aupr.mean(), abs=5e-3)
    shares = read(folder / "fig1c.csv")
    assert shares["above_30"][1] == pytest.approx(100 * found.angles.fractions[:, 0].mean(), abs=0.5)


def test_the_gain_of_a_position_is_an_identity_of_its_angle(folder: Path) -> None:
    numbers = read(folder / "s2.csv")
    is_gain = numbers["panel"] == "gain"
    assert (np.abs(numbers["y"][is_gain]) <= 1 - np.cos(np.radians(numbers["x"][is_gain])) + 1e-5).all()
    density = numbers["y"][(numbers["panel"] == "density of angles, motif") & (numbers["model"] == "cnn-deep-exp")]
    assert density.sum() * 1.8 == pytest.approx(1)


def test_models_of_an_earlier_call_are_not_trained_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {path: path.stat().st_mtime_ns for path in folder.glob("models/**/*")}
    reproduce("fig1c", folder, scale=TINY)
    assert "training" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("models/**/*")} == times


def test_a_training_that_was_interrupted_goes_on(folder: Path, tmp_path: Path) -> None:
    """As if the process had been killed after the checkpoint and before the record."""
    study = Study(tmp_path / "new", scale=TINY, quiet=True)
    job = Job("cnn-shallow-relu", 0)
    whole = study.record(job)
    (study.folder / "models" / f"{job.path}.json").unlink()
    before = (study.folder / "models" / f"{job.path}.pt").stat().st_mtime_ns
    assert {**study.record(job), "cpu_minutes": 0} == {**whole, "cpu_minutes": 0}
    assert (study.folder / "models" / f"{job.path}.pt").stat().st_mtime_ns == before


def test_processes_side_by_side_train_the_same_models(folder: Path, tmp_path: Path) -> None:
    study = Study(tmp_path / "new", scale=TINY, workers=2, quiet=True)
    jobs = [Job("cnn-shallow-relu", seed) for seed in (0, 1)]
    study.train(jobs)
    for job in jobs:
        alone = json.loads((folder / "models" / f"{job.path}.json").read_text())
        assert study.record(job)["test_score"] == pytest.approx(alone["test_score"], abs=1e-3)


class Killer:
    """Ends the process that unpickles it, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_a_training_process_that_is_killed_is_told_of(tmp_path: Path) -> None:
    task = Task("cnn-shallow-relu", {}, {}, tmp_path / "models" / "one.pt")
    with pytest.raises(OSError, match=r"was killed.*fewer workers"):
        list(train_all([(task, Killer())] * 2, 2, None))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("draw", "curves"), [(sweeps.note_s1, claims.SIGMA_CURVES), (sweeps.note_s2, claims.WEIGHT_CURVES)]
)
def test_sweeps_stand_beside_the_published_curves(folder: Path, draw: Callable[[Study], Any], curves: Any) -> None:
    numbers = draw(Study(folder, scale=TINY, quiet=True)).numbers
    assert len(numbers["model"]) == 8
    published = {
        (m, s): p for m, s, p in zip(numbers["model"], list(numbers.values())[1], numbers["std_published"], strict=True)
    }
    setting = 0.1 if draw is sweeps.note_s1 else 1e-4
    place = models.SIGMAS.index(0.1) if draw is sweeps.note_s1 else training.ANGLE_WEIGHTS.index(1e-4)
    assert published["cnn-deep-exp", setting] == curves["cnn-deep-exp"]["std"][place]


def test_initial_weights_have_the_spread_that_was_asked_for() -> None:
    job = Job("cnn-deep-relu", 0, sigma=0.1)
    assert job.path == Path("synthetic/cnn-deep-relu-sigma0.1-seed0")
    first = next(models.build(job.name, sigma=job.sigma).parameters()).detach()
    assert float(first.std()) == pytest.approx(0.1, rel=0.1)


def test_a_folder_of_other_numbers_or_files_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_evaluated 5, not 20"):
        Study(folder, scale=Scale(**{**TINY.__dict__, "n_evaluated": 20}))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="a folder of their own"):
        Study(tmp_path, scale=TINY)


def test_what_is_less_than_in_the_papers_is_said() -> None:
    assert PAPER.reductions() == []
    assert "5 of 50 seeds of each model" in CPU.reductions()
    assert "500 of 20,000 sequences" in TINY.reductions()


def call(*args: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", *args])


def test_the_command_lists_the_figures_and_refuses_others() -> None:
    shown = call("--help").output
    assert all(name in shown for name in FIGURES)
    assert call("fig9").exit_code == 2


@pytest.mark.parametrize("number", range(1, 14))
def test_every_supplementary_figure_can_be_reproduced(number: int) -> None:
    assert f"s{number}" in FIGURES


def test_missing_data_is_named_with_its_source(tmp_path: Path) -> None:
    result = call("fig1d", "-o", str(tmp_path / "out"), "--quick", "--quiet")
    assert result.exit_code == 2
    assert "doi.org" in result.output
    assert "--stand-in" in result.output


def test_published_numbers_are_of_every_model_and_method() -> None:
    assert set(claims.AGREEMENT) == set(evaluation.METHODS)
    for table in (*claims.AGREEMENT.values(), claims.TEST_AUC, claims.LARGE_ANGLES, claims.SIGMA_CURVES):
        assert set(table) == set(claims.MODELS)
    for curves in (*claims.SIGMA_CURVES.values(), *claims.WEIGHT_CURVES.values()):
        assert len({len(curve) for curve in curves.values()}) == 1

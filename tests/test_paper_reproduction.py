"""Figures of the papers as files, on few and short trainings."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow.csv
import pytest
from click.testing import CliRunner, Result

from gradcorr_fast._installing import install_command
from gradcorr_fast.cli import main
from gradcorr_fast.paper import evaluation, models, synthetic, training
from gradcorr_fast.paper.figures import claims, sweeps
from gradcorr_fast.paper.figures.scale import CPU, PAPER, QUICK, Scale
from gradcorr_fast.paper.figures.study import Job, Study
from gradcorr_fast.paper.reproduction import FIGURES, reproduce
from gradcorr_fast.paper.torch.workers import Task, train_all
from gradcorr_fast.scan.results.digests import seal, unsealed

TINY = Scale(
    models=2, members=1, sigma_trials=1, angle_trials=1, sigmas=(0.005, 0.1), angle_weights=(2e-5, 1e-4),
    n_sequences=500, n_evaluated=5, epochs=1,
)  # fmt: skip
SYNTHETIC = ("fig1b", "fig1c", "s2", "s3", "table", "backgrounds")


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
    assert whole["cpu_minutes"] > 0
    (study.folder / "models" / f"{job.path}.json").unlink()
    before = (study.folder / "models" / f"{job.path}.pt").stat().st_mtime_ns
    assert study.record(job) == {**whole, "cpu_minutes": None}
    assert (study.folder / "models" / f"{job.path}.pt").stat().st_mtime_ns == before


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The same figures, to be spoilt."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_what_a_training_took_is_not_told_of_one_that_was_interrupted(copy: Path) -> None:
    for path in copy.glob("models/synthetic/cnn-deep-exp-seed*.json"):
        record = unsealed(json.loads(path.read_text()), path)
        path.write_text(json.dumps(seal({**record, "cpu_minutes": None})))
    reproduce("table", copy, scale=TINY, quiet=True)
    models, *_ = (copy / "table.md").read_text().split("## Agreement")
    (row,) = [line for line in models.splitlines() if line.startswith("| CNN-deep-exp | 2 |")]
    assert row.endswith("| not measured |")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("models/synthetic/cnn-deep-exp-seed0.pt", Study.model),
        ("models/synthetic/cnn-deep-exp-seed0.json", Study.record),
        ("evaluations/synthetic/cnn-deep-exp-seed0-saliency-paper.npz", Study.evaluation),
    ],
)
@pytest.mark.parametrize("n_bytes", [0, 20])
def test_a_damaged_file_is_named_and_made_again_once_it_is_removed(
    copy: Path, name: str, read: Callable[[Study, Job], Any], n_bytes: int
) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:n_bytes])
    study, job = Study(copy, scale=TINY, quiet=True), Job("cnn-deep-exp")
    with pytest.raises(OSError, match=rf"{name} is damaged; remove it"):
        read(study, job)
    (copy / name).unlink()
    read(study, job)
    assert (copy / name).stat().st_size > n_bytes


def test_a_record_of_a_training_with_another_number_is_told(copy: Path) -> None:
    """A digit that turned into another was shown in a figure."""
    path = copy / "models/synthetic/cnn-deep-exp-seed0.json"
    text = path.read_text()
    path.write_text(text.replace('"epochs": 1', '"epochs": 9', 1))
    assert path.read_text() != text
    with pytest.raises(OSError, match=r"cnn-deep-exp-seed0.json is damaged; remove it"):
        Study(copy, scale=TINY, quiet=True).record(Job("cnn-deep-exp"))


def test_a_damaged_record_of_the_study_is_named_with_what_it_should_hold(copy: Path) -> None:
    (copy / "study.json").write_text('{"n_seq')
    with pytest.raises(OSError, match=r'study\.json is damaged; write there {"n_sequences": 500'):
        Study(copy, scale=TINY)


def test_what_was_measured_of_a_model_goes_with_it(copy: Path) -> None:
    """Once, the measurements of a model that was removed were shown beside the one that was trained in its place."""
    study, job = Study(copy, scale=TINY, quiet=True), Job("cnn-deep-exp")
    whole = study.evaluation(job)
    path = copy / "evaluations/synthetic/cnn-deep-exp-seed0-saliency-paper.npz"
    shutil.copy(path.with_name("cnn-deep-exp-seed1-saliency-paper.npz"), path)
    assert not np.array_equal(study.evaluation(job).before.cosine, whole.before.cosine)
    (copy / "models/synthetic/cnn-deep-exp-seed0.pt").unlink()
    (again,) = study.evaluations([job])
    np.testing.assert_array_equal(again.before.cosine, whole.before.cosine)


def test_a_set_of_another_size_has_its_own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, what was trained on stand-ins or a sample stood in the way of the published data."""
    study, job = Study(tmp_path, scale=TINY, quiet=True), Job("cnn-shallow-relu", data="chipseq/CTCF")
    for n_sequences in (60, 80):
        monkeypatch.setattr(study, "dataset", lambda name, n=n_sequences: synthetic.generate(n))
        study.model(job)
    assert len(list(tmp_path.glob("models/chipseq/CTCF/*-sequences/cnn-shallow-relu-seed0.pt"))) == 2


def test_processes_side_by_side_train_the_same_models(folder: Path, tmp_path: Path) -> None:
    study = Study(tmp_path / "new", scale=TINY, workers=2, quiet=True)
    jobs = [Job("cnn-shallow-relu", seed) for seed in (0, 1)]
    study.train(jobs)
    for job in jobs:
        alone = json.loads((folder / "models" / f"{job.path}.json").read_text())
        assert study.record(job)["test_score"] == pytest.approx(alone["test_score"], abs=1e-3)


def test_models_that_differ_in_their_seeds_are_trained_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU; interrupted before the records, the same call goes on without any training."""
    study = Study(tmp_path, scale=TINY, quiet=True)
    monkeypatch.setattr(study, "device", "meta")  # any but a CPU
    fit_ensemble, calls = training.fit_ensemble, []

    def on_cpu(members: Any, data: Any, **options: Any) -> Any:
        calls.append((options["seeds"], options["checkpoint"].exists()))
        return fit_ensemble(members, data, **{**options, "device": "cpu"})

    monkeypatch.setattr(training, "fit_ensemble", on_cpu)
    jobs = [Job(name, seed) for seed in (3, 5) for name in ("cnn-shallow-relu", "cnn-shallow-exp")]
    with monkeypatch.context() as during:
        during.setattr(training, "score", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            study.train(jobs)
    assert calls == [([3, 5], False)]
    study.train(jobs)
    assert calls[1:] == [([3, 5], True), ([3, 5], False)]
    assert sorted(path.name for path in tmp_path.glob("models/synthetic/*.pt")) == sorted(
        f"{job.path.name}.pt" for job in jobs
    )
    monkeypatch.setattr(study, "device", None)
    for job in jobs:
        found = training.score(study.model(job), study.dataset("synthetic"))
        assert found == pytest.approx(study.record(job)["test_score"], abs=1e-3)


class Killer:
    """Ends the process that unpickles it, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_a_training_process_that_is_killed_is_told_of(tmp_path: Path) -> None:
    task = Task("cnn-shallow-relu", {}, {}, tmp_path / "models" / "one.pt")
    with pytest.raises(OSError, match=r"ended before its time.*fewer workers"):
        list(train_all([(task, Killer())] * 2, 2, None))  # type: ignore[list-item]


ORPHAN = """
import multiprocessing, os, signal, time
from concurrent.futures import ProcessPoolExecutor
from gradcorr_fast.paper.torch.workers import begin
pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin)
pool.submit(os.getpid).result()
pool.submit(time.sleep, 3600)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_no_training_outlives_the_process_that_started_it() -> None:
    """Once, trainings went on for hours after a kill. The pipe closes when the last process has ended."""
    killed = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, check=False, timeout=240)
    assert killed.returncode == -signal.SIGKILL


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


def test_backgrounds_are_compared_on_their_own_sequences(folder: Path) -> None:
    numbers = read(folder / "backgrounds.csv")
    is_filtered = numbers["background"] == "filtered"
    assert set(numbers["background"][~is_filtered]) == {"distinct"}
    assert is_filtered.sum() == (~is_filtered).sum() == 8
    assert (numbers["test_auroc"][is_filtered] != numbers["test_auroc"][~is_filtered]).all()
    gains = read(folder / "fig1b.csv")
    np.testing.assert_allclose(sorted(numbers["cosine"][is_filtered]), sorted(gains["cosine_before"]), rtol=1e-6)


def test_initial_weights_have_the_spread_that_was_asked_for() -> None:
    job = Job("cnn-deep-relu", 0, sigma=0.1)
    assert job.path == Path("synthetic/cnn-deep-relu-sigma0.1-seed0")
    first = next(models.build(job.name, sigma=job.sigma).parameters()).detach()
    assert float(first.std()) == pytest.approx(0.1, rel=0.1)


def test_a_folder_of_other_numbers_or_files_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_evaluated 5, not 20"):
        Study(folder, scale=Scale(**{**TINY.__dict__, "n_evaluated": 20}))
    (tmp_path / "data" / "chipseq").mkdir(parents=True)  # which is where published files belong
    Study(tmp_path, scale=TINY)
    (tmp_path / "study.json").unlink()
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
    Study(tmp_path / "out", scale=QUICK, stand_in=True)  # as the message says, in the same folder


def test_a_device_that_there_is_not_is_refused(tmp_path: Path) -> None:
    result = call("fig1c", "-o", str(tmp_path / "out"), "--quick", "--quiet", "--device", "cudaa")
    assert result.exit_code == 2
    assert "cannot use the device 'cudaa' here, pass another one" in result.output


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from gradcorr_fast.cli import main
main(["reproduce", "fig1c", "--quick", "--quiet", "-o", sys.argv[2]])
"""


@pytest.mark.parametrize(
    ("module", "package"),
    [("matplotlib", "matplotlib"), ("logomaker", "logomaker"), ("pyarrow", "pyarrow"), ("torch", "PyTorch")],
)
def test_what_is_not_installed_is_named_with_its_extra(module: str, package: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"Error: {package} is not installed; gradcorr-fast[paper] brings it: {install_command('paper')}\n"
    )


def test_published_numbers_are_of_every_model_and_method() -> None:
    assert set(claims.AGREEMENT) == set(evaluation.METHODS)
    for table in (*claims.AGREEMENT.values(), claims.TEST_AUC, claims.LARGE_ANGLES, claims.SIGMA_CURVES):
        assert set(table) == set(claims.MODELS)
    for curves in (*claims.SIGMA_CURVES.values(), *claims.WEIGHT_CURVES.values()):
        assert len({len(curve) for curve in curves.values()}) == 1

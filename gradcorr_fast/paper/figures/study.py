"""The trained models behind the figures and what was measured of them, made when first asked for and kept."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import targets
from ..._types import Array
from ...io.replacing import replacing
from ...scan.results.digests import CHECK, is_sealed
from ...scan.running.progress import show_seconds
from ...summary import AngleSummary
from .. import synthetic
from .._kept import reading
from ..datasets import Dataset
from ..evaluation import Agreement, Evaluation, attribute, measure, positives
from . import chipseq_sets, genome_sets
from .scale import CPU, Scale

__all__ = ["Job", "Study"]


ABOUT = "study.json"
DATA = "data"
SYNTHETIC = {"synthetic": "filtered", "synthetic-distinct": "distinct"}
"""Names of the data sets that are generated, and their background motifs."""
SECONDS_OF_SILENCE = 20
WHEN = ("before", "after")


class Job(NamedTuple):
    """A model of the papers, what it is trained on, and how."""

    name: str
    """See `models.NAMES`."""
    seed: int = 0
    data: str = "synthetic"
    """See `Study.dataset`."""
    recipe: str = "paper"
    first_filters: int | None = None
    sigma: float | None = None
    angle_weight: float | None = None

    @property
    def path(self) -> Path:
        """Where its files lie in the folder of a study, without a suffix."""
        options = [
            f"{label}{value:g}"
            for label, value in (
                ("filters", self.first_filters),
                ("sigma", self.sigma),
                ("weight", self.angle_weight),
            )
            if value is not None
        ]
        recipe = [] if self.recipe == "paper" else [self.recipe]
        return Path(self.data, "-".join([self.name, *recipe, *options, f"seed{self.seed}"]))


class Study:
    """Models, maps and measurements behind figures, in a folder.

    Parameters
    ----------
    folder : str or Path
        New, or of an earlier study of the same numbers of sequences and epochs, with which this one goes on.
    scale : Scale
    data : str or Path, optional
        Folder with the published files, and where to put those that can be fetched.
    stand_in : bool
        Whether generated data takes the place of published files that are not there.
    workers : int
        Processes that train side by side on a CPU.
    device : str, optional
        Where models are trained and attributed, such as "cuda", which trains the seeds of a model at once.
    quiet : bool
        Whether no progress is written to stderr.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    ValueError
        If it is of a study of other numbers, or there is no such device.
    OSError
        If a file that an earlier study kept is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        scale: Scale = CPU,
        data: str | Path | None = None,
        stand_in: bool = False,
        workers: int = 1,
        device: str | None = None,
        quiet: bool = False,
    ) -> None:
        self.folder, self.scale, self.stand_in = Path(folder), scale, stand_in
        self.data = Path(data) if data is not None else self.folder / DATA
        if device is not None:
            from ..torch.workers import check_device

            check_device(device)
        self._workers, self.device, self._quiet = workers, device, quiet
        self.dataset = cache(self._dataset)
        self._open()

    def _open(self) -> None:
        about = self.folder / ABOUT
        self.folder.mkdir(parents=True, exist_ok=True)
        if not about.exists():
            if any(path.name not in (ABOUT, DATA) and path.name[0] != "." for path in self.folder.iterdir()):
                raise FileExistsError(f"{self.folder} holds other files; give the figures a folder of their own")
            with replacing([about], force=True) as (temporary,):
                temporary.write_text(json.dumps(self.scale.fixed, indent=1) + "\n")
        try:
            found = dict(json.loads(about.read_text()))
        except ValueError as error:
            numbers = json.dumps(self.scale.fixed)
            raise OSError(f"{about} is damaged; write there {numbers} if the folder is of these numbers") from error
        for name, value in self.scale.fixed.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{self.folder} is of a study with {name} {found.get(name)}, not {value}; give this one another "
                    f"folder"
                )

    def say(self, text: str) -> None:
        """Tell of progress."""
        if not self._quiet:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def _dataset(self, name: str) -> Dataset:
        """Return one of `SYNTHETIC`, or "FAMILY/NAME" of `chipseq_sets` or `genome_sets`."""
        if name in SYNTHETIC:
            return synthetic.generate(self.scale.n_sequences, background=SYNTHETIC[name])
        find = chipseq_sets.find if name.startswith("chipseq/") else genome_sets.find
        return find(self, name)

    def _task(self, job: Job) -> Any:
        from ..torch.workers import Task

        data = self.dataset(job.data)
        build = {
            "length": data.codes.shape[1],
            "n_outputs": data.y.shape[-1],
            "first_filters": job.first_filters,
            "sigma": job.sigma,
            "seed": job.seed,
        }
        fit = {"seed": job.seed, "recipe": job.recipe, "epochs": self.scale.epochs}
        if job.angle_weight is not None:
            fit["angle_weight"] = job.angle_weight
        # Of a published set, there may be stand-ins, samples and the whole of it, each of which has its own models.
        size = "" if job.data in SYNTHETIC else f"{len(data.codes)}-sequences"
        path = self.folder / "models" / job.path.parent / size / f"{job.path.name}.pt"
        return Task(job.name, build, fit, path)

    def train(self, jobs: Sequence[Job]) -> None:
        """Train those models that are not trained yet, side by side."""
        missing = [job for job in dict.fromkeys(jobs) if not self._task(job).is_done]
        if not missing:
            return
        for job in missing:
            for path in self._evaluations(job).parent.glob(f"{job.path.name}-*.npz"):  # of a model that is gone
                path.unlink(missing_ok=True)
        from ..torch.workers import is_cpu, train_all

        how = f"{self._workers} at a time" if is_cpu(self.device) else "those that differ in their seeds at once"
        self.say(f"training {len(missing)} models, {how}; interrupted, the same call goes on")
        start, n_done = time.monotonic(), 0
        tasks = [(self._task(job), replace(self.dataset(job.data), ppm=None)) for job in missing]
        for numbers in train_all(tasks, self._workers, self.device, self._quiet):
            n_done += len(numbers)
            for k in numbers:
                record = _read_json(tasks[k][0].record)
                self.say(
                    f"{missing[k].path}: {record['epochs']} epochs in {show_seconds(60 * record['minutes'])}, test "
                    f"score {record['test_score']:.3f}"
                )
            elapsed = time.monotonic() - start
            left = f", {show_seconds(elapsed / n_done * (len(missing) - n_done))} left" if n_done else ""
            self.say(f"{n_done} of {len(missing)} models after {show_seconds(elapsed)}{left}")

    def record(self, job: Job) -> dict[str, Any]:
        """Return what the training of a model came to: "test_score", "epochs", "minutes", ..."""
        self.train([job])
        return _read_json(self._task(job).record)

    def model(self, job: Job) -> Any:
        """Return a trained PyTorch model."""
        from ..torch.workers import load

        self.train([job])
        return load(self._task(job), self.dataset(job.data), self.device)

    def rows(self, data: str = "synthetic") -> Array:
        """Return the rows of a data set that are attributed: positive sequences of its test part."""
        return positives(self.dataset(data), n_sequences=self.scale.n_evaluated)

    def maps(self, job: Job, method: str = "saliency", **options: Any) -> Array:
        """Return uncorrected maps (N, L, 4) of the probability; saliency of what lies before the sigmoid."""
        target = targets.before_activation() if method == "saliency" else 0
        codes = self.dataset(job.data).codes[self.rows(job.data)]
        return attribute(self.model(job), codes, method=method, target=target, **options)

    def evaluation(self, job: Job, method: str = "saliency", preset: str = "paper") -> Evaluation:
        """Return how well the maps of a model agree with the truth; kept, since some methods take long."""
        path = self._evaluations(job).with_name(f"{job.path.name}-{method}-{preset}.npz")
        if path.exists():
            return _read(path)
        data, rows = self.dataset(job.data), self.rows(job.data)
        if data.ppm is None:
            raise ValueError(f"the data set {job.data} has no ground truth to evaluate maps against")
        options = {} if method == "saliency" else {"preset": preset}
        result = measure(self.maps(job, method, **options), data.codes[rows], data.ppm[rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, result)
        return result

    def _evaluations(self, job: Job) -> Path:
        """Return where the evaluations of a model lie, without method and suffix."""
        return self.folder / "evaluations" / job.path

    def evaluations(self, jobs: Sequence[Job], method: str = "saliency", preset: str = "paper") -> list[Evaluation]:
        """Return the evaluation of each model, and tell how far they are."""
        self.train(jobs)
        shown = time.monotonic()
        found = []
        for n, job in enumerate(jobs, 1):
            found.append(self.evaluation(job, method, preset))
            if time.monotonic() - shown > SECONDS_OF_SILENCE:
                shown = time.monotonic()
                self.say(f"{method}: {n} of {len(jobs)} models")
        return found


def _read_json(path: Path) -> dict[str, Any]:
    with reading(path):
        record = dict(json.loads(path.read_text()))
        if CHECK in record and not is_sealed(record):
            raise ValueError("its digest is another")
    return {name: value for name, value in record.items() if name != CHECK}


def _write(path: Path, evaluation: Evaluation) -> None:
    arrays = {f"{when}_{name}": array for when in WHEN for name, array in getattr(evaluation, when)._asdict().items()}
    angles = {field.name: getattr(evaluation.angles, field.name) for field in fields(AngleSummary)}
    with replacing([path], force=True) as (temporary,):
        np.savez(temporary, **arrays, **angles)


def _read(path: Path) -> Evaluation:
    with reading(path), open(path, "rb") as content, np.load(content) as file:
        before, after = (Agreement(*(file[f"{when}_{name}"] for name in Agreement._fields)) for when in WHEN)
        angles = {field.name: file[field.name] for field in fields(AngleSummary)}
    return Evaluation(before, after, AngleSummary(**{**angles, "thresholds": tuple(angles["thresholds"])}))

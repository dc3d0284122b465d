"""All that can be compared with the papers, as tables in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation import Agreement
from . import claims, sweeps, synthetic
from .drawing import LABELS, METHODS, METRICS, Reproduction, mean_and_sd
from .study import Study

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Sequence[Any]]

HEAD = """Reproduced beside published numbers of Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023): mean ± standard
deviation (ddof 1) over models with different seeds, and in brackets what was published, or read off its plots. Written
by `gradcorr-fast reproduce table`."""


def table(study: Study) -> Reproduction:
    """Write down what was reproduced of Fig. 1, S1, S3 and notes S1 and S2."""
    gains = [_gains(study, method) for method in METHODS]
    angles = _joined([synthetic.fig1c(study).numbers, synthetic.s3(study).numbers])
    curves = {"Note S1": sweeps.note_s1(study).numbers, "Note S2": sweeps.note_s2(study).numbers}
    less = "; ".join(study.scale.reductions()) or "nothing"
    markdown = "\n\n".join(
        [
            "# The papers, reproduced",
            HEAD,
            f"Less than in the papers: {less}.",
            "## Models",
            _models(gains[0], study),
            "## Agreement with planted motifs, before the correction and its improvement",
            synthetic.IDENTITY,
            *(_agreement(each) for each in gains),
            "## Percent of positions with an angle above 30, 45 and 60 degrees, and its spread",
            _angles(angles),
            *(part for name, each in curves.items() for part in (f"## {name}", _curve(each))),
        ]
    )
    text = f"Agreement, angles and curves of {len(claims.MODELS)} models, {study.scale.models} seeds each, in tables."
    return Reproduction(None, _joined(gains), text, f"{markdown}\n")


def _gains(study: Study, method: str) -> Columns:
    return synthetic.fig1b(study, (method,), "paper" if method == "saliency" else "repo").numbers


def _joined(parts: Sequence[Columns]) -> dict[str, list[Any]]:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _models(columns: Columns, study: Study) -> str:
    jobs = synthetic.models_of(study, claims.MODELS)  # in the order of columns
    minutes = np.array([study.record(job)["cpu_minutes"] for job in jobs], float)  # NaN of what was interrupted
    return _rows(
        ("model", "seeds", "test AUROC", "CPU minutes of a training"),
        (
            (LABELS[name], len(auc), f"{mean_and_sd(auc)} ({claims.TEST_AUC[name]:.3f})", _mean(time))
            for name, auc, time in _by_model(columns, columns["test_auroc"], minutes)
        ),
    )


def _mean(minutes: Array) -> str:
    known = minutes[np.isfinite(minutes)]
    return f"{known.mean():.1f}" if len(known) else "not measured"


def _agreement(columns: Columns) -> str:
    method = columns["method"][0]
    differences = {
        metric: np.subtract(columns[f"{metric}_after"], columns[f"{metric}_before"]) for metric in Agreement._fields
    }
    values = [columns[f"{metric}_before"] for metric in Agreement._fields] + list(differences.values())
    rows = []
    for name, *found in _by_model(columns, *values):
        cells = []
        for metric, before, gain in zip(Agreement._fields, found[:3], found[3:], strict=True):
            published = claims.AGREEMENT[method][name][metric]
            cells.append(
                f"{mean_and_sd(before)} ({published.before:.3g}), {mean_and_sd(gain, sign='+')} "
                f"({published.improvement:+.3f})"
            )
        rows.append((LABELS[name], *cells))
    return f"{METHODS[method]}:\n\n" + _rows(("model", *METRICS.values()), rows)


def _angles(columns: Columns) -> str:
    rows = []
    for name, *found in _by_model(columns, *(columns[f"above_{t}"] for t in (30, 45, 60)), columns["std"]):
        cells = [
            f"{mean_and_sd(percent, 1)} ({published:.1f})"
            for percent, published in zip(found, claims.LARGE_ANGLES[name], strict=False)
        ]
        rows.append((LABELS[name], *cells, mean_and_sd(found[-1], 1)))
    return _rows(("model", "above 30", "above 45", "above 60", "standard deviation, degrees"), rows)


def _curve(columns: Columns) -> str:
    setting = list(columns)[1]
    quantities = [name for name in sweeps.QUANTITIES if name in columns]
    rows = []
    for value in dict.fromkeys(columns[setting]):
        own = np.array(columns[setting]) == value
        part = {name: np.array(column)[own].tolist() for name, column in columns.items()}
        for name, *found in _by_model(part, *(part[key] for q in quantities for key in (q, f"{q}_published"))):
            cells = []
            for quantity, measured, published in zip(quantities, found[::2], found[1::2], strict=True):
                digits = 1 if quantity == "std" else 3
                cells.append(f"{mean_and_sd(measured, digits)} ({sweeps.show(published[0], digits)})")
            rows.append((f"{value:g}", LABELS[name], *cells))
    return _rows((setting, "model", *(sweeps.QUANTITIES[name] for name in quantities)), rows)


def _by_model(columns: Columns, *values: Sequence[float] | Array) -> Iterable[tuple[Any, ...]]:
    """Yield each model and what belongs to it of each array."""
    names = np.array(columns["model"])
    for name in dict.fromkeys(columns["model"]):
        yield name, *(np.asarray(each)[names == name] for each in values)


def _rows(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

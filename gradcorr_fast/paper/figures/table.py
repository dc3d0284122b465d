"""All that can be compared with the papers, as tables in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ..evaluation import Agreement
from . import claims, sweeps, synthetic
from .drawing import LABELS, METHOD_TITLES, METRICS, Columns, Reproduction, mean_and_sd
from .study import Study

HEAD = """Reproduced beside published numbers of Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023): mean ± standard
deviation (ddof 1) over models with different seeds, and in brackets what was published, or read off its plots."""


def table(study: Study) -> Reproduction:
    """Write down what was reproduced of Fig. 1, S1, S3 and notes S1 and S2."""
    gains = joined(
        [
            synthetic.fig1b(study, (method,), "paper" if method == "saliency" else "repo").numbers
            for method in METHOD_TITLES
        ]
    )
    angles = joined([synthetic.fig1c(study).numbers, synthetic.s3(study).numbers])
    less = "; ".join(study.scale.reductions()) or "nothing"
    markdown = write_down(gains, angles, sweeps.note_s1(study).numbers, sweeps.note_s2(study).numbers, less)
    text = f"Agreement, angles and curves of {len(claims.MODELS)} models, {study.scale.models} seeds each, in tables."
    return Reproduction(None, gains, text, markdown)


def joined(parts: Sequence[Columns]) -> dict[str, list[Any]]:
    """Put the rows of tables one below the other."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def write_down(gains: Columns, angles: Columns, sigmas: Columns, weights: Columns, less: str) -> str:
    """Write the tables, in Markdown, from the numbers behind figures.

    Parameters
    ----------
    gains, angles, sigmas, weights : mapping of str to sequence
        Columns of the numbers of Fig. 1b and S1, Fig. 1c and S3, and notes S1 and S2.
    less : str
        What is less than in the papers.
    """
    methods = np.array(gains["method"])
    by_method = [_select(gains, methods == method) for method in dict.fromkeys(gains["method"])]
    markdown = "\n\n".join(
        [
            "# The papers, reproduced",
            HEAD,
            f"Less than in the papers: {less}.",
            "## Models",
            _models(by_method[0]),
            "## Agreement with planted motifs, before the correction and its improvement",
            synthetic.IDENTITY,
            *(_agreement(each) for each in by_method),
            "## Percent of positions with an angle above 30, 45 and 60 degrees, and its spread",
            _angles(angles),
            "## Note S1",
            _curve(sigmas),
            "## Note S2",
            _curve(weights),
        ]
    )
    return f"{markdown}\n"


def _select(columns: Columns, rows: Array) -> dict[str, list[Any]]:
    return {name: np.array(column)[rows].tolist() for name, column in columns.items()}


def _models(columns: Columns) -> str:
    return _rows(
        ("model", "seeds", "test AUROC", "CPU minutes of a training"),
        (
            (LABELS[name], len(auc), f"{mean_and_sd(auc)} ({claims.TEST_AUC[name]:.3f})", _mean(minutes))
            for name, auc, minutes in _by_model(columns, columns["test_auroc"], columns["cpu_minutes"])
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
    return f"{METHOD_TITLES[method]}:\n\n" + _rows(("model", *METRICS.values()), rows)


def _angles(columns: Columns) -> str:
    rows: list[Sequence[Any]] = []
    for name, *found in _by_model(columns, *(columns[f"above_{t}"] for t in (30, 45, 60)), columns["std"]):
        cells = [
            f"{mean_and_sd(percent, 1)} ({published:.1f})"
            for percent, published in zip(found, claims.LARGE_ANGLES[name], strict=False)
        ]
        rows.append((LABELS[name], len(found[-1]), *cells, mean_and_sd(found[-1], 1)))
    return _rows(("model", "seeds", "above 30", "above 45", "above 60", "standard deviation, degrees"), rows)


def _curve(columns: Columns) -> str:
    setting = list(columns)[1]
    quantities = [name for name in sweeps.QUANTITIES if name in columns]
    rows = []
    for value in dict.fromkeys(columns[setting]):
        part = _select(columns, np.array(columns[setting]) == value)
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

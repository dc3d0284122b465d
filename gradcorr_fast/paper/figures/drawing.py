"""What the figures share: colours, panels, and the form of a result."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..._types import Array

COLORS = {
    "cnn-shallow-relu": "#009E73",
    "cnn-shallow-exp": "#D55E00",
    "cnn-deep-relu": "#0072B2",
    "cnn-deep-exp": "#000000",
}
"""As in the papers, green, red, blue and black, in shades that all can tell apart."""
LABELS = {name: f"CNN{name[3:]}" for name in COLORS}
for _old, _new in (("local", "shallow"), ("dist", "deep")):
    for _activation in ("relu", "exp"):
        COLORS[f"cnn-{_old}-{_activation}"] = COLORS[f"cnn-{_new}-{_activation}"]
        LABELS[f"cnn-{_old}-{_activation}"] = f"CNN-{_old}-{_activation}"
METHOD_TITLES = {
    "saliency": "Saliency",
    "integrated_gradients": "Integrated gradients",
    "smoothgrad": "SmoothGrad",
    "expected_gradients": "Expected gradients",
}
BEFORE_SIGMOID = (
    "The maps are gradients of what lies before the sigmoid, which does not saturate, and those of the papers of the "
    "probability, which are smaller by a factor for each model and sequence."
)
METRICS = {"cosine": "cosine similarity", "auroc": "AUROC", "aupr": "AUPR"}


Columns = Mapping[str, Sequence[Any]]
"""A table."""


class Reproduction(NamedTuple):
    """A figure, the numbers behind it, and how they compare with the published ones."""

    figure: Figure | None
    """None for a table."""
    numbers: Columns
    text: str
    markdown: str = ""
    """Tables, where the result is more than a figure."""


def low_to_high(counts: Collection[int]) -> str:
    """Write the smallest and the largest number.

    Examples
    --------
    >>> low_to_high([5, 5, 10]), low_to_high([5, 5])
    ('5 to 10', '5')
    """
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def mean_and_sd(values: Sequence[float] | Array, digits: int = 3, sign: str = "-") -> str:
    """Write a mean, and the standard deviation (ddof 1) where there are several values."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.{digits}f}{spread}"


def scatter_gains(names: Sequence[str], aucs: Array, scores: Mapping[str, Mapping[str, Array]]) -> Figure:
    """Draw two rows for each method: test AUROC, and the improvement, against the agreement before the correction."""
    figure = Figure(figsize=(10, 5 * len(scores)), layout="constrained")
    axes = figure.subplots(2 * len(scores), len(METRICS), squeeze=False)
    for k, (method, found) in enumerate(scores.items()):
        for column, (metric, label) in enumerate(METRICS.items()):
            before, after = found[f"{metric}_before"], found[f"{metric}_after"]
            above, below = axes[2 * k : 2 * k + 2, column]
            for name in dict.fromkeys(names):
                of_model = np.array(names) == name
                style = {"color": COLORS[name], "s": 18, "alpha": 0.7, "label": LABELS[name]}
                above.scatter(before[of_model], aucs[of_model], **style)
                below.scatter(before[of_model], (after - before)[of_model], **style)
            above.set_title(METHOD_TITLES[method], loc="left", fontsize="medium")
            above.set_ylabel("test AUROC", fontsize="small")
            below.set_ylabel(f"improvement of {label}", fontsize="small")
            below.set_xlabel(f"{label} before the correction")
            shade_sign(below)
            below.sharex(above)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def draw_curves(
    label: str,
    settings: Sequence[float],
    curves: Mapping[str, Mapping[str, Sequence[Array]]],
    published: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
) -> Figure:
    """Draw means over trials and their standard deviation against a setting.

    Parameters
    ----------
    label : str
        What the setting is.
    settings : sequence of float
    curves : mapping of str to mapping of str to sequence of array
        Of each quantity and model, the trials of each setting.
    published : mapping of str to mapping of str to pair
        Settings and values, where there are any.
    """
    figure = Figure(figsize=(4.6 * len(curves), 3.6), layout="constrained")
    for ax, (quantity, of_models) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        for name, values in of_models.items():
            mean, sd = (np.array([statistic(trials) for trials in values]) for statistic in (np.mean, np.std))
            ax.plot(settings, mean, color=COLORS[name], marker="o", markersize=4, label=LABELS[name])
            ax.fill_between(settings, mean - sd, mean + sd, color=COLORS[name], alpha=0.15, linewidth=0)
        for name, curve in published.get(quantity, {}).items():
            ax.plot(*curve, color=COLORS[name], linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.set_ylabel(quantity)
    title = "dotted: published" if published else None
    ax.legend(fontsize="small", frameon=False, title=title, title_fontsize="small")
    return figure


def shade_sign(ax: Axes) -> None:
    """Shade what is above 0 green and what is below red."""
    low, high = ax.get_ylim()
    low, high = min(low, -0.1 * high), max(high, -0.1 * low)
    ax.axhspan(0, high, color="#009E73", alpha=0.08, linewidth=0)
    ax.axhspan(low, 0, color="#D55E00", alpha=0.08, linewidth=0)
    ax.axhline(0, color="0.4", linewidth=0.8)
    ax.set_ylim(low, high)

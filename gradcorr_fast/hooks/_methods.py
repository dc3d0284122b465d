"""The attribution methods by name: where their gradients are taken, and with which weights."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from .._types import AnyArray, Array
from .._warn import warn
from ..backends import library
from ._averages import Average, Point
from ._mutagenesis import Mutagenesis
from ._options import METHODS, Options, SampleOptions, check_names, complete, own_table, settings
from ._ready import FindReference, Group, Method
from ._request import MAPS

SOFT = "soft=True takes them as they are"


def take(name: str, X: AnyArray, options: Mapping[str, Any]) -> tuple[Method, Options]:
    """Return the method with a name, and the options that are not its own."""
    table, kind = own_table(name), METHODS[name].options
    check_names(options, kind.__annotations__, name)
    checked = complete(options, table)
    own = {key: table[key].default if value is None else value for key, value in checked.items()}
    rest = cast(Options, {key: value for key, value in options.items() if key not in own})
    if own.get("multiply_by_inputs") and rest.get("corrected", True) and _asks_for_maps(rest.get("outputs")):
        warn(
            f"{name} is to multiply by (x - reference) before the correction, which then leaves the noise in; correct "
            f"first and multiply afterwards: leave multiply_by_inputs away, or pass corrected=False for contributions "
            f"as they are",
        )
    if name == "saturation_mutagenesis":
        return Mutagenesis(**own), rest
    if kind is Options:
        return saliency(), rest
    return samples(**own) if kind is SampleOptions else path(name, X, **own), rest


def _asks_for_maps(outputs: Sequence[str] | str | None) -> bool:
    return outputs is None or any(field in MAPS for field in ((outputs,) if isinstance(outputs, str) else outputs))


def saliency() -> Average:
    """The gradient at the sequence itself."""
    return Average((Point(1.0, 1.0),), lambda group, point: group.x)


def path(
    name: str,
    X: AnyArray,
    *,
    preset: str,
    references: str | AnyArray | None,
    n_references: int | None,
    n_steps: int | None,
    rule: str,
    multiply_by_inputs: bool,
    soft: bool,
) -> Average:
    """Means of gradients along straight paths from references to the sequence; what is None is as in the preset."""
    given = settings(preset, name, references=references, n_references=n_references, n_steps=n_steps)
    steps, weights = place_steps(rule, given["n_steps"])
    find, n, needs_codes = _find_references(X, given["references"], given["n_references"])

    def make(group: Group, point: Point) -> AnyArray:
        if point.step == 1:
            return group.x
        reference, difference = group.reference(find, point.number)
        way = difference * point.step
        return way if isinstance(reference, float) and reference == 0 else way + reference

    points = tuple(
        Point(float(weight) / n, float(step), number)
        for number in range(n)
        for step, weight in zip(steps, weights, strict=True)
    )
    mend = SOFT
    if needs_codes:
        mend = (
            f'references="{given["references"]}" shuffles letters, which soft sequences do not have; pass '
            f'references="zero", "uniform" or an array with soft=True'
        )
    return Average(points, make, needs_codes or not soft, mend, find, bool(multiply_by_inputs))


def place_steps(rule: str, n_steps: int) -> tuple[Array, Array]:
    """Return where on a path from 0 to 1 gradients are taken, and weights that sum to 1.

    Notes
    -----
    trapezoid: ``k / (n - 1)``, the ends with half the weight; left: ``k / n``; midpoint: ``(k + 1/2) / n``;
    gausslegendre: the nodes of Gauss, which are exact for polynomials of degree 2 n - 1.
    """
    if rule == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        return (nodes + 1) / 2, weights / 2
    weights = np.full(n_steps, 1 / n_steps)
    if rule == "trapezoid":
        if n_steps < 2:
            raise ValueError('n_steps is 1, and the trapezoid rule has both ends; pass 2 or more, or rule="midpoint"')
        weights = np.full(n_steps, 1 / (n_steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, n_steps), weights
    return (np.arange(n_steps) + (rule == "midpoint") / 2) / n_steps, weights


def _find_references(X: AnyArray, references: str | AnyArray, n_references: int) -> tuple[FindReference, int, bool]:
    """Return the function that finds a reference of a group, their number, and whether it needs codes."""
    if isinstance(references, str):
        if references in ("zero", "uniform"):
            return lambda group, number: _constant(group, references), 1, False
        return lambda group, number: group.draws.shuffled(references, number), n_references, True
    kind = library(references)
    if kind is None or kind not in ("numpy", library(X)):
        names = ", ".join(own_table("integrated_gradients")["references"].choices)
        raise TypeError(f"references must be an array like X, or one of {names}; got {type(references).__name__}")
    shape, own = tuple(references.shape), tuple(X.shape)
    if len(shape) == len(own) and shape[0] and shape[1:] == own[1:]:
        return lambda group, number: group.array(references[number : number + 1]), shape[0], False
    if len(shape) == len(own) + 1 and shape[1] and (shape[0], *shape[2:]) == own:
        return lambda group, number: group.array(references[group.rows, number]), shape[1], False
    raise ValueError(
        f"references have shape {shape}; for X of shape {own} pass (R, ...) = {('R', *own[1:])} or (N, R, ...)"
    )


def _constant(group: Group, kind: str) -> AnyArray:
    """The same number for every letter; channels that are no letters stay as they are."""
    layout = group.request.layout
    value = 0.0 if kind == "zero" else 1.0 / layout.n_letters
    if layout.n_letters == layout.shape[layout.axis]:
        return value
    whole = group.host.copy()
    return group.array(layout.put(whole, np.full((len(whole), layout.n_positions, layout.n_letters), value)))


def noise(n_samples: int, sd: float, soft: bool) -> Average:
    """Gradients at the sequence with Gaussian noise on every letter of every position."""

    def make(group: Group, point: Point) -> AnyArray:
        return group.x + group.draws.noise(point.number) * sd

    points = tuple(Point(1 / n_samples, None, k) for k in range(n_samples))
    return Average(points, make, needs_one_hot=not soft, mend=SOFT)


def mutations(n_samples: int, rate: float) -> Average:
    """Gradients at the sequence with some letters replaced by others."""

    def make(group: Group, point: Point) -> AnyArray:
        return group.draws.mutants(point.number, rate)

    points = tuple(Point(1 / n_samples, None, k) for k in range(n_samples))
    mend = 'kind="mutation" replaces letters, which soft sequences do not have; pass kind="gaussian" with soft=True'
    return Average(points, make, needs_one_hot=True, mend=mend)


def samples(
    *, kind: str, preset: str, n_samples: int | None, sd: float | None, rate: float | None, soft: bool
) -> Average:
    """Gradients at samples around the sequence."""
    if kind == "gaussian" and rate is not None:
        raise ValueError('rate is the share of letters that mutate; pass kind="mutation", or sd for Gaussian noise')
    if kind == "mutation" and sd is not None:
        raise ValueError('sd is that of Gaussian noise; pass kind="gaussian", or rate for mutations')
    given = settings(preset, "smoothgrad", n_samples=n_samples, sd=sd, rate=rate)
    if kind == "mutation":
        return mutations(given["n_samples"], given["rate"])
    return noise(given["n_samples"], given["sd"], soft)

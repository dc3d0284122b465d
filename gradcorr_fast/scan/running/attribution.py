"""From codes to attributions: a method of the hooks, called once for a shard, and for parts of it where it fails."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ..._types import Array
from ...hooks._attempts import Batches, Failure, Memory, attempt
from ...hooks._ready import Method
from ...hooks._session import Session
from ...summary import angle_summary
from ..results.store import THRESHOLDS
from .failures import NOT_FINITE, random_codes

MAPS = frozenset(("uncorrected", "corrected"))
HANDLED = Memory(errors=())
"""Memory that is exhausted within a run has been seen to there."""

Run = Callable[[Array], Mapping[str, Array]]
"""From codes (n, L) to "codes", "prediction", (n, T), and maps (n, T, 4, L): "uncorrected", or what is made of them."""


class Attributed(NamedTuple):
    """What was found for some sequences."""

    values: dict[str, Array]
    """Of those on which the model did not fail."""
    has_failed: Array
    """Where the model raised or returned what is not finite, bool (n,)."""
    reasons: Counter[str]
    """Why, with the number of sequences."""


def make_run(session: Session, method: Method, axis: int, only: int | None, keep_uncorrected: bool) -> Run:
    """Return what runs a method of the hooks, and on a GPU makes of its maps there what `finish_values` would.

    Parameters
    ----------
    session : Session
        A model made ready.
    method : Method
        Of the session.
    axis : int
        Letter axis of the model's input.
    only : int, optional
        Rows of a batch, if the model takes no others.
    keep_uncorrected : bool
        Whether maps before the correction are wanted too.
    """
    told: set[str] = set()
    fields = ["uncorrected"] if session.is_on_host or keep_uncorrected else []
    if not session.is_on_host:
        fields += ["corrected", "angle_summary"] if method.needs_gradients else ["corrected"]

    def run(codes: Array) -> dict[str, Array]:
        n = len(codes)
        if only is not None:
            codes = codes[np.minimum(np.arange(-(-n // only) * only), n - 1)]
        with _telling_once(told):
            found = session.maps(codes, method, fields, THRESHOLDS)
        if axis not in (1, -2):
            for name in MAPS & found.keys():
                found[name] = np.ascontiguousarray(np.moveaxis(found[name], -1, -2))
        return {"codes": codes[:n]} | {name: array[:n] for name, array in found.items()}

    return run


def finish_values(values: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays of the store, made of those that a `Run` found, which are written over."""
    found = dict(values)
    if "corrected" not in found:
        plain = found["uncorrected"]
        if options["method"] != "saturation_mutagenesis":
            found["angle_summary"] = summarize(plain, found["codes"])
        if options["keep_uncorrected"]:
            found["corrected"] = ops.correct(plain, axis=-2, n_letters=4)
        else:
            found["corrected"] = ops.correct(found.pop("uncorrected"), axis=-2, n_letters=4, out=plain)
    is_single = len(options["targets"]) == 1
    return {name: array[:, 0] if is_single and name != "codes" else array for name, array in found.items()}


def summarize(grad: Array, codes: Array) -> Array:
    """Summarise the angles of each sequence.

    Parameters
    ----------
    grad : array, shape (n, T, 4, L)
        Before the correction.
    codes : array, shape (n, L)
        Positions with an unknown letter do not count.

    Returns
    -------
    array, shape (n, T, 5), float32
        `store.ANGLES`; NaN where no position counts.
    """
    n, n_targets, _, length = grad.shape
    mask = np.broadcast_to((codes < 4)[:, None], (n, n_targets, length))
    found = angle_summary(grad, axis=-2, thresholds=THRESHOLDS, bins=1, mask=mask, n_letters=4)
    with np.errstate(invalid="ignore"):  # of sequences without any
        n_defined = found.n_positions - found.n_undefined
        mean = found.sums / n_defined
        std = np.sqrt(np.maximum(found.sums_of_squares / n_defined - mean**2, 0))
    return np.concatenate([found.fractions, mean[..., None], std[..., None]], -1).astype(np.float32)


def count_angles(values: Mapping[str, Array]) -> list[int]:
    """Count the known letters of all sequences and targets, and those whose angle lies above each threshold."""
    shares = values["angle_summary"][..., : len(THRESHOLDS)]
    n_known = (values["codes"] < 4).sum(-1).reshape(-1, *[1] * (shares.ndim - 1))
    counts = np.rint(np.nan_to_num(shares) * n_known).reshape(-1, len(THRESHOLDS)).sum(0)
    return [int(n_known.sum() * np.prod(shares.shape[1:-1])), *map(int, counts)]


def attribute(codes: Array, run: Run, session: Session) -> Attributed:
    """Attribute sequences, whatever befalls the model.

    Where it raises, halves are tried, cut between batches, down to single sequences, so that one on which it fails
    costs no other. It is an error if it fails on random ones as well.
    """
    has_failed, reasons = np.zeros(len(codes), bool), Counter[str]()
    parts: list[dict[str, Array]] = []
    attempts = attempt(
        slice(0, len(codes)), lambda rows: run(codes[rows]), Batches(session.batch_size, HANDLED),
        cut=lambda rows: iter([rows] if rows.start < rows.stop else []),
        check=lambda: run(random_codes(1, session.length)),
    )  # fmt: skip
    for rows, outcome in attempts:
        if isinstance(outcome, Failure):
            has_failed[rows] = True
            reasons[outcome.reason] += 1
            continue
        is_bad = has_failed[rows] = ~np.isfinite(outcome["prediction"]).reshape(rows.stop - rows.start, -1).all(1)
        reasons[NOT_FINITE] += int(is_bad.sum())
        parts.append({name: array[~is_bad] for name, array in outcome.items()} if is_bad.any() else dict(outcome))
    if len(parts) > 1:
        parts = [{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}]
    return Attributed(parts[0] if parts else {}, has_failed, +reasons)


@contextmanager
def _telling_once(told: set[str]) -> Iterator[None]:
    """Let through warnings that differ in more than their numbers from those of earlier calls."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        text = re.sub(r"\d[\d.,]*", "#", str(warning.message))
        if text not in told:
            told.add(text)
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

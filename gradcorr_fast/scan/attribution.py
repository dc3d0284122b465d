"""From codes to attributions: a method of the hooks, called once for a shard, and for parts of it where it fails."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import hooks, model_files, ops, sequences
from ..kernels.reference import edge_tolerance
from .failures import NOT_FINITE, check_model, reason_of
from .options import FOR_METHODS, FOR_MODEL
from .store import THRESHOLDS

Array = np.ndarray[Any, Any]

Run = Callable[[Array], Mapping[str, Array]]
"""From codes (n, L) to the arrays of the store by name, the first axis that of sequences."""


class Attributed(NamedTuple):
    """What was found for some sequences."""

    values: dict[str, Array]
    """Of those on which the model did not fail."""
    has_failed: Array
    """Where the model raised or returned what is not finite, bool (n,)."""
    reasons: Counter[str]
    """Why, with the number of sequences."""


def make_run(loaded: model_files.LoadedModel, options: Mapping[str, Any], predict: Callable[[Array], Array]) -> Run:
    """Return what runs a method of the hooks.

    Parameters
    ----------
    loaded : LoadedModel
    options : mapping
        Of `options.FOR_REGIONS`, checked, axis and batch size known.
    predict : callable
        From codes to the targets' values, (n, T).
    """
    function, axis, size = getattr(_hooks_of(loaded), options["method"]), options["axis"], options["batch_size"]
    given = {name: options[name] for name in FOR_MODEL if name != "length"}
    given |= {name: options[name] for name in FOR_METHODS if options[name] is not None}
    given |= {"targets": list(options["targets"]), "random_state": options["random_state"]}
    has_angles = options["method"] != "saturation_mutagenesis"
    is_fixed = model_files.inspect_model(loaded).batch_size is not None
    told: set[str] = set()

    def call(codes: Array, **more: Any) -> Any:
        with _telling_once(told):
            return function(loaded.model, sequences.one_hot(codes, np.float32, axis), **given, **more)

    def run(codes: Array) -> dict[str, Array]:
        n = len(codes)
        if is_fixed:  # and takes no batches that are not full
            codes = codes[np.minimum(np.arange(-(-n // size) * size), n - 1)]
        values = {"codes": codes}
        if options["keep_uncorrected"]:
            values["uncorrected"] = plain = _letters_first(call(codes, corrected=False), axis)
            corrected, angle = ops.correct(plain, axis=-2, n_letters=4), ops.simplex_angle(plain, axis=-2, n_letters=4)
            parts = [predict(codes[start : start + size]) for start in range(0, len(codes), size)]
            values["prediction"] = np.concatenate(parts).astype(np.float32)
        else:
            found = call(codes, outputs=("corrected", *(["angle"] if has_angles else []), "prediction"))
            corrected, angle = _letters_first(found.corrected, axis), found.angle
            values["prediction"] = found.prediction
        values["corrected"] = corrected
        if has_angles:
            values["angle_summary"] = summarize(angle, corrected, codes)
        is_single = len(options["targets"]) == 1
        return {name: found[:n, 0] if is_single and name != "codes" else found[:n] for name, found in values.items()}

    return run


def _hooks_of(loaded: model_files.LoadedModel) -> Any:
    """Return the module of the hooks for a model; of a Keras model, that of the library it runs on."""
    name = hooks.keras.backend(loaded.model) if loaded.framework == "keras" else loaded.framework
    return getattr(hooks, name)


def _letters_first(maps: Array, axis: int) -> Array:
    """Turn maps (n, T, ...) of input with letters on an axis into (n, T, 4, L)."""
    return maps if axis in (1, -2) else np.ascontiguousarray(np.moveaxis(maps, -1, -2))


def summarize(angle: Array, corrected: Array, codes: Array) -> Array:
    """Summarise the angles of each sequence as `gf.angle_summary` does, from the angles themselves.

    Parameters
    ----------
    angle : array, shape (n, T, L)
        In degrees; 0 where the gradient is zero, which is undefined.
    corrected : array, shape (n, T, 4, L)
    codes : array, shape (n, L)
        Positions with an unknown letter do not count.

    Returns
    -------
    array, shape (n, T, 5), float32
        `store.ANGLES`; NaN where no position counts.
    """
    counts = (codes < 4)[:, None]
    size = np.abs(angle)
    is_defined = counts & ((size > 0) | (corrected != 0).any(-2))
    tolerance = edge_tolerance(angle.dtype)
    with np.errstate(invalid="ignore"):  # of sequences without any
        above = [(counts & (size > angle.dtype.type(t + tolerance))).sum(-1) / counts.sum(-1) for t in THRESHOLDS]
        n, each = is_defined.sum(-1), np.where(is_defined, angle, 0).astype(np.float64)
        mean = each.sum(-1) / n
        deviations = np.where(is_defined, each - mean[..., None], 0)
        std = np.sqrt((deviations**2).sum(-1) / n)
    return np.stack([*above, mean, std], -1).astype(np.float32)


def count_angles(values: Mapping[str, Array]) -> list[int]:
    """Count the known letters of all sequences and targets, and those whose angle lies above each threshold."""
    shares = values["angle_summary"][..., : len(THRESHOLDS)]
    n_known = (values["codes"] < 4).sum(-1).reshape(-1, *[1] * (shares.ndim - 1))
    counts = np.rint(np.nan_to_num(shares) * n_known).reshape(-1, len(THRESHOLDS)).sum(0)
    return [int(n_known.sum() * np.prod(shares.shape[1:-1])), *map(int, counts)]


def attribute(codes: Array, run: Run, batch_size: int, advance: Callable[[int], None]) -> Attributed:
    """Attribute sequences, whatever befalls the model.

    Where it raises, halves are tried, cut between batches, down to single sequences, so that one on which it fails
    costs no other. It is an error if it fails on random ones as well.
    """
    has_failed, reasons = np.zeros(len(codes), bool), Counter[str]()
    parts: list[dict[str, Array]] = []
    waiting, is_checked = [slice(0, len(codes))] if len(codes) else [], False
    while waiting:
        part = waiting.pop()
        n = part.stop - part.start
        reason = _try(run, codes[part], parts)
        if reason is None:
            is_bad = has_failed[part] = ~np.isfinite(parts[-1]["prediction"]).reshape(n, -1).all(1)
            if is_bad.any():
                parts[-1] = {name: found[~is_bad] for name, found in parts[-1].items()}
                reasons[NOT_FINITE] += int(is_bad.sum())
            advance(n)
            continue
        if not is_checked:
            check_model(run, 1, codes.shape[1])
            is_checked = True
        if n == 1:
            has_failed[part] = True
            reasons[reason] += 1
            advance(1)
            continue
        half = (n + 1) // 2
        middle = part.start + (-(-half // batch_size) * batch_size if n > batch_size else half)
        waiting += [slice(middle, part.stop), slice(part.start, middle)]
    values = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    return Attributed(values, has_failed, reasons)


def _try(run: Run, codes: Array, parts: list[dict[str, Array]]) -> str | None:
    """Run the method, and keep what it found; or return why it failed."""
    try:
        parts.append(dict(run(codes)))
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return reason_of(error)
    return None


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

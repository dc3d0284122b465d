"""Where a metric runs, and the checks of what it is given.

A backend says where its arrays are. On the host the Numba kernels of `backends/numpy_metrics.py` run, on a device those
that the backend has; what is traced, differentiated or elsewhere gets the formula.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._check import check_axis, check_float, check_mask, check_same_shape
from ._types import AnyArray, Array
from ._warn import warn
from .backends import Backend, find_backend
from .kernels import reference_metrics

NAN_POLICIES = ("raise", "omit")
TRACEABLE = (
    "cosine_similarity",
    "positionwise_cosine_similarity",
    "information_content",
    "ensemble_difference",
    "ensemble_difference_reduction",
)


def run(metric: str, arrays: dict[str, AnyArray], *, on_host: bool = False, **options: Any) -> Any:
    """Compute a metric where its arrays are; the result is of their library, or stays with NumPy if `on_host`."""
    backend = find_backend(**arrays)
    present = {name: array for name, array in arrays.items() if array is not None}
    place = backend.place(list(present.values()))
    if place == "host" and metric in TRACEABLE and backend.is_differentiated(list(present.values())):
        place = "formula"  # which has the derivative that the kernels have not
    if place == "device" and metric in backend.DEVICE_METRICS:
        return backend.DEVICE_METRICS[metric](*arrays.values(), **options)
    if place == "host" or metric not in TRACEABLE:
        seen = {name: backend.to_numpy(array, name) for name, array in present.items()}  # or says why not
        results = _run_on_host(metric, [seen.get(name) for name in arrays], options)
        return results if on_host else _convert(backend, results)
    for name, array in present.items():
        if backend.dtype_name(array) in ("float16", "bfloat16"):
            raise TypeError(
                f"{name} is {backend.dtype_name(array)}, where only the plain formula can run, which would lose digits "
                f"in it; widen it to float32"
            )
    return getattr(reference_metrics, metric)(*arrays.values(), **options, xp=backend.XP)


def _run_on_host(metric: str, arrays: Sequence[Array | None], options: dict[str, Any]) -> Any:
    from .backends import numpy_metrics

    return getattr(numpy_metrics, metric)(*arrays, **options)


def _convert(backend: Backend, results: Array | tuple[Array, ...]) -> Any:
    if isinstance(results, tuple):
        return tuple(backend.from_numpy(result) for result in results)
    return backend.from_numpy(results)


def rank(metric: str, scores: AnyArray, labels: AnyArray, mask: AnyArray, nan_policy: str) -> AnyArray:
    """Compute one of `kernels.reference_metrics.RANKINGS`."""
    arrays = {"scores": _given(scores, "scores"), "labels": _given(labels, "labels"), "mask": mask}
    backend = find_backend(**arrays)
    _refuse_lazy(backend, metric)
    check_float(backend.dtype_name(scores), "scores")
    shape = backend.shape(scores)
    if not shape:
        raise ValueError("scores has no axis; pass one score for each position, shape (N, L)")
    check_same_shape("labels", backend.shape(labels), "these scores", shape)
    if mask is not None:
        check_mask(backend.shape(mask), backend.dtype_name(mask), shape)
    (result,) = run("ranking", arrays, fields=(metric,), omit_nan=omits_nan(nan_policy))
    warn_of_one_class(result, metric)
    return result


def omits_nan(nan_policy: str) -> bool:
    """Whether NaN scores are left out."""
    if nan_policy not in NAN_POLICIES:
        raise ValueError(f"nan_policy must be one of {', '.join(NAN_POLICIES)}; got {nan_policy!r}")
    return nan_policy == "omit"


def warn_of_one_class(result: AnyArray, metric: str) -> None:
    """Say once how many sequences have no result."""
    undefined = np.isnan(np.ravel(find_backend(result=result).to_host(result)))
    n = int(undefined.sum())
    if n:
        warn(
            f"{metric} is NaN for {n} of {undefined.size} sequences, the first of them number "
            f"{int(undefined.argmax())}: positives or negatives are missing among the positions that count",
            RuntimeWarning,
        )


def check_map(name: str, array: AnyArray, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of a map, counted from the front."""
    backend = find_backend(**{name: _given(array, name)})
    _refuse_lazy(backend, "this metric")
    check_float(backend.dtype_name(array), name)
    return check_axis(backend.shape(array), axis, n_letters)


def check_pair(a: AnyArray, b: AnyArray, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of two maps of one shape."""
    backend = find_backend(a=_given(a, "a"), b=_given(b, "b"))
    front = check_map("a", a, axis, n_letters)
    check_float(backend.dtype_name(b), "b")
    check_same_shape("b", backend.shape(b), "this a", backend.shape(a))
    return front


def check_truth(scores: AnyArray, truth: AnyArray, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of a ground truth for scores."""
    backend = find_backend(
        grad_times_input=_given(scores, "grad_times_input"), ground_truth=_given(truth, "ground_truth")
    )
    front = check_map("ground_truth", truth, axis, n_letters)
    check_float(backend.dtype_name(scores), "grad_times_input")
    shape = backend.shape(truth)
    if len(shape) < 2:
        raise ValueError(f"ground_truth has shape {tuple(shape)}; pass at least (length, letters)")
    check_same_shape(
        "grad_times_input", backend.shape(scores), "this ground_truth", (*shape[:front], *shape[front + 1 :])
    )
    return front


def check_ensemble(maps: AnyArray, ensemble: AnyArray, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of maps whose first axis is that of the members."""
    backend = find_backend(maps=_given(maps, "maps"), ensemble=_given(ensemble, "ensemble"))
    front = check_map("maps", maps, axis, n_letters)
    check_float(backend.dtype_name(ensemble), "ensemble")
    shape = backend.shape(maps)
    if front == 0:
        raise ValueError(f"axis {axis} is the first of maps, that of the members; pass the axis of the letters")
    check_same_shape("ensemble", backend.shape(ensemble), "these maps", shape[1:])
    return front


def _given(array: AnyArray, name: str) -> AnyArray:
    if array is None:
        raise TypeError(f"{name} is None; pass an array")
    return array


def _refuse_lazy(backend: Backend, metric: str) -> None:
    if backend.IS_LAZY:
        raise TypeError(
            f"{metric} takes no Dask arrays; pass it to dask.array.map_blocks with sequences in one chunk each, such "
            f"as map_blocks(gf.metrics.auroc, scores, labels, drop_axis=1, dtype=float)"
        )

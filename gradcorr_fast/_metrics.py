"""Where a metric runs, and the checks of what it is given.

A backend may have a function of its own for a metric, with the name and the arguments of that in
`backends/numpy_metrics.py` (`ranking` for those of one ranking); it is called for arrays that are not in the memory of
the host, and returns NotImplemented for those it cannot take, such as traced ones. Its `to_host` turns a result into a
NumPy array.
"""

from typing import Any

import numpy as np

from ._check import check_axis, check_float, check_mask, check_same_shape
from ._dispatch import find_backend
from ._warn import warn
from .kernels import reference_metrics

NAN_POLICIES = ("raise", "omit")
TRACEABLE = (
    "cosine_similarity",
    "positionwise_cosine_similarity",
    "information_content",
    "ensemble_difference",
    "ensemble_difference_reduction",
)


def run(metric: str, arrays: dict[str, Any], *, on_host: bool = False, **options: Any) -> Any:
    """Compute a metric where its arrays are; the result is of their library, or stays with NumPy if `on_host`."""
    backend = find_backend(**arrays)
    given = {name: array for name, array in arrays.items() if array is not None}
    refused: Exception = TypeError(f"{metric} cannot be traced; call it outside of the compiled function")
    seen = None
    if not _is_compiling(backend):
        try:
            seen = {name: backend.to_numpy(array, name) for name, array in given.items()}
        except ValueError as error:  # not in the memory of the host, or traced
            refused = error
    if seen is not None and (metric not in TRACEABLE or not _is_differentiated(backend, given.values())):
        results = _run_on_host(metric, [seen.get(name) for name in arrays], options)
        return results if on_host else _convert(backend, results)
    if seen is None and not _is_compiling(backend):
        results = getattr(backend, metric, _no_kernel)(*arrays.values(), **options)
        if results is not NotImplemented:
            return results
    if metric not in TRACEABLE:
        raise refused
    for name, array in given.items():
        if dtype_name(array) in ("float16", "bfloat16"):
            raise TypeError(
                f"{name} is {dtype_name(array)}, where only the plain formula can run, which would lose digits in it; "
                f"widen it to float32"
            )
    return getattr(reference_metrics, metric)(*arrays.values(), **options, xp=backend.XP)


def _run_on_host(metric: str, arrays: list[Any], options: dict[str, Any]) -> Any:
    from .backends import numpy_metrics

    return getattr(numpy_metrics, metric)(*arrays, **options)


def _convert(backend: Any, results: Any) -> Any:
    if isinstance(results, tuple):
        return tuple(backend.from_numpy(result) for result in results)
    return backend.from_numpy(results)


def _no_kernel(*_: Any, **__: Any) -> Any:
    return NotImplemented


def _is_compiling(backend: Any) -> bool:
    """Whether torch.compile looks on, which must not see the kernels; no other library traces without tracers."""
    is_compiling = getattr(backend, "is_compiling", None)
    return bool(is_compiling and is_compiling())


def _is_differentiated(backend: Any, arrays: Any) -> bool:
    """Whether a derivative may be asked for, which the formula has and the kernels do not."""
    is_recording = getattr(backend, "is_recording", None)
    return bool(is_recording and is_recording()) or any(getattr(array, "requires_grad", False) for array in arrays)


def rank(metric: str, scores: Any, labels: Any, mask: Any, nan_policy: str) -> Any:
    """Compute one of `kernels.reference_metrics.RANKINGS`."""
    arrays = {"scores": _given(scores, "scores"), "labels": _given(labels, "labels"), "mask": mask}
    backend = find_backend(**arrays)
    _refuse_dask(backend, metric)
    check_float(dtype_name(scores), "scores")
    shape = backend.shape(scores)
    if not shape:
        raise ValueError("scores has no axis; pass one score for each position, shape (N, L)")
    check_same_shape("labels", backend.shape(labels), "these scores", shape)
    if mask is not None:
        check_mask(backend.shape(mask), dtype_name(mask), shape)
    (result,) = run("ranking", arrays, fields=(metric,), omit_nan=omits_nan(nan_policy))
    warn_of_one_class(result, metric)
    return result


def omits_nan(nan_policy: str) -> bool:
    """Whether NaN scores are left out."""
    if nan_policy not in NAN_POLICIES:
        raise ValueError(f"nan_policy must be one of {', '.join(NAN_POLICIES)}; got {nan_policy!r}")
    return nan_policy == "omit"


def warn_of_one_class(result: Any, metric: str) -> None:
    """Say once how many sequences have no result."""
    undefined = np.isnan(np.ravel(getattr(find_backend(result=result), "to_host", np.asarray)(result)))
    n = int(undefined.sum())
    if n:
        warn(
            f"{metric} is NaN for {n} of {undefined.size} sequences, the first of them number "
            f"{int(undefined.argmax())}: positives or negatives are missing among the positions that count",
            RuntimeWarning,
        )


def check_map(name: str, array: Any, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of a map, counted from the front."""
    backend = find_backend(**{name: _given(array, name)})
    _refuse_dask(backend, "this metric")
    check_float(dtype_name(array), name)
    return check_axis(backend.shape(array), axis, n_letters)


def check_pair(a: Any, b: Any, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of two maps of one shape."""
    backend = find_backend(a=_given(a, "a"), b=_given(b, "b"))
    front = check_map("a", a, axis, n_letters)
    check_float(dtype_name(b), "b")
    check_same_shape("b", backend.shape(b), "this a", backend.shape(a))
    return front


def check_truth(scores: Any, truth: Any, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of a ground truth for scores."""
    backend = find_backend(
        grad_times_input=_given(scores, "grad_times_input"), ground_truth=_given(truth, "ground_truth")
    )
    front = check_map("ground_truth", truth, axis, n_letters)
    check_float(dtype_name(scores), "grad_times_input")
    shape = backend.shape(truth)
    if len(shape) < 2:
        raise ValueError(f"ground_truth has shape {tuple(shape)}; pass at least (length, letters)")
    check_same_shape(
        "grad_times_input", backend.shape(scores), "this ground_truth", (*shape[:front], *shape[front + 1 :])
    )
    return front


def check_ensemble(maps: Any, ensemble: Any, axis: int, n_letters: int | None) -> int:
    """Return the letter axis of maps whose first axis is that of the members."""
    backend = find_backend(maps=_given(maps, "maps"), ensemble=_given(ensemble, "ensemble"))
    front = check_map("maps", maps, axis, n_letters)
    check_float(dtype_name(ensemble), "ensemble")
    shape = backend.shape(maps)
    if front == 0:
        raise ValueError(f"axis {axis} is the first of maps, that of the members; pass the axis of the letters")
    check_same_shape("ensemble", backend.shape(ensemble), "these maps", shape[1:])
    return front


def dtype_name(array: Any) -> str:
    """Name of a dtype as NumPy has it."""
    dtype = array.dtype
    return getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")


def _given(array: Any, name: str) -> Any:
    if array is None:
        raise TypeError(f"{name} is None; pass an array")
    return array


def _refuse_dask(backend: Any, metric: str) -> None:
    if not hasattr(backend, "to_numpy"):
        raise TypeError(
            f"{metric} takes no Dask arrays; pass it to dask.array.map_blocks with sequences in one chunk each, such "
            f"as map_blocks(gf.metrics.auroc, scores, labels, drop_axis=1, dtype=float)"
        )

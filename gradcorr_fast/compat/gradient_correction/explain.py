"""`gradient_correction.explain`: attribution maps of Keras and TensorFlow models, by the authors' names.

Maps are those of the authors, not corrected, so that the lines which follow in a script stay. They differ in two ways:
shuffles and noise follow from a seed, and the class must be named, since without it the authors average over all
sequences of a batch, whose size the map then depends on.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ... import hooks
from ..._types import AnyArray, Array, Model, TargetLike
from ...backends import find_backend, library

__all__ = [
    "Explainer",
    "expected_integrated_grad",
    "function_batch",
    "hessian",
    "integrated_grad",
    "mutagenesis",
    "random_shuffle",
    "saliency_map",
    "smoothgrad",
]

MUTANTS = 128
"""Rows in the model at a time where the authors have no option."""


class Explainer:
    """Attribution maps of a model.

    Parameters
    ----------
    model : keras.Model or callable
        Takes sequences (N, L, A) and returns (N, classes).
    class_index : int, callable or `gf.targets` object
        Which output is explained. The authors take the mean over classes and sequences where it is None, and this
        raises an error; ``gf.targets.mean()`` is the mean over the classes of each sequence.
    func : callable, optional
        The authors use it where `class_index` is None alone, and so it is not used; pass a function of the output
        (N, classes) to (N,) as `class_index` instead.
    random_state : int
        From which shuffles and noise follow; the authors' are not seeded.

    Raises
    ------
    ValueError
        If `class_index` is None.

    Examples
    --------
    >>> import pytest
    >>> tf = pytest.importorskip("tensorflow")
    >>> def model(x): return tf.reduce_sum(x * [1.0, 2.0, 3.0, 6.0], axis=(1, 2))[:, None]
    >>> Explainer(model, class_index=0).saliency_maps(np.eye(4, dtype="float32")[None])[0, 0]
    array([1., 2., 3., 6.], dtype=float32)
    """

    def __init__(
        self, model: Model, class_index: TargetLike | None = None, func: Callable[..., Any] | None = None,
        random_state: int = 0,
    ) -> None:  # fmt: skip
        self.model, self.class_index, self.random_state = model, _check(class_index), random_state

    def saliency_maps(self, X: AnyArray, batch_size: int = 128) -> Array:
        """Return the gradient (N, L, A); see `hooks.tensorflow.saliency`."""
        return _host(saliency_map(X, self.model, self.class_index, batch_size=batch_size))

    def smoothgrad(self, X: AnyArray, num_samples: int = 50, mean: float = 0.0, stddev: float = 0.1) -> Array:
        """Return the mean gradient at samples with noise; see `hooks.tensorflow.smoothgrad`."""
        seed = self.random_state
        return _host(smoothgrad(X, self.model, num_samples, mean, stddev, self.class_index, random_state=seed))

    def integrated_grad(self, X: AnyArray, baseline_type: str = "random", num_steps: int = 25) -> Array:
        """Return the mean gradient on the way from one shuffle, or from zeros; see `integrated_grad`."""
        return self._average("integrated_gradients", X, baseline_type, 1, num_steps)

    def expected_integrated_grad(
        self, X: AnyArray, num_baseline: int = 25, baseline_type: str = "random", num_steps: int = 25
    ) -> Array:
        """Return the mean of `integrated_grad` over several shuffles."""
        return self._average("expected_gradients", X, baseline_type, num_baseline, num_steps)

    def mutagenesis(self, X: AnyArray, class_index: TargetLike | None = None) -> Array:
        """Return the change of the output for every substitution; see `mutagenesis`.

        As with the authors it is that of the `class_index` which is given here.
        """
        return mutagenesis(X, self.model, class_index)

    def set_baseline(self, x: AnyArray, baseline: str, num_samples: int) -> Array:
        """Return the shuffles of one sequence (1, L, A), or zeros."""
        return random_shuffle(x, num_samples, self.random_state) if baseline == "random" else np.zeros(x.shape)

    def _average(self, method: str, X: AnyArray, baseline_type: str, n: int, num_steps: int) -> Array:
        return _path(
            X, self.model, method, baseline_type == "random", n, num_steps, self.class_index, self.random_state
        )


def saliency_map(
    X: AnyArray, model: Model, class_index: TargetLike | None = None, func: Callable[..., Any] | None = None, *,
    batch_size: int = 128,
) -> AnyArray:  # fmt: skip
    """Return the gradient of sequences (N, L, A), of tensors as a tensor."""
    options: dict[str, Any] = {"target": _check(class_index), "batch_size": batch_size, "corrected": False}
    return hooks.tensorflow.saliency(model, _floats(X), **options)


def smoothgrad(
    x: AnyArray, model: Model, num_samples: int = 50, mean: float = 0.0, stddev: float = 0.1,
    class_index: TargetLike | None = None, func: Callable[..., Any] | None = None, *, random_state: int = 0,
) -> AnyArray:  # fmt: skip
    """Return the mean gradient at samples with noise, of each of the sequences (N, L, A), of tensors as a tensor."""
    options: dict[str, Any] = {"n_samples": num_samples, "sd": stddev, "soft": True, "random_state": random_state}
    target = _check(class_index)
    return hooks.tensorflow.smoothgrad(model, _floats(x) + mean, target=target, corrected=False, **options)


def integrated_grad(
    x: AnyArray, model: Model, baseline: AnyArray, num_steps: int = 25, class_index: TargetLike | None = None,
    func: Callable[..., Any] | None = None,
) -> Array:  # fmt: skip
    """Return the mean gradient on the way from a baseline, ``num_steps + 1`` points by the trapezoid rule.

    Parameters
    ----------
    x : array, shape (N, L, A)
    model, class_index, func
        See `Explainer`.
    baseline : array, shape (1, L, A) or (L, A)
    num_steps : int
        Intervals, one less than gradients.

    Returns
    -------
    array, shape (N, L, A)
        Not multiplied by ``x - baseline``.
    """
    start = np.asarray(baseline, np.float32).reshape(-1, *x.shape[1:])[:1]
    return expected_integrated_grad(x, model, start, num_steps, class_index, func)


def expected_integrated_grad(
    x: AnyArray, model: Model, baselines: AnyArray, num_steps: int = 25, class_index: TargetLike | None = None,
    func: Callable[..., Any] | None = None,
) -> Array:  # fmt: skip
    """Return the mean of `integrated_grad` over baselines (R, L, A)."""
    options: dict[str, Any] = {"references": np.asarray(baselines, np.float32), "n_steps": num_steps + 1, "soft": True}
    target = _check(class_index)
    return _host(hooks.tensorflow.expected_gradients(model, _floats(x), target=target, corrected=False, **options))


def mutagenesis(x: AnyArray, model: Model, class_index: TargetLike | None = None) -> Array:
    """Return the change of the output for every substitution, of each of the sequences (N, L, A).

    Without `class_index` it is the change of the length of the output (N, classes), as the authors have it.
    """
    target = _length if class_index is None else class_index
    options: dict[str, Any] = {"target": target, "corrected": False, "batch_size": MUTANTS}
    return _host(hooks.tensorflow.saturation_mutagenesis(model, _floats(x), **options))


def hessian(*args: object, **options: object) -> NoReturn:
    """Refuse: second derivatives are no maps of sequences.

    Raises
    ------
    NotImplementedError
        Always.
    """
    raise NotImplementedError(
        "hessian is not here; take tf.GradientTape.jacobian of the gradient of project_gradient(x), which holds to the "
        "second order"
    )


def function_batch(X: AnyArray, fun: Callable[..., Any], batch_size: int = 128, **options: Any) -> Array:
    """Return what a function makes of all sequences, so many at a time."""
    parts = [_host(fun(X[k : k + batch_size], **options)) for k in range(0, len(X), batch_size)]
    return np.concatenate(parts, axis=0)


def random_shuffle(x: AnyArray, num_samples: int = 1, random_state: int = 0) -> Array:
    """Return shuffles of one sequence (1, L, A), as (num_samples, L, A)."""
    rng, sequence = np.random.default_rng(random_state), _host(x)[0]
    return np.stack([sequence[rng.permutation(len(sequence))] for _ in range(num_samples)])


def _path(
    X: AnyArray, model: Model, method: str, is_shuffled: bool, n: int, num_steps: int, target: Any, seed: int
) -> Array:
    options: dict[str, Any] = {"references": "zero", "soft": True}
    if is_shuffled:
        options = {"references": "mono", "n_references": n, "random_state": seed}
    run = getattr(hooks.tensorflow, method)
    return _host(run(model, _floats(X), target=target, n_steps=num_steps + 1, corrected=False, **options))


def _check(class_index: TargetLike | None) -> TargetLike:
    if class_index is None:
        raise ValueError(
            "class_index is None, for which the authors reduce all sequences of a batch to one number by func, so that "
            "maps depend on its size; pass class_index=0 for the first output, gf.targets.mean() for the mean over "
            "outputs, or a function of the output (N, classes) to (N,)"
        )
    return class_index


def _length(output: AnyArray) -> AnyArray:
    """The length of an output (N, classes), for each sequence."""
    xp = find_backend(output=output).XP
    return xp.sum(output * output, axis=-1) ** 0.5


def _floats(X: AnyArray) -> AnyArray:
    """Return tensors as they are, and all else as NumPy's float32."""
    is_tensor = library(X) is not None and not isinstance(X, np.ndarray)
    return X if is_tensor else np.asarray(X, np.float32)


def _host(array: AnyArray) -> Array:
    return np.asarray(array)

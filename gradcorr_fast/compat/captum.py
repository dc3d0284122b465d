"""Captum's methods with the corrected gradient: one call around the method, everything else as it is."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import numpy as np

from .._check import MissingBackendError, missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_backend("PyTorch", "torch") from error

try:
    from captum import attr
except ModuleNotFoundError as error:
    raise MissingBackendError("Captum is not installed; pip install captum brings it") from error

from .. import ops
from .._warn import warn
from ..hooks.torch import attach, project_gradient

__all__ = ["Corrected", "corrected"]


DIRECT = {
    attr.Saliency, attr.InputXGradient, attr.IntegratedGradients, attr.GradientShap, attr.DeepLift, attr.DeepLiftShap,
    attr.GuidedBackprop, attr.Deconvolution,
}  # fmt: skip
"""Methods that take every gradient of the input by their `gradient_func`."""


class Corrected:
    """A method of Captum whose `attribute` sees corrected gradients; `corrected` makes it.

    Everything else, such as ``compute_convergence_delta``, is the method's own.
    """

    def __init__(self, method: Any, axis: int, letters: slice | None, n_letters: int | None) -> None:
        self.method = method
        self._axis = axis
        self._options = {"axis": axis, "letters": letters, "n_letters": n_letters}

    def _attribute(self, *args: Any, **options: Any) -> Any:
        draws = _Draws() if self._needs_plain(args, options) else None
        with _projected(self.method, self._options):
            result = self.method.attribute(*args, **options)
        if draws is None:
            return result
        with draws.again():
            return (*result[:-1], self.method.attribute(*args, **options)[-1])

    @wraps(_attribute, assigned=[])  # NoiseTunnel calls what its method's attribute wraps
    def attribute(self, *args: Any, **options: Any) -> Any:
        """Do what the method's own `attribute` does, with the arguments and results it has.

        A convergence delta is that of the method's own map, which tells whether its steps are enough: the corrected map
        lacks what it takes away. Where inputs or baselines do not sum to 1 over the letters, that takes a second run.
        """
        return self._attribute(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "method" or name.startswith("__"):  # of a copy that is not yet filled, or what no object has
            raise AttributeError(name)
        return getattr(self.method, name)

    def __repr__(self) -> str:
        return f"corrected({type(self.method).__name__}, axis={self._axis})"

    def _needs_plain(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
        """Whether a delta is asked for that is another for the corrected map."""
        if not self.method.has_convergence_delta():
            return False
        given = inspect.signature(self.method.attribute).bind(*args, **options).arguments
        given = {**given, **given.get("kwargs", {})}  # of a NoiseTunnel, what it hands on
        return bool(given.get("return_convergence_delta")) and not self._keeps_sums(given)

    def _keeps_sums(self, given: Mapping[str, Any]) -> bool:
        """Whether what the correction takes away adds nothing to the sum of the map."""
        is_noisy = isinstance(self.method, attr.NoiseTunnel) or given.get("stdevs", 0.0) != 0.0
        x, baseline = (array[0] if isinstance(array, tuple) else array for array in _ends(given))
        if is_noisy or not self.method.multiplies_by_inputs or callable(baseline):
            return False
        if not isinstance(baseline, torch.Tensor):
            baseline = torch.full_like(x[:1], 0.0 if baseline is None else float(baseline))
        letters = (slice(None),) * (self._axis % x.ndim) + (self._options["letters"] or slice(None),)
        return all(torch.allclose(end[letters].sum(self._axis), end.new_ones(())) for end in (x, baseline))


def _ends(given: Mapping[str, Any]) -> tuple[Any, Any]:
    return given["inputs"], given.get("baselines")


class _Draws:
    """The state of the generators that Captum draws from, to draw the same again."""

    def __init__(self) -> None:
        self._devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        self._torch, self._cuda = torch.get_rng_state(), [torch.cuda.get_rng_state(k) for k in self._devices]
        self._numpy = np.random.get_state()  # noqa: NPY002

    @contextmanager
    def again(self) -> Iterator[None]:
        """Go back for a while."""
        after = _Draws()
        self._restore()
        try:
            yield
        finally:
            after._restore()

    def _restore(self) -> None:
        torch.set_rng_state(self._torch)
        for k, state in zip(self._devices, self._cuda, strict=True):
            torch.cuda.set_rng_state(state, k)
        np.random.set_state(self._numpy)  # noqa: NPY002


def corrected(method: Any, axis: int = 1, *, letters: slice | None = None, n_letters: int | None = None) -> Corrected:
    """Make a method of Captum use corrected gradients, before it multiplies, squares or averages them.

    Parameters
    ----------
    method : captum.attr.Attribution
        Made as always, from a module, its ``forward``, or any function. Its first input is the sequence. Methods that
        perturb the input, such as FeatureAblation, use no gradient; they return what they did, and a warning says so.
    axis, letters, n_letters
        Letter axis, and which channels are letters; see `ops.correct`.

    Returns
    -------
    Corrected
        Has the method's `attribute`. With ``multiply_by_inputs=False``, and for Saliency with ``abs=False``, the map is
        the very correction of the method's own; where a method multiplies by the input or its distance from a baseline,
        the gradient is corrected first, which is the right order. A convergence delta is that of the method's own map.

    Raises
    ------
    TypeError
        For what is no method of Captum, for methods that attribute to a layer, and for LRP, which spreads relevance by
        rules instead of gradients.

    Notes
    -----
    What Captum's gradient methods compute is corrected as they get it; in front of the model of all others stands
    `hooks.torch.project_gradient` while `attribute` runs. The model and the method are as they were afterwards.

    Examples
    --------
    >>> import pytest
    >>> captum = pytest.importorskip("captum.attr")
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 1))
    >>> x = torch.eye(4)[None, :, :2].clone().requires_grad_()
    >>> grad = corrected(captum.Saliency(model)).attribute(x, target=0, abs=False)
    >>> bool(grad.sum(1).abs().max() < 1e-6)
    True
    """
    if isinstance(method, Corrected):
        return method
    inner = [*_tunnel(method)][-1]
    if not isinstance(inner, attr.Attribution):
        raise TypeError(
            f"method must be a method of captum.attr, such as captum.attr.Saliency(model); got {type(method).__name__}"
        )
    if isinstance(inner, attr.LayerAttribution):
        raise TypeError(
            f"{type(inner).__name__} attributes to a layer, whose gradient has no letters; pass a method of the input"
        )
    if isinstance(inner, attr.LRP):
        raise TypeError("LRP spreads relevance by rules instead of gradients, which no correction is known for")
    if _uses_no_gradient(inner):
        warn(f"{type(inner).__name__} uses no gradient, so there is nothing to correct; it returns what it did before")
    return Corrected(method, axis, letters, n_letters)


def _tunnel(method: Any) -> Iterator[Any]:
    """Yield a method, and those that it runs, the innermost last."""
    yield method
    while isinstance(method, attr.NoiseTunnel):
        method = method.attribution_method
        method = method.method if isinstance(method, Corrected) else method
        yield method


def _uses_no_gradient(method: Any) -> bool:
    return isinstance(method, attr.PerturbationAttribution | attr.DataLoaderAttribution)


@contextmanager
def _projected(method: Any, options: dict[str, Any]) -> Iterator[None]:
    """Let the gradients that a method takes be corrected."""
    methods = [*_tunnel(method)]
    inner = methods[-1]
    kept = [dict(vars(one)) for one in methods]
    with ExitStack() as stack:
        module = _module_of(inner.forward_func)
        if _uses_no_gradient(inner):
            pass
        elif type(inner) in DIRECT:
            inner.gradient_func = _corrected_first(inner.gradient_func, options)
        elif module is not None:
            stack.enter_context(attach(module, **options))
            _set(methods, module)
        else:
            _set(methods, _behind_projection(inner.forward_func, options))
        try:
            yield
        finally:
            for one, names in zip(methods, kept, strict=True):
                vars(one).update({name: names[name] for name in ("forward_func", "gradient_func") if name in names})


def _module_of(function: Any) -> torch.nn.Module | None:
    """Return the module that a method was made from, also by its `forward`."""
    owner = getattr(function, "__self__", None)
    is_forward = isinstance(owner, torch.nn.Module) and getattr(function, "__name__", "") == "forward"
    module = owner if is_forward else function
    return module if isinstance(module, torch.nn.Module) else None


def _corrected_first(gradient: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that computes gradients of all inputs, that of the first corrected."""

    def compute(*args: Any, **others: Any) -> Any:
        first, *rest = gradient(*args, **others)
        return (ops.correct(first, **options), *rest)

    return compute


def _set(methods: list[Any], function: Callable[..., Any]) -> None:
    for one in methods:
        one.forward_func = function


def _behind_projection(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Return a function whose first argument goes through the projection."""

    def projected(x: torch.Tensor, *args: Any) -> Any:
        return function(project_gradient(x, **options), *args)

    return projected

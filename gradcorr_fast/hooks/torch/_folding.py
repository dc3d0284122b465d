"""The correction inside the first linear layers of a PyTorch model: same predictions, corrected gradients."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from ... import ops
from ..._wording import words
from ._copying import copy_model
from ._states import prepared
from ._tracing import (
    MEND,
    Consumer,
    Sums,
    find_consumers,
    find_sums,
    make_example,
    make_one_hot,
    merge,
    number_letters,
    part,
)

TOLERANCES = {torch.float64: (1e-10, 1e-8), torch.float32: (1e-4, 1e-3)}
"""Largest difference of predictions and of gradients, as part of the largest number, that is rounding."""


def fold(
    model: torch.nn.Module,
    axis: int = 1,
    *,
    letters: slice | None = None,
    n_letters: int | None = None,
    exact: bool = True,
    example: torch.Tensor | None = None,
    args: Sequence[Any] = (),
) -> torch.nn.Module:
    """Return a copy of a model with the correction in its first layers: same predictions, every gradient corrected.

    Parameters
    ----------
    model : torch.nn.Module
        Model that starts with linear layers on its input, one or several: Conv1d, Conv2d or Linear, behind any
        rearrangement (permute, flatten, pad, ...). Also the module of an exported program. It is not changed.
    axis : int
        Letter axis of the input.
    letters, n_letters
        See `ops.correct`.
    exact : bool
        True returns a model that predicts the same for every input. False changes nothing but weights and biases of
        the first layers, so that the state dict goes into the original class and no operation is added; it needs a
        bias and no padding. Off the simplex (SmoothGrad, paths between sequences, unknown letters) its predictions are
        those at the projection of the input, whose letters sum to 1.
    example : torch.Tensor, shape (n, n_letters, L), optional
        Input that the model takes, a few sequences. By default it is made up, of a length that the model takes.
    args : sequence
        Further inputs of the model.

    Returns
    -------
    torch.nn.Module
        With the parameters of `model`, under the same names. It can be trained, saved, compiled and exported.

    Raises
    ------
    ValueError
        If the input meets something else than a linear layer first, which is named, or if the letters of a position do
        not go into a layer together.
    RuntimeError
        If the copy does not agree with the original on random sequences.

    Notes
    -----
    A linear layer is ``W x = (W - m) x + m s``, where m is the mean of W over the letters and s the sum of x over them.
    Behind a `detach`, s is one more channel, which keeps the predictions and has no gradient; what comes back through
    W - m is corrected. torch.jit.freeze and run_decompositions drop `detach`, torch.export keeps it.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 5), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool1d(1))
    >>> x = torch.rand(2, 4, 20, requires_grad=True)
    >>> folded = fold(model)
    >>> torch.allclose(folded(x), model(x), atol=1e-6)
    True
    >>> (grad,) = torch.autograd.grad(folded(x).sum(), x)
    >>> bool(grad.sum(1).abs().max() < 1e-6)
    True
    """
    check_model(model)
    if example is not None and not example.is_floating_point():
        raise TypeError(f"example must be floating point, as the model takes it; got {example.dtype}")
    own: dict[str, Any] = {"letters": letters, "n_letters": n_letters}
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        folded = copy_model(model)
        with prepared(folded, None):
            if example is None:
                example = make_example(folded, axis, n_letters, args)
            tables = number_letters(example, axis, letters, n_letters)
            consumers = find_consumers(folded, make_one_hot(example, axis, letters), args)
            found = [(consumer, find_sums(consumer, *tables, axis)) for consumer in consumers]
        _check_agreement(found)
        _put_in(folded, found, exact)
        differences(model, folded, example, args, axis, only_one_hot=not exact, **own)
    return folded


def check_model(model: Any) -> None:
    """Refuse what cannot be taken apart."""
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("a scripted model cannot be taken apart; fold the module that it was made from, or its export")
    if hasattr(model, "_orig_mod"):
        raise ValueError("fold the module first, then pass what comes back to torch.compile")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got a {type(model).__name__}, use project_gradient in it")
    if any(isinstance(module, _Folded | FoldedOperation) for module in model.modules()):
        raise ValueError("the model is folded already; its gradients are corrected")


# --- the layers ---


def split(weight: torch.Tensor, order: torch.Tensor, merged: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight less its means over the letters, and these means, with `merged` axes in that of the channels."""
    features = merge(weight, merged)
    mean = features.index_select(1, order.flatten()).unflatten(1, order.shape).mean(2)
    return features.index_add(1, order.flatten(), mean.repeat_interleave(order.shape[1], 1), alpha=-1), mean


def extend(
    x: torch.Tensor, weight: torch.Tensor, order: torch.Tensor, merged: tuple[int, ...], axis: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input with its sums over the letters, detached, as further features, and the weight for it."""
    features = merge(x, merged)
    sums = features.detach().index_select(axis, order.flatten()).unflatten(axis, order.shape).sum(axis % x.ndim + 1)
    return torch.cat([features, sums], axis), torch.cat(split(weight, order, merged), 1)


class _Folded:
    """A linear layer whose gradient is corrected; its weights are the original's."""

    letter_order: torch.Tensor
    merged_axes: tuple[int, ...]

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        return self._conv_forward(*extend(x, self.weight, self.letter_order, self.merged_axes, 1), self.bias)


class FoldedConv1d(_Folded, torch.nn.Conv1d):  # type: ignore[misc]  # torch is not typed here
    """Convolution with a corrected gradient."""


class FoldedConv2d(_Folded, torch.nn.Conv2d):  # type: ignore[misc]
    """Convolution with a corrected gradient."""


class FoldedLinear(_Folded, torch.nn.Linear):  # type: ignore[misc]
    """Linear layer with a corrected gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        return torch.nn.functional.linear(*extend(x, self.weight, self.letter_order, (), -1), self.bias)


FOLDED = {torch.nn.Conv1d: FoldedConv1d, torch.nn.Conv2d: FoldedConv2d, torch.nn.Linear: FoldedLinear}


class FoldedOperation(torch.nn.Module):  # type: ignore[misc]
    """A linear function of a graph, with a corrected gradient."""

    def __init__(self, function: Callable[..., torch.Tensor], axis: int, sums: Sums) -> None:
        super().__init__()
        self.function, self.axis, self.merged_axes = function, axis, sums.merged
        self.register_buffer("letter_order", sums.order, persistent=False)

    def forward(self, x: torch.Tensor, weight: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """Apply the function."""
        extended = extend(x, weight, self.letter_order, self.merged_axes, self.axis)
        result: torch.Tensor = self.function(*extended, *args, **options)
        return result


def _check_agreement(found: list[tuple[Consumer, Sums]]) -> None:
    """Refuse a layer that takes the input twice, differently."""
    first: dict[Any, Sums] = {}
    for consumer, sums in found:
        known = first.setdefault(consumer.place, sums)
        if known.merged != sums.merged or not torch.equal(known.order, sums.order):
            raise ValueError(f"layer {consumer.where} takes the letters in two arrangements; {MEND}")


def _put_in(model: torch.nn.Module, found: list[tuple[Consumer, Sums]], exact: bool) -> None:
    """Change the first layers of a model."""
    for consumer, sums in {consumer.place: (consumer, sums) for consumer, sums in found}.values():
        place = consumer.place
        if not exact:
            totals = {each.total for other, each in found if other.place is place}
            _change_weights(model, consumer, sums._replace(total=sums.total if len(totals) == 1 else None))
        elif isinstance(place, torch.fx.Node):
            name = f"folded_{place.name}"
            model.add_submodule(name, FoldedOperation(place.target, -1 if consumer.name == "linear" else 1, sums))
            with model.graph.inserting_before(place):
                node = model.graph.call_module(name, place.args, dict(place.kwargs))
            node.meta = place.meta
            place.replace_all_uses_with(node)
            model.graph.erase_node(place)
            model.recompile()
        else:
            layer = next(kind for kind in FOLDED if isinstance(place, kind))
            place.__class__ = FOLDED[layer]
            place.register_buffer("letter_order", sums.order, persistent=False)
            place.merged_axes = sums.merged


def _change_weights(model: torch.nn.Module, consumer: Consumer, sums: Sums) -> None:
    """Centre the weights, and add what their means make of the sums of one-hot letters to the bias."""
    place, where = consumer.place, consumer.where
    exactly = words("pass exact=True", "leave --weights-only out")
    if isinstance(place, torch.fx.Node):
        raise ValueError(f"weights and biases alone are changed in a module, not in an exported program; {exactly}")
    if sums.total is None:
        raise ValueError(f"layer {where} pads, and padding does not sum to what letters do; {exactly}")
    if place.bias is None:
        raise ValueError(f"layer {where} has no bias to take the means of its weights; {exactly}")
    owners = [
        name for name, p in model.named_parameters(remove_duplicate=False) if p is place.weight or p is place.bias
    ]
    if len(owners) > 2:
        raise ValueError(f"layer {where} shares its weights ({', '.join(owners)}); {exactly}")
    with torch.no_grad():
        centred, mean = split(place.weight.double(), sums.order, sums.merged)
        place.weight.copy_(part(centred, place.weight.shape, sums.merged))
        place.bias.copy_(place.bias.double() + sums.total * mean.flatten(1).sum(1))


# --- does it agree ---


class Differences(NamedTuple):
    """The largest differences between a model and its folded copy."""

    predictions: float
    """Of the outputs, as part of the largest."""
    gradients: float
    """Between the gradient of the copy and the corrected gradient of the model, as part of the largest."""
    dtype: torch.dtype


def differences(
    model: torch.nn.Module,
    folded: torch.nn.Module,
    example: torch.Tensor,
    args: Sequence[Any] = (),
    axis: int = 1,
    *,
    only_one_hot: bool = False,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> Differences:
    """Compare a folded model with its original on random sequences, in float64 if they allow it.

    Sequences are one-hot, with unknown letters, and random numbers; with `only_one_hot`, the first alone.

    Raises
    ------
    RuntimeError
        If the difference is more than rounding.
    """
    own = {"axis": axis, "letters": letters, "n_letters": n_letters}
    try:
        pair = tuple(copy_model(each).double() for each in (model, folded))
        found = _compare(pair, example.double(), tuple(map(_as_double, args)), only_one_hot, own)
    except (RuntimeError, NotImplementedError):  # what was made for one dtype
        found = _compare((model, folded), example, tuple(args), only_one_hot, own)
    limits = TOLERANCES.get(example.dtype, (1e-1, 1e-1))  # changed weights are rounded, and perhaps numbers within
    if not (found.predictions <= limits[0] and found.gradients <= limits[1]):
        raise RuntimeError(
            f"the folded model differs from its original, predictions by {found.predictions:.2g} and gradients by "
            f"{found.gradients:.2g} of the largest; {MEND}"
        )
    return found


def _as_double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _compare(
    pair: tuple[torch.nn.Module, ...], example: torch.Tensor, args: tuple[Any, ...], only_one_hot: bool, own: Any
) -> Differences:
    worst = [0.0, 0.0]
    for x in _probes(example, own)[: 1 if only_one_hot else None]:
        (outputs, plain), (folded_outputs, grad) = (_run(model, x, args) for model in pair)
        worst[0] = max(worst[0], *(_gap(a, b) for a, b in zip(folded_outputs, outputs, strict=True)))
        worst[1] = max(worst[1], _gap(grad, ops.correct(plain, **own), plain))
    return Differences(worst[0], worst[1], example.dtype)


def _gap(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor | None = None) -> float:
    """Return the largest difference as part of the largest number; infinite where one alone is not finite."""
    gap = (a - b).abs().nan_to_num(torch.inf)[(a != b) & ~(a.isnan() & b.isnan())]
    largest = float((b if scale is None else scale).abs().nan_to_num(0, 0, 0).max())
    return float(gap.max()) / (largest or 1.0) if gap.numel() else 0.0


def _probes(example: torch.Tensor, own: dict[str, Any]) -> list[torch.Tensor]:
    """Return one-hot sequences, the same with unknown letters, and random numbers; other channels are random."""
    generator = torch.Generator().manual_seed(0)
    numbers, others = (torch.randn(example.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    one_hot = make_one_hot(others, own["axis"], own["letters"])
    unknown = one_hot.clone()
    letters = unknown.movedim(own["axis"], -1)[..., own["letters"] or slice(None)]
    letters *= torch.rand(letters.shape[:-1], generator=generator)[..., None] > 0.1
    return [x.to(example.device, example.dtype) for x in (one_hot, unknown, numbers)]


def _run(model: torch.nn.Module, x: torch.Tensor, args: tuple[Any, ...]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the outputs, and the gradient of a random sum of them, the same for every model."""
    with prepared(model, None):
        x = x.detach().clone().requires_grad_()
        outputs = [leaf for leaf in tree_leaves(model(x, *args)) if isinstance(leaf, torch.Tensor)]
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y) for y in outputs]
        total = sum((w * y).sum() for w, y in zip(weights, outputs, strict=True) if y.requires_grad)
        if not isinstance(total, torch.Tensor):
            raise ValueError("the output does not depend on the input by a path that a gradient takes")
        (grad,) = torch.autograd.grad(total, x)
    return [y.detach() for y in outputs], grad

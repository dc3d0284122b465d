"""Find the lengths of sequences that a PyTorch model takes, by trying."""

from collections.abc import Callable

import torch

from ...hooks.torch._tracing import excess, make_example
from .._common import Lengths


def find_lengths(model: torch.nn.Module, axis: int) -> Lengths | None:
    """Try which lengths a model takes; None if none was found, or if it was traced with one."""
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.fx.GraphModule):
        return None
    try:
        example = make_example(model, axis, None, ())
        place = place_of(axis)
        length = example.shape[place]
        if any(takes(model, example, place, more) for more in (2 * length, 2 * length + 1)):
            return Lengths(length, None)
        least = _bisect(lambda n: takes(model, example, place, n), length, 0)
        return Lengths(least, _bisect(lambda n: takes(model, example, place, n), length, 2 * length))
    except Exception:  # noqa: BLE001  (a user's model may raise anything; what is wrong shows when the scan runs it)
        return None


def _bisect(is_taken: Callable[[int], bool], taken: int, refused: int) -> int:
    """Return the last length that is taken on the way to one that is not."""
    step = 1 if refused > taken else -1
    if not is_taken(taken + step):  # as most models have it
        return taken
    while abs(refused - taken) > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if is_taken(middle) else (taken, middle)
    return taken


def place_of(axis: int) -> int:
    """Return the axis of the positions."""
    return 2 if axis in (1, -2) else 1


def takes(model: torch.nn.Module, example: torch.Tensor, place: int, length: int) -> bool:
    """Whether a model takes an input like another one, but of some length."""
    shape = [length if k == place else size for k, size in enumerate(example.shape)]
    return length > 0 and excess(model, example.new_ones(shape), ()) == 0

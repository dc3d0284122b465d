"""Tells users what computing only what substitutions change would gain with their model."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ...._check import check_axis
from ...._types import AnyArray, Model
from .._states import prepared
from .graph import Unfollowed, trace
from .layers import closed_layers
from .program import Program


class Explanation(NamedTuple):
    """What the engine makes of a model."""

    is_followed: bool
    """Whether substitutions can be computed in windows."""
    receptive_field: int | None
    """Positions that one position depends on, before any operation that mixes all of them."""
    stops_at: str | None
    """The first operation that mixes all positions, with its layer and line; or what cannot be followed."""
    share: float
    """Part of a whole pass's multiplications that a substitution takes, about."""
    expected_gain: float
    """How many times faster a substitution is than a whole pass, about, at best."""


def explain_engine(model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, *, axis: int = 1) -> Explanation:
    """Tell what computing only what a substitution changes would gain with a model, and what limits it.

    Parameters
    ----------
    model, X, args, axis
        See `saliency`; one sequence is enough.

    Returns
    -------
    Explanation
        Printed, a line for each of its fields.

    Examples
    --------
    >>> layers = torch.nn.Conv1d(4, 8, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96 * 8, 1)
    >>> found = explain_engine(torch.nn.Sequential(*layers), torch.eye(4)[None].repeat(1, 1, 25))
    >>> found.receptive_field, found.stops_at
    (5, 'linear in layer 3: it mixes all positions')
    """
    x, *others = (torch.as_tensor(array[:1]).repeat_interleave(2, 0) for array in (X, *(args or ())))
    length_axis = 3 - check_axis(tuple(x.shape), axis, None)
    with prepared(model, None) as device, torch.no_grad():
        inputs = [array.to(device or array.device) for array in (x, *others)]
        try:
            program = Program(trace(model, inputs[0], inputs[1:], closed_layers), length_axis)
        except Unfollowed as stop:
            return Explanation(False, None, str(stop), 1.0, 1.0)
        share = program.share()
    first = str(program.stops[0]) if program.stops else None
    return Explanation(True, program.receptive_field(), first, share, 1 / share)

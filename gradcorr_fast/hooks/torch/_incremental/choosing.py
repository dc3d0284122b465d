"""Whether a model's substitutions are computed in windows: when that is asked for, can be done, and pays."""

from collections.abc import Sequence
from typing import Any

import torch

from ...._types import AnyArray, Model
from ...._warn import warn
from ...._wording import words
from ..._ready import Positions, Substitutions, Wish
from ..._request import Request
from .engine import Engine, Forward, Gradient
from .graph import Unfollowed

MANY = 1 << 20
"""Positions of mutants, all in all, from which on it pays to find out how a model works, which takes about a second. A
time would be no rule: the same call would have other last digits on another day."""
LEAST = 8e6
"""Multiplications of a whole pass from which on windows gain where each sequence has one mutant: for smaller models it
takes as long to keep layers and to call the operations on windows."""
LITTLE = 0.7
"""Part of a whole pass from which on windows gain nothing."""


class Chooser:
    """Decides once for a model that was made ready, when substitutions are first asked for.

    Parameters
    ----------
    model : torch.nn.Module or callable
    request : Request
    forward : callable
        Runs the model on sequences and arguments.
    gradient : callable
        From values and sequences to the gradient.
    precision : str
        Of the request.
    """

    def __init__(self, model: Model, request: Request, forward: Forward, gradient: Gradient, precision: str) -> None:
        self._model, self._request, self._precision = model, request, precision
        self._calls = forward, gradient
        self._decided: tuple[Engine | None] | None = None
        self.reason: str | None = None
        """Why whole passes are taken."""

    def __call__(self, x: AnyArray, args: Sequence[AnyArray], positions: Positions, wish: Wish) -> Substitutions | None:
        """Run sequences for substitutions in them; None where whole passes are taken. See `_ready.Framework.refer`."""
        if self._decided is None:
            with torch.no_grad():
                self._decided = (self._decide(x, args, positions, wish),)
        (engine,) = self._decided
        found: Substitutions | None = None if engine is None else engine.refer(x, args, positions, wish)
        return found

    def _decide(self, x: Any, args: Sequence[Any], positions: Positions, wish: Wish) -> Engine | None:
        is_asked_for = wish.engine == "incremental"
        if not is_asked_for and wish.n_rows * self._request.layout.n_positions < MANY:
            self.reason = "there is little to do"
            return None
        try:
            if self._precision in ("bfloat16", "float16") or (self._precision == "tf32" and x.device.type == "cuda"):
                raise Unfollowed(f"in {self._precision} windows would be rounded otherwise than whole passes")
            engine = Engine(self._model, self._request, x, args, positions, *self._calls, wish.n_rows)
        except Unfollowed as stop:
            self.reason = str(stop)
            if is_asked_for:
                asked, other = (words(f'engine="{name}"', f"--engine {name}") for name in ("incremental", "full"))
                raise ValueError(f"{asked} cannot follow the model: {stop}; {other} takes whole passes") from stop
            full = words('engine="full"', "--engine full")
            warn(f"each substitution takes a whole pass of the model: {stop}; {full} asks for that")
            return None
        is_small = wish.is_alone and engine.program.work() < LEAST
        if is_asked_for or (engine.program.share() < LITTLE and not is_small):
            return engine
        self.reason = f"it would gain nothing, {engine.note}"
        return None

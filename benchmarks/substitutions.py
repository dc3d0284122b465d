"""Tables of substitutions, and full passes of the same mutants at their best batch size, on any device."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

import gradcorr_fast as gf

LONGEST = 2.0
"""Seconds of full passes, at most, that are timed in turn with whole tables."""
AIMS = {
    "Basset": 12,
    "Basset, 2,000 bp": 16,
    "CNN-32": 14,
    "DeepSTARR": 8,
    "CNN-deep": 4,
    "dilated": 5,
    "attention": 0.95,
}
"""How many times as fast as full passes, at least."""


class Table(NamedTuple):
    """The substitutions of some sequences at neighbouring positions."""

    model: Any
    x: Any
    start: int
    end: int

    def ours(self, engine: str) -> Any:
        """Return the effects of all of them."""
        options = {"target": mean, "corrected": False, "start": self.start, "end": self.end}
        return gf.hooks.torch.saturation_mutagenesis(self.model, self.x, engine=engine, **options)

    @property
    def n(self) -> int:
        """Mutants."""
        return 3 * len(self.x) * (self.end - self.start)

    def mutants(self, n: int) -> Any:
        """Return mutants of the first sequence, evenly spread over its positions, one at each."""
        places = torch.linspace(self.start, self.end - 1, n, device=self.x.device).long()
        rows = self.x[:1].repeat(n, 1, 1)
        each = torch.arange(n, device=self.x.device)
        rows[each, :, places] = rows[each, :, places].roll(1, 1)
        return rows

    def compare(self, found: Any) -> None:
        """See that effects are those of full passes, at a few positions."""
        n = 8
        places = torch.linspace(self.start, self.end - 1, n, device=self.x.device).long()
        with torch.no_grad():
            values = mean(self.model(self.mutants(n))) - mean(self.model(self.x[:1]))
        letters = self.x[0][:, places].roll(1, 0).argmax(0)
        atol = 1e-5 * max(1.0, float(values.abs().max()))
        mine = found[0][letters, places - self.start]
        np.testing.assert_allclose(mine.cpu(), values.cpu(), rtol=0, atol=atol)


def mean(output: Any) -> Any:
    """The target: the mean of all outputs."""
    return output.reshape(len(output), -1).mean(1)


def table(model: Any, length: int, n: int = 1, at_most: int | None = None, device: str = "cpu") -> Table:
    """Return the substitutions of random sequences, or those in the middle of them."""
    codes = np.random.default_rng(0).integers(0, 4, (n, length)).astype(np.uint8)
    start = 0 if at_most is None else max(0, (length - at_most) // 2)
    x = torch.from_numpy(gf.sequences.one_hot(codes, np.float32, 1)).to(device)
    return Table(model.to(device), x, start, length - start)


class Full(NamedTuple):
    """Full passes of a part of the mutants, in batches of the size at which they are fastest."""

    run: Callable[[], Any]
    batch_size: int
    n: int


def full_passes(wanted: Table, batches: Sequence[int], take: Callable[[Callable[[], Any]], float]) -> Full:
    """Find the best size of batches, and how many mutants take no longer than `LONGEST`; `take` times a call."""
    most = max(batches)
    rows = wanted.mutants(most)

    def run(size: int, n: int) -> None:
        with torch.no_grad():
            for k in range(0, n, size):
                mean(wanted.model(rows[: min(size, n - k)]))

    run(most, most)
    taken = {size: min(take(lambda size=size: run(size, most)) for _ in range(2)) for size in batches}
    best = min(taken, key=lambda size: taken[size])
    n = min(wanted.n, max(most, int(LONGEST / taken[best]) * most))
    return Full(lambda: run(best, n), best, n)

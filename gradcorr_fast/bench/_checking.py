"""Checks of what a run is asked for."""

from collections.abc import Sequence
from difflib import get_close_matches

from ._cases import OPERATIONS
from ._plans import PLANS
from .libraries import NAMES

MODEL_OPERATIONS = ("saliency", "score_variants")
SHORTEST, LONGEST = 8, 1 << 26  # bp


def check_call(plan: str, libraries: Sequence[str], operations: Sequence[str], lengths: Sequence[int]) -> None:
    """Refuse names that are unknown, and lengths that are no lengths."""
    for what, names, known in (
        ("plan", [plan], list(PLANS)),
        ("library", libraries, NAMES),
        ("operation", operations, (*OPERATIONS, *MODEL_OPERATIONS)),
    ):
        for name in names:
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown {what} {name!r}{hint} There are {', '.join(known)}")
    for length in lengths:
        if not SHORTEST <= length <= LONGEST:
            raise ValueError(f"a length is {length}; it must be from {SHORTEST} to {LONGEST:,} bp")

"""Chooses few cases of a product in which every two values of two parameters still meet."""

import heapq
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations


def choose(cases: Sequence[Mapping[str, Hashable]]) -> list[int]:
    """Positions of cases that hold every pair of values that any case holds, the same ones in every call.

    Each step takes the case with most pairs that none before it has (the first of several), as AETG does (Cohen,
    Dalal, Fredman & Patton 1997, doi:10.1109/32.605761).
    """
    pairs = [set(combinations(sorted(case.items()), min(2, len(case)))) for case in cases]
    missing = set().union(*pairs)
    queue = [(-len(own), k) for k, own in enumerate(pairs)]
    heapq.heapify(queue)
    chosen = []
    while missing:
        count, k = heapq.heappop(queue)
        new = pairs[k] & missing
        if len(new) == -count:  # else others took some of its pairs since it was counted
            missing -= new
            chosen.append(k)
        elif new:
            heapq.heappush(queue, (-len(new), k))
    return sorted(chosen)

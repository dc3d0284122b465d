"""Alleles whose outputs are compared, scored in parts, so that what is kept of their references fits in memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ..._types import Array
from ...hooks._session import Session
from ..comparing.comparing import Comparing
from ..inputs.genome import Genome
from ..placing.windows import encode_names
from .scoring import Scored, score


def score_with(
    session: Session, rows: pa.Table, genome: Genome, options: Mapping[str, Any], advance: Callable[[float], None]
) -> Scored:
    """Score placed alleles as the options of a scan say; see `score`."""
    asked = {"top": options["top"], "flank": options["flank"], "advance": advance}
    if not options["compare"]:
        return score(session, rows, genome, options["scores"], **asked)
    comparing = Comparing(session, options["compare"], options["align_indels"])
    found = []
    for part in _parts(rows, comparing.windows_at_most):
        comparing.forget()
        some = score(session, rows.take(pa.array(part)), genome, options["scores"], comparing=comparing, **asked)
        found.append((part, some))
    return found[0][1] if len(found) == 1 else _joined(found, len(rows))


def _parts(rows: pa.Table, at_most: int) -> Iterator[Array]:
    """Yield the numbers of rows in parts, each with all alleles of its windows."""
    number, _ = encode_names(rows["chrom"])
    keys = (number.astype(np.int64) << 40) + np.asarray(rows["window_start"], np.int64)
    _, group = np.unique(keys, return_inverse=True)
    if group.max(initial=0) < at_most:
        yield np.arange(len(rows))
        return
    order = np.argsort(group, kind="stable")
    yield from np.split(order, np.searchsorted(group[order], np.arange(at_most, group.max() + 1, at_most)))


def _joined(found: list[tuple[Array, Scored]], n: int) -> Scored:
    first = found[0][1]

    def spread(numbers: list[Array], like: Array) -> Array:
        whole = np.empty((n, *like.shape[1:]), like.dtype)
        for (part, _), some in zip(found, numbers, strict=True):
            whole[part] = some
        return whole

    scores = {name: spread([some.scores[name] for _, some in found], like) for name, like in first.scores.items()}
    failed = spread([some.has_failed for _, some in found], first.has_failed)
    reasons = sum((some.reasons for _, some in found), Counter[str]())
    agreement = np.sum([some.agreement for _, some in found], axis=0)
    return Scored(scores, failed, reasons, agreement, spread([some.compared for _, some in found], first.compared))

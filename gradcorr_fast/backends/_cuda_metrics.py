"""Metrics that need a ranking, of arrays on NVIDIA GPUs; the others are formulas, which each library computes."""

import math
from collections.abc import Sequence

from .._check import refuse_labels, refuse_nan
from .._types import AnyArray
from ..kernels import cuda, reference_metrics
from . import _cuda
from ._contract import Namespace


def ranking(
    scores: AnyArray, labels: AnyArray, mask: AnyArray, fields: Sequence[str], omit_nan: bool, library: _cuda.Library
) -> tuple[AnyArray, ...]:
    """Those of `RANKINGS` in `fields`, of scores, labels and a mask of shape (..., length), from one sort."""
    queue = library.queue(scores)
    _cuda.check_device(queue.device, library.cuda_major)
    *sequences, length = scores.shape
    shape = math.prod(sequences), length
    scores, positive = library.dense(scores), library.dense(_zero_or_one(labels, mask, library))
    mask = None if mask is None else library.dense(mask)
    keys = library.empty(shape, "int64", scores)
    results = library.empty((shape[0], 3), "float64", scores)
    if not length:
        results[...] = math.nan
    elif shape[0]:
        first_nan = library.empty((1,), "int64", scores)
        first_nan[...] = shape[0]
        memory = cuda.DeviceMemory(library.address(scores), library.dtype_name(scores))
        addresses = [library.address(array) for array in (keys, first_nan)]
        masked = 0 if mask is None else library.address(mask)
        cuda.ranking_keys(
            shape, queue, scores=memory, mask=masked, keys=addresses[0], first_nan=addresses[1], omit_nan=omit_nan
        )
        if int(first_nan[0]) < shape[0]:
            refuse_nan(int(first_nan[0]))
        # ~ turns the order round, as - does, but for the lowest number too.
        order = None if length <= cuda.SORTED else library.dense((~keys).argsort(-1))
        cuda.ranking(
            shape,
            queue,
            keys=addresses[0],
            labels=library.address(positive),
            order=0 if order is None else library.address(order),
            results=library.address(results),
        )
    columns = (results[:, reference_metrics.RANKINGS.index(field)] for field in fields)
    return tuple(library.dense(column.reshape(tuple(sequences))) for column in columns)


def interpretability(
    scores: AnyArray, ppm: AnyArray, axis: int, threshold: float, omit_nan: bool, library: _cuda.Library, xp: Namespace
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """AUROC, AUPR and information (float64) of scores (..., length) against the probabilities of the letters."""
    wide = library.empty(ppm.shape, "float64", ppm)
    wide[...] = ppm
    information = reference_metrics.information_content(wide, axis=axis, xp=xp)
    positive = information > threshold
    least = -xp.max(-information, axis=-1, keepdims=True) if 0 not in information.shape else information
    auroc, aupr = ranking(scores, positive, positive | (information == least), ("auroc", "aupr"), omit_nan, library)
    return auroc, aupr, information


def _zero_or_one(labels: AnyArray, mask: AnyArray, library: _cuda.Library) -> AnyArray:
    """Labels as truth values, refused where they count and are something else than 0 and 1."""
    if library.dtype_name(labels) == "bool":
        return labels
    truth = labels == 1
    wrong = ~(truth | (labels == 0))
    if mask is not None:
        wrong = wrong & mask
    if bool(wrong.any()):
        refuse_labels(labels[wrong][0].item())
    return truth

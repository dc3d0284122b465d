"""Noise, mutations and shuffles with CUDA: what `cpu_sequences` draws, to the bit, where the sequences are.

Codes are uint8 (n_sequences, length), letters below 32 or 255; keys are those of `cuda.digest`. All memory is passed by
address, C-contiguous.
"""

import math

from . import cuda
from .cpu_sequences import PURPOSES

IN_SHARED = 24576
"""Positions of a sequence that one thread shuffles in shared memory; longer ones take many times as long for each."""
WALK_BYTES = 4948  # of Walk in draws.cuh

_SOURCES = ("codes", "u8"), ("keys", "u8"), ("out", "u8"), ("n_sequences", "i8"), ("length", "i8")
_SAMPLE = ("purpose", "u4"), ("sample", "u4")
_NOISE = (
    ("keys", "u8"), ("out", "u8"), ("n_sequences", "i8"), ("length", "i8"), ("n_letters", "i8"),
    ("position_step", "i8"), ("letter_step", "i8"), *_SAMPLE,
)  # fmt: skip
_MUTATE = *_SOURCES, ("threshold", "u8"), *_SAMPLE, ("n_letters", "u4")
_SHUFFLE = *_SOURCES, *_SAMPLE, ("is_shared", "i4")


def noise(shape, queue, *, keys, sample, out, letters_last):
    """Write standard normal numbers, float32 (n_sequences, length, n_letters), or with the letters first."""
    n_sequences, length, n_letters = shape
    steps = (n_letters, 1) if letters_last else (1, length)
    operands = cuda.pack(_NOISE, (keys, out, *shape, *steps, PURPOSES["noise"], sample))
    blocks = cuda.blocks_of(n_sequences * -(-length * n_letters // 4))
    cuda.launch(cuda.DRAWS["noise"], operands, blocks, queue)


def mutate(shape, queue, *, codes, keys, sample, rate, n_letters, out):
    """Write the mutants with a number."""
    threshold = math.floor(rate * 2**32)
    operands = cuda.pack(
        _MUTATE, (codes, keys, out, *shape, threshold, PURPOSES["mutation"], sample, n_letters)
    )  # fmt: skip
    cuda.launch(cuda.DRAWS["mutate"], operands, cuda.blocks_of(shape[0] * -(-shape[1] // 2)), queue)


def shuffle(shape, queue, *, codes, keys, sample, kind, out):
    """Write the shuffles with a number; `kind` is "mono" or "dinucleotide"."""
    n_sequences, length = shape
    if not n_sequences or not length:
        return
    is_shared = length <= IN_SHARED
    operands = cuda.pack(_SHUFFLE, (codes, keys, out, *shape, PURPOSES[kind], sample, is_shared))
    kernel, n_bytes = (cuda.DRAWS["permute"], 0) if kind == "mono" else (cuda.DRAWS["walk"], WALK_BYTES)
    # as much for every length, since what a processor has room for is asked once
    cuda.launch(kernel, operands, n_sequences, queue, n_bytes + IN_SHARED * is_shared)

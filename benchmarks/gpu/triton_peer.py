"""Standard work as a Triton kernel, one for each layout, autotuned over block sizes and warps.

The angle is an arctangent by the polynomial that ours uses, but without scaling: squares over- and underflow.
"""

import os
from typing import Any

import torch
import triton
import triton.language as tl

CONFIGS = [
    triton.Config({"BLOCK": block}, num_warps=warps)
    for block, warps in ((128, 4), (256, 4), (512, 4), (512, 8), (1024, 4), (1024, 8), (2048, 8))
]

if os.environ.get("TRITON_INTERPRET") == "1":  # on the CPU, where nothing can be timed
    del CONFIGS[1:]


@triton.jit
def angle_in_degrees(total, squares):
    """atan2(total / 2, sqrt(squares))."""
    width = tl.sqrt(squares)
    height = tl.abs(total) * 0.5
    steep = height > width
    t = tl.where(steep, width, height) / tl.maximum(tl.where(steep, height, width), 1e-38)
    q = t * t
    p = 0.00284989015199244 * q - 0.016068633645772934
    p = p * q + 0.04269152879714966
    p = p * q - 0.0750429555773735
    p = p * q + 0.10640934854745865
    p = p * q - 0.14203645288944244
    p = p * q + 0.1999261975288391
    p = p * q - 0.3333307206630707
    angle = (t + t * (q * p)) * 57.29577951308232
    size = tl.where(steep, 90.0 - angle, angle)
    return tl.where(total < 0, -size, size)


@triton.autotune(configs=CONFIGS, key=["HAS_CODES"])
@triton.jit
def letters_last(grad, x, corrected, angle, product, n_positions, HAS_CODES: tl.constexpr, BLOCK: tl.constexpr):
    """(positions, 4): a tile of BLOCK positions with their letters side by side."""
    positions = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    letters = tl.arange(0, 4)
    inside = positions < n_positions
    at = positions[:, None] * 4 + letters[None, :]
    g = tl.load(grad + at, mask=inside[:, None], other=0).to(tl.float32)
    total = tl.sum(g, axis=1)
    centred = g - (total * 0.25)[:, None]
    if HAS_CODES:
        codes = tl.load(x + positions, mask=inside, other=255)
        seen = tl.where(codes[:, None].to(tl.int32) == letters[None, :], centred, 0.0)
    else:
        seen = centred * tl.load(x + at, mask=inside[:, None], other=0).to(tl.float32)
    tl.store(corrected + at, centred.to(corrected.dtype.element_ty), mask=inside[:, None])
    tl.store(angle + positions, angle_in_degrees(total, tl.sum(centred * centred, axis=1)), mask=inside)
    tl.store(product + positions, tl.sum(seen, axis=1), mask=inside)


@triton.autotune(configs=CONFIGS, key=["HAS_CODES"])
@triton.jit
def letters_first(grad, x, corrected, angle, product, length, HAS_CODES: tl.constexpr, BLOCK: tl.constexpr):
    """(sequences, 4, length): BLOCK positions of one sequence, its four rows in turn."""
    n_blocks = tl.cdiv(length, BLOCK)
    sequence = (tl.program_id(0) // n_blocks).to(tl.int64)
    i = tl.program_id(0) % n_blocks * BLOCK + tl.arange(0, BLOCK)
    inside = i < length
    row = sequence * 4 * length + i
    g0 = tl.load(grad + row, mask=inside, other=0).to(tl.float32)
    g1 = tl.load(grad + row + length, mask=inside, other=0).to(tl.float32)
    g2 = tl.load(grad + row + 2 * length, mask=inside, other=0).to(tl.float32)
    g3 = tl.load(grad + row + 3 * length, mask=inside, other=0).to(tl.float32)
    total = g0 + g1 + g2 + g3
    mean = total * 0.25
    g0, g1, g2, g3 = g0 - mean, g1 - mean, g2 - mean, g3 - mean
    at = sequence * length + i
    if HAS_CODES:
        codes = tl.load(x + at, mask=inside, other=255).to(tl.int32)
        seen = tl.where(codes == 0, g0, 0.0) + tl.where(codes == 1, g1, 0.0)
        seen += tl.where(codes == 2, g2, 0.0) + tl.where(codes == 3, g3, 0.0)
    else:
        seen = g0 * tl.load(x + row, mask=inside, other=0).to(tl.float32)
        seen += g1 * tl.load(x + row + length, mask=inside, other=0).to(tl.float32)
        seen += g2 * tl.load(x + row + 2 * length, mask=inside, other=0).to(tl.float32)
        seen += g3 * tl.load(x + row + 3 * length, mask=inside, other=0).to(tl.float32)
    kind = corrected.dtype.element_ty
    tl.store(corrected + row, g0.to(kind), mask=inside)
    tl.store(corrected + row + length, g1.to(kind), mask=inside)
    tl.store(corrected + row + 2 * length, g2.to(kind), mask=inside)
    tl.store(corrected + row + 3 * length, g3.to(kind), mask=inside)
    squares = g0 * g0 + g1 * g1 + g2 * g2 + g3 * g3
    tl.store(angle + at, angle_in_degrees(total, squares), mask=inside)
    tl.store(product + at, seen, mask=inside)


def standard_work(grad: Any, x: Any, *, axis: int) -> tuple[Any, Any, Any]:
    """Corrected, angle and grad-times-input of (N, L, 4) or, with axis=1, (N, 4, L); x is uint8 codes or one-hot."""
    n_sequences = grad.shape[0]
    length = grad.shape[2 if axis == 1 else 1]
    corrected = torch.empty_like(grad)
    angle, product = (torch.empty((n_sequences, length), dtype=torch.float32, device=grad.device) for _ in range(2))
    has_codes = x.dtype == torch.uint8
    if axis == 1:
        grid = lambda meta: (triton.cdiv(length, meta["BLOCK"]) * n_sequences,)  # noqa: E731
        letters_first[grid](grad, x, corrected, angle, product, length, HAS_CODES=has_codes)
    else:
        n_positions = n_sequences * length
        grid = lambda meta: (triton.cdiv(n_positions, meta["BLOCK"]),)  # noqa: E731
        letters_last[grid](grad, x, corrected, angle, product, n_positions, HAS_CODES=has_codes)
    return corrected, angle, product

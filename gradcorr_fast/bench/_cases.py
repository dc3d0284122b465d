"""What is timed: operations, layouts, lengths and sizes; the one list, which `benchmarks/` reads too."""

from typing import Any, NamedTuple

import numpy as np

from .. import ops, summary
from .._types import AnyArray, Array
from ..kernels import cuda

AXES = {"(N, L, 4)": -1, "(N, 4, L)": 1}
"""Layouts, and their letter axis."""
LENGTHS = (200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 196_608, 524_288)
"""Of sequences, bp: from reporter assays to the long models."""
DTYPES = ("float32", "bfloat16", "float16", "float64")


class Work(NamedTuple):
    """An operation, and the memory that it cannot help reading and writing."""

    operation: str
    x: str | None
    """What the operation reads beside the gradient: "codes" (uint8), "one-hot" (as the gradient) or None."""
    n_whole: int
    """Outputs shaped like the gradient: 0 or 1."""
    n_single: int
    """Outputs of one float32 (of float64 gradients float64) a position: 0 to 2."""

    @property
    def bytes_per_position(self) -> int:
        """Of float32 gradients."""
        return self.count_bytes("float32")

    def count_bytes(self, dtype: str) -> int:
        """Bytes a position that are read or written."""
        item: int = cuda.ITEM_BYTES.get(dtype, 8)
        x: int = {None: 0, "codes": 1, "one-hot": 4 * item}[self.x]
        return 4 * item * (1 + self.n_whole) + x + max(4, item) * self.n_single

    def ours(self, grad: AnyArray, x: AnyArray, axis: int, outputs: list[AnyArray] | None = None) -> Any:
        """Call the library, with new outputs or into those given."""
        options: dict[str, Any] = {"axis": axis}
        if outputs is not None:
            options["out"] = ops.AttributionMaps(*outputs) if self.operation == "analyze" else outputs[0]
        function = summary.angle_summary if self.operation == "angle_summary" else getattr(ops, self.operation)
        return function(grad, *([] if self.x is None else [x]), **options)


STANDARD = Work("analyze", "codes", 1, 2)
"""Corrected gradient, angle and grad-times-input in one pass: the "standard work"."""
WORKS = (
    Work("correct", None, 1, 0),
    Work("simplex_angle", None, 0, 1),
    Work("grad_times_input", "codes", 0, 1),
    Work("grad_times_input", "one-hot", 0, 1),
    Work("substitution_effects", "codes", 1, 0),
    Work("substitution_effects", "one-hot", 1, 0),
    Work("angle_summary", None, 0, 0),
)
"""Each operation by itself."""
PEER_SEQUENCES, PEER_LENGTH = 2_000, 2_000
"""Of the rows that compare with others' formulas, which are slow."""


def operation_name(work: Work) -> str:
    """Return how rows name an operation."""
    return "standard work" if work.operation == "analyze" else work.operation


OPERATIONS = tuple(dict.fromkeys(operation_name(work) for work in (STANDARD, *WORKS)))


class Case(NamedTuple):
    """An operation and the arrays that it is given."""

    work: Work
    dtype: str
    layout: str
    n_sequences: int
    length: int

    @property
    def axis(self) -> int:
        """Letter axis."""
        return AXES[self.layout]

    @property
    def positions(self) -> int:
        """Of all sequences."""
        return self.n_sequences * self.length

    @property
    def bytes(self) -> int:
        """Read or written by one call."""
        return self.positions * self.work.count_bytes(self.dtype)

    @property
    def names(self) -> dict[str, Any]:
        """How a row names it."""
        return {
            "operation": operation_name(self.work),
            "layout": self.layout,
            "dtype": self.dtype,
            "x": self.work.x,
            "n_sequences": self.n_sequences,
            "length": self.length,
            "bytes": self.bytes,
        }

    def shape(self) -> tuple[int, ...]:
        """Of the gradient."""
        return (self.n_sequences, 4, self.length) if self.axis == 1 else (self.n_sequences, self.length, 4)


def make_arrays(case: Case) -> tuple[Array, Array]:
    """Draw gradients, float32, and codes: the same for any layout of the same size, as far as memory goes."""
    rng = np.random.default_rng(22)
    grad = rng.standard_normal(4 * case.positions, np.float32).reshape(case.shape())
    return grad, rng.integers(0, 4, (case.n_sequences, case.length), np.uint8)


def make_one_hot(codes: Array, axis: int) -> Array:
    """Return float32 letters of codes (N, L), contiguous."""
    shape = (len(codes), 4, codes.shape[1]) if axis == 1 else (*codes.shape, 4)
    one_hot = np.empty(shape, np.float32)
    for letter in range(4):
        (one_hot[:, letter] if axis == 1 else one_hot[..., letter])[...] = codes == letter
    return one_hot

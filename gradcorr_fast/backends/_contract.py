"""What every backend offers: the members of its module, and the operations of its library that formulas are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from .._check import Call
from .._types import AnyArray, Array

Place: TypeAlias = Literal["host", "device", "formula"]
"""Where an operation on arrays runs.

"host": NumPy sees their memory, for the Numba kernels. "device": the CUDA kernels see it. "formula": the arrays are
traced, or elsewhere, and only the reference in their library's own operations runs.
"""

Operation: TypeAlias = Callable[..., AnyArray]

Shape: TypeAlias = tuple[Any, ...]
"""Lengths of the axes: int, or None where a traced or planned array does not know one."""


@dataclass(frozen=True)
class Namespace:
    """The operations of a library that formulas and targets need, with the arguments and the meaning of NumPy's."""

    sum: Operation
    """Of an array over an axis or a tuple of axes; with `keepdims`."""
    mean: Operation
    max: Operation
    abs: Operation
    sqrt: Operation
    where: Operation
    """Of a condition and two arrays, one of which may be a Python number."""
    atan2: Operation
    log: Operation
    log1p: Operation
    exp: Operation
    cumsum: Operation
    """Of an array along an axis."""
    argmax: Operation
    """Of an array along an axis, the first where there are several."""
    take: Operation
    """Of an array, positions (a NumPy array of integers) and the axis they lie on."""
    reshape: Operation
    stack: Operation
    concat: Operation
    asarray: Operation
    """Of values and an array `like`: the values with its dtype, on its device."""
    stop_gradient: Operation
    """The array, through which no derivative flows."""


class Backend(Protocol):
    """A module that knows one array library. A new one is an entry of `BACKENDS`, and a module with all of these."""

    XP: Namespace
    """The library's own operations."""
    IS_LAZY: bool
    """Whether its arrays are only planned, and hold arrays of other libraries once they are computed."""
    DEVICE_METRICS: dict[str, Callable[..., AnyArray]]
    """Metrics with kernels on the library's devices, by name; for the arguments see `backends/numpy_metrics.py`."""

    def shape(self, array: AnyArray, /) -> Shape:
        """Shape of an array; None for lengths that are not known yet."""

    def dtype_name(self, array: AnyArray, /) -> str:
        """NumPy's name of the dtype, or "bfloat16"."""

    def place(self, arrays: Sequence[AnyArray], /) -> Place:
        """Where an operation on all of these arrays runs."""

    def is_on_host(self, array: AnyArray, /) -> bool:
        """Whether NumPy sees the memory of an array."""

    def is_differentiated(self, arrays: Sequence[AnyArray], /) -> bool:
        """Whether a derivative of what is made of these arrays may be wanted, which a kernel alone does not have."""

    def run(self, call: Call, grad: AnyArray, x: AnyArray, out: Sequence[AnyArray], /) -> tuple[AnyArray, ...]:
        """Produce ``call.fields``, filling those of `out` that are not None; TypeError if nothing can be filled."""

    def embed(self, part: AnyArray, index: tuple[slice, ...], grad: AnyArray, out: AnyArray, /) -> AnyArray:
        """Return `part` at `index` of an array that is `grad` elsewhere; `part` lies in `out` already if it is given.

        The last entry of `index` is a slice of the letter axis.
        """

    def angle_summary(
        self, grad: AnyArray, axis: int, thresholds: tuple[float, ...], bins: int, mask: AnyArray, /
    ) -> tuple[Array, ...]:
        """Counts and sums over the positions of each sequence, as `kernels.reference.summarize_angles` orders them."""

    def flip(self, array: AnyArray, axes: Sequence[int], /) -> AnyArray:
        """Return the array with some axes reversed."""

    def to_numpy(self, array: AnyArray, argument: str, /) -> Array:
        """The array as a plain NumPy array on the same memory, or an error that names `argument` and the mend."""

    def to_host(self, array: AnyArray, /) -> Array:
        """What an array holds, wherever it is, as a plain NumPy array; bfloat16, which NumPy lacks, as float32."""

    def from_numpy(self, array: Array, /) -> AnyArray:
        """A NumPy array as one of this library, on its usual device."""

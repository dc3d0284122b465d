"""The array libraries that are timed, one file each, and what such a file must have."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol, cast

from ..._types import AnyArray, Array
from .._cases import Case
from .._timing import Call, Clock

NAMES = ("numpy", "torch", "cupy", "jax", "tensorflow")


class Formula(NamedTuple):
    """What others would write for the same results in the same library."""

    name: str
    make: Callable[[Case, AnyArray, AnyArray], Call]
    """From gradients and one-hot letters on a device to a call."""
    operations: tuple[str, ...]
    is_compiled: bool = False
    layouts: tuple[str, ...] = ("(N, L, 4)", "(N, 4, L)")


class Library(Protocol):
    """A module that knows how one library is timed."""

    DTYPES: tuple[str, ...]
    FORMULAS: tuple[Formula, ...]
    HAS_OUT: bool
    """Whether operations write into arrays that are given."""
    ERRORS: tuple[type[Exception], ...]
    """What the library raises that Python has no class for."""

    def devices(self) -> list[str]:
        """Name the devices that the library sees: "cpu", "cuda:0", ..."""

    def clock(self, device: str, /) -> Clock:
        """How calls there are timed."""

    def array(self, array: Array, dtype: str | None, device: str, /) -> AnyArray:
        """Return a NumPy array as one of the library on a device, of a dtype or as it is."""

    def empty(self, shape: tuple[int, ...], dtype: str, device: str, /) -> AnyArray:
        """Memory for a result."""

    def copy(self, n_bytes: int, device: str, /) -> Call:
        """A call that reads and writes so many bytes together, as fast as the library can."""

    def bus_id(self, device: str, /) -> str | None:
        """Where a GPU is plugged in, as NVML names it; None where the library does not tell."""

    def free_bytes(self, device: str, /) -> int | None:
        """Memory that is free on a GPU; None where the library does not tell."""

    def tidy(self) -> None:
        """Give memory that the library keeps back to the devices, for the next one."""


def is_installed(name: str) -> bool:
    """Whether a library could be imported; nothing is."""
    return find_spec(name) is not None


def load(name: str) -> Library:
    """Import a library and what is known about it."""
    return cast("Library", import_module(f".{name}", __name__))

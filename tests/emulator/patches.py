"""Sends CPU tensors, and NumPy arrays dressed as CuPy's, through the CUDA code and the emulator."""

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from gradcorr_fast import backends
from gradcorr_fast.backends import _cuda
from gradcorr_fast.backends._arrays import empty_aligned
from gradcorr_fast.kernels import cuda

from . import Emulator


@cache
def emulator() -> Emulator:
    """The one emulator of the session; its folder goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="emulator-")
    emulator = Emulator(Path(folder.name))
    emulator.keep = folder  # type: ignore[attr-defined]
    return emulator


@contextmanager
def emulated_launches() -> Iterator[Emulator]:
    """Launch on the emulator, whatever the device."""
    with (
        mock.patch.object(cuda, "launch", emulator().launch),
        mock.patch.object(_cuda, "check_device"),
    ):
        yield emulator()


@contextmanager
def tensors_on_cuda() -> Iterator[None]:
    """Treat CPU tensors as those of a GPU."""
    from gradcorr_fast.backends.torch import _native as backend

    library = dataclasses.replace(backend.LIBRARY, queue=lambda _: cuda.Queue(0, 0))
    with (
        emulated_launches(),
        mock.patch.object(backend, "LIBRARY", library),
        mock.patch.object(backend, "uses_cuda", return_value=True),
    ):
        yield


class Device(int):
    """A device, which is entered as CuPy's are."""

    id = 0

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeArray(np.ndarray):
    """A NumPy array with the attributes of CuPy's that the backend uses."""

    device = Device(0)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self) -> np.ndarray:
        return np.array(self)


FakeArray.__module__ = "cupy"


def _make(function: Any) -> Any:
    return lambda *args, **options: function(*args, **options).view(FakeArray)


class _Capsule:
    """A capsule as an array that has one, for NumPy."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def _from_dlpack(array: Any) -> Any:
    """As CuPy does: take a capsule, or ask an array for one, with the stream that is to wait."""
    is_capsule = type(array).__name__ == "PyCapsule"
    capsule = array if is_capsule else array.__dlpack__(stream=1)
    return np.from_dlpack(_Capsule(capsule)).view(FakeArray)


def _fake_cupy() -> ModuleType:
    fake = ModuleType("cupy")
    fake.__spec__ = ModuleSpec("cupy", None)
    fake.__dict__.update({name: getattr(np, name) for name in dir(np) if not name.startswith("__")})
    for name in ("asarray", "zeros", "ascontiguousarray", "where"):
        setattr(fake, name, _make(getattr(np, name)))
    fake.from_dlpack = _from_dlpack
    fake.empty = _make(empty_aligned)
    fake.asnumpy = np.array
    fake.cuda = SimpleNamespace(
        runtime=SimpleNamespace(runtimeGetVersion=lambda: 13000),
        memory=SimpleNamespace(OutOfMemoryError=MemoryError),
        get_current_stream=lambda: SimpleNamespace(ptr=0, synchronize=lambda: None),
    )
    return fake


@contextmanager
def tensorflow_on_cuda() -> Iterator[None]:
    """Treat eager CPU tensors of TensorFlow as those of a GPU."""
    import tensorflow as tf

    from gradcorr_fast.backends import tensorflow as backend

    build = {"is_cuda_build": True, "cuda_version": "13.0"}
    with (
        arrays_of_cupy(),
        mock.patch.object(tf.sysconfig, "get_build_info", return_value=build),
        mock.patch.object(backend, "_uses_cuda", return_value=True),
    ):
        yield


@contextmanager
def arrays_of_cupy() -> Iterator[None]:
    """Put a CuPy in place whose arrays are NumPy's, and a backend that has imported it."""
    name = "gradcorr_fast.backends.cupy"
    real = sys.modules.pop(name, None), vars(backends).pop("cupy", None)
    try:
        with emulated_launches(), mock.patch.dict(sys.modules, {"cupy": _fake_cupy()}):
            yield
    finally:
        sys.modules.pop(name, None)
        vars(backends).pop("cupy", None)
        if real[0] is not None:
            sys.modules[name], backends.cupy = real  # type: ignore[attr-defined]


def fake_cupy_array(array: np.ndarray) -> FakeArray:
    """A copy of an array as CuPy's."""
    return np.array(array, order="C").view(FakeArray)

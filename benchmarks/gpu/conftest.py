"""Fixtures of the GPU benchmarks: the device, arrays made once on it, and rows that are written as they come."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from benchmarks.gpu import device as devices
from benchmarks.gpu import results
from benchmarks.gpu.work import Arrays

STARTED = time.monotonic()


class Sizes(NamedTuple):
    positions: int
    """Of all sequences together: 41 bytes each at the standard work, so 3.3 GB."""
    large_positions: int
    """More than 2**31 elements of gradient."""
    rounds: int
    peer_rounds: int
    calls: int
    """Of a short call, under one reading of the clock."""


FULL = Sizes(positions=80_000_000, large_positions=600_000_000, rounds=60, peer_rounds=30, calls=100)
DRY = Sizes(positions=8_004, large_positions=8_004, rounds=3, peer_rounds=2, calls=2)


SAME_LINES = {"float16", 500, 1_000, 4_096, 20_000, 196_608, "Basset", "CNN-32", "DeepSTARR", "dilated"}
"""Parameters that a rehearsal learns nothing from."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    if config.getoption("--dry"):
        items[:] = [item for item in items if not SAME_LINES & set(_parameters(item))]


def _parameters(item: Any) -> list[Any]:
    return list(item.callspec.params.values()) if hasattr(item, "callspec") else []


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> Iterator[devices.Device]:
    for package in ("torch", "cupy"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if request.config.getoption("--dry"):
        with devices.rehearsal() as dry:
            yield dry
        return
    import torch

    if not torch.cuda.is_available() or torch.version.hip is not None:
        pytest.skip("there is no NVIDIA GPU")
    yield devices.Gpu()


@pytest.fixture(scope="session")
def sizes(device: devices.Device) -> Sizes:
    return DRY if device.is_dry else FULL


@pytest.fixture(scope="session")
def arrays(device: devices.Device) -> Arrays:
    return Arrays(device)


@pytest.fixture(autouse=True)
def _in_time(request: pytest.FixtureRequest) -> None:
    if time.monotonic() - STARTED > request.config.getoption("--seconds"):
        pytest.skip("the time is up")


@pytest.fixture(autouse=True)
def _tidy(device: devices.Device) -> Iterator[None]:
    yield
    device.tidy()


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that adds a row to `--gpu-results` at once."""
    path = request.config.getoption("--gpu-results")

    def keep(found: dict[str, Any], **row: Any) -> None:
        if path is not None:
            results.add_row(path, row | found)

    return keep

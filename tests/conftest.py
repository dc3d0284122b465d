"""Fixtures of the tests: array libraries with their variants, layouts, hypothesis profiles."""

import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest

from tests.libraries import LIBRARIES, Library

hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.load_profile("default")

SHARED = Path(__file__).parents[2] / "shared" / "data"


def require(package: str) -> None:
    """Skip a test whose package is not installed, but fail in CI."""
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{package} is not installed, and CI must test it")
        pytest.skip(f"{package} is not installed")


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Library:
    """Each array library and variant; one that is not installed skips, but fails in CI."""
    require(request.param.name.partition(":")[0])
    return request.param


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data that lies beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip("real data is not beside this checkout")
    return SHARED

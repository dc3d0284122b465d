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


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Library:
    """Each array library and variant; one that is not installed skips, but fails in CI."""
    root = request.param.name.partition(":")[0]
    if importlib.util.find_spec(root) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{root} is not installed, and CI must test it")
        pytest.skip(f"{root} is not installed")
    return request.param


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data that lies beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip("real data is not beside this checkout")
    return SHARED

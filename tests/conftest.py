"""Fixtures of the tests: array libraries with their variants, layouts, hypothesis profiles."""

import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from gradcorr_fast.hooks import _request
from tests.frameworks import FRAMEWORKS, Framework
from tests.libraries import LIBRARIES, Library
from tests.selection import (  # noqa: F401 - hooks of pytest
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_ignore_collect,
    pytest_terminal_summary,
    pytest_testnodedown,
)

hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.load_profile("default")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # several processes share the cores, and OpenMP's threads wait by spinning
for _name in [name for name in os.environ if name.startswith("PYTEST_")]:
    del os.environ[_name]  # a test that runs pytest in a process of its own runs it plainly

SHARED = Path(__file__).parents[2] / "shared" / "data"


def require(package: str) -> None:
    """Skip a test whose package is not installed, but fail in CI."""
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{package} is not installed, and CI must test it")
        pytest.skip(f"{package} is not installed")


@pytest.fixture(autouse=True)
def _the_first_column_is_meant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say nothing of models with several outputs; tests/test_inputs.py looks at what is said of them."""
    if request.node.path.stem != "test_inputs":
        monkeypatch.setattr(_request.Request, "warn_of_columns", lambda request: None)


@cache
def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU that CuPy can use."""
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    return bool(cupy.cuda.is_available())


def require_compiler() -> None:
    """Skip a test that needs g++ where there is none, but fail in CI."""
    if shutil.which("g++") is None:
        if os.environ.get("CI"):
            pytest.fail("g++ is not installed, and CI must run the emulator")
        pytest.skip("g++ is not installed")


def _mark(library: Library) -> object:
    return pytest.param(library, id=library.name, marks=[pytest.mark.gpu] if library.needs == "gpu" else [])


@pytest.fixture(params=[_mark(library) for library in LIBRARIES])
def library(request: pytest.FixtureRequest) -> Library:
    """Each array library and variant; one that is not installed skips, but fails in CI."""
    if request.param.needs == "gpu" and not has_gpu():
        pytest.skip("there is no GPU")
    if request.param.needs == "g++":
        require_compiler()
    require(request.param.name.partition(":")[0])
    return request.param


@pytest.fixture(params=FRAMEWORKS, ids=repr)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each framework with hooks; one that is not installed skips, but fails in CI."""
    require(request.param.name)
    return request.param


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data that lies beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip("real data is not beside this checkout")
    return SHARED

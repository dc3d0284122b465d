"""The house: imports go one way, an operation has one name everywhere, public functions are documented and run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast import kernels

ROOT = Path(gf.__file__).parents[1]
LAYERS = [  # a file imports from its own layer and those below
    {"kernels"},
    {"_types", "_check", "_warn", "_dispatch", "backends"},
    {"_metrics", "metrics", "ops", "summary", "runtime", "sequences", "targets"},
    {"io", "plot"},
    {"hooks", "model_files"},
    {"scan"},
    {"paper"},
    {"demo"},
    {"cli"},
]
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "cupy", "dask"}
MODULES = [
    *("gradcorr_fast", "gradcorr_fast.kernels"),
    *(name for p in (gf, kernels) for _, name, _ in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")),
]


def imports(path: Path) -> set[str]:
    """Absolute names of what a file imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    package = ("gradcorr_fast", *package) if package[0] == "kernels" else package
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*base, *(node.module.split(".") if node.module else ())))
            found |= {f"{base}.{alias.name}" for alias in node.names} if node.level and not node.module else {base}
    return found


def layer_of(part: str) -> int:
    return next(k for k, layer in enumerate(LAYERS) if part in layer)


SOURCES = [p for folder in ("kernels", "gradcorr_fast") for p in (ROOT / folder).rglob("*.py")]


@pytest.mark.skipif(not (ROOT / "kernels").is_dir(), reason="needs a checkout")
@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    assert not any(name.split(".")[0] == "kernels" for name in imports(path))
    own = "kernels" if relative.parts[0] == "kernels" else relative.with_suffix("").parts[1]
    if own == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "gradcorr_fast" and len(parts) > 1:
            assert layer_of(parts[1]) <= layer_of(own), f"{relative} imports {name}"
        door = "cupy" if relative.stem.lstrip("_") == "cuda" else relative.stem  # CuPy compiles and launches CUDA
        assert parts[0] not in FRAMEWORKS or parts[0] == door, f"{relative} imports {name}"


def test_every_operation_has_one_name_everywhere() -> None:
    from gradcorr_fast.kernels import reference, reference_metrics

    for operation in kernels.OPERATIONS:
        assert callable(getattr(gf, operation))
        assert callable(getattr(reference, operation))
    for metric in kernels.METRICS:
        assert callable(getattr(gf.metrics, metric))
        assert callable(getattr(reference_metrics, metric))


@pytest.mark.parametrize("name", sorted(set(gf.__all__)))
def test_every_public_name_is_documented(name: str) -> None:
    documentation = inspect.getdoc(getattr(gf, name))
    assert documentation
    if inspect.isfunction(getattr(gf, name)) and inspect.signature(getattr(gf, name)).parameters:
        for section in ("Parameters", "Returns", "Examples"):
            assert f"{section}\n---" in documentation


@pytest.mark.parametrize("name", gf.metrics.__all__)
def test_every_metric_is_documented(name: str) -> None:
    documentation = inspect.getdoc(getattr(gf.metrics, name))
    assert documentation
    if inspect.isfunction(getattr(gf.metrics, name)):
        assert all(f"{part}\n---" in documentation for part in ("Parameters", "Returns", "Notes", "Examples"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    if name.rpartition(".")[2] in FRAMEWORKS:
        pytest.importorskip(name.rpartition(".")[2])
    if name.startswith("gradcorr_fast.plot"):
        pytest.importorskip("matplotlib")
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    for test in finder.find(module, extraglobs={"np": np}):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_info_reports_what_runs_where() -> None:
    info = gf.info()
    assert info["versions"]["numpy"] == np.__version__
    assert info["backends"]["numpy"] == {"cpu": "native"}
    assert info["threads"] >= 1

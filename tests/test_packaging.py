"""Recipes for conda and containers, and the metadata, say the same as the project."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "packaging").is_dir(), reason="needs a checkout")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_the_conda_recipe_has_version_entry_point_and_requirements(project: dict[str, Any]) -> None:
    recipe = (ROOT / "packaging/recipe.yaml").read_text()
    assert f'version: "{project["version"]}"' in recipe
    assert [
        f"{name} = {place}" for name, place in project["scripts"].items() if f"- {name} = {place}" not in recipe
    ] == []
    run = recipe.partition("\n  run:\n")[2].partition("\n\n")[0]
    needed = [f"python {project['requires-python']}", *project["dependencies"]]
    assert [line.strip("- ").replace(" ", "") for line in run.splitlines()] == [
        line.replace(" ", "") for line in needed
    ]
    assert f"summary: {project['description']}" in recipe


def test_the_container_copies_what_is_there_and_installs_extras_that_are_declared(project: dict[str, Any]) -> None:
    text = (ROOT / "packaging/gradcorr-fast.def").read_text()
    copied = re.findall(r"^    (\S+) /opt/gradcorr_fast/\1$", text, re.MULTILINE)
    assert len(copied) == 6
    assert [name for name in copied if not (ROOT / name).exists()] == []
    extras = re.search(r"/opt/gradcorr_fast\[([\w,]+)\]", text)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])

"""Leaves out what a change need not pass but a release must: rehearsals, and of products all but the pairs."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.pairwise import choose

LEFT_OUT = pytest.StashKey[int]()
CORE = [
    "angle_penalty", "batches", "dispatch", "guards", "metrics", "map_metrics", "mutagenesis", "ops", "out",
    "path_methods", "precision", "properties", "reference", "sampling", "saliency", "sequences", "session",
    "shuffles", "summary", "targets", "views",
]  # fmt: skip
"""Files of tests that the extra `test-core` is enough for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="run whole products, rehearsals and storms too")
    parser.addoption("--core", action="store_true", help="run what needs the extra test-core alone, in two minutes")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    name = collection_path.stem
    return True if config.getoption("--core") and name.startswith("test_") and name[5:] not in CORE else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as thorough what pairs leave out of a product, and leave out what is so marked."""
    mark_products(items)
    if config.getoption("--thorough") or config.getoption("markexpr") == "thorough":
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)
    if hasattr(config, "workeroutput"):  # a worker of xdist, which tells nobody else
        config.workeroutput["left_out"] = len(left_out)


def mark_products(items: list[pytest.Item]) -> None:
    """Mark the rest of each product; what needs a GPU is a product of its own, since elsewhere it is skipped."""
    products = defaultdict(list)
    for item in items:
        if item.get_closest_marker("pairwise"):
            products[item.nodeid.partition("[")[0], item.get_closest_marker("gpu") is None].append(item)
    for cases in products.values():
        values = [{name: id(value) for name, value in case.callspec.params.items()} for case in cases]
        chosen = set(choose(values))
        for k, case in enumerate(cases):
            if k not in chosen:
                case.add_marker("thorough")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash.get(LEFT_OUT, 0):
        told = "cases of whole products and rehearsals were left out; --thorough runs them too"
        terminalreporter.write_line(f"{config.stash[LEFT_OUT]} {told}")

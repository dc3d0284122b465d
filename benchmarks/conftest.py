"""Fixtures of the benchmarks: sizes, data made once, and the rows that are written to `--results`."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradcorr_fast.bench._cases import PEER_LENGTH, PEER_SEQUENCES, make_one_hot
from gradcorr_fast.bench._machine import describe_machine


class Sizes(NamedTuple):
    n_sequences: int
    n_peer_sequences: int
    """Peers are slow, so they and we get fewer sequences in those rows."""
    length: int
    pairs: int
    peer_pairs: int


FULL = Sizes(n_sequences=20_000, n_peer_sequences=PEER_SEQUENCES, length=PEER_LENGTH, pairs=60, peer_pairs=30)
QUICK = Sizes(n_sequences=100, n_peer_sequences=20, length=2_000, pairs=3, peer_pairs=2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="small sizes: shows that the benchmarks run, times nothing")
    parser.addoption("--results", type=Path, help="JSON file for the ratios, such as benchmarks/results/cpu.json")
    parser.addoption("--gpu-results", type=Path, help="JSON file that rows of benchmarks/gpu are added to")
    parser.addoption("--dry", action="store_true", help="rehearse benchmarks/gpu on the CPU: times nothing")
    parser.addoption("--seconds", type=float, default=float("inf"), help="skip what is left of benchmarks/gpu then")


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return QUICK if request.config.getoption("--quick") else FULL


class Data:
    """One set of random gradients and codes; both layouts are views of the same memory."""

    def __init__(self, n_sequences: int, length: int) -> None:
        rng = np.random.default_rng(22)
        self._grad = rng.standard_normal((n_sequences, length, 4), np.float32)
        self.codes = rng.integers(0, 4, (n_sequences, length), np.uint8)
        self.one_hot = cache(self._one_hot)

    def grad(self, axis: int, n_sequences: int | None = None) -> np.ndarray:
        n, length, _ = self._grad.shape
        return self._grad.reshape((n, 4, length) if axis == 1 else (n, length, 4))[:n_sequences]

    def x(self, kind: str | None, axis: int, n_sequences: int | None = None) -> Any:
        if kind is None:
            return None
        return (self.codes if kind == "codes" else self.one_hot(axis))[:n_sequences]

    def _one_hot(self, axis: int) -> np.ndarray:
        return make_one_hot(self.codes, axis)


@pytest.fixture(scope="session")
def data(sizes: Sizes) -> Data:
    return Data(sizes.n_sequences, sizes.length)


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Return a function that keeps a row; all of them are written when the session ends."""
    rows: list[dict[str, Any]] = []

    def keep(found: dict[str, float], **row: Any) -> None:
        if not found:  # --benchmark-disable
            return
        row |= found
        if "bytes" in row:
            row["gigabytes_per_second"] = row["bytes"] / row["seconds"] / 1e9
        rows.append({key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()})

    header = describe_machine()  # before the work: the commit that is measured
    yield keep
    path = request.config.getoption("--results")
    if path is not None:
        results = json.dumps({"header": header, "rows": keep_others(path, header, rows)}, indent=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results + "\n")


def keep_others(path: Path, header: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the rows of a file on the same machine that were not measured again; each row names its commit."""
    names = ("operation", "layout", "outputs", "x", "provider", "library", "n_sequences", "length")
    rows = [row | {"commit": header["commit"]} for row in rows]
    again = {tuple(row.get(name) for name in names) for row in rows}
    old = json.loads(path.read_text()) if path.exists() else {"header": {}, "rows": []}
    if old["header"] and not is_like(old["header"], header):
        return rows
    others = [row for row in old["rows"] if tuple(row.get(name) for name in names) not in again]
    return [{"commit": old["header"]["commit"]} | row for row in others] + rows


def is_like(old: dict[str, Any], header: dict[str, Any]) -> bool:
    """Whether processor, threads and the versions that an older file names are those of now."""
    versions = header["versions"]
    same = all(versions.get(name) == version for name, version in old["versions"].items())
    return same and all(old[key] == header[key] for key in ("processor", "threads"))

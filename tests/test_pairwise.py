"""Of a product that is cut down, every pair of values is left, and what is left out is counted."""

import shlex
from itertools import combinations, product
from pathlib import Path

import pytest

from tests.conftest import require
from tests.pairwise import choose

pytest_plugins = ["pytester"]
SIZES = [(31, 4, 4, 4), (6, 5, 4, 2), (3, 2), (7,), (2, 2, 2, 2, 2, 2)]


def make_cases(sizes: tuple[int, ...]) -> list[dict[str, int]]:
    return [dict(zip("abcdef", values, strict=False)) for values in product(*map(range, sizes))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_pair_of_values_occurs(sizes: tuple[int, ...]) -> None:
    cases = make_cases(sizes)
    chosen = [cases[k] for k in choose(cases)]
    pairs = {pair for case in chosen for pair in combinations(case.items(), 2)}
    assert pairs == {pair for case in cases for pair in combinations(case.items(), 2)}
    assert {value for case in chosen for value in case.items()} == {v for case in cases for v in case.items()}


@pytest.mark.parametrize(("sizes", "most"), [((31, 4, 4, 4), 140), ((6, 5, 4, 2), 36), ((2, 2, 2, 2, 2, 2), 9)])
def test_few_cases_are_enough(sizes: tuple[int, ...], most: int) -> None:
    assert len(choose(make_cases(sizes))) <= most


def test_pairs_that_no_case_holds_are_not_asked_for() -> None:
    cases = [case for case in make_cases((5, 4, 3)) if case["a"] != case["b"]]
    assert {case["a"] for case in (cases[k] for k in choose(cases))} == set(range(5))


PRODUCT = """
import pytest

@pytest.mark.pairwise
@pytest.mark.parametrize("a", range(3))
@pytest.mark.parametrize("b", range(3))
@pytest.mark.parametrize("c", range(3))
def test_product(a, b, c): pass

@pytest.mark.thorough
def test_rehearsal(): pass
"""


@pytest.mark.parametrize(
    ("options", "n_run"),
    [("", 10), ("-n 2", 10), ("--thorough", 28), ("-m thorough", 18), ("-m 'not thorough'", 10)],
)
def test_what_is_left_out_runs_when_asked_for(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: str, n_run: int
) -> None:
    require("xdist")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nmarkers = ["gpu", "thorough", "pairwise"]\n')
    pytester.makeconftest((Path(__file__).parent / "selection.py").read_text())
    pytester.makepyfile(PRODUCT)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", *shlex.split(options))
    result.assert_outcomes(passed=n_run)
    told = "18 cases of whole products and rehearsals were left out; --thorough runs them too"
    assert (told in result.stdout.str()) == (n_run == 10)

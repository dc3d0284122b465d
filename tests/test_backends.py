"""The contract of backends: each has every member, and nobody else asks for the name of a library."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast import sequences, targets
from gradcorr_fast.backends import BACKENDS, Backend, Namespace, find_backend, library, to_host
from tests.conftest import require
from tests.libraries import Library

PACKAGE = Path(gf.__file__).parent
SOURCES = [path for path in PACKAGE.rglob("*.py") if "backends" not in path.relative_to(PACKAGE).parts]
METHODS = [name for name, member in vars(Backend).items() if inspect.isfunction(member) and not name.startswith("_")]
CONSTANTS = [name for name in Backend.__annotations__ if not name.startswith("_")]


def backend_of(name: str) -> Any:
    require(name)
    if name == "cupy":
        from tests.emulator.patches import arrays_of_cupy

        with arrays_of_cupy():
            return BACKENDS[name]()
    return BACKENDS[name]()


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_has_every_member_with_its_arguments(name: str) -> None:
    """Dask's had no XP, and targets raised AttributeError; what a backend needs was nowhere written down."""
    backend = backend_of(name)
    assert [member for member in CONSTANTS if not hasattr(backend, member)] == []
    counts = {m: len(inspect.signature(getattr(Backend, m)).parameters) - 1 for m in METHODS}
    assert {m: len(inspect.signature(getattr(backend, m)).parameters) for m in METHODS} == counts
    assert isinstance(backend.XP, Namespace)


def compares_a_library_with_a_name(node: ast.AST) -> bool:
    """Whether a comparison has a call of `library` on one side and a text on another."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    calls = [side for side in sides if isinstance(side, ast.Call) and ast.unparse(side.func).endswith("library")]
    return bool(calls) and any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_backends_ask_for_the_name_of_a_library(path: Path) -> None:
    """Six files did, so that a new library would have had to be added to each of them."""
    found = [
        ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if compares_a_library_with_a_name(node)
    ]
    assert found == []


def test_comparisons_with_the_name_of_a_library_are_found() -> None:
    nodes = ast.walk(ast.parse('mask.cpu() if library(mask) == "torch" else mask'))
    assert sum(map(compares_a_library_with_a_name, nodes)) == 1


OUTPUT = np.random.default_rng(0).random((30, 8, 4))
TARGETS = [
    targets.index((3, 1)),
    targets.sum_over(bins=slice(2, 5)),
    targets.mean(tracks=[0, -1]),
    targets.log1p_sum(),
    targets.logit((1, 2)),
    targets.contrast((0, 1), targets.mean()),
]


REFUSALS = ("apply this to", "traced", "pass a NumPy array")
"""Of what says plainly that it does not work with a library, and how it would."""


def result_or_refusal(library: Library, function: Callable[[Any], Any], array: np.ndarray) -> np.ndarray | str:
    """What a function makes of an array of a library, or what it says when it cannot."""
    try:
        return library.read(library.call(function, library.make(array)))
    except (TypeError, ValueError, RuntimeError) as error:  # the last is how torch.compile passes errors on
        return str(error)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_targets_work_with_every_library_or_say_that_they_do_not(library: Library, target: Any) -> None:
    got = result_or_refusal(library, target, OUTPUT)
    if isinstance(got, str):
        assert library.name == "dask:torch"
        assert any(text in got for text in REFUSALS)
    else:
        np.testing.assert_allclose(got, target(OUTPUT), rtol=1e-12)


CODES = np.random.default_rng(0).integers(0, 6, (30, 9))
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "reverse_complement": (sequences.reverse_complement, CODES),
    "reverse_complement of maps": (lambda x: sequences.reverse_complement(x, axis=-1), OUTPUT),
    "one_hot": (sequences.one_hot, CODES),
    "shuffle": (lambda codes: sequences.shuffle(codes, 2), CODES),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sequences_work_with_every_library_or_say_that_they_do_not(library: Library, name: str) -> None:
    function, array = FUNCTIONS[name]
    if "reverse" not in name and library.name == "torch:requires_grad":
        pytest.skip("codes have no gradient")
    got = result_or_refusal(library, function, array)
    if isinstance(got, str):
        assert library.name == "dask:torch" or not name.startswith("reverse")
        assert any(text in got for text in REFUSALS)
    else:
        np.testing.assert_array_equal(got, function(array))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_targets_of_dask_arrays_are_lazy(target: Any) -> None:
    """`gf.targets.mean()` raised AttributeError: Dask's backend had no operations to offer."""
    require("dask")
    import dask.array as da

    got = target(da.from_array(OUTPUT, chunks=7))
    assert isinstance(got, da.Array)
    np.testing.assert_allclose(got.compute(), target(OUTPUT))


def test_positions_on_an_axis_of_unknown_length_are_refused() -> None:
    require("dask")
    import dask.array as da

    table = da.from_array(OUTPUT[:, 0].T, chunks=2)
    unknown = table[:, table[0] > 0.5]
    with pytest.raises(ValueError, match="axis of unknown length"):
        targets.mean(tracks=[0, 1])(unknown)


def test_values_come_to_the_host_from_every_library(library: Library) -> None:
    if library.traced:
        pytest.skip("a traced array has no values")
    values = np.random.default_rng(0).standard_normal((30, 8, 4)).astype(np.float32)
    hosted = []
    library.call(lambda array: hosted.append(to_host(array)), library.make(values))
    assert type(hosted[0]) is np.ndarray
    np.testing.assert_array_equal(hosted[0], values)


@pytest.mark.parametrize("function", [sequences.reverse_complement, targets.mean(), gf.correct])
def test_nothing_is_refused_as_something_else_is(function: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"is a builtins\.NoneType; pass an array of one of: numpy, cupy, torch"):
        function(None)


def test_lists_are_hosted_by_numpy() -> None:
    np.testing.assert_array_equal(to_host([[True, False]]), np.array([[True, False]]))


def test_a_subclass_of_an_array_is_of_its_library() -> None:
    class Own(np.ndarray):
        pass

    array = np.ones((2, 3)).view(Own)
    assert library(array) == "numpy"
    assert type(find_backend(array=array).flip(array, [0])) is np.ndarray

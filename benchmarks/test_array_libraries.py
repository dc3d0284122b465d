"""TensorFlow, JAX and Dask: eager calls against NumPy's on the same memory, compiled ones against formulas by hand.

Dask keeps the results in blocks (`persist`), as many as two threads share evenly; joining them is a copy of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.harness import AXES, STANDARD, Work, ends, interleave
from gradcorr_fast.kernels import threads
from tests import peers

WORKS = {
    work.operation: work
    for work in (
        Work("correct", None, 1, 0),
        Work("simplex_angle", None, 0, 1),
        Work("grad_times_input", "codes", 0, 1),
        STANDARD,
    )
}
EAGER_TARGET = 0.91  # at most 1.1 times as long
TRACED_TARGET = 1.0
BLOCKS = 8

Make = Callable[[np.ndarray], Any]
Finish = Callable[[Any], Any]
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compilers of others import old parts


def tensorflow_arrays() -> tuple[Make, Finish]:
    tf = pytest.importorskip("tensorflow")
    return tf.constant, lambda result: result


def jax_arrays() -> tuple[Make, Finish]:
    jax = pytest.importorskip("jax")
    return jax.numpy.array, jax.block_until_ready


def dask_arrays() -> tuple[Make, Finish]:
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")

    def in_blocks(array: np.ndarray) -> Any:
        return da.from_array(array, chunks=(-(-len(array) // BLOCKS), *array.shape[1:]))

    return in_blocks, lambda maps: dask.persist(*maps)


LIBRARIES = {"tensorflow": tensorflow_arrays, "jax": jax_arrays, "dask": dask_arrays}


@pytest.mark.parametrize("operation", WORKS)
@pytest.mark.parametrize("layout", AXES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_eager(benchmark: Any, data: Any, sizes: Any, record: Any, library: str, layout: str, operation: str) -> None:
    axis, work = AXES[layout], WORKS[operation]
    n = sizes.n_sequences if library == "dask" else sizes.n_sequences // 4
    grad, x = data.grad(axis, n), data.x(work.x, axis, n)
    make, finish = LIBRARIES[library]()
    theirs, their_x = make(grad), None if x is None else make(x)

    def call() -> tuple[Any, ...]:
        return finish(maps_of(work.ours(theirs, their_x, axis)))

    check(call(), maps_of(work.expected(ends(grad), None if x is None else ends(x), axis)))
    if library != "dask":  # the tensors' memory; NumPy's own lies in larger pages, which are read a little faster
        grad, x = np.asarray(theirs), None if x is None else np.asarray(their_x)
    found = interleave(benchmark, call, lambda: work.ours(grad, x, axis), sizes.peer_pairs)
    record(
        found,
        library=library,
        operation=operation,
        layout=layout,
        outputs="fresh",
        x=work.x,
        provider="NumPy",
        n_sequences=n,
        length=sizes.length,
        bytes=work.bytes_per_position * n * sizes.length,
        target=EAGER_TARGET,
    )


def jax_jit() -> tuple[Make, Finish, Compile, Callable[..., Any]]:
    jax = pytest.importorskip("jax")
    return *jax_arrays(), jax.jit, peers.jax_standard_work


def tf_function(*, jit_compile: bool) -> tuple[Make, Finish, Compile, Callable[..., Any]]:
    tf = pytest.importorskip("tensorflow")
    return *tensorflow_arrays(), partial(tf.function, jit_compile=jit_compile), peers.tf_standard_work


def torch_compile() -> tuple[Make, Finish, Compile, Callable[..., Any]]:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(threads.get_num_threads())
    torch.compiler.reset()
    return torch.from_numpy, lambda maps: maps, partial(torch.compile, fullgraph=True), peers.torch_standard_work


COMPILERS = {
    "jax.jit": jax_jit,
    "tf.function": partial(tf_function, jit_compile=False),
    "tf.function, XLA": partial(tf_function, jit_compile=True),
    "torch.compile": torch_compile,
}


@pytest.mark.parametrize("layout", AXES)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_traced(benchmark: Any, data: Any, sizes: Any, record: Any, compiler: str, layout: str) -> None:
    """Both read one-hot input and compile the same way; only the formula differs, ours guards against overflow."""
    axis, n, work = AXES[layout], sizes.n_peer_sequences, STANDARD._replace(x="one-hot")
    grad, x = data.grad(axis, n), data.x(work.x, axis, n)
    make, finish, compiled, formula = COMPILERS[compiler]()
    arrays = make(grad), make(x)
    calls = []
    for function in (lambda g, x: tuple(gf.analyze(g, x, axis=axis)[:3]), partial(formula, axis=axis)):
        calls.append(partial(lambda f: finish(f(*arrays)), compiled(function)))
        check(calls[-1](), work.expected(ends(grad), ends(x), axis), atol=0.1)
    found = interleave(benchmark, *calls, sizes.peer_pairs)
    record(
        found,
        library=compiler,
        operation="standard work",
        layout=layout,
        outputs="fresh",
        x=work.x,
        provider="formula by hand",
        n_sequences=n,
        length=sizes.length,
        bytes=work.bytes_per_position * n * sizes.length,
        target=TRACED_TARGET,
    )


def maps_of(result: Any) -> list[Any]:
    return [array for array in result if array is not None] if isinstance(result, tuple) else [result]


def check(maps: Any, expected: Any, atol: float = 1e-4) -> None:
    """Compare the first and last sequence with the definition; `atol` in degrees, formulas by hand lose digits."""
    for result, wanted in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ends(result), wanted, rtol=1e-5, atol=atol)

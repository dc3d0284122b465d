"""What is particular to TensorFlow, JAX and Dask: derivatives, transforms, laziness."""

import os
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.test_dispatch import run_python

GRAD = np.random.default_rng(0).standard_normal((2, 5, 4))
CODES = np.array([[0, 1, 2, 3, 9], [3, 3, 9, 0, 1]])
OPERATIONS = {
    "correct": lambda g, x: gf.correct(g, background=(0.3, 0.2, 0.2, 0.3)),
    "simplex_angle": lambda g, x: gf.simplex_angle(g),
    "grad_times_input": gf.grad_times_input,
    "substitution_effects": gf.substitution_effects,
}


@pytest.fixture(params=OPERATIONS, name="operation")
def _operation(request: pytest.FixtureRequest) -> Any:
    return OPERATIONS[request.param]


def torch_derivatives(operation: Any, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First derivative of the sum of squares, and the derivative of its sum of squares: checked against differences."""
    torch = pytest.importorskip("torch")
    g = torch.from_numpy(grad.copy()).requires_grad_()
    (first,) = torch.autograd.grad((operation(g, torch.from_numpy(CODES)) ** 2).sum(), g, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), g)
    return first.detach().numpy(), second.numpy()


@pytest.mark.parametrize("traced", [False, True])
def test_tensorflow_differentiates_twice(operation: Any, traced: bool) -> None:
    tf = pytest.importorskip("tensorflow")
    grad, codes = tf.constant(GRAD), tf.constant(CODES)

    def derivatives() -> Any:
        with tf.GradientTape() as outer:
            outer.watch(grad)
            with tf.GradientTape() as inner:
                inner.watch(grad)
                loss = tf.reduce_sum(operation(grad, codes) ** 2)
            first = inner.gradient(loss, grad)
            total = tf.reduce_sum(first**2)
        return first, outer.gradient(total, grad)

    for got, expected in zip(
        (tf.function(derivatives) if traced else derivatives)(), torch_derivatives(operation, GRAD), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("traced", [False, True])
def test_jax_differentiates_twice_and_maps(operation: Any, traced: bool) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)

    def loss(g: Any) -> Any:
        return (operation(g, jax.numpy.asarray(CODES)) ** 2).sum()

    first = jax.grad(loss)
    second = jax.grad(lambda g: (first(g) ** 2).sum())
    for function, expected in zip((first, second), torch_derivatives(operation, GRAD), strict=True):
        np.testing.assert_allclose((jax.jit(function) if traced else function)(GRAD), expected, rtol=1e-8, atol=1e-8)
    stacked = jax.numpy.stack([GRAD, 2 * GRAD])
    mapped = jax.vmap(lambda g: operation(g, jax.numpy.asarray(CODES)))(stacked)
    np.testing.assert_allclose(mapped[1], operation(2 * GRAD, CODES), rtol=1e-12)
    assert (
        jax.jacrev(lambda g: operation(g, jax.numpy.asarray(CODES)))(jax.numpy.asarray(GRAD)).shape[-3:] == GRAD.shape
    )


@pytest.mark.parametrize("library", ["tensorflow", "jax"])
def test_derivatives_are_finite_at_a_zero_gradient(library: str) -> None:
    pytest.importorskip(library)
    zero = np.zeros((1, 2, 4), np.float32)
    if library == "jax":
        import jax

        first = jax.grad(lambda g: gf.simplex_angle(g).sum())(zero)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            grad = tf.constant(zero)
            tape.watch(grad)
            angle = gf.simplex_angle(grad)
        first = tape.gradient(angle, grad)
    np.testing.assert_array_equal(first, zero)


def test_tensorflow_traces_unknown_lengths() -> None:
    tf = pytest.importorskip("tensorflow")
    function = tf.function(
        lambda g, x: gf.analyze(g, x)[:3],
        input_signature=[tf.TensorSpec((None, None, 4), tf.float64), tf.TensorSpec((None, None), tf.int64)],
    )
    for got, expected in zip(function(GRAD, CODES), gf.analyze(GRAD, CODES)[:3], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    unknown = tf.function(gf.correct, input_signature=[tf.TensorSpec((None, None, None), tf.float64)])
    with pytest.raises(ValueError, match="ensure_shape"):
        unknown(GRAD)


@pytest.mark.parametrize("library", ["tensorflow", "jax", "dask"])
def test_what_cannot_be_written_has_no_out(library: str) -> None:
    pytest.importorskip(library)
    grad = {"tensorflow": _tensor, "jax": _jax, "dask": _dask}[library](GRAD)
    with pytest.raises(TypeError, match="leave out= away"):
        gf.correct(grad, out=grad)


def _tensor(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(array)


def _jax(array: np.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(array)


def _dask(array: np.ndarray) -> Any:
    import dask.array as da

    return da.from_array(array, chunks=(1, 3, 4))


def test_summaries_cannot_be_traced() -> None:
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda g: gf.angle_summary(g).counts)(GRAD)
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(TypeError, match="cannot be traced"):
        tf.function(lambda g: gf.angle_summary(g).counts)(GRAD)


def test_dask_is_lazy_and_knows_its_metadata() -> None:
    da = pytest.importorskip("dask.array")

    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    grad = da.from_array(GRAD.astype(np.float32), chunks=(1, 3, 4)).map_blocks(
        explode, meta=np.empty((0, 0, 0), np.float32)
    )
    maps = gf.analyze(grad, da.from_array(CODES, chunks=(2, 2)))
    assert (maps.corrected.shape, maps.corrected.dtype, maps.corrected.chunks) == (grad.shape, grad.dtype, grad.chunks)
    assert (maps.angle.shape, maps.angle.dtype) == ((2, 5), np.float32)


def test_dask_makes_all_maps_in_one_pass_over_each_block() -> None:
    dask = pytest.importorskip("dask")
    seen = []

    def count(block: np.ndarray) -> np.ndarray:
        seen.append(1)
        return block

    grad = _dask(GRAD).map_blocks(count, meta=np.empty((0, 0, 0)))
    dask.compute(*gf.analyze(grad, _dask(CODES[..., None])[..., 0].rechunk((1, 3)))[:3])
    assert len(seen) == 4


def test_dask_wants_the_letters_in_one_chunk() -> None:
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match=r"split into 2 chunks; keep it whole with grad.rechunk\({2: -1}\)"):
        gf.correct(da.from_array(GRAD, chunks=(1, 5, 2)))


def test_dask_takes_blocks_of_unknown_size() -> None:
    grad = _dask(GRAD)
    grad = grad[grad[:, 0, 0] > -10]
    np.testing.assert_array_equal(gf.correct(grad).compute(), gf.correct(GRAD))


def test_a_local_cluster_under_the_unsafe_threading_layer_works() -> None:
    """Numba's parallel loops abort a worker with two threads; ours start no threading layer."""
    pytest.importorskip("distributed")
    code = """
import dask.array as da, numpy as np, gradcorr_fast as gf
from distributed import Client, LocalCluster
if __name__ == "__main__":
    g = np.random.default_rng(0).standard_normal((64, 500, 4))
    with LocalCluster(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        with Client(cluster):
            assert np.array_equal(gf.correct(da.from_array(g, chunks=(4, 500, 4))).compute(), gf.correct(g))
"""
    done = run_python(code.replace("-W error", ""), NUMBA_THREADING_LAYER="workqueue", PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr
    assert os.environ.get("NUMBA_THREADING_LAYER") is None

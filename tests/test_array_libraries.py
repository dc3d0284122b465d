"""What is particular to TensorFlow, JAX and Dask: derivatives, transforms, memory, devices, laziness."""

import gc
import os
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.backends import _arrays
from tests.criterion import DTYPES
from tests.libraries import _jax_array, _tf_tensor
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


@pytest.mark.parametrize("jit_compile", [False, True])
def test_tensorflow_traces_angles_whose_letters_sum_to_infinity(jit_compile: bool) -> None:
    """Centring before scaling shares work with `correct`, and gives such gradients an angle of 0 without a word."""
    tf = pytest.importorskip("tensorflow")
    grad = np.array([[2e38, -1e38, 2e38, 2e38]], np.float32)
    angle = tf.function(gf.simplex_angle, jit_compile=jit_compile)(tf.constant(grad))
    np.testing.assert_allclose(angle, gf.simplex_angle(grad / 2e38), rtol=1e-6)


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


MAKE = {"tensorflow": _tf_tensor, "jax": _jax_array}


@pytest.fixture(scope="module")
def short_collections() -> Iterator[None]:
    """Collections of garbage leave out what exists before: the frameworks' objects, which take seconds to walk."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Weak references to the memory that NumPy allocates for results of TensorFlow and JAX."""
    found: list[Any] = []
    empty_aligned = _arrays.empty_aligned

    def remember(*arguments: Any) -> np.ndarray:
        array = empty_aligned(*arguments)
        found.append(weakref.ref(array.base))
        return array

    monkeypatch.setattr(_arrays, "empty_aligned", remember)
    return found


@pytest.mark.pairwise
@pytest.mark.usefixtures("short_collections")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 400, 4), (3, 4), (4,), (0, 3, 4)])
@pytest.mark.parametrize("library", MAKE)
def test_results_take_over_the_memory_that_was_filled(
    library: str, shape: tuple[int, ...], dtype: str, owners: list[Any]
) -> None:
    """Copying them took more time than computing them; what is taken over must live as long as the tensor."""
    pytest.importorskip(library)
    values = np.random.default_rng(0).standard_normal(shape).astype(DTYPES[dtype])
    maps = gf.analyze(MAKE[library](values))[:2]
    expected = gf.analyze(values)[:2]
    gc.collect()
    again = [np.full(shape, 7.0) for _ in range(50)]  # takes the memory if it was freed
    if values.size:
        assert [owner() is not None for owner in owners] == [True, True]
        assert [_starts_at(m) % _arrays.ALIGNMENT for m in maps] == [0, 0]
    for got, wanted in zip(maps, expected, strict=True):
        np.testing.assert_array_equal(_read(got).astype(np.float64), wanted.astype(np.float64))
    del maps, got, again
    MAKE[library](np.zeros(3))  # JAX drops references when it is called the next time
    gc.collect()
    assert [owner() for owner in owners] == [None, None]


def _read(array: Any) -> np.ndarray:
    return array.numpy() if hasattr(array, "numpy") else np.asarray(array)


def _starts_at(array: Any) -> int:
    if hasattr(array, "unsafe_buffer_pointer"):
        return int(array.unsafe_buffer_pointer())
    import tensorflow as tf

    bits = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}[array.dtype.size]
    return np.asarray(memoryview(tf.bitcast(array, bits))).ctypes.data


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_variable_may_change_after_the_call(operation: str) -> None:
    tf = pytest.importorskip("tensorflow")
    grad, codes = tf.Variable(GRAD), tf.Variable(CODES)
    result = OPERATIONS[operation](grad, codes)
    grad.assign(0 * grad)
    grad.assign_add(tf.ones_like(grad))
    codes.assign(0 * codes)
    np.testing.assert_array_equal(result, OPERATIONS[operation](GRAD, CODES))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_jax_may_reuse_the_memory_of_inputs_and_results(operation: str) -> None:
    """Donated arrays are overwritten; nothing else may lie in their memory."""
    jax = pytest.importorskip("jax")
    grad, codes = _jax_array(GRAD), _jax_array(CODES)
    result, other = (OPERATIONS[operation](grad, codes) for _ in range(2))
    increment = jax.jit(lambda array: array + 1, donate_argnums=0)
    jax.block_until_ready((increment(grad), increment(codes)))
    assert grad.is_deleted()
    expected = OPERATIONS[operation](GRAD, CODES)
    np.testing.assert_array_equal(increment(other), expected + 1)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("library", MAKE)
def test_the_memory_of_results_is_read_only(library: str) -> None:
    pytest.importorskip(library)
    result = gf.correct(MAKE[library](GRAD))
    assert not np.asarray(result).flags.writeable


@pytest.mark.parametrize("traced", [False, True])
def test_jax_keeps_arrays_on_the_devices_they_are_spread_over(traced: bool) -> None:
    pytest.importorskip("jax")
    code = f"""
import jax, numpy as np, gradcorr_fast as gf
from jax.sharding import Mesh, NamedSharding, PartitionSpec
mesh = Mesh(np.array(jax.devices()), ("sequences",))
assert mesh.size == 4
along = NamedSharding(mesh, PartitionSpec("sequences"))
rng = np.random.default_rng(0)
values = rng.standard_normal((8, 50, 4)).astype(np.float32), rng.integers(0, 5, (8, 50))
arrays = [jax.device_put(array, along) for array in values]
analyze = lambda g, x: tuple(gf.analyze(g, x)[:3])
results = (jax.jit(analyze) if {traced} else analyze)(*arrays)
for got, expected in zip(results, analyze(*values), strict=True):
    assert got.sharding.is_equivalent_to(along, got.ndim), got.sharding
    assert [shard.data.shape[0] for shard in got.addressable_shards] == [2, 2, 2, 2]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
compiled = jax.jit(analyze).lower(*arrays).compile().as_text()
assert not [word for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute") if word in compiled]
assert jax.device_put(values[0], jax.devices()[2]).devices() == gf.correct(
    jax.device_put(values[0], jax.devices()[2])
).devices()
"""
    done = run_python(code, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    assert done.returncode == 0, done.stderr


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


@pytest.mark.parametrize("mistake", ["x", "mask", "sequence", "letters"])
def test_dask_says_how_to_rechunk_tensors_which_it_cannot(mistake: str) -> None:
    pytest.importorskip("dask")
    torch = pytest.importorskip("torch")

    def tensors(array: np.ndarray, *chunks: int) -> Any:
        return _rechunked(array, chunks).map_blocks(torch.from_numpy, meta=torch.from_numpy(array[:0]))

    grad = tensors(GRAD, 1, 5, 4)
    with pytest.raises(ValueError, match=r"before its blocks become tensors$"):
        {
            "x": lambda: gf.grad_times_input(grad, tensors(CODES, 2, 5)),
            "mask": lambda: gf.angle_summary(grad, mask=tensors(CODES < 4, 2, 5)),
            "sequence": lambda: gf.angle_summary(tensors(GRAD, 1, 3, 4)),
            "letters": lambda: gf.correct(tensors(GRAD, 1, 5, 2)),
        }[mistake]()


@pytest.mark.parametrize("chunks", [(2, 5), (1, 2), (2, 4)])
def test_dask_rechunks_x_to_the_gradient(chunks: tuple[int, int]) -> None:
    pytest.importorskip("dask")
    one_hot = np.eye(10, dtype=np.float32)[CODES][..., :4]
    for x in (_rechunked(CODES, chunks), _rechunked(one_hot, (*chunks, 4))):
        result = gf.analyze(_dask(GRAD), x).grad_times_input
        assert result.chunks == ((1, 1), (3, 2))
        np.testing.assert_array_equal(result.compute(), gf.grad_times_input(GRAD, CODES))


def test_the_graphs_of_dask_carry_no_arrays() -> None:
    da = pytest.importorskip("dask.array")
    grad = da.zeros((1000, 5000, 4), chunks=(500, 5000, 4), dtype=np.float32)
    maps = gf.analyze(grad, da.zeros((1000, 5000), chunks=(500, 5000), dtype=np.uint8))
    for array in (*maps[:3], gf.correct(grad, background=(0.3, 0.2, 0.2, 0.3))):
        assert len(pickle.dumps(dict(array.dask))) < 20_000


def _rechunked(array: np.ndarray, chunks: Any) -> Any:
    import dask.array as da

    return da.from_array(array, chunks=chunks)


@pytest.mark.parametrize("kind", ["threads of one worker", "processes"])
def test_a_local_cluster_under_the_unsafe_threading_layer_works(kind: str) -> None:
    """Numba's parallel loops abort a worker with two threads; ours start no threading layer."""
    pytest.importorskip("distributed")
    workers = {"threads of one worker": "processes=False, n_workers=1, threads_per_worker=2"}
    code = f"""
import dask, dask.array as da, numpy as np, gradcorr_fast as gf
from distributed import Client, LocalCluster
if __name__ == "__main__":
    rng = np.random.default_rng(0)
    g, x = rng.standard_normal((64, 500, 4)), rng.integers(0, 5, (64, 500))
    chunked = da.from_array(g, chunks=(4, 500, 4)), da.from_array(x, chunks=(16, 500))
    how = dict({workers.get(kind, "processes=True, n_workers=2, threads_per_worker=2")}, dashboard_address=None)
    with LocalCluster(**how) as cluster, Client(cluster):
        for got, expected in zip(dask.compute(*gf.analyze(*chunked)[:3]), gf.analyze(g, x)[:3], strict=True):
            assert np.array_equal(got, expected)
"""
    done = run_python(code, NUMBA_THREADING_LAYER="workqueue", PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr
    assert os.environ.get("NUMBA_THREADING_LAYER") is None

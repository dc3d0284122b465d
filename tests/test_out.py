"""Writing into memory that the caller provides."""

import tracemalloc

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.criterion import DTYPES, assert_meets_criterion, make_grad
from tests.libraries import Library

GRAD = make_grad("normal", (3, 50, 4), DTYPES["float32"])
CODES = np.zeros((3, 50), np.uint8)


def test_out_is_filled_and_returned(library: Library) -> None:
    if not library.has_out:
        pytest.skip("cannot be written to")
    out = library.make(np.zeros_like(GRAD))
    assert library.call(lambda g, o: gf.correct(g, out=o), library.make(GRAD), out) is not None
    np.testing.assert_array_equal(library.read(out), gf.correct(GRAD))
    angle = library.make(np.zeros(GRAD.shape[:-1], np.float32))
    library.call(lambda g, o: gf.simplex_angle(g, out=o), library.make(GRAD), angle)
    assert_meets_criterion(library.read(angle), "angle", GRAD)


@pytest.mark.parametrize("shape", [(3, 50, 4), (3, 4, 50), (3, 20, 50), (2, 70_000, 4)])
def test_correct_works_in_place(shape: tuple[int, ...]) -> None:
    axis = 1 if shape[1] in (4, 20) else -1
    grad = make_grad("normal", shape, DTYPES["float32"], axis)
    expected = gf.correct(grad, axis=axis)
    assert gf.correct(grad, axis=axis, out=grad) is grad
    np.testing.assert_array_equal(grad, expected)


def test_correct_works_in_place_on_strided_memory_and_tensors(library: Library) -> None:
    if not library.has_out:
        pytest.skip("cannot be written to")
    grad = library.make(GRAD)
    library.call(lambda g: gf.correct(g, out=g), grad)
    np.testing.assert_array_equal(library.read(grad), gf.correct(GRAD))


def test_in_place_with_letters_leaves_other_channels() -> None:
    grad = make_grad("normal", (3, 50, 6), DTYPES["float32"])
    expected = gf.correct(grad, letters=slice(0, 4))
    gf.correct(grad, letters=slice(0, 4), out=grad)
    np.testing.assert_array_equal(grad, expected)


def test_analyze_fills_the_fields_it_is_given() -> None:
    out = gf.AttributionMaps(angle=np.empty((3, 50), np.float32), grad_times_input=np.empty((3, 50), np.float32))
    maps = gf.analyze(GRAD, CODES, out=out)
    assert maps.angle is out.angle
    assert maps.corrected is None
    np.testing.assert_array_equal(out.grad_times_input, gf.grad_times_input(GRAD, CODES))
    assert gf.analyze(GRAD, CODES, out=out, outputs=("corrected", "angle")).corrected is not None


def test_outputs_that_overlap_are_refused() -> None:
    memory = np.zeros(1300, np.float32)
    grad = memory[:600].reshape(3, 50, 4)
    with pytest.raises(ValueError, match="out for corrected overlaps grad"):
        gf.correct(grad, out=memory[4:604].reshape(3, 50, 4))
    with pytest.raises(ValueError, match="out for angle overlaps grad"):
        gf.simplex_angle(grad, out=memory[:150].reshape(3, 50))
    with pytest.raises(ValueError, match="out for angle overlaps corrected"):
        gf.analyze(grad, out=gf.AttributionMaps(memory[600:1200].reshape(grad.shape), memory[600:750].reshape(3, 50)))
    with pytest.raises(ValueError, match="out for grad_times_input overlaps onehot"):
        gf.grad_times_input(np.ones((3, 50, 4), np.float32), grad, out=memory[:150].reshape(3, 50))
    neighbours = np.zeros((3, 50, 8), np.float32)  # interleaved, but no byte is shared
    gf.correct(neighbours[..., :4], out=neighbours[..., 4:])


def test_outputs_of_some_channels_are_checked_as_others_are() -> None:
    grad, x = make_grad("normal", (3, 50, 6), DTYPES["float32"]), np.zeros((3, 50, 6), np.float32)
    options = {"letters": slice(0, 4)}
    with pytest.raises(ValueError, match="overlaps onehot"):
        gf.substitution_effects(grad, x, out=x, **options)
    with pytest.raises(ValueError, match="overlaps corrected"):
        gf.analyze(grad, out=gf.AttributionMaps(x, x.reshape(-1)[:150].reshape(3, 50)), **options)
    with pytest.raises(ValueError, match="read-only"):
        gf.correct(grad, out=np.broadcast_to(np.float32(0), grad.shape), **options)
    with pytest.raises(ValueError, match="must have shape"):
        gf.correct(grad, out=np.empty((3, 50, 4), np.float32), **options)
    out = np.empty_like(grad)
    assert gf.correct(grad, out=out, **options) is out
    np.testing.assert_array_equal(out, gf.correct(grad, **options))


def test_an_output_whose_elements_share_memory_is_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="elements that share memory"):
        gf.simplex_angle(torch.ones(3, 7, 4), out=torch.empty(7).expand(3, 7))
    rolling = np.lib.stride_tricks.as_strided(np.empty(20, np.float32), (3, 7), (4, 4))
    with pytest.raises(ValueError, match="elements that share memory"):
        gf.simplex_angle(np.ones((3, 7, 4), np.float32), out=rolling)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((3, 50, 4)), "must have shape .3, 50, 4. and dtype float32"),
        (np.zeros((3, 4, 50), np.float32), "out for corrected has shape"),
        (np.broadcast_to(np.float32(0), (3, 50, 4)), "read-only"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(out: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gf.correct(GRAD, out=out)


def peak(function: object, *arguments: object, **options: object) -> int:
    function(*arguments, **options)
    tracemalloc.start()
    function(*arguments, **options)
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 1])
def test_with_out_nothing_is_allocated_that_grows_with_the_batch(axis: int, dtype: str) -> None:
    def allocated(n_sequences: int) -> int:
        shape = (n_sequences, 2000, 4) if axis == -1 else (n_sequences, 4, 2000)
        grad = make_grad("normal", shape, DTYPES[dtype], axis)
        codes = np.zeros((n_sequences, 2000), np.uint8)
        return peak(gf.analyze, grad, codes, axis=axis, out=gf.analyze(grad, codes, axis=axis))

    assert allocated(300) < allocated(30) + 20_000


@pytest.mark.parametrize("axis", [-1, 1])
def test_a_summary_allocates_less_than_one_byte_a_position(axis: int) -> None:
    shape = (1500, 2000, 4) if axis == -1 else (1500, 4, 2000)
    assert peak(gf.angle_summary, np.ones(shape, np.float32), axis=axis) < 1500 * 2000


def test_strided_memory_is_copied_by_slabs() -> None:
    grad = np.ones((2400, 2000, 8), np.float32)[..., ::2]
    assert peak(gf.correct, grad, out=np.empty(grad.shape, np.float32)) < grad.size * 4 / 10


@pytest.mark.parametrize("shape", [(5, 0, 4), (0, 3, 4)])
def test_empty_arrays_are_corrected_in_place(shape: tuple[int, ...]) -> None:
    """Their strides once looked like those of elements that share memory."""
    grad = np.empty(shape)
    assert gf.correct(grad, out=grad) is not None

"""Every operation, library, layout and dtype against the oracle."""

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.criterion import DTYPES, MAGNITUDES, assert_meets_criterion, make_grad
from tests.libraries import Library

LAYOUTS = {"NLA": ((3, 29, 4), -1), "NAL": ((3, 4, 29), 1), "NL20": ((2, 13, 20), -1), "N5L": ((2, 5, 13), 1)}
FIELDS = ("corrected", "angle", "grad_times_input", "substitution_effects")
OPERATIONS = dict(
    zip(FIELDS, (gf.correct, gf.simplex_angle, gf.grad_times_input, gf.substitution_effects), strict=True)
)


def make_codes(shape: tuple[int, ...], axis: int) -> np.ndarray:
    n_letters = shape[axis]
    positions = np.delete(shape, axis)
    return np.random.default_rng(1).integers(0, n_letters + 2, positions).astype(np.uint8)  # some letters unknown


def make_onehot(shape: tuple[int, ...], axis: int) -> np.ndarray:
    codes = make_codes(shape, axis)
    return np.stack([codes == a for a in range(shape[axis])], axis=axis).astype(np.float32)


def call(library: Library, field: str, grad: np.ndarray, x: np.ndarray | None, **options: object) -> np.ndarray:
    takes_x = field in ("grad_times_input", "substitution_effects")
    arrays = [library.make(array) for array in ((grad, x) if takes_x else (grad,))]
    return library.read(library.call(lambda *a: OPERATIONS[field](*a, **options), *arrays))


@pytest.mark.pairwise
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", FIELDS)
def test_operation_meets_the_criterion(library: Library, field: str, layout: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    grad, codes = make_grad("normal", shape, DTYPES[dtype], axis), make_codes(shape, axis)
    result = call(library, field, grad, codes, axis=axis)
    assert_meets_criterion(result, field, grad, codes, axis=axis)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_corrected_in_every_library(library: Library, dtype: str) -> None:
    """Only corrected maps are narrow themselves, so that pairs of the product above need not meet here."""
    grad = make_grad("normal", (3, 29, 4), DTYPES[dtype])
    assert_meets_criterion(call(library, "corrected", grad, None), "corrected", grad)


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_every_magnitude_meets_the_criterion(field: str, layout: str, magnitude: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    grad, codes = make_grad(magnitude, shape, DTYPES[dtype], axis), make_codes(shape, axis)
    arguments = (codes,) if field in ("grad_times_input", "substitution_effects") else ()
    assert_meets_criterion(OPERATIONS[field](grad, *arguments, axis=axis), field, grad, codes, axis=axis)


X_DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "int64",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
)


@pytest.mark.pairwise
@pytest.mark.parametrize("x_dtype", X_DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", FIELDS[2:])
def test_onehot_of_any_real_dtype_gives_what_codes_give(field: str, layout: str, x_dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    grad = make_grad("normal", shape, DTYPES["float32"], axis)
    onehot = make_onehot(shape, axis).astype(DTYPES.get(x_dtype, x_dtype))
    expected = OPERATIONS[field](grad, make_codes(shape, axis), axis=axis)
    np.testing.assert_array_equal(OPERATIONS[field](grad, onehot, axis=axis), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_onehot_works_in_every_library(library: Library, layout: str) -> None:
    shape, axis = LAYOUTS[layout]
    grad, onehot = make_grad("normal", shape, DTYPES["float32"], axis), make_onehot(shape, axis)
    assert_meets_criterion(
        call(library, "grad_times_input", grad, onehot, axis=axis), "grad_times_input", grad, onehot, axis=axis
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_of_any_integer_dtype_are_the_same(layout: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    grad, codes = make_grad("normal", shape, DTYPES["float32"], axis), make_codes(shape, axis)
    expected = gf.grad_times_input(grad, codes, axis=axis)
    np.testing.assert_array_equal(gf.grad_times_input(grad, codes.astype(dtype), axis=axis), expected)


@pytest.mark.parametrize("n_letters", [4, 5])
@pytest.mark.parametrize("code", [-1, -4, 2**32, 2**32 + 1, -(2**32), 2**63 - 1, 99])
def test_a_code_out_of_range_is_unknown_before_it_is_narrowed(code: int, n_letters: int) -> None:
    """2**32 cut to 32 bits would be an A."""
    grad = np.arange(1.0, n_letters + 1)[None] ** 2
    assert gf.grad_times_input(grad, np.array([code])) == 0
    np.testing.assert_array_equal(gf.substitution_effects(grad, np.array([code])), grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("magnitude", ["normal", "tiny", "huge", "nearly_constant"])
def test_correct_equals_numpy_bit_for_bit(axis: int, dtype: str, magnitude: str) -> None:
    shape = (5, 4, 331) if axis == 1 else (5, 331, 4)
    grad = make_grad(magnitude, shape, DTYPES[dtype], axis)
    np.testing.assert_array_equal(gf.correct(grad, axis=axis), grad - grad.mean(axis, keepdims=True))


def test_correct_equals_numpy_bit_for_bit_on_denormals() -> None:
    grad = np.random.default_rng(0).integers(-50, 50, (100, 4)).astype(np.int32)
    grad = np.copysign(np.abs(grad).view(np.float32), grad.astype(np.float32))
    np.testing.assert_array_equal(gf.correct(grad), grad - grad.mean(-1, keepdims=True))


def test_denormal_gradients_have_an_angle() -> None:
    grad = np.full((3, 4), 1e-45, np.float32)
    grad[1, 1:] = 0
    grad[2] = [3e-45, 3e-45, 0, 0]
    np.testing.assert_allclose(gf.simplex_angle(grad), [90, 30, 45], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_gradients_have_an_angle(dtype: str) -> None:
    largest = np.finfo(dtype).max
    grad = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, -1, 1, -1]], dtype) * largest
    np.testing.assert_allclose(gf.simplex_angle(grad), [90, 30, 0], rtol=1e-6)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("offset", range(0, 35, 3))
def test_a_position_gives_the_same_bits_wherever_it_stands(offset: int, axis: int) -> None:
    """Vector lanes and the loop's remainder are compiled apart, and must round alike."""
    grad, codes = make_grad("normal", (257, 4), DTYPES["float32"]), make_codes((257, 4), -1)
    whole = gf.analyze(grad, codes)
    cut, cut_codes = grad[offset : offset + 50], codes[offset : offset + 50]
    part = gf.analyze(cut[None] if axis == -1 else np.ascontiguousarray(cut.T)[None], cut_codes[None], axis=axis)
    corrected = part.corrected[0] if axis == -1 else part.corrected[0].T
    np.testing.assert_array_equal(corrected, whole.corrected[offset : offset + 50])
    np.testing.assert_array_equal(part.angle[0], whole.angle[offset : offset + 50])
    np.testing.assert_array_equal(part.grad_times_input[0], whole.grad_times_input[offset : offset + 50])


def test_analyze_equals_the_separate_operations(library: Library) -> None:
    grad, codes = make_grad("normal", (2, 4, 33), DTYPES["float32"], 1), make_codes((2, 4, 33), 1)
    arrays = library.make(grad), library.make(codes)
    maps = library.call(lambda g, c: gf.analyze(g, c, axis=1), *arrays)
    np.testing.assert_array_equal(library.read(maps.corrected), gf.correct(grad, axis=1))
    if library.exact:
        np.testing.assert_array_equal(library.read(maps.angle), gf.simplex_angle(grad, axis=1))
    else:
        assert_meets_criterion(library.read(maps.angle), "angle", grad, axis=1)
    np.testing.assert_array_equal(library.read(maps.grad_times_input), gf.grad_times_input(grad, codes, axis=1))
    assert maps.prediction is None


@pytest.mark.parametrize(
    ("outputs", "given"),
    [
        (None, {"corrected", "angle"}),
        (("angle",), {"angle"}),
        (("corrected",), {"corrected"}),
        ("angle", {"angle"}),
    ],
)
def test_analyze_returns_what_was_asked_for(outputs: object, given: set[str]) -> None:
    maps = gf.analyze(np.ones((2, 3, 4)), outputs=outputs)
    assert {field for field, value in maps._asdict().items() if value is not None} == given


def test_results_keep_the_stride_order_of_the_gradient(library: Library) -> None:
    if library.traced or library.name.partition(":")[0] not in ("numpy", "torch"):
        pytest.skip("the strides are not the caller's")
    grad = library.make(make_grad("normal", (3, 7, 4), DTYPES["float32"]))

    def order(array: object) -> list[int]:
        strides = array.strides if isinstance(array, np.ndarray) else array.stride()
        return list(np.argsort([-abs(s) for s in strides], kind="stable"))

    assert order(gf.correct(grad)) == order(grad)
    assert order(gf.simplex_angle(grad)) == order(grad[..., 0])


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_background_weights_the_mean(library: Library, layout: str, dtype: str) -> None:
    shape, axis = LAYOUTS[layout]
    background = np.arange(1, shape[axis] + 1) / np.arange(1, shape[axis] + 1).sum()
    grad, codes = make_grad("normal", shape, DTYPES[dtype], axis), make_codes(shape, axis)
    options = {"axis": axis, "background": tuple(background)}
    assert_meets_criterion(call(library, "corrected", grad, None, **options), "corrected", grad, **options)
    product = call(library, "grad_times_input", grad, codes, **options)
    assert_meets_criterion(product, "grad_times_input", grad, codes, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_raw_gradient_can_be_multiplied_too(library: Library, layout: str) -> None:
    shape, axis = LAYOUTS[layout]
    grad, codes = make_grad("normal", shape, DTYPES["float32"], axis), make_codes(shape, axis)
    result = call(library, "grad_times_input", grad, codes, axis=axis, corrected=False)
    assert_meets_criterion(result, "grad_times_input", grad, codes, axis=axis, corrected=False)


def test_radians_are_degrees_times_pi_over_180(library: Library) -> None:
    grad = make_grad("normal", (2, 9, 4), DTYPES["float64"])
    assert_meets_criterion(call(library, "angle", grad, None, degrees=False), "angle", grad, degrees=False)


@pytest.mark.parametrize("shape", [(0, 7, 4), (3, 0, 4), (0, 0, 4), (0, 4)])
def test_an_empty_batch_gives_an_empty_result(library: Library, shape: tuple[int, ...]) -> None:
    grad = np.zeros(shape, np.float32)
    assert call(library, "corrected", grad, None).shape == shape
    assert call(library, "angle", grad, None).shape == shape[:-1]


@pytest.mark.parametrize("shape", [(4,), (7, 4), (2, 3, 5, 4)])
def test_any_number_of_dimensions_works(library: Library, shape: tuple[int, ...]) -> None:
    grad = make_grad("normal", (7, *shape), DTYPES["float32"])[0]
    assert_meets_criterion(call(library, "angle", grad, None), "angle", grad)


def test_letters_restricts_to_some_channels(library: Library) -> None:
    grad = make_grad("normal", (3, 6, 21), DTYPES["float32"], 1)
    codes = make_codes((3, 4, 21), 1)
    expected = grad.copy()
    expected[:, :4] = gf.correct(np.ascontiguousarray(grad[:, :4]), axis=1)
    options = {"axis": 1, "letters": slice(0, 4)}
    np.testing.assert_array_equal(call(library, "corrected", grad, None, **options), expected)
    angle = call(library, "angle", grad, None, **options)
    assert_meets_criterion(angle, "angle", np.ascontiguousarray(grad[:, :4]), axis=1)
    product = call(library, "grad_times_input", grad, codes, **options)
    assert_meets_criterion(product, "grad_times_input", np.ascontiguousarray(grad[:, :4]), codes, axis=1)


def test_letters_takes_a_onehot_with_all_channels() -> None:
    grad, onehot = make_grad("normal", (3, 21, 6), DTYPES["float32"]), make_onehot((3, 21, 6), -1)
    result = gf.grad_times_input(grad, onehot, letters=slice(1, 5))
    expected = gf.grad_times_input(grad[..., 1:5], onehot[..., 1:5])
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_big_endian_file_is_read_and_answered_in_kind(dtype: str) -> None:
    """Big-endian float64 was once computed in float32."""
    grad = make_grad("normal", (3, 21, 4), DTYPES[dtype])
    swapped = grad.astype(grad.dtype.newbyteorder(">"))
    maps, expected = gf.analyze(swapped), gf.analyze(grad)
    assert maps.corrected.dtype == swapped.dtype
    np.testing.assert_array_equal(maps.corrected, expected.corrected)
    np.testing.assert_array_equal(maps.angle, expected.angle)
    assert gf.angle_summary(swapped).mean == gf.angle_summary(grad).mean


def test_a_broadcast_gradient_works() -> None:
    grad = np.broadcast_to(make_grad("normal", (21, 4), DTYPES["float32"]), (5, 21, 4))
    np.testing.assert_array_equal(gf.correct(grad), np.broadcast_to(gf.correct(grad[0]), grad.shape))


@pytest.mark.parametrize("axis", [-1, 1])
def test_arrays_larger_than_a_slab_and_a_chunk_are_whole(axis: int) -> None:
    """Strided memory goes through in slabs, dense memory in chunks; neither may leave a seam."""
    shape = (3, 50_001, 4) if axis == -1 else (3, 4, 50_001)
    grad = make_grad("normal", shape, DTYPES["float32"], axis)
    strided = np.repeat(grad, 2, axis=0)[::2]
    dense, slabbed = gf.analyze(grad, axis=axis), gf.analyze(strided, axis=axis)
    np.testing.assert_array_equal(dense.corrected, grad - grad.mean(axis, keepdims=True))
    np.testing.assert_array_equal(slabbed.corrected, dense.corrected)
    np.testing.assert_array_equal(slabbed.angle, dense.angle)
    assert_meets_criterion(dense.angle, "angle", grad, axis=axis)

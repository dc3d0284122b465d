"""Plans of layouts: pure numbers, compared with what NumPy does with arrays of these layouts."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradcorr_fast.backends import _planning
from gradcorr_fast.backends._planning import Field, Plan, is_dense, plan

ITEM = 8
lengths = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)


@st.composite
def views(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Arrays with their axes in any order in memory, some of them backwards or with gaps."""
    shape = draw(lengths) if shape is None else shape
    order = draw(st.permutations(range(len(shape))))
    gaps = draw(st.tuples(*[st.integers(1, 2) for _ in shape]))
    memory = np.arange(math.prod(n * g for n, g in zip(shape, gaps, strict=True)), dtype=np.float64)
    whole = memory.reshape([shape[k] * gaps[k] for k in order]).transpose(np.argsort(order))
    signs = draw(st.tuples(*[st.sampled_from([1, 1, -1]) for _ in shape]))
    return whole[tuple(slice(None, None, gap * sign) for gap, sign in zip(gaps, signs, strict=True))]


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[np.ndarray], int, int | None]:
    """Arrays of a call, the gradient first, with and without the letters; the letter axis, and the size of a slab."""
    grad = draw(views())
    axis = draw(st.integers(0, grad.ndim - 1))
    shapes = draw(st.lists(st.sampled_from([grad.shape, grad.shape[:axis] + grad.shape[axis + 1 :]]), max_size=3))
    return [grad, *[draw(views(shape)) for shape in shapes]], axis, draw(st.none() | st.integers(1, 9))


def fields_of(arrays: list[np.ndarray]) -> tuple[Field, ...]:
    return tuple((array.strides, ITEM, array.ndim == arrays[0].ndim, True) for array in arrays)


def seen(plan: Plan, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [array.transpose(plan.order_of(array.ndim == arrays[0].ndim)) for array in arrays]


@given(views())
def test_dense_is_what_numpy_calls_c_contiguous(array: np.ndarray) -> None:
    assert is_dense(array.shape, array.strides, ITEM) == array.flags.c_contiguous


@given(views().filter(lambda array: array.size > 0))
def test_the_order_of_memory_is_that_in_which_numpy_allocates_alike(array: np.ndarray) -> None:
    alike = np.empty_like(array)
    assert alike.transpose(_planning.memory_order(array.strides)).flags.c_contiguous


@given(calls())
def test_nothing_is_copied_just_where_numpy_sees_dense_memory(call: tuple[list[np.ndarray], int, int | None]) -> None:
    arrays, axis, _ = call
    planned = plan(arrays[0].shape, axis, fields_of(arrays))
    assert [not copied for copied in planned.copied] == [array.flags.c_contiguous for array in seen(planned, arrays)]
    assert planned.has_copies == any(planned.copied)


@given(calls())
def test_the_block_is_the_shape_of_the_gradient_in_memory(call: tuple[list[np.ndarray], int, int | None]) -> None:
    arrays, axis, _ = call
    planned = plan(arrays[0].shape, axis, fields_of(arrays))
    grad = seen(planned, arrays)[0]
    outer, letters, inner = planned.block
    assert planned.lengths == grad.shape
    assert letters == arrays[0].shape[axis] == grad.shape[planned.axis]
    assert outer * letters * inner == grad.size
    assert outer == math.prod(grad.shape[: planned.axis])


@given(calls().filter(lambda call: call[0][0].size > 0))
def test_slabs_hold_every_element_once_and_what_is_not_copied_is_dense(
    call: tuple[list[np.ndarray], int, int | None],
) -> None:
    arrays, axis, slab = call
    planned = plan(arrays[0].shape, axis, fields_of(arrays), slab)
    cut = [
        [array[planned.slab(number, array.ndim == arrays[0].ndim)] for number in range(planned.n_slabs)]
        for array in seen(planned, arrays)
    ]
    assert [sorted(np.concatenate([part.ravel() for part in parts])) for parts in cut] == [
        sorted(array.ravel()) for array in arrays
    ]
    is_dense_in_slabs = [all(part.flags.c_contiguous for part in parts) for parts in cut]
    assert all(is_copied or dense for is_copied, dense in zip(planned.copied, is_dense_in_slabs, strict=True))


@given(calls().filter(lambda call: call[0][0].size > 0), st.integers(1, 40))
def test_slabs_have_about_as_many_positions_as_were_asked_for(
    call: tuple[list[np.ndarray], int, int | None], slab: int
) -> None:
    arrays, axis, _ = call
    fields = tuple((*field[:3], False) for field in fields_of(arrays))  # nothing can be read as it is
    planned = plan(arrays[0].shape, axis, fields, slab)
    positions = arrays[0].size // arrays[0].shape[axis]
    least = 1 if planned.along is None else positions // planned.lengths[planned.along]
    assert math.prod(planned.lengths) // planned.block[1] == positions
    assert planned.along is None or planned.step * least <= max(slab, least)
    assert all(planned.copied)


def test_dense_memory_goes_through_as_it_is_whatever_the_stride_of_an_axis_of_length_one() -> None:
    planned = plan((1, 200, 4), 2, (((8, 16, 4), 4, True, True), ((4, 4), 4, False, True)), 16)
    assert planned.order == (0, 1, 2)
    assert planned.block == (200, 4, 1)
    assert not planned.has_copies
    assert planned.n_slabs == 1

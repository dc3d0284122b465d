"""Codes, one-hot arrays and strands; shuffles that are the same everywhere; what is refused, and in which words."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradcorr_fast as gf
from gradcorr_fast import sequences
from gradcorr_fast.kernels import reference_sequences, threads
from tests.conftest import require
from tests.libraries import Library
from tests.test_dispatch import run_python

KINDS = ("mono", "dinucleotide")
TEXT = st.text(alphabet="ACGTN", max_size=40)


def random_codes(*shape: int, n_letters: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n_letters, shape).astype(np.uint8)


def test_letters_of_either_case_are_coded_and_everything_else_is_unknown() -> None:
    np.testing.assert_array_equal(sequences.encode("ACGTacgt"), [0, 1, 2, 3] * 2)
    others = "".join(chr(c) for c in range(300) if chr(c) not in "ACGTacgt") + "\N{GREEK CAPITAL LETTER ALPHA}"
    np.testing.assert_array_equal(sequences.encode(others), [255] * len(others))


@pytest.mark.parametrize(
    "seqs", [["AC", "gN"], [b"AC", "gN"], ("AC", b"gN"), np.array(["AC", "gN"]), np.array([b"AC", b"gN"]),
             np.array(["AC", "gN"], object), iter(["AC", "gN"])],
)  # fmt: skip
def test_several_sequences_are_encoded(seqs: Any) -> None:
    codes = sequences.encode(seqs)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, [[0, 1], [2, 255]])


@pytest.mark.parametrize(
    ("seqs", "shape"),
    [("", (0,)), (b"A", (1,)), ([], (0, 0)), (["", ""], (2, 0)), (np.array("ACG"), (3,)), (np.str_("ACG"), (3,))],
)
def test_the_shape_of_codes_is_that_of_the_text(seqs: Any, shape: tuple[int, ...]) -> None:
    assert sequences.encode(seqs).shape == shape


@given(TEXT, st.integers(0, 3))
def test_text_survives_encoding_and_decoding(text: str, n: int) -> None:
    assert sequences.decode(sequences.encode(text)) == text
    assert sequences.decode(sequences.encode(text.lower().encode())) == text
    assert sequences.decode(sequences.encode([text] * n)) == [text] * n


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint64, ">i4"])
def test_every_integer_dtype_is_decoded(dtype: Any) -> None:
    codes = np.array([[0, 3, 4, 100]] * 2).astype(dtype)
    assert sequences.decode(codes) == ["ATNN"] * 2
    assert sequences.decode(codes[:, ::-1][0]) == "NNTA"


def test_codes_are_not_narrowed_before_their_range_is_checked() -> None:
    codes = np.array([256, -256, 2**40, -1, 300, 1])
    assert sequences.decode(codes) == "NNNNNC"
    np.testing.assert_array_equal(sequences.one_hot(codes).sum(-1), [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(np.sort(sequences.shuffle(codes, 1)[0]), [1, *[255] * 5])


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, bool, "float16"])
def test_one_hot_arrays_have_the_letters_where_asked(axis: int, dtype: Any) -> None:
    codes = random_codes(2, 3, 5, n_letters=6).astype(np.int64) - 1  # -1 and 4 are unknown
    expected = np.moveaxis(codes[..., None] == np.arange(4), -1, axis).astype(dtype)
    result = sequences.one_hot(codes, dtype, axis)
    assert result.dtype == dtype
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, expected)


@given(TEXT)
def test_a_strand_is_its_complement_backwards_and_twice_itself(text: str) -> None:
    codes = sequences.encode(text)
    other = sequences.reverse_complement(codes)
    assert sequences.decode(other) == text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    np.testing.assert_array_equal(sequences.reverse_complement(other), codes)


@given(TEXT.filter(len), st.sampled_from([-1, 1]))
def test_codes_and_one_hot_arrays_have_the_same_other_strand(text: str, axis: int) -> None:
    codes = sequences.encode([text, text[::-1]])
    expected = sequences.one_hot(sequences.reverse_complement(codes), axis=axis)
    np.testing.assert_array_equal(sequences.reverse_complement(sequences.one_hot(codes, axis=axis), axis), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_the_other_strand_of_codes_comes_from_every_library(library: Library, dtype: type) -> None:
    if library.name == "dask:torch":
        pytest.skip("Dask cannot reverse tensors, which have no negative strides")
    codes = random_codes(4, 30, n_letters=6).astype(dtype)
    codes[codes == 5] = 255
    result = library.read(library.call(sequences.reverse_complement, library.make(codes)))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.where(codes < 4, 3 - codes, codes)[:, ::-1])


@pytest.mark.parametrize(("shape", "axis", "position"), [((3, 30, 4), -1, 1), ((3, 4, 30), 1, 2), ((7, 4), -1, 0)])
def test_the_other_strand_of_maps_comes_from_every_library(
    library: Library, shape: tuple[int, ...], axis: int, position: int
) -> None:
    if library.name == "dask:torch":
        pytest.skip("Dask cannot reverse tensors, which have no negative strides")
    maps = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    result = library.read(library.call(lambda x: sequences.reverse_complement(x, axis=axis), library.make(maps)))
    np.testing.assert_array_equal(result, np.flip(maps, (axis, position)))


@pytest.mark.parametrize(("shape", "axis"), [((3, 10), None), ((3, 10, 4), -1), ((3, 1, 4), -1)])
def test_the_other_strand_is_an_array_of_its_own(shape: tuple[int, ...], axis: int | None) -> None:
    x = random_codes(*shape)
    before = x.copy()
    assert not np.shares_memory(sequences.reverse_complement(x, axis), x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("kind", KINDS)
def test_shuffles_depend_neither_on_batch_nor_order_nor_number(kind: str) -> None:
    codes = random_codes(9, 200)
    whole = sequences.shuffle(codes, 5, kind, 7)
    np.testing.assert_array_equal(sequences.shuffle(codes[::-1], 5, kind, 7), whole[::-1])
    np.testing.assert_array_equal(sequences.shuffle(codes[3:5], 2, kind, 7), whole[3:5, :2])
    np.testing.assert_array_equal(sequences.shuffle(codes[4], 5, kind, 7), whole[4])
    np.testing.assert_array_equal(sequences.shuffle(codes[[4, 4]], 5, kind, 7), whole[[4, 4]])


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_shuffles_do_not_depend_on_threads(kind: str, n_threads: int) -> None:
    codes, before = random_codes(50, 3000), threads.get_num_threads()
    gf.set_num_threads(n_threads)
    try:
        shuffles = sequences.shuffle(codes, 7, kind)
    finally:
        gf.set_num_threads(before)
    np.testing.assert_array_equal(shuffles[-1, -1], reference_sequences.shuffle(codes[-1].tolist(), 6, kind, 0))
    np.testing.assert_array_equal(shuffles[25:26], sequences.shuffle(codes[25:26], 7, kind))


def _readonly(codes: np.ndarray) -> np.ndarray:
    codes = codes.copy()
    codes.flags.writeable = False
    return codes


FORMS = {
    "readonly": _readonly,
    "fortran": np.asfortranarray,
    "strided": lambda codes: np.repeat(codes, 2, axis=1)[:, ::2],
    "reversed": lambda codes: codes[:, ::-1].copy()[:, ::-1],
    **{dtype: lambda codes, dtype=dtype: codes.astype(dtype) for dtype in ("int64", "uint16", "int8", ">i4", "uint64")},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_shuffles_depend_on_values_alone(form: str, kind: str) -> None:
    codes = random_codes(5, 100, n_letters=5)
    expected = sequences.shuffle(codes, 3, kind)
    assert expected.dtype == np.uint8
    np.testing.assert_array_equal(sequences.shuffle(FORMS[form](codes), 3, kind), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_all_unknown_codes_are_one_letter(kind: str) -> None:
    codes = np.array([[0, 1, -1, 2, 300, 0, 1, 32, 2, 1, 255, 0]])
    same = np.where((codes >= 0) & (codes < 32), codes, 255).astype(np.uint8)
    np.testing.assert_array_equal(sequences.shuffle(codes, 4, kind), sequences.shuffle(same, 4, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_seeds_sequences_and_kinds_differ(kind: str) -> None:
    codes = random_codes(3, 200)
    shuffles = [sequences.shuffle(codes, 50, kind, seed).reshape(-1, 200) for seed in (0, 1, 2**32, 2**64 - 1)]
    assert len(np.unique(np.concatenate(shuffles), axis=0)) == 4 * 3 * 50


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0), (0, 0), (3, 1), (3, 2), (3, 3), (1,)])
@pytest.mark.parametrize("n", [0, 1])
def test_short_sequences_and_empty_batches_are_shuffled(shape: tuple[int, ...], n: int, kind: str) -> None:
    shuffles = sequences.shuffle(np.full(shape, 2, np.uint8), n, kind)
    assert shuffles.shape == (*shape[:-1], n, shape[-1])
    assert (shuffles == 2).all()
    np.testing.assert_array_equal(sequences.count_shuffles(np.full(shape, 2, np.uint8), kind), np.ones(shape[:-1]))


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_not_written_to(kind: str) -> None:
    codes = random_codes(3, 100)
    before = codes.copy()
    sequences.shuffle(codes, 2, kind)
    np.testing.assert_array_equal(codes, before)


def test_text_and_strands_need_no_compiler() -> None:
    code = (
        "import sys; from gradcorr_fast import sequences as s; codes = s.encode(['ACGT']); s.decode(codes);"
        "s.reverse_complement(s.one_hot(codes), -1); print('numba' in sys.modules)"
    )
    assert run_python(code).stdout.strip() == "False"


CALLS = SimpleNamespace(
    decode=sequences.decode, one_hot=sequences.one_hot, count=sequences.count_shuffles,
    shuffle=lambda codes: sequences.shuffle(codes, 1),
)  # fmt: skip


@pytest.mark.parametrize("name", vars(CALLS))
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ("ACGT", "got str, gf.sequences.encode"),
        ([0, 1], "got list"),
        (np.ones(3), "must be integers"),
        (np.ones(3, bool), "must be integers"),
        (np.ma.array([1, 2]), "masked array"),
    ],
)
def test_what_are_no_codes_is_named(name: str, codes: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        getattr(CALLS, name)(codes)


@pytest.mark.parametrize("kind", KINDS)
def test_shuffles_and_one_hot_arrays_are_the_same_in_every_library(library: Library, kind: str) -> None:
    if library.traced or library.name.startswith("dask") or library.name == "torch:requires_grad":
        pytest.skip("codes of this kind are refused, or are no codes")
    codes = random_codes(3, 30, n_letters=5)
    made = library.make(codes)
    if library.needs == "gpu" or library.name == "cupy:emulated":
        with pytest.raises(ValueError, match="is on"):
            sequences.shuffle(made, 4, kind)
        return
    for got, expected in (
        (sequences.shuffle(made, 4, kind, seed=5), sequences.shuffle(codes, 4, kind, seed=5)),
        (sequences.one_hot(made, axis=1), sequences.one_hot(codes, axis=1)),
    ):
        assert type(got).__module__.split(".")[0] in (library.name.split(":")[0], "jaxlib")
        np.testing.assert_array_equal(library.read(got), expected)
    assert sequences.decode(made) == sequences.decode(codes)
    np.testing.assert_array_equal(sequences.count_shuffles(made, kind), sequences.count_shuffles(codes, kind))


def test_codes_that_are_traced_or_in_blocks_are_refused_with_the_mend() -> None:
    for package in ("torch", "jax", "tensorflow", "dask"):
        require(package)
    import dask.array as da
    import jax
    import tensorflow as tf
    import torch

    codes = random_codes(2, 9)
    with pytest.raises(TypeError, match="apply this to its blocks"):
        sequences.shuffle(da.from_array(codes), 1)
    with pytest.raises(ValueError, match="pass a concrete CPU array"):
        jax.jit(lambda c: sequences.shuffle(c, 1))(codes)
    with pytest.raises(ValueError, match="pass an eager CPU tensor"):
        tf.function(lambda c: sequences.shuffle(c, 1))(tf.constant(codes))
    with pytest.raises(ValueError, match=r"on meta or traced; pass a plain CPU tensor, codes\.cpu\(\)"):
        sequences.shuffle(torch.empty(2, 9, dtype=torch.uint8, device="meta"), 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sequences.encode(["ACGT", "ACGT", "AC"]), ValueError, "sequence 0 has length 4 and sequence 2 has"),
        (lambda: sequences.encode([1, 2]), TypeError, "sequence 0 is a int"),
        (lambda: sequences.encode(3), TypeError, "seqs must be"),
        (lambda: sequences.encode(np.array([["A"]])), TypeError, "sequence 0 is a list"),
        (lambda: sequences.decode(np.zeros((2, 2, 2), int)), ValueError, r"pass one sequence \(L,\)"),
        (lambda: sequences.one_hot(np.zeros((2, 3), int), axis=3), ValueError, "axis 3 does not exist"),
        (lambda: sequences.reverse_complement("ACGT"), TypeError, r"x is a builtins\.str"),
        (lambda: sequences.reverse_complement(np.ones((2, 4))), TypeError, "pass the letter axis"),
        (lambda: sequences.reverse_complement(np.array(1)), ValueError, "no axis to reverse"),
        (lambda: sequences.reverse_complement(np.ones((2, 4, 9)), -1), ValueError, "pass axis=1"),
        (lambda: sequences.reverse_complement(np.ones((2, 9, 5)), -1), ValueError, "4 letters of DNA"),
        (lambda: sequences.reverse_complement(np.ones(4), 0), ValueError, "no position axis"),
        (lambda: sequences.reverse_complement(np.ma.array([1])), TypeError, "masked"),
        (lambda: sequences.shuffle(np.zeros(3, int), -1), ValueError, "n is -1"),
        (lambda: sequences.shuffle(np.zeros(3, int), 1.0), TypeError, "n must be an int"),
        (lambda: sequences.shuffle(np.zeros(3, int), 1, "tri"), ValueError, "kind must be one of mono, dinucleotide"),
        (lambda: sequences.shuffle(np.zeros(3, int), 1, seed=-1), ValueError, r"0 to 2\*\*64 - 1"),
        (lambda: sequences.shuffle(np.zeros(3, int), 1, seed=2**64), ValueError, r"0 to 2\*\*64 - 1"),
        (lambda: sequences.shuffle(np.zeros(3, int), 1, seed=None), TypeError, "seed must be an int"),
        (lambda: sequences.shuffle(np.zeros(3, int), 1, seed=True), TypeError, "seed must be an int"),
        (lambda: sequences.shuffle(np.broadcast_to(0, (1, 2**32 + 1)), 1), ValueError, "cut them"),
        (lambda: sequences.count_shuffles(np.zeros(3, int), "tri"), ValueError, "kind must be one of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

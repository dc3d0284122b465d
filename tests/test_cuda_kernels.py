"""The CUDA kernels themselves, on the emulator: types, layouts, grids and odd lengths, with sentinels round memory."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gradcorr_fast import AngleSummary
from gradcorr_fast.backends._arrays import BFLOAT16
from gradcorr_fast.kernels import cpu_sequences, cuda, cuda_launch, reference, reference_sequences
from tests.conftest import require_compiler
from tests.criterion import DTYPES, MAGNITUDES, assert_meets_criterion, make_grad
from tests.emulator import Emulator
from tests.emulator.patches import emulated_launches
from tests.test_ops import X_DTYPES, make_codes, make_onehot
from tests.test_summary import agrees, expect

QUEUE = cuda.Queue(0, 0)
SENTINEL = 0xA5
MARGIN = 64  # bytes
FIELDS = (*reference.FIELDS, "raw_grad_times_input")


class Guarded:
    """Memory between sentinels; what a kernel does not write holds sentinels too."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> None:
        self.dtype = np.dtype(dtype)
        size = math.prod(shape) * self.dtype.itemsize
        self.memory = np.full(size + 3 * MARGIN, SENTINEL, np.uint8)
        self.start = MARGIN + (-self.memory.ctypes.data) % MARGIN + offset
        self.array = self.memory[self.start : self.start + size].view(dtype).reshape(shape)

    @classmethod
    def of(cls, array: np.ndarray, offset: int = 0) -> "Guarded":
        guarded = cls(array.shape, array.dtype, offset)
        guarded.array[...] = array
        return guarded

    def where(self) -> cuda.DeviceMemory:
        name = "bfloat16" if self.dtype == BFLOAT16 else self.dtype.name
        return cuda.DeviceMemory(self.array.ctypes.data, name)

    def is_intact(self) -> bool:
        end = self.start + self.array.nbytes
        return bool(np.all(self.memory[: self.start] == SENTINEL) and np.all(self.memory[end:] == SENTINEL))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    require_compiler()
    with emulated_launches() as emulator:
        yield emulator
        emulator.grid, emulator.block, emulator.seed, emulator.rounding = None, cuda.BLOCK, 0, 0


def analyze(
    grad: np.ndarray, x: np.ndarray | None, axis: int, fields: tuple[str, ...], offset: int = 0, **options: Any
) -> dict[str, np.ndarray]:
    """Run the kernel on copies, and check that nothing else was written."""
    dtype = np.dtype(np.float64 if grad.dtype == np.float64 else np.float32)
    positions = tuple(np.delete(grad.shape, axis))
    inputs = {"grad": Guarded.of(grad, offset)}
    if x is not None:
        inputs["onehot" if x.ndim == grad.ndim else "codes"] = Guarded.of(x, offset)
    outputs = {}
    for field in fields:
        shape = grad.shape if field in reference.WITH_LETTERS else positions
        outputs[field] = Guarded(shape, grad.dtype if field == "corrected" else dtype, offset)
    block = math.prod(grad.shape[:axis]), grad.shape[axis], math.prod(grad.shape[axis:][1:])
    memory = {name: guarded.where() for name, guarded in (inputs | outputs).items()}
    cuda.analyze(block, QUEUE, **memory, **options)
    for name, guarded in (inputs | outputs).items():
        assert guarded.is_intact(), name
    assert inputs["grad"].array.tobytes() == grad.tobytes()
    return {name: guarded.array for name, guarded in outputs.items()}


def check(results: dict[str, np.ndarray], grad: np.ndarray, x: Any, axis: int, **options: Any) -> None:
    for field, result in results.items():
        extra = {"corrected": False} if field == "raw_grad_times_input" else {}
        assert_meets_criterion(result, field.removeprefix("raw_"), grad, x, axis=axis, **extra, **options)


SHAPES = {
    "letters last": ((5, 26, 4), 2),
    "letters last, an odd number": ((3, 9, 4), 2),
    "rows of 4": ((3, 4, 28), 1),
    "rows of 2": ((3, 4, 30), 1),
    "odd rows": ((3, 4, 29), 1),
    "a row of one": ((7, 4, 1), 1),
    "many letters last": ((3, 11, 20), 2),
    "rows of 32 letters": ((2, 32, 9), 1),
    "one letter": ((2, 1, 9), 1),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_output_in_one_pass(emulator: Emulator, shape: str, dtype: str) -> None:
    lengths, axis = SHAPES[shape]
    grad, codes = make_grad("normal", lengths, DTYPES[dtype], axis), make_codes(lengths, axis)
    check(analyze(grad, codes, axis, FIELDS), grad, codes, axis)


@pytest.mark.pairwise
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("shape", ["letters last", "rows of 4", "many letters last"])
def test_every_magnitude(emulator: Emulator, shape: str, magnitude: str, dtype: str) -> None:
    lengths, axis = SHAPES[shape]
    grad, codes = make_grad(magnitude, lengths, DTYPES[dtype], axis), make_codes(lengths, axis)
    check(analyze(grad, codes, axis, FIELDS), grad, codes, axis)


@pytest.mark.parametrize("x_dtype", X_DTYPES)
@pytest.mark.parametrize("shape", ["letters last", "rows of 4", "odd rows"])
def test_onehot_of_every_dtype(emulator: Emulator, shape: str, x_dtype: str) -> None:
    lengths, axis = SHAPES[shape]
    grad = make_grad("normal", lengths, DTYPES["float32"], axis)
    onehot = make_onehot(lengths, axis).astype(DTYPES.get(x_dtype, x_dtype))
    check(analyze(grad, onehot, axis, FIELDS[2:]), grad, onehot.astype(np.float32), axis)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("shape", ["letters last", "rows of 4"])
def test_codes_of_every_dtype(emulator: Emulator, shape: str, dtype: str) -> None:
    lengths, axis = SHAPES[shape]
    grad, codes = make_grad("normal", lengths, DTYPES["float16"], axis), make_codes(lengths, axis).astype(dtype)
    codes.flat[0] = np.iinfo(dtype).max
    codes.flat[1] = np.iinfo(dtype).min
    check(analyze(grad, codes, axis, FIELDS[2:]), grad, codes, axis)


@pytest.mark.parametrize("fields", [FIELDS[:1], FIELDS[1:2], FIELDS[2:3], FIELDS[3:4], FIELDS[4:], FIELDS[:2]])
def test_every_subset_of_outputs(emulator: Emulator, fields: tuple[str, ...]) -> None:
    lengths, axis = SHAPES["letters last"]
    grad, codes = make_grad("normal", lengths, DTYPES["float32"], axis), make_codes(lengths, axis)
    check(analyze(grad, codes if fields[0] not in FIELDS[:2] else None, axis, fields), grad, codes, axis)


@pytest.mark.parametrize(("grid", "block"), [(1, 32), (1, 256), (2, 96), (3, 128), (7, 32), (40, 256)])
@pytest.mark.parametrize("shape", ["letters last", "rows of 2", "odd rows"])
def test_the_launch_does_not_matter(emulator: Emulator, shape: str, grid: int, block: int) -> None:
    lengths, axis = SHAPES[shape]
    grad, codes = (
        make_grad("special", (23, *lengths[1:]), DTYPES["float32"], axis),
        make_codes((23, *lengths[1:]), axis),
    )
    expected = analyze(grad, codes, axis, FIELDS)
    emulator.grid, emulator.block = grid, block
    for name, result in analyze(grad, codes, axis, FIELDS).items():
        np.testing.assert_array_equal(result, expected[name])


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("offset", [2, 4, 8, 12])
@pytest.mark.parametrize("shape", ["letters last", "rows of 4"])
def test_memory_that_begins_anywhere(emulator: Emulator, shape: str, offset: int, dtype: str) -> None:
    """Accesses of 16 bytes fault on memory that is not aligned to them."""
    if offset % DTYPES[dtype].itemsize:
        pytest.skip("no library makes elements that are not aligned to themselves")
    lengths, axis = SHAPES[shape]
    grad, codes = make_grad("normal", lengths, DTYPES[dtype], axis), make_codes(lengths, axis).astype(np.int16)
    fields = ("corrected",) if dtype == "float16" and offset == 2 else FIELDS
    check(analyze(grad, codes, axis, fields, offset), grad, codes, axis)


@pytest.mark.parametrize("shape", ["letters last", "odd rows", "many letters last"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_correct_has_the_bits_of_numpy(emulator: Emulator, shape: str, dtype: str) -> None:
    lengths, axis = SHAPES[shape]
    grad = make_grad("normal", lengths, DTYPES[dtype], axis)
    total = sum(np.moveaxis(grad, axis, 0)[1:], start=np.moveaxis(grad, axis, 0)[0])
    mean = np.expand_dims(total / grad.dtype.type(lengths[axis]), axis)
    np.testing.assert_array_equal(analyze(grad, None, axis, FIELDS[:1])["corrected"], grad - mean)


def test_weights_and_units_are_passed(emulator: Emulator) -> None:
    grad, codes = make_grad("normal", (9, 4), DTYPES["float64"]), make_codes((9, 4), 1)
    options = {"degrees": False}
    results = analyze(grad, codes, 1, FIELDS, weights=(0.1, 0.2, 0.3, 0.4), **options)
    for field in ("corrected", "grad_times_input"):
        assert_meets_criterion(results[field], field, grad, codes, background=(0.1, 0.2, 0.3, 0.4))
    assert_meets_criterion(results["angle"], "angle", grad, **options)


def test_correct_works_in_place(emulator: Emulator) -> None:
    grad = make_grad("normal", (50, 4), DTYPES["float32"])
    guarded = Guarded.of(grad)
    cuda.analyze((50, 4, 1), QUEUE, grad=guarded.where(), corrected=guarded.where())
    assert guarded.is_intact()
    np.testing.assert_array_equal(guarded.array, grad - grad.mean(-1, keepdims=True))


def test_denormal_gradients_count_as_zero(emulator: Emulator) -> None:
    """The compiler flushes them: scaled up they would be 0 / 0."""
    grad = np.array([[1e-45, 0, 0, 0], [1e-39, 1e-39, 0, 0], [2e-38, 0, 0, 0]], np.float32)
    angle = analyze(grad, None, 1, ("angle",), undefined=-1.0)["angle"]
    np.testing.assert_allclose(angle, [-1, -1, 30], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_and_rounded_as_numpy_does(emulator: Emulator, dtype: str) -> None:
    """Every number there is, beside sums that are to be rounded."""
    values = np.arange(2**16, dtype=np.uint16).view(DTYPES[dtype])
    grad = np.zeros((2**16, 4), values.dtype)
    grad[:, 0] = values
    grad[:, 1] = np.roll(values, 4321)
    wide = grad.astype(np.float32)
    with np.errstate(all="ignore"):
        expected = (wide - wide.mean(1, keepdims=True)).astype(values.dtype)
    corrected = analyze(grad, None, 1, ("corrected",))["corrected"]
    np.testing.assert_array_equal(corrected.astype(np.float32), expected.astype(np.float32))


ROUNDINGS = {"down": -1, "up": 1, "either way": 2}
"""Of the units for reciprocals and roots, always as wrong as their manual allows."""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_angles_meet_the_criterion_with_the_worst_units(
    emulator: Emulator, rounding: str, magnitude: str, dtype: str
) -> None:
    grad = make_grad(magnitude, (3000, 4), DTYPES[dtype])
    emulator.rounding = ROUNDINGS[rounding]
    check(analyze(grad, None, 1, ("angle",)), grad, None, 1)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_no_angle_is_off_by_four_units_in_the_last_place(emulator: Emulator, rounding: str) -> None:
    """Directions all round the simplex, those along it, across it, and half way among them."""
    degrees = np.concatenate([np.linspace(-90, 90, 20_001), 45 + np.linspace(-1e-3, 1e-3, 101)])
    across = np.array([3.0, -1, -4, 2]) / math.sqrt(30)
    turned = np.radians(degrees)[:, None]
    grad = (np.sin(turned) * 0.5 + np.cos(turned) * across).astype(np.float32)
    emulator.rounding = ROUNDINGS[rounding]
    angle = analyze(grad, None, 1, ("angle",))["angle"]
    (expected,) = reference.analyze(grad.astype(np.float64), None, axis=1, fields=("angle",))
    assert np.abs(angle - expected).max() < 4 * np.spacing(np.float32(90))


@pytest.mark.parametrize("exponent", range(-120, 127, 13))
def test_angles_do_not_depend_on_scale(emulator: Emulator, exponent: int) -> None:
    """Squares of what is far from 1 leave single precision: such letters are scaled first."""
    grad = make_grad("normal", (400, 4), DTYPES["float32"])
    scaled = np.ldexp(grad, exponent)
    kept = np.isfinite(scaled).all(1) & (np.abs(scaled) > 1e-37).all(1)
    angle, expected = (analyze(array[kept], None, 1, ("angle",))["angle"] for array in (scaled, grad))
    np.testing.assert_allclose(angle, expected, rtol=0, atol=float(4 * np.spacing(np.float32(90))))
    assert len(angle) > 100


@pytest.mark.parametrize("shape", ["letters last", "rows of 4", "odd rows", "many letters last"])
def test_indices_of_64_bits_give_the_same(emulator: Emulator, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, axis = SHAPES[shape]
    grad, codes = make_grad("special", lengths, DTYPES["float32"], axis), make_codes(lengths, axis)
    expected = analyze(grad, codes, axis, FIELDS)
    monkeypatch.setattr(cuda, "NARROW", 0)
    for name, result in analyze(grad, codes, axis, FIELDS).items():
        np.testing.assert_array_equal(result, expected[name])


@pytest.mark.parametrize(
    ("n_blocks", "batch", "blocks"),
    [(1, 4, 1), (500, 4, 500), (600, 4, 528), (4000, 4, 1000), (8000, 1, 2112), (10**6, 4, 2112), (0, 1, 1)],
)
def test_threads_take_batches_when_all_processors_are_busy(n_blocks: int, batch: int, blocks: int) -> None:
    """A few sequences once left most threads with one position to load, and the others with none."""
    assert cuda_launch.grid(n_blocks, batch, resident=4, processors=132) == blocks


# --- summaries ---


def summarize(
    grad: np.ndarray,
    letters_last: bool,
    mask: np.ndarray | None = None,
    thresholds: Any = (30, 45, 60),
    bins: int = 180,
) -> AngleSummary:
    n, length, letters = grad.shape if letters_last else (grad.shape[0], grad.shape[2], grad.shape[1])
    buffer = cuda.SummaryBuffer.plan(n, length, len(thresholds), bins)
    memory, guarded = Guarded((buffer.offsets[-1],), np.uint8), Guarded.of(grad)
    memory.array[...] = 0
    kept = None if mask is None else Guarded.of(mask)
    cuda.angle_summary(
        (n, length, letters),
        letters_last,
        QUEUE,
        grad=guarded.where(),
        mask=None if kept is None else kept.array.ctypes.data,
        thresholds=thresholds,
        tolerance=reference.edge_tolerance(np.float64 if grad.dtype == np.float64 else np.float32),
        buffer=buffer,
        address=memory.array.ctypes.data,
    )
    assert memory.is_intact()
    assert guarded.is_intact()
    return AngleSummary(*buffer.read(memory.array, len(thresholds), length), tuple(thresholds))


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("letters_last", [True, False])
def test_summaries_agree_with_the_oracle(emulator: Emulator, letters_last: bool, magnitude: str, dtype: str) -> None:
    axis = -1 if letters_last else 1
    grad = make_grad(magnitude, (3, 1100, 4) if letters_last else (3, 4, 1100), DTYPES[dtype], axis)
    slack = 60 if magnitude == "nearly_constant" else 2
    agrees(summarize(grad, letters_last), expect(grad, axis), slack=0 if dtype == "float64" else slack)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("letters_last", [True, False])
def test_summaries_agree_with_the_worst_units(emulator: Emulator, letters_last: bool, rounding: str) -> None:
    grad = make_grad(
        "normal", (3, 2100, 4) if letters_last else (3, 4, 2100), DTYPES["float32"], -1 if letters_last else 1
    )
    emulator.rounding = ROUNDINGS[rounding]
    agrees(summarize(grad, letters_last), expect(grad, -1 if letters_last else 1), slack=2)


def test_summaries_with_indices_of_64_bits_are_the_same(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    grad = make_grad("special", (3, 4, 1100), DTYPES["float32"], 1)
    expected = summarize(grad, False)
    monkeypatch.setattr(cuda, "NARROW", 0)
    agrees(summarize(grad, False), (
        expected.counts, expected.n_positions, expected.n_undefined, expected.sums, expected.sums_of_squares,
        expected.histogram,
    ))  # fmt: skip


def test_sums_of_a_summary_are_exact(emulator: Emulator) -> None:
    """Right angles, whose squares add up to more than 64 bits hold; and their opposites, which bring the sum to 0."""
    grad = np.ones((2, 1024, 4), np.float32)
    grad[1, ::2] = -1
    summary = summarize(grad, True)
    np.testing.assert_array_equal(summary.sums, [1024 * 90, 0])
    np.testing.assert_array_equal(summary.sums_of_squares, [1024 * 90**2] * 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bins", [1, 7, 180, 1024, 20_000])
@pytest.mark.parametrize("n_thresholds", [0, 1, 4, 5, 11])
def test_any_number_of_bins_and_thresholds(emulator: Emulator, n_thresholds: int, bins: int, dtype: str) -> None:
    """Few bins have a table for each warp in shared memory, more share one, and still more have none."""
    grad = make_grad("normal", (2, 300, 4), DTYPES[dtype])
    mask = np.random.default_rng(0).random((2, 300)) < 0.7
    thresholds = tuple(np.linspace(0, 80, n_thresholds))
    options = {"thresholds": thresholds, "bins": bins}
    # Of 20,000 bins, each is a few hundred times as wide as angles of single precision are wrong.
    slack = 0 if dtype == "float64" else 20 if bins == 20_000 else 2
    agrees(summarize(grad, True, mask, **options), expect(grad, -1, mask, **options), slack=slack)


@pytest.mark.parametrize(("grid", "block"), [(1, 32), (2, 96), (5, 256)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_launch_of_a_summary_does_not_matter(emulator: Emulator, seed: int, grid: int, block: int) -> None:
    """Sums are added in one order, and threads that run in another order find no race."""
    grad = make_grad("special", (5, 4, 2100), DTYPES["float32"], 1)
    expected = summarize(grad, False)
    emulator.grid, emulator.block, emulator.seed = grid, block, seed
    summary = summarize(grad, False)
    for field in ("counts", "n_undefined", "sums", "sums_of_squares", "histogram"):
        np.testing.assert_array_equal(getattr(summary, field), getattr(expected, field))


# --- random words ---


@pytest.mark.parametrize("length", [0, 1, 4, 15, 16, 17, 200])
def test_digests_are_those_of_the_definition(emulator: Emulator, length: int) -> None:
    codes = np.random.default_rng(0).integers(0, 5, (7, length)).astype(np.uint8)
    codes[codes == 4] = 255
    seed = 2**40 + 3
    given, keys = Guarded.of(codes), Guarded((7, 2), np.uint32)
    cuda.digest(codes.shape, QUEUE, codes=given.array.ctypes.data, seed=seed, keys=keys.array.ctypes.data)
    assert keys.is_intact()
    np.testing.assert_array_equal(keys.array, cpu_sequences.digest(codes, seed))
    assert tuple(keys.array[0]) == reference_sequences.digest(codes[0].tolist(), seed)


def test_words_are_those_of_the_definition(emulator: Emulator) -> None:
    keys = np.random.default_rng(0).integers(0, 2**32, (3, 2), np.uint32)
    samples = np.array([0, 5, 2**32 - 1], np.uint32)
    words = Guarded((3, 20), np.uint32)
    addresses = {"keys": keys.ctypes.data, "samples": samples.ctypes.data, "words": words.array.ctypes.data}
    cuda.words((3, 5), QUEUE, purpose=3, first=7, **addresses)
    assert words.is_intact()
    for k in range(3):
        stream = reference_sequences.words(tuple(keys[k].tolist()), int(samples[k]), 3)
        np.testing.assert_array_equal(words.array[k], [next(stream) for _ in range(48)][28:])

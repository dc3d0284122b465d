"""The operations with CUDA: which kernel a call needs, and the structure of addresses and numbers that it is given.

Memory is passed by address, C-contiguous; whoever owns it keeps it alive until the launch, and orders what comes later
on the same stream.
"""

import importlib.util
import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .cuda_launch import BLOCK, Kernel, Queue, launch, load
from .cuda_launch import OPTIONS as OPTIONS
from .cuda_launch import source as source

SEGMENT, THRESHOLDS = 1024, 4  # as in summary.cuh
DEGREE = 2**22  # units of an angle in single precision; as in summary.cuh
SORTED = 4096  # positions of a sequence that are sorted in shared memory; as in ranking.cuh
SHARED_BYTES = 32768  # of histograms in a block; every device has as much without being asked

FLOATS = {"float16": "Half", "bfloat16": "BFloat16", "float32": "float", "float64": "double"}
INTEGERS = {
    "int8": "signed char", "uint8": "unsigned char", "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned", "int64": "long long", "uint64": "unsigned long long",
}  # fmt: skip
OUTPUTS = (
    "corrected",
    "angle",
    "grad_times_input",
    "raw_grad_times_input",
    "substitution_effects",
)  # bits in analyze.cuh
STANDARD = OUTPUTS[:3]
POINTERS = ("grad", "x", *OUTPUTS)
"""How the structure of the maps begins."""
NARROW = 2**30
"""Elements that indices of 32 bits count, with what a grid goes too far."""

TYPES = FLOATS | INTEGERS | {"bool": "unsigned char"}
ITEM_BYTES = {name: 2 if name == "bfloat16" else np.dtype(name).itemsize for name in TYPES}


class DeviceMemory(NamedTuple):
    """Where an array begins, and the name of its dtype."""

    address: int
    dtype: str


def warm_up():
    """Load the usual kernels on every device that can run them: four letters, every precision but double."""
    if importlib.util.find_spec("cupy") is None:
        return
    import cupy
    from cupy.cuda import nvrtc

    if not cupy.cuda.is_available():
        return
    least = min(nvrtc.getSupportedArchs())
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the compiler releases the GIL
        for device in range(cupy.cuda.runtime.getDeviceCount()):
            if int(cupy.cuda.Device(device).compute_capability) >= least:
                list(pool.map(lambda kernel, device=device: load(kernel, device), usual_kernels()))
                # The first launch of a thread makes its context ready, which must not happen while a graph is captured.
                digest((0, 0), Queue(device, 0), codes=0, seed=0, keys=0)


def usual_kernels():
    """Kernels for four letters in float32 and half precision, any layout: standard work, its parts without an input.

    The input is codes, or one-hot of the gradient's dtype.
    """
    kernels = [Kernel("random.cuh", "digest"), Kernel("random.cuh", "words"), *DRAWS.values()]
    kernels += [_RANKING_KERNEL, Kernel("ranking.cuh", "ranking_keys", ("SCORE_TYPE=float",))]
    for grad in ("float32", "float16", "bfloat16"):
        kernels += [_summary_kernel(grad, 4, together) for together in (True, False)]
        plans = sorted({(1, False), (2, False), (4, False), (1, True), (4 // ITEM_BYTES[grad], True)})
        for plan in plans:
            for output in OUTPUTS[:2]:
                kernels.append(_analyze_kernel(grad, "uint8", True, 4, *plan, written=(output,)))
            for x, has_codes in (("uint8", True), ("int64", True), (grad, False)):
                kernels.append(_analyze_kernel(grad, x, has_codes, 4, *plan))
    return kernels


@cache
def _layout(fields):
    """A structure in memory, as C++ lays it out."""
    return np.dtype([(name, *kind) for name, *kind in fields], align=True)


def pack(fields, values):
    """The structure as CuPy takes it: passed by value, as an array with one element."""
    return np.array([tuple(values)], _layout(fields))


def blocks_of(n_threads):
    """Blocks that have so many threads."""
    return -(-n_threads // BLOCK)


# --- the maps ---


def _index(wide):
    """The macro for indices of 32 bits, where they suffice."""
    return () if wide else ("INDEX_TYPE=int",)


def _compute(dtype):
    return "f8" if dtype == "float64" else "f4"


def _units(degrees, undefined):
    radian = 180 / math.pi if degrees else 1.0
    return radian, radian * math.pi / 2, undefined


@cache
def _analyze_fields(letters, compute):
    return (
        *((name, "u8") for name in POINTERS),
        ("outer", "i8"),
        ("inner", "i8"),
        ("weights", compute, (letters,)),
        ("units", compute, (3,)),
    )


def _fits(arrays, row, group, letters):
    """Whether rows can be walked through in groups: nothing is left over, and no access crosses its alignment."""

    def is_aligned(address, item_bytes, has_letters):
        return address % min(16, item_bytes * group * (letters if has_letters else 1)) == 0

    return row % group == 0 and all(is_aligned(*array) for array in arrays)


def _plan(block, arrays, item_bytes):
    """Outer, inner, positions in a group, and whether the letters are loaded side by side.

    `arrays` are (address, bytes of an item, has letters).
    """
    outer, letters, inner = block
    if letters == 4 and inner == 1:
        group = 4 // item_bytes or 1  # 16 bytes of gradient
        while group:
            if _fits(arrays, outer, group, letters):
                return 1, outer, group, True
            group //= 2
    group = min(4, 16 // item_bytes) if letters == 4 else 1
    while not _fits(arrays, inner, group, 1):
        group //= 2
    return outer, inner, group, False


class Maps(NamedTuple):
    """A launch of the maps on arrays of known kinds, in which only the addresses are missing."""

    kernel: Kernel
    operands: Any
    """The structure with addresses of zero."""
    slots: tuple[int, ...]
    """Which pointer of the structure each address becomes."""
    n_blocks: int

    def launch(self, addresses, queue):
        """Launch on memory at these addresses, in the order in which their kinds were planned."""
        operands = self.operands.copy()
        pointers = operands.view(np.uint64)
        for slot, address in zip(self.slots, addresses, strict=True):
            pointers[slot] = address
        launch(self.kernel, operands, self.n_blocks, queue)


def plan_maps(block, names, dtypes, addresses, weights=None, degrees=True, undefined=0.0):
    """Plan a launch for operands of these names, of `analyze`; addresses matter as far as they are aligned to 16 bytes.

    `block` is positions before the letters, letters, positions behind them.
    """
    dtype_of = dict(zip(names, dtypes, strict=True))
    is_codes = "onehot" not in dtype_of
    arrays = [
        (address, ITEM_BYTES[dtype], name in ("grad", "onehot", "corrected", "substitution_effects"))
        for name, dtype, address in zip(names, dtypes, addresses, strict=True)
    ]
    grad, letters = dtype_of["grad"], block[1]
    outer, inner, group, together = _plan(block, arrays, ITEM_BYTES[grad])
    no_addresses = (0,) * len(POINTERS)
    operands = pack(
        _analyze_fields(letters, _compute(grad)),
        (*no_addresses, outer, inner, weights or (0.0,) * letters, _units(degrees, undefined)),
    )
    kernel = _analyze_kernel(
        grad,
        dtype_of.get("codes" if is_codes else "onehot", "uint8"),
        is_codes,
        letters,
        group,
        together,
        weighted=weights is not None,
        written=tuple(name for name in OUTPUTS if name in dtype_of),
        wide=math.prod(block) > NARROW,
    )
    slots = tuple(POINTERS.index("x" if name in ("codes", "onehot") else name) for name in names)
    return Maps(kernel, operands, slots, blocks_of(outer * inner // group))


def analyze(block, queue, *, weights=None, degrees=True, undefined=0.0, **memory):
    """Fill the outputs among `memory`, in one pass; as `cpu.analyze`, with `DeviceMemory` in place of arrays."""
    addresses, dtypes = zip(*memory.values(), strict=True)
    maps = plan_maps(block, tuple(memory), dtypes, addresses, weights, degrees, undefined)
    maps.launch(addresses, queue)


@cache
def _analyze_kernel(grad, x, has_codes, letters, group, together, *, weighted=False, written=STANDARD, wide=False):
    macros = (
        f"OUTPUTS={sum(1 << OUTPUTS.index(name) for name in written)}",
        *_index(wide),
        f"GRAD_TYPE={FLOATS[grad]}",
        f"X_TYPE={TYPES[x]}",
        f"HAS_CODES={int(has_codes)}",
        f"N_LETTERS={letters}",
        f"GROUP_SIZE={group}",
        f"LETTERS_LAST={int(together)}",
        f"HAS_WEIGHTS={int(weighted)}",
    )
    return Kernel("analyze.cuh", "analyze", macros, 1 if letters > 8 else max(1, 4 // group))


# --- summaries ---


@cache
def _summary_fields(compute):
    return (
        ("grad", "u8"), ("mask", "u8"), ("histogram", "u8"), ("sums", "u8"), ("counts", "u8"),
        ("n_sequences", "i8"), ("length", "i8"), ("letter_stride", "i8"), ("position_stride", "i8"),
        ("units", compute, (3,)),
        *((("above", "f8", (THRESHOLDS,)), ("tolerance", "f8"), ("bins", "f8")) if compute == "f8" else
          (("above", "i4", (THRESHOLDS,)), ("tolerance", "i4"), ("bins", "u4"), ("shift", "u4"))),
        ("n_bins", "i4"), ("n_tables", "i4"),
    )  # fmt: skip


def _summary_scale(compute, above, tolerance, bins):
    """Units of the angles, thresholds and tolerance in those, and how bins are found: see `Scale` in summary.cuh."""
    if compute == "f8":
        return _units(True, math.nan), tuple(above), tolerance, bins / 180
    radian, right, undefined = (DEGREE * unit for unit in _units(True, math.nan))
    above = tuple(int(min(DEGREE * threshold, 2**31 - 1)) for threshold in above)
    shift = ((2**32 - 1) * 180 * DEGREE // bins).bit_length() - 1
    return (
        (radian, right, undefined),
        above,
        round(DEGREE * tolerance),
        -(-bins * 2**shift // (180 * DEGREE)),
        shift - 32,
    )


class SummaryBuffer(NamedTuple):
    """One piece of memory with all results of a summary; the histogram comes first, and begins with zeros."""

    bins: int
    shape: tuple[int, int]
    """Sequences and segments."""
    n_launches: int

    @classmethod
    def plan(cls, n_sequences, length, n_thresholds, bins):
        """What the results of `angle_summary` need."""
        return cls(bins, (n_sequences, -(-length // SEGMENT)), max(1, -(-n_thresholds // THRESHOLDS)))

    @property
    def offsets(self):
        """Where histogram, sums and counts begin and end, in bytes."""
        rows = math.prod(self.shape)
        return tuple(int(end) for end in np.cumsum([0, 8 * self.bins, 16 * rows, 24 * rows * self.n_launches]))

    def read(self, memory, n_thresholds, length):
        """Results as `reference.summarize_angles` orders them, from the bytes of the memory."""
        histogram, sums, counts = (
            memory[start:stop] for start, stop in zip(self.offsets, self.offsets[1:], strict=False)
        )
        # NumPy adds the segments of each sequence in their order.
        sums = sums.view(np.float64).reshape(*self.shape, 2).sum(axis=1)
        counts = counts.view(np.int32).reshape(self.n_launches, *self.shape, THRESHOLDS + 2).sum(axis=2, dtype=np.int64)
        above = np.moveaxis(counts[..., :THRESHOLDS], 0, 1)
        above = above.reshape(self.shape[0], THRESHOLDS * self.n_launches)[:, :n_thresholds]
        excluded, undefined = counts[0, :, THRESHOLDS], counts[0, :, THRESHOLDS + 1]
        return above, length - excluded, undefined, sums[:, 0], sums[:, 1], histogram.view(np.int64)


def angle_summary(shape, letters_last, queue, *, grad, mask, thresholds, tolerance, buffer, address):
    """Summarise sequences (n_sequences, length, letters), or with the letters before the positions, into `address`.

    `mask` is one byte for each position, or None; `address` is memory of a `SummaryBuffer` filled with zeros.
    """
    n_sequences, length, letters = shape
    compute = _compute(grad.dtype)
    together = letters == 4 and letters_last and grad.address % min(16, 4 * ITEM_BYTES[grad.dtype]) == 0
    strides = (1, letters) if letters_last else (length, 1)
    histogram, sums, counts = (address + offset for offset in buffer.offsets[:3])
    n_tables = min(BLOCK // 32, SHARED_BYTES // (4 * buffer.bins))
    wide = math.prod(shape) > NARROW
    padded = (*thresholds, *[math.inf] * (THRESHOLDS * buffer.n_launches - len(thresholds)))
    rows = math.prod(buffer.shape)
    for number in range(buffer.n_launches):
        above = [threshold + tolerance for threshold in padded[THRESHOLDS * number : THRESHOLDS * (number + 1)]]
        operands = pack(
            _summary_fields(compute),
            (
                grad.address, 0 if mask is None else mask, histogram if number == 0 else 0, sums,
                counts + 24 * rows * number, n_sequences, length, *strides,
                *_summary_scale(compute, above, tolerance, buffer.bins), buffer.bins, n_tables,
            ),
        )  # fmt: skip
        histogram_places = 0 if number else 2 if n_tables else 1
        kernel = _summary_kernel(grad.dtype, letters, together, mask is not None, histogram_places, wide)
        launch(kernel, operands, rows, queue, 4 * n_tables * buffer.bins)


@cache
def _summary_kernel(grad, letters, together, masked=False, histogram_places=2, wide=False):
    macros = (
        f"GRAD_TYPE={FLOATS[grad]}",
        f"N_LETTERS={letters}",
        f"LETTERS_LAST={int(together)}",
        f"HAS_MASK={int(masked)}",
        f"HISTOGRAM={histogram_places}",
        *_index(wide),
    )
    return Kernel("summary.cuh", "angle_summary", macros, BLOCK // 32)


# --- random words; what cuda_draws makes of them ---

DRAWS = {name: Kernel("draws.cuh", name) for name in ("noise", "mutate", "permute", "walk")}

_DIGEST = (("codes", "u8"), ("keys", "u8"), ("n_sequences", "i8"), ("length", "i8"), ("seed", "u4", (2,)))
_WORDS = (
    ("keys", "u8"), ("samples", "u8"), ("words", "u8"), ("n_streams", "i8"), ("n_blocks", "i8"),
    ("purpose", "u4"), ("first", "u4"),
)  # fmt: skip


def digest(shape, queue, *, codes, seed, keys):
    """Write the keys of sequences, uint32 (n_sequences, 2), from their codes, uint8 of `shape`; all by address."""
    operands = pack(_DIGEST, (codes, keys, *shape, (seed % 2**32, seed // 2**32)))
    launch(Kernel("random.cuh", "digest"), operands, blocks_of(shape[0]), queue)


def words(shape, queue, *, keys, samples, purpose, first, words):
    """Write words of streams, uint32 (n_streams, 4 * n_blocks), from block `first` on; `shape` is without the 4."""
    operands = pack(_WORDS, (keys, samples, words, *shape, purpose, first))
    launch(Kernel("random.cuh", "words"), operands, blocks_of(math.prod(shape)), queue)


# --- rankings ---

_KEYS = (
    ("scores", "u8"), ("mask", "u8"), ("keys", "u8"), ("first_nan", "u8"), ("n_sequences", "i8"), ("length", "i8"),
    ("omit_nan", "i4"),
)  # fmt: skip
_RANKING = (
    ("keys", "u8"), ("labels", "u8"), ("order", "u8"), ("results", "u8"), ("n_sequences", "i8"), ("length", "i8"),
)  # fmt: skip
_RANKING_BYTES = 8 * (SORTED + 1) + SORTED + 2 * 8 * BLOCK  # a row in shared memory


def ranking_keys(shape, queue, *, scores, mask, keys, first_nan, omit_nan):
    """Write the scores of `shape`, (n_sequences, length), as int64 in the same order, those left out below all others.

    `scores` is `DeviceMemory`, the others addresses; `mask` may be 0. `first_nan`, an int64 to begin with, becomes the
    first sequence with a NaN that counts and may not be left out, if that is less.
    """
    operands = pack(_KEYS, (scores.address, mask, keys, first_nan, *shape, omit_nan))
    kernel = Kernel("ranking.cuh", "ranking_keys", (f"SCORE_TYPE={FLOATS[scores.dtype]}",))
    launch(kernel, operands, blocks_of(math.prod(shape)), queue)


def ranking(shape, queue, *, keys, labels, order, results):
    """Write AUROC, AUPR and average precision, float64 (n_sequences, 3); all by address.

    `order` are the positions of each sequence, int64, the highest key first; 0 if they are no more than `SORTED`.
    """
    operands = pack(_RANKING, (keys, labels, order, results, *shape))
    launch(_RANKING_KERNEL, operands, shape[0], queue, _RANKING_BYTES)


_RANKING_KERNEL = Kernel("ranking.cuh", "ranking", ("SCORE_TYPE=float",))  # the type of the scores is in the keys only

"""What is timed: an operation on tensors of some dtype, layout and size, with the memory it cannot help moving."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.device import BLOCK, Device, turns
from benchmarks.harness import compare
from gradcorr_fast.bench._cases import Case as Case
from gradcorr_fast.kernels import cuda, cuda_launch

STREAM = Path(__file__).parent / "stream.cuh"
GROUP = 4  # positions, as in stream.cuh
STREAM_FIELDS = (
    ("grad", "u8"), ("x", "u8"), ("whole", "u8"), ("single", "u8", (2,)), ("sink", "u8"), ("n_groups", "i8"),
    ("key", "u4"), ("unused", "u4"),
)  # fmt: skip
ROUNDING = {"float32": 1e-5, "float16": 2**-10, "bfloat16": 2**-8}  # relative, of what is stored


class Arrays:
    """Random numbers made once on the device; gradients of any layout and size are views of them."""

    def __init__(self, device: Device) -> None:
        self.memory = device.memory
        self._grads: dict[str, Any] = {}
        self._codes: Any = None

    def grad(self, case: Case) -> Any:
        import torch

        size = 4 * case.positions
        kept = self._grads.get(case.dtype)
        if kept is None or kept.numel() < size:
            self._grads.pop(case.dtype, None)
            kept = torch.randn(size, dtype=getattr(torch, case.dtype), device=self.memory)
            self._grads[case.dtype] = kept
        return kept[:size].view(case.shape())

    def codes(self, case: Case) -> Any:
        import torch

        if self._codes is None or self._codes.numel() < case.positions:
            self._codes = torch.randint(0, 4, (case.positions,), dtype=torch.uint8, device=self.memory)
        return self._codes[: case.positions].view(case.n_sequences, case.length)

    def forget(self) -> None:
        self._grads.clear()
        self._codes = None

    def x(self, case: Case) -> Any:
        if case.work.x is None:
            return None
        codes = self.codes(case)
        return codes if case.work.x == "codes" else one_hot(codes, case)


def one_hot(codes: Any, case: Case) -> Any:
    import torch

    letters = torch.arange(4, dtype=torch.uint8, device=codes.device)
    return (codes.unsqueeze(case.axis) == (letters.view(4, 1) if case.axis == 1 else letters)).to(
        getattr(torch, case.dtype)
    )


def allocate(case: Case, device: Device, *, poisoned: bool = False) -> list[Any]:
    """Outputs; NaN all over if they are to show what is left unwritten."""
    import torch

    wanted = [(case.shape(), getattr(torch, case.dtype))] * case.work.n_whole
    wanted += [((case.n_sequences, case.length), torch.float32)] * case.work.n_single
    outputs = [torch.empty(shape, dtype=dtype, device=device.memory) for shape, dtype in wanted]
    return [tensor.fill_(float("nan")) for tensor in outputs] if poisoned else outputs


def ends(tensor: Any) -> Any:
    """First and last sequence in NumPy, widened; codes as they are."""
    import torch

    if isinstance(tensor, np.ndarray):
        tensor = torch.from_numpy(tensor)
    elif not isinstance(tensor, torch.Tensor):  # CuPy's
        tensor = torch.as_tensor(tensor, device="cuda")
    part = tensor[[0, -1]].cpu()
    return (part.double() if part.is_floating_point() else part).numpy()


def check(case: Case, results: Any, grad: Any, x: Any, *, angle_error: float = 1e-4) -> None:
    """Compare the first and last sequence with the definition in float64; `angle_error` in degrees."""
    expected = case.work.expected(ends(grad), None if x is None else ends(x), case.axis)
    names = {"analyze": ("correct", "simplex_angle", "grad_times_input")}.get(
        case.work.operation, (case.work.operation,)
    )
    if case.work.operation != "analyze":
        results, expected = [results], [expected]
    for name, result, wanted in zip(names, results[: len(names)], expected, strict=True):
        error = ROUNDING[case.dtype if name == "correct" else "float32"]
        tolerance = angle_error if name == "simplex_angle" else 1e-5
        np.testing.assert_allclose(ends(result), wanted, rtol=error, atol=tolerance, err_msg=name)


def check_written(outputs: list[Any]) -> None:
    """Every element of outputs that were poisoned."""
    for tensor in outputs:
        assert not bool(tensor.isnan().any()), "an element was left unwritten"


def our_call(case: Case, grad: Any, x: Any, outputs: list[Any] | None = None) -> Callable[[], Any]:
    return lambda: case.work.ours(grad, x, case.axis, outputs)


# --- yardsticks ---


@cache
def stream_kernel(dtype: str, x: str | None, n_whole: int, n_single: int) -> cuda.Kernel:
    vectors = cuda.ITEM_BYTES[dtype]  # 4 letters of GROUP positions
    macros = (
        f"GRAD_VECTORS={vectors}",
        f"X_VECTORS={vectors if x == 'one-hot' else 0}",
        f"HAS_CODES={int(x == 'codes')}",
        f"HAS_WHOLE={n_whole}",
        f"SINGLE_OUTPUTS={n_single}",
    )
    return cuda.Kernel(str(STREAM), "stream", macros)


class Stream:
    """The streaming kernel over the same arrays as a case, launched with the grid that was found to be fastest."""

    def __init__(self, case: Case, device: Device, grad: Any, x: Any) -> None:
        import torch

        self.case, self.device, self.grad, self.x = case, device, grad, x
        self.sink = torch.zeros(1, dtype=torch.int32, device=device.memory)
        self.kernel = stream_kernel(case.dtype, case.work.x, case.work.n_whole, case.work.n_single)
        self.tiles = max(1, -(-(case.positions // GROUP) // BLOCK))
        self.n_blocks = self._fastest()

    def __call__(self, outputs: list[Any] | None = None, n_blocks: int | None = None) -> list[Any]:
        if outputs is None:
            outputs = allocate(self.case, self.device)
        addresses = [tensor.data_ptr() for tensor in outputs]
        whole = addresses.pop(0) if self.case.work.n_whole else 0
        single = (*addresses, 0, 0)[:2]
        x = 0 if self.x is None else self.x.data_ptr()
        values = (self.grad.data_ptr(), x, whole, single, self.sink.data_ptr(), self.case.positions // GROUP, 1, 0)
        operands = np.array([values], np.dtype([(name, *kind) for name, *kind in STREAM_FIELDS], align=True))
        self.device.launch(self.kernel, operands, self.n_blocks if n_blocks is None else n_blocks)
        return outputs

    def _fastest(self) -> int:
        """A few blocks for each multiprocessor, or one for each tile: which is best depends on the device."""
        grids = sorted({min(self.tiles, k * self.device.processors) for k in (2, 4, 8, 16, 32)} | {self.tiles})
        outputs = allocate(self.case, self.device)
        calls = [lambda n_blocks=n_blocks: self(outputs, n_blocks) for n_blocks in grids]
        medians = [float(np.median(times)) for times in turns(self.device, calls, 5)]
        return grids[int(np.argmin(medians))]


def copy_call(case: Case, device: Device) -> Callable[[], Any]:
    """The framework's own copy on the device, of half the bytes of the case: it reads and writes each of them."""
    import torch

    source, target = (torch.empty(case.bytes // 2, dtype=torch.uint8, device=device.memory) for _ in range(2))
    source.random_(0, 256)
    return lambda: target.copy_(source)


# --- what a user waits for ---


@contextmanager
def single_precision() -> Iterator[None]:
    """No TF32, as in the hook."""
    from gradcorr_fast.hooks.torch._states import set_precision

    with set_precision("float32"):
        yield


def wall(device: Device, call: Callable[[], Any]) -> float:
    device.synchronize()
    start = time.perf_counter()
    result = call()
    device.synchronize()
    stop = time.perf_counter()
    del result
    return stop - start


def pair(device: Device, ours: Callable[[], Any], other: Callable[[], Any], rounds: int) -> dict[str, float]:
    times = [(wall(device, ours), wall(device, other)) for _ in range(rounds)]
    mine, theirs = (list(column) for column in zip(*times, strict=True))
    return compare(mine, theirs)


# --- rows ---


def against(
    device: Device,
    record: Callable[..., None],
    case: Case,
    ours: Callable[[], Any],
    others: dict[str, Callable[[], Any]],
    rounds: int,
    **row: Any,
) -> None:
    """Time ours and all others in turn, and record a row for each of the others."""
    assert case.bytes >= 8 * device.cache_bytes, "the arrays fit into the cache"
    mine, *theirs = turns(device, [ours, *others.values()], rounds)
    aims = row.pop("aims", {})
    for provider, times in zip(others, theirs, strict=True):
        aim = {"target": aims[provider]} if provider in aims else {}
        record(speeds(case, mine, times), **case.names, **row, provider=provider, rounds=rounds, **aim)


def speeds(case: Case, mine: list[float], theirs: list[float]) -> dict[str, float]:
    found = compare(mine, theirs)
    found["gigabytes_per_second"] = case.bytes / found["seconds"] / 1e9
    found["provider_gigabytes_per_second"] = case.bytes / found["provider_seconds"] / 1e9
    return found


@contextmanager
def blocks_per_processor(n: int) -> Iterator[None]:
    """Launch our kernels with at most so many blocks for each multiprocessor."""
    before = cuda_launch.BLOCKS_PER_PROCESSOR
    cuda_launch.BLOCKS_PER_PROCESSOR = n
    try:
        yield
    finally:
        cuda_launch.BLOCKS_PER_PROCESSOR = before

"""What only a GPU can show: streams, graphs, several devices, sizes, and memory that stays on the device."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import has_gpu
from tests.criterion import DTYPES, assert_meets_criterion, make_grad
from tests.test_ops import make_codes

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not has_gpu(), reason="there is no GPU")]

torch = pytest.importorskip("torch")

SHAPE = (300, 2000, 4)


def make(shape: tuple[int, ...] = SHAPE, dtype: str = "float32", axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    return make_grad("normal", shape, DTYPES[dtype], axis), make_codes(shape, axis)


def on_gpu(array: np.ndarray) -> Any:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).cuda().view(torch.bfloat16)
    return torch.from_numpy(array).cuda()


def check(maps: gf.AttributionMaps, grad: np.ndarray, codes: np.ndarray, axis: int = -1) -> None:
    for field, result in zip(maps._fields[:3], maps[:3], strict=True):
        found = result.cpu().float().numpy().astype(grad.dtype if field == "corrected" else np.float32)
        assert_meets_criterion(found, field, grad, codes, axis=axis)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_large_arrays_meet_the_criterion(dtype: str, axis: int) -> None:
    shape = SHAPE if axis == -1 else (300, 4, 2000)
    grad, codes = make(shape, dtype, axis)
    check(gf.analyze(on_gpu(grad), on_gpu(codes), axis=axis), grad, codes, axis)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_in_half_precision_is_read_and_rounded_as_numpy_does(dtype: str) -> None:
    """The instructions that convert are not the code that the emulator runs."""
    values = np.arange(2**16, dtype=np.uint16).view(DTYPES[dtype])
    grad = np.zeros((2**16, 4), values.dtype)
    grad[:, 0], grad[:, 1] = values, np.roll(values, 4321)
    wide = grad.astype(np.float32)
    with np.errstate(all="ignore"):
        expected = (wide - wide.mean(1, keepdims=True)).astype(values.dtype).astype(np.float32)
    np.testing.assert_array_equal(gf.correct(on_gpu(grad)).float().cpu().numpy(), expected)


def test_the_current_stream_is_used_after_a_long_producer() -> None:
    """Launched on another stream, the kernel would read what is not there yet."""
    grad, codes = make()
    source, x = on_gpu(grad), on_gpu(codes)
    side = torch.cuda.Stream()
    late = torch.zeros_like(source)
    gf.analyze(late, x)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        late.copy_(source)
        maps = gf.analyze(late, x)
    side.synchronize()
    check(maps, grad, codes)


def test_two_streams_work_side_by_side() -> None:
    grad, codes = make()
    arrays = [(on_gpu(grad * scale), on_gpu(codes)) for scale in (1, 2)]
    expected = [gf.analyze(*pair) for pair in arrays]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in arrays]
    results = []
    for _ in range(20):
        for stream, pair in zip(streams, arrays, strict=True):
            with torch.cuda.stream(stream):
                results.append(gf.analyze(*pair))
    torch.cuda.synchronize()
    for k, maps in enumerate(results):
        assert all(torch.equal(a, b) for a, b in zip(maps[:3], expected[k % 2][:3], strict=True))


@pytest.mark.parametrize("axis", [-1, 1])
def test_a_graph_is_captured_after_warming_up_and_replayed(axis: int) -> None:
    gf.warmup()
    grad, codes = make((20, 2000, 4) if axis == -1 else (20, 4, 2000), axis=axis)
    static, x = torch.zeros(grad.shape, device="cuda"), on_gpu(codes)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        maps = gf.analyze(static, x, axis=axis)
    static.copy_(on_gpu(grad))
    graph.replay()
    torch.cuda.synchronize()
    check(maps, grad, codes, axis)


def test_capturing_what_is_not_compiled_says_so() -> None:
    grad = torch.ones(7, 11, 23, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        grad.add_(0)  # torch warns of an empty graph
        with pytest.raises(RuntimeError, match="once before the capture"):
            gf.correct(grad, n_letters=23)
    torch.cuda.synchronize()
    assert gf.correct(torch.ones(2, 3, 4, device="cuda")).abs().sum() == 0


@pytest.mark.parametrize("axis", [-1, 1])
def test_more_than_two_to_the_31_elements(axis: int) -> None:
    n = 2**31 // (4 * 4096) + 3
    if torch.cuda.mem_get_info()[0] < 3 * n * 4 * 4096 * 2:
        pytest.skip("too little memory")
    shape = (n, 4096, 4) if axis == -1 else (n, 4, 4096)
    grad = torch.empty(shape, dtype=torch.bfloat16, device="cuda").normal_()
    maps = gf.analyze(grad, axis=axis)
    ends = torch.cat([grad[:2], grad[-2:]])
    expected = gf.analyze(ends, axis=axis)
    for found, wanted in zip(maps[:2], expected[:2], strict=True):
        assert torch.equal(torch.cat([found[:2], found[-2:]]), wanted)
    total = gf.angle_summary(grad, axis=axis)
    assert total.histogram.sum() == n * 4096
    np.testing.assert_array_equal(total.counts[[0, 1, -2, -1]], gf.angle_summary(ends, axis=axis).counts)


def test_nothing_is_allocated_outside_of_the_pool_of_torch() -> None:
    cupy = pytest.importorskip("cupy")
    grad, codes = (on_gpu(array) for array in make())
    pool = cupy.get_default_memory_pool()
    before = pool.total_bytes()
    gf.analyze(grad, codes)
    gf.angle_summary(grad)
    torch.cuda.synchronize()
    assert pool.total_bytes() == before


def test_summaries_are_the_same_in_every_run_and_as_on_the_cpu() -> None:
    grad, _ = make((50, 2114, 4))
    first = gf.angle_summary(on_gpu(grad))
    for _ in range(5):
        again = gf.angle_summary(on_gpu(grad))
        for field in ("counts", "n_undefined", "sums", "sums_of_squares", "histogram"):
            np.testing.assert_array_equal(getattr(again, field), getattr(first, field))
    on_cpu = gf.angle_summary(grad)
    assert np.abs(first.counts - on_cpu.counts).sum() <= 2
    assert first.mean == pytest.approx(on_cpu.mean, abs=1e-6)


@pytest.mark.parametrize("function", [gf.correct, gf.simplex_angle])
def test_gradients_flow_on_the_device_to_second_order(function: Any) -> None:
    grad = torch.randn(2, 5, 4, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(function, grad)
    assert torch.autograd.gradgradcheck(function, grad)


def test_mixed_devices_are_refused() -> None:
    grad = torch.ones(2, 3, 4, device="cuda")
    with pytest.raises(ValueError, match="move one with"):
        gf.grad_times_input(grad, torch.zeros(2, 3, dtype=torch.int64))


def test_every_device_has_its_own_kernels() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    grad, codes = make((3, 200, 4))
    for device in range(torch.cuda.device_count()):
        maps = gf.analyze(torch.from_numpy(grad).to(device), torch.from_numpy(codes).to(device))
        assert maps.angle.device.index == device
        check(maps, grad, codes)


def test_attributions_stay_on_the_device() -> None:
    model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 7), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(352, 1))
    model = model.cuda()
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (16, 50)), 4).float().transpose(1, 2).contiguous()
    maps = gf.hooks.torch.saliency(model, x.cuda(), outputs=("corrected", "angle"))
    assert maps.corrected.device.type == maps.angle.device.type == "cuda"
    on_cpu = gf.hooks.torch.saliency(model.cpu(), x, outputs=("corrected",))
    torch.testing.assert_close(maps.corrected.cpu(), on_cpu.corrected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("current", [0, 1])
def test_the_current_stream_of_cupy_is_used(current: int) -> None:
    cupy = pytest.importorskip("cupy")
    grad, codes = make()
    stream = cupy.cuda.Stream(non_blocking=True) if current else cupy.cuda.Stream.null
    source, x = cupy.asarray(grad), cupy.asarray(codes)
    late = cupy.zeros_like(source)
    slow = cupy.random.standard_normal((6000, 6000))
    gf.analyze(late, x)
    cupy.cuda.Device().synchronize()
    with stream:
        for _ in range(3):
            slow = slow @ slow / 100  # long work that the copy and the kernel must wait for
        late[...] = source
        maps = gf.analyze(late, x)
    stream.synchronize()
    assert_meets_criterion(cupy.asnumpy(maps.angle), "angle", grad)


def test_words_and_digests_are_those_of_the_cpu() -> None:
    from gradcorr_fast.kernels import cpu_sequences, cuda, reference_sequences

    codes = np.random.default_rng(0).integers(0, 4, (50, 200)).astype(np.uint8)
    queue = cuda.Queue(0, torch.cuda.current_stream().cuda_stream)
    given, keys = on_gpu(codes), torch.zeros(50, 2, dtype=torch.int32, device="cuda")
    cuda.digest(codes.shape, queue, codes=given.data_ptr(), seed=5, keys=keys.data_ptr())
    found = keys.cpu().numpy().view(np.uint32)
    np.testing.assert_array_equal(found, cpu_sequences.digest(codes, 5))
    samples = torch.zeros(50, dtype=torch.int32, device="cuda")
    words = torch.zeros(50, 8, dtype=torch.int32, device="cuda")
    addresses = {"keys": keys.data_ptr(), "samples": samples.data_ptr(), "words": words.data_ptr()}
    cuda.words((50, 2), queue, purpose=3, first=0, **addresses)
    stream = reference_sequences.words(tuple(found[0].tolist()), 0, 3)
    np.testing.assert_array_equal(words[0].cpu().numpy().view(np.uint32), [next(stream) for _ in range(8)])


def test_batches_that_are_copied_beside_others_are_not_mixed_up() -> None:
    """Codes, places and results cross the bus while other batches are at work, in memory that is used again."""
    from gradcorr_fast.hooks._attempts import Ahead, attempt
    from gradcorr_fast.hooks._session import Session, open_session

    torch.manual_seed(0)
    layers = torch.nn.Conv1d(4, 16, 9), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()
    model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 2))
    codes = np.random.default_rng(0).integers(0, 4, (40 * 8, 600)).astype(np.uint8)
    rows, positions = np.arange(8), np.arange(8) * 70

    def columns_of(session: Session) -> list[Any]:
        def begin(part: slice, codes: np.ndarray) -> Any:
            if session.device.startswith("cuda"):
                torch.cuda._sleep(2_000_000)
            return session.start_columns(codes, rows, positions)

        run = Ahead(lambda part: codes[part], begin, session.batches, len(codes))
        return [found for _, found in attempt(slice(0, len(codes)), run, session.batches, cut=run.cut)]

    found = []
    for device in ("cpu", "cuda"):
        with open_session(model, "torch", length=600, targets=[0, 1], batch_size=8, device=device) as session:
            found.append(columns_of(session))
    for expected, own in zip(*found, strict=True):
        np.testing.assert_allclose(own[0], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(own[1], expected[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("length", [7, 2000, 30_000])
def test_draws_on_the_gpu_have_the_bits_of_the_host(length: int) -> None:
    from gradcorr_fast.hooks._draws import HostDraws
    from gradcorr_fast.hooks._layout import make_layout
    from gradcorr_fast.hooks.torch._draws import DeviceDraws

    codes = make_codes((5, length, 4), -1).astype(np.uint8)
    codes[codes > 3] = 255
    x = gf.sequences.one_hot(codes, np.float32, 1)
    layout = make_layout(x.shape, 1, None, None)
    host, device = HostDraws(x, codes, layout, 3, torch.from_numpy), DeviceDraws(on_gpu(x), layout, 3)
    assert torch.equal(device.noise(1).cpu(), host.noise(1))
    assert torch.equal(device.mutants(1, 0.3).cpu(), host.mutants(1, 0.3))
    assert torch.equal(device.shuffled("mono", 1).cpu(), host.shuffled("mono", 1))
    assert torch.equal(device.shuffled("dinucleotide", 1).cpu(), host.shuffled("dinucleotide", 1))

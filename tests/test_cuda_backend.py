"""How arrays on CUDA devices are prepared and launched, and what is said when that cannot be; no GPU is needed."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.backends import _cuda
from gradcorr_fast.kernels import cuda, cuda_launch
from tests.conftest import require_compiler
from tests.criterion import DTYPES, make_grad
from tests.emulator.patches import tensors_on_cuda

torch = pytest.importorskip("torch")


class FakeCuda(ModuleType):
    """A CuPy without a GPU that writes down what it is asked for."""

    def __init__(self, *, driver: int = 13000, runtime: int = 13000, hip: bool = False, capability: str = "90") -> None:
        super().__init__("cupy")
        self.calls: list[Any] = []
        self.capturing = False
        runtime_module = SimpleNamespace(
            is_hip=hip,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            streamIsCapturing=lambda _: self.capturing,
            streamSynchronize=lambda address: self.calls.append(("synchronize", address)),
            deviceGetAttribute=lambda *_: 2,
            cudaDevAttrMultiProcessorCount=16,
        )
        self.cuda = ModuleType("cupy.cuda")
        self.cuda.__dict__.update(
            runtime=runtime_module,
            nvrtc=SimpleNamespace(getSupportedArchs=lambda: (75, 90)),
            driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda *_: 3),
            Device=self.enter("device", compute_capability=capability),
        )
        self.RawKernel = self.make_kernel

    def enter(self, name: str, **attributes: Any) -> Any:
        class Entered(nullcontext[None]):
            def __init__(entered, *arguments: Any) -> None:
                super().__init__()
                entered.arguments = arguments
                entered.__dict__.update(attributes)

            def __enter__(entered) -> None:
                self.calls.append((name, *entered.arguments))

        return Entered

    def make_kernel(self, code: str, name: str, options: tuple[str, ...]) -> Any:
        class Kernel:
            @property
            def kernel(_) -> Any:
                self.calls.append(("compile", name, options))
                return SimpleNamespace(ptr=0)

            def __call__(_, *launch: Any, **shared: Any) -> None:
                self.calls.append(("launch", *launch, shared))

        return Kernel()

    def install(self) -> Any:
        return mock.patch.dict(sys.modules, {"cupy": self, "cupy.cuda": self.cuda})


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    caches = _cuda.check_device, cuda_launch._compiled
    with mock.patch.object(cuda_launch, "_loaded", {}):
        for cached in caches:
            cached.cache_clear()
        yield
    for cached in caches:
        cached.cache_clear()


def test_kernels_are_launched_on_the_device_and_stream_of_the_array() -> None:
    fake, kernel = FakeCuda(), cuda.Kernel("random.cuh", "words", ("A=1",))
    operands = np.zeros(1)
    with fake.install():
        cuda.launch(kernel, operands, 5, cuda.Queue(3, 77), 128)
        cuda.launch(kernel, operands, 10**9, cuda.Queue(3, 77))
    compiled = ("compile", "words", cuda.OPTIONS)  # macros are in the source
    launches = [
        ("launch", (n,), (cuda.BLOCK,), (operands,), {"shared_mem": shared, "stream": (77,)})
        for n, shared in ((5, 128), (2 * 15, 0))
    ]
    # Two processors, each with three blocks at a time: whole waves of at most 16 blocks.
    assert fake.calls == [("device", 3), compiled, ("device", 3), launches[0], ("device", 3), launches[1]]


def test_macros_stand_at_the_head_of_the_source() -> None:
    """Among the options they made CuPy compile an empty file for each kernel in each process."""
    source = cuda.source(cuda.Kernel("random.cuh", "words", ("A=1", "B=long long")))
    assert source.startswith("#define A 1\n#define B long long\n")
    assert '#include "' not in source


def test_launches_wait_when_the_user_looks_for_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda()
    with fake.install():
        cuda.launch(cuda.Kernel("random.cuh", "words"), np.zeros(1), 1, cuda.Queue(0, 7))
        assert ("synchronize", 7) not in fake.calls
        monkeypatch.setattr(cuda_launch, "IS_BLOCKING", True)  # as CUDA_LAUNCH_BLOCKING=1 has it
        cuda.launch(cuda.Kernel("random.cuh", "words"), np.zeros(1), 1, cuda.Queue(0, 7))
        assert ("synchronize", 7) in fake.calls


def test_compiling_inside_a_graph_capture_is_refused() -> None:
    """The driver would end the capture with an error that names no cause."""
    fake, kernel = FakeCuda(), cuda.Kernel("random.cuh", "words")
    with fake.install():
        fake.capturing = True
        with pytest.raises(RuntimeError, match="make the same call once before the capture"):
            cuda.launch(kernel, np.zeros(1), 1, cuda.Queue(0, 0))
        fake.capturing = False
        cuda.launch(kernel, np.zeros(1), 1, cuda.Queue(0, 0))
        fake.capturing = True
        cuda.launch(kernel, np.zeros(1), 1, cuda.Queue(0, 0))


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (FakeCuda(driver=0), "no NVIDIA driver was found"),
        (FakeCuda(driver=12040), r"built for CUDA 13, and the NVIDIA driver offers CUDA 12; .*\[cuda12x\]"),
        (FakeCuda(hip=True), "built for ROCm"),
        (FakeCuda(capability="61"), "compute capability 6.1, and CUDA 13 compiles for 7.5 and newer"),
    ],
)
def test_what_cannot_run_says_why_and_names_the_mend(fake: FakeCuda, message: str) -> None:
    with fake.install(), mock.patch.object(importlib.util, "find_spec"), pytest.raises(RuntimeError, match=message):
        _cuda.check_device(0, 13)


def test_a_missing_compiler_is_named() -> None:
    fake = FakeCuda()
    fake.cuda.nvrtc.getSupportedArchs = mock.Mock(side_effect=RuntimeError("libnvrtc.so.13 not found"))
    message = r"pip install 'cupy-cuda13x\[ctk\]'"
    with fake.install(), mock.patch.object(importlib.util, "find_spec"), pytest.raises(RuntimeError, match=message):
        _cuda.check_device(0, 13)


def test_a_missing_cupy_is_named_with_the_extra_for_the_tensors_cuda() -> None:
    missing = mock.patch.object(importlib.util, "find_spec", return_value=None)
    with missing, pytest.raises(gf.MissingBackendError, match=r"CuPy.*gradcorr-fast\[cuda12x\]"):
        _cuda.check_device(0, 12)


def test_tensors_of_rocm_get_the_formula_on_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcorr_fast.backends.torch import _native as backend

    device = torch.device("cuda", 0)
    assert backend.has_kernels(device)
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert not backend.has_kernels(device)


def test_a_note_says_what_there_was_no_room_for() -> None:
    from gradcorr_fast.backends.torch import _native as backend

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with tensors_on_cuda():
        object.__setattr__(backend.LIBRARY, "empty", refuse)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            gf.simplex_angle(torch.ones(2, 3, 4))
    assert "no room on the device for angle" in caught.value.__notes__[0]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The launches that are planned from here on, none of which were planned before."""
    plans: list[Any] = []
    plan_maps = cuda.plan_maps

    def write_down(*arguments: Any) -> cuda.Maps:
        plans.append(plan_maps(*arguments))
        return plans[-1]

    monkeypatch.setattr(_cuda, "_kinds", {})
    monkeypatch.setattr(cuda, "plan_maps", write_down)
    return plans


def test_a_call_is_planned_once(planned: list[Any]) -> None:
    """Planning took most of a call's time on the host, and the kernel waited for it."""
    require_compiler()
    grads = [torch.from_numpy(make_grad("normal", (6, 8, 4), DTYPES["float32"], -1)) * factor for factor in (1, 2, 3)]
    codes = torch.zeros(6, 8, dtype=torch.uint8)
    with tensors_on_cuda():
        found = [gf.analyze(grad, codes).corrected.numpy() for grad in grads]
    assert len(planned) == 1
    np.testing.assert_array_equal(found, [gf.correct(grad.numpy()) for grad in grads])


@pytest.mark.parametrize(
    "change",
    [
        lambda grad: (grad.double(), {}),
        lambda grad: (grad[:5], {}),
        lambda grad: (grad.transpose(0, 1), {}),
        lambda grad: (grad.flatten()[1:161].view(5, 8, 4), {}),
        lambda grad: (grad, {"degrees": False}),
        lambda grad: (grad, {"background": (0.1, 0.2, 0.3, 0.4)}),
        lambda grad: (grad, {"outputs": ("angle",)}),
        lambda grad: (grad, {"out": gf.AttributionMaps(torch.empty(6, 4, 8).transpose(1, 2), torch.empty(6, 8))}),
    ],
    ids=["dtype", "shape", "strides", "alignment", "degrees", "background", "outputs", "strides of out"],
)
def test_what_a_plan_depends_on(planned: list[Any], change: Any) -> None:
    """Arrays that differ in it get a plan of their own, and the values that NumPy gets."""
    require_compiler()
    grad = torch.from_numpy(make_grad("normal", (6, 8, 4), DTYPES["float32"], -1))
    with tensors_on_cuda():
        gf.analyze(grad)
        changed, options = change(grad)
        maps = gf.analyze(changed, **options)
    assert len(planned) == 2
    angle = gf.simplex_angle(changed.numpy(), degrees=options.get("degrees", True))
    np.testing.assert_allclose(maps.angle.numpy(), angle, rtol=1e-5, atol=1e-4)
    corrected = gf.correct(changed.numpy(), background=options.get("background"))
    assert maps.corrected is None or np.allclose(maps.corrected.numpy(), corrected, rtol=1e-5, atol=1e-5)


def test_plans_do_not_pile_up(planned: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    require_compiler()
    monkeypatch.setattr(_cuda, "_MOST_KINDS", 2)
    with tensors_on_cuda():
        results = [gf.correct(torch.ones(n, 4)) for n in (1, 2, 3, 1)]
    assert len(planned) == 4
    assert len(_cuda._kinds) <= 2
    assert not any(result.any() for result in results)


def test_outputs_that_overlap_are_refused_however_often_their_kind_was_seen() -> None:
    require_compiler()
    memory = torch.zeros(1300)
    grad = memory[:600].view(3, 50, 4)
    with tensors_on_cuda():
        gf.correct(grad, out=memory[604:1204].view(3, 50, 4))
        with pytest.raises(ValueError, match="out for corrected overlaps grad"):
            gf.correct(grad, out=memory[4:604].view(3, 50, 4))


def test_torch_is_asked_for_its_current_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcorr_fast.backends.torch import _native as backend

    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: 70 + device, raising=False)
    assert backend.LIBRARY.queue(SimpleNamespace(device=torch.device("cuda", 2))) == cuda.Queue(2, 72)


def test_warming_up_launches_on_the_calling_thread() -> None:
    """CuPy makes a thread's context ready at its first launch, which may fall into the capture of a graph."""
    fake, threads = FakeCuda(), []
    fake.cuda.is_available = lambda: True
    fake.cuda.runtime.getDeviceCount = lambda: 2
    make_kernel = fake.make_kernel

    def note_thread(*arguments: Any) -> Any:
        kernel = make_kernel(*arguments)
        return mock.Mock(kernel=kernel.kernel, side_effect=lambda *_, **__: threads.append(threading.get_ident()))

    fake.RawKernel = note_thread
    with fake.install(), mock.patch.object(importlib.util, "find_spec"):
        cuda.warm_up()
    assert threads == [threading.get_ident()] * 2


def test_overlapping_outputs_on_a_device_are_refused() -> None:
    memory = torch.zeros(1300)
    grad = memory[:600].view(3, 50, 4)
    with tensors_on_cuda():
        with pytest.raises(ValueError, match="out for corrected overlaps grad"):
            gf.correct(grad, out=memory[4:604].view(3, 50, 4))
        with pytest.raises(ValueError, match="out for angle has elements that share memory"):
            gf.simplex_angle(grad, out=torch.empty(50).expand(3, 50))
        with pytest.raises(ValueError, match="must have shape"):
            gf.simplex_angle(grad, out=torch.empty(3, 49))
        with pytest.raises(TypeError, match="x must be one-hot of a real dtype"):
            gf.grad_times_input(grad, torch.zeros(3, 50, 4, dtype=torch.complex64))


@pytest.mark.parametrize("axis", [-1, 1])
def test_results_lie_in_memory_as_the_gradient_does(axis: int) -> None:
    require_compiler()
    grad = torch.from_numpy(make_grad("normal", (6, 4, 8), DTYPES["float32"], 1))
    grad = grad if axis == 1 else grad.transpose(1, 2)
    with tensors_on_cuda():
        maps = gf.analyze(grad, axis=axis)
    assert maps.corrected.stride() == grad.stride()
    assert maps.angle.is_contiguous()


def test_outputs_in_another_order_are_filled() -> None:
    require_compiler()
    grad = torch.from_numpy(make_grad("normal", (6, 4, 8), DTYPES["float32"], 1))
    out = torch.empty(6, 8, 4).transpose(1, 2)
    with tensors_on_cuda():
        assert gf.correct(grad, axis=1, out=out) is out
    np.testing.assert_array_equal(out.numpy(), gf.correct(grad.numpy(), axis=1))

"""The benchmarks for GPUs are rehearsed without one: CUDA code on the emulator, peers on the CPU, a false clock."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import machine, results, sanitize
from tests.conftest import require, require_compiler
from tests.only import HIDING
from tests.test_cuda_compile import check

ROOT = Path(__file__).parents[1]
EXPECTED = {
    "standard work", "correct", "simplex_angle", "grad_times_input", "angle_summary", "saliency", "gradients to NumPy",
    "substitutions of CNN-deep", "score_variants, all scores", "score_variants, delta, incremental",
    "attribute_regions, saliency",
}  # fmt: skip
STREAMS = [
    (dtype, x, n_whole, n_single) for dtype in ("float32", "bfloat16")
    for x, n_whole, n_single in (("codes", 1, 2), ("one-hot", 1, 2), (None, 1, 0), (None, 0, 0))
]  # fmt: skip


@pytest.mark.thorough
def test_everything_runs_without_a_gpu(tmp_path: Path) -> None:
    require("torch")
    require("cupy")
    require_compiler()
    path = tmp_path / "gpu-none.json"
    command = ["bash", "benchmarks/gpu.sh", "--dry", str(path)]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(path.read_text())
    assert {row["operation"] for row in found["rows"]} >= EXPECTED
    assert [state["when"] for state in found["states"]] == ["before", "after"]
    assert found["header"]["commit"]


ABSENT = "logomaker", "tensorflow", "keras", "captum", "dask", "distributed", "zarr", "pysam", "tangermeme"
"""What a machine that is lent may lack."""


@pytest.mark.thorough
def test_every_part_runs_by_itself_where_much_is_absent(tmp_path: Path) -> None:
    require("torch")
    require("cupy")
    require_compiler()
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    path = tmp_path / "gpu-none.json"
    environment = os.environ | {"PYTHON": sys.executable, "HIDDEN_MODULES": ",".join(ABSENT)}
    environment["PYTHONPATH"] = str(tmp_path)
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # Zarr brings one, by which pytest would find what is hidden
    for part in "123":
        command = ["bash", "benchmarks/gpu.sh", "--dry", "--part", part, str(path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "errors" not in done.stdout
    found = json.loads(path.read_text())
    without_stores = {row["operation"] for row in found["rows"]}
    assert without_stores >= EXPECTED - {"attribute_regions, saliency"}
    assert "attribute_regions, saliency" not in without_stores
    assert len(found["states"]) == 6
    wrong = subprocess.run(["bash", "benchmarks/gpu.sh", "--part", "4"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "--part is 1, 2 or 3" in wrong.stderr


def test_the_report_has_the_tables_of_every_card(tmp_path: Path) -> None:
    page, cpu = tmp_path / "speed.md", tmp_path / "cpu.json"
    cpu.write_text((ROOT / "benchmarks/results/cpu.json").read_text())
    row = {
        "operation": "standard work", "layout": "(N, 4, L)", "dtype": "float32", "outputs": "fresh", "x": "codes",
        "length": 2000, "n_sequences": 3, "bytes": 4e9, "seconds": 1e-3, "provider": "torch eager",
        "provider_seconds": 1e-2, "median_ratio": 10.0, "low": 9.0, "high": 11.0, "target": 8,
    }  # fmt: skip
    call = {"operation": "correct", "provider": "one call", "seconds": 2e-5, "least_seconds": 1e-5}
    header = {"card": "A card", "driver": "1", "power_limit_w": "700", "versions": {}, "commit": "c", "date": "d"}
    found = {
        "header": header,
        "runs": {},
        "rows": [row, {**call, "target_seconds": 2e-5}, {**row, "operation": "rest"}],
    }
    del found["rows"][-1]["target"]
    (tmp_path / "gpu-a.json").write_text(json.dumps(found))
    for name in ("speed.md", "exact-effects.md", "peers.md"):
        (tmp_path / name).write_text("<!-- benchmarks -->\n<!-- /benchmarks -->\n")
    command = [sys.executable, "benchmarks/report.py", "--results", str(cpu), "--docs", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    text = page.read_text()
    assert "| 4000.0 | torch eager, 400.0 GB/s | 10.00 (9.00 to 11.00) | 8 |" in text
    assert "| correct | one call |  | 20 us | 10 us | 20 us |" in text
    assert "A card, driver 1" in text
    assert "rest" not in text


# --- the clock ---


def test_times_go_to_the_calls_that_took_them() -> None:
    """Every second round goes backwards, and the times must not."""
    from benchmarks.gpu.device import Dry, turns

    device = Dry(lambda *_: None)

    def take(milliseconds: float) -> None:
        device.milliseconds += milliseconds

    durations = [2.0, 10.0, 5.0]
    times = turns(device, [lambda n=n: take(n) for n in durations], 4)
    np.testing.assert_allclose(times, [[(n + 1) / 1e3] * 4 for n in durations])  # 1 for the reading of the clock


# --- the streaming kernel ---


@pytest.mark.parametrize(("dtype", "x", "n_whole", "n_single"), STREAMS)
def test_streaming_kernel_compiles_to_wide_accesses(dtype: str, x: str | None, n_whole: int, n_single: int) -> None:
    require("cupy")
    from cupy.cuda.compiler import _NVRTCProgram

    from benchmarks.gpu.work import stream_kernel
    from gradcorr_fast.kernels import cuda

    kernel = stream_kernel(dtype, x, n_whole, n_single)
    check(kernel, 90)
    options = ("-arch=compute_90", "-std=c++17")
    ptx = _NVRTCProgram(cuda.source(kernel), "stream.cu", method="ptx").compile(options)[0]
    text = ptx.decode() if isinstance(ptx, bytes) else ptx
    vectors = cuda.ITEM_BYTES[dtype]
    loads = text.count("ld.global.v4") + text.count("ld.global.nc.v4")
    assert loads == vectors * (2 if x == "one-hot" else 1)
    assert text.count("st.global.v4") == vectors * n_whole + n_single


@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("length", [8, 2_000, 5_012])
def test_streaming_kernel_goes_through_all_memory(length: int, n_blocks: int) -> None:
    require("torch")
    require_compiler()
    import torch

    from benchmarks.gpu.device import rehearsal
    from benchmarks.gpu.work import Arrays, Case, Stream, allocate
    from benchmarks.harness import STANDARD

    case = Case(STANDARD, "float32", "(N, L, 4)", 1, length)
    with rehearsal() as device:
        arrays = Arrays(device)
        grad, codes = arrays.grad(case), arrays.x(case)
        outputs = [tensor.view(torch.int32) for tensor in allocate(case, device, poisoned=True)]
        poison = outputs[1].clone()
        Stream(case, device, grad, codes)(outputs, n_blocks)
    key = torch.tensor([1, 0, 0, 0], dtype=torch.int32).repeat(length)
    assert torch.equal(outputs[0].flatten(), grad.view(torch.int32).flatten() ^ key)
    for single in outputs[1:]:
        assert not bool((single == poison).any())


# --- the sanitizer, the counts, the card ---


@pytest.mark.parametrize(
    ("status", "text", "verdict"),
    [
        (0, "===== ERROR SUMMARY: 0 errors", "passed"),
        (sanitize.ERROR, "===== ERROR SUMMARY: 3 errors", "failed"),
        (0, "===== RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)", "failed"),
        (0, "===== RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", "passed"),
        (1, "===== Error: Device not supported.", "does not run on this machine"),
        (1, "Traceback: ===== ERROR SUMMARY: 0 errors", "failed"),
        (None, "", "cut off"),
    ],
)
def test_verdicts_of_the_sanitizer(status: int | None, text: str, verdict: str) -> None:
    assert sanitize.judge(status, text)["status"] == verdict


@pytest.mark.parametrize(("does", "status"), [("echo '= ERROR SUMMARY: 0 errors'", "passed"), ("sleep 20", "cut off")])
def test_a_tool_of_the_sanitizer_is_run(tmp_path: Path, monkeypatch: Any, does: str, status: str) -> None:
    """Also one that starts a child and hangs with it."""
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\n({does})\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sanitize.watch("memcheck", tmp_path / "results.json", 0.5)
    assert results.load(tmp_path / "results.json")["sanitizers"]["memcheck"]["status"] == status


TESTS = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skips(): pass
@pytest.fixture
def broken(): raise ValueError("no set-up")
def test_errors(broken): pass
"""


def test_outcomes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)]
    options = ["-p", "benchmarks.gpu.tally", "--tally", str(path), "-p", "no:cacheprovider", "-W", "ignore"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    run = json.loads(path.read_text())["runs"]["tests"]
    assert (run["passed"], run["failed"], run["skipped"], run["finished"]) == (1, 2, 1, True)
    assert "assert 1 == 2" in run["failures"][0]["message"]
    assert len(results.problems(results.load(path))) == 2


def test_a_field_that_the_driver_does_not_know_costs_no_other(tmp_path: Path, monkeypatch: Any) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$2" in *unknown*) echo "not a valid field"; exit 2;; esac\necho "42"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert machine.ask({"one": "clocks.sm", "two": "unknown"}) == {"one": "42", "two": None}

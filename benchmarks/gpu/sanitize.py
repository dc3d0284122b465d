"""Direct calls of every kernel on small CuPy arrays of awkward sizes, for compute-sanitizer to watch.

python -m benchmarks.gpu.sanitize            the calls, each compared with NumPy
python -m benchmarks.gpu.sanitize --dry      the same on the emulator of the tests
python -m benchmarks.gpu.sanitize TOOL FILE SECONDS    run under a tool of compute-sanitizer, outcome into FILE
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import gradcorr_fast as gf
from benchmarks.gpu import results
from gradcorr_fast.kernels import cpu_sequences, cuda, cuda_draws, reference, reference_sequences

ERROR = 77  # exit status by which the sanitizer says that it found something


def check_maps(xp: Any, to_numpy: Any, dtype: str, shape: tuple[int, ...], kind: str, offset: int) -> None:
    """Every map of an array that begins `offset` elements into its memory, so that wide accesses do not fit."""
    rng = np.random.default_rng(0)
    axis = 1 if shape[1] == 4 else -1
    flat = rng.standard_normal(int(np.prod(shape)) + offset).astype(dtype)
    codes = rng.integers(0, 6, tuple(np.delete(shape, axis))).astype(np.uint8)
    grad, x = flat[offset:].reshape(shape), codes
    if kind == "one-hot":
        x = np.stack([codes == a for a in range(4)], axis).astype(dtype)
    device = xp.asarray(flat)[offset:].reshape(shape), xp.asarray(x)
    wide = grad.astype(np.float64)
    results = [*gf.analyze(*device, axis=axis)[:3], gf.substitution_effects(*device, axis=axis)]
    fields = ("corrected", "angle", "grad_times_input", "substitution_effects")
    for result, wanted in zip(results, reference.analyze(wide, x, axis=axis, fields=fields), strict=True):
        np.testing.assert_allclose(to_numpy(result).astype(np.float64), wanted, 1e-3, 1e-3)
    mask = codes < 5
    summary = gf.angle_summary(device[0], axis=axis, mask=xp.asarray(mask))
    counts, _, _, sums, _, _ = reference.angle_summary(wide, axis=axis, mask=mask)
    np.testing.assert_allclose(summary.counts, counts, atol=1)
    np.testing.assert_allclose(summary.sums, sums, 1e-4, 1e-2)


def check_words(xp: Any, to_numpy: Any, address: Any) -> None:
    codes = np.random.default_rng(0).integers(0, 4, (7, 33)).astype(np.uint8)
    given, keys = xp.asarray(codes), xp.zeros((7, 2), np.uint32)
    samples, words = xp.asarray(np.array([0, 5, 2**32 - 1], np.uint32)), xp.zeros((3, 20), np.uint32)
    queue = cuda.Queue(0, 0)
    cuda.digest(codes.shape, queue, codes=address(given), seed=3, keys=address(keys))
    memory = {"keys": address(keys), "samples": address(samples), "words": address(words)}
    cuda.words((3, 5), queue, purpose=1, first=0, **memory)
    expected = [reference_sequences.digest(row, 3) for row in codes.tolist()]
    np.testing.assert_array_equal(to_numpy(keys), expected)
    assert len(np.unique(to_numpy(words))) > 50
    check_draws(xp, to_numpy, address, codes)


def check_draws(xp: Any, to_numpy: Any, address: Any, codes: Any) -> None:
    """Noise, mutants and shuffles, which have the bits of the CPU's; shuffles in shared memory and outside of it."""
    queue, shape = cuda.Queue(0, 0), codes.shape
    keys = cpu_sequences.digest(codes, 3)
    given, device_keys = xp.asarray(codes), xp.asarray(keys)
    memory = {"keys": address(device_keys), "sample": 2}
    for last in (True, False):
        numbers = xp.zeros((*shape, 4) if last else (len(codes), 4, shape[1]), np.float32)
        cuda_draws.noise((*shape, 4), queue, out=address(numbers), letters_last=last, **memory)
        found = to_numpy(numbers) if last else to_numpy(numbers).transpose(0, 2, 1)
        np.testing.assert_array_equal(found, cpu_sequences.noise(keys, 2, np.empty((*shape, 4), np.float32)))
    out = xp.zeros(shape, np.uint8)
    memory |= {"codes": address(given), "out": address(out)}
    cuda_draws.mutate(shape, queue, rate=0.3, n_letters=4, **memory)
    np.testing.assert_array_equal(to_numpy(out), cpu_sequences.mutate(codes, keys, 2, 0.3, 4))
    for kind in ("mono", "dinucleotide"):
        for most in (cuda_draws.IN_SHARED, 8):
            with mock.patch.object(cuda_draws, "IN_SHARED", most):
                cuda_draws.shuffle(shape, queue, kind=kind, **memory)
            np.testing.assert_array_equal(to_numpy(out), cpu_sequences.shuffle(codes, 1, kind, 3, 2)[:, 0])


def check_rankings(xp: Any, to_numpy: Any) -> None:
    """Both ways of sorting, at lengths round their limit."""
    rng = np.random.default_rng(0)
    for length in (1, 33, 257, cuda.SORTED + 1):
        scores, labels = rng.standard_normal((3, length)).astype(np.float32).round(1), rng.random((3, length)) < 0.5
        labels[:, 0], labels[:, -1] = True, length == 1
        for metric in (gf.metrics.auroc, gf.metrics.aupr, gf.metrics.average_precision):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of one class alone
                found, wanted = metric(xp.asarray(scores), xp.asarray(labels)), metric(scores, labels)
            np.testing.assert_allclose(to_numpy(found), wanted, 1e-12)


def check_all(xp: Any, to_numpy: Any, address: Any) -> None:
    shapes = (3, 9, 4), (3, 4, 9), (3, 4, 28), (2, 1100, 4)
    for dtype, shape, kind in itertools.product(("float32", "float16"), shapes, ("codes", "one-hot")):
        check_maps(xp, to_numpy, dtype, shape, kind, offset=0)
    for shape in shapes:
        check_maps(xp, to_numpy, "float32", shape, "codes", offset=1)
    check_words(xp, to_numpy, address)
    check_rankings(xp, to_numpy)
    print("every kernel gave what NumPy gives")


def on_the_device() -> None:
    import cupy

    cupy.cuda.set_allocator(None)  # no pool: the tool knows where each array ends
    check_all(cupy, cupy.asnumpy, lambda array: array.data.ptr)
    cupy.cuda.runtime.deviceSynchronize()


def rehearse() -> None:
    from tests.emulator.patches import arrays_of_cupy

    with arrays_of_cupy():
        import cupy

        check_all(cupy, cupy.asnumpy, lambda array: array.data.ptr)


def watch(tool: str, path: Path, seconds: float) -> None:
    """Run the calls under a tool, and keep its verdict: 0 errors, errors, or that it could not be run."""
    outcome: dict[str, Any] = {"status": "compute-sanitizer is not installed", "errors": 0, "tail": ""}
    if shutil.which("compute-sanitizer"):
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(ERROR)]
        command += ["--report-api-errors", "no"] if tool == "memcheck" else []
        command += [sys.executable, "-m", "benchmarks.gpu.sanitize"]
        outcome = judge(*_run(command, seconds))
    results.change(path, lambda whole: whole["sanitizers"].update({tool: outcome}))
    print(f"{tool}: {outcome['status']}, {outcome['errors']} errors")


def _run(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit status and output; None if the time was up, and then all that the command started is ended."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            text = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]
        return process.returncode, text


def judge(status: int | None, text: str) -> dict[str, Any]:
    counts = [int(n) for n in re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", text)]
    errors = sum(counts)
    if status is None:
        verdict = "cut off"
    elif errors or status == ERROR:
        verdict = "failed"
    elif "Device not supported" in text:
        verdict = "does not run on this machine"
    else:
        verdict = "passed" if status == 0 and counts else "failed"
    return {"status": verdict, "errors": errors, "tail": "" if verdict == "passed" else text[-3000:]}


def main() -> None:
    arguments = sys.argv[1:]
    if arguments == ["--dry"]:
        rehearse()
    elif arguments:
        watch(arguments[0], Path(arguments[1]), float(arguments[2]))
    else:
        on_the_device()


if __name__ == "__main__":
    main()

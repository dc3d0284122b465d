"""Calls from everywhere: pools, forks, spawned workers, shutdown, every threading layer; no abort, no hang."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.kernels import threads
from tests.criterion import DTYPES, make_grad
from tests.test_dispatch import run_python

LARGE = "import numpy as np, gradcorr_fast as gf; g = np.random.default_rng(0).standard_normal((100, 2000, 4));"
CHECK = "assert np.array_equal(gf.correct(g), g - g.mean(-1, keepdims=True));"


def passes(code: str, **environment: str) -> None:
    done = run_python(LARGE + code, **environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_results_do_not_depend_on_the_number_of_threads(n: int) -> None:
    grad = make_grad("normal", (100, 4, 3001), DTYPES["float32"], 1)
    before = threads.get_num_threads()
    try:
        gf.set_num_threads(n)
        maps = gf.analyze(grad, axis=1)
    finally:
        gf.set_num_threads(before)
    np.testing.assert_array_equal(maps.corrected, grad - grad.mean(1, keepdims=True))
    np.testing.assert_array_equal(maps.angle[-1:], gf.simplex_angle(grad[-1:], axis=1))


def test_calls_from_a_thread_pool_agree_and_work_alone() -> None:
    grad = make_grad("normal", (100, 2000, 4), DTYPES["float32"])
    expected = gf.correct(grad)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(gf.correct, [grad] * 16):
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("failing", [0, 1, 7])
def test_an_error_in_one_chunk_reaches_the_caller_and_stops_the_rest(failing: int) -> None:
    seen = []

    def task(number: int) -> None:
        seen.append(number)
        if number == failing:
            raise KeyError(number)
        time.sleep(0.001)

    with pytest.raises(KeyError):
        threads.run(task, 1000)
    at_return = len(seen)
    time.sleep(0.01)
    assert len(seen) == at_return <= failing + 10


def test_interrupts_at_any_moment_neither_hang_nor_leave_a_thread_at_work() -> None:
    """Ctrl-C inside a pool's submit could leave its lock held, and the next call would wait for ever."""
    code = (
        """
import signal, threading, random, time
from gradcorr_fast.kernels import threads
gf.set_num_threads(2)
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
gf.correct(g)
end, n = time.time() + 3, 0
while time.time() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-3))
        gf.correct(g)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        n += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert n > 10
"""
        + CHECK
    )
    passes(code)


def test_each_chunk_runs_once() -> None:
    seen: list[int] = []
    threads.run(seen.append, 1000)
    assert sorted(seen) == list(range(1000))


def test_a_second_thread_starts_no_pool_of_ours() -> None:
    names: list[str] = []
    worker = threading.Thread(target=threads.run, args=(lambda _: names.append(threading.current_thread().name), 50))
    worker.start()
    worker.join()
    assert set(names) == {worker.name}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_started_after_a_call_work(method: str) -> None:
    """A thread pool used before a fork would hang for ever in the child."""
    code = CHECK + (
        f"""
import multiprocessing as mp, warnings
warnings.simplefilter("ignore")
if __name__ == "__main__":
    with mp.get_context({method!r}).Pool(2) as pool:
        for result in pool.map(gf.correct, [g] * 4):
            assert np.array_equal(result, g - g.mean(-1, keepdims=True))
"""
    )
    passes(code)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers_work(method: str) -> None:
    pytest.importorskip("torch")
    code = """
import torch, warnings
warnings.simplefilter("ignore")
assert torch.equal(gf.correct(torch.from_numpy(g)), torch.from_numpy(g - g.mean(-1, keepdims=True)))
loader = torch.utils.data.DataLoader(
    list(torch.from_numpy(g)), batch_size=60, num_workers=2, collate_fn=gf_collate, multiprocessing_context=%r)
if __name__ == "__main__":
    assert sum(len(batch) for batch in loader) == 100
"""
    code = code.replace("gf_collate", "__import__('tests.loader', fromlist=['collate']).collate")
    passes(code % method)


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_no_threading_layer_of_numba_is_ever_started(layer: str) -> None:
    """Numba's own parallel loops abort the process when entered from two threads under workqueue."""
    code = """
import numba, pytest
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    for result in pool.map(gf.correct, [g] * 8):
        assert np.array_equal(result, g - g.mean(-1, keepdims=True))
with pytest.raises(ValueError, match="not initialized"):
    numba.threading_layer()
"""
    passes(CHECK + code, NUMBA_THREADING_LAYER=layer)


def test_calls_at_interpreter_shutdown_work() -> None:
    late = "assert np.array_equal(gf.correct(g), g - g.mean(-1, keepdims=True)); print('worked')"
    for register in ("import atexit; atexit.register", "import threading; threading._register_atexit"):
        done = run_python(LARGE + f"{register}(lambda: exec({late!r}, globals())); {CHECK}")
        assert (done.stdout.strip(), done.stderr) == ("worked", "")


def test_a_cache_that_cannot_be_written_is_done_without() -> None:
    code = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
caching.CompileResultCacheImpl._locator_classes = []
"""
    done = run_python(code + LARGE + CHECK + "print(gf.info()['cache'])")
    assert done.stdout.strip() == "None", done.stderr


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_thread_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        gf.set_num_threads(n)
    with pytest.raises(TypeError, match="n must be an int"):
        gf.set_num_threads(1.5)

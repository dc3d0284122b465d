"""DistributedDataParallel: two processes on the CPU, each with its part of the sequences, against one with all."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.frameworks import N, X
from tests.test_dispatch import ROOT

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")

PARTS = slice(0, 2), slice(2, N)
"""Of unequal size, so that the processes make different numbers of batches."""
PAIRS = slice(0, 3), slice(3, 6)
"""Of equal size: the mean of the processes' gradients is that of the whole."""
METHODS = "saliency", "integrated_gradients", "saturation_mutagenesis"


def build() -> Any:
    """A network that keeps statistics, which DistributedDataParallel exchanges whenever it is called."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 5, 3), torch.nn.BatchNorm1d(5), torch.nn.Softplus(), torch.nn.Flatten(),
        torch.nn.Linear(20, 1), torch.nn.Sigmoid(),
    ).double()  # fmt: skip


def train_step(model: Any, inner: Any, x: Any) -> dict[str, np.ndarray]:
    """Gradients of all parameters after one backward pass of loss and penalty."""
    inner.train()[1].eval()  # the statistics of a batch are those of a process
    loss = torch.nn.functional.binary_cross_entropy(model(x)[:, 0], x[:, 0, 0])
    (loss + 0.1 * gf.hooks.torch.angle_penalty(model, x)).backward()
    return {name: parameter.grad.numpy() for name, parameter in inner.named_parameters()}


def attribute(model: Any, x: Any) -> dict[str, np.ndarray]:
    return {name: getattr(gf.hooks.torch, name)(model, x, batch_size=1).numpy() for name in METHODS}


def work(rank: int, folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    inner, x = build(), torch.from_numpy(X.astype(np.float64).transpose(0, 2, 1).copy())
    model = torch.nn.parallel.DistributedDataParallel(inner)
    found = attribute(model, x[PARTS[rank]]) | train_step(model, inner, x[PAIRS[rank]])
    np.savez(f"{folder}/{rank}.npz", **found)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("parallel")
    code = "import sys; from tests.test_data_parallel import work; work(int(sys.argv[1]), sys.argv[2])"
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), str(folder)], cwd=ROOT, env=environment, stderr=subprocess.PIPE
        )
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=120)[1].decode() for process in running]
    finally:
        for process in running:  # one that waits for the other would wait for ever
            process.kill()
            process.wait()
    assert not any(process.returncode for process in running), errors
    return [read(folder / f"{rank}.npz") for rank in (0, 1)]


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def test_loss_and_penalty_share_one_backward_pass(found: list[dict[str, np.ndarray]]) -> None:
    """Second derivatives are not exchanged between processes unless they reach the parameters in that pass."""
    model, x = build(), torch.from_numpy(X.astype(np.float64).transpose(0, 2, 1).copy())
    expected = train_step(model, model, x[:6])
    for name, grad in expected.items():
        for process in found:
            np.testing.assert_allclose(process[name], grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", METHODS)
def test_attributions_of_each_process_are_those_of_the_model_inside(
    found: list[dict[str, np.ndarray]], name: str
) -> None:
    """A call of the parallel model waits for one in every other process, which may have fewer batches to do."""
    x = torch.from_numpy(X.astype(np.float64).transpose(0, 2, 1).copy())
    got = np.concatenate([process[name] for process in found])
    np.testing.assert_allclose(got, attribute(build(), x)[name], rtol=1e-9, atol=1e-12)

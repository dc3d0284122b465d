"""Faster copies of the papers' networks against the networks themselves: values and gradients, one thread and two."""

from typing import Any

import numpy as np
import pytest

from benchmarks.harness import interleave
from benchmarks.test_hooks import BATCH
from gradcorr_fast.hooks._session import Session, open_session

NETWORKS = {"CNN-deep": ("cnn-deep-exp", 200), "Basset": ("basset-exp", 600), "DeepSTARR": ("deepstarr", 249)}
PAIRS = {"CNN-deep": 30, "Basset": 7, "DeepSTARR": 15}
OPTIMIZE: dict[str, Any] = {"fold": ("fold",), "1": 1, "2": 2, "fold, compile": ("fold", "compile")}


def network(name: str) -> tuple[Any, int]:
    """A network of the papers whose normalisation has seen data."""
    import torch

    from gradcorr_fast.paper import models

    build, length = NETWORKS[name]
    model = models.build(build)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model, length


@pytest.mark.filterwarnings("ignore:optimize=2 runs the model without:UserWarning")
@pytest.mark.parametrize("optimize", OPTIMIZE)
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("what", ["values", "gradients"])
@pytest.mark.parametrize("name", NETWORKS)
def test_faster_copy(
    benchmark: Any, sizes: Any, record: Any, name: str, what: str, n_threads: int, optimize: str
) -> None:
    torch = pytest.importorskip("torch")
    model, length = network(name)
    is_quick = sizes.pairs < 30
    n = 8 if is_quick else BATCH
    if is_quick and optimize != "1":
        pytest.skip("a copy of each network is enough to see that the benchmark runs")
    codes = np.random.default_rng(0).integers(0, 4, (n, length)).astype(np.uint8)
    rows, places = np.arange(n), np.full(n, length // 2)

    def call(session: Session) -> Any:
        return session.values(codes) if what == "values" else session.columns(codes, rows, places)[1]

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    options: Any = {"length": length, "targets": [0], "batch_size": n}
    try:
        with (
            open_session(network(name)[0], "torch", **options) as plain,
            open_session(model, "torch", optimize=OPTIMIZE[optimize], **options) as fast,
        ):
            np.testing.assert_allclose(fast.values(codes), plain.values(codes), rtol=1e-3, atol=1e-5)
            found = interleave(benchmark, lambda: call(fast), lambda: call(plain), 2 if is_quick else PAIRS[name])
            steps = ", ".join((fast.optimization or {})["steps"])
    finally:
        torch.set_num_threads(before)
    record(
        found,
        operation=f"{what} of {name}, optimize={optimize} ({steps})",
        library="torch",
        layout="(N, 4, L)",
        outputs=f"{n_threads} threads",
        x="one-hot",
        provider="optimize=0",
        n_sequences=n,
        length=length,
    )

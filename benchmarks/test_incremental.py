"""Every substitution of a sequence by what it changes, against full passes of the same model at their best batch size.

Both are timed in turn, on one thread and on two. Full passes that would take long are those of a part of the mutants;
their time is scaled to all of them, and the rows say of how many.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.harness import interleave, seconds
from gradcorr_fast.kernels import threads

torch = pytest.importorskip("torch")
from benchmarks import networks  # noqa: E402
from benchmarks.substitutions import AIMS, Full, Table, full_passes, table  # noqa: E402

BATCHES = (4, 8, 16, 32, 64, 128, 256)
"""Small ones too: activations of more than 32 MiB are given back to the system after each layer, which takes long."""
ROUNDS = {"dilated": 3, "Basset, 2,000 bp": 3, "CNN-32": 3, "factorised Basset": 3, "BPNet": 3}
TABLES = {"CNN-deep": 8, "DeepSTARR": 8, "attention": 10}
"""Sequences whose tables are made together; 1 where a table takes long enough by itself."""
LENGTHS = (200, 500, 1000, 2000, 4096, 8192)
AT_MOST = 200
"""Positions in the middle that are substituted where it is the length that counts."""


@contextmanager
def on_threads(n: int) -> Iterator[None]:
    """Let PyTorch and the kernels have so many threads."""
    before = torch.get_num_threads(), threads.get_num_threads()
    torch.set_num_threads(n)
    gf.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        gf.set_num_threads(before[1])


def time_table(benchmark: Any, wanted: Table, engine: str, rounds: int) -> dict[str, Any]:
    """Time a table and full passes in turn; return what was found, scaled to all mutants."""
    wanted.compare(wanted.ours(engine))
    is_forced = engine == "incremental"
    full = full_passes(wanted, BATCHES, seconds) if is_forced else Full(lambda: wanted.ours("full"), 0, wanted.n)
    found: dict[str, Any] = interleave(benchmark, lambda: wanted.ours(engine), full.run, rounds)
    scale = wanted.n / full.n
    found |= {key: found[key] * scale for key in ("median_ratio", "low", "high", "provider_seconds") if found}
    provider = f"{full.n} full passes, batches of {full.batch_size}" if is_forced else 'engine="full"'
    return found and found | {"n_sequences": wanted.n, "provider": provider}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_tables_of_substitutions(benchmark: Any, sizes: Any, record: Any, name: str, n_threads: int) -> None:
    is_quick = sizes.pairs < 30
    if is_quick and name not in ("CNN-deep", "attention"):
        pytest.skip("small networks are enough to see that the benchmark runs")
    model, length = networks.build(name)
    wanted = table(model, length, 1 if is_quick else TABLES.get(name, 1))
    engine = "auto" if name == "attention" else "incremental"
    with on_threads(n_threads):
        found = time_table(benchmark, wanted, engine, 1 if is_quick else ROUNDS.get(name, 5))
    row: dict[str, Any] = {"operation": f"substitutions of {name}, engine={engine}", "outputs": f"{n_threads} threads"}
    row |= {"target": AIMS[name]} if name in AIMS else {}
    record(found, **row, library="torch", layout="(N, 4, L)", x="one-hot", length=length)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", ["Basset's convolutions", "dilated"])
def test_the_cost_grows_with_the_length(benchmark: Any, sizes: Any, record: Any, name: str, length: int) -> None:
    is_quick = sizes.pairs < 30
    if is_quick and length > LENGTHS[0]:
        pytest.skip("one length is enough to see that the benchmark runs")
    build = {"Basset's convolutions": networks.pooled_network, "dilated": networks.dilated_network}[name]
    wanted = table(networks.prepared(build, length), length, at_most=10 if is_quick else AT_MOST)
    with on_threads(1):
        found = time_table(benchmark, wanted, "incremental", 1 if is_quick else 3)
    row = {"operation": f"substitutions of {name} by length", "outputs": "1 threads"}
    record(found, **row, library="torch", layout="(N, 4, L)", x="one-hot", length=length)


@pytest.mark.parametrize("fast", [False, True], ids=["whole", "fast"])
@pytest.mark.parametrize("name", ["CNN-deep", "DeepSTARR", "Basset", "CNN-32", "dilated"])
def test_against_tangermeme(benchmark: Any, sizes: Any, record: Any, monkeypatch: Any, name: str, fast: bool) -> None:
    """Its function with batches of 128; what it does in windows too, from 30 s on, also where that takes less."""
    pytest.importorskip("tangermeme", reason="pip install tangermeme")
    from tangermeme import saturation_mutagenesis as theirs

    is_quick = sizes.pairs < 30
    if is_quick and name != "CNN-deep":
        pytest.skip("one network is enough to see that the benchmark runs")
    monkeypatch.setattr(theirs, "_FAST_MIN_SECONDS", 0.0)
    model, length = networks.build(name)
    n = 1 if is_quick else TABLES.get(name, 1) * (4 if fast else 1)
    wanted = table(model, length, n, at_most=AT_MOST if length > 1000 else None)
    options = {"start": wanted.start, "end": wanted.end, "batch_size": 128, "raw_outputs": True, "device": "cpu"}
    with on_threads(2):
        wanted.compare(wanted.ours("incremental"))
        found = interleave(
            benchmark,
            lambda: wanted.ours("incremental"),
            lambda: theirs.saturation_mutagenesis(model, wanted.x, fast=fast, **options),
            1 if is_quick else 3,
        )
    provider = "tangermeme, fast=True" if fast else "tangermeme, fast=False"
    row = {"operation": f"substitutions of {name}", "outputs": "2 threads", "n_sequences": wanted.n}
    record(found, **row, library="torch", provider=provider, layout="(N, 4, L)", x="one-hot", length=length)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")
def test_against_yuzu(benchmark: Any, sizes: Any, record: Any) -> None:
    """Compressed sensing over all mutants, of a sequential network like Basset, once its precomputation is made."""
    yuzu = pytest.importorskip("yuzu", reason="pip install yuzu-ism")
    from yuzu.models import Flatten

    if sizes.pairs < 30:
        pytest.skip("takes long, and needs a package that few have")
    torch.manual_seed(0)
    layers: list[Any] = []
    for n_in, n_out, kernel, pool in ((4, 300, 19, 3), (300, 200, 11, 4), (200, 200, 7, 4)):
        convolution = torch.nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)
        layers += [convolution, torch.nn.ReLU(), torch.nn.MaxPool1d(pool)]
    dense = [torch.nn.Linear(2400, 1000), torch.nn.ReLU(), torch.nn.Linear(1000, 1)]
    model = torch.nn.Sequential(*layers, Flatten(), *dense).eval()
    wanted = table(model, 600)
    with on_threads(1):
        known = yuzu.precompute(model, seq_len=600, n_choices=4)
        x = wanted.x.numpy()
        ours, theirs = wanted.ours("incremental"), yuzu.yuzu_ism(model, x, known)
        np.testing.assert_allclose(theirs, np.abs(ours), rtol=0, atol=1e-3)  # it returns sizes
        found = interleave(benchmark, lambda: wanted.ours("incremental"), lambda: yuzu.yuzu_ism(model, x, known), 5)
    row = {"operation": "substitutions of convolutions of Basset", "outputs": "1 threads", "n_sequences": wanted.n}
    record(found, **row, library="torch", provider="yuzu", layout="(N, 4, L)", x="one-hot", length=600)

"""What crosses the bus to a GPU, and when the host waits for it; counted on a device that is simulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import gradcorr_fast as gf
from gradcorr_fast.hooks._attempts import Ahead, attempt
from gradcorr_fast.hooks._session import Mutants, Session, open_session
from gradcorr_fast.hooks.torch._incremental import engine
from gradcorr_fast.scan.running import parting
from tests.emulator.patches import tensors_on_cuda
from tests.simulated_gpu import Gpu, OnGpu, simulated_gpu

LENGTH, N, SIZE = 30, 24, 4
RNG = np.random.default_rng(5)
CODES = RNG.integers(0, 4, (N, LENGTH)).astype(np.uint8)
KERNEL = torch.from_numpy(RNG.normal(size=(6, 4, 5)).astype(np.float32))
HEAD = torch.from_numpy(RNG.normal(size=(6, 3)).astype(np.float32))
ROWS, POSITIONS = np.array([0, 1, 3]), np.array([4, 9, 2])


def network(x: torch.Tensor) -> torch.Tensor:
    hidden: torch.Tensor = torch.nn.functional.conv1d(x, KERNEL).relu().mean(2) @ HEAD
    return hidden


class Pooled(torch.nn.Sequential):  # type: ignore[misc]
    """The same with layers, which an incremental engine knows."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = torch.nn.Conv1d(4, 6, 5), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()
        super().__init__(*layers, torch.nn.Linear(6, 3))


def options(device: str | None, **more: Any) -> dict[str, Any]:
    return {"length": LENGTH, "targets": [0, 2], "batch_size": SIZE, "rc": True, "device": device, **more}


def values_of(session: Session) -> np.ndarray:
    run = Ahead(lambda part: CODES[part], lambda part, codes: session.start_values(codes), session.batches, N)
    return np.concatenate([found for _, found in attempt(slice(0, N), run, session.batches, cut=run.cut)])


def columns_of(session: Session) -> tuple[np.ndarray, np.ndarray]:
    def begin(part: slice, codes: np.ndarray) -> Any:
        return session.start_columns(codes, ROWS, POSITIONS)

    run = Ahead(lambda part: CODES[part], begin, session.batches, N)
    found: Any = [outcome for _, outcome in attempt(slice(0, N), run, session.batches, cut=run.cut)]
    return np.concatenate([values for values, _ in found]), np.concatenate([columns for _, columns in found], 1)


@pytest.fixture
def expected() -> Any:
    with open_session(network, "torch", **options(None)) as session:
        return values_of(session), columns_of(session)


def assert_one_batch_is_ahead(gpu: Gpu, n_views: int = 2) -> None:
    """The host waits once for each batch, when the next one is in the device's queue already."""
    waits = gpu.of("wait")
    assert [wait.number for wait in waits] == [n_views * (k + 1) - 1 for k in range(N // SIZE)]
    for wait in waits[:-1]:
        before = [entry.number for entry in gpu.log[: gpu.log.index(wait)] if entry.what == "run"]
        assert max(before) >= wait.number + n_views
    assert not [entry for entry in gpu.log if entry.is_blocking]


def test_values_wait_once_a_batch_that_is_two_behind(expected: Any) -> None:
    """Codes came from pageable memory, letters with each batch; each copy waited for all that the device had to do."""
    with simulated_gpu() as gpu, open_session(gpu.run(network), "torch", **options("cuda")) as session:
        session.values(CODES[:1])
        gpu.log.clear()
        gpu.n_runs = 0
        np.testing.assert_array_equal(values_of(session), expected[0])
    assert_one_batch_is_ahead(gpu)
    assert sum(entry.number for entry in gpu.of("up")) == N * LENGTH
    assert sum(entry.number for entry in gpu.of("down")) == N * 2 * 2 * 4  # strands, targets


def test_columns_upload_nothing_after_the_model_ran(expected: Any) -> None:
    """Where to look came after the backward pass, for each target and view, and waited for it."""
    with simulated_gpu() as gpu, open_session(gpu.run(network), "torch", **options("cuda")) as session:
        session.values(CODES[:1])
        gpu.log.clear()
        gpu.n_runs = 0
        values, columns = columns_of(session)
    np.testing.assert_array_equal(values, expected[1][0])
    np.testing.assert_array_equal(columns, expected[1][1])
    assert_one_batch_is_ahead(gpu)
    n_batches, places = N // SIZE, 2 * 16 * 4  # views, letters of three positions in a power of two, bytes
    assert [entry.what for entry in gpu.log if entry.what in ("up", "run")] == ["up", "up", "run", "run"] * n_batches
    assert sum(entry.number for entry in gpu.of("up")) == N * LENGTH + n_batches * places
    assert sum(entry.number for entry in gpu.of("down")) == n_batches * 4 * (SIZE * 4 + 2 * 2 * 16)


def test_maps_are_corrected_and_summarised_on_the_device() -> None:
    """Whole gradients came back, to be corrected and measured on the host."""
    fields, thresholds = ("corrected", "angle_summary"), (30, 60)
    with open_session(network, "torch", **options(None)) as session:
        expected = session.maps(CODES, session.method("saliency", {}), fields, thresholds)
    with simulated_gpu() as gpu, open_session(gpu.run(network), "torch", **options("cuda")) as session:
        session.values(CODES[:1])
        gpu.log.clear()
        gpu.n_runs = 0
        found = session.maps(CODES, session.method("saliency", {}), fields, thresholds)
    assert list(found) == [*fields, "prediction"]
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)
    assert_one_batch_is_ahead(gpu)
    assert sum(entry.number for entry in gpu.of("up")) == N * LENGTH


@pytest.mark.parametrize("is_tensor", [False, True])
def test_hooks_wait_once_a_batch(is_tensor: bool) -> None:
    X = gf.sequences.one_hot(CODES, np.float32, 1)
    given: Any = {"target": 1, "outputs": ["corrected", "angle", "prediction"], "batch_size": SIZE}
    expected = gf.hooks.torch.saliency(network, X, **given)
    with simulated_gpu() as gpu:
        x = torch.from_numpy(X) if is_tensor else X
        found = gf.hooks.torch.saliency(gpu.run(network), x, device="cuda", **given)
    assert_one_batch_is_ahead(gpu, 1)
    for name in ("corrected", "angle", "prediction"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert sum(entry.number for entry in gpu.of("up")) == X.nbytes


def test_numbers_of_tracks_are_brought_once() -> None:
    """They were brought with each batch, also those that exchange the strands' tracks."""
    more: Any = {"targets": [gf.targets.mean(tracks=[0, 2])], "strand_pairs": ((0, 1),)}
    with simulated_gpu() as gpu, open_session(gpu.run(network), "torch", **options("cuda", **more)) as session:
        session.values(CODES[:1])
        gpu.log.clear()
        gpu.n_runs = 0
        values_of(session)
    assert_one_batch_is_ahead(gpu)


def test_own_positions_are_brought_with_the_batch() -> None:
    """The numbers of the positions that there are were brought too, and waited for."""
    X, own = gf.sequences.one_hot(CODES, np.float32, 1), [0, 1, 2] * (N // 3)
    expected = gf.hooks.torch.saliency(network, X, target=own, batch_size=SIZE)
    with simulated_gpu() as gpu:
        found = gf.hooks.torch.saliency(gpu.run(network), X, device="cuda", target=own, batch_size=SIZE)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert_one_batch_is_ahead(gpu, 1)


def test_mutants_are_made_on_the_device() -> None:
    """The sequences came back first, and the host waited for each of five small arrays a batch."""
    X = gf.sequences.one_hot(CODES[:SIZE], np.float32, 1)
    given: Any = {"target": 1, "batch_size": 32, "corrected": False, "engine": "full"}
    expected = gf.hooks.torch.saturation_mutagenesis(network, X, **given)
    with simulated_gpu() as gpu:
        found = gf.hooks.torch.saturation_mutagenesis(gpu.run(network), X, device="cuda", **given)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    n_mutants = 3 * LENGTH * SIZE
    assert sum(entry.number for entry in gpu.of("up")) == 2 * X.nbytes + 4 * 8 * n_mutants
    assert [entry.number for entry in gpu.log if entry.is_blocking] == [4 * n_mutants, 4 * SIZE]


def test_maps_of_tensors_on_the_device_stay_there() -> None:
    with simulated_gpu() as gpu:
        X = torch.from_numpy(gf.sequences.one_hot(CODES, np.float32, 1)).as_subclass(OnGpu)
        found = gf.hooks.torch.saliency(gpu.run(network), X, target=1, batch_size=SIZE)
    assert isinstance(found, OnGpu)
    assert_one_batch_is_ahead(gpu, 1)
    assert not gpu.of("up")
    assert sum(entry.number for entry in gpu.of("down")) == N * 2 * 4  # values, and sizes of the gradient


def test_a_scan_costs_the_bytes_that_the_page_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, size = 70, 8
    genome = "".join(RNG.choice(list("ACGT"), 3000))
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome}\n")
    places = range(100, 100 + 40 * n, 40)
    variants = [("chr1", k, genome[k - 1], "ACGT"["CGTA".index(genome[k - 1])]) for k in places]
    given: Any = {"length": LENGTH, "batch_size": size, "engine": "full"}
    model, logs, score = Pooled().eval(), [], parting.score

    def score_alone(*arguments: Any, **more: Any) -> Any:
        gpu.log.clear()
        found = score(*arguments, **more)
        logs.append(list(gpu.log))
        return found

    gf.scan.score_variants(model, tmp_path / "genome.fa", variants, tmp_path / "host.parquet", **given)
    with simulated_gpu() as gpu, monkeypatch.context() as patch:
        patch.setattr(parting, "score", score_alone)
        out = tmp_path / "device.parquet"
        gf.scan.score_variants(model, tmp_path / "genome.fa", variants, out, device="cuda", **given)
    expected, found = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("host", "device"))
    for name in ("ref_score", "delta", "taylor", "grad_times_input", "angle"):
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5, atol=1e-5)
    (log,) = logs
    up, down = (sum(entry.number for entry in log if entry.what == what) for what in ("up", "down"))
    n_batches = -(-n // size)
    n_places = 4 * (64 * (n_batches - 1) + 32)  # of 8 positions in a batch and 6 in the last: 4 letters, 4 bytes
    assert (up, down) == (2 * n * LENGTH + n_places, 2 * n * 4 + n_places)
    assert sum(entry.what == "wait" for entry in log) == 2 * n_batches
    assert not [entry for entry in log if entry.is_blocking]


METHODS: dict[str, dict[str, Any]] = {
    "noise": {"n_samples": 3},
    "mutations": {"n_samples": 3, "kind": "mutation"},
    "shuffles": {"n_references": 2, "n_steps": 2, "references": "dinucleotide"},
}


@pytest.mark.parametrize("name", METHODS)
def test_what_is_drawn_at_random_crosses_no_bus(name: str) -> None:
    """It was drawn on the host and brought as float32, 16 bytes a position and sample; sequences came back first."""
    given: Any = {"target": 1, "batch_size": 3 * SIZE, "corrected": False, **METHODS[name]}
    method = "integrated_gradients" if name == "shuffles" else "smoothgrad"
    X = gf.sequences.one_hot(CODES, np.float32, 1)
    expected = getattr(gf.hooks.torch, method)(network, X, **given)
    with simulated_gpu() as gpu, tensors_on_cuda():
        found = getattr(gf.hooks.torch, method)(gpu.run(network), X, device="cuda", **given)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert sum(entry.number for entry in gpu.of("up")) == X.nbytes
    assert not [entry for entry in gpu.log if entry.is_blocking]
    assert 1 < len(gpu.of("wait")) <= gpu.n_runs


def test_substitutions_bring_their_tables_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table of positions waited for all that the device had to do."""
    graphs, trace = [], engine.trace  # which does not know this device, and gives the same graph for it

    def trace_once(*arguments: Any) -> Any:
        graphs.append(graphs[0] if graphs else trace(*arguments))
        return graphs[0]

    monkeypatch.setattr(engine, "trace", trace_once)
    model = Pooled().eval()
    mutants = Mutants(np.array([0, 0, 3]), np.array([2, 20, 7]), np.array([[1], [2], [3]], np.uint8))

    def begin(session: Session) -> Any:
        return session.start_substitutions(CODES[:SIZE], ROWS, POSITIONS, mutants, needs_gradients=True)

    with open_session(model, "torch", **options(None)) as session:
        assert session.choose_engine("incremental", 100, is_alone=False) == "incremental"
        expected = begin(session)()
    with simulated_gpu() as gpu, open_session(model, "torch", **options("cuda")) as session:
        session.choose_engine("incremental", 100, is_alone=False)
        begin(session)()
        gpu.log.clear()
        finish = begin(session)
        assert not gpu.of("wait")
        found = finish()
    assert not [entry for entry in gpu.log if entry.is_blocking]
    assert len(gpu.of("wait")) == 1
    for own, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-5, atol=1e-6)


def test_jax_is_told_to_copy_results_when_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    from gradcorr_fast.hooks import jax as hooks

    copied: list[Any] = []
    kind = type(jax.numpy.ones(1))
    monkeypatch.setattr(kind, "copy_to_host_async", lambda array: copied.append(array.shape))
    monkeypatch.setattr(hooks, "_is_on_host", lambda X, device: False)
    X = gf.sequences.one_hot(CODES, np.float32)
    found = hooks.saliency(lambda x: (x**2).sum((1, 2))[:, None], X, target=0, batch_size=SIZE, corrected=False)
    np.testing.assert_allclose(found, 2 * X)
    assert copied == [(SIZE,), (SIZE, LENGTH, 4)] * (N // SIZE)  # predictions and maps

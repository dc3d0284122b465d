"""Scans on a GPU, from variants to rows and from regions to a store, against the same passes of the bare model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from benchmarks.gpu.work import pair, single_precision

N_VARIANTS = {"CNN-deep": 65_536, "CNN-32": 16_384, "dilated": 16_384}
"""By network."""
BATCH = 512
AIM = 0.95
EVERY_BP = 12
DELTA = ("delta",)
ALL_SCORES = ("delta", "taylor", "grad_times_input", "angle")


class Scan:
    """Substitutions of a random genome, and a network on the device."""

    def __init__(self, name: str, n: int, memory: str) -> None:
        import torch

        from benchmarks import networks

        self.model, self.length = networks.build(name)
        self.model.to(memory).requires_grad_(False)
        self.target = gf.targets.mean()
        rng = np.random.default_rng(22)
        self.letters = rng.integers(0, 4, n * EVERY_BP + 2 * self.length).astype(np.uint8)
        self.places = self.length + EVERY_BP * np.arange(n)
        text = gf.sequences.decode(self.letters)
        self.genome = {"chr1": text}
        self.variants = [("chr1", int(at) + 1, text[at], "CGTA"["ACGT".index(text[at])]) for at in self.places]
        windows = self.letters[self.places[:, None] - self.length // 2 + np.arange(self.length)]
        self.codes = torch.from_numpy(windows).to(memory)

    @property
    def options(self) -> dict[str, Any]:
        return {"length": self.length, "targets": [self.target], "batch_size": min(BATCH, len(self.variants))}

    def score(self, scores: tuple[str, ...], engine: str = "full") -> Any:
        """Return the rows of the scan."""
        options = {"scores": scores, "engine": engine, **self.options}
        return gf.scan.score_variants(self.model, self.genome, self.variants, **options)

    def attribute(self, folder: Path) -> None:
        """Write saliency of a region round each variant."""
        regions = [("chr1", int(at) - 50, int(at) + 50) for at in self.places]
        gf.scan.attribute_regions(self.model, self.genome, regions, folder, force=True, **self.options)

    def one_hot(self, codes: Any) -> Any:
        """Windows as the model takes them, made on the device."""
        import torch

        letters = torch.arange(4, dtype=torch.uint8, device=codes.device).view(4, 1)
        return (codes[:, None] == letters).float()

    def batches(self) -> Iterator[Any]:
        """Codes of windows."""
        yield from self.codes.split(BATCH)

    def values(self, windows: Any) -> np.ndarray:
        """Pass forward and copy the values to the host."""
        import torch

        with torch.no_grad():
            return np.asarray(self.target(self.model(windows)).cpu())

    def gradients(self, windows: Any) -> Any:
        """Return the gradients of the target."""
        import torch

        windows = windows.requires_grad_()
        return torch.autograd.grad(self.target(self.model(windows)).sum(), windows)[0]

    def bare(self, needs_gradients: bool, needs_alternatives: bool = True) -> np.ndarray | None:
        """Do the passes of a scan by hand, from codes on the device; return what the alternatives change."""
        changes = []
        for codes in self.batches():
            windows = self.one_hot(codes)
            if needs_gradients:
                self.gradients(windows)
            if needs_alternatives:
                changed = codes.clone()
                changed[:, self.length // 2] = (changed[:, self.length // 2] + 1) % 4
                before = 0 if needs_gradients else self.values(windows)
                changes.append(self.values(self.one_hot(changed)) - before)
        return np.concatenate(changes) if needs_alternatives else None

    def names(self, name: str) -> dict[str, Any]:
        """What rows say of it."""
        names = {"layout": "(N, 4, L)", "dtype": "float32", "outputs": "fresh", "x": name}
        return names | {"n_sequences": len(self.variants), "length": self.length}


@pytest.fixture(params=N_VARIANTS, scope="module", name="name")
def _name(request: Any) -> Any:
    return request.param


@pytest.fixture(scope="module", name="scan")
def _scan(device: Any, name: str) -> Scan:
    pytest.importorskip("pyarrow")
    return Scan(name, 4 if device.is_dry else N_VARIANTS[name], device.memory)


@pytest.fixture(name="rounds")
def _rounds(sizes: Any) -> int:
    return max(2, int(sizes.peer_rounds) // 10)


@pytest.mark.parametrize("scores", [ALL_SCORES, DELTA], ids=["all scores", "delta"])
def test_variants(device: Any, rounds: int, record: Any, scan: Scan, name: str, scores: tuple[str, ...]) -> None:
    """Ours begins with the plan and ends with the rows; every pass is a whole one."""
    is_delta = scores == DELTA
    operation = "score_variants, delta" if is_delta else "score_variants, all scores"
    with single_precision():
        rows = scan.score(scores)
        assert rows["status"].to_pylist() == ["ok"] * len(scan.variants)
        if is_delta:
            np.testing.assert_allclose(rows["delta"], scan.bare(needs_gradients=False), rtol=1e-3, atol=1e-4)
        found = pair(device, lambda: scan.score(scores), lambda: scan.bare(not is_delta), rounds)
    found["variants_per_second"] = len(rows) / found["seconds"]
    record(found, operation=operation, provider=f"the bare model, {name}", target=AIM, **scan.names(name))


def test_engines(device: Any, rounds: int, record: Any, scan: Scan, name: str) -> None:
    """What substitutions change, against whole passes in the same scan."""
    with single_precision():
        ours, other = scan.score(DELTA, "incremental"), scan.score(DELTA)
        np.testing.assert_allclose(ours["delta"], other["delta"], rtol=1e-3, atol=1e-4)
        found = pair(device, lambda: scan.score(DELTA, "incremental"), lambda: scan.score(DELTA), rounds)
    row = {"operation": "score_variants, delta, incremental", "provider": f"whole passes of {name}"}
    record(found, **row, **scan.names(name))


def test_regions(device: Any, rounds: int, record: Any, scan: Scan, name: str, tmp_path: Path) -> None:
    """Saliency; ours begins with the plan and ends with the store on disk, the bare model with its gradients."""
    pytest.importorskip("zarr")
    folder = tmp_path / "scan"
    with single_precision():
        found = pair(device, lambda: scan.attribute(folder), lambda: scan.bare(True, needs_alternatives=False), rounds)
    row = {"operation": "attribute_regions, saliency", "provider": f"the bare gradient, {name}", "target": AIM}
    record(found, **row, **scan.names(name))
    np.testing.assert_array_equal(gf.scan.Attributions(folder).codes([0]), scan.codes[:1].cpu())

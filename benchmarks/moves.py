"""Moves between files: how often one call of the library goes from one of its files into another.

python -m benchmarks.moves [-v]: calls of `scan.score_variants` and `hooks.torch.saliency`, each after a first one that
imports and compiles; -v names the files. A reader who follows a call step by step makes these moves.
"""

import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import gradcorr_fast as gf
from gradcorr_fast import kernels

FOLDERS = tuple(f"{Path(module.__file__).parent}/" for module in (gf, kernels))
Moves = Counter[tuple[str, str]]


def count(call: Callable[[], Any]) -> Moves:
    """Calls, in all threads, whose caller and callee are in different files of the library."""
    moves: Moves = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_back is not None:
            pair = frame.f_back.f_code.co_filename, frame.f_code.co_filename
            if pair[0] != pair[1] and all(name.startswith(FOLDERS) for name in pair):
                moves[pair] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return moves


def network(length: int) -> Any:
    import torch

    torch.manual_seed(0)
    layers = (
        torch.nn.Conv1d(4, 6, 5, padding=2),
        torch.nn.Softplus(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * length, 1),
    )
    return torch.nn.Sequential(*layers).eval()


def saliency(batch_size: int) -> Callable[[], Any]:
    model, x = network(20), np.eye(4, dtype=np.float32)[np.arange(160).reshape(8, 20) % 4].transpose(0, 2, 1)
    return lambda: gf.hooks.torch.saliency(model, x, batch_size=batch_size)


def score_variants(folder: Path) -> Callable[[], Any]:
    (folder / "genome.fa").write_text(f">chr1\n{'ACGT' * 50}\n")
    variants = [("chr1", 4 * k + 1, "A", "C") for k in range(10, 18)]
    options = {"length": 20, "batch_size": 4, "shard_size": 64}
    return lambda: gf.scan.score_variants(network(20), folder / "genome.fa", variants, **options)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        calls = {
            "score_variants": score_variants(Path(folder)),
            "saliency, one batch": saliency(8),
            "saliency, two batches": saliency(4),
        }
        for name, call in calls.items():
            call()
            moves = count(call)
            print(f"{name}: {moves.total()} moves between files")
            for (caller, callee), n in moves.most_common(10 if "-v" in sys.argv else 0):
                print(f"  {n:4d} {Path(caller).name} -> {Path(callee).name}")


if __name__ == "__main__":
    main()

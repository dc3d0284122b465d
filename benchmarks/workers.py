"""Two workers of Dask beside one process, each on one thread, and what the driver does for a shard.

    python -m benchmarks.workers [VARIANTS]

Variants of a random genome are scored by a network of the paper's kind, from the planned scan to the written shards.
The start of workers is left out. Prints a row of a table for each.
"""

import os
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np

NETS = """
import torch

torch.set_num_threads(1)

def make():
    torch.manual_seed(0)
    sizes, layers = (4, 24, 32, 48), []
    for n_in, n_out in zip(sizes, sizes[1:]):
        layers += [torch.nn.Conv1d(n_in, n_out, 7, padding=3), torch.nn.ReLU(), torch.nn.MaxPool1d(4)]
    dense = torch.nn.Linear(144, 96), torch.nn.ReLU(), torch.nn.Linear(96, 1)
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), *dense)

def tiny():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(800, 1))
"""
LENGTH, SHARDS = 200, 16


def prepare(n: int) -> None:
    letters = "".join(np.random.default_rng(8).choice(list("ACGT"), 10 * n + 2 * LENGTH))
    Path("workers_nets.py").write_text(NETS)
    Path("g.fa").write_text(f">chr1\n{textwrap.fill(letters, 100)}\n")
    after = letters.translate(str.maketrans("ACGT", "CGTA"))
    places = range(LENGTH, LENGTH + 10 * n, 10)
    Path("variants.txt").write_text("".join(f"chr1:{k}:{letters[k - 1]}:{after[k - 1]}\n" for k in places))


def seconds(out: str, model: str, n: int, n_shards: int, client: Any = None) -> tuple[float, float]:
    """Return the time of the shards of a planned scan, and the processor time of the thread that hands them out."""
    import gradcorr_fast as gf

    given: dict[str, Any] = {"length": LENGTH, "axis": 1, "shard_size": -(-n // n_shards), "engine": "full"}
    gf.scan.plan(model, "g.fa", "variants.txt", out, seconds=0, **given)
    gf.scan.score_variants(model, "g.fa", "variants.txt", out, shard=(1, n_shards), client=client, **given)
    begun, used = time.monotonic(), time.thread_time()
    gf.scan.score_variants(model, "g.fa", "variants.txt", out, resume=True, client=client, shard=(1, 1), **given)
    return time.monotonic() - begun, time.thread_time() - used


def main(n: int) -> None:
    from gradcorr_fast.scan.running.dask.cluster import local_workers

    prepare(n)
    times: dict[str, list[float]] = {"one process": [], "two workers": []}
    with local_workers(2) as client:
        for k in range(3):
            times["one process"].append(seconds(f"one{k}", "workers_nets:make", n, SHARDS)[0])
            times["two workers"].append(seconds(f"two{k}", "workers_nets:make", n, SHARDS, client)[0])
        for name, some in times.items():
            print(f"| {name} | {n:,} variants | {np.median(some):.1f} s |")
        ratio = np.median(np.divide(times["one process"], times["two workers"]))
        print(f"| two workers, times as fast | {n:,} variants | {ratio:.2f} |")
        prepare(2000)
        few, many = (seconds(f"driver{k}", "workers_nets:tiny", 2000, k, client)[1] for k in (20, 420))
        print(f"| driver, processor time of a shard | 20 and 420 shards | {(many - few) / 400 * 1e3:.1f} ms |")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        main(int((sys.argv[1:] or ["150000"])[0]))

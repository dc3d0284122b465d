"""Kills workers and drivers of scans on Dask at random moments, until they have ended after all; a program.

    python -m tests.cluster_kills KILLS [SEED [score|attribute ...]]

A driver with two workers runs in a process of its own. At a moment drawn from the time that it takes, it is
killed with all of its workers, or one worker alone; who comes next goes on, with workers or without. What ends at last
must have the bytes of one process that nothing befell. Prints a row of a table for each command.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
NETS = """
import time
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        layers = torch.nn.Conv1d(4, 5, 5), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(100, 2)
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x):
        time.sleep(0.01)
        return self.layers(x)
"""
COMMAND = "from gradcorr_fast.cli import main\nif __name__ == '__main__':\n    main(prog_name='gradcorr-fast')\n"
GIVEN = [
    "-m",
    "killed_nets:Net",
    "-f",
    "g.fa",
    "--length",
    "24",
    "--axis",
    "1",
    "-b",
    "8",
    "--shard-size",
    "8",
    "--quiet",
]
COMMANDS = {
    "score": ["score", *GIVEN, "-v", "variants.txt"],
    "attribute": ["attribute", *GIVEN, "-r", "regions.bed", "--dtype", "float32"],
}
MOST_DEATHS = 2
"""Of workers of one driver: at the third a shard may be given up, as is right."""
SHARE_OF_DRIVERS = 0.4


def prepare(folder: Path) -> None:
    letters = "".join(np.random.default_rng(8).choice(list("ACGT"), 3000))
    (folder / "killed_nets.py").write_text(NETS)
    (folder / "command.py").write_text(COMMAND)
    (folder / "g.fa").write_text(f">chr1\n{textwrap.fill(letters, 60)}\n")
    after = letters.translate(str.maketrans("ACGT", "CGTA"))
    lines = [f"chr1:{pos}:{letters[pos - 1]}:{after[pos - 1]}" for pos in range(40, 2900, 10)]
    (folder / "variants.txt").write_text("\n".join(lines) + "\n")
    (folder / "regions.bed").write_text("".join(f"chr1\t{k}\t{k + 20}\n" for k in range(30, 2900, 14)))


def start(folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    call = [sys.executable, "command.py", *command]
    return subprocess.Popen(
        call, cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def contents(path: Path) -> dict[str, bytes]:
    files = [p for p in path.rglob("*") if p.is_file() and "shards" not in p.parts and p.suffix != ".lock"]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def workers_of(driver: subprocess.Popen[bytes]) -> list[Any]:
    """The processes that compute: those of the nannies, which are threads of the driver."""
    try:
        children = psutil.Process(driver.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def kill_once(driver: subprocess.Popen[bytes], draw: random.Random, n_deaths: int) -> str | None:
    """Kill a driver with all that are its, or a worker; return what was killed."""
    if driver.poll() is not None:
        return None
    workers = workers_of(driver)
    if draw.random() < SHARE_OF_DRIVERS or n_deaths >= MOST_DEATHS or not workers:
        os.killpg(driver.pid, signal.SIGKILL)
        return "driver"
    draw.choice(workers).kill()
    return "worker"


def one(folder: Path, command: list[str], draw: random.Random, longest: float) -> tuple[int, int, str | None]:
    """Run a command until it has ended; return how many drivers and workers were killed, and what is wrong."""
    n_drivers = n_workers = 0
    while True:
        with_workers = n_drivers == 0 or draw.random() < 0.7
        more = ["--workers", "2"] if with_workers else []
        driver, n_deaths = start(folder, [*command, "--resume", *more]), 0
        is_last = n_drivers + n_workers > 0 and draw.random() < 0.4
        while not is_last:
            end = time.monotonic() + draw.uniform(0.2, longest)
            while time.monotonic() < end and driver.poll() is None:
                time.sleep(0.02)
            killed = kill_once(driver, draw, n_deaths)
            n_drivers, n_workers = n_drivers + (killed == "driver"), n_workers + (killed == "worker")
            n_deaths += killed == "worker"
            is_last = killed != "worker"
        error = driver.communicate(timeout=300)[1]
        if driver.returncode == -signal.SIGKILL:
            continue
        return n_drivers, n_workers, None if driver.returncode == 0 else error.decode()[-1500:]


def kill_often(name: str, n_kills: int, seed: int) -> tuple[int, int, int, list[str]]:
    """Return how many drivers and workers were killed, how many scans ended, and what was wrong."""
    draw, n_drivers, n_workers, n_ends, problems = random.Random(seed), 0, 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        begun = time.monotonic()
        whole = start(folder, [*COMMANDS[name], "-o", "whole", "--workers", "2"])
        error = whole.communicate()[1]
        longest = time.monotonic() - begun
        assert whole.returncode == 0, error.decode()
        alone = start(folder, [*COMMANDS[name], "-o", "alone"])
        assert alone.wait() == 0
        wanted = contents(folder / "alone")
        if contents(folder / "whole") != wanted:
            problems.append("two workers gave other bytes than one process")
        while n_drivers + n_workers < n_kills:
            n_ends += 1
            out = f"out{n_ends}"
            drivers, workers, problem = one(folder, [*COMMANDS[name], "-o", out], draw, longest)
            n_drivers, n_workers = n_drivers + drivers, n_workers + workers
            found = contents(folder / out)
            if problem is None and found != wanted:
                problem = f"other bytes: {sorted(k for k in found.keys() | wanted if found.get(k) != wanted.get(k))}"
            problems += [] if problem is None else [f"scan {n_ends} with seed {seed}: {problem}"]
    return n_drivers, n_workers, n_ends, problems


def main(n_kills: int, seed: int, names: list[str]) -> None:
    print(
        "| command | drivers killed | workers killed | scans | other bytes or errors |\n| --- | --- | --- | --- | --- |"
    )
    for name in names:
        *counts, problems = kill_often(name, n_kills, seed)
        row = " | ".join(map(str, [name, *counts, len(problems)]))
        print(f"| {row} |", *problems, sep="\n", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0]), sys.argv[3:] or list(COMMANDS))

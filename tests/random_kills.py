"""Kills commands at random moments, and those that go on with their work as well; a program.

    python -m tests.random_kills KILLS [SEED [CASE ...]]

For each case of `test_file_faults`, a process runs the command until it is killed, at a moment drawn from the time that
the command takes; the next call is killed half of the times, and so on. What ends at last must have the bytes of a run
that nothing befell, and leave nothing beside them. Only kills of processes that were at work count. Prints a row of a
table for each case.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.file_faults import call, compare, digest, in_fork, prepare
from tests.test_file_faults import CASES

SHARE_OF_NEXT = 0.5
"""Of calls that go on with a work that was killed, those that are killed in turn."""


def kill_often(spec: dict[str, Any], n_kills: int, seed: int) -> tuple[int, list[str]]:
    """Return how often a command was run to its end after kills, and what was wrong then."""
    draw, killed, n_ends, problems = random.Random(seed), 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as place:
        start, whole, folder = prepare(Path(place), spec), Path(place, "whole"), Path(place, "folder")
        shutil.copytree(start, whole)
        began = time.monotonic()
        status, text = in_fork(whole, lambda: call(spec["command"]))[1]
        longest = 1.05 * (time.monotonic() - began)
        assert status == 0, text
        wanted = digest(whole, spec["results"])
        while killed < n_kills:
            shutil.copytree(start, folder)
            n, problem = _one(folder, spec, draw, longest, wanted)
            shutil.rmtree(folder)
            killed, n_ends = killed + n, n_ends + (n > 0)
            problems += [] if problem is None else [f"after {killed} kills with seed {seed}: {problem}"]
    return n_ends, problems


def _one(
    folder: Path, spec: dict[str, Any], draw: random.Random, longest: float, wanted: dict[str, str]
) -> tuple[int, str | None]:
    """Kill a command and its followers; return how many, and what is wrong when one has ended."""
    command, n_killed = spec["command"], 0
    while True:
        is_last = n_killed > 0 and draw.random() > SHARE_OF_NEXT
        seconds = None if is_last else draw.uniform(0, longest)
        ended, answer = in_fork(folder, lambda command=command: call(command), seconds)
        if ended == -signal.SIGKILL:
            command, n_killed = spec["again"], n_killed + 1
            continue
        if ended != 0 or answer[0] != 0:
            return n_killed, f"the next call ended with {ended}, {answer}"
        return n_killed, compare(folder, spec, wanted)


def main(n_kills: int, seed: int, names: list[str]) -> None:
    print("| command | kills | runs to the end | other bytes, or something left |\n| --- | --- | --- | --- |")
    for name in names:
        n_ends, problems = kill_often(CASES[name], n_kills, seed)
        print(f"| {name} | {n_kills} | {n_ends} | {len(problems)} |", *problems, sep="\n", flush=True)


if __name__ == "__main__":
    import pyarrow  # noqa: F401  (before it is forked)
    import torch

    import gradcorr_fast.cli
    import gradcorr_fast.scan  # noqa: F401

    torch.set_num_threads(1)
    main(int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0]), sys.argv[3:] or list(CASES))

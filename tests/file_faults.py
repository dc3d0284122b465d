"""Runs a command many times, each time with another of its file operations failing; a program for `test_file_faults`.

A process that has loaded all that the command needs forks for every run. In the fork, Python's audit hooks see each
file that is opened, renamed, removed or made below the folder of the run, and functions that no hook sees are wrapped;
operation number n raises OSError, as on a full disk, or the process is killed there. Then the same command is called
again without a fault, as a user would, and the results must have the bytes of a run that nothing befell.

    python -m tests.file_faults SPEC.json

SPEC: "prepare", commands that make what the command needs; "command"; "again", the call after the fault; "results",
paths whose bytes are compared; "mode", "error" or "kill"; "share", [i, n]: every n-th point, beginning with the i-th.
Prints JSON: the number of points, and what went wrong, one text each.
"""

import errno
import hashlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MODEL = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv1d(4, 3, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(84, 1))
"""
LENGTH, N_VARIANTS, N_REGIONS = 32, 40, 10
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.move", "shutil.rmtree", "own")


def make_inputs(folder: Path) -> None:
    """Write a model, a genome, variants, regions and gradients."""
    rng = np.random.default_rng(0)
    genome = "".join(rng.choice(list("ACGT"), 3000))
    (folder / "nets.py").write_text(MODEL)
    (folder / "genome.fa").write_text(f">chr1\n{textwrap.fill(genome, 60)}\n")
    lines = [f"chr1:{p}:{genome[p - 1]}:{'CGTA'['ACGT'.index(genome[p - 1])]}" for p in range(50, 2850, 70)]
    (folder / "variants.txt").write_text("\n".join(lines[:N_VARIANTS]) + "\n")
    (folder / "regions.bed").write_text("".join(f"chr1\t{k}\t{k + 50}\n" for k in range(100, 2900, 280)))
    np.save(folder / "grad.npy", rng.standard_normal((50, 20, 4)).astype(np.float32))


class Counter:
    """Counts file operations below a folder, and lets one of them fail."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n, self.fatal, self.mode = str(folder.resolve()), 0, -1, "error"
        sys.addaudithook(self._see)
        self._wrap()

    def _wrap(self) -> None:
        """Let audit hooks see what is no event of Python's own."""
        import pyarrow.parquet as pq

        from gradcorr_fast.io import replacing

        for place, name in (
            (os, "fsync"),
            (pq.ParquetWriter, "__init__"),
            (pq.ParquetWriter, "write_table"),
            (pq.ParquetWriter, "close"),
            (replacing, "exchange"),
        ):
            setattr(place, name, _audited(getattr(place, name), self.folder))

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in OPERATIONS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(arguments[0])).startswith(self.folder):
            return
        if event == "open" and "__pycache__" in os.fsdecode(arguments[0]):
            return
        self.n += 1
        if self.n - 1 != self.fatal:
            return
        if self.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(arguments[0]))


def _audited(function: Callable[..., Any], folder: str) -> Callable[..., Any]:
    def audited(*arguments: Any, **options: Any) -> Any:
        sys.audit("own", folder, function.__name__)
        return function(*arguments, **options)

    return audited


def call(arguments: list[str]) -> tuple[int, str]:
    """Call the command line in this process; return its exit status and the end of what it wrote."""
    from click.testing import CliRunner

    from gradcorr_fast.cli import main

    result = CliRunner().invoke(main, arguments)
    is_traceback = result.exception is not None and not isinstance(result.exception, SystemExit)
    return result.exit_code, f"Traceback: {result.exception!r}" if is_traceback else result.output[-300:]


def in_fork(folder: Path, work: Callable[[], Any], seconds: float | None = None) -> tuple[int, Any]:
    """Run something in a forked process in a folder; return how the process ended, and what came of it.

    After some `seconds`, the process is killed.
    """
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        with os.fdopen(write, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(write)
    if seconds is not None and not select.select([read], [], [], seconds)[0]:
        os.kill(process, signal.SIGKILL)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), json.loads(text) if text else None


def digest(folder: Path, results: list[str]) -> dict[str, str]:
    """Return the digests of all files of the results but manifests of shards, which tell how long they took."""
    found = {}
    for name in results:
        for path in [folder / name, *sorted((folder / name).rglob("*"))]:
            if path.is_file() and (path.suffix, path.parent.name) != (".json", "shards"):
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Fail every operation of a command in turn."""
    with tempfile.TemporaryDirectory() as place:
        start, whole = prepare(Path(place), spec), Path(place, "whole")
        shutil.copytree(start, whole)
        wanted = _reference(whole, spec)
        share, n_shares = spec["share"]
        points = range(wanted.pop("n"))[share::n_shares]
        problems = [text for point in points if (text := _one(Path(place, "point"), start, spec, point, wanted))]
        return {"points": len(points), "problems": problems}


def prepare(place: Path, spec: dict[str, Any]) -> Path:
    """Make a folder in which the command can run, and load here what it needs."""
    start = place / "start"
    start.mkdir()
    make_inputs(start)
    for command in spec["prepare"]:
        status, text = in_fork(start, lambda command=command: call(command))[1]
        assert status == 0, text
    load(Path(shutil.copytree(start, place / "load")), spec["command"])
    return start


def load(folder: Path, command: list[str]) -> None:
    """Import, and load compiled kernels, once for all forks: run the command here."""
    before = os.getcwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        call(command)
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


def _reference(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    def work() -> Any:
        counter = Counter(folder)
        return [*call(spec["command"]), counter.n]

    _, (status, text, n) = in_fork(folder, work)
    assert status == 0, text
    assert n > 5
    return digest(folder, spec["results"]) | {"n": n}


def _one(folder: Path, start: Path, spec: dict[str, Any], point: int, wanted: dict[str, Any]) -> str | None:
    """Fail at one point; return what is wrong afterwards."""
    shutil.copytree(start, folder)
    try:

        def work() -> Any:
            counter = Counter(folder)
            counter.fatal, counter.mode = point, spec["mode"]
            return call(spec["command"])

        ended, answer = in_fork(folder, work)
        if ended not in ((0,) if spec["mode"] == "error" else (0, -signal.SIGKILL)):
            return f"point {point}: the process ended with {ended}"
        if answer is not None and answer[1].startswith("Traceback"):
            return f"point {point}: {answer[1]}"
        if answer is not None and answer[0] == 0 and digest(folder, spec["results"]) == wanted:
            return None  # what failed was not needed
        ended, answer = in_fork(folder, lambda: call(spec["again"]))
        if ended != 0 or answer[0] != 0:
            return f"point {point}: the next call ended with {answer}"
        problem = compare(folder, spec, wanted)
        return problem and f"point {point}: {problem}"
    finally:
        shutil.rmtree(folder)


def compare(folder: Path, spec: dict[str, Any], wanted: dict[str, str]) -> str | None:
    """Say what is wrong with the results in a folder, or None."""
    found = digest(folder, spec["results"])
    if found != wanted:
        names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        return f"other bytes in {', '.join(names[:5])}"
    rest = sorted(path.name for path in folder.rglob(".*partial*"))
    return f"left {', '.join(rest)}" if rest else None


if __name__ == "__main__":
    import pyarrow  # noqa: F401  (before it is forked)
    import torch

    import gradcorr_fast.cli
    import gradcorr_fast.scan  # noqa: F401

    torch.set_num_threads(1)
    print(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))

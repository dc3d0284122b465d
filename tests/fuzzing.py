"""Mutated files of every kind, as many as time allows; a program, of which `test_fuzzed_inputs` runs a few.

    python -m tests.fuzzing SECONDS [FIRST_SEED [KIND ...]]

Seeds are counted up from the first; each is one file of a kind. A process is forked for every few hundred, so that a
crash is seen and named. Prints JSON: for each kind, how many files gave a result, a refusal or unreadable lines; the
next seeds; and what went wrong, by kind and seed.
"""

import gzip
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import gradcorr_fast as gf
from gradcorr_fast import io
from gradcorr_fast.io import reading
from gradcorr_fast.scan.inputs.contigs import read_aliases
from gradcorr_fast.scan.inputs.genome import Genome
from gradcorr_fast.scan.inputs.spelling import parse_spelled
from gradcorr_fast.sequences import encode
from tests.conftest import SHARED
from tests.fasta import compress, write_fasta
from tests.mutants import FILES, TARGETS, VCF, bcf_of, check_file, mutate, mutate_bcf, outcome, real_files

N_A_FORK, SECONDS_A_FILE, LARGEST = 250, 60, 1 << 24
VALUES = np.random.default_rng(0).standard_normal((6, 4, 10)).astype(np.float32)
CONTIGS = {"chr1": "ACGTNacgtn" * 31, "chr2": "GATTACA", "chrM": "ACCGT" * 24}
PACKED = {name: "".join(np.random.default_rng(1).choice(list("ACGT"), 70_000)) for name in ("chr1", "chr2")}
ALIASES = b"# comment\n1\tchr1\nNC_012920.1,chrM\n2 chr2\n"


def turn(content: bytes, rng: random.Random) -> bytes:
    """Change bytes of a binary file, mostly near its beginning or its end, where headers are; or cut it."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        near = rng.choice([len(changed), 128, 128])
        at = rng.randrange(min(near, len(changed)))
        at = len(changed) - 1 - at if rng.random() < 0.3 else at
        kind = rng.randrange(8)
        if kind < 3:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind < 6:
            changed[at] = rng.choice([0, 1, 0x20, 0x39, 0x7F, 0xFF, rng.randrange(256)])
        elif kind == 6:
            del changed[at : at + rng.choice([1, 8, 100])]
        else:
            changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 8])))
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@cache
def arrays(folder: Path) -> dict[str, Path]:
    """Whole files of arrays, by kind."""
    import h5py

    place = folder / "whole"
    place.mkdir()
    np.save(place / "c.npy", VALUES)
    np.save(place / "f.npy", np.asfortranarray(VALUES))
    np.savez(place / "stored.npz", grad=VALUES)
    np.savez_compressed(place / "packed.npz", grad=VALUES)
    for name, options in {
        "plain.h5": {},
        "chunks.h5": {"chunks": (2, 4, 10), "compression": 4, "fletcher32": True},
    }.items():
        with h5py.File(place / name, "w", libver="latest" if options else "earliest") as file:
            file.create_dataset("maps/grad", data=VALUES, **options)
    io.correct_file(place / "c.npy", place / "v.zarr")
    return {path.name: path for path in place.iterdir()}


def read_array(path: Path) -> Any:
    """Read as `correct_file` does."""
    entry = reading.choose(path)
    if entry.dtype.hasobject or math.prod(entry.shape) * entry.dtype.itemsize > LARGEST:
        raise ValueError(f"{entry} is not what this reads")
    with ExitStack() as stack:
        rows = reading.open_rows(path, entry, stack)
        out = np.empty(entry.shape, entry.dtype)
        if entry.shape:
            rows.read(0, entry.shape[0], out)
    return entry, out


def as_its_library(path: Path, entry: Any) -> Any:
    """The same array, by NumPy or h5py; None if they refuse it."""
    import h5py

    try:
        if path.suffix == ".npy":
            return np.load(path)
        if path.suffix == ".npz":
            with np.load(path) as archive:
                return archive[entry.name]
        with h5py.File(path) as file:
            return file[entry.name][()]
    except Exception:  # noqa: BLE001  (whatever they raise)
        return None


def check_array(name: str, rng: random.Random, folder: Path) -> str:
    """What is read is what NumPy or h5py read of the same file; of a store with checksums, what was written."""
    whole, path = arrays(folder)[name], folder / name
    if whole.is_file():
        path.write_bytes(turn(whole.read_bytes(), rng))
        kind, found = outcome(lambda: read_array(path))
        if kind == "result":
            theirs = as_its_library(path, found[0])
            assert theirs is None or theirs.tobytes() == found[1].tobytes(), "other numbers"
        return kind
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole, path)
    file = rng.choice(sorted(p for p in path.rglob("*") if p.is_file()))
    change = mutate if file.suffix == ".json" else turn
    file.write_bytes(change(file.read_bytes(), rng))
    kind, found = outcome(lambda: read_array(path))
    if kind == "result" and file.suffix != ".json":
        assert np.array_equal(found[1], _corrected(whole)), "other numbers"
    return kind


@cache
def _corrected(whole: Path) -> Any:
    return read_array(whole)[1]


@cache
def genomes(folder: Path) -> dict[str, Path]:
    place = folder / "genomes"
    place.mkdir()
    found = {
        "plain": write_fasta(place / "plain.fa", CONTIGS, 50),
        "packed": compress(write_fasta(place / "packed.fa", PACKED)),
    }
    for path in found.values():
        Genome(path)
    return found


def letters_of(path: Path) -> dict[str, bytes]:
    genome = Genome(path)
    try:
        return {name: genome.codes(name, 0, length).tobytes() for name, length in genome.lengths.items()}
    finally:
        genome.close()


def check_index(kind: str, suffix: str, rng: random.Random, folder: Path) -> str:
    """Whatever an index says, the letters are those of the file."""
    path = genomes(folder)[kind]
    index = path.with_name(path.name + suffix)
    content = index.read_bytes()
    index.write_bytes((mutate if suffix == ".fai" else turn)(content, rng))
    outcome_, found = outcome(lambda: letters_of(path))
    index.write_bytes(content)
    assert outcome_ == "result", found
    assert found == {n: encode(s).tobytes() for n, s in (CONTIGS if kind == "plain" else PACKED).items()}
    return outcome_


def check_fasta(rng: random.Random, folder: Path) -> str:
    """The letters of a mutated file are those between its names."""
    path = folder / "mutated.fa"
    path.with_name("mutated.fa.fai").unlink(missing_ok=True)
    content = mutate(genomes(folder)["plain"].read_bytes(), rng)
    path.write_bytes(content)
    kind, found = outcome(lambda: letters_of(path))
    if kind == "result":
        lines = content.replace(b"\r\n", b"\n").removesuffix(b"\r").lstrip(b"\n").removeprefix(b">")
        parts = [part.partition(b"\n") for part in lines.split(b"\n>")]
        names = [head.split()[0].decode(errors="surrogateescape") for head, _, _ in parts]
        letters = [body.replace(b"\n", b"").decode("latin-1") for _, _, body in parts]
        wanted = dict(zip(names, letters, strict=True))
        assert found == {name: encode(wanted[name]).tobytes() for name in found}
    return kind


def check_aliases(rng: random.Random, folder: Path) -> str:
    path = folder / "contigs.tsv"
    path.write_bytes(mutate(ALIASES, rng))
    kind, found = outcome(lambda: read_aliases(path, {n: len(s) for n, s in CONTIGS.items()}, Path("genome.fa")))
    assert kind == "refusal" or set(found.values()) <= set(CONTIGS)
    return kind


def check_target(rng: random.Random, folder: Path) -> str:
    text = mutate(rng.choice(TARGETS).encode(), rng).decode(errors="replace")
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        kind, found = outcome(lambda: gf.targets.parse(text))
    assert kind == "refusal" or gf.targets.parse(str(found)) == found
    return kind


def check_word(rng: random.Random, folder: Path) -> str:
    words = FILES["v.txt"].splitlines()
    row = parse_spelled(mutate(rng.choice(words), rng).decode(errors="replace"))
    assert row
    return "unreadable" if isinstance(row, str) else "result"


def check_real(rng: random.Random, folder: Path) -> str:
    name, content = rng.choice(list(real_files(SHARED).items()))
    return check_file(name, mutate(content, rng), folder)


KINDS: dict[str, Callable[[random.Random, Path], str]] = {
    **{
        name: (lambda rng, folder, name=name: check_file(name, mutate(FILES[name], rng), folder)) for name in FILES
    },
    "v.vcf.gz": lambda rng, folder: check_file("w.vcf.gz", turn(gzip.compress(VCF, mtime=0), rng), folder),
    "v.bcf": lambda rng, folder: check_file("v.bcf", mutate_bcf(bcf_of(folder), rng, folder), folder),
    "word": check_word,
    "target": check_target,
    "contigs": check_aliases,
    "fasta": check_fasta,
    "fai": lambda rng, folder: check_index("plain", ".fai", rng, folder),
    "fai of bgzip": lambda rng, folder: check_index("packed", ".fai", rng, folder),
    "gzi": lambda rng, folder: check_index("packed", ".gzi", rng, folder),
    **{
        name: (lambda rng, folder, name=name: check_array(name, rng, folder))
        for name in ("c.npy", "f.npy", "stored.npz", "packed.npz", "plain.h5", "chunks.h5", "v.zarr")
    },
    "real": check_real,
}  # fmt: skip


class TooLong(BaseException):
    """A file took more than a minute."""


def _give_up(*_: Any) -> None:
    raise TooLong


def some(kind: str, seeds: range, folder: Path) -> tuple[Counter[str], list[str]]:
    """Check files of a kind in this process, writing down the seed before each."""
    counts: Counter[str] = Counter()
    problems = []
    signal.signal(signal.SIGALRM, _give_up)
    with warnings.catch_warnings(action="ignore"):
        for seed in seeds:
            (folder / "seed").write_text(str(seed))
            signal.alarm(SECONDS_A_FILE)
            try:
                counts[KINDS[kind](random.Random(seed), folder)] += 1
            except (Exception, TooLong) as error:  # noqa: BLE001  (each is a finding)
                problems.append(f"{kind}, seed {seed}: {type(error).__name__}: {str(error)[:300]}")
            signal.alarm(0)
    return counts, problems


def in_fork(kind: str, seeds: range, folder: Path) -> tuple[Counter[str], list[str]]:
    """Check files of a kind in a forked process, which may crash."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.close(read)
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)  # what C libraries say
        with os.fdopen(write, "w") as pipe:
            json.dump(some(kind, seeds, folder), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status == 0:
        counts, problems = json.loads(text)
        return Counter(counts), problems
    return Counter(crash=1), [f"{kind}, seed {(folder / 'seed').read_text()}: the process ended with {status}"]


def run(seconds: float, first: int, kinds: list[str]) -> dict[str, Any]:
    """Check files until the time is over, each kind for as long as the others."""
    until, counts, problems = time.monotonic() + seconds, {kind: Counter[str]() for kind in kinds}, []
    spent, seeds = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, first)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for prepare in (arrays, genomes, bcf_of):
            prepare(folder)
        real_files(SHARED)
        while time.monotonic() < until:
            kind = min(kinds, key=spent.__getitem__)
            start = time.monotonic()
            new, wrong = in_fork(kind, range(seeds[kind], seeds[kind] + N_A_FORK), folder)
            spent[kind] += time.monotonic() - start
            seeds[kind] += N_A_FORK
            counts[kind] += new
            problems += wrong
    return {
        "counts": counts,
        "next": seeds,
        "spent": spent,
        "n": sum(map(Counter.total, counts.values())),
        "problems": problems,
    }


if __name__ == "__main__":
    chosen = sys.argv[3:] or list(KINDS)
    print(json.dumps(run(float(sys.argv[1]), int((sys.argv[2:] or ["0"])[0]), chosen), indent=1))

"""The folder in which a scan works: what it does, its shards, and which of them are done.

A scan is there when ``run.json`` is, and a shard is done when its manifest is; both appear by a rename. Everything else
that a killed process leaves is done again. Locks vanish with the process that holds them.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..io.writing import replacing
from .metadata import RUN_FILE, TABLE

PLAN, SHARDS, LOCK = "plan.parquet", "shards", "run.lock"
COMPARED = ("model", "genome", "input", "options")
"""Parts of what a scan says about itself that must not change when it goes on."""
NAMES = ("path", "source")
"""What may: where files are."""
MATRIX = f"{TABLE}.zarr"
OWN = (RUN_FILE, PLAN, SHARDS, LOCK, TABLE, ".run.", ".plan.", ".scores.")
"""How the names in its folder begin."""

POLL_SECONDS = 1.0

Record = dict[str, Any]


class Folder:
    """A scan on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def record(self) -> Record | None:
        """What the scan says about itself, or None where there is none."""
        file = self.path / RUN_FILE
        return json.loads(file.read_text()) if file.exists() else None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the folder while a scan is begun or joined; one that was made for a scan that did not begin goes."""
        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / LOCK):
                yield
        finally:
            if is_new and self.record is None:
                shutil.rmtree(self.path)

    def clear(self) -> None:
        """Remove what a scan left, and nothing else."""
        (self.path / RUN_FILE).unlink(missing_ok=True)  # first: without it there is no scan
        for place in self._contents():
            if place.is_dir():
                shutil.rmtree(place)
            elif place.name != LOCK:
                place.unlink()

    def refuse_strangers(self) -> None:
        """Raise an error if the folder holds files that are not a scan's."""
        strangers = sorted({p.name for p in self.path.iterdir()} - {p.name for p in self._contents()})
        if strangers:
            raise FileExistsError(
                f"{self.path} holds other files ({', '.join(strangers[:3])}); give the scan a folder of its own"
            )

    def _contents(self) -> list[Path]:
        """What in the folder is a scan's, whole or what an interrupted write left."""
        return [p for p in self.path.iterdir() if p.name.startswith(OWN)]

    def begin(self, record: Record) -> None:
        """Write what the scan says about itself: from now on it is there."""
        (self.path / SHARDS).mkdir(exist_ok=True)
        write_json(self.path / RUN_FILE, record)

    @property
    def plan(self) -> Path:
        """Where the placed alleles are, one row group for each shard."""
        return self.path / PLAN

    def shard(self, number: int) -> Path:
        """Where the table of a shard is."""
        return self.path / SHARDS / f"{number:06d}.parquet"

    def manifest(self, number: int) -> Record | None:
        """What is known of a shard that is done, or None."""
        file = self.shard(number).with_suffix(".json")
        try:
            return dict(json.loads(file.read_text()))
        except FileNotFoundError:
            return None

    def is_whole(self, number: int) -> bool:
        """Whether a shard is done and its file is the one that was written."""
        manifest, file = self.manifest(number), self.shard(number)
        return manifest is not None and file.exists() and file_digest(file) == manifest["sha256"]

    @contextmanager
    def holding(self, number: int) -> Iterator[bool]:
        """Hold a shard, which yields True, unless another process does."""
        lock = FileLock(self.shard(number).with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def is_held(self, number: int) -> bool:
        """Whether some process is at a shard."""
        file = self.shard(number).with_suffix(".lock")
        if not file.exists():
            return False
        with self.holding(number) as is_free:
            return not is_free

    def commit(self, number: int, write: Callable[[Path], None], manifest: Mapping[str, Any]) -> None:
        """Write the table of a shard, and then its manifest."""
        file = self.shard(number)
        write(file)
        write_json(file.with_suffix(".json"), {"shard": number, "sha256": file_digest(file), **manifest})


def work(folder: Folder, numbers: Iterable[int], score: Callable[[int], None]) -> None:
    """Do the shards that are not done; those that another process holds last, should it leave them undone."""
    pending = list(numbers)
    while pending:
        held = []
        for number in pending:
            with folder.holding(number) as is_ours:
                if not is_ours:
                    held.append(number)
                elif not folder.is_whole(number):
                    score(number)
        pending = held
        if held:
            time.sleep(POLL_SECONDS)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is whole or not there, and replaces one that exists."""
    with replacing([path], force=True) as (temporary,):
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def find_changes(before: Record, now: Record) -> list[str]:
    """Say what differs between a scan and a call that wants to go on with it, in words."""
    found = []
    for part in COMPARED:
        old, new = before.get(part, {}), now.get(part, {})
        for key in sorted((old.keys() | new.keys()).difference(NAMES)):
            if old.get(key) != new.get(key):
                found.append(f"{part} {key} was {_show(old.get(key))} and is {_show(new.get(key))}")
    return found


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The folder in which a scan works: what it does, its shards, and which of them are done.

A scan is there when ``run.json`` is, and a shard is done when its manifest is; both appear by a rename. Everything else
that a killed process leaves is done again. Locks vanish with the process that holds them.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..._warn import warn
from ..._wording import option
from ...io.replacing import UNFINISHED, replacing, sync
from ..results.digests import is_sealed, seal, unsealed
from ..results.metadata import REGIONS, REPORT, RUN_FILE, STORE, TABLE, TABLE_FORMATS
from .claiming import CLAIM, is_ours, refuse_others

PLAN, SHARDS, LOCK = "plan.parquet", "shards", "run.lock"
COMPARED = ("model", "genome", "input", "options")
"""Parts of what a scan says about itself that must not change when it goes on."""
MAY_CHANGE = ("path", "source")
"""What of it may: where files are."""
MATRIX = f"{TABLE}.zarr"
RESULTS = (REGIONS, STORE, MATRIX, *(f"{TABLE}{suffix}" for suffix in TABLE_FORMATS))
OWN = (RUN_FILE, PLAN, SHARDS, LOCK, CLAIM, REPORT, *RESULTS, *(f"{name}.json" for name in RESULTS))
"""Names of what a scan keeps in its folder."""

PLAN_DIGEST = "plan"
"""In a record: the digest of what was placed, which those of earlier versions lack."""
PER_FOLDER = 1000
"""Shards whose files lie in one folder; those of others get folders of their own, as some file systems need it."""
POLL_SECONDS = 1.0
WAIT_SECONDS = 1.0
"""After which one is told for whom one waits."""
LOCKS = Path("/proc/locks")
"""Where Linux tells who holds a lock."""
CANNOT_LOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

Record = dict[str, Any]


def check_current(place: Path, record: Record) -> None:
    """Refuse to go on with what an earlier version began: its rows have other columns, and its files no digests."""
    if PLAN_DIGEST not in record:
        raise ValueError(
            f"the scan in {place} was begun by an earlier version, before results had checksums and strands of "
            f"regions counted; begin it anew with {option('force')}, or end it with that version"
        )


class Folder:
    """A scan on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def record(self) -> Record | None:
        """What the scan says about itself, or None where there is none."""
        file = self.path / RUN_FILE
        try:
            record = dict(json.loads(file.read_text()))
            is_whole = record["id"] == identify({key: value for key, value in record.items() if key != "id"})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError):
            is_whole = False
        if not is_whole:
            raise OSError(f"{file} is damaged, it is not what was written")
        return record

    @property
    def is_there(self) -> bool:
        """Whether there is a scan, be its record whole or not."""
        return (self.path / RUN_FILE).exists()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the folder while a scan is begun or joined; one that was made for a scan that did not begin goes.

        Where this process drives workers its claim does, and no lock is asked for.
        """
        refuse_others(self.path)
        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with nullcontext() if is_ours(self.path) else _wait_for(self.path / LOCK):
                yield
        finally:
            if is_new and not self.is_there:
                shutil.rmtree(self.path, ignore_errors=True)

    def check_vacant(self, force: bool) -> None:
        """Raise an error if the folder holds what is not a scan's, or the remains of a scan that may be wanted."""
        names = {p.name for p in self.path.iterdir()}
        strangers = sorted(name for name in names if name not in OWN and not UNFINISHED.fullmatch(name))
        if strangers:
            raise FileExistsError(
                f"{self.path} holds other files ({', '.join(strangers[:3])}); give the scan a folder of its own"
            )
        if self.record is not None or force:
            return
        remains = sorted(names.intersection(RESULTS) | {p.name for p in (self.path / SHARDS).rglob("*.parquet")})
        if remains:
            raise FileExistsError(
                f"{self.path} holds {', '.join(remains[:3])} without a scan; move them away, or remove them by "
                f"{option('force')}"
            )

    def clear(self, keep: Path) -> None:
        """Remove what a scan left, and nothing else; not while some process is at it."""
        record = self.record
        held = [number for number in range(record["shards"] if record else 0) if self.is_held(number)]
        if held:
            raise RuntimeError(f"some process is at the scan in {self.path} (shard {held[0]}); end it first")
        (self.path / RUN_FILE).unlink(missing_ok=True)  # first: without it there is no scan
        for place in self.path.iterdir():
            if place in (keep, self.path / CLAIM) or (place.name not in OWN and not UNFINISHED.fullmatch(place.name)):
                continue
            if place.is_dir():
                shutil.rmtree(place)
            elif place.name != LOCK:
                place.unlink()

    def begin(self, record: Record, plan: Path) -> None:
        """Put in place what was planned, and what the scan says about itself: from now on it is there."""
        (self.path / SHARDS).mkdir(exist_ok=True)
        shutil.move(plan, self.plan)
        sync(self.plan)
        write_json(self.path / RUN_FILE, record)

    def check_id(self, identity: str) -> None:
        """Raise an error if the scan in the folder is another than it was, FileNotFoundError if there is none."""
        record = self.record
        if record is None:
            raise FileNotFoundError(f"the scan in {self.path} is gone: another call has ended or removed it")
        if record["id"] != identity:
            raise RuntimeError(f"the scan in {self.path} was begun anew by another call; this one ends")

    @property
    def plan(self) -> Path:
        """Where what was placed is, one row group for each shard."""
        return self.path / PLAN

    def shard(self, number: int) -> Path:
        """Where the table of a shard is."""
        part = number // PER_FOLDER
        return self.path / SHARDS / (f"{part:03d}" if part else "") / f"{number:06d}.parquet"

    def _make_room(self, number: int) -> None:
        """Make the folder of a shard, if it is not that of all; FileNotFoundError if the scan is gone."""
        if number >= PER_FOLDER:
            self.shard(number).parent.mkdir(exist_ok=True)

    def manifest(self, number: int) -> Record | None:
        """What is known of a shard that is done, or None; also where that was damaged, so that it is done again."""
        file = self.shard(number).with_suffix(".json")
        try:
            manifest = dict(json.loads(file.read_text()))
        except (FileNotFoundError, ValueError):
            return None
        return unsealed(manifest, file) if is_sealed(manifest) else None

    def files(self, number: int) -> dict[Path, str]:
        """The files of a shard that is done, with their digests."""
        manifest = self.manifest(number) or {"files": {}}
        return {self.path / name: digest for name, digest in manifest["files"].items()}

    def damaged_files(self, number: int) -> list[Path]:
        """Those of them that are not what was written, or missing."""
        return [file for file, digest in self.files(number).items() if not file.exists() or file_digest(file) != digest]

    def is_whole(self, number: int) -> bool:
        """Whether a shard is done and its files are those that were written."""
        return self.manifest(number) is not None and not self.damaged_files(number)

    @contextmanager
    def holding(self, number: int) -> Iterator[bool]:
        """Hold a shard, which yields True, unless another process does; any thread may let it go."""
        self._make_room(number)
        lock = FileLock(self.shard(number).with_suffix(".lock"), timeout=0, thread_local=False)
        try:
            with _telling_no_locks(Path(lock.lock_file)):
                lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def is_held(self, number: int) -> bool:
        """Whether some process is at a shard; where workers are driven, the claim tells how many are."""
        if is_ours(self.path):
            return False
        file = self.shard(number).with_suffix(".lock")
        if not file.exists():
            return False
        with self.holding(number) as is_free:
            return not is_free

    def commit(
        self,
        number: int,
        identity: str,
        write: Callable[[Path], None],
        manifest: Mapping[str, Any],
        others: Iterable[Path] = (),
    ) -> None:
        """Write the table of a shard, and then its manifest; `others` are files of it that are written already."""
        self.check_id(identity)
        self._make_room(number)
        file = self.shard(number)
        write(file)
        for other in others:
            sync(other)
        files = {str(each.relative_to(self.path)): file_digest(each) for each in (file, *others)}
        about = {"shard": number, "files": files, "ended": round(time.time()), **manifest}
        write_json(file.with_suffix(".json"), seal(about))


class Shards:
    """Shards of a scan at work: those that are not done, one after the other, each held until it is on disk."""

    def __init__(
        self, folder: Folder, identity: str, numbers: Iterable[int], writer: ThreadPoolExecutor, written: ExitStack,
        hold: ExitStack,
    ) -> None:  # fmt: skip
        self._folder, self._identity, self._numbers = folder, identity, numbers
        self._writer, self._written, self._hold = writer, written, hold

    def __iter__(self) -> Iterator[int]:
        """Hold and yield shards that are not done; those of another process last, should it leave them undone."""
        pending, is_told = list(self._numbers), False
        while pending:
            held = []
            for number in pending:
                self._folder.check_id(self._identity)  # before the lock, which would make a folder that is gone
                is_ours = self._hold.enter_context(self._folder.holding(number))
                self._folder.check_id(self._identity)
                if not is_ours:
                    held.append(number)
                elif not self._folder.is_whole(number):
                    yield number
                self._hold.close()
            self._written.close()
            pending = held
            if held:
                time.sleep(POLL_SECONDS)
                if not is_told and self._folder.is_held(held[0]):
                    lock = self._folder.shard(held[0]).with_suffix(".lock")
                    warn(f"waiting for {len(held)} shards that {_holder(lock)} is at, shard {held[0]} among them")
                    is_told = True

    def write(self, do: Callable[[], None]) -> None:
        """Let a thread put the shard on disk that was yielded last, once the one before it is there."""
        self._written.close()
        self._written.callback(self._writer.submit(_write, self._hold.pop_all(), do).result)


@contextmanager
def working(folder: Folder, identity: str, numbers: Iterable[int]) -> Iterator[Shards]:
    """Work on shards: one is computed while a thread writes another. What goes wrong there ends the work."""
    with ThreadPoolExecutor(1) as writer, ExitStack() as written, ExitStack() as hold:
        yield Shards(folder, identity, numbers, writer, written, hold)


@contextmanager
def _wait_for(path: Path) -> Iterator[None]:
    """Hold a lock, and say for whom one waits."""
    lock = FileLock(path)
    with _telling_no_locks(path):
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            warn(f"waiting for {_holder(path)}, which plans or merges the scan in {path.parent}")
            lock.acquire(timeout=-1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _telling_no_locks(path: Path) -> Iterator[None]:
    """Say what to do on file systems without locks."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in CANNOT_LOCK:
            raise
        raise OSError(
            f"files in {path.parent} cannot be locked ({error}), as on network file systems that are mounted without "
            f"locks; put the scan on another disk, or have it mounted with them"
        ) from error


def _holder(path: Path) -> str:
    """Say which process has locked a file, where that can be known."""
    try:
        inode, lines = path.stat().st_ino, LOCKS.read_text().splitlines()
    except OSError:
        return "another process"
    found = [fields[4] for line in lines if len(fields := line.split()) > 5 and fields[5].endswith(f":{inode}")]
    return f"process {found[0]}" if found else "another process"


def _write(hold: ExitStack, write: Callable[[], None]) -> None:
    """Put a shard on disk and let it go: the thread does both, since Ctrl-C may end the wait for it."""
    with hold:
        write()


def this_worker() -> str:
    """Return the machine and the process that this is."""
    return f"{socket.gethostname()}:{os.getpid()}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identify(record: Record) -> str:
    """Return what tells a scan from others: the same for the same model, genome, input and options."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is whole or not there, and replaces one that exists."""
    with replacing([path], force=True) as (temporary,):
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def find_changes(before: Record, now: Record, may_change: Iterable[str] = ()) -> list[str]:
    """Say what differs between a scan and a call that wants to go on with it, in words, but for what may."""
    found = []
    for part in COMPARED:
        old, new = before.get(part, {}), now.get(part, {})
        for key in sorted((old.keys() | new.keys()).difference(MAY_CHANGE, may_change)):
            if old.get(key) != new.get(key):
                found.append(f"{part} {key} was {_show(old.get(key))} and is {_show(new.get(key))}")
    return found


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

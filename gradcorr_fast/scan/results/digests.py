"""Digests by which results are checked: the one that metadata carry of themselves, and those of rows as text."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

CHECK, SEAL, ROWS, LINES = "check", "seal", "rows", "lines"
"""In metadata: what checks them, and there, the digests of all else and of the rows of a table, and their number."""


def seal(metadata: Mapping[str, Any], **digests: Any) -> dict[str, Any]:
    """Return metadata with digests of other things, and with one of themselves as JSON has them."""
    whole = {**metadata, CHECK: digests}
    return {**metadata, CHECK: {**digests, SEAL: _digest(whole)}}


def unsealed(metadata: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Return metadata as they were before `seal`, or say that they are not what was written."""
    plain = {key: value for key, value in metadata.items() if key != CHECK}
    if CHECK in metadata and not is_sealed(metadata):
        raise OSError(
            f"what {path} says about itself is not what was written, it is damaged; gradcorr-fast verify {path} tells "
            f"what else is"
        )
    return plain


def is_sealed(metadata: Mapping[str, Any]) -> bool:
    """Whether metadata carry a digest of themselves, and are what they were when they got it."""
    check = metadata.get(CHECK)
    if not isinstance(check, Mapping):
        return False
    digests = {key: value for key, value in check.items() if key != SEAL}
    return check.get(SEAL) == _digest({**metadata, CHECK: digests})


def problem_of(metadata: Mapping[str, Any], path: str | Path) -> str | None:
    """Say what is wrong with what `path` says about itself, or None if it is as it was written."""
    if CHECK not in metadata:
        return f"{path} carries no digests, as what earlier versions wrote: nothing tells whether it is whole"
    return None if is_sealed(metadata) else f"what {path} says about itself is not what was written"


class TextDigest:
    """The SHA-256 of a text that comes in parts."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.n_lines = 0

    def passing(self, texts: Iterable[str]) -> Iterator[str]:
        """Yield the parts on, having counted them in."""
        for text in texts:
            self._hash.update(text.encode())
            self.n_lines += text.count("\n")
            yield text

    def take(self, texts: Iterable[str]) -> str:
        """Count in all parts, and return the digest."""
        for _ in self.passing(texts):
            pass
        return self.text

    @property
    def text(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

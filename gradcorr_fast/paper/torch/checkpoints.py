"""Checkpoints of training: files of PyTorch that end in a digest of what is before it."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

from ..._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise missing_backend("PyTorch", "torch") from error

from ...io.replacing import replacing
from .._kept import reading

MARK = b"\nSHA-256 of the above: "
"""Stands before the digest; torch.load, which looks for its archive from the end, passes over both."""
N_BYTES = len(MARK) + 64


def write(path: Path | None, parts: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    if path is None:
        return
    archive = BytesIO()
    torch.save({**parts, "settings": settings}, archive)
    content = archive.getvalue()
    with replacing([path], force=True) as (temporary,):
        temporary.write_bytes(content + MARK + hashlib.sha256(content).hexdigest().encode())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, with or, as they once were, without a digest.

    Raises
    ------
    OSError
        If it is not what was written; the message names it and the mend.
    """
    with reading(path):
        content = path.read_bytes()
        archive, mark, digest = content[:-N_BYTES], content[-N_BYTES:-64], content[-64:]
        if mark != MARK:
            archive = content
        elif digest != hashlib.sha256(archive).hexdigest().encode():
            raise ValueError("its digest is another")
        saved: dict[str, Any] = torch.load(BytesIO(archive), map_location=device, weights_only=True)
    return saved


def read(path: Path | None, settings: dict[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Read the checkpoint of a run with these settings, if there is one."""
    if path is None or not path.exists():
        return None
    saved = load(path, device)
    if saved.get("settings", {}).keys() != settings.keys():
        raise ValueError(f"{path} is no checkpoint of a training like this one; give the run a file of its own")
    for name, value in settings.items():
        if saved["settings"][name] != value:
            raise ValueError(
                f"the checkpoint {path} is of {name} {saved['settings'][name]}, not {value}; give each run its own"
            )
    return saved

"""Who works on the shards of a scan: this process, or the workers of a Dask client."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..._types import FastaLike
from .folder import Folder


def crew_of(client: Any, fasta: FastaLike, folder: Folder) -> AbstractContextManager[Any]:
    """Claim a scan for the workers of a Dask client; None without one, since this process does the work."""
    if client is None:
        return nullcontext()
    from .dask import driving

    return driving(client, fasta, folder.path)

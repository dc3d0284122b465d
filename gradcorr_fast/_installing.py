"""How an extra of this package is installed, by how the package itself was."""

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = "gradcorr-fast"


def install_command(extra: str) -> str:
    """Return the command that brings an extra: of the folder or file that was installed, else by name.

    Examples
    --------
    >>> install_command("io").startswith("pip install ")
    True
    """
    record = _record()
    parts = urlsplit(record.get("url", ""))
    if parts.scheme != "file":
        return f"pip install '{NAME}[{extra}]'"
    if "dir_info" not in record:  # a wheel or an archive
        return f"pip install '{NAME}[{extra}] @ {record['url']}'"
    folder = Path(unquote(parts.path))
    place = "." if folder == Path.cwd() else folder
    return f"pip install {'-e ' if record['dir_info'].get('editable') else ''}'{place}[{extra}]'"


def _record() -> dict[str, Any]:
    """Return what pip wrote about where the package came from (PEP 610); of a checkout, what it would write."""
    folder = Path(__file__).parents[1]
    if (folder / "pyproject.toml").is_file():
        return {"url": folder.as_uri(), "dir_info": {"editable": True}}
    text = distribution(NAME).read_text("direct_url.json")
    found: dict[str, Any] = json.loads(text) if text else {}
    return found

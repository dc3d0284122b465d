"""Checks of the built site, as warnings, which end a build with -W: no page asks another server for anything, and every
public name has its entry in the API."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.test_architecture import PUBLIC

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(f"sphinx.{__name__}")  # whose warnings Sphinx counts
ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|source|video)[^>]*\ssrc=[\"'](?:https?:)?//[^\"']*"
    r"|<link[^>]*rel=[\"'](?:stylesheet|preload|icon)[\"'][^>]*href=[\"'](?:https?:)?//[^\"']*"
    r"|(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*"
)
"""What a browser would load from another server."""


def setup(app: "Sphinx") -> dict[str, Any]:
    """Check at the end of a build."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def check(app: "Sphinx", error: Exception | None) -> None:
    """Warn of what is wrong with the site."""
    if error is not None or app.builder.name != "html":
        return
    for path in sorted(p for p in Path(app.outdir).rglob("*") if p.suffix in (".html", ".css")):
        for asked in ELSEWHERE.findall(path.read_text(errors="replace")):
            logger.warning("%s asks another server: %s", path.relative_to(app.outdir), asked[:100])
    documented = set(app.env.get_domain("py").objects)
    for name in sorted(public_names() - documented):
        logger.warning("the API has no entry of %s", name)


def public_names() -> set[str]:
    """Name what users may call, by the table that tests hold, but for modules."""
    names = (f"{module}.{member}" for module, members in PUBLIC.items() for member in members.split())
    return {name for name in names if name not in PUBLIC}

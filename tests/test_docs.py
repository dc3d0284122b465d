"""The pages: nothing in them falls behind the code, whatever the site's own build finds."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

import gradcorr_fast as gf
from gradcorr_fast import cli
from gradcorr_fast.cli import COMMANDS, main
from tests.literals import literals
from tests.test_architecture import PUBLIC

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs a checkout")
DOCS = ROOT / "docs"
MARKDOWN = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")),
]  # fmt: skip
CONTAINERS = {"gradcorr_fast", "gradcorr_fast.hooks", "gradcorr_fast.paper"}
"""Modules that hold others, which have the pages."""


def _command(name: str) -> click.Command:
    try:
        command = main.get_command(click.Context(main), name)
    except click.ClickException as error:  # of a package that is not installed
        pytest.skip(str(error))
    assert command is not None
    return command


def _example_of(name: str) -> str:
    """The examples in the help of a command, as they stand in its file."""
    source = Path(cli.__file__).with_name(f"{name.replace('-', '_')}.py").read_text()
    return source.partition("Example:\n")[2].partition('"""')[0]


def anchors(page: Path) -> set[str]:
    """What headings are called in links, as GitHub and the site have it."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    targets = [re.sub(r"\s", "", link) for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]
    inner = [target for target in targets if not re.match(r"https?:", target)]
    missing = []
    for path, _, anchor in (target.partition("#") for target in inner):
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def test_every_page_is_in_the_navigation() -> None:
    listed = set()
    for page in DOCS.rglob("*.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    assert set(DOCS.rglob("*.md")) - listed == {DOCS / "index.md"}


def test_every_public_module_is_in_the_api() -> None:
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. automodule:: (\S+)$", text, re.MULTILINE))
    assert documented == set(PUBLIC) - CONTAINERS


def test_every_option_of_scans_has_its_reason() -> None:
    pytest.importorskip("pyarrow")
    from gradcorr_fast.scan.running.options import FOR_ANY

    terms = re.findall(r"^(`.*)\n: ", (DOCS / "scan-options.md").read_text(), re.MULTILINE)
    named = {name for term in terms for name in re.findall(r"`(\w+)`", term)}
    assert set(FOR_ANY) - named == set()
    others = {
        "model",
        "weights",
        "trust_model",
        "custom_objects",
        "out",
        "resume",
        "force",
        "shard",
        "format",
        "client",
    }
    assert named == set(FOR_ANY) | others | {"client"}


def test_who_cites_names_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{version}}}" in (DOCS / "citing.md").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def calls(text: str) -> list[str]:
    """Calls of the command line in blocks of shell, or in a help's examples."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL) or [text]
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.partition("&&")[2].strip() or line for line in joined.splitlines() if "gradcorr-fast " in line]


SHOWN = [call for page in MARKDOWN for call in calls(page.read_text()) if page.name != "CHANGELOG.md"]
HELPED = [call.strip() for name in COMMANDS for call in calls(_example_of(name))]


@pytest.mark.parametrize("call", sorted({call for call in (*SHOWN, *HELPED) if call.startswith("gradcorr-fast ")}))
def test_calls_that_are_shown_have_options_that_exist(call: str) -> None:
    words = shlex.split(call, comments=True)[1:]
    if words[0].startswith("-"):
        return
    command = _command(words[0])
    command.make_parser(click.Context(command)).parse_args(words[1:])  # raises UsageError


TEXTS = [text for path in Path(gf.__file__).parent.rglob("*.py") for text in literals(path)]
TOLD = re.findall(r"^`(.*)`\n: ", (DOCS / "troubleshooting.md").read_text() if DOCS.is_dir() else "", re.MULTILINE)


def test_troubleshooting_has_many_messages() -> None:
    assert len(TOLD) > 40


@pytest.mark.parametrize("message", TOLD)
def test_messages_of_troubleshooting_stand_in_the_code(message: str) -> None:
    pattern = re.compile(".*".join(re.escape(part.strip()) for part in message.split("…")), re.DOTALL)
    assert [text for text in TEXTS if pattern.search(text)] != []


@pytest.fixture(scope="module")
def site_checks() -> Any:
    """docs/site_checks.py."""
    spec = importlib.util.spec_from_file_location("site_checks", DOCS / "site_checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://cdn.example/mathjax.js"></script>',
        '<link href="x.css" rel="icon"><link rel="stylesheet" type="text/css" href="//fonts.example/a.css">',
        "<img alt='a' src='http://images.example/a.png'>",
        "@font-face { src: url(https://fonts.example/a.woff2) }",
        '@import "https://fonts.example/a.css";',
    ],
)
def test_what_a_page_asks_of_another_server_is_seen(site_checks: Any, text: str) -> None:
    assert len(site_checks.ELSEWHERE.findall(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        '<a href="https://doi.org/10.1186/s13059-023-02956-3">',
        '<link rel="stylesheet" href="_static/a.css">',
        '<svg xmlns="http://www.w3.org/2000/svg">',
        "background: url(a.png)",
    ],
)
def test_what_a_page_asks_of_nobody_is_not(site_checks: Any, text: str) -> None:
    assert site_checks.ELSEWHERE.findall(text) == []

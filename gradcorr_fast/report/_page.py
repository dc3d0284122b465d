"""A page: sections of a few kinds of blocks, and the HTML that a template makes of them, whole in one file."""

import base64
import hashlib
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, TypeAlias

from markupsafe import Markup

from .._check import missing_backend
from ._svg import letter_shapes

try:
    import jinja2
except ModuleNotFoundError as error:
    raise missing_backend("jinja2", "report") from error

TEMPLATE, STYLE, SCRIPT = "report.html", "style.css", "table.js"


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    kind: ClassVar = "words"
    text: str
    is_advice: bool = False
    """Whether it tells what to look at or to do."""


@dataclass(frozen=True)
class Facts:
    """Names with what is known of them."""

    kind: ClassVar = "facts"
    items: Mapping[str, str]
    is_large: bool = False
    """Whether these are the numbers that a page begins with."""


@dataclass(frozen=True)
class Picture:
    """A picture, which has a text of its own for those who do not see it, and words below it."""

    kind: ClassVar = "picture"
    svg: Markup
    caption: str
    is_wide: bool = False
    """Whether it is as wide as its sequence, and scrolls where there is less room."""


@dataclass(frozen=True)
class Beside:
    """Pictures and tables beside each other as far as there is room."""

    kind: ClassVar = "beside"
    items: "Sequence[Picture | Table]"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell of a table."""

    text: str
    number: float | None = None
    """By which its column is sorted; by its text where there is none."""
    link: str | None = None
    """Id of the part of the page that tells more."""

    @property
    def order(self) -> str:
        """What the script sorts by."""
        return self.text if self.number is None else "" if math.isnan(self.number) else repr(float(self.number))


@dataclass(frozen=True)
class Table:
    """Rows of cells; what names a row stands first."""

    kind: ClassVar = "table"
    caption: str
    columns: Mapping[str, str]
    """Name of each column, with what it means or nothing."""
    rows: Sequence[Sequence[Cell]]
    name: str = ""
    """Id, of those that can be sorted and searched."""


@dataclass(frozen=True)
class Commands:
    """What to type next, each with a line on what it does."""

    kind: ClassVar = "commands"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Details:
    """Text as it stands, behind a word that opens it."""

    kind: ClassVar = "details"
    title: str
    text: str


@dataclass(frozen=True)
class Part:
    """Blocks with a heading of their own, inside of a section."""

    kind: ClassVar = "part"
    title: str
    name: str
    blocks: "Sequence[Block]"


Block: TypeAlias = Words | Facts | Picture | Beside | Table | Commands | Details | Part


@dataclass(frozen=True)
class Section:
    """A part of a page that stands in its contents."""

    title: str
    blocks: Sequence[Block]

    @property
    def name(self) -> str:
        """Its id."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    subtitle: str
    sections: Sequence[Section] = field(default_factory=tuple)


def number_cell(value: float | None) -> Cell:
    """Return a number with four digits as a cell; nothing where it is missing."""
    missing = value is None or not math.isfinite(value)
    return Cell("", math.nan) if missing or value is None else Cell(short(value), float(value))


def short(value: float) -> str:
    r"""Write a number with four digits.

    Examples
    --------
    >>> print(ascii((short(-0.000123456), short(12345.6), short(float("nan")))))
    ('\u22120.0001235', '12,350', '\u2013')
    """
    if not math.isfinite(value):
        return "\N{EN DASH}"
    text = f"{float(f'{value:.4g}'):,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else text


def percent(share: float) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> percent(0.1234), percent(0.00002), percent(0.0)
    ('12.3 %', '< 0.1 %', '0 %')
    """
    if not math.isfinite(share):
        return "\N{EN DASH}"
    return "0 %" if share == 0 else "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def command(*words: object) -> str:
    """Return a command as a shell takes it."""
    return shlex.join(map(str, words))


def render(page: Page) -> str:
    """Return a page as HTML that needs no other file: style and script are in it, and a policy that loads nothing."""
    environment = _environment()
    script = environment.loader.get_source(environment, SCRIPT)[0].strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return str(
        environment.get_template(TEMPLATE).render(
            page=page, script=Markup(script), script_digest=Markup(digest), shapes=letter_shapes()
        )
    )


@cache
def _environment() -> Any:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("gradcorr_fast.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip

"""Kinds of parameters that commands take."""

from collections.abc import Callable
from typing import Any

import click

from .._types import Unchecked

FILE = click.Path()
"""Completed by the shell; checked where it is read, with messages that name the mend."""


class Text(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """What a function reads from text."""

    def __init__(self, read: Callable[[str], Any], name: str) -> None:
        self.read, self.name = read, name

    def convert(self, value: Unchecked, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Read it."""
        try:
            return self.read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, context)


class Share(click.ParamType):  # type: ignore[type-arg]
    """The i-th of n parts."""

    name = "i/n"

    def convert(self, value: Unchecked, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Read i and n."""
        if not isinstance(value, str):
            return value
        i, _, n = value.partition("/")
        if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
            self.fail(f"{value!r} must be i/n with i from 1 to n, such as 3/16", param, context)
        return int(i), int(n)

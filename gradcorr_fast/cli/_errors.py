"""Errors as people see them on the command line: a message and an exit status, not a traceback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import click

from .._wording import for_the_shell


class WrongCallError(click.ClickException):
    """What a user can mend in the call; click's own UsageError puts two lines on the command's usage before it."""

    exit_code = 2


@contextmanager
def told() -> Iterator[None]:
    """Turn errors into a message and an exit status: 2 for what a user can mend in the call, otherwise 1.

    Messages name options as the shell has them.
    """
    try:
        with for_the_shell():
            yield
    except (TypeError, ValueError, FileExistsError, FileNotFoundError) as error:
        raise WrongCallError(explain(error)) from error
    except (ImportError, OSError, EOFError, RuntimeError, MemoryError) as error:
        raise click.ClickException(explain(error)) from error


def explain(error: Exception) -> str:
    """Return the message of an error; of the operating system's, its words and the file, without numbers."""
    if not isinstance(error, OSError) or error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    if not isinstance(error, FileNotFoundError):
        return f"{error.strerror}: {name}"
    folder = Path(name).parent
    if not folder.is_dir():
        return f"No such folder: {folder}"
    return f"No such file: {name}{did_you_mean(Path(name).name, os.listdir(folder))}"


def did_you_mean(name: str, known: list[str]) -> str:
    """Return a hint at names that are like another, in brackets."""
    near = get_close_matches(name, known)
    return f" (did you mean {' or '.join(near)}?)" if near else ""

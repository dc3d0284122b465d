"""Errors as people see them on the command line: a message and an exit status, not a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


class WrongCallError(click.ClickException):
    """What a user can mend in the call; click's own UsageError puts two lines on the command's usage before it."""

    exit_code = 2


@contextmanager
def told() -> Iterator[None]:
    """Turn errors into a message and an exit status: 2 for what a user can mend in the call, otherwise 1."""
    try:
        yield
    except (TypeError, ValueError, FileExistsError, FileNotFoundError) as error:
        raise WrongCallError(str(error)) from error
    except (ImportError, OSError, EOFError, RuntimeError, MemoryError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from error

"""How messages name an option: as Python takes it, or, while a command runs, as the shell does."""

from collections.abc import Iterator
from contextlib import contextmanager

_speakers: list[str] = []
"""Holds "shell" for each command that runs; threads of a scan speak as it does."""


@contextmanager
def for_the_shell() -> Iterator[None]:
    """Name options as the command line has them."""
    _speakers.append("shell")
    try:
        yield
    finally:
        _speakers.pop()


def option(name: str, value: str = "", flag: str | None = None) -> str:
    """Return how an option is given.

    Parameters
    ----------
    name : str
        In Python.
    value : str
        To be shown with it; without, Python's is "True" and the shell has none.
    flag : str, optional
        On the command line, where it is not the name with dashes.

    Examples
    --------
    >>> option("bin_axis", "1"), option("resume")
    ('bin_axis=1', 'resume=True')
    >>> with for_the_shell():
    ...     option("bin_axis", "1"), option("resume"), option("trust", flag="--trust-model")
    ('--bin-axis 1', '--resume', '--trust-model')
    """
    shown = flag or f"--{name.replace('_', '-')}"
    return words(f"{name}={value or 'True'}", f"{shown} {value}" if value not in ("", "...") else shown)


def words(python: str, shell: str) -> str:
    """Return the words for Python, or those for the shell while a command runs."""
    return shell if _speakers else python

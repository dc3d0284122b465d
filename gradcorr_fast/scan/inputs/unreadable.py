"""Lines and rows that are no record: what is kept of them, and when they are too many."""

N_FIRST = 10_000
"""Records after which an input is refused if most are unreadable."""
N_SHOWN = 80
"""Letters of a line that are kept."""


def describe(where: str, text: str, reason: str) -> str:
    """Say in a line which record cannot be read.

    Examples
    --------
    >>> describe("line 17", "chr1\\tNA\\tA\\tC", "no position")
    'line 17: chr1 NA A C (no position)'
    """
    plain = " ".join(text[: 4 * N_SHOWN].split())
    return f"{where}: {''.join(letter if letter.isprintable() else '?' for letter in plain[:N_SHOWN])} ({reason})"


def check_most(n_unreadable: int, n_records: int, first: str, name: str, wanted: str) -> None:
    """Raise ValueError if most of the first records of an input are unreadable."""
    if 2 * n_unreadable > n_records:
        raise ValueError(
            f"{n_unreadable:,} of the first {n_records:,} records of {name} cannot be read, such as {first}; {wanted}"
        )

"""How results show themselves: arrays in a few words, and small tables for notebooks, in which all text is escaped."""

from collections.abc import Iterable, Mapping
from html import escape

from ._types import AnyArray


def show_array(array: AnyArray) -> str:
    """Describe an array of any library by its dtype and shape; what is none is shown as it is.

    Examples
    --------
    >>> import numpy as np
    >>> show_array(np.zeros((2, 3), np.float32)), show_array(None)
    ('float32 (2, 3)', 'None')
    """
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        return repr(array)
    dtype = getattr(array.dtype, "name", None) or str(array.dtype).removeprefix("torch.")
    return f"{dtype} {tuple(array.shape)}"


def show_bytes(n_bytes: float) -> str:
    """Write a number of bytes for people.

    Examples
    --------
    >>> show_bytes(999), show_bytes(12_345_678)
    ('999 bytes', '12.3 MB')
    """
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def html_table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table that notebooks show; the first cell names its row.

    Examples
    --------
    >>> html_table("<b>", ["name", "n"], [["x", 1]])[:48]
    '<table><caption>&lt;b&gt;</caption><thead><tr><t'
    """
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>{"".join(f"<td>{escape(str(cell))}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_facts(title: str, facts: Mapping[str, object]) -> str:
    """Return names with what is known of them as a table that notebooks show."""
    return html_table(title, ("", ""), facts.items())

"""Tables of variant scores: their columns, and the Parquet files, one for each shard of a scan, that hold them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from ... import comparisons
from ..._types import Array
from ...io.replacing import replacing
from .parquet import open_checked, write_whole

SCORES = {
    "ref_score": "prediction with the reference allele",
    "alt_score": "prediction with the alternative allele",
    "delta": "prediction with the alternative allele minus that with the reference allele",
    "taylor": "first-order effect of the substitution, from the gradient at the reference sequence",
    "grad_times_input": "corrected gradient at the reference letter, summed over the changed positions",
    "angle": "angle of the gradient to the simplex plane in degrees, the largest in size of the changed positions",
}
"""Each score, in the order of the columns, with its definition."""
MAX_TARGETS = 16
"""With more targets the scores are a Zarr matrix beside the table, see `matrix.create_matrix`."""
ROW = pa.schema(
    [
        ("record", pa.int64()),
        ("allele_index", pa.int32()),
        ("chrom", pa.string()),
        ("pos", pa.int64()),
        ("id", pa.string()),
        ("ref", pa.string()),
        ("alt", pa.string()),
        ("norm_pos", pa.int64()),
        ("norm_ref", pa.string()),
        ("norm_alt", pa.string()),
        ("status", pa.dictionary(pa.int32(), pa.string())),
        ("ref_match", pa.bool_()),
        ("window_start", pa.int64()),
        ("strand", pa.string()),
        ("n_fraction", pa.float32()),
        ("pad_bp", pa.int32()),
    ]
)
"""The columns before the scores: one row for each record and alternative allele, in the order of the input."""
BATCH_ROWS = 1 << 16


COMPARED = {
    "compare": "comparison of the model's outputs with both alleles",
    "position": "bin of that, counted from the variant's",
}
"""What a comparison has columns of, the second one not always, with its definition."""


def comparison_columns(compared: Sequence[str]) -> list[str]:
    """Name the columns of comparisons, whose texts are given: "compare:TEXT", and "position:TEXT" if it has a position.

    Examples
    --------
    >>> comparison_columns(["jsd()", "max()"])
    ['compare:jsd()', 'compare:max()', 'position:max()']
    """
    return [
        f"{name}:{text}" for text in compared for name in list(COMPARED)[: 1 + comparisons.parse(text).has_position]
    ]


def column_names(scores: Sequence[str], targets: Sequence[str], compared: Sequence[str] = ()) -> list[str]:
    """Name the columns of a table of variant scores.

    Parameters
    ----------
    scores : sequence of str
        Of `SCORES`, in any order.
    targets : sequence of str
        Text of each target; all differ.
    compared : sequence of str
        Text of each comparison, see `comparison_columns`; theirs come last.

    Returns
    -------
    list of str
        Those of `ROW`; then for each target the scores in the order of `SCORES`, named by the score with one target
        and "score:target" with several. With more than `MAX_TARGETS` there are no columns of scores.

    Raises
    ------
    ValueError
        If a score is unknown, or two targets have the same text.

    Examples
    --------
    >>> column_names(["delta"], ["index(0)", "index(1)"])[-3:]
    ['pad_bp', 'delta:index(0)', 'delta:index(1)']
    """
    return [*ROW.names, *_score_columns(scores, targets), *comparison_columns(compared)]


def schema(scores: Sequence[str], targets: Sequence[str]) -> pa.Schema:
    """Return the Arrow schema of a table of variant scores; parameters and errors as in `column_names`.

    Examples
    --------
    >>> schema(["delta"], ["index(0)"]).field("delta").type
    DataType(float)
    """
    return _schema_of(column_names(scores, targets))


def check_scores(scores: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Return the scores in the order of `SCORES`, or raise as `column_names` does."""
    for score in scores:
        if score not in SCORES:
            raise ValueError(f"{score!r} is not a score; use some of {', '.join(SCORES)}")
    for target, n in Counter(targets).items():
        if n > 1:
            raise ValueError(f"target {target} is given twice; leave one of them away")
    return [score for score in SCORES if score in scores]


def _score_columns(scores: Sequence[str], targets: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Name of each column of scores, with its score and the number of its target."""
    ordered = check_scores(scores, targets)
    if len(targets) > MAX_TARGETS:
        return {}
    single = len(targets) == 1
    return {s if single else f"{s}:{name}": (s, k) for k, name in enumerate(targets) for s in ordered}


def _schema_of(names: Sequence[str]) -> pa.Schema:
    return pa.schema([*ROW, *(pa.field(name, pa.float32()) for name in names[len(ROW) :])])


def add_scores(rows: pa.Table, values: Mapping[str, Array], targets: Sequence[str]) -> pa.Table:
    """Append the columns of scores to rows of variants.

    Parameters
    ----------
    rows : pyarrow.Table, n rows
        With the columns of `ROW`.
    values : mapping from score to array, shape (n, T), float32
        NaN where a row was not scored, which becomes null.
    targets : sequence of str, length T
        Text of each target.

    Returns
    -------
    pyarrow.Table
        Columns as `column_names` names them; `rows` itself above `MAX_TARGETS`.

    Raises
    ------
    ValueError
        As `column_names`.

    Examples
    --------
    >>> rows = ROW.empty_table()
    >>> add_scores(rows, {"delta": np.zeros((0, 1), np.float32)}, ["index(0)"]).column_names[-1]
    'delta'
    """
    for name, (score, k) in _score_columns(list(values), targets).items():
        rows = rows.append_column(name, pa.array(values[score][:, k], pa.float32(), from_pandas=True))
    return rows


def add_comparisons(rows: pa.Table, numbers: Array, compared: Sequence[str]) -> pa.Table:
    """Append the columns of comparisons, float32 (n, C), in the order of `comparison_columns`; NaN becomes null.

    Examples
    --------
    >>> add_comparisons(ROW.empty_table(), np.zeros((0, 1), np.float32), ["jsd()"]).column_names[-1]
    'compare:jsd()'
    """
    for k, name in enumerate(comparison_columns(compared)):
        rows = rows.append_column(name, pa.array(numbers[:, k], pa.float32(), from_pandas=True))
    return rows


def write_shard(path: str | Path, rows: pa.Table) -> None:
    """Write the rows of one shard to a Parquet file, which is whole or not there; it replaces one that exists.

    The same rows give the same bytes, whatever their chunks and dictionaries.

    Parameters
    ----------
    path : str or Path
        File to write.
    rows : pyarrow.Table
        With the columns of `ROW` first, all others float32; types are cast.

    Raises
    ------
    ValueError
        If the columns are not those of `ROW` and scores.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_shard(f"{folder}/shard.parquet", schema(["delta"], ["index(0)"]).empty_table())
    ...     read_shard(f"{folder}/shard.parquet").column_names[-1]
    'delta'
    """
    names = rows.column_names
    if names[: len(ROW)] != ROW.names:
        raise ValueError(f"the columns are {', '.join(names)}; a table of variants begins with {', '.join(ROW.names)}")
    place = names.index("status")  # encoded anew: an order of its dictionary that depends on nothing but the rows
    status = rows["status"].cast(pa.string()).combine_chunks().dictionary_encode()
    table = rows.set_column(place, "status", status).cast(_schema_of(names)).combine_chunks()
    with replacing([Path(path)], force=True) as (temporary,):
        write_whole(table, temporary)


def read_shard(path: str | Path) -> pa.Table:
    """Read the table that `write_shard` wrote."""
    with open_checked(path) as file:
        return file.read()


def read_batches(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Read shards in turn, a part of one at a time, `status` as plain strings."""
    for path in paths:
        with open_checked(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield plain_status(pa.table(batch))


def plain_status(rows: pa.Table) -> pa.Table:
    """Return rows with their status as plain strings, not encoded."""
    place = rows.schema.get_field_index("status")
    return rows.set_column(place, "status", rows["status"].cast(pa.string()))

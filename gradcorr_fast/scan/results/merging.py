"""Shards of variant scores, joined into one file: Parquet, TSV or an annotated VCF."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...io.replacing import replacing
from .annotation import vcf_header, vcf_lines, write_bcf, write_bgzip
from .digests import LINES, ROWS, TextDigest, seal
from .metadata import KEY, TABLE_FORMATS, format_of, sidecar
from .parquet import open_checked, writing
from .tables import read_batches, read_shard


def merge_shards(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    metadata: Mapping[str, Any],
    contig_lengths: Mapping[str, int] | None = None,
    force: bool = False,
) -> None:
    """Join shards of variant scores, in the order given, into one file that is whole or not there.

    Parameters
    ----------
    paths : sequence of str or Path
        At least one file of `tables.write_shard`, all with the same columns. At most one is in memory at a time.
    out : str or Path
        File to write.
    format : {"parquet", "tsv", "tsv.gz", "vcf", "vcf.gz", "bcf"}, optional
        By default the one that the suffix of `out` names.
    metadata : mapping
        JSON that `metadata.read_metadata` reads back: in the footer of Parquet, under "gradcorr_fast"; beside a TSV, in
        OUT.json; in the header of a VCF, on the line "##gradcorr_fast=".
    contig_lengths : mapping from name to int, optional
        Lengths in bp of chromosomes, by the names that the variants have, for the header of a VCF.
    force : bool
        Whether files that exist may be replaced.

    Raises
    ------
    ValueError
        If there are no shards, their columns differ, or the suffix names no format.
    FileExistsError
        If the file exists and `force` is not given.
    MissingBackendError
        If pysam, which .gz and .bcf need, is not installed.

    Notes
    -----
    Parquet has one row group for each shard. In a TSV what is missing is empty, which pandas, polars and R read as
    missing in columns of numbers; a text that holds a tab, a quote or a line break is quoted as in CSV; .gz is written
    in blocks (bgzip). A VCF has sites only, one record for each record of the input, with its alternative alleles
    joined again and the scores as INFO.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from gradcorr_fast.scan.results.tables import schema, write_shard
    >>> with TemporaryDirectory() as folder:
    ...     write_shard(f"{folder}/0.parquet", schema(["delta"], ["index(0)"]).empty_table())
    ...     merge_shards([f"{folder}/0.parquet"], f"{folder}/scores.tsv", metadata={"gradcorr_fast": "0.1.0"})
    """
    shards, out = [Path(path) for path in paths], Path(out)
    kind = format or format_of(out)
    if kind not in TABLE_FORMATS.values():
        raise ValueError(f"{kind!r} is not a format; use one of {', '.join(TABLE_FORMATS.values())}")
    schema = _common_schema(shards)
    outputs = [out, sidecar(out)] if kind.startswith("tsv") else [out]
    digest = TextDigest()
    with replacing(outputs, shards, force=force) as (temporary, *beside):
        if kind.startswith("tsv"):
            TEXT_WRITERS[kind](temporary, digest.passing(tsv_lines(read_batches(shards), schema.names)))
            beside[0].write_text(_sealed(metadata, digest) + "\n")
        elif kind == "parquet":  # its metadata, as those of VCF, come before the rows, whose digest they hold
            digest.take(tsv_lines(read_batches(shards), schema.names))
            _write_parquet(temporary, shards, schema, _sealed(metadata, digest))
        else:
            digest.take(vcf_lines(read_batches(shards)))
            header = vcf_header(schema.names, _contigs(shards), contig_lengths or {}, _sealed(metadata, digest))
            TEXT_WRITERS[kind](temporary, chain([header], vcf_lines(read_batches(shards))))


def _sealed(metadata: Mapping[str, Any], rows: TextDigest) -> str:
    """Return metadata as JSON, with the digests by which rows and they themselves are checked."""
    return json.dumps(seal(metadata, **{ROWS: rows.text, LINES: rows.n_lines}))


def _common_schema(paths: Sequence[Path]) -> pa.Schema:
    if not paths:
        raise ValueError("there are no shards to merge; name at least one")
    schema = _schema(paths[0])
    for path in paths[1:]:
        if _schema(path) != schema:
            raise ValueError(f"{path} has other columns than {paths[0]}; merge shards of one run")
    return schema


def _schema(path: Path) -> pa.Schema:
    with open_checked(path) as file:
        return file.schema_arrow


def _contigs(paths: Sequence[Path]) -> list[str]:
    """Names of chromosomes in the order of their first records."""
    names: dict[str, None] = {}
    for path in paths:
        with open_checked(path) as file:
            rows = file.read(["chrom", "pos"])
            names |= dict.fromkeys(rows.filter(pc.is_valid(rows["pos"]))["chrom"].unique().to_pylist())
    return list(names)


def _write_parquet(path: Path, shards: Sequence[Path], schema: pa.Schema, metadata: str) -> None:
    with pq.ParquetWriter(path, schema.with_metadata({KEY: metadata}), **writing(schema)) as writer:
        for shard in shards:
            rows = read_shard(shard)
            writer.write_table(rows, row_group_size=max(1, len(rows)))


def _write_plain(path: Path, texts: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(texts)


def tsv_lines(tables: Iterable[pa.Table], names: Sequence[str]) -> Iterator[str]:
    """Write tables as text with tabs, a header first; what is missing is empty."""
    yield _lines([pa.array([name]) for name in names])
    for table in tables:
        if len(table):
            yield _lines([column.combine_chunks() for column in table.columns])


def _lines(columns: Sequence[pa.Array]) -> str:
    cells = [_quoted(column) if pa.types.is_string(column.type) else column.cast(pa.string()) for column in columns]
    lines = pc.binary_join_element_wise(*cells, "\t", null_handling="replace", null_replacement="")
    whole: str = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")[0].as_py()
    return whole + "\n"


def _quoted(texts: pa.Array) -> pa.Array:
    """Texts, those in quotes that would break a line of a TSV."""
    letters = bytes(texts.buffers()[2] or b"")
    if not any(letter in letters for letter in b'\t\r\n"'):  # as nearly always, and much faster to find out
        return texts
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(pc.match_substring_regex(texts, '[\t\r\n"]'), quoted, texts)


TEXT_WRITERS = {
    "tsv": _write_plain,
    "tsv.gz": write_bgzip,
    "vcf": _write_plain,
    "vcf.gz": write_bgzip,
    "bcf": write_bcf,
}

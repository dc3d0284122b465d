"""Parquet files whose pages carry checksums, which reading tests."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def writing(schema: pa.Schema) -> dict[str, Any]:
    """Return how every table of a scan is written: with dictionaries of texts, as numbers hardly repeat."""
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)]
    return {"compression": "zstd", "write_page_checksum": True, "use_dictionary": texts}


def open_checked(path: str | Path) -> pq.ParquetFile:
    """Open a file for reading; a page that is not what was written raises OSError when it is read."""
    return pq.ParquetFile(path, page_checksum_verification=True)


def write_whole(table: pa.Table, path: str | Path) -> None:
    """Write a table as one row group."""
    pq.write_table(table, path, row_group_size=max(1, len(table)), **writing(table.schema))


def group_sizes(file: pq.ParquetFile) -> list[int]:
    """Return the number of rows of each row group of an open file."""
    return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]

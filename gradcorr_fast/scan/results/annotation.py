"""Variant scores as an annotated VCF: sites only, one record for each record of the input, the scores as INFO."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._check import optional
from .metadata import KEY
from .tables import COMPARED, ROW, SCORES

STATUS = "GC_STATUS"


def info_names(columns: Sequence[str]) -> dict[str, str]:
    """Name the INFO field of each column of scores: GC_DELTA with one target, GC_DELTA_1, GC_DELTA_2 with several.

    Comparisons are numbered on their own: GC_COMPARE_1, GC_POSITION_1.
    """
    parts = {name: name.partition(":") for name in columns[len(ROW) :]}
    names = {}
    for kind in (True, False):
        some = {name: part for name, part in parts.items() if (part[0] in COMPARED) == kind}
        texts = list(dict.fromkeys(text for _, _, text in some.values()))
        for name, (score, several, text) in some.items():
            names[name] = f"GC_{score.upper()}" + (f"_{texts.index(text) + 1}" if several else "")
    return {name: names[name] for name in parts}


def vcf_header(columns: Sequence[str], contigs: Iterable[str], lengths: Mapping[str, int], metadata: str) -> str:
    """Write the header of a VCF.

    Parameters
    ----------
    columns : sequence of str
        Of the table of scores, as `tables.column_names` names them.
    contigs : iterable of str
        Names of the chromosomes, in the order of their records.
    lengths : mapping from name to int
        Their lengths in bp, where they are known.
    metadata : str
        JSON, on one line.
    """
    lines = ["##fileformat=VCFv4.3", f"##{KEY}={metadata}", '##FILTER=<ID=PASS,Description="All filters passed">']
    for name in contigs:
        lines.append(f"##contig=<ID={name}" + (f",length={lengths[name]}" if name in lengths else "") + ">")
    lines.append(_info(STATUS, "String", "Whether the allele was scored (ok), or why not; absent if there is no ALT"))
    for column, field in info_names(columns).items():
        score, several, text = column.partition(":")
        meaning, of = (COMPARED[score], "") if score in COMPARED else (SCORES[score], "target ")
        lines.append(_info(field, "Float", f"{meaning.capitalize()}{f'; {of}{text}' if several else ''}"))
    return "\n".join([*lines, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO", ""])


def _info(name: str, kind: str, description: str) -> str:
    escaped = description.replace("\\", "\\\\").replace('"', '\\"')
    return f'##INFO=<ID={name},Number=A,Type={kind},Description="{escaped}",Source="gradcorr_fast">'


def vcf_lines(tables: Iterable[pa.Table]) -> Iterator[str]:
    """Write rows of variants as the text of their records, a few thousand at a time.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        Consecutive rows, `status` as strings. The alternative alleles of a record may lie in two tables.

    Yields
    ------
    str
        Whole lines. Fields that are missing throughout a record are left away, as is the status where there is no
        alternative allele, to which a value of Number=A could belong. White space in ids becomes "_". Records that are
        "unreadable" have no line, as they have no position; the metadata tell how many there were.
    """
    for rows in _whole_records(table.filter(pc.is_valid(table["pos"])) for table in tables):
        record = rows["record"].to_numpy()
        starts = np.flatnonzero(np.diff(record, prepend=record[0] - 1))
        offsets = pa.array(np.append(starts, len(rows)), pa.int32())
        first = rows.select(["chrom", "pos", "id", "ref"]).take(starts)
        ids = pc.replace_substring_regex(_text(first["id"]), r"\s", "_")
        fields = [_text(first["chrom"]), _text(first["pos"]), ids, _text(first["ref"]), _joined(rows["alt"], offsets)]
        yield "\n".join(_paste([*fields, ".", ".", _info_column(rows, offsets)], "\t").to_pylist()) + "\n"


def _whole_records(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut consecutive tables where a record begins."""
    rest = None
    for table in tables:
        rows = table if rest is None else pa.concat_tables([rest, table])
        if len(rows):
            record = rows["record"].to_numpy()
            cut = len(rows) - int(np.argmax(record[::-1] != record[-1])) if record[0] != record[-1] else 0
            if cut:
                yield rows.slice(0, cut)
            rest = rows.slice(cut)
    if rest is not None:
        yield rest


def _info_column(rows: pa.Table, offsets: pa.Array) -> pa.Array:
    """INFO of each record, from the rows of its alternative alleles."""
    status = pc.if_else(pc.is_valid(rows["alt"]), rows["status"], ".")
    fields = []
    for name, values in [(STATUS, status), *((field, rows[c]) for c, field in info_names(rows.column_names).items())]:
        joined = _joined(values, offsets)
        missing = pc.match_substring_regex(joined, r"^\.(,\.)*$")
        fields.append(pc.if_else(missing, "", _paste([f";{name}=", joined], "")))  # null_handling="skip" drops rows
    text = pc.utf8_slice_codeunits(_paste(fields, ""), 1)
    return pc.if_else(pc.equal(text, ""), ".", text)


def _text(values: pa.ChunkedArray) -> pa.Array:
    """Values as strings, "." for what is missing."""
    strings = values.cast(pa.string()).combine_chunks().fill_null(".")
    return pc.if_else(pc.equal(strings, ""), ".", strings)


def _joined(values: pa.ChunkedArray, offsets: pa.Array) -> pa.Array:
    """Values of the rows of each record, with commas between them."""
    return pc.binary_join(pa.ListArray.from_arrays(offsets, _text(values)), ",")


def _paste(parts: Sequence[pa.Array | str], separator: str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, separator)


def write_bcf(path: Path, texts: Iterable[str]) -> None:
    """Write the text of a VCF as BCF, by way of a file that vanishes.

    bcftools does it, as the writer of cyvcf2 does not tell that the disk is full, and that of pysam adds an END.
    """
    pysam, bcftools = optional("pysam", "genome"), import_module("pysam.bcftools")
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.stem}.", suffix=".vcf.gz") as file:
        write_bgzip(file.name, texts)
        try:
            bcftools.view("--no-version", "-Ob", "-o", str(path), file.name, catch_stdout=False)
        except pysam.SamtoolsError as error:
            raise OSError(f"{path.name} could not be written: {error}") from error


def write_bgzip(path: str | Path, texts: Iterable[str]) -> None:
    """Write text that is compressed in blocks, as tabix reads it."""
    with optional("pysam", "genome").BGZFile(str(path), "wb") as file:
        for text in texts:
            file.write(text.encode())

"""Tables of variant scores: other people's libraries read what was written, and files are whole or not there."""

import gzip
import json
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import require

pa = pytest.importorskip("pyarrow")

from gradcorr_fast.scan.results import merging, tables  # noqa: E402
from gradcorr_fast.scan.results.matrix import create_matrix, finish_matrix, write_matrix_shard  # noqa: E402
from gradcorr_fast.scan.results.merging import merge_shards  # noqa: E402
from gradcorr_fast.scan.results.metadata import TABLE_FORMATS, read_contents, read_metadata  # noqa: E402
from gradcorr_fast.scan.results.tables import ROW, SCORES, add_scores, column_names, read_shard, write_shard  # noqa: E402

TARGETS = ["index(0)", "sum_over(bins=1:3, tracks=(1, 2))"]
METADATA = {"gradcorr_fast": "0.1.0", "input": {"path": 'é "<a>,b\\'}, "counts": {"ok": 7, "no_alt": 1}}
LONG = "ACGT" * 2500

Row = dict[str, Any]
Record = tuple[str, int, str | None, str, list[str]]
"""Chromosome, position, id, reference and alternative alleles."""

RECORDS: list[Record] = [
    ("chr2", 0, "telomere", "N", ["A"]),
    ("chr2", 5, None, "A", ["C", "G", "*"]),
    ("chr2", 9, "rs1;rs2", "g", []),
    ("chr2", 9, '"naïve" 語', "T", ["<DEL>"]),
    ("chr10", 7, "rs3", LONG, ["T", LONG + "C"]),
    ("chr10", 500_000_000, None, "AC", ["G]17:198982]"]),
    ("HLA-A*01:01", 1, "NA1", "A", ["R", "T"]),
]
VALUES = [0.1, -0.0, 1e-30, 1 / 3, None, -1e30, 16777217.0, 1e-45]


def make_rows(records: list[Record], targets: list[str] = TARGETS) -> list[Row]:
    """One row for each alternative allele; no two neighbours have the same scores."""
    rows = []
    for number, (chrom, pos, name, ref, alts) in enumerate(records):
        for allele, alt in enumerate(alts or [None]):
            k = len(rows)
            row = {"record": number, "allele_index": allele, "chrom": chrom, "pos": pos, "id": name, "ref": ref}
            row |= {"alt": alt, "norm_pos": pos, "norm_ref": ref, "norm_alt": alt}
            row |= {"status": "ok" if alt else "no_alt", "ref_match": None if alt == "*" else k % 2 == 0}
            row |= {"window_start": None if alt == "*" else pos - 10, "strand": "+", "n_fraction": 0.25, "pad_bp": k}
            for t, target in enumerate(targets):
                label = f":{target}" if len(targets) > 1 else ""
                value = VALUES[(k + 3 * t) % len(VALUES)]
                row[f"delta{label}"] = float(np.float32(value)) if alt and value is not None else None
                row[f"angle{label}"] = float(k + t) if alt and k != 2 else None
            rows.append(row)
    return rows


def as_table(rows: list[Row], targets: list[str] = TARGETS) -> Any:
    return pa.Table.from_pylist(rows, schema=tables.schema(["delta", "angle"], targets))


def write_shards(folder: Path, rows: list[Row], *cuts: int, targets: list[str] = TARGETS) -> list[Path]:
    bounds = [0, *cuts, len(rows)]
    paths = [folder / f"{k}.shard.parquet" for k in range(len(bounds) - 1)]
    for path, start, stop in zip(paths, bounds, bounds[1:], strict=False):
        write_shard(path, as_table(rows[start:stop], targets))
    return paths


def merged(folder: Path, rows: list[Row], suffix: str, *cuts: int, targets: list[str] = TARGETS) -> Path:
    out = folder / f"out-{len(cuts)}{suffix}"
    merge_shards(write_shards(folder, rows, *cuts, targets=targets), out, metadata=METADATA)
    return out


@pytest.fixture(name="small_batches")
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches of every shard."""
    monkeypatch.setattr(tables, "BATCH_ROWS", 2)


def plain(frame: list[Row]) -> list[Row]:
    """Rows with None for what is missing and numbers as they were before they were text."""
    return [
        {name: None if value is None or value != value else _plain(name, value) for name, value in row.items()}
        for row in frame
    ]


def _plain(name: str, value: Any) -> Any:
    return float(np.float32(value)) if name.startswith(("delta", "angle", "n_fraction")) else value


def with_pyarrow(path: Path) -> list[Row]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def with_pandas(path: Path) -> list[Row]:
    require("pandas")
    import pandas as pd

    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t")
    return frame.astype(object).to_dict("records")


def with_polars(path: Path) -> list[Row]:
    require("polars")
    import polars as pl

    return (pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, separator="\t")).to_dicts()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        (".parquet", with_pyarrow),
        (".parquet", with_pandas),
        (".parquet", with_polars),
        (".tsv", with_pandas),
        (".tsv", with_polars),
        (".tsv.gz", with_pandas),
        (".tsv.gz", with_polars),
    ],
)
@pytest.mark.parametrize("targets", [TARGETS, TARGETS[:1]], ids=["two targets", "one target"])
def test_other_libraries_read_the_rows_of_a_table(
    tmp_path: Path, suffix: str, read: Callable[[Path], list[Row]], targets: list[str]
) -> None:
    rows = make_rows(RECORDS, targets)
    found = plain(read(merged(tmp_path, rows, suffix, 3, targets=targets)))
    assert found == rows
    assert list(found[0]) == column_names(["angle", "delta"], targets)


@pytest.mark.parametrize("read", [with_pandas, with_polars])
@pytest.mark.parametrize("name", ['"', 'a"', "a\tb", "a\nb", '"a\tb"', "a\rb", "a,b"])
def test_ids_that_would_break_a_line_are_quoted(tmp_path: Path, read: Callable[[Path], list[Row]], name: str) -> None:
    rows = make_rows([("chr1", 1, name, "A", ["C"]), ("chr1", 2, None, "A", ["C"])])
    assert plain(read(merged(tmp_path, rows, ".tsv"))) == rows


def sites(path: Path) -> list[tuple[Any, ...]]:
    """Records of a VCF, read by cyvcf2."""
    require("cyvcf2")
    import cyvcf2

    return [(v.CHROM, v.POS, v.ID, v.REF, v.ALT, dict(v.INFO)) for v in cyvcf2.VCF(str(path))]


def wanted_sites(records: list[Record], rows: list[Row]) -> list[tuple[Any, ...]]:
    found = []
    for number, (chrom, pos, name, ref, alts) in enumerate(records):
        own = [row for row in rows if row["record"] == number]
        fields = {"GC_STATUS": ",".join(row["status"] for row in own) if alts else None}
        for k, target in enumerate(TARGETS, 1):
            for score in ("delta", "angle"):
                values = tuple(row[f"{score}:{target}"] for row in own)
                shown = values[0] if len(values) == 1 else values
                fields[f"GC_{score.upper()}_{k}"] = shown if any(value is not None for value in values) else None
        info = {field: value for field, value in fields.items() if value is not None}
        found.append((chrom, pos, name and name.replace(" ", "_"), ref, alts, info))
    return found


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("cuts", [(), (2,), (1, 1, 4)], ids=["one shard", "a record in two", "an empty shard"])
@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_cyvcf2_reads_the_records_of_the_input_with_their_scores(
    tmp_path: Path, suffix: str, cuts: tuple[int, ...]
) -> None:
    require("pysam")
    rows = make_rows(RECORDS)
    assert sites(merged(tmp_path, rows, suffix, *cuts)) == wanted_sites(RECORDS, rows)


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_records_that_cannot_be_read_have_no_line_in_a_vcf(tmp_path: Path, suffix: str) -> None:
    """Their lines had "." for a position, which no reader of VCF takes."""
    pysam = pytest.importorskip("pysam")
    rows = [
        {"record": 0, "allele_index": 0, "chrom": "1", "pos": 5, "ref": "A", "alt": "C", "status": "ok"},
        {
            "record": 1,
            "allele_index": 0,
            "chrom": "",
            "pos": None,
            "id": "line 2: x",
            "ref": "",
            "status": "unreadable",
        },
        {"record": 2, "allele_index": 0, "chrom": "1", "pos": 7, "ref": "A", "alt": "C", "status": "ok"},
    ]
    write_shard(tmp_path / "0.parquet", pa.Table.from_pylist(rows, ROW))
    merge_shards([tmp_path / "0.parquet"], tmp_path / f"out{suffix}", metadata={"gradcorr_fast": "0.1.0"})
    with pysam.VariantFile(str(tmp_path / f"out{suffix}")) as file:
        assert list(file.header.contigs) == ["1"]
        assert [record.pos for record in file] == [5, 7]


def test_the_header_of_a_vcf_tells_chromosomes_targets_and_scores(tmp_path: Path) -> None:
    require("pysam")
    import pysam

    targets = ["index(0)", 'track("a\\b")']
    shards = write_shards(tmp_path, make_rows(RECORDS, targets), targets=targets)
    merge_shards(shards, tmp_path / "out.vcf", metadata=METADATA, contig_lengths={"chr10": 600_000_000, "chr1": 1})
    with pysam.VariantFile(str(tmp_path / "out.vcf")) as file:
        header = file.header
    assert list(header.contigs) == ["chr2", "chr10", "HLA-A*01:01"]
    assert header.contigs["chr10"].length == 600_000_000
    assert (header.info["GC_STATUS"].number, header.info["GC_STATUS"].type) == ("A", "String")
    assert (header.info["GC_ANGLE_2"].number, header.info["GC_ANGLE_2"].type) == ("A", "Float")
    assert SCORES["angle"][1:] in header.info["GC_ANGLE_2"].description
    assert header.info["GC_ANGLE_2"].description.endswith('target track(\\"a\\\\b\\")')


@pytest.mark.parametrize(
    ("n_targets", "fields"),
    [(1, ["GC_DELTA", "GC_ANGLE"]), (2, ["GC_DELTA_1", "GC_ANGLE_1", "GC_DELTA_2", "GC_ANGLE_2"]), (17, [])],
)
def test_fields_of_a_vcf_are_numbered_where_there_are_several_targets(
    tmp_path: Path, n_targets: int, fields: list[str]
) -> None:
    targets = [f"index({k})" for k in range(n_targets)]
    out = merged(tmp_path, make_rows(RECORDS, targets), ".vcf", targets=targets)
    assert read_contents(out).columns == ["GC_STATUS", *fields]


def test_tabix_finds_the_records_of_a_compressed_vcf(tmp_path: Path) -> None:
    require("pysam")
    import pysam

    out = merged(tmp_path, make_rows(RECORDS[4:]), ".vcf.gz")
    pysam.tabix_index(str(out), preset="vcf")
    assert [record.pos for record in pysam.VariantFile(str(out)).fetch("HLA-A*01:01", 0, 10)] == [1]


text = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters=";, "), min_size=1, max_size=8)
bases = st.text("ACGTNacgtn", min_size=1, max_size=60)
drawn_records = st.lists(
    st.tuples(
        st.sampled_from(["chr1", "chr2", "20"]),
        st.integers(1, 1 << 30),
        st.none() | text,
        bases,
        st.lists(bases | st.just("*"), max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20)
@given(records=drawn_records, data=st.data())
def test_tables_of_any_records_survive_every_format(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    rows = make_rows(records)
    cut = data.draw(st.integers(0, len(rows)))
    assert with_pyarrow(merged(folder, rows, ".parquet", cut)) == rows
    lines = gzip.decompress(merged(folder, rows, ".tsv.gz", cut).read_bytes()).decode().split("\n")
    assert [len(line.split("\t")) for line in lines] == [len(rows[0])] * (len(rows) + 1) + [1]
    found = [site[:5] for site in sites(merged(folder, rows, ".vcf", cut))]
    assert found == [site[:5] for site in wanted_sites(records, rows)]


@pytest.mark.parametrize("suffix", [suffix for suffix in TABLE_FORMATS if suffix != ".parquet"])
def test_the_text_does_not_depend_on_the_shards(tmp_path: Path, suffix: str) -> None:
    rows = make_rows(RECORDS)
    assert merged(tmp_path, rows, suffix).read_bytes() == merged(tmp_path, rows, suffix, 2, 6).read_bytes()


def test_parquet_has_a_row_group_for_each_shard(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = make_rows(RECORDS)
    one, several = merged(tmp_path, rows, ".parquet"), merged(tmp_path, rows, ".parquet", 2, 6)
    assert pq.ParquetFile(several).metadata.num_row_groups == 3
    assert pq.read_table(several).to_pylist() == pq.read_table(one).to_pylist()
    assert pq.read_table(one).column("status").type == ROW.field("status").type


def test_the_same_rows_give_the_same_bytes_whatever_their_chunks_and_dictionaries(tmp_path: Path) -> None:
    table = as_table(make_rows(RECORDS))
    place = table.schema.get_field_index("status")
    indices = [1 if value == "ok" else 2 for value in table["status"].to_pylist()]
    other = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), ["symbolic", "ok", "no_alt"])
    chunked = pa.concat_tables([table.slice(0, 3), table.slice(3)]).set_column(place, "status", pa.chunked_array(other))
    write_shard(tmp_path / "a.parquet", table)
    write_shard(tmp_path / "b.parquet", chunked)
    write_shard(tmp_path / "c.parquet", read_shard(tmp_path / "a.parquet"))
    first = (tmp_path / "a.parquet").read_bytes()
    assert (tmp_path / "b.parquet").read_bytes() == first
    assert (tmp_path / "c.parquet").read_bytes() == first


@pytest.mark.parametrize("suffix", TABLE_FORMATS)
def test_merging_again_gives_the_same_bytes_and_replaces_only_by_force(tmp_path: Path, suffix: str) -> None:
    shards, out = write_shards(tmp_path, make_rows(RECORDS), 4), tmp_path / f"out{suffix}"
    merge_shards(shards, out, metadata=METADATA)
    first = out.read_bytes()
    with pytest.raises(FileExistsError, match="force"):
        merge_shards(shards, out, metadata=METADATA)
    merge_shards(shards, out, metadata=METADATA, force=True)
    assert out.read_bytes() == first


@pytest.mark.parametrize("suffix", TABLE_FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_merge_that_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, error: type[BaseException]
) -> None:
    shards = write_shards(tmp_path, make_rows(RECORDS), 4)

    def batches(paths: list[Path]) -> Iterator[Any]:
        yield from tables.read_batches(paths[:1])
        raise error

    def shard(path: Path) -> Any:
        if path == shards[1]:
            raise error
        return tables.read_shard(path)

    monkeypatch.setattr(merging, "read_batches", batches)
    monkeypatch.setattr(merging, "read_shard", shard)
    with pytest.raises(error):
        merge_shards(shards, tmp_path / f"out{suffix}", metadata=METADATA)
    assert sorted(tmp_path.iterdir()) == shards


@pytest.mark.parametrize("suffix", TABLE_FORMATS)
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    """The writer of cyvcf2 does not tell that the disk is full: it is not used."""
    names = np.random.default_rng(0).integers(0, 1 << 40, 2000)
    rows = make_rows([("chr1", k, f"rs{name}", "A", ["C"]) for k, name in enumerate(names, 1)])
    shards, before = write_shards(tmp_path, rows), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"large|[Cc]losing|write"):
            merge_shards(shards, tmp_path / f"out{suffix}", metadata=METADATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(tmp_path.iterdir()) == shards


def test_what_cannot_be_merged_is_named(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, make_rows(RECORDS))
    write_shard(tmp_path / "other.parquet", as_table(make_rows(RECORDS, ["mean()"]), ["mean()"]))
    with pytest.raises(ValueError, match="other columns"):
        merge_shards([*shards, tmp_path / "other.parquet"], tmp_path / "out.tsv", metadata={})
    with pytest.raises(ValueError, match="no shards"):
        merge_shards([], tmp_path / "out.tsv", metadata={})
    with pytest.raises(ValueError, match="no suffix"):
        merge_shards(shards, tmp_path / "out.xlsx", metadata={})
    with pytest.raises(ValueError, match="not a format"):
        merge_shards(shards, tmp_path / "out.tsv", format="csv", metadata={})


def test_a_format_may_be_named_instead_of_a_suffix(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, make_rows(RECORDS))
    merge_shards(shards, tmp_path / "scores", format="tsv", metadata=METADATA)
    assert plain(with_pandas(tmp_path / "scores")) == make_rows(RECORDS)
    assert json.loads((tmp_path / "scores.json").read_text()) == METADATA


@pytest.mark.parametrize("suffix", TABLE_FORMATS)
def test_metadata_columns_and_rows_are_read_back_from_every_format(tmp_path: Path, suffix: str) -> None:
    rows = make_rows(RECORDS)
    found = read_contents(merged(tmp_path, rows, suffix))
    fields = ["GC_STATUS", "GC_DELTA_1", "GC_ANGLE_1", "GC_DELTA_2", "GC_ANGLE_2"]
    assert found.metadata == METADATA
    assert found.columns == (fields if "cf" in suffix else list(rows[0]))
    assert found.n_rows == (len(rows) if suffix == ".parquet" else 8)


def test_metadata_of_a_run_have_no_counts_until_it_has_a_table(tmp_path: Path) -> None:
    """The counts of a plan say what is to be scored, not what was."""
    (tmp_path / "run.json").write_text(json.dumps(METADATA))
    assert read_contents(tmp_path) == ({k: v for k, v in METADATA.items() if k != "counts"}, [], 8)
    merge_shards(write_shards(tmp_path, make_rows(RECORDS)), tmp_path / "scores.vcf", metadata=METADATA)
    assert read_metadata(tmp_path) == METADATA


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "a.tsv").write_text("a\tb\n")
    (tmp_path / "a.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    with pytest.raises(ValueError, match="no metadata"):
        read_metadata(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no metadata"):
        read_metadata(tmp_path / "a.tsv")
    with pytest.raises(ValueError, match="no metadata"):
        read_metadata(tmp_path / "a.vcf")
    with pytest.raises(ValueError, match="no metadata"):
        read_metadata(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "b.vcf")


def test_columns_are_named_by_score_and_target() -> None:
    assert column_names(["angle", "delta"], ["mean()"])[len(ROW) :] == ["delta", "angle"]
    assert column_names(["taylor", "delta"], ["a", "b"])[len(ROW) :] == ["delta:a", "taylor:a", "delta:b", "taylor:b"]
    assert len(column_names(["delta"], [str(k) for k in range(16)])) == len(ROW) + 16
    assert column_names(["delta"], [str(k) for k in range(17)]) == ROW.names
    with pytest.raises(ValueError, match="'logit' is not a score"):
        column_names(["logit"], ["a"])
    with pytest.raises(ValueError, match="a is given twice"):
        column_names(["delta"], ["a", "b", "a"])


def test_scores_that_are_not_numbers_become_null() -> None:
    values = np.array([[1, np.nan], [np.nan, np.inf]], np.float32)
    table = add_scores(pa.table({"record": [0, 1]}), {"angle": values, "delta": -values}, ["a", "b"])
    assert table.column_names == ["record", "delta:a", "angle:a", "delta:b", "angle:b"]
    assert table["angle:a"].to_pylist() == [1, None]
    assert table["delta:b"].to_pylist() == [None, -np.inf]


def test_a_shard_without_the_columns_of_variants_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins with record, allele_index"):
        write_shard(tmp_path / "a.parquet", pa.table({"delta": pa.array([1.0], pa.float32())}))
    assert not list(tmp_path.iterdir())


@pytest.fixture(name="matrix")
def _matrix(tmp_path: Path) -> Path:
    require("zarr")
    create_matrix(tmp_path / "m.zarr", 250, 100, [f"index({k})" for k in range(20)], ["angle", "delta"])
    return tmp_path / "m.zarr"


def test_shards_of_a_matrix_are_one_file_each_and_may_be_written_at_the_same_time(matrix: Path) -> None:
    import dask.array as da
    import zarr

    wanted = np.random.default_rng(0).standard_normal((2, 250, 20)).astype(np.float32)
    wanted[:, ::7] = np.nan
    parts = [{"delta": wanted[0, s : s + 100], "angle": wanted[1, s : s + 100]} for s in (0, 100, 200)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda k: write_matrix_shard(matrix, k, parts[k]), [2, 0, 1]))
    group = zarr.open_group(matrix, mode="r")
    np.testing.assert_array_equal(group["delta"][:], wanted[0])
    np.testing.assert_array_equal(da.from_zarr(matrix, component="angle").compute(), wanted[1])
    assert sorted(p.name for p in (matrix / "delta" / "c").iterdir()) == ["0", "1", "2"]
    assert group["delta"].shards == (100, 20)
    assert group["delta"].metadata.dimension_names == ("variant", "target")
    assert group.attrs["targets"][19] == "index(19)"


def test_what_was_not_written_in_a_matrix_is_nan(matrix: Path) -> None:
    import zarr

    write_matrix_shard(matrix, 2, {"delta": np.ones((50, 20)), "angle": np.ones((50, 20))})
    found = zarr.open_group(matrix, mode="r")["delta"][:]
    assert np.isnan(found[:200]).all()
    assert (found[200:] == 1).all()


def test_part_of_a_shard_of_a_matrix_is_refused(matrix: Path) -> None:
    with pytest.raises(ValueError, match=r"give all of shard 2, \(50, 20\)"):
        write_matrix_shard(matrix, 2, {"delta": np.ones((100, 20)), "angle": np.ones((50, 20))})
    with pytest.raises(ValueError, match=r"give (angle, delta|delta, angle)"):
        write_matrix_shard(matrix, 2, {"delta": np.ones((50, 20))})
    with pytest.raises(FileExistsError):
        create_matrix(matrix, 1, 1, ["a"], ["delta"])


@pytest.mark.parametrize(("shard_rows", "rows"), [(16384, 1024), (100, 100), (9973, 9973), (10_000, 1000)])
def test_chunks_of_a_matrix_divide_its_shards(tmp_path: Path, shard_rows: int, rows: int) -> None:
    require("zarr")
    import zarr

    create_matrix(tmp_path / "m.zarr", 1, shard_rows, [str(k) for k in range(70)], ["delta"])
    assert zarr.open_array(tmp_path / "m.zarr", path="delta", mode="r").chunks == (rows, 70)


def test_a_matrix_may_have_no_rows(tmp_path: Path) -> None:
    require("zarr")
    import zarr

    create_matrix(tmp_path / "m.zarr", 0, 0, [str(k) for k in range(20)], ["delta"])
    write_matrix_shard(tmp_path / "m.zarr", 0, {"delta": np.empty((0, 20), np.float32)})
    assert zarr.open_array(tmp_path / "m.zarr", path="delta", mode="r").shape == (0, 20)


def test_metadata_of_a_matrix_are_read_back(matrix: Path) -> None:
    with pytest.raises(ValueError, match="no metadata"):
        read_metadata(matrix)
    finish_matrix(matrix, METADATA)
    found = read_contents(matrix)
    assert (found.metadata, sorted(found.columns), found.n_rows) == (METADATA, ["angle", "delta"], 250)

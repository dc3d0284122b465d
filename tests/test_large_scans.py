"""Scans of very many shards: few files in a folder, and larger shards."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import gradcorr_fast as gf
from gradcorr_fast.io import replacing
from gradcorr_fast.scan import variant_scan
from gradcorr_fast.scan.inputs.genome import Genome
from gradcorr_fast.scan.inputs.substitutions import count_substitutions, every_substitution
from gradcorr_fast.scan.running import folder
from tests.conftest import require
from tests.test_scan_faults import fasta, scan

__all__ = ["fasta"]  # a fixture
pytestmark = pytest.mark.filterwarnings("ignore:.* are not (scored|attributed)")


@pytest.fixture
def of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the files of three shards in a folder."""
    monkeypatch.setattr(folder, "PER_FOLDER", 3)


def test_a_folder_holds_the_files_of_so_many_shards(fasta: Path, tmp_path: Path, of_three: None) -> None:
    out = tmp_path / "scan"
    scan(fasta, out, shard=(1, 2))
    assert gf.scan.status(out).n_done == 4
    found = scan(fasta, out, resume=True)
    files = list((out / "shards").rglob("*.parquet"))
    assert Counter(path.parent.name for path in files) == {"shards": 3, "001": 3, "002": 2}
    assert sorted(path.name for path in files) == [f"{k:06d}.parquet" for k in range(8)]
    assert gf.scan.verify(out).problems == []
    assert found.read_bytes() == scan(fasta, tmp_path / "other").read_bytes()


def test_damage_in_an_inner_folder_is_found_and_mended(fasta: Path, tmp_path: Path, of_three: None) -> None:
    out = tmp_path / "scan"
    before = scan(fasta, out).read_bytes()
    (out / "shards" / "002" / "000007.parquet").write_bytes(b"nothing")
    assert gf.scan.verify(out).shards == [7]
    assert scan(fasta, out, resume=True).read_bytes() == before


def test_shards_without_a_scan_are_not_replaced_unasked(fasta: Path, tmp_path: Path, of_three: None) -> None:
    out = tmp_path / "scan"
    scan(fasta, out)
    for path in [*out.iterdir(), *(out / "shards").glob("*.*")]:
        if path.is_file():
            path.unlink()
    with pytest.raises(FileExistsError, match=r"holds 000003.parquet, .* without a scan"):
        scan(fasta, out)
    scan(fasta, out, force=True)


def test_a_scan_of_regions_too(tmp_path: Path, of_three: None) -> None:
    require("zarr")
    from tests import region_scans

    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in region_scans.GENOME.items()))
    found = region_scans.scan(path, tmp_path / "scan", shard_size=4)
    assert (tmp_path / "scan" / "shards" / "001" / "000004.parquet").exists()
    assert len(found) == len(region_scans.REGIONS)


def test_files_beside_the_one_that_is_written_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was matched against the name of an unfinished file: 121 ms a file among 18,000."""
    for k in range(50):
        (tmp_path / f"{k:06d}.parquet").touch()
    looked: list[str] = []

    class Pattern:
        def fullmatch(self, name: str) -> Any:
            looked.append(name)

    monkeypatch.setattr(replacing, "UNFINISHED", Pattern())
    with replacing.replacing([tmp_path / "new.json"]) as (temporary,):
        temporary.touch()
    assert os.listdir(tmp_path).count("new.json") == 1
    assert [name for name in looked if not name.startswith(".")] == []


@pytest.mark.parametrize(
    ("n", "size"),
    [(0, 1 << 14), (10**6, 1 << 14), (163_840_001, 16_385), (747_000_000, 74_700), (9_300_000_000, 1 << 18)],
)
def test_shards_of_very_many_alleles_are_larger(n: int, size: int) -> None:
    assert variant_scan.most_alleles(n) == size


@pytest.mark.parametrize("variants", ["every", "listed"])
def test_a_scan_whose_alleles_are_counted_has_fewer_shards(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variants: str
) -> None:
    regions = ["chr1:101-400"]
    with Genome(fasta) as genome:
        rows = [row for batch in every_substitution(regions, genome) for row in batch.to_pylist()]
    given = None if variants == "every" else [(r["chrom"], r["pos"], r["ref"], r["alt"]) for r in rows]
    options: Any = {"variants": given, "shard_size": "auto", "regions": regions, "scores": ("delta",)}
    monkeypatch.setattr(variant_scan, "MOST_ALLELES", 30)
    monkeypatch.setattr(variant_scan, "MANY_SHARDS", 9)
    found = gf.scan.read_metadata(scan(fasta, tmp_path / "scan", **options))
    assert found["options"]["shard_size"] == 100
    assert found["shards"] == 9
    few = gf.scan.read_metadata(scan(fasta, tmp_path / "few", **options | {"variants": iter(rows)}))
    assert few["options"]["shard_size"] == 30  # how many come is not known


@pytest.mark.parametrize(
    "regions", [["chr1:5-40"], ["chr1:1-10", "chr1:1990-3000"], ["chr1"], [("chr1", 5, 9)]], ids=str
)
def test_substitutions_are_counted_before_they_are_listed(fasta: Path, regions: Any) -> None:
    with Genome(fasta) as genome:
        n_listed = sum(len(batch) for batch in every_substitution(regions, genome))
        assert count_substitutions(regions, genome) == n_listed


def test_regions_elsewhere_have_no_substitutions(fasta: Path) -> None:
    with Genome(fasta) as genome:
        assert count_substitutions(["chrNone:5-40", "chr1:2001-2010"], genome) == 0


@pytest.mark.thorough
def test_the_program_that_measures_large_scans_runs() -> None:
    require("pyarrow")
    from benchmarks import large_scans

    row = large_scans.measure(60_000)
    assert row.startswith("| 60,000 | 4 | ")
    assert row.count("|") == 12

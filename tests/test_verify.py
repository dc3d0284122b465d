"""Damage of every kind in what scans wrote: verify finds it, and the shards that it names are done again."""

import json
import random
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from gradcorr_fast.scan.results.digests import unsealed
from gradcorr_fast.scan.running.folder import identify

torch = pytest.importorskip("torch")
pq = pytest.importorskip("pyarrow.parquet")
zarr = pytest.importorskip("zarr")

LENGTH = 24
GENOME = "".join(np.random.default_rng(5).choice(list("ACGT"), 1500))
VARIANTS = [("chr1", 50 + 20 * k, GENOME[49 + 20 * k], "CGTA"["ACGT".index(GENOME[49 + 20 * k])]) for k in range(40)]
REGIONS = [("chr1", 100 + 60 * k, 140 + 60 * k) for k in range(10)]
FLIPS = range(12)


def model(n_targets: int = 1) -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * LENGTH, n_targets), torch.nn.Tanh())


def score(folder: Path, out: Path, **options: Any) -> None:
    n = len(options.get("targets", [0]))
    given = {"length": LENGTH, "batch_size": 8, "shard_size": 16, "resume": True, **options}
    gf.scan.score_variants(model(n), folder / "genome.fa", VARIANTS, out, **given)


def attribute(folder: Path, out: Path, **options: Any) -> None:
    given = {"length": LENGTH, "batch_size": 8, "shard_size": 4, "resume": True, **options}
    gf.scan.attribute_regions(model(), folder / "genome.fa", REGIONS, out, **given)


MAKE: dict[str, Callable[[Path], None]] = {
    **{
        name: (lambda folder, name=name: score(folder, folder / name))
        for name in ("table.parquet", "text.tsv", "packed.tsv.gz", "calls.vcf.gz", "binary.bcf")
    },
    "many.parquet": lambda folder: score(folder, folder / "many.parquet", targets=list(range(20)), scores=["delta"]),
    "scan": lambda folder: score(folder, folder / "scan"),
    "begun": lambda folder: score(folder, folder / "begun", shard=(1, 2)),
    "peaks": lambda folder: attribute(folder, folder / "peaks"),
}


@pytest.fixture(scope="module", name="whole")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "genome.fa").write_text(f">chr1\n{textwrap.fill(GENOME, 60)}\n")
    return folder


@pytest.fixture
def make(whole: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of what a scan wrote, which is made once."""

    def copy(name: str) -> Path:
        if not (whole / name).exists():
            MAKE[name](whole)
        for path in whole.iterdir():
            if path.name.startswith((name.partition(".")[0], "genome.fa")):
                (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
        return tmp_path / name

    return copy


def files_of(out: Path) -> list[Path]:
    """What a scan wrote, but for empty files, locks and what is not its own."""
    beside = [path for path in out.parent.iterdir() if path.name.startswith(out.stem.partition(".")[0])]
    files = [file for path in beside for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return [file for file in files if file.is_file() and file.stat().st_size and file.suffix != ".lock"]


def read(file: Path) -> Any:
    """What a Parquet file means; other files have no bits that mean nothing."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    with pq.ParquetFile(file) as table:
        return table.read().to_pydict(), table.schema_arrow.metadata


@pytest.mark.parametrize("name", MAKE)
def test_what_is_whole_is_found_whole(make: Callable[[str], Path], name: str) -> None:
    found = gf.scan.verify(make(name))
    assert (found.problems, found.shards) == ([], [])
    assert found.n_left == (name == "begun")
    assert found.n_files > 0


@pytest.mark.parametrize("seed", FLIPS)
@pytest.mark.parametrize("name", MAKE)
def test_a_bit_that_turned_over_is_found_wherever_it_means_something(
    make: Callable[[str], Path], name: str, seed: int
) -> None:
    """25 of 60 bits turned over in a record, 67 of 200 in a table and 96 of 100 in a store changed results silently."""
    out, draw = make(name), random.Random(f"{name}{seed}")
    file = draw.choice(files_of(out))
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    before = read(file)
    file.write_bytes(content)
    if not gf.scan.verify(out).problems:  # in a statistic or a reserved byte, say
        assert read(file) == before
        return
    result = CliRunner().invoke(main, ["verify", str(out)])
    assert result.exit_code == 1, result.output


@pytest.mark.parametrize("name", MAKE)
def test_a_file_that_is_missing_is_found(make: Callable[[str], Path], name: str) -> None:
    out = make(name)
    files = [file for file in files_of(out) if file != out and file.name != "run.json"]
    if not files:
        pytest.skip("it is one file")
    files[len(files) // 2].unlink()
    found = gf.scan.verify(out)
    assert found.problems or found.n_left > (name == "begun")


@pytest.mark.parametrize(("name", "again"), [("scan", score), ("peaks", attribute)])
def test_shards_that_are_damaged_are_done_again(make: Callable[[str], Path], name: str, again: Any) -> None:
    out = make(name)
    shard = out / "shards" / "000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    (out / "shards" / "000002.json").write_text("{")
    found = gf.scan.verify(out)
    assert found.shards == [1, 2]
    again(out.parent, out)
    assert gf.scan.verify(out).problems == []


def test_maps_that_are_not_there_are_refused(make: Callable[[str], Path]) -> None:
    """A file of a shard that was deleted read as NaN under the status ok, and was exported without a word."""
    out = make("peaks")
    (out / "attributions.zarr" / "corrected" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(OSError, match=r"corrected/c/1/0/0 is missing; gradcorr-fast verify"):
        gf.scan.Attributions(out)
    with pytest.raises(OSError, match="is missing"):
        gf.scan.export(out, out.parent / "peaks.h5", format="hdf5")


@pytest.mark.parametrize(
    ("old", "new"),
    [('"index_codecs"', '"inDex_codecs"'), ('"attributes"', '"attribuTes"'), ("{", "["), ('"shape"', '"shap"')],
)
def test_metadata_of_a_store_that_mean_nothing_are_told(make: Callable[[str], Path], old: str, new: str) -> None:
    """Zarr raised TypeError and KeyError, of which verify made tracebacks."""
    out = make("peaks")
    file = out / "attributions.zarr" / ("zarr.json" if old == '"attributes"' else "corrected/zarr.json")
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    result = CliRunner().invoke(main, ["verify", str(out)])
    assert (result.exit_code, "attributions.zarr" in result.output) == (1, True), result.output
    with pytest.raises(OSError, match=r"attributions.zarr.* (damaged|not what was written)"):
        gf.scan.Attributions(out)


def age(out: Path) -> None:
    """Make of a scan of regions what earlier versions wrote: no strands, no digests."""
    table = pq.read_table(out / "regions.parquet").drop_columns(["strand"])
    said = unsealed(json.loads(table.schema.metadata[b"gradcorr_fast"]), out)
    pq.write_table(table.replace_schema_metadata({"gradcorr_fast": json.dumps(said)}), out / "regions.parquet")
    group = zarr.open_group(out / "attributions.zarr", mode="r+")
    group.attrs["gradcorr_fast"] = unsealed(group.attrs["gradcorr_fast"], out)
    record = json.loads((out / "run.json").read_text())
    record = {key: value for key, value in record.items() if key not in ("plan", "id")}
    (out / "run.json").write_text(json.dumps(record | {"id": identify(record)}))


def test_attributions_of_earlier_versions_are_read_as_of_the_strand_plus(make: Callable[[str], Path]) -> None:
    """They were refused as damaged, and without their digests ended with KeyError."""
    out = make("peaks")
    wanted = gf.scan.Attributions(out).maps(np.arange(10))
    age(out)
    with pytest.warns(
        UserWarning, match="peaks was made by an earlier version: its maps are of the strand \\+ "
    ) as caught:
        found = gf.scan.Attributions(out)
    assert len(caught) == 1
    assert found.regions["strand"].to_pylist() == ["+"] * 10
    np.testing.assert_array_equal(found.maps(np.arange(10)), wanted)
    with pytest.warns(UserWarning, match="made by an earlier version"):
        gf.scan.export(out, out.parent / "peaks.h5", format="hdf5")
    assert {line.split("\t")[5] for line in (out.parent / "peaks.regions.narrowPeak").read_text().splitlines()} == {"+"}


def test_scans_of_earlier_versions_do_not_go_on_and_cannot_be_verified(make: Callable[[str], Path]) -> None:
    out = make("peaks")
    age(out)
    with pytest.raises(ValueError, match=r"was begun by an earlier version.*begin it anew with force=True"):
        attribute(out.parent, out)
    with pytest.raises(ValueError, match="was begun by an earlier version"):
        gf.scan.merge(out)
    assert "carries no digests, as what earlier versions wrote" in gf.scan.verify(out).problems[0]
    attribute(out.parent, out, resume=False, force=True)
    assert gf.scan.verify(out).problems == []


def test_there_must_be_a_scan(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing of a scan"):
        gf.scan.verify(tmp_path / "none.parquet")


def test_info_checks_first_if_asked(make: Callable[[str], Path]) -> None:
    out = make("text.tsv")
    whole = CliRunner().invoke(main, ["info", "--check", str(out)])
    assert whole.exit_code == 0, whole.output
    assert "0 problems" in whole.output
    out.write_text(out.read_text().replace("chr1", "chr2", 1))
    damaged = CliRunner().invoke(main, ["info", "--check", str(out)])
    assert damaged.exit_code == 1
    assert "not those that were written" in damaged.output

"""Variant scans: scores against a loop over single variants, and what survives when something breaks."""

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gradcorr_fast as gf
from gradcorr_fast.scan.running import folder

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.* records lie on contigs", "ignore:.* are not (scored|attributed)")

LENGTH = 40
RNG = np.random.default_rng(5)
GENOME = {name: "".join(RNG.choice(list("ACGT"), 900)) for name in ("chr1", "chr2")}
GENOME["chr2"] = GENOME["chr2"][:500] + "N" * 60 + GENOME["chr2"][560:]
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def spelled(contig: str, pos: int, n: int = 1) -> str:
    return GENOME[contig][pos - 1 : pos - 1 + n]


def other(letter: str, k: int = 1) -> str:
    return "ACGT"[("ACGT".index(letter) + k) % 4]


def make_variants() -> list[tuple[str, int, str, str]]:
    """Substitutions, block substitutions, insertions, deletions, several alleles, and what cannot be scored."""
    found = []
    for pos in (3, 100, 250, 251, 252, 470, 700, 898):
        for contig in GENOME:
            ref = spelled(contig, pos)
            found.append((contig, pos, ref, f"{other(ref)},{other(ref, 2)}"))
    for pos in (120, 300, 640):
        ref = spelled("chr1", pos, 3)
        found += [
            ("1", pos, ref, "".join(map(other, ref))),
            ("chr1", pos, ref, ref[0]),
            ("chr1", pos, ref[0], ref[0] + "ACGTA"),
        ]
    first = spelled("chr1", 10)
    found += [
        ("chr9", 10, "A", "C"),
        ("chr1", 10, first, "*"),
        ("chr1", 10, first, "<DEL>"),
        ("chr1", 10, other(first), other(first, 2)),
        ("chr2", 530, "A", "C"),
    ]
    return found


VARIANTS = make_variants()


class Network(torch.nn.Module):
    """Three outputs (N, 3) of a little convolutional network with smooth activations."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.convolution = torch.nn.Conv1d(4, 6, 7, padding=3)
        self.dense = torch.nn.Linear(6 * LENGTH, 3)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)
        self.n_rows: list[tuple[int, bool]] = []

    def forward(self, x: Any) -> Any:
        self.n_rows.append((len(x), x.requires_grad))
        return self.dense(torch.nn.functional.softplus(self.convolution(x)).flatten(1))


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{textwrap.fill(letters, 61)}\n" for name, letters in GENOME.items()))
    return path


def scan(fasta: Path, out: Any = None, model: Any = None, **options: Any) -> pa.Table:
    given = {"length": LENGTH, "batch_size": 8, "shard_size": 16} | options
    found = gf.scan.score_variants(model or Network(), fasta, VARIANTS, out, **given)
    return found if out is None else pq.read_table(found)


def evaluate(sequence: str, target: int, is_reverse: bool = False) -> tuple[float, np.ndarray]:
    """Value and gradient (L, 4) of a sequence, in float64; for the other strand with respect to this one."""
    model = Network().double()
    shown = sequence.translate(COMPLEMENT)[::-1] if is_reverse else sequence
    x = torch.tensor([[float(letter == a) for letter in shown] for a in "ACGT"], dtype=torch.float64)[None]
    x.requires_grad_()
    value = model(x)[0, target]
    (grad,) = torch.autograd.grad(value, x)
    grad = grad[0].T.numpy()
    return value.item(), grad[::-1, ::-1] if is_reverse else grad


def expected(row: dict[str, Any], target: int = 0, strands: tuple[bool, ...] = (False,)) -> dict[str, float]:
    """All scores of a placed allele, by cutting strings."""
    contig = row["chrom"] if row["chrom"].startswith("chr") else f"chr{row['chrom']}"
    start, pos0, ref, alt = row["window_start"], row["norm_pos"] - 1, row["norm_ref"], row["norm_alt"]
    assert GENOME[contig][pos0 : pos0 + len(ref)] == ref
    padded = "N" * LENGTH + GENOME[contig] + "N" * LENGTH
    window = padded[start + LENGTH : start + 2 * LENGTH]
    mutated = padded[: pos0 + LENGTH] + alt + padded[pos0 + LENGTH + len(ref) :]
    changed = mutated[start + LENGTH : start + 2 * LENGTH]
    references = [evaluate(window, target, is_reverse) for is_reverse in strands]
    value, grad = (np.mean([found[k] for found in references], 0) for k in (0, 1))
    alternative = np.mean([evaluate(changed, target, is_reverse)[0] for is_reverse in strands])
    scores = {"ref_score": value, "alt_score": alternative, "delta": alternative - value}
    if len(ref) != len(alt):
        return scores
    places = [k for k in range(LENGTH) if window[k] != changed[k]]
    old, new = (["ACGT".index(text[k]) for k in places] for text in (window, changed))
    columns = grad[places]
    lengths = np.linalg.norm(columns - columns.mean(1, keepdims=True), axis=1)
    angles = np.degrees(np.arctan2(columns.sum(1) / 2, lengths))
    index = np.arange(len(places))
    scores["taylor"] = (columns[index, new] - columns[index, old]).sum()
    scores["grad_times_input"] = (columns[index, old] - columns.mean(1)).sum()
    scores["angle"] = angles[np.argmax(np.abs(angles))]
    return scores


def assert_scored(table: pa.Table, suffix: str = "", **options: Any) -> None:
    rows = table.to_pylist()
    wanted = [expected(row, **options) if row["status"] == "ok" else {} for row in rows]
    assert sum(map(bool, wanted)) > 30
    for name in ("ref_score", "alt_score", "delta", "taylor", "grad_times_input", "angle"):
        found = np.array([row[name + suffix] for row in rows], float)
        numbers = [scores.get(name, np.nan) for scores in wanted]
        np.testing.assert_allclose(found, numbers, rtol=1e-4, atol=2e-5, err_msg=name)


def test_scores_equal_a_loop_over_single_variants(fasta: Path) -> None:
    table = scan(fasta)
    assert_scored(table)
    assert table["record"].to_pylist() == sorted(table["record"].to_pylist())
    unscored = [status for status in table["status"].to_pylist() if status != "ok"]
    assert unscored == ["contig_missing", "spanning_deletion", "symbolic", "ref_mismatch", "n_in_window"]


def test_scores_are_means_over_the_strands(fasta: Path) -> None:
    assert_scored(scan(fasta, rc=True), strands=(False, True))


def test_every_target_has_its_columns(fasta: Path) -> None:
    table = scan(fasta, targets=[0, "index(2)"])
    assert_scored(table, ":index(0)")
    assert_scored(table, ":index(2)", target=2)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_scores_do_not_depend_on_batches_or_shards(fasta: Path, batch_size: int) -> None:
    table = scan(fasta, batch_size=batch_size, shard_size=5)
    np.testing.assert_allclose(
        np.array(table["delta"].to_pylist(), float), np.array(scan(fasta)["delta"].to_pylist(), float), atol=1e-5
    )


def test_what_was_not_asked_for_is_not_computed(fasta: Path) -> None:
    model = Network()
    table = scan(fasta, model=model, scores=["delta"])
    assert table.column_names[16:] == ["delta"]
    assert not any(has_gradient for _, has_gradient in model.n_rows)
    model = Network()
    table = scan(fasta, model=model, scores=["angle", "taylor"], batch_size=1)
    assert table.column_names[16:] == ["taylor", "angle"]
    placed = [row for row in table.to_pylist() if row["status"] == "ok"]
    windows = {(row["chrom"], row["window_start"]) for row in placed}
    assert len(model.n_rows) <= len(windows) + 8 < len(placed)  # a probe, and windows that shards share


@pytest.mark.parametrize("scores", [["delta"], ["taylor", "delta"]])
def test_the_model_sees_no_more_rows_than_there_are(fasta: Path, scores: list[str]) -> None:
    """Three variants at 1 kb put 384 rows through the model: a probe and the last batch were as large as any."""
    model = Network()
    table = scan(fasta, model=model, batch_size=8, shard_size=100, scores=scores).to_pylist()
    placed = [row for row in table if row["status"] == "ok"]
    n_windows = len({(row["chrom"], row["window_start"]) for row in placed})
    passes = [n_windows + len(placed)] if scores == ["delta"] else [n_windows, len(placed)]
    wanted = [min(8, n - start) for n in passes for start in range(0, n, 8)]
    assert [n for n, _ in model.n_rows] == [4, *wanted]


@pytest.mark.parametrize(("n", "size"), [(100, 8), (3, 4), (1, 2)])
def test_a_compiled_model_sees_batches_of_one_size(fasta: Path, n: int, size: int) -> None:
    """Another one for fewer rows than a batch has, and never a single row, which programs refuse."""
    model = Network()
    model._compiled_call_impl = model._call_impl  # as Module.compile sets it
    variants = [
        ("chr1", 100 + 3 * k, GENOME["chr1"][99 + 3 * k], "ACGT".replace(GENOME["chr1"][99 + 3 * k], "")[0])
        for k in range(n)
    ]
    gf.scan.score_variants(model, fasta, variants, length=LENGTH, batch_size=8, shard_size=100, scores=["taylor"])
    assert [n for n, _ in model.n_rows][1:] == [size] * -(-n // size)


def test_alleles_of_a_site_and_neighbours_in_a_cell_share_one_reference(fasta: Path) -> None:
    """Indels, too, are in the same batches as all others."""
    site, neighbour = GENOME["chr1"][99:101]
    others = ",".join(letter for letter in "ACGT" if letter != site)
    variants = [("chr1", 100, site, f"{others},{site}AC"), ("chr1", 101, neighbour, neighbour + "GT")]
    model = Network()
    options: Any = {"length": LENGTH, "windows": "grid:20", "scores": ["delta"], "batch_size": 64}
    table = gf.scan.score_variants(model, fasta, variants, **options)
    assert table["status"].to_pylist() == ["ok"] * 5
    assert len(set(table["window_start"].to_pylist())) == 1
    assert [n for n, _ in model.n_rows][-1] == 1 + 5


def test_windows_on_a_grid_are_shared(fasta: Path) -> None:
    model = Network()
    table = scan(fasta, model=model, windows="grid:10", shard_size=100)
    assert_scored(table)
    starts = [row["window_start"] for row in table.to_pylist() if row["status"] == "ok"]
    assert all(start % 10 == 0 for start in starts)


def test_only_the_largest_are_scored_exactly(fasta: Path, tmp_path: Path) -> None:
    whole = scan(fasta, windows="grid:10", shard_size=100).to_pylist()
    path = tmp_path / "scores.parquet"
    table = scan(fasta, path, windows="grid:10", shard_size=100, top=1).to_pylist()
    groups: dict[Any, list[int]] = {}
    for k, row in enumerate(whole):
        if row["status"] == "ok" and row["taylor"] is not None:
            groups.setdefault((row["chrom"], row["window_start"]), []).append(k)
    largest = {max(group, key=lambda k: abs(whole[k]["taylor"])) for group in groups.values()}
    for k, (before, row) in enumerate(zip(whole, table, strict=True)):
        is_exact = row["status"] == "ok" and (row["taylor"] is None or k in largest)
        assert row["delta"] == (pytest.approx(before["delta"], abs=1e-5) if is_exact else None)
        assert row["taylor"] == (None if before["taylor"] is None else pytest.approx(before["taylor"], abs=1e-5))
    agreement = gf.scan.read_metadata(path)["agreement"]
    pairs = [(whole[k]["taylor"], whole[k]["delta"]) for k in largest]
    assert agreement["n"] == [len(pairs)]
    assert agreement["pearson"][0] == pytest.approx(np.corrcoef(np.transpose(pairs))[0, 1], abs=1e-4)


def test_flanks_of_indels_are_averaged(fasta: Path) -> None:
    right, both = (scan(fasta, flank=flank).to_pylist() for flank in ("right", "both"))
    for one, mean in zip(right, both, strict=True):
        if one["taylor"] is not None or one["status"] != "ok":
            assert one == mean
            continue
        start, pos0, growth = one["window_start"], one["norm_pos"] - 1, len(one["norm_alt"]) - len(one["norm_ref"])
        mutated = GENOME["chr1"][:pos0] + one["norm_alt"] + GENOME["chr1"][pos0 + len(one["norm_ref"]) :]
        left = evaluate(mutated[start + growth : start + growth + LENGTH], 0)[0]
        assert mean["alt_score"] == pytest.approx((one["alt_score"] + left) / 2, abs=1e-4)
        assert mean["delta"] == pytest.approx(mean["alt_score"] - one["ref_score"], abs=1e-5)


@pytest.mark.parametrize("name", ["scores.tsv", "scores.tsv.gz", "scores.vcf.gz", "scores.bcf"])
def test_a_file_has_the_format_of_its_suffix_and_leaves_no_folder(fasta: Path, tmp_path: Path, name: str) -> None:
    path = gf.scan.score_variants(
        Network(), fasta, VARIANTS, tmp_path / name, length=LENGTH, batch_size=8, scores=["delta"]
    )
    assert path == tmp_path / name
    assert {p.name.removesuffix(".json") for p in tmp_path.iterdir()} == {name}
    assert gf.scan.read_metadata(path)["counts"]["ok"] > 30


def test_more_than_sixteen_targets_are_a_matrix(fasta: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    names = [f"sum_over(tracks=({', '.join(map(str, [k % 3] * (k // 3 + 1)))},))" for k in range(17)]
    out = tmp_path / "many.parquet"
    table = scan(fasta, out, targets=names, scores=["delta", "taylor"], shard_size=16)
    assert table.column_names[-1] == "pad_bp"
    group = zarr.open(tmp_path / "many.zarr", mode="r")
    few = scan(fasta, targets=[0, 2], scores=["delta", "taylor"])
    for k, (name, times) in enumerate([("index(0)", 1), ("index(2)", 1), ("index(0)", 2)]):
        column = (0, 2, 3)[k]
        for score in ("delta", "taylor"):
            wanted = np.array(few[f"{score}:{name}"].to_pylist(), float) * times
            np.testing.assert_allclose(group[score][:, column], wanted, rtol=1e-4, atol=1e-5)


def test_a_keras_model_is_scored_like_the_same_model_in_pytorch(fasta: Path) -> None:
    keras = pytest.importorskip("keras")
    model = Network()
    inputs = keras.Input((LENGTH, 4))
    hidden = keras.layers.Conv1D(6, 7, padding="same", activation="softplus")(inputs)
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Permute((2, 1))(hidden)))
    twin = keras.Model(inputs, outputs)
    weights = [parameter.detach().numpy() for parameter in model.parameters()]
    twin.set_weights([weights[0].transpose(2, 1, 0), weights[1], weights[2].T, weights[3]])
    assert_scored(gf.scan.score_variants(twin, fasta, VARIANTS, batch_size=8))  # its length and axis are known


def test_progress_and_guesses_are_told(fasta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(fasta, verbose=True, scores=["delta"])
    told = capsys.readouterr().err
    assert "axis 1, as the model seems to take" in told
    assert f"{len(scan(fasta, scores=['delta']))} of " in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ["deltas"]}, "'deltas' is not a score; use some of ref_score"),
        ({"scores": []}, "nothing to compute"),
        ({"targets": [0, 0]}, r"target index\(0\) is given twice"),
        ({"targets": [7]}, "target 7 does not exist in an output of shape"),
        ({"targets": ["frobnicate(1)"]}, "is not a target"),
        ({"windows": "grid:x"}, '"grid:STEP" with a number of bp'),
        ({"top": 0}, "top must be a positive int; got 0"),
        ({"flank": "up"}, "flank must be one of right, both"),
        ({"shard_size": -1}, "shard_size must be a positive int"),
        ({"max_n": 2}, "max_n is 2"),
        ({"axis": 2}, "axis 2"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    fasta: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scan(fasta, tmp_path / "scan", **options)
    assert not (tmp_path / "scan").exists()


def test_an_unknown_option_is_a_type_error(fasta: Path) -> None:
    with pytest.raises(TypeError, match="there is no option 'lenght'"):
        scan(fasta, lenght=3)


def test_sequences_by_name_are_a_genome(fasta: Path, tmp_path: Path) -> None:
    given = GENOME | {"chr2": gf.sequences.encode(GENOME["chr2"])}
    table = scan(given, tmp_path / "scan")
    assert table.equals(scan(fasta))
    assert scan(given, tmp_path / "scan", resume=True).equals(table)


def test_every_substitution_in_regions_is_scored_from_one_gradient_each(fasta: Path) -> None:
    given: Any = {"length": LENGTH, "batch_size": 8, "windows": "grid:20", "regions": ["chr1:101-130", "chr2:495-510"]}
    given["engine"] = "full"
    table = gf.scan.score_variants(Network(), fasta, None, **given)
    assert_scored(table.slice(0, 60))
    rows = table.to_pylist()
    assert [row["alt"] for row in rows[:3]] == [letter for letter in "ACGT" if letter != spelled("chr1", 101)]
    known = [("chr1", pos) for pos in range(101, 131)] + [("chr2", pos) for pos in range(495, 501)]
    assert [(row["chrom"], row["pos"]) for row in rows[::3]] == known  # from 501 on there are Ns
    with pytest.raises(ValueError, match="there are no variants; give them, or regions"):
        gf.scan.score_variants(Network(), fasta, None, length=LENGTH)


def test_no_variants_make_an_empty_table(fasta: Path, tmp_path: Path) -> None:
    path = gf.scan.score_variants(Network(), fasta, [], tmp_path / "scan", length=LENGTH, batch_size=8)
    assert pq.read_table(path).num_rows == 0


@pytest.mark.parametrize("scores", [["delta"], ["taylor", "angle", "delta", "ref_score"], ["alt_score"]], ids=len)
@pytest.mark.parametrize("windows", ["centred", "grid:20"])
@pytest.mark.parametrize("options", [{}, {"rc": True, "shifts": (0, 2)}, {"flank": "both", "top": 1}], ids=len)
def test_both_engines_give_the_same_rows(fasta: Path, scores: list[str], windows: str, options: dict[str, Any]) -> None:
    """Substitutions are computed by what they change, insertions and deletions by whole passes, in the same scan."""
    given: Any = {"windows": windows, "scores": scores, "batch_size": 4, **options}
    found, expected = (scan(fasta, engine=engine, **given) for engine in ("incremental", "full"))
    assert found.drop_columns(scores).equals(expected.drop_columns(scores))
    assert found["status"].to_pylist().count("ok") > 10
    for name in scores:
        a, b = (table[name].to_numpy().astype(float) for table in (found, expected))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_the_engine_that_was_found_is_that_of_a_scan_that_goes_on(fasta: Path, tmp_path: Path) -> None:
    """Otherwise rows of the same scan would differ in their last digits."""
    from gradcorr_fast.hooks.torch._incremental import choosing

    def share(name: str, **options: Any) -> None:
        gf.scan.score_variants(
            Network(), fasta, VARIANTS, tmp_path / name, length=LENGTH, batch_size=8, shard_size=5, **options
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "MANY", 0)
        patch.setattr(choosing, "LEAST", 0)
        share("scan", shard=(1, 2))
    record = json.loads((tmp_path / "scan" / "run.json").read_text())
    assert record["options"]["engine"] == "incremental"
    share("scan", shard=(2, 2))
    share("whole", engine="incremental")
    gf.scan.merge(tmp_path / "scan")
    tables = [pq.read_table(tmp_path / name / "scores.parquet") for name in ("scan", "whole")]
    assert tables[0].equals(tables[1])


def test_a_small_model_is_not_followed_for_single_variants(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window's own pass is most of the work then: a scan of CNN-deep took 1.2 times as long."""
    from gradcorr_fast.hooks.torch._incremental import choosing

    monkeypatch.setattr(choosing, "MANY", 0)
    found = {}
    for windows in ("centred", "grid:20"):
        plan = gf.scan.plan(
            Network(), fasta, VARIANTS, fasta.parent / windows, length=LENGTH, windows=windows, seconds=0
        )
        found[windows] = plan.engine
    assert found["centred"].startswith("full (it would gain nothing")
    assert found["grid:20"].startswith("incremental (about ")


def test_many_shards_lie_in_several_folders(fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems bear thousands of files in a folder badly."""
    wanted = scan(fasta, shard_size=5)
    monkeypatch.setattr(folder, "PER_FOLDER", 3)
    found = scan(fasta, tmp_path / "out", shard_size=5)
    assert found.equals(wanted)
    shards = tmp_path / "out" / "shards"
    assert len(list(shards.glob("*.parquet"))) == 3
    assert len(list(shards.glob("*/*.parquet"))) == gf.scan.status(tmp_path / "out").n_done - 3
    assert gf.scan.verify(tmp_path / "out").problems == []
    (shards / "001" / "000004.json").unlink()
    assert scan(fasta, tmp_path / "out", shard_size=5, resume=True).equals(wanted)
    assert scan(fasta, tmp_path / "out", shard_size=7, force=True).num_rows == wanted.num_rows

"""Scans that compare outputs: each number against a loop over single variants, and against other tools' formulas."""

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from scipy.spatial import distance

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from gradcorr_fast.comparisons import compare, parse
from gradcorr_fast.hooks._session import Session
from gradcorr_fast.scan.comparing import comparing
from gradcorr_fast.scan.comparing.aligning import ALIGNMENTS, Bins, Place, realign
from gradcorr_fast.scan.results.paragraph import describe

torch = pytest.importorskip("torch")

LENGTH, CROP = 61, 5
RNG = np.random.default_rng(7)
GENOME = {"chr1": "".join(RNG.choice(list("ACGT"), 700)), "chr2": "".join(RNG.choice(list("ACGT"), 300))}


def other(letter: str, k: int = 1) -> str:
    return "ACGT"[("ACGT".index(letter) + k) % 4]


def make_variants() -> list[tuple[str, int, str, str]]:
    """Substitutions, blocks, deletions, insertions and what is both, away from the ends."""
    found = []
    for pos in (100, 131, 132, 250, 404):
        for contig in GENOME if pos < 200 else ("chr1",):
            letters = GENOME[contig][pos - 1 : pos + 3]
            found += [(contig, pos, letters[0], other(letters[0], k)) for k in (1, 2)]
            found += [
                (contig, pos, letters[:2], other(letters[0]) + other(letters[1])),
                (contig, pos, letters, letters[0]),
                (contig, pos, letters[0], letters[0] + "GATTA"),
                (contig, pos, letters[:2], other(letters[0]) + "CCG"),
            ]
    return found


VARIANTS = make_variants()
COMPARED = [
    "max(tracks=1, bins=centre±6)", "min", "jsd(tracks=(0, 2))", "difference(sum_over(tracks=1))",
    "log2_ratio(sum_over(bins=3:9))", "wasserstein(bins=10:30)", "l1(tracks=2)", "l2(scale=log1p)", "cosine",
]  # fmt: skip


class Profiles(torch.nn.Module):
    """Three positive tracks of one bin a letter, but for some at each end: (N, 51, 3)."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.first, self.second = torch.nn.Conv1d(4, 6, 7), torch.nn.Conv1d(6, 3, 2 * CROP - 5)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)
        self.n_rows: list[int] = []

    def forward(self, x: Any) -> Any:
        self.n_rows.append(len(x))
        hidden = torch.nn.functional.softplus(self.first(x))
        return torch.nn.functional.softplus(self.second(hidden)).transpose(1, 2)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{textwrap.fill(letters, 61)}\n" for name, letters in GENOME.items()))
    return path


def scan(fasta: Path, out: Any = None, model: Any = None, variants: Any = None, **options: Any) -> pa.Table:
    given = {"length": LENGTH, "batch_size": 8, "shard_size": 16, "targets": "sum_over(tracks=1)"} | options
    found = gf.scan.score_variants(model or Profiles(), fasta, variants or VARIANTS, out, **given)
    return found if out is None else pq.read_table(found)


def outputs(row: dict[str, Any], side: str = "right", model: Any = None, is_reverse: bool = False) -> list[Any]:
    """Outputs (1, bins, tracks) for both alleles of a row in float64, from windows cut out of strings."""
    start, pos0, ref, alt = row["window_start"], row["norm_pos"] - 1, row["norm_ref"], row["norm_alt"]
    genome = GENOME[row["chrom"]]
    changed = genome[:pos0] + alt + genome[pos0 + len(ref) :]
    shift = len(alt) - len(ref) if side == "left" else 0
    windows = [genome[start : start + LENGTH], changed[start + shift : start + shift + LENGTH]]
    network = (model or Profiles()).double()
    codes = np.array([["ACGT".index(letter) for letter in window] for window in windows])
    codes = 3 - codes[:, ::-1] if is_reverse else codes
    with torch.no_grad():
        found = network(torch.tensor(np.eye(4)[codes].transpose(0, 2, 1)))
    return [part.numpy()[:, ::-1] if is_reverse else part.numpy() for part in (found[:1], found[1:])]


def cut(text: str, row: dict[str, Any], ref: Any, alt: Any) -> tuple[str, Any, Any, int]:
    """Cut the bins that a comparison is of; the number of the first, counted from the variant's, is returned too."""
    centre = row["norm_pos"] - 1 - row["window_start"] - CROP
    for bins, part in (("centre±6", slice(centre - 6, centre + 7)), ("10:30", slice(10, 30)), ("", slice(None))):
        if bins in text and "sum_over" not in text:
            kept = text.replace(f"bins={bins}", "").replace(", )", ")") if bins else text
            return kept, ref[:, part], alt[:, part], (part.start or 0) - centre
    return text, ref, alt, 0


def assert_compared(table: pa.Table, texts: list[str], find: Any = outputs) -> None:
    rows = table.to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    for text in texts:
        spelled = str(parse(text))
        wanted = np.full((len(rows), 2), np.nan)
        for k, row in enumerate(rows):
            whole, ref, alt, first = cut(text, row, *find(row))
            value, place = compare(parse(whole), ref, alt)
            n_tracks = 3 if getattr(parse(whole), "tracks", 0) is None else 1
            wanted[k] = value[0], np.nan if place is None else place[0] // n_tracks + first
        found = np.array([row[f"compare:{spelled}"] for row in rows], float)
        np.testing.assert_allclose(found, wanted[:, 0], rtol=2e-4, atol=1e-5, err_msg=text)
        if parse(text).has_position:
            np.testing.assert_array_equal([row[f"position:{spelled}"] for row in rows], wanted[:, 1], err_msg=text)


@pytest.mark.parametrize("scores", [("delta",), ("delta", "taylor"), ("alt_score",), ()], ids=str)
def test_comparisons_equal_a_loop_over_single_variants(fasta: Path, scores: tuple[str, ...]) -> None:
    table = scan(fasta, scores=scores, compare=COMPARED)
    assert_compared(table, COMPARED)
    assert table.column_names[16 : 16 + len(scores)] == list(scores)


def test_the_reference_is_kept_and_not_computed_again(fasta: Path) -> None:
    n_rows = []
    for options in ({}, {"compare": COMPARED}):
        model = Profiles()
        scan(fasta, model=model, scores=("delta", "taylor"), shard_size=64, **options)
        n_rows.append(sum(model.n_rows))
    assert n_rows[0] == n_rows[1]


def test_what_does_not_fit_is_compared_in_parts(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scan(fasta, compare=COMPARED, shard_size=64)
    monkeypatch.setattr(comparing, "KEPT_BYTES", 1)
    parts = scan(fasta, compare=COMPARED, shard_size=64)
    assert parts.column_names == whole.column_names
    for name in whole.column_names[16:]:
        np.testing.assert_allclose(parts[name].to_numpy(), whole[name].to_numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_shared_windows_are_compared_by_place(fasta: Path) -> None:
    texts = ["max(tracks=1, bins=centre±6)", "jsd(tracks=0)"]
    assert_compared(scan(fasta, compare=texts, windows="grid:8", flank="right"), texts)


def test_both_strands_are_compared_as_their_mean(fasta: Path) -> None:
    def find(row: dict[str, Any]) -> list[Any]:
        strands = [outputs(row, is_reverse=is_reverse) for is_reverse in (False, True)]
        return [np.mean([strand[k] for strand in strands], axis=0) for k in (0, 1)]

    table = scan(fasta, compare=COMPARED, rc=True, rc_output="flip_bins", bin_axis=1)
    assert_compared(table, COMPARED, find)


def test_either_flank_counts_and_the_place_is_of_the_right_one(fasta: Path) -> None:
    text = "max(tracks=1, bins=centre±6)"
    table = scan(fasta, compare=text, flank="both")
    for row in table.to_pylist():
        sides = ["right", "left"] if len(row["norm_ref"]) != len(row["norm_alt"]) else ["right"]
        found = []
        for side in sides:
            whole, ref, alt, first = cut(text, row, *outputs(row, side))
            value, place = compare(parse(whole), ref, alt)
            assert place is not None
            found.append((value[0], place[0] + first))
        spelled = str(parse(text))
        assert row[f"compare:{spelled}"] == pytest.approx(np.mean([value for value, _ in found]), rel=1e-4, abs=1e-5)
        assert row[f"position:{spelled}"] == found[0][1]


def test_what_is_not_scored_exactly_is_not_compared(fasta: Path) -> None:
    table = scan(fasta, compare="jsd", windows="grid:8", top=1, scores=("delta", "taylor"))
    assert 0 < table["delta"].null_count < len(table)
    assert table["compare:jsd()"].is_null().equals(table["delta"].is_null())


def test_a_reference_on_which_the_model_fails_is_compared_with_nothing(fasta: Path) -> None:
    bad = np.array(["ACGT".index(letter) for letter in GENOME["chr1"][99:103]])

    class Failing(Profiles):
        def forward(self, x: Any) -> Any:
            middle = x[:, :, LENGTH // 2 : LENGTH // 2 + 4].argmax(1).numpy()
            if (middle == bad).all(1).any():
                raise RuntimeError("these four letters")
            return super().forward(x)

    rows = scan(fasta, model=Failing(), compare="jsd", scores="delta").to_pylist()
    has_failed = [row["status"] == "model_failed" for row in rows]
    assert 0 < sum(has_failed) < len(rows)
    assert [row["compare:jsd()"] is None for row in rows] == has_failed
    wanted = scan(fasta, compare="jsd", scores="delta")["compare:jsd()"].to_pylist()
    kept = [(row["compare:jsd()"], value) for row, value in zip(rows, wanted, strict=True) if row["compare:jsd()"]]
    np.testing.assert_allclose(*zip(*kept, strict=True), rtol=1e-4)


def test_a_variant_outside_of_all_bins_has_no_number(fasta: Path) -> None:
    table = scan(fasta, variants=VARIANTS[:3], compare="max(bins=centre±2, bin_bp=1)", windows="grid:55", length=120)
    offset = table["norm_pos"].to_numpy() - 1 - table["window_start"].to_numpy()
    assert_inside = (offset >= CROP - 2) & (offset < 120 - CROP + 2)
    np.testing.assert_array_equal(table["compare:max(bins=centre±2)"].is_valid().to_numpy(), assert_inside)


def test_outputs_on_a_device_are_compared_there(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = scan(fasta, compare=COMPARED, align_indels="max,sum")
    read = Session._profiles_of
    monkeypatch.setattr(Session, "_profiles_of", lambda *given: [torch.from_numpy(p) for p in read(*given)])
    found = scan(fasta, compare=COMPARED, align_indels="max,sum")
    for name in wanted.column_names[16:]:
        np.testing.assert_allclose(found[name].to_numpy(), wanted[name].to_numpy(), rtol=1e-6, err_msg=name)


# --- indels ---


def aligned_by_loop(ref: np.ndarray, alt: np.ndarray, place: tuple[int, ...], how: str) -> list[list[float] | None]:
    """Pairs of numbers of both alleles at each of the reference's letters, one track; None where none is compared."""
    inserted, deleted = how.split(",")
    offset, n_ref, n_alt, shift = place
    common, found = min(n_ref, n_alt), []
    reference = list(ref)
    for k in range(len(ref)):
        where = k if k < offset + common else None if k < offset + n_ref else k + n_alt - n_ref
        if where is None:
            found.append([reference[k], 0.0] if deleted == "zero" else None)
            continue
        where -= shift
        found.append([reference[k], alt[where]] if 0 <= where < len(alt) else None)
    anchor = offset + common - 1
    if n_alt > n_ref:
        pool = [alt[j - shift] for j in range(anchor, offset + n_alt) if 0 <= j - shift < len(alt)]
        found[anchor] = [reference[anchor], max(pool) if inserted == "max" else sum(pool)]
    if deleted == "sum":
        found[anchor][0] += sum(reference[offset + common : offset + n_ref])
    return found


@pytest.mark.parametrize("how", ALIGNMENTS)
@pytest.mark.parametrize(
    "place", [(20, 4, 1, 0), (20, 1, 6, 0), (20, 2, 4, 0), (20, 1, 1, 0), (20, 4, 1, -3), (20, 1, 6, 5)]
)
def test_indels_align_as_a_loop_over_letters_does(how: str, place: tuple[int, int, int, int]) -> None:
    ref, alt = RNG.random((2, 40))
    wanted = aligned_by_loop(ref, alt, place, how)
    found = realign(
        ref[None, :, None], alt[None, :, None], Bins(40, 1, 40), Place(*(np.array([n]) for n in place)), how,
        gf.backends.find_backend(ref=ref).XP,
    )  # fmt: skip
    ours = [[float(found[0][0, k, 0]), float(found[1][0, k, 0])] if found[2][0, k] else None for k in range(40)]
    assert [pair is None for pair in ours] == [pair is None for pair in wanted]
    for a, b in zip(ours, wanted, strict=True):
        assert a is None or a == pytest.approx(b)


def test_bins_of_several_letters_move_by_whole_bins() -> None:
    ref = alt = np.arange(10.0)[None, :, None]
    place = Place(*(np.array([n]) for n in (35, 9, 1, 0)))
    xp = gf.backends.find_backend(ref=ref).XP
    _, found, inside = realign(ref, alt, Bins(10, 8, 80), place, "max,mask", xp)
    assert inside[0].tolist() == [True] * 5 + [True] + [True] * 4 or inside[0].sum() == 9
    assert found[0, 6:, 0].tolist() == [5, 6, 7, 8]


def test_aligned_indels_of_a_scan_equal_a_loop(fasta: Path) -> None:
    table = scan(fasta, compare=["l1(tracks=1)"], align_indels="max,zero")
    for row in table.to_pylist():
        ref, alt = outputs(row)
        place = row["norm_pos"] - 1 - row["window_start"] - CROP, len(row["norm_ref"]), len(row["norm_alt"]), 0
        pairs = [pair for pair in aligned_by_loop(ref[0, :, 1], alt[0, :, 1], place, "max,zero") if pair is not None]
        assert row["compare:l1(tracks=1)"] == pytest.approx(sum(abs(b - a) for a, b in pairs), rel=1e-4)


# --- other tools ---


class Splicing(torch.nn.Module):
    """Five networks of SpliceAI's form, whose mean is taken: letters to (N, bins, 3), without the context's bins."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(9)
        self.networks = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Conv1d(4, 8, 11), torch.nn.ReLU(), torch.nn.Conv1d(8, 8, 6, dilation=2), torch.nn.ReLU(),
                torch.nn.Conv1d(8, 3, 1), torch.nn.Softmax(1),
            )
            for _ in range(5)
        )  # fmt: skip
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.6, generator=generator)

    def forward(self, x: Any) -> Any:
        return torch.stack([network(x) for network in self.networks]).mean(0).transpose(1, 2)


CONTEXT, FAR = 20, 30


def spliceai_scores(contig: str, pos: int, ref: str, alt: str) -> dict[str, float]:
    """SpliceAI's get_delta_scores, with its windows, its alignment of indels and its formulas."""
    cov = 2 * FAR + 1
    wid = CONTEXT + cov
    seq = GENOME[contig][pos - wid // 2 - 1 : pos + wid // 2]
    x_alt = seq[: wid // 2] + alt + seq[wid // 2 + len(ref) :]
    with torch.no_grad():
        y_ref, y_alt = (
            Splicing().double()(torch.tensor(np.eye(4)[[["ACGT".index(a) for a in x]]].transpose(0, 2, 1))).numpy()
            for x in (seq, x_alt)
        )
    ref_len, alt_len = len(ref), len(alt)
    if ref_len > 1 and alt_len == 1:
        zeros = np.zeros((1, ref_len - alt_len, 3))
        y_alt = np.concatenate([y_alt[:, : cov // 2 + alt_len], zeros, y_alt[:, cov // 2 + alt_len :]], axis=1)
    elif ref_len == 1 and alt_len > 1:
        best = np.max(y_alt[:, cov // 2 : cov // 2 + alt_len], axis=1)[:, None, :]
        y_alt = np.concatenate([y_alt[:, : cov // 2], best, y_alt[:, cov // 2 + alt_len :]], axis=1)
    y = np.concatenate([y_ref, y_alt])
    found = {}
    for name, track, sign in (("AG", 1, 1), ("AL", 1, -1), ("DG", 2, 1), ("DL", 2, -1)):
        change = sign * (y[1, :, track] - y[0, :, track])
        found |= {f"DS_{name}": float(change.max()), f"DP_{name}": int(change.argmax()) - cov // 2}
    return found


def test_delta_scores_and_positions_are_those_of_spliceai(fasta: Path) -> None:
    variants = [v for v in VARIANTS if 1 in (len(v[2]), len(v[3]))]
    texts = [f"{name}(tracks={track}, bins=centre±{FAR})" for track in (1, 2) for name in ("max", "min")]
    table = gf.scan.score_variants(
        Splicing(), fasta, variants, length=101, targets="sum_over(tracks=1)", scores=(), compare=texts,
        align_indels="max,zero",
    )  # fmt: skip
    n_scored = 0
    for row in table.to_pylist():
        if (row["norm_pos"], row["norm_ref"]) != (row["pos"], row["ref"]):
            continue  # moved to the left, where SpliceAI leaves it
        n_scored += 1
        wanted = spliceai_scores(row["chrom"], row["pos"], row["ref"], row["alt"])
        for name, text in zip(("AG", "AL", "DG", "DL"), texts, strict=True):
            value, position = (row[f"{kind}:{parse(text)}"] for kind in ("compare", "position"))
            assert (-value if name[1] == "L" else value) == pytest.approx(wanted[f"DS_{name}"], abs=1e-6)
            assert position == wanted[f"DP_{name}"]
    assert n_scored > 20


class Accessibility(torch.nn.Module):
    """A network of ChromBPNet's form: logits of a profile (N, bins), and the logarithm of counts and one (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.body, self.profile = torch.nn.Conv1d(4, 8, 11), torch.nn.Conv1d(8, 1, 11)
        self.counts = torch.nn.Linear(8, 1)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)

    def forward(self, x: Any) -> tuple[Any, Any]:
        hidden = torch.relu(self.body(x))
        return self.profile(hidden)[:, 0], 3 + self.counts(hidden.mean(2))


def chrombpnet_scores(ref: tuple[Any, Any], alt: tuple[Any, Any]) -> tuple[float, float, float]:
    """The log fold change, the Jensen-Shannon distance and the larger of the counts, as variant-scorer has them."""
    profiles, counts = [], []
    for logits, log_counts in (ref, alt):
        centred = logits - np.mean(logits)
        profiles.append(np.exp(centred) / np.sum(np.exp(centred)))
        counts.append(np.exp(log_counts) - 1)
    return np.log2(counts[1] / counts[0]), distance.jensenshannon(*profiles, base=2.0), max(counts)


def test_fold_change_and_profile_distance_are_those_of_variant_scorer(fasta: Path, tmp_path: Path) -> None:
    texts = ["log2_ratio(scale=log1p)", "jsd(scale=logits, output=0)", "larger(scale=log1p)"]
    table = scan(
        fasta, tmp_path / "scores.parquet", Accessibility(), output=1, targets=0, scores=("delta",), compare=texts
    )
    model = Accessibility().double()
    for row in table.to_pylist():
        pair = []
        for allele in ("norm_ref", "norm_alt"):
            start, pos0, genome = row["window_start"], row["norm_pos"] - 1, GENOME[row["chrom"]]
            changed = genome[:pos0] + row[allele] + genome[pos0 + len(row["norm_ref"]) :]
            codes = [["ACGT".index(letter) for letter in changed[start : start + LENGTH]]]
            with torch.no_grad():
                logits, counts = model(torch.tensor(np.eye(4)[codes].transpose(0, 2, 1)))
            pair.append((logits.numpy()[0], counts.numpy()[0, 0]))
        found = [row[f"compare:{parse(text)}"] for text in texts]
        np.testing.assert_allclose(found, chrombpnet_scores(*pair), rtol=2e-5, atol=1e-6)


# --- on record ---


def test_a_scan_goes_on_with_the_same_comparisons_alone(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    options = {"compare": ["jsd", "max"], "align_indels": "sum,mask"}
    common = {"length": LENGTH, "batch_size": 8, "shard_size": 16, "targets": "mean()"}
    gf.scan.plan(Profiles(), fasta, VARIANTS, out, **common, **options)
    again = {"resume": True, "targets": "mean()"}
    with pytest.raises(ValueError, match="options compare was"):
        scan(fasta, out, **again, **options | {"compare": ["jsd"]})
    with pytest.raises(ValueError, match="options align_indels was"):
        scan(fasta, out, **again, **options | {"align_indels": "max,mask"})
    table = scan(fasta, out, **again, **options)
    assert table.column_names[-3:] == ["compare:jsd()", "compare:max()", "position:max()"]
    text = describe(gf.scan.read_metadata(out))
    assert "outputs with both alleles were compared by jsd() and max(), at indels by the bins of the reference" in text
    assert "of inserted ones their sum, deleted ones not compared" in text
    assert gf.scan.verify(out).problems == []


def test_a_vcf_says_what_was_compared(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.vcf"
    gf.scan.score_variants(
        Profiles(), fasta, VARIANTS, out, length=LENGTH, scores=("delta",), targets="mean()",
        compare=["jsd", "max(bins=centre±6)"],
    )  # fmt: skip
    text = out.read_text()
    assert "##INFO=<ID=GC_POSITION_2,Number=A" in text
    assert "both alleles; max(bins=centre±6)" in text
    record = next(line for line in text.splitlines() if not line.startswith("#")).split("\t")[7]
    names = [entry.partition("=")[0] for entry in record.split(";")]
    assert names == ["GC_STATUS", "GC_DELTA", "GC_COMPARE_1", "GC_COMPARE_2", "GC_POSITION_2"]


def test_the_command_compares_and_a_report_shows_it(fasta: Path, tmp_path: Path) -> None:
    lines = [":".join(map(str, variant)) for variant in VARIANTS[:8]]
    (tmp_path / "variants.txt").write_text("\n".join(lines) + "\n")
    out = tmp_path / "scores.tsv"
    result = CliRunner().invoke(main,
        ["score", "-m", "tests.test_compared_scans:Profiles", "-f", str(fasta), "-v", str(tmp_path / "variants.txt"),
         "-o", str(out), "--length", str(LENGTH), "--axis", "1", "-t", "sum_over(tracks=1)", "--compare", "jsd",
         "--compare", "max(tracks=1, bins=centre+-6)", "--align-indels", "max,zero", "--scores", "delta", "--quiet"]
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert out.read_text().splitlines()[0].split("\t")[-3:] == [
        "compare:jsd()", "compare:max(bins=centre±6, tracks=1)", "position:max(bins=centre±6, tracks=1)",
    ]  # fmt: skip
    assert json.loads(out.with_name("scores.tsv.json").read_text())["options"]["align_indels"] == "max,zero"
    gf.report.write_report(out, tmp_path / "report.html")
    assert "compare:jsd()" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compare": ["jsd", "jsd()"]}, "given twice"),
        ({"align_indels": "max,zero"}, "is of comparisons"),
        ({"compare": "jsd", "align_indels": "max"}, "must be one of"),
        ({"compare": "jsd", "engine": "incremental"}, "whole passes"),
        ({"compare": "jsd", "rc": True}, "run backwards"),
        ({"compare": "jds"}, "not a comparison"),
        ({"compare": "max(bins=centre±6, bin_bp=2)"}, "longer than the window"),
        ({"compare": "l1(bins=3:900)", "scores": ()}, None),
        ({"compare": "l1(bins=900)"}, "do not all exist"),
    ],
)
def test_what_cannot_be_compared_is_said(fasta: Path, options: dict[str, Any], reason: str | None) -> None:
    if reason is None:
        assert scan(fasta, **options)["compare:l1(bins=3:900)"].null_count == 0
        return
    with pytest.raises(ValueError, match=reason):
        scan(fasta, **options)


def test_functions_of_jax_are_compared_too(fasta: Path) -> None:
    jax = pytest.importorskip("jax")
    weights = RNG.normal(size=(4, 3)).astype(np.float32)

    @jax.jit
    def model(x: Any) -> Any:
        return jax.numpy.exp(x @ weights)

    options = {"axis": -1, "targets": "sum_over(tracks=1)", "compare": ["jsd", "max(tracks=1)"]}
    table = scan(fasta, model=model, scores=("delta", "taylor"), **options)
    for row in table.to_pylist():
        start, pos0, genome = row["window_start"], row["norm_pos"] - 1, GENOME[row["chrom"]]
        changed = genome[:pos0] + row["norm_alt"] + genome[pos0 + len(row["norm_ref"]) :]
        codes = [["ACGT".index(letter) for letter in text[start : start + LENGTH]] for text in (genome, changed)]
        ref, alt = np.exp(np.eye(4)[codes] @ weights.astype(float))[:, None]
        assert row["compare:jsd()"] == pytest.approx(compare(parse("jsd"), ref, alt)[0][0], rel=1e-4, abs=1e-5)
        assert row["compare:max(tracks=1)"] == pytest.approx(compare(parse("max(tracks=1)"), ref, alt)[0][0], rel=1e-4)

"""Variants on a genome: trimmed and aligned, checked, placed in windows, and cut with either allele."""

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcorr_fast.sequences import decode

pa = pytest.importorskip("pyarrow")
pc = pytest.importorskip("pyarrow.compute")
pysam = pytest.importorskip("pysam")

from gradcorr_fast.scan.inputs.genome import Genome  # noqa: E402
from gradcorr_fast.scan.inputs.regions import read_regions  # noqa: E402
from gradcorr_fast.scan.inputs.variants import read_variants  # noqa: E402
from gradcorr_fast.scan.placing import alleles, letters  # noqa: E402
from gradcorr_fast.scan.placing.alleles import STATUSES, place, place_all, tell_unscored  # noqa: E402
from gradcorr_fast.scan.placing.region_windows import cut_regions, place_regions  # noqa: E402
from gradcorr_fast.scan.placing.windows import WindowOptions, cut_windows  # noqa: E402
from tests.fasta import write_fasta  # noqa: E402

STATUS_ORDER = (
    "unreadable contig_missing no_alt spanning_deletion symbolic not_acgt outside_regions too_long out_of_bounds "
    "swapped ref_mismatch n_in_window model_failed ok"
)


@contextmanager
def genome_of(**contigs: str) -> Iterator[Genome]:
    with TemporaryDirectory() as folder, Genome(write_fasta(Path(folder, "genome.fa"), contigs)) as genome:
        yield genome


def placed(variants: Any, genome: Genome, **options: Any) -> Any:
    batches = list(place_all(read_variants(variants), genome, WindowOptions(**{"length": 10, **options})))
    return pa.Table.from_batches(batches)


def column(rows: Any, name: str) -> list[Any]:
    return rows[name].to_pylist()


def normalised(genome: str, pos0: int, ref: str, alt: str) -> tuple[int, str, str]:
    """What is left where the whole sequences before and after a variant differ, and for an indel a letter more."""
    mutant = genome[:pos0] + alt + genome[pos0 + len(ref) :]
    tail = 0
    while tail < min(len(genome), len(mutant)) and genome[-1 - tail] == mutant[-1 - tail]:
        tail += 1
    head = 0
    while head < min(len(genome), len(mutant)) - tail and genome[head] == mutant[head]:
        head += 1
    begin, ends = head, (len(genome) - tail, len(mutant) - tail)
    if begin in ends:
        begin, ends = (begin - 1, ends) if begin else (begin, (ends[0] + 1, ends[1] + 1))
    return begin, genome[begin : ends[0]], mutant[begin : ends[1]]


@st.composite
def variants(draw: st.DrawFn, letters: str = "ACG", longest: int = 6) -> tuple[str, int, str, str]:
    """A genome with repeats, and a variant on it that may share much with what is around."""
    unit = st.text(letters, min_size=1, max_size=3)
    genome = "".join(draw(st.lists(st.builds(str.__mul__, unit, st.integers(1, 9)), min_size=2, max_size=6)))
    pos0 = draw(st.integers(0, len(genome) - 1))
    ref = genome[pos0 : pos0 + draw(st.integers(1, longest))]
    repeated = st.sampled_from([ref + ref, ref[:1], ref[-1:], ref + genome[max(0, pos0 - 2) : pos0]])
    alt = draw(st.one_of(st.text(letters, min_size=1, max_size=longest), repeated).filter(lambda alt: alt != ref))
    return genome, pos0, ref, alt


@given(variant=variants())
def test_variants_are_trimmed_and_moved_to_the_left_as_far_as_they_mean_the_same(
    variant: tuple[str, int, str, str],
) -> None:
    letters_, pos0, ref, alt = variant
    with genome_of(chr1=letters_) as genome:
        (row,) = placed([("1", pos0 + 1, ref.lower(), alt)], genome, length=200).to_pylist()
    begin, norm_ref, norm_alt = normalised(letters_, pos0, ref, alt)
    assert (row["norm_pos"], row["norm_ref"], row["norm_alt"]) == (begin + 1, norm_ref, norm_alt)
    assert (row["status"], row["ref_match"], row["window_start"]) == ("ok", True, begin - 100)
    assert (row["chrom"], row["pos"], row["ref"], row["alt"]) == ("1", pos0 + 1, ref.lower(), alt)


@given(
    variant=variants(letters="ACGN", longest=12),
    length=st.integers(30, 60),  # so that the longest alleles fit on every grid
    step=st.sampled_from([None, 1, 2, 5]),
    side=st.sampled_from(["right", "left"]),
)
def test_windows_hold_the_genome_with_the_variant(
    variant: tuple[str, int, str, str], length: int, step: int | None, side: str
) -> None:
    letters_, pos0, ref, alt = variant
    options = WindowOptions(length=length, step=step, max_n=1)
    with genome_of(chr1=letters_) as genome:
        rows = placed([("1", pos0 + 1, ref, alt)], genome, length=length, step=step, max_n=1)
        cut = {allele: cut_windows(rows, genome, options, allele=allele, side=side) for allele in ("ref", "alt")}
    (row,) = rows.to_pylist()
    start, mutant = row["window_start"], letters_[:pos0] + alt + letters_[pos0 + len(ref) :]
    moved = start + (len(alt) - len(ref) if side == "left" else 0)
    pad = "N" * 200
    assert decode(cut["ref"]) == [(pad + letters_ + pad)[200 + start :][:length]]
    assert decode(cut["alt"]) == [(pad + mutant + pad)[200 + moved :][:length]]


def test_rows_of_several_contigs_are_cut_in_any_order() -> None:
    contigs = {
        name: "".join(np.random.default_rng(k).choice(list("ACGT"), 90)) for k, name in enumerate(("1", "2", "X"))
    }
    at = [(name, k) for k in (80, 5, 40) for name in ("X", "1", "2")]
    given_ = [(name, k + 1, contigs[name][k], contigs[name][k] + "GG" * (k == 40) + "T") for name, k in at]
    options = WindowOptions(length=20)
    with genome_of(**contigs) as genome:
        rows = placed(given_, genome, length=20)
        cut = cut_windows(rows, genome, options, allele="alt")
        order = np.array([4, 0, 8, 1])
        some = cut_windows(rows.take(pa.array(order)), genome, options, allele="alt")
        singles = [cut_windows(rows.slice(k, 1), genome, options, allele="alt")[0] for k in range(9)]
        batch = cut_windows(rows.to_batches()[0], genome, options, allele="alt")
    np.testing.assert_array_equal(some, cut[order])
    np.testing.assert_array_equal(singles, cut)
    np.testing.assert_array_equal(batch, cut)


@pytest.mark.parametrize("at", [0, 40])
def test_an_indel_moves_through_a_long_repeat(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters before an indel are looked at in parts, which grow."""
    monkeypatch.setattr(letters, "_CELLS", 1 << 12)
    sequence = "ACGT" * (at // 4) + "CAG" * 3000 + "TTT"
    end = at + 9000
    with genome_of(c=sequence) as genome:
        rows = placed([("c", end - 3, "GCAG", "G"), ("c", end, "G", "GCAGCAG")], genome, length=100)
    wanted = [(1, "CAGC", "C"), (1, "C", "CAGCAGC")] if at == 0 else [(40, "TCAG", "T"), (40, "T", "TCAGCAG")]
    assert list(zip(*(column(rows, name) for name in ("norm_pos", "norm_ref", "norm_alt")), strict=True)) == wanted


@pytest.mark.parametrize(
    ("variant", "status", "ref_match"),
    [
        ("chr9:4:A:G", "contig_missing", None),
        ("chr9:4:A:.", "contig_missing", None),
        ("1:1:A:.", "no_alt", None),
        ("1:1:A:a", "no_alt", None),
        ("1:999:A:.", "no_alt", None),
        ("1:1:A:*", "spanning_deletion", None),
        ("1:1:A:<DEL>", "symbolic", None),
        ("1:1:A:<*>", "symbolic", None),
        ("1:1:A:A[2:3[", "symbolic", None),
        ("1:1:A:.A", "symbolic", None),
        ("1:1:R:G", "not_acgt", None),
        ("1:1:A:AU", "not_acgt", None),
        ("1:999:A:R", "not_acgt", None),
        ("1:1:A:AACGTAC", "too_long", None),
        ("1:999:A:AACGTAC", "too_long", None),
        ("1:0:A:G", "out_of_bounds", None),
        ("1:25:A:G", "out_of_bounds", None),
        ("1:24:TA:G", "out_of_bounds", None),
        ("1:2:G:C", "swapped", False),
        ("1:2:g:c", "swapped", False),
        ("1:1:AG:A", "swapped", False),
        ("1:2:G:T", "ref_mismatch", False),
        ("1:2:A:AN", "ref_mismatch", False),
        ("1:14:NC:NA", "ref_mismatch", False),
        ("1:13:A:G", "n_in_window", None),
        ("1:12:ANN:A", "n_in_window", None),
        ("1:1:N:G", "n_in_window", None),
        ("1:1:A:N", "n_in_window", True),
        ("1:10:A:G", "n_in_window", True),
        ("1:7:C:G", "ok", True),
        ("1:1:A:AACGTA", "ok", True),
        ("CHR1:1:a:g", "ok", True),
        ("1:24:T:G", "ok", True),
    ],
)
def test_each_variant_has_the_first_status_that_applies(variant: str, status: str, ref_match: bool | None) -> None:
    with genome_of(chr1="ACGTacCAGACANNGACCTTACGT") as genome:  # N at 13 and 14
        chrom, pos, ref, alt = variant.split(":", 3)
        rows = placed([(chrom, int(pos), ref, alt)], genome, max_n=0.1)
    assert (column(rows, "status"), column(rows, "ref_match")) == ([status], [ref_match])
    is_placed = status in ("n_in_window", "ok")
    names = ("norm_pos", "norm_ref", "norm_alt", "window_start", "n_fraction", "pad_bp")
    assert [column(rows, name) == [None] for name in names] == [not is_placed] * 6
    assert column(rows, "strand") == ["+"]


def test_statuses_are_listed_in_their_order() -> None:
    assert " ".join(STATUSES) == STATUS_ORDER


def test_a_record_that_cannot_be_read_is_unreadable_whatever_else_it_is() -> None:
    with genome_of(chr1="ACGTacCAGACANNGACCTTACGT") as genome:
        rows = placed([("1", 7, "C", "G"), ("9", None, "A", "G"), ("1", 7, "C", "T")], genome, max_n=0.1)
    assert column(rows, "status") == ["ok", "unreadable", "ok"]
    assert (column(rows, "pos")[1], column(rows, "norm_pos")[1], column(rows, "window_start")[1]) == (None, None, None)
    assert column(rows, "id")[1] == "variant 1: ('9', None, 'A', 'G') (no contig, no position or no REF)"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"ok": 5, "not_acgt": 5}, None),
        ({"ok": 1, "outside_regions": 900}, None),
        ({}, None),
        ({"ok": 5, "not_acgt": 6, "no_alt": 0}, "6 of 11 alleles are not scored: 6 not_acgt (an allele has"),
        ({"out_of_bounds": 7, "ok": 1}, "7 of 8 alleles are not scored: 7 out_of_bounds (the variant, or a window"),
    ],
)
def test_most_alleles_that_are_not_scored_are_told_with_the_reason(counts: dict[str, int], message: str | None) -> None:
    """Ids with a suffix made 12,000 not_acgt, and the scan ended without a word."""
    assert (tell_unscored(counts) or "").startswith(message or "")
    assert (tell_unscored(counts) is None) == (message is None)


@pytest.mark.parametrize(
    ("edges", "statuses"),
    [
        ("pad", ["ok"] * 4 + ["ref_mismatch"]),
        ("reject", ["out_of_bounds", "ok", "ok", "out_of_bounds", "out_of_bounds"]),
    ],
)
def test_windows_beyond_the_ends_are_padded_or_rejected(edges: str, statuses: list[str]) -> None:
    with genome_of(c="ACGTACGTACGTACGTACGT") as genome:
        rows = placed(["c:5:A:C", "c:6:C:A", "c:16:T:A", "c:17:A:T", "c:5:G:C"], genome, edges=edges)
    assert column(rows, "status") == statuses
    assert column(rows, "pad_bp")[:4] == [1, 0, 0, 1]
    assert column(rows, "n_fraction")[:4] == [0, 0, 0, 0]


def test_unknown_letters_are_counted_inside_of_the_contig_only() -> None:
    with genome_of(c="NACGTACGTN") as genome:
        rows = placed(["c:2:A:C", "c:6:A:C", "c:9:T:A"], genome, max_n=0.2)
    assert column(rows, "pad_bp") == [4, 0, 3]
    np.testing.assert_allclose(column(rows, "n_fraction"), [0.1, 0.2, 0.1])
    assert column(rows, "status") == ["ok"] * 3


@pytest.mark.parametrize(("max_n", "status"), [(0.2, "ok"), (0.19, "n_in_window")])
def test_more_than_the_largest_share_of_unknown_letters_is_too_much(max_n: float, status: str) -> None:
    with genome_of(c="NACGTACGTN") as genome:
        assert column(placed(["c:6:A:C"], genome, max_n=max_n), "status") == [status]


@pytest.mark.parametrize(
    ("step", "pos0", "start"),
    [(None, 7, 2), (4, 5, 0), (4, 7, 0), (4, 8, 4), (4, 0, -4), (1, 7, 2), (3, 6, 0), (3, 7, 3)],
)
def test_windows_of_a_grid_are_the_nearest_of_their_centre(step: int | None, pos0: int, start: int) -> None:
    options = WindowOptions(length=10, step=step)
    assert options.starts(np.array([pos0])).tolist() == [start]


@pytest.mark.parametrize("length", [9, 10])
@pytest.mark.parametrize("step", [None, 2, 3])
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_longest_alleles_fit(length: int, step: int | None, side: str) -> None:
    options = WindowOptions(length=length, step=step)
    longest = options.max_allele_bp
    assert longest is not None
    sequence = "ACGTTGCATTGACCATGACGGTAC"
    insertion, pos0 = "CCGGA"[:longest], 11
    given_ = [("c", pos0 + 1, sequence[pos0], sequence[pos0] + insertion)]
    with genome_of(c=sequence) as genome:
        rows = placed(given_, genome, length=length, step=step)
        cut = cut_windows(rows, genome, options, allele="alt", side=side)
        too_long = placed([(*given_[0][:3], given_[0][3] + "T")], genome, length=length, step=step)
    mutant = sequence[: pos0 + 1] + insertion + sequence[pos0 + 1 :]
    moved = rows["window_start"][0].as_py() + (longest if side == "left" else 0)
    assert decode(cut) == [mutant[moved:][:length]]
    assert column(too_long, "status") == ["too_long"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1}, "too short; they need at least 2 bp"),
        ({"length": 10, "step": 9}, "too short; they need at least 11 bp"),
        ({"length": 10, "step": 0}, "step is 0"),
        ({"length": 10, "edges": "wrap"}, "edges must be pad or reject"),
        ({"length": 10, "max_n": 1.5}, "max_n is 1.5"),
        ({"length": 10, "max_allele_bp": 6}, "must lie in 1 to 5"),
    ],
)
def test_options_that_make_no_windows_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowOptions(**options)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"chroms": "2"}, [False, False, True]),
        ({"chroms": ["chr1", "2"]}, [True, True, True]),
        ({"regions": "1:3-4"}, [True, False, False]),
        ({"regions": ["1:5-5", "chr2"]}, [False, True, True]),
        ({"regions": [("chr1", 3, 4), ("chr1", 0, 9)]}, [True, True, False]),
        ({"regions": [("chr1", 5, 5), ("chr1", 0, 1)]}, [False, False, False]),
        ({"regions": ["1:1-4"], "chroms": ["2"]}, [False, False, False]),
        ({"regions": pa.table(read_regions("1:1,001-2,000"))}, [False, False, False]),
        ({"regions": "1:6"}, [False, True, False]),
    ],
)
def test_variants_outside_of_regions_and_contigs_are_left_out(options: dict[str, Any], wanted: list[bool]) -> None:
    """A region counts if it shares a position with REF as it was given."""
    with genome_of(chr1="ACGTACGT", chr2="ACGT") as genome:
        rows = placed(["chr1:4:T:A", "1:5:AC:A", "2:1:A:C"], genome, max_n=1, **options)
    assert [status == "ok" for status in column(rows, "status")] == wanted
    assert {"ok", "outside_regions"} >= set(column(rows, "status"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chroms": ["chr1", "chr11"]}, "has no contig 'chr11'; choose among chr1"),
        ({"regions": "chrX:1-5"}, r"has no contig of the regions \(chrX\); its contigs are chr[12], chr[12]"),
    ],
)
def test_contigs_that_the_genome_lacks_are_told(options: dict[str, Any], message: str) -> None:
    with genome_of(chr1="ACGTACGT", chr2="ACGT") as genome, pytest.raises(ValueError, match=message):
        placed(["chr1:4:T:A"], genome, **options)


def test_no_variants_give_no_rows_but_all_columns() -> None:
    with genome_of(c="ACGT") as genome:
        (batch,) = read_variants(["c:1:A:C"])
        rows = place(batch.slice(0, 0), genome, WindowOptions(length=4))
        assert cut_windows(rows, genome, WindowOptions(length=4), allele="alt").shape == (0, 4)
        assert rows.schema == place(batch, genome, WindowOptions(length=4)).schema


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"allele": "both"}, "allele must be ref or alt"),
        ({"side": "up"}, "side right or left"),
        ({"row": 1}, "pass those whose status is ok"),
    ],
)
def test_what_cannot_be_cut_is_refused(change: dict[str, Any], message: str) -> None:
    options = WindowOptions(length=4, max_n=1)
    with genome_of(c="ACGT") as genome:
        rows = placed(["c:1:A:C", "c:1:A:*"], genome, length=4).slice(change.pop("row", 0), 1)
        with pytest.raises(ValueError, match=message):
            cut_windows(rows, genome, options, **{"allele": "ref", **change})


def test_another_genome_cannot_be_cut() -> None:
    with genome_of(c="ACGT") as genome, genome_of(d="ACGT") as other:
        rows = placed(["c:1:A:C"], genome, length=4)
        with pytest.raises(ValueError, match="no contig 'c'; pass the genome that the rows were placed on"):
            cut_windows(rows, other, WindowOptions(length=4))


def _strangers(kind: str, genome: str, n: int) -> list[tuple[str, int, str, str]]:
    rng = np.random.default_rng(0)
    at = rng.integers(1, len(genome) - 1, n)
    other = {letter: "ACGT".replace(letter, "") for letter in "ACGT"}
    right = [("1", int(k) + 1, genome[k], other[genome[k]][rng.integers(3)]) for k in at]
    if kind == "contigs":
        return [("NC_000001.10", *rest) for _, *rest in right]
    if kind == "exchanged":
        return [(chrom, pos, alt, ref) for chrom, pos, ref, alt in right]
    if kind == "0-based":
        return [(chrom, pos - 1, ref, alt) for chrom, pos, ref, alt in right]
    if kind == "build":
        return [("1", int(k), right[i][2], right[i][3]) for i, k in enumerate(rng.permutation(at))]
    return right


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("contigs", r"100 contig_missing\): the variants have contigs NC_000001.10 and the genome 1; rename"),
        ("exchanged", r"swapped\): REF and ALT seem to be exchanged"),
        ("0-based", "positions seem to be 0-based; add 1"),
        ("build", "seem to be of another build of the genome; use its FASTA file"),
    ],
)
def test_variants_of_another_genome_stop_early_with_the_likely_cause(
    kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alleles, "N_FIRST", 100)
    sequence = "".join(np.random.default_rng(1).choice(list("ACGT"), 5000))
    odd = [("1", 1, "A", "*"), ("1", 1, "A", "<DEL>")] * 40  # which do not count
    with genome_of(**{"1": sequence}) as genome, pytest.raises(ValueError, match=f"most of the first 100 .*{message}"):
        placed(odd + _strangers(kind, sequence, 150), genome, length=100)


@pytest.mark.parametrize(("n_wrong", "n_right"), [(99, 0), (50, 60), (0, 200)])
def test_few_variants_or_half_of_them_do_not_stop(n_wrong: int, n_right: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alleles, "N_FIRST", 100)
    sequence = "".join(np.random.default_rng(1).choice(list("ACGT"), 5000))
    given_ = _strangers("exchanged", sequence, n_wrong) + _strangers("", sequence, n_right)
    with genome_of(**{"1": sequence}) as genome:
        counts = Counter(column(placed(given_, genome, length=100), "status"))
    assert counts == Counter({"swapped": n_wrong, "ok": n_right})


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("NA12877-NA12878-NA12882.GATK-trio.vcf.gz", {"ok": 575, "spanning_deletion": 7}),
        ("NA12878.GIAB-NIST.10.0-10.1Mb.vcf.gz", {"ok": 222}),
        ("1000G-exomes.hail-sample.vcf.bgz", {"ok": 70, "n_in_window": 276}),
        ("60k-252k.GATK-cnn-subset.vcf", {"ok": 367, "out_of_bounds": 111}),
    ],
)
def test_every_record_of_real_files_is_accounted_for(
    name: str, counts: dict[str, int], shared_data: Path, tmp_path: Path
) -> None:
    """Contigs are 20 in most of the VCF files, and chr20 in the FASTA files."""
    if name.startswith("60k"):
        packed = shared_data / "real/genome/b37.chr20.0-251930.adam.fa.gz"
        fasta = tmp_path / "chr20.fa"
        fasta.write_text(">chr20\n" + gzip.decompress(packed.read_bytes()).decode().partition("\n")[2])
    else:
        fasta = tmp_path / "chr20.fa.gz"
        fasta.symlink_to(shared_data / "real/genome/hg19.chr20.9995000-11095000.N-padded.fa.gz")
    with Genome(fasta) as genome:
        rows = placed(shared_data / f"real/variants/b37.chr20.{name}", genome, length=500)
        ok = rows.filter(pc.equal(rows["status"], "ok"))
        cut = cut_windows(ok, genome, WindowOptions(length=500), allele="alt")
    assert Counter(column(rows, "status")) == counts
    assert set(column(ok, "ref_match")) == {True}
    assert [decode(w[250 : 250 + len(alt)]) for w, alt in zip(cut, column(ok, "norm_alt"), strict=True)] == column(
        ok, "norm_alt"
    )


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("chr1:1,001-2,000", ("chr1", 1000, 2000, 1500)),
        ("chr1:7", ("chr1", 6, 2**63 - 1, None)),
        ("chr1:7-", ("chr1", 6, 2**63 - 1, None)),
        ("KI270302.1", ("KI270302.1", 0, 2**63 - 1, None)),
        ("HLA-A*01:01:5-9", ("HLA-A*01:01", 4, 9, 6)),
        (("chr1", 5, 8), ("chr1", 5, 8, 6)),
    ],
)
def test_regions_may_be_spelled_out(source: Any, wanted: tuple[Any, ...]) -> None:
    for_one = read_regions(source) if isinstance(source, str) else read_regions([source])
    (row,) = read_regions(for_one).select(["chrom", "start", "stop", "centre"]).to_pylist()
    assert tuple(row.values())[: 3 + (wanted[3] is not None)] == tuple(x for x in wanted if x is not None)


def test_lines_of_bed_files_are_regions_and_their_centre_or_summit(tmp_path: Path) -> None:
    path = tmp_path / "peaks.bed"
    path.write_text(
        "track name=peaks\n# by hand\n\nchr1\t5\t9\nchr1 5 9 name\nchr2\t0\t100\t.\t0\t.\t1\t1\t1\t30\n"
        "chr2\t0\t100\tlow\t0\t.\t1\t1\t1\t-1\n"
    )
    wanted = [
        ("chr1", 5, 9, None, 7, "."),
        ("chr1", 5, 9, "name", 7, "."),
        ("chr2", 0, 100, None, 30, "."),
        ("chr2", 0, 100, "low", 50, "."),
    ]
    assert [tuple(row.values()) for row in read_regions(str(path)).to_pylist()] == wanted


@pytest.mark.parametrize(
    "line",
    [
        "chr1\t5", "chr1\t9\t5", "chr1\t-1\t5", "chr1\tx\t5", "\t1\t5", "chr1\t1_000\t2_000",
        "chr1\t\u0661\t\u0665", "chr1\t1\t99999999999999999999", "chr1\t0\t9\ta\t0\t+\t0\t0\t0\t99999999999999999999",
    ],
)  # fmt: skip
def test_a_line_that_is_no_region_is_named(line: str, tmp_path: Path) -> None:
    """Python's int() took 1_000 and Arabic digits for numbers, and long ones ended in an OverflowError."""
    path = tmp_path / "peaks.bed"
    path.write_text(f"chr1\t1\t2\n{line}\n")
    with pytest.raises(ValueError, match=r"line 2 of .*peaks.bed: .*: a region begins with a contig"):
        read_regions(path)


def test_a_byte_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "peaks.bed"
    path.write_bytes(b"chr1\t1\t2\nchr1\t1\t2\tpe\xffak\n")
    with pytest.raises(ValueError, match=r"line 2 of .*peaks.bed: .*bytes that are not UTF-8"):
        read_regions(path)


def test_a_mark_of_byte_order_loses_no_region(tmp_path: Path) -> None:
    """The first line of a file of Windows was of a contig that no genome has."""
    path = tmp_path / "peaks.bed"
    path.write_bytes("chr1\t1\t2\r\nchr2\t3\t4\r\n".encode("utf-8-sig"))
    assert column(read_regions(path), "chrom") == ["chr1", "chr2"]


def test_the_sixth_column_is_the_strand(tmp_path: Path) -> None:
    path = tmp_path / "peaks.bed"
    path.write_text("".join(f"chr1\t1\t2\tname\t0{strand}\n" for strand in ("\t+", "\t-", "\t.", "\t0.5", "")))
    regions = read_regions(path)
    assert column(regions, "strand") == ["+", "-", ".", ".", "."]
    assert regions.equals(read_regions(pa.table(regions)))


def test_tuples_may_tell_a_strand() -> None:
    regions = read_regions([("chr1", 1, 5, "name", "-"), ("chr1", 1, 5, "name"), ("chr1", np.int32(1), 5.0)])
    assert column(regions, "strand") == ["-", ".", "."]


def test_windows_of_the_minus_strand_are_reverse_complements() -> None:
    """The strand was ignored: maps of half of the genes were those of the wrong strand."""
    with genome_of(chr1="AACGTTTGCANG") as genome:
        (rows,) = place_regions(
            [("1", 3, 9, None, strand) for strand in "+-."], genome, WindowOptions(length=8, max_n=1)
        )
        cut = decode(cut_regions(rows, genome, 8))
    assert column(rows, "strand") == ["+", "-", "."]
    assert column(rows, "window_start") == [2, 2, 2]
    assert cut == ["CGTTTGCA", "TGCAAACG", "CGTTTGCA"]


def test_lines_that_are_no_regions_have_a_row() -> None:
    """One line among thousands ended a scan before it began."""
    regions = [("1", 1, 5), ("1", 5, 1), ("1", 0, 4), ("1", 2), None, ("1", 2, 4.5), ("1", 2, 8), ("1", 3, 4), "1:2-7"]
    with genome_of(chr1="AACGTTTGCANG") as genome:
        (rows,) = place_regions(regions, genome, WindowOptions(length=4))
    assert column(rows, "status") == [*["ok", "unreadable", "ok"], *["unreadable"] * 3, *["ok"] * 3]
    assert column(rows, "name")[1] == "region 1: ('1', 5, 1) (no (chrom, start, stop))"
    assert column(rows, "centre")[1] is None
    assert column(rows, "region") == list(range(9))


def test_mostly_no_regions_are_refused() -> None:
    with genome_of(chr1="ACGT") as genome, pytest.raises(ValueError, match="2 of the first 3 records of the regions"):
        list(place_regions([("1", 1, 2), None, ("1", 5, 1)], genome, WindowOptions(length=4)))


@pytest.mark.parametrize("source", [7, None, b"chr1:1-5"])
def test_what_holds_no_regions_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="regions cannot be read from a"):
        read_regions(source)


@pytest.mark.parametrize(
    ("start", "stop"), [([1, None], [5, 6]), ([1.0, 1.5], [5.0, 5.0]), (["1", "1_0"], ["5", "50"])]
)
def test_a_row_of_a_table_that_is_no_region_is_named(start: list[Any], stop: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"row 1: chr1 .* \(no region\)"):
        read_regions(pa.table({"chrom": ["chr1", "chr1"], "start": start, "end": stop}))


@pytest.mark.parametrize("cut", ["in a block", "between blocks", "gzip"])
def test_compressed_regions_that_are_cut_short_are_told(cut: str, tmp_path: Path) -> None:
    """A file cut between two blocks of bgzip lost its last regions without a word."""
    text = "".join(f"chr1\t{k}\t{k + 100}\n" for k in range(20_000)).encode()
    path = tmp_path / "peaks.bed.gz"
    if cut == "gzip":
        path.write_bytes(gzip.compress(text)[:-1000])
    else:
        with pysam.BGZFile(str(path), "wb") as file:
            file.write(text)
        path.write_bytes(path.read_bytes()[: -28 if cut == "between blocks" else -1000])
    with pytest.raises(OSError, match=r"peaks.bed.gz is cut short; fetch it again"):
        read_regions(path)


@pytest.mark.parametrize("text", ["chr1:9-5", "chr1:0-5", "", "chr1\t5\t9"])
def test_a_text_that_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"region 0: .*write (it|regions) like chr1:1,001-2,000"):
        read_regions([text])


@pytest.mark.parametrize("name", ["missing.bed", "missing.narrowPeak", "folder/missing"])
def test_a_path_that_is_missing_is_not_taken_for_a_contig(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_regions(name)


@pytest.mark.parametrize(
    ("source", "n", "first", "chunk"),
    [
        (
            "hg19.ChIPseq.K562.CTCF.conservative.train.narrowPeak.gz",
            47_804,
            ("chr17", 72869548, 72869788, 72869668),
            ("chr20", 9_995_000, 11_095_000, 17),
        ),
        (
            "hg19.ChIPseq.HepG2.JUND.relaxed.narrowPeak.gz",
            97_556,
            ("chr17", 46969925, 46970248, 46970081),
            ("chr20", 9_995_000, 11_095_000, 141),
        ),
        (
            "hg38.ATAC.pbmc_granulocyte_sorted_3k_peaks.bed",
            156_607,
            ("chr1", 9986, 10403, 10194),
            ("chr22", 32_000_000, 32_300_000, 21),
        ),
    ],
)
def test_real_peaks_are_read_with_their_summits(
    source: str, n: int, first: tuple[Any, ...], chunk: tuple[Any, ...], shared_data: Path
) -> None:
    regions = read_regions(shared_data / f"real/peaks/{source}")
    assert tuple(regions.select(["chrom", "start", "stop", "centre"]).slice(0, 1).to_pylist()[0].values()) == first
    contig, begin, end, n_inside = chunk
    start, stop = (regions[name].to_numpy() for name in ("start", "stop"))
    assert np.sum((np.array(column(regions, "chrom")) == contig) & (start >= begin) & (stop <= end)) == n_inside
    assert len(regions) == n

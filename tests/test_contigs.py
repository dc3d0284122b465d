"""Names of contigs: those of other sources find the right one, of the right assembly, or none."""

import pickle
import re
from pathlib import Path

import pytest

from gradcorr_fast.scan.inputs.contigs import TABLE, Contigs, missing_contigs
from gradcorr_fast.scan.inputs.genome import Genome
from tests.fasta import compress, write_fasta

ROWS = [line.split("\t") for line in TABLE.read_text().splitlines()]
MAN = [*map(str, range(1, 23)), "X", "Y"]
MOUSE = [*map(str, range(1, 20)), "X", "Y"]
REPORT = """\
# Assembly name:  Tiny
#
# Sequence-Name\tSequence-Role\tAssigned-Molecule\tAssigned-Molecule-Location/Type\tGenBank-Accn\tRelationship\tRefSeq-Accn\tAssembly-Unit\tSequence-Length\tUCSC-style-name
LG1\tassembled-molecule\t1\tChromosome\tCM999991.1\t=\tNC_999991.1\tPrimary Assembly\t4\tna
scaf7\tunlocalized-scaffold\t1\tChromosome\tKZ999992.1\t=\tna\tPrimary Assembly\t2\tchr1_KZ999992v1_random
LG2\tassembled-molecule\t2\tChromosome\tCM999993.1\t=\tNC_999993.1\tPrimary Assembly\t4\tna
"""  # noqa: E501


def assembly(name: str, column: int) -> dict[str, int]:
    """Lengths of an assembly's contigs, by one of their names."""
    return {names.split()[column]: int(length) for kind, length, names in ROWS if kind == name}


def named(name: str, *aliases: tuple[str, str]) -> str | None:
    """Find a contig of GRCh38 as UCSC names them."""
    return Contigs(assembly("GRCh38", 0), dict(aliases)).resolve(name)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NC_000001.11", "chr1"), ("CM000663.2", "chr1"), ("nc_000001.11", "chr1"), ("NC_000001", "chr1"),
        ("NC_000024.10", "chrY"), ("CM000686.2", "chrY"), ("NC_012920.1", "chrM"), ("J01415.2", "chrM"),
        ("KI270706.1", "chr1_KI270706v1_random"), ("NT_187361.1", "chr1_KI270706v1_random"),
        ("KI270706v1", "chr1_KI270706v1_random"), ("KI270302.1", "chrUn_KI270302v1"),
        ("GL000194.1", "chr14_GL000194v1_random"), ("NC_000001.10", None), ("CM000663.1", None), ("NC_000001.12", None),
        ("NC_060925.1", None), ("CP068277.2", None), ("NC_000067.7", None), ("CP068254.1", None), ("GL000191.1", None),
        ("chr01", "chr1"), ("01", "chr1"), ("CHR07", "chr7"), ("0", None), ("chr0", None), ("chr", None),
        ("23", "chrX"), ("24", "chrY"), ("25", "chrX"), ("26", "chrM"), ("chr23", "chrX"), ("XY", "chrX"),
        ("PAR1", "chrX"), ("27", None), ("023", "chrX"), ("²³", None),
    ],
)  # fmt: skip
def test_names_of_other_sources_find_contigs_of_grch38(name: str, found: str | None) -> None:
    assert named(name) == found


@pytest.mark.parametrize("row", [row for row in ROWS if not row[2].startswith("chrM")], ids=lambda row: row[2])
@pytest.mark.parametrize("column", [0, -1])
def test_each_contig_is_found_by_all_of_its_names_whichever_the_genome_has(row: list[str], column: int) -> None:
    names = row[2].split()
    contigs = Contigs(assembly(row[0], column), {})
    assert {contigs.resolve(name) for name in names} == {names[column]}


@pytest.mark.parametrize(
    ("name", "chromosomes", "first", "second"),
    [
        ("GRCh37", MAN, "CM000663.1 CM000686.1", "NC_000001.10 NC_000024.9"),
        ("GRCh38", MAN, "CM000663.2 CM000686.2", "NC_000001.11 NC_000024.10"),
        ("T2T-CHM13v2.0", MAN, "CP068277.2 CP086569.2", "NC_060925.1 NC_060948.1"),
        ("GRCm38", MOUSE, "CM000994.2 CM001014.2", "NC_000067.6 NC_000087.7"),
        ("GRCm39", MOUSE, "CM000994.3 CM001014.3", "NC_000067.7 NC_000087.8"),
    ],
)
def test_the_table_has_every_chromosome_in_order(name: str, chromosomes: list[str], first: str, second: str) -> None:
    rows = [names.split() for kind, _, names in ROWS if kind == name]
    rows = [row for row in rows if row[1] in chromosomes]
    assert [row[:2] for row in rows] == [[f"chr{c}", c] for c in sorted(chromosomes, key=[r[1] for r in rows].index)]
    by_name = {row[1]: row[2:] for row in rows}
    ends = [by_name[chromosomes[0]], by_name[chromosomes[-1]]]
    assert [" ".join(column) for column in zip(*ends, strict=True)] == [first, second]
    numbers = [int(re.sub(r"\D", "", by_name[c][1].partition(".")[0])) for c in chromosomes]
    assert numbers == list(range(numbers[0], numbers[0] + len(chromosomes)))


def test_no_name_of_the_table_means_two_contigs_of_an_assembly() -> None:
    names = [(kind, name) for kind, _, row in ROWS for name in row.split()]
    assert len(set(names)) == len(names)


def test_the_mitochondrion_of_t2t_is_not_that_of_the_others() -> None:
    """It has the length of NC_012920.1 and other letters."""
    contigs = Contigs(assembly("T2T-CHM13v2.0", 0), {})
    assert [contigs.resolve(name) for name in ("CP068254.1", "NC_012920.1", "MT")] == ["chrM", None, "chrM"]


def test_the_mitochondria_of_hg19_are_told_apart() -> None:
    contigs = Contigs(assembly("GRCh37", 0), {})
    assert [contigs.resolve(name) for name in ("NC_001807.4", "NC_012920.1")] == ["chrM", "chrMT"]


def test_an_accession_of_a_chromosome_with_another_length_finds_nothing() -> None:
    assert Contigs({"chr1": 5000}, {}).resolve("NC_000001.11") is None


def test_a_genome_with_accessions_is_found_by_plain_names() -> None:
    contigs = Contigs(assembly("GRCh38", -1), {})
    found = [contigs.resolve(name) for name in ("chr1", "X", "23", "MT", "chr1_KI270706v1_random")]
    assert found == ["NC_000001.11", "NC_000023.11", "NC_000023.11", "NC_012920.1", "NT_187361.1"]


@pytest.mark.parametrize(
    ("lengths", "name", "found"),
    [
        ({f"chr{k}": 9 for k in [*range(1, 26), "M"]}, "24", "chr24"),  # zebrafish
        ({f"chr{k}": 9 for k in [*range(1, 26), "M"]}, "26", None),
        ({f"chr{k}": 9 for k in [*range(1, 39), "X"]}, "chr38", "chr38"),  # dog
        ({f"chr{k}": 9 for k in [*range(1, 39), "X"]}, "39", None),
        ({f"chr{k}": 9 for k in [*range(1, 21), "X", "Y"]}, "23", None),  # rat
        (assembly("GRCm39", 0), "20", "chrX"),
        (assembly("GRCm39", 0), "23", "chrM"),
        (assembly("GRCm39", 0), "24", None),
        ({"chr1": 9, "chrX": 9}, "23", "chrX"),
        ({"chr1": 9, "chr24": 9, "chrX": 9, "chrY": 9}, "24", "chr24"),
        ({"chr1": 9, "chr24": 9, "chrX": 9, "chrY": 9}, "23", None),
        ({"chr1": 9}, "23", None),
        ({"Chr01": 9, "Chr10": 9}, "1", "Chr01"),
        ({"chr1": 9, "chr01": 8}, "01", "chr01"),
    ],
)  # fmt: skip
def test_codes_and_zeros_stand_back_behind_the_genomes_own_names(
    lengths: dict[str, int], name: str, found: str | None
) -> None:
    assert Contigs(lengths, {}).resolve(name) == found


@pytest.fixture(name="fasta")
def _fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "tiny.fa", {"LG1": "ACGT", "scaf7": "GG", "LG2": "TTTT"})


def given(folder: Path, content: str) -> Path:
    path = folder / "names.txt"
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        ("one LG1\ntwo LG2\n", "one", "LG1"),
        ("# other\tcontig\nLG1\tone\n\n", "one", "LG1"),
        ("\ufeffone,LG1\r\n", "one", "LG1"),
        ("chr1\tLG1\n", "1", "LG1"),
        ("one LG1\nthree LG3\n", "three", None),
        (REPORT, "NC_999991.1", "LG1"), (REPORT, "CM999993.1", "LG2"), (REPORT, "1", "LG1"), (REPORT, "chr2", "LG2"),
        (REPORT, "chr1_KZ999992v1_random", "scaf7"), (REPORT, "na", None), (REPORT, "Chromosome", None),
    ],
)  # fmt: skip
def test_a_file_of_names_is_read(tmp_path: Path, fasta: Path, content: str, name: str, found: str | None) -> None:
    genome = Genome(fasta, contigs=given(tmp_path, content))
    assert genome.resolve(name) == found
    assert pickle.loads(pickle.dumps(genome)).resolve(name) == found


def test_a_mapping_of_names_is_taken(fasta: Path) -> None:
    genome = Genome(fasta, contigs={"one": "LG1", "LG2": "LG2"})
    assert genome.aliases == {"one": "LG1"}
    assert genome.resolve("one") == "LG1"


def test_the_report_fits_a_genome_with_any_of_its_names(tmp_path: Path) -> None:
    genome = Genome(
        write_fasta(tmp_path / "tiny.fa", {"chrLG1": "A", "NC_999993.1": "C"}), contigs=given(tmp_path, REPORT)
    )
    assert [genome.resolve(name) for name in ("CM999991.1", "LG2")] == ["chrLG1", "NC_999993.1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one LG1\none LG2\n", "has 'one' for both 'LG1' and 'LG2'"),
        ("LG1 LG2\n", "'LG1' and 'LG2' are one contig, but .* has both"),
        ("one chr1\n", "names no contig of .*tiny.fa, which has LG1"),
        ("", "names no contig of"),
        ("one LG1\ntwo\n", r"line 2 of .*names.txt has 1 columns, not 2"),
        (REPORT + "LG3\tassembled-molecule\n", "line 7 of .*names.txt has 2 columns, not 10"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, fasta: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Genome(fasta, contigs=given(tmp_path, content))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"LG1": 990, "chr9": 10}, None),
        ({}, None),
        ({"LG1": 0, "chr9": 0}, None),
        (
            {"LG1": 989, "chr9": 8, "chr8": 3},
            r"^11 of 1,000 records .* lacks: 'chr9' \(8\), 'chr8' \(3\); it has .*LG1",
        ),
        ({f"chr{k}": k for k in range(1, 8)}, r"'chr7' \(7\), .*'chr3' \(3\), \.\.\.; .*contigs=\.\.\.$"),
    ],
)
def test_contigs_that_are_missing_for_many_records_are_named(
    fasta: Path, counts: dict[str, int], message: str | None
) -> None:
    warning = missing_contigs(counts, Genome(fasta))
    assert warning is None if message is None else re.search(message, warning or "")


def test_a_warning_tells_of_which_assembly_an_accession_is(tmp_path: Path) -> None:
    genome = Genome(write_fasta(tmp_path / "tiny.fa", {"chr1": "ACGT"}))
    warning = missing_contigs({"NC_000001.10": 5}, genome)
    assert "(NC_000001.10 is chr1 of GRCh37 with 249,250,621 bp, and chr1 has 4)" in str(warning)


def test_accessions_find_the_chromosome_20_of_hg19(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "hg19.fa.gz"
    path.symlink_to(shared_data / "real/genome/hg19.chr20.9995000-11095000.N-padded.fa.gz")
    names = ("NC_000020.10", "CM000682.1", "20", "020", "NC_000020.11", "CM000682.2")
    assert [Genome(path).resolve(name) for name in names] == ["chr20"] * 4 + [None] * 2


def test_names_are_those_of_packed_genomes_too(fasta: Path) -> None:
    assert Genome(compress(fasta), contigs={"one": "LG1"}).resolve("one") == "LG1"

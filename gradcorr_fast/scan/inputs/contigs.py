"""Names of contigs: which of a genome's is meant by a name of another source."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from ..._types import PathLike
from ..._wording import option

TABLE = Path(__file__).with_name("contigs.tsv")
"""Of each contig of some assemblies: the assembly, the length in bp, and names, that of UCSC first."""
HUMAN, MOUSE = 22, 19
FEWEST = 10
"""Autosomes, from the first on, by whose number a genome is told from that of man."""
MOUSE_X = "nc_000086"
CODES = {1: "x", 2: "y", 3: "x", 4: "m"}
"""PLINK's names for what follows the autosomes; the third is what X and Y share, which lies on X."""
SHARED = {"xy", "par1", "par2"}
"""Names that it has for the third as well."""
MISSING = 0.01
"""Of all records, the part that may lie on contigs that are missing without a word."""
N_NAMED = 5
_SCAFFOLD = re.compile(r"(?:[^_]+_)?([a-z]{1,4}\d{5,9})v(\d+)(?:_random|_alt|_fix)?")
_COLUMNS = ("Sequence-Name", "GenBank-Accn", "RefSeq-Accn", "UCSC-style-name")
"""Of NCBI's reports, those that hold names of a contig."""
_MOLECULE, _ROLE, _CHROMOSOME = "Assigned-Molecule", "Sequence-Role", "assembled-molecule"
"""Another that does, where the contig is all of the chromosome."""


class Known(NamedTuple):
    """A contig of an assembly."""

    assembly: str
    length: int
    names: list[str]


class HasContigs(Protocol):
    """A genome, as far as its contigs go."""

    path: Path
    lengths: dict[str, int]

    def resolve(self, chrom: str) -> str | None:
        """Return the contig that a name means."""

    def suggest(self, chrom: str) -> str:
        """Return names that the genome has."""


class Contigs:
    """Find contigs of a genome by any of their names; see `Genome.resolve`."""

    def __init__(self, lengths: Mapping[str, int], aliases: Mapping[str, str]) -> None:
        self._lengths = lengths
        self._names = dict(aliases)
        for key in (str, _plain, _bare):
            for name in lengths:
                self._names.setdefault(key(name), name)
        for alias, contig in aliases.items():
            self._names.setdefault(_plain(alias), contig)
        self._found: dict[str, str | None] = {}
        self._known: dict[str, str] | None = None

    def resolve(self, name: str) -> str | None:
        """Return the contig that a name means, or None."""
        if name not in self._found:
            self._found[name] = self._resolve(name)
        return self._found[name]

    def _resolve(self, name: str) -> str | None:
        if name in self._lengths:
            return name
        for key in (name, _plain(name), _bare(name)):
            contig = self._names.get(key) or self._by_table(key)
            if contig is not None:
                return contig
        letter = self._decode(_bare(name))
        return None if letter is None else self._names.get(letter) or self._by_table(letter)

    def _by_table(self, key: str) -> str | None:
        if self._known is None:
            self._known = self._match()
        return self._known.get(_plain(key))

    def _match(self) -> dict[str, str]:
        """Return contigs by all names that the table has for them.

        A contig has the name and the length of its row. Where rows of several assemblies fit (the mitochondrion is the
        same in GRCh37 and GRCh38, not in T2T-CHM13), those count that fit most of the genome.
        """
        rows: dict[str, list[Known]] = {}
        for known in _table():
            keys = (*known.names, *map(_plain, known.names))
            contig = next((self._names[key] for key in keys if key in self._names), None)
            if contig is not None and self._lengths[contig] == known.length:
                rows.setdefault(contig, []).append(known)
        n_fits = Counter(known.assembly for fits in rows.values() for known in fits)
        names: dict[str, str] = {}
        for contig, fits in rows.items():
            most = max(n_fits[known.assembly] for known in fits)
            for known in fits:
                if n_fits[known.assembly] == most:
                    for name in known.names:
                        names.setdefault(_plain(name), contig)
                        names.setdefault(_plain(_unversioned(name)), contig)
        return names

    def _decode(self, key: str) -> str | None:
        """Return the chromosome that PLINK has a number for, if the genome has no chromosomes of such numbers."""
        if key in SHARED:
            return CODES[3]
        n_autosomes = 0
        while self._names.get(str(n_autosomes + 1)) or self._by_table(str(n_autosomes + 1)):
            n_autosomes += 1
        if n_autosomes < FEWEST:
            n_autosomes = HUMAN
        is_known = n_autosomes == HUMAN or (n_autosomes == MOUSE and self._by_table(MOUSE_X) is not None)
        if not is_known or any(str(n_autosomes + code) in self._names for code in CODES):
            return None
        return next((letter for code, letter in CODES.items() if key == str(n_autosomes + code)), None)


def read_aliases(source: PathLike | Mapping[str, str], lengths: Mapping[str, int], genome: Path) -> dict[str, str]:
    """Return contigs of a genome by other names, from a mapping, or a file of two columns or a report of NCBI."""
    if isinstance(source, Mapping):
        what, groups = "contigs", [[str(alias), str(contig)] for alias, contig in source.items()]
    else:
        what, groups = str(source), list(_read_groups(Path(source)))
    plain = {_plain(name): name for name in reversed(list(lengths))}
    aliases: dict[str, str] = {}
    for names in groups:
        exact = [name for name in names if name in lengths]
        own = list(dict.fromkeys(exact or [plain[_plain(name)] for name in names if _plain(name) in plain]))
        if len(own) > 1:
            raise ValueError(f"{what} says that {own[0]!r} and {own[1]!r} are one contig, but {genome} has both")
        for name in names if own else ():
            if aliases.setdefault(name, own[0]) != own[0]:
                raise ValueError(f"{what} has {name!r} for both {aliases[name]!r} and {own[0]!r}; leave one away")
    if not aliases:
        raise ValueError(f"{what} names no contig of {genome}, which has {', '.join(list(lengths)[:3])}, ...")
    return {alias: contig for alias, contig in aliases.items() if alias != contig}


def _read_groups(path: Path) -> Iterator[list[str]]:
    """Yield names of one contig each, from a file of two columns or a report of NCBI."""
    columns: list[str] = []
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), 1):
        if line.startswith("#") or not line.strip():
            heads = line.lstrip("# ").split("\t")
            columns = heads if _COLUMNS[0] in heads else columns
            continue
        fields = line.split("\t") if columns else re.split(r"[\s,]+", line.strip())
        if len(fields) != (len(columns) or 2):
            raise ValueError(
                f"line {number} of {path} has {len(fields)} columns, not {len(columns) or 2}; give the other name and "
                f"the contig in each line, or NCBI's *_assembly_report.txt as it is"
            )
        if columns:
            row = dict(zip(columns, map(str.strip, fields), strict=True))
            wanted = (*_COLUMNS, _MOLECULE) if row.get(_ROLE) == _CHROMOSOME else _COLUMNS
            fields = [row[column] for column in wanted if row.get(column, "na") not in ("", "na")]
        yield fields


def missing_contigs(counts: Mapping[str, int], genome: "HasContigs") -> str | None:
    """Return a warning about contigs that a genome lacks, or None.

    Parameters
    ----------
    counts : mapping of str to int
        How many records each name of a contig has, of all records.
    genome : Genome
        Tells which names it knows.

    Returns
    -------
    str or None
        A sentence if more than 1 % of the records lie on contigs that are missing.
    """
    missing = {name: count for name, count in counts.items() if count and genome.resolve(name) is None}
    n_missing, n_all = sum(missing.values()), sum(counts.values())
    if n_missing <= MISSING * n_all:
        return None
    most = sorted(missing, key=lambda name: -missing[name])[:N_NAMED]
    named = ", ".join(f"{name!r} ({missing[name]:,})" for name in most) + (", ..." if len(missing) > len(most) else "")
    return (
        f"{n_missing:,} of {n_all:,} records lie on contigs that {genome.path} lacks: {named}; it has "
        f"{genome.suggest(most[0])}{_other_assembly(most, genome)}; give a file of their names, "
        f"{option('contigs', '...')}"
    )


def _other_assembly(names: Iterable[str], genome: "HasContigs") -> str:
    """Say of which assembly a name is, if the genome has that chromosome with another length."""
    for name in names:
        for known in _table():
            if name.lower() in map(str.lower, known.names[2:]):
                contig = genome.resolve(known.names[0])
                if contig is not None and genome.lengths[contig] != known.length:
                    return (
                        f" ({name} is {known.names[0]} of {known.assembly} with {known.length:,} bp, and {contig} has "
                        f"{genome.lengths[contig]:,})"
                    )
    return ""


@cache
def _table() -> list[Known]:
    rows = (line.split("\t") for line in TABLE.read_text("utf-8").splitlines())
    return [Known(assembly, int(length), names.split()) for assembly, length, names in rows]


def _plain(name: str) -> str:
    """A contig's name without what assemblies differ in."""
    plain = name.lower().removeprefix("chr")
    return "m" if plain == "mt" else plain


def _bare(name: str) -> str:
    """A plain name without leading zeros; that of a scaffold of UCSC as an accession."""
    plain = _plain(name)
    scaffold = _SCAFFOLD.fullmatch(plain)
    return f"{scaffold[1]}.{scaffold[2]}" if scaffold else plain.lstrip("0") or plain


def _unversioned(name: str) -> str:
    """An accession without its version, which is left to the length."""
    return re.sub(r"(?<=\d{5})\.\d+$", "", name)

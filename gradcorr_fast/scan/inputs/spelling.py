"""Variants spelled out in a word, as chr1:12345:A:G: the ways in which databases and programs write them."""

import re

_ALLELE = r"(?:[A-Za-z]+|\*|\.|<[^<>\s]+>|[A-Za-z.]*[\[\]][^\s\[\]]+:[0-9]+[\[\]][A-Za-z.]*)"
_POS = r"(?P<pos>[0-9]{1,18})"
_SPELLED = [
    re.compile(
        rf"(?P<chrom>[^\s,]+?){before}(?P<ref>[A-Za-z.*]+)[:_>/-]"
        rf"(?P<alt>{_ALLELE}(?:,{_ALLELE})*|-)(?:[:_;|-](?P<id>\S+))?"
    )
    for before in (rf"(?P<mark>[:_-]){_POS}(?P=mark)", rf":{_POS}(?:[_-]|(?=[A-Za-z]+>))")
]
"""With one mark before and after the position, else as 1:100_A/G or chr1:100A>G."""
_MORE = re.compile(
    r"[ACGTNacgtn*]+(?:[:_>/-][ACGTNacgtn*]+)*|(?:.*[^0-9])?[0-9]+[:_-][ACGTNacgtn]+[:_>/-][ACGTNacgtn]+.*"
)
"""What follows ALT and is no id: one more ALT, or one more variant."""
_SPDI = re.compile(r"[NXA][A-Z]_[0-9]+\.[0-9]+:[0-9]+:[A-Za-z]+:")
_HGVS = re.compile(r":[gcmnopr]\.")


def is_spelled(text: str) -> bool:
    """Whether a line is meant as a variant in a word."""
    return _match(text.strip()) is not None or _HGVS.search(text) is not None


def _match(word: str) -> re.Match[str] | None:
    if len(word.split()) != 1:  # before the patterns try every place in vain
        return None
    return next((match for pattern in _SPELLED if (match := pattern.fullmatch(word))), None)


def parse_spelled(text: str) -> tuple[str, int, str | None, str, str] | str:
    """Return chrom, pos, id, ref and alt of a variant in a word, or why it is none.

    What follows the alleles is the id: chr1_101_C_G_b38, chr1:100:T:A:rs123. The name of the contig may have the marks
    between the parts in it. SPDI, which is known by an accession and three colons, counts from 0.

    Examples
    --------
    >>> parse_spelled("chr1_KI270706v1_random_100_A_G_b38")
    ('chr1_KI270706v1_random', 100, 'b38', 'A', 'G')
    >>> parse_spelled("NC_000001.11:12344:A:G")[:2]
    ('NC_000001.11', 12345)
    >>> parse_spelled("chr1:g.12345A>G")
    'HGVS is not read; write chr1:12345:A:G, as bcftools query prints it of a VCF'
    """
    word = text.strip()
    match = _match(word)
    if match is None:
        if _HGVS.search(word):
            return "HGVS is not read; write chr1:12345:A:G, as bcftools query prints it of a VCF"
        return "not like chr1:12345:A:G"
    if match["id"] and _MORE.fullmatch(match["id"]):
        return "more than one ALT or variant; write chr1:12345:A:G,T or two lines"
    is_spdi = _SPDI.match(word) is not None
    return match["chrom"], int(match["pos"]) + is_spdi, match["id"], match["ref"], match["alt"]

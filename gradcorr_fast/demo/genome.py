"""A small genome of sequences with planted motifs, with variants and peaks in it: something to try scans with."""

from pathlib import Path

import numpy as np

from .. import sequences
from . import planted

SEED = 4
CONTIG = "planted"
N_PEAKS, N_VARIANTS = 1_000, 100
"""So many that TF-MoDISco finds motifs in them, and so few that they take seconds."""
TRANSITION = str.maketrans("ACGT", "GTAC")


def write_genome(folder: Path) -> None:
    """Write genome.fa, positive sequences one after another, peaks.bed, where each is, and variants.vcf.

    Of the first sequences each has a substitution where its letter was the most certain, in a motif, and each fifth a
    deletion that begins there.
    """
    codes, _, ppm = (array[:N_PEAKS] for array in planted.generate(2 * N_PEAKS, SEED))
    length = codes.shape[1]
    letters = sequences.decode(codes)
    (folder / "genome.fa").write_text("\n".join([f">{CONTIG}", *letters, ""]))
    peaks = (f"{CONTIG}\t{k * length}\t{(k + 1) * length}\tsequence-{k}\n" for k in range(N_PEAKS))
    (folder / "peaks.bed").write_text("".join(peaks))
    lines = [
        "##fileformat=VCFv4.2",
        f"##contig=<ID={CONTIG},length={codes.size}>",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    for k, text in enumerate(letters[:N_VARIANTS]):
        at = int(np.argmax(ppm[k, : length - 3].max(-1)))
        start = k * length + at + 1
        lines.append(f"{CONTIG}\t{start}\tsubstitution-{k}\t{text[at]}\t{text[at].translate(TRANSITION)}\t.\t.\t.")
        if k % 5 == 0:
            lines.append(f"{CONTIG}\t{start}\tdeletion-{k}\t{text[at : at + 3]}\t{text[at]}\t.\t.\t.")
    (folder / "variants.vcf").write_text("\n".join([*lines, ""]))

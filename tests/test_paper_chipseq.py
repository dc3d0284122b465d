"""ChIP-seq data sets: windows round peaks, and negatives that touch none."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf

for _package in ("pysam", "pyarrow"):
    pytest.importorskip(_package)
from gradcorr_fast.paper import chipseq  # noqa: E402

GENOME = {
    "chr1": "".join(np.random.default_rng(0).choice(list("ACGT"), 3_000)),
    "chr2": "N" * 500 + "".join(np.random.default_rng(1).choice(list("acgt"), 1_000)),
}
PEAKS = [("chr1", 115, 125), ("chr1", 900, 1_100), ("1", 1_500, 1_540), ("chr2", 600, 640), ("chr9", 100, 200)]
OPEN = [
    ("chr1", 130, 180),  # its window begins in the window of the first peak
    ("chr1", 1_020, 1_200),  # meets a peak, though not the window of the peak
    ("chr1", 0, 10),  # leaves the contig
    ("chr2", 450, 520),  # unknown letters
    ("chr1", 2_000, 2_040),
    ("chr1", 2_000, 2_041),  # the same window again
    ("chr1", 2_100, 2_140),
    ("chr2", 1_000, 1_040),
    ("chr2", 1_200, 1_240),
]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in GENOME.items()))
    return path


def window(contig: str, centre: int, length: int) -> str:
    return GENOME[contig][centre - length // 2 :][:length].upper()


def test_positives_are_peaks_and_negatives_touch_none(fasta: Path) -> None:
    data = chipseq.generate(PEAKS, OPEN, fasta, length=40)
    texts, y = gf.sequences.decode(data.codes), data.y[:, 0]
    positives = [window(*place, 40) for place in (("chr1", 120), ("chr1", 1_000), ("chr1", 1_520), ("chr2", 620))]
    negatives = [window(*place, 40) for place in (("chr1", 2_020), ("chr1", 2_120), ("chr2", 1_020), ("chr2", 1_220))]
    assert Counter(text for text, label in zip(texts, y, strict=True) if label) == Counter(positives)
    assert Counter(text for text, label in zip(texts, y, strict=True) if not label) == Counter(negatives)
    np.testing.assert_array_equal(np.sort(np.concatenate(data.split)), np.arange(8))


def test_the_larger_class_is_sampled(fasta: Path) -> None:
    draws = {
        tuple(gf.sequences.decode(chipseq.generate(PEAKS[:1], OPEN, fasta, length=40, seed=s).codes)) for s in range(9)
    }
    assert all(len(texts) == 2 for texts in draws)
    assert len(draws) > 1


def test_summits_are_the_centres_of_narrow_peaks(fasta: Path, tmp_path: Path) -> None:
    (tmp_path / "a.narrowPeak").write_text("chr1\t900\t1100\t.\t0\t.\t1\t-1\t-1\t20\n")
    data = chipseq.generate(tmp_path / "a.narrowPeak", OPEN, fasta, length=40)
    assert gf.sequences.decode(data.codes)[0] == window("chr1", 920, 40)


def test_unknown_letters_can_be_let_in(fasta: Path) -> None:
    data = chipseq.generate(PEAKS[:1], [("chr2", 485, 525)], fasta, length=40, max_unknown=0.5)
    assert (data.codes[1] == 255).sum() == 15
    with pytest.raises(ValueError, match="no open region without a peak is left"):
        chipseq.generate(PEAKS[:1], [("chr2", 485, 525)], fasta, length=40)


def test_regions_of_another_genome_are_named(fasta: Path) -> None:
    with pytest.raises(ValueError, match=r"no peak is left.*chr1, chr2"):
        chipseq.generate([("chr9", 1, 50)], OPEN, fasta, length=40)


def test_shuffles_of_real_peaks_keep_their_dinucleotides(shared_data: Path) -> None:
    data = chipseq.from_fasta(shared_data / "real/peaks/ctcf.fa.gz")
    assert data.codes.shape == (2 * 39_184, 100)
    assert data.y[:, 0].tolist() == [1] * 39_184 + [0] * 39_184
    pairs = np.sort(data.codes[:, :-1] * 4 + data.codes[:, 1:], axis=1)
    np.testing.assert_array_equal(*np.split(pairs, 2))
    assert (data.codes[:39_184] != data.codes[39_184:]).any(1).mean() > 0.99

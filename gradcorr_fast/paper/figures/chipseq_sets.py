"""ChIP-seq sets of a study: files in its folder of data, one for each transcription factor, or generated stand-ins."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ... import sequences
from ..._types import Array
from ..._wording import option
from .. import chipseq, datasets, published
from ..datasets import Dataset, Split, random_split
from ..synthetic import Motif, motif_pools
from .scale import Sources

FACTORS = ("CTCF", "MAX", "ATF2", "Arid3", "BACH1", "GABPA", "ZNF24", "ELK1", "SRF", "REST")
"""Transcription factors in the papers' figures."""
HDF5, FASTA = ".h5", (".fa", ".fa.gz")
SEED = 22

STAND_INS = ("SP1", "CEBPB", "RFX2")
PREFIX = "stand-in "
LENGTH, N_STAND_IN = 200, 4000


def names(study: Sources) -> list[str]:
    """Name the sets of a study, those of the papers first, or the stand-ins where there are none and they are wanted.

    Parameters
    ----------
    study : Study, or its sources

    Returns
    -------
    list of str

    Raises
    ------
    FileNotFoundError
        If there is neither.
    ValueError
        If a transcription factor has two files.
    """
    files = _files(study)
    if files:
        return [*(name for name in FACTORS if name in files), *(name for name in files if name not in FACTORS)]
    if study.stand_in:
        return [f"{PREFIX}{name}" for name in STAND_INS]
    source = published.SOURCES["chipseq"]
    wanted = ", ".join(f"{name}.h5" for name in FACTORS)
    raise FileNotFoundError(
        f"{_folder(study)} holds no ChIP-seq data; put some of {wanted} there, which are at {source.where}, or FASTA "
        f"files of peaks such as CTCF.fa.gz, or pass {option('stand_in')} for generated sets in their place"
    )


def find(study: Sources, name: str) -> Dataset:
    """Return the set "chipseq/NAME", sampled to the sequences of the study's scale where it has more.

    Parameters
    ----------
    study : Study, or its sources
    name : str
        "chipseq/" and one of `names`.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If there is no such set, or its file is not what it should be; see `datasets.load` and `chipseq.from_fasta`.
    FileNotFoundError
        See `names`.
    """
    _, _, factor = name.partition("/")
    known = names(study)
    if factor not in known:
        raise ValueError(f"there is no ChIP-seq set {factor!r} in {_folder(study)}; there are {', '.join(known)}")
    path = _files(study).get(factor)
    if path is None:
        return _generate(factor.removeprefix(PREFIX), min(N_STAND_IN, study.scale.n_sequences))
    data = datasets.load(path) if path.name.endswith(HDF5) else chipseq.from_fasta(path, seed=SEED)
    if data.y.shape[1:] != (1,):
        raise ValueError(f"{path} has labels of shape {data.y.shape}; a transcription factor has one, (N, 1)")
    return sample(data, study.scale.n_sequences)


def describe(study: Sources, used: Sequence[str]) -> str:
    """Say which sets a figure is of, how large they are, and which of the papers' are not there."""
    files = _files(study)
    missing = [name for name in FACTORS if name not in files]
    sizes = []
    for name in used:
        n_sequences, length = study.dataset(f"chipseq/{name}").codes.shape
        sizes.append(f"{name} ({n_sequences:,} sequences of {length} bp)")
    sentences = [
        f"Sets: {', '.join(sizes)}. At most {study.scale.n_evaluated:,} positive test sequences of each are attributed."
    ]
    if not files:
        sentences.append(
            "They stand in for the published ones, which are not there: generated sequences, the positive ones with "
            "one or two instances of a motif of JASPAR; nothing here is about ChIP-seq."
        )
    else:
        sentences.append(f"Of a set no more than {study.scale.n_sequences:,} sequences are used.")
        shuffled = [name for name in used if files[name].name.endswith(FASTA)]
        if shuffled:
            sentences.append(f"The negatives of {', '.join(shuffled)} are shuffles of the peaks, not open chromatin.")
        if missing:
            sentences.append(f"Of the papers' sets {', '.join(missing)} are not there.")
    return " ".join(sentences)


def sample(data: Dataset, n_sequences: int) -> Dataset:
    """Draw so many sequences of a data set that has more, with the shares that its split has."""
    n = len(data.codes)
    if n <= n_sequences:
        return data
    rng = np.random.default_rng(SEED)
    ends = np.cumsum([len(rows) for rows in data.split]) * n_sequences // n
    counts = np.diff(ends, prepend=0)
    parts = [rng.permutation(rows)[:count] for rows, count in zip(data.split, counts, strict=True)]
    rows = np.concatenate(parts)
    split = Split(*np.split(np.arange(len(rows)), ends[:2]))
    return replace(data, codes=data.codes[rows], y=data.y[rows], split=split)


def _folder(study: Sources) -> Path:
    return study.data / "chipseq"


def _files(study: Sources) -> dict[str, Path]:
    """Return the file of each transcription factor, whose name ends at the first underscore or dot."""
    files: dict[str, Path] = {}
    for path in sorted(_folder(study).glob("*")):
        if path.name.startswith(".") or not path.name.endswith((HDF5, *FASTA)):
            continue
        name = path.name.partition(".")[0].partition("_")[0]
        if name in files:
            raise ValueError(f"{files[name]} and {path.name} are both of {name}; leave one of them there")
        files[name] = path
    return files


def _generate(factor: str, n_sequences: int) -> Dataset:
    """Generate a set: positives with a motif; negatives with others, or shuffled from positives."""
    rng = np.random.default_rng([SEED, STAND_INS.index(factor)])
    motifs = motif_pools()[1]
    is_own = [motif.name.removesuffix("_rc").upper().endswith(f" {factor}") for motif in motifs]
    own_motifs = [motif for motif, mine in zip(motifs, is_own, strict=True) if mine]
    others = [motif for motif, mine in zip(motifs, is_own, strict=True) if not mine]
    n_others = n_sequences // 4
    n_shuffled = n_sequences // 2 - n_others
    positive = _plant(own_motifs, n_sequences - n_others - n_shuffled, rng)
    shuffled = sequences.shuffle(_plant(own_motifs, n_shuffled, rng), 1, "dinucleotide", SEED)[:, 0]
    codes = np.concatenate([positive, _plant(others, n_others, rng), shuffled])
    y = (np.arange(n_sequences) < len(positive)).astype(np.uint8)[:, None]
    return Dataset(codes, y, random_split(n_sequences, rng))


def _plant(motifs: list[Motif], n_sequences: int, rng: np.random.Generator) -> Array:
    """Draw random sequences with one or two motifs anywhere in them, which may overlap."""
    codes = rng.integers(4, size=(n_sequences, LENGTH), dtype=np.uint8)
    for row in codes:
        for k in rng.integers(len(motifs), size=rng.integers(1, 3)):
            ppm = motifs[k].ppm
            start = rng.integers(LENGTH - len(ppm) + 1)
            row[start : start + len(ppm)] = (rng.random((len(ppm), 1)) > np.cumsum(ppm[:, :3], axis=1)).sum(1)
    return codes

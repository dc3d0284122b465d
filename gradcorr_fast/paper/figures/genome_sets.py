"""DeepSTARR, Basset and ATAC-seq data of a study: files in its folder of data, or small generated stand-ins."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._types import Array
from ..._wording import option
from .. import datasets, published, synthetic
from ..datasets import Dataset
from .chipseq_sets import sample
from .scale import PAPER, Sources

BIN_SIZES = {"atac/1bp": 1, "atac/32bp": 32}
NAMES = ("deepstarr/S2", "basset/cell-types", *BIN_SIZES)
PC3 = "datasets/quantitative_data/cell_line_testsets/cell_line_13/complete/peak_centered/i_2048_w_1"
"""Where the unpacked archive of GOPHER has the test set of PC-3."""


class Family(NamedTuple):
    """What the papers call a task, and its files."""

    title: str
    files: dict[str, Callable[[Path, int], Dataset]]
    """Paths in the folder of data, the first of which that exists is read, and how, given the size of bins."""
    weights: dict[str, tuple[str, ...]]
    """Of each model, patterns of paths in the folder of data."""
    source: str
    """See `published.SOURCES`."""
    length: int
    n_stand_in: int


def _atac(path: Path, bin_size: int) -> Dataset:
    return published.atac(path.parent if path.suffix == ".json" else path, bin_size=bin_size)


FAMILIES = {
    "deepstarr": Family(
        "DeepSTARR",
        {
            "deepstarr/Sequences_Train.fa": lambda path, _: published.deepstarr(path.parent),
            "deepstarr_hdf5/deepstarr_data.h5": lambda path, _: datasets.load(path),
        },
        {
            "deepstarr": ("deepstarr/DeepSTARR.model.h5", "deepstarr/deepstarr.model.h5"),
            "deepstarr-exp": ("deepstarr/deepstarr-exp.h5",),
        },
        "deepstarr",
        249,
        1000,
    ),
    "basset": Family(
        "Basset",
        {
            "basset/encode_roadmap.h5": lambda path, _: published.basset(path),
            "basset/basset_testset.h5": lambda path, _: published.basset(path),
        },
        {"basset-relu": ("basset/basset_relu.hdf5",), "basset-exp": ("basset/basset_exponential.hdf5",)},
        "basset",
        600,
        300,
    ),
    "atac": Family(
        "GOPHER's ATAC-seq",
        {"atac/statistics.json": _atac, f"atac/{PC3}/statistics.json": _atac, "atac/cell_line_13.h5": _atac},
        {
            f"cnn-{ours}-{activation.lower()}": (
                f"atac/cnn-{ours}-{activation.lower()}.h5",
                f"atac/trained_models/new_models/CNN/{bins}/all/{activation}/run-*/files/*.h5",
            )
            for ours, bins in (("base", 1), ("32", 32))
            for activation in ("ReLU", "Exp")
        },
        "atac",
        2048,
        100,
    ),
}


def find(study: Sources, name: str) -> Dataset:
    """Return a set, sampled to the sequences of the study's scale where it has more and can be trained on.

    Parameters
    ----------
    study : Study, or its sources
    name : str
        One of `NAMES`.

    Returns
    -------
    Dataset
        Stand-ins have a ground truth, published data has none.

    Raises
    ------
    ValueError
        If there is no such set, or a file is not what it should be.
    FileNotFoundError
        If there is no file, and no stand-in is wanted.
    """
    if name not in NAMES:
        raise ValueError(f"there is no data set {name!r}; there are {', '.join(NAMES)}")
    family = FAMILIES[name.partition("/")[0]]
    path = first_file(study, family.files)
    bin_size = BIN_SIZES.get(name, 1)
    if path is None and study.stand_in:
        return generate(name, min(study.scale.n_sequences, family.n_stand_in))
    if path is None:
        raise FileNotFoundError(
            f"{study.data} holds no data of {family.title}; put {' or '.join(family.files)} there, and trained "
            f"weights if you have them ({', '.join(paths[0] for paths in family.weights.values())}), see "
            f"{published.SOURCES[family.source].where}, or pass {option('stand_in')} for small generated data"
        )
    data = family.files[path.relative_to(study.data).as_posix()](path, bin_size)
    is_whole = study.scale.models >= PAPER.models or not len(data.split.train)
    return data if is_whole else sample(data, study.scale.n_sequences)


def is_stand_in(study: Sources, name: str) -> bool:
    """Whether a set is generated in place of published files."""
    return study.stand_in and first_file(study, FAMILIES[name.partition("/")[0]].files) is None


def first_file(study: Sources, patterns: Iterable[str]) -> Path | None:
    """Return the first of the files that are in the folder of data."""
    return next((path for pattern in patterns for path in sorted(study.data.glob(pattern))), None)


SEED = 22
EFFECTS = np.array([[1.5, 0.0], [0.0, 1.5], [1.0, 0.5], [-0.5, 1.0], [0.5, -1.0]])
"""What a site of each of the five core motifs adds to the activities."""
NOISE, FLIPPED = 0.5, 0.05
PEAK_SD = 100
"""Standard deviation in bp of the peak of coverage at a site."""


def generate(name: str, n_sequences: int) -> Dataset:
    """Generate a stand-in: random sequences with planted motifs, of which all that is to be predicted follows.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    n_sequences : int

    Returns
    -------
    Dataset
        y : for DeepSTARR two sums of effects of sites, with noise; for Basset 164 labels, each of one motif, 5 % of
        them turned over; for ATAC-seq profiles of 15 tracks with peaks at sites.

    Examples
    --------
    >>> generate("deepstarr/S2", 20).y.shape, generate("atac/32bp", 20).y.shape
    ((20, 2), (20, 64, 15))
    """
    rng = np.random.default_rng(SEED)
    drawn = synthetic.generate(n_sequences, FAMILIES[name.partition("/")[0]].length, SEED)
    assert drawn.ppm is not None
    sites = _sites(drawn.ppm)
    counts = sites.sum(-1).T
    targets: tuple[str, ...] = ()
    if name in BIN_SIZES:
        y = _profiles(sites, BIN_SIZES[name], rng)
    elif name.startswith("basset"):
        flipped = rng.random((n_sequences, 164)) < FLIPPED
        y = ((counts[:, np.arange(164) % counts.shape[1]] > 0) ^ flipped).astype(np.uint8)
    else:
        y = (counts @ EFFECTS + NOISE * rng.standard_normal((n_sequences, 2))).astype(np.float32)
        targets = tuple(published.ACTIVITIES)
    return Dataset(drawn.codes, y, drawn.split, drawn.ppm, targets)


def _sites(ppm: Array) -> Array:
    """Tell where each of the core motifs starts, on either strand, (motifs, N, L)."""
    core = synthetic.motif_pools()[0]
    sites = np.zeros((len(core) // 2, *ppm.shape[:2]), bool)
    for number, motif in enumerate(core):
        columns = motif.ppm.astype(np.float32)
        n_starts = ppm.shape[1] - len(columns) + 1
        found = np.ones((len(ppm), n_starts), bool)
        for offset, column in enumerate(columns):
            found &= (ppm[:, offset : offset + n_starts] == column).all(-1)
        sites[number // 2, :, :n_starts] |= found
    return sites


def _profiles(sites: Array, bin_size: int, rng: np.random.Generator) -> Array:
    """Draw profiles (N, bins, 15) with a peak at each site, its height that of the motif in the track."""
    heights = rng.gamma(2.0, 1.0, (len(sites), 15))
    positions = np.arange(0, sites.shape[2], bin_size) + (bin_size - 1) / 2
    y = np.full((sites.shape[1], len(positions), 15), 0.1, np.float32)
    for motif, row, start in zip(*np.nonzero(sites), strict=True):
        y[row] += np.exp(-0.5 * ((positions - start) / PEAK_SD) ** 2)[:, None] * heights[motif]
    return y

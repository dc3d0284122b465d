"""Labelled sequences with a split: in memory, and in HDF5 files with the keys of the authors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import sequences
from ..io.reading import optional
from ..io.writing import replacing

__all__ = ["Dataset", "Split", "load", "random_split", "save"]

Array = np.ndarray[Any, Any]


class Split(NamedTuple):
    """Which sequences are for what: numbers of rows, in their order."""

    train: Array
    valid: Array
    test: Array


@dataclass(frozen=True)
class Dataset:
    """Sequences, what is to be predicted of them, and a split.

    Parameters
    ----------
    codes : array, uint8, shape (N, L)
        A C G T = 0..3; anything else is unknown.
    y : array, shape (N, T)
        Labels 1 and 0, or numbers.
    split : Split
    ppm : array, float32, shape (N, L, 4), optional
        The probabilities that the letters were drawn from: the ground truth.

    Examples
    --------
    >>> rows = np.arange(1)
    >>> Dataset(np.zeros((3, 5), np.uint8), np.ones((3, 1)), Split(rows, rows + 1, rows + 2)).x.shape
    (3, 5, 4)
    """

    codes: Array
    y: Array
    split: Split
    ppm: Array | None = None

    @property
    def x(self) -> Array:
        """One-hot sequences, float32, shape (N, L, 4), made anew each time."""
        one_hot: Array = sequences.one_hot(self.codes)
        return one_hot


def random_split(n_sequences: int, rng: np.random.Generator) -> Split:
    """Split by one permutation into 70 % for training, 10 % for validation and 20 % for the test.

    Parameters
    ----------
    n_sequences : int
    rng : numpy.random.Generator

    Returns
    -------
    Split

    Examples
    --------
    >>> [len(rows) for rows in random_split(20_000, np.random.default_rng(0))]
    [14000, 2000, 4000]
    """
    ends = n_sequences * 7 // 10, n_sequences * 8 // 10
    return Split(*np.split(rng.permutation(n_sequences), ends))


def save(dataset: Dataset, path: str | Path, *, force: bool = False) -> None:
    """Write a data set to HDF5, with the keys X_train, Y_train, model_train and so on.

    Parameters
    ----------
    dataset : Dataset
    path : str or Path
    force : bool
        Whether a file that exists is replaced.

    Raises
    ------
    FileExistsError
        If the file exists.
    MissingBackendError
        If h5py is not installed.

    Notes
    -----
    X (N, 4, L), int8, Y (N, T) and, where there is a ground truth, model (N, 4, L), float32.

    Examples
    --------
    >>> save(dataset, "synthetic.h5")  # doctest: +SKIP
    """
    h5py = optional("h5py", "io")
    with replacing([Path(path)], force=force) as (temporary,), h5py.File(temporary, "w") as file:
        for part, rows in dataset.split._asdict().items():
            file[f"X_{part}"] = sequences.one_hot(dataset.codes[rows], np.int8, axis=1)
            file[f"Y_{part}"] = dataset.y[rows]
            if dataset.ppm is not None:
                file[f"model_{part}"] = dataset.ppm[rows].transpose(0, 2, 1)


def load(path: str | Path) -> Dataset:
    """Read a data set that `save` or the authors wrote.

    Parameters
    ----------
    path : str or Path
        With X_train, Y_train and, if there is a ground truth, model_train; lower-case keys, x_train, will do.

    Returns
    -------
    Dataset
        Rows for training first, then those for validation and for the test.

    Raises
    ------
    ValueError
        If keys are missing.
    MissingBackendError
        If h5py is not installed.

    Examples
    --------
    >>> load("synthetic.h5").split.test  # doctest: +SKIP
    """
    h5py = optional("h5py", "io")
    with h5py.File(path) as file:
        names = {name.lower(): name for name in file}

        def read(key: str) -> list[Array]:
            missing = [f"{key}_{part}" for part in Split._fields if f"{key}_{part}" not in names]
            if missing:
                raise ValueError(f"{path} has no {missing[0]}; it holds {', '.join(file)}")
            return [file[names[f"{key}_{part}"]][()] for part in Split._fields]

        one_hot, y = read("x"), np.concatenate(read("y"))
        ppm = np.concatenate(read("model")).astype(np.float32).transpose(0, 2, 1) if "model_train" in names else None
    ends = np.cumsum([len(rows) for rows in one_hot])
    codes = np.concatenate([_codes(rows) for rows in one_hot])
    return Dataset(codes, y.reshape(len(y), -1), Split(*np.split(np.arange(ends[-1]), ends[:2])), ppm)


def _codes(one_hot: Array) -> Array:
    """Codes of one-hot sequences (N, 4, L)."""
    codes: Array = one_hot.argmax(1).astype(np.uint8)
    codes[one_hot.max(1) == 0] = sequences.UNKNOWN
    return codes

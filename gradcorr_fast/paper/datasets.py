"""Labelled sequences with a split: in memory, and in HDF5 files with the keys of the authors."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import sequences
from .._check import optional
from .._types import AnyArray, Array
from ..io import hdf5
from ..io.replacing import replacing

__all__ = ["Dataset", "Split", "load", "random_split", "save"]


BLOCK = 1 << 24  # numbers of a one-hot array that are in memory at once


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
    y : array, shape (N, T), or (N, bins, T) for profiles
        Labels 1 and 0, or numbers.
    split : Split
    ppm : array, float32, shape (N, L, 4), optional
        The probabilities that the letters were drawn from: the ground truth.
    targets : tuple of str
        Names of the T columns of y, where they are known.

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
    targets: tuple[str, ...] = ()

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
    X (N, 4, L), int8, Y (N, T) and, where there is a ground truth, model (N, 4, L), float32; target_labels names the
    columns of Y.

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
        if dataset.targets:
            file["target_labels"] = list(dataset.targets)


def load(path: str | Path) -> Dataset:
    """Read a data set that `save` or the authors wrote.

    Parameters
    ----------
    path : str or Path
        With X_train, Y_train and, if there is a ground truth, model_train, and the same for valid and test, or for the
        test alone. Lower-case keys, x_train, will do, and those of Basset, train_in and train_out.

    Returns
    -------
    Dataset
        Rows for training first, then those for validation and for the test.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If keys are missing, or arrays have other shapes than sequences and what is to be predicted of them.
    OSError
        If the file is cut short, or no HDF5.
    MissingBackendError
        If h5py is not installed.

    Notes
    -----
    One-hot sequences are (N, 4, L), (N, L, 4) or (N, 4, 1, L), of any type; a position without a letter above 0.5 is
    unknown. They are read some at a time, so that no more than their codes is ever in memory. Y is (N, T), (N,) or, as
    in the authors' file of DeepSTARR, (T, N).

    Examples
    --------
    >>> load("synthetic.h5").split.test  # doctest: +SKIP
    """
    return read_hdf5(path, ("x_{}", "y_{}", "model_{}"), ("{}_in", "{}_out"))


def read_hdf5(path: str | Path, *forms: tuple[str, ...], parts: Sequence[str] = ()) -> Dataset:
    """Read a data set whose keys are of one of `forms`: those of sequences, of y and, if there is one, of the truth."""
    with _opened(path) as arrays:
        keys, parts = _choose_keys(arrays, path, forms, parts)
        x, y, *truth = [[arrays[key.format(part)] for part in parts] for key in keys]
        codes = _read_codes(x, path)
        labels = [_labels(array, len(rows), path) for array, rows in zip(y, x, strict=True)]
        models = [np.moveaxis(array[()], _letter_axis(array, path), 2) for model in truth for array in model]
        targets = arrays["target_labels"].asstr()[()].tolist() if "target_labels" in arrays else ()
    split = split_in_order({part: len(rows) for part, rows in zip(parts, labels, strict=True)})
    ppm = np.concatenate(models).astype(np.float32) if models else None
    return Dataset(codes, np.concatenate(labels), split, ppm, tuple(targets))


def split_in_order(counts: dict[str, int]) -> Split:
    """Return the split of rows that lie in the order train, valid, test."""
    ends = np.cumsum([counts.get(part, 0) for part in Split._fields])
    return Split(*np.split(np.arange(ends[-1]), ends[:2]))


@contextmanager
def _opened(path: str | Path) -> Iterator[dict[str, Any]]:
    """Open the arrays of an HDF5 file, by their names in lower case."""
    h5py = optional("h5py", "io")
    try:
        with hdf5.open_whole(path) as file:
            yield {name.lower(): array for name, array in file.items() if isinstance(array, h5py.Dataset)}
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        raise OSError(f"{path} cannot be read as HDF5; check that it is whole, or fetch it again ({error})") from error


def _choose_keys(
    arrays: dict[str, Any], path: str | Path, forms: Sequence[tuple[str, ...]], parts: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the form of keys that a file has, and its parts, which are all three or the test alone."""
    there = [[part for part in Split._fields if any(key.format(part) in arrays for key in form[:2])] for form in forms]
    form, present = next((pair for pair in zip(forms, there, strict=True) if pair[1]), (forms[0], []))
    parts = parts or (present if present == ["test"] else Split._fields)
    keys = [*form[:2], *(key for key in form[2:] if any(key.format(part) in arrays for part in parts))]
    missing = [key.format(part) for key in keys for part in parts if key.format(part) not in arrays]
    if missing:
        names = ", ".join(array.name.strip("/") for array in arrays.values())
        raise ValueError(f"{path} has no {missing[0]}; it holds {names or 'no arrays'}")
    return keys, parts


def _read_codes(one_hot: list[Any], path: str | Path) -> Array:
    """Return the codes of one-hot arrays one below the other, read some rows at a time."""
    axes = [_letter_axis(array, path) for array in one_hot]
    lengths = {math.prod(array.shape[1:]) // 4 for array in one_hot}
    if len(lengths) > 1:
        raise ValueError(f"{path} holds sequences of different lengths, {lengths}; put them into files of their own")
    ends = np.cumsum([len(array) for array in one_hot])
    codes = np.empty((ends[-1], *lengths), np.uint8)
    for array, axis, rows in zip(one_hot, axes, np.split(codes, ends[:-1]), strict=True):
        step = max(1, BLOCK // max(1, 4 * codes.shape[1]))
        chunk = (array.chunks or (1,))[0]
        step -= step % chunk if step > chunk else 0  # a chunk that is cut would be decompressed twice
        for start in range(0, len(rows), step):
            block = array[start : start + step]
            letters = block.reshape(len(block), 4, -1) if axis == 1 else block.reshape(len(block), -1, 4)
            rows[start : start + step] = codes_of(letters, axis, f"{path}, {array.name}")
    return codes


def codes_of(one_hot: Array, axis: int, name: str) -> Array:
    """Return the codes of one-hot sequences with the letters on `axis`; a position without one above 0.5 is unknown."""
    letters = np.moveaxis(one_hot > 0.5, axis, 0).view(np.uint8)
    n_letters = letters.sum(0, dtype=np.uint8)
    if (n_letters > 1).any():
        raise ValueError(f"{name}: a position has more than one letter; pass one-hot sequences")
    codes: Array = letters[1] + 2 * letters[2] + 3 * letters[3]
    codes[n_letters == 0] = sequences.UNKNOWN
    return codes


def _letter_axis(array: AnyArray, path: str | Path) -> int:
    """Return the axis of the letters in an array of sequences, not counting an axis of length 1 between the others."""
    lengths = [n for n in array.shape[1:] if n > 1] if array.ndim == 4 else list(array.shape[1:])
    if len(lengths) != 2 or 4 not in lengths:
        raise ValueError(f"{path}: {array.name} has shape {array.shape}; sequences are (N, 4, L) or (N, L, 4)")
    return 1 + lengths.index(4)


def _labels(array: AnyArray, n_sequences: int, path: str | Path) -> Array:
    """Read what is to be predicted, (N, T) or (N, bins, T)."""
    y: Array = array[()]
    if y.ndim == 2 and len(y) != n_sequences:
        y = y.T  # as in the authors' file of DeepSTARR
    if y.ndim == 0 or len(y) != n_sequences:
        raise ValueError(f"{path}: {array.name} has shape {array.shape} for {n_sequences} sequences; fetch it again")
    return y[:, None] if y.ndim == 1 else y

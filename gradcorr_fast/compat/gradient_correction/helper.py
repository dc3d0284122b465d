"""`gradient_correction.helper`: data of the paper and what scripts measure with it, by the authors' names."""

from pathlib import Path

import numpy as np

from ... import metrics
from ..._types import Array
from ...io.hdf5 import open_whole

__all__ = ["interpretability_performance", "load_data", "load_synthetic_models", "make_directory"]

PARTS = ("train", "valid", "test")


def make_directory(path: str | Path, foldername: str, verbose: int = 1) -> str:
    """Make a folder in another, and return its path; both may be there."""
    folder = Path(path) / foldername
    if verbose and not folder.is_dir():
        print(f"making directory: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def load_data(file_path: str | Path, reverse_compliment: bool = False) -> tuple[Array, ...]:
    """Read a data set of the paper.

    Parameters
    ----------
    file_path : path
        HDF5 with ``X_train``, ``Y_train`` and those of valid and test; sequences are (N, 4, L).
    reverse_compliment : bool
        Whether the other strands follow the sequences, with the same labels.

    Returns
    -------
    tuple of arrays, float32
        Sequences (N, L, 4) and labels of train, valid and test.
    """
    found = []
    with open_whole(file_path) as file:
        for part in PARTS:
            x, y = (np.asarray(file[f"{name}_{part}"], np.float32) for name in "XY")
            x = x.reshape(len(x), *(n for n in x.shape[1:] if n > 1)).transpose(0, 2, 1)
            if reverse_compliment:
                x, y = np.concatenate([x, x[:, ::-1, ::-1]]), np.concatenate([y, y])
            found += [x, y]
    return tuple(found)


def load_synthetic_models(filepath: str | Path, dataset: str = "test") -> Array:
    """Read the probabilities of letters that sequences of the paper were drawn from, (N, L, 4)."""
    if dataset not in PARTS:
        raise ValueError(f"dataset must be one of {', '.join(PARTS)}; got {dataset!r}")
    with open_whole(filepath) as file:
        return np.asarray(file[f"model_{dataset}"], np.float32).transpose(0, 2, 1)


def interpretability_performance(
    score_times_input: Array, X_model: Array, threshold: float = 0.1
) -> tuple[Array, Array, Array]:
    """Measure how well scores find what was planted; see `metrics.interpretability`.

    Parameters
    ----------
    score_times_input : array, shape (N, L)
    X_model : array, shape (N, L, 4)
        Probability of each letter.
    threshold : float
        Bits above which a position is a positive.

    Returns
    -------
    roc_score, pr_score, gt_info_score : arrays, shapes (N,), (N,), (N, L)

    Examples
    --------
    >>> truth = np.array([[[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.3, 0.25, 0.25, 0.2]]])
    >>> interpretability_performance(np.array([[2.0, -1.0, 3.0]]), truth)[0]
    array([1.])
    """
    found = metrics.interpretability(score_times_input, X_model, threshold=threshold)
    return np.asarray(found.auroc), np.asarray(found.aupr), np.asarray(found.information)

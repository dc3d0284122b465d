"""Corrects attributions in a file of any size: which array and axis are meant, and where the results go."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .._check import check_axis, check_float
from ..summary import AngleSummary
from .maps import MapRequest, Output, write_maps
from .motifs import check_pair, modisco_command, modisco_outputs
from .reading import Entry, Rows, choose, format_of, open_rows
from .writing import NAMES

FLOAT_SIZES = (2, 4, 8)


def correct_file(
    source: str | Path,
    out: str | Path,
    *,
    dataset: str | None = None,
    axis: int | None = None,
    angles: str | Path | None = None,
    summary: str | Path | None = None,
    force: bool = False,
    verbose: bool = False,
) -> AngleSummary | None:
    """Correct the attributions in a file, block by block in bounded memory.

    Parameters
    ----------
    source, out : str or Path
        Files with the suffix .npy, .npz, .h5, .hdf5, .hdf or .zarr, in any pairing. The output has the shape and dtype
        of the input and the name of its dataset ("arr_0" in npz and "attributions" in HDF5 if it has none).
    dataset : str, optional
        Which array of `source`; needed if several look like attributions.
    axis : int, optional
        Letter axis: 1 for (N, 4, L), 2 or -1 for (N, L, 4). By default the only axis but the first of length 4.
    angles : str or Path, optional
        File for the signed angle in degrees, letter axis removed; float32 (float64 for float64).
    summary : str or Path, optional
        JSON file for the angles of the whole input: shares above 30, 45 and 60 degrees, mean, std, histogram.
    force : bool
        Whether files that exist may be replaced.
    verbose : bool
        Whether to show the progress, on stderr.

    Returns
    -------
    AngleSummary or None
        As `gf.angle_summary` gives of the array, if `summary` is given; it takes 56 bytes of memory a sequence.

    Raises
    ------
    TypeError, ValueError
        If the array is not of floating point, or it is not clear which array or axis is meant.
    FileExistsError, FileNotFoundError
        If an output exists and `force` is not given, or an input or a folder does not exist.
    OSError
        If the source is damaged, or the disk full.
    MissingBackendError
        If h5py, zarr or a plugin for the compression of the file is not installed.

    Warns
    -----
    UserWarning
        If the map is no plain gradient, see `find_misuse`.

    Notes
    -----
    Files are written under a temporary name in the folder of the output, and put in place when all are complete.
    Nothing else of `source` is copied: neither attributes nor other datasets. Compression is kept from npz to npz and
    (of HDF5's own kinds) from HDF5 to HDF5; otherwise only Zarr is compressed, with its default. NaN and infinity
    stay at their position.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/grad.npy", np.array([[[1.0, 2.0, 3.0, 6.0]] * 5]))
    ...     correct_file(f"{folder}/grad.npy", f"{folder}/corrected.npz")
    ...     np.load(f"{folder}/corrected.npz")["arr_0"][0, 0]
    array([-2., -1.,  0.,  3.])
    """
    source = Path(source)
    with ExitStack() as stack:
        grad, front = open_attributions(source, dataset, axis, stack)
        outputs = [_output("corrected", Path(out), grad.entry), *_angle_output(angles, grad, front)]
        request = _request(source, grad, front, summary, force, verbose)
        return write_maps([grad], outputs, request)


def correct_to_modisco(
    source: str | Path,
    prefix: str | Path,
    x: str | Path,
    *,
    dataset: str | None = None,
    x_dataset: str | None = None,
    axis: int | None = None,
    angles: str | Path | None = None,
    summary: str | Path | None = None,
    force: bool = False,
    verbose: bool = False,
) -> AngleSummary | None:
    """Correct the attributions in a file into the two files that TF-MoDISco reads, and print the command that does so.

    Parameters
    ----------
    source
        See `correct_file`, also for `dataset`, `axis`, `angles`, `summary`, `force` and `verbose`.
    prefix
        See `save_modisco`.
    x : str or Path
        File with the one-hot sequences, shaped like the attributions, or their codes (N, L). May be `source`.
    x_dataset : str, optional
        Which array of `x`; needed if several have a shape that fits.

    Returns
    -------
    AngleSummary or None
        See `correct_file`.

    Raises
    ------
    TypeError, ValueError, FileExistsError, FileNotFoundError, MissingBackendError
        As `correct_file` and `save_modisco`.

    Warns
    -----
    UserWarning
        If the map is no plain gradient, see `find_misuse`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     maps = f"{folder}/maps.npz"
    ...     np.savez(maps, grad=np.ones((1, 500, 4)), codes=np.zeros((1, 500), np.uint8))
    ...     correct_to_modisco(maps, f"{folder}/run", maps)  # doctest: +ELLIPSIS
    modisco motifs -s ...run.ohe.npz -a ...run.attr.npz -n 2000 -o ...run.modisco.h5
    """
    source, x = Path(source), Path(x)
    with ExitStack() as stack:
        grad, front = open_attributions(source, dataset, axis, stack)
        shape = grad.entry.shape
        shapes = (shape, shape[:front] + shape[front + 1 :])

        def wanted(entry: Entry) -> bool:
            is_source = x.samefile(source) and entry.name == grad.entry.name
            return not is_source and entry.dtype.kind in "biuf" and entry.shape in shapes

        sequences = open_rows(x, choose(x, x_dataset, wanted), stack)
        check_pair(grad.entry, sequences.entry, front)
        outputs = [*modisco_outputs(prefix, grad.entry, front), *_angle_output(angles, grad, front)]
        request = _request(source, grad, front, summary, force, verbose)
        total = write_maps([grad, sequences], outputs, request._replace(inputs=(source, x)))
        print(modisco_command(prefix, grad.entry, front))
        return total


def _request(
    source: Path, grad: Rows, front: int, summary: str | Path | None, force: bool, verbose: bool
) -> MapRequest:
    name = f"{source.name}:{grad.entry.name}" if grad.entry.name else source.name
    file = None if summary is None else Path(summary)
    return MapRequest(name, front, inputs=(source,), summary=file, force=force, verbose=verbose)


def _angle_output(path: str | Path | None, grad: Rows, front: int) -> list[Output]:
    if path is None:
        return []
    shape, dtype = grad.entry.shape, np.dtype(np.float64 if grad.entry.dtype.itemsize == 8 else np.float32)
    return [_output("angle", Path(path), Entry("angle", shape[:front] + shape[front + 1 :], dtype))]


def open_attributions(path: Path, dataset: str | None, axis: int | None, stack: ExitStack) -> tuple[Rows, int]:
    """Open the array of a file that holds attributions, and tell its letter axis."""

    def wanted(entry: Entry) -> bool:
        is_float = entry.dtype.kind == "f" and entry.dtype.itemsize in FLOAT_SIZES
        return is_float and len(entry.shape) > 1 and (axis is not None or 4 in entry.shape[1:])

    entry = choose(path, dataset, wanted)
    check_float(entry.dtype.name)
    front = letter_axis(entry.shape, axis)
    return open_rows(path, entry, stack), front


def letter_axis(shape: tuple[int, ...], axis: int | None) -> int:
    """Return the letter axis counted from the front: the one that is given, or the only one that can be meant."""
    if axis is not None:
        front = check_axis(shape, axis, None)
        if front == 0:
            raise ValueError(f"axis {axis} of shape {shape} is that of the sequences; pass the axis of the letters")
        return front
    candidates = [k for k in range(1, len(shape)) if shape[k] == 4]
    if not candidates:
        raise ValueError(f"no axis but the first of shape {shape} has length 4; pass the axis of the letters")
    if len(candidates) > 1:
        hint = " (1 for (N, 4, L), 2 for (N, L, 4))" if len(shape) == 3 else ""
        raise ValueError(f"axes {candidates} of shape {shape} have length 4; pass the axis of the letters{hint}")
    return candidates[0]


def _output(field: str, path: Path, entry: Entry) -> Output:
    kind = format_of(path)
    name = "" if kind == "npy" else entry.name or NAMES[kind]
    return Output(path, kind, {field: entry._replace(name=name)})

"""Attributions in the layouts that motif discovery reads: TF-MoDISco's pair of npz files, ChromBPNet's HDF5."""

import shlex
from pathlib import Path

import numpy as np

from .._check import check_axis, check_float, check_x
from .._types import AnyArray
from .maps import MapRequest, Output, write_maps
from .reading import Entry, Rows, file_behind, from_array

WINDOW = 400
"""Positions about the middle that `modisco motifs` looks at unless told otherwise."""
FEWEST_SEQLETS, MOST_SEQLETS, SEQLETS_A_SEQUENCE = 2000, 50_000, 4
"""Seqlets that `modisco motifs` may use: its own default, what its authors recommend, and what a window can hold."""
COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def save_modisco(
    prefix: str | Path,
    grad: AnyArray,
    x: AnyArray,
    *,
    axis: int = -1,
    corrected: bool = True,
    force: bool = False,
    verbose: bool = False,
) -> None:
    """Write the two files that TF-MoDISco reads, and print the command that does so.

    Parameters
    ----------
    prefix : str or Path
        The files are PREFIX.ohe.npz and PREFIX.attr.npz, each with one array "arr_0" of shape (N, 4, L): int8, and the
        dtype of `grad` (bfloat16 as float32).
    grad : array, shape (N, L, 4) or (N, 4, L)
        Gradients or hypothetical scores, of any supported library; also what `load` returns.
    x : array
        One-hot sequences shaped like `grad`, where equal letters (0, or 1/4 each) are an unknown one; or integer codes
        (N, L), where what is not 0..3 is.
    axis : int
        Letter axis: -1 for (N, L, 4), 1 for (N, 4, L).
    corrected : bool
        True centres the map, as gradients need; False writes it as it is: hypothetical scores, or corrected gradients.
    force : bool
        Whether files that exist may be replaced.
    verbose : bool
        Whether to show the progress, on stderr.

    Raises
    ------
    TypeError, ValueError
        If the arrays have other shapes or dtypes, or `x` is neither one-hot nor codes.
    FileExistsError
        If a file exists and `force` is not given.

    Warns
    -----
    UserWarning
        If the map is no plain gradient, see `find_misuse`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_modisco(f"{folder}/run", np.ones((1, 500, 4)), np.zeros((1, 500), np.uint8))  # doctest: +ELLIPSIS
    ...     np.load(f"{folder}/run.attr.npz")["arr_0"].shape
    modisco motifs -s ...run.ohe.npz -a ...run.attr.npz -n 2000 -o ...run.modisco.h5
    (1, 4, 500)
    """
    rows, request = _checked(grad, x, axis, corrected, force, verbose)
    write_maps(rows, modisco_outputs(prefix, rows[0].entry, request.axis), request)
    print(modisco_command(prefix, rows[0].entry, request.axis))


def modisco_outputs(prefix: str | Path, grad: Entry, axis: int) -> list[Output]:
    """Return TF-MoDISco's pair of files."""
    shape = _letters_first(grad.shape, axis)
    arrays = {"ohe": {"onehot": Entry("arr_0", shape, np.dtype(np.int8))}}
    arrays["attr"] = {"hypothetical": Entry("arr_0", shape, grad.dtype)}
    return [Output(Path(f"{prefix}.{part}.npz"), "npz", arrays[part]) for part in arrays]


def modisco_command(prefix: str | Path, entry: Entry, axis: int) -> str:
    """Return the command line that looks for motifs in the pair of files."""
    n_sequences, _, length = _letters_first(entry.shape, axis)
    n_seqlets = min(max(FEWEST_SEQLETS, SEQLETS_A_SEQUENCE * n_sequences), MOST_SEQLETS)
    words = ["modisco", "motifs", "-s", f"{prefix}.ohe.npz", "-a", f"{prefix}.attr.npz", "-n", str(n_seqlets)]
    if length < WINDOW:  # which must be even
        words += ["-w", str(length - length % 2)]
    return shlex.join([*words, "-o", f"{prefix}.modisco.h5"])


def save_contribs_h5(
    path: str | Path,
    grad: AnyArray,
    x: AnyArray,
    *,
    axis: int = -1,
    corrected: bool = True,
    dtype: str = "float32",
    force: bool = False,
    verbose: bool = False,
) -> None:
    """Write an HDF5 file in the layout of ChromBPNet's contributions, which TF-MoDISco and Fi-NeMo read.

    Parameters
    ----------
    path : str or Path
        With the suffix .h5, .hdf5 or .hdf. Datasets of shape (N, 4, L): "raw/seq", one-hot, int8; "shap/seq", the map
        for all four letters; "projected_shap/seq", the same at the observed letter and 0 elsewhere.
    grad, x
        See `save_modisco`, also for `axis`, `corrected`, `force` and `verbose`.
    dtype : {"float32", "float16"}
        float16 halves the file, as ChromBPNet does. It keeps 11 bits, a relative error of up to 0.05 %, between 6e-5
        and 65504 in size; below, the error is up to 3e-8, and what is smaller than that becomes zero.

    Raises
    ------
    TypeError, ValueError
        As `save_modisco`, and for float16 if a finite value is beyond 65504.
    FileExistsError
        If the file exists and `force` is not given.
    MissingBackendError
        If h5py is not installed.

    Warns
    -----
    UserWarning
        See `find_misuse`; and for float16, if more than one value in a thousand becomes zero.

    Notes
    -----
    Compressed with gzip, in chunks of whole sequences.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_contribs_h5(f"{folder}/run.h5", np.ones((1, 5, 4)), np.zeros((1, 5), np.uint8))
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be float32 or float16; got {dtype!r}")
    path = Path(path)
    if path.suffix.lower() not in (".h5", ".hdf5", ".hdf"):
        raise ValueError(f"{path} must have the suffix .h5, .hdf5 or .hdf; rename it")
    rows, request = _checked(grad, x, axis, corrected, force, verbose)
    request = request._replace(dtype=np.dtype(dtype))
    shape = _letters_first(rows[0].entry.shape, request.axis)
    arrays = {
        "onehot": Entry("raw/seq", shape, np.dtype(np.int8)),
        "hypothetical": Entry("shap/seq", shape, np.dtype(dtype)),
        "projected": Entry("projected_shap/seq", shape, np.dtype(dtype)),
    }
    write_maps(rows, [Output(path, "hdf5", arrays, COMPRESSION)], request)


def _checked(
    grad: AnyArray, x: AnyArray, axis: int, corrected: bool, force: bool, verbose: bool
) -> tuple[list[Rows], MapRequest]:
    """Check what users pass, and make of it what is read block by block."""
    rows = []
    for name, array in (("grad", grad), ("x", x)):
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise TypeError(f"{name} is a {type(array).__name__}; pass an array, or what gf.io.load returns")
        rows.append(from_array(array))
    front = check_axis(rows[0].entry.shape, axis, None)
    check_float(rows[0].entry.dtype.name)
    check_pair(rows[0].entry, rows[1].entry, front)
    inputs = (*file_behind(grad), *file_behind(x))
    return rows, MapRequest("grad", front, corrected=corrected, inputs=inputs, force=force, verbose=verbose)


def check_pair(grad: Entry, x: Entry, axis: int) -> None:
    """Refuse maps that are not of N sequences of DNA, and sequences that are not theirs."""
    shape = grad.shape
    if len(shape) != 3 or axis == 0 or shape[axis] != 4:
        raise ValueError(f"shape {shape} with letter axis {axis} is not that of DNA; pass (N, L, 4) or (N, 4, L)")
    check_x(x.shape, x.dtype.kind in "iu", x.dtype.name, shape, axis)


def _letters_first(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[0], 4, shape[3 - axis]

"""DNA as text, codes and one-hot arrays, its reverse complement, and shuffles that are the same everywhere.

Codes are integers, A C G T = 0..3. What is none of these letters is 255 when it is encoded; in codes that are passed,
everything outside 0..3 is unknown, except that shuffles keep apart the letters 0..31 of other alphabets.
"""

from collections.abc import Callable, Iterable
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from ._check import check_axis
from ._types import AnyArray, Array
from ._warn import warn
from .backends import find_backend, library

__all__ = ["count_shuffles", "decode", "encode", "one_hot", "reverse_complement", "shuffle"]

LETTERS = b"ACGT"
N_LETTERS = 32  # of the largest alphabet
UNKNOWN = 255
KINDS = ("mono", "dinucleotide")

_CODES = np.full(256, UNKNOWN, np.uint8)
for _code, _letter in enumerate(LETTERS):
    _CODES[[_letter, _letter | 32]] = _code  # 32: lower case


def encode(seqs: str | bytes | Iterable[str | bytes]) -> Array:
    """Turn DNA into codes.

    Parameters
    ----------
    seqs : str, bytes, or a sequence or one-dimensional NumPy array of them
        Lower case counts as upper case.

    Returns
    -------
    array, uint8, shape (L,) for one sequence and (N, L) for several
        A C G T = 0..3; 255 for every other character, U and N among them. No sequences give shape (0, 0).

    Raises
    ------
    TypeError
        If something else than text is passed.
    ValueError
        If the sequences have different lengths.

    Examples
    --------
    >>> encode(["ACGT", "ttNa"])
    array([[  0,   1,   2,   3],
           [  3,   3, 255,   0]], dtype=uint8)
    """
    if isinstance(seqs, np.ndarray):
        seqs = seqs.tolist()  # of an array without axes, the one sequence in it
    if isinstance(seqs, str | bytes):
        return _CODES[np.frombuffer(_as_bytes(seqs, 0), np.uint8)]
    if not isinstance(seqs, Iterable):
        raise TypeError(f"seqs must be str, bytes or a sequence of them; got {type(seqs).__name__}")
    texts = [_as_bytes(seq, number) for number, seq in enumerate(seqs)]
    length = len(texts[0]) if texts else 0
    for number, text in enumerate(texts):
        if len(text) != length:
            raise ValueError(
                f"sequence 0 has length {length} and sequence {number} has length {len(text)}; cut or pad them to one "
                f"length, or encode them one by one"
            )
    return _CODES[np.frombuffer(b"".join(texts), np.uint8)].reshape(len(texts), length)


def _as_bytes(seq: object, number: int) -> bytes:
    """One byte for each character, "?" for those that no byte holds."""
    if isinstance(seq, str):
        return seq.encode("latin-1", "replace")
    if isinstance(seq, bytes):
        return seq
    raise TypeError(f"sequence {number} is a {type(seq).__name__}; pass str or bytes, one for each sequence")


def decode(codes: AnyArray) -> str | list[str]:
    """Turn codes into DNA.

    Parameters
    ----------
    codes : array of integers, shape (L,) or (N, L)

    Returns
    -------
    str for (L,), list of str for (N, L)
        "N" for every code outside 0..3.

    Raises
    ------
    TypeError, ValueError
        If `codes` is no array of integers, or has other axes.

    Examples
    --------
    >>> decode(np.array([0, 1, 2, 3, 255, -1]))
    'ACGTNN'
    """
    rows, _ = _rows(codes)
    letters = np.frombuffer(LETTERS + b"N", np.uint8)[np.where((rows >= 0) & (rows < 4), rows, 4).astype(np.uint8)]
    texts = [row.tobytes().decode() for row in letters]
    return texts if len(codes.shape) == 2 else texts[0]


def one_hot(codes: AnyArray, dtype: npt.DTypeLike = np.float32, axis: int = -1) -> AnyArray:
    """Turn codes into a one-hot array.

    Parameters
    ----------
    codes : array of integers, shape (..., L)
        NumPy, or a CPU array of PyTorch, TensorFlow or JAX; so is the result.
    dtype : NumPy dtype
        Of the result.
    axis : int
        Where the letter axis stands in the result: -1 for (N, L, 4), 1 for (N, 4, L).

    Returns
    -------
    array, shape of `codes` with an axis of length 4 more, C-contiguous
        All zeros at a code outside 0..3.

    Raises
    ------
    TypeError, ValueError
        If `codes` is no array of integers, or the axis does not exist in the result.

    Examples
    --------
    >>> one_hot(np.array([2, 255, 0]), np.int8)
    array([[0, 0, 1, 0],
           [0, 0, 0, 0],
           [1, 0, 0, 0]], dtype=int8)
    """
    codes, like = _integers(codes)
    n_axes = codes.ndim + 1
    if not -n_axes <= axis < n_axes:
        raise ValueError(
            f"axis {axis} does not exist in a one-hot array of {n_axes} axes; pass -{n_axes} to {codes.ndim}"
        )
    front = axis % n_axes
    result = np.empty((*codes.shape[:front], 4, *codes.shape[front:]), dtype)
    for a in range(4):
        np.equal(codes, a, out=result[(slice(None),) * front + (a,)], casting="unsafe")
    return like(result)


def reverse_complement(x: AnyArray, axis: int | None = None) -> AnyArray:
    """Return the other strand.

    Parameters
    ----------
    x : array of any supported library
        Codes, shape (..., L), integers; or, with `axis`, one-hot arrays or maps such as gradients, any dtype.
    axis : int, optional
        Letter axis of a one-hot array or map, of length 4: -1 for (N, L, 4), 1 for (N, 4, L).

    Returns
    -------
    array, same kind, shape and dtype as `x`
        Of codes, the last axis reversed, 0..3 complemented, everything else kept. Otherwise the letter axis reversed,
        which exchanges A with T and C with G, and the position axis reversed: the last that is not the letter axis.

    Raises
    ------
    TypeError
        If `x` is of an unsupported library, or not of integers and without `axis`.
    ValueError
        If there is no position axis, or `axis` does not have length 4.

    Notes
    -----
    In the array library's own operations: on any device, differentiable, and inside traced functions.

    Examples
    --------
    >>> decode(reverse_complement(encode("AACGN")))
    'NCGTT'
    >>> reverse_complement(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), axis=-1)
    array([[8, 7, 6, 5],
           [4, 3, 2, 1]])
    """
    _refuse_mask(x, "x")
    backend = find_backend(x=x)
    shape = backend.shape(x)
    n_axes = len(shape)
    if axis is None:
        if "int" not in backend.dtype_name(x):
            raise TypeError(f"codes must be integers; got {x.dtype}, for one-hot arrays and maps pass the letter axis")
        if n_axes < 1:
            raise ValueError("x has no axis to reverse; pass codes of shape (..., L)")
        codes = backend.flip(x, [n_axes - 1])
        return backend.XP.where((codes >= 0) & (codes < 4), 3 - codes, codes)
    front = check_axis(shape, axis, None)
    if shape[front] != 4:
        raise ValueError(f"axis {axis} has length {shape[front]}; only the 4 letters of DNA have complements")
    if n_axes < 2:
        raise ValueError("x has no position axis; pass an array of shape (..., L, 4) or (..., 4, L)")
    return backend.flip(x, [front, n_axes - 2 if front == n_axes - 1 else n_axes - 1])


def shuffle(codes: AnyArray, n: int, kind: str = "mono", seed: int = 0) -> AnyArray:
    """Shuffle sequences at random, each by itself.

    Parameters
    ----------
    codes : array of integers, shape (L,) or (N, L)
        NumPy, or a CPU array of PyTorch, TensorFlow or JAX; so is the result. Letters 0..31 of any alphabet; every
        other code counts as one more letter, which is 255 in the result.
    n : int
        Number of shuffles of each sequence.
    kind : {"mono", "dinucleotide"}
        "mono" permutes the positions. "dinucleotide" keeps the counts of all pairs of neighbours, and with them the
        first and the last letter.
    seed : int
        0 to 2**64 - 1.

    Returns
    -------
    array, uint8, shape (n, L) or (N, n, L)

    Raises
    ------
    TypeError, ValueError
        If `codes` is no array of integers or has other axes, and for another kind, n or seed.

    Warns
    -----
    UserWarning
        If of some sequences fewer than `n` distinct shuffles exist, see `count_shuffles`.

    Notes
    -----
    Every distinct sequence that can come out has the same probability, the sequence itself included. A shuffle depends
    on the seed, the codes of its sequence and its number alone: not on the batch, its order, `n`, the dtype of the
    codes or the threads; equal sequences have equal shuffles. `kernels.reference_sequences` defines every draw.

    Random numbers: Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405). Dinucleotide shuffles: Altschul,
    Erickson 1985, doi:10.1093/oxfordjournals.molbev.a040370, with a uniform spanning tree (Wilson 1996,
    doi:10.1145/237814.237880), without which some shuffles come more often than others, or never.

    Examples
    --------
    >>> decode(shuffle(encode("ACCGTACGGATTAC"), 2, "dinucleotide", seed=1))
    ['ATTACCGGTACGAC', 'ACGTTATACGGACC']
    """
    rows, like = _rows(codes)
    n, seed = _integer(n, "n", 2**32), _integer(seed, "seed", 2**64)
    _check_kind(kind)
    if rows.shape[1] > 2**32:
        raise ValueError(f"sequences of {rows.shape[1]} codes are longer than the 2**32 that can be shuffled; cut them")
    letters = _letters(rows)
    from .kernels import cpu_sequences

    if n > 1:
        _warn_of_repeats(np.rint(_exp(cpu_sequences.log_count_shuffles(letters, kind))), n, kind)
    shuffles: Array = cpu_sequences.shuffle(letters, n, kind, seed)
    return like(shuffles if len(codes.shape) == 2 else shuffles[0])


def _warn_of_repeats(counts: Array, n: int, kind: str) -> None:
    few = np.flatnonzero(counts < n)
    if few.size:
        named = ", ".join(f"sequence {k} ({counts[k]:.0f})" for k in few[:3])
        others = f" and {few.size - 3} others" if few.size > 3 else ""
        warn(
            f"fewer than n={n} distinct {kind} shuffles exist of {named}{others}, so that some are given repeatedly",
        )


def count_shuffles(codes: AnyArray, kind: str = "mono") -> AnyArray:
    """Count the distinct sequences that `shuffle` can give, the sequence itself among them.

    Parameters
    ----------
    codes, kind
        See `shuffle`.

    Returns
    -------
    float64 for (L,), array of shape (N,) for (N, L)
        The nearest float64 to the number, which is exact below 2**53; inf beyond float64. 1 for an empty sequence.

    Raises
    ------
    TypeError, ValueError
        As `shuffle`.

    Notes
    -----
    Multinomial coefficients, and the BEST theorem (van Aardenne-Ehrenfest, de Bruijn, Simon Stevin 28:203, 1951).

    Examples
    --------
    >>> count_shuffles(encode(["AAAACAAAAG", "ACACACACAC"]), "dinucleotide")
    array([7., 1.])
    """
    rows, _ = _rows(codes)
    _check_kind(kind)
    letters = _letters(rows)
    from .kernels import cpu_sequences, reference_sequences

    logs = cpu_sequences.log_count_shuffles(letters, kind)
    counts = _exp(logs)
    for k in np.flatnonzero(logs < 709):  # exp(709) is just below the largest float64
        counts[k] = reference_sequences.count_shuffles(letters[k].tolist(), kind)
    return counts if len(codes.shape) == 2 else counts[0]


def _exp(logs: Array) -> Array:
    with np.errstate(over="ignore"):
        counts: Array = np.exp(logs)
    return counts


def _integers(codes: AnyArray) -> tuple[Array, Callable[[Array], AnyArray]]:
    """Codes as a plain NumPy array, and what makes a NumPy array one of their library."""
    if library(codes) is None:
        raise TypeError(
            f"codes must be an array of integers; got {type(codes).__name__}, gf.sequences.encode makes it of text"
        )
    _refuse_mask(codes, "codes")
    backend = find_backend(codes=codes)
    plain = backend.to_numpy(codes, "codes")
    if plain.dtype.kind not in "iu":
        raise TypeError(f"codes must be integers (A C G T = 0..3); got {plain.dtype}, convert them with astype")
    return plain, backend.from_numpy


def _refuse_mask(array: AnyArray, argument: str) -> None:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{argument} is a masked array, whose mask would be lost; pass {argument}.filled({UNKNOWN})")


def _rows(codes: AnyArray) -> tuple[Array, Callable[[Array], AnyArray]]:
    """Codes as (N, L) or (L,), and what makes a NumPy array one of their library."""
    plain, like = _integers(codes)
    if plain.ndim not in (1, 2):
        raise ValueError(f"codes has shape {plain.shape}; pass one sequence (L,) or several (N, L)")
    return np.atleast_2d(plain), like


def _letters(rows: Array) -> Array:
    """Codes as the kernels take them; the range is checked before 64 bits are cut, so that 256 is not an A."""
    letters = rows.astype(np.uint8, order="C")
    letters[(rows < 0) | (rows >= N_LETTERS)] = UNKNOWN
    return letters


def _integer(value: SupportsIndex, name: str, end: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int; got {value!r}")
    if not 0 <= int(value) < end:
        raise ValueError(f"{name} is {value}; it must lie in 0 to 2**{end.bit_length() - 1} - 1")
    return int(value)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")

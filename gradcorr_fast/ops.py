"""The per-position operations that users call: checks, dispatch by array type, and one backend call."""

from collections.abc import Sequence
from typing import NamedTuple, overload

from ._check import Call, check_axis, check_background, select_letters
from ._show import html_facts, show_array
from ._types import AnyArray, Array, ArrayT
from .backends import find_backend
from .kernels.reference import OF_INPUT, WITH_LETTERS

__all__ = ["AttributionMaps", "analyze", "correct", "grad_times_input", "simplex_angle", "substitution_effects"]


class AttributionMaps(NamedTuple):
    """Maps computed together; fields that were not asked for are None."""

    corrected: AnyArray = None
    """Corrected gradient, shape of the gradient."""
    angle: AnyArray = None
    """Signed angle to the simplex, letter axis removed."""
    grad_times_input: AnyArray = None
    """Corrected gradient at the observed letter, letter axis removed."""
    prediction: AnyArray = None
    """Model output; filled by attribution hooks only."""
    convergence_delta: AnyArray = None
    """Completeness error of a path method; filled by attribution hooks only."""

    def __repr__(self) -> str:
        """Name the fields that there are, with dtype and shape."""
        return f"AttributionMaps({', '.join(f'{name}={text}' for name, text in _shown(self).items())})"

    def _repr_html_(self) -> str:
        return html_facts("AttributionMaps", _shown(self))


def _shown(maps: AttributionMaps) -> dict[str, str]:
    return {name: show_array(array) for name, array in maps._asdict().items() if array is not None}


def correct(
    grad: ArrayT,
    *,
    axis: int = -1,
    background: Sequence[float] | None = None,
    out: ArrayT | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> ArrayT:
    """Remove the part of a gradient that points off the simplex: subtract the mean over the letters.

    Parameters
    ----------
    grad : array, shape (..., n_letters, ...)
        Gradient of a model output with respect to a one-hot input; float16, bfloat16, float32 or float64, of any
        supported array library, in any memory order.
    axis : int
        Letter axis: -1 for (N, L, 4), 1 for (N, 4, L).
    background : sequence of float, shape (n_letters,), optional
        Weights of the mean, which sum to 1. Uniform by default, as in the paper.
    out : array, shape and dtype of `grad`, optional
        Where to write; may be `grad` itself.
    letters : slice, optional
        The part of the letter axis that holds letters; the other channels pass through unchanged.
    n_letters : int, optional
        Length of the letter axis, for arrays where a wrong axis would otherwise be suspected.

    Returns
    -------
    array, shape, dtype, device and stride order of `grad`

    Raises
    ------
    TypeError
        If `grad` is of an unsupported library or dtype.
    ValueError
        If the axis does not look like letters, the background does not sum to 1, or `out` does not fit or overlaps.

    Notes
    -----
    ``c[b] = g[b] - mean_a g[a]``: Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), Eq. 3. Correct first and
    multiply by the input afterwards. NaN and infinity stay at their position; an empty batch gives an empty result.

    Examples
    --------
    >>> correct(np.array([[1.0, 2.0, 3.0, 6.0]]))
    array([[-2., -1.,  0.,  3.]])
    """
    result: ArrayT
    (result,) = _run(("corrected",), grad, None, (out,), axis, letters, n_letters, background=background)
    return result


@overload
def simplex_angle(
    grad: Array,
    *,
    axis: int = -1,
    degrees: bool = True,
    out: Array | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> Array: ...
@overload
def simplex_angle(
    grad: ArrayT,
    *,
    axis: int = -1,
    degrees: bool = True,
    out: ArrayT | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> ArrayT: ...
def simplex_angle(
    grad: AnyArray,
    *,
    axis: int = -1,
    degrees: bool = True,
    out: AnyArray = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> AnyArray:
    """Measure the signed angle between a gradient and the plane of the simplex, position by position.

    Parameters
    ----------
    grad : array, shape (..., n_letters, ...)
        See `correct`, also for `axis`, `letters` and `n_letters`.
    degrees : bool
        Degrees in [-90, 90], or radians.
    out : array, optional
        Where to write the result.

    Returns
    -------
    array, shape of `grad` without the letter axis
        float32 (float64 for float64). 0 at a zero gradient, NaN where the gradient is not finite.

    Notes
    -----
    ``atan2(sum_a g[a] / sqrt(A), |g - mean g|)``, from the paper named in `correct`. It depends neither on the scale
    of the gradient nor on a background. 30, 45 and 60 degrees are the angles of a gradient with one, two or three
    equal letters and zeros elsewhere.

    Examples
    --------
    >>> simplex_angle(np.array([[1.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0], [1.0, -1.0, 0.0, 0.0]])).round(6)
    array([30., 90.,  0.])
    """
    (result,) = _run(("angle",), grad, None, (out,), axis, letters, n_letters, degrees=degrees)
    return result


@overload
def grad_times_input(
    grad: Array,
    x: AnyArray,
    *,
    axis: int = -1,
    corrected: bool = True,
    background: Sequence[float] | None = None,
    out: Array | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> Array: ...
@overload
def grad_times_input(
    grad: ArrayT,
    x: AnyArray,
    *,
    axis: int = -1,
    corrected: bool = True,
    background: Sequence[float] | None = None,
    out: ArrayT | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> ArrayT: ...
def grad_times_input(
    grad: AnyArray,
    x: AnyArray,
    *,
    axis: int = -1,
    corrected: bool = True,
    background: Sequence[float] | None = None,
    out: AnyArray = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> AnyArray:
    """Take the corrected gradient at the observed letter of each position.

    Parameters
    ----------
    grad : array, shape (..., n_letters, ...)
        See `correct`, also for `axis`, `background`, `letters` and `n_letters`.
    x : array
        One-hot (or soft) input shaped like `grad`, of any real dtype, or integer codes without the letter axis
        (A C G T = 0..3; any other code is an unknown letter and gives 0). Same library and device as `grad`.
    corrected : bool
        False to multiply the gradient as it is.
    out : array, optional
        Where to write the result.

    Returns
    -------
    array, shape of `grad` without the letter axis
        float32 (float64 for float64).

    Notes
    -----
    ``sum_a c[a] x[a]``, the logo heights of the paper named in `correct`.

    Examples
    --------
    >>> grad_times_input(np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([3]))
    array([3.])
    """
    (result,) = _run(
        ("grad_times_input",), grad, _given(x), (out,), axis, letters, n_letters,
        background=background, corrected=corrected,
    )  # fmt: skip
    return result


def substitution_effects(
    grad: ArrayT,
    x: AnyArray,
    *,
    axis: int = -1,
    out: ArrayT | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> ArrayT:
    """Estimate the effect of every single-letter substitution to first order.

    Parameters
    ----------
    grad, x
        See `grad_times_input`, also for `axis`, `letters` and `n_letters`.
    out : array, shape of `grad`, optional
        Where to write the result.

    Returns
    -------
    array, shape of `grad`
        float32 (float64 for float64). 0 at the observed letter; nothing is subtracted at an unknown one.

    Notes
    -----
    ``g[b] - sum_a x[a] g[a]``. The correction does not change it: what it removes is common to both letters.

    Examples
    --------
    >>> substitution_effects(np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([3]))
    array([[-5., -4., -3.,  0.]])
    """
    result: ArrayT
    (result,) = _run(("substitution_effects",), grad, _given(x), (out,), axis, letters, n_letters)
    return result


def analyze(
    grad: AnyArray,
    x: AnyArray = None,
    *,
    axis: int = -1,
    outputs: Sequence[str] | None = None,
    degrees: bool = True,
    background: Sequence[float] | None = None,
    out: AttributionMaps | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> AttributionMaps:
    """Compute corrected gradient, angle and grad-times-input in one pass over memory.

    Parameters
    ----------
    grad : array, shape (..., n_letters, ...)
        See `correct`, also for `axis`, `background`, `letters` and `n_letters`.
    x : array, optional
        One-hot input or codes, see `grad_times_input`.
    outputs : sequence of str, optional
        Of "corrected", "angle" and "grad_times_input", those to compute. By default the fields of `out` that are not
        None, and without `out` all three, grad_times_input only if `x` is given.
    degrees : bool
        See `simplex_angle`.
    out : AttributionMaps, optional
        Arrays to fill; fields that are None are allocated if they are asked for.

    Returns
    -------
    AttributionMaps
        The fields asked for; the others are None.

    Examples
    --------
    >>> maps = analyze(np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([3]))
    >>> maps.corrected, maps.angle.round(2), maps.grad_times_input
    (array([[-2., -1.,  0.,  3.]]), array([58.05]), array([3.]))
    """
    if out is not None and not isinstance(out, AttributionMaps):
        raise TypeError(f"out must be an AttributionMaps whose fields are to be filled; got {type(out).__name__}")
    possible = AttributionMaps._fields[:3]
    if outputs is not None:
        outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        fields = tuple(field for field in possible if field in outputs)
        unknown = [field for field in outputs if field not in possible]
        if unknown or not fields:
            raise ValueError(f"outputs must be some of {', '.join(possible)}; got {outputs!r}")
    elif out is not None:
        fields = tuple(field for field in possible if getattr(out, field) is not None)
        if not fields:
            raise ValueError("out has no array to fill; set at least one of " + ", ".join(possible))
    else:
        fields = possible[: 2 if x is None else 3]
    if "grad_times_input" in fields:
        _given(x)
    given = tuple(None if out is None else getattr(out, field) for field in fields)
    results = _run(fields, grad, x, given, axis, letters, n_letters, degrees=degrees, background=background)
    return AttributionMaps(**dict(zip(fields, results, strict=True)))


def _given(x: AnyArray) -> AnyArray:
    if x is None:
        raise TypeError("x is None; pass the one-hot input or the codes of the sequences")
    return x


def _run(
    fields: tuple[str, ...],
    grad: AnyArray,
    x: AnyArray,
    out: tuple[AnyArray, ...],
    axis: int,
    letters: slice | None,
    n_letters: int | None,
    *,
    degrees: bool = True,
    background: Sequence[float] | None = None,
    corrected: bool = True,
) -> tuple[AnyArray, ...]:
    """Check, choose the backend and call it; with `letters`, on that part of the letter axis."""
    if not any(field in OF_INPUT for field in fields):
        x = None
    backend = find_backend(grad=grad, x=x, **{f"out for {f}": array for f, array in zip(fields, out, strict=True)})
    shape = backend.shape(grad)
    if letters is None:
        front = check_axis(shape, axis, n_letters)
        weights = None if background is None else check_background(background, shape[front])
        return tuple(backend.run(Call(front, fields, degrees, corrected, weights), grad, x, out))
    front, index = select_letters(shape, axis, letters, n_letters)
    if x is not None and len(backend.shape(x)) == len(shape):
        x = x[index]
    part = grad[index]
    weights = None if background is None else check_background(background, backend.shape(part)[front])
    given = []
    for field, array in zip(fields, out, strict=True):
        embedded = field in WITH_LETTERS and array is not None
        if embedded and backend.shape(array) != shape:
            raise ValueError(f"out for {field} has shape {backend.shape(array)}; it must have shape {shape}")
        given.append(array[index] if embedded else array)
    results = backend.run(Call(front, fields, degrees, corrected, weights), part, x, tuple(given))
    return tuple(
        backend.embed(result, index, grad, array) if field in WITH_LETTERS else result
        for field, array, result in zip(fields, out, results, strict=True)
    )

"""PyTorch models: corrected attributions, and the projection that corrects every gradient that passes through it."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from ..._check import missing_backend

try:
    import torch  # noqa: F401  (before what needs it)
except ModuleNotFoundError as error:
    raise missing_backend("PyTorch", "torch") from error

from ..._types import AnyArray, Model
from .._engine import attribute
from .._options import MutagenesisOptions, Options, PathOptions, SampleOptions, takes_options
from ._folding import fold
from ._incremental.explaining import Explanation, explain_engine
from ._incremental.layers import register_rule
from ._penalty import angle_penalty
from ._projection import SimplexProjection, attach, project_gradient
from ._running import prepare

__all__ = [
    "Explanation",
    "SimplexProjection",
    "angle_penalty",
    "attach",
    "expected_gradients",
    "explain_engine",
    "fold",
    "integrated_gradients",
    "project_gradient",
    "register_rule",
    "saliency",
    "saturation_mutagenesis",
    "smoothgrad",
]


_attribute = partial(attribute, prepare)


@takes_options(axis=1)
def saliency(model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[Options]) -> Any:
    """Compute the gradient of a model's output with respect to its input, corrected.

    Parameters
    ----------
    model : torch.nn.Module or callable
        Takes a batch of sequences, and `args`, and returns a tensor with the sequences first, or a tuple, list or
        dict of such. A module is run in evaluation mode; mode, requires_grad and device are restored, also after an
        error.
    X : torch.Tensor or NumPy array, shape (N, n_letters, L)
        One-hot (or soft) sequences, floating point, of the dtype that the model takes.
    args : tuple of arrays, optional
        Further inputs of the model, one row for each sequence.
    target : int, tuple, list, array, callable or `gf.targets` object
        What is differentiated: an int is a position on the last axis of an output (N, T), a tuple one for each axis,
        a list or array (N,) a position for each sequence. A callable takes the output and returns (N,).
    targets : list of targets, optional
        Several at once, from one forward pass; results get an axis (N, T, ...).
    output : int, str or tuple, optional
        Head of a model that returns several, in a tuple, a mapping or an object with fields, such as a dataclass: its
        number or name, or those on the way to it, such as ("human", 1).
    axis : int
        Letter axis of `X`.
    batch_size : int or "auto"
        Rows in the model at a time: sequences, each once for every step and sample of a method. "auto" is 32,768
        positions, 1 to 1,024 rows; on a GPU as many as its memory takes, at most 1,048,576 positions. A batch that
        exhausts the memory is halved and tried again, with one warning.
    device : torch.device or str, optional
        Where to run a module, which returns afterwards to where it was; by default where it is. Batches go there,
        results come back to where `X` is.
    precision : "float32", "tf32", "bfloat16" or "float16"
        By default matrix products and convolutions on CUDA may not round their inputs to TF32, whatever the global
        setting; "tf32" lets them. The last two run the model under autocast. A warning says how far the angles are
        from those in float32 on a few of the sequences.
    optimize : 0, 1, 2 or sequence of str
        Run a faster copy of the model, equal to rounding: 1 folds batch normalisation into the layers beside it, and
        keeps channels last in memory where that is faster; 2 runs torch.compile on it too. The copy is compared with
        the model, and timed, on a batch; what it gains nothing by is left, and a warning says why if that is all. It
        is made anew in each call, for many sequences. Names of "fold", "channels_last" and "compile" take these steps
        without timing.
    corrected : bool
        False returns the plain gradient.
    random_state : int or None
        Seed of the methods that draw at random; None is 0.
    verbose : bool
        Show a progress bar on stderr.
    outputs : sequence of str, optional
        Of "corrected", "angle" (degrees), "grad_times_input", "prediction" (the differentiated value, (N,)) and, for
        methods with a path, "convergence_delta", those to return.
    letters, n_letters
        See `ops.correct`.
    rc : bool
        Whether results are means over both strands.
    rc_output : "same", "flip_bins" or callable
        What the output for the other strand is turned into before the target is taken: nothing, its bins reversed, or
        what a function makes of it.
    bin_axis : int, optional
        Which axis of an output of three holds bins, the other holding tracks: 1 for (N, bins, tracks), 2 for (N,
        tracks, bins). "flip_bins" and `strand_pairs` need it there.
    strand_pairs : sequence of pairs of int, optional
        Tracks that belong to the two strands, and are exchanged for the other strand.
    shifts : sequence of int
        Results are means over the sequence moved to the right by so many positions, with zeros where it ends.
    start, end : int
        Window of positions that is returned; an `end` below zero counts from the end, -1 is the end itself.
    mask : bool array, shape (N, L) or (L,), optional
        Maps are 0 where it is False.

    Returns
    -------
    array or AttributionMaps
        The map, shape, layout and kind of `X` ((N, T, ...) with `targets`), or with `outputs` an `AttributionMaps`,
        see `ops.analyze`.

    Raises
    ------
    TypeError
        If `X` is not floating point or of another library.
    ValueError
        If the axis does not look like letters, the target does not exist, the output does not depend on the input
        by a differentiable path, or the gradient of some sequences is not finite (they are named).
    MemoryError
        If one row alone does not fit.

    Notes
    -----
    Sequences must not influence each other inside the model, as they do in batch normalisation in training mode. `args`
    go with their sequence as they are, on either strand. With strands and shifts, the result is that of the mean model.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2))
    >>> saliency(model, torch.eye(4)[None, :, :2], target=1).shape
    torch.Size([1, 4, 2])
    """
    return _attribute("saliency", model, X, args, options)


@takes_options(axis=1, options=PathOptions)
def integrated_gradients(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[PathOptions]
) -> Any:
    """Average the gradient along the straight path from a reference to each sequence, and correct the mean.

    Parameters
    ----------
    model, X, args, options
        See `saliency`, also for the results and errors. "convergence_delta" among `outputs` is the error of
        completeness: the sum of mean gradient times (x - reference), less the difference of the outputs at the two
        ends, (N,); of the plain gradient, since the correction breaks completeness.
    references : str or array, shape (R, n_letters, L) or (N, R, n_letters, L), optional
        "zero", "uniform" (the same number for every letter), "mono" or "dinucleotide" (shuffles, as
        `gf.sequences.shuffle` gives them), or arrays like `X`. By default "zero".
    n_references : int, optional
        Number of shuffles, by default 1. The result is the mean over references.
    n_steps : int, optional
        Gradients on each path, by default 20.
    rule : "trapezoid", "left", "midpoint" or "gausslegendre"
        Where they are taken and with which weights: evenly from 0 to 1 with half weight at the ends; at k / n; at
        (k + 1/2) / n; at the nodes of Gauss.
    multiply_by_inputs : bool
        Whether each gradient is multiplied by (x - reference), for completeness. What is centred then is no gradient:
        that is the wrong order and warns, unless `corrected` is False.
    preset : "paper" or "repo"
        What is not given: as the paper says, or as the authors' scripts do, one shuffle and 26 steps.
    soft : bool
        Whether `X` need not be one-hot.

    Notes
    -----
    Sundararajan, Taly, Yan, ICML 2017, without the factor (x - reference): Majdandzic, Rajesh, Koo, Genome Biology
    24:109 (2023). Sequences and steps share batches, and gradients are added up in place: memory does not depend on
    `n_steps`.

    Examples
    --------
    >>> integrated_gradients(lambda x: (x**2).sum((1, 2)), torch.eye(4)[None], corrected=False)[0, :, 0]
    tensor([1., 0., 0., 0.])
    """
    return _attribute("integrated_gradients", model, X, args, options)


@takes_options(axis=1, options=PathOptions)
def expected_gradients(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[PathOptions]
) -> Any:
    """Average integrated gradients over several references for each sequence, and correct the mean.

    Parameters
    ----------
    model, X, args, references, n_references, n_steps, rule, multiply_by_inputs, preset, soft, options
        See `integrated_gradients`. By default 10 shuffles of positions ("mono") and 20 steps each; with preset="repo"
        20 and 21.

    Notes
    -----
    Erion et al., Nat. Mach. Intell. 3:620 (2021), with all steps for each reference. Shuffles are drawn by
    `random_state` and the sequence alone, one reference at a time: memory does not depend on their number.

    Examples
    --------
    >>> expected_gradients(lambda x: (x**2).sum((1, 2)), torch.eye(4)[None]).shape
    torch.Size([1, 4, 4])
    """
    return _attribute("expected_gradients", model, X, args, options)


@takes_options(axis=1, options=SampleOptions)
def smoothgrad(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[SampleOptions]
) -> Any:
    """Average the gradient over samples around each sequence, and correct the mean.

    Parameters
    ----------
    model, X, args, soft, options
        See `integrated_gradients`. "prediction" is the value at the sequence itself.
    n_samples : int, optional
        By default 25.
    kind : "gaussian" or "mutation"
        Noise on every letter of every position, which leaves the simplex; or random substitutions, which do not.
    sd : float, optional
        Standard deviation of the noise, by default 0.1.
    rate : float, optional
        Probability of each position to mutate, by default 0.1.
    preset : "paper" or "repo"
        "repo" takes 50 samples, as the authors' scripts do.

    Notes
    -----
    Smilkov et al., arXiv:1706.03825 (2017). `kernels.reference_sequences` defines the draws, which depend on
    `random_state`, the sequence and the number of the sample alone.

    Examples
    --------
    >>> smoothgrad(lambda x: 3 * x[:, 0].sum(1), torch.eye(4)[None], kind="mutation")[0, :, 0]
    tensor([ 2.2500, -0.7500, -0.7500, -0.7500])
    """
    return _attribute("smoothgrad", model, X, args, options)


@takes_options(axis=1, options=MutagenesisOptions)
def saturation_mutagenesis(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None = None, **options: Unpack[MutagenesisOptions]
) -> Any:
    """Compute the change of a model's output for every substitution in each sequence.

    Parameters
    ----------
    model, X, args, options
        See `saliency`, also for the results and errors. `X` must be one-hot; where a letter is unknown, all are tried.
        Mutants are made in the window from `start` to `end` and where `mask` is True; elsewhere in the window the map
        is 0. `corrected=False` returns the plain differences, 0 at the sequence's own letter.
    engine : "auto", "incremental" or "full"
        "incremental" computes of each layer only the positions that a substitution reaches, see `explain_engine`; the
        values are those of whole passes, "full", to rounding. That is compared on a few mutants first. "auto" takes the
        faster way, and warns where a model cannot be followed.

    Raises
    ------
    ValueError
        If `engine` is "incremental" and the model cannot be followed.

    Notes
    -----
    ``d[b] = f(x with b at the position) - f(x)``, centred over the letters: ``d[b] - mean_a d[a]``. It never leaves the
    simplex, so that centring removes nothing but the choice of the letter that differences are taken to. No gradient
    is needed, so that the model need not be differentiable.

    Examples
    --------
    >>> saturation_mutagenesis(lambda x: 4 * x[:, 0].sum(1), torch.eye(4)[None], end=1)[0, :, 0]
    tensor([ 3., -1., -1., -1.])
    """
    return _attribute("saturation_mutagenesis", model, X, args, options)

"""Functions to pass as `func=` wherever tangermeme takes one, and its saturation mutagenesis for less.

They take what tangermeme hands on: integer one-hot sequences, `dtype`, `hypothetical`, `device`, `n_shuffles`,
`batch_size`, and return tensors on the CPU. Gradients are corrected before they are multiplied by the sequence.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from .._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_backend("PyTorch", "torch") from error

from ..hooks import torch as hooks

__all__ = ["expected_gradients", "integrated_gradients", "saliency", "saturation_mutagenesis", "smoothgrad"]

PART = 1 << 26
"""Numbers of sequences that are made floating point at a time: 256 MiB of float32."""
REDUCED = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
MANY = 64
"""Numbers of an output whose effects are computed for `raw_outputs`; of more, such as profiles, tangermeme does it."""

Args: TypeAlias = Sequence[torch.Tensor] | None
Target: TypeAlias = int | slice | None
Dtype: TypeAlias = str | torch.dtype | None
Rows: TypeAlias = int | str
Reduce: TypeAlias = Callable[..., torch.Tensor] | None


def saliency(
    model: torch.nn.Module, X: torch.Tensor, args: Args = None, target: int = 0, batch_size: Rows = "auto",
    hypothetical: bool = False, gradient_correction: bool = True, func: Reduce = None, dtype: Dtype = None,
    device: Any = None, verbose: bool = False, **options: Any,
) -> torch.Tensor:  # fmt: skip
    """Compute the corrected gradient, times the sequence unless `hypothetical`.

    Parameters
    ----------
    model : torch.nn.Module
    X : torch.Tensor, shape (N, A, L)
        One-hot of any dtype, or a tangermeme PackedSequence.
    args : sequence of tensors, optional
        Further inputs, one row for each sequence.
    target : int
        Column of the output (N, T).
    batch_size : int or "auto"
        Rows in the model at a time, see `hooks.torch.saliency`; results do not depend on it, and tangermeme has 32.
    hypothetical : bool
        Whether to return all letters instead of those that are there.
    gradient_correction : bool
        Whether the gradient is corrected, tangermeme's name for ``corrected``.
    func : callable, optional
        From the model's output to (N, T), before the target is taken.
    dtype : str or torch.dtype, optional
        Of the model's numbers and of the result, by default the dtype of its parameters; half precision runs under
        autocast.
    device : str or torch.device, optional
        By default CUDA where there is some.
    verbose : bool
        Whether to show progress.
    options
        Of `hooks.torch.saliency`, such as ``mask=``.

    Returns
    -------
    torch.Tensor, shape (N, A, L), on the CPU

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 1))
    >>> saliency(model, torch.eye(4, dtype=torch.int8)[None, :, :2], device="cpu").shape
    torch.Size([1, 4, 2])
    """
    call = _Call(model, args, target, batch_size, func, dtype, device, verbose)
    return call.run(hooks.saliency, X, hypothetical, **{"corrected": gradient_correction} | options)


def integrated_gradients(
    model: torch.nn.Module, X: torch.Tensor, args: Args = None, target: int = 0, batch_size: Rows = "auto",
    hypothetical: bool = False, func: Reduce = None, dtype: Dtype = None, device: Any = None,
    random_state: int | None = None, verbose: bool = False, **options: Any,
) -> torch.Tensor:  # fmt: skip
    """Compute corrected integrated gradients; see `saliency`, and `hooks.torch.integrated_gradients` for options."""
    call = _Call(model, args, target, batch_size, func, dtype, device, verbose)
    return call.run(hooks.integrated_gradients, X, hypothetical, random_state=random_state, **options)


def smoothgrad(
    model: torch.nn.Module, X: torch.Tensor, args: Args = None, target: int = 0, batch_size: Rows = "auto",
    hypothetical: bool = False, func: Reduce = None, dtype: Dtype = None, device: Any = None,
    random_state: int | None = None, verbose: bool = False, **options: Any,
) -> torch.Tensor:  # fmt: skip
    """Compute the corrected SmoothGrad; see `saliency`, and `hooks.torch.smoothgrad` for options."""
    call = _Call(model, args, target, batch_size, func, dtype, device, verbose)
    return call.run(hooks.smoothgrad, X, hypothetical, random_state=random_state, **options)


def expected_gradients(
    model: torch.nn.Module, X: torch.Tensor, args: Args = None, target: int = 0, batch_size: Rows = "auto",
    references: Any = "dinucleotide", n_shuffles: int = 20, hypothetical: bool = False, func: Reduce = None,
    dtype: Dtype = None, device: Any = None, random_state: int | None = None, verbose: bool = False, **options: Any,
) -> torch.Tensor:  # fmt: skip
    """Compute corrected expected gradients, with the arguments of tangermeme's `deep_lift_shap`.

    Parameters
    ----------
    references : "dinucleotide", "mono", tensor (N, R, A, L) or callable
        Where paths begin. A callable is called as ``references(X, n=n_shuffles, random_state=random_state)``, as
        tangermeme does with `dinucleotide_shuffle`.
    n_shuffles : int
        Number of references of each sequence, where they are not given.
    others
        See `saliency`, and `hooks.torch.expected_gradients` for options.

    Returns
    -------
    torch.Tensor, shape (N, A, L), on the CPU
        With ``hypothetical`` the mean corrected gradient; otherwise that at the letters that are there.
    """
    call = _Call(model, args, target, batch_size, func, dtype, device, verbose)
    if callable(references):
        references = references(_one_hot(X), n=n_shuffles, random_state=random_state)
    options["random_state"] = random_state
    if not isinstance(references, str):
        return call.run(hooks.expected_gradients, X, hypothetical, references, **options)
    options |= {"references": references, "n_references": n_shuffles}
    return call.run(hooks.expected_gradients, X, hypothetical, **options)


def saturation_mutagenesis(
    model: torch.nn.Module, X: torch.Tensor, args: Args = None, start: int = 0, end: int = -1,
    batch_size: Rows = "auto", target: Target = None, hypothetical: bool = False, raw_outputs: bool = False,
    dtype: Dtype = None, device: Any = None, verbose: bool = False, func: Reduce = None, fast: bool = True,
) -> Any:  # fmt: skip
    """Compute the effect of every substitution, as tangermeme's function of the same name does.

    Parameters
    ----------
    start, end : int
        Positions to substitute; a negative `end` counts from behind the last.
    target : int, slice or None
        Columns of the output (N, T) over which effects are averaged; None is all.
    raw_outputs : bool
        Whether to return the model's outputs instead: of up to 64 numbers, else by tangermeme's own function.
    fast : bool
        Whether to compute only what a substitution changes, see `hooks.torch.saturation_mutagenesis`.
    others
        See `saliency`.

    Returns
    -------
    torch.Tensor, shape (N, A, end - start), on the CPU
        Or, with `raw_outputs`, what tangermeme returns: outputs of the sequences and of every mutant.
    """
    call = _Call(model, args, 0, batch_size, func, dtype, device, verbose)
    x = call.check(X)
    end = x.shape[-1] + 1 + end if end < 0 else end
    if not 0 <= start < end <= x.shape[-1]:
        raise ValueError(
            f"start and end must satisfy 0 <= start < end <= length; got start={start}, end={end} for length "
            f"{x.shape[-1]}"
        )
    first = call.predict(x[:1], call.rows(slice(0, 1)))
    if not _is_plain(x) or (raw_outputs and (not isinstance(first, torch.Tensor) or first[0].numel() > MANY)):
        from tangermeme.saturation_mutagenesis import saturation_mutagenesis as theirs

        own: dict[str, Any] = {"target": target, "hypothetical": hypothetical, "raw_outputs": raw_outputs, "func": func}
        own |= {"dtype": dtype, "device": device, "verbose": verbose, "fast": fast}
        return theirs(model, X, args, start, end, call.n_rows, **own)
    engine = "auto" if fast else "full"
    if raw_outputs:
        return _raw(call, x, first, start=start, end=end, engine=engine)
    if not isinstance(first, torch.Tensor):
        raise ValueError(
            "raw_outputs=True is required for models that return several outputs, or a func= that reduces them"
        )
    call = call.aimed(partial(_mean_over, columns=target))
    return call.run(hooks.saturation_mutagenesis, x, hypothetical, start=start, end=end, engine=engine)


def _raw(call: "_Call", x: torch.Tensor, first: torch.Tensor, **options: Any) -> Any:
    """Return outputs of the sequences and of all mutants, each number of an output by its own effects."""
    from tangermeme.saturation_mutagenesis import SaturationMutagenesisRawResult

    y0 = call.predict(x, call.args)
    targets = [partial(_number, place=k) for k in range(first[0].numel())]
    effects = call.effects(x, targets, **options)  # (N, T, A, width)
    y_hat = (y0.reshape(len(y0), -1, 1, 1) + effects).to(y0.dtype).permute(0, 2, 3, 1)
    return SaturationMutagenesisRawResult(y0=y0, y_hat=y_hat.reshape(*y_hat.shape[:3], *y0.shape[1:]))


def _column(output: torch.Tensor, target: int) -> torch.Tensor:
    if output.shape[2:].numel() != 1:
        raise ValueError(
            f"the output has shape {tuple(output.shape)}, and target={target} takes a column of (N, T); pass a func= "
            f"that reduces it, such as lambda y: y.mean(-1)"
        )
    return output.reshape(*output.shape[:2])[:, target] if output.ndim > 1 else output


def _number(output: torch.Tensor, place: int) -> torch.Tensor:
    return output.reshape(len(output), -1)[:, place]


def _mean_over(output: torch.Tensor, columns: Target) -> torch.Tensor:
    chosen = output[:, slice(None) if columns is None else columns]
    return chosen.reshape(len(output), -1).mean(1)


def _is_plain(x: torch.Tensor) -> bool:
    """Whether every position has one letter or none."""
    return bool(((x == 0) | (x == 1)).all() and (x.sum(1) <= 1).all())


class _Reduced(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A model, and what `func` makes of its outputs."""

    def __init__(self, model: torch.nn.Module, func: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.func = model, func

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.func(self.model(*inputs))


def _one_hot(X: Any) -> torch.Tensor:
    """Return sequences as a tensor; tangermeme's packed ones are unpacked."""
    return X.to_one_hot() if hasattr(X, "to_one_hot") else X


class _Call:
    """What every function is given, and how a hook is run with it."""

    def __init__(
        self, model: torch.nn.Module, args: Args, target: int, batch_size: Rows, func: Reduce, dtype: Dtype,
        device: Any, verbose: bool,
    ) -> None:  # fmt: skip
        first = next(iter(model.parameters()), None) if isinstance(model, torch.nn.Module) else None
        own = torch.float32 if first is None else first.dtype
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or own
        self.model = model if func is None else _Reduced(model, func)
        self.args, self.batch_size, self.verbose = args, batch_size, verbose
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(default if device is None else device)  # 0 is the first GPU
        self.n_rows = 32 if batch_size == "auto" else batch_size
        self._predict = {"dtype": dtype, "device": self.device, "batch_size": self.n_rows}
        is_reduced = dtype in REDUCED and own != dtype
        self._dtype, self._result = own if is_reduced else dtype, dtype
        self._precision = REDUCED[dtype] if is_reduced else "float32"
        self._target: Callable[[torch.Tensor], torch.Tensor] = partial(_column, target=target)

    def aimed(self, target: Callable[[torch.Tensor], torch.Tensor]) -> "_Call":
        """Return it with another target."""
        self._target = target
        return self

    def rows(self, rows: slice) -> list[torch.Tensor] | None:
        """Return the rows of further inputs."""
        return None if self.args is None else [array[rows] for array in self.args]

    def run(
        self, hook: Callable[..., torch.Tensor], X: Any, hypothetical: bool, of_each: Any = None, **options: Any
    ) -> torch.Tensor:
        """Run a hook on all sequences, some at a time, and keep the letters that are there unless `hypothetical`.

        `of_each` are the references of each sequence, if there are such.
        """
        X = self.check(X)
        window = slice(options.get("start", 0), options.get("end"))
        found = []
        for rows, x in self._parts(X):
            own = {} if of_each is None else {"references": of_each[rows].to(x.dtype)}
            grad = self._call(hook, x, rows, target=self._target, **own, **options)
            found.append((grad if hypothetical else grad * x[..., window]).to(self._result))
        return torch.cat(found)

    def effects(self, X: torch.Tensor, targets: list[Any], **options: Any) -> torch.Tensor:
        """Return what every substitution adds to several targets, (N, T, A, width)."""
        options |= {"targets": targets, "corrected": False}
        parts = self._parts(X)
        return torch.cat([self._call(hooks.saturation_mutagenesis, x, rows, **options) for rows, x in parts])

    def _parts(self, X: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        n = max(1, PART // max(1, X[:1].numel()))
        for k in range(0, len(X), n):
            yield slice(k, k + n), X[k : k + n].to("cpu", self._dtype)

    def _call(self, hook: Callable[..., torch.Tensor], x: torch.Tensor, rows: slice, **options: Any) -> torch.Tensor:
        args = self.rows(rows)
        given = None if args is None else tuple(array.to("cpu", self._dtype) for array in args)
        options.setdefault("batch_size", self.batch_size)
        options |= {"device": self.device, "precision": self._precision, "verbose": self.verbose}
        return hook(self.model, x, given, **options)

    def predict(self, X: torch.Tensor, args: Args) -> Any:
        """Return the outputs of sequences on the CPU."""
        from tangermeme.predict import predict

        return predict(self.model, X, args=args, **self._predict)

    def check(self, X: Any) -> torch.Tensor:
        """Return sequences as a tensor, or say what is wrong with them."""
        X = _one_hot(X)
        if not isinstance(X, torch.Tensor) or X.ndim != 3 or not len(X):
            shape = tuple(getattr(X, "shape", ()))
            raise ValueError(f"X must be sequences (N, letters, L), a tensor of at least one example; got {shape}")
        for array in self.args or ():
            if len(array) != len(X):
                raise ValueError(f"args must have the same first dimension as X; got {len(array)} and {len(X)}")
        return X

"""PyTorch models: corrected attributions, and the projection that corrects every gradient that passes through it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from .._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_backend("PyTorch", "torch") from error

from torch.overrides import TorchFunctionMode

from .. import ops
from . import _batches

__all__ = ["SimplexProjection", "attach", "project_gradient", "saliency"]


def project_gradient(
    x: torch.Tensor, axis: int = 1, *, letters: slice | None = None, n_letters: int | None = None
) -> torch.Tensor:
    """Return `x` unchanged; the gradient that comes back through it is corrected.

    In front of a model it corrects saliency, integrated gradients and every other method that is linear in the input
    gradient, of any library. It holds under torch.compile, torch.func, double backward and forward-mode derivatives.

    Parameters
    ----------
    x : torch.Tensor, shape (N, n_letters, L) or any other
        Input of the model, floating point.
    axis : int
        Letter axis.
    letters, n_letters
        See `ops.correct`.

    Returns
    -------
    torch.Tensor
        The values of `x`.

    Notes
    -----
    ``stop(x) + (c(x) - stop(c(x)))``, where c is `ops.correct`, which is linear and self-adjoint: its derivative is
    itself. What drops `detach` from a graph drops the projection too: torch.jit.freeze and run_decompositions do.

    Examples
    --------
    >>> x = torch.zeros(1, 4, 1, requires_grad=True)
    >>> (project_gradient(x) * torch.tensor([1.0, 2.0, 3.0, 6.0])[None, :, None]).sum().backward()
    >>> x.grad[0, :, 0]
    tensor([-2., -1.,  0.,  3.])
    """
    corrected = ops.correct(x, axis=axis, letters=letters, n_letters=n_letters)
    return x.detach() + (corrected - corrected.detach())


class SimplexProjection(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Layer that does `project_gradient`; put it in front of a model.

    Examples
    --------
    >>> SimplexProjection()
    SimplexProjection(axis=1)
    """

    def __init__(self, axis: int = 1, *, letters: slice | None = None, n_letters: int | None = None) -> None:
        super().__init__()
        self.axis, self.letters, self.n_letters = axis, letters, n_letters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x`, whose gradient will be corrected."""
        return project_gradient(x, self.axis, letters=self.letters, n_letters=self.n_letters)

    def extra_repr(self) -> str:
        """Return the arguments, for printing."""
        return f"axis={self.axis}" + (f", letters={self.letters}" if self.letters else "")


class attach:
    """Correct the input gradients of an existing model, until removed; the model is not edited.

    The first positional argument of every call of the model goes through `project_gradient`. What torch.compile made of
    the model before does not see it: attach to the compiled object, or attach first.

    Parameters
    ----------
    model : torch.nn.Module
        Model of one-hot sequences.
    axis, letters, n_letters
        See `project_gradient`.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 1))
    >>> x = torch.rand(3, 4, 2, requires_grad=True)
    >>> with attach(model):
    ...     (grad,) = torch.autograd.grad(model(x).sum(), x)
    >>> bool(grad.sum(1).abs().max() < 1e-6)
    True
    """

    def __init__(
        self, model: torch.nn.Module, axis: int = 1, *, letters: slice | None = None, n_letters: int | None = None
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(
                f"model must be a torch.nn.Module; got a {type(model).__name__}, use project_gradient in it"
            )
        self._model = model
        self._projection = SimplexProjection(axis, letters=letters, n_letters=n_letters)
        self._handle = model.register_forward_pre_hook(self._project)

    def _project(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not args:
            raise ValueError("attach corrects the first positional argument; call the model as model(x, ...)")
        return self._projection(args[0]), *args[1:]

    def remove(self) -> None:
        """Leave the model as it was."""
        self._handle.remove()

    def __enter__(self) -> torch.nn.Module:
        return self._model

    def __exit__(self, *error: object) -> None:
        self.remove()


def saliency(
    model: Any,
    X: Any,
    args: Sequence[Any] | None = None,
    *,
    target: Any = 0,
    targets: Sequence[Any] | None = None,
    output: Any = None,
    axis: int = 1,
    batch_size: int | str = "auto",
    device: Any = None,
    precision: str = "float32",
    corrected: bool = True,
    random_state: int = 0,
    verbose: bool = False,
    outputs: Sequence[str] | None = None,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> Any:
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
    output : int or str, optional
        Head of a model that returns several.
    axis : int
        Letter axis of `X`.
    batch_size : int or "auto"
        Sequences at a time; "auto" is 128, fewer for long ones (at most 262,144 positions).
    device : torch.device or str, optional
        Where to run a module, which returns afterwards to where it was; by default where it is. Batches go there,
        results come back to where `X` is.
    precision : "float32" or "tf32"
        Whether matrix products and convolutions on CUDA may round their inputs to TF32; by default they may not,
        whatever the global setting.
    corrected : bool
        False returns the plain gradient.
    random_state : int
        Not used here; every attribution method takes it.
    verbose : bool
        Show a progress bar on stderr.
    outputs : sequence of str, optional
        Of "corrected", "angle" (degrees), "grad_times_input" and "prediction" (the differentiated value, (N,)), those
        to return.
    letters, n_letters
        See `ops.correct`.

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

    Notes
    -----
    Sequences must not influence each other inside the model, as they do in batch normalisation in training mode.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2))
    >>> saliency(model, torch.eye(4)[None, :, :2], target=1).shape
    torch.Size([1, 4, 2])
    """
    if _batches.is_keras(model):
        from . import keras

        keras.backend(model, "torch")
    request = _batches.make_request(
        X, args, "torch", target=target, targets=targets, output=output, axis=axis, batch_size=batch_size,
        corrected=corrected, verbose=verbose, outputs=outputs, letters=letters, n_letters=n_letters,
    )  # fmt: skip
    if precision not in ("float32", "tf32"):
        raise ValueError(f'precision must be "float32" or "tf32"; got {precision!r}')
    with _prepared(model, device) as where, _precision(precision):
        return _batches.run(request, X, _framework(model, X, request, where))


def _framework(model: Any, X: Any, request: _batches.Request, device: torch.device | None) -> _batches.Framework:
    def enter(rows: Any) -> torch.Tensor:
        tensor = rows.detach() if isinstance(rows, torch.Tensor) else _from_numpy(rows)
        return tensor.to(tensor.device if device is None else device)

    def gradients(
        x: torch.Tensor, args: tuple[Any, ...], positions: list[Any]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        own = [None if p is None else torch.as_tensor(p, device=x.device) for p in positions]
        with torch.inference_mode(False), torch.enable_grad():
            x = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
            values = request.values(_forward(model, x, args, request), own)
            grads = [_gradient(value, x, k + 1 < len(values)) for k, value in enumerate(values)]
        return [value.detach().clone() for value in values], grads  # views would keep whole outputs in memory

    def leave(tensor: torch.Tensor) -> Any:
        return tensor.to(X.device) if isinstance(X, torch.Tensor) else _to_numpy(tensor)

    return _batches.Framework(enter, gradients, leave, _to_numpy)


def _to_numpy(tensor: torch.Tensor) -> Any:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)  # NumPy has no bfloat16


def _from_numpy(rows: Any) -> torch.Tensor:
    """As a tensor, on the same memory where torch can use it: it knows no read-only, reversed or foreign numbers."""
    return torch.from_numpy(np.require(rows, rows.dtype.newbyteorder("="), ["C", "W"]))


def _forward(model: Any, x: torch.Tensor, args: tuple[Any, ...], request: _batches.Request) -> Any:
    """What the model returns, or what goes into its last activation."""
    activations = _Activations()
    inputs = ([x, *args],) if args and _batches.is_keras(model) else (x, *args)  # Keras takes several in one list
    try:
        if not request.before_activation:
            return model(*inputs)
        with activations:
            outputs = model(*inputs)
    except RuntimeError as error:
        dtypes = {p.dtype for p in model.parameters()} if isinstance(model, torch.nn.Module) else set()
        if "type" in str(error) and dtypes and x.dtype not in dtypes:
            raise TypeError(f"X is {x.dtype} and the model {dtypes.pop()}; convert one of them") from error
        raise
    return activations.before(_batches.pick(outputs, request.output), request.output)


class _Activations(TorchFunctionMode):  # type: ignore[misc]
    """Notes what goes in and out of activations, called as functions or by modules."""

    FUNCTIONS = frozenset(
        getattr(place, name)
        for place in (torch, torch.Tensor, torch.nn.functional)
        for name in ("sigmoid", "softmax", "log_softmax", "softplus", "logsigmoid", "tanh", "relu", "exp")
        if hasattr(place, name)
    ) | {torch.special.expit}

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[torch.Tensor, int, torch.Tensor, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in self.FUNCTIONS:
            return func(*args, **kwargs)
        given = args[0] if args else kwargs["input"]
        version = given._version
        result = func(*args, **kwargs)
        self._seen.append((result, result._version, given, version))
        return result

    def before(self, head: torch.Tensor, output: Any) -> Any:
        """Return what went into the activation that made `head`, in the shape of `head` and the model's structure."""
        for result, version, given, given_version in reversed(self._seen):
            is_view = result.data_ptr() == head.data_ptr() and result.numel() == head.numel() == given.numel()
            same_order = is_view and result.is_contiguous() and head.is_contiguous()  # as after a squeeze
            if result is not head and not same_order:
                continue
            if result._version != version or given._version != given_version:
                raise ValueError(
                    "before_activation cannot look behind operations that work in place; set inplace=False"
                )
            value = given.reshape(head.shape)
            return value if output is None else {output: value}
        raise ValueError(
            "before_activation found no activation at the end of the model (inside a scripted one it cannot look); "
            "return the value before it from the model, and use an ordinary target"
        )


def _gradient(value: torch.Tensor, x: torch.Tensor, retain_graph: bool) -> torch.Tensor:
    grad = None
    if value.requires_grad:
        (grad,) = torch.autograd.grad(value.sum(), x, retain_graph=retain_graph, allow_unused=True)
    if grad is None:
        raise ValueError(_batches.NO_PATH)
    return grad.contiguous() if 0 in grad.stride() else grad  # one number seen as many cannot be written to


@contextmanager
def _prepared(model: Any, device: Any) -> Iterator[torch.device | None]:
    """Put a module into evaluation mode, without gradients of parameters, on `device`; put everything back."""
    wanted = None if device is None else torch.device(device)
    if not isinstance(model, torch.nn.Module):
        yield wanted
        return
    modes = [
        (module, module.training) for module in model.modules() if hasattr(module, "training")
    ]  # frozen ones lack it
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else None
    try:
        for module, _ in modes:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)  # what their gradients would need is not kept
        if wanted is not None and wanted != home:
            model.to(wanted)
        yield wanted or home
    finally:
        if wanted is not None and home is not None and wanted != home:
            model.to(home)
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training


@contextmanager
def _precision(name: str) -> Iterator[None]:
    """Allow or forbid TF32 in CUDA's matrix products, convolutions and recurrent layers."""
    if not torch.cuda.is_available():
        yield
        return
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    places: tuple[Any, ...] = (cuda, cudnn)
    attribute, value = "allow_tf32", cast(Any, name == "tf32")
    if hasattr(cuda, "fp32_precision"):  # torch 2.9, which does not let the older names be used beside it
        places = (cuda, cudnn.conv, cudnn.rnn)
        attribute, value = "fp32_precision", "tf32" if name == "tf32" else "ieee"
    before = [getattr(place, attribute) for place in places]
    try:
        for place in places:
            setattr(place, attribute, value)
        yield
    finally:
        for place, setting in zip(places, before, strict=True):
            setattr(place, attribute, setting)

"""The projection that corrects every gradient that passes through it: a function, a layer, or attached to a model."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from ... import ops
from ..._check import check_axis, check_float, select_letters
from ..._warn import warn
from ...backends.torch._native import dtype_name, is_native


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
    itself. What drops `detach` from a graph drops the projection too: torch.jit.freeze and run_decompositions do. In
    eager mode it is a copy forward and one correction backward.

    Examples
    --------
    >>> x = torch.zeros(1, 4, 1, requires_grad=True)
    >>> (project_gradient(x) * torch.tensor([1.0, 2.0, 3.0, 6.0])[None, :, None]).sum().backward()
    >>> x.grad[0, :, 0]
    tensor([-2., -1.,  0.,  3.])
    """
    if not torch.compiler.is_compiling() and is_native(x):
        check_float(dtype_name(x), "x")
        if letters is None:
            check_axis(x.shape, axis, n_letters)
        else:
            select_letters(x.shape, axis, letters, n_letters)
        projected: torch.Tensor = _Projection.apply(x, axis, letters, n_letters)
        return projected
    corrected = ops.correct(x, axis=axis, letters=letters, n_letters=n_letters)
    return x.detach() + (corrected - corrected.detach())


class _Projection(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """The same in eager mode, for less: a copy, since models may write over it, and one correction."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, axis: int, letters: slice | None, n_letters: int | None) -> torch.Tensor:
        ctx.options = {"axis": axis, "letters": letters, "n_letters": n_letters}
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        return ops.correct(grad, **ctx.options), None, None, None


class SimplexProjection(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Layer that does `project_gradient`; put it in front of a model.

    Correcting the gradient once more changes nothing, but angles measured behind the layer are 0.

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

    The first positional argument of every call of the model, or of its `forward`, goes through `project_gradient`; of a
    tuple there, its first element. What was taken from the model before does not see it: ``model.forward`` that another
    library holds already, or what torch.compile made of the model; attach first, or to the compiled object. Leaving the
    context warns if nothing went through. Attaching twice does what attaching once does.

    Parameters
    ----------
    model : torch.nn.Module
        Model of one-hot sequences. Of a scripted one, calls are corrected, and `forward` is not.
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
        self._model, self._was_called = model, False
        self._projection = SimplexProjection(axis, letters=letters, n_letters=n_letters)
        self._handle = None
        if isinstance(model, torch.jit.ScriptModule):
            self._handle = model.register_forward_pre_hook(lambda module, args: self.project(args))
            return
        forward = vars(model).get("forward")
        if not isinstance(forward, _ProjectedForward):
            forward = model.forward = _ProjectedForward(model.forward, before=forward)
        forward.attached.append(self)

    def project(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a call, the first of them behind the projection."""
        if not args:
            raise ValueError("attach corrects the first positional argument; call the model as model(x, ...)")
        if not self._was_called:
            self._was_called = True
        if isinstance(args[0], tuple):
            return (self._projection(args[0][0]), *args[0][1:]), *args[1:]
        return self._projection(args[0]), *args[1:]

    def remove(self) -> None:
        """Leave the model as it was; a second call does nothing."""
        if self._handle is not None:
            self._handle.remove()
        forward = vars(self._model).get("forward")
        if not isinstance(forward, _ProjectedForward):
            return
        forward.attached = [other for other in forward.attached if other is not self]
        if not forward.attached and forward.before is not None:
            self._model.forward = forward.before
        elif not forward.attached:
            del self._model.forward

    def __enter__(self) -> torch.nn.Module:
        return self._model

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.remove()
        if kind is None and not self._was_called:
            warn(
                "no call of the model went through attach, so no gradient was corrected; a model.forward that was "
                "taken before goes around it: pass the model, or take forward inside the context"
            )


class _ProjectedForward:
    """A module's `forward` behind the projections that are attached to it, in whatever order they come and go."""

    def __init__(self, forward: Callable[..., Any], before: Callable[..., Any] | None) -> None:
        self._forward, self.before = forward, before
        self.attached: list[attach] = []
        functools.update_wrapper(self, forward)

    def __call__(self, *args: Any, **options: Any) -> Any:
        for attached in self.attached:
            args = attached.project(args)
        return self._forward(*args, **options)

"""The angle penalty in PyTorch: a term of a loss, differentiable with respect to the parameters of the model."""

from collections.abc import Sequence
from typing import Any

import torch

from ... import ops
from .. import _request
from ._running import forward, gradient, unwrap, usable
from ._states import without_autocast


def angle_penalty(
    model: Any,
    X: torch.Tensor,
    target: Any = 0,
    *,
    args: Sequence[Any] | None = None,
    output: Any = None,
    axis: int = 1,
    letters: slice | None = None,
    n_letters: int | None = None,
) -> torch.Tensor:
    """Measure how far a model's input gradients point off the simplex, as a term to add to its loss.

    Parameters
    ----------
    model : torch.nn.Module or callable
        Is run once more, in the mode it is in: in training mode with a dropout mask of its own. Nothing of it is
        switched. Of a DistributedDataParallel model the module inside is run, see Notes.
    X : torch.Tensor, shape (N, n_letters, L)
        One-hot sequences, of the dtype and on the device of the model.
    target, args, output, axis, letters, n_letters
        See `saliency`. What is differentiated; the papers take the probability, after the sigmoid.

    Returns
    -------
    torch.Tensor, shape ()
        Degrees. Under torch.no_grad or torch.inference_mode the value alone.

    Raises
    ------
    TypeError
        If `X` is not a floating-point tensor.
    ValueError
        If the axis does not look like letters, the target does not exist, or the output does not depend on the input
        by a differentiable path.

    Notes
    -----
    ``mean_n sqrt(sum_l angle[n, l]^2)``, angles in degrees: Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023),
    Note S2, where the loss is ``BCE + weight * penalty`` and the spread of the angles collapses between weights of
    2e-5 and 1e-4. Written with arcsin and a root, it has no derivative at 90 degrees, at a zero gradient, and in a
    sequence whose angles are all 0; here it is finite at the first and 0 at the others. Gradients smaller than the
    root of the smallest normal number (1e-19 in float32) have their angle, but their pull on the parameters shrinks
    with them. An empty batch has penalty 0.

    Autocast is off inside: rounding would move the angles. One call of ``(loss + weight * penalty).backward()`` does
    for models in DistributedDataParallel, each process with the penalty of its own sequences. torch.compile has no
    second derivatives: pass the model as it was before it was compiled.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 1), torch.nn.Sigmoid())
    >>> x = torch.eye(4)[None, :, :2]
    >>> loss = model(x).mean() + 1e-4 * angle_penalty(model, x)
    >>> loss.backward()
    """
    if not isinstance(X, torch.Tensor):
        raise TypeError(f"X is a {type(X).__name__}; a loss needs a tensor on the model's device, torch.as_tensor(X)")
    request = _request.make_request(
        X, args, "torch", target=target, output=output, axis=axis, letters=letters, n_letters=n_letters
    )
    own = [None if p is None else torch.as_tensor(p, device=X.device) for p in request.positions]
    is_term = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad(), without_autocast(X.device):
        x, *rest = (usable(tensor) for tensor in (X, *request.args))
        x.requires_grad_()
        (value,) = request.values(forward(unwrap(model), x, tuple(rest), request), own)
        grad = gradient(value, x, create_graph=is_term).movedim(request.layout.axis, -1)[..., request.layout.letters]
        angle = ops.simplex_angle(_in_range(grad), n_letters=request.layout.n_letters)
        norms = torch.linalg.vector_norm(angle.flatten(1), dim=1)  # its derivative at 0 is 0
        return norms.sum() / max(len(X), 1)


def _in_range(grad: torch.Tensor) -> torch.Tensor:
    """Divide each position by its largest magnitude, which changes no angle; the derivative is bounded.

    An angle's derivative grows as one over the gradient; that of a saturated sigmoid would make it overflow on its way
    through the model, and what is infinite times zero is NaN.
    """
    fixed = grad.detach()
    largest = fixed.abs().amax(-1, keepdim=True)
    smallest = torch.finfo(grad.dtype).tiny ** 0.5
    return fixed / largest.where(largest > 0, 1.0) + (grad - fixed) / largest.clamp_min(smallest)

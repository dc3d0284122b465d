"""How PyTorch models are run: prepared and put back, forwards and gradients, precision, memory."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ... import ops
from ..._types import AnyArray, Array, Model
from ..._warn import warn
from .. import _checks, _inputs, _options, _request
from .._inputs import Inputs
from .._layout import Layout
from .._outputs import call_model, pick
from .._ready import Framework, Method, Positions, ReadyModel, Shapes
from . import _optimizing
from ._draws import draws_on
from ._incremental.choosing import Chooser
from ._memory import MEMORY, fit_batch
from ._states import autocast, prepared, set_precision, without_autocast
from ._transfer import bring, transfer

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
FLAT_STEP = re.compile(r"(Sign|Sgn|Round|Floor|Ceil|Trunc|Heaviside)Backward")
"""Nodes of autograd whose derivative is zero everywhere."""
COMPILED = "_torchdynamo_orig_callable", "_compiled_call_impl"
"""What `torch.compile` notes on functions and modules that it returns, and `Module.compile` on its own."""
N_PROBED = 8
"""Sequences on which reduced precision is compared with float32."""


@contextmanager
def prepare(
    model: Model, X: AnyArray, args: Sequence[AnyArray] | None, method: Method, options: _options.Options
) -> Iterator[ReadyModel]:
    """Check a call, make the model ready for it, and put it back at the end; see `_engine.Prepare`."""
    if _request.is_keras(model):
        from .. import keras

        keras.backend(model, "torch")
        model, output = keras.find_output(model, options.get("output"))
        options = {**options, "output": output}
        if options.get("optimize"):
            raise ValueError(
                f"optimize={options['optimize']!r} is for models of PyTorch alone; leave it away for Keras"
            )
    model = unwrap(model)
    given: _options.Options = {"axis": 1, "precision": "float32", "batch_size": "auto", "device": None}
    given.update(options)
    precision = given["precision"]
    request = _request.make_request(X, args, "torch", extra=method.extra, **given)
    model = arranged(model, request.inputs)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    with (
        prepared(model, given["device"]) as where,
        set_precision(precision),
        without_autocast(place := torch.device(where or X.device)),
    ):
        fastest, optimization = model, None

        def make_for(model: Model, wanted: _request.Request, precision: str) -> Framework:
            return _make_framework(model, X, wanted, where, precision)

        def make(wanted: _request.Request) -> Framework:
            framework = make_for(fastest, wanted, precision)
            if fastest is model:
                return framework
            own = make_for(model, wanted, precision)  # the steps to a value show in the model alone
            return framework._replace(has_path=own.has_path, refer=own.refer)

        if given["batch_size"] == "auto" and place.type == "cpu":
            request = request._replace(batch_size=_request.rows_of_few_positions(request.layout.n_positions))
        elif given["batch_size"] == "auto" and place.type == "cuda" and len(X):
            request = request._replace(batch_size=fit_batch(model, make(request), request, X, place, precision))
        if len(X) and (precision in ("bfloat16", "float16") or (precision == "tf32" and place.type == "cuda")):
            _probe(model, X, request, where, precision)
        if request.optimize != 0 and len(X):
            probe = _optimizing.make_probe(X, request, precision, method.needs_gradients, make_for)
            fastest, found = _optimizing.optimise(model, request.optimize, probe)
            optimization = found._asdict()
        yield ReadyModel(request, make, optimization)


class _Arranged(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A module as a function of sequences and arrays in that order."""

    def __init__(self, model: torch.nn.Module, inputs: Inputs, takes_dict: bool) -> None:
        super().__init__()
        self.model, self._inputs, self._takes_dict = model, inputs, takes_dict

    def forward(self, x: torch.Tensor, *arrays: torch.Tensor) -> Any:
        """Call the module."""
        return self._inputs.call(self.model, x, arrays, self._takes_dict)


def arranged(model: Model, inputs: Inputs | None) -> Model:
    """Return a module or function of sequences and arrays, or the model itself if it is one."""
    if inputs is None or _request.is_keras(model):  # Keras' inputs have names and an order of their own
        return model
    if not isinstance(model, torch.nn.Module):
        return _inputs.arranged(model, inputs)
    return _Arranged(model, inputs, _inputs.takes_dict(model.forward, inputs))


def _probe(model: Model, X: AnyArray, request: _request.Request, device: torch.device | None, precision: str) -> None:
    """Compare gradients of a few sequences in reduced precision with those in float32."""
    n = min(len(X), request.batch_size, N_PROBED)
    found = []
    for each in ("float32", precision):
        framework = _make_framework(model, X, request, device, each)
        arguments = tuple(framework.enter(array[:n]) for array in request.args)
        own = [None if p is None else p[:n] for p in request.positions]
        with set_precision(each):
            found.append(framework.gradients(framework.enter(X[:n]), arguments, own)[1][0])
    exact, rounded = found
    _report_precision(exact, rounded, precision, request.letters)


def _make_framework(
    model: Model, X: AnyArray, request: _request.Request, device: torch.device | None, precision: str
) -> Framework:
    """Return how rows of `X` reach a model on a device, and what comes back."""

    def enter(rows: AnyArray) -> torch.Tensor:
        tensor = rows.detach() if isinstance(rows, torch.Tensor) else _from_numpy(rows)
        return bring(tensor, tensor.device if device is None else device)

    def gradients(
        x: torch.Tensor, args: tuple[Any, ...], positions: Positions
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        own = _placed(positions, x.device)
        if request.forward_only:
            with torch.no_grad(), autocast(x, precision):
                seen, *rest = (tensor.clone() for tensor in (x, *args))  # which a model may write over
                return [_own(value, x) for value in request.values(forward(model, seen, tuple(rest), request), own)], []
        with torch.inference_mode(False), torch.enable_grad():
            x, *rest = (tensor.detach().clone() for tensor in (x, *args))  # which a model may write over
            x.requires_grad_()
            with autocast(x, precision):
                values = request.values(forward(model, x, tuple(rest), request), own)
            last = len(request.targets) - 1
            grads = [gradient(value, x, retain_graph=k < last) for k, value in enumerate(values[: last + 1])]
        return [_own(value, x) for value in values], grads

    def leave(tensor: torch.Tensor) -> AnyArray:
        return tensor.to(X.device) if isinstance(X, torch.Tensor) else _to_numpy(tensor)

    def has_path(x: torch.Tensor, args: tuple[Any, ...], positions: Positions, target: int) -> bool:
        own = _placed(positions, x.device)
        with torch.inference_mode(False), torch.enable_grad(), autocast(x, precision):
            leaf = usable(x).clone().requires_grad_()
            values = request.values(forward(model, leaf * 1, args, request), own)
        return _is_reached(values[target].grad_fn)

    def run(x: torch.Tensor, args: Sequence[torch.Tensor]) -> Any:
        return forward(model, x, tuple(args), request)

    refer = Chooser(model, request, run, gradient, precision)
    shapes = partial(_shapes_of, model)
    framework = Framework(
        enter, gradients, leave, _to_numpy, _add, MEMORY, _substitute, _empty, has_path, refer, shapes
    )  # fmt: skip
    place = torch.device(device or X.device)
    if place.type != "cuda":
        return framework
    return framework._replace(runs_ahead=True, fetch=transfer(place).fetch, draw=draws_on)


def _placed(positions: Positions, device: torch.device) -> list[torch.Tensor | None]:
    return [None if p is None else bring(torch.as_tensor(p), device) for p in positions]


def _shapes_of(model: Model) -> Shapes:
    """Tell which sizes of batches cost nothing: programs are made for one, or for all but a single row."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else [model]
    is_program = any(
        isinstance(module, torch.fx.GraphModule | torch.jit.ScriptModule)
        or any(getattr(module, "__dict__", {}).get(name) is not None for name in COMPILED)
        for module in modules
    )
    return Shapes.FEW if is_program else Shapes.ANY


def _is_reached(node: Any) -> bool:
    """Whether a graph leads to a leaf by a way on which no step has a derivative that is zero everywhere."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or FLAT_STEP.match(node.name()):
            continue
        if node.name().endswith("AccumulateGrad"):
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


def unwrap(model: Model) -> Model:
    """Return the module inside a DistributedDataParallel one, whose calls wait for those of all other processes."""
    return model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model


def usable(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without its graph, which autograd can save: it cannot save those made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _own(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Values without graph; a view would keep the whole output in memory."""
    is_rounded = value.dtype in (torch.float16, torch.bfloat16) and x.dtype == torch.float32  # by autocast
    return value.detach().float() if is_rounded else value.detach().clone()


def _add(total: torch.Tensor | None, grad: torch.Tensor, weight: float) -> torch.Tensor:
    """Add to a sum in place; half precision is summed in float32."""
    if total is not None:
        return total.add_(grad, alpha=weight)
    if weight == 1:
        return grad
    return torch.mul(grad.float() if grad.dtype in (torch.float16, torch.bfloat16) else grad, weight)


def _empty(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _substitute(rows: torch.Tensor, places: tuple[Array, ...], letters: Array, layout: Layout) -> torch.Tensor:
    """Write one letter into each row."""
    index = bring(torch.as_tensor(np.stack([np.arange(len(letters)), *places, letters])), rows.device)
    channels = rows.movedim(layout.axis, -1)[..., layout.letters]
    channels[tuple(index[:-1])] = 0
    channels[tuple(index)] = 1
    return rows


def _to_numpy(tensor: torch.Tensor) -> Array:
    is_unknown = tensor.dtype == torch.bfloat16  # to NumPy
    numbers: Array = (tensor.float() if is_unknown else tensor).numpy(force=True)
    return numbers


def _from_numpy(rows: Array) -> torch.Tensor:
    """As a tensor, on the same memory where torch can use it: it knows no read-only, reversed or foreign numbers."""
    return torch.from_numpy(np.require(rows, rows.dtype.newbyteorder("="), ["C", "W"]))


def forward(model: Model, x: torch.Tensor, args: tuple[Any, ...], request: _request.Request) -> Any:
    """What the model returns, or what goes into its last activation."""
    activations, inputs, named = _Activations(), (x, *args), dict[str, Any]()
    if _request.is_keras(model):
        from .. import keras

        inputs, named = keras.arrange(model, x, args, request.inputs)
    try:
        if not request.before_activation:
            return call_model(model, *inputs, **named)
        with activations:
            outputs = call_model(model, *inputs, **named)
    except (RuntimeError, NotImplementedError) as error:
        dtypes = {p.dtype for p in model.parameters()} if isinstance(model, torch.nn.Module) else set()
        if "type" in str(error) and dtypes and x.dtype not in dtypes:
            raise TypeError(f"X is {x.dtype} and the model {dtypes.pop()}; convert one of them") from error
        _explain(error)
        raise
    return activations.before(pick(outputs, request.output), request.output)


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


def gradient(
    value: torch.Tensor, x: torch.Tensor, *, retain_graph: bool | None = None, create_graph: bool = False
) -> torch.Tensor:
    """Gradient of the sum of `value`, or an error that says why there is none."""
    grad = None
    if value.requires_grad:
        try:
            (grad,) = torch.autograd.grad(
                value.sum(), x, retain_graph=retain_graph, create_graph=create_graph, allow_unused=True
            )
        except (RuntimeError, NotImplementedError) as error:
            _explain(error)
            raise
    if grad is None:
        raise ValueError(_checks.NO_PATH)
    return grad.contiguous() if 0 in grad.stride() else grad  # one number seen as many cannot be written to


def _explain(error: Exception) -> None:
    """Raise what an error of autograd means for a model, if it is known."""
    text = str(error).partition("\n")[0].rstrip(".")
    if "in-place operation" in text or "inplace operation" in text:
        raise ValueError(
            f"the model writes over what its gradient needs; clone it there first, or set inplace=False (torch: {text})"
        ) from error
    if "Inference tensors cannot be saved" in text:
        raise ValueError(
            "the model was made in inference mode, and such tensors have no gradients; make or load it outside of "
            "torch.inference_mode"
        ) from error
    if "use_reentrant=True" in text:
        raise ValueError(
            "the model checkpoints with use_reentrant=True, through which no gradient of the input goes; pass "
            "use_reentrant=False to torch.utils.checkpoint.checkpoint"
        ) from error
    if "cudnn RNN backward" in text:
        raise ValueError(
            f"cuDNN cannot differentiate recurrent layers with dropout in evaluation mode; set their dropout to 0, or "
            f"call under torch.backends.cudnn.flags(enabled=False) (torch: {text})"
        ) from error
    if "derivative" in text and "not implemented" in text:
        raise ValueError(
            f"a part of the model is not differentiable; replace it, or detach it (torch: {text})"
        ) from error


def _report_precision(exact: torch.Tensor, rounded: torch.Tensor, precision: str, letters: dict[str, Any]) -> None:
    """Warn of how far angles and corrected gradients in reduced precision are from those in float32."""
    angles = [ops.simplex_angle(grad.float(), **letters) for grad in (exact, rounded)]
    error = (angles[0] - angles[1]).abs().double().flatten()
    corrected = [ops.correct(grad.float(), **letters).double() for grad in (exact, rounded)]
    relative = float((corrected[0] - corrected[1]).norm() / corrected[0].norm().clamp_min(1e-300))
    if float(error.max()) == 0 and relative == 0:
        return
    middle, high = (float(np.quantile(error.cpu().numpy(), q)) for q in (0.5, 0.99))
    warn(
        f"{precision} differs from float32 on {len(exact)} sequences: angles by {middle:.2g} degrees in the median and "
        f"{high:.2g} at the 99th percentile, corrected gradients by {100 * relative:.2g} %"
    )

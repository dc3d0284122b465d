"""Follow the input of a PyTorch model through rearrangements to the layers that take it first."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from ..._check import check_axis, select_letters
from ..._wording import option

LINEAR = ("conv1d", "conv2d", "linear")
LAYERS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear)
MOVES = {
    "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "numpy_T", "adjoint",
    "reshape", "view", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten", "unsqueeze", "squeeze",
    "flip", "fliplr", "flipud", "roll", "rot90", "cat", "concat", "concatenate", "stack", "hstack", "vstack",
    "narrow", "slice", "__getitem__", "select", "index_select", "index", "split", "split_with_sizes", "chunk",
    "unsafe_chunk", "unsafe_split", "unbind", "tensor_split", "expand", "expand_as", "broadcast_to", "repeat", "tile",
    "pad", "constant_pad_nd",
}  # fmt: skip
"""Functions that only move numbers about, and do to their places what they do to the numbers."""
KEEPS = {
    "to",
    "float",
    "double",
    "half",
    "bfloat16",
    "type",
    "type_as",
    "contiguous",
    "clone",
    "_to_copy",
    "requires_grad_",
}
ARITHMETIC = {"add", "sub", "mul", "div", "true_divide", "__rsub__", "rsub"}
"""With a number: all places stay, all gradients are scaled alike."""
DROPOUTS = {"dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d"}
LONGEST = 1 << 17
"""Positions up to which the length of a model's input is sought."""
MEND = "put SimplexProjection in front of the model, or use attach, instead of fold"


class Consumer(NamedTuple):
    """A call of a linear function on the rearranged input."""

    name: str
    """Of `LINEAR`."""
    where: str
    """Path of the module, for messages."""
    place: Any
    """The module, or the node of a graph."""
    places: torch.Tensor
    """Where each number it takes comes from: 1 + the position in the flattened input, or 0."""
    given: torch.Tensor
    """What it takes."""
    weight: torch.Tensor
    padding: Any


class Sums(NamedTuple):
    """Which numbers that a layer takes are the letters of one position."""

    order: torch.Tensor
    """Features, shape (n_positions, n), the letters of each position in a row."""
    merged: tuple[int, ...]
    """Axes, beside that of the channels, that the features lie on."""
    total: float | None
    """What the letters of every position sum to, if they are one-hot; None if that varies, as where a layer pads."""


def find_consumers(model: torch.nn.Module, x: torch.Tensor, args: Sequence[Any]) -> list[Consumer]:
    """Return the layers that take the input first, or refuse a model that does something else with it.

    The model should be in evaluation mode, its parameters without gradients, and the call outside of no_grad.
    """
    x = x.detach().clone().requires_grad_()
    names = {module: name for name, module in model.named_modules()}
    follower = _Follower(x, names)
    hooks = [module.register_forward_pre_hook(follower.enter) for module in names]
    hooks += [module.register_forward_hook(follower.leave) for module in names]
    try:
        with follower:
            if isinstance(model, torch.fx.GraphModule):
                _Interpreter(model, follower).run(x, *args)
            else:
                model(x, *args)
    finally:
        for hook in hooks:
            hook.remove()
    if not follower.consumers:
        raise ValueError("the model does nothing with its input that a gradient could pass")
    for consumer in follower.consumers:
        if consumer.place in follower.elsewhere:
            raise ValueError(f"layer {consumer.where} is also used on other things than the input; {MEND}")
    return follower.consumers


class _Interpreter(torch.fx.Interpreter):  # type: ignore[misc]  # torch is not typed here
    """Run a graph, telling at which node it is."""

    def __init__(self, model: torch.fx.GraphModule, follower: "_Follower") -> None:
        super().__init__(model)
        self._follower = follower

    def run_node(self, n: torch.fx.Node) -> Any:
        self._follower.node = n
        return super().run_node(n)


class _Follower(TorchFunctionMode):  # type: ignore[misc]
    """Sees every function that is called, and follows the places of the input."""

    def __init__(self, x: torch.Tensor, names: dict[torch.nn.Module, str]) -> None:
        super().__init__()
        self._followed = {id(x): (x, torch.arange(1, x.numel() + 1, device=x.device).reshape(x.shape))}
        self._stack: list[torch.nn.Module] = []
        self._names = names
        self.node: torch.fx.Node | None = None
        self.consumers: list[Consumer] = []
        self.elsewhere: list[Any] = []

    def enter(self, module: torch.nn.Module, args: Any) -> None:
        self._stack.append(module)

    def leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = _name(func)
        if not any(id(leaf) in self._followed for leaf in tree_leaves((args, kwargs))):
            if name in LINEAR:
                self.elsewhere.append(self._place())
            return result
        if name != "__setitem__" and not any(map(_has_gradient, tree_leaves(result))):
            return result
        places = self._follow(name, func, args, kwargs)
        if places is not None:
            for tensor, moved in zip(tree_leaves(result), tree_leaves(places), strict=True):
                self._followed[id(tensor)] = tensor, moved
        return result

    def _follow(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the places of the result, or None where the input meets its first layer."""
        first = args[0] if args else kwargs.get("input")
        if name in LINEAR and id(first) in self._followed:
            self.consumers.append(self._consume(name, args, kwargs))
            return None
        if name in MOVES:
            if name == "pad":  # whatever it pads with is no part of the input
                args, kwargs = args[:3], {key: kwargs[key] for key in kwargs if key != "value"}
            if name == "constant_pad_nd":
                args, kwargs = args[:2], {}
            return func(*tree_map(self._places, args), **tree_map(self._places, kwargs))
        others = [leaf for leaf in tree_leaves(args[1:]) if isinstance(leaf, torch.Tensor)]
        keeps = name in KEEPS or (name in ARITHMETIC and not others and id(first) in self._followed)
        if keeps or (name in DROPOUTS and not _trains(args, kwargs)):
            return self._places(first)
        raise ValueError(f"the first operation on the input is {name}{self._where()}, and not a linear layer; {MEND}")

    def _places(self, value: Any) -> Any:
        if id(value) in self._followed:
            return self._followed[id(value)][1]
        if _is_float(value):
            return torch.zeros(value.shape, dtype=torch.int64, device=value.device)
        return value

    def _consume(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Consumer:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(names, args, strict=False)) | kwargs
        place, weight, where = self._place(), given["weight"], self._where()
        if isinstance(place, torch.nn.Module):
            layer = next((kind for kind in LAYERS if isinstance(place, kind)), None)
            if layer is None or place.weight is not weight or _is_changed(type(place), layer):
                raise ValueError(
                    f"the first operation on the input is {name}{where}, whose weights are no parameters of a Conv1d, "
                    f"Conv2d or Linear layer (are they parametrized? remove_parametrizations first); {MEND}"
                )
        if id(weight) in self._followed:
            raise ValueError(f"the input is the weight of {name}{where}; {MEND}")
        if given.get("groups", 1) != 1:
            raise ValueError(f"the convolution{where} has groups, which part the letters; {MEND}")
        x, places = self._followed[id(given["input"])]
        where = self._names.get(place, "") or f"{name}{where}"
        return Consumer(name, where, place, places, x.detach(), weight, given.get("padding", 0))

    def _place(self) -> Any:
        """The layer that is running, or the node of the outermost graph."""
        inner = [module for module in self._stack if not isinstance(module, torch.fx.GraphModule)]
        return inner[-1] if inner or self.node is None else self.node

    def _where(self) -> str:
        name = self._names.get(self._stack[-1], "") if self._stack else ""
        return f" in {name}" if name else ""


def _name(func: Any) -> str:
    """The name of a function, method, property or operator of a graph."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(func.__self__.__name__)
    return name if name.startswith("__") else name.partition(".")[0]


def _is_changed(own: type, layer: type) -> bool:
    """Whether a subclass of a layer computes something else."""
    return any(getattr(own, name, None) is not getattr(layer, name, None) for name in ("forward", "_conv_forward"))


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _has_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _trains(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether dropout drops."""
    given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
    return bool(given.get("training", given.get("train", True)))


# --- which numbers are letters of one position ---


def number_letters(
    x: torch.Tensor, axis: int, letters: slice | None, n_letters: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return letter and position of each number of the input, counted from 1; at 0 those of what is no letter."""
    if letters is None:
        front, letters = check_axis(x.shape, axis, n_letters), slice(None)
    else:
        front, _ = select_letters(x.shape, axis, letters, n_letters)
    letter, position = (torch.zeros(x.shape, dtype=torch.int64, device=x.device) for _ in range(2))
    chosen = letter.movedim(front, -1)[..., letters]
    chosen.copy_(torch.arange(1, chosen.shape[-1] + 1, device=x.device))
    rows = position.movedim(front, -1)[..., letters]
    rows.copy_(torch.arange(1, rows[..., 0].numel() + 1, device=x.device).reshape(*rows.shape[:-1], 1))
    nothing = torch.zeros(1, dtype=torch.int64, device=x.device)
    return torch.cat([nothing, letter.flatten()]), torch.cat([nothing, position.flatten()])


def make_one_hot(x: torch.Tensor, axis: int, letters: slice | None) -> torch.Tensor:
    """Return a copy with 1 at the largest letter of each position, 0 at the others."""
    x = x.clone()
    channels = x.movedim(axis, -1)[..., letters or slice(None)]
    channels.copy_(torch.nn.functional.one_hot(channels.argmax(-1), channels.shape[-1]))
    return x


def find_sums(consumer: Consumer, letter: torch.Tensor, position: torch.Tensor, axis: int) -> Sums:
    """Work out which features are the letters of one position, along the channels or the whole of a kernel too."""
    for merged in ((), _covered(consumer)):
        places, given = (_by_feature(x, consumer.name, merged) for x in (consumer.places, consumer.given))
        order = _group(letter[places], position[places])
        if order is not None:
            totals = given[order].double().sum(1)
            padding = consumer.padding
            varies = padding == "same" or (padding != "valid" and any(tree_leaves(padding)))
            varies = varies or not torch.allclose(totals, totals.flatten()[0])
            return Sums(order, merged, None if varies else float(totals.flatten()[0]))
    raise ValueError(
        f"layer {consumer.where} does not take all letters of a position at once; axis is {axis}, pass that of the "
        f"letters if it is another, otherwise {MEND}"
    )


def _by_feature(x: torch.Tensor, name: str, merged: tuple[int, ...]) -> torch.Tensor:
    return (x.movedim(-1, 0) if name == "linear" else merge(x, merged).movedim(1, 0)).flatten(1)


def _covered(consumer: Consumer) -> tuple[int, ...]:
    """Axes of which a kernel takes the whole."""
    if consumer.name == "linear" or getattr(consumer.place, "padding_mode", "zeros") != "zeros":
        return ()
    kernel, size = consumer.weight.shape, consumer.places.shape
    padding = consumer.padding
    if isinstance(padding, str):
        padding = 0 if padding == "valid" else 1
    pads = [padding] * (len(size) - 2) if isinstance(padding, int) else list(padding) * (len(size) - 2)
    return tuple(d for d in range(2, len(size)) if kernel[d] == size[d] and pads[d - 2] == 0)


def _group(letter: torch.Tensor, position: torch.Tensor) -> torch.Tensor | None:
    """Return the features (rows) in groups with the letters of one position each, or None if they do not fall so."""
    n_letters = int(letter.max())
    unique, group, sizes = torch.unique(position, dim=0, return_inverse=True, return_counts=True)
    has_letters = unique.any(dim=1)
    size = int(sizes[has_letters][0]) if bool(has_letters.any()) else 0
    if size == 0 or size % n_letters or bool((sizes[has_letters] != size).any()):
        return None
    features = torch.argsort(group, stable=True)
    order = features[has_letters[group[features]]].reshape(-1, size)
    order = order[order[:, 0].argsort()]
    expected = torch.arange(1, n_letters + 1, device=letter.device).repeat_interleave(size // n_letters)[:, None]
    found = letter[order].sort(dim=1).values  # (n_positions, n, places)
    return order if bool(((found == expected) | (found == 0)).all()) else None


def merge(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Move axes into that of the channels, leaving length 1."""
    for axis in axes:
        x = x.movedim(axis, 2).flatten(1, 2).unsqueeze(axis)
    return x


def part(x: torch.Tensor, shape: Sequence[int], axes: tuple[int, ...]) -> torch.Tensor:
    """Undo `merge`."""
    for axis in reversed(axes):
        x = x.squeeze(axis).unflatten(1, (-1, shape[axis])).movedim(2, axis)
    return x


# --- an input that a model takes ---


def make_example(model: torch.nn.Module, axis: int, n_letters: int | None, args: Sequence[Any]) -> torch.Tensor:
    """Return random numbers in a shape that a model takes: a graph knows it, otherwise lengths are tried."""
    if isinstance(model, torch.fx.GraphModule):
        value = model.graph.find_nodes(op="placeholder")[0].meta.get("val")
        if isinstance(value, torch.Tensor):
            shape = [length if isinstance(length, int) else length.node.hint for length in value.shape]
            return torch.rand(shape, dtype=value.dtype, device=value.device)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    n_rows = len(args[0]) if args else 2
    low, length, high = 0, 256, None
    while low < length <= LONGEST:
        sizes = (n_rows, n_letters or 4, length) if axis in (1, -2) else (n_rows, length, n_letters or 4)
        x = torch.rand(sizes, dtype=like.dtype, device=like.device)
        too_many = excess(model, x, args)
        if too_many == 0:
            return x
        low, high = (length, high) if too_many < 0 else (low, length)
        length = 2 * length if high is None else (low + high) // 2
    raise ValueError(
        f"no length was found that the model takes; pass {option('example', '(n, 4, L) numbers', '--length')}"
    )


def excess(model: torch.nn.Module, x: torch.Tensor, args: Sequence[Any]) -> int:
    """Return how many features an input brings a linear layer too many, or -1 if it is too short in another way."""
    found: list[int] = []

    def compare(layer: torch.nn.Linear, given: tuple[torch.Tensor, ...]) -> None:
        found.append(given[0].shape[-1] - layer.in_features)

    hooks = [m.register_forward_pre_hook(compare) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    try:
        with torch.no_grad():
            model(x, *args)
        return 0
    except (RuntimeError, ValueError, IndexError, AssertionError):  # what models raise for a length that does not fit
        return next((number for number in found if number), -1)
    finally:
        for hook in hooks:
            hook.remove()

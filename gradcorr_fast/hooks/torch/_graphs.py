"""Graphs of PyTorch models: what torch.fx can follow of a model, and how nodes are read and changed."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
Change = Callable[[fx.GraphModule, str], bool]
"""Changes a graph, whose place in the model is given, and says whether it did."""


def follow(model: nn.Module, n_inputs: int, change: Change) -> tuple[nn.Module, list[str]]:
    """Change the graph of a model, or those of its parts where torch.fx cannot follow all of it.

    Parameters
    ----------
    model : torch.nn.Module
        It is changed, or graphs take the places of its parts.
    n_inputs : int
        Number of inputs that it will be given.
    change : callable
        See `Change`.

    Returns
    -------
    torch.nn.Module
        The model, or a graph in its place.
    list of str
        What could not be followed, and why.
    """
    reasons: list[str] = []
    seen: dict[nn.Module, nn.Module] = {}

    def replace(module: nn.Module, path: str, n_given: int | None) -> nn.Module:
        if module not in seen:
            seen[module] = module  # should it hold itself
            seen[module] = part(module, path, n_given)
        return seen[module]

    def part(module: nn.Module, path: str, n_given: int | None) -> nn.Module:
        name = f"{path.rstrip('.') or 'the model'} ({type(module).__name__})"
        if isinstance(module, torch.jit.ScriptModule):
            reasons.append(f"{name} is scripted")
            return module
        has_tensors = any(True for tensors in (module.parameters(), module.buffers()) for _ in tensors)
        if _is_of_torch(module) or not has_tensors:
            return module
        try:
            graph_module = module if isinstance(module, fx.GraphModule) else _trace(module, n_given)
        except Exception as error:  # noqa: BLE001  (what code of others raises that meets a symbol for a number)
            if not isinstance(module, CONTAINERS):
                reasons.append(f"{name}: {shorten(error)}")
            for child, inner in module.named_children():
                module._modules[child] = replace(inner, f"{path}{child}.", None)
            return module
        is_changed = change(graph_module, path)
        for child in {str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"}:
            inner = graph_module.get_submodule(child)
            other = replace(inner, f"{path}{child}.", None)
            if other is not inner:
                graph_module.set_submodule(child, other)
                is_changed = True
        return graph_module if is_changed else module

    return replace(model, "", n_inputs), reasons


def shorten(error: Exception, n_letters: int = 160) -> str:
    """Return what an error says in one line."""
    text = str(error).strip().partition("\n")[0].rstrip(". ") or type(error).__name__
    return text if len(text) <= n_letters else f"{text[: n_letters - 3]}..."


def _is_of_torch(module: nn.Module) -> bool:
    """Whether a module is a layer of PyTorch, whose parts know each other, and not one that holds any."""
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, CONTAINERS)


def _trace(module: nn.Module, n_inputs: int | None) -> fx.GraphModule:
    if has_hooks(module):
        raise ValueError("it has hooks, which a graph of it would not call")
    if "forward" in vars(module):
        raise ValueError("its forward was replaced")
    tracer = _Tracer(n_inputs)
    graph = tracer.trace(module)
    return fx.GraphModule(tracer.root, graph, type(module).__name__)


class _Tracer(fx.Tracer):  # type: ignore[misc]  # torch is not typed here
    """Follows a model, but for modules in it that cannot be followed, which it takes as they are."""

    def __init__(self, n_inputs: int | None) -> None:
        super().__init__()
        self.module_stack: Any
        self._n_inputs, self._modes = n_inputs, _modes()

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """Leave away the inputs that have a default and are not given."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        nodes = [arg.node for arg in args[1:]]
        n_needed = sum(not node.args for node in nodes) if self._n_inputs is None else self._n_inputs
        for node in reversed(nodes[n_needed:]):
            self.graph.erase_node(node)
        return function, args[: 1 + n_needed]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return has_hooks(m) or bool(super().is_leaf_module(m, module_qualified_name))

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        n_nodes, stack = len(self.graph.nodes), copy.copy(self.module_stack)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # noqa: BLE001  (as in `follow`)
            for node in reversed(list(self.graph.nodes)[n_nodes:]):
                self.graph.erase_node(node)
            self.module_stack = stack
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if _modes() != self._modes:  # which a graph would not set
            raise ValueError("it switches gradients or autocast on or off")
        return super().create_node(*args, **kwargs)


def _modes() -> tuple[bool, ...]:
    autocasts = (torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *autocasts


def has_hooks(module: nn.Module) -> bool:
    """Whether something of the user's is called with a module."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for name in names)


def is_plain(module: nn.Module, kinds: tuple[type, ...]) -> bool:
    """Whether a module does what one of these kinds does, and nothing else."""
    kind = next((kind for kind in kinds if isinstance(module, kind)), None)
    names = ("forward", "_conv_forward", "__call__")
    changed = any(getattr(type(module), name, None) is not getattr(kind, name, None) for name in names)
    return kind is not None and not changed and "forward" not in vars(module) and not has_hooks(module)


# --- nodes ---


def arguments_of(node: fx.Node, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a node that calls a function, by name."""
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def set_argument(node: fx.Node, names: Sequence[str], name: str, value: Any) -> None:
    """Change one of them."""
    place = names.index(name)
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)


def constant(model: fx.GraphModule, value: Any) -> torch.Tensor | None:
    """Return the tensor that an argument stands for, None for None; raise LookupError if it is computed."""
    if value is None:
        return None
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        raise LookupError("it is no constant")
    found: Any = model
    for name in str(value.target).split("."):
        found = getattr(found, name)
    if not isinstance(found, torch.Tensor):
        raise LookupError("it is no tensor")
    return found


def put_tensor(model: fx.GraphModule, before: fx.Node, name: str, tensor: nn.Parameter) -> fx.Node:
    """Add a tensor to a graph, to be used by a node."""
    names = (f"{name}_{k}" for k in range(len(model._parameters) + 1))
    free = next(text for text in names if not hasattr(model, text))
    model.register_parameter(free, tensor)
    with model.graph.inserting_before(before):
        return model.graph.get_attr(free)

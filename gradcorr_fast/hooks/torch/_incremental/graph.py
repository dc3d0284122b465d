"""The graph of a PyTorch model, as torch.export has it: operations on tensors, in their order, with their constants."""

import operator
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node
from torch.utils._pytree import TreeSpec, tree_unflatten

from ...._types import Model
from .._normalisation import scale_and_shift

ROWS = 13
"""With which models are traced that hold the number of rows for a constant."""
LIBRARY = Path(torch.__file__).parent
"""Where lines of code are not the user's."""


Closed = Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], AbstractContextManager[None]]


class Unfollowed(Exception):
    """What a model does that cannot be followed, in words."""


class Graph(NamedTuple):
    """Operations of a model."""

    nodes: list[Node]
    """Operations in their order."""
    x: Node
    """The sequences."""
    args: list[Node]
    """Further inputs."""
    constants: dict[Node, Any]
    """Parameters, buffers and other tensors."""
    outputs: list[Any]
    """Nodes, or numbers."""
    spec: TreeSpec
    """Structure of the outputs."""

    def arrange(self, outputs: list[Any]) -> Any:
        """Return outputs in the structure that the model returns."""
        return tree_unflatten(outputs, self.spec)


class _Call(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Call the function."""
        return self.function(*inputs)


def trace(model: Model, x: torch.Tensor, args: Sequence[torch.Tensor], closed: Closed) -> Graph:
    """Return the graph of a model in evaluation mode, for any number of rows.

    Parameters
    ----------
    model : torch.nn.Module or callable
        Compiled ones are followed as they were before.
    x, args : tensors
        What it takes; at least two rows, so that none is taken for a constant.
    closed : callable
        Of a module and what it takes; keeps some of its layers whole meanwhile.

    Raises
    ------
    Unfollowed
        If torch.export cannot follow it.
    """
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise Unfollowed("it is scripted, and has no graph of tensors; pass the module that it was made from")
    if not isinstance(model, torch.nn.Module):
        model = _Call(model)
    try:
        return _read(_export(model, x, args, closed, is_static=False))
    except Unfollowed as stop:
        try:  # code that asks for the number of rows, such as len(x), holds it for a constant
            return _with_rows(_read(_export(model, x, args, closed, is_static=True)))
        except Unfollowed:
            raise stop from None


def _export(model: Model, x: torch.Tensor, args: Sequence[torch.Tensor], closed: Closed, *, is_static: bool) -> Any:
    """Trace a model for any number of rows, or for a number that is no other size of anything, as likely as not."""
    if is_static:
        x, *args = (array[:1].expand(ROWS, *array.shape[1:]).contiguous() for array in (x, *args))
    shapes = torch.export.ShapesCollection()
    for tensor in () if is_static else (x, *args):
        shapes[tensor] = {0: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch about itself
        try:
            with closed(model, (x, *args)):
                exported = torch.export.export(
                    model, (x, *args), dynamic_shapes=None if is_static else shapes, strict=False
                )
            return exported.run_decompositions({})
        except Exception as error:  # a tracer of any model may raise anything
            raise Unfollowed(f"torch.export cannot follow it ({_reason(error)})") from error


def _with_rows(graph: Graph) -> Graph:
    """Put the number of rows, whatever it is, where a graph has that with which it was traced."""
    fx_graph = graph.x.graph
    with fx_graph.inserting_after(max(fx_graph.find_nodes(op="placeholder"))):
        rows = fx_graph.call_function(torch.ops.aten.sym_size.int, (graph.x, 0))
    for node in graph.nodes:
        cuts = name_of(node) in ("unbind", "select", "split", "split_with_sizes", "chunk")
        if cuts and given(node)["dim"] == 0 and node.args[0].meta["val"].shape[0] == ROWS:
            raise Unfollowed(f"it takes sequences one by one, {describe(node)}")
        if name_of(node) in ("view", "_unsafe_view", "reshape", "expand") and node.args[1][0] == ROWS:
            node.args = (node.args[0], [rows, *node.args[1][1:]], *node.args[2:])
        elif name_of(node) in ("zeros", "ones", "full", "empty") and node.args[0] and node.args[0][0] == ROWS:
            node.args = ([rows, *node.args[0][1:]], *node.args[1:])
    return graph._replace(nodes=_operations(fx_graph))


def _reason(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"


def _read(exported: Any) -> Graph:
    """Sort the inputs and outputs of an exported program."""
    signature = exported.graph_signature
    fold_normalisation(exported.graph)
    pool_first(exported.graph)
    kinds = {spec.arg.name: spec for spec in signature.input_specs}
    constants: dict[Node, Any] = {}
    inputs = []
    for node in exported.graph.find_nodes(op="placeholder"):
        spec = kinds[node.name]
        if spec.kind == InputKind.USER_INPUT:
            inputs.append(node)
        elif spec.target in exported.state_dict:
            constants[node] = exported.state_dict[spec.target]
        elif spec.target in exported.constants:
            constants[node] = exported.constants[spec.target]
        else:
            raise Unfollowed(f"its graph has an input of its own, {node.name}")
    (output,) = exported.graph.find_nodes(op="output")
    wanted = [
        value
        for value, spec in zip(output.args[0], signature.output_specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]
    nodes = _operations(exported.graph)
    for node in nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and _draws(node):
            raise Unfollowed(f"it draws at random, {describe(node)}")
    return Graph(nodes, inputs[0], inputs[1:], constants, wanted, exported.call_spec.out_spec)


def _operations(graph: torch.fx.Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def _draws(node: Node) -> bool:
    """Whether an operation that can draw at random does: attention and recurrent layers do with dropout alone."""
    values = given(node)
    share = values.get("dropout_p", values.get("dropout", values.get("p")))
    return bool(values.get("train", True)) and share != 0


def fold_normalisation(graph: torch.fx.Graph) -> None:
    """Let convolutions and dense layers do what a batch normalisation right after them does, if nobody else sees it."""
    for node in graph.find_nodes(op="call_function", target=operator.getitem):
        norm, number = node.args
        if number != 0 or name_of(norm) != "_native_batch_norm_legit_no_training" or len(norm.users) > 1:
            continue
        layer, *statistics, _, eps = norm.args
        if name_of(layer) not in ("conv1d", "conv2d", "linear") or len(layer.users) > 1:
            continue
        if name_of(layer) == "linear" and len(layer.meta["val"].shape) > 2:  # its features are no channels
            continue
        x, weight, *more = layer.args
        bias, rest = (more[0], more[1:]) if more else (None, ())
        with graph.inserting_before(layer):
            new_weight = graph.call_function(_fold_weight, (weight, *statistics, eps))
            new_bias = graph.call_function(_fold_bias, (bias, *statistics, eps))
        new_weight.meta["val"], new_bias.meta["val"] = weight.meta["val"], statistics[2].meta["val"]
        layer.args = (x, new_weight, new_bias, *rest)
        node.replace_all_uses_with(layer)
        graph.erase_node(node)
        graph.erase_node(norm)


RISING = ("relu", "sigmoid", "tanh", "exp", "softplus")
"""Functions that never fall, so that the largest of what they return is what they return of the largest."""


def pool_first(graph: torch.fx.Graph) -> None:
    """Take the largest of neighbouring numbers before a rising function, which then has fewer of them to work on."""
    for pool in _operations(graph):
        if name_of(pool) not in ("max_pool1d", "max_pool2d"):
            continue
        found: Node = pool.args[0]
        while name_of(found) == "clone" and len(found.users) == 1:
            found = found.args[0]
        if name_of(found) not in RISING or len(found.users) > 1:
            continue
        found.replace_all_uses_with(found.args[0])
        with graph.inserting_after(pool):
            after = graph.node_copy(found)
        pool.replace_all_uses_with(after)
        after.args = (pool, *found.args[1:])
        after.meta = found.meta | {"val": pool.meta["val"]}
        graph.erase_node(found)


ACTIVATIONS = ("sigmoid", "softmax", "log_softmax", "softplus", "log_sigmoid", "tanh", "relu", "exp")
"""Behind which `before_activation` looks."""


def before_activations(graph: Graph) -> Graph:
    """Return a graph whose outputs are what goes into their last activation, where they end with one."""
    outputs = [_before(value) if isinstance(value, Node) else value for value in graph.outputs]
    return graph._replace(outputs=outputs, nodes=_operations(graph.x.graph))


def _before(node: Node) -> Node:
    """Return what goes into the activation that a node ends with, in the shape of the node."""
    if name_of(node) in ACTIVATIONS:
        before: Node = node.args[0]
        return before
    if name_of(node) in ("view", "_unsafe_view", "squeeze", "unsqueeze", "clone", "reshape", "flatten"):
        inner = _before(node.args[0])
        if inner is not node.args[0]:
            with node.graph.inserting_after(node):
                copy = node.graph.node_copy(node, lambda value: inner if value is node.args[0] else value)
            copy.meta = node.meta
            return copy
    return node


def _fold_weight(weight: torch.Tensor, *norm: Any) -> torch.Tensor:
    scale, _ = scale_and_shift(*norm)
    return (weight.double() * scale.reshape([-1] + [1] * (weight.ndim - 1))).to(weight.dtype)


def _fold_bias(bias: torch.Tensor | None, *norm: Any) -> torch.Tensor:
    scale, shift = scale_and_shift(*norm)
    return (shift if bias is None else bias.double() * scale + shift).to(norm[3].dtype)


def given(node: Node) -> dict[str, Any]:
    """Return the arguments of a node by name, those left out with their defaults."""
    schema = node.target._schema.arguments
    values = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    values.update(zip((argument.name for argument in schema), node.args, strict=False))
    return values | dict(node.kwargs)


def name_of(node: Node) -> str:
    """Return the name of an operation without the library's and the overload's."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet, "__name__", getattr(node.target, "__name__", node.target)))


def describe(node: Node) -> str:
    """Return an operation's name, the layer that it is in, and the line of the user's code that calls it."""
    lines = [line.strip() for line in str(node.meta.get("stack_trace", "")).splitlines()]
    own = [line for line in lines if line.startswith("File ") and str(LIBRARY) not in line]
    layers = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
    where = f" in layer {layers[-1]}" if layers else ""
    return f"{name_of(node)}{where}" + (f" ({own[-1].removeprefix('File ').rstrip(':')})" if own else "")

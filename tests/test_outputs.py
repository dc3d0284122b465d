"""Outputs of models in containers of every kind, and models that raise: what is meant, or what would be."""

import re
from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks._outputs import parts_of, read_head
from tests.conftest import require
from tests.frameworks import FRAMEWORKS, Framework, X, gradient
from tests.test_saliency import centred, close

WITH_FUNCTIONS = [framework for framework in FRAMEWORKS if framework.name != "keras"]
XT = np.ascontiguousarray(X.transpose(0, 2, 1))


@dataclass
class Output:
    logits: Any
    loss: Any = None
    hidden: Any = None


class Heads:
    """As many libraries have them: fields that are set, beside what is no output."""

    def __init__(self, logits: Any, hidden: Any) -> None:
        self.logits, self.hidden, self.name, self._cache = logits, hidden, "heads", hidden


class Slots:
    """As the package attrs makes them."""

    __slots__ = ("hidden", "logits")
    __attrs_attrs__ = (SimpleNamespace(name="logits"), SimpleNamespace(name="hidden"))

    def __init__(self, logits: Any, hidden: Any) -> None:
        self.logits, self.hidden = logits, hidden


Pair = namedtuple("Pair", "logits hidden")
CONTAINERS: dict[str, tuple[Any, Any]] = {
    "dataclass": (lambda y: Output(y, hidden=-y), "logits"),
    "dataclass with one array": (lambda y: Output(y), None),
    "named tuple by name": (lambda y: Pair(y, -y), "logits"),
    "named tuple by number": (lambda y: Pair(y, -y), 0),
    "object": (lambda y: Heads(y, -y), "logits"),
    "namespace": (lambda y: SimpleNamespace(logits=y, hidden=-y), "logits"),
    "slots": (lambda y: Slots(y, -y), "logits"),
    "dict in dict": (lambda y: {"human": {"a": -y, "b": y}, "mouse": -y}, ("human", "b")),
    "list in dict": (lambda y: {"human": [-y, y], "mouse": -y}, ["human", 1]),
    "dataclass in dict": (lambda y: {"human": Output(y, hidden=-y), "mouse": -y}, ("human", "logits")),
    "one in one": (lambda y: UserDict(heads={"a": [y]}), None),
    "a part of a path": (lambda y: {"human": {"a": y}, "mouse": -y}, "human"),
    "a key that is a tuple": (lambda y: {("human", 1): y, "human": -y}, ("human", 1)),
}


@pytest.mark.parametrize("framework", WITH_FUNCTIONS, ids=repr)
@pytest.mark.parametrize("batch_size", [4, 7], ids=["compiled", "eager"])
@pytest.mark.parametrize(("put", "output"), CONTAINERS.values(), ids=CONTAINERS)
def test_outputs_are_read_by_name_number_or_the_way_to_them(
    framework: Framework, put: Any, output: Any, batch_size: int
) -> None:
    """Those in a dataclass were refused."""
    require(framework.name)
    got = framework.hooks.saliency(framework.model(put), framework.lay(X), output=output, batch_size=batch_size)
    close(framework.read(got), centred(gradient(0)))


@pytest.mark.parametrize(
    ("put", "output", "message"),
    [
        (lambda y: Output(y, hidden=y + 1), None, "pass output= with one of ['logits', 'hidden']"),
        (lambda y: Heads(y, -y), "Logits", "no output 'Logits'; pass output= with one of ['logits', 'hidden']"),
        (lambda y: Pair(y, -y), None, "with one of [0, 1, 'logits', 'hidden']"),
        (
            lambda y: {"a": {"b": y, "c": -y}, "d": y},
            "a",
            "several outputs in ['a']; pass output= with one of [('a', 'b'), ('a', 'c')]",
        ),
        (lambda y: {"a": y, "b": -y}, ("a", "c"), "no output 'c' in ['a']; that is one array"),
        (lambda y: y, "a", "output='a' is given, but the model returns one array"),
    ],
)
def test_an_output_that_is_not_told_is_asked_for_with_what_there_is(put: Any, output: Any, message: str) -> None:
    require("torch")
    (framework,) = [framework for framework in FRAMEWORKS if framework.name == "torch"]
    with pytest.raises(ValueError, match=re.escape(message)):
        gf.hooks.torch.saliency(framework.model(put), framework.lay(X), output=output)


@pytest.mark.parametrize("output", [1.5, (), ("a", None), True, object()])
def test_an_output_is_named_by_texts_and_numbers(output: Any) -> None:
    require("torch")
    with pytest.raises(TypeError, match="output must be a name, a number, or a tuple"):
        gf.hooks.torch.saliency(lambda x: x.sum((1, 2)), XT, output=output)


@pytest.mark.parametrize(("text", "head"), [("human", "human"), ("2", 2), ("human,1", ("human", 1)), ("0,b", (0, "b"))])
def test_the_command_line_names_outputs(text: str, head: Any) -> None:
    assert read_head(text) == head


def test_what_has_no_arrays_in_it_is_no_container() -> None:
    assert parts_of(SimpleNamespace(name="x", _logits=X)) is None
    assert parts_of(lambda: 0) is None


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=repr)
@pytest.mark.parametrize("method", ["saliency", "saturation_mutagenesis"])
def test_what_a_model_raises_comes_with_the_shape_that_it_was_given(framework: Framework, method: str) -> None:
    """A wrong length ended in an error about an inner layer, with a note of the input in PyTorch alone."""
    require(framework.name)
    short = framework.lay(np.ascontiguousarray(X[:, :5]))
    with pytest.raises(Exception, match=r"\S") as caught:
        getattr(framework.hooks, method)(framework.model(), short, batch_size=4)
    (note,) = [note for note in caught.value.__notes__ if "came out of the model" in note]
    lengths = tuple(short.shape[1:])
    assert re.search(rf"given X of shape \((\d+|None), {lengths[0]}, {lengths[1]}\)", note)

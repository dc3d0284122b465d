"""Options, each said once: beside its type stand its default, choices and checks, and how commands and records have it.

An option is a key of a TypedDict, which type checkers read. Signatures, checks, commands and records of scans read the
`Option` in its annotation, so that one line adds an option everywhere.
"""

import hashlib
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypedDict, TypeVar, get_args

import numpy as np

from .._types import AnyArray, TargetLike, Unchecked
from ._outputs import Head, check_head, read_head

Function = TypeVar("Function", bound=Callable[..., Any])

NEAR = 0.5
"""How like an option a word must be that is taken for it, as a part of their letters."""
FUNCTION = "a function of the output"
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "integrated_gradients": {"references": "zero", "n_references": 1, "n_steps": 20},
        "expected_gradients": {"references": "mono", "n_references": 10, "n_steps": 20},
        "smoothgrad": {"n_samples": 25, "sd": 0.1, "rate": 0.1},
    },
    "repo": {
        "integrated_gradients": {"references": "mono", "n_references": 1, "n_steps": 26},
        "expected_gradients": {"references": "mono", "n_references": 20, "n_steps": 21},
        "smoothgrad": {"n_samples": 50, "sd": 0.1, "rate": 0.1},
    },
}
"""What the paper says, and what the authors' scripts do."""
OPTIMIZATIONS = ("fold", "channels_last", "compile")
"""Steps to a faster copy of a model, in their order: level 1 takes the first two, level 2 all of them."""


def as_json(value: Unchecked) -> Any:
    """Return a value as JSON keeps it: a list for what has several, its name for a function."""
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    is_one = isinstance(value, str) or not hasattr(value, "__iter__")
    return value if is_one else [as_json(part) for part in value]


def digest_array(value: str | AnyArray | None) -> Any:
    """Return what tells an array from others; text as it is."""
    if not hasattr(value, "shape"):
        return value
    numbers = np.asarray(value, np.float32)
    return {"shape": list(numbers.shape), "sha256": hashlib.sha256(numbers.tobytes()).hexdigest()}


@dataclass(frozen=True, eq=False)
class Option:
    """What is said of an option beside its type."""

    default: Any = None
    help: str = ""
    """On the command line; without it the command line does not have it."""
    choices: tuple[str, ...] = ()
    others: str = ""
    """What it may be beside the choices that is no text, such as "an array"."""
    check: Callable[[str, Any], Any] | None = None
    """From the name and a value that is not None to the value that is used; raises where it is wrong."""
    flags: tuple[str, ...] = ()
    """On the command line, where they are not the name with dashes."""
    read: Callable[[str], Any] | None = None
    """Makes a value of text on the command line; raises ValueError. Without it the type does."""
    metavar: str | None = None
    """What the command line shows for the value."""
    is_repeatable: bool = False
    """Whether the command line takes it several times."""
    record: Callable[[Any], Any] | None = as_json
    """How a scan records it, to go on with the same alone; None if it does not."""
    may_change: bool = False
    """Whether a scan goes on although it has changed."""
    type: Any = None
    """Beside which it stands; `table_of` fills it in."""

    def take(self, name: str, value: Unchecked) -> Any:
        """Return a value as it is used, or say what it must be."""
        if value is None and (self.default is None or NoneType in get_args(self.type)):
            return None
        if self.choices and not (value in self.choices if isinstance(value, str) else self.others):
            others = self.others and f" or {self.others}"
            raise ValueError(f"{name} must be one of {', '.join(self.choices)}{others}; got {value!r}")
        return value if self.check is None else self.check(name, value)


def check_count(name: str, value: Unchecked) -> int:
    """Refuse what is no positive int."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{name} must be a positive int; got {value!r}")
    return int(value)


def check_size(name: str, value: Unchecked) -> int | str:
    """Refuse what is neither "auto" nor a positive int."""
    if isinstance(value, str) and value == "auto":
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f'{name} must be a positive int or "auto"; got {value!r}')
    return int(value)


def check_shifts(name: str, value: Unchecked) -> tuple[int, ...]:
    """Refuse what is no sequence of ints."""
    if not isinstance(value, list | tuple | range | np.ndarray) or not len(value):
        raise TypeError(f"{name} must be a sequence of ints, such as (-1, 0, 1); got {value!r}")
    for shift in value:
        if isinstance(shift, bool) or not hasattr(shift, "__index__"):
            raise TypeError(f"{name} must be ints, numbers of positions; got {shift!r}")
    return tuple(int(shift) for shift in value)


def check_pairs(name: str, value: Unchecked) -> tuple[tuple[int, int], ...]:
    """Refuse what is no sequence of pairs of ints."""
    try:
        return tuple((int(a), int(b)) for a, b in value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be pairs of tracks, such as [(0, 1), (2, 3)]; got {value!r}") from None


def check_sd(name: str, value: Unchecked) -> float:
    """Refuse what is no standard deviation."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number that is not negative; got {value!r}")
    return float(value)


def check_rate(name: str, value: Unchecked) -> float:
    """Refuse what is no share."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be the share of letters that mutate, 0 to 1; got {value!r}")
    return float(value)


def check_seed(name: str, value: Unchecked) -> int:
    """Refuse what is no number of 64 bits."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, from which all draws follow; got {value!r}")
    if not 0 <= int(value) < 2**64:
        raise ValueError(f"{name} is {value}; it must lie in 0 to 2**64 - 1")
    return int(value)


def check_input(name: str, value: Unchecked) -> int | str:
    """Refuse what is no place or name of an input."""
    if isinstance(value, str) or (hasattr(value, "__index__") and not isinstance(value, bool) and int(value) >= 0):
        return value if isinstance(value, str) else int(value)
    raise TypeError(f"{name} must be the place of X among the model's inputs, or its name; got {value!r}")


def read_input(text: str) -> int | str:
    """Read the place or name of an input."""
    return int(text) if text.isdigit() else text


def check_level(name: str, value: Unchecked) -> int | tuple[str, ...]:
    """Refuse what is neither a level of optimisation nor the names of its steps."""
    if hasattr(value, "__index__") and not isinstance(value, bool) and 0 <= int(value) <= 2:
        return int(value)
    if isinstance(value, list | tuple) and all(step in OPTIMIZATIONS for step in value):
        return tuple(step for step in OPTIMIZATIONS if step in value)
    raise ValueError(f"{name} must be 0, 1, 2 or some of {', '.join(OPTIMIZATIONS)}; got {value!r}")


def read_level(text: str) -> int:
    """Read a level of optimisation."""
    if text not in ("0", "1", "2"):
        raise ValueError(f"{text!r} must be 0, 1 or 2")
    return int(text)


def read_size(text: str) -> int | str:
    """Read "auto" or a number from the command line."""
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f'{text!r} must be "auto" or a positive number')
    return int(text)


def read_numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} must be whole numbers such as -1,0,1") from None


def read_pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Read pairs of whole numbers."""
    pairs = [part.partition(":") for part in text.split(",")]
    try:
        return tuple((int(a), int(b)) for a, _, b in pairs)
    except ValueError:
        raise ValueError(f"{text!r} must be pairs of tracks such as 0:1,2:3") from None


class RunOptions(TypedDict, total=False):
    """How a model is run, by hooks and scans alike."""

    output: Annotated[
        Head,
        Option(
            help="Head of a model that returns several, or the way to it.", check=check_head, read=read_head,
            metavar="NAME|N,...",
        ),
    ]  # fmt: skip
    input: Annotated[
        int | str,
        Option(
            0, "Where the sequences go among the model's inputs.", check=check_input, read=read_input, metavar="NAME|N"
        ),
    ]
    batch_size: Annotated[
        int | str,
        Option(
            "auto", "Rows in the model at a time.", flags=("--batch-size", "-b"), check=check_size, read=read_size,
            metavar="N|auto", may_change=True,
        ),
    ]  # fmt: skip
    device: Annotated[Any, Option(help="Such as cuda:0; by default where the model is.", record=None)]
    precision: Annotated[
        str, Option("float32", "Of the model's products.", choices=("float32", "tf32", "bfloat16", "float16"))
    ]
    optimize: Annotated[
        int | Sequence[str],
        Option(
            0, "Run a faster copy of a PyTorch model: 1 folds batch normalisation and orders memory, 2 compiles too.",
            check=check_level, read=read_level, metavar="0|1|2",
        ),
    ]  # fmt: skip
    rc: Annotated[bool, Option(False, "Average over both strands.")]
    rc_output: Annotated[
        str | Callable[[AnyArray], AnyArray],
        Option("same", "What the other strand's output is.", choices=("same", "flip_bins"), others=FUNCTION),
    ]
    bin_axis: Annotated[int | None, Option(help="Of the output: 1 for (N, bins, tracks), 2 for (N, tracks, bins).")]
    strand_pairs: Annotated[
        Sequence[tuple[int, int]] | None,
        Option(help="Tracks that the strands exchange.", check=check_pairs, read=read_pairs, metavar="A:B,C:D"),
    ]
    shifts: Annotated[
        Sequence[int],
        Option((0,), "Average over shifts, bp.", check=check_shifts, read=read_numbers, metavar="INT,INT,..."),
    ]


class DrawOptions(TypedDict, total=False):
    """What draws at random depend on."""

    random_state: Annotated[
        int | None, Option(0, "Of methods that draw at random.", flags=("--seed",), check=check_seed)
    ]


class MapOptions(TypedDict, total=False):
    """What maps are of, and what is returned of them."""

    target: Annotated[TargetLike, Option(0)]
    targets: Annotated[Sequence[TargetLike] | None, Option()]
    axis: Annotated[int, Option(-1)]
    corrected: Annotated[bool, Option(True)]
    outputs: Annotated[Sequence[str] | str | None, Option()]
    letters: Annotated[slice | None, Option()]
    n_letters: Annotated[int | None, Option()]
    start: Annotated[int, Option(0)]
    end: Annotated[int, Option(-1)]
    mask: Annotated[AnyArray | None, Option()]
    verbose: Annotated[bool, Option(False)]


class PathSettings(TypedDict, total=False):
    """Where on which paths gradients are taken; what is None is as in the preset."""

    references: Annotated[
        str | AnyArray | None,
        Option(
            help="Where paths begin.", choices=("zero", "uniform", "mono", "dinucleotide"), others="an array",
            record=digest_array,
        ),
    ]  # fmt: skip
    n_references: Annotated[int | None, Option(help="Number of shuffles.", check=check_count)]
    n_steps: Annotated[int | None, Option(help="Gradients on each path.", check=check_count)]
    rule: Annotated[
        str | None,
        Option("trapezoid", "Weights of the steps.", choices=("trapezoid", "left", "midpoint", "gausslegendre")),
    ]


class SampleSettings(TypedDict, total=False):
    """How samples around a sequence are drawn; what is None is as in the preset."""

    n_samples: Annotated[int | None, Option(help="Number of samples.", check=check_count)]
    kind: Annotated[str | None, Option("gaussian", "Noise, or other letters.", choices=("gaussian", "mutation"))]
    sd: Annotated[float | None, Option(help="Of the noise.", check=check_sd)]
    rate: Annotated[float | None, Option(help="Share of letters that mutate.", check=check_rate)]


class PresetSetting(TypedDict, total=False):
    """Whose settings hold where none are given."""

    preset: Annotated[str | None, Option("paper", "What is not given is as there.", choices=tuple(PRESETS))]


class SoftSetting(TypedDict, total=False):
    """Whether sequences need not be one-hot."""

    soft: Annotated[bool, Option(False)]


class Options(MapOptions, RunOptions, DrawOptions, total=False):
    """Options that every attribution method takes in every framework; `hooks.torch.saliency` describes them."""


class PathOptions(Options, PathSettings, PresetSetting, SoftSetting, total=False):
    """Options of methods that follow a path as well; `hooks.torch.integrated_gradients` describes them."""

    multiply_by_inputs: Annotated[bool, Option(False)]


class SampleOptions(Options, SampleSettings, PresetSetting, SoftSetting, total=False):
    """Options of methods that draw samples as well; `hooks.torch.smoothgrad` describes them."""


class EngineSetting(TypedDict, total=False):
    """How substitutions are computed."""

    engine: Annotated[
        str,
        Option(
            "auto", "Recompute only what a substitution changes.", choices=("auto", "incremental", "full"),
            may_change=True,
        ),
    ]  # fmt: skip


class MutagenesisOptions(Options, EngineSetting, total=False):
    """Options of saturation mutagenesis as well; `hooks.torch.saturation_mutagenesis` describes them."""


class Described(NamedTuple):
    """What is known of an attribution method before it runs."""

    options: type
    maps: str
    """What its maps are, in words."""


METHODS = {
    "saliency": Described(Options, "gradients"),
    "integrated_gradients": Described(PathOptions, "integrated gradients"),
    "smoothgrad": Described(SampleOptions, "gradients averaged by SmoothGrad"),
    "expected_gradients": Described(PathOptions, "expected gradients"),
    "saturation_mutagenesis": Described(MutagenesisOptions, "effects of every substitution, less their mean"),
}
"""Every attribution method."""


@cache
def table_of(kind: type) -> dict[str, Option]:
    """Return the options that a TypedDict names."""
    return {name: replace(hint.__metadata__[0], type=hint.__origin__) for name, hint in kind.__annotations__.items()}


COMMON = table_of(Options)
"""Options of every method."""


@cache
def own_table(method: str) -> dict[str, Option]:
    """Return the options that a method has beside those of every method."""
    return {name: option for name, option in table_of(METHODS[method].options).items() if name not in COMMON}


def owners_of(name: str) -> list[str]:
    """Return the methods that have an option which not all have."""
    return [method for method in METHODS if name in own_table(method)]


def check_names(given: Collection[str], table: Collection[str], of: str = "") -> None:
    """Raise an error if there is no option of a name; it tells the methods that have it, or the nearest name."""
    for name in given:
        if name in table:
            continue
        owners, near = owners_of(name), get_close_matches(name, table, n=1, cutoff=NEAR)
        hint = f" (it is of {' and '.join(owners)})" if owners else f" (perhaps {near[0]!r})" if near else ""
        raise TypeError(f"there is no option {name!r}{of and f' of {of}'}{hint}; the options are {', '.join(table)}")


def complete(given: Mapping[str, Any], table: Mapping[str, Option]) -> dict[str, Any]:
    """Return a checked value for each option of a table, the default where none is given."""
    return {name: option.take(name, given.get(name, option.default)) for name, option in table.items()}


def records_of(options: Mapping[str, Any], table: Mapping[str, Option]) -> dict[str, Any]:
    """Return options as JSON keeps them, but for those that are not recorded."""
    records = {name: table[name].record for name in options}
    return {name: record(options[name]) for name, record in records.items() if record is not None}


def settings(preset: str, name: str, **given: Any) -> dict[str, Any]:
    """Return the settings of a preset, but for those that are given."""
    return PRESETS[preset][name] | {key: value for key, value in given.items() if value is not None}


def takes_options(axis: int, options: type = Options) -> Callable[[Function], Function]:
    """Show the options in the signature of a function that takes them as `**options`, a method's own first."""
    table = table_of(options)
    names = sorted(table, key=lambda name: name in COMMON)

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        arguments = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        shown = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=axis if name == "axis" else table[name].default,
                annotation=options.__annotations__[name].__origin__,
            )
            for name in names
        ]
        function.__signature__ = signature.replace(parameters=[*arguments, *shown])  # type: ignore[attr-defined]
        return function

    return decorate

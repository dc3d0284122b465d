"""What a scan may be asked: names, defaults, checks, and the form in which it is recorded."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypedDict

from ... import comparisons, targets
from ..._comparisons import Comparison
from ..._types import PathLike, TargetLike, Unchecked
from ..._wording import option
from ...hooks._inputs import is_constant
from ...hooks._options import (
    COMMON,
    METHODS,
    DrawOptions,
    EngineSetting,
    Option,
    PathSettings,
    PresetSetting,
    RunOptions,
    SampleSettings,
    as_json,
    check_count,
    check_names,
    check_size,
    complete,
    owners_of,
    read_size,
    records_of,
    table_of,
)
from ...hooks._outputs import kind_of
from ..comparing.aligning import ALIGNMENTS
from ..results.tables import SCORES, check_scores
from .folder import file_digest

TARGETS = "\n".join(
    [
        "Of the output, what is computed; repeatable.\n\n\b",
        *(f"{text:<24} {meaning}" for text, meaning in targets.describe()),
    ]
)
"""Help of `targets`, a line for each kind."""


def as_targets(name: str, value: Unchecked) -> tuple[TargetLike, ...]:
    """Return one or several targets, or their text, as a tuple."""
    is_one = isinstance(value, str) or callable(value) or not hasattr(value, "__iter__")
    wanted = (value,) if is_one else value
    checked = tuple(targets.parse(t) if isinstance(t, str) else targets.as_target(t) for t in wanted)
    if not checked:
        raise ValueError(f"there is nothing to compute; ask for a target ({name}=)")
    return checked


def name_targets(wanted: Sequence[TargetLike]) -> list[str]:
    """Return the text of each target; a function of the user's is called by its name."""
    return [str(target) if targets.is_plain(target) else as_json(target) for target in wanted]


COMPARISONS = "\n".join(
    [
        "What of the outputs with both alleles is compared; repeatable.\n\n\b",
        *(f"{text:<28} {meaning}" for text, meaning in comparisons.describe()),
    ]
)
"""Help of `compare`, a line for each kind."""


def as_comparisons(name: str, value: Unchecked) -> tuple[Comparison, ...]:
    """Return comparisons, or their text, as a tuple."""
    is_one = isinstance(value, str | Comparison)
    found = tuple(comparisons.as_comparison(each) for each in ((value,) if is_one else value))
    if len(set(found)) < len(found):
        raise ValueError(f"a comparison is given twice ({name}=); leave one of them away")
    return found


def name_comparisons(wanted: Sequence[Comparison]) -> list[str]:
    """Return the text of each comparison."""
    return [str(comparison) for comparison in wanted]


def comparison_names(options: Mapping[str, Any]) -> list[str]:
    """Return the text of each comparison that a scan of variants was asked for."""
    return name_comparisons(options.get("compare", ()))


def read_names(text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    return tuple(text.split(",")) if text else ()


def record_regions(regions: Unchecked) -> Any:
    """Return what tells regions from others: the digest of a file, else their texts."""
    if isinstance(regions, str | os.PathLike):
        return {"sha256": file_digest(Path(regions))} if Path(regions).is_file() else [str(regions)]
    return None if regions is None else [str(region) for region in regions]


def read_argument(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE: a number, true, false or null, otherwise text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{text!r} must be NAME=VALUE, such as is_human=true")
    try:
        found = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(found, list | dict) else found


def check_arguments(name: str, value: Unchecked) -> Any:
    """Refuse inputs that are not the same for all windows; pairs of names and values become a dict."""
    if isinstance(value, str) or not isinstance(value, Sequence | Mapping):
        raise TypeError(f"{name} must be a tuple of inputs in their order, or a dict of them by name; got {value!r}")
    pairs = [pair for pair in value if isinstance(pair, tuple)]
    if pairs and len(dict(pairs)) < len(value):
        raise ValueError(f"{name} has a name twice, or some values without a name; give each once")
    given = dict(pairs) if pairs else value
    for one in given.values() if isinstance(given, Mapping) else given:
        if not is_constant(one):
            raise TypeError(
                f"{name} of a scan must be None, texts or numbers, which are the same for all windows; got "
                f"{kind_of(one)} (make it inside of the model, or by functools.partial)"
            )
    return given


def record_arguments(value: Any) -> Any:
    """Return inputs as JSON keeps them."""
    return {name: as_json(one) for name, one in value.items()} if isinstance(value, Mapping) else as_json(value)


class ModelOptions(RunOptions, total=False):
    """Options of every scan."""

    args: Annotated[
        Sequence[Any] | Mapping[str, Any],
        Option(
            (), "Input of the model that is the same for all windows; repeatable.", flags=("--arg",),
            check=check_arguments, read=read_argument, metavar="NAME=VALUE", is_repeatable=True,
            record=record_arguments,
        ),
    ]  # fmt: skip

    length: Annotated[
        int | None,
        Option(help="Window, bp; by default the length of the model's input if it tells.", check=check_count),
    ]
    axis: Annotated[int | None, Option(help="Letter axis of the model's input: 1 for (N, 4, L), -1 for (N, L, 4).")]
    targets: Annotated[
        Sequence[TargetLike],
        Option(
            (0,), TARGETS, flags=("--target", "-t"), is_repeatable=True,
            check=as_targets, record=name_targets,
        ),
    ]  # fmt: skip
    edges: Annotated[str, Option("pad", "Windows that leave the contig.", choices=("pad", "reject"))]
    max_n: Annotated[float, Option(0.05, "Largest share of N in a window that is used.")]
    contigs: Annotated[
        PathLike | Mapping[str, str] | None,
        Option(help="Other names of contigs: two columns, or NCBI's report.", metavar="FILE", record=None),
    ]
    shard_size: Annotated[
        int | str,
        Option("auto", "Rows that are done whole or not at all.", check=check_size, read=read_size, metavar="N|auto"),
    ]


class ScanOptions(ModelOptions, EngineSetting, total=False):
    """Options of a scan of variants; `score_variants` describes them."""

    scores: Annotated[
        Sequence[str],
        Option(tuple(SCORES), "What is computed, with commas between.", read=read_names, metavar="NAME,NAME,..."),
    ]
    compare: Annotated[
        Sequence[Any],
        Option(
            (), COMPARISONS, flags=("--compare",), is_repeatable=True, check=as_comparisons, record=name_comparisons
        ),
    ]
    align_indels: Annotated[
        str | None,
        Option(
            help="Compare bins of the same letters: max or sum of inserted ones, deleted ones as zero, mask or sum.",
            choices=ALIGNMENTS,
        ),
    ]
    windows: Annotated[str, Option("centred", "centred, or grid:STEP to share reference windows.")]
    top: Annotated[
        int | None,
        Option(help="Score exactly only the K largest of each reference window.", check=check_count, metavar="K"),
    ]
    flank: Annotated[str, Option("right", "Side that an indel's window follows.", choices=("right", "both"))]
    chroms: Annotated[
        Sequence[str] | None, Option(help="Only variants there; repeatable.", flags=("--chrom",), is_repeatable=True)
    ]
    regions: Annotated[
        PathLike | Sequence[Any] | None,
        Option(help="Only variants in this BED file, or in chr:start-end.", record=record_regions, metavar="FILE"),
    ]


class StoreOptions(TypedDict, total=False):
    """Which maps of regions are stored, and how."""

    method: Annotated[str, Option("saliency", "Of attribution.", choices=tuple(METHODS))]
    dtype: Annotated[str, Option("float16", "Of the maps.", choices=("float16", "float32"))]
    keep_uncorrected: Annotated[bool, Option(False, "Store the maps before the correction too.")]


class RegionOptions(
    StoreOptions, PathSettings, SampleSettings, PresetSetting, EngineSetting, DrawOptions, ModelOptions, total=False
):  # fmt: skip
    """Options of a scan of regions; `attribute_regions` describes them."""


@cache
def scan_table(kind: type) -> dict[str, Option]:
    """Return the options of a scan; of those that only some methods have, None is what the method has by default."""
    table = table_of(kind)
    return {name: replace(option, default=None) if owners_of(name) else option for name, option in table.items()}


FOR_METHODS = tuple(name for name in table_of(RegionOptions) if owners_of(name))
"""Options that only some attribution methods have."""
FOR_ANY = table_of(ScanOptions) | table_of(RegionOptions)
"""Options of all scans."""
MAY_CHANGE = tuple(name for name, option in FOR_ANY.items() if option.may_change)
"""Options that may be others when a scan goes on."""
FOR_MODEL = ("length", *(name for name in FOR_ANY if name in COMMON))
"""Options that the hooks take; not every scan has them all."""


def check_variant_options(given: ScanOptions) -> MappingProxyType[str, Any]:
    """Fill in defaults and check what the model and the genome do not; what is returned cannot be written to."""
    options = _check(given, ScanOptions)
    scores = (options["scores"],) if isinstance(options["scores"], str) else options["scores"]
    options["scores"] = tuple(check_scores(scores, target_names(options)))
    if not options["scores"] and not options["compare"]:
        raise ValueError(f"there is nothing to compute; ask for some of {', '.join(SCORES)}")
    _check_comparisons(options)
    return MappingProxyType(options)


def _check_comparisons(options: Mapping[str, Any]) -> None:
    """Refuse what does not go with comparisons."""
    if options["align_indels"] is not None and not options["compare"]:
        raise ValueError(f"{option('align_indels')} is of comparisons; give {option('compare', '...')} too")
    if options["compare"] and options["engine"] == "incremental":
        raise ValueError(f"comparisons take whole passes; leave {option('engine', 'incremental')} away")
    are_of_bins = any(hasattr(comparison, "bins") for comparison in options["compare"])
    if are_of_bins and options["rc"] and options["rc_output"] == "same":
        raise ValueError(
            f"bins run backwards on the other strand; say so by {option('rc_output', 'flip_bins')}, or compare targets"
        )


def check_region_options(given: RegionOptions) -> MappingProxyType[str, Any]:
    """Fill in defaults and check what the model and the genome do not; what is returned cannot be written to."""
    options = _check(given, RegionOptions)
    shape = getattr(options["references"], "shape", (0, 0, 0))
    if len(shape) != 3:
        raise ValueError(
            f"references have shape {tuple(shape)}; give an array that serves all regions, (R, 4, L) or (R, L, 4)"
        )
    return MappingProxyType(options)


def _check(given: Mapping[str, Any], kind: type) -> dict[str, Any]:
    table = scan_table(kind)
    check_names(given, table)
    options = complete(given, table)
    check_scores([], target_names(options))
    return options


def grid_step(windows: str) -> int | None:
    """Return the step of "grid:STEP" in bp, None for "centred"."""
    name, _, step = windows.partition(":")
    if windows == "centred":
        return None
    if name != "grid" or not step.isdigit() or int(step) < 1:
        raise ValueError(f'windows must be "centred" or "grid:STEP" with a number of bp; got {windows!r}')
    return int(step)


def target_names(options: Mapping[str, Any]) -> list[str]:
    """Return the text of each target."""
    return name_targets(options["targets"])


def recorded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as JSON keeps them, but for those that are not recorded."""
    return records_of(options, FOR_ANY)

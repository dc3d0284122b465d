"""What a scan may be asked: names, defaults, checks, and the form in which it is recorded."""

import hashlib
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np

from .. import targets
from .folder import file_digest
from .tables import SCORES, check_scores


class ModelOptions(TypedDict, total=False):
    """Options of every scan."""

    length: int | None
    axis: int | None
    targets: Sequence[Any]
    output: Any
    batch_size: int | str
    device: Any
    precision: str
    rc: bool
    rc_output: str
    strand_pairs: Sequence[tuple[int, int]] | None
    shifts: Sequence[int]
    edges: str
    max_n: float
    shard_size: int | str


class ScanOptions(ModelOptions, total=False):
    """Options of a scan of variants; `score_variants` describes them."""

    scores: Sequence[str]
    windows: str
    top: int | None
    flank: str
    chroms: Sequence[str] | None
    regions: Any


class RegionOptions(ModelOptions, total=False):
    """Options of a scan of regions; `attribute_regions` describes them."""

    method: str
    random_state: int
    dtype: str
    keep_uncorrected: bool
    references: Any
    n_references: int | None
    n_steps: int | None
    rule: str | None
    n_samples: int | None
    kind: str | None
    sd: float | None
    rate: float | None
    preset: str | None


FOR_EVERY: ModelOptions = {
    "length": None, "axis": None, "targets": (0,), "output": None, "batch_size": "auto", "device": None,
    "precision": "float32", "rc": False, "rc_output": "same", "strand_pairs": None, "shifts": (0,), "edges": "pad",
    "max_n": 0.05,
}  # fmt: skip
FOR_VARIANTS: ScanOptions = {
    **FOR_EVERY, "scores": tuple(SCORES), "windows": "centred", "top": None, "flank": "right", "chroms": None,
    "regions": None, "shard_size": "auto",
}  # fmt: skip
FOR_METHODS = ("references", "n_references", "n_steps", "rule", "n_samples", "kind", "sd", "rate", "preset")
"""Options that only some attribution methods have; None is what the method has by default."""
FOR_REGIONS: RegionOptions = {
    **FOR_EVERY, "method": "saliency", "random_state": 0, "dtype": "float16", "keep_uncorrected": False,
    "references": None, "n_references": None, "n_steps": None, "rule": None, "n_samples": None, "kind": None,
    "sd": None, "rate": None, "preset": None, "shard_size": "auto",
}  # fmt: skip
FOR_MODEL = (
    "length",
    "axis",
    "targets",
    "output",
    "batch_size",
    "device",
    "precision",
    "rc",
    "rc_output",
    "strand_pairs",
    "shifts",
    "random_state",
)
"""Options that the hooks take; not every scan has them all."""
METHODS = ("saliency", "integrated_gradients", "smoothgrad", "expected_gradients", "saturation_mutagenesis")
CHOICES = {
    "flank": ("right", "both"),
    "edges": ("pad", "reject"),
    "method": METHODS,
    "dtype": ("float16", "float32"),
}

AnyOptions = TypeVar("AnyOptions", ScanOptions, RegionOptions)


def check_variant_options(given: ScanOptions) -> ScanOptions:
    """Fill in defaults and check what the model and the genome do not."""
    options = _check(given, FOR_VARIANTS)
    if isinstance(options["scores"], str):
        options["scores"] = (options["scores"],)
    options["scores"] = tuple(check_scores(options["scores"], target_names(options)))
    if not options["scores"]:
        raise ValueError(f"there is nothing to compute; ask for some of {', '.join(SCORES)}")
    return options


def check_region_options(given: RegionOptions) -> RegionOptions:
    """Fill in defaults and check what the model and the genome do not."""
    options = _check(given, FOR_REGIONS)
    shape = getattr(options["references"], "shape", (0, 0, 0))
    if len(shape) != 3:
        raise ValueError(
            f"references have shape {tuple(shape)}; give an array that serves all regions, (R, 4, L) or (R, L, 4)"
        )
    return options


def _check(given: AnyOptions, defaults: AnyOptions) -> AnyOptions:
    unknown = [name for name in given if name not in defaults]
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}; the options are {', '.join(defaults)}")
    options: Any = {**defaults, **given}
    wanted = options["targets"]
    wanted = (wanted,) if isinstance(wanted, str) or callable(wanted) or not hasattr(wanted, "__iter__") else wanted
    options["targets"] = tuple(targets.parse(t) if isinstance(t, str) else targets.as_target(t) for t in wanted)
    options["shifts"] = tuple(map(operator.index, options["shifts"]))
    if not options["targets"]:
        raise ValueError("there is nothing to compute; ask for a target")
    check_scores([], target_names(options))
    for name, choices in CHOICES.items():
        if name in options and options[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {options[name]!r}")
    free = {"shard_size": defaults["shard_size"], "top": None}
    for name in free.keys() & options.keys():
        value = options[name]
        if value == free[name]:
            continue
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
            raise ValueError(f"{name} must be a positive int; got {value!r}")
        options[name] = operator.index(value)
    checked: AnyOptions = options
    return checked


def grid_step(windows: str) -> int | None:
    """Return the step of "grid:STEP" in bp, None for "centred"."""
    name, _, step = windows.partition(":")
    if windows == "centred":
        return None
    if name != "grid" or not step.isdigit() or int(step) < 1:
        raise ValueError(f'windows must be "centred" or "grid:STEP" with a number of bp; got {windows!r}')
    return int(step)


def target_names(options: ModelOptions) -> list[str]:
    """Return the text of each target; a function of the user's is called by its name."""
    return [
        str(target) if targets.is_plain(target) else getattr(target, "__qualname__", type(target).__qualname__)
        for target in options["targets"]
    ]


def recorded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as JSON keeps them, without the device, which the numbers hardly depend on."""
    found = {name: value for name, value in options.items() if name != "device"}
    found["targets"] = target_names(options)  # type: ignore[arg-type]  # which every scan has
    for name in ("scores", "shifts", "chroms", "strand_pairs"):
        if found.get(name) is not None:
            found[name] = [list(v) if isinstance(v, tuple) else v for v in found[name]]
    regions, references = found.get("regions"), found.get("references")
    if isinstance(regions, str | os.PathLike) and Path(regions).is_file():
        found["regions"] = {"sha256": file_digest(Path(regions))}
    elif regions is not None:
        found["regions"] = [str(region) for region in regions]
    if hasattr(references, "shape"):
        numbers = np.asarray(references, np.float32)
        digest = hashlib.sha256(numbers.tobytes()).hexdigest()
        found["references"] = {"shape": list(numbers.shape), "sha256": digest}
    return found

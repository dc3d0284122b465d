"""What a scan may be asked: names, defaults, checks, and the form in which it is recorded."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from .. import targets
from .folder import file_digest
from .tables import SCORES, check_scores


class ScanOptions(TypedDict, total=False):
    """Options of a scan; `score_variants` describes them."""

    length: int | None
    axis: int | None
    targets: Sequence[Any]
    output: Any
    scores: Sequence[str]
    batch_size: int | str
    device: Any
    precision: str
    rc: bool
    rc_output: str
    strand_pairs: Sequence[tuple[int, int]] | None
    shifts: Sequence[int]
    windows: str
    top: int | None
    flank: str
    edges: str
    max_n: float
    chroms: Sequence[str] | None
    regions: Any
    shard_size: int


DEFAULTS: ScanOptions = {
    "length": None, "axis": None, "targets": (0,), "output": None, "scores": tuple(SCORES), "batch_size": "auto",
    "device": None, "precision": "float32", "rc": False, "rc_output": "same", "strand_pairs": None, "shifts": (0,),
    "windows": "centred", "top": None, "flank": "right", "edges": "pad", "max_n": 0.05, "chroms": None,
    "regions": None, "shard_size": 16384,
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
)
"""Options that the hooks take."""
CHOICES = {"flank": ("right", "both"), "edges": ("pad", "reject")}


def check_options(given: ScanOptions) -> ScanOptions:
    """Fill in defaults and check what the model and the genome do not."""
    unknown = [name for name in given if name not in DEFAULTS]
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}; the options are {', '.join(DEFAULTS)}")
    options = DEFAULTS | given
    options["targets"] = tuple(
        targets.parse(t) if isinstance(t, str) else targets.as_target(t) for t in options["targets"]
    )
    options["scores"] = tuple(check_scores(options["scores"], target_names(options)))
    if not options["scores"] or not options["targets"]:
        raise ValueError(f"there is nothing to compute; ask for a target and for some of {', '.join(SCORES)}")
    for name, choices in CHOICES.items():
        if options[name] not in choices:  # type: ignore[literal-required]
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {options[name]!r}")  # type: ignore[literal-required]
    for name in ("shard_size", "top"):
        value = options[name]  # type: ignore[literal-required]
        if not (value is None and name == "top") and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise ValueError(f"{name} must be a positive int; got {value!r}")
    return options


def grid_step(windows: str) -> int | None:
    """Return the step of "grid:STEP" in bp, None for "centred"."""
    name, _, step = windows.partition(":")
    if windows == "centred":
        return None
    if name != "grid" or not step.isdigit() or int(step) < 1:
        raise ValueError(f'windows must be "centred" or "grid:STEP" with a number of bp; got {windows!r}')
    return int(step)


def target_names(options: ScanOptions) -> list[str]:
    """Return the text of each target; a function of the user's is called by its name."""
    return [
        str(target) if targets.is_plain(target) else getattr(target, "__qualname__", type(target).__qualname__)
        for target in options["targets"]
    ]


def recorded(options: ScanOptions) -> dict[str, Any]:
    """Return the options as JSON keeps them, without the device, which the numbers hardly depend on."""
    found: dict[str, Any] = {name: value for name, value in options.items() if name != "device"}
    found["targets"] = target_names(options)
    for name in ("scores", "shifts", "chroms", "strand_pairs"):
        if found[name] is not None:
            found[name] = [list(v) if isinstance(v, tuple) else v for v in found[name]]
    regions = options["regions"]
    if isinstance(regions, str | os.PathLike) and Path(regions).is_file():
        found["regions"] = {"path": str(regions), "sha256": file_digest(Path(regions))}
    elif regions is not None:
        found["regions"] = [str(region) for region in regions]
    return found

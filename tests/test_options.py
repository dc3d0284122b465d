"""Options are said once: signatures, checks, the command line and the records of scans read the same table."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.hooks import _options
from gradcorr_fast.hooks._options import METHODS, PathOptions, RunOptions, SampleOptions, check_names, table_of

pytest.importorskip("pyarrow")

from gradcorr_fast.cli._scan import make_option, scan_options
from gradcorr_fast.scan.running.folder import find_changes
from gradcorr_fast.scan.running.options import (
    MAY_CHANGE,
    RegionOptions,
    ScanOptions,
    check_region_options,
    check_variant_options,
    recorded,
    scan_table,
)

ADDED = """
import importlib.util, inspect, sys
import gradcorr_fast.hooks
spec = importlib.util.find_spec("gradcorr_fast.hooks._options")
lines = open(spec.origin).read().split("    output: Annotated[", 1)
line = '    motor: Annotated[str, Option("auto", "Which motor runs.", choices=("auto", "full"))]' + chr(10)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
exec(compile(lines[0] + line + "    output: Annotated[" + lines[1], spec.origin, "exec"), module.__dict__)

from click.testing import CliRunner
from gradcorr_fast.cli import main
from gradcorr_fast.scan.running.options import check_region_options, check_variant_options, recorded

@module.takes_options(axis=1, options=module.PathOptions)
def method(model, **options): ...

print(inspect.signature(method).parameters["motor"])
print(*(command for command in ("score", "plan", "attribute")
        if "--motor [auto|full]" in CliRunner().invoke(main, [command, "--help"]).output))
print(recorded(check_variant_options({"motor": "full"}))["motor"], recorded(check_region_options({}))["motor"])
try:
    check_region_options({"motor": "steam"})
except ValueError as error:
    print(error)
"""


def test_one_line_adds_an_option_everywhere() -> None:
    """Adding one took the TypedDict, two tables of defaults, three lists of names and a flag for each command."""
    done = subprocess.run([sys.executable, "-c", ADDED], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "motor: str = 'auto'",
        "score plan attribute",
        "full auto",
        "motor must be one of auto, full; got 'steam'",
    ], done.stderr


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("framework", "axis"), [("torch", 1), ("tensorflow", -1), ("jax", -1)])
def test_signatures_show_what_the_table_says(framework: str, axis: int, name: str) -> None:
    pytest.importorskip(framework)
    shown = inspect.signature(getattr(getattr(gf.hooks, framework), name)).parameters
    defaults = {key: option.default for key, option in table_of(METHODS[name].options).items()} | {"axis": axis}
    assert {key: parameter.default for key, parameter in shown.items() if key in defaults} == defaults
    assert [key for key in shown if key not in defaults] == ["model", "X", "args"]


@pytest.mark.parametrize("kind", [ScanOptions, RegionOptions])
def test_commands_have_every_option_of_a_scan(kind: type) -> None:
    @click.command()
    @scan_options(kind)
    def command(**options: Any) -> None: ...

    table, defaults = scan_table(kind), {option.name: option.default for option in command.params}
    assert {name: defaults[name] for name in table} == {name: option.default for name, option in table.items()}
    flags = [flag for option in command.params for flag in option.opts]
    assert len(set(flags)) == len(flags)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("batch_size", "auto", "auto"),
        ("batch_size", "12", 12),
        ("optimize", "1", 1),
        ("shifts", "-1,0,1", (-1, 0, 1)),
        ("strand_pairs", "0:1,2:3", ((0, 1), (2, 3))),
        ("output", "1", 1),
        ("output", "profile", "profile"),
        ("max_n", "0", 0.0),
        ("axis", "-1", -1),
        ("bin_axis", "2", 2),
        ("sd", "0", 0.0),
        ("rc", None, True),
        ("rule", "left", "left"),
        ("targets", "mean()", ("mean()",)),
    ],
)
def test_text_on_the_command_line_is_what_python_takes(name: str, text: str | None, value: Any) -> None:
    option, seen = scan_table(RegionOptions)[name], []
    command = click.command()(make_option(name, option)(lambda **options: seen.append(options[name])))
    flag = option.flags[0] if option.flags else f"--{name.replace('_', '-')}"
    done = CliRunner().invoke(command, [flag] if text is None else [flag, text], catch_exceptions=False)
    assert (done.exit_code, seen) == (0, [value]), done.output
    assert CliRunner().invoke(command, []).exit_code == 0
    assert seen[1] == option.default


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("strand_pairs", "0:1:2", "pairs of tracks such as 0:1,2:3"),
        ("shard_size", "1.5", '"auto" or a positive number'),
        ("optimize", "3", "must be 0, 1 or 2"),
    ],
)
def test_text_that_is_no_value_says_what_one_is(name: str, text: str, message: str) -> None:
    command = click.command()(make_option(name, scan_table(ScanOptions)[name])(lambda **options: None))
    done = CliRunner().invoke(command, [f"--{name.replace('_', '-')}", text])
    assert (done.exit_code, message in done.output) == (2, True)


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("smoothgrad", "stdev", r"no option 'stdev' of smoothgrad \(perhaps 'sd'\); the options are .*n_samples.*sd"),
        ("integrated_gradients", "steps", r"no option 'steps' of integrated_gradients \(perhaps 'n_steps'\)"),
        ("saliency", "n_steps", r"\(it is of integrated_gradients and expected_gradients\)"),
        ("saliency", "xyzzy", "no option 'xyzzy' of saliency; the options are target"),
    ],
)
def test_an_unknown_option_names_the_nearest_and_all_of_the_method(method: str, name: str, message: str) -> None:
    """Those of the method itself were not among the options that exist."""
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=message):
        getattr(gf.hooks.torch, method)(lambda x: x.sum((1, 2)), torch.eye(4)[None], **{name: 1})


def test_every_option_of_the_model_has_a_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"no option 'batchsize' \(perhaps 'batch_size'\)"):
        check_names(["batchsize"], table_of(RunOptions))


@pytest.mark.parametrize("options", [{"rule": None, "preset": None}, {"references": None, "n_steps": None}])
def test_none_is_what_a_method_does_by_default(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    x = torch.eye(4)[None]
    wanted = gf.hooks.torch.integrated_gradients(lambda x: (x**2).sum((1, 2)), x)
    got = gf.hooks.torch.integrated_gradients(lambda x: (x**2).sum((1, 2)), x, **options)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        ("integrated_gradients", {"references": "mono"}, 'references="mono" shuffles letters'),
        ("expected_gradients", {}, 'references="mono" shuffles letters'),
        ("smoothgrad", {"kind": "mutation"}, 'kind="mutation" replaces letters'),
    ],
)
def test_soft_sequences_whose_letters_are_needed_say_what_needs_them(
    method: str, options: dict[str, Any], reason: str
) -> None:
    """With soft=True they were refused for not being one-hot, as if nothing had been said."""
    pytest.importorskip("torch")
    x = np.full((2, 4, 6), 0.1, np.float32)
    x[:, 0] = 0.7
    with pytest.raises(ValueError, match=f"12 positions of X are not one-hot .*{reason}, which soft .*soft=True"):
        getattr(gf.hooks.torch, method)(lambda x: x.sum((1, 2)), x, soft=True, **options)


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad"])
def test_sequences_that_may_be_soft_say_how(method: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"not one-hot .*soft=True takes them as they are"):
        getattr(gf.hooks.torch, method)(lambda x: x.sum((1, 2)), np.full((1, 4, 6), -0.1, np.float32))


@pytest.mark.parametrize("check", [check_variant_options, check_region_options])
def test_checked_options_cannot_be_written_to(check: Any) -> None:
    options = check({"length": 10})
    assert options["length"] == 10
    with pytest.raises(TypeError):
        options["length"] = 11


def test_a_record_holds_what_the_numbers_depend_on() -> None:
    references = np.zeros((2, 4, 10), np.float32)
    given: dict[str, Any] = {"strand_pairs": [(0, 1)], "shifts": range(2), "device": "cuda", "references": references}
    record = recorded(check_region_options(given | {"targets": ["mean()", 3], "rc": True}))
    assert (record["strand_pairs"], record["shifts"], record["targets"]) == ([[0, 1]], [0, 1], ["mean()", "index(3)"])
    assert record["references"]["shape"] == [2, 4, 10]
    assert "device" not in record


def test_what_may_change_is_not_compared() -> None:
    before = {"options": recorded(check_variant_options({"batch_size": 8}))}
    now = {"options": recorded(check_variant_options({"batch_size": 4, "flank": "both"}))}
    assert find_changes(before, now, MAY_CHANGE) == ['options flank was "right" and is "both"']


@pytest.mark.parametrize("name", table_of(SampleOptions) | table_of(PathOptions))
def test_every_option_of_the_hooks_is_declared_once(name: str) -> None:
    """`rate` was in six places."""
    assert Path(_options.__file__).read_text().count(f"    {name}: Annotated[") == 1

"""The command line as a whole: help, messages in the shell's words, names that are completed, models made ready."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

import gradcorr_fast as gf
from gradcorr_fast import _wording
from gradcorr_fast.cli import COMMANDS, main
from tests.conftest import require
from tests.literals import literals

CODE = """
import torch
from torch.nn import AdaptiveMaxPool1d, Conv1d, Flatten, Linear, MaxPool1d, ReLU, Sequential


def one_length():
    torch.manual_seed(0)
    return Sequential(Conv1d(4, 3, 5), ReLU(), Flatten(), Linear(3 * 46, 2))


def some_lengths():
    return Sequential(Conv1d(4, 3, 5), MaxPool1d(4), Flatten(), Linear(3 * 11, 2))


def any_length():
    torch.manual_seed(0)
    return Sequential(Conv1d(4, 3, 5), AdaptiveMaxPool1d(1), Flatten(), Linear(3, 2))


class OneRow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = one_length()

    def forward(self, x):
        assert x.shape[0] == 2
        return self.net(x)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a genome, variants and models, where commands run."""
    for package in ("torch", "pyarrow"):
        require(package)
    monkeypatch.chdir(tmp_path)
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 300))
    (tmp_path / "genome.fa").write_text(f">chr1\n{letters}\n")
    (tmp_path / "variants.txt").write_text("".join(f"chr1:{k}:{letters[k - 1]}:N\n" for k in (100, 150)))
    (tmp_path / "snps.txt").write_text(
        "".join(f"chr1:{k}:{letters[k - 1]}:{'A' if letters[k - 1] != 'A' else 'C'}\n" for k in (100, 150, 200))
    )
    (tmp_path / "nets_of_test_cli.py").write_text(CODE)
    monkeypatch.delitem(sys.modules, "nets_of_test_cli", raising=False)
    return tmp_path


def run(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status, done.output
    return done


def score(model: str, *more: str, status: int = 0) -> Result:
    return run("score", "-m", model, "-f", "genome.fa", "-v", "snps.txt", "-o", "out.tsv", *more, status=status)


# --- help ---


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_help_has_an_example(name: str) -> None:
    if name in ("score", "plan", "attribute", "export", "status", "merge", "info", "verify"):
        pytest.importorskip("pyarrow")
    if name == "reproduce":
        pytest.importorskip("torch")
    text = run(*name.split(), "--help").output
    assert f"  gradcorr-fast {name}".rstrip() in text.partition("Example:")[2]


@pytest.mark.parametrize("name", [name for name in gf.targets.__all__ if name != "parse"])
def test_help_has_a_line_for_each_kind_of_target(name: str) -> None:
    pytest.importorskip("pyarrow")
    text = run("score", "--help").output
    lines = [line.strip() for line in text.partition("--target TEXT")[2].splitlines()]
    assert [line for line in lines if re.match(rf"(3, )?{name}\(\S*( 0\))?  +\w", line)]


@pytest.mark.parametrize("text", [part for text, _ in gf.targets.describe() for part in re.split(r", (?=index)", text)])
def test_targets_in_the_help_are_read(text: str) -> None:
    assert callable(gf.targets.parse(text))


@pytest.mark.parametrize(
    ("name", "message"),
    [("scroe", "No such command 'scroe' (did you mean score?)."), ("zzz", "No such command 'zzz'.")],
)
def test_names_of_commands_are_told_from_near_ones(name: str, message: str) -> None:
    assert message in run(name, status=2).output


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "gradcorr_fast", "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("Usage: gradcorr-fast [OPTIONS] COMMAND")


@pytest.mark.parametrize("option", ["-f", "-m", "-v", "-o", "--weights", "--contigs", "--regions"])
def test_names_of_files_are_completed(option: str) -> None:
    pytest.importorskip("pyarrow")
    completer = ShellComplete(main, {}, "gradcorr-fast", "_GRADCORR_FAST_COMPLETE")
    assert [item.type for item in completer.get_completions(["score", option], "gen")] == ["file"]


def test_names_of_commands_are_completed() -> None:
    completer = ShellComplete(main, {}, "gradcorr-fast", "_GRADCORR_FAST_COMPLETE")
    assert [item.value for item in completer.get_completions([], "ex")] == ["export", "export-model"]


# --- messages ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "genom.fa"], "No such file: genom.fa (did you mean genome.fa?)"),
        (["-v", "nothing.vcf"], "No such file: nothing.vcf"),
        (["-f", "nowhere/genome.fa"], "No such folder: nowhere"),
        (["--contigs", "names.tsv"], "No such file: names.tsv"),
    ],
)
def test_files_that_are_not_there_are_named_without_numbers(folder: Path, arguments: list[str], message: str) -> None:
    """It said [Errno 2] No such file or directory: 'genom.fa'."""
    done = score("nets_of_test_cli:one_length", *arguments, status=2)
    assert done.stderr.splitlines()[-1] == f"Error: {message}"


def test_other_errors_of_files_are_named_without_numbers() -> None:
    from gradcorr_fast.cli._errors import explain

    assert explain(PermissionError(13, "Permission denied", "a.fa")) == "Permission denied: a.fa"
    assert explain(OSError(28, "No space left on device", b"a.fa")) == "No space left on device: a.fa"
    assert explain(OSError("of our own words")) == "of our own words"
    assert explain(MemoryError()) == "MemoryError"


PACKAGE = Path(gf.__file__).parent
NO_MESSAGES = ("cli/", "report/_", "_wording.py")
"""Files whose texts are for the shell anyway, or are pages that show commands."""
SOURCES = [path for path in PACKAGE.rglob("*.py") if not path.relative_to(PACKAGE).as_posix().startswith(NO_MESSAGES)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_options_of_the_shell_are_named_by_the_words_that_python_has_too(path: Path) -> None:
    """Messages had both: give it, length=... (--length). `_wording.option` chooses."""
    flags = [text for text in literals(path) if re.search(r"[( ]--[a-z]", text)]
    assert flags == []


@pytest.mark.parametrize(
    ("call", "python", "shell"),
    [
        (lambda: _wording.option("length", "..."), "length=...", "--length"),
        (lambda: _wording.option("force"), "force=True", "--force"),
        (lambda: _wording.option("trust", flag="--trust-model"), "trust=True", "--trust-model"),
        (lambda: _wording.option("bin_axis", "1"), "bin_axis=1", "--bin-axis 1"),
        (lambda: _wording.words("exact=True", "without --weights-only"), "exact=True", "without --weights-only"),
    ],
)
def test_options_are_named_as_who_calls_gives_them(call: Callable[[], str], python: str, shell: str) -> None:
    assert call() == python
    with _wording.for_the_shell():
        assert call() == shell
    assert call() == python


# --- models ---


def test_the_only_length_that_a_model_takes_is_found(folder: Path) -> None:
    """The first scan that people tried, of an ordinary convolutional network, ended with: give it, --length."""
    told = score("nets_of_test_cli:one_length").stderr
    assert "length 50, the only one that the model takes" in told
    assert "target index(0), of an output that seems to have 2" in told


@pytest.mark.parametrize(
    ("model", "takes"), [("some_lengths", "takes 48 to 51 positions"), ("any_length", "takes any length")]
)
def test_a_length_that_cannot_be_known_is_asked_for(folder: Path, model: str, takes: str) -> None:
    told = score(f"nets_of_test_cli:{model}", status=2).stderr.splitlines()
    assert told[-1].endswith(f"{takes}; give the length that it was trained with, --length")
    score(f"nets_of_test_cli:{model}", "--length", "50")


def test_the_target_is_told_as_it_is_given(folder: Path) -> None:
    told = score("nets_of_test_cli:one_length", "-t", "1", "-t", "contrast(0, 1)").stderr
    assert "target index(1), contrast(index(0), index(1))" in told


@pytest.mark.parametrize(("model", "shape"), [("one_length", "(any, 4, 50)"), ("any_length", "(any, 4, any)")])
def test_a_model_is_exported_for_any_batch_size(folder: Path, model: str, shape: str) -> None:
    done = run("export-model", f"nets_of_test_cli:{model}", "-o", "net.pt2")
    assert f"Input: {shape}" in done.output
    assert "predictions differ by 0.0e+00" in done.output
    told = score("net.pt2", "--trust-model", "--length", "50")
    assert "batches" not in told.stderr
    table = Path("out.tsv").read_text()
    score(f"nets_of_test_cli:{model}", "--length", "50", "--force")
    rows = [line.split("\t") for line in Path("out.tsv").read_text().splitlines() if not line.startswith("#")]
    others = [line.split("\t") for line in table.splitlines() if not line.startswith("#")]
    delta = rows[0].index("delta")
    np.testing.assert_allclose(*([float(row[delta]) for row in each[1:]] for each in (rows, others)), atol=1e-6)


def test_a_model_for_one_batch_size_is_warned_of(folder: Path) -> None:
    """A static export ran at 10 alleles a second, the dynamic one at 60, and nothing said so."""
    done = run("export-model", "nets_of_test_cli:OneRow", "-o", "static.pt2", "--length", "50")
    assert "it takes batches of 2 alone" in done.stderr
    told = score("static.pt2", "--trust-model").stderr
    assert "static.pt2 takes batches of 2 alone, which may be slow; gradcorr-fast export-model" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nets_of_test_cli:some_lengths", "-o", "net.pt2"], "other lengths too, but its copy takes one"),
        (["nets_of_test_cli:one_length", "-o", "net.pt"], "net.pt must end in .pt2"),
        (["nets_of_test_cli:one_length", "-o", "net.pt2", "--length", "7"], "does not take an input of shape"),
        (["math:sqrt", "-o", "net.pt2"], "needs the arguments (x)"),
    ],
)
def test_what_cannot_be_exported_is_said(folder: Path, arguments: list[str], message: str) -> None:
    done = run("export-model", *arguments, status=2)
    assert message in done.stderr
    assert not list(folder.glob("*.pt2"))


def test_export_model_needs_no_genome(tmp_path: Path) -> None:
    """Who has PyTorch alone can make the file for who scans."""
    from tests.only import Installed, run_only

    require("torch")
    code = "from gradcorr_fast.cli import main; main(['export-model', '--help'])"
    done = run_only(Installed(frozenset({"torch"})), [sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr


def test_commands_speak_python_again_after_they_ended() -> None:
    run("correct", "nothing.npy", "-o", "x.npy", status=2)
    assert _wording.option("force") == "force=True"
    assert isinstance(main, click.Group)

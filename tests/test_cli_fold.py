"""`gradcorr-fast fold`: a file that was read back and agrees, or none, and errors that help."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from gradcorr_fast.model_files import load_model
from tests.conftest import require
from tests.test_fold import _one_thread as _one_thread

require("torch")
import torch  # noqa: E402

COMMAND = "from gradcorr_fast.cli import main; main(prog_name='gradcorr-fast')"
CODE = """
import torch

def make(last=None, **options):
    torch.manual_seed(0)
    last = last or [torch.nn.Flatten(), torch.nn.Linear(96, 2)]
    return torch.nn.Sequential(torch.nn.Conv1d(4, 3, 7, **options), torch.nn.ReLU(), *last)

def make_padded():
    return make(padding=2)

def make_pooled():
    torch.manual_seed(0)
    return make(last=[torch.nn.MaxPool1d(4), torch.nn.Flatten(), torch.nn.Linear(24, 2)])

def make_free():
    return make(last=[torch.nn.AdaptiveMaxPool1d(1)])

class LettersLast(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()

    def forward(self, x):
        return self.net(x.transpose(1, 2))

def make_function():
    return lambda x: x.sum((1, 2))

def make_nonlinear():
    return torch.nn.Sequential(torch.nn.Softmax(1), make())
"""
OFF_SIMPLEX = "Predictions equal the original's for one-hot sequences alone"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folded_models.py").write_text(CODE)


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["fold", *arguments])
    assert result.exit_code == status, result.output
    return result


def assert_folded(model: Any, folded: Any, x: Any, axis: int = 1) -> None:
    x = x.requires_grad_()
    outputs, found = model(x), folded(x)
    torch.testing.assert_close(found, outputs, rtol=1e-5, atol=1e-6)
    grad, corrected = (torch.autograd.grad(y.sin().sum(), x)[0] for y in (outputs, found))
    torch.testing.assert_close(corrected, gf.correct(grad, axis=axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "length", "says"),
    [
        ("make", [], 38, "Input: (any, 4, 38)\n"),
        ("make_padded", ["--length", "34"], 34, "Input: (any, 4, 34)\n"),
        ("make_pooled", ["--length", "39"], 39, "Input: (any, 4, 39)\n"),
        ("make_free", [], 77, "Input: (any, 4, any)\n"),
        ("LettersLast", ["--axis", "2"], 38, "Input: (any, 38, 4)\n"),
    ],
)
def test_a_module_becomes_a_program_with_corrected_gradients(
    name: str, options: list[str], length: int, says: str
) -> None:
    found = run(f"folded_models:{name}", "-o", "out.pt2", *options).output
    assert says in found
    assert "Read back and compared in float64: predictions differ by" in found
    axis = 2 if name == "LettersLast" else 1
    x = torch.randn((5, 4, length) if axis == 1 else (5, length, 4))
    assert_folded(load_model(f"folded_models:{name}").model, load_model("out.pt2", trust=True).model, x, axis)


@pytest.mark.parametrize("is_static", [True, False])
def test_a_program_is_folded(is_static: bool) -> None:
    model, x = load_model("folded_models:make").model, torch.randn(3, 4, 38)
    shapes = None if is_static else ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes=shapes), "in.pt2")
    assert f"Input: ({3 if is_static else 'any'}, 4, 38)\n" in run("in.pt2", "--trust-model", "-o", "out.pt2").output
    assert_folded(model, load_model("out.pt2", trust=True).model, x)
    assert run("in.pt2", "--trust-model", "-o", "out.pt2", "--force", "--quiet").output == ""
    assert "in.pt2 would be written while" in run("in.pt2", "--trust-model", "-o", "in.pt2", "--force", status=2).output


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_alone_go_into_the_same_class(suffix: str) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    model = load_model("folded_models:make").model
    for parameter in model.parameters():
        parameter.data += 0.1
    torch.save(model.state_dict(), "trained.pt")
    out = f"out{suffix}"
    found = run("folded_models:make", "--weights", "trained.pt", "-o", out, "--weights-only")
    assert OFF_SIMPLEX in found.output
    one_hot = torch.nn.functional.one_hot(torch.randint(4, (5, 38)), 4).float().transpose(1, 2)
    assert_folded(model, load_model("folded_models:make", weights=out).model, one_hot)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["folded_models:make_nonlinear", "-o", "out.pt2"],
            "the first operation on the input is softmax in 0, and not",
        ),
        (
            ["folded_models:make_padded", "-o", "out.pt", "--weights-only"],
            "layer 0 pads, and padding does not sum to",
        ),
        (
            ["folded_models:make", "-o", "out.pt"],
            "out.pt must end in .pt2, or with --weights-only in .pt or .pth or .safetensors",
        ),
        (
            ["folded_models:make", "-o", "out.pt2", "--weights-only"],
            "must end in .pt or .pth or .safetensors, or without --weights-only in .pt2",
        ),
        (["folded_models:make_pooled", "-o", "out.pt2"], "the model takes 40 positions, and other lengths too, but"),
        (["folded_models:make", "-o", "out.pt2", "--length", "20"], "does not take an input of shape (2, 4, 20)"),
        (["folded_models:make", "-o", "out.pt2", "--axis", "2"], "no length was found that the model takes"),
        (["pickled.pt", "-o", "out.pt2"], "pass --trust-model"),
        (["script.ts", "-o", "out.pt2"], "a scripted model cannot be taken apart"),
        (["folded_models:make_function", "-o", "out.pt2"], "model must be a torch.nn.Module; got a function"),
        (["nothing.pt2", "-o", "out.pt2"], "nothing.pt2 does not exist"),
        (["folded_models:make", "-o", "no/out.pt2"], "the folder"),
        (["folded_models:make", "-o", "there.pt2"], "exists already; --force replaces it"),
    ],
)
def test_a_wrong_call_is_told_and_leaves_nothing(arguments: list[str], message: str) -> None:
    model = load_model("folded_models:make").model
    torch.save(model, "pickled.pt")
    torch.jit.trace(model, torch.rand(2, 4, 38)).save("script.ts")
    Path("there.pt2").write_text("old")
    before = {path.name for path in Path().iterdir()}
    assert message in " ".join(run(*arguments, status=2).output.split())
    assert {path.name for path in Path().iterdir()} == before
    assert Path("there.pt2").read_text() == "old"


def test_a_pickled_module_is_folded_with_trust() -> None:
    model = load_model("folded_models:make").model
    torch.save(model, "pickled.pt")
    run("pickled.pt", "-o", "out.pt2", "--trust-model")
    assert_folded(model, load_model("out.pt2", trust=True).model, torch.randn(5, 4, 38))


def test_a_file_that_disagrees_gets_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is judged, not what was in memory."""
    from gradcorr_fast.model_files.torch import folding as implementation

    monkeypatch.setattr(implementation, "load_file", lambda path, trust, device: _reweighted(path))
    found = run("folded_models:make", "-o", "out.pt2", status=1)
    assert "the folded model differs from its original, predictions by" in found.output
    assert [path.name for path in Path().iterdir() if "out" in path.name] == []


def _reweighted(path: Path) -> Any:
    model = torch.export.load(path).module()
    for parameter in model.parameters():
        parameter.data *= 2
    return model


def test_the_command_runs_in_a_process_of_its_own() -> None:
    """Without the export, which takes a process longer than all other tests."""
    call = ["fold", "folded_models:make", "-o", "out.pt", "--weights-only"]
    command = [sys.executable, "-W", "error::UserWarning", "-c", COMMAND, *call]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Read back and compared in float64")
    assert load_model("folded_models:make", weights="out.pt").digest != load_model("folded_models:make").digest

"""Scans with models of several inputs: the windows at any place or by name, the others the same for all."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.cli import main
from tests.region_scans import LENGTH, REGIONS, Network, genome_fasta, one_thread  # noqa: F401 - fixtures

torch = pytest.importorskip("torch")
pytest.importorskip("zarr")

NETS = """
import torch
from tests.region_scans import Network

class Heads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Network()

    def forward(self, head, sequence, scale=1.0, is_human=None):
        assert is_human is True
        return {"mouse": self.net(sequence) * 0.0, "human": self.net(sequence) * scale}[head]
"""
WAYS: dict[str, dict[str, Any]] = {
    "name": {"input": "sequence", "args": {"head": "human", "scale": 2.0, "is_human": True}},
    "place": {"input": 1, "args": ("human", 2.0, True)},
}


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model that takes more than sequences."""
    monkeypatch.chdir(tmp_path)
    Path("headed_nets.py").write_text(NETS)
    return gf.model_files.load_model("headed_nets:Heads")


def doubled() -> Any:
    """The same model as a function of sequences."""

    class Doubled(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = Network()

        def forward(self, x: Any) -> Any:
            return self.net(x) * 2.0

    return Doubled()


def substitutions(fasta: Path) -> list[tuple[str, int, str, str]]:
    with gf.scan.Genome(fasta) as genome:
        name = next(iter(genome.lengths))
        letters = gf.sequences.decode(genome.codes(name, 100, 110))
    return [(name, 101 + k, letter, "ACGT"["CGTA".index(letter)]) for k, letter in enumerate(letters) if letter != "N"]


@pytest.mark.parametrize("engine", ["full", "incremental"])
@pytest.mark.parametrize("way", WAYS)
def test_scores_are_those_of_the_model_with_its_inputs_bound(fasta: Path, heads: Any, way: str, engine: str) -> None:
    given: Any = {"length": LENGTH, "axis": 1, "engine": engine}
    variants = substitutions(fasta)
    found = gf.scan.score_variants(heads, fasta, variants, **given, **WAYS[way])
    wanted = gf.scan.score_variants(doubled(), fasta, variants, **given)
    for name in ("ref_score", "delta", "taylor", "angle"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-6)
    assert np.abs(wanted["delta"].to_numpy()).max() > 1e-3


@pytest.mark.parametrize("method", ["saliency", "saturation_mutagenesis"])
def test_maps_are_those_of_the_model_with_its_inputs_bound(
    fasta: Path,
    heads: Any,
    tmp_path: Path,
    method: str,
) -> None:
    given: Any = {"length": LENGTH, "axis": 1, "method": method, "dtype": "float32"}
    found = gf.scan.attribute_regions(heads, fasta, REGIONS, tmp_path / "found", **given, **WAYS["name"])
    wanted = gf.scan.attribute_regions(doubled(), fasta, REGIONS, tmp_path / "wanted", **given)
    np.testing.assert_allclose(found.maps(range(len(found))), wanted.maps(range(len(found))), rtol=1e-4, atol=1e-6)


def test_what_is_recorded_is_needed_to_go_on(fasta: Path, heads: Any, tmp_path: Path) -> None:
    given: Any = {"length": LENGTH, "axis": 1, "resume": True}
    variants = substitutions(fasta)
    gf.scan.score_variants(heads, fasta, variants, tmp_path / "out", **given, **WAYS["name"])
    record = gf.scan.read_metadata(tmp_path / "out")
    assert record["options"]["input"] == "sequence"
    assert record["options"]["args"] == {"head": "human", "scale": 2.0, "is_human": True}
    other = {"input": "sequence", "args": {"head": "human", "scale": 3.0, "is_human": True}}
    with pytest.raises(ValueError, match="args"):
        gf.scan.score_variants(heads, fasta, variants, tmp_path / "out", **given, **other)


def test_on_the_command_line(fasta: Path, heads: Any, tmp_path: Path) -> None:
    lines = [f"{contig}:{pos}:{ref}:{alt}" for contig, pos, ref, alt in substitutions(fasta)]
    Path("variants.txt").write_text("\n".join(lines) + "\n")
    call = ["score", "-m", "headed_nets:Heads", "-f", str(fasta), "-v", "variants.txt", "-o", "scores.parquet"]
    inputs = ["--input", "sequence", "--arg", "head=human", "--arg", "scale=2.0", "--arg", "is_human=true"]
    result = CliRunner().invoke(main, [*call, *inputs, "--length", str(LENGTH), "--axis", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    wanted = gf.scan.score_variants(doubled(), fasta, substitutions(fasta), length=LENGTH, axis=1)
    np.testing.assert_allclose(pq.read_table("scores.parquet")["delta"], wanted["delta"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"mask": np.ones((3, 4))}, "args of a scan must be None, texts or numbers"),
        ("human", "args must be a tuple of inputs in their order"),
        ((("head", "human"), ("head", "mouse")), "args has a name twice"),
        ({"sequence": 1}, "input='sequence' is where X goes, and args has it too"),
    ],
)
def test_other_inputs_are_refused(fasta: Path, heads: Any, args: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        gf.scan.score_variants(heads, fasta, substitutions(fasta), length=LENGTH, axis=1, input="sequence", args=args)


@pytest.mark.parametrize("text", ["is_human", "=true", ""])
def test_text_that_is_no_argument(text: str) -> None:
    result = CliRunner().invoke(main, ["score", "-m", "a:b", "-f", "x", "-o", "y", "--arg", text])
    assert result.exit_code == 2
    assert "must be NAME=VALUE, such as is_human=true" in result.output


def test_a_keras_model_whose_call_takes_more(fasta: Path) -> None:
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")

    class Scaled(keras.Model):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(
                1, activation="tanh", kernel_initializer=keras.initializers.GlorotUniform(3)
            )

        def call(self, sequence: Any, scale: float = 1.0) -> Any:
            return self.dense(keras.ops.reshape(sequence, (-1, LENGTH * 4))) * scale

    given: Any = {"length": LENGTH, "axis": -1, "scores": ("delta", "taylor")}
    model, variants = Scaled(), substitutions(fasta)
    plain = gf.scan.score_variants(model, fasta, variants, **given)
    scaled = gf.scan.score_variants(model, fasta, variants, input="sequence", args={"scale": 3.0}, **given)
    for name in ("delta", "taylor"):
        np.testing.assert_allclose(scaled[name], 3 * plain[name].to_numpy(), rtol=1e-5, atol=1e-6)

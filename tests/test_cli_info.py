"""`gradcorr-fast info` and the paragraph for a paper: nothing but what the metadata say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("pyarrow")

from gradcorr_fast.cli import main
from gradcorr_fast.scan.placing.alleles import STATUSES
from gradcorr_fast.scan.results.merging import merge_shards
from gradcorr_fast.scan.results.paragraph import REASONS, describe
from gradcorr_fast.scan.results.tables import SCORES, column_names, schema, write_shard

METADATA: dict[str, Any] = {
    "gradcorr_fast": "0.1.0",
    "created": "2026-11-25T15:00:00+00:00",
    "command": ["gradcorr-fast", "score"],
    "model": {"source": "models/deepstarr.pt2", "framework": "torch", "digest": "0123456789abcdef"},
    "genome": {"path": "/data/dm6.fa", "digest": "fedcba9876543210"},
    "input": {"path": "flies.vcf.gz", "digest": "00112233445566"},
    "options": {
        "length": 1249,
        "targets": ["index(0)", "index(1)"],
        "scores": list(SCORES),
        "rc": True,
        "shifts": [-1, 0, 1],
        "windows": "centred",
        "top": None,
        "flank": "both",
        "edges": "pad",
        "max_n": 0.05,
        "precision": "float32",
        "batch_size": 64,
    },
    "counts": {"ok": 12345, "symbolic": 3, "ref_mismatch": 20, "too_long": 0},
    "versions": {"gradcorr_fast": "0.1.0", "python": "3.12.1", "torch": "2.13.0", "jax": None},
    "device": "cuda:0 (NVIDIA H100)",
    "agreement": {"n": [9000, 9000], "pearson": [0.91, 0.9512]},
}


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["info", *arguments])
    assert result.exit_code == status, result.output
    return result


def write(folder: Path, name: str = "scores.parquet", **metadata: Any) -> str:
    write_shard(folder / "0.shard", schema(["delta"], ["index(0)"]).empty_table())
    merge_shards([folder / "0.shard"], folder / name, metadata=metadata)
    return str(folder / name)


def test_a_scan_is_described_in_six_sentences() -> None:
    text = describe(METADATA)
    assert re.findall(r"(?<=\. )[A-Z][a-z]+ \w+", f". {text}") == [
        "Variant effects",
        "Of 12",
        "The model",
        "For index",
        "Gradients were",
        "Computations ran",
    ]


@pytest.mark.parametrize(
    "part",
    [
        "effects of flies.vcf.gz (digest 001122334455) were predicted with gradcorr_fast 0.1.0, the model",
        "deepstarr.pt2 (digest 0123456789ab) and the genome dm6.fa (digest fedcba987654). Of 12,368",
        "Of 12,368 alleles, 12,345 were scored; not scored were 3 in symbolic form and 20 whose reference",
        "windows of 1,249 bp centred on the variant; positions",
        "at most 5% of a window",
        "means over both strands and shifts of -1, 0 and 1 bp.",
        "For index(0) and index(1) of the model, ref_score is the prediction with the reference allele; alt_score",
        "r = 0.910 to 0.951.",
        "(Majdandzic, Rajesh and Koo, Genome Biology 24:109, 2023, doi:10.1186/s13059-023-02956-3). Computations",
        "Computations ran on cuda:0 (NVIDIA H100) in float32 with python 3.12.1 and torch 2.13.0.",
    ],
)
def test_the_description_has_what_a_reader_needs(part: str) -> None:
    assert part in describe(METADATA)


WITHOUT = {
    "gradcorr_fast": "0.1.0",
    "model": "deepstarr",
    "genome": "dm6",
    "input": "flies",
    "counts": "alleles,",
    "versions": "torch",
    "device": "cuda",
    "agreement": "correlated",
    "options": "window",
    "length": "window",
    "targets": "index",
    "scores": "Genome Biology",
    "rc": "strands",
    "shifts": "shifts",
    "windows": "centred",
    "flank": "insertions",
    "edges": "end of",
    "max_n": "5%",
    "precision": "float32",
}


@pytest.mark.parametrize(("key", "word"), WITHOUT.items())
def test_what_the_metadata_do_not_say_is_not_said(key: str, word: str) -> None:
    options = {name: value for name, value in METADATA["options"].items() if name != key}
    text = describe({name: value for name, value in (METADATA | {"options": options}).items() if name != key})
    assert word in describe(METADATA)
    assert word not in text
    assert not re.search(r"None|\{|  | \.|\(\)|; ;|with \.", text)


@pytest.mark.parametrize(
    ("scores", "word"), [(["delta"], "subtracting"), (["taylor"], "subtracting"), (["delta", "angle"], "corrected")]
)
def test_the_correction_is_named_only_where_it_was_used(scores: list[str], word: str) -> None:
    text = describe(METADATA | {"options": {"scores": scores}})
    assert word not in text
    assert ("Majdandzic" in text) == ("angle" in scores)


def test_one_correlation_has_its_number_and_none_is_left_away() -> None:
    assert "r = 0.910 (n = 9,000)" in describe(METADATA | {"agreement": {"n": [9000], "pearson": [0.91]}})
    assert "correlated" not in describe(METADATA | {"agreement": {"n": [1], "pearson": [None]}})


def test_small_shares_and_chosen_effects_are_told() -> None:
    text = describe({"options": {"length": 100, "max_n": 0.005, "windows": "grid:50", "top": 3, "scores": ["delta"]}})
    assert "windows of 100 bp on a grid of 50 bp; at most 0.5% of a window" in text
    assert "exact effects are of the 3 largest first-order ones in a window" in text


def test_nothing_can_be_described() -> None:
    assert describe({}) == "Variant effects were predicted."


def test_every_status_has_words() -> None:
    assert set(REASONS) == set(STATUSES) - {"ok"}


@pytest.mark.parametrize("name", ["scores.parquet", "scores.tsv", "scores.vcf"])
def test_info_prints_the_paragraph_the_counts_and_the_columns(tmp_path: Path, name: str) -> None:
    output = run(write(tmp_path, name, **METADATA)).output
    assert output.startswith(describe(METADATA) + "\n")
    assert re.search(r"^ *ok +12,345\n *ref_mismatch +20\n *symbolic +3\n", output, re.MULTILINE)
    assert f"\n{0 if name.endswith('parquet') else '12,368'} rows\n" in output
    assert re.search(r"^columns: .*(n_fraction, pad_bp, delta|GC_STATUS, GC_DELTA)$", output, re.MULTILINE)


def test_info_prints_json(tmp_path: Path) -> None:
    found = json.loads(run(write(tmp_path, **METADATA), "--json").output)
    assert found == {"metadata": METADATA, "columns": column_names(["delta"], ["index(0)"]), "n_rows": 0}


def test_info_of_a_run_is_that_of_its_table(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(METADATA))
    planned = run(str(tmp_path)).output
    assert "were scored" not in planned
    assert "gradcorr-fast status" in planned
    write(tmp_path, "scores.tsv", **METADATA | {"counts": {"ok": 1, "model_failed": 1}})
    assert "Of 2 alleles, 1 was scored; not scored were 1 on which the model failed." in run(str(tmp_path)).output


def test_a_file_that_is_not_ours_ends_with_status_2(tmp_path: Path) -> None:
    assert "does not exist" in run(str(tmp_path / "a.parquet"), status=2).output
    (tmp_path / "a.vcf").write_text("##fileformat=VCFv4.2\n")
    assert "no metadata of gradcorr_fast" in run(str(tmp_path / "a.vcf"), status=2).output
    (tmp_path / "a.xlsx").write_text("")
    assert ".vcf.gz" in run(str(tmp_path / "a.xlsx"), status=2).output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["doctor"], ["info", "--help"]])
def test_what_cannot_be_printed_is_one_error(arguments: list[str]) -> None:
    code = "from gradcorr_fast.cli import main; main(prog_name='gradcorr-fast')"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="the shell is that of POSIX")
def test_closed_standard_streams_are_no_error(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.ones((3, 5, 4), "f4"))
    code = "from gradcorr_fast.cli import main; main(prog_name='gradcorr-fast')"
    shell = ["sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, "-c", code, "correct", "in.npy", "-o", "out.npy"]
    assert subprocess.run(shell, cwd=tmp_path, check=False).returncode == 0
    assert not np.load(tmp_path / "out.npy").any()

"""`gradcorr-fast score`, `plan`, `status` and `merge`, as they are called in a shell."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import gradcorr_fast as gf
from gradcorr_fast.cli import main

pytest.importorskip("torch")

NETS = """
import torch

def make():
    torch.manual_seed(0)
    convolution = torch.nn.Conv1d(4, 5, 7, padding=3)
    return torch.nn.Sequential(convolution, torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(150, 2))

def wide():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(120, 300))

class Slow(torch.nn.Module):
    def forward(self, x):
        import time
        time.sleep(0.05)
        return x.sum((1, 2))[:, None] * x[:, 0].mean(1, keepdim=True)

class Broken(torch.nn.Module):
    def forward(self, x):
        raise RuntimeError("no kernel image is available")

class Lost(torch.nn.Module):
    n = 0

    def forward(self, x):
        self.n += 1
        if self.n > 6:
            raise RuntimeError("the device is lost")
        return x.sum((1, 2))[:, None]

class Picky(torch.nn.Module):
    def forward(self, x):
        value = (x * torch.arange(4.0)[:, None]).sum((1, 2))[:, None]
        return torch.where(value > 52, torch.nan, value)
"""
GENOME = "".join(np.random.default_rng(3).choice(list("ACGT"), 1500))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call the command in a folder with nets.py, genome.fa and variants.vcf."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    Path("nets.py").write_text(NETS)
    Path("genome.fa").write_text(f">chr1\n{textwrap.fill(GENOME, 50)}\n")
    after = GENOME.translate(str.maketrans("ACGT", "CGTA"))
    lines = [f"chr1\t{pos}\t.\t{GENOME[pos - 1]}\t{after[pos - 1]}" for pos in range(50, 1400, 9)]
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    Path("variants.vcf").write_text(header + "".join(f"{line}\t.\t.\t.\n" for line in [*lines, "chr7\t1\t.\tA\tC"]))
    inputs = ["--fasta", "genome.fa", "--vcf", "variants.vcf", "--length", "30", "--batch-size", "16"]

    def run(command: str, *arguments: str, model: str = "nets:make") -> Result:
        given = ["--model", model, *inputs] if command in ("score", "plan") else []
        return CliRunner().invoke(main, [command, *given, *arguments], catch_exceptions=False)

    return run


def test_a_table_is_written_and_alleles_are_counted(call: Callable[..., Result]) -> None:
    done = call("score", "-o", "scores.parquet", "-t", "1", "-t", "contrast(0, 1)", "--scores", "delta,angle")
    assert done.exit_code == 0, done.output
    table = pq.read_table("scores.parquet")
    names = [
        "delta:index(1)",
        "angle:index(1)",
        "delta:contrast(index(0), index(1))",
        "angle:contrast(index(0), index(1))",
    ]
    assert table.column_names[16:] == names
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [["ok", "150"], ["contig_missing", "1"]]
    assert "axis 1, as the model seems to take" in done.stderr
    again = call("score", "-o", "scores.parquet")
    assert (again.exit_code, "--force replaces it" in again.stderr) == (2, True)


def test_it_is_planned_scored_in_shares_and_merged(call: Callable[..., Result]) -> None:
    planned = call("plan", "-o", "scan", "--shard-size", "40", "--seconds", "0.2", "--quiet")
    assert planned.exit_code == 0, planned.output
    assert "150 reference windows, 4 shards; about " in planned.stdout
    assert (call("status", "scan").exit_code, call("status", "scan").stdout) == (1, "0 of 4 shards done, 0 at work\n")
    first = call("score", "-o", "scan", "--shard-size", "40", "--shard", "1/2", "--quiet")
    assert (first.exit_code, first.stdout) == (0, "2 of 4 shards are done; merge scan joins them when all are\n")
    early = call("merge", "scan")
    assert (early.exit_code, "2 of 4 shards of scan are not done" in early.stderr) == (1, True)
    call("score", "-o", "scan", "--shard-size", "40", "--shard", "2/2", "--quiet")
    merged = call("merge", "scan", "--format", "tsv")
    assert (merged.exit_code, merged.stdout) == (
        0,
        "scan/scores.tsv\n  ok                       150\n  contig_missing             1\n",
    )
    assert call("status", "scan").exit_code == 0
    whole = gf.scan.score_variants("nets:make", "genome.fa", "variants.vcf", length=30, batch_size=16, shard_size=40)
    assert call("merge", "scan").exit_code == 0
    assert pq.read_table("scan/scores.parquet").equals(whole)


def test_a_scan_that_python_began_goes_on(call: Callable[..., Result]) -> None:
    """The command took 16,384 alleles for a shard, Python fewer for 300 targets, and each refused the other's scan."""
    targets, options = range(300), {"length": 30, "scores": ["delta"]}
    gf.scan.score_variants("nets:wide", "genome.fa", "variants.vcf", "scan", shard=(1, 1), targets=targets, **options)
    arguments = [text for target in targets for text in ("-t", str(target))]
    done = call("score", "-o", "scan", "--scores", "delta", "--resume", "--quiet", *arguments, model="nets:wide")
    assert done.exit_code == 0, done.output
    assert gf.scan.read_metadata("scan")["options"]["shard_size"] == (1 << 22) // 300


def test_a_scan_that_the_command_began_goes_on_in_python(call: Callable[..., Result]) -> None:
    done = call("score", "-o", "scan", "--shard-size", "auto", "--batch-size", "auto", "--shard", "1/2", "--quiet")
    assert done.exit_code == 0, done.output
    path = gf.scan.score_variants("nets:make", "genome.fa", "variants.vcf", "scan", length=30, resume=True)
    assert gf.scan.read_metadata(path)["options"]["shard_size"] == 16384


def test_strands_are_those_of_python(call: Callable[..., Result]) -> None:
    """No flag said which tracks belong to the two strands."""
    done = call("score", "-o", "scores.parquet", "--rc", "--strand-pairs", "0:1", "--scores", "delta,taylor", "--quiet")
    assert done.exit_code == 0, done.output
    given: dict[str, Any] = {"length": 30, "batch_size": 16, "scores": ["delta", "taylor"], "rc": True}
    wanted = gf.scan.score_variants("nets:make", "genome.fa", "variants.vcf", strand_pairs=[(0, 1)], **given)
    assert pq.read_table("scores.parquet").equals(wanted)
    assert not wanted.equals(gf.scan.score_variants("nets:make", "genome.fa", "variants.vcf", **given))


def test_what_the_model_cannot_score_ends_in_the_exit_status(call: Callable[..., Result]) -> None:
    done = call("score", "-o", "scores.tsv", "--scores", "delta", "--quiet", model="nets:Picky")
    assert done.exit_code == 1
    assert "model_failed" in done.stdout
    assert "the model returned NaN or infinity" in done.stderr
    call("score", "-o", "scan", "--scores", "delta", "--quiet", "--shard", "1/1", model="nets:Picky")
    merged = call("merge", "scan")
    assert (merged.exit_code, "model_failed" in merged.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "3/2"], "must be i/n with i from 1 to n"),
        (["--shifts", "a"], "must be whole numbers"),
        (["--strand-pairs", "0,1"], "must be pairs of tracks"),
        (["--bin-axis", "1"], "pass --rc with them"),
        (["--exact"], "--top K"),
        (["--target", "best"], "is not a target"),
        (["--batch-size", "0"], "positive number"),
        (["--weights", "none.pt"], "none.pt does not exist"),
        (["--regions", "chr1:9-3"], "chr1:9-3"),
        (["--chrom", "chr5"], "chr5"),
        (["--format", "xlsx"], "xlsx"),
        (["-o", "scores.csv"], "there is no format .csv"),
        (["-o", "scores.tsv", "--format", "vcf"], "says another format than vcf"),
        (["--resume", "--force"], "leave one of them away"),
        (["--shard", "1/2", "--force"], "leave one of them away"),
    ],
)
def test_wrong_calls_end_with_status_2(call: Callable[..., Result], arguments: list[str], message: str) -> None:
    done = call("score", "-o", "scan", "--quiet", *arguments)
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert not Path("scan").exists()


def test_a_terminated_scan_says_how_to_go_on_and_does(call: Callable[..., Result]) -> None:
    arguments = [
        "score",
        "-m",
        "nets:Slow",
        "-f",
        "genome.fa",
        "-v",
        "variants.vcf",
        "--length",
        "30",
        "--batch-size",
        "8",
    ]
    options = ["--axis", "1", "--scores", "delta", "--shard-size", "16", "-o", "scan"]
    command = [sys.executable, "-c", "from gradcorr_fast.cli import main; main()", *arguments, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(Path().glob("scan/shards/*.json")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same call with --resume goes on" in told
    before = {path: path.stat().st_mtime_ns for path in Path("scan/shards").glob("*.json")}
    done = CliRunner().invoke(main, [*arguments, *options, "--resume"])
    assert done.exit_code == 0, done.output
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert pq.read_table("scan/scores.parquet").num_rows == 151


@pytest.mark.parametrize(
    ("model", "size", "messages"),
    [
        ("nets:Broken", "16", ["no kernel image is available"]),
        ("nets:Lost", "16", ["the device is lost", "shards are done and kept in scan; the same call with --resume"]),
        ("nets:Lost", "151", ["the device is lost", "None of 1 shards is done; nothing is kept but the plan"]),
    ],
)
def test_an_error_of_the_model_keeps_its_words(
    call: Callable[..., Result], model: str, size: str, messages: list[str]
) -> None:
    """Every RuntimeError was told as a file that cannot be read; and how much is kept was not said."""
    options = ["-o", "scan", "--shard-size", size, "--axis", "1", "--scores", "delta"]
    done = call("score", *options, model=model)
    assert done.exit_code in (1, 2), done.output
    assert "cannot be read" not in done.stderr
    assert [message for message in messages if message not in done.stderr] == [], done.stderr


def test_missing_shards_are_told_by_merge_and_not_as_a_damaged_file(call: Callable[..., Result]) -> None:
    call("plan", "-o", "scan", "--seconds", "0")
    done = call("merge", "scan")
    assert (done.exit_code, "1 of 1 shards of scan are not done" in done.stderr) == (1, True)
    assert "cannot be read" not in done.stderr


def test_a_scan_in_which_nothing_is_scored_fails_and_says_why(call: Callable[..., Result]) -> None:
    """Variants of another genome gave a table without a score, and exit status 0."""
    Path("variants.vcf").write_text("".join(f"chr7:{pos}:A:C\n" for pos in range(1, 4)) + "chr7:x:A:C\n")
    Path("variants.vcf").rename("lines.txt")
    done = call("score", "-o", "scores.parquet", "--vcf", "lines.txt")
    assert done.exit_code == 1, done.output
    assert "Error: there is no result at all: 4 of 4 alleles are not scored: 3 contig_missing" in done.stderr
    assert "Warning: unreadable: line 4" in done.stderr
    assert "3 of 3 records lie on contigs that genome.fa lacks: 'chr7' (3)" in done.stderr
    assert pq.read_table("scores.parquet").num_rows == 4


def test_a_share_in_which_nothing_is_scored_says_so_and_fails_only_if_no_share_has_anything(
    call: Callable[..., Result],
) -> None:
    """It ended like any other, and merge alone told."""
    lines = [f"chr7:{pos}:A:C\n" for pos in range(1, 41)]
    Path("lines.txt").write_text("".join(lines))
    options = ["-o", "none", "--shard-size", "40", "--vcf", "lines.txt", "--quiet", "--shard"]
    done = call("score", *options, "1/2")
    assert (done.exit_code, "1 of 1 shards are done; merge none" in done.stdout) == (1, True), done.output
    assert "Error: there is no result at all, in no share: 40 of 40 alleles" in done.stderr
    assert call("score", *options, "2/2").exit_code == 1  # which has no shard
    assert call("merge", "none").exit_code == 1
    good = [f"chr1:{pos}:{GENOME[pos - 1]}:{'CGTA'['ACGT'.index(GENOME[pos - 1])]}\n" for pos in range(100, 110)]
    Path("lines.txt").write_text("".join(lines + good))
    options[1] = "some"
    done = call("score", *options, "1/2")
    assert done.exit_code == 0, done.output
    assert "Warning: this share has no result, others may: 40 of 40 alleles are not scored: 40 contig" in done.stderr
    done = call("score", *options, "2/2")
    assert (done.exit_code, "this share" in done.stderr) == (0, False), done.output
    assert call("merge", "some").exit_code == 0


def test_a_scan_goes_on_with_the_same_names_of_contigs_alone(call: Callable[..., Result]) -> None:
    Path("names.tsv").write_text("chr7\tchr1\n")
    done = call("score", "-o", "scan", "--contigs", "names.tsv")
    assert (done.exit_code, "contig_missing" in done.stdout) == (0, False), done.output
    other = call("score", "-o", "scan", "--resume")
    assert (other.exit_code, "genome aliases was" in other.stderr) == (2, True), other.stderr
    assert call("score", "-o", "scan", "--resume", "--contigs", "names.tsv").exit_code == 0

"""The benchmarks run; what they time is checked inside them, and no time is asserted."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


PAGES = ["speed.md", "exact-effects.md", "peers.md"]
FILES = ["benchmarks/test_operations.py", "benchmarks/test_standard_work.py", "benchmarks/test_scans.py"]


@pytest.mark.parametrize(
    "files", [FILES, pytest.param(["benchmarks"], marks=pytest.mark.thorough)], ids=["three files", "all"]
)
def test_benchmarks_run_and_report(tmp_path: Path, files: list[str]) -> None:
    pytest.importorskip("torch")
    results, page = tmp_path / "cpu.json", tmp_path / "speed.md"
    for name in PAGES:
        (tmp_path / name).write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    command = [sys.executable, "-m", "pytest", *files, "--quick", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run([*command, "--results", str(results)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert {row["operation"] for row in json.loads(results.read_text())["rows"]} >= {"standard work", "angle_summary"}
    report = [sys.executable, "benchmarks/report.py", "--results", str(results), "--docs", str(tmp_path)]
    subprocess.run(report, cwd=ROOT, check=True)
    assert "| standard work | (N, L, 4) |" in page.read_text()
    assert page.read_text().endswith("<!-- /benchmarks -->\nafter\n")


def test_the_committed_results_are_those_of_the_pages(tmp_path: Path) -> None:
    for name in PAGES:
        (tmp_path / name).write_text((ROOT / "docs" / name).read_text())
    subprocess.run([sys.executable, "benchmarks/report.py", "--docs", str(tmp_path)], cwd=ROOT, check=True)
    for name in PAGES:
        assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()


def test_the_committed_numbers_of_the_papers_are_those_of_the_page() -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("paper", ROOT / "benchmarks" / "paper.py")
    assert spec is not None
    assert spec.loader is not None
    paper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(paper)
    page = (ROOT / "benchmarks" / "paper.md").read_text()
    numbers = {name: pd.read_csv(paper.NUMBERS / f"{name}.csv") for name in paper.KEYS}
    assert page.startswith(f"{paper.tables(numbers)}\n{paper.origin(numbers['s3'])}")
    for name, present in paper.DRAWN.items():
        text = (paper.PICTURES / f"{name}.txt").read_text()
        assert text == f"{paper.wrap(present(paper.columns(numbers[name])).text)}\n"
    assert page.endswith(paper.pictures())

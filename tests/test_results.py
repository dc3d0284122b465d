"""Results show themselves: in a line, in a notebook, one by one, as pictures, and to type checkers."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.test_dispatch import run_python

ROOT = Path(__file__).parents[1]
GRAD = np.random.default_rng(0).standard_normal((3, 4, 50)).astype(np.float32)


def cells(html: str) -> list[str]:
    return re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", html)


def test_summaries_show_shares_and_not_their_arrays() -> None:
    summary = gf.angle_summary(GRAD, axis=1)
    share = f"{summary.counts.sum(0)[0] / 150:.1%}"
    assert repr(summary) == f"AngleSummary({summary})"
    assert share in repr(summary)
    assert "array" not in repr(summary)
    html = summary._repr_html_()
    assert cells(html)[3:6] == ["above 30°", str(summary.counts.sum(0)[0]), share]
    assert "150 positions of 3 sequences" in html


def test_summaries_of_nothing_show_themselves() -> None:
    summary = gf.angle_summary(np.empty((0, 4, 50)), axis=1)
    assert "0 positions of 0 sequences" in repr(summary)
    assert "0 positions of 0 sequences" in summary._repr_html_()


def test_maps_show_dtype_and_shape_of_what_there_is() -> None:
    maps = gf.analyze(GRAD, axis=1)
    assert repr(maps) == "AttributionMaps(corrected=float32 (3, 4, 50), angle=float32 (3, 50))"
    assert cells(maps._repr_html_())[2:] == ["corrected", "float32 (3, 4, 50)", "angle", "float32 (3, 50)"]
    assert repr(gf.AttributionMaps()) == "AttributionMaps()"


def test_maps_of_tensors_show_themselves() -> None:
    torch = pytest.importorskip("torch")
    maps = gf.analyze(torch.from_numpy(GRAD), axis=1, outputs="angle")
    assert repr(maps) == "AttributionMaps(angle=float32 (3, 50))"


def test_plans_show_what_a_scan_will_take() -> None:
    pytest.importorskip("pyarrow")
    plan = gf.scan.Plan({"ok": 1500, "<b>": 2}, 1400, 3, 75.0, 12_345_678)
    assert repr(plan) == (
        "Plan(alleles to score: 1,500 of 1,502, reference windows: 1,400, shards: 3, time, about 1 min 15 s, "
        "size, about 12.3 MB)"
    )
    assert "&lt;b&gt;" in plan._repr_html_()
    assert "<b>" not in plan._repr_html_()


@pytest.fixture(scope="module")
def attributions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Regions of both strands, one of which is not attributed, with the maps before the correction."""
    region_scans = pytest.importorskip("tests.region_scans")
    regions = [*region_scans.REGIONS[:9], ("chr7", 1, 5)]
    return gf.scan.attribute_regions(
        region_scans.Network(), region_scans.GENOME, regions, tmp_path_factory.mktemp("scan") / "out",
        length=region_scans.LENGTH, batch_size=4, shard_size=4, keep_uncorrected=True,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.* records lie on contigs", "ignore:.* are not attributed")
class TestAttributions:
    def test_a_scan_returns_what_it_wrote(self, attributions: Any) -> None:
        assert isinstance(attributions, gf.scan.Attributions)
        assert attributions.table.name == "regions.parquet"
        assert attributions.table.exists()

    def test_regions_come_one_by_one_in_the_order_of_the_input(self, attributions: Any) -> None:
        assert len(attributions) == 10
        every = list(attributions)
        assert [one.region["region"] for one in every] == list(range(10))
        np.testing.assert_array_equal([one.codes for one in every], attributions.codes(range(10)))
        np.testing.assert_array_equal([one.corrected for one in every], attributions.maps(range(10)))
        raw = attributions.maps(range(10), corrected=False)
        np.testing.assert_array_equal([one.uncorrected for one in every], raw)
        np.testing.assert_array_equal(attributions[-2].corrected, every[8].corrected)
        np.testing.assert_array_equal([one.prediction for one in every], attributions.read("prediction", range(10)))
        assert [one.region["status"] for one in every] == ["ok"] * 9 + ["contig_missing"]

    @pytest.mark.parametrize("row", [10, -11])
    def test_there_are_no_regions_beyond_the_last(self, attributions: Any, row: int) -> None:
        with pytest.raises(IndexError, match="there are 10 regions"):
            attributions[row]

    def test_they_show_themselves(self, attributions: Any) -> None:
        assert "regions: 9 of 10 attributed, window: 20 bp, method: saliency" in repr(attributions)
        assert cells(attributions._repr_html_())[2:4] == ["regions", "9 of 10 attributed"]
        assert repr(attributions[0]).startswith("Attribution(chr1:26-57, ok, codes=uint8 (20,), corrected=float32 (4,")

    def test_a_logo_of_any_row_takes_one_call(self, attributions: Any) -> None:
        pytest.importorskip("logomaker")
        ax = attributions.logo(-2)
        region = attributions[-2].region
        assert ax.get_xlabel() == f"position on {region['chrom']} (1-based)"
        assert ax.get_xlim()[0] == region["window_start"] + 0.5
        n_drawn = sum(len(letter.get_paths()) for letter in ax.collections)
        assert n_drawn == np.count_nonzero(attributions[-2].codes < 4)
        figure = attributions.correction_figure(0, zoom=10)
        assert figure.get_suptitle().startswith("chr1:26-57, ")
        with pytest.raises(ValueError, match="its status is contig_missing"):
            attributions.logo(9)


def test_only_what_is_public_is_listed() -> None:
    """`dir(gf)` listed sys and Path, and what the hooks import."""
    code = (
        "import gradcorr_fast as gf; print(*(n for n in dir(gf) if not n.startswith('__')));"
        "print(*(n for n in dir(gf.hooks) if not n.startswith('__')))"
    )
    names, hooks = (line.split() for line in run_python(code).stdout.splitlines())
    assert set(names) == {
        *gf.__all__,
        "bench",
        "compat",
        "hooks",
        "io",
        "model_files",
        "paper",
        "plot",
        "report",
        "scan",
    }
    assert hooks == ["jax", "keras", "tensorflow", "torch"]


TYPED = """
import numpy as np
import gradcorr_fast as gf

class Tensor: ...

grad = Tensor()
reveal_type(gf.correct(grad, axis=1))
reveal_type(gf.simplex_angle(grad, axis=1))
reveal_type(gf.grad_times_input(grad, grad))
reveal_type(gf.substitution_effects(grad, grad))
reveal_type(gf.simplex_angle(np.ones((2, 3, 4))))
reveal_type(gf.hooks.torch.saliency)
reveal_type(gf.scan.score_variants)
reveal_type(gf.scan.attribute_regions)
reveal_type(gf.plot.logo)
reveal_type(gf.report.write_report)
"""


def test_types_are_known_of_arrays_and_of_what_loads_later(tmp_path: Path) -> None:
    """Everything from `gf.hooks` on was a ModuleType without members, and every array Any."""
    pytest.importorskip("mypy")
    file = tmp_path / "typed.py"
    file.write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--strict", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert "error" not in done.stdout, done.stdout
    assert found[:4] == ["typed.Tensor"] * 4
    assert found[4] == "numpy.ndarray[Any, Any]"
    for text, words in zip(found[5:], ("model", "variants", "regions", "values", "out"), strict=True):
        assert text.startswith("def ")
        assert words in text
    assert "Attributions" in found[7]

"""`gradcorr-fast bench`: what it measures, what it says where something is missing, and two files compared."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast.bench import Results, _plans, _running, compare, load
from gradcorr_fast.bench._cards import Cards
from gradcorr_fast.bench._cases import STANDARD, WORKS, Case, make_arrays, make_one_hot
from gradcorr_fast.bench._timing import Clock, measure
from gradcorr_fast.bench.libraries import numpy as of_numpy
from gradcorr_fast.cli import main
from tests.conftest import require


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of few positions: they show that everything runs, and time nothing."""
    small = {"positions": 4_000, "hook_positions": 400, "n_variants": 8, "seconds": 0.0, "rounds": 1}
    for name, plan in _plans.PLANS.items():
        monkeypatch.setitem(_plans.PLANS, name, plan._replace(**small))


def run(plan: str = "quick", **options: Any) -> Results:
    return gf.bench.run(plan, **{"lengths": [200], **options})


class FakeDevice:
    """A device on which the n-th kind of call takes n milliseconds; counts how often the host waits."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, 0

    def work(self, milliseconds: float) -> None:
        self.now += milliseconds

    def event(self) -> Any:
        at = self.now
        return SimpleNamespace(at=at, elapsed_time=lambda later: later.at - at)

    def synchronize(self) -> None:
        self.waits += 1


def gpu(device: FakeDevice, **more: Any) -> SimpleNamespace:
    """A library like NumPy's on two GPUs that are none."""
    members = {name: getattr(of_numpy, name) for name in ("DTYPES", "FORMULAS", "HAS_OUT", "ERRORS", "array", "empty")}
    members |= {"copy": of_numpy.copy, "devices": lambda: ["cuda:0", "cuda:1"], "clock": lambda name: Clock(device)}
    return SimpleNamespace(
        **members | {"bus_id": lambda name: None, "free_bytes": lambda name: 1 << 34, "tidy": lambda: None} | more
    )


def ticking(monkeypatch: pytest.MonkeyPatch, library: SimpleNamespace, device: FakeDevice) -> None:
    event = device.event
    device.event = lambda: (device.work(1), event())[1]  # type: ignore[method-assign]
    monkeypatch.setattr(_running, "load", lambda name: library)


def test_every_library_is_measured_against_its_formulas(library_name: str) -> None:
    results = run(libraries=[library_name], operations=["standard work"])
    rows = [row for row in results.rows if row["kind"] == "many" and row["layout"] == "(N, L, 4)"]
    assert {row["length"] for row in rows} == {200}
    assert all(name in rows[0]["measured"] for name in ("ours", "copy"))
    assert "left_out" not in rows[0]
    assert len(rows[0]["ratios"]) >= 2


@pytest.fixture(params=["numpy", "torch", "jax", "tensorflow"])
def library_name(request: pytest.FixtureRequest) -> str:
    require(request.param)
    return str(request.param)


def test_a_run_measures_operations_gradients_and_scans() -> None:
    require("torch")
    results = run(libraries=["numpy", "torch"], devices=["cpu"])
    operations = {row["operation"] for row in results.rows if "ours" in row["measured"]}
    assert operations == {*_plans_operations(), "saliency", "score_variants"}
    assert [row["left_out"] for row in results.rows if "left_out" in row] == []
    scan = next(row for row in results.rows if row["kind"] == "scan")
    assert scan["ratios"].keys() == {"bare passes"}
    assert "variants" in results.table()


def _plans_operations() -> set[str]:
    return {"standard work", *(work.operation for work in WORKS)}


@pytest.mark.parametrize("number", range(3))
def test_formulas_give_what_ours_gives(number: int) -> None:
    """A peer that computes something else would make every speed-up a fable."""
    case = Case(STANDARD, "float32", "(N, L, 4)", 3, 50)
    grad, codes = make_arrays(case)
    theirs = of_numpy.FORMULAS[0].make(case, grad, make_one_hot(codes, -1))()
    np.testing.assert_allclose(STANDARD.ours(grad, codes, -1)[number], theirs[number], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("axis", [1, -1])
def test_one_hot_letters_are_those_of_the_codes(axis: int) -> None:
    codes = np.array([[0, 3, 2], [1, 1, 0]], np.uint8)
    np.testing.assert_array_equal(make_one_hot(codes, axis), gf.sequences.one_hot(codes, axis=axis))


def test_calls_on_a_device_are_timed_by_events_and_the_host_waits_not_in_between() -> None:
    device = FakeDevice()
    times = measure(Clock(device), [lambda: device.work(3), lambda: device.work(5)], rounds=20, seconds=1e9)
    assert {round(value * 1e3, 6) for value in times[0]} == {3}
    assert {round(value * 1e3, 6) for value in times[1]} == {5}
    assert len(times[0]) == 20
    assert device.waits <= 6  # before the rounds and after them


def test_results_of_a_library_without_events_are_waited_for() -> None:
    waited: list[Any] = []
    measure(Clock(wait=waited.append), [lambda: "a", lambda: "b"], rounds=5, seconds=0)
    assert waited.count("a") >= 6
    assert waited.count("b") >= 6


def test_several_gpus_have_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    ticking(monkeypatch, gpu(device), device)
    results = run(libraries=["numpy"], operations=["correct"])
    assert [row["device"] for row in results.rows] == ["cuda:0", "cuda:1"]
    assert all("ours" in row["measured"] for row in results.rows)
    one = run(libraries=["numpy"], operations=["correct"], devices=["cuda:1"])
    assert [row["device"] for row in one.rows] == ["cuda:1"]


def test_a_gpu_with_little_memory_gets_fewer_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    ticking(monkeypatch, gpu(device, free_bytes=lambda name: 600_000), device)
    (row, _) = run(libraries=["numpy"], operations=["correct"], lengths=[500]).rows
    assert 0 < row["n_sequences"] < 80


def test_what_fits_nowhere_is_a_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    ticking(monkeypatch, gpu(device, free_bytes=lambda name: 1_000), device)
    results = run(libraries=["numpy"], operations=["correct"])
    assert all("one sequence needs" in row["left_out"]["ours"] for row in results.rows)
    assert "Not measured:" in results.table()


def test_a_library_that_cannot_be_loaded_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(_running, "load", broken)
    results = run(libraries=["torch"])
    assert "libcudart" in results.rows[0]["left_out"]["ours"]
    assert "libcudart" in results.table()


def test_a_formula_that_fails_costs_its_own_column_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(case: Any, grad: Any, one_hot: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    device = FakeDevice()
    formula = of_numpy.FORMULAS[0]._replace(make=fails)
    ticking(monkeypatch, gpu(device, FORMULAS=(formula,)), device)
    row = run(libraries=["numpy"], operations=["correct"], devices=["cuda:0"]).rows[0]
    assert row["left_out"] == {formula.name: "RuntimeError: no C++ compiler"}
    assert "ours" in row["measured"]


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _running.Bench.measure

    def interrupted(bench: Any, task: Any) -> Any:
        if task.names["operation"] == "simplex_angle":
            raise KeyboardInterrupt
        return measured(bench, task)

    monkeypatch.setattr(_running.Bench, "measure", interrupted)
    results = run(libraries=["numpy"], operations=["correct", "simplex_angle"])
    assert results.interrupted
    assert [row["operation"] for row in results.rows] == ["correct"]
    assert "Interrupted" in results.table()


def test_what_the_plan_has_no_time_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_plans.PLANS, "quick", _plans.PLANS["quick"]._replace(deadline=-1.0))
    results = run(libraries=["numpy"], operations=["correct"])
    assert "were over" in results.rows[0]["left_out"]["ours"]


class FakeNvml(SimpleNamespace):
    """What nvidia-ml-py answers for a hot card."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        """What it raises."""

    def __init__(self, reasons: int) -> None:
        super().__init__(
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByPciBusId=lambda bus: f"card at {bus}",
            nvmlDeviceGetHandleByIndex=lambda number: f"card {number}",
            nvmlDeviceGetName=lambda handle: handle.encode(),
            nvmlSystemGetDriverVersion=lambda: "595.1",
            nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=80 << 30),
            nvmlDeviceGetEnforcedPowerLimit=self._unknown,
            nvmlDeviceGetMaxClockInfo=lambda handle, kind: 1980 * kind,
            nvmlDeviceGetClockInfo=lambda handle, kind: 1000 * kind,
            nvmlDeviceGetTemperature=lambda handle, kind: 91,
            nvmlDeviceGetPowerUsage=lambda handle: 350_000,
            nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: reasons,  # an older driver: no EventReasons
        )

    def _unknown(self, handle: str) -> None:
        raise self.NVMLError("Not Supported")


@pytest.mark.parametrize(
    ("reasons", "words"),
    [(0x40, "throttled in 1 of 1 rows (temperature, at most 91 degrees"), (0x1, "was not throttled, at most 91")],
)
def test_a_throttled_run_is_said(monkeypatch: pytest.MonkeyPatch, reasons: int, words: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(reasons))
    device = FakeDevice()
    ticking(monkeypatch, gpu(device), device)
    results = run(libraries=["numpy"], operations=["correct"], devices=["cuda:1"])
    assert words in results.table()
    assert results.machine["devices"]["cuda:1"]["name"] == "card 1"
    assert results.machine["devices"]["cuda:1"]["power_limit_w"] is None
    assert results.rows[0]["card"]["sm_mhz"] == 1000


def test_cards_are_told_apart_by_their_place_on_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts all cards of a machine, CUDA those that a process may see, in an order of its own."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(0))
    assert Cards().describe("cuda:0", "00000000:3B:00.0")["name"] == "card at 00000000:3B:00.0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert Cards().describe("cuda:1")["name"] == "card 5"
    assert Cards().describe("cpu") == {}


def test_without_nvml_nothing_is_said_of_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Cards().state("cuda:0") == {}


def row(seconds: float, share: float, length: int = 200) -> dict[str, Any]:
    timed = {"seconds": seconds, "low": 0.98 * seconds, "high": 1.02 * seconds}
    names = {"kind": "many", "library": "numpy", "device": "cpu", "operation": "correct", "length": length}
    return {**names, "measured": {"ours": timed}, "ratios": {}, "share": [share, 0.98 * share, 1.02 * share]}


def results_of(*rows: dict[str, Any], processor: str = "A") -> Results:
    return Results({"processor": processor, "threads": 2, "date": "2026-01-01"}, {}, list(rows))


def test_what_changed_by_more_than_the_noise_is_named() -> None:
    a = results_of(row(1, 0.8), row(1, 0.8, 500))
    b = results_of(row(1, 0.4), row(1, 0.81, 500), row(1, 0.5, 900))
    found = compare(a, b)
    assert [change.is_beyond_noise for change in found.changes] == [True, False]
    assert found.changes[0].ratio == pytest.approx(0.5)
    assert found.only_in_b == 1
    assert "slower in 1" in found.table()


def test_two_machines_are_compared_by_time() -> None:
    """A copy that is slower there makes the same share of a slower call."""
    found = compare(results_of(row(1, 0.8)), results_of(row(2, 0.8), processor="B"))
    assert found.changes[0].ratio == pytest.approx(0.5)
    assert not found.by_limit


def test_results_without_a_case_in_common_are_not_compared() -> None:
    with pytest.raises(ValueError, match="no case in common"):
        compare(results_of(row(1, 0.8)), results_of(row(1, 0.8, 500)))


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    results = run(libraries=["numpy"], operations=["correct"])
    again = load(results.save(tmp_path / "a.json"))
    assert again.rows == json.loads(json.dumps(results.rows))
    assert again.machine["versions"]["numpy"] == np.__version__
    assert not any(name in (tmp_path / "a.json").read_text() for name in (str(Path.home()), str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "not written by"),
        ({"version": 99}, "update it"),
        ({"rows": [{"library": "numpy"}]}, "row 0"),
        ({"rows": [row(-1.0, 0.5)]}, "row 0"),
        ({"rows": None}, "missing"),
    ],
)
def test_files_that_are_damaged_or_newer_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = results_of(row(1, 0.8)).save(tmp_path / "a.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        load(path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = results_of(row(1, 0.8)).save(tmp_path / "a.json")
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match="cut off"):
        load(path)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("lengths", [[200], [200, 500, 1000]])
def test_the_picture_is_drawn(tmp_path: Path, suffix: str, lengths: list[int]) -> None:
    require("matplotlib")
    results = run("usual", libraries=["numpy"], operations=["standard work"], lengths=lengths)
    results.draw().savefig(tmp_path / f"picture{suffix}")
    assert (tmp_path / f"picture{suffix}").stat().st_size > 5_000


def test_a_picture_of_nothing_says_so() -> None:
    require("matplotlib")
    figure = results_of().draw()
    assert [text.get_text() for ax in figure.axes for text in ax.texts].count("not measured") == 3


def test_names_of_lines_lie_apart_and_in_order() -> None:
    require("matplotlib")
    from gradcorr_fast.bench._picture import spread

    heights = spread([0.5, 0.51, 0.1, 0.505, 0.9], gap=0.1)
    assert np.diff(heights).min() >= 0.1 - 1e-12
    assert heights[0] == pytest.approx(0.1)
    assert heights[-1] == pytest.approx(0.9)
    assert np.mean(heights[1:4]) == pytest.approx(0.505)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_the_command_measures_writes_and_says_what_to_attach(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    chosen = ("--quick", "--library", "numpy", "--op", "correct", "--lengths", "200,500", "--json", str(path))
    done = invoke(*chosen, "--submit")
    assert done.exit_code == 0, done.output
    assert "share of the copy" in done.stdout
    assert f"attach {path}" in done.stdout
    assert {row["length"] for row in load(path).rows} == {200, 500}
    again = invoke(*chosen)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    compared = invoke("--compare", str(path), str(path))
    assert compared.exit_code == 0
    assert "cases in both" in compared.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--op", "corect"), "did you mean 'correct'"),
        (("--quick", "--full"), "exclude"),
        (("--lengths", "200,x"), "invalid literal"),
        (("--lengths", "2"), "a length is 2"),
        (("--plot", "a.txt"), "must end in"),
        (("--json", "nowhere/a.json"), "does not exist"),
        (("--library", "numpy", "--device", "cuda:7"), "no library sees"),
        (("--compare", "a.json", "b.json"), "No such file"),
    ],
)
def test_wrong_calls_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert words in done.output


def test_benchmarks_time_the_same_cases() -> None:
    """The two had lists of their own, which would have grown apart."""
    pytest.importorskip("pytest_benchmark")
    from benchmarks import harness
    from tests import peers

    assert tuple(harness.STANDARD) == tuple(STANDARD)
    assert [tuple(work) for work in harness.WORKS] == [tuple(work) for work in WORKS]
    assert peers.geomath_standard_work is of_numpy.geomath_standard_work

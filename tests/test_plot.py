"""Pictures hold the data: what is drawn is read back from the figures, which leave nothing else changed."""

import io
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.libraries import Library

matplotlib = pytest.importorskip("matplotlib")
logomaker = pytest.importorskip("logomaker")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import StepPatch  # noqa: E402

from gradcorr_fast import plot  # noqa: E402
from gradcorr_fast._installing import install_command  # noqa: E402
from gradcorr_fast.plot._figures import BAND_COLORS  # noqa: E402

ROOT = Path(__file__).parents[1]
CODES = np.array([0, 1, 2, 3, 255, 2, 0])
LENGTH = len(CODES)
GRAD = np.random.default_rng(1).normal(size=(LENGTH, 4))
PPM = np.full((LENGTH, 4), 0.25)
PPM[2] = [0, 0, 1, 0]
PPM[3] = [0, 0.5, 0, 0.5]
FAR = {"start": 154_000_000, "chrom": "chrX"}


def letters(ax: Axes) -> dict[str, list[Any]]:
    """Paths of the letters of a logo."""
    return {drawn.get_label()[1:]: drawn.get_paths() for drawn in ax.collections}


def boxes(ax: Axes) -> dict[tuple[str, int], tuple[float, float]]:
    """Lower and upper end of each letter, by letter and place on the axis."""
    found = {}
    for letter, paths in letters(ax).items():
        for box in (path.get_extents() for path in paths):
            found[letter, round((box.x0 + box.x1) / 2)] = (box.y0, box.y1)
    return found


def heights(ax: Axes, length: int = LENGTH, first: int = 0) -> np.ndarray:
    """Signed heights (L, 4) read back from a logo."""
    result = np.zeros((length, 4))
    for (letter, place), (low, high) in boxes(ax).items():
        middle = (low + high) / 2
        result[place - first, "ACGT".index(letter)] = np.sign(middle) * (high - low)
    return result


def bars(ax: Axes) -> dict[int, float]:
    """Angle at each position that has a bar."""
    found = {}
    for path in ax.collections[0].get_paths():
        x, y = path.vertices[:4].T
        found[round(float(x.mean()))] = float(y[np.argmax(np.abs(y))])
    return found


def steps(ax: Axes) -> list[StepPatch]:
    return [patch for patch in ax.patches if isinstance(patch, StepPatch)]


def some_angles() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(30, 200, 4)) + np.random.default_rng(3).normal(size=(30, 200, 1))


# Logos


def test_letters_are_those_of_logomaker() -> None:
    pandas = pytest.importorskip("pandas")
    values = np.random.default_rng(0).normal(size=(9, 4))
    values[1], values[2, 1:3] = 0, 0  # equal values would stack in no certain order there
    peer = logomaker.Logo(
        pandas.DataFrame(values, columns=list("ACGT")), ax=Figure().add_subplot(), font_name="DejaVu Sans",
        color_scheme="colorblind_safe",
    )  # fmt: skip
    ax = plot.logo(values)
    for drawn in ax.collections:
        glyphs = [glyph for glyph in peer.glyph_df[drawn.get_label()[1:]] if glyph.patch is not None]
        assert len(glyphs) == len(drawn.get_paths()) >= 7
        np.testing.assert_allclose(drawn.get_facecolor()[0], glyphs[0].patch.get_facecolor(), atol=1e-12)
        np.testing.assert_allclose(
            [path.vertices for path in drawn.get_paths()], [g.patch.get_path().vertices for g in glyphs], atol=1e-12
        )


def test_each_letter_is_as_high_as_its_value() -> None:
    ax = plot.logo(GRAD)
    np.testing.assert_allclose(heights(ax), GRAD, atol=1e-12)
    assert sum(map(len, letters(ax).values())) == GRAD.size


def test_letters_stack_away_from_zero_the_larger_the_farther() -> None:
    found = boxes(plot.logo(np.array([[1.0, 3.0, 2.0, 0.5], [-1.0, -3.0, 2.0, -2.0]])))
    expected = {
        ("T", 0): (0, 0.5), ("A", 0): (0.5, 1.5), ("G", 0): (1.5, 3.5), ("C", 0): (3.5, 6.5),
        ("G", 1): (0, 2), ("A", 1): (-1, 0), ("T", 1): (-3, -1), ("C", 1): (-6, -3),
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for letter, ends in expected.items():
        assert found[letter] == pytest.approx(ends)


@pytest.mark.parametrize("sign", [1, -1])
def test_letters_stand_on_zero_and_below_it_hang_upside_down(sign: int) -> None:
    (path,) = letters(plot.logo(np.array([[sign * 2.0, 0, 0, 0]])))["A"]
    x, y = np.concatenate(path.to_polygons()).T
    assert np.ptp(x[np.isclose(y, 0)]) > 0.9  # the feet of the A
    assert np.ptp(x[np.isclose(y, 2.0 * sign)]) < 0.5  # its tip


@pytest.mark.parametrize("x", [CODES, gf.sequences.one_hot(CODES), gf.sequences.one_hot(CODES).astype(bool)])
@pytest.mark.parametrize("values", [GRAD, gf.grad_times_input(GRAD, CODES, corrected=False)], ids=["map", "observed"])
def test_with_a_sequence_only_observed_letters_are_drawn(values: np.ndarray, x: np.ndarray) -> None:
    ax = plot.logo(values, x=x)
    np.testing.assert_allclose(heights(ax), GRAD * gf.sequences.one_hot(CODES), atol=1e-12)
    assert sum(map(len, letters(ax).values())) == (CODES < 4).sum()  # nothing at the unknown letter


def test_what_has_no_height_is_not_drawn() -> None:
    values = np.array([[np.nan, 1.0, 0.0, -0.0], [np.inf, -np.inf, -2.0, 1e-300]])
    assert [len(paths) for paths in letters(plot.logo(values)).values()] == [0, 1, 1, 1]
    assert letters(plot.logo(values, x=np.array([1, 2])))["G"]


def test_a_map_of_zeros_gives_an_empty_logo() -> None:
    ax = plot.logo(np.zeros((3, 4)))
    assert not any(letters(ax).values())
    assert ax.get_ylim() == (-1, 1)


@pytest.mark.parametrize(
    ("grad", "low", "high"), [(GRAD, True, True), (abs(GRAD), False, True), (-abs(GRAD), True, False)]
)
def test_the_range_holds_all_letters_and_zero(grad: np.ndarray, low: bool, high: bool) -> None:
    bottom, top = plot.logo(grad).get_ylim()
    assert (bottom < 0) == low
    assert (top > 0) == high
    assert bottom <= np.minimum(grad, 0).sum(-1).min() <= np.maximum(grad, 0).sum(-1).max() <= top


def test_letters_lie_on_the_first_axis_if_it_is_named() -> None:
    ax = plot.logo(GRAD.T, x=gf.sequences.one_hot(CODES, axis=0), axis=0)
    np.testing.assert_allclose(heights(ax), GRAD * gf.sequences.one_hot(CODES), atol=1e-12)


def test_arrays_of_every_library_are_drawn(library: Library) -> None:
    values = GRAD.astype(np.float32)
    ax = plot.logo(library.make(values), x=library.make(CODES))
    np.testing.assert_allclose(heights(ax), values * gf.sequences.one_hot(CODES), rtol=1e-5)
    angle = gf.simplex_angle(values)
    assert list(bars(plot.angle_track(library.make(angle))).values()) == pytest.approx(angle.tolist())
    assert len(plot.correction_figure(library.make(values), library.make(CODES), truth=library.make(PPM)).axes) == 5


def test_bfloat16_tensors_are_drawn() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([[1.0, 0.5, 0.0, -2.0]], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(heights(plot.logo(tensor), 1), [[1.0, 0.5, 0.0, -2.0]])


def test_colours_can_be_chosen() -> None:
    ax = plot.logo(GRAD, colors={"T": "red"})
    colours = {drawn.get_label()[1:]: matplotlib.colors.to_hex(drawn.get_facecolor()[0]) for drawn in ax.collections}
    assert colours == {k: v.lower() for k, v in plot.LETTER_COLORS.items()} | {"T": "#ff0000"}


@pytest.mark.parametrize(("length", "least"), [(170, 0.5), (600, 0.4)])
def test_narrow_letters_do_not_vanish(length: int, least: float) -> None:
    """The rectangles of a T were moved to whole pixels and its stem lost; letters of half a pixel faded to white."""
    figure = Figure(figsize=(6, 1), dpi=100)
    plot.logo(np.eye(4)[np.full(length, 3)], figure.add_axes((0, 0, 1, 1)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ink = 1 - np.asarray(canvas.buffer_rgba())[..., :3].mean(-1) / 255
    stems = np.bincount(np.arange(600) * length // 600, ink[50])  # of each letter, halfway up
    assert stems.min() > least


# The axis of the genome


def labels(ax: Axes) -> dict[float, str]:
    """Labels of the ticks in range, by where they stand."""
    ax.figure.draw_without_rendering()
    first, last = ax.get_xlim()
    shown = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    return {float(tick): label.get_text() for tick, label in shown if first <= tick <= last}


@pytest.mark.parametrize("draw", [lambda **o: plot.logo(GRAD, **o), lambda **o: plot.angle_track(GRAD[:, 0], **o)])
def test_the_axis_shows_one_based_coordinates_of_the_genome(draw: Callable[..., Axes]) -> None:
    ax = draw(start=1_234_566, chrom="chr2")
    assert ax.get_xlim() == (1_234_566.5, 1_234_566.5 + LENGTH)
    assert {label: tick for tick, label in labels(ax).items()}["1,234,570"] == 1_234_570
    assert ax.get_xlabel() == "position on chr2 (1-based)"


def test_the_first_letter_stands_one_above_start() -> None:
    np.testing.assert_allclose(heights(plot.logo(GRAD, **FAR), first=154_000_001), GRAD, atol=1e-12)


def test_without_start_the_axis_shows_indices() -> None:
    ax = plot.logo(GRAD)
    assert ax.get_xlim() == (-0.5, LENGTH - 0.5)
    assert labels(ax)[0] == "0"
    assert ax.get_xlabel() == "position (0-based)"


@pytest.mark.parametrize("width", [2.5, 4, 14])
@pytest.mark.parametrize("length", [1, 3, 37, 2000])
def test_coordinates_are_whole_numbers_that_do_not_overlap(length: int, width: float) -> None:
    ax = Figure(figsize=(width, 2), layout="constrained").add_subplot()
    plot.logo(np.ones((length, 4)), ax, **FAR)
    shown = labels(ax)
    assert shown
    assert all(label == f"{tick:,.0f}" for tick, label in shown.items())
    assert all(tick == round(tick) for tick in shown)
    extents = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text() in shown.values()]
    assert all(left.x1 < right.x0 for left, right in pairwise(extents))


# Angles


def test_each_bar_reaches_its_angle_in_a_fixed_range() -> None:
    angle = np.array([10.0, -20.0, 0.0, 89.0, -90.0])
    ax = plot.angle_track(angle)
    assert bars(ax) == pytest.approx(dict(enumerate(angle)))
    assert ax.get_ylim() == (-90, 90)
    assert plot.angle_track(angle / 100).get_ylim() == (-90, 90)


def test_lines_stand_at_the_thresholds_of_the_paper() -> None:
    lines = {line.get_ydata()[0] for line in plot.angle_track(np.array([1.0])).lines}
    assert lines == {-60, -45, -30, 30, 45, 60}


def test_undefined_angles_are_blank_and_zero_is_not() -> None:
    """No bar, and a gap in the zero line, which goes on below an angle of 0."""
    ax = plot.angle_track(np.array([np.nan, 5.0, 0.0, np.inf, 0.0]), mask=np.array([True, True, True, True, False]))
    assert set(bars(ax)) == {1, 2}
    (zero,) = steps(ax)
    np.testing.assert_array_equal(zero.get_data().values, [np.nan, 0, 0, np.nan, np.nan])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_angle_at_a_threshold_is_not_drawn_as_above_it(dtype: type) -> None:
    grad = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], dtype)
    colours = plot.angle_track(gf.simplex_angle(grad)).collections[0].get_facecolor()
    assert len(np.unique(colours, axis=0)) == 4
    below = plot.angle_track(np.array([29.0, 44.0, 59.0, 89.0])).collections[0].get_facecolor()
    np.testing.assert_array_equal(colours, below)


# Before and after


def test_the_figure_shows_what_the_correction_does() -> None:
    figure = plot.correction_figure(GRAD, CODES, truth=PPM)
    before, removed, angle, after, truth = figure.axes
    observed = gf.sequences.one_hot(CODES)
    np.testing.assert_allclose(heights(before), GRAD * observed, atol=1e-12)
    np.testing.assert_allclose(heights(after), gf.correct(GRAD) * observed, atol=1e-12)
    assert bars(removed) == pytest.approx(dict(enumerate(GRAD.mean(-1))))
    assert bars(angle) == pytest.approx(dict(enumerate(gf.simplex_angle(GRAD))))
    named = [text.get_text() for text in angle.get_legend().get_texts()]
    assert named == [f"{low}\N{EN DASH}{high}°" for low, high in ((0, 30), (30, 45), (45, 60), (60, 90))]
    assert [patch.get_facecolor() for patch in angle.get_legend().get_patches()] == [
        matplotlib.colors.to_rgba(color) for color in BAND_COLORS
    ]
    np.testing.assert_allclose(heights(truth)[[2, 3]], [[0, 0, 2, 0], [0, 0.5, 0, 0.5]])
    assert not heights(truth)[[0, 1, 4, 5, 6]].any()
    assert truth.get_ylim() == (0, 2)
    assert all(ax.get_title(loc="left") and ax.get_ylabel() for ax in figure.axes)


def test_without_a_sequence_all_letters_are_shown() -> None:
    before, _, _, after = plot.correction_figure(GRAD).axes
    np.testing.assert_allclose(heights(before), GRAD, atol=1e-12)
    np.testing.assert_allclose(heights(after), gf.correct(GRAD), atol=1e-12)


@pytest.mark.parametrize("x", [None, CODES])
@pytest.mark.parametrize("offset", [-3, 0, 3])
def test_before_and_after_have_one_range_that_holds_both(offset: float, x: np.ndarray | None) -> None:
    before, _, _, after = plot.correction_figure(GRAD + offset, x).axes
    assert before.get_ylim() == after.get_ylim()
    low, high = before.get_ylim()
    for ax in (before, after):
        assert all(low <= bottom <= top <= high for bottom, top in boxes(ax).values())


def test_panels_share_the_axis_of_the_genome() -> None:
    figure = plot.correction_figure(GRAD, CODES, truth=PPM, **FAR)
    figure.axes[0].set_xlim(154_000_002, 154_000_004)
    assert {ax.get_xlim() for ax in figure.axes} == {(154_000_002, 154_000_004)}
    assert [ax.get_xlabel() for ax in figure.axes] == [*[""] * 4, "position on chrX (1-based)"]


def test_a_zero_or_infinite_gradient_has_no_angle() -> None:
    grad = GRAD.copy()
    grad[1], grad[3, 2] = 0, np.inf
    angle = plot.correction_figure(grad, CODES).axes[2]
    assert set(bars(angle)) == set(range(LENGTH)) - {1, 3}


def test_the_figure_takes_letters_on_the_first_axis() -> None:
    figure = plot.correction_figure(GRAD.T, CODES, truth=PPM.T, axis=0)
    other = plot.correction_figure(GRAD, CODES, truth=PPM)
    assert [boxes(figure.axes[k]) for k in (0, 3, 4)] == [boxes(other.axes[k]) for k in (0, 3, 4)]


def test_nearly_uniform_ground_truth_has_no_letters_below_zero() -> None:
    """Rounding gives such positions -1e-17 bits, which logomaker's own transformation refuses."""
    ppm = 0.25 + np.random.default_rng(0).normal(0, 1e-9, (200, 4))
    truth = plot.correction_figure(np.ones((200, 4)), truth=ppm / ppm.sum(-1, keepdims=True)).axes[4]
    assert all(low >= 0 for low, _ in boxes(truth).values())


def test_a_zoom_shows_where_most_is_left_and_where_that_is() -> None:
    grad = np.zeros((300, 4))
    grad[120:130, 0], grad[200] = 2.0, 9.0  # the latter is removed
    figure = plot.correction_figure(grad, zoom=40, title="a model, sequence 7", **FAR)
    assert figure.get_suptitle() == "a model, sequence 7"
    first, last = figure.axes[0].get_xlim()
    assert last - first == 40
    assert first - FAR["start"] == pytest.approx(125 - 20, abs=1)
    whole = plot.correction_figure(grad, zoom=1000).axes[0]
    assert whole.get_xlim() == (-0.5, 299.5)


# Histograms


def test_the_histogram_holds_the_counts_of_the_summary() -> None:
    summary = gf.angle_summary(some_angles(), bins=37, thresholds=(10, 30))
    ax = plot.angle_histogram(summary)
    (drawn,) = steps(ax)
    np.testing.assert_array_equal(drawn.get_data().values, summary.histogram)
    np.testing.assert_array_equal(drawn.get_data().edges, summary.edges)
    shares = 100 * summary.counts.sum(0) / summary.n_positions.sum()
    expected = [f"above {t}°: {share:.1f} %" for t, share in zip((10, 30), shares, strict=True)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == expected
    assert ax.get_xlim() == (-90, 90)


def test_angles_give_the_picture_of_their_summary() -> None:
    grad = some_angles()
    grad[0, :5], grad[1, :7] = 0, [1, 1, 0, 0]  # undefined, and exactly at a threshold
    angles = np.where(grad.any(-1), gf.simplex_angle(grad), np.nan)
    drawn, expected = plot.angle_histogram(angles), plot.angle_histogram(gf.angle_summary(grad))
    np.testing.assert_array_equal(steps(drawn)[0].get_data().values, steps(expected)[0].get_data().values)
    texts = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in (drawn, expected)]
    assert texts[0] == texts[1]


def test_the_histogram_of_large_angles_counts_sequences() -> None:
    summaries = {"all": gf.angle_summary(some_angles()), "few": gf.angle_summary(some_angles()[:10])}
    ax = plot.large_angle_histogram(summaries, threshold=45, bins=20)
    assert len(steps(ax)) == 2
    for drawn, summary, text in zip(steps(ax), summaries.values(), ax.get_legend().get_texts(), strict=True):
        percent = 100 * summary.fractions[:, 1]
        np.testing.assert_array_equal(drawn.get_data().values, np.histogram(percent, 20, (0, 100))[0])
        np.testing.assert_array_equal(drawn.get_data().edges, np.linspace(0, 100, 21))
        assert f"(mean {percent.mean():.1f} %)" in text.get_text()
    assert [text.get_text().split()[0] for text in ax.get_legend().get_texts()] == ["all", "few"]


def test_several_thresholds_give_the_figure_of_the_paper() -> None:
    ax = plot.large_angle_histogram(gf.angle_summary(some_angles()), threshold=(30, 45, 60), density=True)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [text.split(" (")[0] for text in texts] == ["above 30°", "above 45°", "above 60°"]
    for drawn in steps(ax):
        values, edges, _ = drawn.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1)


def test_a_whole_percent_belongs_to_the_bin_that_begins_with_it() -> None:
    """100 * 0.58 is 57.99999999999999 in floating point."""
    grad = np.tile([1.0, -1.0, 0, 0], (1, 100, 1))
    grad[0, :58] = 1
    (drawn,) = steps(plot.large_angle_histogram(gf.angle_summary(grad), bins=100))
    assert np.flatnonzero(drawn.get_data().values).tolist() == [58]


def test_sequences_without_positions_are_left_out() -> None:
    mask = np.ones((30, 200), bool)
    mask[:4] = False
    (drawn,) = steps(plot.large_angle_histogram(gf.angle_summary(some_angles(), mask=mask)))
    assert drawn.get_data().values.sum() == 26


@pytest.mark.parametrize("size", [(2.5, 1.6), (4.8, 3.2), (8, 6)])
@pytest.mark.parametrize("draw", [plot.angle_histogram, plot.large_angle_histogram])
def test_the_legend_does_not_cover_the_data(draw: Callable[..., Axes], size: tuple[float, float]) -> None:
    ax = draw(gf.angle_summary(some_angles()), Figure(figsize=size, layout="constrained").add_subplot())
    ax.figure.draw_without_rendering()
    highest = max(drawn.get_data().values.max() for drawn in steps(ax))
    assert ax.get_legend().get_window_extent().y0 > ax.transData.transform((0, highest))[1]


@pytest.mark.parametrize(("share", "last"), [(0.03, 10), (0.35, 40), (0.6, 70), (0.8, 100)])
def test_the_axis_of_large_angles_ends_where_nothing_more_comes(share: float, last: float) -> None:
    """Shares of a tenth filled a fifth of the picture."""
    grad = np.tile([1.0, -1.0, 0.0, 0.0], (5, 100, 1))
    grad[:, : round(100 * share)] += 5
    ax = plot.large_angle_histogram(gf.angle_summary(grad))
    assert ax.get_xlim() == (0, last)
    assert ax.get_ylim()[1] < 1.1 * steps(ax)[0].get_data().values.max()


@pytest.mark.parametrize("draw", [plot.angle_histogram, plot.large_angle_histogram])
def test_counts_are_whole_numbers_with_separators(draw: Callable[..., Axes]) -> None:
    few = draw(gf.angle_summary(some_angles()[:1, :3]))
    assert {label.get_text() for label in few.get_yticklabels()} >= {"0", "1"}
    assert all(tick == round(tick) for tick in few.get_yticks())
    many = draw(gf.angle_summary(np.ones((3000, 1, 4))))
    assert any(
        label.get_text() == f"{tick:,.0f}" and tick > 999
        for tick, label in zip(many.get_yticks(), many.get_yticklabels(), strict=True)
    )


# Files, and what must not change

SUMMARY = gf.angle_summary(some_angles())
DRAW: dict[str, Callable[..., Any]] = {
    "logo": lambda ax=None: plot.logo(GRAD, ax, x=CODES),
    "angle_track": lambda ax=None: plot.angle_track(GRAD[:, 0], ax),
    "angle_histogram": lambda ax=None: plot.angle_histogram(SUMMARY, ax),
    "large_angle_histogram": lambda ax=None: plot.large_angle_histogram(SUMMARY, ax),
}


def written(name: str) -> bytes:
    file = io.BytesIO()
    plot.save(plot.correction_figure(GRAD, CODES, truth=PPM, **FAR), file, format=name)
    return file.getvalue()


def test_pdf_embeds_truetype_fonts() -> None:
    file = written("pdf")
    assert b"/FontFile2" in file
    assert b"/CIDFontType2" in file
    assert b"/Type3" not in file


def test_svg_keeps_text_as_text() -> None:
    file = written("svg").decode()
    assert file.count("<text") > 10
    for text in ("before: grad-times-input", "degrees", "position on chrX (1-based)", "154,000,002"):
        assert text in file


@pytest.mark.parametrize("ending", ["pdf", "svg", "png", "eps"])
def test_the_ending_names_the_format(tmp_path: Path, ending: str) -> None:
    plot.save(DRAW["logo"]().figure, tmp_path / f"logo.{ending}")
    begin = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG", "eps": b"%!PS"}[ending]
    assert (tmp_path / f"logo.{ending}").read_bytes().startswith(begin)


def state() -> tuple[Any, ...]:
    settings = {key: repr(value) for key, value in matplotlib.rcParams.items() if key != "backend"}
    return settings, matplotlib.get_backend(auto_select=False), pyplot.get_fignums()


@pytest.mark.parametrize("name", [*DRAW, "correction_figure", "save"])
def test_nothing_global_changes(name: str) -> None:
    before = state()
    draw = DRAW | {"correction_figure": lambda: plot.correction_figure(GRAD), "save": lambda: written("pdf")}
    draw[name]()
    assert state() == before


@pytest.mark.parametrize("name", DRAW)
def test_axes_that_are_given_are_drawn_on_and_returned(name: str) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert DRAW[name](right) is right
    assert right.has_data()
    assert not left.has_data()
    assert figure.axes == [left, right]


@pytest.mark.parametrize("name", DRAW)
def test_without_axes_a_new_figure_is_made(name: str) -> None:
    first, second = DRAW[name](), DRAW[name]()
    assert isinstance(first.figure, Figure)
    assert first.figure is not second.figure


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: plot.logo(np.ones((4, 20))), ValueError, "axis -1 of values has length 20, not 4; pass axis=0"),
    (lambda: plot.logo(np.ones((20, 4)), axis=0), ValueError, "axis 0 of values has length 20, not 4; pass axis=-1"),
    (lambda: plot.logo(np.ones((20, 5))), ValueError, "pass the four letters"),
    (lambda: plot.logo(np.ones((20, 4)), axis=2), ValueError, "axis must be the letter axis"),
    (lambda: plot.logo(np.ones((3, 20, 4))), ValueError, r"shows one sequence.*such as values\[0\]"),
    (lambda: plot.logo(np.ones((0, 4))), ValueError, r"values has shape \(0, 4\)"),
    (lambda: plot.logo(np.ones(20)), ValueError, "pass x, which names the letters"),
    (lambda: plot.logo([[1, 2, 3, 4]]), TypeError, "values is a list; pass an array of one of: numpy"),
    (lambda: plot.logo(np.ma.ones((20, 4))), TypeError, "filled"),
    (lambda: plot.logo(GRAD, x=CODES[:3]), ValueError, "x has 3 positions and the map 7"),
    (lambda: plot.logo(GRAD, x=CODES * 1.0), TypeError, "codes must be integers"),
    (lambda: plot.logo(GRAD, np.empty(2)), TypeError, r"ax is a ndarray; pass one matplotlib Axes.*axes\[0\]"),
    (lambda: plot.logo(GRAD, colors={"U": "red"}), ValueError, "colors has U"),
    (lambda: plot.logo(GRAD, chrom="chr1"), ValueError, "pass start"),
    (lambda: plot.logo(GRAD, start=1.5), TypeError, "start must be an int"),
    (lambda: plot.angle_track(GRAD), ValueError, r"angle has shape \(7, 4\).*such as angle\[0\]"),
    (lambda: plot.angle_track(np.array([120.0])), ValueError, r"reaches 120; pass degrees in \[-90, 90\]"),
    (lambda: plot.angle_track(GRAD[:, 0], mask=np.ones(7)), TypeError, "mask must be boolean"),
    (lambda: plot.angle_track(GRAD[:, 0], mask=np.ones(3, bool)), ValueError, "mask has shape"),
    (lambda: plot.correction_figure(GRAD, truth=PPM[:3]), ValueError, "truth has 3 positions and grad 7"),
    (lambda: plot.correction_figure(GRAD, zoom=0), ValueError, "zoom must be a number of positions"),
    (lambda: plot.correction_figure(GRAD, truth=10 * PPM), ValueError, "divide counts by their sum"),
    (lambda: plot.angle_histogram(np.array([100.0])), ValueError, "degrees"),
    (lambda: plot.angle_histogram(np.empty(0)), ValueError, "at least one position"),
    (lambda: plot.large_angle_histogram(SUMMARY, threshold=20), ValueError, r"make it with thresholds=\(20,\)"),
    (lambda: plot.large_angle_histogram([SUMMARY]), TypeError, "summaries is a list"),
    (lambda: plot.large_angle_histogram({"a": 1}), TypeError, "holds a int; pass what gf.angle_summary returns"),
    (lambda: plot.large_angle_histogram({}), ValueError, "pass at least one"),
    (lambda: plot.large_angle_histogram(SUMMARY, bins=0), ValueError, "bins must be an int"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_errors_name_the_mend(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT)
    return done.stdout + done.stderr


def test_the_library_does_not_import_matplotlib() -> None:
    code = "import sys, gradcorr_fast; print([m for m in ('matplotlib', 'logomaker', 'pandas') if m in sys.modules])"
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("package", ["matplotlib", "logomaker"])
def test_a_missing_package_is_named_with_its_extra(package: str) -> None:
    message = run_python(f"import sys; sys.modules['{package}'] = None\nimport gradcorr_fast.plot")
    assert (
        f"MissingBackendError: {package} is not installed; gradcorr-fast[plot] brings it: {install_command('plot')}"
        in message
    )

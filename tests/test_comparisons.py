"""Comparisons of two outputs: each against a loop over bins, text forms, every array library."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial import distance
from scipy.special import expit
from scipy.stats import entropy, wasserstein_distance

from gradcorr_fast import comparisons, targets
from gradcorr_fast.backends import find_backend
from gradcorr_fast.comparisons import COMPARISONS, Pair, compare, parse

RNG = np.random.default_rng(3)
REF = RNG.gamma(0.7, size=(9, 40, 3)).astype(np.float32)
FAR = RNG.gamma(0.7, size=REF.shape).astype(np.float32)
NEAR = (REF * (1 + 1e-3 * RNG.normal(size=REF.shape))).astype(np.float32)
SPARSE = np.where(RNG.random(REF.shape) < 0.5, 0, REF).astype(np.float32)

Loop = Callable[[np.ndarray, np.ndarray], float]


def by_track(measure: Loop) -> Loop:
    return lambda ref, alt: float(np.mean([measure(ref[:, k], alt[:, k]) for k in range(ref.shape[1])]))


def extreme(choose: Callable[[list[float]], int]) -> Loop:
    return lambda ref, alt: (changes := [float(b) - float(a) for a, b in zip(ref.flat, alt.flat, strict=True)])[
        choose(changes)
    ]


def moved(ref: np.ndarray, alt: np.ndarray) -> float:
    bins = np.arange(len(ref))
    return float(wasserstein_distance(bins, bins, ref, alt))


BY_LOOP: dict[str, Loop] = {
    "difference(sum_over())": lambda ref, alt: sum(alt.flat) - sum(ref.flat),
    "ratio(sum_over(), pseudocount=0.5)": lambda ref, alt: (sum(alt.flat) + 0.5) / (sum(ref.flat) + 0.5),
    "log2_ratio(sum_over(tracks=1))": lambda ref, alt: np.log2(sum(alt[:, 1])) - np.log2(sum(ref[:, 1])),
    "larger(mean())": lambda ref, alt: max(ref.mean(), alt.mean()),
    "max": extreme(lambda changes: changes.index(max(changes))),
    "min": extreme(lambda changes: changes.index(min(changes))),
    "max_abs": extreme(lambda changes: int(np.argmax(np.abs(changes)))),
    "l1": lambda ref, alt: sum(abs(b - a) for a, b in zip(ref.flat, alt.flat, strict=True)),
    "l2": lambda ref, alt: sum((b - a) ** 2 for a, b in zip(ref.flat, alt.flat, strict=True)) ** 0.5,
    "jsd": by_track(lambda ref, alt: float(distance.jensenshannon(ref, alt, base=2))),
    "kl": by_track(lambda ref, alt: float(entropy(alt, ref, base=2))),
    "kl(pseudocount=0.1)": by_track(lambda ref, alt: float(entropy(alt + 0.1, ref + 0.1, base=2))),
    "wasserstein": by_track(moved),
    "cosine": by_track(lambda ref, alt: float(distance.cosine(ref, alt))),
}
"""Each comparison as a loop over the bins of one pair, or as SciPy has it."""


@pytest.mark.parametrize("text", BY_LOOP)
@pytest.mark.parametrize("alt", [FAR, NEAR], ids=["far", "near"])
def test_a_comparison_equals_a_loop(text: str, alt: np.ndarray) -> None:
    ref, alt = REF.astype(float), alt.astype(float)
    found = compare(parse(text), ref, alt)[0]
    wanted = [BY_LOOP[text](a, b) for a, b in zip(ref, alt, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_every_comparison_has_a_loop() -> None:
    assert {str(text).partition("(")[0] for text in BY_LOOP} == set(COMPARISONS)


@pytest.mark.parametrize("text", ["max", "min", "max_abs"])
def test_the_place_of_an_extreme_is_that_of_its_number(text: str) -> None:
    value, place = compare(parse(text), REF.astype(float), FAR.astype(float))
    assert place is not None
    np.testing.assert_array_equal((FAR.astype(float) - REF).reshape(len(REF), -1)[np.arange(len(REF)), place], value)


@pytest.mark.parametrize("text", ["jsd", "wasserstein"])
def test_empty_bins_are_shares_of_zero(text: str) -> None:
    ref, alt = REF.astype(float), SPARSE.astype(float)
    wanted = [BY_LOOP[text](a, b) for a, b in zip(ref, alt, strict=True)]
    np.testing.assert_allclose(compare(parse(text), ref, alt)[0], wanted, rtol=1e-6)


def test_a_bin_that_the_reference_lacks_leaves_no_divergence() -> None:
    found = compare(parse("kl"), SPARSE.astype(float), REF.astype(float))[0]
    assert np.isnan(found).all()
    np.testing.assert_allclose(
        compare(parse("kl"), REF.astype(float), SPARSE.astype(float))[0],
        [BY_LOOP["kl"](a, b) for a, b in zip(REF.astype(float), SPARSE.astype(float), strict=True)],
        rtol=1e-6,
    )


@pytest.mark.parametrize("text", ["jsd", "kl", "wasserstein", "log2_ratio(sum_over())"])
def test_what_is_no_distribution_has_no_number(text: str) -> None:
    wrong = -REF.astype(float)
    assert np.isnan(compare(parse(text), wrong, REF.astype(float))[0]).all()


@pytest.mark.parametrize(
    "text", [text for text in BY_LOOP if text not in ("ratio(sum_over(), pseudocount=0.5)", "larger(mean())")]
)
def test_equal_outputs_compare_as_zero(text: str) -> None:
    np.testing.assert_allclose(compare(parse(text), REF.astype(float), REF.astype(float))[0], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "undo"),
    [
        ("log", np.exp),
        ("log1p", np.expm1),
        ("logits", lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    ],
)
def test_a_scale_is_undone_before_outputs_are_compared(scale: str, undo: Callable[[np.ndarray], np.ndarray]) -> None:
    ref, alt = REF.astype(float), FAR.astype(float)
    found = compare(parse(f"l2(scale={scale})"), ref, alt)[0]
    np.testing.assert_allclose(found, compare(parse("l2"), undo(ref), undo(alt))[0], rtol=1e-12)


def test_two_axes_are_one_track_of_bins() -> None:
    found = compare(parse("jsd"), REF[:, :, 0].astype(float), FAR[:, :, 0].astype(float))[0]
    np.testing.assert_allclose(found, compare(parse("jsd(tracks=0)"), REF.astype(float), FAR.astype(float))[0])


def test_tracks_may_come_before_bins() -> None:
    found = compare(parse("jsd(tracks=(0, 2), track_axis=1)"), *(x.astype(float).swapaxes(1, 2) for x in (REF, FAR)))[0]
    np.testing.assert_allclose(found, compare(parse("jsd(tracks=(0, 2))"), REF.astype(float), FAR.astype(float))[0])


@pytest.mark.parametrize("library", ["torch", "jax.numpy", "tensorflow"])
@pytest.mark.parametrize("text", BY_LOOP)
def test_every_library_compares_alike(library: str, text: str) -> None:
    make = {"torch": "from_numpy", "jax.numpy": "asarray", "tensorflow": "convert_to_tensor"}[library]
    enter = getattr(pytest.importorskip(library), make)
    kind = np.float32 if library == "jax.numpy" else np.float64  # as it has by default
    arrays = [x.astype(kind) for x in (REF, FAR)]
    found = compare(parse(text), *map(enter, arrays))
    wanted = compare(parse(text), *(x.astype(float) for x in arrays))
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(np.asarray(a), b, rtol=2e-4 if kind is np.float32 else 1e-10, atol=1e-5)


def test_bins_that_are_not_compared_change_nothing() -> None:
    ref, alt = REF.astype(float), FAR.astype(float)
    mask = (np.arange(40) % 3 > 0).astype(float)[None, :, None] * np.ones((len(ref), 1, 1))
    xp = find_backend(ref=ref).XP
    kept = np.flatnonzero(mask[0, :, 0])
    for text in ("max", "min", "max_abs", "l1", "l2", "jsd", "cosine", "kl(pseudocount=0.1)"):
        found = parse(text).compare(Pair(ref * mask, alt * mask, mask, xp))[0]
        np.testing.assert_allclose(found, compare(parse(text), ref[:, kept], alt[:, kept])[0], err_msg=text)


TEXTS = [
    "difference(index(0))", "max(bins=centre±50, tracks=1)", "jsd(bins=3:9, scale=logits, output=0)",
    "log2_ratio(sum_over(tracks=2), pseudocount=1.0)", "kl(tracks=(0, 2), pseudocount=1e-06)", "l1(output=('a', 1))",
    "wasserstein(track_axis=1, bin_bp=128)", "larger(contrast(index(0), mean()), scale=log1p)",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_a_comparison_reads_back(text: str) -> None:
    found = parse(text)
    assert parse(str(found)) == found
    assert hash(parse(str(found))) == hash(found)
    assert str(found) == text


def test_the_centre_is_spelled_in_either_way() -> None:
    assert parse("max(bins=centre+-7)") == parse("max(bins=centre±7)") == comparisons.max(bins=comparisons.around(7))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mean()", "none"), ("jsd(", "never closed"), ("jsd(scale=loud)", "no loud"), ("jds", "there is no jds"),
        ("max(bins=centre±)", "missing"), ("log2_ratio(0, pseudocount=-1)", "not negative"),
        ("difference(scale=logits)", "of profiles"), ("l1(bin_bp=0)", "positive"), ("l1(tracks=True)", "ints"),
        ("difference(before_activation(0))", "but before_activation"), ("__import__('os')", "there is no"),
        ("l1(output=1.5)", "output is a name"),
    ],
)  # fmt: skip
def test_what_is_no_comparison_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"not a comparison.*({reason})"):
        parse(text)


@pytest.mark.parametrize("tracks", ["3", "(0, 7)", "5:9"])
def test_tracks_that_do_not_exist_are_named(tracks: str) -> None:
    with pytest.raises(ValueError, match="do not all exist in an output of 3"):
        compare(parse(f"l1(tracks={tracks})"), REF, FAR)


def test_a_function_of_the_user_is_no_target_of_a_comparison() -> None:
    with pytest.raises(ValueError, match=r"one of gf\.targets"):
        comparisons.difference(lambda output: output[:, 0])
    assert comparisons.difference(targets.logit(0)).compare(
        Pair(np.log(expit([1.0])), np.log(expit([2.0])), None, find_backend(x=REF).XP)
    )[0] == pytest.approx([np.log(expit(2.0)) - np.log(expit(1.0))])

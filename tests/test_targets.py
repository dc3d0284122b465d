"""Targets: one number for each sequence, from outputs of every shape and library, and a text form that reads back."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradcorr_fast as gf
from gradcorr_fast import targets
from tests.libraries import Library

PROFILE = np.random.default_rng(0).random((3, 8, 5))  # (N, bins, tracks)
TABLE = PROFILE[:, 0]
CASES = [
    (targets.index(2), TABLE, TABLE[:, 2]),
    (targets.index(-1), TABLE, TABLE[:, 4]),
    (targets.index(0), TABLE[:, 0], TABLE[:, 0]),
    (targets.index((3, -2)), PROFILE, PROFILE[:, 3, 3]),
    (targets.sum_over(), TABLE, TABLE.sum(1)),
    (targets.sum_over(), PROFILE, PROFILE.sum((1, 2))),
    (targets.sum_over(), TABLE[:, 0], TABLE[:, 0]),
    (targets.sum_over(slice(2, 5), 1), PROFILE, PROFILE[:, 2:5, 1].sum(1)),
    (targets.sum_over(slice(2, 5), 1, track_axis=1), PROFILE.transpose(0, 2, 1), PROFILE[:, 2:5, 1].sum(1)),
    (targets.sum_over(-1, [0, -1]), PROFILE, PROFILE[:, -1][:, [0, 4]].sum(1)),
    (targets.mean(tracks=slice(None, None, 2)), TABLE, TABLE[:, ::2].mean(1)),
    (targets.mean(slice(-2, None)), PROFILE, PROFILE[:, -2:].mean((1, 2))),
    (targets.log1p_sum(range(3), 4), PROFILE, np.log1p(PROFILE[:, :3, 4].sum(1))),
    (targets.logit(1), TABLE, np.log(TABLE[:, 1] / (1 - TABLE[:, 1]))),
    (targets.contrast(0, targets.mean()), TABLE, TABLE[:, 0] - TABLE.mean(1)),
]
TEXTS = [target for target, _, _ in CASES] + [targets.before_activation(targets.contrast(1, 0))]


@pytest.mark.parametrize(("target", "output", "expected"), CASES, ids=[str(target) for target, _, _ in CASES])
def test_targets_take_what_their_name_says(library: Library, target: Any, output: Any, expected: Any) -> None:
    if library.name == "dask:torch":
        pytest.skip("Dask's own operations take no blocks of tensors")
    got = library.call(target, library.make(output))
    np.testing.assert_allclose(library.read(got), expected, rtol=1e-12)


@pytest.mark.parametrize("target", TEXTS, ids=str)
def test_targets_can_be_written_read_pickled_and_compared(target: Any) -> None:
    assert targets.parse(str(target)) == target
    assert pickle.loads(pickle.dumps(target)) == target
    assert hash(targets.parse(str(target))) == hash(target)


positions = st.integers(-9, 9)
chosen = st.none() | positions | st.lists(positions, max_size=3) | st.builds(slice, *[st.none() | positions] * 3)
simple = st.builds(targets.index, positions | st.tuples(positions, positions)) | st.one_of(
    *[st.builds(t, chosen, chosen, track_axis=st.sampled_from([1, -1])) for t in (targets.sum_over, targets.mean)]
)
nested = st.builds(targets.contrast, simple | positions, simple | positions) | simple


@given(nested | st.builds(targets.before_activation, nested))
def test_every_text_form_reads_back(target: Any) -> None:
    assert targets.parse(str(target)) == target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("3", targets.index(3)),
        (" -1 ", targets.index(-1)),
        ("(5, 3)", targets.index((5, 3))),
        ("mean", targets.mean()),
        ("sum_over(bins=10:20, tracks=3)", targets.sum_over(slice(10, 20), 3)),
        ("sum_over(:, [1, 2])", targets.sum_over(slice(None), (1, 2))),
        ("contrast(0, mean(tracks=1:))", targets.contrast(0, targets.mean(tracks=slice(1, None)))),
        ("before_activation", targets.before_activation()),
    ],
)
def test_texts_that_people_write(text: str, target: Any) -> None:
    assert targets.parse(text) == target


@pytest.mark.parametrize("text", ["", "maximum(3)", "__import__('os')", "index('a')", "index(", "1.5", "mean(bin=3)"])
def test_other_texts_are_refused_and_nothing_is_executed(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a target .*; write a number or one of index, sum_over"):
        targets.parse(text)


def test_different_targets_are_not_equal() -> None:
    assert targets.index(1) != targets.index(2)
    assert targets.sum_over() != targets.mean()
    assert targets.index(1) != 1


@pytest.mark.parametrize(
    ("target", "shape", "message"),
    [
        (targets.index(5), (2, 5), r"target 5 does not exist in an output of shape \(2, 5\)"),
        (targets.index(0), (2, 5, 3), r"0 does not name one number for each sequence; pass 2 positions"),
        (targets.index(1), (2,), r"does not name one number"),
        (targets.sum_over(tracks=slice(7, None)), (2, 5), r"tracks 7: select nothing in an output of shape \(2, 5\)"),
        (targets.sum_over(tracks=()), (2, 5), "tracks are an empty list"),
        (targets.sum_over(bins=2), (2, 5), "no axis of bins; leave bins= away"),
        (targets.mean(tracks=2), (2,), "no axis of tracks; leave tracks= away"),
        (targets.sum_over(tracks=[1, 7]), (2, 5), r"tracks \(1, 7\) do not all exist"),
        (targets.mean(), (2, 3, 4, 5), r"for \(N, tracks\) and \(N, bins, tracks\)"),
        (targets.mean(track_axis=0), (2, 3, 4), r"for \(N, tracks\) and \(N, bins, tracks\)"),
    ],
)
def test_outputs_of_another_shape_are_refused(target: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        target(np.zeros(shape))


def test_what_is_no_position_is_refused_when_the_target_is_made() -> None:
    for make, message in (
        (lambda: targets.index(1.0), "interpreted as an integer"),
        (lambda: targets.sum_over(tracks="a"), "bins and tracks are ints"),
        (lambda: targets.mean(tracks=[True]), "bins and tracks are ints"),
        (lambda: targets.contrast(0, "a"), "target must be an int"),
        (lambda: targets.contrast(targets.before_activation(), 0), "before_activation goes outside"),
        (lambda: targets.before_activation(targets.before_activation()), "already there"),
    ):
        with pytest.raises(TypeError, match=message):
            make()


def test_before_activation_cannot_be_applied_to_an_output() -> None:
    """Inside a function of the user's it once took the output itself, which is not what was asked for."""
    with pytest.raises(TypeError, match="is for hooks"):
        targets.before_activation()(TABLE)


def test_a_target_of_something_else_than_an_array_is_refused() -> None:
    with pytest.raises(TypeError, match=r"output is a builtins\.list; pass an array"):
        gf.targets.mean()([1.0])

"""Strands, shifts, windows and masks of every attribution method, in every framework."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks._layout import Strand
from tests.frameworks import Framework, X, gradient, outputs
from tests.test_saliency import centred, close

METHODS = "saliency", "integrated_gradients", "smoothgrad", "expected_gradients", "saturation_mutagenesis"


def call(framework: Framework, method: str, x: np.ndarray = X, model: Any = None, **options: Any) -> Any:
    model = framework.model() if model is None else model
    result = getattr(framework.hooks, method)(model, framework.lay(x), **options)
    return result if isinstance(result, gf.AttributionMaps) else framework.read(result)


def turn(x: np.ndarray) -> np.ndarray:
    return x[:, ::-1, ::-1]


def move(x: np.ndarray, shift: int) -> np.ndarray:
    moved = np.zeros_like(x)
    length = x.shape[1]
    moved[:, max(shift, 0) : length + min(shift, 0)] = x[:, max(-shift, 0) : length - max(shift, 0)]
    return moved


def test_both_strands_are_averaged(framework: Framework) -> None:
    expected = (gradient(1) + turn(gradient(1, turn(X)))) / 2
    maps = call(framework, "saliency", target=1, rc=True, batch_size=3, outputs=("corrected", "angle", "prediction"))
    close(framework.read(maps.corrected), centred(expected))
    close(maps.prediction, (outputs() + outputs(turn(X)))[:, 1] / 2)
    np.testing.assert_allclose(maps.angle, gf.simplex_angle(expected), atol=1e-3)


def test_shifts_are_averaged_and_undone(framework: Framework) -> None:
    expected = np.mean([move(gradient(0, move(X, s)), -s) for s in (-2, 0, 1)], axis=0)
    close(call(framework, "saliency", shifts=(-2, 0, 1), batch_size=3), centred(expected))


def test_strands_and_shifts_together(framework: Framework) -> None:
    views = [(r, s) for r in (False, True) for s in (0, 2)]
    grads = []
    for reverse, shift in views:
        grad = move(gradient(0, move(turn(X) if reverse else X, shift)), -shift)
        grads.append(turn(grad) if reverse else grad)
    close(call(framework, "saliency", rc=True, shifts=[0, 2]), centred(np.mean(grads, axis=0)))


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_that_of_the_mean_model(framework: Framework, method: str) -> None:
    """Completeness included: strands are part of the model."""
    network = framework.model()
    if framework.name == "torch":
        network.eval()  # which a function of it would not be

    def flip(x: Any, axis: int) -> Any:
        return gf.sequences.reverse_complement(x, axis=axis)

    def both(x: Any) -> Any:
        return (network(x) + network(flip(x, framework.axis))) / 2

    if framework.name == "keras":
        pytest.skip("the mean is not a Keras model")
    outputs = ("corrected", "prediction")
    outputs += ("convergence_delta",) if method in METHODS[1:4:2] else ()
    expected = call(framework, method, model=both, outputs=outputs, batch_size=16)
    got = call(framework, method, model=network, rc=True, outputs=outputs, batch_size=16)
    for field in outputs:
        np.testing.assert_allclose(getattr(got, field), getattr(expected, field), rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_sequence_and_its_reverse_complement_have_maps_that_mirror_each_other(
    framework: Framework, method: str
) -> None:
    """But for the draws, which depend on the sequence."""
    options = {"references": "zero"} if method == "expected_gradients" else {}
    options |= {"sd": 0.0, "n_samples": 2} if method == "smoothgrad" else {}
    model = framework.model()
    close(
        call(framework, method, turn(X).copy(), model, rc=True, **options),
        turn(call(framework, method, model=model, rc=True, **options)),
    )


def test_bins_are_flipped_and_tracks_exchanged(framework: Framework) -> None:
    """The heads of the network stand for bins, then for tracks; the model of both strands has them mirrored."""
    model = framework.model()
    expected = (gradient(0) + turn(gradient(2, turn(X)))) / 2
    close(call(framework, "saliency", model=model, rc=True, rc_output="flip_bins"), centred(expected))
    expected = (gradient(1) + turn(gradient(2, turn(X)))) / 2
    close(call(framework, "saliency", model=model, target=1, rc=True, strand_pairs=[(1, 2)]), centred(expected))
    got = call(framework, "saliency", model=model, target=1, rc=True, rc_output=lambda output: 2 * output)
    close(got, centred((gradient(1) + 2 * turn(gradient(1, turn(X)))) / 2))
    own = [0, 1, 2, -1, 1, 0, -3]
    got = call(framework, "saliency", model=model, target=own, rc=True, rc_output="flip_bins", batch_size=3)
    flipped = np.stack([(gradient(k) + turn(gradient(2 - k % 3, turn(X))))[n] / 2 for n, k in enumerate(own)])
    close(got, centred(flipped))


@pytest.mark.parametrize("bin_axis", [1, 2, -1, -2])
def test_profiles_are_mirrored_on_the_axis_of_bins(bin_axis: int) -> None:
    output = np.arange(24.0).reshape(2, 4, 3)
    profile = output if bin_axis in (1, -2) else output.transpose(0, 2, 1)
    got = Strand(True, ((0, 2),), bin_axis)(profile)
    got = got if bin_axis in (1, -2) else got.transpose(0, 2, 1)
    np.testing.assert_array_equal(got, output[:, ::-1, [2, 1, 0]])
    np.testing.assert_array_equal(Strand(True, ())(output[:, 0]), output[:, 0, ::-1])
    np.testing.assert_array_equal(Strand(False, ((1, 0),))(output[:, 0]), output[:, 0, [1, 0, 2]])
    with pytest.raises(ValueError, match=r"strand pair \(0, 9\) does not exist in an output of shape \(2, 3\)"):
        Strand(False, ((0, 9),))(output[:, 0])
    with pytest.raises(ValueError, match=r"the output has shape \(2,\); rc_output='flip_bins' is for"):
        Strand(True, ())(output[:, 0, 0])


class Profile:
    """A model of tracks before bins, (N, 3, 6), linear in the sequence."""

    def __init__(self) -> None:
        torch = pytest.importorskip("torch")
        self.weights = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))  # bins, tracks, letters

    def __call__(self, x: Any) -> Any:
        import torch

        return torch.einsum("nal,lta->ntl", x, self.weights)


def test_bins_behind_tracks_are_mirrored() -> None:
    model, x = Profile(), X.transpose(0, 2, 1).copy()
    target = gf.targets.sum_over(bins=slice(0, 2), tracks=1, track_axis=1)
    got = gf.hooks.torch.saliency(model, x, target=target, rc=True, rc_output="flip_bins", bin_axis=2, corrected=False)
    grad = np.zeros((6, 4))
    grad[:2] += model.weights[:2, 1].numpy() / 2
    grad[:2] += model.weights[4:, 1].numpy()[::-1, ::-1] / 2
    close(got.transpose(0, 2, 1), np.broadcast_to(grad, X.shape))


@pytest.mark.parametrize("options", [{"rc_output": "flip_bins"}, {"strand_pairs": [(0, 1)]}])
@pytest.mark.parametrize("target", [gf.targets.mean(), gf.targets.sum_over(tracks=1, track_axis=1)], ids=str)
def test_an_output_of_three_axes_needs_the_axis_of_bins(options: dict[str, Any], target: Any) -> None:
    """Axis 1 was taken for bins, and of an output (N, tracks, bins) the tracks were reversed in silence."""
    x = X.transpose(0, 2, 1).copy()
    with pytest.raises(ValueError, match=r"shape \(7, 3, 6\), and nothing says .* bin_axis=1 .* or 2"):
        gf.hooks.torch.saliency(Profile(), x, target=target, rc=True, **options)


@pytest.mark.parametrize(
    "target", [gf.targets.sum_over(tracks=1), gf.targets.contrast(gf.targets.mean(), gf.targets.mean(bins=2))], ids=str
)
def test_targets_and_strands_agree_on_the_axis_of_bins(target: Any) -> None:
    x = X.transpose(0, 2, 1).copy()
    with pytest.raises(ValueError, match=r"axis 2 of the output holds bins by bin_axis=-1, and tracks by the target"):
        gf.hooks.torch.saliency(Profile(), x, target=target, rc=True, rc_output="flip_bins", bin_axis=-1)


def test_a_track_beside_the_letters_is_only_mirrored() -> None:
    torch = pytest.importorskip("torch")
    track = np.random.default_rng(0).random((7, 1, 6)).astype(np.float32)
    x = torch.from_numpy(np.concatenate([X.transpose(0, 2, 1), track], 1))
    seen: list[Any] = []

    def model(x: Any) -> Any:
        seen.append(x.detach())
        return (x**2).sum((1, 2))

    got = gf.hooks.torch.saliency(model, x, letters=slice(0, 4), n_letters=4, rc=True, corrected=False)
    assert torch.equal(seen[1], x[:, [3, 2, 1, 0, 4]].flip(2))
    torch.testing.assert_close(got, 2 * x)


@pytest.mark.parametrize("method", METHODS)
def test_windows_and_masks_cut_what_would_come_without(framework: Framework, method: str) -> None:
    model = framework.model()
    whole = call(framework, method, model=model, outputs=("corrected", "angle", "grad_times_input"))
    mask = np.random.default_rng(0).random((7, 6)) < 0.5
    got = call(
        framework, method, model=model, start=1, end=5, mask=framework.array(mask) if method == "saliency" else mask,
        batch_size=3, outputs=("corrected", "angle", "grad_times_input"),
    )  # fmt: skip
    cut = mask[:, 1:5]
    close(framework.read(got.corrected), framework.read(whole.corrected)[:, 1:5] * cut[..., None])
    np.testing.assert_allclose(got.angle, np.asarray(whole.angle)[:, 1:5] * cut, atol=2e-3)
    close(got.grad_times_input, np.asarray(whole.grad_times_input)[:, 1:5] * cut)


ERRORS = [
    ({"rc_output": "flip_bins"}, ValueError, "pass rc=True with them"),
    ({"strand_pairs": [(0, 1)]}, ValueError, "pass rc=True with them"),
    ({"bin_axis": 1}, ValueError, "pass rc=True with them"),
    ({"rc": True, "bin_axis": 1}, ValueError, "pass rc_output='flip_bins' or strand_pairs with it"),
    ({"rc": True, "bin_axis": 2, "rc_output": "flip_bins"}, ValueError, r"the output has shape \(7, 3\); rc_output="),
    ({"rc": True, "rc_output": "mirror"}, ValueError, "rc_output must be one of same, flip_bins or a function"),
    ({"rc": True, "rc_output": 3}, ValueError, "rc_output must be text or a function"),
    ({"rc": True, "strand_pairs": [(0, 1, 2)]}, TypeError, r"must be pairs of tracks, such as \[\(0, 1\)"),
    ({"rc": True, "rc_output": abs, "strand_pairs": [(0, 1)]}, ValueError, "leave strand_pairs away"),
    ({"rc": True, "strand_pairs": [(0, 3)]}, ValueError, r"strand pair \(0, 3\) does not exist"),
    ({"shifts": 3}, TypeError, "shifts must be a sequence of ints"),
    ({"shifts": ()}, TypeError, "shifts must be a sequence of ints"),
    ({"shifts": (0.5,)}, TypeError, "shifts must be ints"),
    ({"shifts": (0, 6)}, ValueError, "shift 6 moves sequences of length 6 away"),
    ({"start": 4, "end": 4}, ValueError, "start=4 and end=4 leave no window of sequences of length 6"),
    ({"start": -1}, ValueError, "start=-1 and end=-1 leave no window"),
    ({"end": 7}, ValueError, "start=0 and end=7 leave no window"),
    ({"mask": np.ones(6)}, TypeError, "mask must be boolean"),
    ({"mask": np.ones(5, bool)}, ValueError, r"mask has shape \(5,\); it must have shape \(7, 6\) or \(6,\)"),
]


@pytest.mark.parametrize(("options", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_wrong_calls_say_how_to_mend_them(
    framework: Framework, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(framework, "saliency", **options)
    assert "\n" not in str(caught.value)


def test_the_other_strand_is_that_of_dna() -> None:
    pytest.importorskip("torch")
    protein = np.zeros((2, 20, 5), np.float32)
    with pytest.raises(ValueError, match=r"rc=True needs the 4 letters of DNA.*the letter axis has 20"):
        gf.hooks.torch.saliency(lambda x: x.sum((1, 2)), protein, rc=True)

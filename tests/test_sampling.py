"""SmoothGrad in every framework: the mean of gradients at samples that the definition of the draws gives."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.kernels import reference_sequences
from tests.frameworks import Framework, X, gradient, outputs
from tests.test_saliency import centred, close

CODES = X.argmax(-1)


def call(framework: Framework, x: np.ndarray = X, model: Any = None, **options: Any) -> Any:
    model = framework.model() if model is None else model
    result = framework.hooks.smoothgrad(model, framework.lay(x), **options)
    return result if isinstance(result, gf.AttributionMaps) else framework.read(result)


def noisy(sample: int, sd: float, seed: int = 0) -> np.ndarray:
    return X + sd * np.stack([reference_sequences.noise(row, sample, 4, seed) for row in CODES.tolist()])


def mutant(sample: int, rate: float, seed: int = 0) -> np.ndarray:
    return np.eye(4)[[reference_sequences.mutate(row, sample, rate, 4, seed) for row in CODES.tolist()]]


@pytest.mark.parametrize("batch_size", [3, 20])
def test_smoothgrad_is_the_mean_gradient_at_noisy_inputs(framework: Framework, batch_size: int) -> None:
    got = call(framework, n_samples=4, sd=0.3, random_state=5, target=1, batch_size=batch_size)
    close(got, centred(np.mean([gradient(1, noisy(k, 0.3, 5)) for k in range(4)], axis=0)))


@pytest.mark.parametrize("batch_size", [3, 20])
def test_mutations_are_those_of_the_definition(framework: Framework, batch_size: int) -> None:
    got = call(framework, kind="mutation", n_samples=4, rate=0.4, random_state=5, target=1, batch_size=batch_size)
    close(got, centred(np.mean([gradient(1, mutant(k, 0.4, 5)) for k in range(4)], axis=0)))


def test_without_noise_it_is_saliency(framework: Framework) -> None:
    for options in ({"sd": 0.0}, {"kind": "mutation", "rate": 0.0}):
        maps = call(framework, n_samples=2, outputs=("corrected", "grad_times_input", "prediction"), **options)
        close(framework.read(maps.corrected), centred(gradient(0)))
        close(maps.prediction, outputs()[:, 0])


def test_the_prediction_is_that_of_the_sequence_itself(framework: Framework) -> None:
    maps = call(framework, n_samples=2, sd=1.0, outputs=("prediction",), batch_size=3)
    close(maps.prediction, outputs()[:, 0])


def test_mutants_stay_on_the_simplex_and_unknown_letters_stay_unknown() -> None:
    torch = pytest.importorskip("torch")
    seen: list[Any] = []

    def model(x: Any) -> Any:
        seen.append(x.detach().clone())
        return x.sum((1, 2))

    x = X.copy()
    x[2, 3], x[4, 1] = 0, 0.25
    gf.hooks.torch.smoothgrad(model, x, axis=-1, kind="mutation", rate=0.5, n_samples=10, batch_size=7)
    for sample in seen:
        is_unknown = torch.zeros(7, 6, dtype=torch.bool)
        is_unknown[2, 3] = is_unknown[4, 1] = True
        assert (sample[2, 3] == 0).all()
        assert (sample[4, 1] == 0.25).all()
        assert (sample[~is_unknown].sort(-1).values == torch.tensor([0.0, 0, 0, 1])).all()
    assert 0.3 < np.mean([np.mean(sample.numpy() != x) * 2 for sample in seen]) < 0.7


@pytest.mark.parametrize("kind", ["gaussian", "mutation"])
def test_draws_are_the_same_in_either_layout_and_leave_other_channels_alone(kind: str) -> None:
    torch = pytest.importorskip("torch")
    seen: list[Any] = []

    def model(x: Any) -> Any:
        seen.append(x.detach().clone())
        return x.sum((1, 2))

    options = {"kind": kind, "n_samples": 2, "batch_size": 7}
    gf.hooks.torch.smoothgrad(model, X, axis=-1, **options)
    gf.hooks.torch.smoothgrad(model, X.transpose(0, 2, 1).copy(), **options)
    track = np.random.default_rng(0).random((7, 1, 6)).astype(np.float32)
    both = np.concatenate([X.transpose(0, 2, 1), track], 1)
    gf.hooks.torch.smoothgrad(model, both, letters=slice(0, 4), n_letters=4, **options)
    for k in (0, 1):
        assert torch.equal(seen[k].transpose(1, 2), seen[2 + k])
        assert torch.equal(seen[2 + k], seen[4 + k][:, :4])
        np.testing.assert_array_equal(seen[4 + k][:, 4:], track)


def test_several_axes_of_positions_have_noise_of_their_own() -> None:
    pytest.importorskip("torch")
    x = np.stack([X, X[::-1]], 1)  # (N, 2, L, 4)
    got = gf.hooks.torch.smoothgrad(lambda x: (x**3).sum((1, 2, 3)), x, axis=-1, n_samples=3, corrected=False)
    codes = x.argmax(-1).reshape(7, -1).tolist()
    expected = 0.0
    for sample in range(3):
        noise = np.stack([reference_sequences.noise(row, sample, 4, 0) for row in codes]).reshape(x.shape)
        expected = expected + (x + 0.1 * noise) ** 2
    close(got, expected)


def test_the_mean_over_many_samples_is_the_expectation() -> None:
    """The gradient of x^3 at x + sd z has the mean 3 (x^2 + sd^2)."""
    pytest.importorskip("torch")
    got = gf.hooks.torch.smoothgrad(
        lambda x: (x**3).sum((1, 2)), X, axis=-1, n_samples=2000, sd=0.5, corrected=False, batch_size=7000
    )
    np.testing.assert_allclose(got.mean((0, 1, 2)), np.mean(3 * (X**2 + 0.25)), rtol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "salt"}, "kind must be one of gaussian, mutation"),
        ({"sd": -1.0}, "sd must be a number that is not negative"),
        ({"sd": np.nan}, "sd must be a number that is not negative"),
        ({"kind": "mutation", "rate": 1.5}, "rate must be the share of letters that mutate"),
        ({"rate": 0.5}, 'pass kind="mutation", or sd'),
        ({"kind": "mutation", "sd": 0.5}, 'pass kind="gaussian", or rate'),
        ({"n_samples": 2.5}, "n_samples must be a positive int"),
    ],
)
def test_wrong_calls_say_how_to_mend_them(framework: Framework, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(framework, **options)

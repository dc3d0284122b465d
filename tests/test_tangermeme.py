"""The PyTorch hooks beside tangermeme: as `func=` of its experiments, and in front of its DeepLIFT/SHAP."""

from collections.abc import Callable
from typing import Any

import pytest

import gradcorr_fast as gf
from tests.conftest import require

torch = pytest.importorskip("torch")

METHODS = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 4},
    "expected_gradients": {"n_references": 2, "n_steps": 3},
    "smoothgrad": {"n_samples": 3},
    "saturation_mutagenesis": {},
}


@pytest.fixture(autouse=True)
def _tangermeme() -> None:
    require("tangermeme")


def one_hot(n: int, seed: int, length: int = 12) -> Any:
    codes = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(codes, 4).float().transpose(1, 2).contiguous()


X = one_hot(5, 0)


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 3), torch.nn.ReLU(), torch.nn.AvgPool1d(3), torch.nn.Flatten(),
        torch.nn.Linear(18, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2),
    )  # fmt: skip


def attribute(name: str, x: Any, **options: Any) -> Any:
    return getattr(gf.hooks.torch, name)(network(), x, **METHODS[name], **options)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_func_of_marginalize(name: str) -> None:
    from tangermeme.ersatz import substitute
    from tangermeme.marginalize import marginalize

    func = getattr(gf.hooks.torch, name)
    result = marginalize(network(), X, "GATA", func=func, target=1, batch_size=3, **METHODS[name])
    torch.testing.assert_close(result.y_before, attribute(name, X, target=1))
    torch.testing.assert_close(result.y_after, attribute(name, substitute(X, "GATA"), target=1))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_a_func_of_ablate(name: str) -> None:
    from tangermeme.ablate import ablate
    from tangermeme.ersatz import shuffle

    func = getattr(gf.hooks.torch, name)
    result = ablate(network(), X, 3, 9, n=2, func=func, random_state=7, **METHODS[name])
    shuffled = shuffle(X, start=3, end=9, n=2, random_state=7)
    torch.testing.assert_close(result.y_before, attribute(name, X, random_state=7))
    expected = attribute(name, shuffled.flatten(0, 1), random_state=7).unflatten(0, (5, 2))
    torch.testing.assert_close(result.y_after, expected)
    unseeded = ablate(network(), X, 3, 9, n=2, func=func, **METHODS[name])  # passes random_state=None
    assert unseeded.y_after.shape == (5, 2, 4, 12)


def substituted(x: Any) -> Any:
    x = x.clone()
    x[[0, 3], :, [2, 5]] = torch.eye(4)[[1, 3]]
    return x


EFFECTS: dict[str, tuple[list[list[int]], Callable[[Any], Any]]] = {
    "substitution_effect": ([[0, 2, 1], [3, 5, 3]], substituted),
    "deletion_effect": ([[n, 4] for n in range(5)], lambda x: torch.cat([x[..., :4], x[..., 5:]], -1)),
    "insertion_effect": (
        [[n, 4, 2] for n in range(5)],
        lambda x: torch.cat([x[..., :4], torch.eye(4)[2][None, :, None].expand(5, 4, 1), x[..., 4:-1]], -1),
    ),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_saliency_is_a_func_of_variant_effects(name: str) -> None:
    from tangermeme import variant_effect

    rows, change = EFFECTS[name]
    result = getattr(variant_effect, name)(network(), X, torch.tensor(rows), func=gf.hooks.torch.saliency, target=1)
    changed = change(X)
    before = X[..., : changed.shape[-1]]
    torch.testing.assert_close(result.y_before, attribute("saliency", before, target=1))
    torch.testing.assert_close(result.y_after, attribute("saliency", changed, target=1))


def test_maps_go_through_as_the_tuple_they_are() -> None:
    from tangermeme.marginalize import marginalize

    options = {"targets": [0, 1], "outputs": ("angle", "prediction")}
    result = marginalize(network(), X, "GATA", func=gf.hooks.torch.saliency, **options)
    assert result.y_after.angle.shape == (5, 2, 12)
    torch.testing.assert_close(result.y_before.prediction, network()(X).detach())


def test_saliency_is_that_of_tangermeme() -> None:
    saliency = pytest.importorskip("tangermeme.saliency").saliency
    expected = saliency(network(), X, target=1, hypothetical=True, device="cpu")
    torch.testing.assert_close(attribute("saliency", X, target=1), expected)


REFERENCES = torch.stack([one_hot(5, seed) for seed in (1, 2)], 1)


def deep_lift_shap(model: Any, **options: Any) -> Any:
    from tangermeme.deep_lift_shap import deep_lift_shap as attribute

    return attribute(model, X, references=REFERENCES, device="cpu", **options)


def layered(model: Any) -> Any:
    return torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), model)


def attached(model: Any) -> Any:
    gf.hooks.torch.attach(model)
    return model


@pytest.mark.parametrize("project", [layered, attached])
@pytest.mark.parametrize("hypothetical", [False, True])
def test_deep_lift_shap_does_not_see_the_projection(project: Any, hypothetical: bool) -> None:
    """m[b] - sum_a reference[a] m[a] stays when all m[a] move alike: such scores hold no part off the simplex."""
    got = deep_lift_shap(project(network()), hypothetical=hypothetical)
    plain = deep_lift_shap(network(), hypothetical=hypothetical)
    torch.testing.assert_close(got, plain, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(got, gf.correct(plain, axis=1), atol=1e-3)


@pytest.mark.parametrize("project", [layered, attached])
def test_multipliers_of_deep_lift_shap_are_corrected(project: Any) -> None:
    got = deep_lift_shap(project(network()), raw_outputs=True)
    expected = gf.correct(deep_lift_shap(network(), raw_outputs=True), axis=2)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_correcting_hypothetical_scores_breaks_completeness() -> None:
    scores = deep_lift_shap(network(), hypothetical=True)
    with torch.no_grad():
        change = (network()(X) - network()(REFERENCES.flatten(0, 1)).unflatten(0, (5, 2)).mean(1))[:, 0]
    torch.testing.assert_close((scores * X).sum((1, 2)), change, rtol=0, atol=1e-5)
    assert ((gf.correct(scores, axis=1) * X).sum((1, 2)) - change).abs().max() > 0.01

"""`gf.compat.tangermeme`: as `func=` wherever tangermeme takes one, and its mutagenesis with the same results."""

from typing import Any

import pytest

import gradcorr_fast as gf
from tests.conftest import require

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _tangermeme() -> None:
    require("tangermeme")


compat = gf.compat.tangermeme
SETTINGS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 4},
    "expected_gradients": {"n_shuffles": 2, "n_steps": 3},
    "smoothgrad": {"n_samples": 3},
}


def one_hot(n: int, seed: int = 0, length: int = 12) -> Any:
    codes = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(codes, 4).to(torch.int8).transpose(1, 2).contiguous()


X = one_hot(5)


class Network(torch.nn.Module):
    """Two tracks, of a sequence and, if given, of a number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv1d(4, 6, 3), torch.nn.ReLU(), torch.nn.AvgPool1d(3), torch.nn.Flatten(),
            torch.nn.Linear(18, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2),
        )  # fmt: skip

    def forward(self, x: Any, scale: Any = None) -> Any:
        y = self.layers(x)
        return y if scale is None else y * scale


def expected(name: str, x: Any, **options: Any) -> Any:
    settings = {"n_references" if k == "n_shuffles" else k: v for k, v in SETTINGS[name].items()}
    if name == "expected_gradients":
        settings["references"] = "dinucleotide"
    return getattr(gf.hooks.torch, name)(Network(), x.float(), **settings, **options)


@pytest.mark.parametrize("hypothetical", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_integers_give_the_hooks_maps(name: str, hypothetical: bool) -> None:
    options = {"target": 1, "random_state": 3} if name != "saliency" else {"target": 1}
    found = getattr(compat, name)(Network(), X, hypothetical=hypothetical, device="cpu", **SETTINGS[name], **options)
    grad = expected(name, X, **options)
    torch.testing.assert_close(found, grad if hypothetical else grad * X)
    assert found.dtype == torch.float32


def test_saliency_is_that_of_tangermeme() -> None:
    theirs = pytest.importorskip("tangermeme.saliency")
    for options in ({}, {"hypothetical": True, "target": 1}, {"func": lambda y: y.abs() * 2}):
        torch.testing.assert_close(
            compat.saliency(Network(), X, device="cpu", **options),
            theirs.saliency(Network(), X, device="cpu", **options),
        )
    plain = theirs.saliency(Network(), X, gradient_correction=False, device="cpu")
    found = compat.saliency(Network(), X, None, 0, 32, False, False, device="cpu")  # positions as theirs
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(compat.saliency(Network(), X, gradient_correction=False, device="cpu"), plain)


@pytest.mark.parametrize("name", [*SETTINGS, "saturation_mutagenesis"])
def test_every_function_goes_wherever_one_is_taken(name: str) -> None:
    from tangermeme.ablate import ablate
    from tangermeme.ersatz import substitute
    from tangermeme.marginalize import marginalize
    from tangermeme.space import space
    from tangermeme.variant_effect import substitution_effect

    func, settings = getattr(compat, name), SETTINGS.get(name, {})
    options = {"func": func, "device": "cpu", "target": 1, "batch_size": 3, **settings}
    if name in SETTINGS:
        options["hypothetical"] = True
    before = func(Network(), X, **{k: v for k, v in options.items() if k != "func"})
    found = marginalize(Network(), X, "GATA", **options)
    torch.testing.assert_close(found.y_before, before)
    changed = substitute(X, "GATA")
    after = func(Network(), changed, **{k: v for k, v in options.items() if k != "func"})
    torch.testing.assert_close(found.y_after, after)
    assert ablate(Network(), X, 3, 9, n=2, random_state=7, **options).y_after.shape == (5, 2, 4, 12)
    places = torch.tensor([[0, 2, 1], [3, 5, 3]])
    torch.testing.assert_close(substitution_effect(Network(), X, places, **options).y_before, before)
    assert space(Network(), X, ["GA", "TA"], [[1], [2]], **options).y_afters.shape == (5, 2, 4, 12)


def test_further_inputs_and_half_precision_are_cast_as_tangermeme_does() -> None:
    scale = torch.tensor([[1], [2], [1], [3], [1]])
    found = compat.saliency(Network(), X, (scale,), hypothetical=True, device="cpu")
    torch.testing.assert_close(found, expected("saliency", X) * scale[..., None])
    with pytest.raises(ValueError, match="same first dimension as X"):
        compat.saliency(Network(), X, (scale[:2],), device="cpu")
    with pytest.warns(UserWarning, match="bfloat16 differs from float32"):
        half = compat.saliency(Network(), X, dtype="bfloat16", hypothetical=True, device="cpu")
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected("saliency", X), atol=0.05, rtol=0.1)
    double = compat.saliency(Network().double(), X, hypothetical=True, device="cpu")
    assert double.dtype == torch.float64


def test_references_are_given_as_to_deep_lift_shap() -> None:
    from tangermeme.ersatz import shuffle

    references = shuffle(X, n=3, random_state=0)
    options = {"hypothetical": True, "n_steps": 4, "device": "cpu"}
    found = compat.expected_gradients(Network(), X, references=references, **options)
    hook = gf.hooks.torch.expected_gradients(Network(), X.float(), references=references.float(), n_steps=4)
    torch.testing.assert_close(found, hook)
    called = compat.expected_gradients(Network(), X, references=shuffle, n_shuffles=3, random_state=0, **options)
    torch.testing.assert_close(called, hook)


MUTAGENESIS = {
    "all outputs": {},
    "one output": {"target": 1},
    "some outputs": {"target": slice(0, 2)},
    "some positions": {"start": 2, "end": 9},
    "to the last but one": {"start": 3, "end": -2},
    "all letters": {"hypothetical": True},
    "a function": {"func": lambda y: y**2},
    "in double": {"dtype": torch.float64},
}


@pytest.mark.parametrize("name", MUTAGENESIS)
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_mutagenesis_is_that_of_tangermeme(name: str, raw: bool, fast: bool) -> None:
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    model = Network().double() if name == "in double" else Network()
    options = {**MUTAGENESIS[name], "device": "cpu", "raw_outputs": raw}
    if raw:
        options.pop("target", None)
    theirs = saturation_mutagenesis(model, X, fast=False, **options)
    found = compat.saturation_mutagenesis(model, X, fast=fast, **options)
    torch.testing.assert_close(found, theirs)


def test_unknown_letters_profiles_and_several_outputs() -> None:
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    gaps = X.clone()
    gaps[1, :, 4] = 0
    torch.testing.assert_close(
        compat.saturation_mutagenesis(Network(), gaps, device="cpu"),
        saturation_mutagenesis(Network(), gaps, device="cpu"),
    )

    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.profile, self.count = torch.nn.Conv1d(4, 9, 3), torch.nn.Linear(48, 1)

        def forward(self, x: Any) -> Any:
            return self.profile(x), self.count(x.flatten(1))

    with pytest.raises(ValueError, match="raw_outputs=True is required"):
        compat.saturation_mutagenesis(Heads(), X, device="cpu")
    for found, theirs in zip(
        compat.saturation_mutagenesis(Heads(), X, raw_outputs=True, device="cpu"),
        saturation_mutagenesis(Heads(), X, raw_outputs=True, device="cpu"),
        strict=True,
    ):
        torch.testing.assert_close(found, theirs)
    options = {"func": lambda heads: heads[0].mean(2), "device": "cpu"}
    torch.testing.assert_close(
        compat.saturation_mutagenesis(Heads(), X, **options), saturation_mutagenesis(Heads(), X, **options)
    )


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="start and end must satisfy"):
        compat.saturation_mutagenesis(Network(), X, start=5, end=3, device="cpu")
    with pytest.raises(ValueError, match="at least one example"):
        compat.saliency(Network(), X[:0], device="cpu")
    with pytest.raises(ValueError, match="must be sequences"):
        compat.saliency(Network(), X.numpy(), device="cpu")


def test_a_profile_says_that_func_reduces_it() -> None:
    with pytest.raises(ValueError, match=r"output has shape \(5, 3, 10\).*pass a func= that reduces it"):
        compat.saliency(torch.nn.Conv1d(4, 3, 3), X, device="cpu")


@pytest.mark.parametrize("name", [*SETTINGS, "saturation_mutagenesis"])
def test_every_function_goes_into_products_and_dependency_maps(name: str) -> None:
    product = pytest.importorskip("tangermeme.product")
    func, settings = getattr(compat, name), SETTINGS.get(name, {})
    scales = torch.tensor([[1.0], [2.0]])
    found = product.apply_pairwise(func, Network(), X, (scales,), device="cpu", **settings)
    torch.testing.assert_close(found[:, 1], func(Network(), X, (scales[1].expand(5, 1),), device="cpu", **settings))
    maps = pytest.importorskip("tangermeme.dependency_map")
    assert maps.dependency_map(Network(), X[:1], func=func, device="cpu", **settings).shape == (1, 12, 12)


def test_packed_sequences_are_unpacked() -> None:
    utils = pytest.importorskip("tangermeme.utils")
    if not hasattr(utils, "PackedSequence"):
        pytest.skip("this tangermeme has none")
    packed = utils.PackedSequence.from_codes(X.argmax(1))
    found = compat.saliency(Network(), packed, device="cpu")
    torch.testing.assert_close(found, compat.saliency(Network(), X, device="cpu"))

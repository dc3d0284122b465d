"""Integrated and expected gradients in every framework: against sums over the gradient worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.hooks import _engine, _methods
from tests import frameworks, models
from tests.conftest import require
from tests.frameworks import SCALE, Framework, X, gradient, outputs
from tests.test_saliency import centred, close

METHODS = "integrated_gradients", "expected_gradients", "smoothgrad"
FEW: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 9},
    "expected_gradients": {"n_references": 3, "n_steps": 4},
    "smoothgrad": {"n_samples": 9},
}
"""Gradients enough for several batches."""
RULES = {
    "trapezoid": (np.arange(6) / 5, [0.1, 0.2, 0.2, 0.2, 0.2, 0.1]),
    "left": (np.arange(6) / 6, [1 / 6] * 6),
    "midpoint": ((np.arange(6) + 0.5) / 6, [1 / 6] * 6),
    "gausslegendre": ((np.polynomial.legendre.leggauss(6)[0] + 1) / 2, np.polynomial.legendre.leggauss(6)[1] / 2),
}
GIVEN = np.random.default_rng(5).random((2, 7, 6, 4)).astype(np.float32)  # two references for each sequence


@pytest.fixture(params=frameworks.FRAMEWORKS, ids=repr, name="framework")
def _framework(request: pytest.FixtureRequest) -> Framework:
    require(request.param.name)
    return request.param


@pytest.fixture(name="torch")
def _torch() -> Any:
    require("torch")
    import torch

    return torch


def call(framework: Framework, method: str, x: np.ndarray = X, model: Any = None, **options: Any) -> Any:
    """A method on NumPy input, letters last."""
    model = framework.model() if model is None else model
    result = getattr(framework.hooks, method)(model, framework.lay(x), **options)
    return result if isinstance(result, gf.AttributionMaps) else framework.read(result)


def mean_gradient(references: Any, rule: str = "trapezoid", target: int = 0, times: bool = False) -> np.ndarray:
    """The definition: of each reference (N, L, 4), the weighted sum of gradients on the path from it."""
    total = np.zeros(X.shape)
    for reference in references:
        for step, weight in zip(*RULES[rule], strict=True):
            grad = gradient(target, reference + step * (X - reference))
            total += weight * grad * ((X - reference) if times else 1) / len(references)
    return total


def shuffles(kind: str, n: int, seed: int = 0) -> np.ndarray:
    return np.moveaxis(np.eye(4)[gf.sequences.shuffle(X.argmax(-1), n, kind, seed)], 1, 0)


@pytest.mark.pairwise
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("multiply", [False, True])
def test_integrated_gradients_are_the_weighted_sum_along_the_path(
    framework: Framework, rule: str, multiply: bool
) -> None:
    options = {"n_steps": 6, "rule": rule, "multiply_by_inputs": multiply, "target": 1}
    got = call(framework, "integrated_gradients", corrected=not multiply, **options)
    expected = mean_gradient([np.zeros(X.shape)], rule, 1, multiply)
    close(got, expected if multiply else centred(expected))


@pytest.mark.pairwise
@pytest.mark.parametrize("kind", ["zero", "uniform", "mono", "dinucleotide", "for all", "for each"])
@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.filterwarnings("ignore:fewer than n=")
def test_every_kind_of_reference(framework: Framework, kind: str, method: str) -> None:
    references: Any = kind
    expected: Any = {"zero": [0 * X], "uniform": [0 * X + 0.25]}.get(kind)
    if kind == "for all":
        references = framework.lay(GIVEN[:, 0])
        expected = [np.broadcast_to(reference, X.shape) for reference in GIVEN[:, 0]]
    elif kind == "for each":
        references = np.stack([framework.lay(each) for each in GIVEN], 1)
        expected = GIVEN
    elif expected is None:
        expected = shuffles(kind, 3, seed=8)
    got = call(framework, method, references=references, n_references=3, n_steps=6, random_state=8, batch_size=4)
    close(got, centred(mean_gradient(expected)))


def test_references_are_of_the_kind_of_the_input(framework: Framework) -> None:
    x, references = framework.array(framework.lay(X)), framework.array(framework.lay(GIVEN[:, 0]))
    result = framework.hooks.integrated_gradients(framework.model(), x, references=references, n_steps=6, batch_size=3)
    assert type(result) is type(x)
    close(framework.read(result), centred(mean_gradient([np.broadcast_to(r, X.shape) for r in GIVEN[:, 0]])))


@pytest.mark.pairwise
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 4, 5, 64])
def test_results_do_not_depend_on_batches_or_on_the_order(framework: Framework, method: str, batch_size: int) -> None:
    options = {"model": framework.model(), **FEW[method]}
    expected = call(framework, method, batch_size=7, **options)
    options["batch_size"] = batch_size
    close(call(framework, method, **options), expected)
    close(call(framework, method, X[::-1].copy(), **options)[::-1], expected)
    close(call(framework, method, X[3:4], **options), expected[3:4])


@pytest.mark.parametrize("method", METHODS)
def test_several_targets_with_further_inputs(framework: Framework, method: str) -> None:
    model = framework.model(lambda output, scale: output * scale)
    options = {"args": (framework.array(SCALE),), "batch_size": 10, **FEW[method]}
    several = call(framework, method, model=model, targets=[2, 0], **options)
    assert several.shape == (7, 2, 6, 4)
    for k, target in enumerate((2, 0)):
        one = call(framework, method, target=target, **FEW[method])
        close(several[:, k], one * SCALE[:, target, None, None])


@pytest.mark.parametrize("method", METHODS)
def test_a_target_for_each_sequence(framework: Framework, method: str) -> None:
    own = [0, 1, 2, -1, 1, 0, -3]
    each = [call(framework, method, target=k, **FEW[method]) for k in range(3)]
    got = call(framework, method, target=own, batch_size=16, **FEW[method])
    close(got, np.stack([each[k % 3][n] for n, k in enumerate(own)]))


@pytest.mark.pairwise
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("corrected_by", ["uniform", "mono"])
def test_the_convergence_delta_is_the_error_of_completeness(framework: Framework, rule: str, corrected_by: str) -> None:
    maps = call(
        framework, "expected_gradients", references=corrected_by, n_references=3, n_steps=6, rule=rule, batch_size=9,
        outputs=("corrected", "angle", "prediction", "convergence_delta"),
    )  # fmt: skip
    references = [0 * X + 0.25] if corrected_by == "uniform" else shuffles("mono", 3)
    total = mean_gradient(references, rule, times=True).sum((1, 2))
    starts = np.mean([outputs(reference)[:, 0] for reference in references], axis=0)
    close(maps.prediction, outputs()[:, 0])
    np.testing.assert_allclose(maps.convergence_delta, total - (outputs()[:, 0] - starts), atol=2e-5)
    close(maps.angle, gf.simplex_angle(mean_gradient(references, rule)))
    if rule == "gausslegendre":
        assert np.abs(maps.convergence_delta).max() < 1e-3 * np.abs(outputs()[:, 0] - starts).max()


def test_presets_are_those_of_the_paper_and_of_the_scripts() -> None:
    def method(name: str, preset: str, **given: Any) -> Any:
        found, rest = _methods.take(name, X, {"preset": preset, "axis": 1, **given})
        assert rest == {"axis": 1}
        return found

    for name, preset, n_references, n_steps in (
        ("integrated_gradients", "paper", 1, 20), ("integrated_gradients", "repo", 1, 26),
        ("expected_gradients", "paper", 10, 20), ("expected_gradients", "repo", 20, 21),
    ):  # fmt: skip
        points = method(name, preset).points
        assert len(points) == n_references * n_steps
        assert sum(point.weight for point in points) == pytest.approx(1)
        assert len({point.number for point in points}) == n_references
    assert len(method("expected_gradients", "repo", n_steps=3).points) == 60
    assert [len(method("smoothgrad", preset).points) for preset in ("paper", "repo")] == [25, 50]


@pytest.mark.parametrize(
    ("n_left", "n_points", "batch_size"), [(150, 20, 128), (70, 20, 128), (3, 200, 100), (9, 1, 4)]
)
def test_groups_fill_the_batches(n_left: int, n_points: int, batch_size: int) -> None:
    """As many batches as rows need, but for one more in every size of group."""
    n_batches, sizes = 0, []
    n_rows = n_left * n_points
    while n_left:
        sizes.append(_engine.group_size(n_left, n_points, batch_size))
        assert 0 < sizes[-1] <= batch_size
        n_batches += -(-n_points // max(1, batch_size // sizes[-1]))
        n_left -= sizes[-1]
    assert n_batches <= -(-n_rows // batch_size) * 1.1 + len(set(sizes))


@pytest.mark.parametrize(("method", "n_points"), [*zip(METHODS, (20, 200, 25), strict=True)])
def test_no_more_rows_than_the_batch_size_are_in_the_model(torch: Any, method: str, n_points: int) -> None:
    """And each gradient is computed once: predictions and deltas cost nothing, where a point lies at the ends."""
    sizes: list[int] = []

    def model(x: Any) -> Any:
        sizes.append(len(x))
        return (x**2).sum((1, 2))

    x = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (23, 12))].transpose(0, 2, 1)
    outputs = ("corrected",) if method == "smoothgrad" else ("corrected", "prediction", "convergence_delta")
    getattr(gf.hooks.torch, method)(model, x, batch_size=16, outputs=outputs)
    assert max(sizes) <= 16
    assert sum(sizes) == 23 * n_points
    assert len(sizes) <= 1.1 * 23 * n_points / 16 + 3


@pytest.mark.parametrize("method", METHODS)
def test_batches_change_no_bit_of_what_the_model_does_not_round(torch: Any, method: str) -> None:
    """The model works entry by entry, so that its gradients are the same in any batch; so are the sums."""
    x = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (23, 12))].transpose(0, 2, 1)
    results = [
        getattr(gf.hooks.torch, method)(lambda x: (x**3).sum((1, 2)), x, batch_size=size) for size in (1, 6, 23, 500)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_quadratic_model_has_the_gradient_of_the_middle(torch: Any) -> None:
    """f = x^T A x: the mean gradient from 0 is (A + A^T) x / 2, the trapezoid rule is exact, and nothing is missing."""
    a = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(X.astype(np.float64).transpose(0, 2, 1).copy())

    def model(x: Any) -> Any:
        flat = x.flatten(1)
        return torch.einsum("ni,ij,nj->n", flat, a, flat)

    got = gf.hooks.torch.integrated_gradients(model, x, corrected=False, n_steps=2)
    torch.testing.assert_close(got, (x.flatten(1) @ (a + a.T) / 2).reshape(x.shape))
    maps = gf.hooks.torch.expected_gradients(model, x, n_steps=3, n_references=4, outputs="convergence_delta")
    assert maps.convergence_delta.abs().max() < 1e-12
    left = gf.hooks.torch.integrated_gradients(model, x, n_steps=4, rule="left", outputs="convergence_delta")
    torch.testing.assert_close(left.convergence_delta, -model(x) / 4)


@pytest.mark.parametrize("rule", ["left", "middle", "trapezoid", "gausslegendre"])
def test_integrated_gradients_are_those_of_captum(torch: Any, rule: str) -> None:
    """Captum's weights of the trapezoid rule sum to (n - 1) / n."""
    attr = pytest.importorskip("captum.attr")
    model = next(f for f in frameworks.FRAMEWORKS if f.name == "torch").model().eval()
    x, reference = (torch.from_numpy(a.transpose(0, 2, 1).copy()) for a in (X, GIVEN[0]))
    expected, delta = attr.IntegratedGradients(model).attribute(
        x, reference, target=1, n_steps=11, return_convergence_delta=True,
        method=rule if rule == "gausslegendre" else f"riemann_{rule}",
    )  # fmt: skip
    ours = {"middle": "midpoint"}.get(rule, rule)
    options = {"references": reference[:, None], "n_steps": 11, "rule": ours, "target": 1}
    got = gf.hooks.torch.integrated_gradients(model, x, **options, multiply_by_inputs=True, corrected=False)
    close(got, expected * (11 / 10 if rule == "trapezoid" else 1))
    if rule != "trapezoid":
        found = gf.hooks.torch.integrated_gradients(model, x, **options, outputs="convergence_delta")
        np.testing.assert_allclose(found.convergence_delta, delta, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn_deep_exponential", "cnn_shallow_relu", "deepstarr"])
def test_trained_networks_against_a_loop_over_the_steps(shared_data: Path, torch: Any, name: str) -> None:
    require("h5py")
    architecture, weights = models.load(shared_data, name)
    model = models.torch_model(architecture, weights).eval()
    codes = np.random.default_rng(0).integers(0, 4, (6, architecture.length))
    x = torch.from_numpy(np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1).copy())
    expected = torch.zeros_like(x)
    for k, step in enumerate(torch.linspace(0, 1, 20)):
        at = (step * x).requires_grad_()
        (grad,) = torch.autograd.grad(model(at)[:, 0].sum(), at)
        expected += grad / (38 if k in (0, 19) else 19)
    got = gf.hooks.torch.integrated_gradients(model, x, corrected=False, batch_size=50)
    scale = expected.abs().max()
    assert (got - expected).abs().max() < 1e-5 * scale
    corrected = gf.hooks.torch.integrated_gradients(model, x, batch_size=50)
    assert (corrected - gf.correct(expected, axis=1)).abs().max() < 1e-5 * scale


ERRORS = [
    ("integrated_gradients", {"n_steps": 0}, ValueError, "n_steps must be a positive int; got 0"),
    ("integrated_gradients", {"n_steps": 1}, ValueError, "the trapezoid rule has both ends"),
    ("integrated_gradients", {"rule": "simpson"}, ValueError, "rule must be one of trapezoid"),
    ("integrated_gradients", {"preset": "mine"}, ValueError, "preset must be one of paper, repo"),
    ("integrated_gradients", {"references": "random"}, ValueError, "references must be one of zero"),
    ("integrated_gradients", {"references": 0.5}, TypeError, "references must be an array like X"),
    ("integrated_gradients", {"references": X[:, :3]}, ValueError, r"references have shape \(7, 3, 4\)"),
    ("expected_gradients", {"n_references": -1}, ValueError, "n_references must be a positive int"),
    ("expected_gradients", {"random_state": "a"}, TypeError, "random_state must be an int"),
    ("expected_gradients", {"random_state": -1}, ValueError, r"random_state is -1; it must lie in 0 to 2\*\*64 - 1"),
    ("integrated_gradients", {"outputs": ("delta",)}, ValueError, "outputs must be some of .*, convergence_delta"),
    ("smoothgrad", {"outputs": ("convergence_delta",)}, ValueError, "outputs must be some of"),
    ("integrated_gradients", {"steps": 3}, TypeError, "there is no option 'steps'"),
]


@pytest.mark.parametrize(("method", "options", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_wrong_calls_say_how_to_mend_them(
    framework: Framework, method: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(framework, method, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [*METHODS, "saturation_mutagenesis"])
def test_input_that_is_not_one_hot_is_counted(framework: Framework, method: str) -> None:
    x = X.copy()
    x[2, 3], x[2, 4], x[5, 0], x[6, 1] = [1, 1, 0, 0], [0.5, 0.5, 0, 0], [0, 2, 0, 0], [1, 1, 1, 1]
    x[0, 0], x[0, 1] = 0, 0.25  # unknown letters
    with pytest.raises(ValueError, match=r"4 positions of X are not one-hot \(sequences 2, 5, 6\); each must hold one"):
        call(framework, method, x, batch_size=2)
    if method in ("integrated_gradients", "smoothgrad"):
        assert np.isfinite(call(framework, method, x, soft=True)).all()

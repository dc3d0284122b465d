"""The angle penalty in PyTorch: against its formula in NumPy, where that has no derivative, and in a training loop."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.demo import planted
from tests.frameworks import FRAMEWORKS, SCALE, X, gradient

torch = pytest.importorskip("torch")

from gradcorr_fast.demo.torch import load, one_hot  # noqa: E402

TORCH = next(framework for framework in FRAMEWORKS if framework.name == "torch")
XT = torch.from_numpy(TORCH.lay(X.astype(np.float64)))


def network(head: Any = None) -> Any:
    """The network whose gradient is known by hand, in float64."""
    return TORCH.model(head).double().eval()


def penalty(*args: Any, **options: Any) -> Any:
    return gf.hooks.torch.angle_penalty(*args, **options)


def formula(grad: np.ndarray) -> float:
    """Note S2 as the paper writes it, of gradients (N, L, 4)."""
    angle = np.degrees(np.arcsin(0.5 * grad.sum(-1) / np.sqrt((grad**2).sum(-1))))
    return float(np.mean(np.sqrt((angle**2).sum(-1))))


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        (0, [1, 0, 0]),
        ((-1,), [0, 0, 1]),
        (gf.targets.mean(), [1 / 3] * 3),
        (gf.targets.contrast(2, 1), [0, -1, 1]),
        (lambda output: output[:, 0] + output[:, 1], [1, 1, 0]),
    ],
    ids=["int", "tuple", "mean", "contrast", "function"],
)
def test_the_penalty_is_the_formula_of_the_paper(target: Any, weights: list[float]) -> None:
    expected = formula(sum(w * gradient(k) for k, w in enumerate(weights)))
    np.testing.assert_allclose(penalty(network(), XT, target).item(), expected, rtol=1e-6)


def test_heads_further_inputs_and_positions_are_those_of_the_hooks() -> None:
    model = network(lambda output, scale: {"a": output, "b": torch.sigmoid(output * scale)})
    own = [0, 1, 2, -1, 1, 0, -3]
    grad = np.stack([gradient(k)[n] for n, k in enumerate(own)])
    target = gf.targets.before_activation(0)
    scale = torch.from_numpy(SCALE)
    np.testing.assert_allclose(penalty(model, XT, own, args=(scale,), output="a").item(), formula(grad), rtol=1e-6)
    signs = np.sign(SCALE[:, 0, None, None]) * gradient(0)
    np.testing.assert_allclose(
        penalty(model, XT, target, args=(scale,), output="b").item(), formula(signs), rtol=1e-6
    )  # fmt: skip


@pytest.mark.parametrize("axis", [1, -2, 2, -1])
def test_the_letters_may_lie_on_any_axis_beside_other_channels(axis: int) -> None:
    network_of_letters = network()

    def model(x: Any) -> Any:
        letters, others = x.movedim(axis, 1).split([4, 2], 1)
        return network_of_letters(letters) + 1e9 * others.sum((1, 2))[:, None]

    x = torch.cat([XT, torch.ones(7, 2, 6)], 1).movedim(1, axis)
    got = penalty(model, x, axis=axis, letters=slice(0, 4), n_letters=4)
    np.testing.assert_allclose(got.item(), formula(gradient(0)), rtol=1e-6)


def test_the_derivative_is_that_of_finite_differences() -> None:
    model = network(torch.sigmoid).train()
    model.dropout.p = 0.0
    x = XT[:2]

    def of_weights(w1: Any) -> Any:
        return penalty(lambda x: torch.func.functional_call(model, {"w1": w1}, (x,)), x, target=1)

    assert torch.autograd.gradcheck(of_weights, (model.w1.detach().requires_grad_(),))


ZERO = {
    "no gradient": lambda w: 0 * w,
    "none at some positions": lambda w: w * torch.tensor([0.0, 1, 0, 1, 1, 0])[None],
    "none of some sequences": None,
    "off the simplex": lambda w: w.mean(0, keepdim=True).expand(4, 6),
    "on the simplex": lambda w: w - w.mean(0, keepdim=True),
    "one letter": lambda w: w * torch.eye(4)[:, :1],
}


@pytest.mark.parametrize("make", ZERO.values(), ids=ZERO)
def test_the_derivative_is_finite_where_the_formula_has_none(make: Callable[[Any], Any] | None) -> None:
    w = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = torch.eye(4)[torch.arange(18).reshape(3, 6) % 4].transpose(1, 2)

    def model(x: Any) -> Any:
        if make is None:
            return torch.relu((x * w).sum((1, 2)) * torch.tensor([1.0, -1.0, 1.0]))
        return (x * make(w)).sum((1, 2))

    value = penalty(model, x)
    (pull,) = torch.autograd.grad(value, w)
    assert torch.isfinite(value)
    assert torch.isfinite(pull).all()
    if make is ZERO["no gradient"]:
        assert value == 0
        assert not pull.any()


@pytest.mark.parametrize("scale", [1e-42, 1e-37, 1e-30, 1e-18, 1e30, 1e35])
def test_gradients_of_any_size_have_their_angle_and_a_finite_derivative(scale: float) -> None:
    """1e-42 is a denormal number; below 1e-19 squares vanish, and one over a gradient of 1e-37 nearly overflows."""
    model, x = network().float(), XT.float()
    value = penalty(lambda x: model(x) * scale, x)
    np.testing.assert_allclose(value.item(), formula(gradient(0)), rtol=1e-3 if scale < 1e-40 else 1e-5)
    (pull,) = torch.autograd.grad(value, model.w1)
    assert torch.isfinite(pull).all()
    if scale >= 1e-18:
        (expected,) = torch.autograd.grad(penalty(model, x), model.w1)
        torch.testing.assert_close(pull, expected, rtol=1e-3, atol=1e-3)


def test_a_saturated_sigmoid_does_not_make_the_parameters_nan() -> None:
    """A probability of 1e-35: without a bound, one over its gradient overflows inside the network of the demo."""
    model, x = load(), one_hot(planted.generate(4, seed=1).codes)
    value = penalty(lambda x: torch.sigmoid(model(x) - 82), x)
    value.backward()
    assert value > 100
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_model_in_training_stays_in_training() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv1d(4, 8, 3), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Flatten(),
        torch.nn.Linear(32, 1),
    ).double()  # fmt: skip
    model[0].bias.requires_grad_(False)
    model[3].register_forward_hook(lambda module, args, output: seen.append(module.training))
    seen: list[bool] = []
    first, second = penalty(model, XT), penalty(model, XT)
    assert seen == [True, True]
    assert first != second  # another dropout mask
    assert model[1].num_batches_tracked == 2
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    (first + second).backward()
    assert torch.isfinite(model[0].weight.grad).all()
    assert model[0].bias.grad is None
    assert not XT.requires_grad


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_where_gradients_are_switched_off_the_value_alone_is_computed(mode: str) -> None:
    model = network(lambda output, scale: output * scale)
    with getattr(torch, mode)():
        value = penalty(model, XT.clone(), args=(torch.from_numpy(SCALE).double(),))
    assert not value.requires_grad
    np.testing.assert_allclose(value.item(), formula(gradient(0)), rtol=1e-6)


def test_autocast_does_not_move_the_angles() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        value = penalty(network().float(), XT.float())
    np.testing.assert_allclose(value.item(), formula(gradient(0)), rtol=1e-5)


def test_a_corrected_model_has_no_penalty() -> None:
    model = network().train()
    with gf.hooks.torch.attach(model):
        assert penalty(model, XT) < 1e-12
    assert penalty(model, XT[:0]) == 0


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (network, {"X": X}, TypeError, r"X is a ndarray; a loss needs a tensor"),
        (network, {"X": XT.int()}, TypeError, "pass one-hot as float32"),
        (network, {"axis": 2}, ValueError, "has length 6; for"),
        (network, {"target": 5}, ValueError, r"target 5 does not exist in an output of shape \(7, 3\)"),
        (lambda: network(torch.Tensor.detach), {}, ValueError, "by a differentiable path"),
        (lambda: lambda x: x[:, 0, 0].detach() + network().w1.sum(), {}, ValueError, "by a differentiable path"),
    ],
)
def test_wrong_calls_say_how_to_mend_them(model: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        penalty(model(), **{"X": XT} | options)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Small steps in a loop: threads that wait for each other on a busy machine take ten times as long."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def train(weight: float) -> tuple[float, float, float]:
    """Train a small network on planted motifs; return its loss before and after, and the spread of the angles."""
    torch.manual_seed(0)
    drawn = planted.generate(64, seed=1)
    x, y = one_hot(drawn.codes), torch.from_numpy(drawn.labels).float()
    model = torch.nn.Sequential(
        torch.nn.Conv1d(4, 8, 10), torch.nn.ReLU(), torch.nn.MaxPool1d(27), torch.nn.Flatten(),
        torch.nn.Linear(56, 1), torch.nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.binary_cross_entropy(model(x)[:, 0], y)
        losses.append(loss.item())
        optimizer.zero_grad()
        (loss + weight * penalty(model, x)).backward()
        optimizer.step()
    grad = gf.hooks.torch.saliency(model, x, corrected=False)
    return losses[0], losses[-1], gf.angle_summary(grad, axis=1).std


@pytest.mark.usefixtures("_one_thread")
def test_the_spread_of_the_angles_collapses_in_training_while_the_loss_falls() -> None:
    """The paper's falls from 30 degrees at weights of 1e-6 to below 1 at 1e-3. Four runs take a second."""
    before, after, spread = np.transpose([train(weight) for weight in (0.0, 2e-5, 1e-4, 1e-3)])
    assert (after < 0.5 * before).all()
    assert (np.diff(spread) < 0).all()
    assert spread[0] > 15
    assert spread[3] < 1

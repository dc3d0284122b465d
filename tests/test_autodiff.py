"""Derivatives in PyTorch: twice, finite where there is none, and under every transform."""

from collections.abc import Callable
from typing import Any

import pytest

import gradcorr_fast as gf

torch = pytest.importorskip("torch")

CODES = torch.tensor([[0, 3, 9]])
ONEHOT = torch.nn.functional.one_hot(torch.tensor([[0, 3, 1]]), 4).double().transpose(1, 2)
BACKGROUND = (0.3, 0.2, 0.2, 0.3)
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "correct": lambda g: gf.correct(g, axis=1),
    "correct_background": lambda g: gf.correct(g, axis=1, background=BACKGROUND),
    "correct_letters": lambda g: gf.correct(g, axis=1, letters=slice(0, 3)),
    "simplex_angle": lambda g: gf.simplex_angle(g, axis=1),
    "grad_times_input": lambda g: gf.grad_times_input(g, CODES, axis=1),
    "grad_times_onehot": lambda g: gf.grad_times_input(g, ONEHOT, axis=1, corrected=False),
    "substitution_effects": lambda g: gf.substitution_effects(g, CODES, axis=1),
    "analyze": lambda g: gf.analyze(g, CODES, axis=1)[:3],
}


@pytest.fixture(params=OPERATIONS, name="operation")
def _operation(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return OPERATIONS[request.param]


@pytest.fixture(name="grad")
def _grad() -> Any:
    return torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_first_and_second_derivatives_are_right(operation: Any, grad: Any) -> None:
    grad.requires_grad_()
    assert torch.autograd.gradcheck(operation, (grad,))
    assert torch.autograd.gradgradcheck(operation, (grad,))


@pytest.mark.parametrize("function", [gf.grad_times_input, gf.substitution_effects])
def test_gradient_and_input_are_differentiable_together(function: Any, grad: Any) -> None:
    inputs = grad.requires_grad_(), ONEHOT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda g, x: function(g, x, axis=1), inputs)
    assert torch.autograd.gradgradcheck(lambda g, x: function(g, x, axis=1), inputs)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_that_was_computed_from_the_input_is_differentiated_once(create_graph: bool) -> None:
    """The backward pass once walked from the gradient on into its own history, where the caller's pass walks again."""
    x = ONEHOT.clone().requires_grad_()
    weight = torch.randn(4, 3, dtype=torch.float64)

    def total(product: Any) -> Any:
        (grad,) = torch.autograd.grad(((x * weight).sum((1, 2)) ** 3).sum(), x, create_graph=True)
        return product(grad).sum()

    (got,) = torch.autograd.grad(total(lambda g: gf.grad_times_input(g, x, axis=1)), x, create_graph=create_graph)
    (expected,) = torch.autograd.grad(total(lambda g: ((g - g.mean(1, keepdim=True)) * x).sum(1)), x)
    torch.testing.assert_close(got, expected)


def test_maps_that_do_not_depend_on_the_input_do_not_require_its_gradient(grad: Any) -> None:
    x = ONEHOT.clone().requires_grad_()
    maps = gf.analyze(grad, x, axis=1)
    assert [m.requires_grad for m in maps[:3]] == [False, False, True]
    maps.corrected.numpy()
    (maps.angle.mean() + maps.grad_times_input.sum()).backward()
    torch.testing.assert_close(x.grad, gf.correct(grad, axis=1))


def test_some_of_the_maps_can_be_differentiated(grad: Any) -> None:
    grad.requires_grad_()
    gf.analyze(grad, CODES, axis=1).grad_times_input.sum().backward()
    (expected,) = torch.autograd.grad(gf.grad_times_input(grad, CODES, axis=1).sum(), grad)
    torch.testing.assert_close(grad.grad, expected)


def test_autograd_notices_what_was_overwritten() -> None:
    grad, weight = torch.randn(2, 7, 4), torch.randn(2, 7, 4, requires_grad=True)
    loss = (weight * grad).sum()
    gf.correct(grad, out=grad)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_traced_functions_are_not_baked_in(grad: Any) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(lambda g: gf.correct(g, axis=1))(grad)
    torch.testing.assert_close(traced(2 * grad), gf.correct(2 * grad, axis=1))


def test_negated_views_are_read_right() -> None:
    view = torch.randn(2, 3, 4, dtype=torch.complex64).conj().imag
    assert view.is_neg()
    torch.testing.assert_close(gf.correct(view), gf.correct(view.resolve_neg()))


def test_derivatives_are_finite_where_there_are_none(operation: Any) -> None:
    """At a zero gradient and at 90 degrees the norm has no derivative."""
    grad = torch.zeros(1, 4, 3, dtype=torch.float64)
    grad[..., 1] = 2
    grad.requires_grad_()
    total = sum(result.square().sum() + result.sum() for result in as_tuple(operation(grad)))
    (first,) = torch.autograd.grad(total, grad, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), grad, allow_unused=True)
    assert first.isfinite().all()
    assert second is None or second.isfinite().all()


def test_angle_of_a_zero_gradient_has_zero_derivative() -> None:
    grad = torch.zeros(1, 2, 4, requires_grad=True)
    gf.simplex_angle(grad).sum().backward()
    assert (grad.grad == 0).all()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_without_a_graph_break(operation: Any, grad: Any, backend: str) -> None:
    compiled = torch.compile(operation, fullgraph=True, backend=backend)
    for got, expected in zip(as_tuple(compiled(grad)), as_tuple(operation(grad)), strict=True):
        torch.testing.assert_close(got, expected)


def test_vmap_maps_over_a_new_axis(operation: Any, grad: Any) -> None:
    stacked = torch.stack([grad, 2 * grad, -grad])
    mapped = as_tuple(torch.func.vmap(operation)(stacked))
    for k, got in enumerate(mapped):
        torch.testing.assert_close(got, torch.stack([as_tuple(operation(g))[k] for g in stacked]))


def test_functional_and_forward_mode_derivatives_agree_with_autograd(operation: Any, grad: Any) -> None:
    def first(g: Any) -> Any:
        return as_tuple(operation(g))[0]

    expected = torch.autograd.functional.jacobian(first, grad)
    torch.testing.assert_close(torch.func.jacrev(first)(grad), expected)
    torch.testing.assert_close(torch.func.jacfwd(first)(grad), expected)


def test_batched_cotangents_agree_with_a_loop(operation: Any, grad: Any) -> None:
    """`is_grads_batched` runs the backward pass under vmap."""
    grad.requires_grad_()
    result = as_tuple(operation(grad))[0]
    cotangents = torch.randn(3, *result.shape, dtype=torch.float64)
    (batched,) = torch.autograd.grad(result, grad, cotangents, is_grads_batched=True, retain_graph=True)
    looped = [torch.autograd.grad(result, grad, c, retain_graph=True)[0] for c in cotangents]
    torch.testing.assert_close(batched, torch.stack(looped))


def test_fake_and_meta_tensors_have_the_right_shapes_and_dtypes() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        maps = gf.analyze(torch.randn(2, 4, 7, dtype=torch.bfloat16), torch.zeros(2, 7, dtype=torch.uint8), axis=1)
    assert [(tuple(m.shape), m.dtype) for m in maps[:3]] == [
        ((2, 4, 7), torch.bfloat16),
        ((2, 7), torch.float32),
        ((2, 7), torch.float32),
    ]
    assert gf.correct(torch.empty(2, 7, 4, device="meta")).shape == (2, 7, 4)


def test_results_of_inference_tensors_are_usable() -> None:
    with torch.inference_mode():
        grad = torch.randn(2, 7, 4)
        result = gf.correct(grad)
    torch.testing.assert_close(result.clone(), grad - grad.mean(-1, keepdim=True))


def test_out_cannot_be_differentiated_and_says_so() -> None:
    grad = torch.randn(2, 7, 4, requires_grad=True)
    with pytest.raises(ValueError, match="cannot be differentiated"):
        gf.correct(grad, out=torch.empty(2, 7, 4))
    with torch.no_grad():
        out = torch.empty(2, 7, 4)
        assert gf.correct(grad, out=out) is out


def test_an_angle_penalty_can_be_trained_through() -> None:
    """A regulariser on the angle needs the derivative of the derivative, with the weights as leaves."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 5, padding=2), torch.nn.Softplus(), torch.nn.Flatten())
    x = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 20)), 4).float().transpose(1, 2).requires_grad_()

    def penalty() -> Any:
        (grad,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return gf.simplex_angle(grad, axis=1).square().sum(-1).sqrt().mean()

    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    before = penalty().item()
    for _ in range(30):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert penalty().item() < 0.5 * before

"""What torch.compile makes of the operations: the kernels, as an operator that compilers, autograd and vmap know."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

import gradcorr_fast as gf
from tests.conftest import require_compiler
from tests.emulator.patches import tensors_on_cuda

torch = pytest.importorskip("torch")
if not hasattr(torch.compiler, "is_exporting"):
    pytest.skip("compiled code takes the formula", allow_module_level=True)

from gradcorr_fast.backends.torch import _native, _operator  # noqa: E402

RNG = torch.Generator().manual_seed(0)
CODES = torch.randint(0, 5, (3, 7), dtype=torch.uint8, generator=RNG)
ONEHOT = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 7), generator=RNG), 4).double().transpose(1, 2)
BACKGROUND = (0.3, 0.2, 0.2, 0.3)
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "simplex_angle": lambda g: gf.simplex_angle(g, axis=1),
    "radians": lambda g: gf.simplex_angle(g, axis=1, degrees=False),
    "grad_times_input": lambda g: gf.grad_times_input(g, CODES, axis=1),
    "uncorrected": lambda g: gf.grad_times_input(g, ONEHOT, axis=1, corrected=False),
    "substitution_effects": lambda g: gf.substitution_effects(g, CODES, axis=1),
    "background": lambda g: gf.analyze(g, CODES, axis=1, background=BACKGROUND)[:3],
    "analyze": lambda g: gf.analyze(g, ONEHOT, axis=1)[:3],
    "letters": lambda g: gf.analyze(g, CODES, axis=1, letters=slice(0, 4), n_letters=4)[:2],
}
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "letters before": lambda g: g,
    "letters behind": lambda g: g.transpose(1, 2).contiguous().transpose(1, 2),
    "every second": lambda g: g.repeat_interleave(2, 2)[..., ::2],
    "one for all": lambda g: g[:1].expand(3, 4, 7),
    "sequences last": lambda g: g.movedim(0, -1).contiguous().movedim(-1, 0),
}


@pytest.fixture(name="grad")
def _grad() -> Any:
    return torch.randn(3, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(name="kernels")
def _kernels() -> Iterator[Any]:
    """How often compiled code ran the kernels."""
    torch.compiler.reset()
    with mock.patch.object(_operator, "run_kernels", wraps=_native.run_kernels) as kernels:
        yield kernels


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, fullgraph=True, **{"backend": "aot_eager", **options})


@pytest.mark.parametrize("name", OPERATIONS)
def test_compiled_code_runs_the_kernels(name: str, grad: Any, kernels: Any) -> None:
    function = compiled(OPERATIONS[name])
    with torch.no_grad():
        for got, expected in zip(as_tuple(function(grad)), as_tuple(OPERATIONS[name](grad)), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert kernels.call_count == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_every_layout_and_dtype(layout: str, dtype: Any, grad: Any, kernels: Any) -> None:
    """Compilers rely on the strides that they were told."""
    given = LAYOUTS[layout](grad.to(dtype))
    maps = compiled(lambda g: gf.analyze(g, CODES, axis=1)[:3])(given)
    for got, expected in zip(maps, gf.analyze(given, CODES, axis=1)[:3], strict=True):
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    fields = "corrected", "angle", "grad_times_input"
    torch.library.opcheck(torch.ops.gradcorr_fast.maps.default, (given, CODES, ",".join(fields), 1, True, True, None))


@pytest.mark.parametrize("dynamic", [False, True])
def test_code_of_the_default_compiler(dynamic: bool, kernels: Any) -> None:
    def score(x: Any, weight: Any, codes: Any) -> Any:
        grad = torch.nn.functional.conv1d(x, weight, padding=2).relu() * 2
        maps = gf.analyze(grad, codes, axis=1)
        return maps.angle.abs().mean() + maps.grad_times_input.sum() + gf.correct(grad, axis=1).square().sum()

    function = compiled(score, backend="inductor", dynamic=dynamic)
    weight = torch.randn(4, 4, 5)
    for n in (3, 6):
        arguments = torch.randn(n, 4, 7), weight, CODES[:1].repeat(n, 1)
        torch.testing.assert_close(function(*arguments), score(*arguments), rtol=1e-4, atol=1e-4)
    assert kernels.call_count == 2


@pytest.mark.parametrize("context", [lambda: torch.autocast("cpu", torch.bfloat16), torch.inference_mode])
def test_settings_of_the_caller_change_no_result(context: Any, grad: Any, kernels: Any) -> None:
    """Half precision is for what a network multiplies, not for its gradients."""
    function = compiled(OPERATIONS["analyze"])
    with context():
        found = function(grad)
    for got, expected in zip(found, OPERATIONS["analyze"](grad), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert kernels.call_count == 1


def test_correct_alone_is_left_to_the_compiler(grad: Any, kernels: Any) -> None:
    torch.testing.assert_close(compiled(lambda g: gf.correct(g, axis=1))(grad), gf.correct(grad, axis=1))
    assert not kernels.called


@pytest.mark.parametrize("name", OPERATIONS)
def test_compiled_code_is_differentiated(name: str, grad: Any, kernels: Any) -> None:
    def total(g: Any) -> Any:
        return sum(part.square().sum() for part in as_tuple(OPERATIONS[name](g)))

    grad.requires_grad_()
    (expected,) = torch.autograd.grad(total(grad), grad)
    (got,) = torch.autograd.grad(compiled(total)(grad), grad)
    torch.testing.assert_close(got, expected)
    assert kernels.called


@pytest.mark.parametrize("fields", ["angle", "corrected,angle,grad_times_input", "substitution_effects"])
@pytest.mark.parametrize("x", [CODES, ONEHOT], ids=["codes", "one-hot"])
def test_the_operator_is_differentiable_twice(fields: str, x: Any, grad: Any) -> None:
    given = grad.requires_grad_(), None if fields == "angle" else x.clone().requires_grad_(x.is_floating_point())
    rest = fields, 1, True, True, None
    torch.library.opcheck(torch.ops.gradcorr_fast.maps.default, (*given, *rest))

    def maps(g: Any) -> Any:
        return tuple(torch.ops.gradcorr_fast.maps(g, given[1], *rest))

    assert torch.autograd.gradcheck(maps, given[0])
    assert torch.autograd.gradgradcheck(maps, given[0])


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "vmap": lambda f: torch.func.vmap(lambda g: f(g[None])),
    "vmap over letters behind": lambda f: torch.func.vmap(lambda g: f(g[None]), in_dims=2, out_dims=1),
    "grad": lambda f: torch.func.grad(lambda g: f(g).square().sum()),
    "jvp": lambda f: lambda g: torch.func.jvp(f, (g,), (g.cos(),))[1],
    "vmap of grad": lambda f: torch.func.vmap(torch.func.grad(lambda g: f(g[None]).square().sum())),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_in_compiled_code(name: str, grad: Any) -> None:
    function = TRANSFORMS[name](lambda g: gf.simplex_angle(g, axis=1))
    given = grad.movedim(0, 2).contiguous() if "behind" in name else grad
    torch.compiler.reset()
    torch.testing.assert_close(compiled(function)(given), function(given))


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_exported_needs_nothing_of_ours(strict: bool, grad: Any) -> None:
    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, g: Any) -> Any:
            return gf.analyze(g, CODES, axis=1)[:3]

    program = torch.export.export(Model(), (grad,), strict=strict)
    assert "gradcorr" not in str(program.graph)
    for got, expected in zip(program.module()(grad), Model()(grad), strict=True):
        torch.testing.assert_close(got, expected)


def test_the_operator_launches_on_a_device() -> None:
    require_compiler()
    grad, rest = torch.randn(3, 7, 4), ("corrected,angle,grad_times_input", 2, True, True, None)
    with tensors_on_cuda():
        found = torch.ops.gradcorr_fast.maps(grad, CODES, *rest)
    for got, expected in zip(found, gf.analyze(grad, CODES)[:3], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


# --- project_gradient ---


def test_a_projection_is_one_correction(grad: Any) -> None:
    grad.requires_grad_()
    with mock.patch("gradcorr_fast.ops.correct", wraps=gf.correct) as correct:
        projected = gf.hooks.torch.project_gradient(grad)
        assert torch.equal(projected, grad)
        assert not correct.called
        (found,) = torch.autograd.grad((projected * ONEHOT).sum(), grad)
        assert correct.call_count == 1
    torch.testing.assert_close(found, gf.correct(ONEHOT, axis=1))


def test_a_model_may_write_over_what_is_projected(grad: Any) -> None:
    before = grad.clone()
    grad.requires_grad_()
    (found,) = torch.autograd.grad(gf.hooks.torch.project_gradient(grad).mul_(2).mul(ONEHOT).sum(), grad)
    assert torch.equal(grad.detach(), before)
    torch.testing.assert_close(found, gf.correct(2 * ONEHOT, axis=1))


@pytest.mark.parametrize(
    ("x", "message"),
    [(torch.zeros(3, 4, 7, dtype=torch.long), "x must be one of"), (torch.zeros(3, 7, 4), "pass axis=2")],
)
def test_a_wrong_input_is_refused_before_there_is_a_gradient(x: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        gf.hooks.torch.project_gradient(x)

"""The projection in PyTorch, TensorFlow and JAX under every transform; models come back as they were."""

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast._installing import install_command
from tests.conftest import require
from tests.frameworks import FRAMEWORKS, W1, W2, Framework, X, gradient
from tests.test_dispatch import run_python
from tests.test_saliency import centred, close

TORCH = next(framework for framework in FRAMEWORKS if framework.name == "torch")
XT = TORCH.lay(X)


@pytest.fixture(name="torch")
def _torch() -> Any:
    require("torch")
    import torch

    return torch


@pytest.fixture(name="jax")
def _jax() -> Any:
    require("jax")
    import jax

    return jax


@pytest.fixture(name="tf")
def _tf() -> Any:
    require("tensorflow")
    import tensorflow as tf

    return tf


# --- what is no model, and what is no output ---


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Path("net.pt"), "the model is the path 'net.pt'; load it first: gf.model_files.load_model"),
        (dict, "the model is the class dict; pass an instance of it"),
        (7, "the model is a builtins.int, which cannot be called"),
    ],
)
def test_what_is_no_model_is_told_before_it_is_called(framework: Framework, model: Any, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        framework.hooks.saliency(model, framework.lay(X))


def test_one_sequence_without_an_axis_of_sequences_is_told_how_to_be_a_batch(torch: Any) -> None:
    with pytest.raises(ValueError, match=r"has length 6, .*X has shape \(4, 6\).* pass X\[None\]"):
        gf.hooks.torch.saliency(TORCH.model(), XT[0], n_letters=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.detach().numpy(), "returned a NumPy array, through which no gradient goes"),
        (lambda y: y * 1j, "returned complex numbers"),
        (lambda y: {"heads": {"a": None}}, "returned a builtins.NoneType, not an array"),
        (lambda y: None, "returned a builtins.NoneType, not an array"),
    ],
)
@pytest.mark.parametrize("method", ["saliency", "saturation_mutagenesis"])
def test_outputs_that_have_no_gradient_are_told(torch: Any, change: Any, message: str, method: str) -> None:
    network = TORCH.model().eval()
    with pytest.raises(TypeError, match=message):
        getattr(gf.hooks.torch, method)(lambda x: change(network(x)), XT)


def test_torch_models_without_weights_and_gpus_that_are_not_there_are_told(
    torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="the model has no weights yet, for they are on the meta device"):
        gf.hooks.torch.saliency(TORCH.model().to("meta"), XT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match='device is "cuda", and torch finds no GPU'):
        gf.hooks.torch.saliency(TORCH.model(), XT, device="cuda")


def test_errors_of_a_torch_model_tell_the_shape_that_it_was_given(torch: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 1))
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        gf.hooks.torch.saliency(model, XT)
    assert caught.value.__notes__ == ["This came out of the model, which was given X of shape (7, 4, 6)."]


# --- PyTorch ---


def torch_gradient(torch: Any, model: Any) -> np.ndarray:
    x = torch.from_numpy(XT.copy()).requires_grad_()
    (grad,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    return TORCH.read(grad)


def test_torch_projection_changes_nothing_but_the_gradient(torch: Any) -> None:
    model = TORCH.model().eval()
    projected = torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), model)
    x = torch.randn(7, 4, 6) * 1e-3
    assert torch.equal(gf.hooks.torch.project_gradient(x), x)
    assert torch.equal(projected(x), model(x))
    close(torch_gradient(torch, projected), centred(gradient(0)))


def test_torch_projection_leaves_other_channels_alone(torch: Any) -> None:
    x = torch.zeros(1, 5, 3, requires_grad=True)
    weights = torch.arange(15.0).reshape(1, 5, 3)
    (gf.hooks.torch.project_gradient(x, letters=slice(0, 4), n_letters=4) * weights).sum().backward()
    expected = weights.clone()
    expected[:, :4] -= expected[:, :4].mean(1, keepdim=True)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_torch_projection_compiles_without_a_graph_break(torch: Any, backend: str) -> None:
    torch.compiler.reset()
    model = torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), TORCH.model().eval())
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    close(torch_gradient(torch, compiled), centred(gradient(0)))


def test_torch_projection_under_functional_transforms(torch: Any) -> None:
    project, x = gf.hooks.torch.project_gradient, torch.randn(4, 3, dtype=torch.float64)

    def function(x: Any) -> Any:
        return (project(x, axis=0) ** 3).sum()

    expected = 3 * x**2 - (3 * x**2).mean(0)
    torch.testing.assert_close(torch.func.grad(function)(x), expected)
    stacked = torch.stack([x, 2 * x])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(function))(stacked)[1], 4 * expected)
    tangent = torch.randn(4, 3, dtype=torch.float64)
    _, forward = torch.func.jvp(function, (x,), (tangent,))
    torch.testing.assert_close(forward, (3 * x**2 * (tangent - tangent.mean(0))).sum())


def test_torch_projection_is_differentiated_twice(torch: Any) -> None:
    """An angle penalty on a projected model must see the derivative of the projection, which is itself."""
    project, x = gf.hooks.torch.project_gradient, torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad((project(x) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x)
    g = centred((3 * x.detach() ** 2).transpose(1, 2).numpy())
    expected = centred(2 * g * (6 * x.detach()).transpose(1, 2).numpy())
    close(second.transpose(1, 2), expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # that lengths are fixed in the trace
def test_torch_projection_survives_export_and_jit_trace(torch: Any, tmp_path: Path) -> None:
    model = torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), TORCH.model().eval())
    exported = torch.export.export(model, (torch.from_numpy(XT),)).module()
    close(torch_gradient(torch, exported), centred(gradient(0)))
    traced = torch.jit.trace(model, torch.from_numpy(XT))
    torch.jit.save(traced, tmp_path / "model.pt")
    close(torch_gradient(torch, torch.jit.load(tmp_path / "model.pt")), centred(gradient(0)))


def test_attach_corrects_a_torch_model_until_removed(torch: Any) -> None:
    model = TORCH.model().eval()
    state = copy.deepcopy(model.__dict__)
    with gf.hooks.torch.attach(model) as same:
        assert same is model
        close(torch_gradient(torch, model), centred(gradient(0)))
    close(torch_gradient(torch, model), gradient(0))
    handle = gf.hooks.torch.attach(model)
    close(TORCH.read(gf.hooks.torch.saliency(model, XT, corrected=False)), centred(gradient(0)))
    handle.remove()
    assert model.__dict__.keys() == state.keys()
    assert not model._forward_pre_hooks
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        gf.hooks.torch.attach(lambda x: x)


def test_captum_style_methods_of_others_are_corrected_through_the_projection(torch: Any) -> None:
    """The mean of gradients along a path, as any library computes it: its projection is that of the mean."""
    model = torch.nn.Sequential(gf.hooks.torch.SimplexProjection(), TORCH.model().eval())
    steps = [k / 9 for k in range(10)]
    grads = []
    for step in steps:
        x = torch.from_numpy(XT * np.float32(step)).requires_grad_()
        grads.append(torch.autograd.grad(model(x)[:, 0].sum(), x)[0])
    expected = centred(np.mean([gradient(0, X * np.float32(step)) for step in steps], axis=0))
    close(TORCH.read(torch.stack(grads).mean(0)), expected)


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_torch_is_set_to_the_precision_and_back(
    torch: Any, monkeypatch: pytest.MonkeyPatch, before: str, precision: str
) -> None:
    """The older names of these settings and the newer ones cannot be mixed, and reading one may fail ever after."""
    from gradcorr_fast.hooks.torch._states import set_precision

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    places = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    defaults = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = before
        shown = [place.fp32_precision for place in places]
        with set_precision(precision):
            assert {place.fp32_precision for place in places} == {"tf32" if precision == "tf32" else "ieee"}
        assert [place.fp32_precision for place in places] == shown
    finally:
        for place, default in zip(places, defaults, strict=True):
            place.fp32_precision = default


SETTINGS = """
import torch
cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
places = cuda, cudnn.conv, cudnn.rnn

def read():  # as torch's compiler and others' code do
    with cudnn.flags():
        pass
    older = cuda.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()
    return (*older, *(getattr(place, "fp32_precision", None) for place in places))

torch.cuda.is_available = lambda: True
from gradcorr_fast.hooks.torch._states import set_precision
for matmul in ("highest", "medium"):
    torch.set_float32_matmul_precision(matmul)
    before = read()
    for name in ("float32", "tf32"):
        with set_precision(name):
            assert read()[:2] == (name == "tf32", name == "tf32"), read()
        assert read() == before, (before, read())
print("same")
"""


def test_older_names_of_torch_settings_are_readable_meanwhile_and_afterwards() -> None:
    require("torch")
    assert run_python(SETTINGS).stdout.strip() == "same"


def test_torch_settings_are_not_touched_without_a_gpu() -> None:
    require("torch")
    code = (
        "import numpy as np, torch, gradcorr_fast as gf\n"
        "torch.set_float32_matmul_precision('medium')\n"
        "gf.hooks.torch.saliency(lambda x: x.sum((1, 2)), np.zeros((2, 4, 3), 'float32'))\n"
        "print(torch.get_float32_matmul_precision())"
    )
    assert run_python(code).stdout.strip() == "medium"


def test_torch_results_carry_no_graph_and_own_their_memory(torch: Any) -> None:
    x = torch.from_numpy(XT.copy())
    maps = gf.hooks.torch.saliency(TORCH.model(), x, outputs=("corrected", "grad_times_input", "prediction"))
    assert not any(m.requires_grad for m in (maps.corrected, maps.grad_times_input, maps.prediction))
    assert maps.prediction.untyped_storage().nbytes() == 7 * 4  # not that of the whole output
    constant = gf.hooks.torch.saliency(lambda x: x.sum((1, 2)), XT, corrected=False)
    constant[0] = 5
    np.testing.assert_array_equal(constant[1:], 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_torch_models_of_other_precision(torch: Any, dtype: str) -> None:
    kind = getattr(torch, dtype)
    model, x = TORCH.model().eval().to(kind), torch.from_numpy(XT.copy()).to(kind)
    maps = gf.hooks.torch.saliency(model, x, outputs=("corrected", "angle", "prediction"))
    assert (maps.corrected.dtype, maps.prediction.dtype) == (kind, kind)
    tolerance = {"float16": 0.02, "bfloat16": 0.1, "float64": 1e-6}[dtype]
    np.testing.assert_allclose(TORCH.read(maps.corrected.double()), centred(gradient(0)), atol=tolerance)
    result = gf.hooks.torch.saliency(lambda x: model(x.to(kind)).float(), XT, outputs=("corrected",)).corrected
    np.testing.assert_allclose(TORCH.read(result), centred(gradient(0)), atol=tolerance)


def test_torch_input_is_left_alone(torch: Any) -> None:
    x = torch.from_numpy(XT.copy()).requires_grad_()
    gf.hooks.torch.saliency(TORCH.model(), x)
    assert x.grad is None
    assert x.requires_grad
    plain = torch.from_numpy(XT.copy())
    gf.hooks.torch.saliency(TORCH.model(), plain)
    assert not plain.requires_grad


def test_a_dtype_that_the_torch_model_does_not_take_is_named(torch: Any) -> None:
    with pytest.raises(TypeError, match=r"X is torch.float64 and the model torch.float32; convert one of them"):
        gf.hooks.torch.saliency(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 1)), XT.astype(np.float64))


@pytest.mark.parametrize(
    "last",
    [
        lambda torch: torch.nn.Sigmoid(),
        lambda torch: torch.nn.Softmax(-1),
        lambda torch: torch.nn.Softplus(),
        lambda torch: torch.sigmoid,
        lambda torch: lambda y: torch.sigmoid(y).reshape(-1, 3),
        lambda torch: torch.special.expit,
    ],
)
def test_before_activation_finds_what_went_into_the_last_activation(torch: Any, last: Any) -> None:
    model = TORCH.model(last(torch))
    maps = gf.hooks.torch.saliency(
        model, XT, targets=[gf.targets.before_activation(k) for k in (0, 2)], outputs=("corrected", "prediction")
    )
    for k, target in enumerate((0, 2)):
        close(TORCH.read(maps.corrected)[:, k], centred(gradient(target)))


def test_before_activation_says_when_there_is_none(torch: Any) -> None:
    for head in (None, lambda y: 2 * y.sigmoid()):
        with pytest.raises(ValueError, match="found no activation at the end of the model"):
            gf.hooks.torch.saliency(TORCH.model(head), XT, target=gf.targets.before_activation())
    pair = TORCH.model(lambda y: (y.relu(), y.sigmoid()))
    result = gf.hooks.torch.saliency(pair, XT, output=1, target=gf.targets.before_activation(1))
    close(TORCH.read(result), centred(gradient(1)))
    for head in (lambda y: torch.sigmoid(y)[:, :2], lambda y: torch.sigmoid(y).sum(1, keepdim=True)):
        with pytest.raises(ValueError, match="found no activation"):
            gf.hooks.torch.saliency(TORCH.model(head), XT, target=gf.targets.before_activation())


def test_before_activation_does_not_look_behind_work_in_place(torch: Any) -> None:
    """Its input is overwritten, or its output is no longer that of the activation alone."""

    def add(y: Any) -> Any:
        result = torch.relu(y)
        result += y
        return result

    for head in (torch.nn.ReLU(inplace=True), lambda y: torch.relu(y).mul_(2), add):
        with pytest.raises(ValueError, match=r"in place|found no activation"):
            gf.hooks.torch.saliency(TORCH.model(head), XT, target=gf.targets.before_activation())


def test_before_activation_follows_a_profile_that_is_transposed(torch: Any) -> None:
    model = TORCH.model(lambda y: torch.nn.functional.softplus(torch.stack([y, 2 * y], 1).transpose(1, 2)))
    target = gf.targets.before_activation((1, 1))  # (N, tracks, bins), not contiguous
    close(TORCH.read(gf.hooks.torch.saliency(model, XT, target=target)), centred(2 * gradient(1)))
    named = TORCH.model(lambda y: torch.softmax(input=y, dim=1))
    close(TORCH.read(gf.hooks.torch.saliency(named, XT, target=gf.targets.before_activation(2))), centred(gradient(2)))


def test_a_compiled_torch_model_is_attributed(torch: Any) -> None:
    torch.compiler.reset()
    compiled = torch.compile(TORCH.model(), backend="aot_eager")
    close(TORCH.read(gf.hooks.torch.saliency(compiled, XT)), centred(gradient(0)))


# --- TensorFlow ---


@pytest.mark.parametrize("how", ["eager", "function", "xla"])
def test_tensorflow_projection_changes_nothing_but_the_gradient(tf: Any, how: str) -> None:
    network = next(f for f in FRAMEWORKS if f.name == "tensorflow").model()

    def attribute(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network(gf.hooks.tensorflow.project_gradient(x))
            total = tf.reduce_sum(y[:, 0])
        return y, tape.gradient(total, x)

    wrapped = {"eager": attribute, "function": tf.function(attribute), "xla": tf.function(attribute, jit_compile=True)}
    y, grad = wrapped[how](tf.constant(X))
    close(y, network(tf.constant(X)))
    close(grad, centred(gradient(0)))
    x = tf.constant(np.random.default_rng(0).standard_normal((3, 5, 4)))
    np.testing.assert_array_equal(gf.hooks.tensorflow.project_gradient(x), x)


def test_tensorflow_projection_is_differentiated_twice(tf: Any) -> None:
    x = tf.constant(np.random.default_rng(0).standard_normal((2, 3, 4)))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(gf.hooks.tensorflow.project_gradient(x) ** 3)
        total = tf.reduce_sum(inner.gradient(y, x) ** 2)
    close(outer.gradient(total, x), centred(2 * centred(3 * x.numpy() ** 2) * 6 * x.numpy()))


def test_tensorflow_projection_is_saved_with_a_module(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    network = next(f for f in FRAMEWORKS if f.name == "tensorflow").model()
    module.predict = tf.function(
        lambda x: network(gf.hooks.tensorflow.project_gradient(x)), input_signature=[tf.TensorSpec((None, 6, 4))]
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    close(gf.hooks.tensorflow.saliency(loaded.predict, X, corrected=False), centred(gradient(0)))


@pytest.mark.parametrize("batch_size", [3, 7])
def test_python_branches_of_a_tensorflow_function_become_those_of_its_graph(tf: Any, batch_size: int) -> None:
    network = next(f for f in FRAMEWORKS if f.name == "tensorflow").model()

    def model(x: Any) -> Any:
        if tf.reduce_sum(x) > 0:  # noqa: SIM108  (AutoGraph converts this form)
            scale = 2.0
        else:
            scale = 0.0
        return network(x) * scale

    close(gf.hooks.tensorflow.saliency(model, X, batch_size=batch_size), centred(2 * gradient(0)))


def test_before_activation_needs_a_keras_model(tf: Any, jax: Any) -> None:
    for name in ("tensorflow", "jax"):
        network = next(f for f in FRAMEWORKS if f.name == name).model()
        with pytest.raises(ValueError, match="before_activation needs a Keras model"):
            getattr(gf.hooks, name).saliency(network, X, target=gf.targets.before_activation())


# --- JAX ---


def test_jax_projection_under_every_transform(jax: Any) -> None:
    project = gf.hooks.jax.project_gradient
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((3, 4)), jax.numpy.float32)

    def function(x: Any) -> Any:
        return (gf.hooks.jax.SimplexProjection()(x) ** 3).sum()

    expected = centred(np.asarray(3 * x**2))
    np.testing.assert_array_equal(project(x), x)
    np.testing.assert_array_equal(jax.jit(project)(x), x)
    close(jax.grad(function)(x), expected)
    close(jax.jit(jax.grad(function))(x), expected)
    close(jax.vmap(jax.grad(function))(jax.numpy.stack([x, 2 * x]))[1], 4 * expected)
    close(jax.jacfwd(function)(x), expected)
    second = jax.grad(lambda x: (jax.grad(function)(x) ** 2).sum())(x)
    close(second, centred(2 * expected * np.asarray(6 * x)))


def test_attach_corrects_a_jax_function_until_removed(jax: Any) -> None:
    network = next(f for f in FRAMEWORKS if f.name == "jax").model()
    with gf.hooks.jax.attach(network) as model:
        close(jax.grad(lambda x: model(x)[:, 0].sum())(X), centred(gradient(0)))
    close(jax.grad(lambda x: model(x)[:, 0].sum())(X), gradient(0))


@pytest.mark.parametrize("batch_size", [3, 7])
def test_what_a_jax_function_closes_over_may_change(jax: Any, batch_size: int) -> None:
    """A compiled function keeps the weights it was compiled with; people go on training between two calls."""
    weights = {"scale": 1.0}
    network = next(f for f in FRAMEWORKS if f.name == "jax").model(lambda y: y * weights["scale"])
    close(gf.hooks.jax.saliency(network, X, batch_size=batch_size), centred(gradient(0)))
    weights["scale"] = 2.0
    close(gf.hooks.jax.saliency(network, X, batch_size=batch_size), centred(2 * gradient(0)))


def test_a_jax_pytree_is_compiled_once_and_its_weights_may_change(jax: Any) -> None:
    traced: list[int] = []

    @jax.tree_util.register_pytree_node_class
    class Module:
        def __init__(self, w1: Any, w2: Any, activation: Any) -> None:
            self.w1, self.w2, self.activation = w1, w2, activation

        def __call__(self, x: Any) -> Any:
            traced.append(1)
            return self.activation(jax.numpy.einsum("nla,lah->nh", x, self.w1)) @ self.w2

        def tree_flatten(self) -> Any:
            return (self.w1, self.w2, self.activation), None  # functions among the leaves, as Equinox has them

        @classmethod
        def tree_unflatten(cls, _: Any, leaves: Any) -> Any:
            return cls(*leaves)

    w1, w2 = W1.astype(np.float32), jax.numpy.asarray(W2, jax.numpy.float32)
    close(gf.hooks.jax.saliency(Module(w1, w2, jax.nn.softplus), X), centred(gradient(0)))
    n_traced = len(traced)
    close(gf.hooks.jax.saliency(Module(w1, 2 * w2, jax.nn.softplus), X), centred(2 * gradient(0)))
    assert len(traced) == n_traced
    close(gf.hooks.jax.saliency(Module(w1, w2, jax.nn.softplus), X, target=1), centred(gradient(1)))
    linear = gf.hooks.jax.saliency(Module(w1, w2, lambda y: y), X)
    close(linear[0], centred(np.einsum("h,lah->la", W2[:, 0], W1)))


def test_a_target_function_with_a_state_is_asked_anew_for_every_jax_model(jax: Any) -> None:
    network = next(f for f in FRAMEWORKS if f.name == "jax").model()
    state = {"track": 0}
    for model in (network, jax.jit(network), jax.tree_util.Partial(network)):
        for track in (0, 1):
            state["track"] = track
            got = gf.hooks.jax.saliency(model, X, target=lambda y: y[:, state["track"]], batch_size=4)
            close(got, centred(gradient(track)))


def test_jax_batches_go_to_the_device_that_was_asked_for() -> None:
    require("jax")
    code = (
        "import jax, numpy as np, gradcorr_fast as gf\n"
        "f = jax.jit(lambda x: x.sum((1, 2)))\n"
        "r = gf.hooks.jax.saliency(f, jax.numpy.zeros((2, 3, 4)), device=jax.devices()[1])\n"
        "print(r.devices() == {jax.devices()[1]})"
    )
    assert run_python(code, XLA_FLAGS="--xla_force_host_platform_device_count=2").stdout.strip() == "True"


def test_long_sequences_come_in_small_batches(torch: Any) -> None:
    sizes: list[int] = []

    def model(x: Any) -> Any:
        sizes.append(len(x))
        return x.sum((1, 2))

    gf.hooks.torch.saliency(model, np.zeros((5, 4, 1 << 14), np.float32))
    assert sizes == [2, 2, 1]


def test_a_jitted_jax_function_is_compiled_once(jax: Any) -> None:
    traced: list[int] = []
    network = next(f for f in FRAMEWORKS if f.name == "jax").model(lambda y: traced.append(1) or y)
    jitted = jax.jit(network)
    gf.hooks.jax.saliency(jitted, X)
    n_traced = len(traced)
    gf.hooks.jax.saliency(jitted, X)
    assert len(traced) == n_traced


def test_jax_does_not_cut_float64_silently() -> None:
    require("jax")
    code = (
        "import numpy as np, gradcorr_fast as gf\n"
        "try: gf.hooks.jax.saliency(lambda x: x.sum((1, 2)), np.zeros((2, 3, 4)))\n"
        "except TypeError as error: print(error)"
    )
    assert "set jax_enable_x64" in run_python(code).stdout


# --- what is not installed ---


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax", "keras"])
def test_a_framework_that_is_missing_is_named_with_its_extra(name: str) -> None:
    package = {"torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX", "keras": "Keras"}[name]
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "import gradcorr_fast as gf\n"
        f"try: gf.hooks.{name}\n"
        "except gf.MissingBackendError as error: print(error)"
    )
    extra = "tensorflow" if name == "keras" else name
    done = run_python(code)
    assert (
        done.stdout.strip() == f"{package} is not installed; gradcorr-fast[{extra}] brings it: {install_command(extra)}"
    )


def test_hooks_import_no_framework_until_touched() -> None:
    heavy = "torch", "tensorflow", "jax", "keras", "numba"
    code = f"import sys, gradcorr_fast as gf; gf.hooks; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'mxnet'"):
        gf.hooks.mxnet  # noqa: B018


def test_saliency_takes_the_same_arguments_everywhere() -> None:
    signatures = set()
    for name in ("torch", "tensorflow", "jax"):
        require(name)
        parameters = inspect.signature(getattr(gf.hooks, name).saliency).parameters
        signatures.add(tuple((k, str(p.default)) for k, p in parameters.items() if k != "axis"))
    assert len(signatures) == 1

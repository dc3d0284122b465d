"""Types of arrays: what is imported, what is refused, and in which words."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf

ROOT = Path(__file__).parents[1]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip


def test_importing_imports_no_compiler_and_no_other_array_library() -> None:
    heavy = "numba", "cupy", "torch", "tensorflow", "jax", "dask"
    done = run_python(f"import sys, gradcorr_fast; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_numpy_arrays_import_no_other_array_library() -> None:
    code = (
        "import sys, numpy as np, gradcorr_fast as gf; gf.correct(np.ones((2, 3, 4))); gf.info();"
        "print([m for m in ('cupy', 'torch', 'tensorflow', 'jax', 'dask') if m in sys.modules])"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_the_kernels_cannot_be_imported_twice() -> None:
    """In a checkout `kernels` would be a second copy of `gradcorr_fast.kernels` with a state of its own."""
    done = run_python("import kernels.reference")
    assert done.returncode != 0
    assert "import gradcorr_fast instead" in done.stderr or "No module named" in done.stderr


def test_subclasses_are_taken_as_arrays() -> None:
    class Named(np.ndarray):
        pass

    grad = np.ones((2, 3, 4)).view(Named)
    assert type(gf.correct(grad)) is np.ndarray


@pytest.mark.parametrize("grad", [[[1.0, 2, 3, 4]], None, 3.0, "ACGT"])
def test_what_is_no_array_is_named(grad: object) -> None:
    with pytest.raises(TypeError, match="pass an array of one of: numpy"):
        gf.correct(grad)


def test_mixed_libraries_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="grad is a torch array and x a numpy array"):
        gf.grad_times_input(torch.ones(2, 3, 4), np.zeros((2, 3), int))
    with pytest.raises(TypeError, match="grad is a numpy array and out for corrected a torch array"):
        gf.correct(np.ones((2, 3, 4)), out=torch.ones(2, 3, 4))


def test_every_field_of_out_must_be_of_the_library() -> None:
    torch = pytest.importorskip("torch")
    out = gf.AttributionMaps(np.empty((2, 3, 4)), torch.empty(2, 3, dtype=torch.float64))
    with pytest.raises(TypeError, match="out for angle a torch array"):
        gf.analyze(np.ones((2, 3, 4)), out=out)
    with pytest.raises(TypeError, match=r"out for angle is a builtins\.list"):
        gf.analyze(np.ones((2, 3, 4)), out=gf.AttributionMaps(angle=[[0.0] * 3] * 2))


def test_a_module_is_no_tensor() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="pass a tensor"):
        gf.correct(torch.nn.Linear(2, 2))


def test_mixed_devices_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="grad is on cpu and another argument on meta"):
        gf.grad_times_input(torch.ones(2, 3, 4), torch.zeros(2, 3, dtype=torch.uint8, device="meta"))


def test_sparse_tensors_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="to_dense"):
        gf.correct(torch.ones(2, 3, 4).to_sparse())


def test_masked_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match=r"grad.filled\(0\)"):
        gf.correct(np.ma.masked_invalid(np.ones((2, 3, 4))))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64", "object", "longdouble", "U4"])
def test_gradients_that_are_not_real_floats_are_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match="grad must be one of float16, bfloat16, float32, float64; got "):
        gf.correct(np.ones((2, 3, 4)).astype(dtype))


@pytest.mark.parametrize(
    ("shape", "axis", "message"),
    [
        ((2, 4, 2000), -1, r"axis -1 has length 2000; for \(N, 4, L\) arrays pass axis=1"),
        ((2, 4, 20), -1, r"axis -1 has length 20; for \(N, 4, L\) arrays pass axis=1"),
        ((2, 2000, 4), 1, r"axis 1 has length 2000; for letters on the axis of length 4 pass axis=2"),
        ((2, 3, 2000), -1, "axis -1 has length 2000"),
        ((2, 3, 0), -1, "axis -1 has length 0"),
        ((2, 4, 0), -1, "axis -1 has length 0"),
        ((2, 3, 4), 3, "axis 3 does not exist in shape"),
        ((), -1, "axis -1 does not exist"),
    ],
)
def test_a_wrong_axis_does_not_pass(shape: tuple[int, ...], axis: int, message: str) -> None:
    for operation in (gf.correct, gf.simplex_angle, gf.analyze, gf.angle_summary):
        with pytest.raises(ValueError, match=message):
            operation(np.ones(shape), axis=axis)


def test_n_letters_overrides_the_suspicion() -> None:
    assert gf.correct(np.ones((2, 4, 20)), n_letters=20).shape == (2, 4, 20)
    assert gf.correct(np.ones((2, 3, 40)), n_letters=40).shape == (2, 3, 40)
    with pytest.raises(ValueError, match="not n_letters=4"):
        gf.correct(np.ones((2, 3, 20)), n_letters=4)
    with pytest.raises(ValueError, match="length 0"):
        gf.correct(np.ones((2, 3, 0)), n_letters=0)
    assert gf.grad_times_input(np.arange(300.0)[None], np.array([299]), n_letters=300) == 149.5


def test_four_sequences_are_not_taken_for_letters() -> None:
    assert gf.correct(np.ones((4, 20))).shape == (4, 20)


@pytest.mark.parametrize("axis", [1.0, True, None])
def test_an_axis_that_is_no_integer_is_refused(axis: object) -> None:
    with pytest.raises(TypeError, match="axis must be an int"):
        gf.correct(np.ones((2, 3, 4)), axis=axis)


def test_x_that_does_not_match_is_refused() -> None:
    grad = np.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"one-hot of shape \(2, 3, 4\) or codes of shape \(2, 3\)"):
        gf.grad_times_input(grad, np.ones((2, 4, 3)))
    with pytest.raises(TypeError, match="codes must be integers"):
        gf.grad_times_input(grad, np.ones((2, 3)))
    with pytest.raises(TypeError, match="one-hot of a real dtype"):
        gf.grad_times_input(grad, np.ones((2, 3, 4), complex))
    with pytest.raises(TypeError, match="x is None"):
        gf.grad_times_input(grad, None)
    with pytest.raises(TypeError, match="x is None"):
        gf.analyze(grad, outputs=["grad_times_input"])
    with pytest.raises(ValueError, match="outputs must be some of corrected, angle, grad_times_input"):
        gf.analyze(grad, outputs=["angles"])


@pytest.mark.parametrize(
    ("background", "message"),
    [
        ((0.3, 0.3, 0.3, 0.3), "sums to 1.2, not 1"),
        ((0.5, 0.5), "has 2 numbers for 4 letters"),
        (0.25, "must be 4 numbers"),
        ("0.25", "must be 4 numbers"),
        ((0.25, 0.25, 0.25, float("nan")), "sums to nan"),
    ],
)
def test_a_background_that_does_not_fit_is_refused(background: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        gf.correct(np.ones((2, 3, 4)), background=background)


def test_letters_must_be_a_slice() -> None:
    with pytest.raises(TypeError, match="letters must be a slice"):
        gf.correct(np.ones((2, 3, 6)), letters=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="must step forward"):
        gf.correct(np.ones((2, 3, 6)), letters=slice(3, None, -1))
    with pytest.raises(ValueError, match="has length 0"):
        gf.correct(np.ones((2, 3, 0)), letters=slice(0, 4))
    with pytest.raises(TypeError, match="axis must be an int"):
        gf.correct(np.ones((2, 3, 6)), letters=slice(0, 4), axis=None)

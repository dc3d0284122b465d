"""Warnings point at the line that called the library, whatever lies between."""

import ast
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast._warn import warn

from .frameworks import Framework

SOURCES = sorted(Path(gf.__file__).parent.rglob("*.py"))
X = np.eye(4, dtype=np.float32)[np.arange(100).reshape(2, 50) % 4]

KERAS_ON_JAX = """
import warnings
import keras
import numpy as np
import gradcorr_fast as gf

layers = [keras.layers.Flatten(), keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(1e4))]
model = keras.Sequential([keras.Input((50, 4)), *layers, keras.layers.Activation("sigmoid")])
x = np.eye(4, dtype=np.float32)[np.arange(100).reshape(2, 50) % 4]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    gf.hooks.tensorflow.saliency(model, x)
print([(w.filename, w.lineno) for w in caught if "exactly 0 or 1" in str(w.message)])
"""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(SOURCES[0].parent)))
def test_no_file_counts_frames(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [c for c in calls if any(keyword.arg == "stacklevel" for keyword in c.keywords)]
    assert not [c for c in calls if ast.unparse(c.func) == "warnings.warn"]


def test_a_warning_through_a_hook_points_at_its_call(framework: Framework) -> None:
    def model(x: Any) -> Any:
        return network(framework.hooks.project_gradient(x))

    network = framework.model()
    if framework.name == "torch":
        network.eval()
    x = np.concatenate([framework.lay(X[:, :6])] * 8)
    line = sys._getframe().f_lineno + 2
    with pytest.warns(UserWarning, match="centred already") as caught:
        framework.hooks.saliency(model, x, outputs=("angle",))
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]


def test_keras_on_jax_through_the_hooks_of_tensorflow_points_at_its_call(tmp_path: Path) -> None:
    """The door of TensorFlow hands such models on to that of JAX; frames counted by hand ended inside the library."""
    pytest.importorskip("keras")
    pytest.importorskip("jax")
    script = tmp_path / "script.py"
    script.write_text(KERAS_ON_JAX)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    line = KERAS_ON_JAX.splitlines().index("    gf.hooks.tensorflow.saliency(model, x)") + 1
    assert done.stdout.splitlines()[-1:] == [str([(str(script), line)])], done.stderr


@pytest.mark.parametrize(
    "call",
    [
        lambda: gf.metrics.auroc(np.ones((1, 3), np.float32), np.ones((1, 3), bool)),
        lambda: gf.metrics.interpretability(np.ones((1, 2), np.float32), np.full((1, 2, 4), 0.25, np.float32)),
        lambda: gf.sequences.shuffle(gf.sequences.encode(["ACACACACAC"]), 20, "dinucleotide"),
    ],
    ids=["auroc", "interpretability", "shuffle"],
)
def test_warnings_of_arrays_point_at_their_call(call: Any) -> None:
    with pytest.warns((RuntimeWarning, UserWarning)) as caught:
        call()
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, call.__code__.co_firstlineno)]


def test_a_summit_outside_of_its_region_points_at_the_reader(tmp_path: Path) -> None:
    scan = pytest.importorskip("gradcorr_fast.scan.inputs.regions")
    peaks = tmp_path / "peaks.narrowPeak"
    peaks.write_text("chr1\t10\t20\t.\t0\t.\t0\t0\t0\t50\n")
    line = sys._getframe().f_lineno + 2
    with pytest.warns(UserWarning, match="summits of 1 regions lie outside") as caught:
        scan.read_regions(peaks)
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]


def test_a_thread_without_a_line_of_the_user_warns_all_the_same() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn, args=("from a thread", RuntimeWarning))
        thread.start()
        thread.join()
    assert [(str(w.message), w.category, w.filename) for w in caught] == [
        ("from a thread", RuntimeWarning, threading.__file__)
    ]


def test_the_filter_of_a_line_tells_a_warning_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        [warn("the same") for _ in range(3)]
    assert len(caught) == 1

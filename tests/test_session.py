"""Sessions: codes in, values and gradients at chosen positions out, as the attribution methods have them."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.backends import find_backend
from gradcorr_fast.hooks._ready import Shapes
from gradcorr_fast.hooks._session import open_session
from tests.frameworks import LENGTH, Framework, gradient, outputs

RNG = np.random.default_rng(1)
CODES = RNG.integers(0, 5, (7, LENGTH)).astype(np.uint8)
CODES[CODES == 4] = 255
ROWS, POSITIONS = np.array([0, 0, 3, 6]), np.array([1, 5, 2, 0])
X = gf.sequences.one_hot(CODES)


@pytest.mark.parametrize("is_on_host", [True, False])
def test_values_and_columns_are_those_of_the_model(
    framework: Framework, is_on_host: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off the host, codes are brought to the device and made one-hot there."""
    backend = find_backend(x=framework.array(X))
    monkeypatch.setattr(backend, "is_on_host", lambda array: is_on_host)
    options: Any = {"axis": framework.axis, "targets": [0, 2], "batch_size": 7}
    with open_session(framework.model(), framework.name, length=LENGTH, **options) as session:
        values, columns = session.columns(CODES, ROWS, POSITIONS)
        np.testing.assert_array_equal(session.values(CODES), values)
    np.testing.assert_allclose(values, outputs(X)[:, [0, 2]], rtol=1e-5, atol=1e-5)
    for found, target in zip(columns, (0, 2), strict=True):
        np.testing.assert_allclose(found, gradient(target, X)[ROWS, POSITIONS], rtol=1e-5, atol=1e-5)


def test_maps_are_the_gradients_of_the_hooks(framework: Framework) -> None:
    options: Any = {"axis": framework.axis, "rc": True}
    with open_session(framework.model(), framework.name, length=LENGTH, targets=[0, 2], **options) as session:
        maps, values = session.maps(CODES, session.method("saliency", {})).values()
        with pytest.raises(TypeError, match="there is no option 'n_steps' of saliency"):
            session.method("saliency", {"n_steps": 3})
    x, outputs = framework.array(framework.lay(X)), ["corrected", "prediction"]
    wanted = framework.hooks.saliency(framework.model(), x, targets=[0, 2], outputs=outputs, **options)
    corrected = gf.correct(np.moveaxis(maps, -2, -1) if framework.axis == 1 else maps)
    np.testing.assert_allclose(corrected, framework.read(wanted.corrected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values, np.asarray(wanted.prediction), rtol=1e-5, atol=1e-5)


def test_columns_are_means_over_strands_and_shifts(framework: Framework) -> None:
    options: Any = {"axis": framework.axis, "rc": True, "shifts": (0, 2, -1)}
    with open_session(framework.model(), framework.name, length=LENGTH, targets=[1], **options) as session:
        _, columns = session.columns(CODES, ROWS, POSITIONS)
    x = framework.array(framework.lay(X))
    whole = framework.read(framework.hooks.saliency(framework.model(), x, target=1, corrected=False, **options))
    np.testing.assert_allclose(columns[0], whole[ROWS, POSITIONS], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "n", "size", "wanted"),
    [("any", 20, 8, [8, 8, 4]), ("any", 3, 8, [3]), ("few", 20, 8, [8, 8, 8]), ("few", 3, 8, [4]), ("few", 1, 8, [2]),
     ("one", 3, 8, [8])],
)  # fmt: skip
def test_batches_are_filled_to_sizes_that_the_model_takes(shapes: str, n: int, size: int, wanted: list[int]) -> None:
    with open_session(_sum, "torch", length=LENGTH, targets=[0], batch_size=size) as session:
        session.shapes = Shapes(shapes)
        parts = list(session.batches.cut(slice(0, n)))
        assert [session.filled_size(part, n) for part in parts] == wanted
        halves = [slice(part.stop - 1, part.stop) for part in parts]  # what is left of a batch after a failure
        assert [session.filled_size(part, n) for part in halves] == wanted


@pytest.mark.parametrize(
    ("length", "size"), [(20, 1024), (64, 512), (200, 163), (600, 54), (2048, 16), (10_000, 3), (200_000, 1)]
)
def test_automatic_batches_have_so_many_positions(length: int, size: int) -> None:
    """At 64 bp 128 rows took 2.2 times as long as 1,024, and at 2 kb what they made did not fit in any cache."""
    with open_session(_sum, "torch", length=length, targets=[0], batch_size="auto") as session:
        assert session.batch_size == size


def _sum(x: Any) -> Any:
    return x.sum(2)

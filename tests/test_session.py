"""Sessions: codes in, values and gradients at chosen positions out, as the attribution methods have them."""

from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.backends import find_backend
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
        maps, values = session.maps(CODES, session.method("saliency", {}))
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

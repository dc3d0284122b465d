"""Evaluation of maps against planted motifs, equal to formulas written out and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

import gradcorr_fast as gf
from gradcorr_fast.paper import evaluation, models, synthetic
from tests.conftest import require

DATA = synthetic.generate(300)
ROWS = evaluation.positives(DATA, n_sequences=12)
MODEL = models.build("cnn-deep-exp", seed=3).eval()


def own_gradient(codes: np.ndarray) -> np.ndarray:
    """The gradient of the probability by autograd alone, (N, L, 4)."""
    x = torch.eye(4)[torch.from_numpy(codes).long()].transpose(1, 2).requires_grad_()
    MODEL(x).sum().backward()
    assert x.grad is not None
    return x.grad.transpose(1, 2).numpy()


@pytest.fixture(scope="module")
def found() -> evaluation.Evaluation:
    return evaluation.evaluate(MODEL, DATA, n_sequences=12)


def test_positives_are_the_first_of_their_part_in_its_order() -> None:
    expected = [row for row in DATA.split.test if row < 150][:12]
    assert ROWS.tolist() == expected


@pytest.mark.parametrize("when", ["before", "after"])
def test_agreement_equals_the_papers_definitions(found: evaluation.Evaluation, when: str) -> None:
    grad = own_gradient(DATA.codes[ROWS]).astype(np.float64)
    grad = grad - grad.mean(-1, keepdims=True) if when == "after" else grad
    truth = DATA.ppm[ROWS].astype(np.float64)
    observed = np.take_along_axis(grad, DATA.codes[ROWS][..., None].astype(int), -1)[..., 0]
    information = 2 + (truth * np.log2(np.maximum(truth, 1e-10))).sum(-1)
    expected = []
    for g, t, scores, bits in zip(grad, truth - 0.25, observed, information, strict=True):
        counted = (bits > 0.1) | (bits <= bits.min() + 1e-9)
        precision, recall, _ = precision_recall_curve((bits > 0.1)[counted], scores[counted])
        cosine = (g * t).sum() / np.sqrt((g**2).sum() * (t**2).sum())
        expected.append((cosine, roc_auc_score((bits > 0.1)[counted], scores[counted]), auc(recall, precision)))
    np.testing.assert_allclose(np.transpose(getattr(found, when)), expected, atol=2e-5)


def test_angles_are_those_of_the_uncorrected_map(found: evaluation.Evaluation) -> None:
    grad = own_gradient(DATA.codes[ROWS]).astype(np.float64)
    angle = np.degrees(np.arcsin(grad.sum(-1) / 2 / np.linalg.norm(grad, axis=-1)))
    np.testing.assert_allclose(found.angles.fractions[:, 0], (np.abs(angle) > 30).mean(-1), atol=1 / 200)
    assert found.angles.std == pytest.approx(angle.std(), rel=1e-4)


def test_a_positive_cosine_grows_by_what_was_removed_and_a_negative_one_falls() -> None:
    grad, codes, ppm = own_gradient(DATA.codes[ROWS]), DATA.codes[ROWS], DATA.ppm[ROWS]
    found = evaluation.measure(np.concatenate([grad, -grad]), np.tile(codes, (2, 1)), np.tile(ppm, (2, 1, 1)))
    centred = grad - grad.mean(-1, keepdims=True)
    ratio = np.linalg.norm(grad, axis=(1, 2)) / np.linalg.norm(centred, axis=(1, 2))
    np.testing.assert_allclose(found.after.cosine / found.before.cosine, np.tile(ratio, 2), rtol=1e-4)
    assert (found.before.cosine > 0).any()
    assert (found.before.cosine < 0).any()


@pytest.mark.parametrize("method", evaluation.METHODS)
def test_keras_and_pytorch_models_have_the_same_maps(method: str) -> None:
    require("keras")
    keras_model = models.build("cnn-deep-exp", "keras", seed=3)
    maps = [evaluation.attribute(each, DATA.codes[ROWS[:3]], method=method) for each in (MODEL, keras_model)]
    assert maps[0].shape == (3, 200, 4)
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-5 * np.abs(maps[0]).max())


def test_maps_before_the_sigmoid_are_larger_by_a_factor_for_each_sequence() -> None:
    codes = DATA.codes[ROWS]
    before, after = (evaluation.attribute(MODEL, codes, target=t) for t in (gf.targets.before_activation(), 0))
    factors = (before * after).sum((1, 2)) / (before**2).sum((1, 2))
    np.testing.assert_allclose(after, factors[:, None, None] * before, atol=1e-5 * np.abs(after).max())
    assert ((factors > 0) & (factors <= 0.25)).all()


def test_presets_differ_where_the_paper_and_its_scripts_do() -> None:
    maps = [
        evaluation.attribute(MODEL, DATA.codes[ROWS[:2]], method="integrated_gradients", preset=preset)
        for preset in ("paper", "repo")
    ]
    assert np.abs(maps[0] - maps[1]).max() > 1e-3 * np.abs(maps[0]).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"method": "deeplift"}, "method must be one of saliency"), ({"part": "valid"}, "no sequence of the valid part")],
)
def test_what_cannot_be_evaluated_is_said(options: dict[str, str], message: str) -> None:
    negative = np.arange(150, 300)
    data = synthetic.Dataset(DATA.codes, DATA.y, DATA.split._replace(valid=negative), DATA.ppm)
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(MODEL, data, **options)


def test_data_without_ground_truth_is_refused() -> None:
    data = synthetic.Dataset(DATA.codes, DATA.y, DATA.split)
    with pytest.raises(ValueError, match="no ground truth"):
        evaluation.evaluate(MODEL, data)

"""The formulas people use today, each cited: a second opinion in the tests, the opponents in the benchmarks.

Layouts: (N, L, 4) and (N, 4, L). Those that `gradcorr-fast bench` measures against live in `gradcorr_fast.bench`.
"""

from importlib import import_module
from typing import Any

import numpy as np

from gradcorr_fast.bench.libraries.numpy import (
    geomath_attribution_correction,
    geomath_calculate_angles,
    geomath_count_large_angles,
    geomath_grad_times_input,
    geomath_standard_work,
)

__all__ = [
    "geomath_attribution_correction",
    "geomath_calculate_angles",
    "geomath_count_large_angles",
    "geomath_grad_times_input",
    "geomath_standard_work",
]

OF_FRAMEWORKS = {
    "torch_correct": "torch",
    "torch_simplex_angle": "torch",
    "torch_grad_times_input": "torch",
    "torch_standard_work": "torch",
    "jax_standard_work": "jax",
    "tf_standard_work": "tensorflow",
}
"""What loads its framework when it is first touched."""


def __getattr__(name: str) -> Any:
    if name not in OF_FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gradcorr_fast.bench.libraries.{OF_FRAMEWORKS[name]}"), name.partition("_")[2])


# --- scikit-learn, in a Python loop as in gradient_correction/metrics.py of the same repository ---


def sklearn_auroc_aupr(scores: Any, labels: Any) -> tuple[Any, Any]:
    """AUROC and AUPR of each row of (N, L): `interpretability_performance` without its label rule."""
    from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

    auroc, aupr = np.empty(len(scores)), np.empty(len(scores))
    for k, (row, truth) in enumerate(zip(scores, labels, strict=True)):
        auroc[k] = roc_auc_score(truth, row)
        precision, recall, _ = precision_recall_curve(truth, row)
        aupr[k] = auc(recall, precision)
    return auroc, aupr


def sklearn_interpretability(scores: Any, ppm: Any, threshold: float = 0.1) -> tuple[Any, Any]:
    """AUROC and AUPR of each row of (N, L) against (N, L, 4), with the paper's label rule.

    Differs from ours: 1e-10 inside the logarithm, which moves the information by at most 6e-10 bits.
    """
    information = 2 + np.sum(ppm * np.log2(ppm + 1e-10), axis=-1)
    found = []
    for row, bits in zip(scores, information, strict=True):
        kept = (bits > threshold) | (bits == np.min(bits))
        found.append(sklearn_auroc_aupr(row[None, kept], (bits > threshold)[None, kept]))
    auroc, aupr = np.array(found).reshape(-1, 2).T
    return auroc, aupr


def paper_cosine(scores: Any, ppm: Any) -> Any:
    """Cosine of each map (N, L, 4) with the centred ground truth. NaN at zero maps, and squares over- and underflow."""
    truth = ppm - 0.25
    lengths = np.sqrt(np.sum(scores**2, axis=(1, 2)) * np.sum(truth**2, axis=(1, 2)))
    return np.sum(scores * truth, axis=(1, 2)) / lengths


# --- NumPy, packages that correct on the host ---


def grelu_correct_grad(attributions: Any) -> Any:
    """Centre (N, 4, L) in place: github.com/Genentech/gReLU, `interpret.score.get_attributions(correct_grad=True)`.

    The same definition as ours, applied to NumPy arrays after they have been copied from the device.
    """
    attributions -= attributions.mean(1, keepdims=True)
    return attributions


def crested_simplex_correction(scores: Any) -> Any:
    """Centre (N, ..., L, 4): github.com/aertslab/CREsted, `crested.tl.contribution_scores(simplex_correction=True)`.

    The same definition as ours, applied to NumPy arrays on the host, in CREsted to float64.
    """
    return scores - scores.mean(axis=-1, keepdims=True)


# --- TensorFlow, the authors of the papers: gradient_correction/explain.py of the same repository ---


def authors_gradient(model: Any, column: int = 0) -> Any:
    """The traced gradient of `saliency_map`, of one output of a Keras model."""
    import tensorflow as tf

    @tf.function
    def gradient(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x)[:, column]
        return tape.gradient(outputs, x)

    return gradient


def authors_saliency(gradient: Any, x: Any, batch_size: int = 128) -> Any:
    """`Explainer.saliency_maps`: batches of a tf.data.Dataset."""
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(x).batch(batch_size)
    return np.concatenate([gradient(batch) for batch in batches], axis=0)


def authors_smoothgrad(gradient: Any, x: Any, n_samples: int = 50, sd: float = 0.1) -> Any:
    """`Explainer.smoothgrad`: all samples of one sequence at a time."""
    import tensorflow as tf

    def one(batch: Any) -> Any:
        _, length, n_letters = batch.shape
        noisy = tf.tile(batch, (n_samples, 1, 1)) + tf.random.normal((n_samples, length, n_letters), 0.0, sd)
        return tf.reduce_mean(gradient(noisy), axis=0, keepdims=True)

    batches = tf.data.Dataset.from_tensor_slices(x).batch(1)
    return np.concatenate([one(batch) for batch in batches], axis=0)


def authors_expected_gradients(gradient: Any, x: Any, n_references: int = 1, n_steps: int = 25) -> Any:
    """`Explainer.expected_integrated_grad`; `integrated_grad` has one reference. All steps of a path at a time."""
    import tensorflow as tf

    def path(row: Any, baseline: Any) -> Any:
        steps = tf.linspace(0.0, 1.0, n_steps + 1)[:, tf.newaxis, tf.newaxis]
        grads = gradient(baseline + steps * (row - baseline))
        return tf.math.reduce_mean((grads[:-1] + grads[1:]) / tf.constant(2.0), axis=0)

    rng, found = np.random.default_rng(0), []
    for row in x:
        row = np.expand_dims(row, axis=0)
        shuffles = [row[:, rng.permutation(row.shape[1])] for _ in range(n_references)]
        found.append(np.mean(np.array([path(row, baseline) for baseline in shuffles]), axis=0))
    return np.array(found)

"""The formulas people use today, each cited: a second opinion in the tests, the opponents in the benchmarks.

Layouts: (N, L, 4) and (N, 4, L). A framework is imported inside the function that needs it.
"""

from typing import Any

import numpy as np

# --- NumPy, the authors of the papers: github.com/p-koo/GradientCorrection, gradient_correction/geomath.py ---


def geomath_attribution_correction(scores: Any) -> Any:
    """Centre (N, L, 4) over axis 2: `attribution_correction`.

    The same definition as ours; NumPy's mean adds the letters in an order of its own.
    """
    return scores - np.mean(scores, axis=2, keepdims=True)


def geomath_calculate_angles(scores: Any) -> Any:
    """Signed angle in degrees of (N, L, 4): `calculate_angles`.

    Differs from ours: pi is 3.1416, so angles are 2.3e-6 (relative) low; NaN at zero gradients; arcsin loses half the
    digits near 90 degrees and gives NaN where rounding takes the sine above 1; the squares over- and underflow.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        norm = np.sqrt(np.sum(np.square(scores), axis=-1))
        sine = 0.5 * np.sum(scores, axis=-1) / norm
        return np.arcsin(sine) * (180 / 3.1416)


def geomath_grad_times_input(corrected: Any, one_hot: Any) -> Any:
    """Corrected gradient (N, L, 4) at the observed letter, as the analysis scripts of the same repository take it."""
    return np.sum(corrected * one_hot, axis=-1)


def geomath_standard_work(scores: Any, one_hot: Any) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input of (N, L, 4): the three formulas above."""
    corrected = geomath_attribution_correction(scores)
    return corrected, geomath_calculate_angles(scores), geomath_grad_times_input(corrected, one_hot)


def geomath_count_large_angles(scores: Any, thresholds: Any = (30, 45, 60)) -> Any:
    """Positions of (N, L, 4) above each threshold, shape (N, T): `count_large_angles`.

    The original counts in three nested Python loops and gives percentages; here the counting is vectorised. Differs
    from ours: no tolerance at the thresholds, see `geomath_calculate_angles` for the angles.
    """
    size = np.abs(geomath_calculate_angles(scores))
    return np.stack([np.sum(size > threshold, axis=-1) for threshold in thresholds], axis=-1)


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


# --- PyTorch, what one writes without a library: (N, L, 4) with axis=-1, (N, 4, L) with axis=1 ---


def torch_correct(grad: Any, *, axis: int = -1) -> Any:
    """Centre a tensor. The same definition as ours."""
    return grad - grad.mean(dim=axis, keepdim=True)


def torch_simplex_angle(grad: Any, *, axis: int = -1) -> Any:
    """Signed angle in degrees. The same definition as ours, but without scaling: squares over- and underflow."""
    import torch

    norm = torch.linalg.vector_norm(torch_correct(grad, axis=axis), dim=axis)
    return torch.rad2deg(torch.atan2(0.5 * grad.sum(dim=axis), norm))


def torch_grad_times_input(grad: Any, one_hot: Any, *, axis: int = -1) -> Any:
    """Corrected gradient times one-hot input. The same definition as ours, except that it takes no codes."""
    return (torch_correct(grad, axis=axis) * one_hot).sum(dim=axis)


def torch_standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, centring once; also what `torch.compile` is given."""
    import torch

    corrected = torch_correct(grad, axis=axis)
    norm = torch.linalg.vector_norm(corrected, dim=axis)
    angle = torch.rad2deg(torch.atan2(0.5 * grad.sum(dim=axis), norm))
    return corrected, angle, (corrected * one_hot).sum(dim=axis)


# --- JAX, to be wrapped in jax.jit with static_argnames="axis" ---


def jax_standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, as `torch_standard_work`, with the same lack of scaling."""
    import jax.numpy as jnp

    corrected = grad - grad.mean(axis=axis, keepdims=True)
    norm = jnp.linalg.norm(corrected, axis=axis)
    angle = jnp.rad2deg(jnp.arctan2(0.5 * grad.sum(axis=axis), norm))
    return corrected, angle, (corrected * one_hot).sum(axis=axis)


# --- TensorFlow, to be wrapped in tf.function ---


def tf_standard_work(grad: Any, one_hot: Any, *, axis: int = -1) -> tuple[Any, Any, Any]:
    """Corrected gradient, angle and grad-times-input, as `torch_standard_work`, with the same lack of scaling."""
    import tensorflow as tf

    corrected = grad - tf.reduce_mean(grad, axis=axis, keepdims=True)
    norm = tf.norm(corrected, axis=axis)
    angle = tf.atan2(0.5 * tf.reduce_sum(grad, axis=axis), norm) * (180 / np.pi)
    return corrected, angle, tf.reduce_sum(corrected * one_hot, axis=axis)


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

"""What the papers report, as numbers to stand beside reproduced ones.

Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), its repository's notebooks, and ICML 2021. Printed numbers are
exact, those that were read off plots good to 0.005 (improvements) or 0.015.
"""

from typing import NamedTuple

__all__ = [
    "AGREEMENT",
    "ANGLE_PEAKS",
    "CHIPSEQ_ANGLE_PEAKS",
    "CHIPSEQ_LARGE_ANGLES",
    "DEEPSTARR_TEST",
    "ENSEMBLE_REDUCTION",
    "GENOME_ANGLES",
    "ICML_GAINS",
    "ICML_SPREAD_AT_MOTIFS",
    "LARGE_ANGLES",
    "MODELS",
    "SIGMA_CURVES",
    "TEST_AUC",
    "WEIGHT_CURVES",
    "WINDOWS",
    "Gain",
]


class Gain(NamedTuple):
    """Mean before the correction, and how much more it is afterwards."""

    before: float
    improvement: float


MODELS = ("cnn-shallow-relu", "cnn-shallow-exp", "cnn-deep-relu", "cnn-deep-exp")

TEST_AUC = {"cnn-deep-relu": 0.968, "cnn-deep-exp": 0.978, "cnn-shallow-relu": 0.950, "cnn-shallow-exp": 0.972}
"""Test AUROC, mean of 50 models, read off Fig. 1b."""

LARGE_ANGLES = {
    "cnn-deep-relu": (29.50692, 12.31788, 3.70454),
    "cnn-deep-exp": (38.16202, 21.3651, 10.69586),
    "cnn-shallow-relu": (36.62498, 17.34672, 6.00062),
    "cnn-shallow-exp": (40.59734, 22.54262, 10.5067),
}
"""Percent of positions above 30, 45 and 60 degrees, mean of 50 models and 500 sequences; printed in notebooks."""


def _gains(*numbers: float) -> dict[str, Gain]:
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {metric: Gain(*pair) for metric, pair in zip(("cosine", "auroc", "aupr"), pairs, strict=True)}


AGREEMENT = {
    "saliency": {
        "cnn-deep-relu": _gains(0.40, 0.031, 0.74, 0.011, 0.61, 0.022),
        "cnn-deep-exp": _gains(0.60, 0.071, 0.84, 0.020, 0.73, 0.032),
        "cnn-shallow-relu": _gains(0.38, 0.046, 0.77, 0.021, 0.56, 0.037),
        "cnn-shallow-exp": _gains(0.595, 0.078, 0.84, 0.011, 0.72, 0.027),
    },
    "integrated_gradients": {
        "cnn-deep-relu": _gains(0.31, 0.024, 0.69, 0.010, 0.49, 0.016),
        "cnn-deep-exp": _gains(0.48, 0.056, 0.80, 0.019, 0.66, 0.032),
        "cnn-shallow-relu": _gains(0.27, 0.033, 0.71, 0.019, 0.47, 0.029),
        "cnn-shallow-exp": _gains(0.53, 0.068, 0.82, 0.011, 0.67, 0.026),
    },
    "smoothgrad": {
        "cnn-deep-relu": _gains(0.43, 0.030, 0.76, 0.009, 0.64, 0.019),
        "cnn-deep-exp": _gains(0.60, 0.071, 0.84, 0.018, 0.74, 0.029),
        "cnn-shallow-relu": _gains(0.42, 0.050, 0.79, 0.019, 0.61, 0.036),
        "cnn-shallow-exp": _gains(0.60, 0.077, 0.85, 0.010, 0.73, 0.025),
    },
    "expected_gradients": {
        "cnn-deep-relu": _gains(0.41, 0.027, 0.75, 0.008, 0.60, 0.017),
        "cnn-deep-exp": _gains(0.58, 0.067, 0.83, 0.018, 0.73, 0.030),
        "cnn-shallow-relu": _gains(0.36, 0.040, 0.77, 0.019, 0.58, 0.035),
        "cnn-shallow-exp": _gains(0.58, 0.072, 0.84, 0.009, 0.72, 0.025),
    },
}
"""Means of 50 models, read off the plots behind Fig. 1b and S1."""

SIGMA_CURVES = {
    "cnn-deep-relu": {
        "auc": (0.979, 0.977, 0.972, 0.971, 0.971, 0.969, 0.964, 0.965, 0.965, 0.965),
        "std": (13.1, 14.7, 23.7, 26.5, 28.5, 28.8, 29.1, 29.3, 30.0, 29.7),
    },
    "cnn-shallow-relu": {
        "auc": (0.956, 0.958, 0.953, 0.952, 0.948, 0.947, 0.942, 0.946, 0.942, 0.939),
        "std": (15.2, 17.0, 25.8, 30.1, 31.3, 32.2, 32.0, 32.7, 32.3, 32.7),
    },
    "cnn-deep-exp": {
        "auc": (0.983, 0.984, 0.982, 0.978, 0.976, 0.976, 0.977, 0.974, 0.978, 0.975),
        "std": (14.8, 18.6, 30.5, 32.9, 33.4, 35.2, 35.0, 34.4, 35.2, 35.6),
    },
    "cnn-shallow-exp": {
        "auc": (0.978, 0.979, 0.974, 0.972, 0.971, 0.969, 0.968, 0.969, 0.965, 0.967),
        "std": (16.5, 20.4, 30.0, 33.3, 35.0, 35.4, 35.6, 35.3, 35.9, 35.7),
    },
}
"""Note S1: test AUROC and standard deviation of the angles in degrees, for `models.SIGMAS`; read off plots."""

NOT_SHOWN, BELOW_1 = float("nan"), 0.5
WEIGHT_CURVES = {
    "cnn-deep-relu": {
        "auc": (0.973, 0.971, 0.970, 0.967, 0.964, 0.965, 0.965, 0.956, 0.948),
        "cosine": (0.39, 0.40, 0.43, 0.415, 0.46, 0.46, 0.45, 0.40, 0.385),
        "std": (28.5, 28, 25.5, 22, 1.7, BELOW_1, BELOW_1, BELOW_1, BELOW_1),
    },
    "cnn-shallow-relu": {
        "auc": (0.946, 0.949, 0.947, 0.947, 0.948, 0.947, 0.948, 0.940, 0.919),
        "cosine": (0.355, 0.39, 0.36, 0.39, 0.43, 0.43, 0.43, 0.43, 0.35),
        "std": (31.5, 31.5, 29, 26.5, 1.7, BELOW_1, BELOW_1, BELOW_1, BELOW_1),
    },
    "cnn-deep-exp": {
        "auc": (0.978, 0.979, 0.978, 0.976, 0.979, 0.978, 0.975, 0.964, NOT_SHOWN),
        "cosine": (0.61, 0.585, 0.555, 0.57, 0.70, 0.655, 0.59, 0.51, NOT_SHOWN),
        "std": (34.5, 34, 30.5, 28.5, BELOW_1, BELOW_1, BELOW_1, BELOW_1, NOT_SHOWN),
    },
    "cnn-shallow-exp": {
        "auc": (0.972, 0.970, 0.971, 0.970, 0.971, 0.970, 0.969, 0.961, NOT_SHOWN),
        "cosine": (0.595, 0.57, 0.585, 0.585, 0.665, 0.65, 0.64, 0.59, NOT_SHOWN),
        "std": (35, 34.5, 32.5, 30, 1, BELOW_1, BELOW_1, BELOW_1, NOT_SHOWN),
    },
}
"""Note S2: test AUROC, cosine before the correction and standard deviation of the angles, for
`training.ANGLE_WEIGHTS`; read off plots, where below 1 degree is all that can be told."""

ANGLE_PEAKS = {
    "cnn-deep-exp": (0.0165, 0.0115),
    "cnn-deep-relu": (0.019, 0.0135),
    "cnn-shallow-exp": (0.016, 0.0105),
    "cnn-shallow-relu": (0.015, 0.0115),
}
"""Highest density of the angles at motifs and elsewhere, a degree; read off Fig. S2."""

ICML_SPREAD_AT_MOTIFS = {"cnn-dist-exp": 22.73}
"""Standard deviation of the angles at motifs in degrees, of a model of 2021; printed in a notebook."""

ICML_GAINS = (
    "test AUROC 0.940 to 0.965 (CNN-local-relu), 0.963 to 0.981 (CNN-local-exp), 0.968 to 0.980 (CNN-dist-relu) and "
    "0.967 to 0.986 (CNN-dist-exp); by saliency, the cosine improves by 0.02 to 0.04, 0.03 to 0.06, 0.01 to 0.025 and "
    "up to 0.06, AUROC by -0.013 to 0.036 and AUPR by -0.011 to 0.04"
)
"""Smallest and largest of the models of 2021; read off plots."""

DEEPSTARR_TEST = {
    "deepstarr": {"pearson": (0.68, 0.75), "spearman": (0.65, 0.57), "mse": (1.27, 1.25)},
    "deepstarr-exp": {"pearson": (0.68, 0.76), "spearman": (0.66, 0.58), "mse": (1.25, 1.23)},
}
"""Of the test set, for the developmental and the housekeeping activity; printed in the text."""

_TWO_PEAKS = "two peaks of density 0.017 to 0.022 at about -15 and +12, a dip to 0.0155 at 0, almost none above 45"
GENOME_ANGLES = {
    "deepstarr": "one peak of density about 0.04 at +12, standard deviation about 10",
    "deepstarr-exp": "one peak of density about 0.04 at +3, standard deviation about 10",
    "basset-relu": "a narrow peak of density 0.031 at about -10",
    "basset-exp": "a broad peak of density 0.018 at about -10",
} | {f"cnn-{bins}-{activation}": _TWO_PEAKS for bins in ("base", "32") for activation in ("relu", "exp")}
"""Distributions of the angles in degrees; read off Fig. S8 to S10."""

WINDOWS = {
    "deepstarr": (8231, 50, 100),
    "deepstarr-exp": (36601, 20, 60),
    "basset-relu": (14764, 250, 300),
    "basset-exp": (17677, 260, 310),
    "cnn-base-relu": (1796, 1006, 1081),
    "cnn-base-exp": (3751, 1628, 1702),
    "cnn-32-relu": (3712, 893, 968),
    "cnn-32-exp": (1961, 1440, 1514),
}
"""Sequence of the test set, start and end of logos in Fig. 2 and S8 to S10; for CNN-32-relu that of the other model,
since the authors show the map of CNN-32-exp under both names."""

CHIPSEQ_LARGE_ANGLES = {"cnn-deep-relu": ((23.5, 31.5), (8.3, 12.9), (2.2, 3.7))}
"""Smallest and largest percent of positions above 30, 45 and 60 degrees of ten ChIP-seq sets; read off Fig. 1d."""

CHIPSEQ_ANGLE_PEAKS = {"cnn-deep-exp": ((0.013, 0.017), (0.035, 0.063))}
"""Smallest and largest highest density of the angles, a degree, of single maps and of the mean maps of ensembles; read
off Fig. S5."""

ENSEMBLE_REDUCTION = {
    "cnn-deep-relu": ((0, 0), (25, 33), (43, 65)),
    "cnn-deep-exp": ((0, 0), (25, 40), (63, 90)),
    "cnn-shallow-relu": ((0, 0), (28, 35), (59, 83)),
    "cnn-shallow-exp": ((0, 0), (28, 38), (61, 85)),
}
"""Smallest and largest percent of the distance from the mean map of an ensemble that goes with the correction, at 0, 45
and 90 degrees, of ten ChIP-seq sets; read off Fig. S5."""

"""What is said of a model that fails."""

import numpy as np

from ..._types import Array

NOT_FINITE = "the model returned NaN or infinity"


def random_codes(n: int, length: int) -> Array:
    """Return random sequences, always the same, uint8 (n, length)."""
    return np.random.default_rng(0).integers(0, 4, (n, length)).astype(np.uint8)

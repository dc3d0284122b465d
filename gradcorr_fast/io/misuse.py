"""Tells maps that are no plain gradients, and says what the correction would do to them."""

import re

import numpy as np

from .._check import check_axis
from .._types import AnyArray, Array
from .reading import as_numpy

SAMPLE = 1024  # positions looked at in a block of a map
FEWEST = 50  # positions to judge by
FEWEST_SEQUENCES = 4
NEARLY_ALL = 0.99
ROUNDING = 2.0**-8  # of a sum of letters, relative to the largest: four times float16's
HYPOTHETICAL = {"shap", "deepshap", "deeplift", "deepliftshap", "hypothetical", "hyp"}


class Evidence:
    """What was seen of a map so far, counted over a sample of its positions."""

    def __init__(self, rounding: float = ROUNDING) -> None:
        self._rounding = rounding
        self.n_letters = 0
        self.n_positions = self.n_single = self.n_centred = self.n_rest_equal = self.n_one_zero = 0
        """Positions that have a value, those of one letter, those that sum to zero, ..."""
        self.n_sequences = self.n_zero_at_ends = 0
        """Sequences with values at both ends, and those with exactly one letter without."""
        self.zero_letters = np.zeros((2, 1), np.int64)
        """How often which letter that is, at the first and at the last position."""

    def add(self, grad: Array, axis: int, x: Array | None = None) -> None:
        """Look at some rows of a map; their sequences, one-hot or codes, tell which letter was multiplied by 1."""
        letters = np.moveaxis(grad, axis, -1)
        self.n_letters = letters.shape[-1]
        if not letters.size or self.n_letters < 3:  # of two letters, centring leaves only one number
            return
        index = _spread(letters.shape[:-1])
        some, is_own = letters[index], np.ones(1, bool)
        if x is not None and x.ndim == grad.ndim:
            is_own = np.moveaxis(x, axis, -1)[index] == 1
        elif x is not None:
            is_own = x[index][..., None] == np.arange(self.n_letters)
        flat = (array.reshape(-1, self.n_letters) for array in (some, np.broadcast_to(is_own, some.shape)))
        self._add_positions(*flat)
        if letters.ndim == 3:
            self._add_ends(letters[:, [0, -1]])

    def _add_positions(self, sample: Array, is_own: Array) -> None:
        has_value = np.isfinite(sample).all(axis=1) & (sample != 0).any(axis=1)
        sample, is_own = sample[has_value].astype(np.float64), is_own[has_value]
        n_values = np.count_nonzero(sample, axis=1)
        ordered = np.sort(sample, axis=1)
        odd = np.abs(sample - ordered[:, 1:2]).argmax(axis=1)  # the letter that differs, where all others are equal
        is_gate = is_own[np.arange(len(sample)), odd]
        centred = (n_values > 1) & (np.abs(sample.sum(axis=1)) <= self._rounding * np.abs(sample).max(axis=1))
        self.n_positions += len(sample)
        self.n_single += int(np.count_nonzero((n_values == 1) & is_gate))
        self.n_one_zero += int(np.count_nonzero(n_values == self.n_letters - 1))
        self.n_centred += int(np.count_nonzero(centred))
        rest_equal = (ordered[:, 0] == ordered[:, -2]) | (ordered[:, 1] == ordered[:, -1])
        self.n_rest_equal += int(np.count_nonzero(rest_equal & is_gate))

    def _add_ends(self, ends: Array) -> None:
        has_values = np.isfinite(ends).all(axis=(1, 2)) & (ends != 0).any(axis=2).all(axis=1)
        zero = ends[has_values] == 0
        one_zero = zero[(zero.sum(axis=2) == 1).all(axis=1)]
        self.n_sequences += len(zero)
        self.n_zero_at_ends += len(one_zero)
        self.zero_letters = self.zero_letters + one_zero.sum(axis=0)

    def _is_nearly_all(self, count: int) -> bool:
        return self.n_positions >= FEWEST and count >= NEARLY_ALL * self.n_positions

    @property
    def is_centred(self) -> bool:
        """Whether the letters sum to zero within rounding."""
        return self._is_nearly_all(self.n_centred)

    def sentences(self, name: str, *, corrected: bool = True) -> list[str]:
        """Say what the map called `name` seems to be, if it is no plain gradient, and what to do."""
        if self._is_nearly_all(self.n_single):
            return [self._gated(name, corrected)]
        if self.is_centred and self._is_nearly_all(self.n_rest_equal):
            return [
                f"{name} seems to have been multiplied by its input before it was centred (at nearly all positions the "
                f"other letters are equal), so the noise is still in it; correct the gradient itself, and multiply by "
                f"the input afterwards"
            ]
        if not corrected:
            return []
        if self.is_centred:
            share = self.n_centred / self.n_positions
            return [
                f"{name} is centred already (the letters sum to zero within rounding at {share:.1%} of the positions "
                f"that have a value), so correcting it again changes nothing; use it as it is"
            ]
        return self._hypothetical(name)

    def _gated(self, name: str, corrected: bool) -> str:
        share = self.n_single / self.n_positions
        what = f"centring only scales that letter by {self.n_letters - 1}/{self.n_letters} and removes no noise"
        return (
            f"{name} seems to have been multiplied by its input already (at {share:.1%} of the positions that have a "
            f"value, only one letter has one); {what if corrected else 'TF-MoDISco needs the scores of all letters'}: "
            f"pass the gradient itself, and multiply by the input after the correction"
        )

    def _hypothetical(self, name: str) -> list[str]:
        consequence = (
            "they are relative to a reference already, and after centring the scores of a sequence no longer sum to "
            "f(x) - f(reference): leave them as they are"
        )
        if HYPOTHETICAL & set(re.split("[^a-z]+", name.lower())):
            return [f"{name} holds hypothetical DeepLIFT or DeepSHAP scores, going by its name; {consequence}"]
        if self.n_sequences < FEWEST_SEQUENCES or self.n_zero_at_ends < self.n_sequences:
            return []
        if self.n_one_zero > self.n_positions / 2 or (self.zero_letters.max(axis=1) == self.n_sequences).any():
            return []  # zero at the observed letter everywhere, as in mutagenesis; or a letter without weights
        return [
            f"{name} seems to hold hypothetical scores against dinucleotide shuffles (at the first and last position, "
            f"which these keep, one letter is exactly zero in all {self.n_sequences} sequences); {consequence}"
        ]


def _spread(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return an index of about `SAMPLE` positions, evenly along all axes; short ones leave more to long ones."""
    steps, left = dict.fromkeys(range(len(shape)), 1), float(SAMPLE)
    for n_done, k in enumerate(sorted(steps, key=shape.__getitem__)):
        most = max(1, round(left ** (1 / (len(shape) - n_done))))
        steps[k] = -(-shape[k] // most)
        left /= -(-shape[k] // steps[k])
    return tuple(slice(None, None, step) for step in steps.values())


def find_misuse(grad: AnyArray, *, axis: int = -1, name: str = "grad", n_letters: int | None = None) -> list[str]:
    """Say whether a map is something else than a gradient, which the correction would not improve.

    Parameters
    ----------
    grad : array, shape (N, L, n_letters) or (N, n_letters, L)
        An attribution map, of any supported library; only some thousand positions are looked at.
    axis : int
        Letter axis.
    name : str
        What to call it; "shap", "deeplift" or "hypothetical" in the name are taken for what they say.
    n_letters : int, optional
        See `ops.correct`.

    Returns
    -------
    list of str
        A sentence on what the map seems to be and what to do instead; empty if nothing was noticed.

    Raises
    ------
    ValueError
        If the axis does not look like letters.

    Notes
    -----
    Told from the numbers: maps multiplied by their input; the same, centred afterwards; maps that are centred already;
    hypothetical scores against dinucleotide shuffles, which keep the ends of a sequence, so that one letter is exactly
    zero there. The last needs at least 4 sequences with values at both ends, which those stored in float16 seldom
    have. Hypothetical scores against other references (position shuffles, zeros, other sequences) leave no trace in
    the numbers and are told by the name only; those against uniform frequencies are centred. Zero gradients do not
    count, and fewer than 50 positions with a value are never judged. Without the sequences, the gradient of one-hot
    weights looks like a map multiplied by its input; where they are at hand, as in `save_modisco`, it does not.

    Examples
    --------
    >>> x = np.eye(4)[np.arange(100) % 4]
    >>> grad = np.random.default_rng(0).standard_normal((1, 100, 4))
    >>> find_misuse(grad), len(find_misuse(grad * x))
    ([], 1)
    """
    front = check_axis(tuple(grad.shape), axis, n_letters)
    evidence = Evidence()
    evidence.add(as_numpy(grad[:: -(-grad.shape[0] // SAMPLE)] if grad.shape[0] else grad), front)
    return evidence.sentences(name)

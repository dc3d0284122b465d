"""Every attribution method on the kinds of models that read genomes, against loops over single sequences."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.kernels import reference_sequences

torch = pytest.importorskip("torch")

from tests.architectures import CASES, LENGTH, Case, build  # noqa: E402  (needs torch)

WINDOW = slice(5, 13)
"""Where sequences are mutated."""
CODES = np.random.default_rng(3).integers(0, 4, (2, LENGTH)).astype(np.uint8)
Values = Callable[[Any], Any]
"""From one sequence (L, 4) to its targets (T,)."""


def values_of(case: Case, model: Any, rc: bool) -> Values:
    """The targets of one sequence, means over both strands if `rc`."""

    def strand(x: Any, is_other: bool) -> Any:
        rows = model((x if case.axis == -1 else x.T)[None])
        rows = (rows if case.output is None else rows[case.output])[0]
        rows = rows.flip(0) if is_other and case.rc_output == "flip_bins" else rows
        return torch.stack([read(rows) for _, read in case.targets])

    return lambda x: (strand(x, False) + strand(x.flip(0, 1), True)) / 2 if rc else strand(x, False)


def gradients(values: Values, x: Any) -> Any:
    """Of each target, (T, L, 4)."""
    x = x.detach().requires_grad_()
    return torch.stack([torch.autograd.grad(value, x, retain_graph=True)[0] for value in values(x)])


def one_hot(codes: Any) -> Any:
    return torch.eye(4, dtype=torch.float64)[torch.as_tensor(codes.astype(np.int64))]


def path(values: Values, x: Any, reference: Any, n_steps: int) -> Any:
    total = torch.zeros(1)
    for k in range(n_steps):
        weight = (0.5 if k in (0, n_steps - 1) else 1) / (n_steps - 1)
        total = total + weight * gradients(values, reference + k / (n_steps - 1) * (x - reference))
    return total


def saliency(values: Values, codes: Any) -> Any:
    return gradients(values, one_hot(codes))


def integrated_gradients(values: Values, codes: Any) -> Any:
    return path(values, one_hot(codes), torch.zeros(LENGTH, 4), 4)


def expected_gradients(values: Values, codes: Any) -> Any:
    first, second = one_hot(gf.sequences.shuffle(codes[None], 2, "mono", 0)[0])
    return (path(values, one_hot(codes), first, 3) + path(values, one_hot(codes), second, 3)) / 2


def smoothgrad(values: Values, codes: Any) -> Any:
    total = torch.zeros(1)
    for sample in range(3):
        noise = torch.from_numpy(reference_sequences.noise(codes.tolist(), sample, 4, 0)).double()
        total = total + gradients(values, one_hot(codes) + 0.1 * noise) / 3
    return total


def saturation_mutagenesis(values: Values, codes: Any) -> Any:
    with torch.no_grad():
        wild_type = values(one_hot(codes))
        effects = torch.zeros(len(wild_type), WINDOW.stop - WINDOW.start, 4, dtype=torch.float64)
        for place, position in enumerate(range(WINDOW.start, WINDOW.stop)):
            for letter in range(4):
                mutant = codes.copy()
                mutant[position] = letter
                effects[:, place, letter] = values(one_hot(mutant)) - wild_type
    return effects


METHODS: dict[str, tuple[Any, dict[str, Any], float]] = {
    "saliency": (saliency, {}, 1e-10),
    "integrated_gradients": (integrated_gradients, {"n_steps": 4}, 1e-10),
    "expected_gradients": (expected_gradients, {"n_steps": 3, "n_references": 2}, 1e-10),
    "smoothgrad": (smoothgrad, {"n_samples": 3}, 1e-6),  # noise is float32
    "saturation_mutagenesis": (saturation_mutagenesis, {"start": WINDOW.start, "end": WINDOW.stop}, 1e-10),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads take longer to wake than these models to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("rc", [False, True], ids=["one strand", "both strands"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_methods_are_loops_over_sequences(case: Case, name: str, rc: bool) -> None:
    oracle, options, tolerance = METHODS[name]
    model = build(case)
    expected = torch.stack([oracle(values_of(case, model, rc), codes) for codes in CODES])
    allowed = tolerance * expected.abs().max()
    if rc:
        options = options | {"rc": True, "rc_output": case.rc_output, "bin_axis": case.bin_axis}

    def attribute(corrected: bool) -> Any:
        x = one_hot(CODES) if case.axis == -1 else one_hot(CODES).transpose(1, 2)
        found = getattr(gf.hooks.torch, name)(
            model, x, targets=[target for target, _ in case.targets], axis=case.axis, output=case.output,
            batch_size=5, corrected=corrected, **options,
        )  # fmt: skip
        return found if case.axis == -1 else found.transpose(2, 3)

    assert (attribute(corrected=False) - expected).abs().max() <= allowed
    assert (attribute(corrected=True) - (expected - expected.mean(-1, keepdim=True))).abs().max() <= allowed


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recurrent_layers_stay_in_training_mode_where_that_changes_nothing(dropout: float) -> None:
    """cuDNN differentiates them in no other."""
    model = build(CASES["recurrent"])
    model.lstm = torch.nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True, dropout=dropout).double()
    modes: list[Any] = []
    model.eval().lstm.register_forward_pre_hook(lambda lstm, _: modes.append((lstm.training, model.training)))
    x = one_hot(CODES).transpose(1, 2)
    expected = gradients(lambda x: model(x.T[None])[0, :1], x[0].T)[0].T
    got = gf.hooks.torch.saliency(model.train(), x, corrected=False)
    assert modes[1:] == [(dropout == 0, False)]
    assert model.lstm.training
    torch.testing.assert_close(got[0], expected)

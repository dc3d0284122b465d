"""Training: the papers' recipe, reproducible, and the same after an interruption."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast.paper import models, synthetic, training
from gradcorr_fast.paper.datasets import Dataset, random_split
from tests.conftest import require

torch = pytest.importorskip("torch")

SMALL = "models.build('cnn-shallow-relu', length=100, first_filters=4, first_width=5, seed=1)"
DATA = synthetic.generate(150, length=100, seed=1)  # 105 for training, 15 for validation, 30 for the test


def build(name: str = "cnn-shallow-relu", **options: Any) -> Any:
    return models.build(name, length=100, first_filters=4, first_width=5, seed=1, **options)


def fit(model: Any, data: Dataset = DATA, **options: Any) -> training.Training:
    return training.fit(model, data, **{"quiet": True, "epochs": 3, "batch_size": 25, **options})


def assert_same_weights(one: Any, two: Any) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Results are the same with the same number of threads, and threads do not help models as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the scores of epochs be those of a list."""
    from gradcorr_fast.paper._training import torch as loop

    def play(scores: list[float]) -> None:
        remaining: Iterator[float] = iter(scores)
        monkeypatch.setattr(loop, "evaluate", lambda *_: next(remaining))

    return play


def test_the_same_seed_gives_the_same_training() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one = fit(build(), seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)  # the generator of the user is as it was
    torch.manual_seed(8)
    two = fit(build(), seed=5)
    assert_same_weights(one.model, two.model)
    assert [epoch[:3] for epoch in one.history] == [epoch[:3] for epoch in two.history]
    other = fit(build(), seed=6)
    assert not torch.equal(one.model[0].weight, other.model[0].weight)
    assert not one.model.training


@pytest.mark.parametrize("ending", ["sigmoid", "own"])
def test_a_step_is_one_of_adam_on_the_loss_of_the_papers(ending: str) -> None:
    """Cross-entropy of the probability and L2 of hidden kernels, written out; a module that is no Sequential too."""
    expected, model = build().eval(), build().eval()
    for module in (*expected.modules(), *model.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = DATA.split.train
    x, y = torch.from_numpy(DATA.x[rows]).transpose(1, 2), torch.from_numpy(DATA.y[rows]).float()
    kernels = [p for p in expected.parameters() if p.ndim > 1][:-1]
    assert len(kernels) == 3
    optimizer = torch.optim.Adam(expected.parameters(), 1e-3, eps=1e-7)
    loss = torch.nn.functional.binary_cross_entropy(expected.train()(x), y)
    (loss + 0.01 * sum((kernel**2).sum() for kernel in kernels)).backward()
    optimizer.step()

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    found = fit(model if ending == "sigmoid" else Wrapped(), epochs=1, batch_size=len(rows), l2=0.01)
    assert found.history[0].loss == pytest.approx(loss.item(), rel=1e-5)
    for got, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        moved = wanted.grad.abs() > 1e-6  # Adam makes a step of rounding errors, too
        torch.testing.assert_close(got[moved], wanted[moved], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["cnn-dist-exp", "deepstarr-exp", "cnn-32-relu"])
def test_channels_last_are_the_same_function(name: str) -> None:
    """Outputs, gradients and statistics of batch normalisation, in float64, without the dropout that is random."""
    from gradcorr_fast.paper._channels_last.torch import faster

    plain, twin = (models.build(name, first_filters=8).double() for _ in range(2))
    for module in (*plain, *twin):
        module.p = 0.0
    function = faster(twin)
    assert function is not twin
    length = models.ARCHITECTURES[name].length
    x = torch.nn.functional.one_hot(torch.arange(3 * length).reshape(3, -1) ** 2 % 7 % 4, 4).double().transpose(1, 2)
    expected, got = plain(x), function(x)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    for output in (expected, got):
        output.square().mean().backward()
    for a, b in zip(twin.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)
    for (buffer, a), b in zip(twin.named_buffers(), plain.buffers(), strict=True):
        assert "num_batches" in buffer or torch.allclose(a, b, rtol=1e-10, atol=0)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    from gradcorr_fast.paper._channels_last.torch import LAYERS

    torch.manual_seed(0)
    x = torch.ones(100, 7, 1, 99).contiguous(memory_format=torch.channels_last)
    dropped = LAYERS[torch.nn.Dropout](torch.nn.Dropout(rate), x)
    assert set(dropped.unique().tolist()) == {0.0, float(np.float32(1 / (1 - rate)))}
    sd = np.sqrt(rate * (1 - rate) / x.numel())
    assert float((dropped == 0).double().mean()) == pytest.approx(rate, abs=4 * sd)
    again = LAYERS[torch.nn.Dropout](torch.nn.Dropout(rate), x)
    assert float(((dropped == 0) & (again == 0)).double().mean()) == pytest.approx(rate**2, abs=4 * sd)
    neighbours = dropped.permute(0, 3, 2, 1).flatten()[:-1:4] + dropped.permute(0, 3, 2, 1).flatten()[1::4]  # of a word
    assert float((neighbours == 0).double().mean()) == pytest.approx(rate**2, abs=8 * sd)


SCORES = [0.6, 0.7, 0.70005, 0.7001, 0.7, 0.75, 0.74, 0.74, 0.74, 0.73, 0.75005, *[0.7] * 12]


def test_learning_rate_and_end_are_those_of_keras(script: Any) -> None:
    """Against the callbacks that the authors use, on scores with gains below and above the least that counts."""
    require("keras")
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    plateau = keras.callbacks.ReduceLROnPlateau("auroc", factor=0.2, patience=3, mode="max", min_lr=1e-7)
    stopping = keras.callbacks.EarlyStopping("auroc", patience=10, mode="max")
    for callback in (plateau, stopping):
        callback.set_model(model)
        callback.on_train_begin()
    rates: list[float] = []
    model.stop_training = False
    while not model.stop_training:
        logs = {"auroc": SCORES[len(rates)]}
        rates.append(float(model.optimizer.learning_rate))
        for callback in (plateau, stopping):
            callback.on_epoch_end(len(rates) - 1, logs)
    script(SCORES)
    found = fit(build(), epochs=100, batch_size=105)
    assert rates[-1] < 1e-3
    np.testing.assert_allclose([epoch.learning_rate for epoch in found.history], rates, rtol=1e-5)
    assert found.best_epoch == 10


@pytest.mark.parametrize("restore_best", [True, False])
def test_the_weights_of_the_best_epoch_or_the_last_are_kept(script: Any, restore_best: bool) -> None:
    scores = [0.5, 0.9, 0.8, 0.7]
    script(scores)
    found = fit(build(), epochs=4, restore_best=restore_best)
    assert found.best_epoch == 1
    script(scores)
    assert_same_weights(found.model, fit(build(), epochs=2 if restore_best else 4, restore_best=False).model)


CHILD = f"""
import os, signal, sys
import torch
from gradcorr_fast.paper import models, synthetic, training
torch.set_num_threads(1)
model, calls = {SMALL}, []
def count(*_):
    calls.append(1)
    if len(calls) == 14:  # in the third epoch, of 5 batches and a validation
        os.kill(os.getpid(), signal.SIGKILL)
model[2].register_forward_hook(count)
data = synthetic.generate(150, length=100, seed=1)
training.fit(model, data, epochs=4, batch_size=25, seed=3, checkpoint=sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    killed = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "epoch 2 of 4" in killed.stderr
    assert "epoch 3 of 4" not in killed.stderr
    other = models.build("cnn-shallow-relu", length=100, first_filters=4, first_width=5, seed=9)
    resumed = fit(other, epochs=4, seed=3, checkpoint=path)  # its own weights do not count
    through = fit(build(), epochs=4, seed=3)
    assert_same_weights(resumed.model, through.model)
    assert [epoch[:3] for epoch in resumed.history] == [epoch[:3] for epoch in through.history]
    assert resumed.best_epoch == through.best_epoch
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_run_can_be_given_more_epochs(tmp_path: Path) -> None:
    fit(build(), epochs=2, checkpoint=tmp_path / "run.pt")
    assert_same_weights(fit(build(), epochs=4, checkpoint=tmp_path / "run.pt").model, fit(build(), epochs=4).model)


def test_another_file_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(build().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is no checkpoint of a training"):
        fit(build(), checkpoint=tmp_path / "model.pt")


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    first = fit(build(), epochs=2, checkpoint=tmp_path / "run.pt")
    again = fit(build(), epochs=2, checkpoint=tmp_path / "run.pt")
    assert_same_weights(first.model, again.model)
    assert again.history == first.history


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnn-shallow-relu", {"seed": 1}, "of seed 0, not 1"),
        ("cnn-shallow-relu", {"l2": 0.1}, "of l2 1e-06, not 0.1"),
        ("cnn-shallow-relu", {"data": synthetic.generate(150, length=100, seed=2)}, "of data with checksum"),
        ("cnn-deep-relu", {}, "of another model"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    fit(build(), epochs=1, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=message):
        fit(build(name), checkpoint=tmp_path / "run.pt", **options)


def composition(y: np.ndarray) -> Dataset:
    """Sequences whose share of A tells the label or number, which is between 0 and 1."""
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((len(y), 100)) < 0.1 + 0.5 * y[:, :1], 0, rng.integers(0, 4, (len(y), 100)))
    return Dataset(codes.astype(np.uint8), y, random_split(len(y), rng))


def test_what_can_be_learnt_is_learnt_and_scored_as_scikit_learn_does() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    data = composition(np.random.default_rng(1).integers(0, 2, (300, 1)).astype(np.uint8))
    found = fit(build("cnn-shallow-exp"), data, epochs=8, learning_rate=0.01)
    reached = training.score(found.model, data)
    assert reached > 0.95
    with torch.no_grad():
        probability = found.model(torch.from_numpy(data.x[data.split.test]).transpose(1, 2))
    assert reached == pytest.approx(metrics.roc_auc_score(data.y[data.split.test], probability), abs=1e-3)


def test_a_network_tells_real_peaks_from_their_shuffles(shared_data: Path) -> None:
    """39,184 binding sites of CTCF, of which some thousand suffice."""
    for package in ("pysam", "pyarrow"):
        require(package)
    from gradcorr_fast.paper import chipseq

    data = chipseq.from_fasta(shared_data / "real/peaks/ctcf.fa.gz")
    few = data.split._replace(train=data.split.train[:5_000], valid=data.split.valid[:500])
    model = models.build("cnn-shallow-exp", length=100)
    found = fit(model, Dataset(data.codes, data.y, few), batch_size=100, learning_rate=0.01)
    assert found.history[-1].score > 0.9


def test_numbers_are_learnt_by_their_squared_error() -> None:
    y = np.random.default_rng(1).random((300, 2)).astype(np.float32)
    data = composition(y)
    model = models.build("deepstarr", length=100, first_filters=8)
    found = fit(model, data, recipe="deepstarr", epochs=4)
    with torch.no_grad():
        predicted = found.model(torch.from_numpy(data.x[data.split.test]).transpose(1, 2)).numpy()
    error = np.mean((predicted - y[data.split.test]) ** 2)
    assert training.score(found.model, data, loss="mse") == pytest.approx(-error, rel=1e-5)
    assert found.history[-1].loss < found.history[0].loss


def test_the_angle_penalty_brings_gradients_to_the_simplex() -> None:
    def spread(weight: float) -> float:
        model = fit(build(), epochs=6, learning_rate=0.05, angle_weight=weight, restore_best=False).model
        x = np.ascontiguousarray(DATA.x.transpose(0, 2, 1))
        grad = gf.hooks.torch.saliency(model, x, target=gf.targets.before_activation(), corrected=False)
        return float(gf.angle_summary(grad, axis=1).std)

    assert spread(0.1) < 0.3 * spread(0)


def test_a_sequence_left_over_joins_the_batch_before_it() -> None:
    assert len(fit(build(), epochs=1, batch_size=104).history) == 1  # batch normalisation takes no batch of one


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    fit(build(), epochs=1, quiet=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch 1 of 1: loss 0.")
    assert "AUROC" in err
    fit(build(), epochs=1)
    assert capsys.readouterr().err == ""


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    with pytest.raises(ValueError, match="smaller learning_rate"):
        fit(build("cnn-shallow-exp"), learning_rate=1e30)


def test_recipes_are_checked() -> None:
    with pytest.raises(ValueError, match="paper, icml2021"):
        fit(build(), recipe="none")
    with pytest.raises(TypeError, match="batch"):
        training.fit(build(), DATA, batch=10)
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        fit(build(), epochs=0)
    with pytest.raises(TypeError, match="fit trains PyTorch models; got a function"):
        fit(lambda x: x)
    with pytest.raises(ValueError, match="bce, mse"):
        fit(build(), loss="hinge")

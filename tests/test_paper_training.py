"""Training: the papers' recipe, reproducible, and the same after an interruption."""

import random
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


def build(name: str = "cnn-shallow-relu", seed: int = 1) -> Any:
    return models.build(name, length=100, first_filters=4, first_width=5, seed=seed)


def fit(model: Any, data: Dataset = DATA, **options: Any) -> training.Training:
    return training.fit(model, data, **{"quiet": True, "epochs": 3, "batch_size": 25, **options})


def assert_same_weights(one: Any, two: Any) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def assert_same(one: training.Training, two: training.Training) -> None:
    assert_same_weights(one.model, two.model)
    assert [epoch[:3] for epoch in one.history] == [epoch[:3] for epoch in two.history]
    assert one.best_epoch == two.best_epoch


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
    from gradcorr_fast.paper.torch import training as loop

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
    from gradcorr_fast.paper.torch.channels_last import faster

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
    from gradcorr_fast.paper.torch.channels_last import LAYERS

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
"""


def kill(call: str, path: Path) -> None:
    """Run a training in another process until it is killed in its third epoch."""
    command = [sys.executable, "-c", CHILD + call, str(path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "epoch 2 of 4" in killed.stderr
    assert "epoch 3 of 4" not in killed.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    kill("training.fit(model, data, epochs=4, batch_size=25, seed=3, checkpoint=sys.argv[1])", path)
    resumed = fit(build(seed=9), epochs=4, seed=3, checkpoint=path)  # its own weights do not count
    assert_same(resumed, fit(build(), epochs=4, seed=3))
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_run_can_be_given_more_epochs(tmp_path: Path) -> None:
    fit(build(), epochs=2, checkpoint=tmp_path / "run.pt")
    assert_same_weights(fit(build(), epochs=4, checkpoint=tmp_path / "run.pt").model, fit(build(), epochs=4).model)


def test_another_file_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(build().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is no checkpoint of a training"):
        fit(build(), checkpoint=tmp_path / "model.pt")


@pytest.fixture(name="checkpoint", scope="module")
def _checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "run.pt"
    fit(build(), epochs=1, checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(30))
def test_a_bit_of_a_checkpoint_that_turned_over_is_found(tmp_path: Path, checkpoint: bytes, seed: int) -> None:
    """11 of 60 gave other weights without a word: torch.load looks at no checksum of its archive."""
    draw, path = random.Random(seed), tmp_path / "run.pt"
    content = bytearray(checkpoint)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"run.pt is damaged; remove it, and the same call makes it again"):
        fit(build(), epochs=1, checkpoint=path)


def test_a_checkpoint_without_a_digest_is_read_as_those_of_before(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    fit(build(), epochs=2, checkpoint=path)
    torch.save(torch.load(path, weights_only=True), path)  # which reads ours as any other
    assert_same_weights(fit(build(), epochs=4, checkpoint=path).model, fit(build(), epochs=4).model)


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


SEEDS = (3, 4, 5)


def smooth(seed: int) -> Any:
    """A model without dropout, kinks, or biases that a normalisation undoes: rounding cannot grow in its training."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        first = torch.nn.Conv1d(4, 8, 7, bias=False), torch.nn.BatchNorm1d(8), torch.nn.Softplus(), torch.nn.Flatten()
        second = torch.nn.Linear(752, 8, bias=False), torch.nn.BatchNorm1d(8, momentum=0.01), torch.nn.Softplus()
        model = torch.nn.Sequential(*first, *second, torch.nn.Linear(8, 1), torch.nn.Sigmoid())
    model[1].bias.requires_grad_(False)  # stays as it is
    return model


def fit_ensemble(members: list[Any], data: Dataset = DATA, **options: Any) -> list[training.Training]:
    defaults = {"seeds": SEEDS[: len(members)], "quiet": True, "epochs": 3, "batch_size": 25}
    return training.fit_ensemble(members, data, **{**defaults, **options})


def assert_trained_alike(alone: list[training.Training], together: list[training.Training]) -> None:
    """The same epochs, and weights that differ by at most a hundredth of the way that they went."""
    for one, two, seed in zip(alone, together, SEEDS, strict=True):
        assert one.best_epoch == two.best_epoch
        for a, b in zip(one.history, two.history, strict=True):
            assert (a.loss, a.score) == pytest.approx((b.loss, b.score), rel=1e-5)
            assert a.learning_rate == b.learning_rate
        start, end = smooth(seed).state_dict(), two.model.state_dict()
        for name, got in one.model.state_dict().items():
            if got.is_floating_point():  # unlike the number of batches, which `fit` does not count on a CPU
                way = torch.linalg.norm(got - start[name])
                assert torch.linalg.norm(got - end[name]) <= 0.01 * way, name


@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.05, "restore_best": False},
        {"loss": "mse", "shuffle": False, "batch_size": 26},  # the last batch of which is a smaller one
        {"angle_weight": 1e-3, "epochs": 1, "batch_size": 105},  # later there are angles of 90 degrees, kinks
    ],
    ids=str,
)
def test_members_of_an_ensemble_become_what_they_become_alone(options: dict[str, Any]) -> None:
    alone = [fit(smooth(seed), seed=seed, **options) for seed in SEEDS]
    before = torch.random.get_rng_state()
    together = fit_ensemble([smooth(seed) for seed in SEEDS], **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(each.model.training for each in together)
    assert_trained_alike(alone, together)


ENDS = ([0.5, 0.6, 0.6, 0.6], [0.9, 0.8, 0.8], [0.5, 0.6, 0.7, 0.8, 0.9])


def test_each_member_of_an_ensemble_ends_by_its_own_scores(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends, learning rates and best weights are those of `fit` on the same scores; what has ended is not run."""
    from gradcorr_fast.paper.torch import ensembles as loop

    options: dict[str, Any] = {"epochs": 5, "patience": 2, "decay_patience": 1}
    alone = []
    for seed, scores in zip(SEEDS, ENDS, strict=True):
        script(scores)
        alone.append(fit(smooth(seed), seed=seed, **options))
    running: list[int] = []

    def stack(models: list[Any]) -> Any:
        running.append(len(models))
        return torch.func.stack_module_state(models)

    monkeypatch.setattr(loop, "stack_module_state", stack)
    script([scores[epoch] for epoch in range(5) for scores in ENDS if epoch < len(scores)])
    together = fit_ensemble([smooth(seed) for seed in SEEDS], **options)
    assert running == [3, 3, 3, 2, 1]
    assert len({each.history[3].learning_rate for each in (together[0], together[2])}) == 2
    assert_trained_alike(alone, together)


def test_the_angle_penalty_of_an_ensemble_is_the_sum_of_those_of_its_members() -> None:
    """In float64, with the gradients of all parameters, through the layers of the papers."""
    from gradcorr_fast.paper.torch.ensembles import on_stack, sum_penalties

    members = [models.build("cnn-deep-relu", first_filters=4, seed=seed).double() for seed in SEEDS]
    for module in (module for model in members for module in model if isinstance(module, torch.nn.Dropout)):
        module.p = 0.0
    parameters, buffers = stack = torch.func.stack_module_state(members)
    codes = torch.randint(4, (3, 5, 200), generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.one_hot(codes, 4).double().transpose(2, 3)
    found = sum_penalties(on_stack(members[0], stack), x)
    expected = sum(gf.hooks.torch.angle_penalty(model, rows) for model, rows in zip(members, x, strict=True))
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    for name, stacked in parameters.items():
        own = torch.stack([model.get_parameter(name).grad for model in members])
        torch.testing.assert_close(stacked.grad, own, rtol=1e-8, atol=1e-10)
    for name, stacked in buffers.items():
        torch.testing.assert_close(stacked, torch.stack([model.get_buffer(name) for model in members]))


def test_members_of_an_ensemble_draw_their_own_dropout_in_each_epoch() -> None:
    """Where nothing is learnt and all else is the same, losses differ by dropout alone."""

    def run() -> list[float]:
        options: dict[str, Any] = {"learning_rate": 0, "shuffle": False, "epochs": 2}
        return [
            epoch.loss for each in fit_ensemble([build(), build()], seeds=(3, 3), **options) for epoch in each.history
        ]

    losses = run()
    assert len(set(losses)) == 4
    assert run() == losses


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_ensemble_goes_on_to_the_same_result(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    options = {"epochs": 4, "seeds": (3, 4), "batch_size": 25}
    kill(f"training.fit_ensemble([model, {SMALL}], data, checkpoint=sys.argv[1], **{options})", path)
    resumed = fit_ensemble([build(seed=9), build(seed=8)], checkpoint=path, **options)
    through = fit_ensemble([build(), build()], **options)
    assert_same(resumed[0], through[0])
    assert_same(resumed[1], through[1])
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_an_ensemble_of_which_members_have_ended_goes_on(tmp_path: Path, script: Any) -> None:
    options: dict[str, Any] = {"patience": 2, "restore_best": False}
    scores = [scores[epoch] for epoch in range(5) for scores in ENDS if epoch < len(scores)]
    script(scores)
    fit_ensemble([build() for _ in SEEDS], epochs=4, checkpoint=tmp_path / "run.pt", **options)
    resumed = fit_ensemble([build() for _ in SEEDS], epochs=5, checkpoint=tmp_path / "run.pt", **options)
    assert [len(each.history) for each in resumed] == [len(scores) for scores in ENDS]
    script(scores)
    through = fit_ensemble([build() for _ in SEEDS], epochs=5, **options)
    for one, two in zip(resumed, through, strict=True):
        assert_same(one, two)


def test_a_checkpoint_of_another_ensemble_is_refused(tmp_path: Path) -> None:
    fit(build(), epochs=1, checkpoint=tmp_path / "one.pt")
    with pytest.raises(ValueError, match="no checkpoint of a training like this one"):
        fit_ensemble([build()], checkpoint=tmp_path / "one.pt")
    fit_ensemble([build(), build()], epochs=1, checkpoint=tmp_path / "two.pt")
    with pytest.raises(ValueError, match=r"of seeds \[3, 4\], not \[3, 5\]"):
        fit_ensemble([build(), build()], seeds=(3, 5), checkpoint=tmp_path / "two.pt")
    with pytest.raises(ValueError, match="no checkpoint of a training like this one"):
        fit(build(), checkpoint=tmp_path / "two.pt")


def test_members_of_an_ensemble_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="2 models and 3 seeds"):
        fit_ensemble([build(), build()], seeds=SEEDS)
    with pytest.raises(ValueError, match="0 models and 0 seeds"):
        fit_ensemble([])
    with pytest.raises(ValueError, match="model 1 has another architecture"):
        fit_ensemble([build(), build("cnn-shallow-exp")])  # whose weights have the same shapes
    with pytest.raises(ValueError, match="more than once"):
        fit_ensemble([build()] * 2)
    with pytest.raises(TypeError, match="got a function"):
        fit_ensemble([lambda x: x])
    with pytest.raises(ValueError, match="loss of seed 3 is"):
        fit_ensemble([build("cnn-shallow-exp")], learning_rate=1e30)
    assert capsys.readouterr().err == ""
    fit_ensemble([build(), build()], epochs=1, quiet=False)
    assert capsys.readouterr().err.startswith("epoch 1 of 1, 2 models: loss 0.")

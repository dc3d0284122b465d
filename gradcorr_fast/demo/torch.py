"""The network of the demo in PyTorch: CNN-deep of the papers, its weights, and the script that trained them.

python -m gradcorr_fast.demo.torch      trains anew and writes the weights beside this file
"""

from pathlib import Path

import numpy as np

from .._check import missing_backend

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_backend("PyTorch", "demo") from error

from .. import sequences
from .._types import AnyArray
from . import planted

WEIGHTS = Path(__file__).with_name("weights.npz")
N_TRAINING, N_VALIDATION, N_EPOCHS, BATCH = 20_000, 2_000, 20, 100


def build() -> torch.nn.Module:
    """Return the untrained network, (N, 4, 200) to a logit (N, 1).

    Notes
    -----
    Majdandzic, Rajesh, Koo, Genome Biology 24:109 (2023), CNN-deep with ReLU, without the sigmoid at the end.
    """
    layers: list[torch.nn.Module] = []
    channels = 4
    for n_filters, width, dropout, pool in ((24, 19, 0.1, 1), (32, 7, 0.2, 4), (48, 7, 0.3, 4), (64, 3, 0.4, 3)):
        layers += [
            torch.nn.Conv1d(channels, n_filters, width, padding="same"),
            torch.nn.BatchNorm1d(n_filters),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
            torch.nn.MaxPool1d(pool) if pool > 1 else torch.nn.Identity(),
        ]
        channels = n_filters
    dense = [torch.nn.Linear(256, 96), torch.nn.BatchNorm1d(96), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), *dense, torch.nn.Linear(96, 1))


def load() -> torch.nn.Module:
    """Return the trained network; the file holds arrays and cannot run code."""
    model = build()
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    model.load_state_dict(state, strict=False)  # without the counters of batches seen, which inference does not use
    return model.eval()


def one_hot(codes: AnyArray) -> torch.Tensor:
    """Return codes (N, L) as the network's input, (N, 4, L)."""
    return torch.from_numpy(sequences.one_hot(codes, axis=1))


def train() -> None:
    """Train the network, print how well it does on sequences it has not seen, and write its weights as float16."""
    torch.manual_seed(0)
    training = planted.generate(N_TRAINING, seed=1)
    x, y = one_hot(training.codes), torch.from_numpy(training.labels.astype(np.float32))
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, epochs=N_EPOCHS, steps_per_epoch=N_TRAINING // BATCH
    )
    for epoch in range(N_EPOCHS):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], y[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: AUROC {evaluate(model):.4f}", flush=True)
    state = {k: v.numpy().astype(np.float16) for k, v in model.state_dict().items() if "num_batches" not in k}
    np.savez_compressed(WEIGHTS, **state)


def evaluate(model: torch.nn.Module) -> float:
    """Return the area under the ROC curve on sequences that were not trained on."""
    held_out = planted.generate(N_VALIDATION, seed=2)
    with torch.no_grad():
        scores = model.eval()(one_hot(held_out.codes))[:, 0].numpy()
    ranks = np.argsort(np.argsort(scores)) + 1
    n_positive = int(held_out.labels.sum())
    n_pairs = n_positive * (len(scores) - n_positive)
    return float((ranks[held_out.labels == 1].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)


if __name__ == "__main__":
    train()

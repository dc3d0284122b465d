"""Compare scores of MPRA-DragoNN with measured effects of single-base changes (saturation mutagenesis, CAGI5).

    python examples/cagi5.py FOLDER

FOLDER holds cagi5/ (CAGI5_onehots_centered_2048.h5, centered_combined_cagi.csv, combined_LOCUS.tsv, as in
github.com/evanseitz/squid-manuscript) and models/mpra_dragonn_conv.hdf5 (github.com/kundajelab/MPRA-DragoNN).
"""

import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

import gradcorr_fast as gf

LENGTH, EPSILON = 145, 1e-3
CENTRE = 1023  # of the one-hot sequences, 0-based


class Transposed(torch.nn.Module):
    """Puts positions before channels, as Keras flattens them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, L, C) for (N, C, L)."""
        return x.transpose(1, 2)


def load_model(path: Path) -> torch.nn.Module:
    """Three convolutions, each with ReLU and then batch normalisation, and twelve outputs."""
    layers: list[torch.nn.Module] = []
    with h5py.File(path) as file:

        def read(layer: str, name: str) -> torch.Tensor:
            return torch.from_numpy(file[f"{layer}/{layer}/{name}:0"][:].T.copy())

        for k in (1, 2, 3):
            kernel = read(f"conv1d_{k}", "kernel")
            convolution = torch.nn.Conv1d(kernel.shape[1], kernel.shape[0], kernel.shape[2])
            convolution.weight.data, convolution.bias.data = kernel, read(f"conv1d_{k}", "bias")
            norm = torch.nn.BatchNorm1d(len(kernel), eps=EPSILON)
            for own, name in zip(norm.state_dict(), ("gamma", "beta", "moving_mean", "moving_variance"), strict=False):
                norm.state_dict()[own].copy_(read(f"batch_normalization_{k}", name))
            layers += [convolution, torch.nn.ReLU(), norm]
        dense = torch.nn.Linear(15960, 12)
        dense.weight.data, dense.bias.data = read("dense_1", "kernel"), read("dense_1", "bias")
    return torch.nn.Sequential(*layers, Transposed(), torch.nn.Flatten(), dense).eval()


def load_measurements(folder: Path) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Sequences by locus, as codes, and measured changes with their positions in them, 1-based."""
    loci = pd.read_csv(folder / "centered_combined_cagi.csv", encoding="utf-8-sig")
    with h5py.File(folder / "CAGI5_onehots_centered_2048.h5") as file:
        codes = file["reference"][:].argmax(-1).astype(np.uint8)
    found = []
    for row in loci.itertuples():
        path = folder / f"combined_{row.locus}.tsv"
        if path.exists():
            table = pd.read_csv(
                path, sep="\t", comment="#", names=["chrom", "hg19", "ref", "alt", "value", "confidence"]
            )
            found.append(table.assign(chrom=row.locus, pos=table.hg19 - row.center + CENTRE + 1))
    return dict(zip(loci.locus, codes, strict=True)), pd.concat(found, ignore_index=True)


def score(model: torch.nn.Module, sequences: dict[str, np.ndarray], measured: pd.DataFrame) -> pd.DataFrame:
    """Exact, first-order and grad-times-input scores, and the angle, of the mean output."""
    variants = measured[["chrom", "pos", "ref", "alt"]]
    target = gf.targets.mean()
    scores = gf.scan.score_variants(model, sequences, variants, length=LENGTH, targets=[target]).to_pandas()
    assert (scores.status == "ok").all()
    starts = scores.window_start.to_numpy()
    windows = np.stack(
        [sequences[name][start : start + LENGTH] for name, start in zip(scores.chrom, starts, strict=True)]
    )
    x = gf.sequences.one_hot(windows, axis=1)
    middle = LENGTH // 2
    grad = gf.hooks.torch.saliency(model, x, target=target, corrected=False, start=middle, end=middle + 1)
    uncorrected = gf.grad_times_input(grad, x[:, :, middle : middle + 1], axis=1, corrected=False)[:, 0]
    return scores.assign(uncorrected=uncorrected, value=measured.value, confidence=measured.confidence)


def main(folder: Path) -> pd.DataFrame:
    """Return Spearman correlations with the measured effects, for each locus."""
    model = load_model(folder / "models" / "mpra_dragonn_conv.hdf5")
    scores = score(model, *load_measurements(folder / "cagi5"))
    scores["-gxi, corrected"], scores["-gxi, uncorrected"] = -scores.grad_times_input, -scores.uncorrected
    columns = ["delta", "taylor", "-gxi, corrected", "-gxi, uncorrected"]
    groups = [*scores.groupby("chrom", sort=True), ("all", scores)]
    rows = {}
    for name, group in groups:
        error = (group.taylor - group.delta).abs()
        rows[name] = {
            "n": len(group),
            **{column: group[column].corr(group.value, method="spearman") for column in columns},
            "taylor with delta": group.taylor.corr(group.delta),
            "|angle| with |error|": group.angle.abs().corr(error, method="spearman"),
        }
    return pd.DataFrame(rows).T.astype({"n": int})


if __name__ == "__main__":
    print(main(Path(sys.argv[1])).to_string(float_format=lambda value: f"{value:.3f}"))

"""Find the motif of CTCF in maps of a network that is trained on its peaks, before and after the correction.

    python examples/ctcf.py ctcf.fa.gz FOLDER

ctcf.fa.gz holds sequences of peaks, all of one length, such as the 39,184 of 100 bp in data/ctcf.fa.gz of
github.com/const-ae/Neural_Network_DNA_Demo. FOLDER gets the network, maps, motifs and a figure, and what is done there
is not done again. Needs modisco-lite, pyjaspar and pandas.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyjaspar
import pysam
import torch
from matplotlib.figure import Figure

import gradcorr_fast as gf
from gradcorr_fast.paper import chipseq, models, training

NETWORK, EPOCHS = "cnn-deep-exp", 15
MAPS = {"before": False, "after": True}
LEAST_BITS = 12  # of a match of the known motif; 1 % of shuffled peaks have one
PSEUDOCOUNT = 0.25


def train(fasta: Path, folder: Path, epochs: int) -> None:
    """Train on peaks and their shuffles, and write the network, and the peaks of the test as contigs and regions."""
    data = chipseq.from_fasta(fasta)
    length = data.codes.shape[1]
    trained = training.fit(models.build(NETWORK, length=length), data, epochs=epochs, checkpoint=folder / "training.pt")
    print(f"AUROC of the test: {training.score(trained.model, data):.4f}")
    logit = trained.model[:-1]  # without the sigmoid, which is flat where the network is sure
    sizes = ({0: torch.export.Dim("sequences")},)
    exported = torch.export.export(logit, (torch.zeros(2, 4, length),), dynamic_shapes=sizes)
    torch.export.save(exported, folder / "ctcf.pt2")
    with pysam.FastxFile(str(fasta)) as records:
        peaks = [(record.name, record.sequence) for record in records]
    tested = [peaks[row] for row in np.sort(data.split.test) if row < len(peaks)]
    (folder / "peaks.fa").write_text("".join(f">{name}\n{letters}\n" for name, letters in tested))
    (folder / "peaks.bed").write_text("".join(f"{name}\t0\t{length}\n" for name, _ in tested))


def attribute(folder: Path) -> gf.scan.Attributions:
    """Attribute the peaks of the test, and write both maps for TF-MoDISco."""
    model = gf.model_files.load_model(folder / "ctcf.pt2", trust=True)
    inputs = folder / "peaks.fa", folder / "peaks.bed"
    gf.scan.attribute_regions(model, *inputs, folder / "maps", keep_uncorrected=True, resume=True, verbose=True)
    maps = gf.scan.Attributions(folder / "maps")
    rows = np.arange(len(maps.regions))
    for name, corrected in MAPS.items():
        values = maps.maps(rows, corrected=corrected)
        gf.io.save_modisco(folder / name, values, maps.codes(rows), axis=1, corrected=False, force=True)
    return maps


def find_motifs(prefix: Path, length: int) -> None:
    """Run TF-MoDISco, unless it has run."""
    found, unfinished = Path(f"{prefix}.modisco.h5"), Path(f"{prefix}.unfinished.h5")
    if found.exists():
        return
    print(f"looking for motifs in {prefix}.attr.npz, which takes minutes", flush=True)
    modisco = Path(sys.executable).with_name("modisco")
    inputs = ["-s", f"{prefix}.ohe.npz", "-a", f"{prefix}.attr.npz", "-w", str(length - length % 2)]
    subprocess.run([modisco, "motifs", *inputs, "-n", "20000", "-o", unfinished], check=True)
    unfinished.rename(found)


def read_motifs(path: Path) -> list[tuple[int, np.ndarray]]:
    """Number of seqlets, and mean contributions (W, 4), of motifs that raise the output, the most frequent first."""
    with h5py.File(path) as file:
        motifs = file.get("pos_patterns", {}).values()
        found = [(int(motif["seqlets/n_seqlets"][0]), motif["contrib_scores"][:]) for motif in motifs]
    if not found:
        raise ValueError(f"TF-MoDISco found no motif, see {path}; give it more peaks, or train longer")
    return sorted(found, key=lambda motif: -motif[0])


def known_motif() -> np.ndarray:
    """Probabilities (19, 4) of JASPAR's CTCF."""
    counts = pyjaspar.jaspardb(release="JASPAR2018").fetch_motif_by_id("MA0139.1").counts
    known = np.array([counts[letter] for letter in "ACGT"]).T + PSEUDOCOUNT
    return known / known.sum(1, keepdims=True)


def in_bits(known: np.ndarray) -> np.ndarray:
    """Height of each letter in the logo of a motif."""
    return known * gf.metrics.information_content(known)[:, None]


def align(motif: np.ndarray, known: np.ndarray) -> tuple[float, np.ndarray]:
    """Largest correlation of a part of a motif with the known one, over shifts and strands, and that part (19, 4)."""
    strands = np.stack([motif, motif[::-1, ::-1]])
    parts = np.lib.stride_tricks.sliding_window_view(strands, known.shape, axis=(1, 2)).reshape(-1, *known.shape)
    correlations = [np.corrcoef(part.ravel(), in_bits(known).ravel())[0, 1] for part in parts]
    best = int(np.argmax(correlations))
    return correlations[best], parts[best]


def match(codes: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits (N,) of the best match of the known motif in each sequence, and its probabilities there (N, L, 4)."""
    x, strands = gf.sequences.one_hot(codes), np.stack([known, known[::-1, ::-1]])
    windows = np.lib.stride_tricks.sliding_window_view(x, known.shape, axis=(1, 2))[:, :, 0]
    bits = np.einsum("nlwa,swa->nls", windows, np.log2(strands / 0.25)).reshape(len(x), -1)
    starts, strand = np.divmod(bits.argmax(1), 2)
    truth = np.full(x.shape, 0.25)
    truth[np.arange(len(x))[:, None], starts[:, None] + np.arange(len(known))] = strands[strand]
    return bits.max(1), truth


def compare(maps: gf.scan.Attributions, folder: Path) -> pd.DataFrame:
    """What TF-MoDISco made of both maps, and how well each map tells matches of the known motif from what is beside."""
    known, rows = known_motif(), np.arange(len(maps.regions))
    codes = maps.codes(rows)
    bits, truth = match(codes, known)
    matched = np.flatnonzero(bits > LEAST_BITS)
    print(f"{len(matched):,} of {len(rows):,} peaks match the known motif by more than {LEAST_BITS} bits")
    table: dict[str, dict[str, Any]] = {}
    for name, corrected in MAPS.items():
        values = maps.maps(matched, corrected=corrected)
        scores = gf.grad_times_input(values, codes[matched], axis=1, corrected=False)
        found = gf.metrics.interpretability(scores, truth[matched])
        motifs = read_motifs(folder / f"{name}.modisco.h5")
        table[name] = {
            "motifs": len(motifs),
            "seqlets in them": sum(n for n, _ in motifs),
            "seqlets in the first": motifs[0][0],
            "correlation of the first with JASPAR's": align(motifs[0][1], known)[0],
            "AUROC of matches": found.auroc.mean(),
            "AUPR of matches": found.aupr.mean(),
        }
    return pd.DataFrame(table)


def draw(maps: gf.scan.Attributions, folder: Path) -> Figure:
    """The first motif of each map beside the known one, and both maps of the peak that matches the known one best."""
    known, codes = known_motif(), maps.codes(np.arange(len(maps.regions)))
    figure = Figure(figsize=(10, 8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 3))
    axes = above.subplots(1, 3)
    for ax, name in zip(axes, MAPS, strict=False):
        motifs = read_motifs(folder / f"{name}.modisco.h5")
        title = f"{name}: motif 1 of {len(motifs)}, {motifs[0][0]:,} seqlets"
        gf.plot.logo(align(motifs[0][1], known)[1], ax).set_title(title, loc="left", fontsize="medium")
    gf.plot.logo(in_bits(known), axes[2]).set_title("JASPAR MA0139.1 (bits)", loc="left", fontsize="medium")
    bits, truth = match(codes, known)
    best = int(bits.argmax())
    draw_peak(below.subplots(3, 1, sharex=True), maps, best, np.flatnonzero((truth[best] != 0.25).any(1)))
    return figure


def draw_peak(axes: Any, maps: gf.scan.Attributions, row: int, matched: np.ndarray) -> None:
    """Both maps of a peak at its letters, and the angle between them, with the match of the known motif in grey."""
    codes = maps.codes([row])[0]
    before, after = (maps.maps([row], corrected=corrected)[0] for corrected in MAPS.values())
    gf.plot.logo(before, axes[0], x=codes, axis=0)
    gf.plot.angle_track(gf.simplex_angle(before, axis=0), axes[1])
    gf.plot.logo(after, axes[2], x=codes, axis=0)
    low, high = zip(axes[0].get_ylim(), axes[2].get_ylim(), strict=True)
    for ax in axes[::2]:
        ax.set_ylim(min(low), max(high))
        ax.set_ylabel("attribution")
    peak = maps.regions["chrom"][row].as_py()
    titles = f"before: grad-times-input, {peak}", "angle to the simplex", "after: corrected grad-times-input"
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontsize="medium")
        ax.axvspan(matched[0] - 0.5, matched[-1] + 0.5, color="0.93", zorder=0)
        ax.label_outer()


def main(fasta: Path, folder: Path, epochs: int = EPOCHS) -> pd.DataFrame:
    """Do what is not done yet; return the comparison."""
    torch.set_num_threads(1)  # beside other programs, several threads wait for each other
    folder.mkdir(parents=True, exist_ok=True)
    train(fasta, folder, epochs)
    maps = attribute(folder)
    for name in MAPS:
        find_motifs(folder / name, maps.codes([0]).shape[1])
    gf.plot.save(draw(maps, folder), folder / "ctcf.png", dpi=120)
    return compare(maps, folder)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])).to_string(float_format=lambda value: f"{value:.4g}"))

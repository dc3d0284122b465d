"""Write benchmarks/paper.md: what `gradcorr-fast reproduce table` found, and measured effects of variants.

    python benchmarks/paper.py FOLDER DATA

FOLDER is that of `gradcorr-fast reproduce`, in which table.md lies; DATA holds the files that examples/cagi5.py reads.
"""

import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import cagi5  # noqa: E402

MEASURED = """## Measured effects of variants

Not in the papers: saturation mutagenesis of eight human promoters and enhancers (CAGI5, {n:,} substitutions) against
scores of MPRA-DragoNN (mean of its outputs). Spearman correlation with the measured effects of the exact change of the
output, its first-order estimate, and grad-times-input with the sign turned, corrected and not; the last columns hold
the Pearson correlation of the first-order estimate with the exact change, and the Spearman correlation of the size of
the angle with that of its error.

{table}

One gradient is no substitute for two forward passes here, the correction does not change that, and a large angle
{verdict} of the first-order score: all loci together {all:.2f}, single ones {low:.2f} to {high:.2f}.
"""
PREDICTS = 0.3
"""Correlation from which one may speak of a prediction."""


def main(folder: Path, data: Path) -> None:
    """Write the file."""
    scores = cagi5.main(data)
    errors = scores["|angle| with |error|"]
    verdict = "predicts a large error" if errors["all"] >= PREDICTS else "hardly predicts a large error"
    loci = errors.drop("all")
    text = MEASURED.format(
        n=scores.n["all"],
        table=as_markdown(scores),
        verdict=verdict,
        all=errors["all"],
        low=loci.min(),
        high=loci.max(),
    )
    (ROOT / "benchmarks" / "paper.md").write_text(f"{(folder / 'table.md').read_text()}\n{text}")


def as_markdown(scores: pd.DataFrame) -> str:
    """Write a table, numbers with two digits."""
    head = ["locus", *(column.replace("|", "\\|") for column in scores.columns)]
    rows = [[name, f"{row.n:,.0f}", *(f"{value:.2f}" for value in row.iloc[1:])] for name, row in scores.iterrows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

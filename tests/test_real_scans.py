"""Real variants in a real piece of genome, scored by trained networks of other people; every record accounted for."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

import gradcorr_fast as gf
from tests import models
from tests.conftest import require

pytestmark = pytest.mark.filterwarnings("ignore:.* records lie on contigs", "ignore:.* are not (scored|attributed)")

GENOME = "real/genome/hg19.chr20.9995000-11095000.N-padded.fa.gz"
CALLS = {
    "b37.chr20.NA12877-NA12878-NA12882.GATK-trio.vcf.gz": (558, {"ok": 575, "spanning_deletion": 7}),
    "b37.chr20.NA12878.GIAB-NIST.10.0-10.1Mb.vcf.gz": (221, {"ok": 222}),
    "b37.chr20.1000G-exomes.hail-sample.vcf.bgz": (346, {"ok": 70, "n_in_window": 276}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_record_is_accounted_for(shared_data: Path, name: str) -> None:
    require("torch")
    n_records, counts = CALLS[name]
    model = models.torch_model(*models.load(shared_data, "cnn_deep_relu")).eval()
    table = gf.scan.score_variants(
        model, shared_data / GENOME, shared_data / "real/variants" / name, length=200,
        targets=[gf.targets.before_activation()],
    )  # fmt: skip
    assert Counter(table["status"].to_pylist()) == counts
    assert pc.count_distinct(table["record"]).as_py() == n_records
    scored = table.filter(pc.equal(table["status"].cast("string"), "ok"))
    assert scored["delta"].null_count == 0
    rows = scored.to_pylist()
    is_substitution = [len(row["norm_ref"]) == len(row["norm_alt"]) for row in rows]
    assert [row["taylor"] is not None for row in rows] == is_substitution
    assert any(row["delta"] != 0 for row in rows)


def test_measured_effects_correlate_with_scores(shared_data: Path) -> None:
    """LDLR of CAGI5, against MPRA-DragoNN, which was trained on other measurements of the kind."""
    for package in ("torch", "pandas", "h5py"):
        require(package)
    import pandas as pd

    from examples import cagi5

    model = cagi5.load_model(shared_data / "real/models/mpra_dragonn_conv.hdf5")
    sequences, measured = cagi5.load_measurements(shared_data / "real/cagi5")
    assert len(measured) == 8313
    scores = cagi5.score(model, sequences, measured[measured.chrom == "LDLR"].reset_index(drop=True))
    assert isinstance(scores, pd.DataFrame)
    found = scores[["delta", "taylor"]].corrwith(scores.value, method="spearman")
    assert found.delta == pytest.approx(0.283, abs=0.002)
    assert found.taylor == pytest.approx(0.097, abs=0.002)
    mean = scores.grad_times_input - scores.uncorrected  # of the gradient over the letters, with its sign turned
    assert np.std(mean) > 0.01

"""Every substitution of a sequence by what it changes, against full passes of the same model on the same GPU."""

from typing import Any

import pytest

from benchmarks.gpu.work import pair, single_precision, wall

BATCHES = (128, 512, 2048)
N_TABLES = {"Basset": 8, "CNN-32": 4, "DeepSTARR": 32, "CNN-deep": 32, "dilated": 4}
"""Sequences whose tables are made together, by network."""


@pytest.mark.parametrize("name", N_TABLES)
def test_tables(device: Any, sizes: Any, record: Any, name: str) -> None:
    pytest.importorskip("torch")
    from benchmarks import networks
    from benchmarks.substitutions import AIMS, full_passes, table

    model, length = networks.build(name)
    small = {"n": 1, "at_most": 4} if device.is_dry else {"n": N_TABLES[name]}
    wanted = table(model, length, device=device.memory, **small)
    with single_precision():
        wanted.compare(wanted.ours("incremental"))
        full = full_passes(wanted, (8,) if device.is_dry else BATCHES, lambda call: wall(device, call))
        found = pair(device, lambda: wanted.ours("incremental"), full.run, max(2, sizes.peer_rounds // 6))
    scale = wanted.n / full.n
    found |= {key: found[key] * scale for key in ("median_ratio", "low", "high", "provider_seconds")}
    record(
        found,
        operation=f"substitutions of {name}",
        provider=f"{full.n} full passes, batches of {full.batch_size}",
        layout="(N, 4, L)",
        dtype="float32",
        outputs="fresh",
        x="one-hot",
        n_sequences=wanted.n,
        length=length,
        target=AIMS[name],
    )

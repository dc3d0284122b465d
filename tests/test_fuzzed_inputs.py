"""Mutated files give a result, a refusal or an unreadable record: no other error, no crash, and no other record."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import gradcorr_fast as gf

pytest.importorskip("pyarrow")
pytest.importorskip("pysam")
pytest.importorskip("h5py")
pytest.importorskip("zarr")

from gradcorr_fast.scan.inputs.regions import read_regions
from gradcorr_fast.scan.inputs.spelling import parse_spelled
from gradcorr_fast.scan.inputs.variants import read_variants
from tests.fuzzing import KINDS
from tests.mutants import check_file, outcome


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "real"])
@given(seed=st.integers(0, 2**32))
@example(seed=5)
def test_mutated_files_give_what_is_in_them_or_say_what_is_wrong(
    kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Headers that mean nothing ended with errors of zlib, h5py and Zarr that name no file."""
    KINDS[kind](random.Random(seed), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("name", ["v.vcf", "v.txt", "v.csv", "p.bed"])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_file(name, content, tmp_path_factory.getbasetemp())


_MARKS = st.sampled_from(
    [":", "_", "-", "/", ">", ",", ".", "*", " ", "<DEL>", "rs1", "b38", "chr1", "1", "100", "A", "CG", "NC_000001.11"]
)


@given(word=st.lists(_MARKS, max_size=12).map("".join) | st.text(max_size=30))
@example(word="1:" * 5000)
@example(word="chr1_1_A_" * 5000)
def test_a_word_is_a_variant_whose_parts_are_its_own_or_none(word: str) -> None:
    """Whatever is read stands in the word, in this order; nothing of it is lost but marks."""
    row = parse_spelled(word)
    if isinstance(row, str):
        assert row
        return
    chrom, pos, id_, ref, alt = row
    mark = r"[:_/>|;-]"
    assert re.fullmatch(
        re.escape(chrom) + rf"{mark}0*(?:{pos}|{pos - 1})?{mark}?{re.escape(ref)}{mark}{re.escape(alt)}"
        + ("" if id_ is None else mark + re.escape(id_)),
        word.strip(),
    )  # fmt: skip


_VALUES = (
    st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["chr1", "A", "C,T", 5, b"A", [], ["G", "T"]])
)
_ROWS = st.lists(_VALUES, max_size=6).map(tuple) | st.dictionaries(
    st.sampled_from(["chrom", "pos", "ref", "alt", "id", "x"]), _VALUES
) | st.text(max_size=20)  # fmt: skip


@given(rows=st.lists(_ROWS | _VALUES, max_size=8))
def test_any_items_are_records_or_unreadable(rows: list[Any]) -> None:
    good = [("chr1", 5, "A", "C")] * 9
    found = [row for batch in read_variants(good + rows) for row in batch.to_pylist()]
    assert {row["record"] for row in found} == set(range(9 + len(rows)))
    assert all(row["id"].startswith("variant ") for row in found if row["pos"] is None)


@given(rows=st.lists(_ROWS | _VALUES, max_size=8))
def test_any_items_are_regions_or_unreadable(rows: list[Any]) -> None:
    found = outcome(lambda: read_regions([("chr1", 5, 9)] * 9 + rows, keep_unreadable=True).to_pylist())
    assert found[0] == "result"
    assert len(found[1]) == 9 + len(rows)


@pytest.mark.parametrize(
    "text", ["-" * 100_000 + "1", "(" * 1000, "mean(" * 5000 + ")" * 5000, "[" * 90 + "]" * 90, "1" * 5000]
)
def test_targets_that_are_nested_too_deep_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a target"):
        gf.targets.parse(text)


@pytest.mark.thorough
@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_mutated_real_files_give_records_or_say_what_is_wrong(
    seed: int, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    KINDS["real"](random.Random(seed), tmp_path_factory.getbasetemp())

"""The demo: planted sequences, the network that ships, and the command that people try first."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gradcorr_fast as gf
from gradcorr_fast import _installing
from gradcorr_fast._installing import install_command
from gradcorr_fast.demo import planted
from tests.conftest import require


def test_planted_sequences_are_drawn_from_their_probabilities() -> None:
    drawn = planted.generate(2_000, seed=0)
    np.testing.assert_allclose(drawn.ppm.sum(-1), 1, atol=1e-6)
    one_hot = gf.sequences.one_hot(drawn.codes)
    for probability in (0.25, 0.5, 0.94):  # of how often a letter comes where it has this probability
        where = np.isclose(drawn.ppm, probability, atol=0.03 if probability == 0.5 else 1e-6)
        expected = drawn.ppm[where].mean()
        assert abs(one_hot[where].mean() - expected) < 5 / np.sqrt(where.sum())
    assert drawn.labels.sum() == 1_000
    n_planted = (drawn.ppm.max(-1) > 0.25).sum(1)
    assert n_planted.min() >= 3 * 8
    assert n_planted.max() <= 5 * 12
    again = planted.generate(2_000, seed=0)
    np.testing.assert_array_equal(drawn.codes, again.codes)


def test_motifs_of_both_strands_are_planted() -> None:
    consensus, *_ = planted.CORE.values()
    forward, reverse = planted._both_strands(consensus)
    np.testing.assert_array_equal(gf.sequences.reverse_complement(forward, axis=-1), reverse)
    assert all(set(text) <= set(planted.IUPAC) for text in (*planted.CORE.values(), *planted.OTHERS.values()))


def test_the_network_of_the_demo_is_trained_and_small() -> None:
    require("torch")
    from gradcorr_fast.demo import torch as network

    assert network.WEIGHTS.stat().st_size < 300_000
    assert network.evaluate(network.load()) == pytest.approx(0.970, abs=0.002)


def test_the_strongest_signal_that_was_not_planted_is_named() -> None:
    """The typical figure of the demo had its highest letters where nothing was planted, and did not say so."""
    require("matplotlib")
    from gradcorr_fast.demo.run import describe_unplanted

    codes = gf.sequences.encode("ACGTTGCA" * 6)
    codes[20:28] = gf.sequences.encode("TGAGTGAC")  # AP-1, TGAGTCAY, but for one letter
    grad, ppm = np.zeros((48, 4)), np.full((48, 4), 0.25)
    grad[np.arange(20, 28), gf.sequences.encode("TGAGTCAC")] = 1.0
    grad[2:9, 0] = 20.0
    ppm[2:9] = np.eye(4)[codes[2:9]]  # was planted
    assert describe_unplanted(grad, codes, ppm) == "positions 20 to 27, TGAGTGAC, 7 of the 8 letters of AP-1"


def test_the_demo_needs_no_input_and_shows_an_improvement(tmp_path: Path) -> None:
    for package in ("torch", "matplotlib", "logomaker"):
        require(package)
    from gradcorr_fast.cli.demo import demo
    from gradcorr_fast.demo.run import run

    (tmp_path / "maps").mkdir()
    result = run(tmp_path / "maps", n_sequences=60)
    assert np.mean(result.after.auroc > result.before.auroc) > 0.7
    assert 0.3 < result.correlation < 1
    grad = np.load(tmp_path / "maps/gradients.npy")
    ratio = np.sqrt((grad**2).sum((1, 2)) / (gf.correct(grad, axis=1) ** 2).sum((1, 2)))
    np.testing.assert_allclose(result.after.cosine, result.before.cosine * ratio, rtol=1e-4)  # so it is no evidence
    np.testing.assert_allclose(gf.angle_summary(grad, axis=1).counts, result.summary.counts)

    out = tmp_path / "demo"
    done = CliRunner().invoke(demo, ["-o", str(out), "--sequences", "10"])
    assert done.exit_code == 0, done.output
    assert f"Look at {out / 'largest-angles.png'}: its fourth panel" in done.output.strip().splitlines()[-1]
    assert done.stderr.startswith("What you will see: ")
    assert [line[:3] for line in done.stderr.splitlines() if line[1:2] == "/"] == ["1/4", "2/4", "3/4", "4/4"]
    names = {path.name for path in out.iterdir()}
    assert names >= {"genome.fa", "variants.vcf", "peaks.bed"}
    assert names >= {"largest-angles.png", "typical.png", "angles.png", "gradients.npy", "report.txt"}
    assert names >= {"modisco.ohe.npz", "modisco.attr.npz"}
    assert {name for name in names if name.startswith("scores")} == {"scores.vcf.gz"}
    assert gf.scan.read_metadata(out / "scores.vcf.gz")["counts"] == {"ok": 2 * 198 * 3}
    assert "Effects of 1,188 substitutions" in done.output
    assert f"modisco motifs -s {out / 'modisco.ohe.npz'}" in done.output
    assert CliRunner().invoke(demo, ["-o", str(out), "--sequences", "4", "--force"]).exit_code == 0
    assert len(np.load(out / "gradients.npy")) == 4
    for place in (out / "report.txt", out / "report.txt/below"):
        failed = CliRunner().invoke(demo, ["-o", str(place)])
        assert failed.exit_code in (1, 2)
        assert failed.output.strip().splitlines()[-1].startswith("Error: ")
    again = CliRunner().invoke(demo, ["-o", str(out)])
    assert again.exit_code == 2
    assert "exists; pass --force" in again.output


def test_the_doctor_names_every_package_that_is_missing_by_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcorr_fast import runtime
    from gradcorr_fast.cli.doctor import doctor

    missing = ("torch", "h5py", "hdf5plugin")
    monkeypatch.setattr(runtime, "_version", lambda package: None if package in missing else "1.0")
    lines = CliRunner().invoke(doctor, []).output.partition("\nmissing:\n")[2].splitlines()
    found = {line.split("  ")[1]: line.split("  ")[-1].strip() for line in lines if line}
    assert found == {"torch": install_command("torch"), "h5py, hdf5plugin": install_command("io")}


RECORDS = [
    ({}, "pip install 'gradcorr-fast[io]'"),
    ({"url": "https://pypi.example/gradcorr_fast.whl", "archive_info": {}}, "pip install 'gradcorr-fast[io]'"),
    ({"url": "file:///a%20b/x.whl", "archive_info": {}}, "pip install 'gradcorr-fast[io] @ file:///a%20b/x.whl'"),
    ({"url": "file:///a%20b", "dir_info": {}}, "pip install '/a b[io]'"),
    ({"url": "file:///a%20b", "dir_info": {"editable": True}}, "pip install -e '/a b[io]'"),
    ({"url": Path.cwd().as_uri(), "dir_info": {"editable": True}}, "pip install -e '.[io]'"),
]


@pytest.mark.parametrize(("record", "command"), RECORDS)
def test_advice_is_what_works_for_how_it_was_installed(
    record: dict[str, Any], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout people were told the name of a package that no index has."""
    monkeypatch.setattr(_installing, "_record", lambda: record)
    assert install_command("io") == command


@pytest.mark.parametrize(
    ("installed", "builds"),
    [
        ({"torch": "2.9.0+cpu", "tensorflow-cpu": "2.18", "jax": "0.5"}, ["torch", "tensorflow", "jax"]),
        ({"torch": "2.9.0", "tensorflow": "2.18", "jax": "0.5", "jax-cuda13-plugin": "0.5"}, []),
        ({}, []),
    ],
)
def test_the_doctor_tells_builds_for_the_cpu(
    installed: dict[str, str], builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a CPU's build it said that CuPy was needed."""
    from gradcorr_fast import runtime
    from gradcorr_fast.cli.doctor import doctor

    monkeypatch.setattr(runtime, "_version_of", lambda name: installed.get(name, "1" if name == "cupy" else None))
    monkeypatch.setattr(runtime, "_has_gpu", lambda: True)
    found = runtime.info()
    assert found["cpu_builds"] == builds
    assert [name for name, devices in found["backends"].items() if "in this build" in devices.get("cuda", "")] == builds
    output = CliRunner().invoke(doctor, []).output
    assert output.count("there is an NVIDIA GPU, and") == len(builds)


@pytest.mark.skipif(not (PROJECT := Path(__file__).parents[1] / "pyproject.toml").is_file(), reason="needs a checkout")
def test_the_extra_of_every_optional_package_is_that_of_the_project() -> None:
    """A list by hand said that scikit-learn comes with demo, and did not know pysam, pyarrow, filelock and pooch."""
    from gradcorr_fast import runtime

    declared = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    lines = [f'{line}; extra == "{extra}"' for extra, given in declared.items() for line in given if ";" not in line]
    brought = runtime._read_extras(lines)
    assert brought == runtime.extras()
    assert "scikit-learn" not in brought
    assert "gradcorr-fast" not in brought
    assert {package: brought[package] for package in ("h5py", "zarr", "pysam", "pyarrow", "pooch")} == {
        "h5py": "io", "zarr": "io", "pysam": "genome", "pyarrow": "genome", "pooch": "paper",
    }  # fmt: skip
    assert (brought["cupy"], brought["tensorflow"]) == ("cuda13x", "tensorflow")
    assert set(brought) < set(runtime.info()["versions"])


@pytest.mark.parametrize(
    ("requirement", "brought"),
    [
        ("numpy>=2.1", {}),
        ("gradcorr-fast[io,torch]; extra == 'demo'", {}),
        ("pytest>=8; extra == 'test-core'", {}),
        ("Ruamel_Yaml[a]>=1,!=2; (python_version < '4') and extra == \"io\"", {"ruamel-yaml": "io"}),
        ("cupy-cuda12x[ctk]>=14; extra == 'cuda12x'", {"cupy": "cuda12x"}),
        ("tensorflow-cpu>=2; extra == 'tensorflow'", {"tensorflow": "tensorflow"}),
    ],
)
def test_requirements_are_read_as_tools_write_them(requirement: str, brought: dict[str, str]) -> None:
    from gradcorr_fast import runtime

    assert runtime._read_extras([requirement]) == brought


def test_the_doctor_says_that_a_checkout_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcorr_fast import runtime
    from gradcorr_fast.cli.doctor import doctor

    def find_nothing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "requires", find_nothing)
    assert "this checkout is not installed" in CliRunner().invoke(doctor, []).output
    assert set(runtime.BACKENDS) < set(runtime.info()["versions"])

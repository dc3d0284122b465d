"""The house: imports go one way, an operation has one name everywhere, public functions are documented and run."""

import ast
import configparser
import doctest
import graphlib
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import gradcorr_fast as gf
from gradcorr_fast import kernels
from tests.test_dispatch import run_python

ROOT = Path(gf.__file__).parents[1]
LAYERS = [  # a file imports from its own layer and those below
    {"kernels"},
    {"_types", "_warn", "_wording", "_installing", "_check", "_damage", "_show", "backends"},
    {"_comparisons", "_metrics", "metrics", "ops", "summary", "runtime", "sequences", "targets", "comparisons"},
    {"io", "plot"},
    {"hooks", "model_files"},
    {"compat", "scan"},
    {"paper"},
    {"bench", "demo", "report"},
    {"cli"},
    {"__main__"},
]
ROOMS = [{"comparing", "inputs", "results"}, {"placing"}, {"running"}, {"variant_scan", "region_scan"}]
"""Of scans, likewise."""
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "flax", "cupy", "dask", "distributed", "cloudpickle"}
MODULES = [
    *("gradcorr_fast", "gradcorr_fast.kernels"),
    *(name for p in (gf, kernels) for _, name, _ in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")),
]


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    package = ("gradcorr_fast", *package) if package[0] == "kernels" else package
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*base, *(node.module.split(".") if node.module else ())))
            whole = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else base for name in whole}
    return found


def layer_of(part: str) -> int:
    return next(k for k, layer in enumerate(LAYERS) if part in layer)


def floor_of(room: str) -> int:
    return next(k for k, rooms in enumerate(ROOMS) if room in rooms)


SOURCES = [p for folder in ("kernels", "gradcorr_fast") for p in (ROOT / folder).rglob("*.py")]


needs_checkout = pytest.mark.skipif(not (ROOT / "kernels").is_dir(), reason="needs a checkout")
each_file = pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))


@needs_checkout
@each_file
def test_imports_go_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    assert not any(name.split(".")[0] == "kernels" for name in imports(path))
    own = "kernels" if relative.parts[0] == "kernels" else relative.with_suffix("").parts[1]
    if own == "__init__":
        return
    inner = [name.split(".") for name in imports(path) if name.startswith("gradcorr_fast.")]
    assert [name for name in inner if layer_of(name[1]) > layer_of(own)] == []


@needs_checkout
@each_file
def test_frameworks_are_imported_where_their_name_is_on_the_door(path: Path) -> None:
    parts = {part.lstrip("_") for part in path.relative_to(ROOT).with_suffix("").parts}
    doors = parts | ({"cupy"} if parts & {"cuda", "cuda_launch"} else set())  # CuPy compiles and launches CUDA
    doors |= {"distributed", "cloudpickle"} if "dask" in parts else set()
    doors |= {"torch"} if parts & {"captum", "tangermeme"} else set()  # which are made of PyTorch
    assert {name.split(".")[0] for name in imports(path)} & FRAMEWORKS <= doors


@needs_checkout
@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "scan" in p.parts], ids=lambda p: "/".join(p.parts[p.parts.index("scan") :])
)
def test_rooms_of_scans_import_one_way(path: Path) -> None:
    own = path.with_suffix("").parts[path.parts.index("scan") + 1]
    if own == "__init__":
        return
    rooms = [name.split(".")[2] for name in imports(path) if name.startswith("gradcorr_fast.scan.")]
    known = [room for room in rooms if any(room in floor for floor in ROOMS)]
    assert [room for room in known if floor_of(room) > floor_of(own)] == []


@needs_checkout
def test_no_module_imports_itself_through_others() -> None:
    graph = {}
    for path in SOURCES:
        parts = [*(["gradcorr_fast"] if path.is_relative_to(ROOT / "kernels") else [])]
        parts += path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        graph[name] = imports(path) & set(MODULES) - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


def test_every_operation_has_one_name_everywhere() -> None:
    from gradcorr_fast.kernels import reference, reference_metrics

    for operation in kernels.OPERATIONS:
        assert callable(getattr(gf, operation))
        assert callable(getattr(reference, operation))
    for metric in kernels.METRICS:
        assert callable(getattr(gf.metrics, metric))
        assert callable(getattr(reference_metrics, metric))


PUBLIC = {
    "gradcorr_fast": "AngleSummary AttributionMaps MissingBackendError analyze angle_summary bench comparisons compat "
    "correct grad_times_input hooks info io merge metrics model_files paper plot report scan sequences set_num_threads "
    "simplex_angle substitution_effects targets warmup",
    "gradcorr_fast.bench": "Comparison Results compare load run",
    "gradcorr_fast.compat": "captum gradient_correction tangermeme",
    "gradcorr_fast.compat.captum": "Corrected corrected",
    "gradcorr_fast.compat.gradient_correction": "explain geomath helper",
    "gradcorr_fast.compat.gradient_correction.explain": "Explainer expected_integrated_grad function_batch hessian "
    "integrated_grad mutagenesis random_shuffle saliency_map smoothgrad",
    "gradcorr_fast.compat.gradient_correction.geomath": "L2 attribution_correction calculate_angles cosine_similarity "
    "cosine_similarity_individual_nucleotides count_large_angles dispersion dispersion_bins_func saliency_correction "
    "scalar_product_set",
    "gradcorr_fast.compat.gradient_correction.helper": "interpretability_performance load_data load_synthetic_models "
    "make_directory",
    "gradcorr_fast.compat.tangermeme": "expected_gradients integrated_gradients saliency saturation_mutagenesis "
    "smoothgrad",
    "gradcorr_fast.comparisons": "around cosine difference jsd kl l1 l2 larger log2_ratio max max_abs min parse ratio "
    "wasserstein",
    "gradcorr_fast.hooks": "jax keras tensorflow torch",
    "gradcorr_fast.hooks.jax": "SimplexProjection angle_penalty attach expected_gradients integrated_gradients "
    "project_gradient saliency saturation_mutagenesis smoothgrad",
    "gradcorr_fast.hooks.keras": "SimplexProjection attach fold",
    "gradcorr_fast.hooks.tensorflow": "SimplexProjection angle_penalty attach expected_gradients "
    "integrated_gradients project_gradient saliency saturation_mutagenesis smoothgrad",
    "gradcorr_fast.hooks.torch": "Explanation SimplexProjection angle_penalty attach expected_gradients explain_engine "
    "fold integrated_gradients project_gradient register_rule saliency saturation_mutagenesis smoothgrad",
    "gradcorr_fast.io": "correct_file correct_to_modisco find_misuse load save_bigwig save_contribs_h5 save_modisco",
    "gradcorr_fast.metrics": "DifferenceByAngle Interpretability aupr auroc average_precision cosine_similarity "
    "ensemble_difference ensemble_difference_by_angle ensemble_difference_reduction information_content "
    "interpretability positionwise_cosine_similarity",
    "gradcorr_fast.model_files": "LoadedModel ModelShape describe_model inspect_model load_model",
    "gradcorr_fast.paper": "chipseq datasets evaluation figures models published reproduction synthetic training",
    "gradcorr_fast.paper.chipseq": "from_fasta generate",
    "gradcorr_fast.paper.datasets": "Dataset Split load random_split save",
    "gradcorr_fast.paper.evaluation": "METHODS Agreement Evaluation attribute evaluate measure positives",
    "gradcorr_fast.paper.figures": "Entry FIGURES Reproduction Study draw",
    "gradcorr_fast.paper.models": "FIRST_FILTERS NAMES SIGMAS build load_weights",
    "gradcorr_fast.paper.published": "File SOURCES Source atac basset deepstarr fetch",
    "gradcorr_fast.paper.reproduction": "CPU FIGURES PAPER QUICK Scale reproduce",
    "gradcorr_fast.paper.synthetic": "Motif generate motif_pools",
    "gradcorr_fast.paper.training": "ANGLE_WEIGHTS Epoch RECIPES Recipe Training fit fit_ensemble score",
    "gradcorr_fast.plot": "LETTER_COLORS angle_histogram angle_track correction_figure large_angle_histogram logo save",
    "gradcorr_fast.report": "write_report",
    "gradcorr_fast.scan": "Attribution Attributions Folder Genome Plan STATUSES Status Verification WindowOptions "
    "attribute_regions cut_windows export folder_of merge place place_all plan read_metadata read_regions "
    "read_variants score_variants status verify",
    "gradcorr_fast.sequences": "count_shuffles decode encode one_hot reverse_complement shuffle",
    "gradcorr_fast.targets": "before_activation contrast index log1p_sum logit mean parse sum_over",
}
"""What users may call, by module: nothing of it gets lost when files move. Add new names here."""


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_name_gets_lost(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except gf.MissingBackendError as error:
        pytest.skip(str(error))
    assert [member for member in PUBLIC[name].split() if member not in dir(module)] == []
    assert set(getattr(module, "__all__", ())) <= set(PUBLIC[name].split())


def test_names_that_load_later_are_listed_before_they_are_touched() -> None:
    """Neither `dir(gf)` nor the completion of a notebook showed hooks, io, scan and the like until they were used."""
    code = "import sys, gradcorr_fast as gf; print(*dir(gf)); print('gradcorr_fast.hooks' in sys.modules)"
    names, is_loaded = run_python(code).stdout.splitlines()
    assert set(PUBLIC["gradcorr_fast"].split()) <= set(names.split())
    assert is_loaded == "False"


@pytest.mark.parametrize("name", sorted(set(gf.__all__)))
def test_every_public_name_is_documented(name: str) -> None:
    documentation = inspect.getdoc(getattr(gf, name))
    assert documentation
    if inspect.isfunction(getattr(gf, name)) and inspect.signature(getattr(gf, name)).parameters:
        for section in ("Parameters", "Returns", "Examples"):
            assert f"{section}\n---" in documentation


@pytest.mark.parametrize("name", gf.metrics.__all__)
def test_every_metric_is_documented(name: str) -> None:
    documentation = inspect.getdoc(getattr(gf.metrics, name))
    assert documentation
    if inspect.isfunction(getattr(gf.metrics, name)):
        assert all(f"{part}\n---" in documentation for part in ("Parameters", "Returns", "Notes", "Examples"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    if name.rpartition(".")[2] in FRAMEWORKS:
        pytest.importorskip(name.rpartition(".")[2])
    if name.startswith("gradcorr_fast.plot"):
        pytest.importorskip("matplotlib")
    if name == "gradcorr_fast.compat.captum":
        pytest.importorskip("captum")
    if name == "gradcorr_fast.compat.tangermeme":
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    for test in finder.find(module, extraglobs={"np": np}):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_info_reports_what_runs_where() -> None:
    info = gf.info()
    assert info["versions"]["numpy"] == np.__version__
    assert info["backends"]["numpy"] == {"cpu": "native"}
    assert info["threads"] >= 1


@needs_checkout
def test_every_package_ships() -> None:
    """A folder that setup.cfg does not name is missing in the wheel alone."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "gradcorr_fast").rglob("__init__.py")]
    expected = {".".join(folder.parts) for folder in folders} | {"gradcorr_fast.kernels"}
    assert set(settings["options"]["packages"].split()) == expected
